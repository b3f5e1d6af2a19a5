"""Saves by aiofiles: python3 packages_aiofiles.py KIND FILE WRITER SAVES TASKS. See packages.py for what is said on the pipes."""
import asyncio
import json
import os
import sys

import aiofiles


async def load(path):
	if not os.path.exists(path):
		return []
	async with aiofiles.open(path, encoding="utf-8") as f:
		return json.loads(await f.read())


async def store(path, document):
	async with aiofiles.open(path, "w", encoding="utf-8") as f:
		await f.write(json.dumps(document, indent=2, ensure_ascii=False))


async def read_each_time(path, memory, message):
	document = await load(path)
	document.append(message)
	await store(path, document)


async def in_memory(path, memory, message):
	"""All tasks of the process append to one list; each writes what is in it by then."""
	memory.append(message)
	await store(path, memory)


KINDS = {"read": read_each_time, "memory": in_memory}


async def task(save, path, memory, name, saves):
	for n in range(saves):
		try:
			await save(path, memory, {"role": "user", "content": f"{name}:{n}; from Python, über alles, 你好"})
			print(name, n)
		except ValueError as e:
			print(f"! {e}")


async def main(kind, path, writer, saves, tasks):
	try:
		memory = await load(path) if kind == "memory" else []
	except ValueError:		# on a plain directory: torn
		memory = []
	await asyncio.gather(*[task(KINDS[kind], path, memory, f"{writer}t{i}", int(saves)) for i in range(int(tasks))])


if __name__ == "__main__":
	print("ready", flush=True)
	sys.stdin.readline()
	asyncio.run(main(*sys.argv[1:]))
