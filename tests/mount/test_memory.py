#!/usr/bin/python3
"""What the daemon remembers of its clients is bounded: ten thousand short-lived ones leave it as large as it was, and are forgotten."""
import json
import os
import re
import time

from harness import CONTROL, QUICK, Skip, case, equal, forked, main, read, require, write

CLIENTS, BATCH = 1000 if QUICK else 10000, 50
BESIDE = 24 << 20		# the buffers of 16 threads and 8 reads, which begin when they are needed. Of the sanitizers' allocators it says nothing
SESSIONS = 20


def anonymous(mount):
	with open(f"/proc/{mount.daemon.pid}/status", encoding="ascii") as f:
		return int(re.search(r"^RssAnon:\s+(\d+) kB", f.read(), re.M)[1]) << 10


def tickets(mount):
	return json.loads(read(mount.control_file("status")))["tickets"]


def clients(count, act):
	"""So many processes, a batch at a time, that each do `act(number)`."""
	for first in range(0, count, BATCH):
		pids = []
		for n in range(first, first + BATCH):
			pid = os.fork()
			if not pid:
				try:
					act(n)
				finally:
					os._exit(0)
			pids.append(pid)
		for pid in pids:
			equal(os.waitpid(pid, 0)[1], 0, "status of a client")


def grows(mount, count, act):
	if CONTROL:
		raise Skip("there is no daemon")
	for n in range(SESSIONS):
		forked(write, f"{mount.path}/s{n}.json", json.dumps([{"role": "user", "content": f"{n} {i}"} for i in range(20)]).encode())
	forked(clients, 500, act)		# threads and their stacks, caches
	before, known = anonymous(mount), tickets(mount)["bytes"]
	forked(clients, count, act)
	growth = anonymous(mount) - before
	print(f"# {count} clients: RssAnon grew by {growth >> 10} KiB from {before >> 10} KiB; tickets: {tickets(mount)}")
	require(QUICK or growth <= tickets(mount)["bytes"] - known + BESIDE, f"the daemon grew by {growth >> 10} KiB")
	require(tickets(mount)["bytes"] <= 6 << 20, f"tickets take {tickets(mount)['bytes']} bytes")


@case("clients that read one of a few sessions")
def readers(t):
	with t.new_mount() as m:
		grows(m, CLIENTS, lambda n: read(f"{m.path}/s{n % SESSIONS}.json"))


@case("clients that look for names that are not there")
def lookers(t):
	with t.new_mount() as m:
		grows(m, CLIENTS // 5, lambda n: require(not os.path.exists(f"{m.path}/absent{n}.json"), "it is there"))


@case("dead clients are forgotten after ticket_ttl, as fast as new ones come")
def forgotten(t):
	if CONTROL:
		raise Skip("there is no daemon")
	with t.new_mount(options=["ticket_ttl=1"]) as m:
		forked(write, f"{m.path}/s.json", b'[{"content": "a"}]')
		seen = []
		for _ in range(6):
			forked(clients, 200, lambda n: read(f"{m.path}/s.json"))
			seen.append(tickets(m)["processes"])
			time.sleep(1.1)
		require(max(seen) < 700, f"processes remembered, after each 200: {seen}")


if __name__ == "__main__":
	main()
