#!/usr/bin/python3
"""P1, P2, P3, P6 for npm packages, in the versions of package.json."""
import packages
from harness import cases, main

# name, npm package, kind in packages.mjs, what the document is, tasks a process
PACKAGES = [
	("write-file-atomic", "write-file-atomic", "write-file-atomic", packages.listed, 1),
	("write-file-atomic, 4 tasks a process", "write-file-atomic", "write-file-atomic", packages.listed, 4),
	("jsonfile", "jsonfile", "jsonfile", packages.listed, 1),
	("jsonfile, 4 tasks a process", "jsonfile", "jsonfile", packages.listed, 4),
	("conf", "conf", "conf", packages.enveloped, 1),
	("node-json-db", "node-json-db", "node-json-db", packages.enveloped, 1),
	("node-json-db, 4 tasks a process", "node-json-db", "node-json-db", packages.enveloped, 4),
	("node-json-db in memory", "node-json-db", "node-json-db in memory", packages.enveloped, 1),
	("FileSystemChatMessageHistory", "@langchain/community", "langchain", packages.langchain, 1),
]


@cases("{}: 8 writers, a reader", PACKAGES)
def mounted(t, name, package, kind, contents, tasks):
	packages.on_mount(t, contents, packages.npm(t, package, kind, tasks))


@cases("control: {} on a plain directory", PACKAGES)
def plain(t, name, package, kind, contents, tasks):
	packages.on_plain(t, contents, packages.npm(t, package, kind, tasks))


if __name__ == "__main__":
	main()
