#include "temp.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define LIMIT 4096	/* a power of two */

struct temp {
	uint64_t ino;
	struct ticket_set *set;
	bool fresh;
};

/* Slots by number: a newer file takes the place of one that is LIMIT files older. */
struct temps {
	pthread_mutex_t lock;
	struct temp slots[LIMIT];	/* lock */
};

int temps_new(struct temps **ret)
{
	struct temps *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	pthread_mutex_init(&t->lock, NULL);
	*ret = t;
	return 0;
}

void temps_free(struct temps *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < LIMIT; i++)
		ticket_set_free(t->slots[i].set);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

void temps_add(struct temps *t, uint64_t ino, struct ticket_set *set, bool fresh)
{
	struct temp *slot = &t->slots[ino & (LIMIT - 1)];
	struct ticket_set *old;

	pthread_mutex_lock(&t->lock);
	if (slot->ino == ino)
		fresh = fresh || slot->fresh;
	old = slot->set;
	*slot = (struct temp){ ino, set, fresh };
	pthread_mutex_unlock(&t->lock);
	ticket_set_free(old);
}

struct ticket_set *temps_take(struct temps *t, uint64_t ino, bool *ret_fresh)
{
	struct temp *slot = &t->slots[ino & (LIMIT - 1)];
	struct ticket_set *set = NULL;

	*ret_fresh = false;
	pthread_mutex_lock(&t->lock);
	if (slot->ino == ino) {
		set = slot->set;
		*ret_fresh = slot->fresh;
		*slot = (struct temp){ 0 };
	}
	pthread_mutex_unlock(&t->lock);
	return set;
}

void temps_forget(struct temps *t, uint64_t ino)
{
	bool fresh;

	ticket_set_free(temps_take(t, ino, &fresh));
}
