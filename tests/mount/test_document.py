#!/usr/bin/python3
"""The promises that one mount and few processes show: P3 whole reads, P4 byte-exact, P5 only complete documents, P9 nothing is destroyed."""
import contextlib
import errno
import glob
import json
import multiprocessing
import os
import random
import re
import time

from harness import CONTROL, HISTORYCTL, QUICK, SEED, Child, Skip, case, cases, command, equal, eventually, forked, main, read, require, together, write, write_all, write_once
from ways import by_rplus, by_tiny_writes, by_truncate

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data")


def messages(*texts, **style):
	return json.dumps([{"role": "user", "content": c} for c in texts], **{"indent": 2, **style}).encode()


def contents(path):
	return [m["content"] for m in json.loads(read(path))]


def append(path, text):
	write(path, messages(*contents(path), text))


# ---- P3 ----------------------------------------------------------------------------------------------------------

@case("P3: an open handle shows one version while the session is rewritten")
def snapshot(t):
	path = t.path("s.json")
	write(path, messages(*[f"old {n}" for n in range(500)]))
	go = os.pipe()
	clearer = Child(lambda: os.read(go[0], 1) and write(path, b"[]"))	# forked before anything is read: it has seen what was written last
	old = read(path)
	with open(path, "rb", buffering=0) as f:
		start = f.read(100)
		for n in range(5):
			forked(append, path, "new " * (n * 100))
			equal(os.fstat(f.fileno()).st_size, len(old), "fstat of the handle")
			start += f.read(1000)
		os.write(go[1], b"x")
		clearer.result()
		rest = b""
		while piece := f.read(7777):
			rest += piece
		equal(start + rest, old, "from first byte to last")
		equal([os.pread(f.fileno(), 50, at) for at in (0 + 200, 3, len(old) - 10)], [old[200:250], old[3:53], old[-10:]], "pread of the same version")
	require(len(read(path)) < len(old), "a new handle shows the cleared session")


@case("P3: versions held by many handles")
def many_versions(t):
	path = t.path("s.json")
	versions, handles = [], []
	go, gone = os.pipe(), os.pipe()

	def writer():		# forked before anything is read: a child inherits what its parent has seen (rule 1)
		for n in range(40):
			os.read(go[0], 1)
			write(path, messages(*[f"{n} {m}" for m in range(n)]))
			os.write(gone[1], b"x")
	child = Child(writer)
	for n in range(40):
		data = messages(*[f"{n} {m}" for m in range(n)])
		os.write(go[1], b"x")
		os.read(gone[0], 1)
		versions.append(data)
		handles.append(open(path, "rb", buffering=0))
		handles[-1].seek(1)
		handles[-1].read(1)
	for f, data in zip(handles, versions):
		equal(os.pread(f.fileno(), 1 << 20, 1), data[1:], "version")
		f.close()
	child.result()


@case("P3: fstat tells the size of what is read next, also when a commit falls between")
def size_then_read(t):
	path = t.path("s.json")
	write(path, messages("a", "b"))

	def reader():
		fd = os.open(path, os.O_RDONLY)
		size = os.fstat(fd).st_size
		forked(append, path, "c" * 500)
		data = os.read(fd, size)
		os.close(fd)
		return size, data
	size, data = forked(reader)
	equal(len(data), size, "bytes in one read of st_size")
	json.loads(data)


@case("P3: a handle's version is fixed at its first read, and anew after the end was reached")
def fixed_at_first_read(t):
	path = t.path("s.json")
	write(path, messages("a"))
	with open(path, "rb", buffering=0) as f:
		forked(append, path, "b")
		equal(len(json.loads(f.read())), 2, "committed between open and read")
		forked(append, path, "c")
		f.seek(0)
		equal(len(json.loads(f.readall())), 3, "from the start after the end")


@case("P3: a file that becomes a document is read before or after")
def becomes_document(t):
	path = t.path("s.json")
	data = messages("first")

	def writer():
		for _ in range(500 if QUICK else 2000):
			os.mknod(path, 0o644)
			write(path, data)
			os.unlink(path)

	def reader():
		stop, reads = os.path.join(t.dir, "stop"), 0
		while not os.path.exists(stop):
			with contextlib.suppress(FileNotFoundError):
				require(read(path) in (b"", data), "neither")
				reads += 1
		return reads
	readers = [Child(reader), Child(reader)]
	try:
		forked(writer)
	finally:
		write(t.path("stop"), b"")
	require(sum(child.result() for child in readers) > 0, "nobody read anything")


@cases("P1: who made the file and then reads what another saved goes on from that ({})", [("O_RDWR", 0), ("O_APPEND", os.O_APPEND)])
def made_then_read(t, name, flags):
	path = t.path("s.json")
	fd = os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o644)
	equal(os.fstat(fd).st_size, 0, "size of a new file")
	forked(write_once, path, messages("other's"))		# as if it had held a lock on the file
	equal(os.fstat(fd).st_size, len(messages("other's")), "size after that")
	equal(os.read(fd, 8192), messages("other's"), "read by who made it")
	os.ftruncate(fd, 0)
	os.lseek(fd, 0, os.SEEK_SET)
	os.write(fd, messages("other's", "mine"))
	os.close(fd)
	equal(contents(path), ["other's", "mine"], "in the end")


@case("P3: nobody sees a save before it is closed")
def unseen(t):
	path = t.path("s.json")
	old = messages("a", "b")
	write(path, old)
	with open(path, "wb", buffering=0) as f:
		equal((forked(read, path), forked(os.path.getsize, path)), (old, len(old)), "after O_TRUNC")
		f.write(messages("only")[:20])
		equal((forked(read, path), forked(os.path.getsize, path)), (old, len(old)), "after a write")
		f.write(messages("only")[20:])
		equal((forked(read, path), forked(os.path.getsize, path)), (old, len(old)), "before close")
	equal(forked(read, path), messages("only"), "after close")


@case("a session that eight programs make at once is there for each of them")
def made_by_many(t):
	paths = [t.path(f"{n}.json") for n in range(100 if QUICK else 400)]
	start = multiprocessing.Barrier(8)

	def maker(w):
		try:
			for path in paths:
				start.wait()
				fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
				for _ in range(3):
					os.fstat(fd)
				os.write(fd, messages(f"{w}"))
				os.close(fd)
		except Exception:
			start.abort()	# else the others wait for ever
			raise
	together([lambda w=w: maker(w) for w in range(8)])
	for path in paths:
		require(contents(path), f"{path} is empty")


@cases("P3: a session is made anew where another was unlinked: it is empty to {}", [
	("its maker", False), ("who opens it while it is made", True)])
def made_anew(t, name, second):
	path = t.path("s.json")
	write(path, messages("first"))

	def opens(text):
		fd = os.open(path, os.O_RDWR | os.O_CREAT)
		got = (os.pread(fd, 1000, 0), os.fstat(fd).st_size)
		os.write(fd, messages(text))
		os.close(fd)
		return got
	forked(os.unlink, path)
	if second:
		with open(path, "wb", buffering=0) as f:
			f.write(messages("one"))
			equal(forked(opens, "two"), (b"", 0), "what is read, its size")
	else:
		equal(forked(opens, "two"), (b"", 0), "what is read, its size")
	if not CONTROL:		# one overwrites the other there
		equal(sorted(contents(path)), ["one", "two"] if second else ["two"], "what is saved")


@case("P5: written at an offset, and unlinked by another meanwhile")
def unlinked_meanwhile(t):
	path = t.path("s.json")
	write(path, messages("first"))
	fd = os.open(path, os.O_RDWR)
	forked(os.unlink, path)
	equal(os.pwrite(fd, messages("first", "second"), 0), len(messages("first", "second")), "bytes written")
	os.close(fd)
	if not CONTROL:		# there it goes with the file
		equal(contents(path), ["second"], "what is new stays (P2)")


# ---- P4 ----------------------------------------------------------------------------------------------------------

DOCUMENTS = [
	("empty list", b"[]"), ("newline", b"[]\n"), ("white space", b" \t\r\n[ \n ]\r\n\n"), ("empty object", b"{}"), ("byte order mark", b"\xef\xbb\xbf[1, 2]\n"),
	("indent 4", messages("a", "b", indent=4)), ("tabs", messages("a", "b", indent="\t")), ("minified", messages("a", "b", indent=None, separators=(",", ":"))),
	("ASCII escapes", messages("ü你好😀", ensure_ascii=True)), ("raw UTF-8", json.dumps(["ü你好😀"], ensure_ascii=False).encode()),
	("escapes", rb'[{"content": "\u00fc\/\"\\\b\f\n\r\t\u0000"}]'), ("lone surrogate", rb'["\ud800", "\udc00\ud800"]'), ("duplicate keys", b'[{"a": 1, "a": 2}]'),
	("numbers", b"[0, -0, 1.0, 1e5, 1E+05, 0.10, 123456789012345678901234567890, 1e999, -0.0e-0]"), ("NaN", b"[NaN, Infinity, -Infinity]"),
	("scalars", b'[null, true, false, "x", 1]'), ("scalar document", b'"text"'), ("number document", b"42"), ("null document", b"null\n"),
	("mixed lists", b'[[], {}, [[1], [2, [3]]], {"a": []}]'), ("odd white space", b'[ {"a":1}\n,\n\n{"a":2} ,{"a" : 3}]'), ("CRLF", messages("a", "b").replace(b"\n", b"\r\n")),
	("envelope", b'{"session_id": "s", "messages": [{"content": "a"}, {"content": "b"}], "pinned": true}\n'),
	("two lists", b'{"internal": [["a", "b"]], "visible": [["a", "b"]], "metadata": {}}'), ("nested lists", b'{"agent": {"content": [[{"content": "a"}, []], [{"content": "b"}, []]]}}'),
	("all sessions", b'[{"session_id": "1", "runs": []}, {"session_id": "2", "runs": [1]}]'), ("one big message", messages("x" * 3_000_000)),
	("many messages", messages(*[f"message {n}" for n in range(20_000)])), ("equal messages", messages(*["ok"] * 1000)), ("empty keys", b'{"": {"": [{"": ""}]}}'),
	("deep", b"[" * 500 + b"]" * 500), ("a list of empty strings", b'["", "", ""]'), ("DEL and separators", '["\u007f\u2028\u2029\ufeff"]'.encode()),
]


def all_documents():
	found = sorted(p for p in glob.glob(f"{DATA}/documents/**/*", recursive=True) if os.path.isfile(p))
	return DOCUMENTS + [(os.path.relpath(p, DATA), read(p)) for p in found if acceptable(p)]


def acceptable(path):
	try:
		json.loads(read(path).decode("utf-8-sig"))
		return True
	except (ValueError, RecursionError):
		return False


def by_one_write(path, data):
	write_once(path, data)


def by_ftruncate_first(path, data):
	fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
	os.ftruncate(fd, 0)
	write_all(fd, data)
	os.close(fd)


def by_pwrite_backwards(path, data):
	fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
	for at in range(len(data) - len(data) % 100_000, -1, -100_000):
		os.pwrite(fd, data[at:at + 100_000], at)
	os.close(fd)


def by_fsync(path, data):
	with open(path, "wb") as f:
		f.write(data)
		f.flush()
		os.fsync(f.fileno())


def by_rename(path, data, suffix=".tmp"):
	write(path + suffix, data)
	os.replace(path + suffix, path)


def by_rename_json(path, data):
	by_rename(path, data, ".new.json")


def by_rename_hidden(path, data):
	temp = os.path.join(os.path.dirname(path), ".#temp-1f3a")
	write_once(temp, data)
	os.rename(temp, path)


def by_rename_from_elsewhere(path, data):
	os.makedirs(os.path.dirname(path) + "/other", exist_ok=True)
	write(os.path.dirname(path) + "/other/t", data)
	os.rename(os.path.dirname(path) + "/other/t", path)
	os.rmdir(os.path.dirname(path) + "/other")


def by_touch_first(path, data):
	os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644))
	write(path, data)


def by_append(path, data):
	if os.path.exists(path):
		os.unlink(path)
	with open(path, "ab") as f:
		f.write(data)


WAYS = [(f.__name__[3:].replace("_", " "), f) for f in (
	by_truncate, by_one_write, by_tiny_writes, by_rplus, by_ftruncate_first, by_pwrite_backwards, by_fsync, by_rename, by_rename_json, by_rename_hidden,
	by_rename_from_elsewhere, by_touch_first, by_append)]


@cases("P4: every document, written by {}, comes back byte for byte", WAYS)
def round_trip(t, name, way):
	for what, data in DOCUMENTS if QUICK and way not in (by_truncate, by_rename) else all_documents():
		path = t.path("first.json")
		way(path, data)
		equal((read(path), os.path.getsize(path)), (data, len(data)), f"{what}, a new file")
		os.unlink(path)
		way(t.path("s.json"), data)
		equal((read(t.path("s.json")), forked(read, t.path("s.json"))), (data, data), f"{what}, a rewrite")
	equal(os.listdir(t.dir), ["s.json"], "names that are left")


EDITS = [
	("regenerate the last", lambda d: d[:-1] + ["another"]), ("edit one and cut the rest", lambda d: d[:3] + ["edited"]), ("remove one", lambda d: d[:2] + d[3:]),
	("insert at 0", lambda d: ["system"] + d), ("keep the last 3", lambda d: d[-3:]), ("summary", lambda d: ["summary"] + d[-1:]), ("clear", lambda d: []),
	("reverse", lambda d: d[::-1]), ("append", lambda d: d + ["more", "and more"]), ("the same", lambda d: d), ("duplicate all", lambda d: d + d),
	("swap two", lambda d: [d[1], d[0]] + d[2:]), ("insert in the middle", lambda d: d[:4] + ["x", "y"] + d[4:]), ("all new", lambda d: ["1", "2"]),
]


@cases("P4: edit by one writer is kept as written: {}", EDITS)
def edits(t, name, edit):
	for way in (by_truncate, by_rename, by_rplus):
		path = t.path(f"{way.__name__}.json")
		write(path, messages(*[f"m{n}" for n in range(8)]))
		data = messages(*edit(contents(path)))
		way(path, data)
		equal(read(path), data, way.__name__)


@case("P4: a random life of one session with one writer")
def random_life(t):
	rng, path = random.Random(SEED), t.path("s.json")
	document = []
	for step in range(150):
		document = rng.choice(EDITS)[1](document + ["seed"] * max(0, 4 - len(document)))[:40]
		data = messages(*document, indent=rng.choice([None, 2, 4]))
		rng.choice(WAYS)[1](path, data)
		equal(read(path), data, f"step {step}")


@case("P4: restyle keeps the messages, both ways")
def restyle(t):
	path, texts = t.path("s.json"), [f"m{n} über" for n in range(300)]
	for style in ({"indent": 2}, {"indent": None, "separators": (",", ":")}, {"indent": 4, "ensure_ascii": False}, {"indent": None}):
		data = messages(*texts, **style)
		write(path, data)
		equal(read(path), data, f"{style}")


@case("P4: kinds change by a save: list, object, other, empty, list")
def kinds(t):
	path = t.path("s.json")
	for data in (messages("a"), b'{"messages": [{"content": "a"}]}', b'{"x": 1}', b"3", b"", messages("b"), b'{"x": 1}', messages("c"), b"", b'{"x": 2}'):
		forked(write, path, data) if data else write(path, data)
		eventually(lambda: read(path), data, "after the save")


@case("touch, then O_TRUNC never written: an empty file; the size is told")
def emptied(t):
	path = t.path("s.json")
	os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644))
	equal((read(path), os.path.getsize(path)), (b"", 0), "touched")
	write(path, messages("a"))
	os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))
	eventually(lambda: (read(path), os.path.getsize(path)), (b"", 0), "O_TRUNC, never written")
	write(path, messages("b"))
	os.truncate(path, 0)
	equal((read(path), os.path.getsize(path)), (b"", 0), "truncate by name")
	write(path, messages("c"))
	equal(contents(path), ["c"], "the next save")


# ---- P5 ----------------------------------------------------------------------------------------------------------

GOOD = messages(*[f"good {n}" for n in range(10)])
TORN = [("a prefix", GOOD[:300]), ("one byte", b"["), ("all but the last byte", GOOD[:-1]), ("text", b"not JSON"), ("trailing text", GOOD + b"]"),
	("two documents", b"[][]"), ("a bare word", b"[nul]"), ("single quotes", b"['a']"), ("trailing comma", b"[1,]"), ("zeros", b"\0" * 5000),
	("cut in a character", '["é"]'.encode()[:3])]


def close_fails(path, data, way):
	"""Writes data and gives close's errno, 0 when there was none."""
	temp = path + ".t" if way == "rename" else path
	fd = os.open(temp, os.O_WRONLY | os.O_CREAT | (0 if way == "r+" else os.O_TRUNC), 0o644)
	try:
		write_all(fd, data)
		if way == "r+":
			os.ftruncate(fd, len(data))
		if way == "fsync":
			os.fsync(fd)
		os.close(fd)
		if way == "rename":
			os.rename(temp, path)
	except OSError as e:
		return e.errno, os.getpid()
	return 0, os.getpid()


def rejected(mount):
	directory = mount.control_file("rejected")
	return {name: read(os.path.join(directory, name)) for name in os.listdir(directory)}


@cases("P5: torn by {}: EINVAL, the last good version stays, the bytes are kept, one log line", [(way,) for way in ("close", "r+", "fsync")])
def torn(t, way):
	if CONTROL:
		raise Skip("there is no daemon")
	for n, (what, data) in enumerate(TORN):
		path = t.path(f"s{n}.json")
		write(path, GOOD)
		before, since = rejected(t.mount), t.mount.position()
		t.mount.expect(rf"s{n}\.json")
		number, pid = forked(close_fails, path, data, way)
		equal(errno.errorcode.get(number), "EINVAL", f"{what}: errno")
		equal((read(path), os.path.getsize(path)), (GOOD, len(GOOD)), f"{what}: the last good version")
		eventually(lambda: len(t.mount.lines(rf"s{n}\.json", since)), 1, f"{what}: log lines")
		kept = {name: d for name, d in rejected(t.mount).items() if name not in before}
		require(data in kept.values(), f"{what}: the bytes are not under rejected: {list(kept)}")
		lines = t.mount.lines(rf"s{n}\.json", since)
		require(str(pid) in lines[0], f"{what}: no writer {pid} in {lines[0]!r}")
		require(re.search(r"\b(byte|offset)\b", lines[0]), f"{what}: no byte offset in {lines[0]!r}")
		append(path, "after")
		equal(contents(path)[-1], "after", f"{what}: the next save")


@case("P5: a torn first save leaves no document, a torn temp file replaces nothing")
def torn_new(t):
	if CONTROL:
		raise Skip("there is no daemon")
	t.mount.expect(r"\.json")
	number, _ = forked(close_fails, t.path("new.json"), GOOD[:100], "close")
	equal(errno.errorcode.get(number), "EINVAL", "a first save")
	require(not os.path.exists(t.path("new.json")) or read(t.path("new.json")) == b"", "something torn is shown")
	write(t.path("new.json"), GOOD)
	equal(read(t.path("new.json")), GOOD, "the save after it")
	number, _ = forked(close_fails, t.path("new.json"), GOOD[:100], "rename")
	equal(errno.errorcode.get(number), "EINVAL", "a torn temp file's rename")
	equal(read(t.path("new.json")), GOOD, "after the rename")


@case("P5: the log tells the byte where it went wrong; rejected files can be removed")
def offset(t):
	if CONTROL:
		raise Skip("there is no daemon")
	t.mount.expect(r"off\.json")
	write(t.path("off.json"), GOOD)
	since = t.mount.position()
	before = set(os.listdir(t.mount.control_file("rejected")))
	data = b"[" + b'"x", ' * 2000 + b"oops]"
	forked(close_fails, t.path("off.json"), data, "close")
	eventually(lambda: len(t.mount.lines(r"off\.json", since)), 1, "log lines")
	require(re.search(r"\b10001\b", t.mount.lines(r"off\.json", since)[0]), f"not byte 10001: {t.mount.lines('off.json', since)}")
	kept = set(os.listdir(t.mount.control_file("rejected"))) - before
	equal(len(kept), 1, f"kept {kept}")
	os.unlink(t.mount.control_file("rejected/" + kept.pop()))
	equal(set(os.listdir(t.mount.control_file("rejected"))), before, "after removal")


@case("P5: a writer killed in mid-write changes nothing; killed before its first write neither")
def killed(t):
	t.mount.expect(r"s\.json")
	path = t.path("s.json")
	write(path, GOOD)
	for part in (b"", GOOD[:50], GOOD[:-1]):
		ready = os.pipe()

		def half():
			fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
			write_all(fd, part)
			os.write(ready[1], b"x")
			time.sleep(1000)
		child = Child(half)
		os.read(ready[0], 1)
		child.kill()
		child.wait()
		equal((read(path), os.path.getsize(path)), (GOOD, len(GOOD)), f"after a kill at byte {len(part)}")


# ---- P2, P6, P9 --------------------------------------------------------------------------------------------------

MERGES = [
	("both append", ["a"], ["a", "x"], ["a", "y"], ["a", "x", "y"]), ("append and insert", ["a", "b"], ["a", "b", "x"], ["s", "a", "b"], ["s", "a", "b", "x"]),
	("append and remove", ["a", "b"], ["a", "b", "x"], ["b"], ["b", "x"]), ("append and clear", ["a", "b"], ["a", "b", "x"], [], ["x"]),
	("append and edit", list("abc"), list("abcx"), list("aBc"), list("aBcx")), ("remove and append", ["a", "b"], ["b"], ["a", "b", "y"], ["b", "y"]),
	("equal texts", ["a"], ["a", "ok"], ["a", "ok"], ["a", "ok", "ok"]), ("both remove", ["a", "b", "c"], ["b", "c"], ["a", "b"], ["b"]),
	("trim and append", list("abcdef"), list("def"), list("abcdef") + ["y"], list("def") + ["y"]),
]


@cases("P2 P6: {}: the later close merges with what was committed", MERGES)
def merges(t, name, base, first, second, wanted):
	for way in (by_truncate, by_rename, by_ftruncate_first):
		path = t.path(f"{way.__name__}.json")
		forked(write, path, messages(*base))
		go, ready = os.pipe(), os.pipe()

		def late():
			equal(contents(path), base, "what the late writer reads")
			os.write(ready[1], b"x")
			os.read(go[0], 1)
			way(path, messages(*second))

		def early():
			equal(contents(path), base, "what the early writer reads")
			way(path, messages(*first))
		child = Child(late)
		os.read(ready[0], 1)
		forked(early)
		os.write(go[1], b"x")
		child.result()
		equal(contents(path), wanted, way.__name__)


@case("P2: who renames the session away to make it anew keeps what others added since it was read (rule 13)")
def made_anew(t):
	path = t.path("s.json")
	write(path, messages("a"))

	def edit():
		document = messages(*contents(path), "mine")
		forked(append, path, "other's")
		os.rename(path, path + "~")
		write_once(path, document, os.O_CREAT)
		os.unlink(path + "~")
	forked(edit)
	equal((contents(path), os.listdir(t.dir)), (["a", "other's", "mine"], ["s.json"]), "in the end")


@case("P2: a blind replacement replaces (rule 8)")
def blind(t):
	path = t.path("s.json")
	forked(write, path, messages("a", "b"))
	command("sh", "-c", "echo '[]' > \"$0\"", path)
	equal(forked(read, path), b"[]\n", "after echo '[]' >")


def control(*words):
	if CONTROL or not HISTORYCTL:
		raise Skip("HISTORYCTL does not name a program")
	return command(HISTORYCTL, *words)


@case("P9: what a clear, an edit and an unlink removed is listed and brought back")
def undo(t):
	path = t.path("s.json")
	session = f"{os.path.basename(t.dir)}/s.json"
	write(path, messages("kept for ever", "and this"))
	for what, destroy in (("clear", lambda: write(path, b"[]")), ("overwrite", lambda: command("sh", "-c", "echo '[1]' > \"$0\"", path)),
			      ("unlink", lambda: os.unlink(path)), ("empty", lambda: os.truncate(path, 0))):
		before = contents(path)
		destroy()
		log = json.loads(control("--store", t.mount.store, "log", "--json", session).stdout)
		require(log, f"{what}: the log is empty")
		newest = max(change["version"] for change in log)
		control("--store", t.mount.store, "undo", session, str(newest))
		equal(contents(path), before, f"after undoing: {what}")


if __name__ == "__main__":
	main()
