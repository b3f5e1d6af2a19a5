/*
 * What when there are too many? A writer whose ticket is gone would get a newer base, and its save remove what came between and it never
 * saw. So none is dropped but for age and memory: two become one for any of the versions from one to the other, and the store
 * finds out which. In the middle, for most saves need the newest, and the oldest are those that nothing else can stand for.
 */
#include "seen.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bound.h"

#define SHOWN_MAX 64		/* unused tickets of a record */
#define ENDED_MAX 8		/* ended entries of a record, for children */
#define OWN_MAX 65536		/* own versions of an entry */
#define NEEDED_MAX 32		/* ended documents of a record that open sets may need */
#define ANCESTORS 3
#define IN_FLIGHT (600 * SECOND)	/* so long what was read may be on its way to a save */
#define SECOND UINT64_C(1000000000)
#define MALLOC_OVERHEAD 16

void list_init(struct list *l)
{
	l->prev = l->next = l;
}

void list_remove(struct list *l)
{
	l->prev->next = l->next;
	l->next->prev = l->prev;
	list_init(l);
}

void list_append(struct list *head, struct list *l)
{
	list_remove(l);
	l->prev = head->prev;
	l->next = head;
	l->prev->next = head->prev = l;
}

static uint64_t mix(uint64_t h, uint64_t x)
{
	h = (h ^ x) * UINT64_C(0x9e3779b97f4a7c15);
	return h ^ h >> 29;
}

static struct link *table_first(const struct table *t, uint64_t hash)
{
	return t->size ? t->buckets[hash & (t->size - 1)] : NULL;
}

static int table_grow(struct table *t)
{
	size_t size = t->size ? t->size * 2 : 64;
	struct link **buckets = calloc(size, sizeof *buckets);
	if (!buckets)
		return -ENOMEM;
	for (size_t i = 0; i < t->size; i++)
		for (struct link *l = t->buckets[i], *next; l; l = next) {
			next = l->next;
			l->next = buckets[l->hash & (size - 1)];
			buckets[l->hash & (size - 1)] = l;
		}
	free(t->buckets);
	t->buckets = buckets;
	t->size = size;
	return 0;
}

static int table_insert(struct table *t, struct link *l, uint64_t hash)
{
	/* A table that can't grow only gets slower. */
	if (t->count >= t->size && table_grow(t) < 0 && !t->size)
		return -ENOMEM;
	l->hash = hash;
	l->next = t->buckets[hash & (t->size - 1)];
	t->buckets[hash & (t->size - 1)] = l;
	t->count++;
	return 0;
}

static void table_remove(struct table *t, struct link *l)
{
	struct link **at = &t->buckets[l->hash & (t->size - 1)];

	while (*at != l)
		at = &(*at)->next;
	*at = l->next;
	t->count--;
}

/* ---- Memory -------------------------------------------------------------------------------------------------- */

static void *take(struct seen *s, size_t size)
{
	void *p = calloc(1, size);
	if (p)
		s->bytes += size + MALLOC_OVERHEAD;
	else
		s->starved = true;
	return p;
}

static void give(struct seen *s, void *p, size_t size)
{
	if (p)
		s->bytes -= size + MALLOC_OVERHEAD;
	free(p);
}

static size_t own_size(uint32_t capacity)
{
	return sizeof(struct own) + capacity * sizeof(uint64_t);
}

struct own *own_new(struct seen *s, uint32_t capacity)
{
	struct own *o = take(s, own_size(capacity));
	if (o) {
		o->refs = 1;
		o->capacity = capacity;
	}
	return o;
}

void own_unref(struct seen *s, struct own *o)
{
	if (o && --o->refs == 0)
		give(s, o, own_size(o->capacity));
}

static void record_remove(struct seen *s, struct record *r, size_t i)
{
	own_unref(s, r->entries[i].own);
	r->count--;
	memmove(r->entries + i, r->entries + i + 1, (r->count - i) * sizeof *r->entries);
}

static void record_free(struct seen *s, struct record *r)
{
	while (r->count)
		record_remove(s, r, r->count - 1u);
	if (r->entries)
		give(s, r->entries, r->capacity * sizeof *r->entries);
	give(s, r->manner, sizeof *r->manner);
	table_remove(&s->records, &r->by_name);
	list_remove(&r->of_client);
	list_remove(&r->used);
	give(s, r, sizeof *r + strlen(r->name) + 1);
}

static void client_free(struct seen *s, struct client *c)
{
	while (c->records.next != &c->records)
		record_free(s, CONTAINER(c->records.next, struct record, of_client));
	table_remove(&s->clients, &c->by_id);
	table_remove(&s->groups, &c->by_group);
	list_remove(&c->check);
	if (c->parent)
		c->parent->refs--;
	give(s, c->habit, sizeof *c->habit);
	give(s, c, sizeof *c);
}

/* Forgets the client that was not looked after for longest if it has exited `after` ago. False: it is not time for it. */
static bool sweep_client(struct seen *s, uint64_t every, uint64_t after)
{
	struct client *c = CONTAINER(s->check.next, struct client, check);

	if (s->check.next == &s->check || s->now - c->checked < every)
		return false;
	c->checked = s->now;
	list_append(&s->check, &c->check);
	if (!c->exited && !process_alive(&c->who))
		c->exited = s->now;
	if (c->exited && s->now - c->exited >= after && c->refs == 0)
		client_free(s, c);
	return true;
}

/* By age: leaves the newest unused ticket and the live document. */
static void record_thin(struct seen *s, struct record *r)
{
	uint64_t newest = 0;

	for (size_t i = 0; i < r->count; i++)
		if (!r->entries[i].ended && !r->entries[i].written && r->entries[i].last > newest)
			newest = r->entries[i].last;
	for (size_t i = r->count; i-- > 0;)
		if (r->entries[i].ended || (!r->entries[i].written && r->entries[i].last != newest))
			record_remove(s, r, i);
}

static struct record *oldest_record(const struct seen *s, int which)
{
	return s->used[which].next == &s->used[which] ? NULL : CONTAINER(s->used[which].next, struct record, used);
}

/* Looks after the names left alone for the time to live: two a call keep up with those that are made. */
static void expire(struct seen *s)
{
	for (int i = 0; i < 2; i++) {
		struct record *r = oldest_record(s, i);
		if (!r || s->now - r->touched < s->ttl)
			continue;
		if (r->client->refs == 0 && (r->client->exited || !process_alive(&r->client->who))) {
			record_free(s, r);
			continue;
		}
		record_thin(s, r);
		r->touched = s->now;
		list_append(&s->used[i], &r->used);
	}
}

static uint64_t since_boot(void *arg)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * SECOND + (uint64_t)ts.tv_nsec;
}

void seen_init(struct seen *s, struct processes *processes, uint64_t ttl, uint64_t exited_ttl, size_t max_bytes)
{
	*s = (struct seen){ .processes = processes, .ttl = ttl, .exited_ttl = exited_ttl, .max_bytes = max_bytes,
			    .clock = since_boot };
	pthread_mutex_init(&s->lock, NULL);
	list_init(&s->check);
	list_init(&s->used[0]);
	list_init(&s->used[1]);
}

void seen_release(struct seen *s)
{
	for (struct list *l = s->check.next; l != &s->check; l = l->next)
		CONTAINER(l, struct client, check)->parent = NULL;
	while (s->check.next != &s->check)
		client_free(s, CONTAINER(s->check.next, struct client, check));
	free(s->clients.buckets);
	free(s->groups.buckets);
	free(s->records.buckets);
	pthread_mutex_destroy(&s->lock);
}

void seen_lock(struct seen *s)
{
	pthread_mutex_lock(&s->lock);
	uint64_t now = s->clock(s->clock_arg);
	s->now = now > s->now ? now : s->now + 1;
}

/* ---- Clients and records ------------------------------------------------------------------------------------- */

/* All unknown processes are one client. */
static struct process identity(const struct process *who)
{
	return who->known ? *who : (struct process){ .known = false };
}

static uint64_t client_hash(const struct process *id)
{
	return mix(mix(1, (uint64_t)id->tgid), id->start);
}

struct client *client_find(const struct seen *s, const struct process *who)
{
	struct process id = identity(who);

	for (struct link *l = table_first(&s->clients, client_hash(&id)); l; l = l->next) {
		struct client *c = CONTAINER(l, struct client, by_id);
		if (c->who.tgid == id.tgid && c->who.start == id.start)
			return c;
	}
	return NULL;
}

struct client *client_get(struct seen *s, const struct process *who)
{
	struct client *c = client_find(s, who), *parent = NULL;
	struct process above, at = *who;
	pid_t group = 0, ignored, direct = 0;
	uint64_t forked = 0;

	if (c)
		return c;
	if (who->known) {
		struct process found = { 0 };
		for (int i = 0; i < ANCESTORS && !parent; i++) {
			pthread_mutex_unlock(&s->lock);
			bool told = processes_family(s->processes, &at, i == 0 ? &group : &ignored, &above);
			seen_lock(s);
			if (told && i == 0)
				direct = above.tgid;
			if (!told || !above.known)
				break;
			parent = client_find(s, &above);
			forked = at.start;
			found = at = above;
		}
		/* The last look-up was under this lock; the client itself another thread may have made. */
		c = client_find(s, who);
		if (c)
			return c;
		parent = parent ? client_find(s, &found) : NULL;
	}

	c = take(s, sizeof *c);
	if (!c)
		return NULL;
	c->who = identity(who);
	c->group = group;
	c->above = direct;
	if (table_insert(&s->clients, &c->by_id, client_hash(&c->who)) < 0) {
		give(s, c, sizeof *c);
		return NULL;
	}
	if (table_insert(&s->groups, &c->by_group, mix(2, (uint64_t)group)) < 0) {
		table_remove(&s->clients, &c->by_id);
		give(s, c, sizeof *c);
		return NULL;
	}
	list_init(&c->records);
	list_init(&c->frozen);
	list_init(&c->check);
	c->checked = s->now;
	if (parent) {
		c->parent = parent;
		c->forked = forked;
		parent->refs++;
	}
	/* Two for each new one: the exited are forgotten as fast as they come. */
	for (int i = 0; i < 2 && sweep_client(s, SECOND, s->exited_ttl); i++)
		;
	list_append(&s->check, &c->check);
	return c;
}

static uint64_t record_hash(const struct client *c, uint64_t parent, const char *name)
{
	uint64_t h = mix(c->by_id.hash, parent);

	for (; *name; name++)
		h = (h ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
	return mix(h, 0);
}

struct client *client_of_group(const struct seen *s, pid_t group, const struct client *after)
{
	uint64_t hash = mix(2, (uint64_t)group);

	for (struct link *l = after ? after->by_group.next : table_first(&s->groups, hash); l; l = l->next)
		if (CONTAINER(l, struct client, by_group)->group == group)
			return CONTAINER(l, struct client, by_group);
	return NULL;
}

struct record *record_find(const struct seen *s, const struct client *c, uint64_t parent, const char *name)
{
	if (!c)
		return NULL;
	uint64_t hash = record_hash(c, parent, name);
	for (struct link *l = table_first(&s->records, hash); l; l = l->next) {
		struct record *r = CONTAINER(l, struct record, by_name);
		if (l->hash == hash && r->client == c && r->parent == parent && strcmp(r->name, name) == 0)
			return r;
	}
	return NULL;
}

bool seen_forgot(const struct seen *s, const struct client *c, uint64_t parent, const char *name)
{
	uint64_t at = s->forgotten[record_hash(c, parent, name) % SEEN_FORGOTTEN];

	return at && s->now - at < IN_FLIGHT;
}

struct record *seen_get(struct seen *s, struct client *c, uint64_t parent, const char *name)
{
	struct record *r = record_find(s, c, parent, name);

	if (!r) {
		size_t length = strlen(name) + 1;
		r = take(s, sizeof *r + length);
		if (!r)
			return NULL;
		if (table_insert(&s->records, &r->by_name, record_hash(c, parent, name)) < 0) {
			give(s, r, sizeof *r + length);
			return NULL;
		}
		memcpy(r->name, name, length);
		r->client = c;
		r->parent = parent;
		r->absent = true;
		list_init(&r->used);
		list_init(&r->of_client);
		list_append(&c->records, &r->of_client);
	}
	r->touched = s->now;
	list_append(&s->used[r->absent], &r->used);
	return r;
}

struct manner *record_manner(struct seen *s, struct record *r)
{
	if (r->manner)
		return r->manner;
	r->manner = take(s, sizeof *r->manner);
	for (size_t i = 0; r->manner && i < r->count; i++)
		if (!r->entries[i].ended && !r->entries[i].written)
			r->manner->reads.open += r->entries[i].count;
	return r->manner;
}

struct habit *client_habit(struct seen *s, struct client *c)
{
	if (!c->habit)
		c->habit = take(s, sizeof *c->habit);
	return c->habit;
}

struct entry *entry_find(struct record *r, uint64_t first)
{
	for (size_t i = 0; r && i < r->count; i++)
		if (r->entries[i].first == first && !r->entries[i].ended)
			return &r->entries[i];
	return NULL;
}

int entry_append_own(struct seen *s, struct entry *e, uint64_t version)
{
	struct own *o = e->own;

	/* Without the oldest their messages would count as not seen: they'd come twice, but none would go. */
	if (e->own_count >= OWN_MAX) {
		bound_met(BOUND_OWN);
		e->own_from += e->own_count / 2;
		e->own_count -= e->own_count / 2;
	}
	if (o && e->own_from + e->own_count == o->count && o->count < o->capacity) {
		o->refs++;
	} else {
		o = own_new(s, e->own_count < 2 ? 4 : e->own_count * 2);
		if (!o)
			return -ENOMEM;
		if (e->own_count)
			memcpy(o->versions, e->own->versions + e->own_from, e->own_count * sizeof *o->versions);
		o->count = e->own_count;
		e->own_from = 0;
	}
	o->versions[o->count++] = version;
	e->own_count++;
	e->own = o;
	return 0;
}

/* Which of the entries that are bounded in number this is one of: the unused tickets, or the ended documents that sets need. */
static bool is_bounded(const struct entry *e, bool written, uint64_t frozen)
{
	return e->written == written && (written ? e->ended > frozen : !e->ended);
}

static uint64_t oldest_of(const struct entry *e)
{
	return e->oldest ? e->oldest : e->version;
}

/* Two unused tickets become one, which is in the place of the later. */
static void join(struct seen *s, struct record *r, size_t before, size_t at)
{
	const struct entry *x = &r->entries[before];
	struct entry *e = &r->entries[at];
	uint64_t oldest = oldest_of(x) < oldest_of(e) ? oldest_of(x) : oldest_of(e);

	e->count = x->count > UINT32_MAX - e->count ? UINT32_MAX : x->count + e->count;
	e->version = x->version > e->version ? x->version : e->version;
	e->oldest = oldest < e->version ? oldest : 0;
	e->first = x->first;
	e->last = x->last > e->last ? x->last : e->last;
	if (x->thread != e->thread)
		e->thread = 0;
	record_remove(s, r, before);
}

/* The nearest unused ticket before `at` of the same version, or of any version of the same document. SIZE_MAX: none. */
static size_t find_before(const struct record *r, size_t at, bool same)
{
	const struct entry *e = &r->entries[at];

	for (size_t i = at; i-- > 0;) {
		const struct entry *x = &r->entries[i];
		if (is_bounded(x, false, 0) && x->ino == e->ino &&
		    (same ? x->version == e->version && x->oldest == e->oldest : x->version && e->version))
			return i;
	}
	return SIZE_MAX;
}

/* Whether the ticket is what its thread has read last: what it saves next is based on that. */
static bool is_newest(const struct record *r, size_t at)
{
	for (size_t i = 0; i < r->count; i++) {
		const struct entry *x = &r->entries[i];
		if (i != at && is_bounded(x, false, 0) && x->thread == r->entries[at].thread && x->last > r->entries[at].last)
			return false;
	}
	return true;
}

/* Joins two tickets: of the same version, or else in the middle, and not what a thread has read last as long as there are others. What can't be joined goes: documents that sets may need, too. */
static void drop_bounded(struct seen *s, struct record *r, bool written, uint64_t frozen, size_t number)
{
	size_t n = 0, middle = 0, before = SIZE_MAX, at = 0;
	bool spoils = true;

	for (size_t i = 0; i < r->count; i++) {
		if (!is_bounded(&r->entries[i], written, frozen))
			continue;
		size_t same = written ? SIZE_MAX : find_before(r, i, true);
		if (same != SIZE_MAX) {
			join(s, r, same, i);
			return;
		}
		size_t other = written ? SIZE_MAX : find_before(r, i, false);
		bool last = other != SIZE_MAX && (is_newest(r, i) || is_newest(r, other));
		if (other != SIZE_MAX && (before == SIZE_MAX || (spoils && !last) || (spoils == last && n <= number / 2))) {
			before = other;
			at = i;
			spoils = last;
		}
		if (n++ <= number / 2)
			middle = i;
	}
	if (before != SIZE_MAX)
		join(s, r, before, at);
	else
		record_remove(s, r, middle);
}

static void forget_ended(struct seen *s, struct record *r, size_t i)
{
	if (r->entries[i].ended > r->forgot)
		r->forgot = r->entries[i].ended;
	record_remove(s, r, i);
}

/* Of its open sets; UINT64_MAX: it has none. */
static uint64_t oldest_freeze(const struct client *c)
{
	const struct list *sets = &c->frozen;

	return sets->next == sets ? UINT64_MAX : CONTAINER(sets->next, struct freeze, of_client)->stamp;
}

/* Makes place for one entry more. */
static void record_trim(struct seen *s, struct record *r)
{
	uint64_t frozen = oldest_freeze(r->client);
	uint64_t old = s->now > s->ttl ? s->now - s->ttl : 0;
	size_t shown = 0, ended = 0, needed = 0;

	for (size_t i = r->count; i-- > 0;) {
		const struct entry *e = &r->entries[i];
		if (is_bounded(e, true, frozen))
			needed++;
		else if (e->ended ? e->ended < old : !e->written && e->last < old)
			record_remove(s, r, i);
		else if (e->ended && ++ended > ENDED_MAX) {
			bound_met(BOUND_ENDED);
			forget_ended(s, r, i);
		} else
			shown += is_bounded(e, false, frozen);
	}
	if (shown >= SHOWN_MAX) {
		bound_met(BOUND_TICKETS);
		drop_bounded(s, r, false, frozen, shown);
	}
	if (needed > NEEDED_MAX) {
		bound_met(BOUND_NEEDED);
		drop_bounded(s, r, true, frozen, needed);
	}
}

int record_append(struct seen *s, struct record *r, const struct entry *e)
{
	record_trim(s, r);
	if (r->count == r->capacity) {
		uint16_t capacity = r->capacity ? (uint16_t)(r->capacity * 2) : 1;
		struct entry *entries = take(s, capacity * sizeof *entries);
		if (!entries)
			return -ENOMEM;
		if (r->entries) {
			memcpy(entries, r->entries, r->count * sizeof *entries);
			give(s, r->entries, r->capacity * sizeof *entries);
		}
		r->entries = entries;
		r->capacity = capacity;
	}
	r->entries[r->count++] = *e;
	if (e->own)
		e->own->refs++;
	if (e->version && r->absent) {
		r->absent = false;
		list_append(&s->used[0], &r->used);
	}
	return 0;
}

/* ---- Room ------------------------------------------------------------------------------------------------------ */

/* Gives back what the record has no need of now. */
static void record_shrink(struct seen *s, struct record *r)
{
	struct entry *entries = r->count ? realloc(r->entries, r->count * sizeof *entries) : NULL;

	if (!entries)
		return;
	s->bytes -= (r->capacity - r->count) * sizeof *entries;
	r->entries = entries;
	r->capacity = r->count;
}

/*
 * For want of room: what a process may still save from stays, less exactly. What has ended goes, and that it was there is remembered for children; of
 * the tickets those of one document become one. Whether that gave room.
 */
static bool record_squeeze(struct seen *s, struct record *r)
{
	uint64_t frozen = oldest_freeze(r->client);
	uint16_t before = r->count;

	for (size_t i = r->count; i-- > 0;)
		if (r->entries[i].ended && !is_bounded(&r->entries[i], true, frozen))
			forget_ended(s, r, i);
	for (size_t i = r->count; i-- > 0;) {
		size_t other = is_bounded(&r->entries[i], false, 0) ? find_before(r, i, false) : SIZE_MAX;
		if (other != SIZE_MAX) {
			join(s, r, other, i);
			i = r->count;
		}
	}
	record_shrink(s, r);
	return r->count < before;
}

static void evict(struct seen *s, size_t max_bytes)
{
	for (int i = 0; i < 4 && s->bytes > max_bytes && sweep_client(s, SECOND / 100, 0); i++)
		;
	for (int i = 1; i >= 0; i--) {
		struct record *r;
		while (s->bytes > max_bytes && (r = oldest_record(s, i))) {
			bound_met(BOUND_MEMORY);
			if (record_squeeze(s, r))
				continue;
			r->client->forgot = s->now;
			/* Not of names that were only asked for: there may be very many, and somebody else's marks they share. */
			if (!r->absent && s->now - r->touched < IN_FLIGHT)
				s->forgotten[r->by_name.hash % SEEN_FORGOTTEN] = s->now;
			record_free(s, r);
		}
	}
}

void seen_unlock(struct seen *s)
{
	expire(s);
	if (s->bytes > s->max_bytes)
		evict(s, s->max_bytes - s->max_bytes / 16);
	/* What a living process has seen is not forgotten for want of memory: its saves would be blind. */
	for (int i = 0; s->starved && i < 4 && sweep_client(s, SECOND / 100, 0); i++)
		;
	s->starved = false;
	pthread_mutex_unlock(&s->lock);
}
