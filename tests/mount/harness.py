"""
Runs the cases of one test script over a mount of its own.

A script lists its cases with @case and ends in harness.main(). Each case gets a Case: a fresh directory on a mount that
the cases of the script share, a plain directory, and means to start more mounts. What counts as failure beside an
exception: suspicious output of a daemon, a daemon that died, a mount that does not go away.

Environment: HISTORYFS and HISTORYCTL are the binaries; HISTORYFS_QUICK=1 asks for reduced sizes; HISTORYFS_CASE=TEXT runs
only the cases whose name contains TEXT; HISTORYFS_SEED fixes the random sequences; HISTORYFS_CONTROL=1 runs the cases on
a plain directory, to try the tests themselves.

Exit status: 0, 1 when a case failed, 77 when nothing could be run.
"""
import contextlib
import ctypes
import errno
import faulthandler
import os
import pickle
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

HISTORYFS = os.environ.get("HISTORYFS", "")
HISTORYCTL = os.environ.get("HISTORYCTL", "")
QUICK = os.environ.get("HISTORYFS_QUICK", "") not in ("", "0")
CONTROL = os.environ.get("HISTORYFS_CONTROL", "") not in ("", "0")
SEED = int(os.environ.get("HISTORYFS_SEED") or random.SystemRandom().randrange(1 << 32))

START_SECONDS = 60		# guards against a daemon that hangs; nothing passes or fails by being fast
SCRIPT_SECONDS = int(os.environ.get("HISTORYFS_DEADLINE", "270"))

SANITIZER = re.compile(r"(Address|Leak|Thread|Memory|UndefinedBehavior)Sanitizer|runtime error:|Assertion .* failed", re.I)
SUSPICIOUS = re.compile(r"error|warn|fail|panic|corrupt|damaged|abort|segmentation|stack trace|cannot|unable", re.I)

libc = ctypes.CDLL(None, use_errno=True)


# What stands for many expected lines, or follows from them.
SUMMARY = re.compile(r"and \d+ more lines like the last ones|removed the \d+ oldest of the refused documents")


class Skip(Exception):
	"""The case cannot be run here; the text says why."""


class Failure(AssertionError):
	pass


def require(condition, message):
	if not condition:
		raise Failure(message)


def equal(got, wanted, what=""):
	if got != wanted:
		raise Failure(f"{what}: got {shorten(got)}, wanted {shorten(wanted)}")


def shorten(value, limit=400):
	text = repr(value)
	return text if len(text) <= limit else f"{text[:limit // 2]} ... {text[-limit // 2:]} ({len(text)} characters)"


def fails(number, function, *arguments, **named):
	"""The call must fail with this errno (or one of these)."""
	numbers = number if isinstance(number, tuple) else (number,)
	names = "/".join(errno.errorcode[n] for n in numbers)
	try:
		function(*arguments, **named)
	except OSError as e:
		require(e.errno in numbers, f"{function.__name__}{shorten(arguments)}: {errno.errorcode.get(e.errno, e.errno)}, wanted {names}")
		return e
	raise Failure(f"{function.__name__}{shorten(arguments)} succeeded, wanted {names}")


def eventually(function, wanted, what):
	"""For what happens at RELEASE, which comes after close() has returned."""
	deadline = time.monotonic() + 20
	while (got := function()) != wanted and time.monotonic() < deadline:
		time.sleep(0.01)
	equal(got, wanted, what)


def read(path):
	with open(path, "rb") as f:
		return f.read()


def write(path, data):
	"""open(path, "w"): O_TRUNC, writes of 8 KiB, close."""
	with open(path, "wb", buffering=8192) as f:
		for at in range(0, len(data), 8192):
			f.write(data[at:at + 8192])


def write_once(path, data, flags=os.O_TRUNC | os.O_CREAT):
	fd = os.open(path, os.O_WRONLY | flags, 0o644)
	try:
		write_all(fd, data)
	except BaseException:
		with contextlib.suppress(OSError):
			os.close(fd)
		raise
	os.close(fd)


def write_all(fd, data):
	done = 0
	while done < len(data):
		done += os.write(fd, data[done:])


def mounts_below(directory):
	"""The mount points at or beneath a directory, deepest first."""
	found = []
	with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as f:
		for line in f:
			point = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), line.split()[4])
			if point == directory or point.startswith(directory + "/"):
				found.append(point)
	return found[::-1]


def die_with_parent():
	"""In a child before exec: asks to be told when the test script is gone, so that no mount outlives it."""
	libc.prctl(1, signal.SIGTERM)
	# What started the tests may ignore it (nohup); a daemon then would too.
	signal.signal(signal.SIGHUP, signal.SIG_DFL)


# ---- Processes ---------------------------------------------------------------------------------------------------

class Child:
	"""A forked process that runs one function; result() is what it returned."""

	living = {}

	def __init__(self, function, *arguments):
		sys.stdout.flush()
		self.reader, writer = os.pipe()
		self.pid = os.fork()
		if self.pid:
			os.close(writer)
			Child.living[self.pid] = self
			return
		status = 1
		try:
			signal.signal(signal.SIGTERM, signal.SIG_DFL)
			libc.prctl(1, signal.SIGKILL)		# no child outlives the script
			faulthandler.cancel_dump_traceback_later()
			os.close(self.reader)
			try:
				outcome = (True, function(*arguments))
			except Skip as e:
				outcome = (None, str(e))
			except BaseException:
				outcome = (False, traceback.format_exc())
			write_all(writer, pickle.dumps(outcome))
			status = 0
		finally:
			os._exit(status)

	def result(self):
		data = b""
		while piece := os.read(self.reader, 1 << 16):
			data += piece
		os.close(self.reader)
		code = self.wait()
		require(data, f"child {self.pid} ended without a result, status {code}")
		good, value = pickle.loads(data)
		if good is None:
			raise Skip(value)
		require(good, f"in child {self.pid}:\n{value}")
		return value

	def wait(self):
		_, code = os.waitpid(self.pid, 0)
		Child.living.pop(self.pid, None)
		return code

	def kill(self, number=signal.SIGKILL):
		os.kill(self.pid, number)


def forked(function, *arguments):
	return Child(function, *arguments).result()


def together(functions):
	"""Runs each function in a process of its own, all at once; their results in order."""
	return [child.result() for child in [Child(f) for f in functions]]


def in_threads(functions):
	"""Runs each function in a thread of this process, all at once; their results in order. The first exception is raised."""
	results = [None] * len(functions)

	def run(i):
		try:
			results[i] = (True, functions[i]())
		except BaseException as e:
			results[i] = (False, e)
	threads = [threading.Thread(target=run, args=(i,)) for i in range(len(functions))]
	for t in threads:
		t.start()
	for t in threads:
		t.join()
	for good, value in results:
		if not good:
			raise value
	return [value for _, value in results]


def command(*words, status=0, **named):
	"""Runs a program and checks its exit status (None: any); gives the CompletedProcess with text output."""
	named = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "errors": "surrogateescape", **named}
	done = subprocess.run(words, **named)
	require(status is None or done.returncode == status,
		f"{' '.join(map(str, words))}: status {done.returncode}, wanted {status}: {done.stdout}{done.stderr}")
	return done


# ---- Mounts ------------------------------------------------------------------------------------------------------

class Mount:
	"""
	One daemon in the foreground that serves a store at a directory. `expected` are patterns of log lines that are no
	failure. In control mode it is just the directory.
	"""

	def __init__(self, log, store, directory, options=(), arguments=(), expected=(), wrapper=(), environment=None):
		self.log, self.store, self.path = log, store, directory
		self.options, self.arguments, self.wrapper = tuple(options), tuple(arguments), tuple(wrapper)
		self.environment = environment or {}
		self.expected = list(expected)
		self.daemon = None
		self.checked = 0

	def words(self):
		options = ("-o", ",".join(self.options)) if self.options else ()
		return [*self.wrapper, HISTORYFS, "-f", *self.arguments, *options, self.store, self.path]

	def start(self):
		if CONTROL:
			return self
		with open(self.log, "ab") as log:
			self.daemon = subprocess.Popen(self.words(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent,
						       env={**os.environ, **self.environment})
		deadline = time.monotonic() + START_SECONDS
		while True:
			if self.daemon.poll() is not None:
				code, self.daemon = self.daemon.returncode, None
				raise Failure(f"the daemon ended with status {code} at start: {self.output()[-3000:]}")
			if answers(self.path):
				return self
			if time.monotonic() > deadline:
				self.kill()
				raise Failure(f"the mount did not answer within {START_SECONDS} s: {self.output()[-3000:]}")
			time.sleep(0.005)

	def stop(self):
		"""Unmounts, and waits for the daemon's end, which must be clean."""
		if self.daemon is None:
			return
		done = None
		for _ in range(50):		# a child that was just killed may hold a file for a moment
			done = command("fusermount3", "-u", self.path, status=None)
			if done.returncode == 0 or "busy" not in done.stderr.lower():
				break
			time.sleep(0.1)
		if done.returncode:
			command("fusermount3", "-uz", self.path, status=None)
		code = self.join()
		require(done.returncode == 0, f"fusermount3 -u {self.path}: {done.stderr}")
		equal(code, 0, "exit status of the daemon after fusermount3 -u")
		equal(mounts_below(self.path), [], "mounts that are left")
		self.check()

	def join(self):
		"""Waits for the daemon's end; its exit status."""
		try:
			code = self.daemon.wait(START_SECONDS)
		except subprocess.TimeoutExpired:
			self.daemon.send_signal(signal.SIGABRT)
			self.daemon.wait()
			self.daemon = None
			raise Failure(f"the daemon did not end: {self.output()[-3000:]}") from None
		self.daemon = None
		return code

	def signal(self, number):
		self.daemon.send_signal(number)

	def kill(self):
		"""SIGKILL; the stale mount stays."""
		self.daemon.kill()
		self.daemon.wait()
		self.daemon = None

	def died(self):
		"""Ended although nobody stopped it; a crashing sanitizer gets the time to say why."""
		if self.daemon is None:
			return False
		try:
			os.statvfs(self.path)
		except OSError:
			with contextlib.suppress(subprocess.TimeoutExpired):
				self.daemon.wait(10)
		return self.daemon.poll() is not None

	def last_words(self):
		text = self.output()
		found = SANITIZER.search(text)
		return f"the daemon died, status {self.daemon.poll()}: {text[found.start():][:6000] if found else text[-3000:]}"

	def output(self):
		if not os.path.exists(self.log):
			return ""
		return read(self.log).decode("utf-8", "backslashreplace")

	def lines(self, pattern, since=0):
		return [line for line in self.output()[since:].splitlines() if re.search(pattern, line)]

	def position(self):
		"""For `since` above: what was logged so far."""
		return len(self.output())

	def expect(self, pattern):
		self.expected.append(pattern)

	def check(self):
		"""Fails on what the daemon wrote since the last check and nobody expected."""
		text = self.output()
		fresh, self.checked = text[self.checked:], len(text)
		if SANITIZER.search(fresh):
			if self.daemon is not None:
				with contextlib.suppress(subprocess.TimeoutExpired):
					self.daemon.wait(10)		# it has more to say
				fresh = self.output()[-12000:]
			raise Failure(f"sanitizer output of the daemon:\n{fresh[:8000]}")
		for line in fresh.splitlines():
			if self.expected and SUMMARY.search(line):
				continue
			if SUSPICIOUS.search(line) and not any(re.search(p, line) for p in self.expected):
				raise Failure(f"unexpected output of the daemon: {line}")

	def discard(self):
		"""After a failure: whatever is left goes."""
		if self.daemon is not None and self.daemon.poll() is None:
			self.daemon.send_signal(signal.SIGTERM)
			try:
				self.daemon.wait(5)
			except subprocess.TimeoutExpired:
				self.kill()
		self.daemon = None
		clear(self.path)

	def control_file(self, name):
		return os.path.join(self.path, ".historyfs", name)

	def __enter__(self):
		return self.start()

	def __exit__(self, kind, value, trace):
		if kind is None:
			try:
				self.stop()
			except BaseException:
				self.discard()
				raise
		else:
			self.discard()


def answers(directory):
	"""Whether a mount is there and its daemon lives."""
	try:
		os.statvfs(directory)
		return os.path.ismount(directory)
	except OSError:
		return False


def clear(directory):
	for point in mounts_below(directory):
		command("umount", "-l", point, status=None)


# ---- Cases -------------------------------------------------------------------------------------------------------

class Case:
	"""What one case works with."""

	def __init__(self, script, name):
		self.script, self.name = script, name
		self.mounts = []
		self.plain = script.place("plain")
		self._directory = None

	@property
	def mount(self):
		return self.script.mount()

	@property
	def dir(self):
		"""A fresh directory on the shared mount."""
		if self._directory is None:
			self._directory = os.path.join(self.mount.path, f"case{self.script.counter()}")
			os.mkdir(self._directory)
			os.chmod(self._directory, 0o777)
		return self._directory

	def path(self, name):
		return os.path.join(self.dir, name)

	def place(self, name="dir"):
		"""A fresh plain directory."""
		return self.script.place(name)

	def new_mount(self, store=None, directory=None, **named):
		"""A further mount, by default on a new store at a new directory: `with t.new_mount(options=["ro"]) as m`."""
		if not CONTROL:
			self.script.need_binaries()
		mount = Mount(self.script.place("log") + "/output", store or self.script.place("stores") + "/store", directory or self.script.place("mnt"), **named)
		self.mounts.append(mount)
		return mount


class Script:
	def __init__(self, options, environment):
		self.root = tempfile.mkdtemp(prefix="historyfs-test-", dir="/tmp")
		os.chmod(self.root, 0o755)
		self.options, self.environment = options, environment
		self.shared = None
		self.number = 0

	def counter(self):
		self.number += 1
		return self.number

	def place(self, name):
		path = os.path.join(self.root, f"{self.counter()}-{name}")
		os.mkdir(path, 0o755)
		return path

	def need_binaries(self):
		if not os.access(HISTORYFS, os.X_OK):
			raise Skip("HISTORYFS does not name a program")
		if not os.path.exists("/dev/fuse"):
			raise Skip("there is no /dev/fuse")

	def mount(self):
		if self.shared is None:
			if not CONTROL:
				self.need_binaries()
			self.shared = Mount(self.place("log") + "/output", self.place("stores") + "/store", self.place("mnt"), self.options,
					    environment=self.environment)
			self.shared.start()
		return self.shared

	def run(self, name, function):
		case = Case(self, name)
		descriptors = set(os.listdir("/proc/self/fd"))
		try:
			function(case)
			for mount in case.mounts:
				require(mount.daemon is None, f"the case left {mount.path} mounted")
				mount.check()
			if self.shared is not None:
				require(not self.shared.died(), "the daemon died")
				self.shared.check()
		except BaseException as e:
			for mount in case.mounts:
				if mount.died():
					e.add_note(mount.last_words())
				mount.discard()
			if self.shared is not None and self.shared.died():
				e.add_note(self.shared.last_words())
				self.shared.discard()
				self.shared = None
			raise
		finally:
			for child in list(Child.living.values()):
				child.kill()
				child.wait()
			for fd in set(os.listdir("/proc/self/fd")) - descriptors:	# a failed case's, which would keep the mount busy
				with contextlib.suppress(OSError):
					os.close(int(fd))

	def finish(self):
		"""Unmounts the shared mount; whatever happens nothing stays mounted and nothing stays in /tmp."""
		try:
			if self.shared is not None:
				self.shared.stop()
		finally:
			if self.shared is not None:
				self.shared.discard()
			left = mounts_below(self.root)
			clear(self.root)
			if not mounts_below(self.root):
				shutil.rmtree(self.root, ignore_errors=True)
		require(CONTROL or not left, f"mounts that were left: {left}")


CASES = []


def case(name):
	"""Adds the function to the script's table of cases."""
	def add(function):
		CASES.append((name, function))
		return function
	return add


def cases(pattern, rows):
	"""One case a row of a table: the function gets the row's further fields, the first one names it."""
	def add(function):
		for row in rows:
			CASES.append((pattern.format(row[0]), lambda t, row=row: function(t, *row)))
		return function
	return add


def watch(script):
	"""Against hanging for ever: after SCRIPT_SECONDS the stacks are printed and the daemons killed, so that every call on the mount returns."""
	def expire():
		print(f"not ok: nothing ended within {SCRIPT_SECONDS} s", flush=True)
		faulthandler.dump_traceback(all_threads=True)
		clear(script.root)
		if not mounts_below(script.root):
			shutil.rmtree(script.root, ignore_errors=True)
		os._exit(1)
	timer = threading.Timer(SCRIPT_SECONDS, expire)
	timer.daemon = True
	timer.start()


def main(options=(), environment=None):
	signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
	script = Script(list(options), environment)
	watch(script)
	wanted = os.environ.get("HISTORYFS_CASE", "")
	passed, failed, skipped = 0, 0, 0
	random.seed(SEED)
	print(f"seed {SEED}", flush=True)
	try:
		for name, function in CASES:
			if wanted not in name:
				continue
			began = time.monotonic()
			try:
				script.run(name, function)
				passed += 1
				print(f"ok {name} ({time.monotonic() - began:.2f} s)", flush=True)
			except Skip as e:
				skipped += 1
				print(f"skip {name}: {e}", flush=True)
			except Exception as e:
				failed += 1
				print(f"not ok {name}: {explain(e)}", flush=True)
	finally:
		try:
			script.finish()
		except Exception as e:
			failed += 1
			print(f"not ok at the end: {explain(e)}", flush=True)
	print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
	sys.exit(1 if failed else 0 if passed else 77)


def explain(e):
	frames = [f for f in traceback.extract_tb(e.__traceback__) if os.path.basename(f.filename) != "harness.py"]
	where = " < ".join(f"{os.path.basename(f.filename)}:{f.lineno}" for f in reversed(frames[-4:]))
	return "\n".join([f"{type(e).__name__}: {e} [{where}]", *getattr(e, "__notes__", [])])
