#!/usr/bin/python3
"""Files of lines (*.jsonl): killed writers and daemons, stores of before they were a kind of document, historyctl."""
import json
import os
import subprocess
import time

from lines import append, by_open, record
from harness import CONTROL, HISTORYCTL, Child, Skip, case, cases, command, equal, eventually, forked, main, read, require, together, write


# ---- P5 -----------------------------------------------------------------------------------------------------------

def held(function):
	"""A child that runs the function and then waits to be killed; returns once it has run."""
	reader, writer = os.pipe()

	def run():
		keep = function()
		os.write(writer, b"x")
		time.sleep(1000)
		return keep
	child = Child(run)
	os.close(writer)
	equal(os.read(reader, 1), b"x", "the child's word")
	os.close(reader)
	return child


def kill(child):
	child.kill()
	child.wait()
	os.close(child.reader)


def half_rewrite(path, flags):
	fd = os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o644)
	os.write(fd, b"new\nhalf a li")
	return fd


@cases("P5: a writer killed in the middle of a rewrite ({}) changes nothing, its bytes are kept", [("O_TRUNC", os.O_TRUNC), ("r+", 0)])
def killed_rewrite(t, name, flags):
	if CONTROL:
		raise Skip("there is no daemon")
	path = t.path("torn.jsonl")
	forked(write, path, b"good\nlines\nthat stay\n")
	t.mount.expect(r"torn\.jsonl")
	rejected = t.mount.control_file("rejected")
	before, since = set(os.listdir(rejected)), t.mount.position()
	child = held(lambda: half_rewrite(path, flags))
	kill(child)
	eventually(lambda: len(t.mount.lines(r"torn\.jsonl.*killed", since)), 1, "log lines")
	equal(read(path), b"good\nlines\nthat stay\n", "the last good version")
	kept = [read(os.path.join(rejected, n)) for n in set(os.listdir(rejected)) - before]
	require(len(kept) == 1 and kept[0].startswith(b"new\nhalf a li"), f"kept: {kept}")
	kill(held(lambda: half_rewrite(t.path("torn.jsonl.tmp"), os.O_TRUNC)))
	os.unlink(t.path("torn.jsonl.tmp"))
	kill(held(lambda: os.open(path, os.O_WRONLY | os.O_TRUNC)))
	append(path, b"after\n")
	equal(read(path), b"good\nlines\nthat stay\nafter\n", "the next line")


@case("P5: of a killed appender whole lines stay, the one that had begun does not")
def killed_appender(t):
	if CONTROL:
		raise Skip("there is no daemon")
	path = t.path("torn.jsonl")
	t.mount.expect(r"torn\.jsonl")

	def appender(n):
		fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
		os.write(fd, b"whole %d\n" % n)
		os.write(fd, b"also %d\npart" % n)
		return fd
	wanted = b""
	for n in range(5):
		since = t.mount.position()
		kill(held(lambda n=n: appender(n)))
		eventually(lambda: len(t.mount.lines(r"torn\.jsonl.*killed", since)), 1, "log lines")
		wanted += b"whole %d\nalso %d\n" % (n, n)
		equal(read(path), wanted, f"after kill {n}")


@case("a child that inherits a handle ends nothing")
def inherited(t):
	path = t.path("log.jsonl")
	forked(write, path, b"old\n")
	with open(path, "wb", buffering=0) as f:
		f.write(b"new\nha")
		subprocess.run(["true"], close_fds=True)
		forked(lambda: None)
		equal(forked(read, path), b"old\n", "half a rewrite")
		f.write(b"lf\n")
	equal(read(path), b"new\nhalf\n", "after close")
	with open(path, "ab", buffering=0) as f:
		f.write(b"be")
		subprocess.run(["true"], close_fds=True)
		equal(forked(read, path), b"new\nhalf\n", "the beginning of a line")
		f.write(b"gun\n")
	equal(read(path), b"new\nhalf\nbegun\n", "after close")


@cases("the daemon is killed: lines whose {} had returned are there after a new mount", [("close",), ("fsync",)])
def daemon_killed(t, way):
	if CONTROL:
		raise Skip("there is no daemon")
	mount = t.new_mount(expected=["connected", "torn"]).start()
	path = os.path.join(mount.path, "log.jsonl")
	done = []
	for n in range(20):
		done.append(record("w", n, n * 100))
		fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
		os.write(fd, done[-1])
		if way == "close":
			os.close(fd)
		else:
			os.fsync(fd)
	fd = os.open(path, os.O_WRONLY | os.O_APPEND)
	os.write(fd, b"not yet on disk\nnor this")
	mount.kill()
	mount.start()
	lines = read(path)
	require(lines in (b"".join(done), b"".join(done) + b"not yet on disk\n"), f"lines: {lines[-300:]}")
	append(path, b"after\n")
	equal(read(path), lines + b"after\n", "appended after that")
	command(HISTORYCTL, "--store", mount.store, "verify")
	mount.stop()


# ---- Old stores, and the tool -------------------------------------------------------------------------------------

@case("a .jsonl of plain bytes: too large it stays so, else it becomes lines when it is opened")
def converted(t):
	if CONTROL:
		raise Skip("there is no daemon")
	data = b"".join(record("o", n) for n in range(200))
	path, store = t.place("mnt"), t.place("stores") + "/store"
	write(path + "/old.jsonl", data)
	small = t.new_mount(store, path, options=["max_document=4k"], arguments=["--import"], expected=["larger than"])
	with small as m:
		old = os.path.join(m.path, "old.jsonl")
		equal(read(old), data, "as plain bytes")
		together([lambda w=w: by_open(old, [b"w%d %d\n" % (w, n) for n in range(20)]) for w in range(4)])
		require(b"plain" in command(HISTORYCTL, "--store", m.store, "log", "old.jsonl", status=1).stderr.encode(), "it is a session")
		data = read(old)
		equal(data.count(b"\n"), 280, "lines, appended to plain bytes")
	with t.new_mount(store, path) as m:
		old = os.path.join(m.path, "old.jsonl")
		stat = os.stat(old)
		before = stat.st_mtime_ns
		equal((read(old), os.stat(old).st_mtime_ns), (data, before), "as lines, by reading")
		append(old, b"more\n")
		write(old, read(old).replace(b"w0 0\n", b"W0 0\n"))
		equal(read(old), data.replace(b"w0 0\n", b"W0 0\n") + b"more\n", "an edit")
		listed = json.loads(command(HISTORYCTL, "--store", m.store, "ls", "--json").stdout)
		equal([(row["session"], row["kind"], row["messages"]) for row in listed], [("old.jsonl", "session", 281)], "ls")
		equal(os.listdir(m.control_file("rejected")), [], "nothing was put aside")
		command(HISTORYCTL, "--store", m.store, "verify")


@case("historyctl on lines: append, ls, cat, log, undo, export, import, verify")
def tool(t):
	if CONTROL:
		raise Skip("there is no daemon")
	path = t.path("s.jsonl")

	def ctl(*words, status=0, **named):
		return command(HISTORYCTL, *words, status=status, **named).stdout
	ctl("append", path, "--role", "user", "--content", "a \n b")
	ctl("append", path, "--raw", input='{ "x": [1, 2.50,\n\t"q \\" \\\\" ],\n "y": NaN }\n')
	first = b'{"role":"user","content":"a \\n b"}\n{"x":[1,2.50,"q \\" \\\\"],"y":NaN}\n'
	equal(read(path), first, "two messages on two lines")
	append(path, b"not JSON")
	ctl("append", path, "--role", "user", "--content", "c")
	equal(read(path), first + b'not JSON\n{"role":"user","content":"c"}\n', "behind a line without newline")
	ctl("append", path, "--raw", status=1, input="{")
	equal(ctl("cat", "--last", "2", path), 'not JSON\n{"role":"user","content":"c"}\n', "cat --last")
	require("not JSON" in ctl("cat", "--pretty", path), "cat --pretty")
	write(path, first)
	version = [row["version"] for row in json.loads(ctl("log", "--json", path))]
	equal(version, [5, 4, 3, 2, 1], "log")
	ctl("undo", path, "5")
	equal(read(path), first + b'not JSON\n{"role":"user","content":"c"}\n', "undone")
	ctl("undo", path, "2")
	equal(read(path), first.splitlines(True)[0] + b'not JSON\n{"role":"user","content":"c"}\n', "an append undone")
	write(path, b"")
	eventually(lambda: read(path), b"", "emptied")
	ctl("undo", path, "7")
	equal(read(path), b'{"x":[1,2.50,"q \\" \\\\"],"y":NaN}\n', "what version 7 removed comes back to an empty file")
	out = t.place("export")
	ctl("--store", t.mount.store, "export", "--force", out)
	name = os.path.relpath(path, t.mount.path)
	equal(read(os.path.join(out, name)), read(path), "exported")
	new = t.place("stores") + "/store"
	ctl("--store", new, "import", out)
	with t.new_mount(new) as m:
		equal(read(os.path.join(m.path, name)), read(path), "imported")
	append(os.path.join(out, name), b"added beneath\n")
	ctl("--store", new, "import", out)
	with t.new_mount(new) as m:
		equal(read(os.path.join(m.path, name)), read(path) + b"added beneath\n", "imported again")
	ctl("--store", new, "verify")
	ctl("--store", t.mount.store, "verify")


if __name__ == "__main__":
	main()
