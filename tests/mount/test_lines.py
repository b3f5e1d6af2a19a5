#!/usr/bin/python3
"""Files of lines (*.jsonl): appended lines are whole and never mix, rewrites merge as lists, bytes come back as they were."""
import os
import random
import shutil
import subprocess

from lines import LINES, WRITERS, append, by_open, check_all, record, sizes
from ways import by_rplus, by_tiny_writes, by_truncate
from harness import CONTROL, QUICK, SEED, Child, Skip, case, cases, command, equal, eventually, forked, main, read, require, together, write, write_all


# ---- Appending ----------------------------------------------------------------------------------------------------

def by_one_handle(path, lines):
	fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
	for line in lines:
		write_all(fd, line)
	os.close(fd)


def by_buffer(path, lines):
	"""stdio: writes of 8 KiB end in the middle of lines."""
	with open(path, "ab", buffering=8192) as f:
		for line in lines:
			for at in range(0, len(line), 3000):
				f.write(line[at:at + 3000])


def by_pieces(path, lines):
	with open(path, "ab", buffering=0) as f:
		for line in lines:
			cut = len(line) // 3
			f.write(line[:cut])
			f.write(line[cut:])
			if len(line) > 5000:
				os.fsync(f.fileno())


def by_rdwr(path, lines):
	with open(path, "a+b", buffering=0) as f:
		for line in lines:
			f.write(line)


WAYS = [(f.__name__[3:].replace("_", " "), f) for f in (by_open, by_one_handle, by_buffer, by_pieces, by_rdwr)]


@cases("8 processes append by {}: every line whole, once, in its writer's order", WAYS)
def appenders(t, name, way):
	path = t.path("log.jsonl")
	written = {f"w{w}": [record(f"w{w}", n, size) for n, size in enumerate(sizes(w))] for w in range(WRITERS)}
	together([lambda lines=lines: way(path, lines) for lines in written.values()])
	check_all(read(path), written)


@case("8 processes append, each in its way")
def appenders_mixed(t):
	path = t.path("log.jsonl")
	written = {f"w{w}": [record(f"w{w}", n, size) for n, size in enumerate(sizes(w))] for w in range(WRITERS)}
	together([lambda w=w, lines=lines: WAYS[w % len(WAYS)][1](path, lines) for w, lines in enumerate(written.values())])
	check_all(read(path), written)


@case("control: on a plain directory appended lines that need several writes mix")
def control(t):
	path = t.place() + "/log.jsonl"
	written = {f"w{w}": [record(f"w{w}", n, 9000) for n in range(400)] for w in range(WRITERS)}
	for _ in range(20):
		together([lambda lines=lines: by_buffer(path, lines) for lines in written.values()])
		lines = read(path).split(b"\n")
		if {line + b"\n" for line in lines[:-1]} != {line for mine in written.values() for line in mine}:
			return
		os.unlink(path)
	raise Skip("they did not mix here")


@case("a line is seen when its write returns, its beginning is not")
def seen_at_once(t):
	path = t.path("log.jsonl")
	with open(path, "ab", buffering=0) as f:
		f.write(b"one\n")
		equal((forked(read, path), forked(os.path.getsize, path)), (b"one\n", 4), "after a line")
		f.write(b"two\nthr")
		equal(forked(read, path), b"one\ntwo\n", "after a line and the beginning of one")
		equal(os.fstat(f.fileno()).st_size, 11, "its writer's fstat")
		forked(append, path, b"other\n")
		f.write(b"ee\n")
		equal(forked(read, path), b"one\ntwo\nother\nthree\n", "after the rest")
		f.write(b"fou")
		os.fsync(f.fileno())
		equal(forked(read, path), b"one\ntwo\nother\nthree\nfou", "after fsync")
		f.write(b"r\n")
		f.write(b"end")
	eventually(lambda: forked(read, path), b"one\ntwo\nother\nthree\nfour\nend", "after close")


@case("a last line without newline: who appends to it goes on with it, who appended beside it does not")
def unterminated(t):
	path = t.path("log.jsonl")
	append(path, b'{"a"')
	append(path, b": 1}")
	append(path, b"\nb\n")
	append(path, b"c")
	forked(append, path, b"c\n")
	equal(read(path), b'{"a": 1}\nb\ncc\n', "one after the other: as on any filesystem")
	logger = os.open(path, os.O_WRONLY | os.O_APPEND)
	forked(append, path, b"open end")
	if not CONTROL:
		os.write(logger, b"d\n")
		equal(read(path), b'{"a": 1}\nb\ncc\nopen end\nd\n', "who had not seen it")
	os.close(logger)


@case("tail -f shows lines that are appended, by an open handle and by others")
def tail(t):
	path = t.path("log.jsonl")
	append(path, b"first\n")
	tail = subprocess.Popen(["tail", "-n", "+1", "-s", "0.05", "-f", path], stdout=subprocess.PIPE)
	try:
		equal(tail.stdout.readline(), b"first\n", "what was there")
		with open(path, "ab", buffering=0) as f:
			for n in range(5):
				f.write(b"mine %d\n" % n)
				equal(tail.stdout.readline(), b"mine %d\n" % n, "a line of an open handle")
				forked(append, path, b"other %d\n" % n)
				equal(tail.stdout.readline(), b"other %d\n" % n, "a line of another process")
	finally:
		tail.kill()
		tail.wait()
		tail.stdout.close()


@case("a reader that was told the end reads on from there, without fstat")
def reads_on(t):
	path = t.path("log.jsonl")
	append(path, b"a\n")
	with open(path, "rb", buffering=0) as f:
		equal(os.fstat(f.fileno()).st_size, 2, "size")
		equal((f.read(100), f.read(100)), (b"a\n", b""), "what was there")
		forked(append, path, b"b\n")
		equal((f.read(100), f.read(100)), (b"b\n", b""), "what was appended")
		append(path, b"c\n")
		equal((f.read(100), f.read(100)), (b"c\n", b""), "what was appended by itself")


@case("P3: an open handle shows one version while lines are appended and rewritten")
def snapshot(t):
	path = t.path("log.jsonl")
	old = b"".join(record("o", n) for n in range(2000))
	forked(write, path, old)
	go = os.pipe()
	rewriter = Child(lambda: os.read(go[0], 1) and write(path, b"all new\n" * 10))	# forked before anything is read: children inherit what was seen
	with open(path, "rb", buffering=0) as f:
		start = f.read(1000)
		forked(append, path, b"more\n")
		os.write(go[1], b"x")
		rewriter.result()
		rest = b""
		while piece := f.read(7777):
			rest += piece
		equal(start + rest, old, "from first byte to last")
	require(read(path).endswith(b"all new\n" * 10), "a new handle shows what was written")


@case("a+ reads what it appended, complete or not; ftruncate and O_TRUNC with O_APPEND begin anew")
def append_handles(t):
	path = t.path("log.jsonl")
	with open(path, "a+b", buffering=0) as f:
		f.write(b"one\ntw")
		f.seek(0)
		equal(f.read(), b"one\ntw", "its own beginning of a line")
		f.write(b"o\n")
		f.seek(0)
		equal(f.read(), b"one\ntwo\n", "and the rest")
		f.write(b"thr")
		os.ftruncate(f.fileno(), 4)
		f.write(b"new\n")
		equal(forked(read, path), b"one\nnew\n", "cut, then written")
		f.write(b"more\n")
	equal(read(path), b"one\nnew\nmore\n", "after close")
	fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_APPEND)
	os.write(fd, b"a\n")
	equal(forked(read, path), b"a\n", "emptied and written")
	forked(append, path, b"b\n")
	os.write(fd, b"c\n")
	os.close(fd)
	equal(read(path), b"a\nb\nc\n", "appended to after that")


@case("a log that is renamed, or removed, while it is written")
def rotated(t):
	path = t.path("app.jsonl")
	with open(path, "ab", buffering=0) as f:
		f.write(b"one\n")
		os.rename(path, path + ".1")
		f.write(b"two\n")
		equal(read(path + ".1"), b"one\ntwo\n", "the renamed one goes on")
		append(path, b"new\n")
		equal((read(path), read(path + ".1")), (b"new\n", b"one\ntwo\n"), "the new one")
	append(path + ".1", b"three\n")
	equal(read(path + ".1"), b"one\ntwo\nthree\n", "opened by its other name")
	with open(path, "ab", buffering=0) as f:
		f.write(b"mine\n")
		os.unlink(path)
		f.write(b"gone\n")
	equal(os.path.exists(path), False, "exists after its own writer removed it")


# ---- P4 -----------------------------------------------------------------------------------------------------------

DOCUMENTS = [
	("one line", b"a\n"), ("no newline", b"a"), ("a newline", b"\n"), ("newlines", b"\n\n\n"), ("CRLF", b'{"a": 1}\r\n{"b": 2}\r\n'), ("CR", b"a\rb\rc"), ("blank lines", b"\na\n\n\nb\n\n"),
	("not JSON", b"a [1, \"\n}{\x00\xff\n\t \n"), ("a byte order mark", b'\xef\xbb\xbf{"a": 1}\n'), ("zeros", b"\0" * 100_000), ("spaces", b"  a b \n ab\n a  b\n"), ("equal lines", b"ok\n" * 1000),
	("a long line", b"x" * 3_000_000 + b"\ny"), ("many lines", b"".join(record("m", n) for n in range(20_000))), ("a list", b"[1,\n2]\n"), ("a list on one line", b"[1, 2]"), ("one byte", b"5"),
	("more digits", b"56"), ("another digit", b"57"), ("and a line", b"5\n6"),
]


def by_rename(path, data, suffix=".tmp"):
	temp = f"{path[:-6]}.{os.getpid()}{suffix}"
	write(temp, data)
	os.replace(temp, path)


def by_rename_jsonl(path, data):
	by_rename(path, data, ".jsonl")


def by_rename_txt(path, data):
	by_rename(path, data, ".txt")


def by_append(path, data):
	if os.path.exists(path):
		os.unlink(path)
	with open(path, "ab") as f:
		f.write(data)


def by_truncate_and_append(path, data):
	fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
	for at in range(0, len(data), 50_000):
		write_all(fd, data[at:at + 50_000])
	os.close(fd)


def by_appended_pieces(path, data):
	if os.path.exists(path):
		os.truncate(path, 0)
	step = max(1, len(data) // 9)
	for at in range(0, len(data), step):
		append(path, data[at:at + step])


P4 = [(f.__name__[3:].replace("_", " "), f) for f in (
	by_truncate, by_tiny_writes, by_rplus, by_rename, by_rename_jsonl, by_rename_txt, by_append, by_truncate_and_append, by_appended_pieces)]


@cases("P4: any bytes, written by {}, come back", P4)
def round_trip(t, name, way):
	for what, data in DOCUMENTS:
		way(t.path("first.jsonl"), data)
		equal(read(t.path("first.jsonl")), data, f"{what}, a new file")
		os.unlink(t.path("first.jsonl"))
		way(t.path("s.jsonl"), data)
		equal((read(t.path("s.jsonl")), os.path.getsize(t.path("s.jsonl")), forked(read, t.path("s.jsonl"))), (data, len(data), data), f"{what}, a rewrite")
	equal(os.listdir(t.dir), ["s.jsonl"], "names that are left")


@case("P4: a random life of one file with one writer")
def random_life(t):
	rng, path = random.Random(SEED), t.path("s.jsonl")
	model = b""
	write(path, model)
	for step in range(100 if QUICK else 300):
		lines = model.split(b"\n")
		at, kind = rng.randrange(len(lines)), rng.randrange(9)
		if kind < 3:
			data = rng.choice([b"line %d\n" % step, b"a\nb\n", b"part", b"\n", b"\nlead", b" \r\n", b"%d" % step])
			append(path, data)
			model += data
			what = f"append {data!r}"
		else:
			what = ["cut", "remove", "insert", "edit", "swap", "the same"][kind - 3]
			lines = {3: lines[:at], 4: lines[:at] + lines[at + 1:], 5: lines[:at] + [b"new %d" % step, b""] + lines[at:],
				 6: lines[:at] + [b"edit"] + lines[at + 1:], 7: lines[at:] + lines[:at], 8: lines}[kind]
			equal(read(path), model, f"step {step}")
			model = b"\n".join(lines[-30:])
			rng.choice(P4[:6])[1](path, model)
		equal(read(path), model, f"step {step}, {what}")


# ---- Rewrites -----------------------------------------------------------------------------------------------------

def writes_back(way):
	def edit(path, change):
		if way is not by_rplus:
			return way(path, change(read(path)))
		with open(path, "r+b") as f:
			data = change(f.read())
			f.seek(0)
			f.write(data)
			f.truncate()
	return edit


@cases("rewrites by {} beside appenders lose no line", [row for row in P4 if row[1] in (by_truncate, by_rplus, by_rename, by_rename_jsonl)])
def rewrites(t, name, way):
	path = t.path("log.jsonl")
	forked(write, path, b"keep\n")
	edit = writes_back(way)

	def rewriter(w):
		for n in range(LINES // 2):
			edit(path, lambda data: data + record(f"r{w}", n))

	def appender(w):
		for n in range(LINES // 2):
			append(path, record(f"a{w}", n))
	together([lambda w=w: rewriter(w) for w in range(3)] + [lambda w=w: appender(w) for w in range(4)])
	written = {f"{kind}{w}": [record(f"{kind}{w}", n) for n in range(LINES // 2)] for kind, count in (("r", 3), ("a", 4)) for w in range(count)}
	data = read(path)
	equal(data[:5], b"keep\n", "what was there")
	check_all(data[5:], written)


@case("P2: a rewrite removes only what its writer had seen, and its own lines are not there twice")
def removes_only_seen(t):
	path = t.path("log.jsonl")
	forked(write, path, b"a\nb\nc\n")

	def writer():
		data = read(path)
		append(path, b"mine\n")
		forked_elsewhere.put()
		write(path, data.replace(b"b\n", b"") + b"mine\n" + b"last\n")

	class forked_elsewhere:
		ends = os.pipe(), os.pipe()

		@classmethod
		def put(cls):
			os.write(cls.ends[0][1], b"x")
			os.read(cls.ends[1][0], 1)

	def other():
		os.read(forked_elsewhere.ends[0][0], 1)
		append(path, b"other\n")
		os.write(forked_elsewhere.ends[1][1], b"x")
	together([writer, other])
	if not CONTROL:
		equal(read(path), b"a\nc\nmine\nother\nlast\n", "lines")


@case("one process: read, append, then a rewrite without what was appended")
def own_append_removed(t):
	path = t.path("log.jsonl")
	forked(write, path, b"a\nb\n")

	def writer():
		data = read(path)
		append(path, b"x\n")
		write(path, data)
	forked(writer)
	equal(read(path), b"a\nb\n", "as written")


SHELL = [
	("sed -i", "sed", 'sed -i "s/first/FIRST/" "$1"', b'{"n":"FIRST"}\n{"n":"second"}\n'),
	("jq -c and mv", "jq", 'jq -c ".n |= ascii_upcase" "$1" > "$1.t" && mv "$1.t" "$1"', b'{"n":"FIRST"}\n{"n":"SECOND"}\n'),
	("jq -c and mv of a .jsonl", "jq", 'jq -c "select(.n == \\"second\\")" "$1" > "${1%/*}/t.jsonl" && mv "${1%/*}/t.jsonl" "$1"', b'{"n":"second"}\n'),
	("cat, grep and mv", "grep", 'cat "$1" | grep -v first > "$1.t"; mv "$1.t" "$1"', b'{"n":"second"}\n'),
	("two commands into one file", "sh", '{ /bin/echo one; /bin/echo two; } > "$1"', b"one\ntwo\n"),
	("two commands that make one line", "sh", '{ /usr/bin/printf "{\\"n\\": "; /bin/echo "3}"; } >> "$1"', b'{"n":"first"}\n{"n":"second"}\n{"n": 3}\n'),
	("tee -a", "tee", 'echo three | tee -a "$1" > /dev/null', b'{"n":"first"}\n{"n":"second"}\nthree\n'),
	(": >", "sh", ': > "$1"; echo new >> "$1"', b"new\n"),
	("cp", "cp", 'cp "$1" "$1.bak"; echo x > "$1"; cp "$1.bak" "$1"; rm "$1.bak"', b'{"n":"first"}\n{"n":"second"}\n'),
	("dd conv=notrunc", "dd", 'echo 12345 | dd of="$1" bs=5 seek=1 conv=notrunc status=none', b'{"n":12345\n"}\n{"n":"second"}\n'),
	("truncate", "truncate", 'truncate -s 14 "$1"', b'{"n":"first"}\n'),
	("shuf over itself", "sort", 'sort -r -o "$1" "$1"', b'{"n":"second"}\n{"n":"first"}\n'),
]


@cases("the shell: {}", SHELL)
def shell(t, name, program, script, wanted):
	if shutil.which(program) is None:
		raise Skip(f"{program} is not installed")
	path = t.path("s.jsonl")
	forked(write, path, b'{"n":"first"}\n{"n":"second"}\n')
	command("sh", "-c", script, "sh", path)
	eventually(lambda: read(path), wanted, name)
	equal(os.listdir(t.dir), ["s.jsonl"], "names that are left")


@cases("an edit by {} beside appenders", [row[:3] for row in SHELL[:2]])
def edit_beside(t, name, program, script):
	if shutil.which(program) is None:
		raise Skip(f"{program} is not installed")
	path = t.path("s.jsonl")
	forked(write, path, b'{"n":"first"}\n')
	written = [b'{"n":"w%d %d"}\n' % (w, n) for w in range(3) for n in range(LINES // 4)]
	script = script.replace("ascii_upcase", "if . == \\\"first\\\" then \\\"FIRST\\\" else . end")
	together([lambda w=w: by_open(path, [line for line in written if line.startswith(b'{"n":"w%d' % w)]) for w in range(3)] + [lambda: command("sh", "-c", script, "sh", path) and None])
	lines = read(path).splitlines(True)
	equal((lines.count(b'{"n":"FIRST"}\n'), lines.count(b'{"n":"first"}\n')), (1, 0), "the edited line")
	equal(sorted(line for line in lines if b"irst" not in line and b"IRST" not in line), sorted(written), "appended lines")


@case("names change their kind: .json to .jsonl and back, and what is saved then")
def kinds(t):
	json_path, path = t.path("s.json"), t.path("s.jsonl")
	write(json_path, b'[{"a": 1},\n {"b": 2}]')
	os.rename(json_path, path)
	equal(read(path), b'[{"a": 1},\n {"b": 2}]', "renamed")
	append(path, b"\nline\n")
	equal(read(path), b'[{"a": 1},\n {"b": 2}]\nline\n', "appended to")
	write(path, read(path)[:11] + b"\n")
	equal(read(path), b'[{"a": 1},\n\n', "rewritten")
	os.rename(path, json_path)
	append(json_path, b"more\n")
	equal(read(json_path), b'[{"a": 1},\n\nmore\n', "renamed back, they are lines until JSON is saved")
	write(json_path, b'[1]')
	write(json_path, b'[12]')
	equal(read(json_path), b"[12]", "JSON again")
	write(t.path("t.json"), b"[1]")
	os.rename(t.path("t.json"), t.path("u.jsonl"))
	append(t.path("u.jsonl"), b"\n2\n")
	equal(read(t.path("u.jsonl")), b"[1]\n2\n", "a new .json that became a .jsonl")




if __name__ == "__main__":
	main()
