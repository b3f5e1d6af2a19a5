/*
 * A hash table by inode that only grows: the first save of a document decides. Half of its slots are used; what comes after that is noted by
 * `full` alone, and whoever asks must then take it that anything may have been saved.
 */
#include "epoch.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "bound.h"

#define SLOTS (1u << 20)	/* a power of two; half of them are used. Memory that is not written to costs nothing */

struct epoch {
	pthread_mutex_t lock;
	/* Under `lock`. */
	unsigned count;
	bool full;
	unsigned size;		/* fixed */
	struct {
		uint64_t ino, version;
	} slots[];
};

int epoch_new(unsigned slots, struct epoch **ret)
{
	size_t size = slots ? slots : SLOTS;
	struct epoch *e = calloc(1, sizeof(*e) + size * sizeof(*e->slots));

	if (!e)
		return -ENOMEM;
	e->size = (unsigned)size;
	pthread_mutex_init(&e->lock, NULL);
	*ret = e;
	return 0;
}

void epoch_free(struct epoch *e)
{
	if (!e)
		return;
	pthread_mutex_destroy(&e->lock);
	free(e);
}

/* Where the inode is, or would be. Needs the lock. */
static unsigned slot_of(const struct epoch *e, uint64_t ino)
{
	unsigned i = (ino * 0x9e3779b97f4a7c15u >> 32) & (e->size - 1);

	while (e->slots[i].ino && e->slots[i].ino != ino)
		i = (i + 1) & (e->size - 1);
	return i;
}

void epoch_saved(struct epoch *e, uint64_t ino, uint64_t previous)
{
	unsigned i;

	pthread_mutex_lock(&e->lock);
	i = slot_of(e, ino);
	if (!e->slots[i].ino && e->count < e->size / 2) {
		e->slots[i].ino = ino;
		e->slots[i].version = previous;
		e->count++;
	} else if (!e->slots[i].ino) {
		e->full = true;
		bound_met(BOUND_BEFORE);
	}
	pthread_mutex_unlock(&e->lock);
}

bool epoch_version(struct epoch *e, uint64_t ino, uint64_t *ret)
{
	bool found;
	unsigned i;

	pthread_mutex_lock(&e->lock);
	i = slot_of(e, ino);
	found = e->slots[i].ino == ino;
	if (found)
		*ret = e->slots[i].version;
	pthread_mutex_unlock(&e->lock);
	return found;
}

bool epoch_full(struct epoch *e)
{
	bool full;

	pthread_mutex_lock(&e->lock);
	full = e->full;
	pthread_mutex_unlock(&e->lock);
	return full;
}
