#!/usr/bin/python3
"""
Packages that are not safe yet, and so not part of tools/check. The README lists them.

lowdb: processes share a temp name (rule 14). vim: renames the file away and makes it anew, under names that all vims share.
"""
import packages
from harness import cases, main

LOWDB = [("lowdb", "lowdb", 1), ("lowdb, 4 tasks a process", "lowdb", 4), ("lowdb in memory", "lowdb in memory", 1)]
PROGRAMS = [
	("vim", lambda: packages.program("sh", "vim", "vim", b"[\n]\n")),
	("vim, backupcopy=yes", lambda: packages.program("sh", "vim-yes", "vim", b"[\n]\n")),
]


@cases("{}: 8 writers, a reader", LOWDB)
def lowdb(t, name, kind, tasks):
	packages.on_mount(t, packages.enveloped, packages.npm(t, "lowdb", kind, tasks))


@cases("{}: 8 writers, a reader", PROGRAMS)
def programs(t, name, racer):
	packages.on_mount(t, packages.listed, racer())


@cases("control: {} on a plain directory", LOWDB)
def plain_lowdb(t, name, kind, tasks):
	packages.on_plain(t, packages.enveloped, packages.npm(t, "lowdb", kind, tasks))


@cases("control: {} on a plain directory", PROGRAMS)
def plain_programs(t, name, racer):
	packages.on_plain(t, packages.listed, racer())


if __name__ == "__main__":
	main()
