#!/usr/bin/python3
"""
Documents of the shapes that real programs write, saved by eight at once: nothing is lost, and nothing is there twice (P1). By processes, threads, tasks of one
event loop, and its pool. Messages share texts, and number themselves by counting on.
"""
import asyncio
import collections
import json
import os
import re
import sys
import threading

import tally  # noqa: F401, puts the harness on the path
from harness import cases, equal, forked, in_threads, main, read, together

WRITERS = 8
SAVES = int(sys.argv[1]) if len(sys.argv) > 1 else 3


def numbered(d, text):
	table = d.setdefault("_default", {})
	table[str(max(map(int, table), default=0) + 1)] = {"role": "user", "content": text}


def pairs(d, text):
	d.setdefault("cache", []).append([f"key {text}", {"value": "same", "expires": None}])


def parallel(d, text):
	d.setdefault("internal", []).append([text, "Sure"])
	d.setdefault("visible", []).append(["a question", "Sure"])


def sessions(d, text):
	if not d:
		d.append({"session_id": "s", "runs": []})
	d[0]["runs"].append({"run_id": text, "status": "done"})


def sessions_below(d, text):
	found = d.setdefault("sessions", [{"id": 1, "messages": []}])[0]["messages"]
	found.append({"id": len(found) + 1, "content": text})


def counted(d, text):
	d.append({"id": len(d) + 1, "role": "user", "content": text})


def turns(d, text):
	d.extend([{"role": "user", "content": text}, {"role": "assistant", "content": "Sorry, error."}])


def turns_below(d, text):
	d.setdefault("user", {}).setdefault("session", []).extend([{"role": "user", "content": text}, {"role": "assistant", "content": "Sorry, error."}])


SHAPES = {
	"TinyDB's numbered table": (dict, numbered), "keyv's pairs": (dict, pairs), "two parallel lists": (dict, parallel), "a list of sessions": (list, sessions),
	"sessions among members": (dict, sessions_below), "messages that are counted": (list, counted), "turns with one answer": (list, turns),
	"turns by key": (dict, turns_below),
}


def load(path, make):
	try:
		return json.loads(read(path))
	except FileNotFoundError:
		return make()


def save(path, d, temp):
	to = f"{path}.{os.getpid()}.{threading.get_ident()}.tmp" if temp else path
	with open(to, "w") as f:
		json.dump(d, f)
	if temp:
		os.replace(to, path)


def texts(w):
	return [f"w{w}n{n}x" for n in range(SAVES)]


def saves(path, shape, w, temp):
	make, add = SHAPES[shape]
	for text in texts(w):
		d = load(path, make)
		add(d, text)
		save(path, d, temp)


def tasks(path, shape, temp, pool):
	make, add = SHAPES[shape]

	async def run(function, *arguments):
		return await asyncio.to_thread(function, *arguments) if pool else function(*arguments)

	async def task(w):
		for n, text in enumerate(texts(w)):
			d = await run(load, path, make)
			await asyncio.sleep((w * 7 + n * 3) % 5 / 1000)
			add(d, text)
			await run(save, path, d, temp)

	async def all_of_them():
		await asyncio.gather(*(task(w) for w in range(WRITERS)))

	asyncio.run(all_of_them())


@cases("P1: {}", [(f"{shape}, by {kind}", shape, kind, number % 2) for number, (shape, kind) in enumerate(
	(shape, kind) for shape in SHAPES for kind in ("processes", "threads", "tasks", "a pool"))])
def eight_at_once(t, name, shape, kind, temp):
	path = t.path("s.json")
	if shape == "turns with one answer":
		forked(save, path, [{"role": "system", "content": "begin"}], 0)
	if kind == "processes":
		together([lambda w=w: saves(path, shape, w, temp) for w in range(WRITERS)])
	elif kind == "threads":
		forked(in_threads, [lambda w=w: saves(path, shape, w, temp) for w in range(WRITERS)])
	else:
		forked(tasks, path, shape, temp, kind == "a pool")
	got = collections.Counter(re.findall(r"w\d+n\d+x", forked(read, path).decode()))
	equal({text: n for text, n in got.items() if n != 1}, {}, "what is there twice")
	equal(set(texts(w)[n] for w in range(WRITERS) for n in range(SAVES)) - set(got), set(), "what is lost")
	d = json.loads(forked(read, path))
	if shape == "two parallel lists":
		equal((len(d["internal"]), len(d["visible"])), (WRITERS * SAVES, WRITERS * SAVES), "lengths of the lists")
	if shape == "turns with one answer":
		equal(sum(m["role"] == "assistant" for m in d), WRITERS * SAVES, "answers")
	if shape == "a list of sessions":
		equal(len(d), 1, "sessions")


if __name__ == "__main__":
	main()
