/*
 * Each entry point with its I/O call number 1, 2, 3 ... failing, until none fails. Afterwards the content equals the state before or after,
 * never else; the store has reopened itself if it had to; and it goes on, in the same process and when opened again.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "faultio.h"
#include "support.h"

static struct store *s;
static uint64_t ino, scratch;

static int save_as(const char *name, const char *text, uint64_t version)
{
	struct store_base base = base_at(ino, version);

	return save_text(s, name, (struct text){ (char *)text, strlen(text) }, &base, 0).error;
}

/* Before: a.json is [1,2] in version 1, `scratch` holds "old". Names that are not there have no content. */
static void prepare(const char *dir, unsigned delay)
{
	struct store_attr a;

	s = must_open(dir, delay);
	ino = 0;
	cr_assert_eq(save_as("a.json", "[1,2]", 0), 0);
	cr_assert_eq(store_create(s, STORE_ROOT, "scratch", 0, S_IFREG | 0600, 0, 0, NULL, &a), 0);
	scratch = a.ino;
	cr_assert_eq(store_write(s, scratch, 0, "old", 3), 0);
	cr_assert_eq(store_sync(s), 0);
	cr_assert_eq(store_lookup(s, STORE_ROOT, "a.json", &a), 0);
	ino = a.ino;
}

static int do_append(void)
{
	return save_as("a.json", "[1,2,3]", 1);
}

static int do_rewrite(void)
{
	return save_as("a.json", "[\n  2\n]", 1);
}

static int do_first(void)
{
	return save_as("b.json", "{\"m\": [{\"a\": 1}]}", 0);
}

static int do_unlink(void)
{
	int err = store_unlink(s, STORE_ROOT, "a.json", false, NULL);

	return err ? err : store_sync(s);
}

static int do_write(void)
{
	static char bytes[100000];
	int err;

	memset(bytes, 'n', sizeof(bytes));
	err = store_write(s, scratch, 0, bytes, sizeof(bytes));
	return err ? err : store_sync(s);
}

static int do_rename(void)
{
	int err = store_rename(s, STORE_ROOT, "a.json", STORE_ROOT, "b.json", 0, false);

	return err ? err : store_sync(s);
}

static int do_rename_over(void)
{
	struct store_base base = base_at(ino, 1);
	struct store_save save = { .parent = STORE_ROOT, .name = "a.json", .tail = "[1,2,5]", .tail_size = 7, .bases = &base, .base_count = 1,
				   .from_ino = scratch };

	return store_save(s, &save);
}

static int do_undo(void)
{
	uint64_t version;

	return store_undo(s, ino, 1, &version);
}

/* Contents of a.json, b.json and scratch; "-": not there. */
struct state {
	const char *a, *b;
	size_t scratch;
};

static const struct entry_point {
	const char *name;
	int (*run)(void);
	struct state after;
} entry_points[] = {
	{ "append", do_append, { "[1,2,3]", "-", 3 } },
	{ "rewrite", do_rewrite, { "[\n  2\n]", "-", 3 } },
	{ "first save", do_first, { "[1,2]", "{\"m\": [{\"a\": 1}]}", 3 } },
	{ "unlink", do_unlink, { "-", "-", 3 } },
	{ "write", do_write, { "[1,2]", "-", 100000 } },
	{ "rename", do_rename, { "-", "[1,2]", 3 } },
	{ "rename over a document", do_rename_over, { "[1,2,5]", "-", 0 } },
	{ "undo", do_undo, { "[]", "-", 3 } },
};
static const struct state before = { "[1,2]", "-", 3 };

static bool content_is(const char *name, const char *want)
{
	struct store_attr a;
	struct text t;
	bool same;
	int err = store_lookup(s, STORE_ROOT, name, &a);

	if (err == -ENOENT || *want == '-')
		return err == -ENOENT && *want == '-';
	cr_assert_eq(err, 0, "lookup of %s: %d", name, err);
	t = read_version(s, a.ino, 0, &err);
	cr_assert_eq(err, 0, "reading %s: %d", name, err);
	same = t.size == strlen(want) && !memcmp(t.data, want, t.size);
	text_free(t);
	return same;
}

static bool state_is(const struct state *want)
{
	static char bytes[200000];
	struct store_attr a;
	size_t size = 0;
	int err = store_lookup(s, STORE_ROOT, "scratch", &a);

	if (!err) {
		cr_assert_eq(store_read(s, a.ino, 0, bytes, sizeof(bytes), &size), 0);
		cr_assert(!size || !memcmp(bytes, size == 3 ? "old" : "nnn", 3));
	}
	return size == want->scratch && content_is("a.json", want->a) && content_is("b.json", want->b);
}

static const struct {
	enum fault fault;
	unsigned count;
	const char *name;
} faults[] = {
	{ FAULT_EIO, 1, "EIO" }, { FAULT_ENOSPC, 1, "ENOSPC" }, { FAULT_SHORT, 1, "a short write" }, { FAULT_EIO, 3, "three times EIO" },
	{ FAULT_ENOSPC, 5, "five times ENOSPC" },
};

/* Whether the fault was reached. */
static bool try_fault(const struct entry_point *p, size_t fault, unsigned at, unsigned delay)
{
	char *dir = dir_make(), where[200];
	bool done, hit;
	int err;

	fault_skip_sync(dir);
	prepare(dir, delay);
	snprintf(where, sizeof(where), "%s, %s at call %u%s", p->name, faults[fault].name, at, delay ? ", delayed" : "");
	fault_arm(dir, faults[fault].fault, at, faults[fault].count);
	err = p->run();
	if (!err && delay)
		err = store_sync(s);
	hit = fault_disarm() >= at;
	cr_assert(err == 0 || err == -EIO || err == -ENOSPC, "%s: %d", where, err);
	cr_assert(hit || !err, "%s: %d, though nothing failed", where, err);
	done = state_is(&p->after);
	cr_assert(done || state_is(&before), "%s: neither before nor after", where);
	cr_assert(err || done, "%s: done, it says, but it is not", where);
	/* It goes on. */
	err = save_as("c.json", "[7]", 0);
	cr_assert_eq(err, 0, "%s: then a save: %d", where, err);
	cr_assert_eq(store_sync(s), 0, "%s", where);
	cr_assert(content_is("c.json", "[7]"), "%s", where);
	cr_assert(state_is(done ? &p->after : &before), "%s: changed afterwards", where);
	must_close(s);
	s = must_open(dir, 0);
	cr_assert(content_is("c.json", "[7]"), "%s, opened again", where);
	cr_assert(state_is(done ? &p->after : &before), "%s: another state when opened again", where);
	must_close(s);
	fault_skip_sync(NULL);
	dir_remove(dir);
	return hit;
}

Test(errors, every_call_of_every_entry_point)
{
	for (unsigned way = 0; way < 4; way++) {
		bool direct = way & 1;	/* past the page cache the journal needs one call instead of two */

		fault_direct(direct);
		for (size_t p = 0; p < sizeof(entry_points) / sizeof(entry_points[0]); p++) {
			for (size_t f = 0; f < sizeof(faults) / sizeof(faults[0]); f++) {
				unsigned at = 1;

				while (try_fault(&entry_points[p], f, at, way & 2 ? 5 : 0))
					at++;
				cr_assert_gt(at, direct ? 1 : 2, "%s: only %u calls", entry_points[p].name, at - 1);
			}
		}
	}
	fault_direct(true);
}

/* While the disk is broken every save says so, and reads are served; then all is as before. */
Test(errors, a_disk_that_is_broken_for_a_while)
{
	static const enum fault kinds[] = { FAULT_EIO, FAULT_ENOSPC, FAULT_SHORT };

	for (size_t k = 0; k < 3; k++) {
		char *dir = dir_make(), name[32];
		struct store_stats stats;
		struct store_attr a;
		uint64_t numbers[5];
		int shown = 0;

		fault_skip_sync(dir);
		prepare(dir, 0);
		for (int i = 0; i < 5; i++)
			cr_assert_eq(store_new_ino(s, &numbers[i]), 0);
		for (int i = 0; i < 5; i++) {
			int err;

			fault_arm(dir, kinds[k], 1, UINT32_MAX);
			for (int j = 0; j < 3; j++) {
				err = do_append();
				cr_assert(err == -EIO || err == -ENOSPC, "kind %zu: %d", k, err);
			}
			/* Seen by others at once, small as it is; on disk later. */
			snprintf(name, sizeof(name), "small %d", i);
			err = store_create(s, STORE_ROOT, name, numbers[i], S_IFREG | 0600, 0, 0, NULL, &a);
			cr_assert(err == 0 || err == -EIO, "kind %zu: create: %d", k, err);
			cr_assert(err || store_sync(s) != 0, "kind %zu: on disk, it says", k);
			fault_disarm();
			cr_assert_eq(store_lookup(s, STORE_ROOT, name, &a), err ? -ENOENT : 0);
			shown += !err;
			cr_assert(content_is("a.json", "[1,2]"), "kind %zu: the last good version has gone", k);
			cr_assert_eq(store_sync(s), 0);
		}
		cr_assert_eq(do_append(), 0);
		cr_assert_eq(store_drain(s), 0);
		cr_assert_eq(store_stats(s, false, &stats), 0);
		cr_assert_eq(stats.pending_bytes, 0);
		must_close(s);
		s = must_open(dir, 0);
		cr_assert(content_is("a.json", "[1,2,3]"));
		for (int i = 0; i < 5; i++) {
			snprintf(name, sizeof(name), "small %d", i);
			shown -= store_lookup(s, STORE_ROOT, name, &a) == 0;
		}
		cr_assert_eq(shown, 0, "kind %zu: what was shown is not on disk", k);
		must_close(s);
		fault_skip_sync(NULL);
		dir_remove(dir);
	}
}
