/* A ring of the latest renames; the look-up goes from the newest back. */
#include "renamed.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bound.h"

#define COUNT 1024	/* renames that are remembered; an older one is forgotten, and what is made of its name begins anew */
#define SECONDS 10

struct rename {
	uint64_t ino, parent;
	char name[STORE_NAME_MAX + 1];
	struct process who;
	enum renamed_seen seen;
	time_t at;
};

struct renamed {
	pthread_mutex_t lock;
	/* Under `lock`. */
	unsigned next;
	struct rename list[COUNT];
};

int renamed_new(struct renamed **ret)
{
	struct renamed *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	pthread_mutex_init(&r->lock, NULL);
	*ret = r;
	return 0;
}

void renamed_free(struct renamed *r)
{
	if (!r)
		return;
	pthread_mutex_destroy(&r->lock);
	free(r);
}

static time_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

void renamed_add(struct renamed *r, uint64_t ino, uint64_t parent, const char *name, const struct process *who, enum renamed_seen seen)
{
	struct rename *e;

	pthread_mutex_lock(&r->lock);
	e = &r->list[r->next++ % COUNT];
	if (r->next > COUNT && now() - e->at <= SECONDS)
		bound_met(BOUND_RENAMES);
	*e = (struct rename){ .ino = ino, .parent = parent, .who = *who, .seen = seen, .at = now() };
	strncpy(e->name, name, STORE_NAME_MAX);
	pthread_mutex_unlock(&r->lock);
}

/* The i-th latest, or NULL when that is too long ago. Needs the lock. */
static const struct rename *latest(const struct renamed *r, unsigned i)
{
	const struct rename *e = &r->list[(r->next - 1 - i) % COUNT];

	return i < COUNT && i < r->next && now() - e->at <= SECONDS ? e : NULL;
}

bool renamed_by(struct renamed *r, uint64_t parent, const char *name, const struct process *who, pid_t *ret_thread, enum renamed_seen *ret_seen)
{
	const struct rename *e;
	bool found = false;

	pthread_mutex_lock(&r->lock);
	for (unsigned i = 0; !found && (e = latest(r, i)); i++)
		found = e->parent == parent && strcmp(e->name, name) == 0;
	found = found && process_same(&e->who, who);
	if (found && ret_thread)
		*ret_thread = e->who.tid;
	if (found && ret_seen)
		*ret_seen = e->seen;
	pthread_mutex_unlock(&r->lock);
	return found;
}
