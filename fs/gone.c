/* What was removed and is still known to the kernel: a table by number, the oldest first when there are too many. */
#include "gone.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <time.h>

#include "bound.h"

#define GONE_MAX 4096
#define BUCKETS 1024

struct removed {
	struct removed *chain;
	TAILQ_ENTRY(removed) age;
	struct store_attr attr;
};

struct gone {
	atomic_uint count;	/* changes under `lock` */
	pthread_mutex_t lock;
	/* Under `lock`. */
	struct removed *buckets[BUCKETS];
	TAILQ_HEAD(, removed) ages;
};

int gone_new(struct gone **ret)
{
	struct gone *g = calloc(1, sizeof(*g));

	if (!g)
		return -ENOMEM;
	pthread_mutex_init(&g->lock, NULL);
	TAILQ_INIT(&g->ages);
	*ret = g;
	return 0;
}

/* Needs the lock, as all that follow and don't take it. */
static struct removed **find(struct gone *g, uint64_t ino)
{
	struct removed **at = &g->buckets[ino % BUCKETS];

	while (*at && (*at)->attr.ino != ino)
		at = &(*at)->chain;
	return at;
}

static void drop(struct gone *g, struct removed **at)
{
	struct removed *r = *at;

	*at = r->chain;
	TAILQ_REMOVE(&g->ages, r, age);
	atomic_fetch_sub(&g->count, 1);
	free(r);
}

void gone_free(struct gone *g)
{
	if (!g)
		return;
	while (!TAILQ_EMPTY(&g->ages))
		drop(g, find(g, TAILQ_FIRST(&g->ages)->attr.ino));
	pthread_mutex_destroy(&g->lock);
	free(g);
}

void gone_note(struct gone *g, const struct store_attr *a)
{
	struct removed *r = calloc(1, sizeof(*r)), **at;

	if (!r)
		return;
	r->attr = *a;
	r->attr.parent = 0;
	clock_gettime(CLOCK_REALTIME, &r->attr.ctime);
	pthread_mutex_lock(&g->lock);
	at = find(g, a->ino);
	if (*at)
		drop(g, at);
	if (atomic_load(&g->count) == GONE_MAX) {
		bound_met(BOUND_GONE);
		drop(g, find(g, TAILQ_FIRST(&g->ages)->attr.ino));
	}
	at = find(g, a->ino);
	*at = r;
	TAILQ_INSERT_TAIL(&g->ages, r, age);
	atomic_fetch_add(&g->count, 1);
	pthread_mutex_unlock(&g->lock);
}

bool gone_get(struct gone *g, uint64_t ino, struct store_attr *ret)
{
	const struct removed *r;

	if (!atomic_load(&g->count))
		return false;
	pthread_mutex_lock(&g->lock);
	r = *find(g, ino);
	if (r)
		*ret = r->attr;
	pthread_mutex_unlock(&g->lock);
	return r != NULL;
}

bool gone_set(struct gone *g, uint64_t ino, const struct store_attr *to, unsigned mask)
{
	struct store_attr *a;
	struct removed *r;

	if (!atomic_load(&g->count))
		return false;
	pthread_mutex_lock(&g->lock);
	r = *find(g, ino);
	a = r ? &r->attr : NULL;
	if (a && (mask & STORE_SET_MODE))
		a->mode = (a->mode & S_IFMT) | (to->mode & 07777);
	if (a && (mask & STORE_SET_UID))
		a->uid = to->uid;
	if (a && (mask & STORE_SET_GID))
		a->gid = to->gid;
	if (a && (mask & STORE_SET_ATIME))
		a->atime = to->atime;
	if (a && (mask & STORE_SET_MTIME))
		a->mtime = to->mtime;
	if (a)
		clock_gettime(CLOCK_REALTIME, &a->ctime);
	pthread_mutex_unlock(&g->lock);
	return r != NULL;
}

void gone_forget(struct gone *g, uint64_t ino)
{
	struct removed **at;

	if (!atomic_load(&g->count))
		return;
	pthread_mutex_lock(&g->lock);
	at = find(g, ino);
	if (*at)
		drop(g, at);
	pthread_mutex_unlock(&g->lock);
}
