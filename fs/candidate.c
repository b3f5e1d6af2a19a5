#include "candidate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bound.h"

#define SECOND UINT64_C(1000000000)
#define PIPE_BEFORE SECOND	/* the parts of a pipeline are started one after another, on a busy machine with some time between */
#define PIPE_AFTER (10 * SECOND)
#define ANCESTORS_MAX 16

_Static_assert(SEEN_WRITING <= TICKETS_WRITING, "all that is remembered can be told");

void candidates_clear(struct seen *s, struct ticket_set *set)
{
	for (size_t i = 0; i < set->count; i++)
		own_unref(s, set->candidates[i].own);
	set->count = 0;
}

static bool same_base(const struct store_base *a, const struct store_base *b)
{
	return a->ino == b->ino && a->version == b->version && a->oldest == b->oldest && a->own_count == b->own_count &&
	       ((a->flags ^ b->flags) & STORE_BASE_LATER) == 0 &&
	       (a->own_count == 0 || memcmp(a->own, b->own, a->own_count * sizeof *a->own) == 0);
}

static int grow(struct ticket_set *set)
{
	size_t capacity = set->capacity ? set->capacity * 2 : 4;
	struct candidate *candidates = realloc(set->candidates, capacity * sizeof *candidates);
	if (!candidates)
		return -ENOMEM;
	set->candidates = candidates;
	struct store_base *bases = realloc(set->bases, capacity * sizeof *bases);
	if (!bases)
		return -ENOMEM;
	set->bases = bases;
	set->capacity = capacity;
	return 0;
}

static int add(struct ticket_set *set, const struct entry *e, unsigned flags, uint64_t order, int of, const struct client *c)
{
	struct candidate x = {
		.base = { .ino = e->ino, .version = e->version, .oldest = e->oldest, .own = e->own ? e->own->versions + e->own_from : NULL,
			  .own_count = e->own_count, .flags = flags, .order = order },
		.own = e->own, .own_from = e->own_from, .written = e->written, .of = of, .who = c->who, .first = e->first,
	};

	x.base.flags |= e->written ? STORE_BASE_WRITTEN : STORE_BASE_SHOWN;
	for (size_t i = 0; i < set->count; i++) {
		struct candidate *y = &set->candidates[i];
		if (!same_base(&y->base, &x.base))
			continue;
		/*
		 * What is used up with it: a ticket, not the document; of several the newest, for the older ones are all that sets
		 * frozen before it can see.
		 */
		if (x.of == y->of && !x.written && (y->written || x.first > y->first)) {
			y->written = x.written;
			y->first = x.first;
		}
		y->base.flags |= x.base.flags;
		y->base.order = y->base.order > order ? y->base.order : order;
		return 0;
	}
	if (set->count == set->capacity && grow(set) < 0)
		return -ENOMEM;
	if (x.own)
		x.own->refs++;
	set->candidates[set->count++] = x;
	return 0;
}

bool candidate_of_thread(const struct ticket_set *set, const struct entry *e)
{
	return e->thread == set->who.tid && set->who.tid > 0;
}

/* The newest stamp of a ticket that is older than `before`. */
static uint64_t order_before(const struct entry *e, uint64_t before)
{
	return e->last < before ? e->last : e->first;
}

static bool is_copied(const struct ticket_set *set, const struct entry *e)
{
	return set->copied_ino && e->ino == set->copied_ino && e->version == set->copied_version;
}

/* What a thread that goes step by step has saved between writing a temp file and renaming it: the rename comes after that. NULL: nothing. */
static const struct entry *saved_between(const struct ticket_set *set, const struct record *r)
{
	const struct entry *ret = NULL;

	for (size_t i = 0; set->renamed && !set->events && i < r->count; i++) {
		const struct entry *e = &r->entries[i];

		if (e->written && !e->ended && !e->unlinked && e->first >= set->freeze.stamp && e->thread == set->who.tid)
			ret = e;
	}
	return ret;
}

/* Rules 3 and 4. *ret_alone: the thread's own tickets go first, and tickets of parents don't count. */
static int add_own(struct ticket_set *set, const struct record *r, bool *ret_alone)
{
	uint64_t frozen = set->freeze.stamp, newest = 0;
	const struct entry *between = saved_between(set, r);
	int ret = 0;

	if (between) {
		*ret_alone = true;
		return add(set, between, STORE_BASE_THREAD, between->first, OF_PROCESS, set->client);
	}
	for (size_t i = 0; i < r->count; i++) {
		const struct entry *e = &r->entries[i];
		if (!e->written && !e->ended && e->first < frozen && candidate_of_thread(set, e) && !is_copied(set, e) &&
		    order_before(e, frozen) > newest)
			newest = order_before(e, frozen);
	}
	bool alone = !set->events && newest;
	for (size_t i = 0; i < r->count && ret == 0; i++) {
		const struct entry *e = &r->entries[i];
		/* `open temp, write, unlink target, rename`: it is a new document. */
		if (e->unlinked)
			continue;
		if (e->written) {
			bool later = e->first >= frozen;
			bool live = (!e->ended || e->ended > frozen) && (!alone || e->first > newest);
			if (later ? !alone : live)
				ret = add(set, e, later ? STORE_BASE_LATER : 0, e->first, OF_PROCESS, set->client);
		} else if (!e->ended && e->first < frozen && (!alone || (candidate_of_thread(set, e) && order_before(e, frozen) >= newest))) {
			/* With nothing else that it has read, what the process wrote itself is as good. */
			bool own = candidate_of_thread(set, e) && (alone || !is_copied(set, e));
			ret = add(set, e, own ? STORE_BASE_THREAD : 0, order_before(e, frozen), OF_PROCESS, set->client);
		}
	}
	*ret_alone = alone;
	return ret;
}

bool candidates_reread(const struct ticket_set *set, const struct record *r, struct ticket_reread *ret)
{
	const struct entry *last = NULL, *before = NULL;
	uint64_t frozen = set->freeze.stamp;

	for (size_t i = 0; r && i < r->count; i++) {
		const struct entry *e = &r->entries[i];
		if (!e->written && !e->ended && e->first < frozen && candidate_of_thread(set, e) && (!last || e->first > last->first))
			last = e;
	}
	for (size_t i = 0; last && i < r->count; i++) {
		const struct entry *e = &r->entries[i];
		if (e != last && !e->ended && (e->written || candidate_of_thread(set, e)) && e->last < last->first &&
		    (!before || e->last > before->last))
			before = e;
	}
	/* Read twice it was read for more than the copy. */
	if (!before || last->count != 1 || !last->version)
		return false;
	*ret = (struct ticket_reread){ .ino = last->ino, .version = last->version };
	for (size_t i = 0; i < SEEN_WRITING; i++)
		if (set->client->writing[i].at > before->last && set->client->writing[i].ino != last->ino)
			ret->opened[ret->count++] = set->client->writing[i].ino;
	return ret->count > 0;
}

/* Rule 1: what the parent could have saved from at the moment of the fork; a clock tick is as near as that moment is known. */
static int add_inherited(const struct seen *s, uint64_t tick, struct ticket_set *set, uint64_t parent, const char *name)
{
	const struct client *c;
	int ret = 0, n = 0;

	for (c = set->client; c->parent && n < ANCESTORS_MAX; c = c->parent, n++) {
		const struct record *r = record_find(s, c->parent, parent, name);
		uint64_t from = c->forked * tick, to = from + tick, newest = 0;
		/* Some of what ended since the fork is not remembered. */
		set->unseen |= c->parent->forgot >= from || (r && r->forgot >= from);
		for (size_t i = 0; r && i < r->count; i++) {
			const struct entry *e = &r->entries[i];
			if (e->first < to && (!e->ended || e->ended >= from) && !e->written && order_before(e, to) > newest)
				newest = order_before(e, to);
		}
		for (size_t i = 0; r && i < r->count && ret == 0; i++) {
			const struct entry *e = &r->entries[i];
			/* Step by step the parent, too, had what it read last. */
			if (!set->events && !e->written && order_before(e, to) != newest)
				continue;
			if (e->first < to && (!e->ended || e->ended >= from))
				ret = add(set, e, 0, order_before(e, to), OF_PARENT, c->parent);
		}
		if (r && r->alone && r->alone < from)
			return ret;
	}
	if (c->parent) {
		bound_met(BOUND_ANCESTORS);
		set->unseen = true;
	}
	return ret;
}

/* How near a process is to the one that saves, in its pipeline. */
static int nearness(const struct client *saver, const struct client *c)
{
	/* A child: the program that was started with its output in the file may be a script around another. */
	if (c == saver || c->above == saver->who.tgid)
		return 3;
	return saver->above > 0 && c->above == saver->above ? 2 : 1;
}

/*
 * Whether a neighbour was started together with the saver and reads since, as the parts of a pipeline do (`jq ... f | sponge f`). Who
 * writes without a rename, has read nothing and is no part of one is blind: `cat f; cp backup f` restores.
 */
static bool reads_beside(uint64_t tick, const struct client *saver, const struct client *c, const struct entry *e)
{
	uint64_t start = saver->who.start * tick, other = c->who.start * tick;

	return start < other + PIPE_BEFORE && other < start + PIPE_BEFORE && e->first <= start + PIPE_AFTER && process_piped(&saver->who);
}

/*
 * Rule 8, for who has no candidate: the unused tickets of the process itself, though it read after it had opened the file
 * (`jq ... f > t`); else of those with the same parent, piped from, else of all in the process group, and without a rename only what these read
 * when the saver was started. All of the nearest, not the newest only: in a script's group that may be another pipeline's, and the store finds the one that explains the document.
 * Who knows only that there was none when it looked may be a part of a pipeline, too.
 */
static int add_of_group(const struct seen *s, uint64_t tick, struct ticket_set *set, uint64_t parent, const char *name, bool rename)
{
	struct client *c;
	size_t own = set->count;	/* that there is no document */
	int ret = 0;

	for (int near = 3; near > 0 && set->count == own && set->client->group > 0; near--) {
		for (c = NULL; ret == 0 && (c = client_of_group(s, set->client->group, c));) {
			const struct record *r = nearness(set->client, c) == near ? record_find(s, c, parent, name) : NULL;

			for (size_t i = 0; r && i < r->count && ret == 0; i++) {
				const struct entry *e = &r->entries[i];
				if (!e->ended && !e->written && ((!own && (near == 3 || rename)) || (near == 2 && reads_beside(tick, set->client, c, e))))
					ret = add(set, e, own ? STORE_BASE_THREAD : 0, e->last, OF_GROUP, c);
			}
		}
	}
	/* The document tells; where it does not, nothing was read. */
	for (size_t i = 0; set->count > own && i < own; i++)
		set->candidates[i].base.order = UINT64_MAX;
	return ret;
}

/* At most that there is no such document: another part of the pipeline may have read one before. */
static bool knows_nothing(const struct ticket_set *set)
{
	for (size_t i = 0; i < set->count; i++) {
		if (set->candidates[i].written || set->candidates[i].base.version)
			return false;
	}
	return true;
}

static int newer_first(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	return (x->base.order < y->base.order) - (x->base.order > y->base.order);
}

/* What its process has saved since, by another thread or descriptor, it did not know: it knew nothing then, and removes nothing of that. */
static int add_absent(struct ticket_set *set)
{
	for (size_t i = 0; i < set->count; i++) {
		if (!(set->candidates[i].base.flags & STORE_BASE_LATER))
			return 0;
	}
	return set->count ? add(set, &(struct entry){ 0 }, 0, 0, OF_PROCESS, set->client) : 0;
}

int candidates_find(struct seen *s, uint64_t tick, struct ticket_set *set, uint64_t parent, const char *name, bool pipeline)
{
	const struct record *own = record_find(s, set->client, parent, name);
	bool alone = false;
	int r = 0;

	candidates_clear(s, set);
	set->unseen = set->client->forgot != 0;
	if (own)
		r = add_own(set, own, &alone);
	/* Step by step its thread's last read is what counts; else what is left may be another's base. */
	if (r == 0 && !alone && seen_forgot(s, set->client, parent, name)) {
		candidates_clear(s, set);
		set->unseen = true;
		return 0;
	}
	if (r == 0 && !alone && !(own && own->alone))
		r = add_inherited(s, tick, set, parent, name);
	if (r == 0 && knows_nothing(set))
		r = add_of_group(s, tick, set, parent, name, pipeline);
	if (r == 0)
		r = add_absent(set);
	set->unseen &= set->count == 0;
	if (r < 0)
		candidates_clear(s, set);
	else if (set->count > 1)
		qsort(set->candidates, set->count, sizeof *set->candidates, newer_first);
	return r;
}

void candidates_weigh(const struct seen *s, struct ticket_set *set, uint64_t parent, const char *name)
{
	const struct record *r = record_find(s, set->client, parent, name);
	uint64_t opened = set->freeze.stamp;
	struct verdict v;

	set->moment = reads_moment(r && r->manner ? &r->manner->reads : NULL, opened, set->who.tid);
	if (!s->weighs || set->count < 2 || !set->moment.known ||
	    !habit_trusts(&r->manner->habit, set->client->habit, &r->manner->reads, &set->moment, opened, &v))
		return;
	for (size_t i = 0; i < set->count; i++) {
		struct candidate *c = &set->candidates[i];

		if (c->of == OF_PROCESS && !(c->base.flags & STORE_BASE_LATER) && c->base.version != set->moment.newest.version &&
		    verdict_excludes(&v, &r->manner->reads, c->base.order))
			c->base.flags |= STORE_BASE_UNLIKELY;
	}
}
