#!/usr/bin/python3
"""Saves that rename the session away and make it anew (rule 13): the .bak dance, by tasks of one process and by several programs."""
import json
import os
import random
import subprocess
import sys
import time

from steps import Steps, contents, document
from harness import QUICK, SEED, case, cases, equal, forked, main, read, require, together, write


def dance(path, number, data):
	"""Roo-Code's save."""
	temp, backup = f"{path}.new_{number}.tmp", f"{path}.bak_{number}.tmp"
	write(temp, data)
	os.rename(path, backup)
	os.rename(temp, path)
	os.unlink(backup)


@case("rule 13: a task that waits while others of its process dance on keeps its ticket")
def long_wait(t):
	path = t.path("s.json")
	forked(write, path, document("first"))	# what this process wrote its children know

	def tasks():
		yield
		for n in range(120):
			if n == 40:
				mine = contents(path)
			dance(path, n, document(*contents(path), f"other {n}"))
		dance(path, "mine", document(*mine, "mine"))
	Steps(tasks(), events=True).end()
	equal(contents(path), ["first", *[f"other {n}" for n in range(120)], "mine"], "in the end")
	equal(os.listdir(t.dir), ["s.json"], "names that are left")


@cases("rule 13: {} that has danced, and finds the name away by another, knows that it knows nothing", [
	(what, events) for what, events in (("a process", False), ("an event loop", True))])
def away_by_another(t, name, events):
	path, away = t.path("s.json"), t.path("away")
	forked(write, path, document("first"))

	def other():
		yield
		mine = document(*contents(path), "other")
		os.rename(path, away)
		yield
		write(path + ".new", mine)
		os.rename(path + ".new", path)
		os.unlink(away)

	def danced():
		dance(path, 1, document(*contents(path), "danced"))
		yield
		equal(os.path.exists(path), False, "the session is there while another dances")
		yield
		dance(path, 2, document("danced again"))
	one, another = Steps(danced(), events), Steps(other())
	another.step()
	one.step()
	another.step()
	one.step()
	another.end()
	one.end()
	equal(contents(path), ["first", "danced", "other", "danced again"], "in the end")
	equal(os.listdir(t.dir), ["s.json"], "names that are left")


def direct(path, text, data):
	with open(path, "wb", buffering=0) as f:
		yield
		f.write(data)


def by_temp(path, text, data):
	write(f"{path}.{text}", data)
	yield
	os.rename(f"{path}.{text}", path)


def missing_ok(function, *names):
	try:
		function(*names)
	except FileNotFoundError:
		return False
	return True


def unlocked_dance(path, text, put, leave):
	"""A dance by one backup name for all, step by step. False: there was no session to go on from."""
	try:
		mine = document(*contents(path), text)
	except FileNotFoundError:
		return False
	yield
	away = missing_ok(os.rename, path, path + "~")
	yield
	yield from put(path, text, mine)
	yield
	if away and not leave:
		missing_ok(os.unlink, path + "~")
	return True


STEPS = 4	# after the read


def dances(path, who, put, leave, rounds):
	"""How many saves there were."""
	saves = 0
	for n in range(rounds):
		yield
		saves += yield from unlocked_dance(path, f"{who}{n}", put, leave)
	return saves


def orders(a, b):
	if not a or not b:
		return ["a" * a + "b" * b]
	return ["a" + rest for rest in orders(a - 1, b)] + ["b" + rest for rest in orders(a, b - 1)]


def some_orders(who, each, count):
	some, order = random.Random(SEED), list(who * each)
	return ["".join(some.sample(order, len(order))) for _ in range(count)]


def dance_in_orders(t, orders, put, leave, rounds=1, read_first=True):
	wrong = []
	for number, order in enumerate(orders):
		path = t.path(f"{number}.json")
		forked(write, path, document("first"))
		dancers = {who: Steps(dances(path, who, put, leave, rounds)) for who in sorted(set(order))}
		# Who reads while another has the file away finds none.
		for who in sorted(dancers) * (2 if read_first else 1) + list(order):
			dancers[who].on()
		saves = sum(dancer.end() for dancer in dancers.values())
		found = contents(path) if os.path.exists(path) else None
		if len(found or []) != 1 + saves or len(set(found)) != 1 + saves:
			wrong.append(f"{order}: {saves} saves, {found}")
	require(not wrong, f"{len(wrong)} orders of {number + 1}: {wrong}")


DANCES = [("written in place", direct, False), ("by temp file", by_temp, False), ("the backup stays", direct, True)]


@cases("rule 13: two programs that dance by one backup name, without a lock, in every order; {}", DANCES)
def two_by_one_name(t, name, put, leave):
	dance_in_orders(t, orders(STEPS, STEPS), put, leave)


@cases("rule 13: four of them, in some orders; {}", DANCES)
def four_by_one_name(t, name, put, leave):
	dance_in_orders(t, some_orders("abcd", STEPS, 12 if QUICK else 50), put, leave)


@cases("rule 13: three of them who dance again and again, in some orders; {}", DANCES)
def again_by_one_name(t, name, put, leave):
	dance_in_orders(t, some_orders("abc", 3 * (STEPS + 1), 12 if QUICK else 50), put, leave, 3, False)


@cases("rule 13: four of them as fast as they can, and who reads meanwhile reads whole sessions; {}", DANCES)
def fast_by_one_name(t, name, put, leave):
	path = t.path("s.json")
	forked(write, path, document("first"))
	end = time.monotonic() + (3 if QUICK else 6)

	def dancer(who):
		saves = 0
		for n in range(60):
			dance = unlocked_dance(path, f"{who}{n}", put, leave)
			while True:
				try:
					next(dance)
				except StopIteration as e:
					saves += e.value
					break
		return saves

	def reader():
		count = 0
		while time.monotonic() < end:
			count += missing_ok(contents, path)
		return count
	*saves, one, other = together([*[lambda who=who: dancer(who) for who in "abcd"], reader, reader])
	found = contents(path)
	equal((len(found), len(set(found))), (1 + sum(saves), 1 + sum(saves)), "messages, and different ones")
	require(one and other, "nothing was read")

@cases("rule 13: who had seen that there was no session dances over one that another has made; {}", [
	("written in place", direct), ("by temp file", by_temp)])
def saw_none(t, name, put):
	path = t.path("s.json")

	def program():
		equal(os.path.exists(path), False, "the session is there")
		forked(write, path, document("another's"))
		forked(contents, path)
		os.rename(path, path + "~")
		alone(put(path, "mine", document("mine")))
		os.unlink(path + "~")
	forked(program)
	equal((contents(path), os.listdir(t.dir)), (["another's", "mine"], ["s.json"]), "in the end")


def asks(path, *_):
	equal(os.path.exists(path), False, "the session is there")


def alone(steps):
	for _ in steps:
		pass


@case("rule 13: who had read an empty list, and makes the session anew, goes on from it")
def from_empty(t):
	path, away = t.path("s.json"), t.path("away")
	forked(write, path, document())

	def dancer():
		mine = document(*contents(path), "mine")
		yield
		os.rename(path, away)
		write(path, mine)
		os.unlink(away)
	one = Steps(dancer())
	one.step()
	forked(lambda: write(path, document(*contents(path), "another's")))
	one.end()
	equal(contents(path), ["another's", "mine"], "the session")


@cases("rule 13: of a session that was renamed {}, nothing comes back in a new one", [
	("away; who had read it looks, and begins", False, asks), ("away; who had read it begins", False, None),
	("away and removed there; who had read it looks, and begins", True, asks), ("away and removed there; who had read it begins", True, None)])
def begins_anew(t, name, remove, look):
	path, other = t.path("s.json"), t.path("other.json")
	forked(write, path, document("first"))

	def program():
		contents(path)
		forked(os.rename, path, other)
		if remove:
			forked(os.unlink, other)
		if look:
			look(path)
		write(path, document("new"))
	forked(program)
	equal(contents(path), ["new"], "the new one")
	equal(None if remove else contents(other), None if remove else ["first"], "the other")


@cases("rule 13: a session that was renamed away; who had read it saves it {}", [("without looking", None), ("though it is gone", asks)])
def goes_on(t, name, look):
	path, other = t.path("s.json"), t.path("other.json")
	forked(write, path, document("first", "second"))

	def program():
		mine = contents(path)
		forked(os.rename, path, other)
		if look:
			look(path)
		write(path, document(*mine, "third"))
		contents(path)
		write(path, document("first", "third"))
	forked(program)
	equal(contents(path), ["first", "third"], "the session")
	equal(contents(other), ["first", "second"], "what it was renamed to")


TASKS = """
import asyncio, contextlib, json, os, sys

path, keeps = sys.argv[1], sys.argv[2] == "kept"
temp, backup = path + ".tmp", path + ".bak"
saved = []

def load():
	with open(path) as f:
		return json.load(f)

def put(data):
	with open(temp, "w") as f:
		f.write(data)

async def save(text):
	run = asyncio.to_thread
	try:
		messages = await run(load)
	except FileNotFoundError:
		messages = []
	await run(put, json.dumps([*messages, text]))
	with contextlib.suppress(FileNotFoundError):
		await run(os.rename, path, backup)
	await run(os.rename, temp, path)
	saved.append(text)
	if not keeps:
		with contextlib.suppress(FileNotFoundError):
			await run(os.unlink, backup)

async def task(n):
	for i in range(8):
		await save(f"{n}.{i}")

async def main():
	await asyncio.gather(*map(task, range(8)))
	print(json.dumps(saved))

asyncio.run(main())
"""


@cases("rule 13: eight tasks of an event loop that dance by one temp file and one backup, which is {}", [("removed",), ("kept",)])
def tasks_of_one(t, name):
	for n in range(2 if QUICK else 4):
		path = t.path(f"{n}.json")
		write(path, b"[]")
		saved = json.loads(subprocess.run([sys.executable, "-c", TASKS, path, name], check=True, capture_output=True).stdout)
		equal(len(saved), 64, "saves that were done")
		equal(sorted(json.loads(read(path))), sorted(saved), "messages")


main()
