/*
 * What was found: run again alone, made shorter as long as it fails, told, and counted by families:
 * what fails for one reason, numbers and names apart. Of a family only some are made shorter, and of
 * these only those are told in full whose calls are others.
 */
#include "ops.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRIES 3			/* what depends on how long things take may not fail each time */
#define SHORTENED_EACH 6	/* of a family */

static const char *plural(unsigned n)
{
	return n == 1 ? "" : "s";
}

/* ---- Families -------------------------------------------------------------------------------- */

/* The first line, without what is quoted and paths of a sequence; numbers but 0 are one. */
static void reason_of(const char *why, char *buf, size_t size)
{
	size_t n = 0, path;

	while (*why && *why != '\n' && n + 2 < size) {
		if (isdigit((unsigned char)*why)) {
			bool zero = *why == '0' && !isdigit((unsigned char)why[1]) &&
				    (n < 5 || memcmp(buf + n - 5, "call ", 5) != 0);

			buf[n++] = zero ? '0' : '#';
			while (isdigit((unsigned char)*why))
				why++;
		} else if (*why == 's' && (path = 1 + strspn(why + 1, "0123456789")) > 1 &&
			   why[path] == '/') {
			buf[n++] = '*';
			why += strcspn(why, ": \n");
		} else if (*why == '"') {
			buf[n++] = '"';
			for (why++; *why && *why != '"'; why++)
				;
			why += *why == '"';
		} else {
			buf[n++] = *why++;
		}
	}
	buf[n] = 0;
}

/* Counts it. NULL: too many families. *ret_number: which one of it this is, from 1 on. */
static struct family *count_finding(uint64_t number, const char *why, unsigned *ret_number)
{
	char reason[REASON_MAX];
	struct family *f = run->families;

	reason_of(why, reason, sizeof(reason));
	pthread_mutex_lock(&run->lock);
	run->found++;
	while (f < run->families + FAMILIES && f->count && strcmp(f->reason, reason) != 0)
		f++;
	if (f == run->families + FAMILIES) {
		f = NULL;
		*ret_number = 0;
	} else {
		if (!f->count) {
			strcpy(f->reason, reason);
			f->first = number;
		}
		*ret_number = ++f->count;
	}
	pthread_mutex_unlock(&run->lock);
	return f;
}

/* Whether the family has one of those calls; then *ret is it, else they are noted. */
static bool is_known(struct family *f, const struct sequence *s, uint64_t *ret)
{
	uint64_t calls = 0xcbf29ce484222325u;
	bool known = false;

	for (unsigned i = 0; i < s->count; i++)
		calls = (calls ^ s->ops[i].what) * 0x100000001b3u;
	pthread_mutex_lock(&run->lock);
	for (unsigned i = 0; i < f->told && !known; i++) {
		known = f->calls[i] == calls;
		*ret = f->numbers[i];
	}
	if (!known && f->told < TOLD_MAX) {
		f->calls[f->told] = calls;
		f->numbers[f->told++] = s->number;
	}
	pthread_mutex_unlock(&run->lock);
	return known;
}

static int by_count(const void *a, const void *b)
{
	const struct family *x = a, *y = b;

	return (y->count > x->count) - (y->count < x->count);
}

void tell_families(void)
{
	qsort(run->families, FAMILIES, sizeof(*run->families), by_count);
	for (unsigned i = 0; i < FAMILIES && run->families[i].count; i++)
		printf("%6u  %s (sequence %llu)\n", run->families[i].count, run->families[i].reason,
		       (unsigned long long)run->families[i].first);
}

/* ---- Replays --------------------------------------------------------------------------------- */

/* For replays. */
static void new_world(struct world *w, uint64_t number)
{
	if (!world_make(w, options_of(number))) {
		fprintf(stderr, "fuzz_ops: no mount\n");
		exit(77);
	}
}

/* Alone, on a store of its own, with all that a batch looks at. */
static bool fails_once(const struct sequence *s, struct outcome *out)
{
	struct world w;
	char why[1000];

	new_world(&w, s->number);
	run_sequence(&w, s, out);
	if (!out->failed && !world_verify(&w, why, sizeof(why)))
		fail(out, "verify: %s", why);
	if (!out->failed && world_sync(&w) && world_remount(&w)) {
		if (!same_tree(&w, s, out->tree, why, sizeof(why)))
			fail(out, "%s", why);
		if (!out->failed && !world_verify(&w, why, sizeof(why)))
			fail(out, "verify after the daemon was killed: %s", why);
	}
	world_end(&w);
	free(out->tree);
	out->tree = NULL;
	return out->failed;
}

static bool fails(const struct sequence *s, int tries, struct outcome *out)
{
	while (tries-- > 0) {
		if (fails_once(s, out))
			return true;
	}
	return false;
}

/* Leaves calls out, halves of them at first, as long as it fails. */
static void shorten(struct sequence *s, struct outcome *out)
{
	for (unsigned part = s->count / 2; part; part = part > 1 ? part / 2 : 0) {
		for (unsigned at = 0; at < s->count;) {
			struct sequence less = *s;
			struct outcome o;
			unsigned n = part < s->count - at ? part : s->count - at;

			memmove(less.ops + at, less.ops + at + n,
				(s->count - at - n) * sizeof(*less.ops));
			less.count -= n;
			if (less.count && fails(&less, 2, &o)) {
				*s = less;
				*out = o;
			} else {
				at += part;
			}
		}
	}
}

/* ---- Telling --------------------------------------------------------------------------------- */

static void begin_telling(void)
{
	pthread_mutex_lock(&run->lock);
}

static void end_telling(void)
{
	fflush(stdout);
	pthread_mutex_unlock(&run->lock);
}

static void tell_found(uint64_t number, const char *why)
{
	printf("FOUND in sequence %llu of seed %llu, options \"%s\": %s\n",
	       (unsigned long long)number, (unsigned long long)run->seed, options_of(number), why);
}

static void tell_again(const struct family *f, unsigned n, uint64_t number)
{
	begin_telling();
	printf("FOUND in sequence %llu of seed %llu: again (%u time%s) %s\n",
	       (unsigned long long)number, (unsigned long long)run->seed, n, plural(n),
	       f ? f->reason : "something else");
	end_telling();
}

void report(const struct sequence *as_made, const char *why)
{
	struct sequence s = *as_made;
	struct outcome out = { .failed = false };
	bool alone;
	unsigned n;
	struct family *f = count_finding(s.number, why, &n);
	uint64_t like;

	if (!f || n > SHORTENED_EACH) {
		tell_again(f, n, s.number);
		return;
	}
	alone = fails(&s, TRIES, &out);
	if (alone)
		shorten(&s, &out);
	if (alone && is_known(f, &s, &like)) {
		begin_telling();
		printf("FOUND in sequence %llu of seed %llu: the same calls as in sequence %llu\n",
		       (unsigned long long)s.number, (unsigned long long)run->seed,
		       (unsigned long long)like);
		end_telling();
		return;
	}
	begin_telling();
	tell_found(s.number, why);
	printf(alone ? "Shortened: %s\n" : "It does not happen again alone.\n", out.why);
	tell_sequence(&s, alone ? out.results : NULL);
	end_telling();
}

void report_batch(uint64_t first, unsigned count, const char *why)
{
	unsigned n;

	count_finding(first, why, &n);
	begin_telling();
	printf("FOUND in sequences %llu to %llu of seed %llu, options \"%s\", and in none alone: "
	       "%s\n",
	       (unsigned long long)first, (unsigned long long)(first + count - 1),
	       (unsigned long long)run->seed, options_of(first), why);
	end_telling();
}

/* Whether they damage a store of their own. */
static bool damages(uint64_t first, unsigned count)
{
	char why[1000];
	bool whole = true;
	struct world w;

	new_world(&w, first);
	for (unsigned i = 0; i < count && world_alive(&w); i++) {
		struct sequence s;
		struct outcome out;

		make_sequence(run->seed, first + i, &s);
		run_sequence(&w, &s, &out);
		free(out.tree);
		if (out.failed)
			world_new_actors(&w);
	}
	whole = world_verify(&w, why, sizeof(why)) && world_sync(&w) && world_remount(&w) &&
		world_verify(&w, why, sizeof(why));
	world_end(&w);
	return !whole;
}

void find_damage(uint64_t first, unsigned count, const char *why)
{
	uint64_t at = first;
	unsigned n = count;
	struct sequence s;

	while (n > 1) {
		unsigned half = n / 2;

		if (damages(at, half)) {
			n = half;
		} else if (damages(at + half, n - half)) {
			at += half;
			n -= half;
		} else {
			report_batch(first, count, why);
			return;
		}
	}
	make_sequence(run->seed, at, &s);
	report(&s, why);
}
