#include "looked.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define THREADS 256	/* one that is driven out is only asked less exactly */
#define STALE UINT64_MAX	/* in place of a file's number: it has gone, and the thread looks again */

struct look {
	pid_t thread;
	uint64_t ino, parent;
	char name[STORE_NAME_MAX + 1];
};

struct looked {
	pthread_mutex_t lock;
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

void looked_note(struct looked *l, pid_t thread, uint64_t ino, uint64_t parent, const char *name)
{
	struct look *e = &l->looks[(unsigned)thread % THREADS];

	if (thread <= 0 || strlen(name) > STORE_NAME_MAX)
		return;
	pthread_mutex_lock(&l->lock);
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

void looked_stale(struct looked *l, pid_t thread)
{
	looked_note(l, thread, STALE, 0, "");
}

bool looked_again(struct looked *l, pid_t thread)
{
	struct look *e = &l->looks[(unsigned)thread % THREADS];
	bool again;

	pthread_mutex_lock(&l->lock);
	again = thread > 0 && e->thread == thread && e->ino == STALE;
	if (again)
		e->ino = 0;
	pthread_mutex_unlock(&l->lock);
	return again;
}
