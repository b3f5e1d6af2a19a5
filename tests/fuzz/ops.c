/*
 * Runs sequences in batches, each on a store of its own: some hundred, then `historyctl verify`; at the end the daemon is killed, mounted again, and
 * everything looked at once more. What fails is run again alone, and made shorter as long as it fails.
 *
 *	fuzz_ops HISTORYFS HISTORYCTL COUNT [SEED [FIRST]]
 *
 * FIRST: the first sequence's number. Exit status: 0, 1 when something was found, 77 when nothing could be mounted.
 */
#include "ops.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define BATCH 2000
#define VERIFY_EACH 400
#define TRIES 3			/* what depends on how long things take may not fail each time */
#define FOUND_MAX 8		/* enough to look at */

static const char *const options[] = { "", "delayed=20", "allow_other", "merge=edit" };

static uint64_t seed;
static unsigned long long sequences, calls, kills, verified;
static unsigned found;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- Replays --------------------------------------------------------------------------------------------------- */

/* Alone, on a store of its own, with all that a batch looks at. */
static bool fails_once(const struct sequence *s, const char *how, struct outcome *out)
{
	struct world w;
	char why[1000];

	if (!world_make(&w, how)) {
		fprintf(stderr, "fuzz_ops: no mount\n");
		exit(77);
	}
	run_sequence(&w, s, out);
	if (!out->failed && !world_verify(&w, why, sizeof(why)))
		fail(out, "verify: %s", why);
	if (!out->failed && world_remount(&w) && !world_verify(&w, why, sizeof(why)))
		fail(out, "verify after the daemon was killed: %s", why);
	world_end(&w);
	free(out->tree);
	out->tree = NULL;
	return out->failed;
}

static bool fails(const struct sequence *s, const char *how, int tries, struct outcome *out)
{
	while (tries-- > 0) {
		if (fails_once(s, how, out))
			return true;
	}
	return false;
}

/* Leaves calls out, halves of them at first, as long as it fails. */
static void shorten(struct sequence *s, const char *how, struct outcome *out)
{
	for (unsigned part = s->count / 2; part; part = part > 1 ? part / 2 : 0) {
		for (unsigned at = 0; at < s->count;) {
			struct sequence less = *s;
			struct outcome o;
			unsigned n = part < s->count - at ? part : s->count - at;

			memmove(less.ops + at, less.ops + at + n, (s->count - at - n) * sizeof(*less.ops));
			less.count -= n;
			if (less.count && fails(&less, how, 2, &o)) {
				*s = less;
				*out = o;
			} else {
				at += part;
			}
		}
	}
}

static void report(const struct sequence *as_made, const char *how, const char *first)
{
	struct sequence s = *as_made;
	struct outcome out = { .failed = false };

	found++;
	printf("FOUND in sequence %llu of seed %llu, options \"%s\": %s\n", (unsigned long long)s.number, (unsigned long long)seed, how, first);
	if (!fails(&s, how, TRIES, &out)) {
		printf("It does not happen again alone.\n");
		tell_sequence(&s, NULL);
		return;
	}
	shorten(&s, how, &out);
	printf("Shortened: %s\n", out.why);
	tell_sequence(&s, out.results);
}

/* ---- Batches --------------------------------------------------------------------------------------------------- */

struct batch {
	struct world world;
	const char *how;
	uint64_t first;
	unsigned count;
	char *trees[BATCH];
};

/* The records are damaged: which sequence does that? */
static void find_damage(const struct batch *b, unsigned from, unsigned to, const char *why)
{
	struct sequence s;
	struct outcome out;

	for (unsigned i = from; i < to; i++) {
		make_sequence(seed, b->first + i, &s);
		if (fails_once(&s, b->how, &out)) {
			report(&s, b->how, why);
			return;
		}
	}
	found++;
	printf("FOUND in sequences %llu to %llu of seed %llu, options \"%s\", and in none alone: %s\n", (unsigned long long)(b->first + from),
	       (unsigned long long)(b->first + to - 1), (unsigned long long)seed, b->how, why);
}

static bool verify(struct batch *b, unsigned from, unsigned to)
{
	char why[1000];

	verified++;
	if (world_verify(&b->world, why, sizeof(why)))
		return true;
	find_damage(b, from, to, why);
	return false;
}

static void survive(struct batch *b)
{
	struct sequence s;
	char why[1000];
	int fd = open(b->world.mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsync(fd) || close(fd) || !world_remount(&b->world)) {
		found++;
		printf("FOUND after sequence %llu of seed %llu: it can't be mounted again\n", (unsigned long long)(b->first + b->count), (unsigned long long)seed);
		return;
	}
	kills++;
	for (unsigned i = 0; i < b->count && found < FOUND_MAX; i++) {
		make_sequence(seed, b->first + i, &s);
		if (!same_tree(&b->world, &s, b->trees[i], why, sizeof(why))) {
			report(&s, b->how, why);
			return;
		}
	}
	if (!verify(b, 0, b->count))
		return;
	if (!world_unmount(&b->world)) {
		found++;
		printf("FOUND after sequence %llu of seed %llu: the daemon does not end cleanly\n", (unsigned long long)(b->first + b->count), (unsigned long long)seed);
	}
}

static void run_batch(uint64_t first, unsigned count)
{
	static struct batch b;
	struct sequence s;
	struct outcome out;
	unsigned verified_to = 0;
	bool good = true;

	b = (struct batch){ .first = first, .count = count, .how = options[first / BATCH % (sizeof(options) / sizeof(*options))] };
	if (!world_make(&b.world, b.how)) {
		fprintf(stderr, "fuzz_ops: %s can't be mounted\n", historyfs);
		world_end(&b.world);
		exit(77);
	}
	for (unsigned i = 0; i < count && good; i++) {
		make_sequence(seed, first + i, &s);
		run_sequence(&b.world, &s, &out);
		b.trees[i] = out.tree;
		sequences++;
		calls += out.calls;
		if (out.failed) {
			report(&s, b.how, out.why);
			/* Its actors and, maybe, its store have gone. */
			good = false;
			b.count = i + 1;
		} else if (i + 1 - verified_to == VERIFY_EACH) {
			good = verify(&b, verified_to, i + 1);
			verified_to = i + 1;
		}
	}
	if (good)
		survive(&b);
	world_end(&b.world);
	for (unsigned i = 0; i < b.count; i++)
		free(b.trees[i]);
}

int main(int argc, char **argv)
{
	unsigned long long count, first;
	struct timespec t;
	double began = now(), told = began;

	if (argc == 3 && strcmp(argv[1], "--actor") == 0)
		return actor_main(atoi(argv[2]));
	if (argc < 4 || argc > 6) {
		fprintf(stderr, "usage: fuzz_ops HISTORYFS HISTORYCTL COUNT [SEED [FIRST]]\n");
		return 2;
	}
	historyfs = argv[1];
	historyctl = argv[2];
	count = strtoull(argv[3], NULL, 0);
	clock_gettime(CLOCK_REALTIME, &t);
	seed = argc > 4 && *argv[4] ? strtoull(argv[4], NULL, 0) : (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
	first = argc > 5 ? strtoull(argv[5], NULL, 0) : 0;
	printf("seed %llu\n", (unsigned long long)seed);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	signal(SIGPIPE, SIG_IGN);
	if (seats_make()) {
		perror("fuzz_ops");
		return 77;
	}
	for (unsigned long long at = 0; at < count && found < FOUND_MAX;) {
		unsigned long long to = (first + at) / BATCH * BATCH + BATCH - (first + at);
		unsigned n = (unsigned)(to < count - at ? to : count - at);

		run_batch(first + at, n);
		at += n;
		if (now() - told > 60) {
			told = now();
			printf("%llu sequences\n", sequences);
			fflush(stdout);
		}
	}
	printf("%llu sequences, %llu calls, %llu kills of the daemon, %llu times verified in %.1f s: %u found\n", sequences, calls, kills, verified, now() - began, found);
	return found ? 1 : 0;
}
