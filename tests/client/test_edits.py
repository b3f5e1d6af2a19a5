#!/usr/bin/python3
"""
P4, P9: what one writer edits is kept as written, byte for byte, by processes without and with an event loop; the log tells what was
added and removed; `historyctl undo` brings the state before back byte for byte.
"""
import asyncio
import json
import os
import shutil
import subprocess
import time

from session import at_version, contents, control, document, log, messages, session
from tally import text
from harness import CONTROL, QUICK, Child, Skip, case, cases, command, equal, eventually, forked, main, read, require, write

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "edit.js")
STREAMED = 12 if QUICK else 50


# ---- Processes that read a file and write it anew, once for each call. They are forked before the test has read anything: children inherit that

class Lines:
	"""Sends lines of JSON to a process and waits for its answers."""

	def save(self, path, data):
		self.to.write(json.dumps({"path": path, "text": data.decode()}) + "\n")
		self.to.flush()
		equal(self.answers.readline(), "done\n", "answer")

	def __exit__(self, *exception):
		self.to.close()
		self.answers.close()
		self.wait()


class Python(Lines):
	def __enter__(self):
		(into, to), (answers, out) = os.pipe(), os.pipe()
		self.child = Child(self.loop, into, out, to, answers)
		os.close(into)
		os.close(out)
		self.to, self.answers = open(to, "w", encoding="utf-8"), open(answers, encoding="utf-8")
		time.sleep(0.03)	# processes start at ticks of 10 ms: what this one reads in the same tick would seem to be inherited
		return self

	def wait(self):
		self.child.result()

	def loop(self, into, out, to, answers):
		os.close(to)
		os.close(answers)
		with open(into, encoding="utf-8") as commands:
			self.serve(commands, lambda: os.write(out, b"done\n"))

	@staticmethod
	def one(line):
		command_ = json.loads(line)
		if os.path.exists(command_["path"]):
			read(command_["path"])
		write(command_["path"], command_["text"].encode())

	def serve(self, commands, done):
		for line in commands:
			self.one(line)
			done()


class Asyncio(Python):
	def serve(self, commands, done):
		async def loop():
			while line := await asyncio.to_thread(commands.readline):
				command_ = json.loads(line)
				if await asyncio.to_thread(os.path.exists, command_["path"]):
					await asyncio.to_thread(read, command_["path"])
				await asyncio.to_thread(write, command_["path"], command_["text"].encode())
				done()
		asyncio.run(loop())


class OneThread(Python):
	"""Event loop, but all in its thread."""

	def serve(self, commands, done):
		async def loop():
			for line in commands:
				self.one(line)
				done()
				await asyncio.sleep(0)
		asyncio.run(loop())


class Node(Lines):
	def __enter__(self):
		if shutil.which("node") is None:
			raise Skip("node is not installed")
		self.child = subprocess.Popen(["node", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
		self.to, self.answers = self.child.stdin, self.child.stdout
		return self

	def wait(self):
		equal(self.child.wait(), 0, "exit status of node")


EDITORS = [("no event loop", Python), ("asyncio and threads", Asyncio), ("asyncio in one thread", OneThread), ("Node", Node)]

BEFORE = [f"message {n}, ü 你好" for n in range(10)]

# Name, the texts after it, how many are added and removed by it.
EDITS = [
	("regenerate the last", BEFORE[:-1] + ["another"], 1, 1), ("edit one and cut the rest", BEFORE[:4] + ["edited"], 1, 6),
	("edit one", BEFORE[:4] + ["edited"] + BEFORE[5:], 1, 1), ("delete one", BEFORE[:4] + BEFORE[5:], 0, 1), ("delete the first", BEFORE[1:], 0, 1),
	("delete the last", BEFORE[:-1], 0, 1), ("insert at 0", ["system"] + BEFORE, 1, 0), ("keep the last 3", BEFORE[-3:], 0, 7),
	("summarise", ["summary"] + BEFORE[-2:], 1, 8), ("clear", [], 0, 10), ("all new", ["x", "y"], 2, 10), ("append two", BEFORE + ["a", "b"], 2, 0),
	("the same message again", BEFORE + BEFORE[-1:], 1, 0),
]


def undo(t, path, version=None):
	control(t, "undo", session(t, path), *([str(version)] if version else []))


def taken_back(t, path, before, what):
	"""Undoes the newest change."""
	if CONTROL:
		return
	undo(t, path, log(t, path)[0]["version"])
	equal((read(path), os.path.getsize(path)), (before, len(before)), f"after undo of: {what}")


@cases("each edit, its log and its undo: {}", EDITORS)
def edits(t, name, editor):
	with editor() as e:
		for style in ({}, {"indent": None, "separators": (",", ":")}):
			for n, (what, after, added, removed) in enumerate(EDITS):
				path = t.path(f"{len(style)}{n}.json")
				before, wanted = document(*BEFORE, **style), document(*after, **style)
				e.save(path, before)
				e.save(path, wanted)
				equal((read(path), os.path.getsize(path)), (wanted, len(wanted)), what)
				if CONTROL:
					continue
				newest = log(t, path)[0]
				equal((newest["added"], newest["removed"], set(newest["flags"]) & {"merged", "blind", "uncertain"}), (added, removed, set()), f"log of: {what}")
				taken_back(t, path, before, what)
				# And the next edit goes on from there.
				e.save(path, document(*BEFORE, "next", **style))
				equal(read(path), document(*BEFORE, "next", **style), f"after undo of: {what}, the next save")


@cases("one session through all edits in turn: {}", EDITORS)
def life(t, name, editor):
	path = t.path("s.json")
	with editor() as e:
		e.save(path, document(*BEFORE))
		for what, after, _, _ in EDITS * 2:
			e.save(path, document(*after))
			equal(read(path), document(*after), what)
			e.save(path, document(*BEFORE))
			equal(read(path), document(*BEFORE), f"back from: {what}")


@cases("streaming: the last message rewritten {} times: {{}}".format(STREAMED), EDITORS)
def streaming(t, name, editor):
	path, states = t.path("s.json"), []
	with editor() as e:
		e.save(path, document(*BEFORE))
		for n in range(1, STREAMED + 1):
			states.append(document(*BEFORE, "word " * n))
			e.save(path, states[-1])
			equal(read(path), states[-1], f"rewrite {n}")
	if CONTROL:
		return
	changes = log(t, path)
	equal(len(changes), STREAMED + 1, "changes in the log")
	for state, change in zip(reversed(states), changes):
		equal(at_version(t, path, change["version"]), state, f"version {change['version']}")
	undo(t, path)
	equal(read(path), states[-2], "after undo of the last one")


# ---- Removals of other kinds -------------------------------------------------------------------------------------------------

def truncate_open(path):
	os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))


@cases("removed by {}, and undone", [
	("an empty file", lambda p: write(p, b""), b""), ("truncate", lambda p: os.truncate(p, 0), b""), ("O_TRUNC alone", truncate_open, b""),
	("unlink", os.unlink, None), ("echo '[]' >", lambda p: command("sh", "-c", 'echo "[]" > "$0"', p), b"[]\n"),
])
def removed(t, name, remove, after):
	path, before = t.path("s.json"), document(*BEFORE)
	forked(write, path, before)
	forked(remove, path)
	eventually(lambda: read(path) if os.path.exists(path) else None, after, "after it")
	if CONTROL:
		return
	newest = log(t, path)[0]
	equal(newest["removed"], 10, f"log of {name}")
	undo(t, path)
	equal(read(path), before, "after undo")
	forked(write, path, document("new"))
	equal(contents(path), ["new"], "the next save")


@case("a renamed session keeps its log; undo goes by the new name")
def renamed(t):
	path, other = t.path("s.json"), t.path("other.json")
	forked(write, path, document(*BEFORE))
	forked(write, path, document(*BEFORE[:-1], "edited"))
	os.rename(path, other)
	forked(write, path, document("a new one"))
	equal((contents(path), contents(other)[-1]), (["a new one"], "edited"), "both names")
	if CONTROL:
		return
	equal([c["added"] for c in log(t, other)], [1, 10], "log of the new name")
	taken_back(t, other, document(*BEFORE), "the edit before the rename")
	equal(contents(path), ["a new one"], "the other session")


@case("a session renamed over another is a version of that one; undo brings the former one back")
def renamed_over(t):
	path, other = t.path("s.json"), t.path("other.json")
	forked(write, path, document(*BEFORE))
	forked(write, other, document("other", "one more"))
	forked(write, other, document("other"))
	forked(os.rename, other, path)
	equal((contents(path), os.path.exists(other)), (["other"], False), "after the rename")
	if CONTROL:
		return
	taken_back(t, path, document(*BEFORE), "the rename")
	undo(t, other)
	equal(contents(other), ["other"], "the removed one")


@cases("restyle by {}: no message is added or removed, and undo restores the style", [
	("jq -c", lambda d: command("jq", "-c", ".", input=d.decode()).stdout.encode()), ("jq --tab", lambda d: command("jq", "--tab", ".", input=d.decode()).stdout.encode()),
	("indent 4", lambda d: json.dumps(json.loads(d), indent=4, ensure_ascii=False).encode()), ("one line", lambda d: json.dumps(json.loads(d), ensure_ascii=False).encode()),
])
def restyled(t, name, style):
	if name.startswith("jq") and shutil.which("jq") is None:
		raise Skip("jq is not installed")
	path, before = t.path("s.json"), document(*BEFORE)
	forked(write, path, before)
	after = style(before)
	with Python() as e:
		e.save(path, after)
		equal(read(path), after, "restyled")
		if CONTROL:
			return
		newest = log(t, path)[0]
		equal((newest["added"], newest["removed"], "restyled" in newest["flags"]), (0, 0, True), "log")
		taken_back(t, path, before, "restyle")
		e.save(path, after)
		added = json.loads(after) + messages("more")
		e.save(path, json.dumps(added, ensure_ascii=False).encode())
		equal((log(t, path)[0]["added"], log(t, path)[0]["removed"]), (1, 0), "an append in another style")


KINDS = [document("a", "b"), b'{"messages": [{"content": "a"}, {"content": "b"}], "pinned": true}\n', b'{"x": [1, {"y": 2}]}', b'"text"', document("c"), b"[]", b'{"messages": []}',
	 document("a", "b", "d")]


@cases("kinds change by a save: {}", EDITORS)
def kinds(t, name, editor):
	path = t.path("s.json")
	with editor() as e:
		e.save(path, KINDS[0])
		for before, after in zip(KINDS, KINDS[1:]):
			e.save(path, after)
			equal(read(path), after, f"{before} to {after}")
			# What others do in between leaves an event loop's earlier documents as possible bases (rule 15).
			if name == "no event loop":
				taken_back(t, path, before, f"{before} to {after}")
				forked(write, path, after)


if __name__ == "__main__":
	main()
