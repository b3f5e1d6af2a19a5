#!/usr/bin/python3
"""P1, P2, P3, P6 for npm packages, in the versions of package.json."""
import packages
from harness import QUICK, cases, main

EMPTY = b'{"messages": []}'

# name, npm package, kind in packages.mjs, what the document is, tasks a process, the file before. node-json-db makes an absent file by writing
# {}: of several that do so in one process nothing tells that this is no clear of what the others have put there.
PACKAGES = [
	("write-file-atomic", "write-file-atomic", "write-file-atomic", packages.listed, 1, None),
	("write-file-atomic, 4 tasks a process", "write-file-atomic", "write-file-atomic", packages.listed, 4, None),
	("jsonfile", "jsonfile", "jsonfile", packages.listed, 1, None),
	("jsonfile, 4 tasks a process", "jsonfile", "jsonfile", packages.listed, 4, None),
	("conf", "conf", "conf", packages.enveloped, 1, None),
	("node-json-db", "node-json-db", "node-json-db", packages.enveloped, 1, None),
	("node-json-db, 4 tasks a process", "node-json-db", "node-json-db", packages.enveloped, 4, EMPTY),
	("node-json-db in memory", "node-json-db", "node-json-db in memory", packages.enveloped, 1, None),
	("lowdb", "lowdb", "lowdb", packages.enveloped, 1, None),
	("lowdb, 4 tasks a process", "lowdb", "lowdb", packages.enveloped, 4, None),
	("lowdb in memory", "lowdb", "lowdb in memory", packages.enveloped, 1, None),
	("FileSystemChatMessageHistory", "@langchain/community", "langchain", packages.langchain, 1, None),
]


@cases("{}: 8 writers, a reader", PACKAGES)
def mounted(t, name, package, kind, contents, tasks, before):
	packages.on_mount(t, contents, packages.npm(t, package, kind, tasks, before))


@cases("control: {} on a plain directory", [] if QUICK else PACKAGES)
def plain(t, name, package, kind, contents, tasks, before):
	packages.on_plain(t, contents, packages.npm(t, package, kind, tasks, before))


if __name__ == "__main__":
	main()
