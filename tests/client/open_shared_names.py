#!/usr/bin/python3
"""
Not yet safe, and so not part of tools/check: several writers that use one temp name at once (rule 14). The README lists them.
"""
import clients
from run_clients import run_node, run_python
from harness import cases, main


def envelope(document):
	return [m["content"] for m in document["messages"]]


@cases("{}: 8 writers, a reader", [(c.__name__, c) for c in clients.DOCUMENTS if c.__name__.startswith("SharedTemp")])
def python_client(t, name, client):
	run_python(t, client)


@cases("Node {}: 8 writers, a reader", [
	("lowdb", envelope, 1, False), ("lowdb", envelope, 4, False),
])
def node_client(t, kind, contents, tasks, may_vanish):
	run_node(t, kind, contents, tasks, may_vanish)


if __name__ == "__main__":
	main()
