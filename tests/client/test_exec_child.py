#!/usr/bin/python3
"""
A FLUSH that is not the writer's decides nothing: children that exec or exit in mid-write, duplicated descriptors, shell
redirections. The last close of the writer commits.
"""
import errno
import json
import os
import subprocess
import time

from tally import read_whole
from harness import Child, case, cases, command, equal, forked, main, read, require, write, write_all

OLD = json.dumps([{"role": "user", "content": f"old {n}"} for n in range(30)], indent=2).encode()
NEW = json.dumps([{"role": "user", "content": f"new {n}"} for n in range(30)], indent=2).encode()
MORE = json.dumps([{"role": "user", "content": f"old {n}"} for n in range(31)], indent=2).encode()


def seen_by_another(path):
	size, data = forked(read_whole, path)
	equal(size, len(data), "size by fstat")
	return data


def exec_child(fd):
	"""What subprocess.run does: fork, the inherited descriptor closes at exec."""
	command("true")


def exec_keeping(fd):
	"""The child keeps the descriptor over exec and closes it when it exits."""
	command("true", pass_fds=(fd,))


def fork_and_exit(fd):
	Child(lambda: None).result()


def fork_and_close(fd):
	Child(os.close, fd).result()


def killed_child(fd):
	child = Child(time.sleep, 1000)
	child.kill()
	child.wait()


def dup_and_close(fd):
	copy = os.dup(fd)
	try:
		os.close(copy)
	except OSError as e:		# the same process: the daemon may say that the document is not complete yet
		equal(e.errno, errno.EINVAL, "errno of closing a duplicate in mid-write")


def closed_by_threads_child(fd):
	for _ in range(5):
		command("sh", "-c", "true; true")


DISTURBANCES = [
	("an exec'ing child", exec_child), ("a child that keeps it over exec", exec_keeping), ("a child that exits", fork_and_exit),
	("a child that closes it", fork_and_close), ("a killed child", killed_child), ("five shells", closed_by_threads_child),
]


@cases("FLUSH by {} in mid-write commits nothing", DISTURBANCES + [("a closed duplicate", dup_and_close)])
def mid_write(t, name, disturb):
	t.mount.expect(r"s\.json")	# a duplicate's close may be logged as incomplete
	path = t.path("s.json")
	write(path, OLD)
	fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
	disturb(fd)				# before the first write
	equal(seen_by_another(path), OLD, "after a FLUSH before the first write")
	for at in range(0, len(NEW), 300):
		write_all(fd, NEW[at:at + 300])
		if at in (0, 900):
			disturb(fd)
			equal(seen_by_another(path), OLD, f"after a FLUSH at byte {at + 300}")
	os.close(fd)
	equal(seen_by_another(path), NEW, "after the writer's close")


@cases("FLUSH by {} of a complete document commits nothing before the writer's own", DISTURBANCES)
def complete(t, name, disturb):
	path = t.path("s.json")
	write(path, OLD)
	fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
	write_all(fd, NEW)
	disturb(fd)
	equal(seen_by_another(path), OLD, "after another's FLUSH of a complete document")
	write_all(fd, b"\n")
	os.close(fd)
	equal(seen_by_another(path), NEW + b"\n", "after the writer's close")


@cases("a first save with {} in mid-write", DISTURBANCES)
def first_save(t, name, disturb):
	path = t.path("new.json")
	fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
	write_all(fd, NEW[:500])
	disturb(fd)
	write_all(fd, NEW[500:])
	disturb(fd)
	os.close(fd)
	equal(seen_by_another(path), NEW, "the first save")


@case("the save commits when a duplicate is closed first and the last one is complete")
def duplicates(t):
	path = t.path("s.json")
	write(path, OLD)
	fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
	copy = os.dup(fd)
	write_all(fd, NEW[:1000])
	write_all(copy, NEW[1000:])
	os.close(copy)
	os.close(fd)
	equal(seen_by_another(path), NEW, "after both closes")


@case("a child that writes for its parent: Popen(stdout=f), the parent's close first")
def popen_stdout(t):
	path, source = t.path("s.json"), os.path.join(t.plain, "document")
	write(path, OLD)
	write(source, NEW)
	with open(path, "wb") as f:
		child = subprocess.Popen(["sh", "-c", "read go; exec cat \"$0\"", source], stdin=subprocess.PIPE, stdout=f)
	equal(seen_by_another(path), OLD, "after the parent's close")
	child.communicate(b"go\n")
	equal(child.returncode, 0, "exit status")
	equal(seen_by_another(path), NEW, "after the child's end")


@case("a child that writes for its parent, the parent's close last")
def popen_stdout_last(t):
	path, source = t.path("s.json"), os.path.join(t.plain, "document")
	write(path, OLD)
	write(source, NEW)
	with open(path, "wb") as f:
		command("cat", source, stdout=f)
	equal(seen_by_another(path), NEW, "after both")


@case("a child's half and the parent's half are one document")
def halves(t):
	t.mount.expect(r"s\.json")	# the child's end is a FLUSH of an incomplete document by its last writer
	path = t.path("s.json")
	write(path, OLD)
	with open(path, "wb", buffering=0) as f:
		f.write(NEW[:700])
		forked(write_all, f.fileno(), NEW[700:1400])
		equal(seen_by_another(path), OLD, "in between")
		f.write(NEW[1400:])
	equal(seen_by_another(path), NEW, "after the close")


@case("P2: what another committed meanwhile survives the disturbed save")
def merge(t):
	path = t.path("s.json")
	write(path, OLD)

	def append():
		data = json.loads(read(path))
		write(path, json.dumps(data + [{"role": "user", "content": "theirs"}], indent=2).encode())
	document = json.loads(read(path))
	fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
	mine = json.dumps(document + [{"role": "user", "content": "mine"}], indent=2).encode()
	write_all(fd, mine[:400])
	exec_child(fd)
	forked(append)
	exec_child(fd)
	write_all(fd, mine[400:])
	os.close(fd)
	result = [m["content"] for m in json.loads(seen_by_another(path))]
	equal(result, [f"old {n}" for n in range(30)] + ["theirs", "mine"], "after both saves")


@case("the handle may go on after a commit by fsync")
def after_fsync(t):
	path = t.path("s.json")
	write(path, OLD)
	fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
	write_all(fd, NEW)
	os.fsync(fd)
	equal(seen_by_another(path), NEW, "after fsync")
	os.ftruncate(fd, 0)
	os.lseek(fd, 0, os.SEEK_SET)
	write_all(fd, MORE)
	exec_child(fd)
	equal(seen_by_another(path), NEW, "before the second commit")
	os.close(fd)
	equal(seen_by_another(path), MORE, "after close")
	require(len(MORE) != len(NEW), "the documents must differ")


if __name__ == "__main__":
	main()
