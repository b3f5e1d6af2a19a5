#!/usr/bin/python3
"""Bad input and bad surroundings: a clear errno, one log line, nothing lost, and the daemon stays up."""
import errno
import json
import os
import random
import re
import subprocess
import sys

from harness import (CONTROL, HISTORYFS, QUICK, SEED, Skip, Failure, case, cases, command, equal, eventually, fails, forked, libc, main, mounts_below, read,
		     require, together, write, write_all)

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "client"))
from history_service import HistoryService  # noqa: E402
from tally import Tally, marks, text  # noqa: E402

GOOD = json.dumps([{"role": "user", "content": f"good {n}"} for n in range(10)], indent=2).encode()


def need_daemon():
	if CONTROL:
		raise Skip("there is no daemon")


def close_errno(path, pieces, way="close"):
	"""Opens with O_TRUNC, writes the pieces and closes (or renames): the first errno there was, 0 for none."""
	temp = path + ".t" if way == "rename" else path
	number = 0
	fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
	try:
		for piece in pieces:
			write_all(fd, piece)
	except OSError as e:
		number = e.errno
	try:
		os.close(fd)
	except OSError as e:
		number = number or e.errno
	if way == "rename" and not number:
		try:
			os.rename(temp, path)
		except OSError as e:
			number = e.errno
	return number


def still_works(mount, name="probe"):
	HistoryService(mount.path).save_message(name, "user", "works")
	equal(json.loads(read(f"{mount.path}/{name}.json"))[-1]["content"], "works", "a save afterwards")


REFUSED = [
	("torn JSON", [GOOD[:200]]), ("no JSON", [b"hello, world\n"]), ("NUL bytes in a string", [b'["a\0b"]']), ("NUL bytes around", [b"[]\0"]), ("only NUL bytes", [b"\0" * 100_000]),
	("a hole", [b"[", b"\0" * 70_000, b"]"]), ("a stray 0xff", [b'["\xff"]']), ("overlong UTF-8", [b'["\xc0\xaf"]']), ("an encoded surrogate", [b'["\xed\xa0\x80"]']),
	("beyond U+10FFFF", [b'["\xf4\x90\x80\x80"]']), ("cut UTF-8", [b'["\xe4\xbd"]']), ("a raw newline in a string", [b'["a\nb"]']), ("a bad escape", [rb'["\x41"]']), ("a leading zero", [b"[01]"]),
	("a comment", [b"[1 /* one */]"]), ("100,000 brackets, never closed", [b"[" * 100_000]), ("100,000 objects, never closed", [b'{"a":' * 100_000]),
	("UTF-16", ['["a"]'.encode("utf-16")]), ("a lone byte order mark", [b"\xef\xbb\xbf"]), ("white space alone", [b" \n\t"]), ("a bad byte after 2 MB", [b"[" + b'"x",' * 500_000 + b"\x01]"]),
]


@cases("{}: EINVAL at close and rename, one log line", REFUSED)
def refused(t, what, pieces):
	need_daemon()
	for way in ("close", "rename"):
		name = f"bad-{way}.json"
		path = t.path(name)
		write(path, GOOD)
		t.mount.expect(name.replace(".", r"\."))
		since = t.mount.position()
		equal(errno.errorcode.get(forked(close_errno, path, pieces, way)), "EINVAL", f"errno by {way}")
		equal(read(path), GOOD, f"the last good version, by {way}")
		eventually(lambda: len(t.mount.lines(name.replace(".", r"\."), since)), 1, f"log lines by {way}")
	still_works(t.mount)


@cases("nesting of 100,000: {}", [("lists", b"[" * 100_000 + b"]" * 100_000), ("objects", b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
				  ("in a message", b'[{"role": "user", "content": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]"),
				  ("in an envelope", b'{"messages": [{"a": 1}], "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")])
def nesting(t, what, data):
	"""Valid JSON: kept byte for byte, or refused like other bad documents. Merged too."""
	path = t.path("deep.json")
	t.mount.expect(r"deep\.json")
	forked(write, path, GOOD)
	number = forked(close_errno, path, [data])
	require(number in (0, errno.EINVAL), f"errno {number}")
	equal(read(path), data if number == 0 else GOOD, "contents")
	if number == 0:
		forked(close_errno, path, [data + b"\n"])
		equal(read(path), data + b"\n", "a rewrite")
	still_works(t.mount)


@case("a document over max_document: EFBIG, the last good version stays")
def too_big(t):
	need_daemon()
	with t.new_mount(options=["max_document=1M"], expected=[r"big\.json"]) as m:
		path = f"{m.path}/big.json"
		write(path, GOOD)
		big = [b'["', b"x" * 2_000_000, b'"]']
		for way in ("close", "rename"):
			since = m.position()
			equal(errno.errorcode.get(forked(close_errno, path, big, way)), "EFBIG", f"errno by {way}")
			equal(read(path), GOOD, f"the last good version, by {way}")
			eventually(lambda: len(m.lines(r"big\.json", since)), 1, f"log lines by {way}")
		fits = b'["' + b"x" * 900_000 + b'"]'
		write(path, fits)
		equal(read(path), fits, "one that fits")
		forked(close_errno, path, big)
		equal(read(path), fits, "after another that does not")
		still_works(m)


@case("300 MB over the default limit: EFBIG")
def huge(t):
	need_daemon()
	if QUICK:
		raise Skip("a reduced run")
	path = t.path("huge.json")
	t.mount.expect(r"huge\.json")
	write(path, GOOD)
	piece = b'"' + b"x" * 999_997 + b'",'
	equal(errno.errorcode.get(forked(close_errno, path, [b"["] + [piece] * 300 + [b"1]"])), "EFBIG", "errno")
	equal(read(path), GOOD, "the last good version")
	still_works(t.mount)


@case("a full disk: ENOSPC at close, the last good version stays, and room helps")
def full_disk(t):
	need_daemon()
	disk = t.place("disk")
	command("mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", disk)
	try:
		with t.new_mount(store=f"{disk}/store", expected=[r"."]) as m:
			service, n = HistoryService(m.path), 0
			while True:
				try:
					service.save_message("s", "user", text("w", n, "y" * 100_000))
					n += 1
				except OSError as e:
					equal(errno.errorcode.get(e.errno), "ENOSPC", f"errno after {n} saves")
					break
				require(n < 200, "20 MB went into 6 MB")
			require(n >= 3, f"only {n} saves of 100 KB fit into 6 MB")
			equal(marks(json.loads(read(f"{m.path}/s.json"))), [("w", i) for i in range(n)], "the last good version")
			for _ in range(3):
				fails(errno.ENOSPC, write, f"{m.path}/other.json", b'["' + b"z" * 5_000_000 + b'"]')
			equal(marks(json.loads(read(f"{m.path}/s.json"))), [("w", i) for i in range(n)], "after more refused saves")
			command("mount", "-o", "remount,size=64m", disk)
			service.save_message("s", "user", text("w", n, "y" * 100_000))
			equal(marks(json.loads(read(f"{m.path}/s.json"))), [("w", i) for i in range(n + 1)], "with more room")
		with t.new_mount(store=f"{disk}/store") as m:
			equal(marks(json.loads(read(f"{m.path}/s.json"))), [("w", i) for i in range(n + 1)], "after a remount")
	finally:
		command("umount", "-l", disk)


@case("a disk that is full from the start: a message, no mount, nothing half made")
def full_from_start(t):
	need_daemon()
	disk = t.place("disk")
	command("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk)
	try:
		with open(f"{disk}/filler", "wb", buffering=0) as f:
			fails(errno.ENOSPC, lambda: [write_all(f.fileno(), b"x" * 4096) for _ in range(1000)])
		refuses(t, f"{disk}/store", [], r"space")
		os.unlink(f"{disk}/filler")
		with t.new_mount(store=f"{disk}/store", expected=[r"."]) as m:
			still_works(m)
	finally:
		command("umount", "-l", disk)


def refuses(t, store, options, pattern, uid=0):
	"""The daemon must not start: a message, a status, no mount."""
	place = t.place("mnt")
	done = subprocess.run([HISTORYFS, "-f", *options, store, place], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, user=uid, check=False)
	left = mounts_below(place)
	for point in left:
		command("umount", "-l", point)
	output = done.stdout + done.stderr
	require(done.returncode > 0, f"status {done.returncode}: {output}")
	require("Sanitizer" not in output and "runtime error" not in output, output)
	require(re.search(pattern, output, re.I), f"the message does not match {pattern!r}: {output!r}")
	equal(left, [], "mounts")


@case("a store on a read-only disk: readable, EROFS for changes")
def read_only(t):
	need_daemon()
	disk = t.place("disk")
	command("mount", "-t", "tmpfs", "tmpfs", disk)
	try:
		with t.new_mount(store=f"{disk}/store") as m:
			write(f"{m.path}/s.json", GOOD)
		command("mount", "-o", "remount,ro", disk)
		with t.new_mount(store=f"{disk}/store", options=["ro"], expected=[r"."]) as m:
			equal(read(f"{m.path}/s.json"), GOOD, "contents")
			fails(errno.EROFS, write, f"{m.path}/s.json", b"[]")
			fails(errno.EROFS, os.unlink, f"{m.path}/s.json")
			fails(errno.EROFS, os.mkdir, f"{m.path}/d")
		m = t.new_mount(store=f"{disk}/store", expected=[r"."])
		try:
			m.start()
		except Failure:
			require("read" in m.output().lower(), f"the message does not say read-only: {m.output()!r}")
			return
		fails(errno.EROFS, write, f"{m.path}/s.json", b"[]")
		equal(read(f"{m.path}/s.json"), GOOD, "contents")
		m.stop()
	finally:
		command("umount", "-l", disk)


def store_files(store):
	return [os.path.join(d, f) for d, _, files in os.walk(store) for f in files if os.path.getsize(os.path.join(d, f)) >= 4096 and "lock" not in f]


@cases("a corrupt store, {}: a message, no mount", [("garbage", lambda f, n, rng: f.write(rng.randbytes(min(n, 16384)))),
						  ("zeros", lambda f, n, rng: f.write(bytes(min(n, 16384)))), ("cut short", lambda f, n, rng: f.truncate(1000)),
						  ("empty", lambda f, n, rng: f.truncate(0))])
def corrupt(t, what, damage):
	need_daemon()
	with t.new_mount() as m:
		write(f"{m.path}/s.json", GOOD)
	files = store_files(m.store)
	require(files, f"no data file in {m.store}: {os.listdir(m.store)}")
	for path in files:
		with open(path, "r+b") as f:
			damage(f, os.path.getsize(path), random.Random(SEED))
	refuses(t, m.store, [], r"store|damaged|corrupt|invalid")


@case("a store that is a file, that lies nowhere, that is another directory")
def no_store(t):
	need_daemon()
	place = t.place("odd")
	write(f"{place}/file", b"x")
	refuses(t, f"{place}/file", [], r"file")
	refuses(t, f"{place}/absent/store", [], r"no such|absent|not exist")
	os.mkdir(f"{place}/full")
	write(f"{place}/full/data.mdb", b"this is no store" * 1000)
	refuses(t, f"{place}/full", [], r"store|damaged|corrupt|invalid")


@case("missing permissions: a message, a status")
def permissions(t):
	need_daemon()
	with t.new_mount() as m:
		write(f"{m.path}/s.json", GOOD)
	os.chmod(m.store, 0o700)
	refuses(t, m.store, [], r"permission|permitted", uid=1234)
	with t.new_mount(store=m.store) as again:
		equal(read(f"{again.path}/s.json"), GOOD, "contents")


@case("names of 255 and 256 bytes, not UTF-8: the status file stays JSON")
def names(t):
	before = set() if CONTROL else set(os.listdir(t.mount.control_file("rejected")))
	for name in (b"n" * 250 + b".json", b"\xff\xfe\n\".json"):
		path = os.fsencode(t.dir) + b"/" + name
		t.mount.expect(r".")
		write(path, GOOD)
		if not CONTROL:
			equal(forked(close_errno_bytes, path), errno.EINVAL, "a torn save")
		equal(read(path), GOOD, "contents")
	fails(errno.ENAMETOOLONG, write, t.path("n" * 251 + ".json"), GOOD)
	fails(errno.ENAMETOOLONG, os.rename, path, os.fsencode(t.dir) + b"/" + b"n" * 256)
	if not CONTROL:
		json.loads(read(t.mount.control_file("status")))
		kept = set(os.listdir(t.mount.control_file("rejected"))) - before
		equal(len(kept), 2, f"kept under rejected: {kept}")
		for name in kept:
			equal(read(t.mount.control_file("rejected/" + name)), GOOD[:100], f"rejected {name!r}")


def close_errno_bytes(path):
	fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
	os.write(fd, GOOD[:100])
	try:
		os.close(fd)
	except OSError as e:
		return e.errno
	return 0


@case("pid 0: clients the daemon cannot name lose nothing (rule 4)")
def pid_0(t):
	need_daemon()
	if libc.unshare(0) != 0:
		raise Skip("no namespaces")
	mount = t.new_mount(wrapper=["unshare", "--pid", "--fork", "--kill-child"], expected=[r"."])
	saves = 10 if QUICK else 30
	with mount:
		def loop(w):
			for n in range(saves):
				HistoryService(mount.path).save_message("s", "user", text(f"w{w}", n))
		together([lambda w=w: loop(w) for w in range(4)])
		Tally(marks(json.loads(read(f"{mount.path}/s.json"))), [(f"w{w}", n) for w in range(4) for n in range(saves)]).require_perfect("pid 0")
		write(f"{mount.path}/t.json", GOOD)
		equal(close_errno(f"{mount.path}/t.json", [GOOD[:99]]), errno.EINVAL, "a torn save")
		equal(read(f"{mount.path}/t.json"), GOOD, "the last good version")


@case("a client in another pid and mount namespace")
def namespace(t):
	write(t.path("s.json"), GOOD)
	code = "import sys; sys.path.insert(0, sys.argv[1]); from history_service import HistoryService; HistoryService(sys.argv[2]).save_message('s', 'user', 'from a container')"
	client = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "client")
	command("unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-B", "-c", code, client, t.dir)
	equal([m["content"] for m in json.loads(read(t.path("s.json")))], [f"good {n}" for n in range(10)] + ["from a container"], "messages")


@case("bad options: a message, no mount")
def options(t):
	need_daemon()
	for option, word in (("durability=never", "durability"), ("durability=delayed=x", "delayed"), ("cache=-1", "cache"), ("max_document=lots", "max_document"),
			     ("ticket_ttl=", "ticket_ttl"), ("nonsense=1", "nonsense"), ("merge=sometimes", "merge"), ("power=full", "power")):
		refuses(t, t.place("stores") + "/store", ["-o", option], word)


if __name__ == "__main__":
	main()
