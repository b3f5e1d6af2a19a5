#!/usr/bin/python3
"""
P3, P1: what `ls -l` has shown is believed of a name for a moment, to save requests (attr_listed), but no name leads to
another file by that, and no size is old.
"""
import os
import time

from harness import CONTROL, HISTORYCTL, case, cases, command, equal, main, read, write

SETTLED = 3.2	# seconds until a session counts as one that is not being made or saved


def listed(t):
	return command("ls", "-l", t.dir).stdout


def renamed_over(t, saved=False):
	write(t.path("draft.json"), b'["draft"]')
	yield
	if saved:
		write(t.path("draft.json"), b'["saved"]')
	draft = b'["saved"]' if saved else b'["draft"]'
	os.rename(t.path("draft.json"), t.path("s.json"))
	equal(read(t.path("s.json")), draft, "after the rename")
	write(t.path("s.json"), b'["more"]')
	yield b'["more"]'


def backup(t):
	yield
	write(t.path("temp"), b'["old", "new"]')
	os.rename(t.path("s.json"), t.path("s.json.bak.json"))
	os.rename(t.path("temp"), t.path("s.json"))
	equal(read(t.path("s.json.bak.json")), b'["old"]', "the backup")
	yield b'["old", "new"]'


def made_anew(t):
	yield
	os.unlink(t.path("s.json"))
	equal(os.path.exists(t.path("s.json")), False, "it is there after unlink")
	write(t.path("s.json"), b'["new"]')
	yield b'["new"]'


def exchanged(t):
	write(t.path("other.json"), b'["other"]')
	yield
	os.rename(t.path("s.json"), t.path("third.json"))
	os.rename(t.path("other.json"), t.path("s.json"))
	equal(read(t.path("third.json")), b'["old"]', "what was renamed away")
	yield b'["other"]'


def mode_set_and_backup(t):
	yield
	write(t.path("temp"), b'["old", "new"]')
	os.chmod(t.path("s.json"), 0o600)
	os.rename(t.path("s.json"), t.path("s.json.bak.json"))
	os.rename(t.path("temp"), t.path("s.json"))
	equal(read(t.path("s.json.bak.json")), b'["old"]', "the backup")
	yield b'["old", "new"]'


@cases("a session that was listed, then {}, is what its name says", [
	("one that another is renamed over which was saved since", lambda t: renamed_over(t, saved=True)),
	("given a mode, with a backup by rename", mode_set_and_backup),
	("one that another is renamed over", renamed_over), ("one with a backup by rename", backup), ("removed and made anew", made_anew),
	("renamed, and another in its place", exchanged)])
def names(t, what, steps):
	write(t.path("s.json"), b'["old"]')
	steps = steps(t)
	next(steps)
	time.sleep(SETTLED)
	listed(t)
	wanted = next(steps)
	equal(read(t.path("s.json")), wanted, "in the end")
	equal(os.path.getsize(t.path("s.json")), len(wanted), "its size")


@case("a session that was listed shows its new size at once")
def size(t):
	path = t.path("s.json")
	write(path, b'["old"]')
	time.sleep(SETTLED)
	for n in range(20):
		listed(t)
		if n % 2 or CONTROL:
			document = read(path)[:-1] + b', "more"]'
			write(path, document)
		else:
			command(HISTORYCTL, "append", path, "--role", "user", "--content", "more")
			document = read(path)
		equal((os.path.getsize(path), f" {len(document)} " in listed(t)), (len(document), True), "the size is the new one, also in the list")


if __name__ == "__main__":
	main()
