/* Small tables of what was told: what is removed, and sizes. What each says at its bounds. */
#include <criterion/criterion.h>

#include <stdio.h>

#include "bound.h"
#include "gone.h"
#include "looked.h"
#include "shown.h"

#define GONE_MAX 4096
#define SLOTS 1024	/* of shown.c */
#define WAYS 4
#define DEPTH 256
#define OF_THREAD 64
#define THREADS 256	/* of looked.c */

/* The oldest goes; removed again, a file is the newest, and nothing goes for it. */
Test(remembered, removed)
{
	struct gone *g;
	struct store_attr a;

	cr_assert_eq(gone_new(&g), 0);
	for (uint64_t ino = 1; ino <= GONE_MAX; ino++)
		gone_note(g, &(struct store_attr){ .ino = ino, .parent = 1, .size = ino });
	gone_note(g, &(struct store_attr){ .ino = 1, .parent = 1, .size = 1 });
	cr_assert_eq(bound_count(BOUND_GONE), 0);
	for (uint64_t ino = 1; ino <= GONE_MAX; ino++) {
		cr_assert(gone_get(g, ino, &a), "file %lu", (unsigned long)ino);
		cr_assert_eq(a.size, ino);
		cr_assert_eq(a.parent, 0);
	}
	for (uint64_t more = 1; more <= 2; more++) {
		gone_note(g, &(struct store_attr){ .ino = GONE_MAX + more, .parent = 1 });
		cr_assert_eq(bound_count(BOUND_GONE), more);
		for (uint64_t ino = 1; ino <= GONE_MAX + more; ino++)
			cr_assert_eq(gone_get(g, ino, &a), ino == 1 || ino > 1 + more, "file %lu, %lu beyond the bound", (unsigned long)ino, (unsigned long)more);
	}
	gone_forget(g, 100);
	gone_note(g, &(struct store_attr){ .ino = GONE_MAX + 3, .parent = 1 });
	cr_assert_eq(bound_count(BOUND_GONE), 2, "the kernel had let one go: there was room");
	cr_assert(gone_get(g, 4, &a));
	gone_free(g);
}

static struct process process_of(int number)
{
	return (struct process){ .tid = number, .tgid = number, .start = 1, .known = true };
}

/* A process was told the sizes of many files. Which slots a file may take is a matter of its number, so the first may go below the bound, but counted. */
Test(remembered, sizes_of_many_files)
{
	static const int counts[] = { 1, WAYS, SLOTS - 1, SLOTS, SLOTS + 1, 2 * SLOTS };

	for (size_t c = 0; c < sizeof(counts) / sizeof(*counts); c++) {
		uint64_t before = bound_count(BOUND_SIZES), known = 0, counted;
		struct process who = process_of(1000);
		struct shown *s;

		cr_assert_eq(shown_new(&s), 0);
		for (int ino = 1; ino <= counts[c]; ino++)
			shown_tell(s, &who, (uint64_t)ino, (uint64_t)ino + 10, 100);
		for (int ino = 1; ino <= counts[c]; ino++) {
			uint64_t version = shown_version(s, &who, (uint64_t)ino, 100, 0);

			cr_assert(!version || version == (uint64_t)ino + 10, "never that of another file");
			known += version != 0;
		}
		cr_assert_eq(shown_version(s, &who, (uint64_t)counts[c], 100, 0), (uint64_t)counts[c] + 10, "the newest");
		/* What was told longer ago than this many others is not about to be read. */
		counted = bound_count(BOUND_SIZES) - before;
		if (counts[c] <= SLOTS)
			cr_assert_eq(counted, (uint64_t)counts[c] - known, "%d files: each that went is counted", counts[c]);
		else
			cr_assert(counted && counted <= (uint64_t)counts[c] - known, "%d files: %lu are counted", counts[c], (unsigned long)counted);
		cr_assert(counts[c] > WAYS || known == (uint64_t)counts[c], "so few always have room");
		cr_assert_leq(known, SLOTS);
		shown_free(s);
	}
}

/* Many tasks, each a thread or all in one, have asked for the size of one file, each of another version, before they read. The oldest is not known then. */
Test(remembered, sizes_of_one_file)
{
	static const struct {
		int count, bound;
		bool threads;
	} cases[] = {
		{ DEPTH - 1, DEPTH, true }, { DEPTH, DEPTH, true }, { DEPTH + 1, DEPTH, true }, { DEPTH + 10, DEPTH, true },
		{ OF_THREAD - 1, OF_THREAD, false }, { OF_THREAD, OF_THREAD, false }, { OF_THREAD + 1, OF_THREAD, false }, { OF_THREAD + 10, OF_THREAD, false },
	};

	for (size_t c = 0; c < sizeof(cases) / sizeof(*cases); c++) {
		int count = cases[c].count, first = count > cases[c].bound ? count - cases[c].bound + 1 : 1;
		struct process who = process_of(1000);
		struct shown *s;

		cr_assert_eq(shown_new(&s), 0);
		for (int v = 1; v <= count; v++) {
			who.tid = cases[c].threads ? v : 1;
			shown_tell(s, &who, 7, (uint64_t)v, 1000 + (uint64_t)v);
		}
		who.tid = 2000;
		for (int v = 1; v <= count; v++) {
			uint64_t version = shown_version(s, &who, 7, 1000 + (uint64_t)v, 0);

			cr_assert_eq(version, (uint64_t)(v >= first ? v : count), "case %zu: who was told the size of version %d reads %lu", c, v,
				     (unsigned long)version);
		}
		shown_free(s);
	}
}

/* Threads whose numbers are this far apart share a place: of who was driven out nothing is known, and never another's. */
Test(remembered, names_of_threads)
{
	char name[STORE_NAME_MAX + 1], own[32];
	struct looked *l;
	uint64_t parent;

	cr_assert_eq(looked_new(&l), 0);
	for (pid_t tid = 1; tid <= THREADS + 1; tid++) {
		snprintf(own, sizeof(own), "%d.json", (int)tid);
		looked_note(l, tid, 100, 1, own);
		cr_assert_eq(looked_stale(l, tid, 100, true), 1);
		if (tid != THREADS)
			continue;
		for (pid_t other = 1; other <= THREADS; other++) {
			snprintf(own, sizeof(own), "%d.json", (int)other);
			cr_assert(looked_name(l, other, 100, &parent, name));
			cr_assert_str_eq(name, own);
		}
	}
	cr_assert_not(looked_name(l, 1, 100, &parent, name));
	cr_assert_eq(looked_stale(l, 1, 100, true), 0);
	cr_assert_not(looked_again(l, 1, 1, "257.json"));
	cr_assert(looked_name(l, THREADS + 1, 100, &parent, name));
	cr_assert_str_eq(name, "257.json");
	cr_assert(looked_again(l, THREADS + 1, 1, "257.json"));
	cr_assert(looked_name(l, 2, 100, &parent, name));
	looked_free(l);
}

/* Only who looks twice in a row, by one name, and finds nothing both times is told that there is none. */
Test(remembered, gone_twice_in_a_row)
{
	struct looked *l;

	cr_assert_eq(looked_new(&l), 0);
	for (int i = 0; i < 3; i++) {
		looked_note(l, 7, 100 + i, 1, "a.json");
		cr_assert(!looked_gone(l, 7, 100 + i), "the first look, %d", i);
		looked_note(l, 7, 200 + i, 1, "a.json");
		looked_found(l, 7);
	}
	looked_note(l, 7, 300, 1, "a.json");
	cr_assert(!looked_gone(l, 7, 300));
	looked_note(l, 7, 300, 1, "a.json");
	cr_assert(looked_gone(l, 7, 300), "the second");
	cr_assert(!looked_gone(l, 7, 300), "that was told");
	looked_note(l, 7, 301, 1, "b.json");
	cr_assert(!looked_gone(l, 7, 301), "by another name");
	cr_assert(!looked_gone(l, 8, 301), "another thread");
	looked_free(l);
}
