"""
What somebody else has planted where root mounts, imports and exports: links that lead elsewhere. Nothing is written or read
there, and the refusal says why. What the store's own directory may hold: tests/store/test_planted.c.
"""
import ctypes
import json
import os
import subprocess
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness
from harness import CONTROL, HISTORYCTL, QUICK, Skip, case, cases, command, equal, read, require, write

OTHER = 54321
SECRET = b'[{"role": "user", "content": "nobody may read this"}]'
RENAME_EXCHANGE = 2
libc = ctypes.CDLL(None, use_errno=True)


def need_root(t):
	if CONTROL:
		raise Skip("there is no daemon")
	if os.geteuid():
		raise Skip("only root can give files away")
	t.script.need_binaries()


def refused(t, m, *says):
	"""The daemon must not start, and say so."""
	done = subprocess.run(m.words(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
	require(done.returncode == 1 and all(text in done.stdout for text in says), f"status {done.returncode}: {done.stdout}, wanted {says}")


@cases("mounting: the store is {}", [
	("another user's directory", "directory", "belongs to user 54321"),
	("where all may write", "sticky", "chmod go-w"),
	("behind another user's link", "link", 'symbolic link "store" of user 54321'),
	("among other files: the arguments are swapped", "swapped", "other files"),
])
def store_refused(t, what, kind, says):
	need_root(t)
	place = t.place()
	store = f"{place}/store"
	victim = t.place("victim")
	if kind == "link":
		os.symlink(victim, store)
		os.chown(store, OTHER, OTHER, follow_symlinks=False)
	else:
		os.mkdir(store, 0o700)
	if kind == "directory":
		os.chown(store, OTHER, OTHER)
	if kind == "sticky":
		os.chmod(store, 0o1777)
	if kind == "swapped":
		write(f"{store}/alice.json", SECRET)
	m = t.new_mount(store=store)
	refused(t, m, "refused:", says)
	equal(os.listdir(victim), [], "where the link leads")
	equal(os.listdir(store), ["alice.json"] if kind == "swapped" else [], "in the directory")


@case("mounting: by a link of root's, and read-only another user's store")
def store_accepted(t):
	need_root(t)
	place = t.place()
	os.mkdir(f"{place}/real", 0o700)
	os.symlink("real", f"{place}/store")
	with t.new_mount(store=f"{place}/store") as m:
		write(f"{m.path}/s.json", SECRET)
		done = command(HISTORYCTL, "--store", f"{place}/store", "cat", "s.json")
		equal(done.stdout.encode(), SECRET, "by the tool")
		equal(json.loads(command(HISTORYCTL, "stats", "--json", cwd=m.path).stdout)["sessions"], 1, "by the mount")
	for name in (".", *os.listdir(f"{place}/real")):
		os.chown(f"{place}/real/{name}", OTHER, OTHER)
	with t.new_mount(store=f"{place}/real", options=["ro"]) as m:
		equal(read(f"{m.path}/s.json"), SECRET, "read-only")
	equal(command(HISTORYCTL, "--store", f"{place}/real", "cat", "s.json").stdout.encode(), SECRET, "by the tool, as root")
	done = command(HISTORYCTL, "--store", f"{place}/real", "rm", "s.json", status=1)
	require("belongs to user 54321" in done.stderr, done.stderr)


# ---- Import ------------------------------------------------------------------------------------------------------

def exchange(one, other, stop):
	one, other = os.fsencode(one), os.fsencode(other)
	while not stop.is_set():
		libc.renameat2(-100, one, -100, other, RENAME_EXCHANGE)


def swapped(one, other, function):
	stop = threading.Event()
	thread = threading.Thread(target=exchange, args=(one, other, stop))
	thread.start()
	try:
		function()
	finally:
		stop.set()
		thread.join()


def exported(t, store):
	out = t.place("out")
	command(HISTORYCTL, "--store", store, "export", "--force", out)
	return out


@cases("import: {} is given to a link while it is taken in", [("a file", False), ("a directory", True)])
def import_swapped(t, what, directory):
	need_root(t)
	outside, place = t.place("outside"), t.place("history")
	write(f"{outside}/secret.json", SECRET)
	if directory:
		os.mkdir(f"{place}/d")
		write(f"{place}/d/secret.json", b"[]")
		os.symlink(outside, f"{place}/e")
	else:
		write(f"{place}/d", b"[]")
		os.symlink(f"{outside}/secret.json", f"{place}/e")

	def take():
		for i in range(8 if QUICK else 40):
			store = f"{t.place('stores')}/store"
			command(HISTORYCTL, "--store", store, "import", place, status=None)
			for found, _, names in os.walk(exported(t, store)):
				for name in names:
					path = os.path.join(found, name)
					require(os.path.islink(path) or read(path) != SECRET, f"read through the link: {path}")
	swapped(f"{place}/d", f"{place}/e", take)


@case("import: a directory that another takes the place of keeps its own mode")
def import_other_directory(t):
	need_root(t)
	place = t.place("history")
	for name, mode, data in (("d", 0o755, b"[]"), ("e", 0o700, SECRET)):
		os.mkdir(f"{place}/{name}")
		write(f"{place}/{name}/s.json", data)
		os.chmod(f"{place}/{name}", mode)

	def take():
		for i in range(10 if QUICK else 60):
			store = f"{t.place('stores')}/store"
			command(HISTORYCTL, "--store", store, "import", place, status=None)
			out = exported(t, store)
			for name in os.listdir(out):
				if os.path.exists(f"{out}/{name}/s.json") and read(f"{out}/{name}/s.json") == SECRET:
					equal(os.stat(f"{out}/{name}").st_mode & 0o777, 0o700, f"mode of {name}, which holds what was in a directory of mode 0700")
	swapped(f"{place}/d", f"{place}/e", take)


# ---- Export ------------------------------------------------------------------------------------------------------

@case("export: links that were planted in the destination are replaced, not followed")
def export_planted(t):
	need_root(t)
	victim = t.place("victim")
	write(f"{victim}/file", SECRET)
	os.mkdir(f"{victim}/d", 0o700)
	with t.new_mount() as m:
		write(f"{m.path}/a.json", b"[1]")
		os.mkdir(f"{m.path}/d")
		write(f"{m.path}/d/b.json", b"[2]")
		os.symlink("a.json", f"{m.path}/l")
	out = t.place("out")
	os.symlink(f"{victim}/file", f"{out}/a.json")
	os.symlink(f"{victim}/d", f"{out}/d")
	os.link(f"{victim}/file", f"{out}/l")
	done = command(HISTORYCTL, "--store", m.store, "export", "--force", out, status=1)
	require("d" in done.stderr, done.stderr)
	equal((read(f"{victim}/file"), os.listdir(f"{victim}/d"), os.stat(f"{victim}/d").st_mode & 0o777), (SECRET, [], 0o700), "the victim")
	equal((read(f"{out}/a.json"), os.readlink(f"{out}/l"), os.path.islink(f"{out}/a.json")), (b"[1]", "a.json", False), "what was exported")


@cases("export: the destination is a link of {}", [("root's", 0), ("another user's", OTHER)])
def export_to_link(t, what, owner):
	need_root(t)
	with t.new_mount() as m:
		write(f"{m.path}/a.json", b"[1]")
	victim, place = t.place("victim"), t.place()
	os.symlink(victim, f"{place}/out")
	os.chown(f"{place}/out", owner, owner, follow_symlinks=False)
	done = command(HISTORYCTL, "--store", m.store, "export", f"{place}/out", status=1 if owner else 0)
	require(not owner or "another user" in done.stderr, done.stderr)
	equal(os.listdir(victim), [] if owner else ["a.json"], "where it leads")


if __name__ == "__main__":
	harness.main()
