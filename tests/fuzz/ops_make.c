/* What a sequence is made of, all from its seed and number, and how it is told to people. */
#include "ops.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static const char *const names[NAMES] = {
	"d/a.json", "d/b.json", "d/c.jsonl", "d/x.tmp", "d/a.json.tmp", "d/a.json.bak", "d/t.tmp.json", "d/p", "d/q",
	"e/a.json", "e/b.json", "e/c.jsonl", "e/x.tmp", "e/a.json.tmp", "e/a.json.bak", "e/t.tmp.json", "e/p", "e/q",
};

const char *name_of(unsigned name)
{
	return names[name % NAMES];
}

static bool ends_in(const char *name, const char *end)
{
	size_t size = strlen(name), n = strlen(end);

	return size >= n && strcmp(name + size - n, end) == 0;
}

bool is_lines(unsigned name)
{
	return ends_in(name_of(name), ".jsonl");
}

bool is_document(unsigned name)
{
	return ends_in(name_of(name), ".json") || is_lines(name);
}

bool names_two(const struct op *op)
{
	return op->what == OP_RENAME || op->what == OP_SAVE_TEMP || op->what == OP_ADD_TEMP || op->what == OP_LINK;
}

/* xorshift64*, by Vigna. */
uint64_t random_next(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1du >> 16;
}

static unsigned below(uint64_t *r, unsigned n)
{
	return (unsigned)(random_next(r) % n);
}

static bool chance(uint64_t *r, unsigned percent)
{
	return below(r, 100) < percent;
}

/* ---- Texts ----------------------------------------------------------------------------------------------------- */

size_t make_text(uint64_t number, const struct op *op, char buf[TEXT_MAX])
{
	char c[64];
	size_t size = 0;

	snprintf(c, sizeof(c), "{\"c\":\"%llu.%u\"}", (unsigned long long)number, op->id);
	switch ((enum text)op->text) {
	case T_ONE:
		return (size_t)snprintf(buf, TEXT_MAX, "[%s]", c);
	case T_TWO:
		return (size_t)snprintf(buf, TEXT_MAX, "[{\"c\":\"%llu.%ua\"}, %s]\n", (unsigned long long)number, op->id, c);
	case T_LIST:
		return (size_t)snprintf(buf, TEXT_MAX, "[\n  1,\n  %s\n]", c);
	case T_NONE:
		return (size_t)snprintf(buf, TEXT_MAX, "[]");
	case T_OBJECT:
		return (size_t)snprintf(buf, TEXT_MAX, "{\"id\":\"%llu.%u\",\"messages\":[%s]}", (unsigned long long)number, op->id, c);
	case T_FREE:
		return (size_t)snprintf(buf, TEXT_MAX, "{\"n\":%u,\"o\":{\"k\":%llu}}", op->id, (unsigned long long)number);
	case T_PART:
		return (size_t)snprintf(buf, TEXT_MAX, "[%s", c);
	case T_REST:
		return (size_t)snprintf(buf, TEXT_MAX, "]");
	case T_TAIL:
		return (size_t)snprintf(buf, TEXT_MAX, ",%s]", c);
	case T_LINE:
		return (size_t)snprintf(buf, TEXT_MAX, "%s\n", c);
	case T_LINES:
		return (size_t)snprintf(buf, TEXT_MAX, "{\"c\":\"%llu.%ua\"}\n%s\n", (unsigned long long)number, op->id, c);
	case T_LINE_PART:
		return (size_t)snprintf(buf, TEXT_MAX, "{\"c\":");
	case T_WORDS:
		return (size_t)snprintf(buf, TEXT_MAX, "words %llu.%u", (unsigned long long)number, op->id);
	case T_BIG:
		size = (size_t)snprintf(buf, TEXT_MAX, "[");
		for (unsigned i = 0; i < 400; i++)
			size += (size_t)snprintf(buf + size, TEXT_MAX - size, "{\"c\":\"%llu.%u.%u %0100u\"},", (unsigned long long)number, op->id, i, i);
		return size + (size_t)snprintf(buf + size, TEXT_MAX - size, "%s]", c);
	case T_NOTHING:
	case T_KINDS:
		break;
	}
	return 0;
}

/* ---- Sequences ------------------------------------------------------------------------------------------------- */

struct making {
	uint64_t random;
	struct sequence *s;
	unsigned pool[6], pool_size;
	unsigned actors[ACTORS], actor_count;
};

struct weight {
	uint8_t what, one, any;		/* how often, in the modes */
};

static const struct weight weights[] = {
	{ OP_OPEN, 16, 14 }, { OP_TRUNCATE, 3, 3 }, { OP_RENAME, 10, 12 }, { OP_UNLINK, 6, 6 }, { OP_MKDIR, 2, 1 }, { OP_RMDIR, 2, 1 },
	{ OP_SYMLINK, 1, 1 }, { OP_LINK, 0, 1 }, { OP_STAT, 3, 2 }, { OP_CHMOD, 2, 1 }, { OP_CHOWN, 1, 1 }, { OP_UTIME, 3, 1 },
	{ OP_CLOSE, 12, 10 }, { OP_WRITE, 12, 12 }, { OP_PWRITE, 2, 2 }, { OP_READ, 3, 3 }, { OP_PREAD, 1, 2 }, { OP_FTRUNCATE, 2, 3 },
	{ OP_DUP, 1, 2 }, { OP_FSYNC, 2, 3 }, { OP_FDATASYNC, 1, 1 }, { OP_FSTAT, 3, 2 }, { OP_FCHMOD, 1, 1 }, { OP_FUTIME, 2, 1 },
	{ OP_LOAD, 8, 8 }, { OP_SAVE, 16, 12 }, { OP_SAVE_TEMP, 8, 8 }, { OP_ADD, 6, 8 }, { OP_ADD_TEMP, 4, 6 }, { OP_APPEND, 4, 4 },
	{ OP_LIST, 3, 2 }, { OP_SYNC_DIRECTORY, 1, 1 },
};

static unsigned pick_what(struct making *m)
{
	bool one = m->s->mode == MODE_ONE;
	unsigned sum = 0, at;
	size_t i = 0;

	/* What costs a process is rare. */
	if (!one && chance(&m->random, 2))
		return OP_FORK + below(&m->random, 3);
	for (i = 0; i < sizeof(weights) / sizeof(*weights); i++)
		sum += one ? weights[i].one : weights[i].any;
	at = below(&m->random, sum);
	for (i = 0; at >= (one ? weights[i].one : weights[i].any); i++)
		at -= one ? weights[i].one : weights[i].any;
	return weights[i].what;
}

static unsigned pick_name(struct making *m)
{
	return m->pool[below(&m->random, m->pool_size)];
}

/* A name of a kind, in the same directory. */
static unsigned beside(unsigned name, unsigned kind)
{
	return name / 9 * 9 + kind;
}

static void pick_pool(struct making *m)
{
	/* Mostly what is saved and its temp files. */
	static const uint8_t often[] = { 0, 0, 0, 1, 1, 3, 3, 4, 4, 5, 5, 2, 6, 7, 8 };

	m->pool_size = 2 + below(&m->random, 5);
	for (unsigned i = 0; i < m->pool_size; i++)
		m->pool[i] = often[below(&m->random, sizeof(often))] + (chance(&m->random, 15) ? 9 : 0);
}

static int pick_flags(struct making *m)
{
	static const int access[] = { O_RDONLY, O_WRONLY, O_RDWR };
	uint64_t *r = &m->random;
	int flags = access[below(r, 8) < 2 ? 0 : 1 + below(r, 2)];

	flags |= chance(r, 70) ? O_CREAT : 0;
	flags |= chance(r, 50) && (flags & O_ACCMODE) != O_RDONLY ? O_TRUNC : 0;
	flags |= chance(r, 8) ? O_EXCL : 0;
	flags |= chance(r, 15) ? O_APPEND : 0;
	flags |= chance(r, 5) ? O_SYNC : 0;
	flags |= chance(r, 30) ? O_CLOEXEC : 0;
	if (!(flags & O_CREAT))
		flags &= ~O_EXCL;
	return flags;
}

static uint8_t pick_text(struct making *m, unsigned name, bool whole)
{
	static const uint8_t documents[] = { T_ONE, T_ONE, T_TWO, T_LIST, T_NONE, T_OBJECT, T_FREE };
	uint64_t *r = &m->random;

	if (is_lines(name) && chance(r, 80))
		return chance(r, 70) ? T_LINE : whole ? T_LINES : T_LINE_PART;
	if (chance(r, 1))
		return T_BIG;
	if (!whole && chance(r, 40))
		return (uint8_t)below(r, T_BIG);
	if (whole && chance(r, 5))
		return T_NOTHING;
	return documents[below(r, sizeof(documents))];
}

static void fill(struct making *m, struct op *op)
{
	static const int renames[] = { 0, 0, 0, 0, 0, 0, 1, 2 };	/* RENAME_NOREPLACE, RENAME_EXCHANGE */
	uint64_t *r = &m->random;

	op->actor = (uint8_t)m->actors[below(r, m->actor_count)];
	op->name = (uint8_t)pick_name(m);
	op->to = (uint8_t)(chance(r, 85) ? pick_name(m) : below(r, NAMES));
	op->slot = (uint8_t)below(r, chance(r, 70) ? 2 : SLOTS);
	op->other = (uint8_t)below(r, SLOTS);
	op->mode = chance(r, 50) ? 0644 : below(r, 01000) | 0600;
	switch (op->what) {
	case OP_OPEN:
		op->flags = pick_flags(m);
		break;
	case OP_RENAME:
		op->flags = renames[below(r, 8)];
		break;
	case OP_WRITE:
	case OP_PWRITE:
	case OP_SAVE:
	case OP_SAVE_TEMP:
		op->text = pick_text(m, op->name, op->what == OP_SAVE || op->what == OP_SAVE_TEMP);
		break;
	case OP_APPEND:
		op->text = T_LINE;
		break;
	}
	if (op->what == OP_PWRITE || op->what == OP_PREAD || op->what == OP_TRUNCATE || op->what == OP_FTRUNCATE)
		op->at = chance(r, 60) ? 0 : below(r, chance(r, 95) ? 40 : 70000);
	if (op->what == OP_SAVE_TEMP || op->what == OP_ADD_TEMP)
		op->to = (uint8_t)beside(op->name, chance(r, 45) ? 4 : chance(r, 80) ? 3 : 6);
	if (op->what == OP_UTIME || op->what == OP_FUTIME)
		op->at = 1000 + op->id;
	if (op->what == OP_KILL || op->what == OP_FORK)
		op->other = ACTOR_CHILD;
	if (op->what == OP_KILL && chance(r, 50))
		op->other = op->actor;
}

static void leave_modes(const struct sequence *s, struct op *op)
{
	if (s->mode != MODE_ONE || !s->modes)
		return;
	if (op->what == OP_SAVE_TEMP)
		op->what = OP_SAVE;
	if (op->what == OP_ADD_TEMP)
		op->what = OP_ADD;
	if (op->what == OP_RENAME && is_document(op->to))
		op->to = (uint8_t)beside(op->to, 5);
	/* Nor is one exchanged with a session. */
	if (op->what == OP_RENAME && op->flags == 2 && is_document(op->name))
		op->flags = 0;
}

/* Everybody reads, and writes what was read and a message more. */
static void fill_adding(struct making *m, struct op *op)
{
	static const uint8_t temps[] = { 3, 4, 6 };
	uint64_t *r = &m->random;

	op->what = chance(r, 45) ? OP_ADD : chance(r, 70) ? OP_ADD_TEMP : chance(r, 50) ? OP_LOAD : OP_STAT;
	op->actor = (uint8_t)m->actors[below(r, m->actor_count)];
	op->name = (uint8_t)(m->pool[below(r, m->pool_size)] % 9 % 2 + (m->pool[0] >= 9 ? 9 : 0));
	op->to = (uint8_t)beside(op->name, temps[below(r, 3)]);
	op->mode = 0644;
	if (chance(r, 3)) {
		op->what = chance(r, 50) ? OP_FORK : OP_EXEC;
		op->other = ACTOR_CHILD;
	}
}

void make_sequence(uint64_t seed, uint64_t number, struct sequence *ret)
{
	struct making m = { .random = (seed + 1) * 0x9e3779b97f4a7c15u ^ (number + 1) * 0xd1b54a32d192ed03u, .s = ret };

	*ret = (struct sequence){ .number = number };
	for (unsigned i = 0; i < 8; i++)
		random_next(&m.random);
	ret->mode = (enum mode)(chance(&m.random, 35) ? MODE_ONE : chance(&m.random, 30) ? MODE_ADD : MODE_ANY);
	ret->modes = chance(&m.random, 50);
	ret->count = 4 + below(&m.random, OPS_MAX - 4 - (chance(&m.random, 60) ? 8 : 0));
	pick_pool(&m);
	m.actor_count = ret->mode == MODE_ONE ? 1 : 2 + below(&m.random, 3);
	for (unsigned i = 0; i < m.actor_count; i++)
		m.actors[i] = ret->mode == MODE_ONE ? below(&m.random, 2) * ACTOR_OTHER : i == 2 && chance(&m.random, 50) ? ACTOR_CHILD : below(&m.random, ACTOR_CHILD);
	for (unsigned i = 0; i < ret->count; i++) {
		struct op *op = &ret->ops[i];

		op->id = (uint16_t)i;
		if (ret->mode == MODE_ADD) {
			fill_adding(&m, op);
		} else {
			op->what = (uint8_t)pick_what(&m);
			fill(&m, op);
			leave_modes(ret, op);
		}
		ret->two |= op->name >= NAMES / 2 || (names_two(op) && op->to >= NAMES / 2);
	}
}

/* ---- Telling --------------------------------------------------------------------------------------------------- */

static const char *const actors[] = { "A", "A's thread", "B", "C (executed)", "forked" };

const char *word_of(const struct op *op)
{
	static const char *const words[OP_KINDS] = {
		"open", "truncate", "rename", "unlink", "mkdir", "rmdir", "symlink", "link", "stat", "chmod", "chown", "utimensat",
		"close", "write", "pwrite", "read", "pread", "ftruncate", "dup", "fsync", "fdatasync", "fstat", "fchmod", "futimens",
		"read whole file", "save", "save and rename", "add", "add and rename", "append",
		"list", "fsync of a directory", "fork", "exec", "kill",
	};

	return op->what < OP_KINDS ? words[op->what] : "look";
}

static void tell_flags(int flags, char *buf, size_t size)
{
	static const struct {
		int flag;
		const char *name;
	} known[] = { { O_CREAT, "O_CREAT" }, { O_EXCL, "O_EXCL" }, { O_TRUNC, "O_TRUNC" }, { O_APPEND, "O_APPEND" }, { O_SYNC, "O_SYNC" }, { O_CLOEXEC, "O_CLOEXEC" } };
	static const char *const access[] = { "O_RDONLY", "O_WRONLY", "O_RDWR" };
	size_t used = (size_t)snprintf(buf, size, "%s", access[flags & O_ACCMODE]);

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
		if ((flags & known[i].flag) == known[i].flag)
			used += (size_t)snprintf(buf + used, size - used, "|%s", known[i].name);
	}
}

void tell_op(const struct op *op, char *buf, size_t size)
{
	static const char *const renames[] = { "", ", RENAME_NOREPLACE", ", RENAME_EXCHANGE" };
	static const char *const words[] = {
		[OP_UNLINK] = "unlink", [OP_RMDIR] = "rmdir", [OP_STAT] = "stat", [OP_LOAD] = "read whole file", [OP_ADD] = "read, and write with one message more:",
		[OP_CLOSE] = "close", [OP_READ] = "read", [OP_FSYNC] = "fsync", [OP_FDATASYNC] = "fdatasync", [OP_FSTAT] = "fstat",
		[OP_LIST] = "list the directory of", [OP_SYNC_DIRECTORY] = "fsync the directory of", [OP_FORK] = "fork", [OP_EXEC] = "run /bin/true",
	};
	char flags[128], text[TEXT_MAX];
	const char *a = name_of(op->name), *b = name_of(op->to);
	size_t n = make_text(0, op, text);
	size_t at = (size_t)snprintf(buf, size, "%-13s ", actors[op->actor]);

	if (n > 60)
		strcpy(text + 57, "...");
	else
		text[n] = 0;
	for (char *c = text; (c = strchr(c, '\n'));)
		*c = ' ';
	buf += at;
	size -= at;
	tell_flags(op->flags, flags, sizeof(flags));
	switch (op->what) {
	case OP_OPEN: snprintf(buf, size, "fd%d = open(%s, %s, 0%o)", op->slot, a, flags, op->mode); break;
	case OP_TRUNCATE: snprintf(buf, size, "truncate(%s, %lld)", a, (long long)op->at); break;
	case OP_RENAME: snprintf(buf, size, "rename(%s, %s%s)", a, b, renames[op->flags % 3]); break;
	case OP_MKDIR: snprintf(buf, size, "mkdir(%s)", a); break;
	case OP_SYMLINK: snprintf(buf, size, "symlink(\"p\", %s)", a); break;
	case OP_LINK: snprintf(buf, size, "link(%s, %s)", a, b); break;
	case OP_CHMOD: snprintf(buf, size, "chmod(%s, 0%o)", a, op->mode); break;
	case OP_CHOWN: snprintf(buf, size, "chown(%s, %u)", a, op->mode & 7); break;
	case OP_UTIME: snprintf(buf, size, "utimensat(%s, %lld)", a, (long long)op->at); break;
	case OP_WRITE: snprintf(buf, size, "write(fd%d, %s)", op->slot, text); break;
	case OP_PWRITE: snprintf(buf, size, "pwrite(fd%d, %s, %lld)", op->slot, text, (long long)op->at); break;
	case OP_PREAD: snprintf(buf, size, "pread(fd%d, %lld)", op->slot, (long long)op->at); break;
	case OP_FTRUNCATE: snprintf(buf, size, "ftruncate(fd%d, %lld)", op->slot, (long long)op->at); break;
	case OP_DUP: snprintf(buf, size, "fd%d = dup(fd%d)", op->other, op->slot); break;
	case OP_FCHMOD: snprintf(buf, size, "fchmod(fd%d, 0%o)", op->slot, op->mode); break;
	case OP_FUTIME: snprintf(buf, size, "futimens(fd%d, %lld)", op->slot, (long long)op->at); break;
	case OP_SAVE: snprintf(buf, size, "save %s: %s", a, text); break;
	case OP_SAVE_TEMP: snprintf(buf, size, "save %s and rename it to %s: %s", b, a, text); break;
	case OP_ADD_TEMP: snprintf(buf, size, "read %s, write %s with one message more, and rename it to %s", a, b, a); break;
	case OP_APPEND: snprintf(buf, size, "append to %s: %s", a, text); break;
	case OP_KILL: snprintf(buf, size, "SIGKILL to %s", actors[op->other]); break;
	case OP_CLOSE: case OP_READ: case OP_FSYNC: case OP_FDATASYNC: case OP_FSTAT:
		snprintf(buf, size, "%s(fd%d)", words[op->what], op->slot);
		break;
	case OP_FORK: case OP_EXEC: snprintf(buf, size, "%s", words[op->what]); break;
	default: snprintf(buf, size, "%s %s", op->what < sizeof(words) / sizeof(*words) && words[op->what] ? words[op->what] : "?", a);
	}
}

void tell_sequence(const struct sequence *s, const struct result *results)
{
	static const char *const modes[] = { "one process", "only additions", "anything" };
	char line[512];

	printf("sequence %llu (%s):\n", (unsigned long long)s->number, modes[s->mode]);
	for (unsigned i = 0; i < s->count; i++) {
		tell_op(&s->ops[i], line, sizeof(line));
		if (results && results[i].ret < 0)
			printf("  %2u  %s -> %s%s\n", s->ops[i].id, line, results[i].error ? strerrorname_np(results[i].error) : "not done",
			       results[i].step ? " (at a later step)" : "");
		else
			printf("  %2u  %s\n", s->ops[i].id, line);
	}
	fflush(stdout);
}
