#!/usr/bin/python3
"""
P1, P2 (merge rule 15) for what people build chat back ends with: Node, FastAPI, Starlette, aiohttp, gunicorn, Flask, http.server; each in one
server process, with each way to save. One person: what is saved is what was meant, though the browser polls and endpoints read more than
they must. Several at once: nothing acknowledged is lost or doubled, also when the process has long served one person only.

This is a small selection; `tests/client/stacks [N]` runs all, and prints a table.
"""
import os
import sys

import packages
from harness import QUICK, SEED, cases, in_threads, main, read, require
from http_service import served
from stack_client import Stack, crowd, sequential

PYTHON = [sys.executable, os.path.join(packages.HERE, "stack_server.py")]
NODE = ["node", os.path.join(packages.HERE, "stack_server.mjs")]
GUNICORN = [sys.executable, "-m", "gunicorn", "--log-level", "warning", "--chdir", packages.HERE, "--worker-tmp-dir", "/tmp", "stack_server:flask_app()"]

# name: words, how coroutines call, modules; None: node
STACKS = {
	"node promises": ([*NODE, "promises"], "", None),
	"node sync": ([*NODE, "sync"], "", None),
	"node callback": ([*NODE, "callback"], "", None),
	"fastapi async, sync calls": ([*PYTHON, "fastapi"], "sync", ["fastapi", "uvicorn"]),
	"fastapi async, to_thread": ([*PYTHON, "fastapi"], "to_thread", ["fastapi", "uvicorn"]),
	"fastapi async, aiofiles": ([*PYTHON, "fastapi"], "aiofiles", ["fastapi", "uvicorn", "aiofiles"]),
	"fastapi def": ([*PYTHON, "fastapi-def"], "", ["fastapi", "uvicorn"]),
	"starlette uvloop": ([*PYTHON, "starlette"], "sync", ["starlette", "uvicorn", "uvloop"]),
	"aiohttp": ([*PYTHON, "aiohttp"], "sync", ["aiohttp"]),
	"gunicorn sync": ([*GUNICORN, "-b"], "", ["gunicorn", "flask"]),
	"gunicorn gthread": ([*GUNICORN, "-k", "gthread", "--threads", "8", "-b"], "", ["gunicorn", "flask"]),
	"flask threaded": ([*PYTHON, "flask"], "", ["flask"]),
	"ThreadingHTTPServer": ([*PYTHON, "threading"], "", []),
}
WAYS = ["truncate", "rename", "one temp", "backup", "memory"]


def need(stack):
	modules = STACKS[stack][2]
	if modules is None:
		packages.need("node")
	for m in modules or ():
		packages.need_module(m)


def serve(t, stack, way, directory):
	"""A context; gives the server's address."""
	return served(t, STACKS[stack][0], directory, STACK_WAY=way, STACK_CALLS=STACKS[stack][1])


def reader(directory):
	return lambda session: read(os.path.join(directory, session + ".json"))


# How many edits a person tries with each of these stacks, at the same time; and how many of all these may have kept too much, on a machine that may be
# busy. By the calls alone, as with merge=keep, three of four do.
EDITS = 4 if QUICK else 10
TIGHT_MAX, HOLDER_MAX = (0.4, 0.5) if QUICK else (0.2, 0.3)

# A list is saved right after it was read, or the model is called in between. name, rows of (stack, way, holder, pattern), share
ALONE = [
	("without extra reads", [
		("node promises", "truncate", False, "none"), ("fastapi async, to_thread", "rename", True, "none"),
		("gunicorn gthread", "one temp", False, "none"), ("aiohttp", "backup", False, "none"), ("fastapi def", "memory", False, "none"),
	], 0),
	("read right before each save", [
		("node sync", "truncate", False, "poll 20"), ("node promises", "rename", False, "reload"), ("fastapi async, sync calls", "truncate", False, "all"),
		("fastapi def", "one temp", False, "prompt"), ("gunicorn gthread", "truncate", False, "poll 1"), ("starlette uvloop", "backup", False, "reload"),
	], TIGHT_MAX),
	("held while the model answers", [
		("node promises", "truncate", True, "poll 1"), ("fastapi async, aiofiles", "truncate", True, "prompt"), ("aiohttp", "rename", True, "poll 1"),
	], HOLDER_MAX),
]


@cases("one person, {}", ALONE)
def alone(t, name, rows, share):
	def run(stack, way, holder, pattern, directory):
		with serve(t, stack, way, directory) as address:
			return sequential(Stack(address, reader(directory), holder, pattern, f"{SEED} {stack}", (0.05, 0.2)), EDITS)
	for row in rows:
		need(row[0])
	directories = [os.path.join(t.dir, str(i)) for i in range(len(rows))]
	for d in directories:
		os.mkdir(d)
	results = in_threads([lambda r=r, d=d: run(*r, d) for r, d in zip(rows, directories)])
	for row, r in zip(rows, results):
		print(f"   {row[0]}, {row[1]}, {row[3]}: {r}", flush=True)
		require(not (r.wrong or r.lost or r.torn), f"{row}: {r}: {r.traces[:3]}")
	edits, kept = sum(r.edits for r in results), sum(r.kept for r in results)
	require(kept <= share * edits, f"{kept} of {edits} edits kept too much: {[x[:3] for r in results for x in r.traces[:2]]}")


# The list is read right before each save.
MANY = [
	("node promises", "truncate"), ("node sync", "backup"), ("fastapi async, to_thread", "rename"), ("fastapi async, aiofiles", "truncate"),
	("fastapi def", "one temp"), ("starlette uvloop", "backup"), ("gunicorn gthread", "truncate"), ("flask threaded", "one temp"),
	("ThreadingHTTPServer", "memory"),
]


@cases("eight at once after one: {}", MANY[::2 if QUICK else 1])
def many(t, stack, way):
	"""One person has shown what the process does when there is one only."""
	need(stack)
	with serve(t, stack, way, t.dir) as address:
		s = Stack(address, reader(t.dir), False, "poll 20", f"{SEED} {stack}")
		sequential(s, 3, "w")
		for users, sessions in ((2, 1), (8, 1), (8, 3)):
			tallies, errors = crowd(s, users, sessions, 3 if QUICK else 5, f"{users}x{sessions}x")
			require(not errors, f"{users} users, {sessions} sessions: {errors[:2]}")
			for tally in tallies:
				tally.require_perfect(f"{users} users, {sessions} sessions")


if __name__ == "__main__":
	main()
