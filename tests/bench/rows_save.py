"""Rows 1 to 4 and 17: what one save costs."""
import os

from harness import Disk, Figure, Mount, Served, alternate, clock, column, middle, ratios
from sessions import FsyncHistoryService, HistoryService, SqliteService, document, fresh, history, put

SIZES = {0: (31, 20), 100: (31, 20), 1000: (11, 10), 10000: (9, 4), 100000: (7, 1)}	# rounds, saves a round


class Saver:
	"""One side: saves into a session of `count` messages (0: into a new session each time) and times it."""

	def __init__(self, service, count):
		self.service, self.count, self.number = service, count, 0
		if count:
			service.write_history("s", history(count))

	def save(self, times):
		taken = []
		for _ in range(times):
			self.number += 1
			session = "s" if self.count else f"n{self.number}"
			taken.append(clock(self.service.save_message, session, "user", f"message {self.number}: " + "what is it? " * 14))
		return middle(taken)


def compare_services(bench, count, services):
	"""Name -> the median time of a save in each round."""
	rounds, times = SIZES[count]
	if bench.quick:
		rounds, times = 3, min(times, 3)
	savers = [Saver(s, count) for s in services.values()]
	for s in savers:
		s.save(1)
	results = alternate(rounds, *(lambda s=s: s.save(times) for s in savers))
	return {name: column(results, i) for i, name in enumerate(services)}


def sizes(bench):
	return [n for n in SIZES if not bench.quick or n <= 10000]


def microseconds(times):
	return {name: round(middle(t) * 1e6, 1) for name, t in times.items()}


def row_1(bench):
	"""Unchanged HistoryService, 1 writer: our mount with durability=commit over the plain disk with os.fsync."""
	figures, curve = [], []
	with Mount(bench) as mount:
		plain = bench.directory("disk", "plain")
		for count in sizes(bench):
			times = compare_services(bench, count, {
				"ours": HistoryService(os.path.join(mount.point, str(count))),
				"disk_fsync": FsyncHistoryService(os.path.join(plain, str(count))),
				"sqlite_full": SqliteService(bench.path("disk", "sqlite")),
			})
			curve.append({"messages": count, **microseconds(times)})
			figures.append(Figure("1", f"save at {count:,} messages: ours / disk + fsync", ratios(zip(times["ours"], times["disk_fsync"])),
					      "<=", 1.0, goal=0.7 if count >= 10000 else None,
					      must=1.0 if count in (0, 1000, 10000) else None, **microseconds(times)))
	figures[0].sides["curve"] = curve
	return figures


def row_2(bench):
	"""The same with delayed=50 over the plain disk without fsync, over tmpfs, and over bindfs on tmpfs (a bare FUSE, for comparison)."""
	figures = []
	tmpfs, bound = bench.directory("tmpfs", "plain"), bench.directory("tmpfs", "bound")
	point = bench.directory("disk", "bindfs")
	with Mount(bench, "delayed=50") as mount, Served(bench, point, "bindfs", "-f", bound, point):
		plain = bench.directory("disk", "plain")
		for count in sizes(bench):
			times = compare_services(bench, count, {
				"ours": HistoryService(os.path.join(mount.point, str(count))),
				"disk": HistoryService(os.path.join(plain, str(count))),
				"tmpfs": HistoryService(os.path.join(tmpfs, str(count))),
				"bindfs": HistoryService(os.path.join(point, str(count))),
			})
			sides = microseconds(times)
			for name, limit in (("disk", 1.0), ("tmpfs", 1.10 if count >= 1000 else None), ("bindfs", None)):
				figures.append(Figure("2", f"save at {count:,} messages, delayed: ours / {name}", ratios(zip(times["ours"], times[name])),
						      "<=", limit, must=1.15 if count == 10000 and name == "tmpfs" else None, **sides))
	return figures


def row_3(bench):
	"""The shim's own cost of a save, at 100,000 messages over 100.

	Store on tmpfs, so that a sync costs nothing. A C client times open() (OPEN, GETATTR) and, after it has written all bytes, close() (FLUSH
	in to reply, the commit included), and reads the daemon's CPU clock around both; its READs and WRITEs are left out.
	Both sides cool the processor's caches before each, as moving the long session does."""
	saves = 5 if bench.quick else 20
	counts = (100, 10000 if bench.quick else 100000)
	with Mount(bench, at="tmpfs") as mount:
		paths = [os.path.join(mount.point, f"{n}.json") for n in counts]
		for n, path in zip(counts, paths):
			put(path, document(n))
		bench.run("bench_client", "cost", *paths, 2, mount.pid)
		results = [bench.run("bench_client", "cost", *paths, saves, mount.pid) for _ in range(3 if bench.quick else 7)]
	small, large = column(results, 0), column(results, 1)

	def compare(what, cost, must=None):
		return Figure("3", f"{what}: {counts[1]:,} / {counts[0]} messages", ratios(zip(map(cost, large), map(cost, small))), "<=", 1.2, must=must,
			      large_us=middle(map(cost, large)) * 1e6, small_us=middle(map(cost, small)) * 1e6)

	move = [r["move_cpu"] for r in large]
	return [
		compare("open + FLUSH, time + daemon CPU", lambda r: r["open"] + r["flush"] + r["cpu"]),
		compare("FLUSH, time", lambda r: r["flush"], must=1.2),
		Figure("3", f"daemon CPU in WRITEs of {counts[1]:,} messages / client's time in them", [r["move_cpu"] / r["move"] for r in large],
		       move_cpu_us=middle(move) * 1e6),
	]


def row_4(bench):
	"""Disk bytes of one save at 10,000 messages, read from a block device of their own: ours over bare LMDB, and the legacy way over ours."""
	saves = 20 if bench.quick else 100
	disk = Disk(bench)
	mounts = os.path.join(disk.path, "historyfs")
	os.mkdir(mounts)
	plain = os.path.join(disk.path, "plain")
	os.mkdir(plain)
	with Mount(bench, at=mounts) as mount:
		for directory in (mount.point, plain):
			put(os.path.join(directory, "s0.json"), document(10000))

		def written(times, name, *words):
			# What the journal holds goes to the tree a second later: that belongs to the saves.
			mount.drain()
			before = disk.written()
			bench.run(name, *words)
			mount.drain()
			return (disk.written() - before) / times

		def ours():
			return written(saves, "bench_client", "save", mount.point, 1, saves)

		def lmdb():
			return written(saves, "bench_lmdb", os.path.join(disk.path, "lmdb"), 10000, saves)

		def legacy():
			return written(saves // 10, "bench_client", "save", plain, 1, saves // 10, "fsync")

		alternate(1, ours, lmdb, legacy)
		results = alternate(3 if bench.quick else 7, ours, lmdb, legacy)
	disk.close()
	sides = {"ours_bytes": middle(column(results, 0)), "lmdb_bytes": middle(column(results, 1)), "legacy_bytes": middle(column(results, 2))}
	return [
		Figure("4", "disk bytes of a save at 10,000 messages: ours / bare LMDB", ratios((a, b) for a, b, _ in results), "<=", 1.4, goal=1.15,
		       must=1.6, **sides),
		Figure("4", "disk bytes of a save at 10,000 messages: legacy + fsync / bare LMDB", ratios((c, b) for _, b, c in results), **sides),
	]


def row_17(bench):
	"""A save by temp file + rename over a save by truncate + write, 1 writer, 200 messages, durability=commit."""
	saves = 30 if bench.quick else 200
	with Mount(bench) as mount:
		def side(how):
			directory = fresh(mount.point, 1)
			return bench.run("bench_client", "save", directory, 1, saves, how)["median"]

		sides = [lambda: side("rename"), lambda: side("truncate")]
		alternate(1, *sides)
		results = alternate(3 if bench.quick else 9, *sides)
	return [Figure("17", "save by temp file + rename / by truncate + write", ratios(results), "<=", 1.3,
		       rename_us=middle(column(results, 0)) * 1e6, truncate_us=middle(column(results, 1)) * 1e6)]
