#!/usr/bin/python3
"""
Sequences of ordinary calls that once broke something: found by tests/fuzz/run ops, or by users. Each process of a case is one of its own.
"""
import contextlib
import os
import random
import subprocess
import sys
import threading

from harness import HISTORYCTL, QUICK, SEED, Child, case, cases, command, equal, eventually, main, read, require, together, write


def elsewhere(text, *arguments, **named):
	"""Runs Python in another program."""
	subprocess.run([sys.executable, "-c", text, *arguments], check=True, **named)


def verified(mount):
	"""The store's records hold what FORMAT.md says, while it is in use."""
	command(HISTORYCTL, "--store", mount.store, "verify")


@case("another renames an open temp file over a session that was renamed away")
def renamed_open(t):
	with t.new_mount() as m:
		path = lambda name: os.path.join(m.path, name)
		with open(path("x.tmp"), "w") as f:
			write(path("b.json"), b'[{"c":"1"}]')
			os.rename(path("b.json"), path("b.json.bak"))
			elsewhere("import os, sys; os.rename(sys.argv[1], sys.argv[2])", path("x.tmp"), path("b.json"))
			f.write('[{"c":"2"}]')
		equal(sorted(os.listdir(m.path)), ["b.json", "b.json.bak"], "names")
		equal(read(path("b.json.bak")), b'[{"c":"1"}]', "what was renamed away")
		verified(m)


@case("a temp file is renamed to a session that was saved the same and removed meanwhile")
def renamed_same(t):
	for text in (b"", b"[]", b"[1]", b"[1, 2]"):
		with open(t.path("x.tmp"), "wb") as f:
			write(t.path("b.json"), b"[1, 2]")
			os.unlink(t.path("b.json"))
			f.write(text)
		os.rename(t.path("x.tmp"), t.path("b.json"))
		equal(os.listdir(t.dir), ["b.json"], f"names after {text}")
		equal(read(t.path("b.json")), text, "the session")
		os.unlink(t.path("b.json"))


def close_on_exec(path):
	"""A child is run without closing anything first: the kernel closes at exec what is marked so."""
	with open(path, "w") as f:
		f.write('[{"c":"1"}')
		f.flush()
		subprocess.run(["/bin/true"], close_fds=False, check=True)
		f.write("]")


def exec_itself(path):
	f = open(path, "w")
	f.write('[{"c":"1"}]')
	f.flush()
	os.execv("/bin/true", ["true"])


@cases("a descriptor that closes at exec: {}", [("of a child", close_on_exec), ("of the writer", exec_itself)])
def closes_at_exec(t, name, function):
	with t.new_mount() as m:
		path = os.path.join(m.path, "a.json")
		child = Child(function, path)
		# Until the daemon answers, the process can neither go on nor be killed, nor be looked at by others.
		ended = threading.Timer(30, m.kill)
		ended.start()
		child.wait()
		ended.cancel()
		require(m.daemon, "exec hung until the daemon was killed")
		eventually(lambda: read(path), b'[{"c":"1"}]', "the session")


@case("a file that was opened to read and made by that is there")
def made_by_reader(t):
	for name in ("a.json", "b.jsonl", "c.json.tmp", "d"):
		os.close(os.open(t.path(name), os.O_RDONLY | os.O_CREAT, 0o640))
		equal(os.stat(t.path(name)).st_mode & 0o7777, 0o640, name)
		equal(read(t.path(name)), b"", name)


@case("a temp file that was made to be read is replaced by a rename")
def replaced_reader(t):
	fd = os.open(t.path("a.json.bak"), os.O_RDONLY | os.O_CREAT, 0o644)
	write(t.path("a.json.tmp"), b"[]")
	os.rename(t.path("a.json.tmp"), t.path("a.json.bak"))
	equal(read(t.path("a.json.bak")), b"[]", "what was renamed")
	os.close(fd)
	equal(os.listdir(t.dir), ["a.json.bak"], "names")


@case("open with O_CREAT finds or makes a file, whatever others do with the name")
def creates_always(t):
	for options in ((), ("allow_other",)):
		with t.new_mount(options=options, expected=["refused"]) as m:
			together([lambda n=n: create_often(m.path, n) for n in range(4)])


def create_often(directory, n):
	"""Refused documents, complete ones, and none; made, unlinked and renamed away all the time."""
	flags = (os.O_CREAT | os.O_WRONLY | os.O_TRUNC, os.O_CREAT | os.O_RDWR, os.O_CREAT | os.O_WRONLY | os.O_APPEND, os.O_CREAT | os.O_RDWR | os.O_TRUNC)
	choose = random.Random(SEED + n)
	for _ in range(200 if QUICK else 1000):
		path = os.path.join(directory, choose.choice(["a.json", "b.json"]))
		fd = os.open(path, choose.choice(flags), 0o644)
		os.fstat(fd)
		os.write(fd, choose.choice([b'[{"a":', b"[1]", b""]))
		with contextlib.suppress(OSError):
			os.close(fd)
		with contextlib.suppress(FileNotFoundError):
			if (what := choose.randrange(8)) < 2:
				os.unlink(path)
			elif what == 2:
				os.rename(path, os.path.join(directory, "z.json.bak"))
			elif what == 3:
				os.close(os.open(path, os.O_RDONLY))


if __name__ == "__main__":
	main()
