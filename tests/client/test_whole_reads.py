#!/usr/bin/python3
"""
P3: readers of every kind beside a writer that replaces the whole document, by longer and by shorter ones: none sees a mixed one, none goes
back to an older version, and what fstat says is what is read.
"""
import errno
import fcntl
import json
import mmap
import os
import random
import shutil
import signal
import time

from history_service import HistoryService
from session import contents, messages, start
from tally import read_whole
from harness import CONTROL, QUICK, SEED, Child, Skip, case, cases, command, equal, fails, forked, in_threads, main, read, require, together, write

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "reads.js")
SCALE = 10 if QUICK else 1


def versioned(version, size):
	"""A document in which each message tells its version and how many there are: some hundred bytes, or more than 1 MiB. Their number goes up and down."""
	rng = random.Random(version)
	count = rng.randrange(1, 20)
	filler = "x" * (rng.randrange(1, 200) if size == "small" else (1 << 20) // count + rng.randrange(9000))
	return json.dumps([{"version": version, "count": count, "text": filler}] * count).encode()


def version_of(data):
	"""The version of a document; ValueError when it is not whole."""
	head = data[:64]
	if not head.startswith(b'[{"version": ') or not data.endswith(b'"}]'):
		raise ValueError(f"begins {head[:40]}, ends {data[-20:]}")
	version, count = int(head[13:].split(b",")[0]), int(head.split(b'"count": ')[1].split(b",")[0])
	mark = b'{"version": %d, "count": %d, "text": "' % (version, count)
	if data.count(mark) != count or data.count(b'"version"') != count or len(data) < 200 and not json.loads(data):
		raise ValueError(f"{data.count(mark)} of {count} messages are of version {version}")
	filler = data[1 + len(mark):data.index(b'"', 1 + len(mark))]
	if len(data) != count * (len(mark) + len(filler) + 4):
		raise ValueError(f"{len(data)} bytes, wanted {count} messages of {len(mark) + len(filler) + 2}")
	return version


def by_truncate(path, data):
	write(path, data)


def by_rename(path, data):
	write(path + ".tmp", data)
	os.rename(path + ".tmp", path)


class Writer:
	"""A process that saves one version after the other until it is told to stop, and says how many."""

	def __init__(self, path, size, save, pause=0.0005):
		self.stop, self.told = os.pipe()
		forked(save, path, versioned(1, size))
		self.child = Child(self.loop, path, size, save, pause)

	def loop(self, path, size, save, pause):
		os.set_blocking(self.stop, False)
		version = 1
		while True:
			version += 1
			save(path, versioned(version, size))
			time.sleep(pause)
			# A few at least, however slow the machine is: else nothing was tested.
			if version > 2:
				try:
					os.read(self.stop, 1)
					return version
				except BlockingIOError:
					pass

	def __enter__(self):
		return self

	def __exit__(self, kind, value, trace):
		os.write(self.told, b"x")
		self.versions = self.child.result()
		os.close(self.stop)
		os.close(self.told)


# ---- Ways to read: a path, and the bytes -----------------------------------------------------------------------------------

def by_open(path, rng):
	with open(path, "rb") as f:
		return f.read()


def by_text(path, rng):
	with open(path, encoding="utf-8") as f:
		return f.read().encode()


def by_pieces(path, rng):
	fd = os.open(path, os.O_RDONLY)
	size = os.fstat(fd).st_size
	pieces = []
	while piece := os.read(fd, rng.randrange(1, size // 3 + 2)):
		pieces.append(piece)
	os.close(fd)
	return sized(b"".join(pieces), size)


def by_pread(path, rng):
	"""The pieces of what fstat says, in any order."""
	fd = os.open(path, os.O_RDONLY)
	size = os.fstat(fd).st_size
	step = size // rng.randrange(1, 9) + 1
	pieces = {at: os.pread(fd, min(step, size - at), at) for at in rng.sample(range(0, size, step), len(range(0, size, step)))}
	os.close(fd)
	return sized(b"".join(pieces[at] for at in sorted(pieces)), size)


def by_size(path, rng):
	fd = os.open(path, os.O_RDONLY)
	size = os.fstat(fd).st_size
	data = os.read(fd, size)
	os.close(fd)
	return sized(data, size)


def by_cat(path, rng):
	return command("cat", path, text=False, errors=None).stdout


def by_tail(path, rng):
	return command("tail", "-c", "+1", path, text=False, errors=None).stdout


def sized(data, size):
	if len(data) != size:
		raise ValueError(f"fstat said {size} bytes, {len(data)} were read")
	return data


def reader(way, path, count, seed):
	rng, last, wrong = random.Random(seed), 0, []
	for _ in range(count):
		try:
			version = version_of(way(path, rng))
			if version < last:
				wrong.append(f"version {last}, then {version}")
			last = version
		except ValueError as e:
			wrong.append(str(e))
		if len(wrong) > 4:
			break
	return wrong


WAYS = [(by_open, 22000, 300), (by_text, 22000, 300), (by_pieces, 16000, 300), (by_pread, 16000, 300), (by_size, 24000, 300), (by_cat, 300, 60), (by_tail, 100, 30)]


@cases("{}", [(f"{size} documents, a writer {save.__name__.replace('_', ' ')}", size, save) for size in ("small", "large") for save in (by_truncate, by_rename)])
def python(t, name, size, save):
	path = t.path("s.json")
	with Writer(path, size, save) as writer:
		jobs = [(way, (small if size == "small" else large) // SCALE // 2) for way, small, large in WAYS]
		wrong = together([lambda w=way, c=count, n=n: reader(w, path, c, SEED + n) for n, (way, count) in enumerate(jobs)])
	equal({way.__name__: w for (way, _), w in zip(jobs, wrong) if w}, {}, "wrong reads")
	require(writer.versions > 2, f"only {writer.versions} versions were written")


@cases("Node, {}", [(f"{how} of {size} documents", how, size, count, 1) for how, small, large in (("readFile", 2000, 60), ("readFileSync", 4000, 60),
										     ("stream", 1000, 40), ("handle", 1000, 60))
		    for size, count in (("small", small), ("large", large))] +
       [(f"{how}, {tasks} at once", how, "small", 8000, tasks) for how in ("readFile", "handle") for tasks in (8, 32, 200)])
def node(t, name, how, size, count, tasks):
	if shutil.which("node") is None:
		raise Skip("node is not installed")
	path = t.path("s.json")
	with Writer(path, size, by_truncate) as writer:
		reads, wrong = json.loads(command("node", SCRIPT, how, path, str(count // SCALE), str(tasks)).stdout)
	equal(wrong, [], f"wrong of {reads} reads, {writer.versions} versions")


@case("threads of one process, each with handles of its own")
def threads(t):
	path = t.path("s.json")

	def process():
		return in_threads([lambda n=n, way=way: reader(way, path, 3000 // SCALE, n) for n, way in enumerate((by_open, by_pread, by_size, by_pieces))])
	with Writer(path, "small", by_truncate):
		equal(forked(process), [[]] * 4, "wrong reads")


@case("stat, open, a read of just that size: one version, though a commit falls between; the next read is of the newest")
def stat_before_open(t):
	path = t.path("s.json")
	old, new = versioned(2, "small"), versioned(3, "large")
	forked(write, path, old)

	def client():
		for wanted in (old, new[:len(old)]):
			size = len(old) if wanted != old else os.stat(path).st_size
			if wanted == old:
				forked(write, path, new)
			fd = os.open(path, os.O_RDONLY)
			equal(os.read(fd, size), wanted, "one read")
			os.close(fd)
	forked(client)


@case("who was told that a new file is empty reads nothing, though its first save comes between, and the next time all of it; who has locked it reads all at once")
def empty_then_saved(t):
	data = versioned(2, "small")
	for locks in (False, True):
		path, go, made = t.path(f"{locks}.json"), os.pipe(), os.pipe()

		def maker():
			fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
			os.write(made[1], b"x")
			os.read(go[0], 1)
			os.write(fd, data)
			os.close(fd)
		child = Child(maker)
		os.read(made[0], 1)
		fails(errno.EEXIST, os.open, path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
		reader, writer = os.open(path, os.O_RDONLY), os.open(path, os.O_RDWR)
		equal([os.fstat(fd).st_size for fd in (reader, writer)], [0, 0], "sizes")
		os.write(go[1], b"x")
		child.result()
		if locks:
			fcntl.flock(reader, fcntl.LOCK_EX)
		equal(os.read(reader, 4096), data if locks else b"", "the first read")
		equal(os.pread(reader, 4096, 0), data, "the next")
		if not locks:
			equal(os.read(writer, 4096), b"", "the first read of who writes")
			os.pwrite(writer, b'[{"text": "mine"}]', 0)
		for fd in (reader, writer, *go, *made):
			os.close(fd)
		equal(json.loads(read(path)), json.loads(data) + [{"text": "mine"}] * (not locks), "what is kept")


@case("pieces read from the end to the beginning are of one version")
def backwards(t):
	path = t.path("s.json")
	old, new = versioned(2, "small"), versioned(3, "large")
	forked(write, path, old)
	with open(path, "rb") as f:
		tail = os.pread(f.fileno(), len(old), 20)
		forked(write, path, new)
		equal(os.pread(f.fileno(), 20, 0) + tail, old, "the two pieces")


# ---- mmap: the kernel has one page cache, and one size, for all who map a file -----------------------------------------------

def mapped(path):
	with open(path, "rb") as f:
		return mmap.mmap(f.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)


@case("mmap: a mapping shows the version that it was made of, whatever is saved and read meanwhile")
def mapping_stays(t):
	for n, (before, after) in enumerate((("small", "large"), ("large", "small"), ("large", "large"), ("small", "small"))):
		path = t.path(f"{n}.json")
		old, new = versioned(2, before), versioned(3, after)
		forked(by_rename, path, old)
		with mapped(path) as m:
			equal(m[:10], old[:10], "the beginning")
			forked(by_rename, path, new)
			forked(by_open, path, None)
			if len(new) >= len(old):	# otherwise what lies beyond the new end is SIGBUS, as on any filesystem
				equal(m[:], old, f"{before}, then {after}: the mapping")
			else:
				equal(m[:len(new)], old[:len(new)], f"{before}, then {after}: the mapping's beginning")
		with mapped(path) as m:
			equal(m[:], new, f"{before}, then {after}: a new mapping")


if __name__ == "__main__":
	main()
