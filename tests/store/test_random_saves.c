/*
 * Random writers of random documents; crowd.h tells what must hold. HISTORYFS_SEED=n repeats a run, HISTORYFS_SAVES=n makes it as long.
 * A failure is printed as a row for tests/data/interleavings.txt, without the steps that it does not need.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crowd.h"

#define SAVES 24000
#define DOCUMENTS 1500		/* of one store */

const struct kind kinds[KINDS] = {
	[ONE_PROCESS] = { "one process", true, true },
	[PROCESSES] = { "contending processes", true, true },
	[THREADS] = { "threads of one process", true, true },
	[LOOP_IN_TURN] = { "event loop, one coroutine at a time", true, true },
	[LOOP_TURN_STRAY] = { "event loop, one at a time, stray reads", false, false },
	[LOOP] = { "event loop, no left-over reads", false, false },
	[LOOP_STRAY] = { "event loop, stray reads", false, false },
	[MEMORY] = { "lists in memory", false, false },
	[MIXED] = { "all of them", false, false },
};

static struct actor actor_of(unsigned kind, unsigned i)
{
	switch (kind) {
	case ONE_PROCESS:
	case PROCESSES:
		return (struct actor){ .process = (char)('p' + i), .thread = 1 };
	case THREADS:
		return (struct actor){ .process = 'p', .thread = i + 1 };
	case LOOP_IN_TURN:
	case LOOP_TURN_STRAY:
	case LOOP:
	case LOOP_STRAY:
		return (struct actor){ .process = 'E' };
	case MEMORY:
		return (struct actor){ .process = (char)(i % 2 ? 'E' + i : 'p' + i), .thread = i % 2 ? 0 : 1, .memory = true };
	default:
		return i < 2 ? (struct actor){ .process = 'E' } : i < 4 ? (struct actor){ .process = 'p', .thread = i - 1 } :
		       (struct actor){ .process = i == 4 ? 'q' : 'r', .thread = 1, .memory = i == 5 };
	}
}

static void make_script(struct script *s, unsigned kind)
{
	*s = (struct script){ .kind = kind, .peers = kind == ONE_PROCESS ? 1 : kind == MIXED ? PEERS : 2 + (unsigned)random_below(PEERS - 1),
			      .equal_texts = random_chance(40), .count = 20 + random_below(ACTIONS - 20) };
	s->edits = (!s->equal_texts || kinds[kind].identity) && random_chance(80);
	for (unsigned i = 0; i < s->peers; i++)
		s->actors[i] = actor_of(kind, i);
	for (size_t i = 0; i < s->count; i++)
		s->actions[i] = (struct action){ (unsigned)random_below(PEERS * 10), (unsigned)random_below(100), (unsigned)random_below(10000),
						 (unsigned)random_below(10000), (unsigned)random_below(10000) };
}

/* Leaves out what the failure does not need. */
static void shrink(struct script *s)
{
	for (size_t piece = s->count / 2; piece; piece /= 2) {
		for (size_t at = 0; at + piece <= s->count;) {
			struct script shorter = *s;

			memmove(&shorter.actions[at], &shorter.actions[at + piece], (s->count - at - piece) * sizeof(s->actions[0]));
			shorter.count -= piece;
			if (crowd_play(&shorter, NULL))
				at += piece;
			else
				*s = shorter;
		}
	}
}

static void add(struct tally *to, const struct tally *t)
{
	to->saves += t->saves;
	to->merged += t->merged;
	to->edits += t->edits;
	to->kept += t->kept;
	to->back += t->back;
	to->joined += t->joined;
	to->lost += t->lost;
}

static double percent_kept(const struct tally *t)
{
	return t->edits ? 100.0 * (double)t->kept / (double)t->edits : 0;
}

static void report(const struct tally *tallies)
{
	printf("%-38s %9s %9s %8s %8s %13s %9s %9s\n", "", "saves", "merged", "edits", "not done", "", "came back", "joined");
	for (size_t i = 0; i < KINDS; i++) {
		const struct tally *t = &tallies[i];

		printf("%-38s %9lu %9lu %8lu %8lu %11.2f %% %9lu %9lu\n", kinds[i].name, (unsigned long)t->saves, (unsigned long)t->merged,
		       (unsigned long)t->edits, (unsigned long)t->kept, percent_kept(t), (unsigned long)t->back,
		       (unsigned long)t->joined);
	}
	fflush(stdout);
}

/* Of the scripts of distinct texts. */
static void compare(const struct tally *here, const struct tally *as_written)
{
	printf("\nThe same scripts by the merge rules as they are written down:\n%-38s %18s %18s %9s\n", "", "not done: here", "as written", "and lost");
	for (size_t i = 0; i < KINDS; i++)
		printf("%-38s %16.2f %% %16.2f %% %9lu\n", kinds[i].name, percent_kept(&here[i]), percent_kept(&as_written[i]), (unsigned long)as_written[i].lost);
	fflush(stdout);
}

static void fail(struct script *s)
{
	char why[256];

	snprintf(why, sizeof(why), "%s", crowd_why());
	shrink(s);
	printf("%s: %s; the least that fails:\n? | %s | all |", kinds[s->kind].name, why, kinds[s->kind].name);
	crowd_play(s, stdout);
	printf(" | %s\n", crowd_why());
	fflush(stdout);
	cr_assert_fail("%s: %s", kinds[s->kind].name, why);
}

Test(random, saves_of_all_kinds_of_writers, .timeout = 3600)
{
	static struct tally tallies[KINDS], distinct[KINDS], as_written[KINDS];
	static struct script s;
	const char *wanted = getenv("HISTORYFS_SAVES");
	uint64_t saves = wanted ? strtoull(wanted, NULL, 0) : SAVES, done = 0;

	random_seed("random");
	while (done < saves) {
		char *dir = dir_make();
		struct store *store = must_open(dir, 60000);

		crowd_begin(store);
		for (unsigned n = 0; n < DOCUMENTS && done < saves; n++) {
			make_script(&s, n % KINDS);
			if (!crowd_play(&s, NULL))
				fail(&s);
			add(&tallies[s.kind], crowd_tally());
			done += crowd_tally()->saves;
			if (s.equal_texts)
				continue;
			add(&distinct[s.kind], crowd_tally());
			s.as_written = true;
			crowd_play(&s, NULL);
			add(&as_written[s.kind], crowd_tally());
		}
		crowd_end();
		must_close(store);
		dir_remove(dir);
	}
	report(tallies);
	compare(distinct, as_written);
}
