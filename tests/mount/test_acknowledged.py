#!/usr/bin/python3
"""
P1: what a call has acknowledged is in the store, by every road by which a document comes to be.
The daemon dies, or the power fails, right after the call returned 0; then the store is mounted
again. And what fsync of a document that is not complete means: nothing, but it does not fail.
"""
import ctypes
import errno
import json
import mmap
import os
import shutil
import signal

from harness import (CONTROL, HISTORYCTL, QUICK, Skip, case, cases, clear, command, equal, eventually,
	fails, forked, libc, main, read, require, write, write_all)

POWER = os.environ.get("HISTORYFS_POWER", "")
NOREPLACE = 1

OLD = json.dumps([{"role": "user", "content": f"old {n}"} for n in range(5)]).encode()
NEW = OLD[:-1] + b', {"role": "user", "content": "new"}]'
SHORT = b'[{"role": "user", "content": "short"}]'
HALF = len(NEW) // 2


# ---- Roads -------------------------------------------------------------------------------------
# Each goes as far as the call that acknowledges, which it leaves to `end`, and gives what is to be
# found then. `more`: flags to open with.

def opened(path, more, flags=os.O_WRONLY | os.O_CREAT | os.O_TRUNC):
	return os.open(path, flags | more, 0o644)


def made(d, more, end, old=None):
	if old is not None:
		write(f"{d}/s.json", old)
	fd = opened(f"{d}/s.json", more)
	write_all(fd, NEW)
	end(fd)
	return NEW


def rewritten(d, more, end):
	return made(d, more, end, OLD)


def in_pieces(d, more, end):
	write(f"{d}/s.json", OLD)
	fd = opened(f"{d}/s.json", more)
	for at in range(0, len(NEW), 40):
		write_all(fd, NEW[at:at + 40])
	end(fd)
	return NEW


def in_place(d, more, end, data=NEW, cut_first=False, cut=True):
	write(f"{d}/s.json", OLD)
	fd = opened(f"{d}/s.json", more, os.O_RDWR)
	os.read(fd, 1 << 20)
	os.lseek(fd, 0, os.SEEK_SET)
	if cut_first:
		os.ftruncate(fd, 0)
	write_all(fd, data)
	if cut and not cut_first:
		os.ftruncate(fd, len(data))
		if more:	# truncating is no write
			os.pwrite(fd, data[-1:], len(data) - 1)
	end(fd)
	return data


def shorter_in_place(d, more, end):
	return in_place(d, more, end, SHORT)


def truncated_in_place(d, more, end):
	return in_place(d, more, end, cut_first=True)


def end_overwritten(d, more, end):
	write(f"{d}/s.json", OLD)
	fd = opened(f"{d}/s.json", more, os.O_RDWR)
	os.pwrite(fd, NEW[len(OLD) - 1:], len(OLD) - 1)
	end(fd)
	return NEW


MAKE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


def temp(d, more, end, name="s.json.tmp", old=OLD, before=HALF, by=os.rename, flags=MAKE, unlink=False):
	"""Renamed when so many bytes are written."""
	if old is not None:
		write(f"{d}/s.json", old)
	fd = opened(f"{d}/{name}", more, flags)
	write_all(fd, NEW[:before])
	if unlink:
		os.unlink(f"{d}/s.json")
	by(f"{d}/{name}", f"{d}/s.json")
	write_all(fd, NEW[before:])
	end(fd)
	return NEW


def by_another(*names):
	forked(os.rename, *names)


def by_mv(*names):
	command("mv", *names)


def no_replace(old, new):
	at = ctypes.c_int(-100)
	done = libc.renameat2(at, os.fsencode(old), at, os.fsencode(new), NOREPLACE)
	require(done == 0, f"renameat2: {ctypes.get_errno()}")


def temp_whole(d, more, end, name="s.json.tmp", old=OLD, by=os.rename):
	return temp(d, more, end, name, old, len(NEW), by)


def temp_reopened(d, more, end):
	"""A document that is a temp file, saved once and then written on."""
	write(f"{d}/s.json", OLD)
	write(f"{d}/t.json", OLD)
	fd = opened(f"{d}/t.json", more, os.O_RDWR)
	os.rename(f"{d}/t.json", f"{d}/s.json")
	os.pwrite(fd, NEW[len(OLD) - 1:], len(OLD) - 1)
	end(fd)
	return NEW


def temp_saved_twice(d, more, end):
	write(f"{d}/s.json", OLD)
	fd = opened(f"{d}/t.json", more)
	write_all(fd, OLD)
	os.fsync(fd)
	os.rename(f"{d}/t.json", f"{d}/s.json")
	os.pwrite(fd, NEW[len(OLD) - 1:], len(OLD) - 1)
	end(fd)
	return NEW


def renamed_session(d, more, end):
	"""An established session that is renamed while it is rewritten."""
	write(f"{d}/u.json", OLD)
	forked(read, f"{d}/u.json")
	fd = opened(f"{d}/u.json", more)
	write_all(fd, NEW[:HALF])
	forked(os.rename, f"{d}/u.json", f"{d}/s.json")
	write_all(fd, NEW[HALF:])
	end(fd)
	return NEW


def renamed_over_another(d, more, end):
	write(f"{d}/s.json", SHORT)
	write(f"{d}/u.json", OLD)
	forked(read, f"{d}/u.json")
	fd = opened(f"{d}/u.json", more)
	write_all(fd, NEW[:HALF])
	forked(os.rename, f"{d}/u.json", f"{d}/s.json")
	write_all(fd, NEW[HALF:])
	end(fd)
	return NEW


def aside(d, more, end):
	write(f"{d}/s.json", OLD)
	os.rename(f"{d}/s.json", f"{d}/s.json.bak")
	fd = opened(f"{d}/s.json", more)
	write_all(fd, NEW)
	end(fd)
	return NEW


def aside_temp(d, more, end):
	write(f"{d}/s.json", OLD)
	fd = opened(f"{d}/s.json.tmp", more)
	write_all(fd, NEW[:HALF])
	os.rename(f"{d}/s.json", f"{d}/s.json.bak")
	os.rename(f"{d}/s.json.tmp", f"{d}/s.json")
	write_all(fd, NEW[HALF:])
	end(fd)
	return NEW


def copied(d, more, end):
	write(f"{d}/s.json", OLD)
	write(f"{d}/backup", NEW)
	fd, source = opened(f"{d}/s.json", more), os.open(f"{d}/backup", os.O_RDONLY)
	while os.copy_file_range(source, fd, 1 << 20):
		pass
	if more:	# the kernel does not say what it was opened with
		os.pwrite(fd, NEW[-1:], len(NEW) - 1)
	os.close(source)
	end(fd)
	return NEW


def written_by_a_child(d, more, end):
	write(f"{d}/s.json", OLD)
	fd = opened(f"{d}/s.json", more)
	forked(write_all, fd, NEW)
	end(fd)
	return NEW


def lines(d, more, end):
	write(f"{d}/s.json", OLD)
	write(f"{d}/s.jsonl", b"1\n")
	fd = opened(f"{d}/s.jsonl", more, os.O_WRONLY | os.O_APPEND)
	write_all(fd, b"2\n")
	write_all(fd, b"3")
	end(fd)
	return b"1\n2\n3"


def temp_lines(d, more, end, flags=os.O_APPEND):
	write(f"{d}/s.jsonl", b"1\n")
	fd = opened(f"{d}/s.jsonl.tmp", more | flags)
	write_all(fd, b"1\n2\n3")
	by_another(f"{d}/s.jsonl.tmp", f"{d}/s.jsonl")
	write_all(fd, b"4\n")
	write_all(fd, b"5\n")
	end(fd)
	return b"1\n2\n34\n5\n"


def rewritten_lines(d, more, end):
	return temp_lines(d, more, end, 0)


ROADS = [
	("a new session", made),
	("a rewrite", rewritten),
	("a rewrite in pieces", in_pieces),
	("in place", in_place),
	("in place, shorter", shorter_in_place),
	("truncated in place", truncated_in_place),
	("its end overwritten", end_overwritten),
	("temp, renamed when it is whole", temp_whole),
	("temp, renamed in the middle", temp),
	("temp, renamed before it is written", lambda *a: temp(*a, before=0)),
	("temp to a free name", lambda *a: temp(*a, old=None)),
	("temp to a free name, before it is written", lambda *a: temp(*a, old=None, before=0)),
	("temp to a free name by RENAME_NOREPLACE", lambda *a: temp(*a, old=None, by=no_replace)),
	("temp by mv to a free name", lambda *a: temp(*a, old=None, by=by_mv)),
	("temp, renamed by another", lambda *a: temp(*a, by=by_another)),
	("temp by mv, before it is written", lambda *a: temp(*a, before=0, by=by_mv)),
	("temp, renamed by another when it is whole", lambda *a: temp_whole(*a, by=by_another)),
	("temp, renamed by another, the session unlinked", lambda *a: temp(*a, by=by_another, unlink=True)),
	("temp, renamed by another, the session unlinked, whole",
		lambda *a: temp(*a, before=len(NEW), by=by_another, unlink=True)),
	("temp to read and write", lambda *a: temp(*a, flags=os.O_RDWR | os.O_CREAT | os.O_TRUNC)),
	("temp to append to", lambda *a: temp(*a, flags=os.O_WRONLY | os.O_CREAT | os.O_APPEND)),
	("temp of another name", lambda *a: temp(*a, "tmpx2_k1")),
	(".json temp, whole", lambda *a: temp_whole(*a, "t.json")),
	(".json temp, in the middle", lambda *a: temp(*a, "t.json")),
	(".json temp, saved once", temp_reopened),
	(".json temp, fsynced once", temp_saved_twice),
	("a session that is renamed meanwhile", renamed_session),
	("a session that is renamed over another", renamed_over_another),
	("set aside", aside),
	("set aside, temp", aside_temp),
	("a copy", copied),
	("written by a child", written_by_a_child),
	("lines", lines),
	("lines, temp to append to", temp_lines),
	("lines, temp", rewritten_lines),
]


# ---- Calls -------------------------------------------------------------------------------------

def nothing(fd):
	"""The write itself: O_SYNC and O_DSYNC."""


def close_and_sync_directory(fd):
	directory = os.path.dirname(os.readlink(f"/proc/self/fd/{fd}"))
	os.close(fd)
	fd = os.open(directory, os.O_RDONLY)
	os.fsync(fd)
	os.close(fd)


def fsync_of_another(fd):
	"""A descriptor of its own, as of those who sync a file by its name."""
	other = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
	os.fsync(other)
	os.close(other)


ANOTHER = ("fsync of another descriptor", 0, fsync_of_another)
CLOSE, FSYNC, FDATASYNC = [(f.__name__, 0, f) for f in (os.close, os.fsync, os.fdatasync)]
SYNC, DSYNC = ("O_SYNC", os.O_SYNC, nothing), ("O_DSYNC", os.O_DSYNC, nothing)
DIRECTORY = ("fsync of the directory after close", 0, close_and_sync_directory)
COMMIT = [CLOSE, FSYNC] if QUICK else [CLOSE, FSYNC, FDATASYNC, SYNC, DSYNC, ANOTHER]
DELAYED = [FSYNC] if QUICK else [FSYNC, FDATASYNC, SYNC, DSYNC, DIRECTORY, ANOTHER]
CUTS = [("the daemon is killed", signal.SIGKILL), ("the power fails", signal.SIGRTMIN)]


class Killed:
	"""A store whose daemon dies again and again."""

	def __init__(self, t, options, number=CUTS[os.path.exists(POWER)][1]):
		if CONTROL:
			raise Skip("there is no daemon")
		if number != signal.SIGKILL and not os.path.exists(POWER):
			raise Skip("nothing to cut the power with")
		self.mount = t.new_mount(options=options)
		self.number = number
		if number != signal.SIGKILL:
			self.mount.environment = {"LD_PRELOAD": POWER, "HISTORYFS_POWER_DIR": self.mount.store}
		self.mount.expect(r"dead mount|journal|recover")
		self.mount.start()
		self.made = 0

	def directory(self):
		self.made += 1
		path = f"{self.mount.path}/{self.made}"
		os.mkdir(path)
		return path

	def cut(self, road, more, end):
		"""What is to be there; the daemon dies right after the call."""
		path, pid = self.directory(), self.mount.daemon.pid

		def ended(fd):
			end(fd)
			os.kill(pid, self.number)
		data = forked(road, path, more, ended)
		self.mount.daemon.wait()
		self.mount.daemon = None
		clear(self.mount.path)
		self.mount.start()
		return path, data


def found(path):
	"""Of what the road made: the session, or the lines."""
	name = "s.jsonl" if os.path.exists(f"{path}/s.jsonl") else "s.json"
	return read(f"{path}/{name}") if os.path.exists(f"{path}/{name}") else None


def acknowledged(t, options, call, number):
	store, lost = Killed(t, options, number), []
	for name, road in ROADS:
		# Who renames it last has been told of no write.
		if options and call[2] is nothing and "whole" in name:
			continue
		path, data = store.cut(road, *call[1:])
		if (got := found(path)) != data:
			lost.append(f"{name}: {got!r}, wanted {data!r}")
	store.mount.stop()
	command(HISTORYCTL, "--store", store.mount.store, "verify")
	require(not lost, "\n".join(lost))


def matrix(calls):
	return [(f"{call[0]} has acknowledged is there when {cut}", call, number)
		for call in calls for cut, number in CUTS if number != signal.SIGKILL or call in (CLOSE, FSYNC)]


@cases("commit: what {}", matrix(COMMIT))
def commit(t, name, call, number):
	acknowledged(t, (), call, number)


@cases("delayed: what {}", matrix(DELAYED))
def delayed(t, name, call, number):
	acknowledged(t, ("durability=delayed=1000",), call, number)


@case("the cut is one: with a delay what was only closed is lost")
def cut_is_one(t):
	store = Killed(t, ("durability=delayed=10000",), signal.SIGRTMIN)
	path, _ = store.cut(rewritten, 0, os.close)
	require(found(path) != NEW, "what was not synced is there")
	store.mount.stop()


SEEN = [("commit", (), FSYNC), ("delayed", ("durability=delayed=1000",), FSYNC)]
if not QUICK:
	SEEN += [(*SEEN[1][:2], CLOSE), (*SEEN[1][:2], SYNC)]


@cases("{}: others see it when the call returns", [(f"{what}, {call[0]}", options, call)
	for what, options, call in SEEN])
def seen(t, name, options, call):
	with t.new_mount(options=options) as m:
		for n, (what, road) in enumerate(ROADS):
			os.mkdir(f"{m.path}/{n}")
			here = []

			def end(fd, n=n):
				call[2](fd)
				here.append(forked(found, f"{m.path}/{n}"))
			data = forked(lambda road=road, n=n: (road(f"{m.path}/{n}", call[1], end), here)[1])
			equal(data[0], forked(found, f"{m.path}/{n}"), f"{what}: what others saw, and in the end")
			equal(data[0], NEW if what not in SPECIAL else SPECIAL[what], f"{what}: what others saw")


SPECIAL = {
	"in place, shorter": SHORT, "lines": b"1\n2\n3",
	"lines, temp to append to": b"1\n2\n34\n5\n", "lines, temp": b"1\n2\n34\n5\n",
}


@case("msync, fsync, close: pages of a temp file that was renamed while it was mapped")
def mapped(t):
	for options in ((), ("durability=delayed=1000",)):
		store = Killed(t, options)

		def road(d, sync, end):
			write(f"{d}/s.json", OLD)
			fd = opened(f"{d}/s.json.tmp", 0, os.O_RDWR | os.O_CREAT)
			os.ftruncate(fd, len(NEW))
			pages = mmap.mmap(fd, len(NEW))
			pages[:HALF] = NEW[:HALF]
			by_another(f"{d}/s.json.tmp", f"{d}/s.json")
			pages[HALF:] = NEW[HALF:]
			if sync:
				pages.flush()
			end(fd)
			return NEW
		for sync, end in ((True, nothing), (False, os.fsync)) + (() if options else ((False, os.close),)):
			path, data = store.cut(road, sync, end)
			equal(found(path), data, f"with {options}, {sync}, {end}")
		store.mount.stop()


@case("sync DIR: a copy of data.mdb alone has all that was acknowledged")
def copy_of_data(t):
	if CONTROL:
		raise Skip("there is no store")
	for options in ((), ("durability=delayed=1000",)):
		with t.new_mount(options=options) as m:
			copy = t.place("copy")
			for n in range(100):
				write(f"{m.path}/{n}.json", NEW)
			command("sync", m.path)
			shutil.copy(f"{m.store}/data.mdb", copy)
		lines = command(HISTORYCTL, "--store", copy, "ls").stdout.count("\n")
		equal(lines, 101, f"lines of ls, a head and the sessions, with {options}")
		equal(command(HISTORYCTL, "--store", copy, "cat", "99").stdout.encode(), NEW, "the last session")


# ---- Not complete ------------------------------------------------------------------------------

SYNCS = [("fsync", os.fsync, 0), ("fdatasync", os.fdatasync, 0),
	("O_SYNC", nothing, os.O_SYNC), ("O_DSYNC", nothing, os.O_DSYNC)]


@cases("{} in the middle of a rewrite decides nothing, and does not fail", SYNCS)
def middle(t, name, sync, more):
	path = t.path("s.json")

	def steps(flags, cut_first, data):
		fd = os.open(path, flags | more)
		if not flags & os.O_TRUNC:
			equal(os.read(fd, 1 << 20), OLD, "what is read")
			os.lseek(fd, 0, os.SEEK_SET)
		sync(fd)
		if cut_first:
			os.ftruncate(fd, 0)
			sync(fd)
		for at in range(0, len(data), 10):
			write_all(fd, data[at:at + 10])
			sync(fd)
			if at + 10 < len(data):
				require(CONTROL or forked(read, path) == OLD, f"{forked(read, path)} is seen at byte {at}")
		os.ftruncate(fd, len(data))
		sync(fd)
		require(more or forked(read, path) == data, "the complete document is not seen")
		os.close(fd)
	for flags in (os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_RDWR | os.O_TRUNC):
		for cut_first in (False, True):
			for data in (SHORT, NEW):
				write(path, OLD)
				forked(steps, flags, cut_first, data)
				equal(read(path), data, "in the end")


@cases("{} in pieces that end in the middle of a text: what others see is never mixed", SYNCS[2:])
def mixed(t, name, sync, more):
	path, data = t.path("s.json"), NEW.replace(b"old", b"new")
	write(path, NEW)

	def program():
		fd = os.open(path, os.O_WRONLY | more)
		for at in range(0, len(data), 40):
			write_all(fd, data[at:at + 40])
			require(CONTROL or forked(read, path) in (NEW, data), f"at byte {at}: {forked(read, path)}")
		equal(forked(read, path), data, "before it is closed")
		os.close(fd)
	forked(program)
	equal(read(path), data, "in the end")


@cases("{} of what is not complete: the last good version stands, close says EINVAL, it is kept", SYNCS)
def torn(t, name, sync, more):
	if CONTROL:
		raise Skip("there is no daemon")
	t.mount.expect(r"refused .*s\.json")
	path, rejected = t.path("s.json"), t.mount.control_file("rejected")

	def program():
		fd = os.open(path, os.O_WRONLY | os.O_TRUNC | more)
		write_all(fd, NEW[:HALF])
		sync(fd)
		sync(fd)
		fails(errno.EINVAL, os.close, fd)
	write(path, OLD)
	before = set(os.listdir(rejected))
	forked(program)
	equal(read(path), OLD, "the last good version")

	def kept():
		return [read(f"{rejected}/{file}") for file in set(os.listdir(rejected)) - before]
	eventually(kept, [NEW[:HALF]], "the bytes that are kept")


@case("fsync of a document that is not complete puts on disk what was done before")
def before_it(t):
	store = Killed(t, ("durability=delayed=10000",))
	store.mount.expect(r"refused .*s\.json")

	def road(d, more, end):
		write(f"{d}/s.json", NEW)
		fd = os.open(f"{d}/s.json", os.O_WRONLY | os.O_TRUNC)
		write_all(fd, OLD[:20])
		end(fd)
		return NEW
	path, data = store.cut(road, 0, os.fsync)
	equal(found(path), data, "what was saved before")
	store.mount.stop()


main()
