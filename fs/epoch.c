#include "epoch.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define SLOTS (1u << 20)	/* a power of two; half of them are used. Memory that is not written to costs nothing */

struct epoch {
	pthread_mutex_t lock;
	/* Under `lock`. */
	unsigned count;
	struct {
		uint64_t ino, version;
	} slots[SLOTS];
};

int epoch_new(struct epoch **ret)
{
	struct epoch *e = calloc(1, sizeof(*e));

	if (!e)
		return -ENOMEM;
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
	unsigned i = (ino * 0x9e3779b97f4a7c15u >> 32) & (SLOTS - 1);

	while (e->slots[i].ino && e->slots[i].ino != ino)
		i = (i + 1) & (SLOTS - 1);
	return i;
}

void epoch_saved(struct epoch *e, uint64_t ino, uint64_t previous)
{
	unsigned i;

	pthread_mutex_lock(&e->lock);
	i = slot_of(e, ino);
	if (!e->slots[i].ino && e->count < SLOTS / 2) {
		e->slots[i].ino = ino;
		e->slots[i].version = previous;
		e->count++;
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
