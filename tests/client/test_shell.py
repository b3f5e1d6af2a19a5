#!/usr/bin/python3
"""Writers that are shell commands: pipelines to a temp file and mv, in-place editors, cp, redirections, sponge."""
import json
import os

from session import contents, messages, need, shell, start
from tally import Readers, Tally, mark, marks, text
from harness import QUICK, case, cases, command, equal, eventually, main, read, require, together, write

WRITERS, SAVES = 4, 8 if QUICK else 25


@cases("one save by {}", [
	("jq and mv", "jq", 'jq ". + [{role: \\"user\\", content: \\"new\\"}]" "$1" > "$1.new" && mv "$1.new" "$1"', ["a", "b", "new"]),
	("jq and mv of a .json temp file", "jq", 'jq ". + [{role: \\"user\\", content: \\"new\\"}]" "$1" > "${1%/*}/t.json" && mv "${1%/*}/t.json" "$1"', ["a", "b", "new"]),
	("cat, jq and mv", "jq", 'cat "$1" | jq ". + [{role: \\"user\\", content: \\"new\\"}]" > "$1.t"; mv "$1.t" "$1"', ["a", "b", "new"]),
	("jq into a variable and >", "jq", 'd=$(jq ". + [{role: \\"user\\", content: \\"new\\"}]" "$1"); printf "%s\\n" "$d" > "$1"', ["a", "b", "new"]),
	("jq del", "jq", 'jq "del(.[0])" "$1" > "$1.t" && mv "$1.t" "$1"', ["b"]),
	("jq -c", "jq", 'jq -c . "$1" > "$1.t" && mv "$1.t" "$1"', ["a", "b"]),
	("sed -i", "sed", 'sed -i "s/\\"a\\"/\\"A\\"/" "$1"', ["A", "b"]),
	("sed -i.bak", "sed", 'sed -i.bak "s/\\"a\\"/\\"A\\"/" "$1" && rm "$1.bak"', ["A", "b"]),
	("perl -i", "perl", 'perl -i -pe "s/\\"a\\"/\\"A\\"/" "$1"', ["A", "b"]),
	("perl -i.bak", "perl", 'perl -i.bak -pe "s/\\"a\\"/\\"A\\"/" "$1" && rm "$1.bak"', ["A", "b"]),
	("sponge", "sponge", 'jq ". + [{role: \\"user\\", content: \\"new\\"}]" "$1" | sponge "$1"', ["a", "b", "new"]),
	("echo >", "sh", 'echo "[]" > "$1"', []),
	("tee", "tee", 'echo "[{\\"role\\": \\"user\\", \\"content\\": \\"only\\"}]" | tee "$1" > /dev/null', ["only"]),
	("dd", "dd", 'echo "[{\\"role\\": \\"user\\", \\"content\\": \\"only\\"}]" | dd of="$1" bs=7 status=none', ["only"]),
	("cp of a backup", "cp", 'cp "$1" "$1.backup"; echo "[]" > "$1"; cp "$1.backup" "$1"; rm "$1.backup"', ["a", "b"]),
	("cp -p, mv -f", "cp", 'cp -p "$1" "$1.copy" && mv -f "$1.copy" "$1"', ["a", "b"]),
	("install", "install", 'install -m 600 "$1" "${1%/*}/copy.json" && mv "${1%/*}/copy.json" "$1"', ["a", "b"]),
])
def one_save(t, name, program, script, wanted):
	need(program)
	path = start(t, "a", "b")
	shell(script, path)
	equal(contents(path), wanted, name)
	equal(os.listdir(t.dir), ["s.json"], "names that are left")


@case("P4: what a shell tool leaves is byte for byte its output")
def bytes_kept(t):
	need("jq")
	path = start(t, "a", "b")
	for script, wanted in (('jq -c . "$1" > "$1.t" && mv "$1.t" "$1"', b'[{"role":"user","content":"a"},{"role":"user","content":"b"}]\n'),
			       ('printf "[ ]" > "$1"', b"[ ]"), ('echo "[]" > "$1"', b"[]\n"), ('printf "" > "$1"', b"")):
		shell(script, path)
		eventually(lambda: read(path), wanted, script)


@case(": > f makes the file empty, and the next save starts a new list")
def colon(t):
	path = start(t, "a", "b")
	shell(': > "$1"', path)
	eventually(lambda: (read(path), os.path.getsize(path)), (b"", 0), "after : >")
	write(path, json.dumps(messages("c")).encode())
	equal(contents(path), ["c"], "after the next save")


@case(": > f; echo >> f is one document, whenever the first RELEASE comes")
def colon_append(t):
	for n in range(20):
		path = start(t, "a", "b", name=f"s{n}.json")
		shell(': > "$1"; echo "[]" >> "$1"', path)
		equal(read(path), b"[]\n", f"after : > and >>, round {n}")


@case("truncate -s 0, rm, touch")
def truncated(t):
	path = start(t, "a", "b")
	shell('truncate -s 0 "$1"', path)
	equal(read(path), b"", "after truncate -s 0")
	write(path, json.dumps(messages("c")).encode())
	shell('touch "$1"', path)
	equal(contents(path), ["c"], "after touch")
	shell('rm "$1"', path)
	equal(os.path.exists(path), False, "exists after rm")
	shell('touch "$1"', path)
	equal(read(path), b"", "created by touch")
	write(path, json.dumps(messages("d")).encode())
	equal(contents(path), ["d"], "first save after touch")


@case(">> to a log: lines of concurrent writers never mix")
def logs(t):
	path = t.path("app.log")
	lines = SAVES * 8
	together([lambda w=w: shell('i=0; while [ $i -lt $2 ]; do echo "$3 line $i of a log" >> "$1"; i=$((i + 1)); done', path, str(lines), f"w{w}")
		  and None for w in range(WRITERS)])
	found = read(path).decode().splitlines()
	equal(sorted(found), sorted(f"w{w} line {n} of a log" for w in range(WRITERS) for n in range(lines)), "lines")
	for w in range(WRITERS):
		equal([line for line in found if line.startswith(f"w{w} ")], [f"w{w} line {n} of a log" for n in range(lines)], f"order of w{w}")


APPEND_AND_MOVE = 'jq --arg c "$3" ". + [{role: \\"user\\", content: \\$c}]" "$1" > "$1.$2" && mv "$1.$2" "$1"'


@case("P1 P2 P6: {} shell writers by jq and mv, a reader all the time".format(WRITERS))
def concurrent(t):
	need("jq")
	path = start(t, text("seed", 0))

	def loop(w):
		for n in range(SAVES):
			shell(APPEND_AND_MOVE, path, f"t{w}", text(f"w{w}", n))
	with Readers([path], pause=0.01):
		together([lambda w=w: loop(w) for w in range(WRITERS)])
	Tally(marks(json.loads(read(path))), [("seed", 0)] + [(f"w{w}", n) for w in range(WRITERS) for n in range(SAVES)]).require_perfect("jq and mv")
	equal(os.listdir(t.dir), ["s.json"], "names that are left")


@case("P1 P2 P6: {} writers by cat | jq > t; mv t f".format(WRITERS))
def concurrent_pipeline(t):
	need("jq")
	path = start(t, text("seed", 0))
	script = 'cat "$1" | jq --arg c "$3" ". + [{role: \\"user\\", content: \\$c}]" > "$1.$2"; mv "$1.$2" "$1"'

	def loop(w):
		for n in range(SAVES):
			command("sh", "-c", script, "sh", path, f"t{w}", text(f"w{w}", n), start_new_session=True)
	together([lambda w=w: loop(w) for w in range(WRITERS)])
	Tally(marks(json.loads(read(path))), [("seed", 0)] + [(f"w{w}", n) for w in range(WRITERS) for n in range(SAVES)]).require_perfect("pipelines")


@cases("rule 14: 8 shells, one temp name {}", [
	("by jq > t && mv t f", "s.json.t", 'jq --arg c "$3" ". + [{role: \\"user\\", content: \\$c}]" "$1" > "$2" && mv "$2" "$1"'),
	("by cat | jq > t; mv t f", "s.json.t", 'cat "$1" | jq --arg c "$3" ". + [{role: \\"user\\", content: \\$c}]" > "$2"; mv "$2" "$1"'),
	("by jq > t.json && mv", "t.json", 'jq --arg c "$3" ". + [{role: \\"user\\", content: \\$c}]" "$1" > "$2" && mv "$2" "$1"'),
])
def one_name(t, name, temp, script):
	need("jq")
	path = start(t, text("seed", 0))
	shells, saves = 8, 2 if QUICK else 4

	def loop(w):
		for n in range(saves):
			command("sh", "-c", script, "sh", path, t.path(temp), text(f"w{w}", n), start_new_session=True)
	together([lambda w=w: loop(w) for w in range(shells)])
	Tally(marks(json.loads(read(path))), [("seed", 0)] + [(f"w{w}", n) for w in range(shells) for n in range(saves)]).require_perfect(name)
	equal(os.listdir(t.dir), ["s.json"], "names that are left")


@case("P2: sed -i and perl -i beside an appending writer")
def editors_beside_writer(t):
	path = start(t, *[text("seed", n) for n in range(10)], "count 0 end")

	def edit():
		for n in range(SAVES):
			tool = f'sed -i "s/count [0-9]* end/count {n + 1} end/" "$1"' if n % 2 else f'perl -i -pe "s/count \\d+ end/count {n + 1} end/" "$1"'
			shell(tool, path)

	def append():
		for n in range(SAVES * 2):
			document = json.loads(read(path))
			write(path, json.dumps(document + messages(text("w", n)), indent=2, ensure_ascii=False).encode() + b"\n")
	with Readers([path], pause=0.01):
		together([edit, append])
	found = contents(path)
	Tally([m for m in map(mark, found) if m], [("seed", n) for n in range(10)] + [("w", n) for n in range(SAVES * 2)]).require_perfect("beside editors")
	equal([c for c in found if c.startswith("count")], [f"count {SAVES} end"], "the edited message")


@case("mv of a session, cp of a session, and links to sessions")
def moves(t):
	path = start(t, "a", "b")
	shell('mv "$1" "$2"', path, t.path("renamed.json"))
	equal((contents(t.path("renamed.json")), os.path.exists(path)), (["a", "b"], False), "after mv")
	shell('cp "$1" "$2"', t.path("renamed.json"), path)
	equal(read(path), read(t.path("renamed.json")), "the copy")
	shell('ln -s renamed.json "$1"', t.path("link.json"))
	equal(contents(t.path("link.json")), ["a", "b"], "through the link")
	shell('mkdir "$1/d" && mv "$2" "$1/d/"', t.dir, path)
	equal(contents(t.path("d/s.json")), ["a", "b"], "in the directory")
	shell('cp -a "$1" "$2"', t.path("d"), t.path("e"))
	equal(read(t.path("e/s.json")), read(t.path("d/s.json")), "by cp -a")
	shell('rm -r "$1" "$2"', t.path("d"), t.path("e"))
	equal(sorted(os.listdir(t.dir)), ["link.json", "renamed.json"], "names that are left")


@case("grep, wc, md5sum, tail, cmp and tar read what is there")
def readers(t):
	path = start(t, *[f"message {n}" for n in range(2000)])
	plain = os.path.join(t.plain, "s.json")
	write(plain, read(path))
	shell('cmp "$1" "$2" && test "$(wc -c < "$1")" = "$(wc -c < "$2")" && test "$(md5sum < "$1")" = "$(md5sum < "$2")"', path, plain)
	equal(shell('grep -c "message 1" "$1"', path).stdout, shell('grep -c "message 1" "$1"', plain).stdout, "grep -c")
	equal(shell('tail -c 500 "$1"', path).stdout, shell('tail -c 500 "$1"', plain).stdout, "tail")
	unpacked = t.place()
	shell('tar -C "$1" -cf - . | tar -C "$2" -xf -', t.dir, unpacked)
	equal(read(f"{unpacked}/s.json"), read(plain), "through tar")
	require(os.stat(path).st_blocks * 512 >= len(read(plain)), "st_blocks covers the size")


if __name__ == "__main__":
	main()
