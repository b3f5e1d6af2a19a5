#include "mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int mem_compare(const void *a, size_t a_size, const void *b, size_t b_size)
{
	int c = memcmp(a, b, a_size < b_size ? a_size : b_size);

	if (c)
		return c;
	return (a_size > b_size) - (a_size < b_size);
}

static void node_free(struct mem_node *n)
{
	if (!n)
		return;
	free(n->value);
	free(n);
}

static size_t node_bytes(const struct mem_node *n)
{
	return sizeof(*n) + n->levels * sizeof(n->next[0]) + n->key_size + n->value_size;
}

void mem_release(struct mem *m)
{
	struct mem_node *n = m->first[0], *next;

	for (; n; n = next) {
		next = n->next[0];
		node_free(n);
	}
	*m = (struct mem){ 0 };
}

/* Sets links[l] to the pointer that leads to the first node at level l whose key is not below `key`. */
static void find(struct mem *m, const void *key, size_t key_size, struct mem_node **links[MEM_LEVELS])
{
	struct mem_node **at = m->first;

	for (int l = MEM_LEVELS - 1; l >= 0; l--) {
		while (at[l] && mem_compare(at[l]->key, at[l]->key_size, key, key_size) < 0)
			at = at[l]->next;
		links[l] = &at[l];
	}
}

struct mem_node *mem_seek(const struct mem *m, const void *key, size_t key_size)
{
	struct mem_node **links[MEM_LEVELS];

	if (!m->count)
		return NULL;
	find((struct mem *)m, key, key_size, links);
	return *links[0];
}

struct mem_node *mem_get(const struct mem *m, const void *key, size_t key_size)
{
	struct mem_node *n = mem_seek(m, key, key_size);

	return n && mem_compare(n->key, n->key_size, key, key_size) == 0 ? n : NULL;
}

/* One sequence for all maps of a thread: nodes move from many small maps to a large one, which needs some high ones. */
static int random_levels(void)
{
	static _Thread_local uint32_t random = 1;
	int levels = 1;

	random = random * 1664525u + 1013904223u;
	for (uint32_t r = random >> 8; (r & 3) == 0 && levels < MEM_LEVELS; r >>= 2)
		levels++;
	return levels;
}

static struct mem_node *node_new(const void *key, size_t key_size)
{
	int levels = random_levels();
	struct mem_node *n = malloc(sizeof(*n) + levels * sizeof(n->next[0]) + key_size);

	if (!n)
		return NULL;
	*n = (struct mem_node){ .levels = levels, .key = (char *)&n->next[levels], .key_size = key_size };
	memcpy(n->key, key, key_size);
	return n;
}

static void link_node(struct mem *m, struct mem_node *n, struct mem_node **links[MEM_LEVELS])
{
	for (int l = 0; l < n->levels; l++) {
		n->next[l] = *links[l];
		*links[l] = n;
	}
	m->count++;
	m->bytes += node_bytes(n);
}

int mem_put(struct mem *m, const void *key, size_t key_size, const void *value, size_t value_size)
{
	struct mem_node **links[MEM_LEVELS], *n;
	char *copy = NULL;

	if (value) {
		copy = malloc(value_size ? value_size : 1);
		if (!copy)
			return -ENOMEM;
		memcpy(copy, value, value_size);
	}
	find(m, key, key_size, links);
	n = *links[0];
	if (!n || mem_compare(n->key, n->key_size, key, key_size) != 0) {
		n = node_new(key, key_size);
		if (!n) {
			free(copy);
			return -ENOMEM;
		}
		link_node(m, n, links);
	}
	m->bytes -= n->value_size;
	free(n->value);
	n->value = copy;
	n->value_size = value ? value_size : 0;
	m->bytes += n->value_size;
	n->removed = !value;
	return 0;
}

static void add_loose(struct mem *m, struct mem_node *n)
{
	if (n->loose)
		return;
	n->loose = true;
	n->next_loose = m->loose;
	m->loose = n;
}

void mem_merge(struct mem *m, struct mem *from, bool loose)
{
	struct mem_node *n = from->first[0], *next, *old;
	struct mem_node **links[MEM_LEVELS];

	for (; n; n = next) {
		next = n->next[0];
		find(m, n->key, n->key_size, links);
		old = *links[0];
		n->loose = false;
		if (old && mem_compare(old->key, old->key_size, n->key, n->key_size) == 0) {
			m->bytes += n->value_size;
			m->bytes -= old->value_size;
			free(old->value);
			old->value = n->value;
			old->value_size = n->value_size;
			old->removed = n->removed;
			n->value = NULL;
			node_free(n);
			n = old;
		} else {
			link_node(m, n, links);
		}
		if (loose)
			add_loose(m, n);
	}
	*from = (struct mem){ 0 };
}

void mem_fasten(struct mem *m)
{
	for (struct mem_node *n = m->loose; n; n = n->next_loose)
		n->loose = false;
	m->loose = NULL;
}

void mem_loosen(struct mem *m)
{
	for (struct mem_node *n = m->first[0]; n; n = n->next[0])
		add_loose(m, n);
}
