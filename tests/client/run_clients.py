"""Runs 8 writers of one client beside each other, with a reader, and counts: lost 0, duplicated 0, torn 0, order kept."""
import asyncio
import json
import os
import shutil

from tally import Readers, Tally, mark, text
from harness import QUICK, Skip, command, equal, in_threads, read, together

WRITERS, SAVES = 8, 8 if QUICK else 25
SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "clients.js")


def processes(client, path):
	def loop(w):
		one = client(path, f"w{w}")
		for n in range(SAVES):
			one.save(text(f"w{w}", n))
	together([lambda w=w: loop(w) for w in range(WRITERS)])


def threads(client, path):
	"""Two processes of four threads."""
	def loop(w):
		one = client(path, f"w{w}")
		for n in range(SAVES):
			one.save(text(f"w{w}", n))

	def process(p):
		in_threads([lambda w=w: loop(w) for w in range(p, WRITERS, 2)])
	together([lambda p=p: process(p) for p in range(2)])


def coroutines(client, path):
	"""Two processes of four coroutines."""
	async def loop(w):
		one = client(path, f"w{w}")
		for n in range(SAVES):
			await one.save_async(text(f"w{w}", n))

	async def process(p):
		await asyncio.gather(*[loop(w) for w in range(p, WRITERS, 2)])
	together([lambda p=p: asyncio.run(process(p)) for p in range(2)])


def run_python(t, client):
	path = t.path("s.json")
	mode = {"processes": processes, "threads": threads, "coroutines": coroutines}[client.mode]
	with Readers([path], lambda d: len(client.contents(d)), may_vanish=client.may_vanish, may_be_empty=client.may_be_empty, pause=0.003):
		mode(client, path)
	finish(t, path, client.contents, [(f"w{w}", n) for w in range(WRITERS) for n in range(SAVES)], client.check)


def run_node(t, kind, contents, tasks=1, may_vanish=False):
	if shutil.which("node") is None:
		raise Skip("node is not installed")
	path = t.path("s.json")
	count = max(1, WRITERS // tasks)
	saves = -(-WRITERS * SAVES // (count * tasks))
	with Readers([path], lambda d: len(contents(d)), may_vanish=may_vanish, pause=0.003):
		together([lambda w=w: command("node", SCRIPT, kind, path, f"w{w}", str(saves), str(tasks)) and None for w in range(count)])
	finish(t, path, contents, [(f"w{w}t{i}", n) for w in range(count) for i in range(tasks) for n in range(saves)])


def finish(t, path, contents, acknowledged, check=None):
	document = json.loads(read(path))
	Tally([m for m in map(mark, contents(document)) if m], acknowledged).require_perfect("in the end")
	equal(len(contents(document)), len(acknowledged), "messages in the end")
	if check:
		check(document)
	equal(sorted(n for n in os.listdir(t.dir) if not n.endswith(".lock")), ["s.json"], "names that are left")
