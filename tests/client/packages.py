"""
Packages as they are published, over a real mount and, as a control, on a plain directory: 8 writers of 50 saves each on one
file, with readers all the time.

A writer is a program that is started as WORDS FILE WRITER SAVES. It says "ready" when all is loaded, waits for a line, so
that all begin at once, and prints "NAME NUMBER" for each message whose save came back without an error, "! TEXT" for each
that did not. The texts of its messages begin with "NAME:NUMBER;".
"""
import contextlib
import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys

from tally import Readers, Tally, mark
from harness import QUICK, Failure, Skip, command, equal, forked, require, shorten, write

HERE = os.path.dirname(os.path.abspath(__file__))
NODE_MODULES = os.path.join(HERE, "..", "..", ".build", "npm", "node_modules")
WRITERS, SAVES = 8, 10 if QUICK else 50
ATTEMPTS = 5


def need(program):
	if shutil.which(program) is None:
		raise Skip(f"{program} is not installed")


def need_module(name):
	if importlib.util.find_spec(name) is None:
		raise Skip(f"python3-{name} is not installed")


class Saved:
	"""What the writers said: `done` are the messages whose saves came back without an error."""

	def __init__(self):
		self.done, self.errors = [], []

	def take(self, output):
		for line in output.split("\n")[:-1]:
			if line.startswith("! "):
				self.errors.append(line[2:])
			else:
				name, number = line.split()
				self.done.append((name, int(number)))
		return self


def race(words, path, tasks=1):
	"""Runs WRITERS / tasks programs at once."""
	saved = Saved()
	with contextlib.ExitStack() as stack:
		programs = []
		for w in range(WRITERS // tasks):
			p = subprocess.Popen([*words, path, f"w{w}", str(SAVES), str(tasks)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
					     stderr=subprocess.PIPE, text=True, encoding="utf-8", errors="replace", start_new_session=True)
			stack.callback(p.wait)
			stack.callback(p.kill)
			programs.append(p)
		for p in programs:
			line = p.stdout.readline()
			require(line == "ready\n", f"{words}: {line}{p.stderr.read() if not line else ''}")
		for p in programs:
			p.stdin.write("go\n")
			p.stdin.flush()
		for p in programs:
			output, errors = p.communicate()
			saved.take(output)
			if p.returncode:
				raise Failure(f"{words}: status {p.returncode}: {errors[-2000:]}")
	return saved


def starting(words, tasks=1, before=None):
	"""A race on a file that holds `before` at first."""
	def run(path):
		if before is not None:
			forked(write, path, before)		# by none of the writers' ancestors: children inherit what their parents have seen
		return race(words, path, tasks)
	return run


def npm(t, name, kind, tasks=1, before=None):
	"""A race of packages.mjs. Node looks for packages beside the script, so it is copied to where they can be."""
	need("node")
	if not os.path.isdir(os.path.join(NODE_MODULES, name)):
		raise Skip(f"the npm package {name} is not in .build/npm; tools/check puts it there")
	place = t.place("node")
	shutil.copy(os.path.join(HERE, "packages.mjs"), place)
	os.symlink(os.path.realpath(NODE_MODULES), os.path.join(place, "node_modules"))
	return starting(["node", os.path.join(place, "packages.mjs"), kind], tasks, before)


PROGRAMS = {"php": "packages.php", "perl": "packages.pl", "sh": "packages.sh"}


def program(name, kind, further=None, before=None):
	"""A race of one of these scripts. `further`: a program that it needs."""
	for p in (name, further):
		if p:
			need(p)
	return starting([name, os.path.join(HERE, PROGRAMS[name]), kind], 1, before)


def aiofiles(kind, tasks):
	need_module("aiofiles")
	return starting([sys.executable, os.path.join(HERE, "packages_aiofiles.py"), kind], tasks)


APPEND = "import json, sys; d = json.load(open(sys.argv[1])); d.append({'role': 'user', 'content': 'another'}); json.dump(d, open(sys.argv[1], 'w'))"


def edit_in_vim(t, options):
	"""A person reads a session in vim, another program adds a message, the person saves. The texts in the end."""
	need("vim")
	path = t.path("s.json")
	forked(write, path, b'[\n{"role": "user", "content": "first"}\n]\n')
	meanwhile = shlex.join([sys.executable, "-c", APPEND, path])
	command("vim", "-es", "-u", "NONE", "-i", "NONE", "-n", "--cmd", f"set nocompatible backupskip= {options}", "-S", os.path.join(HERE, "packages.vim"), path,
		env={**os.environ, "MESSAGE": '{"role": "user", "content": "a person\'s"}', "MEANWHILE": meanwhile}, input="y\n")
	equal(os.listdir(t.dir), ["s.json"], "names that are left")
	with open(path, encoding="utf-8") as f:
		return listed(json.load(f))


class Result:
	"""What became of the saves of one race in a directory."""

	def __init__(self, path, saved, contents, readers):
		self.saved, self.readers = saved, readers
		try:
			with open(path, encoding="utf-8") as f:
				found = contents(json.load(f))
			self.torn = False
		except (ValueError, FileNotFoundError):
			found, self.torn = [], True
		self.count = len(found)
		self.tally = Tally([m for m in map(mark, found) if m], saved.done)

	@property
	def perfect(self):
		t = self.tally
		return not (self.torn or self.readers.wrong or self.saved.errors or t.lost or t.duplicated or t.strange or t.disordered)

	def __str__(self):
		return (f"{len(self.saved.errors)} saves failed {shorten(self.saved.errors[:2])}, {'the file is torn, ' if self.torn else ''}"
			f"{len(self.readers.wrong)} of {self.readers.reads} reads wrong {shorten(self.readers.wrong[:2])}, {self.tally}")


def observe(directory, contents, function, **may):
	"""Runs function(path), which gives a Saved, with readers."""
	path = os.path.join(directory, "s.json")
	with Readers([path], lambda d: len(contents(d)), pause=0.003, judge=False, **may) as readers:
		saved = function(path)
	return Result(path, saved, contents, readers)


def on_mount(t, contents, function, **may):
	"""Every save is acknowledged, all of them are there, and every read was whole. `may`: see Readers."""
	result = observe(t.dir, contents, function, **may)
	require(result.perfect and result.readers.reads and len(result.saved.done) == result.count == WRITERS * SAVES, str(result))
	left = sorted(n for n in os.listdir(t.dir) if n != "s.json")
	require(not left, f"names that are left: {left}")


def on_plain(t, contents, function, safe=False):
	"""The same race must show a loss or a torn read, or the test shows nothing; a `safe` one is only told about."""
	for _ in range(1 if safe else ATTEMPTS):
		result = observe(t.place(), contents, function)
		if safe or not result.perfect:
			break
	print(f"   on a plain directory: {result}", flush=True)
	require(safe or not result.perfect, "nothing was lost or torn on a plain directory, so this test shows nothing")


def listed(document):
	return [m["content"] for m in document]


def enveloped(document):
	"""node-json-db first writes an empty object."""
	return [m["content"] for m in document.get("messages", [])]


def langchain(document):
	return [m["data"]["content"] for m in document["user"]["session"]["messages"]]
