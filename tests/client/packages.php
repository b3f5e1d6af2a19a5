<?php
// Saves of PHP programs: php packages.php KIND FILE WRITER SAVES. See packages.py for what is said on the pipes.
declare(strict_types=1);

[, $kind, $file, $writer, $saves] = $argv;
set_error_handler(function (int $level, string $text) { throw new ErrorException($text, 0, $level); });

const FLAGS = JSON_PRETTY_PRINT | JSON_UNESCAPED_UNICODE | JSON_THROW_ON_ERROR;

function add(string $data, string $content): string {
	$list = $data === '' ? [] : json_decode($data, true, 512, JSON_THROW_ON_ERROR);
	$list[] = ['role' => 'user', 'content' => $content];
	return json_encode($list, FLAGS);
}

function rewrite(string $file, string $content, int $flags): void {
	file_put_contents($file, add(file_exists($file) ? file_get_contents($file) : '', $content), $flags);
}

// The whole save under flock() on the file itself.
function locked(string $file, string $content, string $mode): void {
	if ($mode === 'r+' && !file_exists($file)) touch($file);
	$f = fopen($file, $mode);
	flock($f, LOCK_EX);
	try {
		$data = add(stream_get_contents($f), $content);
		ftruncate($f, 0);
		rewind($f);
		fwrite($f, $data);
		fflush($f);
	} finally {
		flock($f, LOCK_UN);
		fclose($f);
	}
}

$kinds = [
	'file_put_contents' => fn ($content) => rewrite($file, $content, 0),
	'LOCK_EX' => fn ($content) => rewrite($file, $content, LOCK_EX),
	'flock r+' => fn ($content) => locked($file, $content, 'r+'),
	'flock c+' => fn ($content) => locked($file, $content, 'c+'),
];

echo "ready\n";
fgets(STDIN);
for ($n = 0; $n < (int)$saves; $n++) {
	try {
		$kinds[$kind]("$writer:$n; from PHP, über alles, 你好");
		echo "$writer $n\n";
	} catch (Exception $e) {
		echo '! ', strtr(substr($e->getMessage(), 0, 200), "\n", ' '), "\n";
	}
}
