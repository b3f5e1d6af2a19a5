#!/usr/bin/python3
"""P1, P2, P3, P6 for programs and libraries of Debian's packages: PHP, Perl, jq, moreutils, aiofiles, vim."""
import packages
from harness import QUICK, cases, equal, main

# name, what starts the race (late: it skips what is not installed), whether no message need be lost on a plain directory
PACKAGES = [
	("PHP file_put_contents", lambda: packages.program("php", "file_put_contents"), False),
	("PHP file_put_contents LOCK_EX", lambda: packages.program("php", "LOCK_EX"), False),
	("PHP flock, r+", lambda: packages.program("php", "flock r+"), True),
	("PHP flock, c+", lambda: packages.program("php", "flock c+"), True),
	("perl -i", lambda: packages.program("sh", "perl", "perl", b"[\n]\n"), False),
	("vim", lambda: packages.program("sh", "vim", "vim", b"[\n]\n"), False),
	("vim without a backup", lambda: packages.program("sh", "vim-in-place", "vim", b"[\n]\n"), False),
	("Perl JSON::PP", lambda: packages.program("perl", "open"), False),
	("Perl JSON::PP, flock", lambda: packages.program("perl", "flock"), True),
	("jq and mv", lambda: packages.program("sh", "jq", "jq", b"[]\n"), False),
	("jq and sponge", lambda: packages.program("sh", "sponge", "sponge", b"[]\n"), False),
	("aiofiles", lambda: packages.aiofiles("read", 1), False),
	("aiofiles, 4 tasks a process", lambda: packages.aiofiles("read", 4), False),
	("aiofiles in memory, 4 tasks a process", lambda: packages.aiofiles("memory", 4), False),
]


@cases("{}: 8 writers, a reader", PACKAGES)
def mounted(t, name, racer, safe):
	# Who locks creates the file before it writes the first message.
	packages.on_mount(t, packages.listed, racer(), may_be_empty=safe)


@cases("control: {} on a plain directory", [] if QUICK else PACKAGES)
def plain(t, name, racer, safe):
	packages.on_plain(t, packages.listed, racer(), safe)


@cases("P2: what another program adds while a person edits in vim with backupcopy={} stays", [("no",), ("yes",), ("auto",)])
def vim(t, way):
	equal(packages.edit_in_vim(t, f"backupcopy={way}"), ["first", "another", "a person's"], "in the end")


if __name__ == "__main__":
	main()
