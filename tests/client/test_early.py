#!/usr/bin/python3
"""Temp files that are opened before the session is read, and such that are renamed before they are closed, perhaps before all is written."""
import contextlib
import errno
import os
import random
import select
import tempfile

from steps import Steps, contents, document
from harness import CONTROL, QUICK, SEED, Skip, case, cases, command, equal, eventually, fails, forked, in_threads, main, read, require, together, write

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


# ---- By another --------------------------------------------------------------------------------------------------

RENAMERS = [("another process", lambda *names: forked(os.rename, *names)), ("mv", lambda *names: command("mv", *names)),
	    ("another thread", lambda *names: in_threads([lambda: os.rename(*names)]))]
FREE = [("over the session", False), ("to a free name", True)]


@cases("{}: what comes after that is saved when it is closed", [(f"{what} of {temp} is written, renamed by {by} {where}", temp, part, rename, free)
	for temp in TEMPS[:2] for what, part in WRITTEN for by, rename in RENAMERS for where, free in FREE])
def by_another(t, name, temp, part, rename, free):
	path, data = t.path("s.json"), document("first", "mine")
	if not free:
		forked(write, path, document("first"))
		contents(path)
	fd = os.open(t.path(temp), os.O_RDWR | os.O_CREAT, 0o640)
	os.write(fd, data[:int(part * len(data))])
	copy = os.dup(fd)
	rename(t.path(temp), path)
	equal(os.listdir(t.dir), ["s.json"], "names")
	if not CONTROL and not free:
		equal(forked(contents, path), ["first"] + ["mine"] * (part == 1), "seen before it is closed")
	os.fchmod(fd, 0o604)
	os.write(copy, data[int(part * len(data)):])
	os.close(copy)
	equal(forked(contents, path), ["first", "mine"], "seen when a duplicate is closed")
	if not free:
		forked(lambda: write(path, document(*contents(path), "other's")))
	os.lseek(fd, 0, os.SEEK_SET)
	if not CONTROL or free:
		equal((os.read(fd, 1 << 20), os.fstat(fd).st_size), (data, len(data)), "what its writer sees in it")
	os.ftruncate(fd, 0)
	os.pwrite(fd, document("first", "mine", "more"), 0)
	if CONTROL and not free:	# it has overwritten the other's
		os.ftruncate(fd, len(document("first", "mine", "more")))
	os.close(fd)
	found = ["first", "mine", "more"] if free or CONTROL else ["first", "mine", "other's", "more"]
	require(sorted(forked(contents, path)) == sorted(found), f"in the end: {contents(path)}")
	equal(os.stat(path).st_mode & 0o777, 0o604, "the mode that its writer has given it")


@cases("{}: the save is the writer's", [(f"{where}, by {by}", rename, free) for by, rename in RENAMERS[:2] for where, free in FREE])
def writers_bases(t, name, rename, free):
	"""What its writer had not read stays; what it had read and left out goes."""
	path = t.path("s.json")
	if not free:
		forked(write, path, document("first", "second"))
		equal(contents(path), ["first", "second"], "what is read")
	fd = os.open(t.path("s.tmp"), os.O_WRONLY | os.O_CREAT)
	if free:
		forked(write, path, document("third"))
	else:
		forked(lambda: write(path, document(*contents(path), "third")))
	rename(t.path("s.tmp"), path)
	os.write(fd, document("second", "mine"))
	os.close(fd)
	require(CONTROL or contents(path) == (["third", "second", "mine"] if free else ["second", "third", "mine"]), f"in the end: {contents(path)}")


@cases("its writer has unlinked the session before: it is whole ({})", [(f"renamed by {by} {when}{', read before' if look else ''}{', another saves between' if other else ''}",
	rename, close, look, other) for by, rename in [("itself", os.rename), *RENAMERS[:2]] for when, close in (("closed", True), ("open", False))
	for look in (False, True) for other in (False, True)])
def unlinked(t, name, rename, close, look, other):
	path = t.path("s.json")

	def program():
		write(path, document("first", "second"))
		if look:
			contents(path)
		fd = os.open(t.path("s.json.tmp"), os.O_WRONLY | os.O_CREAT)
		os.write(fd, document("first", "second", "mine"))
		if close:
			os.close(fd)
		os.unlink(path)
		if other:
			forked(write, path, document("other's"))
		rename(t.path("s.json.tmp"), path)
		if not close:
			os.close(fd)
	forked(program)
	mine = ["first", "second", "mine"]
	equal([m for m in contents(path) if m in mine], mine, "the writer's")
	equal(len(contents(path)), 3 + (other and not CONTROL), "all")


@case("who reads the temp file goes on with what it was")
def reader(t):
	if CONTROL:
		raise Skip("its reader sees what is written")
	path, temp = t.path("s.json"), t.path("s.json.tmp")
	write(path, document("first"))
	fd = os.open(temp, os.O_WRONLY | os.O_CREAT)
	os.write(fd, document("first", "mine")[:20])
	seen = os.open(temp, os.O_RDONLY)
	equal(os.read(seen, 10), document("first", "mine")[:10], "before")
	forked(os.rename, temp, path)
	os.write(fd, document("first", "mine")[20:])
	os.close(fd)
	equal(os.read(seen, 100)[:10], document("first", "mine")[10:20], "after")
	os.close(seen)
	equal(contents(path), ["first", "mine"], "in the end")


@case("nothing is written by its writer, who goes on holding it: others see the session, and save to it")
def held(t):
	path = t.path("s.json")
	write(path, document("first"))
	fd = os.open(t.path("s.tmp"), os.O_WRONLY | os.O_CREAT)
	forked(os.rename, t.path("s.tmp"), path)
	require(CONTROL or forked(contents, path) == ["first"], "the session is not seen")
	forked(lambda: write(path, document("first", "other's")))
	os.write(fd, document("mine"))
	os.close(fd)
	require(CONTROL or "other's" in forked(contents, path), "the other's is gone")
	require(CONTROL or "mine" in forked(contents, path), "the writer's is gone")


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


@cases("eight writers at once, renamed by another {}", [("at any time", False), ("at any time, duplicates are closed and children exec meanwhile", True)])
def crowd_by_others(t, name, disturbed):
	path, saves = t.path("s.json"), 5 if QUICK else 12
	forked(write, path, document("first"))

	def writer(who):
		some = random.Random(SEED + ord(who))
		for n in range(saves):
			mine = document(*contents(path), f"{who}{n}")
			cuts = sorted(some.randrange(len(mine) + 1) for _ in range(3))
			fd, when = os.open(t.path(f"t{who}"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), some.randrange(4)
			for i, (start, end) in enumerate(zip([0] + cuts, cuts + [len(mine)])):
				if i == when:
					forked(os.rename, t.path(f"t{who}"), path)
				os.write(fd, mine[start:end])
				if disturbed and some.random() < 0.3:
					with contextlib.suppress(OSError):	# it may say that the document is not complete yet
						os.close(os.dup(fd))
				if disturbed and some.random() < 0.1:
					command("true")
			os.close(fd)
	together([lambda who=who: writer(who) for who in "abcdefgh"])
	found = contents(path)
	equal((len(found), len(set(found))), (1 + 8 * saves, 1 + 8 * saves), "messages, and different ones")
	equal(os.listdir(t.dir), ["s.json"], "names")


main()
