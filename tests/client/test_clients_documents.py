#!/usr/bin/python3
"""
P1, P2, P3, P6 for the clients of the merge rules with other documents than lists, lists in memory, the .bak dance and shared
temp names (rules 2, 7, 10, 13, 14).
"""
import clients
from run_clients import run_node, run_python
from harness import cases, main


@cases("{}: 8 writers, a reader", [(c.__name__, c) for c in clients.DOCUMENTS])
def python_client(t, name, client):
	run_python(t, client)


def envelope(document):
	return [m["content"] for m in document["messages"]]


def langchain(document):
	return [m["content"] for m in document["user"]["session"]["messages"]]


@cases("Node {}: 8 writers, a reader", [
	("conf", envelope, 1, False), ("langchain", langchain, 1, False),
	("lowdb", envelope, 1, False), ("lowdb", envelope, 4, False),
	("roo", clients.Client.contents, 1, True), ("roo", clients.Client.contents, 4, True), ("roo", clients.Client.contents, 8, True),
])
def node_client(t, kind, contents, tasks, may_vanish):
	run_node(t, kind, contents, tasks, may_vanish)


if __name__ == "__main__":
	main()
