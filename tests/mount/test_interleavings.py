#!/usr/bin/python3
"""
The table tests/data/interleavings.txt, which explains its notation, on a mount: every process of a case is a process of its own, which
reads and writes on the threads that the case names, step by step as this script tells it through a socket. Those with a capital
letter hold an eventpoll, as those that run an event loop do.
"""
import contextlib
import errno
import json
import os
import pickle
import queue
import select
import signal
import socket
import sys
import threading
import time

from harness import CONTROL, HISTORYCTL, Failure, cases, command, equal, fails, forked, libc, main, require, write_all

TABLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../data/interleavings.txt")
TICKS = 0.03		# a fork is known to the clock tick: what comes before and after it must not share it


def rows():
	with open(TABLE, encoding="utf-8") as f:
		for line in f:
			if line.strip() and not line.startswith("#"):
				rule, name, levels, steps, expected = (field.strip() for field in line.rstrip("\n").split(" | "))
				if {"all", "mount"} & set(levels.split()):
					yield f"{rule}: {name}", "edit" in levels.split(), steps.split(), expected.split(" or ")


# ---- Documents ---------------------------------------------------------------------------------------------------

def document(word):
	if word[:1] in "{[":
		return word.encode()
	if word == "empty":
		return b""
	torn = word.startswith("~")
	data = json.dumps([{"role": "user", "content": letter} for letter in word.lstrip("~") if letter != "-"]).encode()
	return data[:-3] if torn else data


def describe(data):
	"""What is there, as the table says it."""
	if data is None:
		return "none"
	if not data:
		return "empty"
	try:
		messages = json.loads(data)
		return "".join(m["content"] for m in messages) or "-" if isinstance(messages, list) else data.decode()
	except (ValueError, TypeError, KeyError):
		return data.decode("utf-8", "replace")


# ---- Processes ---------------------------------------------------------------------------------------------------

class Client:
	"""What runs in a process of a case: one request at a time, each on the thread that it is for."""

	def __init__(self, path):
		self.path = path
		self.handles = {}
		self.threads = {}

	def read(self):
		try:
			fd = os.open(self.path, os.O_RDONLY)
		except FileNotFoundError:
			return None
		try:
			return whole(fd)
		finally:
			os.close(fd)

	def save(self, data):
		fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
		try:
			write_all(fd, data)
		finally:
			os.close(fd)

	def temp(self, name, data):
		fd = os.open(self.path + name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
		write_all(fd, data)
		os.close(fd)

	def rename(self, name):
		os.rename(self.path + name, self.path)

	def replace(self, data):
		name = f".{os.getpid()}.tmp"
		self.temp(name, data)
		self.rename(name)

	def open(self, number, flags):
		self.handles[number] = os.open(self.path, flags, 0o644)

	def write_handle(self, number, data):
		os.ftruncate(self.handles[number], 0)
		os.pwrite(self.handles[number], data, 0)

	def begin_handle(self, number):
		os.pread(self.handles[number], 1, 0)

	def read_handle(self, number):
		return whole(self.handles[number])

	def close_handle(self, number):
		os.close(self.handles.pop(number))

	def unlink(self):
		os.unlink(self.path)

	def rename_away(self):
		os.rename(self.path, self.path + ".bak")

	def unlink_away(self):
		os.unlink(self.path + ".bak")

	def group(self, leader):
		os.setpgid(0, leader)
		return os.getpid()

	def perform(self, method, *arguments):
		try:
			return True, getattr(self, method)(*arguments)
		except OSError as e:
			return False, e.errno

	def on_thread(self, thread, *request):
		if thread == 1:
			return self.perform(*request)
		if thread not in self.threads:
			requests, answers = queue.Queue(), queue.Queue()
			self.threads[thread] = requests, answers

			def run():
				while True:
					answers.put(self.perform(*requests.get()))
			threading.Thread(target=run, daemon=True).start()
		requests, answers = self.threads[thread]
		requests.put(request)
		return answers.get()


def whole(fd):
	data = b""
	while piece := os.pread(fd, 1 << 17, len(data)):
		data += piece
	return data


def serve(path, events, channel):
	"""Never returns."""
	client = Client(path)
	client.poll = select.epoll() if events else None
	channel.send(b"ready")
	while True:
		request = channel.recv(1 << 20)
		if not request:
			os._exit(0)
		thread, method, arguments = pickle.loads(request)
		if method == "fork":
			channel, pid = fork(channel, arguments[0])
			if not pid:
				client.threads = {}
			continue
		channel.send(pickle.dumps(client.on_thread(thread, method, *arguments)))


def fork(channel, name):
	"""In the child the channel is a new one, to who listens under `name`."""
	pid = os.fork()
	if not pid:
		libc.prctl(1, signal.SIGKILL)
		channel.close()
		channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
		channel.connect(name)
		channel.send(b"ready")
	return channel, pid


class Process:
	"""A process of a case, as this script sees it."""

	def __init__(self, path, events):
		ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
		sys.stdout.flush()
		self.pid = os.fork()
		if not self.pid:
			try:
				libc.prctl(1, signal.SIGKILL)
				# No case is a pipeline but those that say so.
				os.setpgid(0, 0)
				ours.close()
				serve(path, events, theirs)
			finally:
				os._exit(1)
		theirs.close()
		self.channel = ours
		self.ready()

	def ready(self):
		equal(self.channel.recv(16), b"ready", "a process begins")

	@classmethod
	def forked(cls, parent):
		self = cls.__new__(cls)
		self.pid = None
		name = f"\0{os.getpid()}.{time.monotonic_ns()}"
		with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
			listener.bind(name)
			listener.listen(1)
			time.sleep(TICKS)
			parent.channel.send(pickle.dumps((1, "fork", (name,))))
			self.channel, _ = listener.accept()
		self.ready()
		time.sleep(TICKS)
		return self

	def call(self, thread, method, *arguments):
		"""What it gave; raises the OSError that it got."""
		self.channel.send(pickle.dumps((thread, method, arguments)))
		answer = self.channel.recv(1 << 20)
		require(answer, f"the process is gone at {method}")
		good, value = pickle.loads(answer)
		if not good:
			raise OSError(value, os.strerror(value))
		return value

	def end(self, kill=False):
		if kill:
			os.kill(self.pid, signal.SIGKILL)
		else:
			self.channel.shutdown(socket.SHUT_RDWR)		# others have inherited it: closing is not enough
		self.channel.close()
		if self.pid:
			os.waitpid(self.pid, 0)
			self.pid = None


# ---- Cases -------------------------------------------------------------------------------------------------------

class Play:
	def __init__(self, t, mount, directory):
		self.t, self.mount = t, mount
		self.directory = directory
		self.path = f"{directory}/f.json"
		self.processes, self.owners, self.groups = {}, {}, {}

	def process(self, letter):
		if letter not in self.processes:
			self.processes[letter] = Process(self.path, letter.isupper())
		return self.processes[letter]

	def call(self, actor, method, *arguments):
		return self.process(actor[0]).call(int(actor[1:] or 1), method, *arguments)

	def changes(self):
		"""The session's log, the newest change first."""
		if CONTROL or not HISTORYCTL:
			return []
		session = os.path.relpath(self.path, self.mount.path)
		done = command(HISTORYCTL, "--store", self.mount.store, "log", "--json", session, status=None)
		return sorted(json.loads(done.stdout), key=lambda c: -c["version"]) if done.returncode == 0 else []

	def saving(self, result, function, *arguments):
		if not result:
			function(*arguments)
			return
		if result == "refused":
			fails(errno.EINVAL, function, *arguments)
			return
		before = self.changes()
		function(*arguments)
		if CONTROL or not HISTORYCTL:
			return
		after = self.changes()
		if result == "same":
			equal(after, before, "the log")
		else:
			equal(len(after), len(before) + 1, "changes in the log")
			require(set(result.split(",")) <= set(after[0]["flags"]), f"{result}: the log says {after[0]}")

	def step(self, step):
		step, _, result = step.partition("!")
		who, _, word = step.partition("=")
		if not who:
			self.saving(result, forked, Client(self.path).save, document(word))
		elif ">" in who:
			self.processes[who[2]] = Process.forked(self.process(who[0]))
		elif "#" in who:
			letter, number = who.split("#")
			leader = self.process(letter).call(1, "group", self.groups.get(number, 0))
			self.groups.setdefault(number, leader)
		elif who[0].isdigit():
			self.step_handle(int(who[0]), who[1:], word, result)
		else:
			self.step_process(*who.split(":"), word, result)

	def step_handle(self, number, operation, word, result):
		actor = self.owners[number]
		if operation == "":
			self.call(actor, "write_handle", number, document(word))
		elif operation == ":c":
			self.saving(result, self.call, actor, "close_handle", number)
		elif operation == ":f":
			self.call(actor, "begin_handle", number)
		else:
			equal(describe(self.call(actor, "read_handle", number)), word, "is shown")

	def step_process(self, actor, operation, word, result):
		kind, number = operation[0], int(operation[1:] or 0)
		if kind in "rn":
			shown = describe(self.call(actor, "read"))
			equal(shown, "none" if kind == "n" else word or shown, "is shown")
		elif kind == "w":
			self.saving(result, self.call, actor, "save", document(word))
		elif kind == "t" and number:
			self.call(actor, "temp", f".{number}.tmp", document(word))
		elif kind == "t":
			self.saving(result, self.call, actor, "replace", document(word))
		elif kind == "m":
			self.saving(result, self.call, actor, "rename", f".{number}.tmp")
		elif kind in "ogh":
			self.owners[number] = actor
			flags = {"o": os.O_WRONLY | os.O_CREAT | os.O_TRUNC, "g": os.O_RDWR | os.O_CREAT, "h": os.O_RDONLY}[kind]
			self.call(actor, "open", number, flags)
		elif kind == "x":
			self.processes.pop(actor).end(kill=True)
		else:
			self.call(actor, {"u": "unlink", "b": "rename_away", "d": "unlink_away"}[kind])

	def end(self):
		for process in self.processes.values():
			with contextlib.suppress(OSError):
				process.end()


def play(t, mount, steps, expected):
	directory = os.path.join(mount.path, f"case{t.script.counter()}")
	os.mkdir(directory)
	p = Play(t, mount, directory)
	try:
		for step in steps:
			try:
				p.step(step)
			except (Failure, OSError) as e:
				raise Failure(f"{step}: {e}") from None
		found = describe(forked(Client(p.path).read))
		require(found in expected, f"at the end there is {found}, expected {' or '.join(expected)}")
	finally:
		p.end()


@cases("{}", list(rows()))
def interleaving(t, name, edit, steps, expected):
	t.mount.expect(r"refused .*f\.json")
	if edit:
		with t.new_mount(options=["merge=edit"]) as mount:
			play(t, mount, steps, expected)
	else:
		play(t, t.mount, steps, expected)


if __name__ == "__main__":
	main()
