/*
 * What each process has seen and written of each name, within bounds of memory and age. Private to the tickets: no function takes
 * the lock but seen_lock, and all others are called with it held.
 *
 * A client is a process, a record is what it knows of one name, an entry of a record is a ticket or a document that the
 * process wrote.
 *
 * Time is one clock: nanoseconds after boot, made unique. So a stamp orders events, names an entry within its record, tells
 * its age, and compares with the start time of a process. Entries that ended are kept for a while: for sets frozen before that,
 * and for children forked before that which make their first request later.
 */
#ifndef FS_SEEN_H
#define FS_SEEN_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "belief/evidence.h"
#include "process.h"

#define SEEN_FORGOTTEN 65536	/* marks of names that were forgotten; several names may share one */
#define SEEN_WRITING 4		/* files of a process that are remembered as opened for writing */

struct list {
	struct list *prev, *next;
};

struct link {
	struct link *next;
	uint64_t hash;
};

struct table {
	struct link **buckets;
	size_t size, count;
};

/* Version numbers, ascending. Bases share it: each sees a slice, and only the one that ends at `count` may append in place. */
struct own {
	uint32_t refs, capacity, count;
	uint64_t versions[];
};

struct entry {
	uint64_t ino, version;
	uint64_t oldest;	/* several reads: of any version from this to `version`; 0: of `version` alone */
	struct own *own;	/* NULL when own_count is 0 */
	uint32_t own_from, own_count;
	uint64_t first, last;	/* shown; or committed */
	uint64_t ended;		/* used up, or replaced by a newer document; 0: live */
	pid_t thread;
	uint32_t count;		/* uses left */
	bool written;
	bool unlinked;		/* ended by its process, with the name: sets frozen before don't go on from it either */
};

/* An open set needs the documents that its process wrote since, and the one before. */
struct freeze {
	struct list of_client;
	uint64_t stamp;
};

struct client {
	struct link by_id, by_group;
	struct process who;
	pid_t group, above;	/* process group, and the parent process */
	struct client *parent;	/* the nearest process above that had been seen; holds a reference */
	uint64_t forked;	/* when it, or the process between, was forked from `parent`; clock ticks */
	unsigned refs;		/* of children and sets */
	uint64_t checked;
	uint64_t forgot;	/* when something that it had seen was last forgotten, or not noted, for want of room or memory; 0: never */
	uint64_t exited;	/* when that was noticed; 0: alive */
	struct {
		uint64_t ino, at;
	} writing[SEEN_WRITING];	/* opened for writing last */
	unsigned next_writing;
	struct list records;
	struct list frozen;	/* struct freeze of its open sets, the oldest first */
	struct list check;
	struct habit *habit;	/* of names that it has saved a few times only; NULL: it has saved none */
};

/* How a process reads and saves one name. */
struct manner {
	struct reads reads;
	struct habit habit;
};

struct record {
	struct link by_name;
	struct list of_client;
	struct list used;	/* in seen.used, by time of touch */
	struct client *client;
	uint64_t parent, touched;
	uint64_t alone;		/* since when the tickets of the process's parents are used up; 0: they are not */
	uint64_t forgot;	/* when the latest of the ended entries ended that are not remembered, though young enough; 0: there are none */
	struct entry *entries;
	struct manner *manner;	/* NULL: it has not saved it */
	uint16_t count, capacity;
	bool absent;		/* only ever seen absent */
	char name[];
};

struct seen {
	struct processes *processes;
	uint64_t ttl, exited_ttl;
	size_t max_bytes;
	bool weighs;		/* evidence decides; set before it is used, as the next two */
	uint64_t (*clock)(void *arg);	/* nanoseconds since boot */
	void *clock_arg;
	pthread_mutex_t lock;	/* guards what follows */
	uint64_t now;		/* the stamp of what is being done */
	size_t bytes;
	struct table clients, groups, records;
	struct list check;	/* clients, the longest not looked after first */
	struct list used[2];	/* records, the longest untouched first; [1]: of names only seen absent */
	bool starved;		/* malloc failed */
	uint64_t forgotten[SEEN_FORGOTTEN];	/* when a process's tickets of a name last had to go that it may still save from; 0: never */
};

#define CONTAINER(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

void list_init(struct list *l);
void list_remove(struct list *l);
void list_append(struct list *head, struct list *l);

void seen_init(struct seen *s, struct processes *processes, uint64_t ttl, uint64_t exited_ttl, size_t max_bytes);
void seen_release(struct seen *s);

/* Locking takes a new stamp. Unlocking brings memory and age back within their bounds: nothing found before may be used after. */
void seen_lock(struct seen *s);
void seen_unlock(struct seen *s);

struct client *client_find(const struct seen *s, const struct process *who);
/* Made if need be; NULL when out of memory. Gives up the lock between: nothing found before may be used after. */
struct client *client_get(struct seen *s, const struct process *who);
/* Made if need be; NULL when out of memory: then nothing is learnt. */
struct manner *record_manner(struct seen *s, struct record *r);
struct habit *client_habit(struct seen *s, struct client *c);
/* The next client of a process group, from the first on (`after` NULL). */
struct client *client_of_group(const struct seen *s, pid_t group, const struct client *after);

struct record *record_find(const struct seen *s, const struct client *c, uint64_t parent, const char *name);
/* Made if need be; NULL when out of memory. */
struct record *seen_get(struct seen *s, struct client *c, uint64_t parent, const char *name);
/* Whether tickets of that name had to go, for want of room, that the process may still save from: what is there is not all. */
bool seen_forgot(const struct seen *s, const struct client *c, uint64_t parent, const char *name);
/* The live entry with that stamp, or NULL. */
struct entry *entry_find(struct record *r, uint64_t first);
/* Entries move. Takes a reference to entry->own of its own. -ENOMEM. */
int record_append(struct seen *s, struct record *r, const struct entry *e);

/* Adds a version to an entry that is being made, whose own versions are borrowed so far: then it has a reference of its own. -ENOMEM. */
int entry_append_own(struct seen *s, struct entry *e, uint64_t version);

/* NULL when out of memory. The caller has the one reference. */
struct own *own_new(struct seen *s, uint32_t capacity);
void own_unref(struct seen *s, struct own *o);

#endif
