#!/usr/bin/python3
"""The table of bounds in fs/README.md: each is in the code, with the value that stands there; and what happens at some of them."""
import errno
import json
import os
import re
import resource
import sys
import time

from harness import Child, Skip, case, cases, equal, forked, main, read, require, write

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "client"))
from steps import Steps  # noqa: E402

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
ROW = re.compile(r"^\| `(\w+)` \| (\S+) \| (.+?) \| (.+?) \| (.+?) \| (.*?) ?\|$", re.M)


def source(path):
	with open(os.path.join(ROOT, path), encoding="utf-8") as f:
		return f.read()


@case("each bound of the table is in the code")
def bounds(t):
	rows = ROW.findall(source("fs/README.md"))
	require(len(rows) > 20, f"the table has {len(rows)} rows")
	told = counters(t.mount)
	for name, path, value, _, _, counter in rows:
		found = re.search(rf"^#define {name}\s+(.+?)(?:\s*/\*.*)?$", source(path), re.M)
		require(found, f"{path} has no {name}")
		equal(found.group(1).strip(), value, f"{name} of {path}")
		for word in re.findall(r"`(\w+)`", counter):
			require(word in told, f"{name} of {path}: status has no counter {word}")


def counters(mount):
	return json.loads(read(mount.control_file("status")))["bounds"]


@case("1024 sessions set aside: the next rename is refused while all are away, then the oldest made makes room; readers miss none")
def asides(t):
	number = 1024
	with t.new_mount() as m:
		paths = [f"{m.path}/s{n}.json" for n in range(number + 2)]

		def fill():
			for path in paths:
				write(path, b'[{"role": "user", "content": "old"}]')

		def busy(path):
			try:
				os.rename(path, path + ".bak")
				return 0
			except OSError as e:
				return e.errno

		def set_aside():
			for path in paths:
				read(path)
			began = time.monotonic()
			for path in paths[:number]:
				os.rename(path, path + ".bak")
			refused = busy(paths[number])
			write(paths[0], b'[{"role": "user", "content": "old"}, {"role": "user", "content": "new"}]')
			after = busy(paths[number + 1])
			# What is away for three seconds is no part of a save, and ends by itself: then the bound was not met.
			met = time.monotonic() - began < 2.5
			with open(t.plain + "/results", "w", encoding="utf-8") as f:
				json.dump([met, refused, after], f)
			yield
			yield
		forked(fill)
		one = Steps(set_aside())
		one.step()
		met, refused, after = json.loads(read(t.plain + "/results"))
		if not met:
			raise Skip("too slow to have so many away at once")
		equal((refused, after), (errno.EBUSY, 0), "the rename beyond the number, and when one is made")
		equal(counters(m)["asides"], 2, "times that the bound was met")
		equal(read(paths[number]), b'[{"role": "user", "content": "old"}]', "the session whose rename was refused")
		require(b"new" in read(paths[0]) and b"old" in read(paths[0] + ".bak"), "the session that was made, and its backup")
		one.end()
		equal(len([name for name in os.listdir(m.path) if name.startswith("s")]), number + 3, "sessions, or their backups, in the end")


@case("more renames of sessions in ten seconds than are remembered are counted")
def renames(t):
	with t.new_mount() as m:
		write(m.path + "/s0.json", b'[{"role": "user", "content": "old"}]')
		read(m.path + "/s0.json")
		equal(counters(m)["renames"], 0, "at first")
		began = time.monotonic()
		for n in range(1100):
			os.rename(f"{m.path}/s{n}.json", f"{m.path}/s{n + 1}.json")
		if time.monotonic() - began > 9:
			raise Skip("too slow for so many renames in that time")
		require(counters(m)["renames"] >= 70, f"counted: {counters(m)['renames']}")
		equal(read(m.path + "/s1100.json"), b'[{"role": "user", "content": "old"}]', "the session")


@case("P2: a process whose tickets went for want of memory removes nothing by its next save")
def forgotten(t):
	with t.new_mount() as m:
		path, other = m.path + "/s.json", m.path + "/n.json"

		def save(*texts):
			write(path, json.dumps([{"role": "user", "content": text} for text in texts]).encode())

		def run():
			require(b"seed" in read(path), "what it has read")
			yield
			read(other)
			names = [other] + [f"{m.path}/{n}{'x' * 235}.json" for n in range(40000)]
			for n in range(40000):
				os.rename(names[n], names[n + 1])
				if n % 1000 == 999 and counters(m)["tickets_memory"]:
					break
			save("seed", "its own")
			yield
		forked(save, "seed")
		forked(write, other, b"[]")
		one = Steps(run())
		one.step()
		forked(save, "seed", "another's")
		one.step()
		equal([e["content"] for e in json.loads(read(path))], ["seed", "another's", "its own"], "in the end")
		equal(counters(m)["saves_unseen"], 1, "saves that removed nothing")
		require(json.loads(read(m.control_file("status")))["uncertain"] >= 1, "it is not marked uncertain")
		one.end()


def write_and_rename(temp, session, count, renames):
	"""The tasks of an event loop: all write, then some rename. What the renames said."""
	said = []
	for n in range(count):
		write(temp, json.dumps([{"role": "user", "content": f"message {n}"}]).encode())
	yield
	for _ in range(renames):
		try:
			os.rename(temp, session)
			said.append(0)
		except OSError as e:
			said.append(e.errno)
	with open(session + ".said", "w", encoding="utf-8") as f:
		json.dump(said, f)
	yield


def said(session):
	return json.loads(read(session + ".said"))


def texts_of(path):
	return [e["content"] for e in json.loads(read(path))]


@case("P1: a process has 1024 files of one temp name, and one more: no rename says 0 whose file may be the one that had to go")
def temps_own(t):
	with t.new_mount(expected=["too many files"]) as m:
		for number, answer in ((1024, 0), (1025, errno.EBUSY)):
			# A name that is not made from the session's: a rename saves one file.
			temp, session = f"{m.path}/{number}.json.tmp", f"{m.path}/s{number}.json"
			one = Steps(write_and_rename(temp, session, number, 3), events=True)
			one.step(2)
			equal(said(session), [answer] * 3, "renames")
			equal(texts_of(session)[0], f"message {number - 1}", "the session, whose other files are saved")
			equal(counters(m)["temps_own"], number - 1024, "times that the bound was met")
			forked(write, temp, b"[1]")
			forked(os.rename, temp, session + ".json")
			one.end()


@case("P1: 4096 temp files have lost their names, and one more: whose had to go is told so by its rename, the others are there")
def temps_lost(t):
	with t.new_mount(expected=["too many files"]) as m:
		everybody, sessions = [], [f"{m.path}/s{n}.json" for n in range(5)]
		for session in sessions:
			everybody.append(Steps(write_and_rename(m.path + "/temp.json.tmp", session, 820, 1), events=True))
			everybody[-1].step()
		equal(counters(m)["temps_waiting"], 5 * 820 - 1 - 4096, "times that the bound was met")
		for one in everybody:
			one.step()
		equal([said(session) for session in sessions], [[errno.EBUSY]] + [[0]] * 4, "what the renames said")
		for session in sessions[1:]:
			equal(texts_of(session)[0], "message 819", "the session")
		for one in everybody:
			one.end()


def save_late(path, others):
	"""A save whose temp file is renamed only after others have been opened, and the process has read the session again."""
	require(b"seed" in read(path), "what it has read")
	write(path + ".tmp", json.dumps([{"role": "user", "content": text} for text in ("seed", "its own")]).encode())
	yield
	require(b"another's" in read(path), "what it has read since")
	for n in range(others):
		os.close(os.open(f"{path}-{n}.tmp", os.O_WRONLY | os.O_CREAT))
	os.rename(path + ".tmp", path)
	yield


@cases("P1, P2: {} temp files were opened before one is renamed: it removes nothing that came meanwhile", [("4094", 4094, 0, 0), ("4096", 4096, 2, 1)])
def temps_named(t, _, others, met, uncertain):
	with t.new_mount() as m:
		path = m.path + "/s.json"
		forked(write, path, b'[{"role": "user", "content": "seed"}]')
		one = Steps(save_late(path, others))
		one.step()
		forked(add_message, path, "another's")
		one.step()
		equal(texts_of(path), ["seed", "another's", "its own"], "in the end")
		# One is the session's own, which was new.
		equal(counters(m)["temps"], met, "times that the bound was met")
		equal(json.loads(read(m.control_file("status")))["uncertain"], uncertain, "saves that are marked uncertain")
		one.end()


@case("4096 removed files that somebody is at without having them open, and one more: only of the oldest is not told what it was")
def removed(t):
	number = 4096

	def remove(directory):
		_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
		if most < number + 100:
			raise Skip("no process may have so many descriptors here")
		resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
		at = []
		for n in range(number + 1):
			path = f"{directory}/{n}"
			os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600 + n % 2 * 4))
			at.append(os.open(path, os.O_PATH))
			os.unlink(path)
			if n == number - 1:
				equal([state(fd) for fd in at], [(0o600 + n % 2 * 4, 0) for n in range(number)], "at the bound")
		equal(state(at[0]), errno.ESTALE, "the oldest")
		equal([state(fd) for fd in at[1:]], [(0o600 + n % 2 * 4, 0) for n in range(1, number + 1)], "the others")

	def state(fd):
		try:
			a = os.stat(f"/proc/self/fd/{fd}")
			return a.st_mode & 0o777, a.st_nlink
		except OSError as e:
			return e.errno
	with t.new_mount() as m:
		forked(remove, m.path)
		equal(counters(m)["removed_open"], 1, "times that the bound was met")
		forked(write, m.path + "/s.json", b"[1]")
		equal(read(m.path + "/s.json"), b"[1]", "a session after that")


def add_message(path, text):
	document = json.loads(read(path))
	write(path, json.dumps(document + [{"role": "user", "content": text}]).encode())


@case("64 clients save at once: no more threads than 16 answer them, and each has its turn")
def threads(t):
	with t.new_mount() as m:
		def save(n):
			for k in range(3):
				write(f"{m.path}/own{n}.json", json.dumps([f"message {i}" for i in range(k + 1)]).encode())
		for client in [Child(save, n) for n in range(64)]:
			client.result()
		# Threads that answer stay. Beside them there is the one that watches, and the one that writes to the disk.
		number = len(os.listdir(f"/proc/{m.daemon.pid}/task"))
		require(number <= 16 + 2, f"the daemon has {number} threads")
		for n in range(64):
			equal(json.loads(read(f"{m.path}/own{n}.json")), ["message 0", "message 1", "message 2"], "the session")


if __name__ == "__main__":
	main()
