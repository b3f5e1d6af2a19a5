#!/usr/bin/python3
"""
P1, P2, P3, P6 for an HTTP service: FastAPI over the unchanged HistoryService, served by uvicorn in one process, by uvicorn
with worker processes, and by gunicorn with uvicorn's workers. 8 clients post at once; one that gets 200 has its message saved.
"""
import os
import sys
import time

import packages
from harness import QUICK, cases, in_threads, main
from http_service import request, served
from tally import text

UVICORN = [sys.executable, "-m", "uvicorn", "--log-level", "warning", "--app-dir", packages.HERE, "chat_server:app"]
GUNICORN = [sys.executable, "-m", "gunicorn", "--log-level", "warning", "--chdir", packages.HERE, "--worker-tmp-dir", "/tmp",
	    "-k", "uvicorn.workers.UvicornWorker", "chat_server:app"]
MODULES = ["fastapi", "uvicorn"]

# name, words, modules, what the clients post to, whether no message need be lost on a plain directory
SERVICES = [
	("uvicorn, sync", [*UVICORN, "--uds"], MODULES, "sync", False),
	("uvicorn, async", [*UVICORN, "--uds"], MODULES, "async", True),
	("uvicorn, await between", [*UVICORN, "--uds"], MODULES, "answer", False),
	("uvicorn with 4 workers, sync", [*UVICORN, "--workers", "4", "--uds"], MODULES, "sync", False),
	("uvicorn with 4 workers, async", [*UVICORN, "--workers", "4", "--uds"], MODULES, "async", False),
	("gunicorn with 4 workers, sync", [*GUNICORN, "-w", "4", "-b"], [*MODULES, "gunicorn"], "sync", False),
	("gunicorn with 4 workers, await between", [*GUNICORN, "-w", "4", "-b"], [*MODULES, "gunicorn"], "answer", False),
]


def post_all(address, kind):
	"""8 clients, and one that reads through the service: what it gets never becomes shorter."""
	saved, reading, shorter = packages.Saved(), [True], []

	def client(w):
		for n in range(packages.SAVES):
			status, body = request(address, "POST", f"/{kind}/s", {"role": "user", "content": text(f"w{w}", n)})
			if status == 200:
				saved.done.append((f"w{w}", n))
			else:
				saved.errors.append(f"{status} {body[:100]}")

	def reader():
		count = 0
		while reading[0]:
			status, body = request(address, "GET", "/history/s")
			if status != 200 or len(body) < count:
				shorter.append(f"a GET gave {status}, {len(body)} messages after {count}" if status == 200 else f"a GET gave {status}")
			else:
				count = len(body)
			time.sleep(0.01)

	def clients():
		try:
			in_threads([lambda w=w: client(w) for w in range(packages.WRITERS)])
		finally:
			reading[0] = False
	in_threads([clients, reader])
	saved.errors += shorter
	return saved


def racer(t, words, modules, kind):
	for m in modules:
		packages.need_module(m)

	def run(path):
		with served(t, words, os.path.dirname(path)) as address:
			return post_all(address, kind)
	return run


@cases("{}: 8 clients, readers", SERVICES)
def mounted(t, name, words, modules, kind, safe):
	packages.on_mount(t, packages.listed, racer(t, words, modules, kind))


@cases("control: {} on a plain directory", [] if QUICK else SERVICES)
def plain(t, name, words, modules, kind, safe):
	packages.on_plain(t, packages.listed, racer(t, words, modules, kind), safe)


if __name__ == "__main__":
	main()
