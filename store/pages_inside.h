/* LMDB 0.9's pages on a 64-bit machine, as they lie in the file. For pages.c and pages_walk.c. */
#ifndef STORE_PAGES_INSIDE_H
#define STORE_PAGES_INSIDE_H

#include <pthread.h>
#include <stdatomic.h>

#include "pages.h"

#define NO_PAGE UINT64_MAX
#define BRANCH 1
#define LEAF 2
#define OVERFLOW 4
#define META 8
#define ELSEWHERE 1		/* a node's flag: its value is on overflow pages */
#define KEY_LARGEST 511

struct page {
	uint64_t number;
	uint16_t pad, flags;
	union {
		struct {
			uint16_t lower, upper;	/* the room between the offsets of the nodes and the nodes */
		};
		uint32_t pages;			/* overflow: in a row, this one included */
	};
	uint16_t nodes[];
};

struct node {
	uint16_t low, high, flags, key_size;	/* branch: 48 bits of a page number; leaf: 32 bits of the value's size, and flags */
	char bytes[];
};

struct tree {
	uint32_t page_size;
	uint16_t flags, depth;
	uint64_t branch_pages, leaf_pages, overflow_pages, entries, root;
};

struct meta {
	struct page page;
	uint32_t magic, version;
	uint64_t address, map_size;
	struct tree free, main;
	uint64_t last, id;
};

struct pages {
	const char *map;
	size_t map_size, page_size;
	int fd;
	atomic_bool strict;
	atomic_uint_fast64_t file_pages;	/* known to be there */
	pthread_mutex_t lock;			/* for a newer state */
	atomic_uint_fast64_t checked_id;
	_Atomic uint64_t *checked;		/* a bit for each page that is good in that state */
	size_t checked_size;
};

static inline const struct node *node_at(const struct page *p, unsigned i)
{
	return (const struct node *)((const char *)p + p->nodes[i]);
}

static inline unsigned node_count(const struct page *p)
{
	return (p->lower - sizeof(*p)) / 2;
}

static inline uint64_t node_child(const struct node *n)
{
	return n->low | (uint64_t)n->high << 16 | (uint64_t)n->flags << 32;
}

static inline size_t node_value_size(const struct node *n)
{
	return n->low | (size_t)n->high << 16;
}

/* The page with its bytes in the map, whatever they are. NULL: it is beyond the file or the state's last page. */
const struct page *page_raw(const struct snapshot *s, uint64_t number);
/* A page of a tree whose nodes can be followed; NULL: it is damaged. *ret_clean: all values in it are good, too. */
const struct page *page_look(const struct snapshot *s, uint64_t number, unsigned kind, bool *ret_clean);
/* Of a leaf's node. -EUCLEAN: the value is damaged. */
int node_value(const struct snapshot *s, const struct node *n, bool clean, struct db_value *ret);
/* With `strict` there must be a check, also in a store where some have none. */
int node_checked(const struct snapshot *s, const struct node *n, bool clean, bool strict, struct db_value *ret);
/* Where a value of this node is that is elsewhere, in how many pages. NULL: the page there is not its. */
const struct page *node_overflow(const struct snapshot *s, const struct node *n, size_t *ret_pages);
bool page_is_good(const struct snapshot *s, const struct page *p, uint64_t number, unsigned kind);

/* Of a good leaf; values on other pages are not looked at. */
bool page_values_are_good(const struct snapshot *s, const struct page *p);

/* The keys in branches between which a page hangs; NULL: none on that side. */
struct bounds {
	const struct node *from, *to;
};
struct lost {
	uint64_t number;	/* the page */
	bool is_leaf;		/* it was to be one */
	struct bounds bounds;
};
bool page_is_within(const struct page *p, const struct bounds *b);
int node_compare(const struct node *a, const void *key, size_t key_size);
/* Whether this many pages from `number` on are there. */
bool pages_are_there(const struct snapshot *s, uint64_t number, uint64_t count);

/* Of either of the two metas. -EUCLEAN. */
int pages_meta(struct pages *p, unsigned which, struct snapshot *ret);

#endif
