#!/usr/bin/env python3
"""
Damages data.mdb and looks at what verify, export --salvage and a mount make of it.

usage: damage.py EACH [SEED [KIND...]]		EACH damages of each kind; HISTORYFS and HISTORYCTL are the binaries
       damage.py SEED/KIND/N			one of them again

After every damage: nothing ends by a signal or hangs; what verify and export write is never altered without one of them saying so; every file none of
whose records were hit is exported byte for byte; the mount serves each file as it was, or EIO, and those whose pages were not hit as they were; it takes saves,
or refuses them, and the daemon lives.

Which records are hit is found with a reader of LMDB's pages of its own.
"""
import collections
import errno
import json
import multiprocessing
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time

PAGE = 4096
FS, CTL = os.environ["HISTORYFS"], os.environ["HISTORYCTL"]
LIMIT = 60	# seconds; a guard against what never ends
WORKERS = os.cpu_count() or 1
KINDS = ["bit", "bytes", "zero", "other", "random", "truncate"]


class Wrong(Exception):
	pass


# ---- The store ---------------------------------------------------------------------------------------------------------

class Mount:
	def __init__(self, store, where):
		self.where, self.log = where, open(where + ".log", "w+")
		os.makedirs(where, exist_ok=True)
		self.process = subprocess.Popen([FS, "-f", store, where], stderr=self.log, stdout=self.log)
		self.up = False
		while self.process.poll() is None and not self.up:
			self.up = os.path.ismount(where)
			time.sleep(0.005)

	def down(self):
		"""The exit status; a signal is negative."""
		if self.process.poll() is None:
			for _ in range(200):
				if subprocess.run(["fusermount3", "-u", self.where], stderr=subprocess.DEVNULL).returncode == 0:
					break
				time.sleep(0.02)
		try:
			return self.process.wait(LIMIT)
		except subprocess.TimeoutExpired:
			self.process.kill()
			subprocess.run(["fusermount3", "-uz", self.where])
			raise Wrong("the daemon does not end")
		finally:
			self.log.close()


def populate(root, rng):
	for d in ("", "a", "a/b"):
		os.makedirs(os.path.join(root, d), exist_ok=True)
	for i in range(90):
		path = os.path.join(root, ("", "a", "a/b")[i % 3], f"session-{i}.json")
		messages = []
		for n in range(1 + i % 7):
			messages.append({"role": "user", "content": f"{i} {n} " + "x" * rng.choice((5, 60, 300, 3000 if i % 5 == 0 else 20))})
			with open(path, "w") as f:
				json.dump(messages, f)
	for i in range(12):
		with open(os.path.join(root, "a", f"lines-{i}.jsonl"), "w") as f:
			f.writelines(json.dumps({"n": n, "i": i}) + "\n" for n in range(5 * i + 1))
		with open(os.path.join(root, f"plain-{i}.txt"), "wb") as f:
			f.write(rng.randbytes(7 ** (i % 6) * 5))
		os.chmod(os.path.join(root, f"plain-{i}.txt"), 0o600 + i % 8)
	os.symlink("session-0.json", os.path.join(root, "link"))
	for i in range(0, 90, 11):	# edits, removals: dead messages, free pages
		path = os.path.join(root, ("", "a", "a/b")[i % 3], f"session-{i}.json")
		with open(path) as f:
			messages = json.load(f)
		with open(path, "w") as f:
			json.dump(messages[1:] + [{"role": "user", "content": "edited"}], f)
	for i in range(5, 90, 17):
		os.unlink(os.path.join(root, ("", "a", "a/b")[i % 3], f"session-{i}.json"))


def files_in(root):
	found = {}
	for at, directories, names in os.walk(root):
		for n in names:
			path = os.path.join(at, n)
			relative = os.path.relpath(path, root)
			if os.path.islink(path):
				found[relative] = os.readlink(path).encode()
			else:
				with open(path, "rb") as f:
					found[relative] = f.read()
	return found


# ---- Where records are -------------------------------------------------------------------------------------------------

class Map:
	"""Byte ranges of data.mdb by inode; inodes by path."""
	def __init__(self, data, paths):
		self.data, self.ranges, self.pages_of = data, collections.defaultdict(list), collections.defaultdict(set)
		meta = max((0, 1), key=lambda m: struct.unpack_from("<Q", data, m * PAGE + 16 + 4 + 4 + 8 + 8 + 48 + 48 + 8)[0])
		self.root = struct.unpack_from("<Q", data, meta * PAGE + 16 + 24 + 48 + 40)[0]
		self.entries, self.attrs = {}, {}
		self.walk(self.root, ())
		self.inode = {}
		for (parent, name), ino in self.entries.items():
			self.inode[self.path(parent, name)] = ino
		missing = [p for p in paths if p not in self.inode]
		assert not missing, missing

	def path(self, parent, name):
		while parent != 1:
			up, own = self.attrs[parent]
			name, parent = own + "/" + name, up
		return name

	def walk(self, page, above):
		at, way = page * PAGE, above + (page,)
		_, _, flags, lower, _ = struct.unpack_from("<QHHHH", self.data, at)
		for i in range((lower - 16) // 2):
			node = at + struct.unpack_from("<H", self.data, at + 16 + 2 * i)[0]
			low, high, kind, size = struct.unpack_from("<HHHH", self.data, node)
			if flags & 1:
				self.walk(low | high << 16 | kind << 32, way)
				continue
			key, value_size = self.data[node + 8:node + 8 + size], low | high << 16
			ino = struct.unpack(">Q", key[:8])[0]
			start = node + 8 + size
			if kind & 1:
				self.ranges[ino].append((node, start + 8))
				start = struct.unpack_from("<Q", self.data, start)[0] * PAGE
				self.ranges[ino].append((start, start + 16 + value_size))
				way += tuple(range(start // PAGE, (start + 16 + value_size - 1) // PAGE + 1))
				start += 16
			else:
				self.ranges[ino].append((node, start + value_size))
			value = self.data[start:start + value_size - 8]
			if key[8:9] == b"E":
				self.entries[ino, key[17:].decode()] = child = struct.unpack_from("<Q", value)[0]
				self.pages_of[child].update(way)
			if key[8:9] == b"A":
				self.attrs[ino] = (struct.unpack_from("<Q", value, 16)[0], value[64:].decode())
			# Of a directory, which is written to as long as there is room on a page, only what leads to it and tells of it.
			if ino > 15 and key[8:9] not in b"EIT":
				self.pages_of[ino].update(way)

	def needs(self, path):
		"""The pages without which a file can't be found and read."""
		ino, pages = self.inode[path], set()
		while ino != 1:
			pages |= self.pages_of[ino]
			ino = self.attrs[ino][0]
		return pages

	def is_hit(self, ino, begin, end):
		return any(begin < e and b < end for b, e in self.ranges[ino])


# ---- One damage --------------------------------------------------------------------------------------------------------

def damage(rng, kind, data):
	"""The damaged bytes, and the range."""
	pages = len(data) // PAGE
	page = rng.randrange(pages)
	if kind == "bit":
		at = rng.randrange(len(data))
		return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1:], (at, at + 1)
	if kind == "bytes":
		at = rng.randrange(len(data) - 64)
		return data[:at] + rng.randbytes(64) + data[at + 64:], (at, at + 64)
	if kind == "truncate":
		at = rng.randrange(2 * PAGE, len(data))
		return data[:at], (at, len(data))
	new = {"zero": bytes(PAGE), "random": rng.randbytes(PAGE)}.get(kind)
	if new is None:
		other = rng.randrange(pages)
		new = data[other * PAGE:other * PAGE + PAGE]
	return data[:page * PAGE] + new + data[page * PAGE + PAGE:], (page * PAGE, page * PAGE + PAGE)


def run(*command):
	try:
		r = subprocess.run(command, capture_output=True, timeout=LIMIT)
	except subprocess.TimeoutExpired:
		raise Wrong(f"{command[-2:]} does not end")
	if r.returncode < 0 or r.returncode > 1:
		raise Wrong(f"{command[3:]} ended with {r.returncode}: {r.stderr[-300:]}")
	return r.returncode, (r.stdout + r.stderr).decode(errors="replace")


def check_export(want, where, hit, told):
	got = files_in(where)
	strays = {p.split("-", 3)[-1]: b for p, b in got.items() if p.startswith("without-a-place/")}
	for path, content in want.items():
		if path in got:
			if got[path] != content and not told:
				raise Wrong(f"silent: {path} was exported altered")
			if got[path] != content and path not in hit:
				raise Wrong(f"{path} is whole, and was exported altered")
		elif not told:
			raise Wrong(f"silent: {path} was not exported")
		elif path not in hit and content not in strays.values():
			raise Wrong(f"{path} is whole, and was not exported")
	extra = [p for p in got if p not in want and not p.startswith("without-a-place/")]
	if extra and not told:
		raise Wrong(f"silent: {extra} was exported")


def check_mount(store, where, want, whole, told):
	m = Mount(store, where)
	served = refused = 0
	if m.up:
		for path, content in want.items():
			at = os.path.join(where, path)
			try:
				if os.path.islink(at):
					got = os.readlink(at).encode()
				else:
					with open(at, "rb") as f:
						got = f.read()
			except OSError as e:
				refused += 1
				if not told:
					raise Wrong(f"silent: {path} can't be read")
				if e.errno != errno.EIO or path in whole:
					raise Wrong(f"{path}: {errno.errorcode[e.errno]}, and it is {'whole' if path in whole else 'damaged'}")
				continue
			served += 1
			if got != content:
				raise Wrong(f"{path} is served altered")
		for at, directories, names in os.walk(where):
			pass
		for path in list(want)[::7] + ["new.json", "new.txt", "a/new.json"]:
			try:
				with open(os.path.join(where, path), "w") as f:
					json.dump([{"role": "user", "content": "afterwards"}], f)
				if path.startswith("a"):
					os.unlink(os.path.join(where, path))
			except OSError:
				pass
		if m.process.poll() is not None:
			raise Wrong(f"the daemon ended with {m.process.returncode}")
	status = m.down()
	if status < 0 or status > 1:
		with open(where + ".log") as f:
			raise Wrong(f"the daemon ended with {status}: {f.read()[-300:]}")
	return m.up, served, refused


def one(work, data, kind, rng, files, where_is):
	store, out = os.path.join(work, "store"), os.path.join(work, "out")
	shutil.rmtree(store, ignore_errors=True)
	shutil.rmtree(out, ignore_errors=True)
	shutil.copytree(os.path.join(work, "whole"), store)
	bad, (begin, end) = damage(rng, kind, data)
	with open(os.path.join(store, "data.mdb"), "wb") as f:
		f.write(bad)
	# A file needs its own records, and the names of it and the directories above it to be in its place.
	hit = {p for p in files if where_is.is_hit(where_is.inode[p], begin, end)}
	verified, text = run(CTL, "--store", store, "verify")
	exported, said = run(CTL, "--store", store, "export", "--salvage", out)
	told = verified or exported
	if os.path.isdir(out):
		check_export(files, out, hit, told)
	elif len(hit) < len(files) and begin >= 2 * PAGE:
		raise Wrong(f"nothing was exported: {said[-300:]}")
	whole = {p for p in files if not any(begin < (n + 1) * PAGE and n * PAGE < end for n in where_is.needs(p))}
	up, served, refused = check_mount(store, os.path.join(work, "mnt"), files, whole, told)
	run(CTL, "--store", store, "verify")
	return told, up, refused, len(hit)


class Bench:
	"""The store that is damaged, and a directory for each worker."""
	def __init__(self, seed):
		self.seed, self.root = seed, tempfile.mkdtemp(prefix="historyfs-damage-")
		rng = random.Random(seed)
		store, where = os.path.join(self.root, "whole"), os.path.join(self.root, "mnt")
		m = Mount(store, where)
		populate(where, rng)
		m.down()
		m = Mount(store, where)
		self.files = files_in(where)
		m.down()
		with open(os.path.join(store, "data.mdb"), "rb") as f:
			self.data = f.read()
		self.where_is = Map(self.data, self.files)
		assert run(CTL, "--store", store, "verify")[0] == 0
		print(f"seed {seed}: {len(self.files)} files, {len(self.data) // PAGE} pages", flush=True)

	def work(self, job):
		kind, n = job
		again = f"{self.seed}/{kind}/{n}"
		at = os.path.join(self.root, f"worker-{os.getpid()}")
		if not os.path.isdir(at):
			os.mkdir(at)
			os.symlink("../whole", os.path.join(at, "whole"))
		try:
			told, up, refused, hit = one(at, self.data, kind, random.Random(again), self.files, self.where_is)
			return kind, told != 0, not up, hit > 0, None
		except Wrong as e:
			if os.environ.get("KEEP"):
				shutil.copytree(at, os.path.join(os.environ["KEEP"], again.replace("/", "-")), ignore=shutil.ignore_patterns("mnt"), symlinks=True)
			return kind, 0, 0, 0, f"{again}: {e}"

	def clear(self):
		for name in os.listdir(self.root):
			subprocess.run(["fusermount3", "-uz", os.path.join(self.root, name, "mnt")], stderr=subprocess.DEVNULL)
		shutil.rmtree(self.root, ignore_errors=True)


def work(job):
	return bench.work(job)


def main():
	global bench
	if "/" in sys.argv[1]:
		seed, kind, n = sys.argv[1].split("/")
		seed, jobs = int(seed), [(kind, int(n))]
	else:
		seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(1 << 32)
		jobs = [(kind, n) for kind in sys.argv[3:] or KINDS for n in range(int(sys.argv[1]))]
	faults, tally = 0, collections.Counter()
	bench = Bench(seed)
	try:
		with multiprocessing.Pool(WORKERS) as pool:
			for kind, told, down, hit, fault in pool.imap_unordered(work, jobs):
				tally.update({(kind, "n"): 1, (kind, "told"): told, (kind, "down"): down, (kind, "hit"): hit})
				faults += fault is not None
				if fault:
					print("WRONG", fault, flush=True)
	finally:
		bench.clear()
	for kind in dict.fromkeys(kind for kind, _ in jobs):
		n, told, down, hit = (tally[kind, what] for what in ("n", "told", "down", "hit"))
		print(f"{kind}: {n} damages, {hit} hit files, {told} told, {down} not mounted")
	print(f"{faults} wrong")
	return bool(faults)


if __name__ == "__main__":
	sys.exit(main())
