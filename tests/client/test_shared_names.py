#!/usr/bin/python3
"""One temp name for several writers (rule 14)."""
import errno
import fcntl
import json
import os
import random
import time

from steps import Steps, contents, document
from tally import read_whole
from harness import CONTROL, HISTORYCTL, QUICK, SEED, case, cases, command, equal, fails, forked, main, read, require, together, write


# ---- Rule 14 -----------------------------------------------------------------------------------------------------

def saver(path, temp, text, between=None):
	"""A save by temp file and rename: reads, writes, and renames in steps of their own."""
	mine = document(*contents(path), text)
	yield
	write(temp, mine)
	yield
	if between:
		between(temp, mine)
	os.rename(temp, path)
	yield


def two_savers(t, temp, **named):
	path = t.path("s.json")
	forked(write, path, document("old"))
	return path, t.path(temp), [Steps(saver(path, t.path(temp), text, **named)) for text in ("a", "b")]


TEMPS = ["s.json.tmp", ".s.json.tmp", "s.tmp", "s.json.new", "temp.json", "s.tmp.json"]


@cases("rule 14: {}: each renames what it wrote", [(f"{temp}, {'written last first' if turned else 'written first first'}", temp, turned)
	for temp in TEMPS for turned in (False, True)])
def each_its_own(t, name, temp, turned):
	path, temp, savers = two_savers(t, temp)
	for one in savers:
		one.step(2)
	equal(os.listdir(t.dir).count(os.path.basename(temp)), 1, "files under the temp name")
	texts = ["a", "b"]
	if turned:
		savers.reverse()
		texts.reverse()
	savers[0].step()
	equal(contents(path), ["old", texts[0]], "after the first rename")
	savers[1].step()
	equal(contents(path), ["old", *texts], "after the second")
	for one in savers:
		one.end()
	equal(os.listdir(t.dir), ["s.json"], "names that are left")


@case("rule 14: lines that were appended beside another's are renamed whole")
def appended_lines(t):
	path, temp = t.path("s.jsonl"), t.path("temp.jsonl")
	write(path, b"old\n")

	def appender():
		with open(temp, "ab", 0) as f:
			f.write(read(path) + b"first\n")
			yield
			f.write(b"last\n")
		os.rename(temp, path)
	one = Steps(appender())
	one.step()
	forked(command, "sh", "-c", f"echo other >> '{temp}'")
	one.end()
	equal(read(path).split(), [b"old", b"first", b"other", b"last"], "what was renamed")
	equal(os.listdir(t.dir), ["s.jsonl"], "names that are left")


@cases("rule 14: {} in mid-write: each renames what it wrote", [(temp, temp) for temp in TEMPS])
def mid_write(t, name, temp):
	path, temp = t.path("s.json"), t.path(temp)
	forked(write, path, document("old"))

	def writer(text):
		mine = document(*contents(path), text)
		with open(temp, "wb", buffering=0) as f:
			yield
			f.write(mine[:20])
			yield
			f.write(mine[20:])
		yield
		os.rename(temp, path)
		yield
	writers = [Steps(writer(text)) for text in ("a", "b")]
	for _ in range(3):
		for one in writers:
			one.step()
	for one in writers:
		one.step()
		one.end()
	equal(contents(path), ["old", "a", "b"], "in the end")
	equal(os.listdir(t.dir), ["s.json"], "names that are left")


def look(temp, mine):
	"""What programs do to a temp file before they rename it."""
	fd = os.open(temp, os.O_RDWR)
	os.fsync(fd)
	os.close(fd)
	os.chmod(temp, 0o640)
	os.utime(temp)
	status = os.stat(temp)
	equal((status.st_size, status.st_mode & 0o777, status.st_nlink), (len(mine), 0o640, 1), "stat of the name")
	equal(read_whole(temp), (len(mine), mine), "what is read under the name")


@case("rule 14: fsync, chmod, utime, stat and reading mean the process's own file")
def own_file(t):
	path, _, (first, second) = two_savers(t, "s.json.tmp", between=look)
	first.step(2)
	second.step(2)
	first.step()
	second.step()
	equal(contents(path), ["old", "a", "b"], "in the end")
	first.end()
	second.end()


@cases("rule 14: {}: a process removes its own file", [(temp, temp) for temp in ("s.json.tmp", "temp.json")])
def remove(t, name, temp):
	path, temp = t.path("s.json"), t.path(temp)

	def give_up(_, mine):
		os.unlink(temp)
		write(temp, document(*contents(path), "instead"))
	forked(write, path, document("old"))
	first, second = Steps(saver(path, temp, "a", give_up)), Steps(saver(path, temp, "b"))
	first.step(2)
	second.step(2)
	second.step()
	equal(contents(path), ["old", "b"], "the other's")
	first.step()
	equal(contents(path), ["old", "b", "instead"], "its own, written again")
	first.end()
	second.end()
	equal(os.listdir(t.dir), ["s.json"], "names that are left")


@case("rule 14: what a killed process has written is forgotten")
def killed(t):
	store = t.place() + "/store"
	with t.new_mount(store=store) as m:
		path, temp = m.path + "/s.json", m.path + "/s.json.tmp"
		forked(write, path, document("old"))
		first, second = Steps(saver(path, temp, "a")), Steps(saver(path, temp, "b"))
		first.step(2)
		second.step(2)
		equal(waiting(m), 1, "files that wait")
		first.child.kill()
		first.child.wait()
		first.close()
		second.end()
		equal(contents(path), ["old", "b"], "in the end")
		third, fourth = Steps(saver(path, temp, "c")), Steps(saver(path, temp, "d"))
		third.step(2)
		fourth.step(2)
		equal(waiting(m), 1, "files that wait, when there are others")
		third.end()
		fourth.end()
		equal(waiting(m), 0, "files that wait in the end")
		equal((contents(path), os.listdir(m.path)), (["old", "b", "c", "d"], ["s.json"]), "in the end")
	with t.new_mount(store=store) as m:
		equal((contents(m.path + "/s.json"), os.listdir(m.path)), (["old", "b", "c", "d"], ["s.json"]), "mounted again")
	if not CONTROL:
		command(HISTORYCTL, "--store", store, "verify")


def waiting(mount):
	return json.loads(read(mount.control_file("status")))["shared_temps"]


@case("rule 14: tasks of one process: both documents get in, whichever rename is whose")
def tasks(t):
	path, temp = t.path("s.json"), t.path("s.json.tmp")
	forked(write, path, document("old"))

	def run():
		documents = [document(*contents(path), text) for text in ("a", "b", "c")]
		for data in documents:
			write(temp, data)
		yield
		os.rename(temp, path)
		yield
		os.rename(temp, path)
		os.rename(temp, path)
		fails(errno.ENOENT, os.rename, temp, path)
	Steps(run(), events=True).end()
	equal(contents(path), ["old", "a", "b", "c"], "in the end")
	equal(os.listdir(t.dir), ["s.json"], "names that are left")


@case("rule 14: a task that was cancelled before its rename does not hold up the next one's document")
def cancelled(t):
	path, temp = t.path("s.json"), t.path("s.json.tmp")
	forked(write, path, document("old"))

	def run():
		for text in ("cancelled", "a", "b"):
			write(temp, document(*contents(path), text))
			if text != "cancelled":
				os.rename(temp, path)
				require(text in contents(path), f"{text} was renamed and is not there")
		yield
	Steps(run(), events=True).end()
	require(contents(path)[-2:] == ["a", "b"], f"in the end: {contents(path)}")


@case("rule 14: a process that goes step by step writes its temp file anew in place")
def in_place(t):
	path, temp = t.path("s.json"), t.path("s.json.tmp")

	def run():
		write(temp, document("a first try"))
		number = os.stat(temp).st_ino
		write(temp, document("a"))
		equal(os.stat(temp).st_ino, number, "its inode")
		os.rename(temp, path)
		yield
	Steps(run()).end()
	equal(contents(path), ["a"], "in the end")
	equal(os.listdir(t.dir), ["s.json"], "names that are left")


@cases("rule 14: who writes anew under a temp name {} has the name, for all", [
	("that another has renamed away", lambda temp, path: os.rename(temp, path), ["another"]),
	("that another has removed", lambda temp, path: os.unlink(temp), None),
	("that another has now", lambda temp, path: None, None)])
def anew(t, name, leave, saved):
	path, temp = t.path("s.json"), t.path("s.json.bak")

	def run():
		write(temp, document("first"))
		yield
		write(temp, document("second"))
		yield

	def other():
		write(temp, document("another"))
		leave(temp, path)
		yield
	one, another = Steps(run()), Steps(other())
	one.step()
	another.step()
	one.step()
	equal(forked(contents, temp), ["second"], "what a third process reads under the name")
	one.end()
	another.end()
	equal(forked(contents, temp), ["second"], "when both have ended")
	equal(contents(path) if saved else None, saved, "the session")
	equal(sorted(os.listdir(t.dir)), ["s.json"] * bool(saved) + ["s.json.bak"], "names that are left")


@case("rule 14: a rename to another name than a document's moves the process's own file too")
def other_target(t):
	path, temp = t.path("notes.md"), t.path("notes.md.tmp")

	def run(text):
		write(temp, text)
		yield
		os.rename(temp, path)
		yield
	first, second = Steps(run(b"first")), Steps(run(b"second"))
	first.step()
	second.step()
	for one, what in ((first, b"first"), (second, b"second")):
		one.step()
		equal(read(path), what, "after the rename")
	first.end()
	second.end()
	equal(os.listdir(t.dir), ["notes.md"], "names that are left")


@cases("rule 14: {} is one file for all", [(name, name) for name in ("s.json.lock", "s.json.mutex.tmp", "s.log")])
def one_for_all(t, name, file):
	path = t.path(file)

	def hold():
		with open(path, "w", encoding="utf-8") as f:
			fcntl.flock(f, fcntl.LOCK_EX)
			f.write(f"{os.getpid()}")
			f.flush()
			yield

	def denied():
		with open(path, "w", encoding="utf-8") as f:
			fails(errno.EWOULDBLOCK, fcntl.flock, f, fcntl.LOCK_EX | fcntl.LOCK_NB)
	holder = Steps(hold())
	holder.step()
	forked(denied)
	holder.end()


@case("rule 14: a lock on a file of the same number of another filesystem says nothing of a temp file")
def locked_elsewhere(t):
	temp, mine = t.path("s.json.tmp"), t.path("mine.json")

	def writer():
		write(temp, document("mine"))
		yield
		os.rename(temp, mine)

	def locked(number):
		for n in range(5000):
			fd = os.open(f"{other.path}/{n}", os.O_WRONLY | os.O_CREAT)
			if os.fstat(fd).st_ino == number:
				fcntl.flock(fd, fcntl.LOCK_EX)
				return fd
			os.close(fd)
		raise AssertionError(f"no file has number {number}")
	first = Steps(writer())
	first.step()
	with t.new_mount() as other:
		fd = locked(os.stat(temp).st_ino)
		write(temp, document("another"))
		first.end()
		equal(contents(mine), ["mine"], "what the first has renamed")
		equal(contents(temp), ["another"], "what the other has written")
		os.close(fd)


@case("rule 14: who opens another's temp file by its descriptor means that file")
def by_descriptor(t):
	path, temp = t.path("s.json"), t.path("s.json.tmp")
	command("sh", "-c", "exec 3> $0; echo '[1]' >&3; echo '[2]' | tee /proc/self/fd/3 > /dev/null; mv $0 $1", temp, path)
	equal((read(path), os.listdir(t.dir)), (b"[2]\n", ["s.json"]), "what was written anew")


@cases("rule 14: {} for several sessions, four processes that write and rename it as fast as they can: none fails", [(temp, temp) for temp in TEMPS])
def names_in_motion(t, name, temp):
	paths = {w: t.path(w + ".json") for w in "abcd"}

	def loop(w):
		rng = random.Random(SEED + ord(w))
		for n in range(100 if QUICK else 400):
			write(t.path(temp), document(f"{w} {n}"))
			os.rename(t.path(temp), paths[w])
			time.sleep(rng.random() * 0.001)
	together([lambda w=w: loop(w) for w in paths])
	for w, path in paths.items():
		equal(contents(path)[-1][0], w, f"the last message of {path}")
		equal([text for text in contents(path) if text[0] != w], [], f"others' messages in {path}")
	equal(sorted(os.listdir(t.dir)), sorted(os.path.basename(p) for p in paths.values()), "names that are left")


@case("rule 14: files that wait are bounded in number")
def bounded(t):
	with t.new_mount() as m:
		def run():
			for n in range(1100):
				write(m.path + "/s.json.tmp", document(f"{n}"))
			yield
		processes = [Steps(run(), events=True) for _ in range(2)]
		for one in processes:
			one.step()
		require(1024 <= waiting(m) <= 2048, f"{waiting(m)} files wait")
		equal(os.listdir(m.path), ["s.json.tmp"], "names")
		for one in processes:
			one.end()


@case("a temp file that was a document and is renamed while others read it: they go on reading it whole")
def reader_of_temp(t):
	path, temp = t.path("s.json"), t.path("s.tmp.json")
	data = document(*[f"message {n}" for n in range(2000)])
	forked(write, path, document("old"))

	def run():
		write(temp, data)
		yield
		os.rename(temp, path)
		yield
	writer = Steps(run())
	writer.step()
	with open(temp, "rb", buffering=0) as f, open(temp, "rb", buffering=0) as unread:
		start = f.read(1000)
		writer.step()
		equal(os.fstat(f.fileno()).st_size, len(data), "fstat")
		rest = b""
		while piece := f.read(5000):
			rest += piece
		equal(start + rest, data, "what was being read")
		equal(unread.read(len(data)), data, "what was open")
	writer.end()
	equal(read(path), data, "the document")
	equal(os.listdir(t.dir), ["s.json"], "names that are left")


if __name__ == "__main__":
	main()
