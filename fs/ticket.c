/*
 * The rules over what seen.h keeps: what a read leaves, and which entries a save ends.
 */
#include "ticket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "candidate.h"

#define TTL_S 3600
#define EXITED_S 600
#define MAX_BYTES (8u << 20)
#define SECOND UINT64_C(1000000000)
#define WRITTEN_MAX 32		/* own documents of a process under one name that no save has gone on from */
#define TRIES 50	/* of what must not fail for want of memory, in a tenth of a second */

struct tickets {
	struct seen seen;
	uint64_t tick;		/* nanoseconds of a clock tick, the unit of process start times */
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

void tickets_weigh(struct tickets *t)
{
	t->seen.weighs = true;
}

void tickets_clock(struct tickets *t, uint64_t (*clock)(void *arg), void *arg)
{
	t->seen.clock = clock;
	t->seen.clock_arg = arg;
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
	if (r->manner && version)
		reads_note(&r->manner->reads, s->now, who->tid, ino, version);
	/* Away by another name it may come back; the store finds out whether what is saved goes on from it. */
	if (e && ino && !version && e->ino == ino && e->version && !processes_events(s->processes, who))
		return 0;
	if (e && e->ino == ino && e->version == version) {
		e->last = s->now;
		e->count += e->count < UINT32_MAX;
		return 0;
	}
	return record_append(s, r, &(struct entry){ .ino = ino, .version = version, .first = s->now, .last = s->now,
						    .thread = who->tid, .count = 1 });
}

/* Whether to try again, for the `n`th time, what there was no memory for: the unlock may have given some back, others will. */
static bool again(unsigned n)
{
	if (n >= 2)
		nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
	return n < TRIES;
}

int tickets_shown(struct tickets *t, const struct process *who, uint64_t parent, const char *name, uint64_t ino, uint64_t version)
{
	int r;

	for (unsigned n = 0;; n++) {
		seen_lock(&t->seen);
		r = show(&t->seen, who, parent, name, ino, version);
		seen_unlock(&t->seen);
		if (r != -ENOMEM || !again(n))
			return r;
	}
}

void tickets_forgot(struct tickets *t, const struct process *who)
{
	struct client *c;

	seen_lock(&t->seen);
	c = client_find(&t->seen, who);
	if (c)
		c->forgot = t->seen.now;
	seen_unlock(&t->seen);
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

void tickets_begin(struct ticket_set *set, const struct process *who)
{
	struct seen *s = &set->tickets->seen;

	if (who->tid <= 0 || who->tid != set->who.tid)
		return;
	seen_lock(s);
	list_remove(&set->freeze.of_client);
	freeze(s, set);
	seen_unlock(s);
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

void tickets_unlooked(struct tickets *t, const struct process *who, uint64_t parent, const char *name)
{
	struct seen *s = &t->seen;

	seen_lock(s);
	struct client *c = client_find(s, who);
	struct entry *e = c ? newest_of_thread(record_find(s, c, parent, name), who) : NULL;
	if (e && !e->version && --e->count == 0)
		e->ended = s->now;
	seen_unlock(s);
}

void ticket_set_free(struct ticket_set *set)
{
	if (!set)
		return;
	struct seen *s = &set->tickets->seen;
	seen_lock(s);
	candidates_clear(s, set);
	list_remove(&set->freeze.of_client);
	set->client->refs--;
	seen_unlock(s);
	free(set->candidates);
	free(set->bases);
	free(set);
}

void ticket_set_renamed(struct ticket_set *set, const struct process *who)
{
	set->renamed = who->tid == set->who.tid;
}

bool ticket_set_events(const struct ticket_set *set)
{
	return set->events;
}

const struct process *ticket_set_process(const struct ticket_set *set)
{
	return &set->who;
}

bool tickets_unseen(const struct ticket_set *set)
{
	return set->unseen;
}

pid_t ticket_set_above(const struct ticket_set *set)
{
	return set->client->above;
}

void tickets_writing(struct ticket_set *set, uint64_t ino)
{
	struct seen *s = &set->tickets->seen;

	seen_lock(s);
	unsigned next = set->client->next_writing++ % SEEN_WRITING;
	set->client->writing[next].ino = ino;
	set->client->writing[next].at = s->now;
	seen_unlock(s);
}

bool tickets_reread(struct tickets *t, const struct ticket_set *set, uint64_t parent, const char *name, struct ticket_reread *ret)
{
	if (set->events)
		return false;
	seen_lock(&t->seen);
	bool found = candidates_reread(set, record_find(&t->seen, set->client, parent, name), ret);
	seen_unlock(&t->seen);
	return found;
}

void tickets_copied(struct ticket_set *set, const struct ticket_reread *copied)
{
	set->copied_ino = copied->ino;
	set->copied_version = copied->version;
}

int tickets_bases(struct tickets *t, struct ticket_set *set, uint64_t parent, const char *name, bool pipeline,
		  const struct store_base **ret, size_t *ret_count)
{
	seen_lock(&t->seen);
	int r = candidates_find(&t->seen, t->tick, set, parent, name, pipeline);
	if (r == 0)
		candidates_weigh(&t->seen, set, parent, name);
	seen_unlock(&t->seen);
	if (r < 0)
		return r;

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

/*
 * Rule 4: the saving thread's tickets of before the freeze have ended. What it was shown since is for its
 * next save, unless it has renamed its temp file since; but not that there was no such document, as
 * `exists()` tells it between writing a temp file and renaming it, and the look-up of the rename itself:
 * now there is its own.
 */
static void end_thread(struct seen *s, struct ticket_set *set, struct record *r)
{
	bool step = set->renamed && !set->events;

	for (size_t i = 0; i < r->count; i++) {
		struct entry *e = &r->entries[i];
		if (e->written || e->ended || !candidate_of_thread(set, e))
			continue;
		if (!step && e->first >= set->freeze.stamp && e->version && !(set->looked && e->last == set->looked))
			continue;
		if (!step && e->version && e->last > set->freeze.stamp && !(set->looked && e->last == set->looked)) {
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
	uint64_t version = comparable && !chosen->base.oldest ? chosen->base.version : 0;
	struct entry e = { .ino = save->saved_ino, .version = save->version, .first = s->now, .last = s->now, .written = true };

	if (version < save->base_version)
		version = save->base_version;
	if (chosen && !(save->flags & STORE_SAVE_REPLACE) && version < save->previous) {
		e.version = version;
		if (comparable) {
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

/* Whether the save went on from this document of its process. */
static bool is_base(const struct entry *e, const struct candidate *chosen)
{
	const struct store_base *b = &chosen->base;

	return e->ino == b->ino && e->version == b->version && e->own_count == b->own_count &&
	       (!e->own_count || !memcmp(e->own->versions + e->own_from, b->own, e->own_count * sizeof *b->own));
}

/*
 * Each task has its own last document: `save(question); await answer; save(both)`. It counts until a save goes on from it, or replaces all
 * there is; of a thread that goes step by step until its next. Beyond WRITTEN_MAX the oldest go.
 */
static void end_written(struct seen *s, const struct ticket_set *set, struct record *r, const struct candidate *chosen)
{
	size_t live = 0;

	for (size_t i = r->count - 1u; i-- > 0;) {
		struct entry *e = &r->entries[i];

		bool step = !set->events && e->thread == set->who.tid;

		if (!e->written || e->ended || (e->first >= set->freeze.stamp && !step))
			continue;
		if (!chosen || is_base(e, chosen) || step || ++live >= WRITTEN_MAX)
			e->ended = s->now;
	}
}

static int set_written(struct seen *s, const struct ticket_set *set, struct record *r, const struct candidate *chosen,
		       const struct store_save *save)
{
	int err;
	struct entry e;
	uint64_t last = 0;

	for (size_t i = 0; i < r->count; i++)
		if (r->entries[i].written && !r->entries[i].ended)
			last = r->entries[i].first;
	if (save->version == save->previous && last >= set->freeze.stamp)
		return 0;
	if (written_entry(s, chosen, save, &e) < 0)
		return -ENOMEM;
	e.thread = set->who.tid;
	err = record_append(s, r, &e);
	if (!err)
		end_written(s, set, r, chosen);
	own_unref(s, e.own);
	return err;
}

/* What the save uses up. */
static void end_used(struct seen *s, struct ticket_set *set, struct record *r, const struct candidate *chosen, const struct store_save *save)
{
	/* When it may have been another it is still to come, and must not remove what it had not seen. */
	if (chosen && (save->result & STORE_SAVED_EDIT || !(save->result & (STORE_SAVED_UNCERTAIN | STORE_SAVED_DOUBT))))
		use_up_chosen(s, set, r, chosen);
	if (!set->events) {
		end_thread(s, set, r);
		if (set->who.tid == set->who.tgid)
			r->alone = s->now;
	}
}

/* What the save teaches of how its process saves. */
static void learn(struct seen *s, const struct ticket_set *set, struct record *r, const struct candidate *chosen, const struct store_save *save)
{
	const struct moment *m = &set->moment;
	bool newest = chosen && m->known && chosen->base.ino == m->newest.ino && chosen->base.version == m->newest.version &&
		      !chosen->base.own_count;

	/* From its first save on: whoever only reads is nothing to learn from. */
	if (!record_manner(s, r) || !client_habit(s, set->client))
		return;
	if (save->grown) {
		;	/* says nothing of reads */
	} else if (save->certain && newest) {
		habit_confirm(&r->manner->habit, m);
		habit_confirm(set->client->habit, m);
	} else if ((save->certain && m->known) || (save->result & (STORE_SAVED_UNCERTAIN | STORE_SAVED_EDIT)) == STORE_SAVED_UNCERTAIN) {
		habit_doubt(&r->manner->habit);
		habit_doubt(set->client->habit);
	}
	reads_saved(&r->manner->reads, s->now, save->grown);
}

void tickets_saved(struct tickets *t, struct ticket_set *set, uint64_t parent, const char *name, const struct store_save *save)
{
	struct seen *s = &t->seen;
	bool used = false;
	int err;

	for (unsigned n = 0;; n++) {
		seen_lock(s);
		const struct candidate *chosen = save->base >= 0 && (size_t)save->base < set->count ? &set->candidates[save->base] : NULL;
		struct record *r = seen_get(s, set->client, parent, name);
		if (r && !used) {
			end_used(s, set, r, chosen, save);
			used = true;
		}
		err = !r ? -ENOMEM : save->version ? set_written(s, set, r, chosen, save) : 0;
		if (err != -ENOMEM || n >= TRIES) {
			if (r)
				learn(s, set, r, chosen, save);
			break;
		}
		seen_unlock(s);
		again(n);
	}
	/* The document before may still be there as the last one: from an older base nothing is lost. Without one the next save would be blind. */
	if (err)
		set->client->forgot = s->now;
	candidates_clear(s, set);
	set->looked = set->copied_ino = 0;
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
	for (size_t i = 0; i < r->count; i++) {
		r->entries[i].unlinked = true;
		if (!r->entries[i].ended)
			r->entries[i].ended = s->now;
	}
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
	if (from && !to)
		c->forgot = s->now;
	if (to && to != from) {
		end_all(s, to);
		/* Stamps stay: a set frozen before the rename has them as candidates. */
		for (size_t i = 0; from && i < from->count; i++)
			if (!from->entries[i].ended && record_append(s, to, &from->entries[i]) < 0)
				c->forgot = s->now;
	}
	seen_unlock(s);
}

void tickets_exchanged(struct tickets *t, const struct process *who, uint64_t parent, const char *name,
		       uint64_t other_parent, const char *other_name)
{
	struct seen *s = &t->seen;

	seen_lock(s);
	struct client *c = client_get(s, who);
	struct record *a = c ? seen_get(s, c, parent, name) : NULL;
	struct record *b = a ? seen_get(s, c, other_parent, other_name) : NULL;
	if (b && a != b) {
		struct record was = *a;

		a->entries = b->entries;
		a->count = b->count;
		a->capacity = b->capacity;
		b->entries = was.entries;
		b->count = was.count;
		b->capacity = was.capacity;
		a->absent = b->absent = false;
		list_append(&s->used[false], &a->used);
		list_append(&s->used[false], &b->used);
	}
	seen_unlock(s);
}

void tickets_parted(struct tickets *t, const struct process *who, uint64_t parent, const char *name,
		    const struct store_save *save)
{
	struct seen *s = &t->seen;

	seen_lock(s);
	struct record *r = record_find(s, client_find(s, who), parent, name);
	for (size_t i = 0; r && i < r->count; i++) {
		struct entry *e = &r->entries[i];
		/* Of an older version the copy has nothing. */
		if (e->ino != save->saved_ino || e->version < save->previous || e->oldest)
			continue;
		own_unref(s, e->own);
		e->own = NULL;
		e->own_count = 0;
		e->ino = save->copy_ino;
		e->version = 1;
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
