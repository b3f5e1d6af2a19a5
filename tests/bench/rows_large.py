"""Rows 8 to 13: large sessions, many sessions, import."""
import os
import subprocess
import time

from harness import Figure, Mount, Served, alternate, clock, column, memory, middle, ratios, syncfs
from sessions import document, document_of, fresh, put

C_LOCALE = {**os.environ, "LC_ALL": "C"}


def quietly(*words):
	subprocess.run(words, stdout=subprocess.DEVNULL, check=True, env=C_LOCALE)


def row_8(bench):
	"""`cat` of a 64 MB session over the same from a minimal in-memory FUSE file: warm, and cold (a new daemon, its caches empty)."""
	data = document_of((8 if bench.quick else 64) << 20)
	floor = bench.directory("disk", "floor")
	rounds = []
	mount = Mount(bench)
	try:
		path = os.path.join(mount.point, "s.json")
		put(path, data)
		with Served(bench, floor, bench.program("bench_floor"), floor, str(len(data))):
			file = os.path.join(floor, "file")
			clock(quietly, "cat", file)
			for _ in range(3 if bench.quick else 9):
				mount = mount.again()
				cold = clock(quietly, "cat", path)
				pairs = alternate(3, lambda: clock(quietly, "cat", file), lambda: clock(quietly, "cat", path))
				rounds.append((middle(column(pairs, 0)), middle(column(pairs, 1)), cold))
	finally:
		mount.close()
	sides = {f"{name}_ms": middle(column(rounds, i)) * 1e3 for i, name in enumerate(("floor", "warm", "cold"))}
	return [
		Figure("8", "cat of 64 MB, warm: speed of ours / floor", ratios((f, w) for f, w, _ in rounds), ">=", 0.85, must=0.7, **sides),
		Figure("8", "cat of 64 MB, cold: speed of ours / floor", ratios((f, c) for f, _, c in rounds), ">=", 0.5, **sides),
	]


def row_9(bench):
	"""open + read of the last 4 KiB + close: a 64 MB session over a 64 KB one, warm."""
	times = 200 if bench.quick else 2000
	with Mount(bench) as mount:
		paths = [os.path.join(mount.point, n) for n in ("large.json", "small.json")]
		for path, size in zip(paths, ((8 if bench.quick else 64) << 20, 64 << 10)):
			put(path, document_of(size))
		sides = [lambda p=p: bench.run("bench_client", "tail", p, times)["median"] for p in paths]
		alternate(1, *sides)
		results = alternate(3 if bench.quick else 9, *sides)
	return [Figure("9", "last 4 KiB of 64 MB / of 64 KB", ratios(results), "<=", 3, large_us=middle(column(results, 0)) * 1e6,
		       small_us=middle(column(results, 1)) * 1e6)]


def row_10(bench):
	"""Slicing a list of real-looking messages (200 to 2,000 bytes, escapes, non-ASCII) over cJSON_Parse on the same bytes; and in GB/s."""
	rounds = [bench.run("bench_scan", 5 if bench.quick else 21) for _ in range(1 if bench.quick else 5)]
	speeds = [r["slice_bytes_per_s"] for r in rounds]
	sides = {k: middle(r[k] for r in rounds) for k in rounds[0] if k != "hash_sum"}
	return [
		Figure("10", "scan and slice / cJSON_Parse", (r["slice_bytes_per_s"] / r["cjson_list_bytes_per_s"] for r in rounds), ">=", 5, **sides),
		Figure("10", "scan alone, by message / cJSON_Parse", (r["cjson_ratio"] for r in rounds), **sides),
		Figure("10", "scan and slice / 1 GB/s", (s / 1e9 for s in speeds), ">=", 1, **sides),
	]


def row_11(bench):
	"""Import of 10,000 files, 1 GB: the speed of `historyctl import` over that of `cp -r` of the same files with a final sync."""
	files, size = (500, 100 << 10) if bench.quick else (10000, 100 << 10)
	source = bench.directory("disk", "files")
	data = document_of(size)
	for i in range(files):
		directory = os.path.join(source, f"{i % 100:02}")
		os.makedirs(directory, exist_ok=True)
		put(os.path.join(directory, f"{i}.json"), data)
	syncfs(source)

	def copy():
		to = bench.path("disk", "copy")
		taken = clock(lambda: (quietly("cp", "-r", source, to), syncfs(to)))
		bench.remove(to)
		syncfs(source)
		return taken

	def take_in():
		to = bench.path("disk", "store")
		taken = clock(quietly, bench.program("historyctl"), "--store", to, "import", source)
		bench.remove(to)
		syncfs(source)
		return taken

	results = alternate(2 if bench.quick else 5, copy, take_in)
	bench.remove(source)
	return [Figure("11", f"import of {files:,} files: speed of ours / cp -r + sync", ratios(results), ">=", 0.5,
		       cp_s=middle(column(results, 0)), import_s=middle(column(results, 1)))]


def many(bench, count):
	"""So many small sessions: a plain directory and a store of them."""
	def make():
		plain = bench.directory("disk", "many")
		for i in range(count):
			fd = os.open(os.path.join(plain, f"session-{i:07}.json"), os.O_WRONLY | os.O_CREAT, 0o644)
			os.write(fd, b'[\n  {\n    "role": "user",\n    "content": "session %d"\n  }\n]' % i)
			os.close(fd)
		base = bench.directory("disk", "mount")
		store = os.path.join(base, "store")
		start = time.perf_counter()
		quietly(bench.program("historyctl"), "--store", store, "import", plain)
		return plain, base, time.perf_counter() - start
	return bench.once(f"many {count}", make)


def row_12(bench):
	"""`ls -U` and `ls -lU` of 1,000,000 sessions: the time an entry over that of 10,000, and over ext4. What an empty directory takes is taken off."""
	counts = (50000, 2000) if bench.quick else (1000000, 10000)
	rounds = 3 if bench.quick else 5
	plain, base, _ = many(bench, counts[0])
	_, small_base, _ = many(bench, counts[1])
	empty = bench.directory("disk", "empty")
	figures = []
	with Mount(bench, at=base) as large, Mount(bench, at=small_base) as small:
		for option, reach in (("-U", 3), ("-lU", 6)):
			def entry(directory, count, times=1, option=option):
				words = ("ls", option)
				base_time = middle([clock(quietly, *words, empty) for _ in range(5)])
				return (middle([clock(quietly, *words, directory) for _ in range(times)]) - base_time) / count

			results = alternate(rounds, lambda: entry(large.point, counts[0]), lambda: entry(small.point, counts[1], 9),
					    lambda: entry(plain, counts[0]))
			sides = {f"{n}_us_an_entry": middle(column(results, i)) * 1e6 for i, n in enumerate(("large", "small", "ext4"))}
			figures.append(Figure("12", f"ls {option}, an entry: {counts[0]:,} / {counts[1]:,} sessions", ratios((a, b) for a, b, _ in results),
					      "<=", 1.3, **sides))
			figures.append(Figure("12", f"ls {option} of {counts[0]:,} sessions: ours / ext4", ratios((a, c) for a, _, c in results), "<=", reach,
					      **sides))
		bench.kept["listed"] = memory(large.pid), memory(large.pid, "VmRSS")
	return figures


def row_13(bench):
	"""A save with 1,000,000 sessions in the store over one with 100; time to mount over 1 s; the daemon's RssAnon after `ls -l` over 200 MB."""
	counts = (50000, 100) if bench.quick else (1000000, 100)
	saves = 30 if bench.quick else 200
	plain, base, import_time = many(bench, counts[0])
	_, small_base, _ = many(bench, counts[1])
	mounting = []
	for _ in range(3):
		start = time.perf_counter()
		Mount(bench, at=base).close()
		mounting.append(time.perf_counter() - start)
	with Mount(bench, at=base) as large, Mount(bench, at=small_base) as small:
		places = []
		for mount in (large, small):
			places.append(os.path.join(mount.point, "saves"))
			os.mkdir(places[-1])
		sides = [lambda p=p: bench.run("bench_client", "save", fresh(p, 1), 1, saves)["median"] for p in places]
		alternate(1, *sides)
		results = alternate(3 if bench.quick else 9, *sides)
		saved = memory(large.pid)
		quietly("ls", "-lU", large.point)
		listed, whole = memory(large.pid), memory(large.pid, "VmRSS")
	return [
		Figure("13", f"save with {counts[0]:,} sessions / with 100", ratios(results), "<=", 1.3, large_us=middle(column(results, 0)) * 1e6,
		       small_us=middle(column(results, 1)) * 1e6, import_s=import_time),
		Figure("13", f"mount and unmount of {counts[0]:,} sessions / 1 s", mounting, "<=", 1.0),
		Figure("13", f"daemon after ls -l of {counts[0]:,} sessions / 200 MB", [listed / (200 << 20)], "<=", 1.0, saved_bytes=saved, listed_bytes=listed,
		       with_mapped_bytes=whole),
	]
