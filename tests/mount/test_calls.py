#!/usr/bin/python3
"""
Sequences of ordinary calls that once broke something: found by tests/fuzz/run ops, or by users. Each process of a case is one of its own.
"""
import os
import subprocess
import sys

from harness import HISTORYCTL, case, command, equal, main, read, write


def elsewhere(text, *arguments, **named):
	"""Runs Python in another program."""
	subprocess.run([sys.executable, "-c", text, *arguments], check=True, **named)


def verified(mount):
	"""The store's records hold what FORMAT.md says, while it is in use."""
	command(HISTORYCTL, "--store", mount.store, "verify")


@case("another renames an open temp file over a session that was renamed away")
def renamed_open(t):
	with t.new_mount() as m:
		path = lambda name: os.path.join(m.path, name)
		with open(path("x.tmp"), "w") as f:
			write(path("b.json"), b'[{"c":"1"}]')
			os.rename(path("b.json"), path("b.json.bak"))
			elsewhere("import os, sys; os.rename(sys.argv[1], sys.argv[2])", path("x.tmp"), path("b.json"))
			f.write('[{"c":"2"}]')
		equal(sorted(os.listdir(m.path)), ["b.json", "b.json.bak"], "names")
		equal(read(path("b.json.bak")), b'[{"c":"1"}]', "what was renamed away")
		verified(m)


@case("a temp file is renamed to a session that was saved the same and removed meanwhile")
def renamed_same(t):
	for text in (b"", b"[]", b"[1]", b"[1, 2]"):
		with open(t.path("x.tmp"), "wb") as f:
			write(t.path("b.json"), b"[1, 2]")
			os.unlink(t.path("b.json"))
			f.write(text)
		os.rename(t.path("x.tmp"), t.path("b.json"))
		equal(os.listdir(t.dir), ["b.json"], f"names after {text}")
		equal(read(t.path("b.json")), text, "the session")
		os.unlink(t.path("b.json"))


if __name__ == "__main__":
	main()
