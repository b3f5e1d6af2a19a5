// node edit.js: for each line {"path", "text"} on standard input reads the file, writes the text, and answers with a line.
'use strict';
const fs = require('fs');

let chain = Promise.resolve();

require('readline').createInterface({ input: process.stdin }).on('line', (line) => {
	const { path, text } = JSON.parse(line);
	chain = chain.then(async () => {
		await fs.promises.readFile(path).catch(() => null);
		await fs.promises.writeFile(path, text);
		console.log('done');
	});
});
