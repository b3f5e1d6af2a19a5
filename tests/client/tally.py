"""
Who wrote what, and what became of it. A message's text begins with "<writer>:<number>;", so that what was acknowledged
can be found again in any document.
"""
import contextlib
import json
import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "mount"))
from harness import Child, Failure, require, shorten  # noqa: E402

MARK = re.compile(r"^(\w+):(\d+);")


def text(writer, number, words="the quick brown fox, über alles, 你好"):
	return f"{writer}:{number}; {words}"


def mark(content):
	"""(writer, number) of a message's text, None for a text of nobody's."""
	found = MARK.match(content)
	return (found[1], int(found[2])) if found else None


def marks(document):
	"""Of a message list, in order."""
	return [m for m in (mark(message["content"]) for message in document) if m]


class Tally:
	"""lost: acknowledged and not there; duplicated: there more than once; strange: there, but never written; disordered: one writer's, not ascending."""

	def __init__(self, found, acknowledged, unacknowledged=()):
		counts, last = {}, {}
		self.disordered = 0
		for m in found:
			counts[m] = counts.get(m, 0) + 1
			self.disordered += m[1] < last.get(m[0], -1)
			last[m[0]] = m[1]
		acknowledged, known = set(acknowledged), set(acknowledged) | set(unacknowledged)
		self.wrote = len(acknowledged)
		self.lost = sorted(acknowledged - set(counts))
		self.duplicated = sorted(m for m, n in counts.items() if n > 1)
		self.strange = sorted(set(counts) - known)

	def __str__(self):
		return (f"of {self.wrote} acknowledged messages lost {len(self.lost)} {shorten(self.lost[:5])}, duplicated {len(self.duplicated)} "
			f"{shorten(self.duplicated[:5])}, never written {len(self.strange)} {shorten(self.strange[:5])}, out of order {self.disordered}")

	def require_perfect(self, what=""):
		if self.lost or self.duplicated or self.strange or self.disordered:
			raise Failure(f"{what}: {self}")


def read_whole(path):
	"""What fstat says of the size, and the bytes."""
	fd = os.open(path, os.O_RDONLY)
	try:
		size = os.fstat(fd).st_size
		data = b""
		while piece := os.read(fd, 1 << 17):
			data += piece
		return size, data
	finally:
		os.close(fd)


def list_length(document):
	if not isinstance(document, list):
		raise TypeError("not a list")
	return len(document)


class Readers:
	"""
	Processes that read the files all the time, while writers work: `with Readers(paths, count_of)`. Each read must parse
	(P3), must be as long as fstat said, and must have at least as many messages as the same reader saw before. Files may
	be absent before they are seen first; with `may_vanish` later too. What was wrong is a failure, unless `judge` is
	false, and in `wrong`.
	"""

	def __init__(self, paths, count_of=list_length, processes=1, may_vanish=False, may_be_empty=False, pause=0.0, judge=True):
		self.paths, self.count_of, self.processes = paths, count_of, processes
		self.may_vanish, self.may_be_empty, self.pause, self.judge = may_vanish, may_be_empty, pause, judge
		self.reads, self.wrong = 0, []

	def __enter__(self):
		self.stop_reader, self.stop_writer = os.pipe()
		self.children = [Child(self.loop, i) for i in range(self.processes)]
		os.close(self.stop_reader)
		return self

	def __exit__(self, kind, value, trace):
		with contextlib.suppress(BrokenPipeError):		# when all have given up
			os.write(self.stop_writer, b"x" * self.processes)	# closing it would not do: writers may have inherited it
		results = [child.result() for child in self.children]
		os.close(self.stop_writer)
		if kind is not None:
			return
		self.reads = sum(reads for reads, _ in results)
		self.wrong = [w for _, list_of_wrong in results for w in list_of_wrong]
		if not self.judge:
			return
		require(not self.wrong, f"{len(self.wrong)} wrong of {self.reads} reads, the first: {self.wrong[:3]}")
		require(self.reads > 0, "nobody read anything")

	def loop(self, i):
		os.close(self.stop_writer)
		os.set_blocking(self.stop_reader, False)
		seen, reads, wrong = {}, 0, []
		while len(wrong) < 20:
			for path in self.paths:
				reads += self.one(path, seen, wrong)
			try:
				os.read(self.stop_reader, 1)
				break
			except BlockingIOError:
				pass
			time.sleep(self.pause)
		return reads, wrong

	def one(self, path, seen, wrong):
		try:
			size, data = read_whole(path)
		except FileNotFoundError:
			if path in seen and not self.may_vanish:
				wrong.append(f"{path} vanished")
			return 0
		if size != len(data):
			wrong.append(f"fstat said {size} bytes, {len(data)} were read")
		if not data and self.may_be_empty and not seen.get(path):
			return 1
		try:
			count = self.count_of(json.loads(data))
		except (ValueError, KeyError, TypeError, IndexError) as e:
			wrong.append(f"torn ({e}): {shorten(data)}")
			return 1
		if count < seen.get(path, 0):
			wrong.append(f"{seen[path]} messages, then {count}")
		seen[path] = count
		return 1
