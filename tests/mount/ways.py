"""Ways to rewrite a file."""
import os

from harness import write


def by_truncate(path, data):
	write(path, data)


def by_tiny_writes(path, data):
	with open(path, "wb", buffering=0) as f:
		for at in range(0, min(len(data), 3000), 7):
			f.write(data[at:min(at + 7, 3000)])
		if len(data) > 3000:
			f.write(data[3000:])


def by_rplus(path, data):
	if not os.path.exists(path):
		return write(path, data)
	with open(path, "r+b") as f:
		f.read()
		f.seek(0)
		f.write(data)
		f.truncate()
