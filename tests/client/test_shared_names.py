#!/usr/bin/python3
"""Names that several writers share: the .bak dance by tasks of one process (rule 13), one temp name for all (rule 14)."""
import json
import os
import select

from tally import read_whole
from harness import Child, case, equal, forked, main, require, write


class Steps:
	"""A process that goes through a generator: step() lets it come to its next yield, end() to its end."""

	def __init__(self, generator, events=False):
		self.go, self.gone = os.pipe(), os.pipe()
		self.child = Child(self.run, generator, events)
		os.close(self.go[0])
		os.close(self.gone[1])

	def run(self, generator, events):
		os.close(self.go[1])
		loop = select.epoll() if events else None	# what counts as an event loop
		for _ in generator:
			os.write(self.gone[1], b"x")
			if not os.read(self.go[0], 1):
				break
		return loop is not None

	def step(self, count=1):
		for _ in range(count):
			require(os.read(self.gone[0], 1) or self.child.result(), "the process ended early")
			os.write(self.go[1], b"x")

	def end(self):
		while os.read(self.gone[0], 1):
			os.write(self.go[1], b"x")
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


# ---- Rule 13 -----------------------------------------------------------------------------------------------------

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


if __name__ == "__main__":
	main()
