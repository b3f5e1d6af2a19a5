/* A slot for each thread, by its number; who comes to a slot drives the other out. */
#include "looked.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define THREADS 256	/* one that is driven out is only asked less exactly */

struct look {
	pid_t thread;
	uint64_t ino, parent;
	unsigned times;		/* that it was told to look again since, one after the other */
	bool anew;		/* it is to, for a file that it empties */
	bool gone;		/* it asked for attributes, and was told to look again */
	char name[STORE_NAME_MAX + 1];
};

struct looked {
	pthread_mutex_t lock;
	atomic_bool any_gone;		/* since the daemon began */
	struct look looks[THREADS];	/* lock */
};

int looked_new(struct looked **ret)
{
	struct looked *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	pthread_mutex_init(&l->lock, NULL);
	*ret = l;
	return 0;
}

void looked_free(struct looked *l)
{
	if (!l)
		return;
	pthread_mutex_destroy(&l->lock);
	free(l);
}

static bool is_same(const struct look *e, pid_t thread, uint64_t parent, const char *name)
{
	return thread > 0 && e->thread == thread && e->parent == parent && strcmp(e->name, name) == 0;
}

void looked_note(struct looked *l, pid_t thread, uint64_t ino, uint64_t parent, const char *name)
{
	struct look *e = &l->looks[(unsigned)thread % THREADS];

	if (thread <= 0 || strlen(name) > STORE_NAME_MAX)
		return;
	pthread_mutex_lock(&l->lock);
	/* The kernel asks twice when the name leads to another file than it did. */
	if (!is_same(e, thread, parent, name)) {
		e->times = 0;
		e->gone = false;
	}
	e->thread = thread;
	e->ino = ino;
	e->parent = parent;
	strcpy(e->name, name);
	pthread_mutex_unlock(&l->lock);
}

bool looked_name(struct looked *l, pid_t thread, uint64_t ino, uint64_t *ret_parent, char name[STORE_NAME_MAX + 1])
{
	const struct look *e = &l->looks[(unsigned)thread % THREADS];
	bool found;

	pthread_mutex_lock(&l->lock);
	found = thread > 0 && e->thread == thread && e->ino == ino;
	if (found) {
		*ret_parent = e->parent;
		strcpy(name, e->name);
	}
	pthread_mutex_unlock(&l->lock);
	return found;
}

unsigned looked_stale(struct looked *l, pid_t thread, uint64_t ino, bool anew)
{
	struct look *e = &l->looks[(unsigned)thread % THREADS];
	unsigned times = 0;

	pthread_mutex_lock(&l->lock);
	if (thread > 0 && e->thread == thread && e->ino == ino) {
		times = ++e->times;
		e->anew = anew;
	}
	pthread_mutex_unlock(&l->lock);
	return times;
}

bool looked_gone(struct looked *l, pid_t thread, uint64_t ino)
{
	struct look *e = &l->looks[(unsigned)thread % THREADS];
	bool again = false;

	pthread_mutex_lock(&l->lock);
	if (thread > 0 && e->thread == thread && e->ino == ino) {
		again = e->gone;
		e->gone = !again;
		atomic_store(&l->any_gone, true);
	}
	pthread_mutex_unlock(&l->lock);
	return again;
}

void looked_found(struct looked *l, pid_t thread)
{
	struct look *e = &l->looks[(unsigned)thread % THREADS];

	/* Attributes are asked for often, and hardly ever is one gone. */
	if (!atomic_load(&l->any_gone))
		return;
	pthread_mutex_lock(&l->lock);
	if (e->thread == thread)
		e->gone = false;
	pthread_mutex_unlock(&l->lock);
}

void looked_opened(struct looked *l, pid_t thread)
{
	struct look *e = &l->looks[(unsigned)thread % THREADS];

	pthread_mutex_lock(&l->lock);
	if (e->thread == thread)
		e->times = 0;
	pthread_mutex_unlock(&l->lock);
}

bool looked_again(struct looked *l, pid_t thread, uint64_t parent, const char *name)
{
	struct look *e = &l->looks[(unsigned)thread % THREADS];
	bool again;

	pthread_mutex_lock(&l->lock);
	again = is_same(e, thread, parent, name) && e->times && e->anew;
	e->anew &= !again;
	pthread_mutex_unlock(&l->lock);
	return again;
}
