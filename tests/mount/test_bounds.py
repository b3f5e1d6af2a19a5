#!/usr/bin/python3
"""The table of bounds in fs/README.md: each is in the code, with the value that stands there."""
import os
import re

from harness import case, equal, main, require

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
ROW = re.compile(r"^\| `(\w+)` \| (\S+) \| (.+?) \| (.+?) \| (.+?) \|$", re.M)


def source(path):
	with open(os.path.join(ROOT, path), encoding="utf-8") as f:
		return f.read()


@case("each bound of the table is in the code")
def bounds(t):
	rows = ROW.findall(source("fs/README.md"))
	require(len(rows) > 20, f"the table has {len(rows)} rows")
	for name, path, value, _, _ in rows:
		found = re.search(rf"^#define {name}\s+(.+?)(?:\s*/\*.*)?$", source(path), re.M)
		require(found, f"{path} has no {name}")
		equal(found.group(1).strip(), value, f"{name} of {path}")


if __name__ == "__main__":
	main()
