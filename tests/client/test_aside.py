#!/usr/bin/python3
"""Rule 13: a session that its writer sets aside (`target -> target.bak`) to make it anew is there for all others, until the new one is saved over it."""
import errno
import os
import signal
import subprocess

from session import log, shell
from steps import Steps, contents, document
from harness import case, cases, equal, eventually, fails, forked, main, read, require, write


def in_place(path, data):
	write(path, data)


def by_temp(path, data):
	write(path + ".new", data)
	os.rename(path + ".new", path)


def exclusively(path, data):
	with open(path, "xb") as f:
		f.write(data)


def step_by_step(path, data):
	"""As vim does."""
	fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
	os.ftruncate(fd, 0)
	os.write(fd, data)
	os.fsync(fd)
	os.close(fd)


WAYS = [("in place", in_place), ("by temp file", by_temp), ("with O_EXCL", exclusively), ("as vim does", step_by_step)]
BACKUPS = ["{}~", "{}.bak", ".{}.bak_1.tmp"]


def add(path, text):
	write(path, document(*contents(path), text))


def start(t, *texts):
	path = t.path("s.json")
	forked(write, path, document(*texts))
	return path


def names(path):
	return sorted(os.listdir(os.path.dirname(path)))


@cases("made anew {}", [(f"{how}, by {'an event loop' if events else 'a process'}, the backup {'stays' if leave else 'goes'}, {pattern.format('s.json')}",
			 put, pattern, events, leave)
			for (how, put), pattern in zip(WAYS, BACKUPS + BACKUPS[:1]) for events in (False, True) for leave in (False, True)])
def made_anew(t, name, put, pattern, events, leave):
	path = start(t, "first")
	backup = t.path(pattern.format("s.json"))

	def dancer():
		mine = contents(path)
		yield
		os.rename(path, backup)
		equal((os.path.exists(path), os.path.exists(backup)), (False, True), "what it sees")
		yield
		put(path, document(*mine, "dancer's"))
		equal((os.path.exists(path), os.path.exists(backup)), (True, True), "what it sees then")
		if leave:
			equal(contents(backup), ["first", "not seen"], "its backup")
		else:
			os.unlink(backup)
	one = Steps(dancer(), events)
	one.step()
	forked(add, path, "not seen")
	one.step()
	equal(forked(contents, path), ["first", "not seen"], "what others see")
	forked(add, path, "another's")
	one.end()
	equal(contents(path), ["first", "not seen", "another's", "dancer's"], "the session")
	equal(names(path), sorted([os.path.basename(backup)] * leave + ["s.json"]), "names that are left")
	if leave:
		equal(contents(backup), ["first", "not seen"], "the backup")


@case("what the dancer had read and leaves out is removed, in one change of the log")
def removed(t):
	path = start(t, "first", "second")

	def dancer():
		contents(path)
		os.rename(path, path + "~")
		write(path, document("second", "third"))
		os.unlink(path + "~")
	forked(dancer)
	equal(contents(path), ["second", "third"], "the session")
	newest = log(t, path)[0]
	equal((newest["added"], newest["removed"]), (1, 1), "the newest change")


@case("a list in memory, saved so again and again")
def in_memory(t):
	path = start(t, "first")

	def dancer():
		mine = contents(path)
		for n in range(10):
			forked(add, path, f"another's {n}")
			mine.append(f"mine {n}")
			os.rename(path, path + ".bak")
			by_temp(path, document(*mine))
			os.unlink(path + ".bak")
	forked(dancer)
	equal(sorted(contents(path)), sorted(["first"] + [f"{whose} {n}" for whose in ("mine", "another's") for n in range(10)]), "the session")


@case("two that use one name for their backups")
def one_name(t):
	path = start(t, "first")

	def dancer(text):
		mine = contents(path)
		yield
		os.rename(path, path + "~")
		yield
		in_place(path, document(*mine, text))
		yield
		os.unlink(path + "~")
	dancers = [Steps(dancer(text)) for text in ("a", "b")]
	for _ in range(3):
		for one in dancers:
			one.step()
	for one in dancers:
		one.end()
	equal((contents(path), names(path)), (["first", "a", "b"], ["s.json"]), "in the end")


@cases("the backup is put back {}", [("when another has saved meanwhile", True), ("when nobody has", False)])
def put_back(t, name, saved):
	path = start(t, "first")

	def dancer():
		contents(path)
		os.rename(path, path + "~")
		yield
		os.rename(path + "~", path)
		equal(os.path.exists(path + "~"), False, "the backup is there")
	one = Steps(dancer())
	one.step()
	if saved:
		forked(add, path, "second")
	one.end()
	equal((contents(path), names(path)), (["first"] + ["second"] * saved, ["s.json"]), "in the end")


@case("a rename that nothing follows is one when its process has ended, and at once for who asks")
def ended(t):
	path = start(t, "first")

	def only_renames():
		contents(path)
		os.rename(path, path + ".bak")
	forked(only_renames)
	equal((os.path.exists(path), os.path.exists(path + ".bak"), names(path)), (False, True, ["s.json.bak"]), "names")
	equal(contents(path + ".bak"), ["first"], "the backup")


@case("sed -i.bak; rm: at once")
def sed(t):
	path = start(t, "first")
	for n in range(10):
		shell('sed -i.bak "s/first/first/" "$1" && rm "$1.bak" && test -e "$1" && ! test -e "$1.bak"', path)
	equal((contents(path), names(path)), (["first"], ["s.json"]), "in the end")


@case("a rename that nothing follows is one after three seconds, and what was saved meanwhile goes along")
def waits(t):
	path = start(t, "first")

	def waiting():
		contents(path)
		os.rename(path, path + ".bak")
		yield
	one = Steps(waiting())
	one.step()
	forked(add, path, "second")
	eventually(lambda: names(path), ["s.json.bak"], "names")
	equal(contents(path + ".bak"), ["first", "second"], "the backup")
	one.end()


@case("a process that the dancer starts finds the backup")
def related(t):
	path = start(t, "first")

	def dancer():
		contents(path)
		os.rename(path, path + ".bak")
		copied = subprocess.run(["cat", path + ".bak"], stdout=subprocess.PIPE, check=True).stdout
		equal(copied, document("first"), "what it read")
	forked(dancer)


@case("who had not read it has renamed it at once")
def unread(t):
	path = start(t, "first")

	def renames():
		os.rename(path, path + ".bak")
		equal((forked(os.path.exists, path), forked(os.path.exists, path + ".bak")), (False, True), "what others see")
		write(path, document("new"))
		equal(contents(path), ["new"], "the new one")
	forked(renames)
	equal((contents(path), contents(path + ".bak")), (["new"], ["first"]), "in the end")


@case("nor is a session set aside by a name of its own kind, or in another directory")
def moved(t):
	path = start(t, "first")
	os.mkdir(t.path("d"))

	def moves():
		contents(path)
		for to in (t.path("s.json.old.json"), t.path("d/s.json.bak")):
			os.rename(path, to)
			equal((forked(os.path.exists, path), forked(os.path.exists, to)), (False, True), "what others see")
			os.rename(to, path)
	forked(moves)
	equal(contents(path), ["first"], "in the end")


@case("the process's own listing, and what it does with the backup, are as after any rename")
def own_view(t):
	path = start(t, "first")
	backup = path + ".bak"

	def dancer():
		contents(path)
		os.rename(path, backup)
		equal((contents(backup), os.stat(backup).st_size), (["first"], len(document("first"))), "the backup")
		equal(names(path), ["s.json.bak"], "names")
		write(path, document("new"))
		equal(names(path), ["s.json", "s.json.bak"], "names then")
		contents(path)
		os.rename(path, backup)
		write(path, document("newer"))
		os.chmod(backup, 0o600)
		equal((contents(backup), os.stat(backup).st_mode & 0o777), (["new"], 0o600), "the second backup")
		contents(path)
		os.rename(path, path + "~")
		os.rename(path + "~", path + "2~")
		equal(names(path), ["s.json.bak", "s.json2~"], "names in the end")
	forked(dancer)
	equal((contents(path + "2~"), contents(backup), names(path)), (["newer"], ["new"], ["s.json.bak", "s.json2~"]), "in the end")


@case("a backup that is removed before anything is made is the session")
def gone(t):
	path = start(t, "first")

	def dancer():
		contents(path)
		os.rename(path, path + "~")
		os.unlink(path + "~")
		equal(os.path.exists(path), False, "the session is there")
	forked(dancer)
	equal(names(path), [], "names")


@cases("when another {} it meanwhile, the rename came first", [("removes", os.unlink), ("renames", lambda path: os.rename(path, path + "2.json"))])
def taken(t, name, take):
	path = start(t, "first")

	def dancer():
		contents(path)
		os.rename(path, path + "~")
		yield
		equal(contents(path + "~"), ["first"], "the backup")
		write(path, document("new"))
	one = Steps(dancer())
	one.step()
	forked(fails, errno.ENOENT, take, path)
	one.end()
	equal((contents(path), contents(path + "~"), names(path)), (["new"], ["first"], ["s.json", "s.json~"]), "in the end")


@case("a log of lines that is renamed to begin a new one is renamed at once")
def lines(t):
	path = t.path("s.jsonl")

	def rotates():
		with open(path, "ab") as f:
			f.write(b"1\n")
		read(path)
		os.rename(path, path + ".1")
		equal((forked(os.path.exists, path), forked(os.path.exists, path + ".1")), (False, True), "what others see")
		with open(path, "ab") as f:
			f.write(b"2\n")
	forked(rotates)
	equal((read(path), read(path + ".1")), (b"2\n", b"1\n"), "in the end")


@case("a backup that another has made under the name meanwhile stays")
def another_backup(t):
	path = start(t, "first")

	def dancer():
		contents(path)
		os.rename(path, path + "~")
		yield
		write(path, document("new"))
	one = Steps(dancer())
	one.step()
	shell('setsid sh -c "echo mine > \\"\\$1\\"" sh "$1"', path + "~")
	one.end()
	equal((contents(path), read(path + "~")), (["new"], b"mine\n"), "in the end")


@case("killed between: the session is under the backup's name")
def killed(t):
	path = start(t, "first")

	def dancer():
		contents(path)
		os.rename(path, path + "~")
		yield
	one = Steps(dancer())
	one.step()
	forked(add, path, "second")
	one.child.kill(signal.SIGKILL)
	one.close()
	eventually(lambda: names(path), ["s.json~"], "names")
	equal(contents(path + "~"), ["first", "second"], "the backup")
	shell('mv "$1~" "$1"', path)
	equal(contents(path), ["first", "second"], "put back")


@case("unmounted between: the rename has happened")
def unmounted(t):
	with t.new_mount() as m:
		path = m.path + "/s.json"

		def dancer():
			contents(path)
			os.rename(path, path + "~")
			yield
		forked(write, path, document("first"))
		one = Steps(dancer())
		one.step()
		m.stop()
		m.start()
		equal(os.listdir(m.path), ["s.json~"], "names")
		one.end()


@case("P7: the daemon is killed between: nothing has happened, as with any rename that was not synced")
def daemon_killed(t):
	with t.new_mount() as m:
		path = m.path + "/s.json"

		def dancer():
			contents(path)
			os.rename(path, path + "~")
			yield
		forked(write, path, document("first"))
		one = Steps(dancer())
		one.step()
		m.kill()
		m.start()
		equal((os.listdir(m.path), contents(path)), (["s.json"], ["first"]), "what is there")
		one.end()


@case("a directory can be removed when what was set aside in it is gone")
def directory(t):
	os.mkdir(t.path("d"))
	path = t.path("d/s.json")
	forked(write, path, document("first"))

	def dancer():
		contents(path)
		os.rename(path, path + "~")
		fails(errno.ENOTEMPTY, os.rmdir, t.path("d"))
		os.unlink(path + "~")
		os.rmdir(t.path("d"))
	forked(dancer)
	require(not os.path.exists(t.path("d")), "the directory is there")


if __name__ == "__main__":
	main()
