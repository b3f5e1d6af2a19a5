"""The sessions that are measured, and the legacy application's service in the forms that are compared."""
import fcntl
import functools
import json
import os
import random
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "client"))
from history_service import HistoryService  # noqa: E402

WORDS = ("the answer depends on what you measure, so first write a benchmark. It returns nothing; see "
	 "https://example.org/docs/page?id=42 below, \"quoted\", C:\\temp\\x.txt, café, naïve, 你好, 😀 привет:\n\n- item\n").split(" ")


class FsyncHistoryService(HistoryService):
	"""The same code with os.fsync."""

	def write_history(self, session_id, history):
		with open(self._path(session_id), "w", encoding="utf-8") as f:
			json.dump(history, f, indent=2, ensure_ascii=False)
			f.flush()
			os.fsync(f.fileno())


class LockedHistoryService(HistoryService):
	"""The same code in the hands of somebody who locks: flock on a file beside the session."""

	def __init__(self, directory, fsync):
		super().__init__(directory)
		self.fsync = fsync

	def save_message(self, session_id, role, content):
		with open(self._path(session_id) + ".lock", "w", encoding="utf-8") as lock:
			fcntl.flock(lock, fcntl.LOCK_EX)
			history = self.get_history(session_id)
			history.append({"role": role, "content": content})
			with open(self._path(session_id), "w", encoding="utf-8") as f:
				json.dump(history, f, indent=2, ensure_ascii=False)
				if self.fsync:
					f.flush()
					os.fsync(f.fileno())


class SqliteService:
	"""One row a message, index on session_id, write-ahead log. Has no history to read for a save."""

	def __init__(self, path, synchronous="FULL"):
		self.db = sqlite3.connect(path, isolation_level=None)
		self.db.execute("PRAGMA journal_mode=WAL")
		self.db.execute(f"PRAGMA synchronous={synchronous}")
		self.db.execute("CREATE TABLE IF NOT EXISTS message(id INTEGER PRIMARY KEY, session_id TEXT, role TEXT, content TEXT)")
		self.db.execute("CREATE INDEX IF NOT EXISTS message_session ON message(session_id)")

	def write_history(self, session_id, history):
		self.db.execute("BEGIN")
		self.db.executemany("INSERT INTO message(session_id, role, content) VALUES(?, ?, ?)",
				    [(session_id, m["role"], m["content"]) for m in history])
		self.db.execute("COMMIT")

	def save_message(self, session_id, role, content):
		self.db.execute("INSERT INTO message(session_id, role, content) VALUES(?, ?, ?)", (session_id, role, content))


def text(rng, size):
	words = []
	while size > 0:
		words.append(rng.choice(WORDS))
		size -= len(words[-1].encode()) + 1
	return " ".join(words)


def history(count, low=150, high=240, seed=1):
	"""So many messages with texts of low to high bytes; by default a message takes about 260 bytes in the file."""
	rng = random.Random(seed)
	pool = [text(rng, rng.randint(low, high)) for _ in range(min(count, 2000))]
	return [{"role": "assistant" if i % 2 else "user", "content": f"{i} {pool[i % len(pool)]}"} for i in range(count)]


@functools.lru_cache(maxsize=8)
def document(count, *sizes):
	return json.dumps(history(count, *sizes), indent=2, ensure_ascii=False).encode()


def document_of(size, low=200, high=2000):
	"""A list of at least `size` bytes, of messages from 200 to 2,000 bytes."""
	messages = history(2000, low, high)
	each = len(json.dumps(messages, indent=2, ensure_ascii=False).encode()) / len(messages)
	return document(int(size / each) + 2, low, high)


def put(path, data):
	"""One save of a whole file in large pieces."""
	with open(path, "wb", buffering=1 << 20) as f:
		f.write(data)


def fresh(directory, sessions, data=None):
	"""A new directory with so many new sessions of 200 messages: s0.json, s1.json, ..."""
	number = len(os.listdir(directory))
	path = os.path.join(directory, f"d{number}")
	os.mkdir(path)
	for i in range(sessions):
		put(os.path.join(path, f"s{i}.json"), data or document(200))
	return path
