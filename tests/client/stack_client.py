"""
One person, or several, before the service of stack_server.py: what they do, and what has become of it.

A Person acts on one session after another, one request at a time, and knows what the session must be after each; an outside reader (this
process) compares. A browser may poll meanwhile. A Crowd only appends, all at once; each message that was acknowledged must be there once.
"""
import collections
import contextlib
import json
import random
import threading
import time

from tally import Tally, marks, text  # sets the path
from http_service import request

PATTERNS = ["none", "poll 1", "poll 20", "reload", "prompt", "all"]
EDITS = ["regenerate", "edit", "delete", "undo", "clear", "stream"]
SHARE = 0.3			# of what a person does: edits, the rest appends
SAME = ["ok", "Thanks!", "Sorry, error."]


class Pattern:
	"""What is read besides: how often the browser polls (Hz), whether the endpoint reads again after a save and before the model is called."""

	def __init__(self, name):
		self.poll = {"poll 1": 1, "poll 20": 20, "all": 20}.get(name, 0)
		self.reload = name in ("reload", "all")
		self.prompt = name in ("prompt", "all")


class Poller:
	"""The browser: asks for the session that is shown, at some rate."""

	def __init__(self, address, rate):
		self.address, self.rate, self.session = address, rate, None
		self.ended = threading.Event()
		self.thread = threading.Thread(target=self.poll)

	def poll(self):
		while not self.ended.wait(random.uniform(0.9, 1.1) / self.rate):
			if self.session:
				with contextlib.suppress(OSError):
					request(self.address, "GET", f"/history/{self.session}")

	def __enter__(self):
		if self.rate:
			self.thread.start()
		return self

	def __exit__(self, *_):
		self.ended.set()
		if self.rate:
			self.thread.join()


class Stack:
	"""
	A server under test. `holder`: it has the list over the model's call, instead of reading right before each save. `pause`: how long people
	wait between requests, at least and at most, in seconds.
	"""

	def __init__(self, address, read, holder, pattern, seed=None, pause=(0.01, 0.12)):
		self.address, self.read, self.holder, self.pattern, self.pause = address, read, holder, Pattern(pattern), pause
		self.random = random.Random(seed)

	def run(self, session, steps):
		status, body = request(self.address, "POST", f"/run/{session}", steps)
		if status != 200:
			raise OSError(f"{session}: {status} {body[:300]}")

	def model(self):
		return ["model", self.random.randint(80, 300) if self.holder else self.random.randint(5, 60)]

	def saved(self):
		"""A save, and what the endpoint reads then."""
		return [["save"], *([["look"]] if self.pattern.reload else [])]

	def before_model(self):
		return [["look"]] if self.pattern.prompt else []

	def changing(self, *changes):
		"""One save, right after a read."""
		return [["load"], *changes, *self.saved()]

	def answered(self, first, last):
		"""
		The steps of the requests that save what `first` changes, if it does, call the model, and save what `last` changes: one that holds
		the list all the time, or one for each.
		"""
		early = [*first, *self.saved()] if first else []
		if self.holder:
			return [[["load"], *early, *self.before_model(), self.model(), *last, *self.saved()]]
		requests = [[["load"], *early]] if first else []
		return [*requests, [*self.before_model(), self.model(), ["load"], *last, *self.saved()]]


class Result:
	def __init__(self):
		self.edits = self.kept = self.appends = self.wrong = self.lost = self.torn = 0
		self.traces = []

	def __str__(self):
		return f"{self.edits} edits, {self.kept} kept too much; {self.appends} appends, {self.wrong} wrong; {self.lost} lost, {self.torn} torn"


def changed(messages, steps):
	"""What must be there after these steps."""
	new = list(messages)
	for kind, *rest in steps:
		if kind == "append":
			new.append((rest[0], rest[1]))
		elif kind == "cut":
			del new[rest[0]:]
		elif kind == "delete":
			del new[rest[0]]
		elif kind == "last":
			new[-1] = (new[-1][0], rest[0])
	return new


class Person:
	def __init__(self, stack, poller, name="s"):
		self.stack, self.poller, self.name, self.random = stack, poller, name, stack.random
		self.result, self.number, self.sessions = Result(), 0, 0
		self.begin()

	def begin(self):
		self.session, self.wanted, self.length = f"{self.name}{self.sessions}", [], self.random.randint(6, 20)
		self.poller.session = self.session
		self.sessions += 1

	def words(self):
		self.number += 1
		return self.random.choice(SAME) if self.random.random() < 0.08 else f"{self.number}: {'words ' * self.random.randint(1, 40)}"

	def do(self, requests, edit):
		"""Whether all is as wanted."""
		for steps in requests:
			time.sleep(self.random.uniform(*self.stack.pause))
			self.stack.run(self.session, steps)
			after = changed(self.wanted, steps)
			bad = self.compare(after)
			removes = any(s[0] in ("cut", "delete", "last") for s in steps)
			if edit and removes:
				self.result.edits += 1
			else:
				self.result.appends += 1
			if bad:
				self.judge(edit if edit and removes else None, after, bad[0])
				return False
			self.wanted = after
		return True

	def compare(self, wanted):
		try:
			got = [(m["role"], m["content"]) for m in json.loads(self.stack.read(self.session))]
		except (ValueError, FileNotFoundError):
			return [None]
		return None if got == wanted else [got]

	def judge(self, edit, wanted, got):
		if got is None:
			self.result.torn += 1
			got = wanted
		elif edit:
			self.result.kept += 1
		else:
			self.result.wrong += 1
		lost = list((collections.Counter(wanted) - collections.Counter(got)).elements())
		extra = list((collections.Counter(got) - collections.Counter(wanted)).elements())
		self.result.lost += len(lost)
		self.result.traces.append((edit, [c[:12] for _, c in lost], [c[:12] for _, c in extra], self.events()))

	def events(self):
		"""The last ones of this session in the server, in milliseconds from its last opening of a file to save it."""
		status, told = request(self.stack.address, "GET", "/events")
		mine = [(at, thread, kind) for at, thread, kind, session in told if session == self.session] if status == 200 else []
		opened = max((at for at, _, kind in mine if kind == "open"), default=0)
		threads = {t: n for n, t in enumerate(dict.fromkeys(t for _, t, _ in mine))}
		return [(round((at - opened) / 1e6, 1), kind, threads[t]) for at, t, kind in mine[-16:]]

	def ask(self):
		return self.stack.answered([["append", "user", self.words()]], [["append", "assistant", self.words()]])

	def edit(self, kind):
		n, stack = len(self.wanted), self.stack
		if kind == "regenerate":
			if stack.holder and self.random.random() < 0.5:
				return stack.answered([["cut", n - 1]], [["append", "assistant", self.words()]])
			return stack.answered([], [["cut", n - 1], ["append", "assistant", self.words()]])
		if kind == "edit":
			i = self.random.randrange(0, n, 2)
			return stack.answered([["cut", i], ["append", "user", self.words()]], [["append", "assistant", self.words()]])
		if kind == "delete":
			return [stack.changing(["delete", self.random.randrange(n)])]
		if kind == "undo":
			return [stack.changing(["cut", n - 2])]
		if kind == "clear":
			return [stack.changing(["cut", 0])]
		return self.stream()

	def stream(self):
		"""The last message grows: of one list that is held, or read anew each time."""
		word, pieces = self.wanted[-1][1], []
		for _ in range(self.random.randint(2, 4)):
			word += " and so on"
			pieces.append(["last", word])
		if not self.stack.holder:
			return [self.stack.changing(p) for p in pieces]
		return [[["load"], *[s for p in pieces for s in (["model", self.random.randint(20, 60)], p, *self.stack.saved())]]]

	def step(self):
		"""An edit now and then."""
		if len(self.wanted) >= self.length:
			self.begin()
		kind = None
		if len(self.wanted) >= 2 and self.random.random() < SHARE:
			kind = self.random.choices(EDITS, [6, 4, 3, 3, 1, 3])[0]
		if not self.do(self.edit(kind) if kind else self.ask(), kind):
			self.begin()


def sequential(stack, edits, name="s"):
	"""One person, until so many edits have been tried."""
	with Poller(stack.address, stack.pattern.poll) as poller:
		person = Person(stack, poller, name)
		while person.result.edits < edits:
			person.step()
	return person.result


def crowd(stack, users, sessions, asks, name="c"):
	"""`users` people at once ask on `sessions` sessions. The tallies of these, and the requests that failed."""
	done, errors = collections.defaultdict(list), []

	def person(u):
		session = f"{name}{u % sessions}"
		for n in range(0, 2 * asks, 2):
			time.sleep(stack.random.uniform(0, 0.02))
			for i, steps in enumerate(stack.answered([["append", "user", text(f"u{u}", n)]], [["append", "assistant", text(f"u{u}", n + 1)]])):
				try:
					stack.run(session, steps)
				except OSError as e:
					errors.append(str(e))
					continue
				done[session] += [(f"u{u}", n + k) for k in ((0, 1) if stack.holder else (i,))]

	# While its first save is under way a new session is empty for who makes it, as on any filesystem.
	for n in range(sessions):
		stack.run(f"{name}{n}", [["load"], ["append", "system", "be kind"], ["save"]])
	with Poller(stack.address, stack.pattern.poll) as poller:
		poller.session = f"{name}0"
		threads = [threading.Thread(target=person, args=(u,)) for u in range(users)]
		for t in threads:
			t.start()
		for t in threads:
			t.join()
	tallies = []
	for s in range(sessions):
		try:
			found = marks(json.loads(stack.read(f"{name}{s}")))
		except (ValueError, FileNotFoundError) as e:
			errors.append(f"{name}{s} is torn: {e}")
			found = []
		tallies.append(Tally(found, done[f"{name}{s}"]))
	return tallies, errors
