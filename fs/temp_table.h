/*
 * The table of temp files, for temp.c alone. All functions need its lock unless they say otherwise; entries are freed without it.
 */
#ifndef FS_TEMP_TABLE_H
#define FS_TEMP_TABLE_H

#include <pthread.h>
#include <sys/queue.h>
#include <time.h>

#include "mount.h"

#define TEMP_BYTES_MAX (64u << 20)	/* of all `bytes` */
#define TEMP_BUCKETS 1024
#define TEMP_FORMERS 128

/* A process had a file of that name, or several, that had to go before it was renamed. */
struct forgotten {
	TAILQ_ENTRY(forgotten) age;
	struct process who;
	uint64_t parent;
	time_t at;			/* the latest */
	char name[];
};

TAILQ_HEAD(temp_ages, temp);
LIST_HEAD(temp_list, temp);

struct temps {
	pthread_mutex_t lock;
	/* Under `lock`. */
	/* By parent and name (of which many directories may have the same), inode, and id; the newest first. */
	struct temp_list named_so[TEMP_BUCKETS], of_ino[TEMP_BUCKETS], of_id[TEMP_BUCKETS];
	struct temp_ages named, lost;		/* the oldest first */
	unsigned named_count, lost_count;
	TAILQ_HEAD(, forgotten) forgotten;	/* the one whose latest is the oldest first */
	unsigned forgotten_count;
	time_t forgot;		/* when the latest of those was written that had to go though somebody might still rename it; 0: none */
	uint64_t next_id;
	size_t bytes;
	unsigned next_former;
	struct store_attr formers[TEMP_FORMERS];	/* renamed lately */
};

/* Not in the table yet. No lock. NULL: out of memory. */
struct temp *temp_new(const struct process *who, const struct store_attr *a, uint64_t parent, unsigned flags);
void temp_insert(struct temps *t, struct temp *e);
/* Another has its name now. */
void temp_lose(struct temps *t, struct temp *e);
void temp_regain(struct temps *t, struct temp *e);
/* Takes it out; what is to be freed goes to *gone, for temp_settle_all. */
void temp_discard(struct temps *t, struct temp *e, struct temp **gone);
/* Lets go of what nobody waits for, and keeps those that have a name within their bound. */
void temp_sweep(struct temps *t, struct temp **gone);
/*
 * Makes room before the process opens one more file under that name, which may take the name from another's (`shared`). What is saved
 * already goes first; else the oldest goes, and that its process has it no more is remembered. -ENFILE: not even for that is there room.
 */
int temp_room(struct temps *t, const struct process *who, uint64_t parent, const char *name, bool shared, struct temp **gone);

/* Whether the process has written a file of that name in the last TEMP_SECONDS that had to go. */
bool temp_was_forgotten(struct temps *t, const struct process *who, uint64_t parent, const char *name);

/* The next after that entry, or the first (NULL), of a name there, and of a file. NULL: there is none. */
struct temp *temp_named(struct temps *t, uint64_t parent, const char *name, const struct temp *after);
struct temp *temp_of(struct temps *t, const char *name, uint64_t ino, const struct temp *after);
/* It is of another file from now on. */
void temp_move(struct temps *t, struct temp *e, uint64_t ino);
/* The latest of that file. */
struct temp *temp_find(struct temps *t, const char *name, uint64_t ino);
struct temp *temp_find_id(struct temps *t, const char *name, uint64_t id);
const struct store_attr *temp_find_former(const struct temps *t, uint64_t ino);
/*
 * Who wrote what the process means by that name: itself, or when it has written none, the program before it that the same shell has started
 * with its output there. Reads /proc for the latter only.
 */
struct process temp_writer(struct mount *m, const struct process *who, uint64_t parent, const char *name);
/* Whether somebody is there who may still rename it. */
bool temp_is_awaited(const struct temp *e);
/* Of the process's files under a name that leads to inode `linked`, or 0, the one that it would find there if it were alone. */
struct temp *temp_pick(struct temps *t, const struct process *who, uint64_t parent, const char *name, uint64_t linked, bool events);

time_t temp_now(void);

/* Without the lock: a file that has no name is forgotten when nobody waits for it and nobody has it open. */
void temp_settle(struct mount *m, const char *name, uint64_t ino);
void temp_settle_all(struct mount *m, struct temp *gone);
void temp_destroy(struct temp *e);

#endif
