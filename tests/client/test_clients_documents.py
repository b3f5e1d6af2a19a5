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


@cases("Node {} at once in each process, a reader", [(f"{kind}, {tasks}", kind, contents, tasks, may_vanish) for kind, contents, may_vanish, counts in (
	("conf", envelope, False, (1,)), ("langchain", langchain, False, (1,)), ("lowdb", envelope, False, (1, 4, 150)),
	("roo", clients.Client.contents, True, (1, 4, 8, 150)),
) for tasks in counts])
def node_client(t, name, kind, contents, tasks, may_vanish):
	run_node(t, kind, contents, tasks, may_vanish)


if __name__ == "__main__":
	main()
