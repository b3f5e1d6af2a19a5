/*
 * The rules over what seen.h keeps: which entries are candidates of a save, and which of them it ends.
 */
#include "ticket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "seen.h"

#define TTL_S 3600
#define EXITED_S 600
#define MAX_BYTES (8u << 20)
#define SECOND UINT64_C(1000000000)
#define PIPE_BEFORE SECOND	/* the parts of a pipeline are started one after another, on a busy machine with some time between */
#define PIPE_AFTER (10 * SECOND)
#define ANCESTORS_MAX 16

struct tickets {
	struct seen seen;
	uint64_t tick;		/* nanoseconds of a clock tick, the unit of process start times */
};

struct candidate {
	struct store_base base;
	struct own *own;	/* base.own is a slice of it */
	uint32_t own_from;
	bool written;
	enum { OF_PROCESS, OF_PARENT, OF_GROUP } of;
	struct process who;	/* OF_GROUP: whose ticket it is */
	uint64_t first;		/* its entry */
};

struct ticket_set {
	struct tickets *tickets;
	struct client *client;
	struct process who;
	bool events;
	struct freeze freeze;
	uint64_t looked;	/* when the kernel looked the name up to create it; 0: it did not */
	pid_t looker;		/* the thread that it was for */
	struct candidate *candidates;
	struct store_base *bases;
	size_t count, capacity;
};

int tickets_new(struct processes *processes, unsigned ttl, size_t max_bytes, struct tickets **ret)
{
	struct tickets *t = calloc(1, sizeof *t);
	if (!t)
		return -ENOMEM;

	uint64_t seconds = ttl ? ttl : TTL_S;
	seen_init(&t->seen, processes, seconds * SECOND, (seconds < EXITED_S ? seconds : EXITED_S) * SECOND,
		  max_bytes ? max_bytes : MAX_BYTES);
	t->tick = SECOND / (uint64_t)sysconf(_SC_CLK_TCK);
	*ret = t;
	return 0;
}

void tickets_free(struct tickets *t)
{
	if (!t)
		return;
	seen_release(&t->seen);
	free(t);
}

/* The thread's newest unused ticket. */
static struct entry *newest_of_thread(struct record *r, const struct process *who)
{
	struct entry *e = NULL;

	for (size_t i = 0; r && i < r->count; i++) {
		struct entry *x = &r->entries[i];
		if (!x->ended && !x->written && x->thread == who->tid && (!e || x->first > e->first))
			e = x;
	}
	return e;
}

static int show(struct seen *s, const struct process *who, uint64_t parent, const char *name, uint64_t ino, uint64_t version)
{
	struct client *c = client_get(s, who);
	struct record *r = c ? seen_get(s, c, parent, name) : NULL;

	if (!r)
		return -ENOMEM;
	struct entry *e = newest_of_thread(r, who);
	if (e && e->ino == ino && e->version == version) {
		e->last = s->now;
		e->count += e->count < SEEN_COUNT_MAX;
		return 0;
	}
	return record_append(s, r, &(struct entry){ .ino = ino, .version = version, .first = s->now, .last = s->now,
						    .thread = who->tid, .count = 1 });
}

void tickets_shown(struct tickets *t, const struct process *who, uint64_t parent, const char *name, uint64_t ino, uint64_t version)
{
	int r = -ENOMEM;

	/* Without memory the first unlock gives some back. */
	for (int i = 0; i < 2 && r < 0; i++) {
		seen_lock(&t->seen);
		r = show(&t->seen, who, parent, name, ino, version);
		seen_unlock(&t->seen);
	}
}

/* A set is frozen now: what has an earlier stamp is older. Sets of a process stay in that order. */
static void freeze(struct seen *s, struct ticket_set *set)
{
	set->freeze.stamp = s->now;
	list_append(&set->client->frozen, &set->freeze.of_client);
}

int tickets_freeze(struct tickets *t, const struct process *who, struct ticket_set **ret)
{
	struct ticket_set *set = calloc(1, sizeof *set);
	if (!set)
		return -ENOMEM;

	set->tickets = t;
	set->who = *who;
	set->events = processes_events(t->seen.processes, who);
	list_init(&set->freeze.of_client);
	seen_lock(&t->seen);
	set->client = client_get(&t->seen, who);
	if (set->client) {
		set->client->refs++;
		freeze(&t->seen, set);
	}
	seen_unlock(&t->seen);
	if (!set->client) {
		free(set);
		return -ENOMEM;
	}
	*ret = set;
	return 0;
}

void tickets_created(struct tickets *t, struct ticket_set *set, const struct process *who, uint64_t parent, const char *name)
{
	struct seen *s = &t->seen;

	seen_lock(s);
	if (client_find(s, who) == set->client) {
		const struct entry *e = newest_of_thread(record_find(s, set->client, parent, name), who);
		set->looked = e ? e->last : 0;
		set->looker = who->tid;
	}
	seen_unlock(s);
}

static void clear_candidates(struct seen *s, struct ticket_set *set)
{
	for (size_t i = 0; i < set->count; i++)
		own_unref(s, set->candidates[i].own);
	set->count = 0;
}

void ticket_set_free(struct ticket_set *set)
{
	if (!set)
		return;
	struct seen *s = &set->tickets->seen;
	seen_lock(s);
	clear_candidates(s, set);
	list_remove(&set->freeze.of_client);
	set->client->refs--;
	seen_unlock(s);
	free(set->candidates);
	free(set->bases);
	free(set);
}

bool ticket_set_events(const struct ticket_set *set)
{
	return set->events;
}

const struct process *ticket_set_process(const struct ticket_set *set)
{
	return &set->who;
}

/* ---- Candidates ---------------------------------------------------------------------------------------------- */

static bool same_base(const struct store_base *a, const struct store_base *b)
{
	return a->ino == b->ino && a->version == b->version && a->own_count == b->own_count &&
	       ((a->flags ^ b->flags) & STORE_BASE_LATER) == 0 &&
	       (a->own_count == 0 || memcmp(a->own, b->own, a->own_count * sizeof *a->own) == 0);
}

static int grow_candidates(struct ticket_set *set)
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

static int add_candidate(struct ticket_set *set, const struct entry *e, unsigned flags, uint64_t order, int of, const struct client *c)
{
	struct candidate x = {
		.base = { .ino = e->ino, .version = e->version, .own = e->own ? e->own->versions + e->own_from : NULL,
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
	if (set->count == set->capacity && grow_candidates(set) < 0)
		return -ENOMEM;
	if (x.own)
		x.own->refs++;
	set->candidates[set->count++] = x;
	return 0;
}

static bool is_own(const struct ticket_set *set, const struct entry *e)
{
	return e->thread == set->who.tid && set->who.tid > 0;
}

/* The newest stamp of a ticket that is older than `before`. */
static uint64_t order_before(const struct entry *e, uint64_t before)
{
	return e->last < before ? e->last : e->first;
}

/* Rules 3 and 4. *ret_alone: the thread's own tickets go first, and tickets of parents don't count. */
static int add_own(struct ticket_set *set, const struct record *r, bool *ret_alone)
{
	uint64_t frozen = set->freeze.stamp, newest = 0;
	int ret = 0;

	for (size_t i = 0; i < r->count; i++) {
		const struct entry *e = &r->entries[i];
		if (!e->written && !e->ended && e->first < frozen && is_own(set, e) && order_before(e, frozen) > newest)
			newest = order_before(e, frozen);
	}
	bool alone = !set->events && newest;
	for (size_t i = 0; i < r->count && ret == 0; i++) {
		const struct entry *e = &r->entries[i];
		if (e->written) {
			bool later = e->first >= frozen;
			bool live = (!e->ended || e->ended > frozen) && (!alone || e->first > newest);
			if (later ? !alone : live)
				ret = add_candidate(set, e, later ? STORE_BASE_LATER : 0, e->first, OF_PROCESS, set->client);
		} else if (!e->ended && e->first < frozen && (!alone || (is_own(set, e) && order_before(e, frozen) == newest))) {
			ret = add_candidate(set, e, is_own(set, e) ? STORE_BASE_THREAD : 0, order_before(e, frozen), OF_PROCESS, set->client);
		}
	}
	*ret_alone = alone;
	return ret;
}

/* Rule 1: what the parent could have saved from at the moment of the fork; a clock tick is as near as that moment is known. */
static int add_inherited(struct tickets *t, struct ticket_set *set, uint64_t parent, const char *name)
{
	int ret = 0, n = 0;

	for (const struct client *c = set->client; c->parent && n < ANCESTORS_MAX; c = c->parent, n++) {
		const struct record *r = record_find(&t->seen, c->parent, parent, name);
		uint64_t from = c->forked * t->tick, to = from + t->tick, newest = 0;
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
				ret = add_candidate(set, e, 0, order_before(e, to), OF_PARENT, c->parent);
		}
		if (r && r->alone && r->alone < from)
			break;
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
static bool reads_beside(const struct tickets *t, const struct client *saver, const struct client *c, const struct entry *e)
{
	uint64_t start = saver->who.start * t->tick, other = c->who.start * t->tick;

	return start < other + PIPE_BEFORE && other < start + PIPE_BEFORE && e->first <= start + PIPE_AFTER && process_piped(&saver->who);
}

/*
 * Rule 8, for who has no candidate: the unused tickets of the process itself, though it read after it had opened the file
 * (`jq ... f > t`); else of those with the same parent, piped from, else of all in the process group, and without a rename only what these read
 * when the saver was started. All of the nearest, not the newest only: in a script's group that may be another pipeline's, and the store finds the one that explains the document.
 */
static int add_of_group(struct tickets *t, struct ticket_set *set, uint64_t parent, const char *name, bool rename)
{
	struct client *c;
	int ret = 0;

	for (int near = 3; near > 0 && set->count == 0 && set->client->group > 0; near--) {
		for (c = NULL; ret == 0 && (c = client_of_group(&t->seen, set->client->group, c));) {
			const struct record *r = nearness(set->client, c) == near ? record_find(&t->seen, c, parent, name) : NULL;

			for (size_t i = 0; r && i < r->count && ret == 0; i++) {
				const struct entry *e = &r->entries[i];
				if (!e->ended && !e->written && (near == 3 || rename || (near == 2 && reads_beside(t, set->client, c, e))))
					ret = add_candidate(set, e, 0, e->last, OF_GROUP, c);
			}
		}
	}
	return ret;
}

static int newer_first(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	return (x->base.order < y->base.order) - (x->base.order > y->base.order);
}

int tickets_bases(struct tickets *t, struct ticket_set *set, uint64_t parent, const char *name, bool pipeline,
		  const struct store_base **ret, size_t *ret_count)
{
	bool alone = false;
	int r = 0;

	seen_lock(&t->seen);
	clear_candidates(&t->seen, set);
	const struct record *own = record_find(&t->seen, set->client, parent, name);
	if (own)
		r = add_own(set, own, &alone);
	if (r == 0 && !alone && !(own && own->alone))
		r = add_inherited(t, set, parent, name);
	if (r == 0 && set->count == 0)
		r = add_of_group(t, set, parent, name, pipeline);
	if (r < 0)
		clear_candidates(&t->seen, set);
	seen_unlock(&t->seen);
	if (r < 0)
		return r;

	if (set->count > 1)
		qsort(set->candidates, set->count, sizeof *set->candidates, newer_first);
	for (size_t i = 0; i < set->count; i++)
		set->bases[i] = set->candidates[i].base;
	*ret = set->bases;
	*ret_count = set->count;
	return 0;
}

/* ---- After a save -------------------------------------------------------------------------------------------- */

static void use_up(struct seen *s, struct record *r, uint64_t first)
{
	struct entry *e = entry_find(r, first);

	if (e && !e->written && --e->count == 0)
		e->ended = s->now;
}

/*
 * A save uses up one ticket, and the look-up that its file was created with, which is no read of its own. When that is the very ticket, another
 * for the same version is used up in its place.
 */
static void use_up_shown(struct seen *s, const struct ticket_set *set, struct record *r, uint64_t first)
{
	struct entry *look = NULL, *other = NULL;

	for (size_t i = 0; set->looked && i < r->count; i++) {
		struct entry *e = &r->entries[i];
		if (!e->ended && !e->written && e->thread == set->looker && e->first <= set->looked && e->last >= set->looked)
			look = e;
	}
	if (look)
		use_up(s, r, look->first);
	if (!look || look->first != first || !look->ended) {
		use_up(s, r, first);
		return;
	}
	for (size_t i = 0; i < r->count; i++) {
		struct entry *e = &r->entries[i];
		if (!e->ended && !e->written && e->ino == look->ino && e->version == look->version && e->first < set->freeze.stamp &&
		    (!other || e->first > other->first))
			other = e;
	}
	if (other)
		use_up(s, r, other->first);
}

static void use_up_chosen(struct seen *s, const struct ticket_set *set, struct record *r, const struct candidate *c)
{
	if (c->of == OF_PROCESS)
		use_up_shown(s, set, r, c->first);
	else if (c->of == OF_PARENT)
		r->alone = s->now;
	else
		use_up(s, record_find(s, client_find(s, &c->who), r->parent, r->name), c->first);
}

/* Rule 4: the saving thread's tickets of before the freeze have ended. What it was shown since is for its next save. */
static void end_thread(struct seen *s, struct ticket_set *set, struct record *r)
{
	for (size_t i = 0; i < r->count; i++) {
		struct entry *e = &r->entries[i];
		if (e->written || e->ended || !is_own(set, e) || e->first >= set->freeze.stamp)
			continue;
		if (e->last > set->freeze.stamp) {
			e->first = e->last;
			e->count = 1;
		} else {
			e->ended = s->now;
		}
	}
}

/*
 * The document as it was written, as an entry that has a reference to its own versions. What is not said to have been in it
 * others' saves may have brought, and a later save from it must not remove that.
 */
static int written_entry(struct seen *s, const struct candidate *chosen, const struct store_save *save, struct entry *ret)
{
	bool same = save->version == save->previous;
	bool comparable = chosen && chosen->base.ino == save->saved_ino;
	struct entry e = { .ino = save->saved_ino, .version = save->version, .first = s->now, .last = s->now, .written = true };

	if (chosen && !(save->flags & STORE_SAVE_REPLACE) && (comparable ? chosen->base.version : 0) < save->previous) {
		e.version = 0;
		if (comparable) {
			e.version = chosen->base.version;
			e.own = chosen->own;
			e.own_from = chosen->own_from;
			e.own_count = (uint32_t)chosen->base.own_count;
		}
		if (!same && entry_append_own(s, &e, save->version) < 0)
			return -ENOMEM;
		if (same && e.own)
			e.own->refs++;
		while (e.own_count && e.own->versions[e.own_from] == e.version + 1) {
			e.version++;
			e.own_from++;
			e.own_count--;
		}
		if (!e.own_count) {
			own_unref(s, e.own);
			e.own = NULL;
		}
	}
	*ret = e;
	return 0;
}

static void set_written(struct seen *s, const struct ticket_set *set, struct record *r, const struct candidate *chosen,
			const struct store_save *save)
{
	struct entry e;
	uint64_t last = 0;

	for (size_t i = 0; i < r->count; i++)
		if (r->entries[i].written && !r->entries[i].ended)
			last = r->entries[i].first;
	if (save->version == save->previous && last >= set->freeze.stamp)
		return;
	/* Out of memory the document before stays the last one: from an older base nothing is lost. */
	if (written_entry(s, chosen, save, &e) < 0)
		return;
	if (record_append(s, r, &e) == 0) {
		/* One committed since this save's handle was opened may hold more than this: both count until the next. */
		for (size_t i = 0; i < r->count; i++) {
			struct entry *before = &r->entries[i];
			if (before->written && !before->ended && before->first < set->freeze.stamp)
				before->ended = s->now;
		}
	}
	own_unref(s, e.own);
}

void tickets_saved(struct tickets *t, struct ticket_set *set, uint64_t parent, const char *name, const struct store_save *save)
{
	struct seen *s = &t->seen;

	seen_lock(s);
	const struct candidate *chosen = save->base >= 0 && (size_t)save->base < set->count ? &set->candidates[save->base] : NULL;
	struct record *r = seen_get(s, set->client, parent, name);
	if (r) {
		/* When it may have been another it is still to come, and must not remove what it had not seen. */
		if (chosen && !(save->result & (STORE_SAVED_UNCERTAIN | STORE_SAVED_DOUBT)))
			use_up_chosen(s, set, r, chosen);
		if (!set->events) {
			end_thread(s, set, r);
			if (set->who.tid == set->who.tgid)
				r->alone = s->now;
		}
		if (save->version)
			set_written(s, set, r, chosen, save);
	}
	clear_candidates(s, set);
	set->looked = 0;
	/* After what was just written. */
	s->now++;
	freeze(s, set);
	seen_unlock(s);
}

void tickets_appended(struct tickets *t, const struct process *who, uint64_t parent, const char *name, const struct store_save *save)
{
	const struct store_base *bases;
	struct ticket_set *set;
	size_t count = 0;

	/* Without memory its own lines may come twice, but none is lost. */
	if (tickets_freeze(t, who, &set) < 0)
		return;
	if (!tickets_bases(t, set, parent, name, false, &bases, &count) && count) {
		seen_lock(&t->seen);
		struct record *r = seen_get(&t->seen, set->client, parent, name);
		if (r && !set->events)
			end_thread(&t->seen, set, r);
		if (r)
			set_written(&t->seen, set, r, &set->candidates[0], save);
		seen_unlock(&t->seen);
	}
	ticket_set_free(set);
}

/* ---- Names --------------------------------------------------------------------------------------------------- */

static void end_all(struct seen *s, struct record *r)
{
	for (size_t i = 0; i < r->count; i++)
		if (!r->entries[i].ended)
			r->entries[i].ended = s->now;
	r->alone = s->now;
}

void tickets_unlinked(struct tickets *t, const struct process *who, uint64_t parent, const char *name)
{
	struct seen *s = &t->seen;

	seen_lock(s);
	struct client *c = client_get(s, who);
	/* Without a record there is nothing to end but what came from parents. */
	struct record *r = c && c->parent ? seen_get(s, c, parent, name) : record_find(s, c, parent, name);
	if (r)
		end_all(s, r);
	seen_unlock(s);
}

void tickets_renamed(struct tickets *t, const struct process *who, uint64_t parent, const char *name,
		     uint64_t new_parent, const char *new_name)
{
	struct seen *s = &t->seen;

	seen_lock(s);
	struct client *c = client_get(s, who);
	const struct record *from = record_find(s, c, parent, name);
	struct record *to = from ? seen_get(s, c, new_parent, new_name) : record_find(s, c, new_parent, new_name);
	if (to && to != from) {
		end_all(s, to);
		/* Stamps stay: a set frozen before the rename has them as candidates. */
		for (size_t i = 0; from && i < from->count; i++)
			if (!from->entries[i].ended)
				record_append(s, to, &from->entries[i]);
	}
	seen_unlock(s);
}

void tickets_count(struct tickets *t, uint64_t *ret_tickets, uint64_t *ret_processes, uint64_t *ret_bytes)
{
	struct seen *s = &t->seen;
	uint64_t n = 0;

	seen_lock(s);
	for (int i = 0; i < 2; i++)
		for (const struct list *l = s->used[i].next; l != &s->used[i]; l = l->next) {
			const struct record *r = CONTAINER(l, const struct record, used);
			for (size_t j = 0; j < r->count; j++)
				n += !r->entries[j].ended;
		}
	*ret_tickets = n;
	*ret_processes = s->clients.count;
	*ret_bytes = s->bytes;
	seen_unlock(s);
}
