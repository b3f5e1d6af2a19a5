"""
A chat application's HTTP service in one of the frameworks that people use: `stack_server.py FRAMEWORK SOCKET`, or under gunicorn
`stack_server:flask_app()`. HISTORY names the directory, STACK_WAY how a session is saved, STACK_CALLS how a coroutine calls the filesystem.

A request carries the steps that the application takes for it, in order: load (read the session), look (read it for something else: the
prompt, what is shown after a save), save, model (wait so many milliseconds), and changes of the list that is held.
"""
import asyncio
import collections
import http.server
import json
import os
import socket
import socketserver
import sys
import threading
import time
import uuid

HISTORY = os.environ["HISTORY"]
WAY = os.environ.get("STACK_WAY", "truncate")
CALLS = os.environ.get("STACK_CALLS", "sync")

lists = {}		# with "memory": the sessions, each read once
events = collections.deque(maxlen=2000)


def note(kind, session):
	events.append((time.monotonic_ns(), threading.get_native_id(), kind, session))


def path_of(session):
	return os.path.join(HISTORY, session + ".json")


# ---- How a session is read and saved ------------------------------------------------------------------------------

def read(session):
	note("read", session)
	try:
		with open(path_of(session), encoding="utf-8") as f:
			return json.load(f)
	except FileNotFoundError:
		return []


def temp_of(session):
	return f"{path_of(session)}.{uuid.uuid4().hex if WAY == 'rename' else ''}tmp"


def write(path, session, messages):
	note("open", session)
	with open(path, "w", encoding="utf-8") as f:
		json.dump(messages, f, ensure_ascii=False, indent=2)


def save(session, messages):
	path, temp = path_of(session), temp_of(session)
	if WAY in ("truncate", "memory"):
		write(path, session, messages)
	else:
		write(temp, session, messages)
		if WAY == "backup":
			set_aside(path, temp)
		else:
			os.replace(temp, path)
	note("saved", session)


def set_aside(path, temp):
	try:
		os.rename(path, path + ".bak")
	except FileNotFoundError:
		pass
	os.rename(temp, path)
	try:
		os.unlink(path + ".bak")
	except FileNotFoundError:
		pass


async def aiofiles_read(session):
	import aiofiles
	note("read", session)
	try:
		async with aiofiles.open(path_of(session), encoding="utf-8") as f:
			return json.loads(await f.read())
	except FileNotFoundError:
		return []


async def aiofiles_save(session, messages):
	import aiofiles
	import aiofiles.os
	path, temp = path_of(session), temp_of(session)
	whole = WAY in ("truncate", "memory")
	text = json.dumps(messages, ensure_ascii=False, indent=2)
	note("open", session)
	async with aiofiles.open(path if whole else temp, "w", encoding="utf-8") as f:
		await f.write(text)
	if WAY == "backup":
		await asyncio.to_thread(set_aside, path, temp)
	elif not whole:
		await aiofiles.os.replace(temp, path)
	note("saved", session)


async def async_read(session):
	if CALLS == "aiofiles":
		return await aiofiles_read(session)
	return await asyncio.to_thread(read, session) if CALLS == "to_thread" else read(session)


async def async_save(session, messages):
	if CALLS == "aiofiles":
		await aiofiles_save(session, messages)
	elif CALLS == "to_thread":
		await asyncio.to_thread(save, session, messages)
	else:
		save(session, messages)


# ---- What a request does ------------------------------------------------------------------------------------------

def change(messages, kind, *arguments):
	if kind == "append":
		role, content = arguments
		messages.append({"role": role, "content": content})
	elif kind == "cut":
		del messages[arguments[0]:]
	elif kind == "delete":
		del messages[arguments[0]]
	elif kind == "last":
		messages[-1] = {"role": messages[-1]["role"], "content": arguments[0]}


def held(session, messages):
	"""In memory there is one list, which requests share."""
	return lists.setdefault(session, messages) if WAY == "memory" else messages


def run(session, steps):
	messages = None
	for kind, *arguments in steps:
		if kind == "load":
			messages = lists[session] if session in lists else held(session, read(session))
		elif kind == "look":
			read(session)
		elif kind == "save":
			save(session, messages)
		elif kind == "model":
			time.sleep(arguments[0] / 1000)
		else:
			change(messages, kind, *arguments)


async def async_run(session, steps):
	messages = None
	for kind, *arguments in steps:
		if kind == "load":
			messages = lists[session] if session in lists else held(session, await async_read(session))
		elif kind == "look":
			await async_read(session)
		elif kind == "save":
			await async_save(session, messages)
		elif kind == "model":
			await asyncio.sleep(arguments[0] / 1000)
		else:
			change(messages, kind, *arguments)


# ---- The frameworks -----------------------------------------------------------------------------------------------

def fastapi_app(coroutines):
	from fastapi import Body, FastAPI
	app = FastAPI()
	if coroutines:
		@app.get("/history/{session}")
		async def history(session: str):
			return await async_read(session)

		@app.post("/run/{session}")
		async def act(session: str, steps: list = Body()):
			await async_run(session, steps)
	else:
		@app.get("/history/{session}")
		def history_in_pool(session: str):
			return read(session)

		@app.post("/run/{session}")
		def act_in_pool(session: str, steps: list = Body()):
			run(session, steps)

	@app.get("/events")
	async def told():
		return list(events)
	return app


def starlette_app():
	from starlette.applications import Starlette
	from starlette.responses import JSONResponse
	from starlette.routing import Route

	async def history(request):
		return JSONResponse(await async_read(request.path_params["session"]))

	async def act(request):
		await async_run(request.path_params["session"], await request.json())
		return JSONResponse(None)

	async def told(request):
		return JSONResponse(list(events))
	return Starlette(routes=[Route("/history/{session}", history), Route("/run/{session}", act, methods=["POST"]), Route("/events", told)])


def aiohttp_app():
	from aiohttp import web

	async def history(request):
		return web.json_response(await async_read(request.match_info["session"]))

	async def act(request):
		await async_run(request.match_info["session"], await request.json())
		return web.json_response(None)

	async def told(request):
		return web.json_response(list(events))
	app = web.Application()
	app.add_routes([web.get("/history/{session}", history), web.post("/run/{session}", act), web.get("/events", told)])
	return app


def flask_app():
	from flask import Flask, jsonify, request
	app = Flask(__name__)

	@app.get("/history/<session>")
	def history(session):
		return jsonify(read(session))

	@app.post("/run/<session>")
	def act(session):
		run(session, request.get_json())
		return jsonify(None)

	@app.get("/events")
	def told():
		return jsonify(list(events))
	return app


class Handler(http.server.BaseHTTPRequestHandler):
	def answer(self, value):
		body = json.dumps(value).encode()
		self.send_response(200)
		self.send_header("Content-Length", str(len(body)))
		self.end_headers()
		self.wfile.write(body)

	def do_GET(self):
		kind, session = self.path.split("/")[1:] if self.path != "/events" else ("events", "")
		self.answer(read(session) if kind == "history" else list(events))

	def do_POST(self):
		run(self.path.split("/")[2], json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
		self.answer(None)

	def log_message(self, *_):
		pass


class ThreadingServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
	"""http.server.ThreadingHTTPServer, but for the kind of address."""
	daemon_threads = True
	request_queue_size = 64


def main(framework, address):
	if framework == "threading":
		ThreadingServer(address, Handler).serve_forever()
	elif framework == "flask":
		flask_app().run(host=f"unix://{address}", threaded=True)
	elif framework == "aiohttp":
		from aiohttp import web
		web.run_app(aiohttp_app(), path=address, print=None)
	else:
		import uvicorn
		app = starlette_app() if framework == "starlette" else fastapi_app(framework == "fastapi")
		uvicorn.run(app, uds=address, loop="uvloop" if framework == "starlette" else "asyncio", log_level="warning")


if __name__ == "__main__":
	main(*sys.argv[1:])
