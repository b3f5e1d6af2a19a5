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


@cases("control: {} on a plain directory", PROGRAMS)
def plain_programs(t, name, racer):
	packages.on_plain(t, packages.listed, racer())


if __name__ == "__main__":
	main()
