#!/usr/bin/python3
"""
Runs of failing allocations in the daemon, from any point on: calls may fail with ENOMEM, but what was acknowledged is there once, the
daemon lives, and goes on when memory is back. tests/fault/starve.c makes them fail.

STARVE_ROUNDS=N: how many runs (tests/fault/long has them by the thousand).
"""
import errno
import json
import mmap
import os
import random
import struct
import sys
import time

import harness
from harness import CONTROL, QUICK, SEED, Failure, Skip, case, equal, main, read, require

LIBRARY = os.environ.get("HISTORYFS_STARVE", "")
ROUNDS = int(os.environ.get("STARVE_ROUNDS") or 150)
ALLOWED = {errno.ENOMEM, errno.EAGAIN}
RUNS = (1, 4, 7, 12, 20, 50)


class Allocations:
	"""What the library is told, in memory that is shared with the daemon."""

	def __init__(self, path):
		with open(path, "wb") as f:
			f.write(bytes(4096))
		with open(path, "r+b") as f:
			self.map = mmap.mmap(f.fileno(), 4096)

	def fail(self, first, count):
		self.map[0:32] = struct.pack("<4Q", 0, first, 0, 0)
		self.map[0:8] = struct.pack("<Q", count)

	def end(self):
		"""Calls since, and how many failed."""
		self.map[0:8] = bytes(8)
		return struct.unpack("<2Q", self.map[16:32])


def attempt(function, *arguments):
	"""The result, or None when it failed as it may."""
	try:
		return function(*arguments)
	except OSError as e:
		if e.errno not in ALLOWED:
			raise Failure(f"{function.__name__}{arguments}: {errno.errorcode.get(e.errno, e.errno)}, which is none of ENOMEM and EAGAIN") from None
		return None


def load(path):
	try:
		with open(path, "rb") as f:
			data = f.read()
	except FileNotFoundError:
		return []
	return json.loads(data) if data else []


def rewrite(path, messages, way):
	data = json.dumps(messages).encode()
	temp = f"{path}.{os.getpid()}.tmp"
	if way == "rename":
		with open(temp, "wb") as f:
			f.write(data)
		os.replace(temp, path)
	elif way == "update":
		fd = os.open(path, os.O_RDWR)
		try:
			os.ftruncate(fd, 0)
			harness.write_all(fd, data)
		except BaseException:
			os.close(fd)
			raise
		os.close(fd)
	else:
		fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
		try:
			harness.write_all(fd, data)
			if way == "fsync":
				os.fsync(fd)
		except BaseException:
			os.close(fd)
			raise
		os.close(fd)
	return True


def append_line(path, text):
	fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
	try:
		os.write(fd, text.encode() + b"\n")
	except BaseException:
		os.close(fd)
		raise
	os.close(fd)
	return True


def look_around(directory):
	os.listdir(directory)
	for e in os.scandir(directory):
		e.stat()
	read(f"{directory}/.historyfs/status")
	place = f"{directory}/d{os.getpid()}-{time.monotonic_ns()}"
	os.mkdir(place)
	os.rmdir(place)
	return True


class Client:
	"""A process that does what it is told, one step after another."""

	def __init__(self, directory, name):
		self.name = name
		self.to_child, self.from_parent = os.pipe()[::-1]
		self.to_parent, self.from_child = os.pipe()[::-1]
		self.child = harness.Child(self.run, directory, name)
		os.close(self.from_parent), os.close(self.to_parent)

	def run(self, directory, name):
		os.close(self.to_child), os.close(self.from_child)
		seen, count = {}, 0
		with os.fdopen(self.from_parent, "r", encoding="ascii") as f:
			for line in f:
				what, session = line.split()
				if what == "end":
					return
				path, done, text = f"{directory}/{session}", None, f"{name}{count}"
				count += 1
				try:
					if what == "read":
						done = attempt(load, path)
						seen.pop(session, None)
						if done is not None:
							seen[session] = done
					elif what == "line":
						done = attempt(append_line, path, text)
					elif what == "look":
						done = attempt(look_around, directory)
					elif session in seen:
						done = attempt(rewrite, path, seen[session] + [text], what)
						if done:
							seen[session] = seen[session] + [text]
						else:
							seen.pop(session)		# what is there now?
					answer = f"{text if done is True and what != 'look' else '-'} {'ok' if done is not None else 'failed'}"
				except Failure as e:
					answer = "! " + str(e).replace("\n", " ")
				os.write(self.to_parent, (answer + "\n").encode())

	def do(self, what, session):
		os.write(self.to_child, f"{what} {session}\n".encode())
		answer = b""
		while not answer.endswith(b"\n"):
			piece = os.read(self.from_child, 4096)
			require(piece, "a client ended")
			answer += piece
		first, second = answer.decode().rstrip("\n").split(" ", 1)
		require(first != "!", second)
		return None if first == "-" else first

	def end(self):
		os.write(self.to_child, b"end -\n")
		self.child.result()
		os.close(self.to_child)
		os.close(self.from_child)


STEPS = ("read", "truncate", "read", "rename", "read", "update", "fsync", "line", "look", "truncate", "rename")


def start(t, options=()):
	path = t.place("starve") + "/told"
	allocations = Allocations(path)
	return allocations, t.new_mount(options=options, environment={"LD_PRELOAD": LIBRARY, "STARVE": path}, expected=[r"."])


def need_library():
	if CONTROL:
		raise Skip("there is no daemon")
	if not LIBRARY or QUICK:
		raise Skip("sanitizers have allocators of their own")


def play(m, allocations, clients, number, first, count):
	"""One run of failures. Every acknowledged message must be there once when it is over."""
	session, lines = f"s{number}.json", f"l{number}.jsonl"
	acknowledged, steps = [], []
	rng = random.Random(SEED * 1000003 + number)
	for c in clients:
		c.do("read", session)
	acknowledged.append(clients[0].do("truncate", session))
	clients[1].do("read", session)
	allocations.fail(first, count)
	for _ in range(14):
		what = rng.choice(STEPS)
		client = rng.choice(clients)
		text = client.do(what, lines if what == "line" else session)
		steps.append(f"{client.name} {what}: {text}")
		if text:
			acknowledged.append((lines, text) if what == "line" else text)
	calls, failed = allocations.end()
	require(not m.died(), "the daemon died")
	for c in clients:
		c.do("read", session)
		text = c.do("truncate", session)
		require(text, "a save failed when memory was back")
		acknowledged.append(text)
	found = load(f"{m.path}/{session}")
	missing = [text for text in acknowledged if not isinstance(text, tuple) and found.count(text) != 1]
	if missing:
		log = harness.command(harness.HISTORYCTL, "log", session, cwd=m.path, status=None).stdout
		raise Failure(f"acknowledged, and not there once: {missing}; there are {found}; steps: {steps}\n{log}")
	wanted = [text[1] for text in acknowledged if isinstance(text, tuple)]
	there = read(f"{m.path}/{lines}").decode().split("\n") if wanted else []
	missing = [text for text in wanted if there.count(text) != 1]
	require(not missing, f"lines acknowledged, and not there once: {missing}; there are {there}")
	return calls, failed


def runs(t, options):
	need_library()
	rng = random.Random(SEED)
	allocations, m = start(t, options)
	largest, hit = 400, 0
	with m:
		daemon = m.daemon.pid
		clients = [Client(m.path, name) for name in "ab"]
		for number in range(ROUNDS):
			first, count = rng.randrange(1, largest), rng.choice(RUNS)
			try:
				calls, failed = play(m, allocations, clients, number, first, count)
			except Exception as e:
				allocations.end()
				e.add_note(f"run {number}: allocations {first} to {first + count - 1} failed; HISTORYFS_SEED={SEED}")
				raise
			largest = max(50, min(calls, 3000))
			hit += failed > 0
		for c in clients:
			c.end()
		equal(m.daemon.pid, daemon, "the daemon")
	print(f"# {ROUNDS} runs, {hit} of them met an allocation")
	require(hit > ROUNDS // 3, f"only {hit} of {ROUNDS} runs met an allocation")
	done = harness.command(harness.HISTORYCTL, "--store", m.store, "verify", status=None)
	require(done.returncode == 0, done.stdout + done.stderr)


@case("runs of failing allocations: errors to the callers, nothing acknowledged is lost, the daemon goes on")
def starved(t):
	runs(t, ())


@case("the same with delayed saves and little memory for documents")
def starved_delayed(t):
	runs(t, ("durability=delayed=20", "memory=64K", "cache=64K"))


if __name__ == "__main__":
	main()
