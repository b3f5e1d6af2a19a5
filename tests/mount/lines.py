"""What the tests of lines share: records, appending them, and counting them."""
import json
import os
import random

from harness import QUICK, SEED, equal, require, write_all

WRITERS, LINES = 8, 40 if QUICK else 200


def record(writer, n, size=0):
	return json.dumps({"writer": writer, "n": n, "text": "x" * size}).encode() + b"\n"


def sizes(writer):
	rng = random.Random(f"{SEED} {writer}")
	return [rng.choice([0, 10, 100, 1000, 5000, 9000]) if n % 50 else rng.choice([140_000, 300_000, 1_200_000]) for n in range(LINES)]


def append(path, data):
	fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
	write_all(fd, data)
	os.close(fd)


def check_all(data, written):
	"""Every line whole, once, each writer's own in order."""
	require(data.endswith(b"\n"), "the last line has no end")
	lines = data.split(b"\n")[:-1]
	for writer, mine in written.items():
		mark = b'{"writer": "%s", ' % writer.encode()
		equal([line for line in lines if line.startswith(mark)], [line.rstrip(b"\n") for line in mine], f"lines of {writer}")
	equal(len(lines), sum(map(len, written.values())), "lines")


def by_open(path, lines):
	for line in lines:
		append(path, line)
