/*
 * An ordered map of byte strings in memory: what has been done but is not yet on disk. A skip list (Pugh 1990).
 * No lock inside; db.c says which lock guards which map.
 */
#ifndef STORE_MEM_H
#define STORE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEM_LEVELS 16

struct mem_node {
	char *key, *value;	/* the value is owned; NULL for a removed key */
	size_t key_size, value_size;
	struct mem_node *next_loose;
	bool removed, loose;
	int levels;
	struct mem_node *next[];	/* the key's bytes lie behind */
};

struct mem {
	struct mem_node *first[MEM_LEVELS];
	struct mem_node *loose;		/* those that were merged as such, in no order; linked by next_loose */
	size_t bytes, count;
};

void mem_release(struct mem *m);

/* The first node whose key is not below `key`, or NULL. Borrowed until that key changes. */
struct mem_node *mem_seek(const struct mem *m, const void *key, size_t key_size);

/* The node of exactly this key, or NULL. */
struct mem_node *mem_get(const struct mem *m, const void *key, size_t key_size);

/* Sets the value, or marks the key as removed (value NULL). Bytes are copied. 0 or -ENOMEM with the map unchanged. */
int mem_put(struct mem *m, const void *key, size_t key_size, const void *value, size_t value_size);

/*
 * Moves all nodes of `from` into m, replacing what is there. With `loose` they join m's list of loose nodes; without, those that
 * replace one leave it there. Cannot fail; `from` is empty afterwards.
 */
void mem_merge(struct mem *m, struct mem *from, bool loose);

/* No node is loose any more, or all are. */
void mem_fasten(struct mem *m);
void mem_loosen(struct mem *m);

int mem_compare(const void *a, size_t a_size, const void *b, size_t b_size);

#endif
