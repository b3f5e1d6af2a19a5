/*
 * A journal that was damaged after a crash: never silently, and nothing that is whole is lost. SEED=n repeats a run; DAMAGES=n makes more of them.
 *
 * Sessions grow in turns, one save an entry. After a damage each session must be a state that it had, no earlier than the damage makes it; who reads is
 * told when one is older than its last; and when the store has been opened for writing all invariants hold.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "faultio.h"
#include "journal_entry.h"
#include "support.h"

enum { SESSIONS = 6, SAVES = 42 };

static const struct {
	const char *name;
	size_t size, times;	/* two times: in two entries, one behind the other */
	bool zeros;
} kinds[] = {
	{ "a bit", 1, 1, false },		{ "a byte", 1, 1, false },
	{ "8 bytes", 8, 1, false },		{ "64 random bytes", 64, 1, false },
	{ "a sector of zeros", 512, 1, true },	{ "a page of noise", 4096, 1, false },
	{ "two entries in a row", 64, 2, false }, { "a page of zeros", 4096, 1, true },
	{ "16 KiB of zeros", 16384, 1, true },
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static struct text document(unsigned messages)
{
	struct text t = text_format("[");

	for (unsigned i = 0; i < messages; i++) {
		struct text longer = text_format("%.*s%s{\"n\": %u, \"text\": \"%0*u\"}", (int)t.size, t.data, i ? ", " : "", i, i % 5 * 100 + 1, i);

		text_free(t);
		t = longer;
	}
	struct text whole = text_format("%.*s]", (int)t.size, t.data);

	text_free(t);
	return whole;
}

static void save_number(struct store *s, unsigned session, unsigned messages)
{
	char name[16];
	struct text t = document(messages);
	struct store_save save;

	snprintf(name, sizeof(name), "%u.json", session);
	save = save_text(s, name, t, NULL, STORE_SAVE_REPLACE);
	if (save.error)
		_exit(1);
	text_free(t);
}

/* A child saves and ends without a word; some files are made and renamed meanwhile. */
static void crash_after_saves(const char *dir)
{
	struct store *s = must_open(dir, 0);
	struct store_attr a;
	char temp[16];
	int status;
	pid_t pid;

	for (unsigned i = 0; i < SESSIONS; i++)
		save_number(s, i, 1);
	must_close(s);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (!pid) {
		s = must_open(dir, 0);
		save_number(s, 0, 1);
		store_drain(s);
		for (unsigned i = 0; i < SAVES; i++) {
			/* Made with one session's save, removed with the next of the same one. */
			snprintf(temp, sizeof(temp), "temp %u", i % SESSIONS);
			if (i % 12 < 2 && store_create(s, STORE_ROOT, temp, 0, S_IFREG | 0644, 0, 0, NULL, &a))
				_exit(2);
			if (i % 12 > 5 && i % 12 < 8 && store_unlink(s, STORE_ROOT, temp, false, NULL))
				_exit(3);
			save_number(s, i % SESSIONS, 2 + i / SESSIONS);
		}
		_exit(0);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(status, 0);
}

/* How many messages a session has; each must be what was saved. */
static unsigned messages_in(struct store *s, unsigned session, const char *what)
{
	struct store_attr a;
	struct text got, want;
	char name[16];

	snprintf(name, sizeof(name), "%u.json", session);
	cr_assert_eq(store_lookup(s, STORE_ROOT, name, &a), 0, "%s: %s", what, name);
	got = read_name(s, name);
	want = document((unsigned)a.messages);
	check_text(got, want, what, name);
	text_free(got);
	text_free(want);
	return (unsigned)a.messages;
}

/* The half that is used, and where its entries end, in whole sectors. */
struct entries {
	size_t begin, ends[200], count;
};

static struct entries entries_in(struct text journal)
{
	struct entries e = { .begin = journal.data[8] ? 0 : JOURNAL_HALF };

	for (size_t at = e.begin; at + sizeof(struct head) < e.begin + JOURNAL_HALF && e.count < 200;) {
		struct head h;

		memcpy(&h, journal.data + at, sizeof(h));
		if (h.size < sizeof(h))
			break;
		at += whole_sectors(h.size);
		e.ends[e.count++] = at;
	}
	return e;
}

/* The sessions whose entries these bytes are of, a bit each. Each entry has a save of one; the last is that of the last save. */
static unsigned hit_by(const struct entries *e, size_t at, size_t size)
{
	unsigned hit = 0;

	for (size_t i = 0, begin = e->begin; i < e->count; begin = e->ends[i++]) {
		if (at < e->ends[i] && begin < at + size)
			hit |= 1u << (SAVES - e->count + i) % SESSIONS;
	}
	return hit;
}

static void spoil_at(char *bytes, size_t kind, size_t at)
{
	for (size_t i = at; i < at + kinds[kind].size && i < 2 * JOURNAL_HALF; i++) {
		if (kind == 0)
			bytes[i] ^= (char)(1 << random_below(8));
		else
			bytes[i] = kinds[kind].zeros ? 0 : (char)(bytes[i] + 1 + random_below(255));
	}
}

/* Returns where, and the sessions that were hit. */
static size_t spoil(char *bytes, size_t kind, const struct entries *e, unsigned *ret_hit)
{
	size_t at = e->begin + random_below(e->ends[e->count - 1] - e->begin), size = kinds[kind].size, first;

	*ret_hit = 0;
	if (kinds[kind].times == 1) {
		at = size >= 512 ? at / size * size : at;
		spoil_at(bytes, kind, at);
		*ret_hit = hit_by(e, at, size);
		return at;
	}
	first = random_below(e->count - 1);
	for (size_t i = first; i < first + kinds[kind].times; i++) {
		size_t begin = i ? e->ends[i - 1] : e->begin;

		/* In its records, since what stands behind them is nothing. */
		at = begin + random_below(300);
		spoil_at(bytes, kind, at);
		*ret_hit |= hit_by(e, at, size);
	}
	return at;
}

static void put_file(const char *dir, const char *name, struct text t)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	cr_assert(fd >= 0 && write(fd, t.data, t.size) == (ssize_t)t.size && !close(fd));
}

static void count_problem(void *arg, const char *text)
{
	++*(unsigned *)arg;
}

struct seen {
	bool told;
	char *text;	/* what was told */
	unsigned messages[SESSIONS];
};

static void look(const char *dir, bool writing, const char *what, struct seen *ret)
{
	struct store_options o = { .read_only = !writing };
	struct store *s;
	uint64_t problems;
	unsigned told = 0;
	int err = store_open(dir, &o, &s);

	cr_assert_eq(err, 0, "%s: %d", what, err);
	ret->told = store_damage(s);
	ret->text = ret->told ? strdup(store_damage(s)) : NULL;
	for (unsigned i = 0; i < SESSIONS; i++)
		ret->messages[i] = messages_in(s, i, what);
	cr_assert_eq(store_verify(s, count_problem, NULL, &told, &problems), 0);
	/* Who only reads sees also what a missing entry leaves until somebody writes: the next free number, say. */
	cr_assert_eq(problems > 0, !writing && ret->told, "%s: verify, %s", what, writing ? "after it was opened for writing" : "before");
	store_close(s);
}

/* Each session that is behind has its name in what is told. Behind the last entry there is none that could tell. */
static void check_named(const char *text, unsigned older, bool may_be_unknown, const char *what)
{
	bool unknown = text && strstr(text, "of which files some of them were is not known");

	cr_assert(!unknown || may_be_unknown, "%s: %s", what, text);
	for (unsigned i = 0; i < SESSIONS; i++) {
		char name[16];

		snprintf(name, sizeof(name), " %u.json", i);
		cr_assert(!(older >> i & 1) || strstr(text, name) || unknown, "%s:%s is not named: %s", what, name, text);
	}
}

Test(journal_damage, is_told_and_what_is_whole_is_kept)
{
	const char *more = getenv("DAMAGES");
	unsigned damages = more ? (unsigned)atoi(more) : 64, altered = 0, mended = 0;
	char *dir, *copy = dir_make(), what[120];
	struct text data, journal, note;
	struct entries entries;

	random_seed("journal damage");
	fault_skip_sync(copy);
	/* On a slow machine what was saved first may be in the tree before the crash. */
	for (unsigned tries = 0;; tries++) {
		dir = dir_make();
		fault_skip_sync(dir);
		crash_after_saves(dir);
		journal = text_file(dir, "journal");
		entries = entries_in(journal);
		if (entries.count == SAVES || tries == 20)
			break;
		text_free(journal);
		dir_remove(dir);
	}
	cr_assert_eq(entries.count, SAVES);
	data = text_file(dir, "data.mdb");
	note = text_file(dir, "pending.lock");
	for (unsigned n = 0; n < damages; n++) {
		size_t kind = n % KINDS, at;
		unsigned hit, older = 0;
		bool last;
		struct text bad = { malloc(journal.size), journal.size };
		struct seen reader, writer, after;

		memcpy(bad.data, journal.data, bad.size);
		at = spoil(bad.data, kind, &entries, &hit);
		snprintf(what, sizeof(what), "damage %u, %s at %zu", n, kinds[kind].name, at);
		put_file(copy, "data.mdb", data);
		put_file(copy, "journal", bad);
		put_file(copy, "pending.lock", note);
		look(copy, false, what, &reader);
		for (unsigned i = 0; i < SESSIONS; i++)
			older |= (unsigned)(reader.messages[i] != 1 + SAVES / SESSIONS) << i;
		cr_assert(!older || reader.told, "%s: silent", what);
		/* So many entries are missing in a row that the list of the next one does not reach them: then nothing that follows counts. */
		cr_assert(!(older & ~hit) || kinds[kind].size > 4096, "%s: sessions %x are behind, %x were hit", what, older, hit);
		last = at + kinds[kind].size > entries.ends[entries.count - 2];
		check_named(reader.text, older, last || kinds[kind].size > 4096, what);
		cr_assert(kind > 0 || !older, "%s: not put right", what);
		altered += older != 0;
		mended += reader.told && !older;
		look(copy, true, what, &writer);
		cr_assert_eq(writer.told, reader.told, "%s: who writes is not told", what);
		cr_assert_arr_eq(writer.messages, reader.messages, sizeof(reader.messages), "%s: who writes sees something else", what);
		look(copy, false, what, &after);
		cr_assert(!after.told, "%s: told again", what);
		cr_assert_arr_eq(after.messages, reader.messages, sizeof(reader.messages), "%s: opened again", what);
		free(reader.text);
		free(writer.text);
		free(after.text);
		text_free(bad);
	}
	printf("%u damages: %u left a session behind, told each time; %u put right\n", damages, altered, mended);
	/* One kind in all is always put right. */
	cr_assert(altered > damages / (2 * KINDS) && mended > damages / (2 * KINDS));
	text_free(data);
	text_free(journal);
	text_free(note);
	dir_remove(dir);
	dir_remove(copy);
}
