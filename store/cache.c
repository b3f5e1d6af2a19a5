#include "cache.h"

#include <errno.h>
#include <stdlib.h>

#include "store.h"

struct entry {
	struct entry *chain;		/* others of the same bucket */
	struct entry *newer, *older;	/* by last use */
	struct store_view *view;
	size_t bytes;
};

struct cache {
	pthread_mutex_t lock;
	/* All under `lock`. */
	struct entry **buckets;
	size_t bucket_count;		/* a power of two */
	struct entry *newest, *oldest;
	struct cache_stats stats;
};

int cache_new(uint64_t limit, struct cache **ret)
{
	struct cache *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->bucket_count = 1024;
	c->buckets = calloc(c->bucket_count, sizeof(*c->buckets));
	if (!c->buckets) {
		free(c);
		return -ENOMEM;
	}
	pthread_mutex_init(&c->lock, NULL);
	c->stats.limit = limit;
	*ret = c;
	return 0;
}

static struct entry **find(struct cache *c, uint64_t ino)
{
	struct entry **at = &c->buckets[(ino * 0x9e3779b97f4a7c15u >> 32) & (c->bucket_count - 1)];

	while (*at && (*at)->view->ino != ino)
		at = &(*at)->chain;
	return at;
}

static void unlink_use(struct cache *c, struct entry *e)
{
	*(e->newer ? &e->newer->older : &c->newest) = e->older;
	*(e->older ? &e->older->newer : &c->oldest) = e->newer;
}

static void link_use(struct cache *c, struct entry *e)
{
	e->newer = NULL;
	e->older = c->newest;
	*(c->newest ? &c->newest->newer : &c->oldest) = e;
	c->newest = e;
}

static void drop(struct cache *c, struct entry **at)
{
	struct entry *e = *at;

	*at = e->chain;
	unlink_use(c, e);
	c->stats.bytes -= e->bytes;
	c->stats.views--;
	store_view_unref(e->view);
	free(e);
}

void cache_free(struct cache *c)
{
	if (!c)
		return;
	while (c->newest)
		drop(c, find(c, c->newest->view->ino));
	free(c->buckets);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

struct store_view *cache_get(struct cache *c, uint64_t ino, uint64_t version)
{
	struct store_view *v = NULL;
	struct entry *e;

	pthread_mutex_lock(&c->lock);
	e = *find(c, ino);
	if (e && e->view->version <= version) {
		v = store_view_ref(e->view);
		unlink_use(c, e);
		link_use(c, e);
	}
	if (v && v->version == version)
		c->stats.hits++;
	else
		c->stats.misses++;
	pthread_mutex_unlock(&c->lock);
	return v;
}

/* Chains stay short; when memory is out they stay as they are. */
static void grow(struct cache *c)
{
	struct entry **old = c->buckets, **buckets = calloc(c->bucket_count * 4, sizeof(*buckets));
	size_t count = c->bucket_count;

	if (!buckets)
		return;
	c->buckets = buckets;
	c->bucket_count *= 4;
	for (size_t i = 0; i < count; i++) {
		struct entry *e = old[i], *next;

		for (; e; e = next) {
			struct entry **at;

			next = e->chain;
			e->chain = NULL;
			at = find(c, e->view->ino);
			*at = e;
		}
	}
	free(old);
}

void cache_put(struct cache *c, struct store_view *v)
{
	struct entry **at, *e;

	pthread_mutex_lock(&c->lock);
	at = find(c, v->ino);
	e = *at;
	if (e && e->view->version >= v->version) {
		pthread_mutex_unlock(&c->lock);
		return;
	}
	if (e) {
		store_view_unref(e->view);
		c->stats.bytes -= e->bytes;
		unlink_use(c, e);
	} else {
		e = calloc(1, sizeof(*e));
		if (!e) {
			pthread_mutex_unlock(&c->lock);
			return;
		}
		*at = e;
		c->stats.views++;
	}
	e->view = store_view_ref(v);
	e->bytes = sizeof(*e) + sizeof(*v) + v->slot_count * sizeof(*v->slots) + v->count * sizeof(struct view_item) +
		   v->frame->head_size + v->frame->tail_size + 256;
	c->stats.bytes += e->bytes;
	link_use(c, e);
	while (c->stats.bytes > c->stats.limit && c->oldest)
		drop(c, find(c, c->oldest->view->ino));
	if (c->stats.views > c->bucket_count)
		grow(c);
	pthread_mutex_unlock(&c->lock);
}

void cache_stats(struct cache *c, struct cache_stats *ret)
{
	pthread_mutex_lock(&c->lock);
	*ret = c->stats;
	pthread_mutex_unlock(&c->lock);
}
