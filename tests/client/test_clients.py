#!/usr/bin/python3
"""P1, P2, P3, P6 for the clients of the merge rules that keep a message list and read it before each save."""
import clients
from run_clients import run_node, run_python
from harness import cases, main


@cases("{}: 8 writers, a reader", [(c.__name__, c) for c in clients.LISTS])
def python_client(t, name, client):
	run_python(t, client)


@cases("Node {} at once in each process, a reader", [(f"{kind}, {tasks}", kind, tasks) for kind, counts in (
	("gemini", (1,)), ("jsonfile", (1, 4, 8, 150)), ("atomic", (1, 4, 8, 150)),
) for tasks in counts])
def node_client(t, name, kind, tasks):
	run_node(t, kind, clients.Client.contents, tasks)


if __name__ == "__main__":
	main()
