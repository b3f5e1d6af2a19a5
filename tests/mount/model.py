#!/usr/bin/python3
"""
Random sequences of operations on names that are no sessions, done on the mount and on a plain directory: every result
and errno must be the same, and the trees in the end. The seed is printed; HISTORYFS_SEED repeats a run.
"""
import contextlib
import ctypes
import errno
import os
import random
import stat

from harness import QUICK, SEED, cases, equal, libc, main, read

STEPS = 3000 if QUICK else 12_000
NAMES = ["a", "b", "c.txt", "d.tmp", "e.lock", "f~"]
DIRECTORIES = ["", "", "", "p/", "q/", "p/r/", "q/s/"]


class Tree:
	"""One directory with its open handles; each operation gives what a caller can see of it."""

	def __init__(self, root):
		self.root, self.handles = root, []

	def at(self, name):
		return f"{self.root}/{name}"

	def create(self, name, mode):
		os.close(os.open(self.at(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))

	def open(self, name, flags):
		if len(self.handles) < 12:
			self.handles.append(os.open(self.at(name), flags, 0o644))

	def close(self, i):
		if self.handles:
			os.close(self.handles.pop(i % len(self.handles)))

	def handle(self, i):
		return self.handles[i % len(self.handles)] if self.handles else -1

	def pwrite(self, i, data, offset):
		return os.pwrite(self.handle(i), data, offset)

	def append(self, name, data):
		with open(self.at(name), "ab", buffering=0) as f:
			return f.write(data)

	def pread(self, i, size, offset):
		return os.pread(self.handle(i), size, offset)

	def ftruncate(self, i, size):
		os.ftruncate(self.handle(i), size)

	def fstat(self, i):
		s = os.fstat(self.handle(i))
		return stat.S_IFMT(s.st_mode), s.st_size if stat.S_ISREG(s.st_mode) else 0

	def write(self, name, data):
		with open(self.at(name), "wb") as f:
			f.write(data)

	def read(self, name):
		return read(self.at(name))

	def truncate(self, name, size):
		os.truncate(self.at(name), size)

	def rename(self, old, new, flags):
		if libc.renameat2(-100, self.at(old).encode(), -100, self.at(new).encode(), ctypes.c_uint(flags)):
			raise OSError(ctypes.get_errno(), "")

	def unlink(self, name):
		os.unlink(self.at(name))

	def mkdir(self, name, mode):
		os.mkdir(self.at(name), mode)

	def rmdir(self, name):
		os.rmdir(self.at(name))

	def symlink(self, target, name):
		os.symlink(target, self.at(name))

	def readlink(self, name):
		return os.readlink(self.at(name))

	def chmod(self, name, mode):
		os.chmod(self.at(name), mode)

	def chown(self, name, uid, gid):
		os.chown(self.at(name), uid, gid, follow_symlinks=False)

	def utime(self, name, ns):
		os.utime(self.at(name), ns=(ns, ns + 1))
		return os.stat(self.at(name)).st_mtime_ns

	def readdir(self, name):
		return sorted(os.listdir(self.at(name)))

	def stat(self, name):
		s = os.lstat(self.at(name))
		return s.st_mode, s.st_uid, s.st_gid, 0 if stat.S_ISDIR(s.st_mode) else (s.st_size, s.st_nlink)

	def everything(self):
		found = {}
		for directory, names, files in os.walk(self.root):
			for name in names + files:
				path = os.path.relpath(os.path.join(directory, name), self.root)
				kind = stat.S_IFMT(os.lstat(self.at(path)).st_mode)
				found[path] = (self.stat(path), read(self.at(path)) if kind == stat.S_IFREG else self.readlink(path) if kind == stat.S_IFLNK else None)
		return found


def operation(rng):
	"""One operation with its arguments."""
	def name():
		return rng.choice(DIRECTORIES) + rng.choice(NAMES)

	def directory():
		return rng.choice(["p", "q", "p/r", "q/s", "p/a", "b"])

	def data():
		return bytes([rng.randrange(256)]) * rng.choice([0, 1, 10, 100, 4096, 5000, 70_000])
	offset = rng.choice([0, 1, 100, 4095, 4096, 10_000, 66_000, 200_000])
	mode = rng.choice([0o600, 0o644, 0o755, 0o444])
	flags = rng.choice([os.O_RDWR, os.O_RDWR | os.O_CREAT, os.O_RDWR | os.O_CREAT | os.O_EXCL, os.O_RDWR | os.O_CREAT | os.O_TRUNC, os.O_WRONLY | os.O_APPEND | os.O_CREAT])
	rows = [
		(6, "create", name(), mode), (6, "open", name(), flags), (5, "close", rng.randrange(100)), (8, "pwrite", rng.randrange(100), data(), offset),
		(4, "append", name(), data()), (8, "pread", rng.randrange(100), rng.choice([1, 5000, 300_000]), offset), (3, "ftruncate", rng.randrange(100), offset),
		(3, "fstat", rng.randrange(100)), (8, "write", name(), data()), (8, "read", name()), (3, "truncate", name(), offset),
		(8, "rename", name(), name(), rng.choice([0, 0, 0, 1, 2])), (2, "rename", directory(), directory(), rng.choice([0, 0, 1, 2])), (7, "unlink", name()),
		(5, "mkdir", directory(), mode | 0o700), (4, "rmdir", directory()), (2, "symlink", rng.choice(NAMES), name()), (2, "readlink", name()), (3, "chmod", name(), mode),
		(2, "chown", name(), rng.randrange(3), rng.randrange(3)), (2, "utime", name(), rng.randrange(1 << 60)), (4, "readdir", rng.choice(DIRECTORIES)), (5, "stat", name()),
	]
	return rng.choices([row[1:] for row in rows], [row[0] for row in rows])[0]


def outcome(tree, step):
	try:
		return getattr(tree, step[0])(*step[1:])
	except OSError as e:
		# either is right for a directory that is not empty
		return errno.errorcode[errno.ENOTEMPTY if e.errno == errno.EEXIST and step[0] == "rename" and step[3] == 0 else e.errno]


@cases("{} random operations do the same as on a plain directory", [(STEPS, 0), (STEPS, 1)])
def compare(t, steps, salt):
	rng = random.Random(f"{SEED} {salt}")
	ours, theirs = Tree(t.dir), Tree(t.place("model"))
	os.chmod(theirs.root, 0o777)
	history = []
	try:
		for n in range(steps):
			step = operation(rng)
			history.append((step[0], *[a if len(repr(a)) < 40 else f"<{len(a)} bytes>" for a in step[1:]]))
			equal(outcome(ours, step), outcome(theirs, step), f"step {n}, {history[-1]}, after {history[-12:-1]}")
		equal(ours.everything(), theirs.everything(), "the trees in the end")
	finally:
		for fd in ours.handles + theirs.handles:
			with contextlib.suppress(OSError):
				os.close(fd)


if __name__ == "__main__":
	main()
