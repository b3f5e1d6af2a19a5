"""
Clients of other projects, each reduced to its save: the same system calls on the same kind of document. A client object is
one writer; save() adds one message. `mode` says how writers run beside each other; `contents` gives a document's texts in order.
"""
import asyncio
import contextlib
import fcntl
import json
import os
import tempfile
import threading
import time


class Client:
	"""List of {role, content}, T in 8 KiB writes: the base of the others."""
	mode = "processes"
	indent = 2
	may_vanish = may_be_empty = False

	def __init__(self, path, writer):
		self.path, self.writer = path, writer

	@staticmethod
	def contents(document):
		return [m["content"] for m in document]

	@staticmethod
	def check(document):
		"""What else must hold in the end; raises when it does not."""

	def message(self, content):
		return {"role": "user", "content": content}

	def load(self):
		try:
			with open(self.path, encoding="utf-8") as f:
				return json.load(f)
		except FileNotFoundError:
			return self.fresh()

	def fresh(self):
		return []

	def add(self, document, content):
		document.append(self.message(content))

	def store(self, document):
		with open(self.path, "w", encoding="utf-8") as f:
			json.dump(document, f, indent=self.indent, ensure_ascii=False)

	def save(self, content):
		document = self.load()
		self.add(document, content)
		self.store(document)


def dumps(document, indent=None):
	return json.dumps(document, indent=indent, ensure_ascii=False).encode()


def put(path, data, flags=os.O_TRUNC):
	fd = os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o644)
	os.write(fd, data)
	os.close(fd)


def get(path):
	with open(path, "rb") as f:
		return f.read()


def load_or_nothing(client):
	"""For clients that take a file that does not parse for an empty list, and overwrite it."""
	try:
		return Client.load(client)
	except ValueError:
		return []


# ---- Message lists -----------------------------------------------------------------------------------------------

class LangChain(Client):
	"""FileChatMessageHistory: touch, T `[]` when absent; then read and T in one write. List of {type, data}."""

	def __init__(self, path, writer):
		super().__init__(path, writer)
		if not os.path.exists(path):
			os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o666))
			put(path, b"[]")

	@staticmethod
	def contents(document):
		return [m["data"]["content"] for m in document]

	may_be_empty = True

	def message(self, content):
		return {"type": "human", "data": {"content": content, "additional_kwargs": {}, "example": False}}

	def load(self):
		while not (data := get(self.path)):	# another one's touch
			pass
		return json.loads(data)

	def store(self, document):
		put(self.path, dumps(document))


class ToThread(Client):
	"""A service that hands each step to a pool; overwrites what it cannot parse."""
	mode = "coroutines"

	async def save_async(self, content):
		document = await asyncio.to_thread(self.load)
		self.add(document, content)
		await asyncio.to_thread(self.store, document)

	load = load_or_nothing


class FastLlm(Client):
	"""T, raw UTF-8, no indentation, request threads of one process; what it cannot parse is an empty list."""
	mode = "threads"
	indent = None
	load = load_or_nothing


class Aloha(Client):
	"""T; keeps the first 5 and the last N messages; ignores what it cannot parse."""
	keep = 1 << 20

	def add(self, document, content):
		super().add(document, content)
		if len(document) > self.keep + 5:
			document[5:] = document[-self.keep:]


class ShellGpt(Aloha):
	"""T through a handle that is never closed: the garbage collector does."""

	def store(self, document):
		json.dump(document, open(self.path, "w", encoding="utf-8"))


class GoWriteFile(Client):
	"""os.WriteFile: T, one write; goroutines on threads of one process."""
	mode = "threads"

	def store(self, document):
		put(self.path, dumps(document, 2))


class ReadPlus(Client):
	"""open("r+"): load, seek(0), dump, truncate."""

	def save(self, content):
		if not os.path.exists(self.path):
			with contextlib.suppress(FileExistsError):
				put(self.path, b"[]", os.O_EXCL)
		with open(self.path, "r+", encoding="utf-8") as f:
			document = json.loads(f.read() or "[]")
			self.add(document, content)
			f.seek(0)
			json.dump(document, f, indent=2)
			f.truncate()
	may_be_empty = True


class PhpFlock(Client):
	"""fopen "c+", flock, read, ftruncate, write, unlock, close."""
	may_be_empty = True

	def save(self, content):
		fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
		fcntl.flock(fd, fcntl.LOCK_EX)
		data = b""
		while piece := os.read(fd, 8192):
			data += piece
		document = json.loads(data or b"[]")
		self.add(document, content)
		os.ftruncate(fd, 0)
		os.lseek(fd, 0, os.SEEK_SET)
		os.write(fd, dumps(document, 4))
		fcntl.flock(fd, fcntl.LOCK_UN)
		os.close(fd)


class PhpPutContents(Client):
	"""file_get_contents, then file_put_contents with LOCK_EX: the lock comes too late to help."""
	may_be_empty = True

	def load(self):
		try:
			return json.loads(get(self.path) or b"[]")
		except FileNotFoundError:
			return []

	def store(self, document):
		fd = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o666)
		fcntl.flock(fd, fcntl.LOCK_EX)
		os.ftruncate(fd, 0)
		os.write(fd, dumps(document, 4))
		os.close(fd)


class LockFile(Client):
	"""flock on a file beside it around reading and writing: loses nothing today."""

	def save(self, content):
		with open(self.path + ".lock", "w", encoding="utf-8") as lock:
			fcntl.flock(lock, fcntl.LOCK_EX)
			super().save(content)


class Replace(Client):
	"""mkstemp in the same directory, os.replace."""
	suffix = ".tmp"

	def store(self, document):
		fd, temp = tempfile.mkstemp(dir=os.path.dirname(self.path), prefix="s.", suffix=self.suffix)
		with os.fdopen(fd, "w", encoding="utf-8") as f:
			json.dump(document, f, indent=2)
		os.replace(temp, self.path)


class ReplaceJson(Replace):
	"""The temp file is called .json too."""
	suffix = ".json"


class ReplaceSynced(Client):
	"""write-file-atomic: own temp name, pwrite, fsync, chmod, rename."""
	mode = "threads"

	def store(self, document):
		temp = f"{self.path}.{os.getpid()}{threading.get_ident()}"
		fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
		os.pwrite(fd, dumps(document), 0)
		os.fsync(fd)
		os.close(fd)
		os.chmod(temp, 0o600)
		os.rename(temp, self.path)


LISTS = [LangChain, ToThread, FastLlm, Aloha, ShellGpt, GoWriteFile, ReadPlus, PhpFlock, PhpPutContents, LockFile, Replace, ReplaceJson, ReplaceSynced]


# ---- Other documents, and lists in memory ------------------------------------------------------------------------

class Mochi(Client):
	"""{metadata: {message_count}, messages}."""

	@staticmethod
	def contents(document):
		return [m["content"] for m in document["messages"]]

	@staticmethod
	def check(document):
		count, length = document["metadata"]["message_count"], len(document["messages"])
		if count != length:
			raise AssertionError(f"message_count is {count}, there are {length}")

	def fresh(self):
		return {"metadata": {"title": "a chat", "message_count": 0}, "messages": []}

	def add(self, document, content):
		document["messages"].append(self.message(content))
		document["metadata"]["message_count"] = len(document["messages"])


class GoEnvelope(Mochi):
	"""{messages, title}; T, one write; one of the writers changes the title."""
	store = GoWriteFile.store

	@staticmethod
	def check(document):
		last = [m["content"] for m in document["messages"] if m["content"].startswith("w0:")][-1]
		if document["title"] != last:
			raise AssertionError(f"the title is {document['title']}, it was set to {last}")

	def fresh(self):
		return {"title": "untitled", "messages": []}

	def add(self, document, content):
		document["messages"].append(self.message(content))
		if self.writer == "w0":
			document["title"] = content


class QwenPaw(Client):
	"""{agent: {content: [[message, []]]}}: read on a pool, T on the loop's thread."""
	mode = "coroutines"

	@staticmethod
	def contents(document):
		return [pair[0]["content"] for pair in document["agent"]["content"]]

	def fresh(self):
		return {"agent": {"name": "a", "content": []}}

	def add(self, document, content):
		document["agent"]["content"].append([self.message(content), []])

	async def save_async(self, content):
		document = await asyncio.to_thread(self.load)
		self.add(document, content)
		self.store(document)


class InMemory(Client):
	"""aiofiles: the list is in memory, loaded once; all tasks append to it; overlapping T from a pool, closed in any order."""
	mode = "coroutines"
	shared = {}

	async def save_async(self, content):
		if self.path not in self.shared:
			self.shared[self.path] = self.load()
		document = self.shared[self.path]
		self.add(document, content)
		await self.rewrite(document)

	async def rewrite(self, document):
		f = await asyncio.to_thread(open, self.path, "wb")
		await asyncio.to_thread(f.write, dumps(document, 2))
		await asyncio.to_thread(f.close)


class InMemoryEarly(InMemory):
	"""The same, but the text is made before the file is opened, and may be older than what was saved meanwhile."""

	async def rewrite(self, document):
		data = dumps(document, 2)
		f = await asyncio.to_thread(open, self.path, "wb")
		await asyncio.to_thread(f.write, data)
		await asyncio.to_thread(f.close)


class TextGeneration(Client):
	"""text-generation-webui: two parallel lists and metadata, indent 4, one write."""

	@staticmethod
	def contents(document):
		return [pair[0] for pair in document["internal"]]

	@staticmethod
	def check(document):
		if document["internal"] != document["visible"]:
			raise AssertionError("the two lists are not parallel any more")

	def fresh(self):
		return {"internal": [], "visible": [], "metadata": {}}

	def add(self, document, content):
		document["internal"].append([content, "an answer"])
		document["visible"].append([content, "an answer"])

	def store(self, document):
		put(self.path, dumps(document, 4))


class Agno(Client):
	"""All sessions in one file: a list of objects by session_id; each writer has a session of its own."""

	@staticmethod
	def contents(document):
		return [m["content"] for session in document for m in session["messages"]]

	def add(self, document, content):
		for session in document:
			if session["session_id"] == self.writer:
				break
		else:
			session = {"session_id": self.writer, "messages": []}
			document.append(session)
		session["messages"].append(self.message(content))


class LlamaIndex(Client):
	"""All sessions in one file: an object by session key; the writers share four sessions."""

	@staticmethod
	def contents(document):
		return [m["content"] for messages in document["store"].values() for m in messages]

	def fresh(self):
		return {"store": {}}

	def add(self, document, content):
		document["store"].setdefault(f"user{int(self.writer[1:]) % 4}", []).append(self.message(content))


class SharedTemp(Mochi):
	"""atri, strands, lowdb: every writer's temp file has the same name."""

	def store(self, document):
		with open(self.path + ".tmp", "w", encoding="utf-8") as f:
			json.dump(document, f)
		os.rename(self.path + ".tmp", self.path)


class SharedTempThreads(SharedTemp):
	mode = "threads"


class SharedTempJson(SharedTemp):
	"""The shared temp file is called .json too."""

	def store(self, document):
		temp = os.path.join(os.path.dirname(self.path), "temp.json")
		put(temp, dumps(document))
		os.rename(temp, self.path)


class SharedTempTasks(SharedTemp):
	mode = "coroutines"

	async def save_async(self, content):
		document = await asyncio.to_thread(self.load)
		self.add(document, content)
		await asyncio.to_thread(put, self.path + ".tmp", dumps(document))
		await asyncio.to_thread(os.rename, self.path + ".tmp", self.path)


class RooCode(Client):
	"""mkdir .lock, temp, target -> .bak, temp -> target, unlink .bak. The reading before it is without the lock."""
	may_vanish = True

	def store(self, document):
		while True:
			try:
				os.mkdir(self.path + ".lock")
				break
			except FileExistsError:
				time.sleep(0.002)
		temp, backup = (f"{self.path}.{kind}_{self.writer}.tmp" for kind in ("new", "bak"))
		put(temp, dumps(document, 2))
		try:
			os.rename(self.path, backup)
		except FileNotFoundError:
			backup = None
		os.rename(temp, self.path)
		if backup:
			os.unlink(backup)
		os.rmdir(self.path + ".lock")


class RustSetLen(Client):
	"""One O_RDWR handle: read, ftruncate(0), a write of 1 to 64 bytes for every token."""
	may_be_empty = True

	def save(self, content):
		fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
		data = b""
		while piece := os.read(fd, 8192):
			data += piece
		document = json.loads(data or b"[]")
		self.add(document, content)
		os.ftruncate(fd, 0)
		os.lseek(fd, 0, os.SEEK_SET)
		data = dumps(document, 2)
		for at in range(0, len(data), 48):
			os.write(fd, data[at:at + 48])
		os.close(fd)


DOCUMENTS = [Mochi, GoEnvelope, QwenPaw, InMemory, InMemoryEarly, TextGeneration, Agno, LlamaIndex, SharedTemp, SharedTempThreads, SharedTempTasks, SharedTempJson, RooCode, RustSetLen]
