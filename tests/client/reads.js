// node reads.js HOW PATH COUNT TASKS: reads a document of versioned.py so often, by so many tasks at once; prints [reads, [what was wrong, ...]].
'use strict';
const fs = require('fs');

const [how, path, count, tasks] = [process.argv[2], process.argv[3], Number(process.argv[4]), Number(process.argv[5])];

function stream() {
	return new Promise((resolve, reject) => {
		const pieces = [];
		fs.createReadStream(path, { highWaterMark: 4096 }).on('data', (d) => pieces.push(d)).on('end', () => resolve(Buffer.concat(pieces))).on('error', reject);
	});
}

async function handle() {
	const file = await fs.promises.open(path);
	try {
		const { size } = await file.stat();
		const buffer = Buffer.alloc(size);
		let done = 0, got;
		while (done < size && (got = (await file.read(buffer, done, size - done, done)).bytesRead))
			done += got;
		return buffer.subarray(0, done);
	} finally {
		await file.close();
	}
}

const ways = { readFile: () => fs.promises.readFile(path), readFileSync: async () => fs.readFileSync(path), stream, handle };

const wrong = [];

async function task() {
	let last = 0;
	for (let n = 0; n < count / tasks && wrong.length < 5; n++) {
		const text = (await ways[how]()).toString();
		try {
			const document = JSON.parse(text);
			const version = document[0].version;
			if (!document.every((m) => m.version === version) || document[0].count !== document.length)
				wrong.push(`mixed: ${document.length} messages, the first ${JSON.stringify(document[0])}`);
			if (version < last)
				wrong.push(`version ${last}, then ${version}`);
			last = version;
		} catch (e) {
			wrong.push(`torn: ${e}: ${text.length} characters`);
		}
	}
}

Promise.all(Array.from({ length: tasks }, task)).then(() => console.log(JSON.stringify([count, wrong])));
