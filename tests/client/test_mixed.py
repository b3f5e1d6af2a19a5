#!/usr/bin/python3
"""Clients of several kinds at once on one session, chosen by chance: HISTORYFS_SEED repeats a run, HISTORYFS_MIXES=n makes it as long."""
import asyncio
import os
import random
import shutil

import clients
from packages import HERE
from run_clients import SCRIPT, finish
from tally import Readers, text
from harness import QUICK, SEED, cases, command, forked, in_threads, main, together, write

WRITERS, SAVES = 8, 8 if QUICK else 20
MIXES = int(os.environ.get("HISTORYFS_MIXES") or (4 if QUICK else 12))
PYTHON = [clients.ToThread, clients.FastLlm, clients.Aloha, clients.ShellGpt, clients.GoWriteFile, clients.ReadPlus, clients.PhpFlock, clients.PhpPutContents,
	  clients.LockFile, clients.Replace, clients.ReplaceJson, clients.ReplaceSynced, clients.RooCode, clients.RustSetLen, clients.InMemory]
NODE = ["gemini", "jsonfile", "atomic", "roo"] if shutil.which("node") else []
SHELL = [name for name in ("jq", "sponge") if shutil.which("jq") and shutil.which(name)]


def python(client, path, writer, tasks):
	async def coroutine(name):
		one = client(path, name)
		for n in range(SAVES):
			await one.save_async(text(name, n))

	async def coroutines():
		await asyncio.gather(*[coroutine(name) for name in tasks])

	def loop(name):
		one = client(path, name)
		for n in range(SAVES):
			one.save(text(name, n))
	if client.mode == "coroutines":
		clients.InMemory.shared = {}
		asyncio.run(coroutines())
	elif len(tasks) > 1:
		in_threads([lambda name=name: loop(name) for name in tasks])
	else:
		loop(tasks[0])


def node(kind, path, writer, tasks):
	command("node", SCRIPT, kind, path, writer, str(SAVES), str(len(tasks)))


def shell(kind, path, writer, tasks):
	command("sh", os.path.join(HERE, "packages.sh"), kind, path, tasks[0], str(SAVES), input="go\n")


def choose(rng):
	"""Of eight writers: what runs each, which client, how many tasks of it."""
	mix = []
	for _ in range(WRITERS):
		run, client = rng.choice([(python, c) for c in PYTHON] + [(node, c) for c in NODE] * 2 + [(shell, c) for c in SHELL])
		several = run is node or getattr(client, "mode", "") in ("threads", "coroutines")
		mix.append((run, client, rng.choice([1, 1, 2, 4]) if several else 1))
	names = {getattr(client, "__name__", client) for _, client, _ in mix}
	if names & {"RooCode", "roo"}:		# its lock is a directory where LockFile's is a file
		mix = [(run, clients.Replace if client is clients.LockFile else client, tasks) for run, client, tasks in mix]
	return mix


def describe(mix):
	return ", ".join(getattr(client, "__name__", client) + (f" x {tasks}" if tasks > 1 else "") for _, client, tasks in mix)


CHANCE = random.Random(SEED)
if not NODE or len(SHELL) < 2:
	print("# without the clients of what is not installed: node, jq, sponge", flush=True)


@cases("{}", [(describe(mix), mix) for mix in (choose(CHANCE) for _ in range(MIXES))])
def mixed(t, name, mix):
	path = t.path("s.json")
	forked(write, path, b"[]")
	writers, acknowledged = [], []
	for w, (run, client, count) in enumerate(mix):
		tasks = [f"w{w}t{i}" for i in range(count)]
		writers.append(lambda run=run, client=client, w=w, tasks=tasks: run(client, path, f"w{w}", tasks))
		acknowledged += [(task, n) for task in tasks for n in range(SAVES)]
	with Readers([path], pause=0.003):
		together(writers)
	finish(t, path, clients.Client.contents, acknowledged)


if __name__ == "__main__":
	main()
