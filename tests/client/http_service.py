"""An HTTP service of a test, at a Unix socket: started and ended, and asked one request at a time."""
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import time

from harness import START_SECONDS, read, require


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
def served(t, words, directory, **environment):
	"""Runs a server in a session of its own; gives its socket's address."""
	place = t.place("server")
	address = os.path.join(place, "socket")
	bind = f"unix:{address}" if "-b" in words else address
	with open(os.path.join(place, "log"), "wb") as log:
		server = subprocess.Popen([*words, bind], env={**os.environ, "HISTORY": directory, **environment}, stdin=subprocess.DEVNULL, stdout=log,
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
