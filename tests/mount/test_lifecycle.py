#!/usr/bin/python3
"""Starting, stopping, what lies beneath the mount point, and .historyfs."""
import contextlib
import errno
import fcntl
import json
import os
import signal
import stat
import struct
import subprocess
import sys
import time

from harness import (CONTROL, HISTORYFS, START_SECONDS, Child, Skip, case, cases, clear, command, equal, eventually, fails, forked, libc, main, mounts_below, read,
		     require, together, write)

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "client"))
from history_service import HistoryService  # noqa: E402


CLONE_NEWNS = 0x20000


def messages(*texts):
	return json.dumps([{"role": "user", "content": c} for c in texts], indent=2).encode()


def contents(path):
	return [m["content"] for m in json.loads(read(path))]


def append(path, text):
	write(path, messages(*contents(path), text))


def need_daemon(t):
	if CONTROL:
		raise Skip("there is no daemon")
	t.script.need_binaries()


def daemons(place):
	"""Process ids of the daemons that serve this directory."""
	found = []
	for pid in filter(str.isdigit, os.listdir("/proc")):
		try:
			words = read(f"/proc/{pid}/cmdline").split(b"\0")
		except OSError:
			continue
		if os.fsencode(place) in words and words[0].endswith(b"historyfs"):
			found.append(int(pid))
	return found


def ended(pid):
	deadline = time.monotonic() + START_SECONDS
	while os.path.exists(f"/proc/{pid}") and time.monotonic() < deadline:
		time.sleep(0.01)
	require(not os.path.exists(f"/proc/{pid}"), f"the daemon {pid} did not end")


def run(*words, status=0, **named):
	"""Runs the daemon's command without -f. Its descriptors must not be ours: then this returns when the parent does."""
	output = named.pop("output")
	with open(output, "w+b") as f:
		code = subprocess.run([HISTORYFS, *words], stdin=subprocess.DEVNULL, stdout=f, stderr=f, timeout=START_SECONDS, check=False, **named).returncode
	text = read(output).decode()
	require(status is None or (code == 0) == (status == 0), f"{words}: status {code}: {text}")
	return text


class Background:
	"""A daemon started by a command that returns, stopped at the end whatever happens."""

	def __init__(self, t):
		self.place, self.store, self.output = t.place("mnt"), t.place("stores") + "/store", t.place("log") + "/output"

	def __enter__(self):
		return self

	def __exit__(self, kind, value, trace):
		left = daemons(self.place)
		for point in (self.place, self.output):
			clear(point)
		for pid in left:
			try:
				os.kill(pid, signal.SIGKILL if kind else signal.SIGTERM)
				ended(pid)
			except ProcessLookupError:
				pass


@case("without -f: the command returns when the mount answers, the daemon is detached")
def daemon(t):
	need_daemon(t)
	with Background(t) as b:
		text = run(b.store, b.place, output=b.output)
		equal(mounts_below(b.place), [b.place], "mounted at return")
		HistoryService(b.place).save_message("s", "user", "hello")
		pids = daemons(b.place)
		equal(len(pids), 1, f"daemons {pids}, output {text!r}")
		equal(os.getsid(pids[0]) != os.getsid(0), True, "a session of its own")
		equal(os.readlink(f"/proc/{pids[0]}/cwd"), "/", "working directory")
		command("fusermount3", "-u", b.place)
		ended(pids[0])
		equal(os.listdir(b.place), [], "beneath the mount")
		run(b.store, b.place, output=b.output)
		equal(contents(f"{b.place}/s.json"), ["hello"], "after a remount")


@case("relative paths, a path with spaces and commas")
def paths(t):
	need_daemon(t)
	with Background(t) as b:
		os.mkdir(f"{b.place}/a b,c")
		run("store x", "a b,c", output=b.output, cwd=b.place)
		write(f"{b.place}/a b,c/s.json", messages("a"))
		equal((contents(f"{b.place}/a b,c/s.json"), os.path.isdir(f"{b.place}/store x")), (["a"], True), "contents, store")
		equal(mounts_below(b.place), [f"{b.place}/a b,c"], "mounts")
		command("fusermount3", "-u", f"{b.place}/a b,c")
		for pid in [p for p in map(int, filter(str.isdigit, os.listdir("/proc"))) if serves(p, b.place)]:
			ended(pid)


def serves(pid, directory):
	try:
		return b"historyfs" in read(f"/proc/{pid}/comm") and any(os.readlink(f"/proc/{pid}/fd/{fd}").startswith(directory) for fd in os.listdir(f"/proc/{pid}/fd"))
	except OSError:
		return False


@cases("the parent's exit status and message: {}", [
	("no mount point", lambda b: [b.store, b.place + "/absent"], r"absent"), ("the mount point is a file", lambda b: [b.store, b.output], r""),
	("no room for the store", lambda b: ["/proc/store", b.place], r"/proc/store"), ("no arguments", lambda b: [], r"[Uu]sage"), ("one argument", lambda b: [b.store], r"[Uu]sage"),
	("three arguments", lambda b: [b.store, b.place, b.place], r""), ("an unknown option", lambda b: ["--nonsense", b.store, b.place], r"nonsense"),
	("an unknown mount option", lambda b: ["-o", "nonsense", b.store, b.place], r"nonsense"),
])
def refused(t, what, words, pattern):
	need_daemon(t)
	with Background(t) as b:
		write(b.output, b"")
		command("grep", "-Eq", "--", pattern or ".", "-", input=run(*words(b), status=1, output=t.place("log") + "/o"))
		equal((mounts_below(b.place), daemons(b.place)), ([], []), "mounts, daemons")


@case("--help and --version")
def help_(t):
	need_daemon(t)
	for option, word in (("--help", "MOUNTPOINT"), ("--version", "historyfs")):
		require(word in command(HISTORYFS, option).stdout, f"{option} does not say {word}")


@case("a second daemon on the same mount point is refused, the first goes on")
def second(t):
	need_daemon(t)
	with t.new_mount() as m:
		write(f"{m.path}/s.json", messages("a"))
		for store in (m.store, t.place("stores") + "/other"):
			for words in ([store, m.path], ["-f", store, m.path]):
				text = run(*words, status=1, output=t.place("log") + "/o")
				require(m.path in text and "mount" in text.lower(), f"the message: {text!r}")
		equal((contents(f"{m.path}/s.json"), mounts_below(m.path)), (["a"], [m.path]), "the first")
		append(f"{m.path}/s.json", "b")


@cases("a stale mount is cleared at start: {}", [("idle", False), ("a working directory in it", True)])
def stale(t, what, busy):
	need_daemon(t)
	with t.new_mount(expected=[r"stale|connected|clear"]) as m:
		write(f"{m.path}/s.json", messages("a"))
		child = subprocess.Popen(["sleep", "1000"], cwd=m.path) if busy else None
		try:
			m.kill()
			fails((errno.ENOTCONN, errno.ECONNABORTED), os.listdir, m.path)
			m.start()
			equal((contents(f"{m.path}/s.json"), mounts_below(m.path)), (["a"], [m.path]), "after the start")
		finally:
			if child:
				child.kill()
				child.wait()


@cases("{} finishes what is queued", [("SIGTERM", signal.SIGTERM), ("SIGINT", signal.SIGINT), ("fusermount3 -u", None), ("SIGHUP", signal.SIGHUP)])
def finish(t, what, number):
	need_daemon(t)
	m = t.new_mount(options=["durability=delayed=60000"])
	m.start()
	for n in range(5):
		HistoryService(m.path).save_message("s", "user", f"m{n}")
	write(f"{m.path}/scratch", b"bytes")
	os.mkdir(f"{m.path}/d")
	os.chmod(f"{m.path}/s.json", 0o600)
	if number is None:
		m.stop()
	else:
		m.signal(number)
		equal(m.join(), 0, "exit status")
		equal(mounts_below(m.path), [], "mounts")
	with t.new_mount(store=m.store) as again:
		equal(contents(f"{again.path}/s.json"), [f"m{n}" for n in range(5)], "messages")
		equal((read(f"{again.path}/scratch"), os.path.isdir(f"{again.path}/d"), stat.S_IMODE(os.stat(f"{again.path}/s.json").st_mode)), (b"bytes", True, 0o600), "the rest")


@case("SIGTERM in the middle of saves: what was acknowledged is there")
def finish_busy(t):
	need_daemon(t)
	m = t.new_mount(expected=[r"."])
	m.start()
	reader, writer = os.pipe()

	def save():
		os.chdir(m.path)
		for n in range(100_000):
			HistoryService(".").save_message("s", "user", f"m{n}")
			os.write(writer, b"x")
	child = Child(save)
	for _ in range(20):
		os.read(reader, 1)
	m.signal(signal.SIGTERM)
	equal(m.join(), 0, "exit status")
	child.kill()
	child.wait()
	os.close(writer)
	acknowledged = 20
	while piece := os.read(reader, 4096):
		acknowledged += len(piece)
	clear(m.path)
	with t.new_mount(store=m.store) as again:
		found = contents(f"{again.path}/s.json")
		require(acknowledged <= len(found) <= acknowledged + 1, f"{acknowledged} acknowledged, {len(found)} there")
		equal(found, [f"m{n}" for n in range(len(found))], "messages")


@contextlib.contextmanager
def locked(m):
	"""The store, as by another process that commits; waits for it."""
	def lock(f, kind):
		fcntl.fcntl(f, fcntl.F_OFD_SETLKW, struct.pack("hhqqi", kind, os.SEEK_SET, 1, 1, 0))

	with open(os.path.join(m.store, "pending.lock"), "r+b") as f:
		lock(f, fcntl.F_WRLCK)
		try:
			yield
		finally:
			lock(f, fcntl.F_UNLCK)		# children have the descriptor too


def waits(pid):
	"""Whether it stays in a request to the daemon."""
	seen = []
	for _ in range(20):
		seen.append(b"request_wait_answer" in read(f"/proc/{pid}/stack"))
		time.sleep(0.001)
	return all(seen)


@cases("while a save waits for another process that commits, others are served: {}", [("they were there before", 0), ("it was alone for a while", 100)])
def others_served(t, what, alone):
	def save():
		for _ in range(alone):
			os.path.exists(f"{m.path}/none.json")
		append(f"{m.path}/s.json", "two")

	need_daemon(t)
	with t.new_mount() as m:
		write(f"{m.path}/s.json", messages("one"))
		write(f"{m.path}/other.json", messages("other"))
		with locked(m):
			child = Child(save)
			eventually(lambda: waits(child.pid), True, "the save waits")
			for _ in range(20):
				equal(contents(f"{m.path}/other.json"), ["other"])
				equal(forked(lambda: sorted(os.listdir(m.path))), ["other.json", "s.json"])
			require(waits(child.pid), "the save did not wait for the lock")
		child.result()
		equal(contents(f"{m.path}/s.json"), ["one", "two"])


def mounted_by_mount(b, fstab):
	"""In a mount namespace where historyfs is an installed program; mount(8) looks for it nowhere else."""
	equal(libc.unshare(CLONE_NEWNS), 0, "unshare")
	command("mount", "--make-rprivate", "/")
	command("mount", "--bind", os.path.dirname(HISTORYFS), "/usr/local/sbin")
	options = "cache=8M,durability=commit,max_document=2M,power=save"
	words = ["mount", "-t", "fuse.historyfs", "-o", options, b.store, b.place]
	if fstab:
		write(b.store + ".fstab", f"{b.store} {b.place} fuse.historyfs {options},nodev 0 0\n".encode())
		words = ["mount", "-T", b.store + ".fstab", b.place]
	with open(b.output, "wb") as f:
		code = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=f, stderr=f, timeout=START_SECONDS, check=False).returncode
	equal(code, 0, f"status of mount: {read(b.output)!r}")
	write(f"{b.place}/s.json", messages("a"))
	equal(contents(f"{b.place}/s.json"), ["a"], "contents")
	with open("/proc/mounts", encoding="utf-8") as f:
		line = next(line.split() for line in f if f" {b.place} " in line)
	equal((line[0], line[2]), (b.store, "fuse.historyfs"), "source and type in /proc/mounts")
	pids = daemons(b.place)
	command("umount", b.place)
	for pid in pids:
		ended(pid)


@cases("mount -t fuse.historyfs: {}", [("by arguments", False), ("by fstab", True)])
def mount_program(t, what, fstab):
	need_daemon(t)
	if os.path.basename(HISTORYFS) != "historyfs":
		raise Skip("the program is not called historyfs")
	with Background(t) as b:
		forked(mounted_by_mount, b, fstab)


@case("fsname, allow_other and default_permissions, ro in /proc/mounts")
def mount_options(t):
	need_daemon(t)
	with t.new_mount() as first:
		write(f"{first.path}/s.json", messages("a"))
	with t.new_mount(store=first.store, options=["fsname=my-history", "allow_other", "ro"]) as m:
		with open("/proc/mounts", encoding="utf-8") as f:
			line = next(line.split() for line in f if f" {m.path} " in line)
		equal((line[0], line[2]), ("my-history", "fuse.historyfs"), "source and type")
		equal([o for o in ("ro", "allow_other", "default_permissions") if o not in line[3].split(",")], [], f"options that are missing in {line[3]}")


@case("ro: readable, every change is EROFS")
def read_only(t):
	need_daemon(t)
	with t.new_mount() as m:
		write(f"{m.path}/s.json", messages("a"))
	with t.new_mount(store=m.store, options=["ro"]) as again:
		path = f"{again.path}/s.json"
		equal(contents(path), ["a"], "contents")
		for function, arguments in ((write, (path, b"[]")), (os.unlink, (path,)), (os.rename, (path, path + "2")), (os.mkdir, (again.path + "/d",)),
					    (os.chmod, (path, 0)), (os.truncate, (path, 0)), (os.symlink, ("x", path + "l")), (os.utime, (path,))):
			fails(errno.EROFS, function, *arguments)
	with t.new_mount(store=m.store) as third:
		equal(contents(f"{third.path}/s.json"), ["a"], "afterwards")


# ---- Import ------------------------------------------------------------------------------------------------------

def tree(place):
	return {os.path.relpath(os.path.join(d, n), place): read(os.path.join(d, n)) for d, _, names in os.walk(place) for n in names if not os.path.islink(os.path.join(d, n))}


@case("--import: the files beneath, their times, modes and owners; the originals stay")
def import_first(t):
	need_daemon(t)
	place = t.place("mnt")
	files = {"a.json": messages("a1", "a2"), "deep/er/b.json": messages("b"), "notes.txt": b"notes", "empty.json": b"", "object.json": b'{"x": 1}\n',
		 "torn.json": messages("x", "y")[:40], "big.json": messages(*["m" * 1000] * 500)}
	for name, data in files.items():
		os.makedirs(os.path.dirname(f"{place}/{name}"), exist_ok=True)
		write(f"{place}/{name}", data)
		os.utime(f"{place}/{name}", ns=(1_500_000_000_123_456_789, 1_600_000_000_123_456_789))
	os.chmod(f"{place}/a.json", 0o604)
	os.chown(f"{place}/notes.txt", 7, 8)
	os.symlink("a.json", f"{place}/link.json")
	m = t.new_mount(directory=place, arguments=["--import"], expected=[r"torn\.json"])
	with m:
		equal(tree(place), files, "through the mount")
		for name in files:
			equal(os.stat(f"{place}/{name}").st_mtime_ns, 1_600_000_000_123_456_789, f"mtime of {name}")
		s = os.stat(f"{place}/notes.txt")
		equal((stat.S_IMODE(os.stat(f"{place}/a.json").st_mode), s.st_uid, s.st_gid, os.readlink(f"{place}/link.json")), (0o604, 7, 8, "a.json"), "attributes")
		append(f"{place}/a.json", "a3")
		write(f"{place}/torn.json", messages("whole"))
		equal(contents(f"{place}/torn.json"), ["whole"], "the first complete document makes it a session")
	equal(tree(place), files, "beneath, after the unmount")


@case("--import again: what changed beneath while the mount was down is merged, nothing is lost on either side")
def import_again(t):
	need_daemon(t)
	place = t.place("mnt")
	for name in ("both", "beneath", "mounted", "same"):
		write(f"{place}/{name}.json", messages("old"))
	m = t.new_mount(directory=place, arguments=["--import"])
	with m:
		for name in ("both", "mounted"):
			append(f"{place}/{name}.json", "on the mount")
	for name in ("both", "beneath"):		# the application ran without the mount
		append(f"{place}/{name}.json", "beneath")
	write(f"{place}/new.json", messages("born beneath"))
	wanted = {"both": ["old", "on the mount", "beneath"], "beneath": ["old", "beneath"], "mounted": ["old", "on the mount"], "same": ["old"], "new": ["born beneath"]}
	for again in range(3):
		with m:
			equal({name: contents(f"{place}/{name}.json") for name in wanted}, wanted, f"mount {again + 2}")
	with m:
		append(f"{place}/both.json", "last")
		os.unlink(f"{place}/same.json")
	with m:
		equal((contents(f"{place}/both.json"), os.path.exists(f"{place}/same.json")), (wanted["both"] + ["last"], False), "an unlinked session does not come back")


@case("without --import what lies beneath is neither shown nor touched")
def no_import(t):
	need_daemon(t)
	place = t.place("mnt")
	write(f"{place}/a.json", messages("beneath"))
	with t.new_mount(directory=place):
		equal(os.listdir(place), [], "names")
		write(f"{place}/b.json", messages("b"))
	equal(tree(place), {"a.json": messages("beneath")}, "beneath")


# ---- .historyfs --------------------------------------------------------------------------------------------------

@case(".historyfs: not listed, the owner's only; status is JSON with its counts")
def status(t):
	need_daemon(t)
	with t.new_mount(expected=[r"torn\.json"]) as m:
		path = f"{m.path}/s.json"
		write(path, messages("a", "b"))

		def stale_save():
			seen = contents(path)
			forked(append, path, "theirs")
			write(path, messages(*seen, "mine"))
		forked(stale_save)
		write(f"{m.path}/torn.json", messages("x"))
		fails(errno.EINVAL, write, f"{m.path}/torn.json", b"[")
		equal(sorted(os.listdir(m.path)), ["s.json", "torn.json"], "names in the root")
		equal(sorted(os.listdir(m.control_file(""))), ["rejected", "status"], "names in .historyfs")
		equal([stat.S_IMODE(os.stat(m.control_file(n)).st_mode) & 0o077 for n in ("", "status", "rejected")], [0, 0, 0], "rights of others")
		equal([os.stat(m.control_file(n)).st_uid for n in ("", "status", "rejected")], [os.getuid()] * 3, "owner")
		found = json.loads(read(m.control_file("status")))
		missing = [k for k in ("version", "uptime", "sessions", "commits", "merged", "rejected", "cache") if k not in found]
		equal(missing, [], f"keys that are missing in {found}")
		require(any("group" in k for k in found), f"no group sizes in {found}")
		equal((found["sessions"], found["merged"], found["rejected"]), (2, 1, 1), f"counts in {found}")
		require(found["commits"] >= 4 and found["uptime"] >= 0, f"{found}")
		size = os.stat(m.control_file("status")).st_size
		equal(len(read(m.control_file("status"))), size, "st_size of status")
		fails((errno.EACCES, errno.EPERM, errno.EROFS), write, m.control_file("status"), b"x")
		fails((errno.EACCES, errno.EPERM, errno.EROFS), os.unlink, m.control_file("status"))
		fails((errno.EACCES, errno.EPERM, errno.EROFS), os.mkdir, m.control_file("d"))
		fails((errno.EEXIST, errno.EACCES, errno.EPERM), os.mkdir, m.control_file(""))
		fails((errno.EBUSY, errno.EACCES, errno.EPERM, errno.EROFS), os.rename, m.path + "/.historyfs", m.path + "/x")
		fails(errno.ENOENT, os.stat, m.control_file("absent"))
		name = os.listdir(m.control_file("rejected"))[0]
		equal(read(m.control_file(f"rejected/{name}")), b"[", "the rejected bytes")
		os.unlink(m.control_file(f"rejected/{name}"))
		equal(os.listdir(m.control_file("rejected")), [], "after removal")


# ---- Several mounts ----------------------------------------------------------------------------------------------

@case("two mounts of one store at different directories see each other's saves at once")
def two_mounts(t):
	need_daemon(t)
	with t.new_mount() as one, t.new_mount(store=one.store) as two:
		for n in range(20):
			place, other = (one.path, two.path) if n % 2 else (two.path, one.path)
			HistoryService(place).save_message("s", "user", f"m{n}")
			equal(contents(f"{other}/s.json"), [f"m{i}" for i in range(n + 1)], f"after save {n}")
			equal(os.path.getsize(f"{other}/s.json"), len(read(f"{place}/s.json")), "size")
		os.mkdir(f"{one.path}/d")
		write(f"{one.path}/d/scratch", b"bytes")
		os.rename(f"{one.path}/s.json", f"{one.path}/d/t.json")
		eventually(lambda: sorted(os.listdir(two.path)), ["d"], "names by the other")
		equal((read(f"{two.path}/d/scratch"), len(contents(f"{two.path}/d/t.json"))), (b"bytes", 20), "contents by the other")
		os.unlink(f"{two.path}/d/t.json")
		eventually(lambda: os.path.exists(f"{one.path}/d/t.json"), False, "seen by the other")


@case("P1 P2: writers on two mounts of one store lose nothing")
def two_mounts_writers(t):
	need_daemon(t)
	with t.new_mount() as one, t.new_mount(store=one.store) as two:
		def loop(w):
			for n in range(25):
				HistoryService((one, two)[w % 2].path).save_message("s", "user", f"{w} {n}")
		together([lambda w=w: loop(w) for w in range(4)])
		equal(sorted(contents(f"{one.path}/s.json")), sorted(f"{w} {n}" for w in range(4) for n in range(25)), "messages")
		equal(read(f"{two.path}/s.json"), read(f"{one.path}/s.json"), "both show the same")


if __name__ == "__main__":
	main()
