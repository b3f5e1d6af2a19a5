#!/usr/bin/python3
"""
The daemon's memory is bounded: what it remembers of its clients (ten thousand short-lived ones leave it as large as it was, and are forgotten),
documents that are being written, and what a large one leaves behind. So are refused documents and what the log says of them.
"""
import contextlib
import errno
import json
import os
import random
import re
import time

import harness
from harness import CONTROL, QUICK, Skip, case, cases, command, equal, eventually, fails, forked, main, read, require, write, write_once

CLIENTS, BATCH = 1000 if QUICK else 10000, 50
BESIDE = 24 << 20		# the buffers of 16 threads and 8 reads, which begin when they are needed. Of the sanitizers' allocators it says nothing
SESSIONS = 20


def anonymous(mount):
	with open(f"/proc/{mount.daemon.pid}/status", encoding="ascii") as f:
		return int(re.search(r"^RssAnon:\s+(\d+) kB", f.read(), re.M)[1]) << 10


def tickets(mount):
	return json.loads(read(mount.control_file("status")))["tickets"]


def clients(count, act):
	"""So many processes, a batch at a time, that each do `act(number)`."""
	for first in range(0, count, BATCH):
		pids = []
		for n in range(first, first + BATCH):
			pid = os.fork()
			if not pid:
				try:
					act(n)
				finally:
					os._exit(0)
			pids.append(pid)
		for pid in pids:
			equal(os.waitpid(pid, 0)[1], 0, "status of a client")


def grows(mount, count, act):
	if CONTROL:
		raise Skip("there is no daemon")
	for n in range(SESSIONS):
		forked(write, f"{mount.path}/s{n}.json", json.dumps([{"role": "user", "content": f"{n} {i}"} for i in range(20)]).encode())
	forked(clients, 500, act)		# threads and their stacks, caches
	before, known = anonymous(mount), tickets(mount)["bytes"]
	forked(clients, count, act)
	growth = anonymous(mount) - before
	print(f"# {count} clients: RssAnon grew by {growth >> 10} KiB from {before >> 10} KiB; tickets: {tickets(mount)}")
	require(QUICK or growth <= tickets(mount)["bytes"] - known + BESIDE, f"the daemon grew by {growth >> 10} KiB")
	require(tickets(mount)["bytes"] <= 6 << 20, f"tickets take {tickets(mount)['bytes']} bytes")


@case("clients that read one of a few sessions")
def readers(t):
	with t.new_mount() as m:
		grows(m, CLIENTS, lambda n: read(f"{m.path}/s{n % SESSIONS}.json"))


@case("clients that look for names that are not there")
def lookers(t):
	with t.new_mount() as m:
		grows(m, CLIENTS // 5, lambda n: require(not os.path.exists(f"{m.path}/absent{n}.json"), "it is there"))


@case("dead clients are forgotten after ticket_ttl, as fast as new ones come")
def forgotten(t):
	if CONTROL:
		raise Skip("there is no daemon")
	with t.new_mount(options=["ticket_ttl=1"]) as m:
		forked(write, f"{m.path}/s.json", b'[{"content": "a"}]')
		seen = []
		for _ in range(6):
			forked(clients, 200, lambda n: read(f"{m.path}/s.json"))
			seen.append(tickets(m)["processes"])
			time.sleep(1.1)
		require(max(seen) < 700, f"processes remembered, after each 200: {seen}")


# ---- Documents that are being written -----------------------------------------------------------------------------

def document(name, size, lines=False):
	"""Messages of about a kilobyte, so many bytes or some more."""
	one = len(json.dumps({"role": "user", "content": f"{name} {0:8} " + "x" * 1000})) + 2
	parts = [json.dumps({"role": "user", "content": f"{name} {n:8} " + "x" * 1000}) for n in range(size // one + 1)]
	return ("\n".join(parts) + "\n" if lines else "[" + ", ".join(parts) + "]").encode()


def drafts(mount):
	return json.loads(read(mount.control_file("status")))["drafts"]


def need_daemon():
	if CONTROL:
		raise Skip("there is no daemon")


def warm(mount):
	"""Threads and their buffers."""
	for _ in range(3):
		write(f"{mount.path}/warm.bin", bytes(8 << 20))
		read(f"{mount.path}/warm.bin")
	os.unlink(f"{mount.path}/warm.bin")
	time.sleep(1.5)		# what was pending is on the disk


@case("many large documents, unfinished at once: -o memory bounds them in sum, and all are saved")
def unfinished(t):
	need_daemon()
	size, count, limit = (1 << 20 if QUICK else 6 << 20), 8, 1 << 20
	with t.new_mount(options=[f"memory={limit}"]) as m:
		warm(m)
		before = anonymous(m)
		texts = [document(f"d{n}", size) for n in range(count)]
		files = [open(f"{m.path}/d{n}.json", "wb", buffering=1 << 17) for n in range(count)]
		for at in range(0, len(texts[0]), 1 << 17):
			for f, text in zip(files, texts):
				f.write(text[at:at + (1 << 17)])
		for f in files:
			f.flush()
		seen, growth = drafts(m), anonymous(m) - before
		print(f"# {count} unfinished documents of {size >> 20} MiB: RssAnon grew by {growth >> 10} KiB; {seen}")
		require(seen["memory"] <= limit and seen["files"] >= count - 1, f"drafts: {seen}")
		require(QUICK or growth <= limit + BESIDE, f"the daemon grew by {growth >> 10} KiB")
		for f in files:
			f.close()
		for n, text in enumerate(texts):
			require(read(f"{m.path}/d{n}.json") == text, f"d{n}.json is not what was written")
		seen = drafts(m)
		equal((seen["memory"], seen["files"], seen["file_bytes"]), (0, 0, 0), "drafts when all are closed")
		require(seen["moved"] >= count - 1, f"drafts: {seen}")


@case("after a large file memory goes back to the system")
def given_back(t):
	need_daemon()
	size = 2 << 20 if QUICK else 40 << 20
	with t.new_mount() as m:
		warm(m)
		before = anonymous(m)
		for name, lines in (("large.json", False), ("large.jsonl", True)):
			text = document(name, size, lines)
			write(f"{m.path}/{name}", text)
			deadline = time.monotonic() + 20
			while (growth := anonymous(m) - before) > BESIDE and not QUICK and time.monotonic() < deadline:
				time.sleep(0.1)
			print(f"# after {name} of {size >> 20} MiB: RssAnon is {growth >> 10} KiB above what it was")
			require(QUICK or growth <= BESIDE, f"after {name} the daemon is {growth >> 10} KiB larger")
			require(read(f"{m.path}/{name}") == text, f"{name} is not what was written")


def change_at_random(path, whole, steps):
	"""Writes, truncations and reads through one handle, as on a plain bytearray; ends with a complete document."""
	now = bytearray(whole)
	fd = os.open(path, os.O_RDWR)
	for _ in range(steps):
		at, size = random.randrange(len(now) + 2000), random.choice((1, 10, 5000, 40000))
		what = random.random()
		if what < 0.6:
			piece = bytes(now[at:at + size]) if random.random() < 0.3 else bytes([random.randrange(32, 127)]) * size
			os.pwrite(fd, piece, at)
			if piece:
				now += bytes(max(0, at - len(now)))
				now[at:at + len(piece)] = piece
		elif what < 0.7:
			at = random.choice((at, at // 2, 0, len(now) + 30000))
			os.ftruncate(fd, at)
			now = now[:at] + bytes(max(0, at - len(now)))
		else:
			require(os.pread(fd, size, at) == now[at:at + size], f"{size} bytes at {at} of {len(now)}")
	final = document("final", random.choice((100, 30000, 200000)))
	if random.random() < 0.5:
		os.ftruncate(fd, 0)
	os.pwrite(fd, final, 0)
	os.ftruncate(fd, len(final))
	os.close(fd)
	return final


@case("a document in a file is changed like any other: writes, truncations and reads at random")
def in_files(t):
	need_daemon()
	with t.new_mount(options=["memory=64K"]) as m:
		path = f"{m.path}/s.json"
		whole = document("s", 150000)
		write(path, whole)
		for _ in range(15 if QUICK else 60):
			whole = change_at_random(path, whole, 30)
			require(read(path) == whole, "what was saved is not what was written")
		require(drafts(m)["moved"] > 5, f"drafts: {drafts(m)}")


@case("long lines that come in pieces, with little memory: all whole, in order")
def long_lines(t):
	need_daemon()
	with t.new_mount(options=["memory=64K"]) as m:
		fd = os.open(f"{m.path}/s.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
		wanted = b""
		for n in range(40):
			piece = (b"%d " % n + b"y" * random.choice((10, 9000, 30000, 70000))) + random.choice((b"", b"\n", b"\nz", b"\n" + b"w" * 20000))
			equal(os.write(fd, piece), len(piece), "bytes written")
			wanted += piece
			ended = wanted.rfind(b"\n") + 1
			require(read(f"{m.path}/s.jsonl")[:ended] == wanted[:ended], f"after piece {n}")
		os.close(fd)
		require(read(f"{m.path}/s.jsonl") == wanted, "at the end")
		require(drafts(m)["moved"] > 3 and not drafts(m)["files"], f"drafts: {drafts(m)}")


@case("a document that the store's disk has no room for: ENOSPC, what stood there stands")
def no_room(t):
	need_daemon()
	if os.geteuid():
		raise Skip("only root can mount a small disk")
	disk = t.place("disk")
	command("mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk)
	try:
		with t.new_mount(store=f"{disk}/store", options=["memory=64K"], expected=[r"refused .*(No space|device)", r"could not be kept"]) as m:
			write(f"{m.path}/s.json", b'["stands"]')
			fails(errno.ENOSPC, write, f"{m.path}/s.json", document("large", 20 << 20))
			eventually(lambda: read(f"{m.path}/s.json"), b'["stands"]', "after the refusal")
			write(f"{m.path}/s.json", b'["stands", "goes on"]')
			equal(read(f"{m.path}/s.json"), b'["stands", "goes on"]', "the next save")
			equal(drafts(m)["files"], 0, "files that are left")
	finally:
		command("umount", disk)


# ---- A limit of memory from outside -------------------------------------------------------------------------------

class Group:
	"""A cgroup whose memory is limited, version 1 or 2."""

	def __init__(self, limit):
		with open("/proc/self/cgroup", encoding="ascii") as f:
			lines = [line.rstrip("\n").split(":", 2) for line in f]
		found = [("/sys/fs/cgroup/memory" + path, "memory.limit_in_bytes") for _, kind, path in lines if kind == "memory"]
		found += [("/sys/fs/cgroup" + path, "memory.max") for number, _, path in lines if number == "0"]
		for place, name in found:
			self.path = f"{place}/historyfs-test-{os.getpid()}"
			try:
				os.mkdir(self.path)
				with open(f"{self.path}/{name}", "w", encoding="ascii") as f:
					f.write(str(limit))
				return
			except OSError:
				with contextlib.suppress(OSError):
					os.rmdir(self.path)
		raise Skip("no cgroup with a memory limit can be made here")

	def wrapper(self):
		return ["sh", "-c", f'echo $$ > {self.path}/cgroup.procs && exec "$@"', "sh"]

	def __enter__(self):
		return self

	def __exit__(self, *_):
		deadline = time.monotonic() + 20
		while time.monotonic() < deadline:
			with contextlib.suppress(OSError):
				os.rmdir(self.path)
				return
			time.sleep(0.1)


@case("in a cgroup that the documents don't fit in: the daemon lives, close says 0 or ENOMEM, and it was so")
def limited(t):
	need_daemon()
	if QUICK:
		raise Skip("the sanitizers need memory of their own")
	size, count = 24 << 20, 4
	with Group(64 << 20) as group:
		with t.new_mount(options=["memory=16M"], wrapper=group.wrapper(), expected=[r"refused .*Cannot allocate memory", r"oldest of the refused"]) as m:
			write(f"{m.path}/small.json", b'["small"]')
			texts = [document(f"d{n}", size) for n in range(count)]
			fds = [os.open(f"{m.path}/d{n}.json", os.O_WRONLY | os.O_CREAT, 0o644) for n in range(count)]
			for fd, text in zip(fds, texts):
				harness.write_all(fd, text)
			results = []
			for n, fd in enumerate(fds):
				try:
					os.close(fd)
					results.append(0)
				except OSError as e:
					results.append(e.errno)
			print(f"# close: {results}")
			require(set(results) <= {0, errno.ENOMEM} and errno.ENOMEM in results, f"close: {results}")
			for n, (result, text) in enumerate(zip(results, texts)):
				require(result or read(f"{m.path}/d{n}.json") == text, f"d{n}.json is not what was written")
			write(f"{m.path}/small.json", b'["small", "goes on"]')
			equal(read(f"{m.path}/small.json"), b'["small", "goes on"]', "a small save afterwards")


# ---- Refused documents --------------------------------------------------------------------------------------------

def refuse(mount, n, size=4000):
	fails(errno.EINVAL, write_once, f"{mount.path}/r{n}.json", b"[" + b"%d " % n * (size // 5) + b"}")


def rejected(mount):
	"""Names and sizes, the oldest first."""
	place = mount.control_file("rejected")
	found = sorted((name.rsplit("-", 1)[1], name, os.stat(f"{place}/{name}").st_size) for name in os.listdir(place))
	return [(name, size) for _, name, size in found]


@cases("refused documents: no more than {} are kept, the oldest go", [("-o rejected=SIZE bytes", 64 << 10, 100, 4000), ("1000", 64 << 20, 1100, 10)])
def bounded(t, what, limit, count, size):
	need_daemon()
	with t.new_mount(options=[f"rejected={limit}"], expected=[r"refused "]) as m:
		for n in range(count):
			refuse(m, n, size)
		kept = rejected(m)
		status = json.loads(read(m.control_file("status")))
		print(f"# {count} refused: {len(kept)} kept, {sum(size for _, size in kept)} bytes")
		require(sum(size for _, size in kept) <= limit and len(kept) <= 1000, f"{len(kept)} are kept")
		require(len(kept) > (800 if limit > 1 << 20 else 8), f"only {len(kept)} are kept")
		equal([name.split("-")[0] for name, _ in kept], [f"r{n}.json" for n in range(count - len(kept), count)], "the newest")
		equal((status["rejected"], status["rejected_gone"]), (count, count - len(kept)), "status")
		data = read(f"{m.control_file('rejected')}/{kept[-1][0]}")
		require(data.startswith(b"[%d " % (count - 1)), f"the bytes of the newest: {data[:40]}")
	with m:		# what is there counts again
		refuse(m, 7777, size)
		require(len(rejected(m)) <= 1000 and sum(size for _, size in rejected(m)) <= limit, "after a remount")


@case("a refused document that alone is too large is not kept, and the log says so; the others stay")
def too_large(t):
	need_daemon()
	with t.new_mount(options=["rejected=64K"], expected=[r"refused "]) as m:
		refuse(m, 1)
		refuse(m, 2, 400000)
		equal([name.split("-")[0] for name, _ in rejected(m)], ["r1.json"], "kept")
		require(m.lines(r"refused r2\.json.*could not be kept: they are more than"), m.output())


@case("ten thousand refusals are a few lines in the log, and a line says how many more there were")
def log_is_bounded(t):
	need_daemon()
	count = 300 if QUICK else 3000
	with t.new_mount(expected=[r"refused "]) as m:
		for n in range(count):
			refuse(m, n % 10, 10)
	told = len(m.lines(r"refused r\d"))
	more = sum(int(re.search(r"and (\d+) more", line)[1]) for line in m.lines(r"and \d+ more lines like the last ones"))
	other = len(m.lines(r"oldest of the refused"))
	print(f"# {count} refusals: {told} lines, {more} more, {other} of what went")
	require(told + more + other >= count and told <= 100 * 5, f"{told} lines, {more} more: {m.output()[-2000:]}")


if __name__ == "__main__":
	main()
