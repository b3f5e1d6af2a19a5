#include "shown.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bound.h"

#define SLOTS 1024		/* a power of two */
#define WAYS 4			/* slots that a process and a file may have: of these the one that was used least lately goes */
#define DEPTH 256		/* what one process was told of one file, each version once a thread: many tasks may be about to read */
#define OF_THREAD 64		/* of these, what one thread was told, so that a thread that waits meanwhile is not driven out */
#define NODE_BUFFER 524288	/* what fs.promises.readFile reads at a time */

struct told {
	pid_t tid;
	uint64_t version, size, at;
};

struct slot {
	pid_t tgid;
	uint64_t start, ino;
	uint64_t last;		/* when it was told something */
	struct told *told;
	unsigned count, room;	/* room: at most DEPTH */
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
	for (unsigned i = 0; i < SLOTS; i++)
		free(s->slots[i].told);
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

static bool is_of(const struct slot *slot, const struct process *who, uint64_t ino)
{
	return slot->tgid == who->tgid && slot->start == who->start && slot->ino == ino;
}

/* The slot of this process and file; when there is none, the one that it may take. */
static struct slot *slot_of(struct shown *s, const struct process *who, uint64_t ino)
{
	uint64_t h = (ino * 0x9e3779b97f4a7c15u) ^ ((uint64_t)who->tgid * 0xff51afd7ed558ccdu);
	struct slot *set = &s->slots[h >> 40 & (SLOTS - WAYS)], *found = set;

	for (struct slot *slot = set; slot < set + WAYS; slot++) {
		if (is_of(slot, who, ino))
			return slot;
		if (slot->last < found->last)
			found = slot;
	}
	return found;
}

static struct told *oldest(struct slot *slot, pid_t tid)
{
	struct told *found = NULL;
	unsigned count = 0;

	for (struct told *t = slot->told; t < slot->told + slot->count; t++) {
		if (tid && t->tid != tid)
			continue;
		count++;
		if (!found || t->at < found->at)
			found = t;
	}
	return !tid || count >= OF_THREAD ? found : NULL;
}

/* Where this is to be noted: over the same, in a free place, or over the oldest. NULL: out of memory. */
static struct told *place_for(struct slot *slot, pid_t tid, uint64_t version)
{
	struct told *t;

	for (t = slot->told; t < slot->told + slot->count; t++) {
		if (t->tid == tid && t->version == version)
			return t;
	}
	t = slot->count < slot->room ? NULL : oldest(slot, tid);
	if (t)
		return t;
	if (slot->count == slot->room && slot->room < DEPTH) {
		unsigned room = slot->room ? slot->room * 2 : 8;
		struct told *more = realloc(slot->told, room * sizeof(*more));

		if (more) {
			slot->told = more;
			slot->room = room;
		}
	}
	return slot->count < slot->room ? &slot->told[slot->count++] : oldest(slot, 0);
}

void shown_tell(struct shown *s, const struct process *who, uint64_t ino, uint64_t version, uint64_t size)
{
	struct slot *slot;
	struct told *t;

	if (!who->known)
		return;
	pthread_mutex_lock(&s->lock);
	slot = slot_of(s, who, ino);
	if (!is_of(slot, who, ino)) {
		if (slot->count && s->now - slot->last < SLOTS)
			bound_met(BOUND_SIZES);
		slot->tgid = who->tgid;
		slot->start = who->start;
		slot->ino = ino;
		slot->count = 0;
	}
	t = place_for(slot, who->tid, version);
	if (t)
		*t = (struct told){ who->tid, version, size, ++s->now };
	slot->last = s->now;
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
	struct told *newest = NULL;
	struct slot *slot;
	uint64_t version = 0;

	if (!who->known)
		return 0;
	pthread_mutex_lock(&s->lock);
	slot = slot_of(s, who, ino);
	for (unsigned i = 0; is_of(slot, who, ino) && i < slot->count; i++) {
		struct told *t = &slot->told[i];
		int this = fit(t, who, size, since), that = best ? fit(best, who, size, since) : 0;

		if (this > that || (this && this == that && t->at > best->at))
			best = t;
		if (!newest || t->at > newest->at)
			newest = t;
	}
	if (best) {
		version = best->version;
	} else if (newest && newest->tid == who->tid && newest->size == size) {
		/* stat, open, read of just that size. Once: a buffer may have that size by chance. */
		version = newest->version;
		newest->version = 0;
	}
	pthread_mutex_unlock(&s->lock);
	return version;
}

struct lock {
	long pid;	/* below 1: that is not told */
	unsigned major, minor;	/* of the filesystem's device; major 0: it has no disk */
	unsigned long long ino;
};

/* A line of /proc/locks, or of a descriptor's information. False: it only waits for its lock. */
static bool parse_lock(const char *line, struct lock *ret)
{
	return !strstr(line, "->") && sscanf(line, "%*s %*s %*s %*s %ld %x:%x:%llu", &ret->pid, &ret->major, &ret->minor, &ret->ino) == 4;
}

/* Whether one of the process's descriptors holds a lock. True when that is not told. */
static bool holds(pid_t tgid)
{
	char path[64], line[256];
	bool locked = false;
	struct dirent *e;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo", (int)tgid);
	dir = opendir(path);
	if (!dir)
		return true;
	while (!locked && (e = readdir(dir))) {
		int fd = openat(dirfd(dir), e->d_name, O_RDONLY | O_CLOEXEC);
		FILE *f = fd < 0 || *e->d_name == '.' ? NULL : fdopen(fd, "r");
		struct lock lock;

		if (!f && fd >= 0)
			close(fd);
		while (f && !locked && fgets(line, sizeof(line), f))
			locked = strncmp(line, "lock:", 5) == 0 && parse_lock(line + 5, &lock);
		if (f)
			fclose(f);
	}
	closedir(dir);
	return locked;
}

bool shown_locked(const struct process *who)
{
	FILE *f = fopen("/proc/locks", "re");
	bool locked = false, untold = false;
	char line[256];
	struct lock lock;

	if (!f)
		return false;
	while (!locked && fgets(line, sizeof(line), f)) {
		if (!parse_lock(line, &lock))
			continue;
		locked = lock.pid == who->tgid;
		untold |= lock.pid < 1;
	}
	fclose(f);
	return locked || (untold && holds(who->tgid));
}

bool shown_held(unsigned device, uint64_t ino)
{
	FILE *f = fopen("/proc/locks", "re");
	bool held = false;
	char line[256];
	struct lock lock;

	if (!f)
		return false;
	while (!held && fgets(line, sizeof(line), f))
		held = parse_lock(line, &lock) && !lock.major && (!device || lock.minor == device) && lock.ino == ino;
	fclose(f);
	return held;
}
