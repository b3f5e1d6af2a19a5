/*
 * What a process has shown so far, and what that rules out (rule 15). Each row is a script of reads and saves:
 *
 *	r T V	thread T reads version V		s T	thread T opens, and saves for certain from what was read last
 *	d	a save may have gone on from something else	+N	N microseconds pass
 *	?	the file of the save at hand is opened: which of the reads before may be meant
 *
 * What is expected: the reads that are left, by their versions, the newest read among them; "all" when nothing is ruled out.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "belief/evidence.h"

struct row {
	const char *name, *before;
	unsigned times;		/* how often `before` is played */
	const char *script, *left;
};

static const struct row rows[] = {
	{ "a tight process, then an edit beside a read of long ago", "r1v +300 s1 +20000", 5, "r1a +90000 r1b +300 ?", "b" },
	{ "a read that is as young may be another task's", "r1v +300 s1 +20000", 5, "r1a +1000 r1b +300 ?", "ab" },
	{ "two saves say too little", "r1v +300 s1 +20000", 3, "r1a +90000 r1b +300 ?", "all" },
	{ "a doubt ends the trust", "r1v +300 s1 +20000", 5, "d r1a +90000 r1b +300 ?", "all" },
	{ "and it comes back", "r1v +300 s1 +20000", 5, "d r1a +300 s1 +20000 r1a +300 s1 +20000 r1a +300 s1 +20000 r1a +300 s1 +20000 r1a +300 s1 +20000 r1a +90000 r1b +300 ?", "b" },
	{ "a read after each save is accounted for", "r1v +300 s1 r1v +20000", 8, "r1b +300 ?", "b" },
	{ "who waited long before this save may be another", "r1v +300 s1 +20000", 5, "r1a +90000 r1b +9000 ?", "all" },
	{ "without a read since the save before", "r1v +300 s1 +20000", 5, "?", "all" },
	{ "a holder's older read may be its neighbour's", "r1v +100000 s1 +900000", 8, "r1a r1a +50000 r1b +100000 ?", "all" },
	{ "but not one of much longer ago", "r1v +100000 s1 +9000000", 8, "r1a +5000000 r1b +100000 ?", "b" },
	{ "a read just before says nothing where there are reads all the time", "r1v r2v +5000 r2v +5000 r2v +5000 r2v +5000 s1 r2v +5000 r2v +5000", 8,
	  "r1a +90000 r2b +5000 ?", "all" },
	{ "another thread's read is none of a process that saves what the thread has read", "r1v +300 s1 +20000 r2v +300 s2 +20000", 10,
	  "r1a +90000 r2b +300 ?", "all" },
	{ "a read right after a save: tasks take turns at a lock", "r1v +300 s1 +20000 r2v +300 s2 +20000", 8,
	  "r1a r1v +300 s1 +90000 r1v +300 s1 r1b +300 ?", "all" },
	{ "reads that no save has used yet", "r2v r1v +100000 s1 +9000 r1v +100000 s1 +9000 r1v +100000 s1 +9000", 4, "r1a +90000 r1b +100000 ?", "all" },
	{ "a crowd is nothing that quiet times tell of", "r1v +300 s1 +20000", 5, "r1a +13000 r1b r1b r1b r1b +300 ?", "all" },
	{ "who keeps its list elsewhere", "r1v +300 s1 +20000 s1 +20000", 5, "r1a +90000 r1b +300 ?", "all" },
};

struct play {
	struct reads reads;
	struct habit habit;
	uint64_t now, at[64];
	char version[64];
	unsigned count;
};

static void save(struct play *p, pid_t thread)
{
	struct moment m = reads_moment(&p->reads, ++p->now, thread);

	habit_confirm(&p->habit, &m);
	reads_saved(&p->reads, ++p->now, false);
}

static void ask(struct play *p, char *out)
{
	struct moment m = reads_moment(&p->reads, ++p->now, 1);
	struct verdict v;
	unsigned n = 0;

	strcpy(out, "all");
	if (!habit_trusts(&p->habit, NULL, &p->reads, &m, p->now, &v))
		return;
	for (unsigned i = 0; i < p->count; i++) {
		if (p->version[i] != 'v' && (p->version[i] == (char)m.newest.version || !verdict_excludes(&v, &p->reads, p->at[i])))
			out[n++] = p->version[i];
	}
	out[n] = 0;
}

static void play(struct play *p, const char *script, char *out)
{
	for (const char *c = script; *c; c++) {
		unsigned thread = c[0] && c[1] ? (unsigned)(c[1] - '0') : 0, us;

		if (*c == 'r') {
			p->version[p->count % 64] = c[2];
			p->at[p->count++ % 64] = ++p->now;
			reads_note(&p->reads, p->now, (pid_t)thread, 1, (uint64_t)(unsigned char)c[2]);
		} else if (*c == 's') {
			save(p, (pid_t)thread);
		} else if (*c == 'd') {
			habit_doubt(&p->habit);
		} else if (*c == '+' && sscanf(c + 1, "%u", &us) == 1) {
			p->now += us * UINT64_C(1000);
		} else if (*c == '?') {
			ask(p, out);
		}
	}
}

Test(evidence, rows)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		const struct row *row = &rows[i];
		struct play p = { .now = 1000 };
		char out[65] = "";

		for (unsigned n = 0; n < row->times; n++)
			play(&p, row->before, out);
		p.count = 0;
		play(&p, row->script, out);
		cr_expect_str_eq(out, row->left, "%s: %s is left, not %s", row->name, out, row->left);
	}
}

/* The newest read before a file was opened is known as long as it is one of those that are kept. */
Test(evidence, reads_kept)
{
	for (unsigned later = READS_KEPT - 1; later <= READS_KEPT; later++) {
		struct reads r = { 0 };

		reads_note(&r, 10, 1, 1, 7);
		for (unsigned i = 0; i < later; i++)
			reads_note(&r, 100 + i, 1, 1, 8);
		struct moment m = reads_moment(&r, 50, 1);
		cr_assert_eq(m.known, later < READS_KEPT, "with %u reads after it", later);
		if (m.known)
			cr_assert_eq(m.newest.version, 7);
	}
}

/* A process that held what it read for long, and does so no more: its long waits count until they are not kept any more. */
Test(evidence, saves_kept)
{
	for (unsigned tight = SAVES_KEPT - 1; tight <= SAVES_KEPT; tight++) {
		struct play p = { .now = 1000 };
		char out[65] = "";

		for (unsigned n = 0; n < SAVES_KEPT; n++)
			play(&p, "r1v +100000 s1 +900000", out);
		for (unsigned n = 0; n < tight; n++)
			play(&p, "r1v +300 s1 +20000", out);
		cr_assert_geq(p.habit.count, SAVES_KEPT, "full it stays full");
		p.count = 0;
		play(&p, "r1a +90000 r1b +300 ?", out);
		cr_expect_str_eq(out, tight < SAVES_KEPT ? "ab" : "b", "after %u tight saves: %s", tight, out);
	}
}
