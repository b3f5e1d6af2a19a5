#!/usr/bin/python3
"""
P1, P2, P3, P6 with the unchanged HistoryService: 8 writers x 200 messages as threads, processes and coroutines, with
readers all the time, on one session and spread over eight. The same code on a plain directory must lose messages.
"""
import asyncio
import json

from tally import Readers, Tally, marks, text
from harness import QUICK, case, cases, equal, forked, in_threads, main, read, require, together
from history_service import HistoryService

WRITERS = 8
MESSAGES = 50 if QUICK else 200
CONTROL_MESSAGES = 25


def writer(directory, session, w, count):
	"""One writer's saves in a loop; what was acknowledged."""
	service, done = HistoryService(directory), []
	for n in range(count):
		try:
			service.save_message(session, "user" if n % 2 == 0 else "assistant", text(f"w{w}", n))
			done.append((f"w{w}", n))
		except ValueError:
			pass		# torn by another, on a plain directory: this message was not acknowledged
	return done


def processes(directory, session_of, count):
	return together([lambda w=w: writer(directory, session_of(w), w, count) for w in range(WRITERS)])


def threads(directory, session_of, count):
	return in_threads([lambda w=w: writer(directory, session_of(w), w, count) for w in range(WRITERS)])


def coroutines(directory, session_of, count):
	"""All in one thread, with an await between reading and writing: every base but one is stale."""
	async def run(w):
		service, done = HistoryService(directory), []
		for n in range(count):
			try:
				history = service.get_history(session_of(w))
				await asyncio.sleep(0)
				history.append({"role": "user", "content": text(f"w{w}", n)})
				service.write_history(session_of(w), history)
				done.append((f"w{w}", n))
			except ValueError:
				pass
			await asyncio.sleep(0)
		return done

	async def everybody():
		return await asyncio.gather(*[run(w) for w in range(WRITERS)])
	return asyncio.run(everybody())


def to_thread(directory, session_of, count):
	"""Each step on whatever thread of the pool is free."""
	async def run(w):
		service, done = HistoryService(directory), []
		for n in range(count):
			try:
				history = await asyncio.to_thread(service.get_history, session_of(w))
				history.append({"role": "user", "content": text(f"w{w}", n)})
				await asyncio.to_thread(service.write_history, session_of(w), history)
				done.append((f"w{w}", n))
			except ValueError:
				pass
		return done

	async def everybody():
		return await asyncio.gather(*[run(w) for w in range(WRITERS)])
	return asyncio.run(everybody())


MODES = [("processes", processes), ("threads", threads), ("coroutines", coroutines), ("to_thread", to_thread)]


def tally(directory, acknowledged, session_of):
	"""Counts over all sessions; a message in a foreign session is one too many there."""
	result = []
	for session in sorted({session_of(w) for w in range(WRITERS)}):
		try:
			found = marks(json.loads(read(f"{directory}/{session}.json")))
		except (ValueError, FileNotFoundError):
			found = []
		result.append(Tally(found, [m for w, done in enumerate(acknowledged) if session_of(w) == session for m in done]))
	return result


@cases("P1 P2 P3 P6: {}, one session", MODES)
def one_session(t, name, mode):
	with Readers([t.path("shared.json")], processes=2, pause=0.01) as readers:
		acknowledged = forked(mode, t.dir, lambda w: "shared", MESSAGES)
	require(all(len(done) == MESSAGES for done in acknowledged), "saves failed: " + repr([len(d) for d in acknowledged]))
	tally(t.dir, acknowledged, lambda w: "shared")[0].require_perfect(f"{name}, {readers.reads} reads")


@cases("P1 P2 P3 P6: {}, a session each", MODES)
def spread(t, name, mode):
	with Readers([t.path(f"s{w}.json") for w in range(WRITERS)], pause=0.01) as readers:
		acknowledged = forked(mode, t.dir, lambda w: f"s{w}", MESSAGES)
	require(all(len(done) == MESSAGES for done in acknowledged), "saves failed: " + repr([len(d) for d in acknowledged]))
	for result in tally(t.dir, acknowledged, lambda w: f"s{w}"):
		result.require_perfect(f"{name}, {readers.reads} reads")


@cases("P1 P2 P6: {}, two writers a session", MODES)
def pairs(t, name, mode):
	acknowledged = forked(mode, t.dir, lambda w: f"s{w % 4}", MESSAGES // 2)
	require(all(len(done) == MESSAGES // 2 for done in acknowledged), "saves failed: " + repr([len(d) for d in acknowledged]))
	for result in tally(t.dir, acknowledged, lambda w: f"s{w % 4}"):
		result.require_perfect(name)


@cases("control: {} on a plain directory lose messages", MODES)
def control(t, name, mode):
	for attempt in range(10):
		directory = t.place()
		acknowledged = forked(mode, directory, lambda w: "shared", CONTROL_MESSAGES * (attempt + 1))
		if tally(directory, acknowledged, lambda w: "shared")[0].lost:
			return
	require(False, f"{name}: nothing was lost on a plain directory, so this test shows nothing")


@case("P4: one writer's file is what json.dump wrote")
def single(t):
	service, model = HistoryService(t.dir), HistoryService(t.place())
	for n in range(60):
		for s in (service, model):
			s.save_message("alone", "user", text("w", n, "x" * (n * 37)))
		equal(read(t.path("alone.json")), read(f"{model.directory}/alone.json"), f"after {n + 1} messages")


if __name__ == "__main__":
	main()
