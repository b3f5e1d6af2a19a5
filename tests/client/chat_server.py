"""A chat application's HTTP service over the unchanged HistoryService; HISTORY names the directory."""
import asyncio
import os

from fastapi import FastAPI
from history_service import HistoryService
from pydantic import BaseModel

app = FastAPI()
service = HistoryService(os.environ["HISTORY"])


class Message(BaseModel):
	role: str
	content: str


@app.get("/history/{session}")
def history(session: str):
	return service.get_history(session)


@app.post("/sync/{session}")
def save_in_pool(session: str, message: Message):
	"""Not a coroutine: each request runs on a thread of the pool."""
	service.save_message(session, message.role, message.content)


@app.post("/async/{session}")
async def save_in_loop(session: str, message: Message):
	"""On the loop's thread, with no await within: one at a time in a process."""
	service.save_message(session, message.role, message.content)


@app.post("/answer/{session}")
async def answer(session: str, message: Message):
	"""Reads the history, awaits the model's answer, saves."""
	messages = service.get_history(session)
	await asyncio.sleep(0.002)
	messages.append({"role": message.role, "content": message.content})
	service.write_history(session, messages)
