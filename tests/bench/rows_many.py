"""Rows 5 to 7, 14 to 16 and 18: many writers at once, and appends through store.h."""
import fcntl
import os
import subprocess
import threading

from harness import Figure, Mount, Redis, alternate, clock, column, memory, middle, ratios
from sessions import FsyncHistoryService, HistoryService, document_of, fresh, history, put


def rate(bench, directory, writers, saves, *how):
	return bench.run("bench_client", "save", directory, writers, saves, *how)


def row_5(bench):
	"""Acknowledged saves per second of 16 processes doing the legacy rewrite of a 200-message session: over SQLite FULL, 16 processes inserting rows."""
	saves = 5 if bench.quick else 25
	database = bench.path("disk", "sqlite")
	with Mount(bench) as mount:
		def ours(*how):
			return rate(bench, fresh(mount.point, 16), 16, saves, *how)["rate"]

		def sqlite():
			return bench.run("bench_sqlite", database, 16, saves, "FULL")["rate"]

		sides = (ours, lambda: ours("shared"), sqlite)
		alternate(1, *sides)
		results = alternate(3 if bench.quick else 9, *sides)
	sides = {"distinct_per_s": middle(column(results, 0)), "shared_per_s": middle(column(results, 1)), "sqlite_per_s": middle(column(results, 2))}
	return [
		Figure("5", "16 writers, distinct sessions: ours / SQLite FULL", ratios((a, c) for a, _, c in results), ">=", 2, goal=3, **sides),
		Figure("5", "16 writers, one shared session: ours / SQLite FULL", ratios((b, c) for _, b, c in results), ">=", 2, goal=3, **sides),
	]


def row_6(bench):
	"""Appends per second of 16 threads through store.h, durable: over SQLite FULL (16 processes) and Redis with appendfsync always (16 connections)."""
	appends = 50 if bench.quick else 500
	store, databases = bench.path("disk", "store"), {s: bench.path("disk", s) for s in ("FULL", "NORMAL")}
	servers = {f: Redis(bench, f) for f in ("always", "everysec")}
	sides = {
		"ours": lambda: bench.run("bench_store", store, 16, appends),
		"sqlite_full": lambda: bench.run("bench_sqlite", databases["FULL"], 16, appends // 5, "FULL"),
		"redis_always": lambda: bench.run("bench_redis", servers["always"].socket, 16, appends),
		"sqlite_normal": lambda: bench.run("bench_sqlite", databases["NORMAL"], 16, appends // 5, "NORMAL"),
		"redis_everysec": lambda: bench.run("bench_redis", servers["everysec"].socket, 16, appends),
	}
	alternate(1, *sides.values())
	rounds = alternate(3 if bench.quick else 9, *sides.values())
	for server in servers.values():
		server.close()
	rates = {name: [r[i]["rate"] for r in rounds] for i, name in enumerate(sides)}
	medians = {f"{name}_per_s": middle(r) for name, r in rates.items()}

	def compare(name, *reach, goal=None):
		return Figure("6", f"16 threads appending: ours / {name}", ratios(zip(rates["ours"], rates[name])), *reach, goal=goal, **medians)

	return [compare("sqlite_full", ">=", 5), compare("redis_always", ">=", 0.7, goal=1), compare("sqlite_normal"), compare("redis_everysec")]


def row_7(bench):
	"""Appends per second of 1 thread through store.h, durable, over bare LMDB."""
	appends = 100 if bench.quick else 1000
	store, lmdb = bench.path("disk", "store"), bench.path("disk", "lmdb")
	sides = (lambda: bench.run("bench_store", store, 1, appends), lambda: bench.run("bench_lmdb", lmdb, 0, appends))
	alternate(1, *sides)
	results = alternate(5 if bench.quick else 15, *sides)
	return [Figure("7", "1 thread appending: ours / bare LMDB (by the median append)", ((1 / a["median"]) / (1 / b["median"]) for a, b in results),
		       ">=", 0.9, ours_us=middle(a["median"] for a, _ in results) * 1e6, lmdb_us=middle(b["median"] for _, b in results) * 1e6,
		       by_rate=middle(a["rate"] / b["rate"] for a, b in results))]


class Watch:
	"""The largest RssAnon of a process from here to done()."""

	def __init__(self, pid):
		self.pid, self.largest, self.ended = pid, 0, threading.Event()
		self.thread = threading.Thread(target=self.look)
		self.thread.start()

	def look(self):
		while not self.ended.wait(0.01):
			self.largest = max(self.largest, memory(self.pid))

	def done(self):
		self.ended.set()
		self.thread.join()
		return self.largest


def growth(bench, document, how):
	"""RssAnon of the daemon while 64 writers have written a document each and not closed it, and the most at any moment, over what it was before."""
	writers = 8 if bench.quick else 64
	mount = Mount(bench)
	for i in range(writers if not how else 1):
		put(os.path.join(mount.point, f"s{i}.json"), document)
	with mount.again() as mount:
		before = memory(mount.pid)
		watch = Watch(mount.pid)
		client = bench.start(bench.program("bench_client"), "hold", mount.point, str(writers), *how, stdin=subprocess.PIPE,
				     stdout=subprocess.PIPE, text=True)
		if client.stdout.readline() != "held\n":
			raise RuntimeError("bench_client hold failed")
		held = memory(mount.pid)
		client.communicate("\n")
		bench.stop(client)
		largest = watch.done()
		if client.returncode:
			raise RuntimeError("bench_client hold: a writer failed")
	return held - before, max(largest, held) - before, before


def row_14(bench):
	"""Growth of the daemon's RssAnon while 64 writers rewrite sessions of 10 MB at once, as a part of 64 MB: distinct sessions, and one for all."""
	document = document_of(10 << 20)
	limit = (8 << 20) if bench.quick else 64 << 20
	figures = []
	for what, how in (("distinct sessions", ()), ("one session", ("shared",))):
		rounds = [growth(bench, document, how) for _ in range(1 if bench.quick else 3)]
		held, largest = [r[0] for r in rounds], [r[1] for r in rounds]
		sides = {"held_bytes": middle(held), "largest_bytes": middle(largest), "before_bytes": middle(r[2] for r in rounds)}
		figures.append(Figure("14", f"64 writers, 10 MB, {what}: drafts held / 64 MB", [h / limit for h in held], "<=", 1.0, must=1.0, **sides))
		figures.append(Figure("14", f"64 writers, 10 MB, {what}: most at any moment / 64 MB", [h / limit for h in largest], "<=", 1.0, must=1.0, **sides))
	return figures


def row_15(bench):
	"""p99 of a save over the median, 16 writers, distinct sessions and one shared, 200 messages, durability=commit."""
	saves = 20 if bench.quick else 100
	figures = []
	with Mount(bench) as mount:
		for what, how in (("distinct sessions", ()), ("one shared session", ("shared",))):
			rounds = [rate(bench, fresh(mount.point, 16), 16, saves, *how) for _ in range(3 if bench.quick else 9)]
			figures.append(Figure("15", f"16 writers, {what}: p99 / median", [r["p99"] / r["median"] for r in rounds], "<=", 4,
					      median_us=middle(r["median"] for r in rounds) * 1e6, p99_us=middle(r["p99"] for r in rounds) * 1e6))
	return figures


class Readers:
	"""So many `cat` in a loop, each on its own session."""

	def __init__(self, bench, directory, count):
		self.bench = bench
		self.children = [bench.start("/bin/sh", "-c", 'while :; do cat "$1" >/dev/null; done', "reader", os.path.join(directory, f"s{i}.json"))
				 for i in range(count)]

	def close(self):
		for child in self.children:
			os.killpg(child.pid, 15)
			self.bench.stop(child)


def row_16(bench):
	"""Saves per second of 8 writers with 8 readers (`cat` in a loop) over the same alone; for comparison on the plain disk with fsync."""
	saves = 20 if bench.quick else 100
	figures = []

	def measure(directory, *how):
		def alone():
			return rate(bench, fresh(directory, 8), 8, saves, *how)["rate"]

		def read():
			path = fresh(directory, 8)
			readers = Readers(bench, path, 8)
			try:
				return rate(bench, path, 8, saves, *how)["rate"]
			finally:
				readers.close()

		alternate(1, read, alone)
		return alternate(3 if bench.quick else 7, read, alone)

	with Mount(bench) as mount:
		for what, directory, how, reach in (("ours", mount.point, (), (">=", 0.8)), ("disk + fsync", bench.directory("disk", "plain"), ("fsync",), ())):
			results = measure(directory, *how)
			figures.append(Figure("16", f"8 writers beside 8 readers / alone: {what}", ratios(results), *reach,
					      beside_per_s=middle(column(results, 0)), alone_per_s=middle(column(results, 1))))
	return figures


def locked_writer(service, path, saves, number):
	"""A client that loses nothing anywhere: flock on a file beside the session from before it reads until it has saved."""
	for n in range(saves):
		with open(path + ".lock", "w", encoding="utf-8") as lock:
			fcntl.flock(lock, fcntl.LOCK_EX)
			service.save_message("s", "user", f"message {n} of writer {number}: " + "what is it? " * 14)


def together(writers, function, *arguments):
	"""Runs the function in processes, all at once; the last argument is the writer's number."""
	children = []
	for number in range(writers):
		pid = os.fork()
		if pid == 0:
			code = 1
			try:
				function(*arguments, number)
				code = 0
			finally:
				os._exit(code)
		children.append(pid)
	if any([os.waitpid(pid, 0)[1] for pid in children]):
		raise RuntimeError("a writer failed")


def row_18(bench):
	"""Writers that lock rightly, 8 processes on one session of 100 messages: ours over the plain disk, with os.fsync for durability=commit."""
	writers, saves = 8, 3 if bench.quick else 25
	plain = bench.directory("disk", "locked")
	with Mount(bench) as synced, Mount(bench, "delayed=50") as delayed:
		def side(service, directory):
			service = service(fresh(directory, 0))
			service.write_history("s", history(100))
			time = clock(together, writers, locked_writer, service, service._path("s"), saves)
			if len(service.get_history("s")) != 100 + writers * saves:
				raise RuntimeError(f"messages were lost in {directory}")
			return time / (writers * saves)

		sides = [lambda: side(HistoryService, synced.point), lambda: side(FsyncHistoryService, plain),
			 lambda: side(HistoryService, delayed.point), lambda: side(HistoryService, plain)]
		alternate(1, *sides)
		results = alternate(3 if bench.quick else 9, *sides)
	names = ("ours_us", "disk_fsync_us", "ours_delayed_us", "disk_us")
	times = {name: middle(column(results, i)) * 1e6 for i, name in enumerate(names)}
	return [
		Figure("18", "8 writers that lock: ours / disk + fsync", ratios((a, b) for a, b, _, _ in results), "<=", 1.5, **times),
		Figure("18", "8 writers that lock, delayed: ours / disk", ratios((c, d) for _, _, c, d in results), "<=", 1.5, **times),
	]
