#!/usr/bin/python3
"""P1, P2: programs that make a backup of the session before they save it."""
import os
import shutil

from session import contents, document, start
from harness import case, cases, equal, forked, main, read, write


def another(path, text):
	"""A process of its own adds a message."""
	forked(lambda: write(path, document(*contents(path), text)))


def by_hand(path, backup):
	write(backup, read(path))


def sent(path, backup):
	with open(path, "rb") as source, open(backup, "wb") as target:
		while os.sendfile(target.fileno(), source.fileno(), None, 1 << 20):
			pass


def over_another(path, backup):
	write(backup, document("an older backup"))
	shutil.copyfile(path, backup)


WAYS = [
	("shutil.copyfile to ~", shutil.copyfile, "{}~"),
	("shutil.copy2 to .bak", shutil.copy2, "{}.bak"),
	("read and write to .bak", by_hand, "{}.bak"),
	("sendfile to .bak", sent, "{}.bak"),
	("shutil.copyfile to a .json", shutil.copyfile, "{}-backup.json"),
	("shutil.copyfile over a .json", over_another, "{}-backup.json"),
	("shutil.copyfile to another directory", shutil.copyfile, "backups/{}"),
]


def place(t, name):
	path = start(t, "first")
	backup = os.path.join(t.dir, name.format("s.json"))
	os.makedirs(os.path.dirname(backup), exist_ok=True)
	return path, backup


@cases("P2: {}: what others added before it, and after the session was read, stays", WAYS)
def before_a_save(t, name, copy, backup):
	path, backup = place(t, backup)

	def program():
		mine = contents(path)
		another(path, "another's")
		copy(path, backup)
		equal(forked(contents, backup), ["first", "another's"], "the backup")
		write(path, document(*mine, "mine"))
	forked(program)
	equal(contents(path), ["first", "another's", "mine"], "in the end")


@cases("P2: {}: nor does a list in memory that is saved again and again lose anything", WAYS)
def in_memory(t, name, copy, backup):
	path, backup = place(t, backup)

	def program():
		mine = contents(path)
		for i in range(5):
			another(path, f"another's {i}")
			copy(path, backup)
			mine.append(f"mine {i}")
			write(path, document(*mine))
	forked(program)
	equal(sorted(contents(path)), sorted(["first", *[f"{whose} {i}" for whose in ("another's", "mine") for i in range(5)]]), "in the end")


@case("P2: nor is anything lost when the save is by temp file and rename")
def before_a_rename(t):
	path, backup = place(t, "{}.bak")

	def program():
		mine = contents(path)
		another(path, "another's")
		shutil.copyfile(path, backup)
		write(path + ".tmp", document(*mine, "mine"))
		os.rename(path + ".tmp", path)
	forked(program)
	equal(contents(path), ["first", "another's", "mine"], "in the end")


@case("P2: other bytes of the same size are no copy")
def no_copy(t):
	path, backup = place(t, "{}~")

	def program():
		contents(path)
		another(path, "another's")
		write(backup, document("first", "stranger."))
		equal(os.path.getsize(backup), len(read(path)), "size")
		write(path, document("first", "mine"))
	forked(program)
	equal(contents(path), ["first", "mine"], "in the end")


@case("P2: who copies what he read, and goes on from that, may remove what he read")
def copied_and_edited(t):
	path, backup = place(t, "{}~")

	def program():
		contents(path)
		another(path, "another's")
		now = contents(path)
		shutil.copyfile(path, backup)
		write(path, document(*now[1:], "mine"))
	forked(program)
	equal(contents(path), ["another's", "mine"], "in the end")


if __name__ == "__main__":
	main()
