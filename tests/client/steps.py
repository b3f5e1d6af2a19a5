"""Processes that go step by step, and the documents that they save."""
import json
import os
import select

from tally import read_whole
from harness import Child, equal, require


class Steps:
	"""
	A process that goes through a generator: step() returns when it has come to its next yield, end() when it has ended, with what it
	returned.
	"""

	def __init__(self, generator, events=False):
		self.go, self.gone = os.pipe(), os.pipe()
		self.stands = False
		self.child = Child(self.run, generator, events)
		os.close(self.go[0])
		os.close(self.gone[1])

	def run(self, generator, events):
		os.close(self.go[1])
		self.loop = select.epoll() if events else None	# what counts as an event loop
		try:
			while True:
				next(generator)
				os.write(self.gone[1], b"x")
				os.read(self.go[0], 1)
		except StopIteration as e:
			return e.value

	def on(self):
		if self.stands:
			os.write(self.go[1], b"x")
		self.stands = bool(os.read(self.gone[0], 1))
		return self.stands

	def step(self, count=1):
		for _ in range(count):
			require(self.on() or self.child.result(), "the process ended early")

	def end(self):
		while self.on():
			pass
		self.close()
		return self.child.result()

	def close(self):
		os.close(self.gone[0])
		os.close(self.go[1])


def document(*texts):
	return json.dumps([{"role": "user", "content": text} for text in texts]).encode()


def contents(path):
	size, data = read_whole(path)
	equal(size, len(data), "size by fstat")
	return [m["content"] for m in json.loads(data)]
