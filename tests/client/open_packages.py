#!/usr/bin/python3
"""
Packages that are not safe yet, and so not part of tools/check. The README lists them.

Several vims with backupcopy=yes: each copies the session to a name that all of them share, or when that is taken out of the mount, where nobody can
tell that it read the session for the copy only. They report a part of the saves as failed themselves.
"""
import json
import shutil

import packages
from harness import case, cases, equal, forked, main, read, write

PROGRAMS = [
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
