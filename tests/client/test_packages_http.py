#!/usr/bin/python3
"""
P1, P2, P3, P6 for an HTTP service: FastAPI over the unchanged HistoryService, served by uvicorn in one process, by uvicorn
with worker processes, and by gunicorn with uvicorn's workers. 8 clients post at once; one that gets 200 has its message saved.
"""
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time

import packages
from harness import QUICK, START_SECONDS, cases, in_threads, main, read, require
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


class Connection(http.client.HTTPConnection):
	"""One request over a Unix socket. Not kept alive, so that any worker may take it."""

	def __init__(self, address):
		super().__init__("service")
		self.address = address

	def connect(self):
		self.sock = socket.socket(socket.AF_UNIX)
		self.sock.connect(self.address)


def request(address, method, path, body=None):
	"""The status, and the body or its text."""
	with contextlib.closing(Connection(address)) as c:
		c.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
		r = c.getresponse()
		data = r.read()
	return r.status, json.loads(data) if r.status == 200 else data.decode()


@contextlib.contextmanager
def served(t, words, directory):
	"""Runs a server in a session of its own; gives its socket's address."""
	place = t.place("server")
	address = os.path.join(place, "socket")
	bind = f"unix:{address}" if "-b" in words else address
	with open(os.path.join(place, "log"), "wb") as log:
		server = subprocess.Popen([*words, bind], env={**os.environ, "HISTORY": directory}, stdin=subprocess.DEVNULL, stdout=log,
					  stderr=log, start_new_session=True)
	try:
		deadline = time.monotonic() + START_SECONDS
		while not answers(address):
			require(server.poll() is None and time.monotonic() < deadline, f"{words}: {read(log.name)[-2000:]}")
			time.sleep(0.02)
		yield address
	finally:
		server.terminate()
		try:
			server.wait(20)
		except subprocess.TimeoutExpired:
			pass
		with contextlib.suppress(ProcessLookupError):
			os.killpg(server.pid, signal.SIGKILL)
		server.wait()


def answers(address):
	try:
		return request(address, "GET", "/history/none")[0] == 200
	except OSError:
		return False


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
