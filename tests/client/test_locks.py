#!/usr/bin/python3
"""
Clients that lock: flock, POSIX and OFD locks, on the session or on a file beside it, and lock files. Locks exclude; who gets the lock sees what its last
holder saved, also through a handle that was opened, or read, before; nothing is lost, and no save merges.
"""
import contextlib
import errno
import fcntl
import json
import os
import struct
import time

from session import contents, document, log, messages, start
from tally import Readers, Tally, marks, text
from harness import CONTROL, QUICK, Child, case, cases, equal, fails, forked, main, read, require, together, write

PROCESSES, SAVES = 8, 10 if QUICK else 50
F_OFD_SETLK, F_OFD_SETLKW = 37, 38
WHOLE = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
NONE = struct.pack("hhqqi4x", fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0)


# ---- Ways to lock: context managers of a path, or of a descriptor when it is the session's own ------------------------

@contextlib.contextmanager
def flock(fd):
	fcntl.flock(fd, fcntl.LOCK_EX)
	yield
	fcntl.flock(fd, fcntl.LOCK_UN)


@contextlib.contextmanager
def posix(fd):
	fcntl.lockf(fd, fcntl.LOCK_EX)
	yield
	fcntl.lockf(fd, fcntl.LOCK_UN)


@contextlib.contextmanager
def ofd(fd):
	fcntl.fcntl(fd, F_OFD_SETLKW, WHOLE)
	yield
	fcntl.fcntl(fd, F_OFD_SETLK, NONE)


@contextlib.contextmanager
def excl(path):
	while True:
		try:
			os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
			break
		except FileExistsError:
			time.sleep(0.001)
	yield
	os.unlink(path)


@contextlib.contextmanager
def mkdir(path):
	while True:
		try:
			os.mkdir(path)
			break
		except FileExistsError:
			time.sleep(0.001)
	yield
	os.rmdir(path)


@contextlib.contextmanager
def opened(path, lock):
	fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
	try:
		with lock(fd):
			yield
	finally:
		os.close(fd)


BY_DESCRIPTOR = [("flock", flock), ("POSIX lock", posix), ("OFD lock", ofd)]
BESIDE = [(f"{name} of a file beside it", lambda path, lock=lock: opened(path, lock)) for name, lock in BY_DESCRIPTOR] + \
	[("lock file by O_EXCL", excl), ("lock directory", mkdir)]


# ---- Ways to save under the lock ---------------------------------------------------------------------------------------

def truncate(path, data):
	write(path, data)


def rename(path, data):
	temp = f"{path}.{os.getpid()}"
	write(temp, data)
	os.rename(temp, path)


def whole(fd):
	data = b""
	os.lseek(fd, 0, os.SEEK_SET)
	while piece := os.read(fd, 1 << 16):
		data += piece
	return data


def replace(fd, data):
	"""Through the handle that holds the lock; the commit comes before the unlock."""
	os.ftruncate(fd, 0)
	os.pwrite(fd, data, 0)
	os.fsync(fd)


def added(data, content):
	return json.dumps(json.loads(data or b"[]") + messages(content), indent=2).encode()


class Alone:
	"""Fails when two are inside at once: a name on a plain directory that is made and removed."""

	def __init__(self, t):
		self.path = os.path.join(t.plain, "inside")

	def __enter__(self):
		os.mkdir(self.path)

	def __exit__(self, *exception):
		os.rmdir(self.path)


def run(t, one):
	"""8 processes save 50 times each: `one(writer, number)`."""
	def loop(w):
		for n in range(SAVES):
			one(w, n)
	path = t.path("s.json")
	with Readers([path], pause=0.01, may_be_empty=True):
		together([lambda w=w: loop(w) for w in range(PROCESSES)])
	Tally(marks(json.loads(read(path))), [(f"w{w}", n) for w in range(PROCESSES) for n in range(SAVES)]).require_perfect("in the end")
	if not CONTROL:
		changes = log(t, path)
		equal({(c["added"], c["removed"], *c["flags"]) for c in changes if c["added"] or c["removed"]}, {(1, 0)}, "kinds of changes: nothing had to be merged")


@cases("nothing is lost, nothing merged: {}", [(f"{name}, {save.__name__}", lock, save) for name, lock in BESIDE for save in (truncate, rename)])
def beside(t, name, lock, save):
	path, alone = t.path("s.json"), Alone(t)
	if save is rename:
		forked(write, path, b"[]")

	def one(w, n):
		with lock(t.path("s.json.lock")), alone:
			data = read(path) if os.path.exists(path) else b"[]"
			save(path, added(data, text(f"w{w}", n)))
	run(t, one)
	if lock in (excl, mkdir):
		equal(os.listdir(t.dir), ["s.json"], "names that are left")


@cases("nothing is lost, nothing merged: {} of the session itself, rewritten through the locked handle", BY_DESCRIPTOR)
def itself(t, name, lock):
	path, alone = t.path("s.json"), Alone(t)
	forked(write, path, b"[]")

	def one(w, n):
		fd = os.open(path, os.O_RDWR)
		with lock(fd), alone:
			replace(fd, added(whole(fd), text(f"w{w}", n)))
		os.close(fd)
	run(t, one)


@cases("nothing is lost, nothing merged: {} through one handle that stays open", BY_DESCRIPTOR)
def kept(t, name, lock):
	path, alone = t.path("s.json"), Alone(t)
	forked(write, path, b"[]")
	handles = {}

	def one(w, n):
		if w not in handles:
			handles[w] = os.open(path, os.O_RDWR)
		fd = handles[w]
		whole(fd)			# what it had read before it took the lock must not count
		with lock(fd), alone:
			replace(fd, added(whole(fd), text(f"w{w}", n)))
	run(t, one)


# ---- What is seen after the lock was granted ------------------------------------------------------------------------------

def nothing(fd):
	pass


def size(fd):
	os.fstat(fd)


def all_of_it(fd):
	require(len(json.loads(whole(fd))) > 0, "nothing read")
	os.lseek(fd, 0, os.SEEK_SET)


def exactly_size(fd):
	require(len(os.read(fd, os.fstat(fd).st_size)) > 0, "nothing read")
	os.lseek(fd, 0, os.SEEK_SET)


def by_pread(fd):
	require(len(os.pread(fd, 1 << 20, 0)) > 0, "nothing read")


BEFORE = [("opened", nothing), ("opened, with fstat", size), ("read to the end", all_of_it), ("read by its size", exactly_size), ("read by pread", by_pread)]


@cases("who gets the lock sees its last holder's save through a handle that was {}", [(f"{b} before: {k}", before, lock) for b, before in BEFORE
										      for k, lock in BY_DESCRIPTOR])
def handed_over(t, name, before, lock):
	for n, (flags, beside_it, ask) in enumerate(((os.O_RDONLY, True, False), (os.O_RDWR, False, False), (os.O_RDWR, True, True), (os.O_RDWR, False, True))):
		path = start(t, "first", name=f"{n}.json")
		other = t.path("x.lock") if beside_it else path
		write(t.path("x.lock"), b"")
		ready, go = os.pipe(), os.pipe()

		def holder():
			fd, at = os.open(path, os.O_RDWR), os.open(other, os.O_RDWR)
			with lock(fd if other == path else at):
				os.write(ready[1], b"x")
				os.read(go[0], 1)
				time.sleep(0.02)		# the other one waits for the lock by now, most often
				replace(fd, added(whole(fd), "of the holder"))
			return True

		def waiter():
			fd, at = os.open(path, flags), os.open(other, os.O_RDWR)
			before(fd)
			os.write(go[1], b"x")
			with lock(fd if other == path else at):
				told = os.fstat(fd).st_size if ask else None
				data = os.read(fd, 1 << 20)
				equal(len(data), os.fstat(fd).st_size if told is None else told, "size by fstat under the lock")
				return [m["content"] for m in json.loads(data)]
		first = Child(holder)
		os.read(ready[0], 1)
		second = Child(waiter)
		equal((second.result(), first.result()), (["first", "of the holder"], True), "seen under the lock")


@cases("{} exclude, also a second handle of the same process or not, and end with their process", BY_DESCRIPTOR)
def exclude(t, name, lock):
	for session in ("s.json", "s.lock"):
		path = t.path(session)
		write(path, document("a"))
		ready = os.pipe()

		def holder():
			fd = os.open(path, os.O_RDWR)
			with lock(fd):
				os.write(ready[1], b"x")
				time.sleep(1000)
		child = Child(holder)
		os.read(ready[0], 1)
		fd = os.open(path, os.O_RDWR)
		busy = (errno.EAGAIN, errno.EACCES)
		if lock is flock:
			fails(busy, fcntl.flock, fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
		elif lock is posix:
			fails(busy, fcntl.lockf, fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
		else:
			fails(busy, fcntl.fcntl, fd, F_OFD_SETLK, WHOLE)
		child.kill()
		child.wait()
		with lock(fd):
			equal(read(path), document("a"), "contents")
			if lock is not posix:
				second = os.open(path, os.O_RDWR)
				fails(busy, fcntl.flock, second, fcntl.LOCK_EX | fcntl.LOCK_NB) if lock is flock else fails(busy, fcntl.fcntl, second, F_OFD_SETLK, WHOLE)
				os.close(second)
		os.close(fd)


@case("shared locks are shared; the lock of a killed writer in mid-write shows the last good version")
def killed_holder(t):
	t.mount.expect(r"s\.json")
	path = start(t, "first")
	a, b = os.open(path, os.O_RDONLY), os.open(path, os.O_RDONLY)
	fcntl.flock(a, fcntl.LOCK_SH)
	fcntl.flock(b, fcntl.LOCK_SH | fcntl.LOCK_NB)
	os.close(a)
	os.close(b)
	ready = os.pipe()

	def holder():
		fd = os.open(path, os.O_RDWR)
		fcntl.flock(fd, fcntl.LOCK_EX)
		os.ftruncate(fd, 0)
		os.pwrite(fd, b'[{"role": ', 0)
		os.write(ready[1], b"x")
		time.sleep(1000)
	child = Child(holder)
	os.read(ready[0], 1)
	child.kill()
	fd = os.open(path, os.O_RDWR)
	fcntl.flock(fd, fcntl.LOCK_EX)
	equal(whole(fd), document("first"), "after the holder was killed")
	os.close(fd)
	child.wait()
	equal(contents(path), ["first"], "in the end")


if __name__ == "__main__":
	main()
