/* Indexes of documents that were used lately, newest versions only. One lock inside; bounded in bytes. */
#ifndef STORE_CACHE_H
#define STORE_CACHE_H

#include "view.h"

struct cache;

struct cache_stats {
	uint64_t bytes, limit, views, hits, misses;
};

int cache_new(uint64_t limit, struct cache **ret);
void cache_free(struct cache *c);

/* The view of this version, or the latest one before it, with a reference for the caller, or NULL. */
struct store_view *cache_get(struct cache *c, uint64_t ino, uint64_t version);

/* Remembers the view instead of an older one of the document. Takes a reference of its own. */
void cache_put(struct cache *c, struct store_view *v);

void cache_stats(struct cache *c, struct cache_stats *ret);

#endif
