#!/usr/bin/python3
"""
P1, P5, P7: SIGKILLs of writers at random moments, and of the daemon. A writer tells through a pipe, after close returned,
what was acknowledged. Nothing acknowledged may be lost, nothing may be there twice, every file parses, and the mount works
again at once.
"""
import contextlib
import errno
import json
import os
import random
import select
import struct
import time

from tally import Readers, Tally, marks, text
from harness import CONTROL, QUICK, SEED, Child, Failure, Skip, case, equal, fails, main, read, require
from history_service import HistoryService

WRITER_KILLS = 40 if QUICK else 200
DAEMON_KILLS = 15 if QUICK else 100
SESSIONS = ["shared", "shared", "shared", "shared", "own4", "own5"]
RECORD = struct.Struct("<BII")		# 0: about to save, 1: acknowledged; writer, number

PADDING = "a longer answer " * 20	# with 60 of them each save is several writes, so that kills hit in mid-document


class Journal:
	"""A pipe that all writers tell what they did; records are shorter than PIPE_BUF, so they never mix."""

	def __init__(self):
		self.reader, self.writer = os.pipe()
		self.attempted, self.acknowledged, self.rest = set(), set(), b""

	def tell(self, acknowledged, writer, number):
		os.write(self.writer, RECORD.pack(acknowledged, writer, number))

	def collect(self, seconds):
		"""Reads what was told for so long."""
		end = time.monotonic() + seconds
		while True:
			ready = select.select([self.reader], [], [], max(0.0, end - time.monotonic()))[0]
			if not ready:
				return
			data = self.rest + os.read(self.reader, 1 << 16)
			whole = len(data) - len(data) % RECORD.size
			for acknowledged, writer, number in RECORD.iter_unpack(data[:whole]):
				(self.acknowledged if acknowledged else self.attempted).add((f"w{writer}", number))
			self.rest = data[whole:]
			if time.monotonic() >= end:
				return

	def close(self):
		os.close(self.reader)
		os.close(self.writer)


def seed_sessions(directory, extra=()):
	service = HistoryService(directory)
	for session in sorted({*SESSIONS, *extra}):
		service.write_history(session, [{"role": "user", "content": text("seed", n, PADDING)} for n in range(60)])


def tally(directory, journal, sessions):
	found, seeds = [], [("seed", n) for n in range(60)]
	for session in sorted(set(sessions)):
		session_marks = marks(json.loads(read(f"{directory}/{session}.json")))
		equal([m for m in session_marks if m[0] == "seed"], seeds, f"the messages that {session} had before")
		found += [m for m in session_marks if m[0] != "seed"]
	Tally(found, journal.acknowledged, journal.attempted).require_perfect("after the kills")


def save_for_ever(directory, session, writer, journal):
	service = HistoryService(directory)
	for number in range(1 << 30):
		journal.tell(0, writer, number)
		service.save_message(session, "user", text(f"w{writer}", number, PADDING))
		journal.tell(1, writer, number)


@case("P1 P5 P7: {} SIGKILLs of writers".format(WRITER_KILLS))
def kill_writers(t):
	rng = random.Random(SEED)
	seed_sessions(t.dir)
	t.mount.expect(r".")		# what was torn is told in the log; sanitizers are never excused
	journal, writers = Journal(), {}
	numbers = iter(range(1 << 30))
	with Readers([t.path(f"{s}.json") for s in sorted(set(SESSIONS))], pause=0.02):
		for slot, session in enumerate(SESSIONS):
			writers[slot] = Child(save_for_ever, t.dir, session, next(numbers), journal)
		for _ in range(WRITER_KILLS):
			journal.collect(rng.uniform(0.005, 0.09))
			slot = rng.randrange(len(SESSIONS))
			writers[slot].kill()
			code = writers[slot].wait()
			if not os.WIFSIGNALED(code):
				raise Failure(f"a writer ended by itself: {os.read(writers[slot].reader, 1 << 16).decode(errors='replace')}")
			writers[slot] = Child(save_for_ever, t.dir, SESSIONS[slot], next(numbers), journal)
		journal.collect(0.1)
		for child in writers.values():
			child.kill()
			child.wait()
		journal.collect(0.1)
	require(len(journal.acknowledged) > WRITER_KILLS // 2, f"only {len(journal.acknowledged)} saves between the kills")
	tally(t.dir, journal, SESSIONS)
	journal.close()
	HistoryService(t.dir).save_message("shared", "user", "after all that")
	equal(json.loads(read(t.path("shared.json")))[-1]["content"], "after all that", "the save after the kills")


def save_through_crashes(directory, device, session, writer, journal, stop):
	"""
	Saves by the working directory, so that what lies beneath a mount that is gone is never written to. A save that fails is
	not tried again: it was not acknowledged, and may or may not be there.
	"""
	entered, number = False, 0
	os.set_blocking(stop, False)
	while True:
		try:
			if os.read(stop, 1) == b"":
				return number
		except BlockingIOError:
			pass
		if not entered:
			try:
				os.chdir(directory)
				entered = os.stat(".").st_dev != device
			except OSError:
				pass
			if not entered:
				time.sleep(0.002)
				continue
		try:
			journal.tell(0, writer, number)
			HistoryService(".").save_message(session, "user", text(f"w{writer}", number, PADDING))
			journal.tell(1, writer, number)
		except OSError:
			entered = False
		number += 1


@case("P1 P7: {} SIGKILLs of the daemon, remount at once".format(DAEMON_KILLS))
def kill_daemon(t):
	if CONTROL:
		raise Skip("there is no daemon")
	rng = random.Random(SEED)
	mount = t.new_mount(expected=[r"."])
	device = os.stat(mount.path).st_dev
	stop_reader, stop_writer = os.pipe()
	journal = Journal()

	def work(writer):
		os.close(stop_writer)
		return save_through_crashes(mount.path, device, SESSIONS[writer], writer, journal, stop_reader)
	with mount:
		seed_sessions(mount.path)
		children = [Child(work, w) for w in range(len(SESSIONS))]
		for _ in range(DAEMON_KILLS):
			journal.collect(rng.uniform(0.005, 0.12))
			mount.kill()
			fails((errno.ENOTCONN, errno.ECONNABORTED), os.listdir, mount.path)
			mount.start()		# clears the stale mount by itself
			for session in set(SESSIONS):
				json.loads(read(f"{mount.path}/{session}.json"))
			HistoryService(mount.path).save_message("probe", "user", "works at once")
		journal.collect(0.2)
		os.close(stop_writer)
		for child in children:
			child.result()
		os.close(stop_reader)
		journal.collect(0.1)
		require(len(journal.acknowledged) > DAEMON_KILLS // 2, f"only {len(journal.acknowledged)} saves between the kills")
		tally(mount.path, journal, SESSIONS)
		equal(len(json.loads(read(f"{mount.path}/probe.json"))), DAEMON_KILLS, "the saves right after each start")
	journal.close()


@case("P1: a save that close() acknowledged outlives a SIGKILL of the daemon right after it")
def kill_after_close(t):
	if CONTROL:
		raise Skip("there is no daemon")
	mount = t.new_mount(expected=[r"."])
	with mount:
		for n in range(10):
			HistoryService(mount.path).save_message("s", "user", text("w", n))
			mount.kill()
			mount.start()
			equal(marks(json.loads(read(f"{mount.path}/s.json"))), [("w", m) for m in range(n + 1)], "acknowledged messages")


@case("P1: fsync acknowledges too, before close")
def kill_after_fsync(t):
	if CONTROL:
		raise Skip("there is no daemon")
	mount = t.new_mount(expected=[r"."])
	with mount:
		for n in range(5):
			fd = os.open(f"{mount.path}/s.json", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
			os.write(fd, json.dumps([{"role": "user", "content": f"{m}"} for m in range(n + 1)]).encode())
			os.fsync(fd)
			mount.kill()
			with contextlib.suppress(OSError):
				os.close(fd)
			mount.start()
			equal(len(json.loads(read(f"{mount.path}/s.json"))), n + 1, "messages after fsync and a kill")


@case("P1: a rename that was acknowledged outlives a SIGKILL of the daemon")
def kill_after_rename(t):
	if CONTROL:
		raise Skip("there is no daemon")
	mount = t.new_mount(expected=[r"."])
	with mount:
		for n in range(5):
			data = json.dumps([{"role": "user", "content": f"{m}"} for m in range(n + 1)]).encode()
			with open(f"{mount.path}/s.json.tmp", "wb") as f:
				f.write(data)
			os.replace(f"{mount.path}/s.json.tmp", f"{mount.path}/s.json")
			mount.kill()
			mount.start()
			equal(read(f"{mount.path}/s.json"), data, "the document after rename and a kill")
			equal(sorted(os.listdir(mount.path)), ["s.json"], "names after rename and a kill")


@case("P7: delayed durability never leaves a corrupt store")
def kill_delayed(t):
	if CONTROL:
		raise Skip("there is no daemon")
	mount = t.new_mount(expected=[r"."], options=["durability=delayed=200"])
	with mount:
		for n in range(10):
			for m in range(5):
				HistoryService(mount.path).save_message("s", "user", text("w", n * 5 + m))
			mount.kill()
			mount.start()
			found = marks(json.loads(read(f"{mount.path}/s.json"))) if os.path.exists(f"{mount.path}/s.json") else []
			equal(found, sorted(set(found)), "order and single presence")


if __name__ == "__main__":
	main()
