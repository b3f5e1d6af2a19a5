#!/usr/bin/python3
"""Temp files that are opened before the session is read, and such that are renamed before they are closed, perhaps before all is written."""
import errno
import os
import random
import select
import tempfile

from steps import Steps, contents, document
from harness import CONTROL, QUICK, SEED, Skip, case, cases, equal, eventually, fails, forked, in_threads, main, read, require, together, write

# ---- Opened first ----------------------------------------------------------------------------------------------

def opened_first(path, temp, texts, look):
	for text in texts:
		if look:
			contents(path)
		with open(temp, "wb") as f:
			f.write(document(*contents(path), text))
		os.rename(temp, path)


KINDS = [("processes", "tmp"), ("processes", "json"), ("threads", "tmp"), ("threads", "json"), ("event loops", "tmp"), ("event loops", "json")]


@cases("rule 3: a temp file is opened, then the session is read: {}", [(f"{kind}, {suffix}{', which have read it before' if look else ''}", kind, suffix, look)
	for kind, suffix in KINDS for look in (False, True)])
def temp_first(t, name, kind, suffix, look):
	path, saves = t.path("s.json"), 5 if QUICK else 10
	forked(write, path, document("first"))

	def writer(who):
		loop = select.epoll() if kind == "event loops" else None
		opened_first(path, t.path(f"{who}.{suffix}"), [f"{who}{n}" for n in range(saves)], look)
		return loop is None
	writers = [lambda who=who: writer(who) for who in "abcdefgh"]
	if kind == "threads":
		forked(in_threads, writers)
	else:
		together(writers)
	found = contents(path)
	equal((len(found), len(set(found))), (1 + 8 * saves, 1 + 8 * saves), "messages, and different ones")
	equal(os.listdir(t.dir), ["s.json"], "names")


# ---- Renamed before they are closed ----------------------------------------------------------------------------

TEMPS = ["s.json.tmp", "tmpx2_k1", "t.json", "s.tmp.json"]
WRITTEN = [("nothing", 0), ("the half", 0.5), ("all", 1)]
WAYS = [(f"{what} of {temp} is written", temp, part) for temp in TEMPS for what, part in WRITTEN]


def early(path, temp, text, part, flags=os.O_WRONLY | os.O_CREAT | os.O_TRUNC, end=b""):
	data = document(*contents(path), text)
	fd = os.open(temp, flags, 0o600)
	os.write(fd, data[:int(part * len(data))])
	os.rename(temp, path)
	yield
	for piece in (data[int(part * len(data)):], end):
		if piece:
			os.write(fd, piece)
	os.close(fd)
	equal(contents(path)[-1], text, "what the writer reads after its close")


@cases("{}: others see it whole, before or after; it is saved at the latest when it is closed", WAYS)
def seen_whole(t, name, temp, part):
	path = t.path("s.json")
	forked(write, path, document("first"))
	for n, flags in enumerate((os.O_WRONLY, os.O_RDWR, os.O_WRONLY)):
		before = contents(path)
		writer = Steps(early(path, t.path(temp), f"mine {n}", part, flags | os.O_CREAT | os.O_TRUNC, b"\n" if n == 2 else b""))
		writer.step()
		equal(forked(contents, path), before + [f"mine {n}"] * (part == 1), "seen before it is closed")
		equal(os.listdir(t.dir), ["s.json"], "names")
		writer.end()
		equal(forked(contents, path), before + [f"mine {n}"], "seen when it is closed")
	equal(os.listdir(t.dir), ["s.json"], "names in the end")


@cases("{}: what others save before it is closed stays", WAYS)
def merged(t, name, temp, part):
	path = t.path("s.json")
	forked(write, path, document("first"))
	writer, other = Steps(early(path, t.path(temp), "mine", part)), Steps(early(path, t.path("other"), "other", 0))
	writer.step()
	other.step()
	forked(lambda: write(path, document(*contents(path), "third")))
	writer.on()
	other.on()
	found = contents(path)
	equal((found[0], sorted(found[1:])), ("first", ["mine", "other", "third"]), "in the end")


@cases("{}: nothing is ever written: it is empty, as on any filesystem", [(temp, temp) for temp in TEMPS])
def emptied(t, name, temp):
	path = t.path("s.json")
	forked(write, path, document("first"))

	def program():
		fd = os.open(t.path(temp), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
		os.rename(t.path(temp), path)
		os.close(fd)
		equal(read(path), b"", "after the close")
	forked(program)
	equal(os.listdir(t.dir), ["s.json"], "names")


@case("a temp file that has been closed counts as closed, however busy the daemon is")
def closed(t):
	if not CONTROL:
		t.mount.expect(r"refused (\S*/)?t\w\.tmp")
	directory = t.dir

	def program(who):
		path, temp = f"{directory}/{who}.json", f"{directory}/t{who}.tmp"
		for n in range(30 if QUICK else 100):
			write(path, document("first"))
			if not CONTROL:
				write(temp, document("torn")[:-1])
				fails(errno.EINVAL, os.rename, temp, path)
				fails(errno.EINVAL, write, temp + ".json", document("torn")[:-1])
				fails(errno.ENOENT, os.rename, temp + ".json", path)
				equal(contents(path), ["first"], "after what is torn")
			write(temp, b"")
			os.rename(temp, path)
			equal(read(path), b"", "after nothing")
	together([lambda who=who: program(who) for who in "abcdefgh"])


@cases("{}: a new session", [(temp, temp) for temp in TEMPS])
def new_session(t, name, temp):
	path = t.path("s.json")

	def program():
		with open(t.path(temp), "wb") as f:
			f.write(document("first"))
			os.rename(t.path(temp), path)
	forked(program)
	equal((contents(path), os.listdir(t.dir)), (["first"], ["s.json"]), "in the end")
	forked(lambda: write(path, document(*contents(path), "second")))
	equal(contents(path), ["first", "second"], "the next save")


@cases("{}: its writer is killed: the last good version stands, the bytes are kept", [(f"{what} of {temp}", temp, part)
	for temp in TEMPS for what, part in WRITTEN[:2]])
def killed(t, name, temp, part):
	if CONTROL:
		raise Skip("there is no daemon")
	path, directory = t.path("s.json"), t.mount.control_file("rejected")
	t.mount.expect(r"refused .*\bs\.json")
	forked(write, path, document("first"))
	before = set(os.listdir(directory))
	writer = Steps(early(path, t.path(temp), "mine", part))
	writer.step()
	writer.child.kill()
	writer.child.wait()
	writer.close()
	if part:
		eventually(lambda: len(set(os.listdir(directory)) - before), 1, "files that are kept")
		kept = (set(os.listdir(directory)) - before).pop()
		require(document("first", "mine").startswith(read(f"{directory}/{kept}")), "others' bytes are kept")
	forked(lambda: write(path, document(*contents(path), "next")))
	equal((contents(path), os.listdir(t.dir)), (["first", "next"], ["s.json"]), "in the end")


@case("lines: those that come after the rename are saved too")
def lines(t):
	path, temp = t.path("s.jsonl"), t.path("s.jsonl.tmp")
	for n, part in enumerate((0, 3, 8)):
		write(path, b"1\n")

		def program():
			with open(temp, "wb", buffering=0) as f:
				f.write(b"1\n2\n3\n4\n"[:part])
				os.rename(temp, path)
				f.write(b"1\n2\n3\n4\n"[part:])
		forked(program)
		eventually(lambda: read(path), b"1\n2\n3\n4\n", f"{part} bytes before the rename")
		equal(os.listdir(t.dir), ["s.jsonl"], "names")
		os.unlink(path)


@cases("eight writers at once, {}", [("each its own temp file", False), ("each its own .json", True)])
def crowd(t, name, suffix):
	path, saves = t.path("s.json"), 10 if QUICK else 25
	forked(write, path, document("first"))

	def writer(who):
		some = random.Random(SEED + ord(who))
		for n in range(saves):
			mine = document(*contents(path), f"{who}{n}")
			with tempfile.NamedTemporaryFile("wb", dir=t.dir, suffix=".json" if suffix else "", delete=False) as f:
				f.write(mine)
				if some.random() < 0.5:
					f.flush()
				os.replace(f.name, path)
	together([lambda who=who: writer(who) for who in "abcdefgh"])
	found = contents(path)
	equal((len(found), len(set(found))), (1 + 8 * saves, 1 + 8 * saves), "messages, and different ones")
	equal(os.listdir(t.dir), ["s.json"], "names")


main()
