#include "shown.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS 1024		/* a power of two */
#define DEPTH 8			/* what one process was told of one file by its threads */
#define NODE_BUFFER 524288	/* what fs.promises.readFile reads at a time */

struct told {
	pid_t tid;
	uint64_t version, size, at;
};

struct slot {
	pid_t tgid;
	uint64_t start, ino;
	unsigned next;
	struct told told[DEPTH];
};

struct shown {
	pthread_mutex_t lock;
	/* Under `lock`. */
	uint64_t now;
	struct slot slots[SLOTS];
};

int shown_new(struct shown **ret)
{
	struct shown *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	pthread_mutex_init(&s->lock, NULL);
	*ret = s;
	return 0;
}

void shown_free(struct shown *s)
{
	if (!s)
		return;
	pthread_mutex_destroy(&s->lock);
	free(s);
}

uint64_t shown_now(struct shown *s)
{
	uint64_t now;

	pthread_mutex_lock(&s->lock);
	now = ++s->now;
	pthread_mutex_unlock(&s->lock);
	return now;
}

static struct slot *slot_of(struct shown *s, const struct process *who, uint64_t ino)
{
	uint64_t h = (ino * 0x9e3779b97f4a7c15u) ^ ((uint64_t)who->tgid * 0xff51afd7ed558ccdu);

	return &s->slots[h >> 40 & (SLOTS - 1)];
}

static bool is_of(const struct slot *slot, const struct process *who, uint64_t ino)
{
	return slot->tgid == who->tgid && slot->start == who->start && slot->ino == ino;
}

void shown_tell(struct shown *s, const struct process *who, uint64_t ino, uint64_t version, uint64_t size)
{
	struct slot *slot;

	if (!who->known)
		return;
	pthread_mutex_lock(&s->lock);
	slot = slot_of(s, who, ino);
	if (!is_of(slot, who, ino))
		*slot = (struct slot){ .tgid = who->tgid, .start = who->start, .ino = ino };
	slot->told[slot->next++ % DEPTH] = (struct told){ who->tid, version, size, ++s->now };
	pthread_mutex_unlock(&s->lock);
}

/* How well what was told fits a read; 0: not at all. */
static int fit(const struct told *t, const struct process *who, uint64_t size, uint64_t since)
{
	if (!t->version || t->at < since)
		return 0;
	if (size == t->size || (size == NODE_BUFFER && size < t->size))
		return 3;
	return t->tid == who->tid ? 2 : 1;
}

uint64_t shown_version(struct shown *s, const struct process *who, uint64_t ino, uint64_t size, uint64_t since)
{
	const struct told *best = NULL;
	const struct slot *slot;
	uint64_t version = 0;

	if (!who->known)
		return 0;
	pthread_mutex_lock(&s->lock);
	slot = slot_of(s, who, ino);
	for (unsigned i = 0; is_of(slot, who, ino) && i < DEPTH; i++) {
		const struct told *t = &slot->told[i];
		int this = fit(t, who, size, since), that = best ? fit(best, who, size, since) : 0;

		if (this > that || (this && this == that && t->at > best->at))
			best = t;
	}
	if (best)
		version = best->version;
	pthread_mutex_unlock(&s->lock);
	return version;
}

static bool find_lock(const struct process *who, uint64_t ino)
{
	FILE *f = fopen("/proc/locks", "re");
	bool locked = false;
	char line[256];

	if (!f)
		return false;
	while (!locked && fgets(line, sizeof(line), f)) {
		unsigned long long inode;
		unsigned major, minor;
		long pid;

		if (strstr(line, "->"))
			continue;	/* waits for its lock */
		if (sscanf(line, "%*s %*s %*s %*s %ld %x:%x:%llu", &pid, &major, &minor, &inode) == 4)
			locked = who ? pid == who->tgid || (pid < 1 && inode == ino) : !major && inode == ino;
	}
	fclose(f);
	return locked;
}

bool shown_locked(const struct process *who, uint64_t ino)
{
	return find_lock(who, ino);
}

bool shown_held(uint64_t ino)
{
	return find_lock(NULL, ino);
}
