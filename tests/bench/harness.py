"""What the rows of the benchmark stand on: private directories, mounts and servers that end with the run, ratios of two sides."""
import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import tempfile
import time

SOURCE = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
RESULTS = os.path.join(SOURCE, ".build", "bench", "results")
PROGRAMS = ("client", "store", "lmdb", "redis", "floor", "scan", "sqlite")
PACKAGES = {
	"bindfs": "/usr/bin/bindfs", "redis-server": "/usr/bin/redis-server", "gnuplot-nox": "/usr/bin/gnuplot",
	"libsqlite3-dev": "/usr/include/sqlite3.h", "fuse3": "/usr/bin/fusermount3",
}

libc = ctypes.CDLL(None, use_errno=True)


class Skip(Exception):
	"""A row cannot be measured here; the text says why."""


class Figure:
	"""One line of the table: A's measure over B's in each round. `limit` (with `kind` "<=" or ">=") is what the median has to reach."""

	def __init__(self, row, what, ratios, kind=None, limit=None, goal=None, must=None, **sides):
		self.row, self.what, self.ratios = row, what, list(ratios)
		self.kind, self.limit, self.goal, self.must, self.sides = kind, limit, goal, must, sides

	@property
	def median(self):
		return statistics.median(self.ratios)

	def reached(self):
		if self.limit is None:
			return None
		return self.median <= self.limit if self.kind == "<=" else self.median >= self.limit

	def data(self):
		return {"row": self.row, "what": self.what, "median": self.median, "min": min(self.ratios), "max": max(self.ratios),
			"ratios": self.ratios, "reach": f"{self.kind} {self.limit}" if self.limit is not None else None, "goal": self.goal,
			"reached": self.reached(), "sides": self.sides}


def ratios(pairs):
	return [a / b for a, b in pairs]


def middle(values):
	return statistics.median(values)


def alternate(rounds, *sides):
	"""Runs the sides in turns, A B A B ...; a tuple of their results for each round."""
	return [tuple(side() for side in sides) for _ in range(rounds)]


def column(results, i):
	return [r[i] for r in results]


def clock(function, *arguments):
	start = time.perf_counter()
	function(*arguments)
	return time.perf_counter() - start


def die_with_parent():
	"""In a child before exec: nothing outlives the run, however it ends."""
	libc.prctl(1, signal.SIGTERM)


def mounts_below(directory):
	"""The mount points beneath a directory, deepest first."""
	found = []
	with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as f:
		for line in f:
			point = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), line.split()[4])
			if point.startswith(directory + "/"):
				found.append(point)
	return sorted(found, key=len, reverse=True)


def filesystem(path):
	return subprocess.run(["stat", "-f", "-c", "%T", path], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def syncfs(path):
	fd = os.open(path, os.O_RDONLY)
	try:
		if libc.syncfs(fd):
			raise OSError(ctypes.get_errno(), "syncfs", path)
	finally:
		os.close(fd)


def memory(pid, field="RssAnon"):
	with open(f"/proc/{pid}/status", encoding="ascii") as f:
		return int(re.search(rf"^{field}:\s+(\d+) kB", f.read(), re.M)[1]) * 1024


# ---- The run -----------------------------------------------------------------------------------------------------

class Bench:
	"""Directories and processes of one run; close() leaves nothing behind."""

	def __init__(self, build, quick):
		self.build, self.quick = build, quick
		self.children, self.loops, self.kept, self.count = [], [], {}, 0
		self.roots = {}
		for kind, bases in (("disk", ("/var/tmp", SOURCE)), ("tmpfs", ("/dev/shm",))):
			base = next((b for b in bases if os.path.isdir(b) and (filesystem(b) == "tmpfs") == (kind == "tmpfs")), None)
			if not base:
				raise SystemExit(f"no {kind} directory among {', '.join(bases)}")
			self.roots[kind] = tempfile.mkdtemp(prefix="historyfs-bench-", dir=base)

	def program(self, name):
		path = os.path.join(self.build, {"historyfs": "fs", "historyctl": "tools"}.get(name, "tests/bench"), name)
		if not os.path.exists(path):
			raise Skip(f"{path} is not built" + ("; install libsqlite3-dev" if name == "bench_sqlite" else ""))
		return path

	def path(self, kind="disk", name="x"):
		"""A new name in a private directory."""
		self.count += 1
		return os.path.join(self.roots[kind], f"{self.count}-{name}")

	def directory(self, kind="disk", name="d"):
		path = self.path(kind, name)
		os.mkdir(path)
		return path

	def start(self, *words, **named):
		child = subprocess.Popen(words, start_new_session=True, preexec_fn=die_with_parent, **named)
		self.children.append(child)
		return child

	def stop(self, child, number=signal.SIGTERM):
		if child.poll() is None:
			child.send_signal(number)
		try:
			child.wait(60)
		except subprocess.TimeoutExpired:
			child.kill()
			child.wait()
		if child in self.children:
			self.children.remove(child)

	def run(self, name, *words):
		"""One of the C programs; what it printed as JSON."""
		child = self.start(self.program(name), *map(str, words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
		out, err = child.communicate()
		self.children.remove(child)
		if child.returncode:
			raise RuntimeError(f"{name} {' '.join(map(str, words))}: status {child.returncode}: {err.strip()}")
		return json.loads(out) if out.strip() else {}

	def once(self, name, make):
		"""Something costly that several rows use."""
		if name not in self.kept:
			self.kept[name] = make()
		return self.kept[name]

	def remove(self, path):
		if os.path.isdir(path):
			shutil.rmtree(path)
		elif os.path.exists(path):
			os.unlink(path)

	def close(self):
		for number in (signal.SIGINT, signal.SIGTERM):
			signal.signal(number, signal.SIG_IGN)
		for child in reversed(self.children[:]):
			self.stop(child)
		for root in self.roots.values():
			for point in mounts_below(root):
				subprocess.run(["umount", "-l", point], check=False, stderr=subprocess.DEVNULL)
			shutil.rmtree(root, ignore_errors=True)


# ---- What is mounted or served -----------------------------------------------------------------------------------

class Served:
	"""A process that serves a mount point; `with` ends it."""

	def __init__(self, bench, point, *words):
		self.bench, self.point = bench, point
		before = os.stat(point).st_dev
		self.log = open(bench.path("disk", "log"), "w+b")
		self.child = bench.start(*words, stdout=self.log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
		self.pid = self.child.pid
		while True:
			if self.child.poll() is not None:
				raise RuntimeError(f"{words[0]} ended: {self.output()}")
			with contextlib.suppress(OSError):
				if os.stat(point).st_dev != before:
					break
			time.sleep(0.001)

	def output(self):
		self.log.seek(0)
		return self.log.read().decode(errors="replace").strip()

	def __enter__(self):
		return self

	def __exit__(self, *exception):
		self.close()

	def close(self):
		if self.child.poll() is None:
			subprocess.run(["fusermount3", "-u", self.point], check=False, stderr=subprocess.DEVNULL)
			try:
				self.child.wait(30)
			except subprocess.TimeoutExpired:
				subprocess.run(["umount", "-l", self.point], check=False)
		self.bench.stop(self.child)
		self.log.close()


class Mount(Served):
	"""historyfs. `at`: the kind of disk that the store is on, or a directory for it; `options` as after -o."""

	def __init__(self, bench, *options, at="disk", store=None):
		base = at if os.path.isabs(at) else bench.directory(at, "mount")
		self.store = store or os.path.join(base, "store")
		point = os.path.join(base, "mnt")
		os.makedirs(point, exist_ok=True)
		super().__init__(bench, point, bench.program("historyfs"), "-f", *(w for o in options for w in ("-o", o)), self.store, point)

	def drain(self):
		"""Everything that it has made durable is in the store's tree, too."""
		fd = os.open(self.point, os.O_RDONLY | os.O_DIRECTORY)
		os.fsync(fd)
		os.close(fd)

	def again(self, *options):
		"""A new daemon on the same store, with empty caches."""
		self.close()
		return Mount(self.bench, *options, at=os.path.dirname(self.point), store=self.store)


class Disk:
	"""A filesystem of its own on a loop device, so that its block device's counters count nobody else."""

	def __init__(self, bench, size=4 << 30):
		self.image, self.path = bench.path("disk", "image"), bench.directory("disk", "loop")
		with open(self.image, "wb") as f:
			f.truncate(size)
		for words in (["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.image],
			      ["mount", "-o", "loop,noatime", self.image, self.path]):
			done = subprocess.run(words, stderr=subprocess.PIPE, text=True, check=False)
			if done.returncode:
				raise Skip(f"no loop device: {done.stderr.strip()}")
		number = os.stat(self.path).st_dev
		self.counters = f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/stat"

	def written(self):
		syncfs(self.path)
		with open(self.counters, encoding="ascii") as f:
			return int(f.read().split()[6]) * 512

	def close(self):
		subprocess.run(["umount", self.path], check=True)
		os.unlink(self.image)


class Redis:
	"""A server on a socket in a private directory."""

	def __init__(self, bench, fsync):
		if not shutil.which("redis-server"):
			raise Skip("redis-server is not installed")
		self.bench, self.directory = bench, bench.directory("disk", "redis")
		self.socket = os.path.join(self.directory, "socket")
		self.child = bench.start("redis-server", "--port", "0", "--unixsocket", self.socket, "--dir", self.directory, "--save", "",
					 "--appendonly", "yes", "--appendfsync", fsync, "--daemonize", "no", stdout=subprocess.DEVNULL)
		while not os.path.exists(self.socket):
			if self.child.poll() is not None:
				raise RuntimeError("redis-server ended")
			time.sleep(0.005)

	def close(self):
		self.bench.stop(self.child)


# ---- Packages and builds -----------------------------------------------------------------------------------------

def install():
	"""The peers that are missing. Nothing that is installed may start by itself."""
	missing = [p for p, file in PACKAGES.items() if not os.path.exists(file)]
	if not missing:
		return
	if os.geteuid():
		print(f"not installed, as this is not root: {', '.join(missing)}")
		return
	print(f"Installing {', '.join(missing)} ...")
	environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
	words = ["apt-get", "install", "-qq", "--yes", "--no-install-recommends", *missing]
	quiet = {"env": environment, "check": False, "stdout": subprocess.DEVNULL}
	if subprocess.run(words, stderr=subprocess.DEVNULL, **quiet).returncode:
		subprocess.run(["apt-get", "update", "-qq"], **quiet)
		if subprocess.run(words, **quiet).returncode:
			print("apt-get install failed; the rows that need these are left out")


def build():
	directory = os.path.join(SOURCE, ".build", "bench", "build")
	steps = [] if os.path.exists(os.path.join(directory, "build.ninja")) else [["meson", "setup", "--buildtype=release", directory, SOURCE]]
	steps.append(["meson", "compile", "-C", directory, "historyfs", "historyctl", "bench"])
	for words in steps:
		done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
		if done.returncode:
			raise SystemExit(f"{' '.join(words)} failed:\n{done.stdout[-4000:]}")
	return directory
