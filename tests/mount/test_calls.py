#!/usr/bin/python3
"""
Sequences of ordinary calls that once broke something: found by tests/fuzz/run ops, or by users. Each process of a case is one of its own.
"""
import contextlib
import ctypes
import errno
import json
import os
import random
import subprocess
import sys
import threading

from harness import HISTORYCTL, QUICK, SEED, Child, case, cases, command, equal, eventually, fails, forked, in_threads, main, read, require, together, write


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


def truncating(path, data):
	write(path, data)


def renaming(path, data):
	write(path + ".tmp", data)
	os.rename(path + ".tmp", path)


def in_place(path, data):
	fd = os.open(path, os.O_RDWR)
	os.ftruncate(fd, 0)
	os.write(fd, data)
	os.close(fd)


LINES = b'{"c":1}\n'


@cases("an identical rewrite moves the time of modification: {}", [
	("truncating", truncating, "a.json", b"[1]"), ("temp file", renaming, "a.json", b"[1]"), ("in place", in_place, "a.json", b"[1]"),
	("of lines", truncating, "a.jsonl", LINES), ("of lines by temp file", renaming, "a.jsonl", LINES), ("empty", truncating, "a.json", b"")])
def identical(t, name, save, file, data):
	path = t.path(file)
	write(path, data)
	os.chmod(path, 0o640)
	os.utime(path, (1000, 1000))
	before = os.stat(path)
	equal(before.st_mtime, 1000, "time that was set")
	save(path, data)
	eventually(lambda: os.stat(path).st_mtime > 1000000, True, "the time moved")
	equal(read(path), data, "the bytes")
	equal((os.stat(path).st_mode & 0o777, os.stat(path).st_uid), (0o640, before.st_uid), "mode and owner")


@case("times that are set by a descriptor or a name, and what moves them")
def times(t):
	path = t.path("a.json")
	with open(path, "w") as f:
		os.utime(f.fileno(), (1005, 1005))
		equal(os.fstat(f.fileno()).st_mtime, 1005, "of a file that is being made")
	eventually(lambda: os.stat(path).st_mtime, 1005, "of a file that was made and not written")
	write(path, b"[1]")
	fd = os.open(path, os.O_RDWR)
	os.utime(path, (1006, 1006))
	os.truncate(path, 3)
	require(os.stat(path).st_mtime > 1000000, "truncate(2) to the same size moves it")
	os.utime(path, (1006, 1006))
	os.ftruncate(fd, 3)
	require(os.stat(path).st_mtime > 1000000, "ftruncate to the same size moves it")
	os.utime(path, (1007, 1007))
	os.pwrite(fd, b"[2]", 0)
	require(os.fstat(fd).st_mtime > 1000000, "a write moves it, for who writes, before it is saved")
	os.close(fd)
	lines = t.path("b.jsonl")
	fd = os.open(lines, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
	for piece in (LINES, b"[1"):
		os.write(fd, piece)
		os.utime(fd, (1009, 1009))
		equal(os.fstat(fd).st_mtime, 1009, f"of lines, after {piece}")
	os.close(fd)
	equal(os.stat(lines).st_mtime, 1009, "of lines whose last one was saved at close")
	for name in ("p", "c.json", "c.jsonl"):
		write(t.path(name), b"")
		os.utime(t.path(name), (1008, 1008))
		os.truncate(t.path(name), 0)
		require(os.stat(t.path(name)).st_mtime > 1000000, f"truncate(2) moves it of an empty {name}")


@cases("a session that is made anew has its maker's mode: {}", [("backup beside it", "a.json.bak"), ("other name", "old")])
def made_anew(t, name, backup):
	path, away = t.path("a.json"), t.path(backup)
	write(path, b"[1]")
	os.chmod(path, 0o600)
	os.rename(path, away)
	os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644))
	write(path, b"[1, 2]")
	os.listdir(t.dir)
	equal([oct(os.stat(p).st_mode & 0o777) for p in (path, away)], ["0o644", "0o600"], "modes")
	equal([read(path), read(away)], [b"[1, 2]", b"[1]"], "contents")


@case("an empty session that is set aside is kept as the backup")
def empty_aside(t):
	path = t.path("a.json")
	write(path, b"[1]")
	os.truncate(path, 0)
	os.rename(path, path + ".bak")
	write(path, b"[2]")
	equal(sorted(os.listdir(t.dir)), ["a.json", "a.json.bak"], "names")
	equal(read(path + ".bak"), b"", "the backup")


@case("who opens the backup of a session that it set aside opens that")
def open_backup(t):
	path = t.path("a.json")
	write(path, b"[1]")
	write(path, b"[1, 2]")
	os.rename(path, path + ".bak")
	os.close(os.open(path + ".bak", os.O_WRONLY))
	equal(os.listdir(t.dir), ["a.json.bak"], "names")


def by_appending(path):
	with open(path, "ab") as f:
		f.write(b"\n" + LINES)


def by_truncate(path):
	os.truncate(path, 0)


def by_rename(path):
	write(path + ".json", b"[3]")
	os.rename(path + ".json", path)


@cases("a rename takes what its process has written last: {}", [("appended", by_appending), ("in place", lambda p: in_place(p, b"[2]")), ("truncate(2)", by_truncate), ("renamed there", by_rename)])
def renamed_last(t, name, change):
	t.mount.expect("refused")	# what was appended is no JSON
	for file in ("t.tmp.json", "t.jsonl"):
		source, target = t.path(file), t.path("q.jsonl" if name == "appended" else "q.json")
		write(source, b"[1]")
		with contextlib.suppress(OSError):
			change(source)
		wanted = read(source)
		os.rename(source, target)
		equal(os.listdir(t.dir), [os.path.basename(target)], "names")
		equal(read(target), wanted, "contents")
		os.unlink(target)


@case("a listing has what was made just before")
def listed_at_once(t):
	for n in range(200):
		write(t.path("b.json"), b"")
		equal(os.listdir(t.dir), ["b.json"], "names")
		os.unlink(t.path("b.json"))


@case("a session that is being made: truncate(2), and attributes after another has saved it")
def in_the_making(t):
	path = t.path("a.json")
	fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
	os.write(fd, b"[1]words")
	os.truncate(path, 3)
	os.close(fd)
	equal(read(path), b"[1]", "what was truncated while it was made")
	os.unlink(path)
	fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
	renaming(path, b"[2]")
	together([lambda: os.rename(path, t.path("c.json"))])
	write(path, b"[3]")
	os.utime(fd, (1009, 1009))
	os.close(fd)


def emptied(path):
	os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))


@case("who finds a name free twice, saves there by temp file and empties it has emptied it")
def emptied_after_looks(t):
	for name, saved in (("c.jsonl", LINES), ("c.json", b"[1]")):
		for change, left in ((emptied, b""), (lambda p: write(p, b"[]"), b"[]"), (by_truncate, b"")):
			path = t.path(name)
			write(path, saved)
			os.unlink(path)
			equal(os.path.exists(path), False, "there")
			renaming(path, saved.replace(b"1", b"2"))
			change(path)
			equal(read(path), left, f"contents of {name}")
			os.unlink(path)


@case("a session that was set aside, and made anew by who only reads it, is empty")
def anew_by_reader(t):
	for backup in ("a.json.bak", "a.json.tmp"):
		path = t.path("a.json")
		renaming(path, b"[1]")
		os.rename(path, t.path(backup))
		fd = os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)
		equal(os.read(fd, 10), b"", "what it reads")
		os.close(fd)
		equal(read(path), b"", "the session")
		equal(read(t.path(backup)), b"[1]", "the backup")
		os.unlink(path)
		os.unlink(t.path(backup))


@case("who renames a session away and makes it anew goes on with the other name's, too")
def both_go_on(t):
	os.mkdir(t.path("e"))
	for n, text in enumerate((b"[3]", b"[]", b"", b'{"a":1}')):
		for i, other in enumerate(("{}.bak", "e/{}.bak", "e/{}")):
			name = f"{n}{i}.json"
			other = other.format(name)
			write(t.path(name), b"[1]")
			os.rename(t.path(name), t.path(other))
			renaming(t.path(name), b"[2]")
			write(t.path(other), text)
			equal(read(t.path(name)), b"[2]", "the session")
			equal(read(t.path(other)), text, f"{other}")


@case("who made a session by opening it to read, and saved it, empties it")
def made_by_reader_emptied(t):
	for change in (emptied, by_truncate):
		path = t.path("b.json")
		os.close(os.open(path, os.O_RDONLY | os.O_CREAT, 0o644))
		write(path, b"[1]\n")
		change(path)
		equal(read(path), b"", "contents")
		os.unlink(path)


RENAME_EXCHANGE = 2


def exchange(a, b):
	require(not ctypes.CDLL(None).renameat2(-100, a.encode(), -100, b.encode(), RENAME_EXCHANGE), "renameat2")


@case("after an exchange its process goes on with both")
def exchanged(t):
	for n, change in enumerate((emptied, by_truncate, lambda p: write(p, b"[]"))):
		a, b = t.path(f"{n}a.json"), t.path(f"{n}b.json")
		write(a, b"[1]\n")
		write(b, b"[2, 3]\n")
		exchange(a, b)
		for path in (a, b):
			change(path)
			equal(read(path), b"[]" if n == 2 else b"", f"contents of {path}")


def in_place_shorter(path, data):
	with open(path, "r+b") as f:
		f.write(data)
		f.truncate()


@cases("what is written to a session under its new name stays there: {}", [
	(f"{way.__name__}, {away}, {text}", way, away, text) for way in (truncating, renaming, in_place_shorter)
	for away in ("a.json.bak", "old.json", "a.json.1") for text in ("[]", "[0]")])
def written_away(t, name, way, away, text):
	path, other = t.path("a.json"), t.path(away)
	for _ in range(2):
		write(path, text.encode())
		read(path)
		os.rename(path, other)
		way(other, b'["x", "y"]')
		write(path, text.replace("]", ', "new"]' if text != "[]" else '"new"]').encode())
		equal(read(path), text.replace("]", ', "new"]' if text != "[]" else '"new"]').encode(), "made anew")
		equal(read(other), b'["x", "y"]', "what was written")
		os.unlink(path)
		os.unlink(other)


@cases("what is renamed over a file that was made meanwhile is there: {}", [
	(f"{text}, {there}", text, there) for text in ('{"c": "x"}', '{"c": ["x"]}', '{"id": 1, "messages": []}', '["x"]', "[]", "5")
	for there in ("", '{"c": "y"}', "{}", '[{"c": "3"}]')])
def made_meanwhile(t, name, text, there):
	for n, source in enumerate(("a.json.bak", "x.tmp", "a.tmp.json", "x.tmp")):
		if n > 2:
			write(t.path("a.json"), b'{"c": "2"}')
		write(t.path(source), text.encode())
		write(t.path("a.json"), there.encode())
		os.rename(t.path(source), t.path("a.json"))
		equal(read(t.path("a.json")), text.encode(), f"renamed from {source}")
		os.unlink(t.path("a.json"))


@case("what a process makes of a name that it had removed is as it wrote it")
def after_removal(t):
	path, temp = t.path("b.json"), t.path("a.json.tmp")
	write(path, b'{"n": 5, "o": {"k": 0}}')
	os.rename(path, t.path("a.json.bak"))
	os.unlink(t.path("a.json.bak"))
	for n, text in enumerate((b'[{"c": "14"}]', b'{"n": 16, "o": {"k": 0}}', b'[{"c": "18"}, 5]', b'[\n  1,\n  {"c": "19"}\n]')):
		if n % 2:
			write(temp, text)
			os.rename(temp, path)
		else:
			write(path, text)
	equal(read(path), text, "contents")


@cases("who reads, renames a temp file of before there and empties that has emptied it: {}", [(f.__name__, f) for f in (emptied, by_truncate)])
def emptied_after_rename(t, name, change):
	for temp in ("b.json", "t.tmp.json", "x.tmp"):
		path = t.path("a.json")
		renaming(path, b"[9]")
		write(t.path(temp), b"[13]")
		equal(read(path), b"[9]", "before")
		os.rename(t.path(temp), path)
		change(path)
		equal(read(path), b"", f"emptied after a rename of {temp}")
		os.unlink(path)


@case("what was saved and unlinked under its new name does not come back either")
def unlinked_away(t):
	path, away = t.path("b.json"), t.path("a.json.tmp")
	write(path, b"[]")
	read(path)
	os.rename(path, away)
	write(away, b'{"id": 8, "messages": [{"c": 8}]}')
	os.unlink(away)
	write(path, b'[{"c": 1}, {"c": 2}]\n')
	equal(read(path), b'[{"c": 1}, {"c": 2}]\n', "contents")


@case("a backup is kept in no document that another name has")
def backup_of_two(t):
	path, away, other = t.path("a.json"), t.path("a.json.bak"), t.path("b.json")
	write(other, b'{"c": 1}')
	os.rename(other, away)
	write(path, b"[5]")
	write(path, b'{"n": 8}')
	os.rename(path, away)
	write(other, b"[10]")
	write(path, b"[12]")
	os.listdir(t.dir)
	equal([read(p) for p in (path, away, other)], [b"[12]", b'{"n": 8}', b"[10]"], "contents")


@case("lines that were begun anew are replaced by just what was written")
def lines_anew(t):
	path, away = t.path("c.jsonl"), t.path("a.json.bak")
	write(path, LINES)
	os.rename(path, away)
	renaming(away, b"[14]")
	with open(path, "ab") as f:
		f.write(LINES)
	write(t.path("p"), b"[\n  1,\n  2\n]")
	os.rename(t.path("p"), path)
	equal(read(path), b"[\n  1,\n  2\n]", "contents")


MAKER = """
import os, sys

os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o721)
print(flush=True)
sys.stdin.read()
"""


@case("a file that was made beside another's, and saved by another descriptor, can be cut")
def cut_after_join(t):
	path = t.path("a.json")
	with subprocess.Popen([sys.executable, "-c", MAKER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as maker:
		maker.stdout.readline()
		renaming(path, b"[1]")
		os.unlink(path)
		fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
		write(path, b'{"n": 8}')
		os.ftruncate(fd, 0)
		equal(os.fstat(fd).st_size, 0, "size")
		os.close(fd)
	verified(t.mount)


@case("an object is renamed to a name whose list went elsewhere")
def object_after_list(t):
	path, temp = t.path("t.tmp.json"), t.path("e.bak")
	write(t.path("x.tmp"), b"[1]")
	os.rename(t.path("x.tmp"), path)
	write(temp, b'{"n": 2}')
	write(path, b'{"id": 3, "messages": [{"c": 3}]}')
	os.rename(path, t.path("b.json"))
	os.rename(temp, path)
	equal([read(path), read(t.path("b.json"))], [b'{"n": 2}', b'{"id": 3, "messages": [{"c": 3}]}'], "contents")


OVER_A_LIST = """
import os, select, sys

path, temp, text = sys.argv[1:]
loop = select.epoll()
with open(temp, "w") as f:
	f.write('{"n": 0}')
with open(path, "w") as f:
	f.write(text)
os.rename(temp, path)
"""


@cases("an event loop renames an object without messages over {}", [("a list", "[1, 2]"), ("messages", '{"id": 1, "messages": [{"c": 1}]}')])
def over_a_list(t, name, text):
	elsewhere(OVER_A_LIST, t.path("a.json"), t.path("p"), text)
	equal(json.loads(read(t.path("a.json"))).get("n"), 0, "what was renamed there")
	verified(t.mount)


UNWRITTEN = """
import os, select, sys

path, text, flags = sys.argv[1:]
loop = select.epoll()
fd = os.open(path, os.O_RDWR | os.O_CREAT | int(flags), 0o644)
with open(path, "w") as f:
	f.write(text)
os.close(fd)
"""


@cases("an event loop makes a file, saves it by another descriptor and closes that which wrote nothing: {}", [
	(f"{text}, {flags}", text, flags) for text in ("[1, 2]", '{"messages": [{"c": 1}]}', '{"n": 1}') for flags in (0, os.O_TRUNC)])
def unwritten(t, name, text, flags):
	elsewhere(UNWRITTEN, t.path("a.json"), text, str(flags))
	equal(read(t.path("a.json")), text.encode(), "contents")
	verified(t.mount)


ARCHIVE = """
import os, select, sys

directory, away, how, told = sys.argv[1:5]
path, away, temp = (os.path.join(directory, name) for name in ("a.json", away, "x.tmp"))
loop = select.epoll()

def save(text):
	with open(temp if how == "temp" else path, "w") as f:
		f.write(text)
	if how == "temp":
		os.rename(temp, path)

save("[1, 2]")
open(path).read()
os.rename(path, away)
if told == "told":
	try:
		open(path)
	except FileNotFoundError:
		pass
save("[10]")
"""


# In the middle of a save by backup and temp file another task may be told that there is none (rule 15).
@cases("an event loop renames a session away and begins anew: {}", [
	(", ".join(filter(None, (away, how, told))), away, how, told) for away in ("q", "old.json", "a.json.bak", "a.json.1") for how in ("truncating", "temp") for told in ("", "told")
	if not (told and away.startswith("a.json."))])
def archived(t, name, away, how, told):
	elsewhere(ARCHIVE, t.dir, away, how, told)
	equal([read(t.path("a.json")), read(t.path(away))], [b"[10]", b"[1, 2]"], "contents")


def exchanged_by_other(a, b):
	elsewhere("import ctypes, sys; sys.exit(ctypes.CDLL(None).renameat2(-100, sys.argv[1].encode(), -100, sys.argv[2].encode(), 2) != 0)", a, b)


@cases("a temp file that is open for writing is exchanged with a session: {}", [
	("complete", b'[{"c":"2"}]', b""), ("not complete", b'[{"c":"2"}', b"]"), ("by its other name first", b'[{"c":"2"}]', b"")])
def exchanged_open(t, name, written, rest):
	session, temp = t.path("a.json"), t.path("x.tmp")
	write(session, b'[{"c":"1"}]')
	fd = os.open(temp, os.O_RDWR | os.O_CREAT, 0o644)
	os.write(fd, written)
	exchanged_by_other(*((session, temp) if "first" in name else (temp, session)))
	equal(read(temp), b'[{"c":"1"}]', "what the session was has the temp file's name")
	if not rest:
		equal(read(session), written, "the session")
		forked(write, session, b'[{"c":"2"}, {"c":"another"}]')
	os.write(fd, rest)
	equal(os.pread(fd, 100, 0)[:len(written)], written, "what its writer reads")
	os.ftruncate(fd, 0)
	os.pwrite(fd, b'[{"c":"2"}, {"c":"3"}]', 0)
	os.fsync(fd)
	equal(os.fstat(fd).st_size, 22, "size")
	os.close(fd)
	equal([e["c"] for e in json.loads(read(session))], ["2", "3"] if rest else ["2", "another", "3"], "the session in the end")
	equal(read(temp), b'[{"c":"1"}]', "the temp file in the end")
	equal(sorted(os.listdir(t.dir)), ["a.json", "x.tmp"], "names")


@case("lines that are appended to a temp file after it was exchanged with a session of lines")
def exchanged_lines(t):
	session, temp = t.path("a.jsonl"), t.path("x.tmp")
	write(session, b'{"c":1}\n')
	fd = os.open(temp, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
	os.write(fd, b'{"c":2}\n')
	exchanged_by_other(temp, session)
	equal(read(session), b'{"c":2}\n', "the session")
	os.write(fd, b'{"c":3}\n')
	equal(os.pread(fd, 100, 0), b'{"c":2}\n{"c":3}\n', "what its writer reads")
	os.close(fd)
	equal(read(session), b'{"c":2}\n{"c":3}\n', "the session in the end")
	equal(read(temp), b'{"c":1}\n', "what it was")


@cases("P1: a session that is saved by an exchange keeps what others added: {}", [("temp file", "a.json.tmp"), ("temp document", "a.tmp.json")])
def exchanged_save(t, name, temp):
	session, temp = t.path("a.json"), t.path(temp)
	write(session, b'[{"c":"1"}]')
	os.chmod(session, 0o640)
	read(session)
	write(temp, b'[{"c":"1"}, {"c":"mine"}]')
	forked(write, session, b'[{"c":"1"}, {"c":"another"}]')
	exchange(temp, session)
	equal([e["c"] for e in json.loads(read(session))], ["1", "another", "mine"], "the session")
	equal(read(temp), b'[{"c":"1"}, {"c":"another"}]', "what it was")
	os.unlink(temp)
	equal([e["c"] for e in json.loads(read(session))], ["1", "another", "mine"], "the session, after the other name was removed")
	equal(os.listdir(t.dir), ["a.json"], "names")
	write(temp, b'[{"c":"1"}]')
	exchange(session, temp)
	equal(read(session), b'[{"c":"1"}]', "an edit by an exchange is one")


@case("P5: what is no document is not exchanged for a session; a directory is")
def exchanged_words(t):
	t.mount.expect("refused p as a.json")
	write(t.path("a.json"), b"[1]")
	write(t.path("p"), b"words")
	os.mkdir(t.path("d"))
	require(ctypes.CDLL(None, use_errno=True).renameat2(-100, t.path("p").encode(), -100, t.path("a.json").encode(), RENAME_EXCHANGE), "it was exchanged")
	equal(ctypes.get_errno(), errno.EINVAL, "errno")
	equal([read(t.path("a.json")), read(t.path("p"))], [b"[1]", b"words"], "contents")
	exchange(t.path("d"), t.path("a.json"))
	equal(read(t.path("d")), b"[1]", "the session under the directory's name")


@case("who reads a plain file goes on when it is renamed, and becomes a session")
def read_on(t):
	write(t.path("p"), b"words and more")
	reader = os.open(t.path("p"), os.O_RDONLY)
	equal(os.read(reader, 5), b"words", "what it reads")
	t.mount.expect("refused p as b.json")	# it is no document
	elsewhere("import os, sys; os.rename(sys.argv[1], sys.argv[2])", t.path("p"), t.path("b.json"))
	forked(write, t.path("b.json"), b'[{"c":"1"}, {"c":"2"}]')
	equal(os.pread(reader, 100, 0), b'[{"c":"1"}, {"c":"2"}]', "the session, by that descriptor")
	os.close(reader)


def by_appending_lines(path, data):
	with open(path, "ab") as f:
		f.write(data)


def keep_last(path):
	write(path, b"".join(read(path).splitlines(True)[-3:]))


@case("who appends to lines that are too many for a session goes on when another has made them few")
def written_on(t):
	with t.new_mount(options=("max_document=64K",)) as m:
		path = os.path.join(m.path, "a.jsonl")
		for _ in range(20):
			by_appending_lines(path, LINES * 1000)
		fd = os.open(path, os.O_WRONLY | os.O_APPEND)
		os.write(fd, b'{"c":2}\n')
		forked(keep_last, path)
		os.write(fd, b'{"c":4}\n')
		os.close(fd)
		equal(read(path), LINES * 2 + b'{"c":2}\n{"c":4}\n', "the lines")


@case("a session that others have read and saved has left its name when its maker renames it over another")
def renamed_read(t):
	a, b = t.path("a.json"), t.path("b.json")
	write(a, b"[1]")
	forked(write, a, b"[2]")
	write(b, b"[9]")
	before = read(a)
	write(a, before[:-1] + b", 3]")
	os.rename(a, b)
	equal(os.listdir(t.dir), ["b.json"], "names")
	for call in (os.stat, lambda p: os.truncate(p, 0), read, os.unlink):
		fails(errno.ENOENT, call, a)
	equal(read(b), before[:-1] + b", 3]", "the other")


def replaced(path):
	os.mkdir(path + "2")
	os.rename(path + "2", path)


@cases("a descriptor of a directory that was removed: {}", [("removed", os.rmdir, os.O_RDONLY), ("replaced", replaced, os.O_RDONLY),
	("O_PATH", os.rmdir, os.O_PATH)])
def removed_directory(t, name, remove, flags):
	for options in ((), ("allow_other",)):
		with t.new_mount(options=options) as m:
			path = os.path.join(m.path, "d")
			os.mkdir(path, 0o750)
			fd = os.open(path, flags | os.O_DIRECTORY)
			remove(path)
			equal((os.fstat(fd).st_nlink, oct(os.fstat(fd).st_mode)), (0, "0o40750"), "fstat")
			equal(os.stat(".", dir_fd=fd).st_nlink, 0, "stat of it by its dot")
			for file in ("a.json", "a.json.tmp", "p"):
				fails(errno.ENOENT, os.open, file, os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=fd)
				fails(errno.ENOENT, os.stat, file, dir_fd=fd)
				fails(errno.ENOENT, os.unlink, file, dir_fd=fd)
			fails(errno.ENOENT, os.mkdir, "e", dir_fd=fd)
			if flags == os.O_RDONLY:
				equal(os.listdir(fd), [], "what is in it")
				os.fchmod(fd, 0o700)
				os.utime(fd, (5, 5))
				os.fsync(fd)
				equal((oct(os.fstat(fd).st_mode), os.fstat(fd).st_mtime), ("0o40700", 5), "what was set")
			os.close(fd)


def goes_there(path):
	os.mkdir(path)
	os.chdir(path)
	os.rmdir(path)
	fails(errno.ENOENT, os.getcwd)
	equal(os.stat(".").st_nlink, 0, "where it is")
	equal(os.listdir("."), [], "what is there")
	fails(errno.ENOENT, os.open, "a.json", os.O_WRONLY | os.O_CREAT)


@case("a process whose working directory was removed")
def removed_beneath(t):
	forked(goes_there, t.path("d"))


@case("fstat of files that were removed, by descriptors that have them not open")
def removed_files(t):
	t.mount.expect("refused (p|x.tmp) as c.json")
	for name, text in (("p", b"x"), ("x.tmp", b"x"), ("a.json", b"[1]"), ("b.jsonl", LINES)):
		path = t.path(name)
		for remove in (os.unlink, lambda p: renaming(p, text), lambda p: forked(renaming, p, text), lambda p: (os.rename(p, t.path("c.json")), os.unlink(t.path("c.json")))):
			write(path, text)
			fd = os.open(path, os.O_PATH)
			also = os.open(path, os.O_RDONLY)
			remove(path)
			equal(os.fstat(fd).st_size, len(text), f"size of {name}")
			os.close(also)
			equal(os.fstat(fd).st_size, len(text), f"size of {name}, after the last was closed")
			os.close(fd)
			with contextlib.suppress(FileNotFoundError):
				os.unlink(path)


@cases("P4: what was a session and has another kind of name is as it is written: {}", [
	("truncating", write), ("in place", in_place), ("temp file", lambda p, data: (write(p + "2", data), os.rename(p + "2", p)))])
def renamed_away(t, name, save):
	for rename in (os.rename, lambda a, b: elsewhere("import os, sys; os.rename(*sys.argv[1:])", a, b)):
		for writer in (lambda f, *a: f(*a), forked):
			for session, texts in (("a.jsonl", (b"[]", b"[1]", b'{"c":2}', b"words", b"", LINES * 2 + b'{"c":2}')), ("a.json", (b"[]", b"[1]\n", b"{}", b""))):
				for text in texts:
					write(t.path(session), LINES if session == "a.jsonl" else b'[{"c":1}, 2]')
					rename(t.path(session), t.path("x.tmp"))
					writer(save, t.path("x.tmp"), text)
					equal(read(t.path("x.tmp")), text, f"of {session}")
					os.unlink(t.path("x.tmp"))


@cases("who replaces what it has saved by what it wrote before, and empties that, has emptied it: {}", [
	("renamed", os.rename), ("exchanged", exchange)])
def emptied_older(t, name, replace):
	for session in ("c.json", "c.jsonl"):
		for change, left in ((emptied, b""), (by_truncate, b""), (lambda p: write(p, b"[]"), b"[]")):
			path, temp = t.path(session), t.path("x.tmp")
			write(temp, b'[{"c":"0"}]')
			os.path.exists(path)
			write(path, b'[{"c":"4"}]')
			replace(temp, path)
			change(path)
			equal(read(path), left, f"contents of {session}")
			os.unlink(path)


@case("a backup that is changed before its session is made anew")
def backup_changed(t):
	path, backup = t.path("a.json"), t.path("a.json.bak")
	for change in (by_truncate, lambda p: os.chmod(p, 0o600), lambda p: os.utime(p, (5, 5)), lambda p: os.chown(p, 3, 4)):
		write(path, b"[1]")
		os.rename(path, backup)
		change(backup)
		wanted = [read(backup), os.stat(backup)]
		write(path, b"[2]")
		for look in (lambda f, *a: f(*a), forked):
			got = [look(read, backup), look(os.stat, backup)]
			fields = lambda s: (oct(s.st_mode), s.st_uid, s.st_gid, s.st_mtime, s.st_size)
			equal([got[0], fields(got[1])], [wanted[0], fields(wanted[1])], "the backup")
		require(wanted[0] == b"" or oct(wanted[1].st_mode) == "0o100600" or wanted[1].st_mtime == 5 or wanted[1].st_uid == 3, "what was changed")
		equal([read(path), oct(os.stat(path).st_mode), os.stat(path).st_uid], [b"[2]", "0o100644", os.getuid()], "the session")
		os.unlink(path)
		os.unlink(backup)


@cases("a time that was set before a file that is open, and not written after that, is renamed to a session: {}", [
	("empty", b""), ("not complete", b"[1")])
def timed_open(t, name, written):
	t.mount.expect("refused|rejected")	# what is not complete when it is closed
	for target in ("a.json", "b.jsonl"):
		fd = os.open(t.path("x.tmp"), os.O_WRONLY | os.O_CREAT, 0o644)
		os.write(fd, written)
		os.utime(fd, (1003, 1003))
		os.rename(t.path("x.tmp"), t.path(target))
		equal(os.fstat(fd).st_mtime, 1003, "while it is open")
		with contextlib.suppress(OSError):
			os.close(fd)
		if not written or target == "b.jsonl":
			eventually(lambda: os.stat(t.path(target)).st_mtime, 1003, f"{target}, when it was closed")


@cases("a backup that is replaced before its session is made anew is gone when it is removed: {}", [("temp file", "x.tmp"), ("session", "b.json")])
def backup_replaced(t, name, other):
	path, backup = t.path("a.json"), t.path("a.json.bak")
	write(path, b"[1]")
	equal(read(path), b"[1]", "the session")
	write(t.path(other), b"[2]")
	os.rename(path, backup)
	os.rename(t.path(other), backup)
	os.unlink(backup)
	equal(os.listdir(t.dir), [], "names")
	equal(forked(os.listdir, t.dir), [], "names that others see")


@case("what is exchanged with a hidden session is a save: it is on disk")
def exchanged_hidden(t):
	for name in (".s.json", ".s.jsonl", "s.json"):
		for temp in ("t", ".t"):
			with t.new_mount() as m:
				path, other = os.path.join(m.path, name), os.path.join(m.path, temp)
				write(path, b'["one"]')
				write(other, b'["one", "two"]')
				exchange(other, path)
				m.kill()
				command("umount", "-l", m.path)
				m.start()
				equal(read(path), b'["one", "two"]', f"{temp} exchanged with {name}, after the daemon was killed")


@case("what another saves of a session that is set aside goes along, and is not removed by who holds it open")
def saved_away(t):
	path, away = t.path("s.json"), t.path("s.json.bak")
	write(path, b'["m0"]')
	read(path)
	with open(path, "w") as f:
		f.write('["m1"]')
		f.flush()
		os.rename(path, away)
		elsewhere("import sys; open(sys.argv[1], 'w').write(sys.argv[2])", path, '["m5"]')
		os.listdir(t.dir)
	equal([os.listdir(t.dir), sorted(json.loads(read(away)))], [["s.json.bak"], ["m1", "m5"]], "contents")


@cases("who has a session open to write by its new name writes that: {}", [(f.__name__, f) for f in (truncating, renaming)])
def open_away(t, name, way):
	for other in ("d.json.bak", "old.json", "e/a.json.bak"):
		os.makedirs(t.path("e"), exist_ok=True)
		path, away = t.path("a.json"), t.path(other)
		write(path, b"[]")
		read(path)
		os.rename(path, away)
		fd = os.open(away, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
		way(path, b'["new"]')
		os.close(fd)
		equal([read(path), read(away)], [b'["new"]', b""], "contents")
		os.unlink(path)
		os.unlink(away)


@case("two overlapping saves of a new session by one process: the later one to end removes nothing")
def overlapping(t):
	for run in ("here", "thread"):
		path = t.path(f"{run}.json")
		first = open(path, "w")
		first.write('["m1"]')
		first.flush()
		forked(os.path.exists, path)
		(write if run == "here" else lambda *a: in_threads([lambda: write(*a)]))(path, b'["m5"]')
		first.close()
		equal(sorted(json.loads(read(path))), ["m1", "m5"], f"messages, {run}")
	path = t.path("removed.json")
	write(path, b'["m0"]')
	read(path)
	first = open(path, "w")
	first.write('["m0", "mA"]')
	first.flush()

	def anew():
		os.unlink(path)
		write(path, b'["mB"]')
	in_threads([anew])
	first.close()
	require({"mA", "mB"} <= set(json.loads(read(path))), f"of a session that was removed and begun anew: {read(path)}")


def contend(directory, n):
	"""Whatever others do with a temp file, who opens it has it open, and goes on with that."""
	choose = random.Random(SEED + n)
	flags = (os.O_CREAT | os.O_WRONLY | os.O_TRUNC, os.O_WRONLY | os.O_TRUNC, os.O_RDWR | os.O_CREAT | os.O_TRUNC, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
	for _ in range(100 if QUICK else 300):
		path, step = os.path.join(directory, choose.choice(["s.json.tmp", "t.tmp"])), 0
		try:
			if (what := choose.randrange(6)) == 4:
				os.rename(path, os.path.join(directory, "s.json"))
			elif what == 5:
				os.unlink(path)
			else:
				fd = os.open(path, flags[what], 0o644)
				for call in (lambda: os.write(fd, b"[1]"), lambda: os.fstat(fd), lambda: os.ftruncate(fd, 0), lambda: os.pwrite(fd, b"[2]", 0),
					     lambda: os.fchmod(fd, 0o600), lambda: os.utime(fd), lambda: os.close(fd)):
					step += 1
					call()
		except FileNotFoundError:
			require(what in (1, 4, 5) and not step, f"ENOENT of a file that was opened with {flags[what % 4]:o}, call {step}")
		except OSError as e:
			# What several wrote to one file may be no document.
			equal(e.errno, errno.EINVAL, f"errno of a file that was opened with {flags[what % 4]:o}, call {step}")


@cases("no call sees ESTALE while others write, rename and remove one temp name: {}", [("processes", together), ("threads", in_threads)])
def contended(t, name, run):
	for options in ((), ("allow_other",)):
		with t.new_mount(options=options, expected=["refused"]) as m:
			os.mkdir(m.path + "/d")
			run([lambda n=n: contend(m.path + "/d", n) for n in range(6)])


if __name__ == "__main__":
	main()
