"""Sessions as the tests make and look at them: by the mount, by shell commands, and by historyctl."""
import json
import os
import shutil

from tally import text  # noqa: F401  (finds the harness)
from harness import CONTROL, HISTORYCTL, Skip, command, forked, read, write


def messages(*texts):
	return [{"role": "user", "content": c} for c in texts]


def document(*texts, **style):
	"""Spelled as jq does."""
	return json.dumps(messages(*texts), **{"indent": 2, "ensure_ascii": False, **style}).encode() + b"\n"


def start(t, *texts, name="s.json"):
	"""A session that was written by a process which is none of the tests' ancestors: children inherit what their parents have seen (rule 1)."""
	path = t.path(name)
	forked(write, path, document(*texts))
	return path


def contents(path):
	return [m["content"] for m in json.loads(read(path))]


def need(program):
	if shutil.which(program) is None:
		raise Skip(f"{program} is not installed")


def shell(script, *arguments, status=0, **named):
	return command("sh", "-c", script, "sh", *arguments, status=status, **named)


def control(t, *words):
	if CONTROL or not HISTORYCTL:
		raise Skip("HISTORYCTL does not name a program")
	return command(HISTORYCTL, "--store", t.mount.store, *words, text=False, errors=None).stdout


def session(t, path):
	return os.path.relpath(path, t.mount.path)


def log(t, path):
	"""The changes, newest first."""
	return json.loads(control(t, "log", "--json", session(t, path)))


def at_version(t, path, version):
	return control(t, "cat", "--version", str(version), session(t, path))


def ever(t, path):
	"""The texts of all messages of all versions."""
	found = set()
	for change in log(t, path):
		if "removed" not in change["flags"]:
			data = at_version(t, path, change["version"])
			found |= {m["content"] for m in json.loads(data or b"[]")}
	return found
