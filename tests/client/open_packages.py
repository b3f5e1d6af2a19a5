#!/usr/bin/python3
"""
Packages that are not safe yet, and so not part of tools/check. The README lists them.

vim: renames the file away and makes it anew, under names that all vims share. vim with
backupcopy=yes, and other programs that read the session once more before they save: the later read counts (rule 4).
"""
import json
import shutil

import packages
from harness import case, cases, equal, forked, main, read, write

PROGRAMS = [
	("vim", lambda: packages.program("sh", "vim", "vim", b"[\n]\n")),
	("vim, backupcopy=yes", lambda: packages.program("sh", "vim-yes", "vim", b"[\n]\n")),
]


@cases("{}: 8 writers, a reader", PROGRAMS)
def programs(t, name, racer):
	packages.on_mount(t, packages.listed, racer())


def append(path, message):
	write(path, json.dumps([*json.loads(read(path)), message]).encode())


@case("P2: what others added before a copy was made for a backup, and after the session was read, stays")
def backup(t):
	path = t.path("s.json")
	write(path, b'["first"]')
	document = json.loads(read(path))
	forked(append, path, "other's")
	shutil.copyfile(path, path + "~")
	write(path, json.dumps([*document, "mine"]).encode())
	equal(json.loads(read(path)), ["first", "other's", "mine"], "in the end")


@case("P2: what another program adds while a person edits in vim with backupcopy=yes stays")
def vim(t):
	equal(packages.edit_in_vim(t, "backupcopy=yes"), ["first", "another", "a person's"], "in the end")


@cases("control: {} on a plain directory", PROGRAMS)
def plain_programs(t, name, racer):
	packages.on_plain(t, packages.listed, racer())


if __name__ == "__main__":
	main()
