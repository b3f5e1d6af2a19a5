#!/usr/bin/python3
"""What a program sees of a damaged store: EIO for what is damaged, and all the rest as it was. More damages: tests/fault/damage.py."""
import errno
import json
import os

from harness import case, command, equal, fails, main, read, require, write

HISTORYCTL = os.environ.get("HISTORYCTL", "historyctl")


def session(text, size=300):
	return json.dumps([{"role": "user", "content": f"{text} {n} " + "x" * size} for n in range(20)]).encode()


def store_with(t, names):
	"""A store with these sessions, closed; its directory."""
	store = t.place("stores") + "/store"
	with t.new_mount(store=store) as m:
		for name in names:
			write(f"{m.path}/{name}.json", session(name))
	return store


def flip(store, text):
	"""One bit of the text, wherever in data.mdb it is."""
	with open(store + "/data.mdb", "r+b") as f:
		data = f.read()
		require(text in data, f"{text} is not in data.mdb")
		at = 0
		while (at := data.find(text, at)) >= 0:
			f.seek(at + 1)
			f.write(bytes([data[at + 1] ^ 1]))
			at += 1


@case("a session with a flipped bit in a message is EIO to each call that needs it, the others are served, and the log and status tell")
def flipped(t):
	store = store_with(t, ["bad", "good"])
	flip(store, b"bad 7 ")
	with t.new_mount(store=store, expected=[r"damaged"]) as m:
		fails(errno.EIO, read, f"{m.path}/bad.json")
		fails(errno.EIO, write, f"{m.path}/bad.json", session("bad")[:-1] + b', {"content": "more"}]')
		equal(read(f"{m.path}/good.json"), session("good"), "the other session")
		write(f"{m.path}/good.json", session("better"))
		write(f"{m.path}/new.json", session("new"))
		equal(read(f"{m.path}/good.json"), session("better"), "the other session, saved")
		require(m.lines(r"damaged.*historyctl verify"), f"the log does not tell: {m.output()}")
		require(json.loads(read(m.control_file("status")))["damaged"] >= 2, "status does not tell")
	told = command(HISTORYCTL, "--store", store, "verify", status=None)
	equal(told.returncode, 1, "verify")
	require("bad.json" in told.stdout + told.stderr, f"verify does not name it: {told}")


@case("a session whose attributes or name are damaged is EIO to stat and open")
def attributes(t):
	store = store_with(t, ["bad", "good"])
	flip(store, b"bad.json")
	with t.new_mount(store=store, expected=[r"damaged"]) as m:
		fails(errno.EIO, os.stat, f"{m.path}/bad.json")
		fails(errno.EIO, read, f"{m.path}/bad.json")
		fails(errno.EIO, os.listdir, m.path)
		equal(read(f"{m.path}/good.json"), session("good"), "the other session")


@case("a plain file, lines, a link, and a session's newest message with a flipped bit: EIO; what is damaged can be removed, and made anew")
def kinds(t):
	names = ["s.json", "l.jsonl", "p.txt", "big.bin", "link"]
	store = t.place("stores") + "/store"
	with t.new_mount(store=store) as m:
		write(f"{m.path}/s.json", json.dumps([{"content": "first"}, {"content": "flip me: s.json"}]).encode())
		write(f"{m.path}/l.jsonl", b'{"n": 1}\n{"n": "flip me: l.jsonl"}\n{"n": 3}\n')
		write(f"{m.path}/p.txt", b"some text, flip me: p.txt, and more")
		write(f"{m.path}/big.bin", b"b" * 100000 + b"flip me: big.bin" + b"b" * 100000)
		os.symlink("flip me: link", f"{m.path}/link")
	for name in names:
		flip(store, b"flip me: " + name.encode())
	with t.new_mount(store=store, expected=[r"damaged"]) as m:
		for name in names:
			path = f"{m.path}/{name}"
			fails(errno.EIO, os.readlink if name == "link" else read, path)
			equal(sorted(os.listdir(m.path)), sorted(names), "the listing")
			os.unlink(path)
			require(not os.path.lexists(path), f"{name} is still there")
			write(path, b"[]" if name == "s.json" else b"anew\n")
			equal(read(path), b"[]" if name == "s.json" else b"anew\n", name)


if __name__ == "__main__":
	main()
