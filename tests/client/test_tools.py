#!/usr/bin/python3
"""
Programs that people use on files: editors, cp, install, rsync, tar, unzip, patch, git, mv. Alone, each leaves on the mount what it leaves in a
plain directory, byte for byte; beside a HistoryService that appends, an edit and the additions both stay, and what a replacement
removes stays in the log (P9).
"""
import json
import os
import shutil
import stat

from history_service import HistoryService
from session import at_version, contents, document, ever, log, messages, need, shell, start
from tally import Readers, Tally, mark, text
from tools import EDITS, LATE_EDITS, REPLACEMENTS
from harness import CONTROL, QUICK, Failure, case, cases, command, equal, forked, main, read, require, together, write

TOOLS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tools.py")
ROUNDS, SAVES = (2, 6) if QUICK else (4, 16)
LONG_AGO = 1577923445.0		# what REPLACEMENTS keep of times is this


# What leaves no file, or an empty one, for a moment, or takes the session's log along to a backup, is for one at a time.
ALONE = ("sed -i.bak", "perl -i.bak", "vim", "vim, backupcopy=no", "vim, backup, backupcopy=no", "vim with a swap file", "truncate and dd conv=notrunc", "cp --backup",
	 "cp --remove-destination", "install", "install -p -b", "rsync --backup", "tar x", "tar x --unlink-first", "unzip", "mv into it")
LOG_GOES_ALONG = ("cp --backup", "install -p -b")


def tree(directory):
	"""Of every file: kind, mode and bytes, and the time of those that have an old one."""
	found = {}
	for name in sorted(os.listdir(directory)):
		if name == ".git":
			continue
		path = os.path.join(directory, name)
		s = os.lstat(path)
		what = os.readlink(path) if stat.S_ISLNK(s.st_mode) else sorted(os.listdir(path)) if stat.S_ISDIR(s.st_mode) else read(path)
		found[name] = (stat.filemode(s.st_mode), what, s.st_mtime if s.st_mtime <= LONG_AGO + 1 else None)
	return found


def source(t, *texts):
	"""A directory outside of the mount with a session that is older than it."""
	directory = t.place("source")
	write(f"{directory}/s.json", document(*texts))
	os.utime(f"{directory}/s.json", (LONG_AGO, LONG_AGO))
	return directory


def run(script, directory, number, source="", status=0):
	return shell(script, str(number), status=status, cwd=directory, stdin=-3,
		     env={**os.environ, "TOOLS": TOOLS, "SOURCE": source, "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"})


def as_on_disk(t, script, texts, source_texts=()):
	"""Runs the script twice on the mount and in a plain directory; gives the session's path."""
	start(t, *texts)
	plain = t.place("plain")
	write(f"{plain}/s.json", document(*texts))
	for number in (1, 2):
		for directory in (t.dir, plain):
			run(script, directory, number, source(t, *source_texts, *["more"] * number) if source_texts else "")
		got, wanted = tree(t.dir), tree(plain)
		equal(list(got), list(wanted), f"names after round {number}")
		for name in wanted:
			equal(got[name], wanted[name], f"{name} after round {number}")
	return t.path("s.json")


def stays(t, path, texts):
	"""It is a session still, and its log has all these."""
	if CONTROL:
		return
	require(set(texts) <= ever(t, path), f"not in the log: {set(texts) - ever(t, path)}")
	newest = log(t, path)[0]
	equal(at_version(t, path, newest["version"]), read(path), "the newest version")


@cases("alone: {}", EDITS + LATE_EDITS)
def edit_alone(t, name, program, script):
	need(program)
	path = as_on_disk(t, script, ["count 0 end", "a", "ü 你好", "a"])
	equal(contents(path), ["count 2 end", "a", "ü 你好", "a"], "the session")
	stays(t, path, ["count 0 end", "count 1 end", "count 2 end", "a", "ü 你好"])


@cases("alone: {}", REPLACEMENTS)
def replace_alone(t, name, program, script):
	need(program)
	path = as_on_disk(t, script, ["a", "ü 你好", "b" * 3000], ["x", "y"])
	equal(contents(path), ["x", "y", "more", "more"], "the session")
	if name not in LOG_GOES_ALONG:
		stays(t, path, ["a", "ü 你好", "b" * 3000, "x", "y", "more"])


def appender(t, n=0):
	service, i = HistoryService(t.dir), 0
	while i < SAVES:
		try:
			service.save_message("s", "user", text(f"w{n}", i))
			i += 1
		except FileNotFoundError:		# between its look-up and its open a tool had renamed or removed the file, as it may on any filesystem
			pass


def beside(t, script, source_directory="", status=0):
	"""Runs the script some times while two HistoryServices append."""
	def tool():
		for n in range(ROUNDS):
			run(script, t.dir, n + 1, source_directory, status)
	with Readers([t.path("s.json")], lambda d: 1, may_vanish=True, may_be_empty=True, pause=0.01):
		together([tool, lambda: appender(t, 0), lambda: appender(t, 1)])


WRITTEN = [(f"w{w}", i) for w in range(2) for i in range(SAVES)]


@cases("P1 P2 beside appending HistoryServices: {}", [r for r in EDITS if r[0] not in ALONE])
def edit_beside(t, name, program, script):
	need(program)
	path = start(t, "count 0 end", *[text("seed", n) for n in range(5)])
	beside(t, script)
	found = contents(path)
	Tally([m for m in map(mark, found) if m], [("seed", n) for n in range(5)] + WRITTEN).require_perfect(name)
	edited = [c for c in found if not mark(c)]
	# vim does not write when the file has changed since it read it.
	wanted = [f"count {n} end" for n in range(0 if program == "vim" else ROUNDS, ROUNDS + 1)]
	require(len(edited) == 1 and edited[0] in wanted, f"the edited message: {edited}")


@cases("P9 beside appending HistoryServices: {}", LATE_EDITS)
def late_edit_beside(t, name, program, script):
	need(program)
	path = start(t, "count 0 end", *[text("seed", n) for n in range(5)])
	beside(t, script, status=None)		# patch may find that its context has gone
	stays(t, path, [text("seed", n) for n in range(5)] + [text(w, i) for w, i in WRITTEN])


@cases("P9 beside appending HistoryServices: {}", [r for r in REPLACEMENTS if r[0] not in ALONE])
def replace_beside(t, name, program, script):
	need(program)
	path = start(t, *[text("seed", n) for n in range(5)])
	directory = source(t, "replaced")
	beside(t, script.split(" && test ")[0], directory)
	found = contents(path)
	Tally([m for m in map(mark, found) if m], [], [("seed", n) for n in range(5)] + WRITTEN).require_perfect(name)
	stays(t, path, [text("seed", n) for n in range(5)] + [text(w, i) for w, i in WRITTEN] + ["replaced"])


# ---- In and out, and by degrees --------------------------------------------------------------------------------------

@case("mv out and in again, with a directory")
def moved_out(t):
	path, outside = start(t, "a", "b"), t.place("outside")
	os.mkdir(t.path("d"))
	shell('mv s.json d/ && mv d "$1"', outside, cwd=t.dir)
	moved = f"{outside}/d/s.json"
	equal((read(moved), os.listdir(t.dir)), (document("a", "b"), []), "outside")
	shell('mv "$1" .', moved, cwd=t.dir)
	equal((read(path), os.listdir(f"{outside}/d")), (document("a", "b"), []), "in again")
	HistoryService(t.dir).save_message("s", "user", "c")
	equal(contents(path), ["a", "b", "c"], "after a save")


@case("dd conv=notrunc changes bytes in the middle; truncate -s 0, tee -a, tee")
def pieces(t):
	path = start(t, "a", "bb", "c")
	at = read(path).index(b"bb")
	shell('printf XY | dd of=s.json bs=1 seek="$1" conv=notrunc status=none', str(at), cwd=t.dir)
	equal(read(path), document("a", "XY", "c"), "after dd")
	stays(t, path, ["a", "bb", "XY", "c"])
	shell("truncate -s 0 s.json", cwd=t.dir)
	equal(read(path), b"", "after truncate")
	shell("printf '[1, 2]' | tee -a s.json", cwd=t.dir)
	equal(read(path), b"[1, 2]", "after tee -a")
	shell("printf '\\n\\n' | tee -a s.json", cwd=t.dir)
	equal(read(path), b"[1, 2]\n\n", "after another tee -a")
	shell("printf '[]' | tee s.json t.json", cwd=t.dir)
	equal((read(path), read(t.path("t.json"))), (b"[]", b"[]"), "after tee")


@cases("rsync --{} of a log, and of a session that grew by white space", [("append",), ("append-verify",)])
def rsync_append(t, how):
	need("rsync")
	forked(write, t.path("s.json"), b"[1]")
	outside = t.place("source")
	for data, document_ in ((b"one\n" * 5000, b"[1]"), (b"one\n" * 5000 + b"two\n" * 3000, b"[1]\n")):
		write(f"{outside}/app.log", data)
		write(f"{outside}/s.json", document_)
		command("rsync", "-a", f"--{how}", f"{outside}/", t.dir)
		equal((read(t.path("app.log")), read(t.path("s.json"))), (data, document_), how)


@case("rsync out, and again after a save: only what changed")
def rsync_out(t):
	need("rsync")
	for n in range(3):
		start(t, "a", name=f"s{n}.json")
	outside = t.place("copy")
	command("rsync", "-a", f"{t.dir}/", outside)
	equal(command("rsync", "-ai", f"{t.dir}/", outside).stdout, "", "the second time")
	HistoryService(t.dir).save_message("s1", "user", "b")
	equal([line.split()[-1] for line in command("rsync", "-ai", f"{t.dir}/", outside).stdout.splitlines() if line.startswith(">f")], ["s1.json"], "after a save")
	equal(tree(outside), tree(t.dir), "the copy")


@case("tar, zip and rsync of a directory there and back")
def there_and_back(t):
	for n in range(20):
		write(t.path(f"s{n}.json"), json.dumps(messages(*[f"{n} {i}" for i in range(n * 10)])).encode())
	wanted = tree(t.dir)
	for out, back in (("tar czf $1/a.tgz s*.json", "tar xzf $1/a.tgz"), ("cp -a . $1", "cp -a $1/. ."), ("rsync -a ./ $1", "rsync -a $1/ ."),
			  ("zip -q $1/a.zip s*.json", "unzip -qo $1/a.zip")):
		if not shutil.which(out.split()[0]):
			continue
		outside = t.place("outside")
		shell(out, outside, cwd=t.dir)
		shell("rm s*.json", cwd=t.dir)
		equal(os.listdir(t.dir), [], "after rm")
		shell(back, outside, cwd=t.dir)
		equal(tree(t.dir), wanted, f"after {back}")
		equal({n: len(log(t, t.path(n))) for n in ("s3.json",)}.keys(), {"s3.json"}, "a session with a log") if not CONTROL else None


# ---- git ------------------------------------------------------------------------------------------------------------

GIT = {**os.environ, "GIT_CONFIG_NOSYSTEM": "1", "HOME": "/nonexistent", "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@t", "GIT_COMMITTER_NAME": "t",
       "GIT_COMMITTER_EMAIL": "t@t", "GIT_CONFIG_COUNT": "2", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*", "GIT_CONFIG_KEY_1": "gc.auto",
       "GIT_CONFIG_VALUE_1": "0"}


def git(t, *words):
	return command("git", *words, cwd=t.dir, env=GIT).stdout


@case("git: a worktree on the mount: commit, checkout of old revisions, status clean, stash, gc, clone")
def git_worktree(t):
	need("git")
	git(t, "init", "-q", "-b", "main")
	service, revisions = HistoryService(t.dir), []
	for n in range(4):
		for session in ("a", "b", "large"):
			service.save_message(session, "user", f"message {n}")
		if n == 0:
			service.write_history("large", messages(*["x" * 100] * 2000))	# git maps what is larger than 32 KiB
		git(t, "add", "-A")
		git(t, "commit", "-q", "-m", f"revision {n}")
		revisions.append((git(t, "rev-parse", "HEAD").strip(), tree(t.dir)))
		equal(git(t, "status", "--porcelain"), "", f"status after commit {n}")
	for revision, wanted in (revisions[0], revisions[2], revisions[1], revisions[3]):
		git(t, "checkout", "-q", revision)
		equal({n: f[1] for n, f in tree(t.dir).items()}, {n: f[1] for n, f in wanted.items()}, f"checkout of {revision}")
		equal(git(t, "status", "--porcelain"), "", "status after checkout")
		git(t, "fsck", "--strict")
	git(t, "checkout", "-q", "main")
	service.save_message("a", "user", "not committed")
	require("a.json" in git(t, "status", "--porcelain"), "status does not see a save")
	git(t, "stash", "-q")
	equal({n: f[1] for n, f in tree(t.dir).items()}, {n: f[1] for n, f in revisions[3][1].items()}, "after stash")
	git(t, "stash", "pop", "-q")
	equal(contents(t.path("a.json"))[-1], "not committed", "after stash pop")
	git(t, "checkout", "-q", revisions[0][0], "--", "b.json")
	equal(read(t.path("b.json")), revisions[0][1]["b.json"][1], "one file of an old revision")
	git(t, "reset", "-q", "--hard")
	equal(git(t, "status", "--porcelain"), "", "status after reset --hard")
	git(t, "gc", "-q", "--prune=now")
	git(t, "fsck", "--strict")
	clone = t.place("clone")
	command("git", "clone", "-q", t.dir, clone, env=GIT)
	equal({n: f[1] for n, f in tree(clone).items()}, {n: f[1] for n, f in revisions[3][1].items()}, "a clone")
	if not CONTROL:
		require({"not committed", "message 3"} <= ever(t, t.path("a.json")), "the log lost what git replaced")


@case("git add beside appending HistoryServices commits whole documents")
def git_beside(t):
	need("git")
	HistoryService(t.dir).write_history("s", messages(*["x" * 100] * 100))	# git maps what is larger than 32 KiB, and mappings of a file that is being rewritten are SIGBUS
	git(t, "init", "-q", "-b", "main")

	def commits():
		for n in range(ROUNDS * 2):
			git(t, "add", "-A")
			git(t, "commit", "-q", "--allow-empty", "-m", str(n))
	together([commits, lambda: appender(t, 0), lambda: appender(t, 1)])
	lengths = [len(json.loads(git(t, "show", f"{r}:s.json"))) for r in git(t, "rev-list", "--reverse", "HEAD").split()]
	equal(lengths, sorted(lengths), "messages in each revision")
	Tally([m for m in map(mark, contents(t.path("s.json"))) if m], WRITTEN).require_perfect("beside git")


# ---- System calls that programs fall back from -------------------------------------------------------------------------

@case("O_TMPFILE fails with EOPNOTSUPP: programs fall back to a name of their own")
def tmpfile(t):
	if CONTROL:
		return
	for flags in (os.O_RDWR, os.O_WRONLY, os.O_RDWR | os.O_EXCL):
		try:
			os.close(os.open(t.dir, os.O_TMPFILE | flags, 0o600))
		except OSError as e:
			equal(e.strerror, os.strerror(95), "O_TMPFILE")
		else:
			raise Failure("O_TMPFILE succeeded")
	equal(os.listdir(t.dir), [], "names that are left")
	script = "import tempfile, sys; f = tempfile.TemporaryFile(dir=sys.argv[1]); f.write(b'x' * 9999); f.seek(0); print(len(f.read()))"
	equal(command("/usr/bin/python3", "-c", script, t.dir).stdout, "9999\n", "a temporary file of Python's")
	equal(os.listdir(t.dir), [], "names that are left")


@case("copy_file_range: with offsets, in pieces, into a session and between logs")
def ranges(t):
	def session():
		data = document(*[f"message {n}" for n in range(3000)])
		write(t.path("a.json"), data)
		with open(t.path("a.json"), "rb") as a, open(t.path("b.json"), "wb") as b:
			at = 0
			while got := os.copy_file_range(a.fileno(), b.fileno(), 4099, at, at):
				at += got
		equal(read(t.path("b.json")), data, "a session")
		with open(t.path("a.json"), "rb") as a, open(t.path("b.log"), "w+b") as b:
			equal(os.copy_file_range(a.fileno(), b.fileno(), 5000, 100, 7), 5000, "bytes copied")
			equal(os.pread(b.fileno(), 9999, 0), b"\0" * 7 + data[100:5100], "a log")
			equal(os.copy_file_range(b.fileno(), b.fileno(), 100, 7, 6000), 100, "bytes copied inside")
			equal(os.pread(b.fileno(), 100, 6000), data[100:200], "inside one file")
	forked(session)


if __name__ == "__main__":
	main()
