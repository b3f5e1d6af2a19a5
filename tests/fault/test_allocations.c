/*
 * The store when runs of allocations fail, from any point on: each call returns 0 or -ENOMEM, what
 * it acknowledged is there, and when memory is back it goes on. The same over a daemon:
 * tests/mount/test_starved.py. STARVE_ROUNDS=N: so many runs.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "starve.h"
#include "support.h"

#define MESSAGES 40
#define STEPS 8

static const unsigned lengths[] = { 1, 4, 7, 12, 20, 50 };

static struct starve starve;

static unsigned rounds(void)
{
	const char *text = getenv("STARVE_ROUNDS");

	return text && *text ? (unsigned)strtoul(text, NULL, 10) : 120;
}

static void begin(uint64_t first, uint64_t count)
{
	atomic_store(&starve.calls, 0);
	atomic_store(&starve.failed, 0);
	atomic_store(&starve.first, first);
	atomic_store(&starve.count, count);
	starve_thread(&starve);
}

/* How many failed. */
static uint64_t end(void)
{
	starve_thread(NULL);
	return atomic_load(&starve.failed);
}

static struct text add(struct text t, unsigned number)
{
	return text_format("%.*s, {\"content\": \"message %u\"}]", (int)t.size - 1, t.data, number);
}

static bool holds(struct text t, unsigned number)
{
	char wanted[64];

	snprintf(wanted, sizeof(wanted), "\"message %u\"", number);
	return memmem(t.data, t.size, wanted, strlen(wanted)) != NULL;
}

static void play(struct store *s, unsigned number, uint64_t first, uint64_t count, bool told[STEPS])
{
	struct store_attr a;
	struct text seen = read_name(s, "s.json");

	cr_assert_eq(store_lookup(s, STORE_ROOT, "s.json", &a), 0);
	begin(first, count);
	/* All from the same version: they merge. */
	for (unsigned i = 0; i < STEPS; i++) {
		char name[32];
		int err;

		starve_thread(NULL);
		snprintf(name, sizeof(name), "f%u-%u", number, i);
		struct store_base base = base_at(a.ino, a.version);
		struct text t = add(seen, number * STEPS + i);
		struct store_save save = { .parent = STORE_ROOT, .name = "s.json", .tail = t.data,
					  .tail_size = t.size, .bases = &base,
					   .base_count = 1, .mode = 0600 };

		starve_thread(&starve);
		err = store_save(s, &save);
		cr_assert(!err || err == -ENOMEM, "save: %d", err);
		told[i] = !err;
		err = store_create(s, STORE_ROOT, name, 0, 0100600, 0, 0, NULL, NULL);
		cr_assert(!err || err == -ENOMEM, "create: %d", err);
		if (!err) {
			err = store_unlink(s, STORE_ROOT, name, false, NULL);
			cr_assert(!err || err == -ENOMEM, "unlink: %d", err);
		}
		if (i % 3 == 2) {
			err = i % 2 ? store_sync(s) : store_drain(s);
			cr_assert(!err || err == -ENOMEM, "sync: %d", err);
		}
	}
	end();
	text_free(seen);
}

Test(allocations, runs_of_failures)
{
	random_seed("allocations");
	EACH_MODE(delay) {
		char *dir = dir_make();
		struct store *s = must_open(dir, delay);
		struct text t = text_format("[{\"content\": \"message %u\"}]", 999999999);
		struct store_save save = save_text(s, "s.json", t, NULL, 0);
		unsigned met = 0;

		must_save(&save, "s.json");
		text_free(t);
		for (unsigned n = 0; n < rounds(); n++) {
			uint64_t first = 1 + random_below(400),
				count = lengths[random_below(sizeof(lengths) / sizeof(lengths[0]))];
			bool told[STEPS];

			play(s, n, first, count, told);
			met += atomic_load(&starve.failed) > 0;
			t = read_name(s, "s.json");
			cr_assert_not_null(t.data, "allocations %llu and %llu more: the session "
					   "can't be read", (unsigned long long)first,
					   (unsigned long long)count);
			for (unsigned i = 0; i < STEPS; i++)
				cr_assert(!told[i] || holds(t, n * STEPS + i),
					  "allocations %llu and %llu more: message %u is not there",
					  (unsigned long long)first, (unsigned long long)count,
						  n * STEPS + i);
			/* It stays small. */
			if (n % MESSAGES == MESSAGES - 1) {
				struct text fresh = text_format("[{\"content\": \"message %u\"}]",
								999999999);

				save = save_text(s, "s.json", fresh, NULL, STORE_SAVE_REPLACE);
				must_save(&save, "s.json");
				text_free(fresh);
			}
			text_free(t);
		}
		cr_assert_gt(met, rounds() / 3, "only %u runs met an allocation", met);
		must_close(s);
		dir_remove(dir);
	}
}

Test(allocations, opening)
{
	for (unsigned n = 0; n < rounds() / 2; n++) {
		char *dir = dir_make();
		struct store_options o = { .create = true };
		struct store *s = NULL;
		int err;

		if (n % 2)
			must_close(must_open(dir, 0));
		begin(1 + random_below(120),
		      lengths[random_below(sizeof(lengths) / sizeof(lengths[0]))]);
		err = store_open(dir, &o, &s);
		end();
		cr_assert(!err || err == -ENOMEM || err == -EAGAIN, "open: %d", err);
		store_close(s);
		must_close(must_open(dir, 0));
		dir_remove(dir);
	}
}
