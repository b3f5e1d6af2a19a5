#include "temp_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bound.h"
#include "handle.h"

#define NAMED_MAX 4096
#define LOST_MAX 4096
#define FORGOTTEN_MAX 1024
#define LOOKED_AT 2	/* of the files that have lost their name, at each step, which adds one: looking reads /proc */

int temps_new(struct temps **ret)
{
	struct temps *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	pthread_mutex_init(&t->lock, NULL);
	TAILQ_INIT(&t->named);
	TAILQ_INIT(&t->lost);
	TAILQ_INIT(&t->forgotten);
	*ret = t;
	return 0;
}

void temp_destroy(struct temp *e)
{
	ticket_set_free(e->set);
	free(e->bytes);
	free(e);
}

void temps_free(struct temps *t)
{
	struct forgotten *f;

	if (!t)
		return;
	for (size_t i = 0; i < TEMP_BUCKETS; i++) {
		struct temp *e;

		while ((e = LIST_FIRST(&t->of_id[i]))) {
			LIST_REMOVE(e, by_id);
			temp_destroy(e);
		}
	}
	while ((f = TAILQ_FIRST(&t->forgotten))) {
		TAILQ_REMOVE(&t->forgotten, f, age);
		free(f);
	}
	pthread_mutex_destroy(&t->lock);
	free(t);
}

static struct temp_list *bucket_of(struct temp_list *buckets, uint64_t number)
{
	number *= 0x9e3779b97f4a7c15u;
	return &buckets[number >> 32 & (TEMP_BUCKETS - 1)];
}

static struct temp_list *bucket_named(struct temps *t, uint64_t parent, const char *name)
{
	uint64_t h = 0xcbf29ce484222325u ^ parent;

	while (*name)
		h = (h ^ (unsigned char)*name++) * 0x100000001b3u;
	return bucket_of(t->named_so, h);
}

/* Among those of its age, too. */
static void put_in_age(struct temps *t, struct temp *e)
{
	if (e->lost)
		TAILQ_INSERT_TAIL(&t->lost, e, age);
	else
		TAILQ_INSERT_TAIL(&t->named, e, age);
	*(e->lost ? &t->lost_count : &t->named_count) += 1;
}

static void take_from_age(struct temps *t, struct temp *e)
{
	if (e->lost)
		TAILQ_REMOVE(&t->lost, e, age);
	else
		TAILQ_REMOVE(&t->named, e, age);
	*(e->lost ? &t->lost_count : &t->named_count) -= 1;
}

void temp_insert(struct temps *t, struct temp *e)
{
	LIST_INSERT_HEAD(bucket_named(t, e->parent, e->name), e, by_name);
	LIST_INSERT_HEAD(bucket_of(t->of_ino, e->ino), e, by_ino);
	LIST_INSERT_HEAD(bucket_of(t->of_id, e->id), e, by_id);
	put_in_age(t, e);
	t->bytes += e->size;
}

static void take_out(struct temps *t, struct temp *e)
{
	LIST_REMOVE(e, by_name);
	LIST_REMOVE(e, by_ino);
	LIST_REMOVE(e, by_id);
	take_from_age(t, e);
	t->bytes -= e->size;
}

void temp_move(struct temps *t, struct temp *e, uint64_t ino)
{
	LIST_REMOVE(e, by_ino);
	e->ino = ino;
	LIST_INSERT_HEAD(bucket_of(t->of_ino, ino), e, by_ino);
}

struct temp *temp_named(struct temps *t, uint64_t parent, const char *name, const struct temp *after)
{
	struct temp *e = after ? LIST_NEXT(after, by_name) : LIST_FIRST(bucket_named(t, parent, name));

	while (e && (e->parent != parent || strcmp(e->name, name) != 0))
		e = LIST_NEXT(e, by_name);
	return e;
}

struct temp *temp_of(struct temps *t, const char *name, uint64_t ino, const struct temp *after)
{
	struct temp *e = after ? LIST_NEXT(after, by_ino) : LIST_FIRST(bucket_of(t->of_ino, ino));

	while (e && (e->ino != ino || strcmp(e->name, name) != 0))
		e = LIST_NEXT(e, by_ino);
	return e;
}

static void move(struct temps *t, struct temp *e, bool lost)
{
	if (e->lost == lost)
		return;
	take_from_age(t, e);
	e->lost = lost;
	put_in_age(t, e);
}

void temp_lose(struct temps *t, struct temp *e)
{
	move(t, e, true);
}

void temp_regain(struct temps *t, struct temp *e)
{
	move(t, e, false);
}

struct temp *temp_find(struct temps *t, const char *name, uint64_t ino)
{
	struct temp *found = NULL;

	for (struct temp *e = NULL; (e = temp_of(t, name, ino, e));) {
		if (!found || e->id > found->id)
			found = e;
	}
	return found;
}

struct temp *temp_find_id(struct temps *t, const char *name, uint64_t id)
{
	struct temp *e = LIST_FIRST(bucket_of(t->of_id, id));

	while (e && (e->id != id || strcmp(e->name, name) != 0))
		e = LIST_NEXT(e, by_id);
	return e;
}

const struct store_attr *temp_find_former(const struct temps *t, uint64_t ino)
{
	for (size_t i = 0; i < TEMP_FORMERS; i++) {
		if (t->formers[i].ino == ino)
			return &t->formers[i];
	}
	return NULL;
}

struct process temp_writer(struct mount *m, const struct process *who, uint64_t parent, const char *name)
{
	const struct temp *started = NULL;
	struct process above;
	bool asked = false;
	pid_t group;

	for (const struct temp *e = NULL; (e = temp_named(m->temps, parent, name, e));) {
		if (process_same(&e->who, who))
			return *who;
		if (!e->shell.known || (started && started->id > e->id))
			continue;
		/* Who lives may still rename it by itself. */
		if (!process_same(&e->who, &e->shell) && process_alive(&e->who))
			continue;
		/* The last of a script the shell may become itself. */
		if (!process_same(&e->shell, who)) {
			if (!asked && !processes_family(m->processes, who, &group, &above))
				return *who;
			asked = true;
			if (above.tgid != e->shell.tgid || !process_alive(&e->shell))
				continue;
		}
		started = e;
	}
	return started ? started->who : *who;
}

bool temp_is_awaited(const struct temp *e)
{
	return process_alive(&e->who) || (e->shell.known && process_alive(&e->shell));
}

time_t temp_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return t.tv_sec;
}

void temp_discard(struct temps *t, struct temp *e, struct temp **gone)
{
	take_out(t, e);
	if (e->taken) {
		e->dropped = true;
		return;
	}
	e->next_gone = *gone;
	*gone = e;
}

/* For want of room. */
static void forget(struct temps *t, struct temp *e, enum bound bound, struct temp **gone)
{
	if (!e->saved && temp_now() - e->at <= TEMP_SECONDS) {
		bound_met(bound);
		if (e->at > t->forgot)
			t->forgot = e->at;
	}
	temp_discard(t, e, gone);
}

/* Those that were looked at last come last. Nothing that somebody waits for goes. */
static void sweep_lost(struct temps *t, unsigned number, struct temp **gone)
{
	if (number > t->lost_count)
		number = t->lost_count;
	while (number--) {
		struct temp *e = TAILQ_FIRST(&t->lost);

		if (temp_now() - e->at > TEMP_SECONDS || !temp_is_awaited(e)) {
			temp_discard(t, e, gone);
			continue;
		}
		TAILQ_REMOVE(&t->lost, e, age);
		TAILQ_INSERT_TAIL(&t->lost, e, age);
	}
}

void temp_sweep(struct temps *t, struct temp **gone)
{
	while (t->named_count > NAMED_MAX)
		forget(t, TAILQ_FIRST(&t->named), BOUND_TEMPS, gone);
	sweep_lost(t, LOOKED_AT, gone);
}

static struct forgotten *find_forgotten(struct temps *t, const struct process *who, uint64_t parent, const char *name)
{
	struct forgotten *f;

	TAILQ_FOREACH(f, &t->forgotten, age) {
		if (f->parent == parent && process_same(&f->who, who) && strcmp(f->name, name) == 0)
			break;
	}
	return f;
}

static void sweep_forgotten(struct temps *t)
{
	struct forgotten *f, *next;

	for (f = TAILQ_FIRST(&t->forgotten); f; f = next) {
		next = TAILQ_NEXT(f, age);
		if (temp_now() - f->at <= TEMP_SECONDS && process_alive(&f->who))
			continue;
		TAILQ_REMOVE(&t->forgotten, f, age);
		t->forgotten_count--;
		free(f);
	}
}

bool temp_was_forgotten(struct temps *t, const struct process *who, uint64_t parent, const char *name)
{
	const struct forgotten *f = t->forgotten_count ? find_forgotten(t, who, parent, name) : NULL;

	return f && temp_now() - f->at <= TEMP_SECONDS;
}

/* What becomes of a rename of it must not be that of another file. */
static int note_forgotten(struct temps *t, const struct temp *e)
{
	struct forgotten *f = find_forgotten(t, &e->who, e->parent, e->name);

	if (f) {
		TAILQ_REMOVE(&t->forgotten, f, age);
	} else {
		if (t->forgotten_count >= FORGOTTEN_MAX)
			sweep_forgotten(t);
		f = t->forgotten_count < FORGOTTEN_MAX ? calloc(1, sizeof(*f) + strlen(e->name) + 1) : NULL;
		if (!f)
			return -ENFILE;
		f->who = e->who;
		f->parent = e->parent;
		strcpy(f->name, e->name);
		t->forgotten_count++;
	}
	f->at = temp_now();
	TAILQ_INSERT_TAIL(&t->forgotten, f, age);
	return 0;
}

/* Which of the two is needed less: what is in its document already, and then the older one. NULL is not needed at all. */
static struct temp *needed_less(struct temp *a, struct temp *b)
{
	if (!a || b->saved != a->saved)
		return !a || b->saved ? b : a;
	return b->id < a->id ? b : a;
}

static int drop_one(struct temps *t, struct temp *e, enum bound bound, struct temp **gone)
{
	int err = !e ? -ENFILE : e->saved || !temp_is_awaited(e) ? 0 : note_forgotten(t, e);

	bound_met(bound);
	if (!err)
		temp_discard(t, e, gone);
	return err;
}

int temp_room(struct temps *t, const struct process *who, uint64_t parent, const char *name, bool shared, struct temp **gone)
{
	struct temp *least = NULL, *e;
	unsigned count = 0;
	int err = 0;

	for (e = temp_named(t, parent, name, NULL); e; e = temp_named(t, parent, name, e)) {
		if (!process_same(&e->who, who))
			continue;
		count++;
		if (!e->reserved)
			least = needed_less(least, e);
	}
	if (count >= TEMPS_OWN)
		err = drop_one(t, least, BOUND_TEMPS_OWN, gone);
	if (err || !shared || t->lost_count < LOST_MAX)
		return err;
	sweep_lost(t, t->lost_count, gone);
	if (t->lost_count < LOST_MAX)
		return 0;
	least = NULL;
	TAILQ_FOREACH(e, &t->lost, age) {
		if (!e->reserved)
			least = needed_less(least, e);
	}
	return drop_one(t, least, BOUND_TEMPS_LOST, gone);
}

void temp_settle(struct mount *m, const char *name, uint64_t ino)
{
	struct store_attr a;
	bool needed;

	pthread_mutex_lock(&m->temps->lock);
	needed = temp_find(m->temps, name, ino) != NULL;
	pthread_mutex_unlock(&m->temps->lock);
	if (!needed && !store_getattr(m->store, ino, &a) && !a.parent)
		handle_forget(m, ino, NULL);
}

void temp_settle_all(struct mount *m, struct temp *gone)
{
	struct temp *next;

	for (; gone; gone = next) {
		next = gone->next_gone;
		temp_settle(m, gone->name, gone->ino);
		temp_destroy(gone);
	}
}

struct temp *temp_new(const struct process *who, const struct store_attr *a, uint64_t parent, unsigned flags)
{
	struct temp *e = calloc(1, sizeof(*e) + strlen(a->name) + 1);

	if (!e)
		return NULL;
	e->ino = a->ino;
	e->parent = parent;
	e->who = *who;
	e->at = e->made = temp_now();
	e->flags = flags;
	e->document = store_is_document_name(a->name);
	strcpy(e->name, a->name);
	return e;
}

struct temp *temp_pick(struct temps *t, const struct process *who, uint64_t parent, const char *name, uint64_t linked, bool events)
{
	struct temp *best = NULL;
	int best_rank = 0;

	for (struct temp *e = NULL; (e = temp_named(t, parent, name, e));) {
		int rank = e->saved ? 1 : e->ino == linked ? 3 : 2;

		if (!process_same(&e->who, who) || (e->document && (!e->version || (e->flags & TEMP_READ))) || (e->saved && linked && e->ino != linked))
			continue;
		if (e->who.tid == who->tid && (e->reserved || (!events && !e->saved)))
			rank = e->reserved ? 5 : 4;
		else if (e->reserved)
			continue;
		if (rank > best_rank || (rank == best_rank && e->id > best->id)) {
			best = e;
			best_rank = rank;
		}
	}
	return best;
}
