#!/usr/bin/python3
"""What any filesystem promises: names, attributes, opening, scratch contents, directories, locks, owners."""
import ctypes
import errno
import fcntl
import mmap
import os
import stat
import struct
import time

from harness import CONTROL, QUICK, Child, Skip, case, cases, command, equal, fails, forked, libc, main, read, require, write, write_all

UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2
NOREPLACE, EXCHANGE = 1, 2
AT_FDCWD = -100
SEEK_DATA, SEEK_HOLE = 3, 4
NAMES = ["notes.txt", "s.json.tmp", ".hidden"]
DOCUMENT = b'[{"role": "user", "content": "hello"}]\n'


class Timespec(ctypes.Structure):
	_fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


def call(result):
	if result < 0:
		raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
	return result


def utimensat(path, *times):
	call(libc.utimensat(AT_FDCWD, os.fsencode(path), (Timespec * 2)(*[Timespec(*t) for t in times]), 0))


def renameat2(old, new, flags):
	call(libc.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), ctypes.c_uint(flags)))


def as_user(uid, function, *arguments):
	"""In a child that is another user."""
	def run():
		os.setgroups([])
		os.setresgid(uid, uid, uid)
		os.setresuid(uid, uid, uid)
		return function(*arguments)
	return forked(run)


def make(t, name, data=b"contents"):
	path = t.path(name)
	write(path, data)
	return path


@case("lookup: absent names are ENOENT, and are seen as soon as they exist")
def lookup(t):
	for name in ("a", "a.json"):
		fails(errno.ENOENT, os.stat, t.path(name))
		equal(os.path.exists(t.path(name)), False, name)
		forked(write, t.path(name), DOCUMENT)
		equal(os.path.exists(t.path(name)), True, name)
		forked(os.unlink, t.path(name))
		fails(errno.ENOENT, os.stat, t.path(name))
	fails(errno.ENOENT, os.stat, t.path("absent/name"))
	fails(errno.ENOTDIR, os.stat, make(t, "file") + "/name")
	fails(errno.ENOTDIR, os.stat, make(t, "file.json", DOCUMENT) + "/name")


@case("getattr: exact sizes, types, inode numbers, link counts")
def getattr_(t):
	sizes = [0, 1, 511, 4096, 100_001]
	for n in sizes:
		path = make(t, f"f{n}", b"x" * n)
		s = os.stat(path)
		equal((s.st_size, stat.S_ISREG(s.st_mode), s.st_nlink, s.st_uid, s.st_gid), (n, True, 1, os.getuid(), os.getgid()), path)
		equal(s.st_ino, os.stat(path).st_ino, "inode number twice")
	equal(len({os.stat(t.path(f"f{n}")).st_ino for n in sizes}), len(sizes), "different inode numbers")
	for n in (0, 1, 50, 5000):
		data = b"[" + b", ".join([b'{"content": "x"}'] * n) + b"]\n"
		equal(os.stat(make(t, f"d{n}.json", data)).st_size, len(data), f"{n} messages")
	s = os.stat(t.dir)
	equal(stat.S_ISDIR(s.st_mode), True, "directory")


@cases("chmod, chown of {}", [(n,) for n in NAMES + ["s.json"]])
def modes(t, name):
	path = make(t, name, DOCUMENT)
	for mode in (0o600, 0o644, 0o444, 0o755, 0):
		before = os.stat(path).st_ctime_ns
		os.chmod(path, mode)
		s = os.stat(path)
		equal(stat.S_IMODE(s.st_mode), mode, "mode")
		require(s.st_ctime_ns >= before, "ctime goes back")
	os.chown(path, 1234, -1)
	os.chown(path, -1, 4321)
	equal((os.stat(path).st_uid, os.stat(path).st_gid), (1234, 4321), "owner")
	equal((stat.S_IMODE(os.stat(path).st_mode), read(path)), (0, DOCUMENT), "mode and contents after chown")
	with open(path, "rb") as f:
		os.fchmod(f.fileno(), 0o640)
		os.fchown(f.fileno(), 0, 0)
	equal(stat.S_IMODE(os.stat(path).st_mode), 0o640, "after fchmod")
	write(path, DOCUMENT)
	equal((stat.S_IMODE(os.stat(path).st_mode), os.stat(path).st_uid), (0o640, 0), "after a rewrite")


@cases("utimens of {}", [(n,) for n in NAMES + ["s.json", "directory"]])
def times(t, name):
	path = t.path(name)
	if name == "directory":
		os.mkdir(path)
	else:
		write(path, DOCUMENT)
	os.utime(path, ns=(1_000_000_001, 2_000_000_002))
	equal((os.stat(path).st_atime_ns, os.stat(path).st_mtime_ns), (1_000_000_001, 2_000_000_002), "set")
	utimensat(path, (0, UTIME_OMIT), (5, 7))
	equal((os.stat(path).st_atime_ns, os.stat(path).st_mtime_ns), (1_000_000_001, 5_000_000_007), "atime omitted")
	utimensat(path, (9, 3), (0, UTIME_OMIT))
	equal((os.stat(path).st_atime_ns, os.stat(path).st_mtime_ns), (9_000_000_003, 5_000_000_007), "mtime omitted")
	before = time.time_ns() - 1_000_000_000
	utimensat(path, (0, UTIME_OMIT), (0, UTIME_NOW))
	s = os.stat(path)
	require(s.st_atime_ns == 9_000_000_003 and before <= s.st_mtime_ns <= time.time_ns() + 1_000_000_000, f"now: {s}")
	os.utime(path, ns=(0, 0))
	equal(os.stat(path).st_mtime_ns, 0, "the epoch")
	os.utime(path, ns=(0, -1_500_000_000))
	equal(os.stat(path).st_mtime_ns, -1_500_000_000, "before the epoch")
	if name != "directory":
		write(path, DOCUMENT + b"\n")
		require(os.stat(path).st_mtime_ns >= before, "a write sets mtime")


@cases("open flags of {}", [(n,) for n in NAMES + ["s.json"]])
def flags(t, name):
	path = t.path(name)
	fails(errno.ENOENT, os.open, path, os.O_RDWR)
	write(path, DOCUMENT)
	fails(errno.EEXIST, os.open, path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
	os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
	equal(read(path), DOCUMENT, "opening for writing alone changes nothing")
	fails(errno.ENOTDIR, os.open, path, os.O_RDONLY | os.O_DIRECTORY)
	fd = os.open(path, os.O_RDONLY)
	fails(errno.EBADF, os.write, fd, b"x")
	os.close(fd)
	fd = os.open(path, os.O_WRONLY)
	fails(errno.EBADF, os.read, fd, 1)
	os.close(fd)
	fd = os.open(t.path("x" + name), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o640)
	equal(stat.S_IMODE(os.fstat(fd).st_mode), 0o640, "mode at creation")
	os.write(fd, DOCUMENT)
	equal(os.pread(fd, 100, 0), DOCUMENT, "own bytes through the same handle")
	os.close(fd)
	equal(read(t.path("x" + name)), DOCUMENT, "after close")


@case("umask and setgid directories")
def umask(t):
	old = os.umask(0o027)
	try:
		write(t.path("f"), b"")
		os.mkdir(t.path("d"))
	finally:
		os.umask(old)
	equal([oct(stat.S_IMODE(os.stat(t.path(n)).st_mode)) for n in "fd"], ["0o640", "0o750"], "modes")


@case("scratch: writes at any offset, holes are zeros, truncation")
def scratch(t):
	path = t.path("scratch")
	fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
	model = bytearray()
	for offset, data in [(100_000, b"end"), (5, b"begin"), (4090, b"over a page"), (99_999, b"X"), (300_000, b"far"), (0, b"0")]:
		os.pwrite(fd, data, offset)
		model.extend(b"\0" * (offset + len(data) - len(model)))
		model[offset:offset + len(data)] = data
		equal((os.fstat(fd).st_size, os.pread(fd, 1 << 20, 0)), (len(model), bytes(model)), f"after a write at {offset}")
	for size in (250_000, 4093, 10_000, 0, 100):
		os.ftruncate(fd, size)
		del model[size:]
		model.extend(b"\0" * (size - len(model)))
		equal((os.fstat(fd).st_size, os.pread(fd, 1 << 20, 0)), (size, bytes(model)), f"after truncation to {size}")
	os.close(fd)
	os.truncate(path, 50)
	equal(read(path), b"\0" * 50, "after truncate by name")
	with open(path, "rb", buffering=0) as f:
		equal(os.pread(f.fileno(), 10, 1000), b"", "a read past the end")
	fails(errno.EINVAL, os.truncate, path, -1)


@case("scratch: O_APPEND by several processes and handles")
def append(t):
	path = t.path("log")

	def lines(w):
		with open(path, "ab", buffering=0) as f:
			for n in range(200):
				f.write(b"%d %d\n" % (w, n))
	children = [Child(lines, w) for w in range(4)]
	for child in children:
		child.result()
	found = read(path).split(b"\n")[:-1]
	equal(sorted(found), sorted(b"%d %d" % (w, n) for w in range(4) for n in range(200)), "lines")
	fd = os.open(path, os.O_WRONLY | os.O_APPEND)
	os.lseek(fd, 0, os.SEEK_SET)
	os.write(fd, b"at the end")
	os.close(fd)
	require(read(path).endswith(b"\nat the end"), "O_APPEND writes at the end")


@case("scratch: two handles see each other's bytes at once")
def coherent(t):
	path = make(t, "shared", b"a" * 5000)
	with open(path, "r+b", buffering=0) as one, open(path, "r+b", buffering=0) as two:
		one.write(b"b" * 10)
		equal(two.read(12), b"b" * 10 + b"aa", "the other handle")
		equal(forked(lambda: read(path)[:12]), b"b" * 10 + b"aa", "another process")
		two.truncate(3)
		equal(os.fstat(one.fileno()).st_size, 3, "size")


@case("fallocate is refused or honoured")
def fallocate(t):
	path = make(t, "f", b"x" * 1000)
	with open(path, "r+b") as f:
		try:
			os.posix_fallocate(f.fileno(), 0, 10_000)
			equal((os.fstat(f.fileno()).st_size, read(path)), (10_000, b"x" * 1000 + b"\0" * 9000), "honoured")
		except OSError as e:
			require(e.errno in (errno.EOPNOTSUPP, errno.ENOSYS), f"fallocate: {e}")
			equal(read(path), b"x" * 1000, "refused")
		punch = libc.fallocate(f.fileno(), 3, ctypes.c_long(10), ctypes.c_long(20))
		data = read(path)[:1000]
		equal(data, b"x" * 10 + b"\0" * 20 + b"x" * 970 if punch == 0 else b"x" * 1000, "after punching a hole")


@case("lseek SEEK_DATA and SEEK_HOLE tell nothing wrong")
def seek(t):
	path = t.path("sparse")
	with open(path, "w+b", buffering=0) as f:
		f.write(b"data")
		os.pwrite(f.fileno(), b"more", 1 << 20)
		size, fd = (1 << 20) + 4, f.fileno()
		equal(os.lseek(fd, 0, SEEK_DATA), 0, "data at 0")
		hole = os.lseek(fd, 0, SEEK_HOLE)
		require(4 <= hole <= size, f"hole at {hole}")
		if hole < size:
			require(hole < os.lseek(fd, hole, SEEK_DATA) <= 1 << 20, "data after the hole")
		equal(os.lseek(fd, 1 << 20, SEEK_HOLE), size, "the last hole is the end")
		fails(errno.ENXIO, os.lseek, fd, size, SEEK_DATA)
	document = make(t, "s.json", DOCUMENT)
	with open(document, "rb") as f:
		equal((os.lseek(f.fileno(), 0, SEEK_DATA), os.lseek(f.fileno(), 0, SEEK_HOLE)), (0, len(DOCUMENT)), "of a document")


@cases("an unlinked open {} stays usable", [("scratch file", "f", b"contents"), ("document", "s.json", DOCUMENT)])
def unlinked(t, what, name, data):
	path = make(t, name, data)
	fd = os.open(path, os.O_RDWR)
	os.unlink(path)
	fails(errno.ENOENT, os.stat, path)
	equal((os.pread(fd, 1000, 0), os.fstat(fd).st_size), (data, len(data)), "through the handle")
	if what == "scratch file":
		os.pwrite(fd, b"C", 0)
		equal(os.pread(fd, 1000, 0), b"Contents", "written through the handle")
	equal(os.fstat(fd).st_nlink, 0, "link count")
	write(path, b"[]")
	equal(read(path), b"[]", "a new file of that name")
	equal(os.pread(fd, 3, 1), data[1:4], "the old handle beside the new file")
	os.close(fd)
	equal(os.listdir(t.dir), [name], "names")


@case("rename: replaces, keeps the inode, across directories, over itself")
def rename(t):
	a, b = make(t, "a", b"one"), make(t, "b", b"two")
	ino = os.stat(a).st_ino
	os.rename(a, b)
	equal((read(b), os.stat(b).st_ino, os.path.exists(a)), (b"one", ino, False), "over a file")
	os.rename(b, b)
	equal(read(b), b"one", "to its own name")
	os.makedirs(t.path("d/e"))
	os.rename(b, t.path("d/e/b"))
	equal((read(t.path("d/e/b")), os.listdir(t.dir)), (b"one", ["d"]), "across directories")
	fails(errno.ENOENT, os.rename, t.path("absent"), a)
	fails(errno.ENOENT, os.rename, t.path("d/e/b"), t.path("absent/b"))
	os.mkdir(t.path("other"))
	fails(errno.EISDIR, os.rename, t.path("d/e/b"), t.path("other"))
	os.rmdir(t.path("other"))
	fails(errno.ENOTDIR, os.rename, t.path("d/e"), make(t, "file"))
	fails(errno.EINVAL, os.rename, t.path("d"), t.path("d/e/inside"))
	os.mkdir(t.path("empty"))
	fails((errno.ENOTEMPTY, errno.EEXIST), os.rename, t.path("empty"), t.path("d"))
	os.rename(t.path("d"), t.path("empty"))
	equal((sorted(os.listdir(t.dir)), read(t.path("empty/e/b"))), (["empty", "file"], b"one"), "a directory over an empty one")


@case("rename of documents and directories of documents is a plain rename")
def rename_documents(t):
	a, b = make(t, "a.json", b'["a"]'), make(t, "b.json", b'["b"]')
	ino = os.stat(a).st_ino
	os.rename(a, t.path("c.json"))
	equal((read(t.path("c.json")), os.stat(t.path("c.json")).st_ino), (b'["a"]', ino), "to a free name")
	os.rename(t.path("c.json"), b)
	equal((read(b), os.listdir(t.dir)), (b'["a"]', ["b.json"]), "over another session")
	os.mkdir(t.path("d"))
	os.rename(b, t.path("d/b.json"))
	os.rename(t.path("d"), t.path("e"))
	equal(read(t.path("e/b.json")), b'["a"]', "in a renamed directory")
	os.rename(t.path("e/b.json"), t.path("plain.txt"))
	equal(read(t.path("plain.txt")), b'["a"]', "under a name that is no session's")
	os.rename(t.path("plain.txt"), t.path("back.json"))
	equal(read(t.path("back.json")), b'["a"]', "and back")


@case("RENAME_NOREPLACE and RENAME_EXCHANGE")
def rename_flags(t):
	for a, b, one, two in (("a", "b", b"one", b"two"), ("a.json", "b.json", b"[1]", b"[2]")):
		make(t, a, one), make(t, b, two)
		fails(errno.EEXIST, renameat2, t.path(a), t.path(b), NOREPLACE)
		equal((read(t.path(a)), read(t.path(b))), (one, two), "after a refused NOREPLACE")
		renameat2(t.path(a), t.path("free" + a), NOREPLACE)
		renameat2(t.path("free" + a), t.path(b), EXCHANGE)
		equal((read(t.path("free" + a)), read(t.path(b))), (two, one), "after EXCHANGE")
		fails(errno.ENOENT, renameat2, t.path("absent"), t.path(b), EXCHANGE)
		fails(errno.EINVAL, renameat2, t.path("free" + a), t.path(b), NOREPLACE | EXCHANGE)
	os.mkdir(t.path("directory"))
	renameat2(t.path("directory"), t.path("b"), EXCHANGE)
	equal((read(t.path("directory")), os.listdir(t.path("b"))), (b"one", []), "a file and a directory")


@case("directories: mkdir, rmdir, errors, link counts of names")
def directories(t):
	d = t.path("d")
	os.mkdir(d, 0o750)
	equal(stat.S_IMODE(os.stat(d).st_mode), 0o750, "mode")
	fails(errno.EEXIST, os.mkdir, d)
	fails(errno.ENOENT, os.mkdir, t.path("x/y"))
	write(d + "/s.json", DOCUMENT)
	fails(errno.ENOTEMPTY, os.rmdir, d)
	fails((errno.EISDIR, errno.EPERM), os.unlink, d)
	fails(errno.EISDIR, os.open, d, os.O_WRONLY)
	fails(errno.ENOTDIR, os.rmdir, d + "/s.json")
	os.unlink(d + "/s.json")
	before = os.stat(t.dir).st_mtime_ns
	time.sleep(0.01)
	os.rmdir(d)
	require(os.stat(t.dir).st_mtime_ns > before, "removing a name sets the directory's mtime")
	fails(errno.ENOENT, os.rmdir, d)
	deep = t.path("/".join(["d"] * 60))
	os.makedirs(deep)
	write(deep + "/s.json", DOCUMENT)
	equal(read(deep + "/s.json"), DOCUMENT, "60 directories down")
	equal(os.path.realpath(deep + "/../d/./s.json"), deep + "/s.json", "by . and ..")
	equal(len({e.name for e in os.scandir(t.dir)}), 1, "names")


@case("readdir: . and .., types, all names once; seekdir")
def readdir(t):
	count = 2_000 if QUICK else 20_000
	for n in range(count):
		os.close(os.open(t.path(f"file{n}"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
	names = [f"file{n}" for n in range(count)]
	equal(sorted(os.listdir(t.dir)), sorted(names), "names")
	equal(sorted(os.listdir(t.dir)), sorted(names), "names, again")
	shown = command("ls", "-a", "-f", t.dir).stdout.split()
	equal((len(shown), set(shown) - set(names)), (count + 2, {".", ".."}), "ls -af")
	os.mkdir(t.path("d")), os.symlink("x", t.path("l")), write(t.path("s.json"), DOCUMENT)
	types = {e.name: (e.is_dir(follow_symlinks=False), e.is_symlink(), e.is_file(follow_symlinks=False)) for e in os.scandir(t.dir)
		 if not e.name.startswith("file")}
	equal(types, {"d": (True, False, False), "l": (False, True, False), "s.json": (False, False, True)}, "types")
	inodes = {e.name: e.inode() for e in os.scandir(t.dir)}
	equal([n for n in ("d", "l", "s.json", "file7") if inodes[n] != os.lstat(t.path(n)).st_ino], [], "inode numbers that differ from stat's")
	command("rm", "-r", t.dir)
	fails(errno.ENOENT, os.stat, t.dir)


@case("readdir is stable while others create and remove names")
def readdir_stable(t):
	steady = {f"steady{n}" for n in range(1000)}
	for name in steady:
		write(t.path(name), b"")

	def churn(w):
		n = 0
		while True:
			for name in (f"w{w}_{n}", f"w{w}_{n}.json"):
				write(t.path(name), b"[]")
			if n > 20:
				os.unlink(t.path(f"w{w}_{n - 20}"))
				os.rename(t.path(f"w{w}_{n - 20}.json"), t.path(f"w{w}_{n - 20}_renamed.json"))
				os.unlink(t.path(f"w{w}_{n - 20}_renamed.json"))
			n += 1
	children = [Child(churn, w) for w in range(2)]
	for _ in range(20 if QUICK else 60):
		found = os.listdir(t.dir)
		equal(len(found), len(set(found)), "no name twice")
		equal(steady - set(found), set(), "names that were there all the time")
	for child in children:
		child.kill()
		child.wait()


@case("statfs: the figures of the store's disk")
def statfs(t):
	s = os.statvfs(t.dir)
	equal(s.f_namemax, 255, "f_namemax")
	require(s.f_bsize > 0 and s.f_frsize > 0 and s.f_files > 0, f"{s}")
	if not CONTROL:
		disk = os.statvfs(t.mount.store)
		equal(s.f_blocks * s.f_frsize, disk.f_blocks * disk.f_frsize, "size")
		free, wanted = s.f_bavail * s.f_frsize, disk.f_bavail * disk.f_frsize
		require(abs(free - wanted) <= wanted / 20 + (1 << 30), f"{free} bytes free, the disk has {wanted}")
	require(command("df", "-P", t.dir).stdout.count("\n") == 2, "df shows it")


def hold_lock(path, kind, ready, go):
	with open(path, "r+b") as f:
		if kind == "flock":
			fcntl.flock(f, fcntl.LOCK_EX)
		else:
			fcntl.lockf(f, fcntl.LOCK_EX, 10, 5)
		os.write(ready, b"x")
		os.read(go, 1)


@cases("{} between processes", [("flock", "f.lock"), ("fcntl", "f.lock"), ("flock", "s.json"), ("fcntl", "s.json")])
def locks(t, kind, name):
	path = make(t, name, DOCUMENT)
	ready, go = os.pipe(), os.pipe()
	child = Child(hold_lock, path, kind, ready[1], go[0])
	equal(os.read(ready[0], 1), b"x", "the child's word")
	with open(path, "r+b") as f:
		busy = (errno.EAGAIN, errno.EACCES)
		if kind == "flock":
			fails(busy, fcntl.flock, f, fcntl.LOCK_EX | fcntl.LOCK_NB)
			fails(busy, fcntl.flock, f, fcntl.LOCK_SH | fcntl.LOCK_NB)
			os.write(go[1], b"x")
			fcntl.flock(f, fcntl.LOCK_EX)
		else:
			fails(busy, fcntl.lockf, f, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 12)
			fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 0)
			pid = struct.unpack("hhqqi", fcntl.fcntl(f, fcntl.F_GETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 6, 1, 0))[:28])[4]
			equal(pid, child.pid, "the holder by F_GETLK")
			os.write(go[1], b"x")
			fcntl.lockf(f, fcntl.LOCK_EX, 10, 5)
	child.result()
	for fd in (*ready, *go):
		os.close(fd)
	equal(read(path), DOCUMENT, "contents")


@case("hard links, devices and FIFOs are refused with EPERM")
def refused(t):
	if CONTROL:
		raise Skip("a plain directory has them")
	for name in ("f", "s.json"):
		fails(errno.EPERM, os.link, make(t, name, DOCUMENT), t.path("link"))
	fails(errno.EPERM, os.mkfifo, t.path("fifo"))
	fails(errno.EPERM, os.mknod, t.path("null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
	fails(errno.EPERM, os.mknod, t.path("socket"), stat.S_IFSOCK | 0o666)
	equal(sorted(os.listdir(t.dir)), ["f", "s.json"], "names")
	os.mknod(t.path("regular"), stat.S_IFREG | 0o600)
	equal(os.stat(t.path("regular")).st_size, 0, "mknod of a regular file")


@case("symbolic links")
def symlinks(t):
	make(t, "s.json", DOCUMENT)
	for target in ("s.json", "absent", "/", "../" + os.path.basename(t.dir) + "/s.json", "x" * 4000, "\udcff\udcfe"):
		link = t.path("link")
		os.symlink(target, link)
		equal((os.readlink(link), os.lstat(link).st_size), (target, len(os.fsencode(target))), "target and size")
		require(stat.S_ISLNK(os.lstat(link).st_mode), "type")
		fails(errno.EEXIST, os.symlink, "other", link)
		os.unlink(link)
	os.symlink("s.json", t.path("link.json"))
	write(t.path("link.json"), b"[1]")
	equal((read(t.path("s.json")), os.path.islink(t.path("link.json"))), (b"[1]", True), "a save through a link")
	os.symlink("loop", t.path("loop"))
	fails(errno.ELOOP, os.stat, t.path("loop"))
	fails(errno.EINVAL, os.readlink, t.path("s.json"))
	os.rename(t.path("link.json"), t.path("moved"))
	equal(os.readlink(t.path("moved")), "s.json", "a renamed link")
	os.chown(t.path("moved"), 7, 7, follow_symlinks=False)
	equal((os.lstat(t.path("moved")).st_uid, os.stat(t.path("moved")).st_uid), (7, 0), "owner of the link")


@cases("names: {}", [
	("255 bytes", b"n" * 255, 0), ("255 bytes of a session", b"n" * 250 + b".json", 0), ("256 bytes", b"n" * 256, errno.ENAMETOOLONG),
	("256 bytes of a session", b"n" * 251 + b".json", errno.ENAMETOOLONG), ("not UTF-8", b"\xff\xfe\x80", 0), ("session, not UTF-8", b"caf\xe9.json", 0),
	("newline", b"a\nb.json", 0), ("quotes and spaces", b" \"'\\ .json", 0), ("only .json", b".json", 0), ("dots", b"...", 0), ("UTF-8", "会话.json".encode(), 0),
	("control bytes", bytes(range(1, 32)) + b".json", 0),
])
def names(t, what, name, error):
	path = os.fsencode(t.dir) + b"/" + name
	if error:
		fails(error, os.stat, path)
		fails(error, os.open, path, os.O_CREAT | os.O_WRONLY)
		fails(error, os.mkdir, path)
		return
	for temp in (None, os.fsencode(t.dir) + b"/temp"):
		write_all(fd := os.open(temp or path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), DOCUMENT)
		os.close(fd)
		if temp:
			os.rename(temp, path)
		equal((read(path), os.listdir(os.fsencode(t.dir))), (DOCUMENT, [name]), what)
	os.unlink(path)
	equal(os.listdir(t.dir), [], "after unlink")
	os.mkdir(path)
	os.rmdir(path)
	os.symlink(b"x", path)
	equal(os.readlink(path), b"x", "link")


@case("names differ by case, and in Unicode normalisation")
def names_differ(t):
	for n, name in enumerate(["a.json", "A.json", "a.JSON", "\u00e9.json", "e\u0301.json", "a.json ", "a.json~"]):
		write(t.path(name), b"[%d]" % n)
	equal(sorted(read(t.path(n)) for n in os.listdir(t.dir)), [b"[%d]" % n for n in range(7)], "contents")


@case("an owner's files: allow_other, permissions, the caller owns what it makes")
def owners(t):
	with t.new_mount(options=["allow_other"]) as m:
		os.chmod(m.path, 0o777)
		write(f"{m.path}/private.json", DOCUMENT)
		os.chmod(f"{m.path}/private.json", 0o600)
		os.mkdir(f"{m.path}/closed", 0o700)

		def other():
			write(f"{m.path}/own.json", DOCUMENT)
			write(f"{m.path}/own.txt", b"x")
			os.mkdir(f"{m.path}/owned")
			os.symlink("x", f"{m.path}/ownlink")
			write(f"{m.path}/t.tmp", b"[1]")
			os.rename(f"{m.path}/t.tmp", f"{m.path}/renamed.json")
			for path in (f"{m.path}/private.json", f"{m.path}/closed"):
				fails(errno.EACCES, os.listdir if path.endswith("closed") else read, path)
			fails(errno.EACCES, write, f"{m.path}/private.json", b"[]")
			fails(errno.EPERM, os.chmod, f"{m.path}/private.json", 0o777)
			fails(errno.EPERM, os.chown, f"{m.path}/own.json", 0, 0)
			if not CONTROL:
				fails((errno.EACCES, errno.EPERM, errno.ENOENT), read, m.control_file("status"))
				fails((errno.EACCES, errno.EPERM, errno.ENOENT), os.listdir, m.control_file("rejected"))
		as_user(1234, other)
		for name in ("own.json", "own.txt", "owned", "ownlink", "renamed.json"):
			s = os.lstat(f"{m.path}/{name}")
			equal((s.st_uid, s.st_gid), (1234, 1234), f"owner of {name}")
		write(f"{m.path}/own.json", b"[2]")
		equal((os.stat(f"{m.path}/own.json").st_uid, read(f"{m.path}/private.json")), (1234, DOCUMENT), "owner after root's save; contents")


@case("without allow_other other users see nothing")
def no_other(t):
	if CONTROL:
		raise Skip("there is no mount")
	path = t.dir
	as_user(1234, lambda: fails(errno.EACCES, os.listdir, path))


@case("mmap of files, copy_file_range, sendfile, exec")
def other_calls(t):
	path = make(t, "s.json", DOCUMENT)
	with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ) as m:
		equal(m[:], DOCUMENT, "mmap")
	with open(path, "rb") as a, open(t.path("copy.json"), "wb") as b:
		os.copy_file_range(a.fileno(), b.fileno(), 1000)
	equal(read(t.path("copy.json")), DOCUMENT, "copy_file_range")
	with open(path, "rb") as a, open(t.path("sent.json"), "wb") as b:
		os.sendfile(b.fileno(), a.fileno(), 0, 1000)
	equal(read(t.path("sent.json")), DOCUMENT, "sendfile")
	os.chmod(make(t, "script", b"#!/bin/sh\necho ran\n"), 0o755)
	equal(command(t.path("script")).stdout, "ran\n", "exec")


if __name__ == "__main__":
	main()
