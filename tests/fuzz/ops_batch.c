/*
 * A batch of sequences on one store: each is run and looked at (ops_check.c), after each thousand
 * `historyctl verify` looks at the records, and at the end the daemon is killed, mounted again, and
 * everything looked at once more. What was found is told when the batch is over (ops_found.c); the
 * others go on, in a new world when this one is damaged.
 */
#include "ops.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VERIFY_EACH 1000

/*
 * With power=save threads of the daemon don't stay awake for the next request, which costs other
 * workers their processor.
 */
static const char *const options[] = { "", "delayed=20,power=save", "allow_other,power=save",
				       "merge=edit,power=save" };

struct batch {
	struct world world;
	uint64_t first;
	unsigned count;
	unsigned verified_to;
	char *trees[BATCH];
	char *failures[BATCH];		/* why, malloced; NULL: it did not fail */
	bool damaged;			/* the store: nothing more can be learnt of it */
	char damage[1000];
};

const char *options_of(uint64_t number)
{
	return options[number / BATCH % (sizeof(options) / sizeof(*options))];
}

static void note_failure(struct batch *b, unsigned i, const char *why)
{
	if (!b->failures[i])
		b->failures[i] = strdup(why);
}

static bool verify(struct batch *b)
{
	run->verified++;
	if (world_verify(&b->world, b->damage, sizeof(b->damage)))
		return true;
	b->damaged = true;
	return false;
}

/* Runs them until something is wrong with the store, or the daemon; b->count: so many were run. */
static void run_all(struct batch *b)
{
	unsigned count = b->count;

	for (b->count = 0; b->count < count && !run->stop; b->count++) {
		unsigned i = b->count;
		struct sequence s;
		struct outcome out;

		make_sequence(run->seed, b->first + i, &s);
		run_sequence(&b->world, &s, &out);
		b->trees[i] = out.tree;
		run->sequences++;
		run->calls += out.calls;
		if (out.failed) {
			note_failure(b, i, out.why);
			b->damaged = out.stuck || !world_alive(&b->world);
			world_new_actors(&b->world);
		}
		if (!b->damaged && i + 1 - b->verified_to == VERIFY_EACH && verify(b))
			b->verified_to = i + 1;
		if (b->damaged) {
			b->count++;
			return;
		}
	}
}

static void survive(struct batch *b)
{
	char why[1000];

	if (!world_sync(&b->world) || !world_remount(&b->world)) {
		report_batch(b->first, b->count, "it can't be mounted again");
		return;
	}
	run->kills++;
	b->verified_to = 0;
	for (unsigned i = 0; i < b->count; i++) {
		struct sequence s;

		make_sequence(run->seed, b->first + i, &s);
		if (!b->failures[i] && !same_tree(&b->world, &s, b->trees[i], why, sizeof(why)))
			note_failure(b, i, why);
	}
	if (!verify(b))
		return;
	if (!world_unmount(&b->world))
		report_batch(b->first, b->count, "the daemon does not end cleanly");
}

static unsigned run_part(uint64_t first, unsigned count)
{
	static struct batch b;

	b = (struct batch){ .first = first, .count = count };
	if (!world_make(&b.world, options_of(first))) {
		fprintf(stderr, "fuzz_ops: %s can't be mounted\n", historyfs);
		world_end(&b.world);
		exit(77);
	}
	run_all(&b);
	if (!b.damaged && !run->stop)
		survive(&b);
	world_end(&b.world);
	for (unsigned i = 0; i < b.count; i++) {
		struct sequence s;

		if (b.failures[i] && !run_is_over()) {
			make_sequence(run->seed, first + i, &s);
			report(&s, b.failures[i]);
		}
		free(b.failures[i]);
		free(b.trees[i]);
	}
	if (*b.damage && !run_is_over())
		find_damage(first + b.verified_to, b.count - b.verified_to, b.damage);
	return b.count;
}

void run_batch(uint64_t first, unsigned count)
{
	for (unsigned at = 0; at < count && !run_is_over();)
		at += run_part(first + at, count - at);
}
