/*
 * The service of stack_server.py in Node: `node stack_server.mjs CALLS SOCKET`, CALLS being promises, sync or callback. HISTORY names the
 * directory, STACK_WAY how a session is saved.
 */
import fs from "node:fs";
import http from "node:http";
import path from "node:path";
import { randomUUID } from "node:crypto";
import { promisify } from "node:util";

const [calls, address] = process.argv.slice(2);
const way = process.env.STACK_WAY ?? "truncate";
const lists = new Map();	// with "memory": the sessions, each read once
let events = [];

function note(kind, session) {
	events.push([Number(process.hrtime.bigint()), 0, kind, session]);
	if (events.length > 4000) events = events.slice(2000);
}

// Each as a function that may be awaited. The synchronous ones are called without an await between them: see `sync` below.
const call = {
	promises: fs.promises,
	callback: Object.fromEntries(["readFile", "writeFile", "rename", "unlink"].map((name) => [name, promisify(fs[name])])),
}[calls];

const pathOf = (session) => path.join(process.env.HISTORY, `${session}.json`);
const tempOf = (session) => `${pathOf(session)}.${way === "rename" ? randomUUID() : ""}tmp`;
const textOf = (messages) => JSON.stringify(messages, null, 2);

function absent(error) {
	if (error.code !== "ENOENT") throw error;
	return "[]";
}

const whole = way === "truncate" || way === "memory";

const asynchronous = {
	async read(session) {
		note("read", session);
		return JSON.parse(await call.readFile(pathOf(session), "utf8").catch(absent));
	},
	async save(session, messages) {
		const target = pathOf(session), temp = tempOf(session);
		note("open", session);
		await call.writeFile(whole ? target : temp, textOf(messages));
		if (way === "backup") {
			await call.rename(target, `${target}.bak`).catch(absent);
			await call.rename(temp, target);
			await call.unlink(`${target}.bak`).catch(absent);
		} else if (!whole) {
			await call.rename(temp, target);
		}
		note("saved", session);
	},
};

function attempt(action) {
	try {
		return action();
	} catch (error) {
		return absent(error);
	}
}

const sync = {
	read(session) {
		note("read", session);
		return JSON.parse(attempt(() => fs.readFileSync(pathOf(session), "utf8")));
	},
	save(session, messages) {
		const target = pathOf(session), temp = tempOf(session);
		note("open", session);
		fs.writeFileSync(whole ? target : temp, textOf(messages));
		if (way === "backup") {
			attempt(() => fs.renameSync(target, `${target}.bak`));
			fs.renameSync(temp, target);
			attempt(() => fs.unlinkSync(`${target}.bak`));
		} else if (!whole) {
			fs.renameSync(temp, target);
		}
		note("saved", session);
	},
};

const { read, save } = calls === "sync" ? sync : asynchronous;

function change(messages, kind, a, b) {
	if (kind === "append") messages.push({ role: a, content: b });
	else if (kind === "cut") messages.length = a;
	else if (kind === "delete") messages.splice(a, 1);
	else if (kind === "last") messages[messages.length - 1] = { role: messages.at(-1).role, content: a };
}

// In memory there is one list, which requests share.
function held(session, messages) {
	if (way !== "memory") return messages;
	if (!lists.has(session)) lists.set(session, messages);
	return lists.get(session);
}

async function load(session) {
	return lists.get(session) ?? held(session, await read(session));
}

async function run(session, steps) {
	let messages;
	for (const [kind, ...rest] of steps) {
		// An await gives way to other requests: synchronous code has none between its steps.
		if (kind === "load") messages = calls === "sync" ? (lists.get(session) ?? held(session, read(session))) : await load(session);
		else if (kind === "model") await new Promise((done) => setTimeout(done, rest[0]));
		else if (kind === "look" || kind === "save") {
			const done = kind === "look" ? read(session) : save(session, messages);
			if (calls !== "sync") await done;
		} else change(messages, kind, ...rest);
	}
}

async function body(request) {
	const pieces = [];
	for await (const piece of request) pieces.push(piece);
	return JSON.parse(Buffer.concat(pieces).toString());
}

async function answer(request) {
	const [, kind, session] = request.url.split("/");
	if (kind === "events") return events.slice(-2000);
	if (kind === "history") return read(session);
	return run(session, await body(request));
}

http.createServer((request, response) => {
	answer(request).then(
		(value) => response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(value ?? null)),
		(error) => response.writeHead(500).end(String(error)),
	);
}).listen(address);
