/*
 * Which entries are candidates of a save (merge rules 1, 3, 4, 8). Private to the tickets, under their lock.
 */
#ifndef FS_CANDIDATE_H
#define FS_CANDIDATE_H

#include "seen.h"
#include "ticket.h"

struct candidate {
	struct store_base base;
	struct own *own;	/* base.own is a slice of it */
	uint32_t own_from;
	bool written;
	enum { OF_PROCESS, OF_PARENT, OF_GROUP } of;
	struct process who;	/* OF_GROUP: whose ticket it is */
	uint64_t first;		/* its entry */
};

struct ticket_set {
	struct tickets *tickets;
	struct client *client;
	struct process who;
	bool events;
	struct freeze freeze;
	uint64_t looked;	/* when the kernel looked the name up to create it; 0: it did not */
	pid_t looker;		/* the thread that it was for */
	uint64_t copied_ino, copied_version;	/* what was read for a copy only; 0: nothing */
	struct candidate *candidates;
	struct store_base *bases;
	size_t count, capacity;
	bool renamed;		/* its thread has renamed the temp file itself: all that it was shown came before */
	bool unseen;		/* there are none, and there were */
	struct moment moment;	/* when it was frozen */
};

/*
 * Those of a save under this name, newest first, instead of what the set held. `tick`: nanoseconds of a clock tick, the unit of process
 * start times. The rest as for tickets_bases.
 */
int candidates_find(struct seen *s, uint64_t tick, struct ticket_set *set, uint64_t parent, const char *name, bool pipeline);
/*
 * Marks those that the evidence rules out (STORE_BASE_UNLIKELY), and notes the moment that the save's file was opened at. Never all: what
 * was read last stays.
 */
void candidates_weigh(const struct seen *s, struct ticket_set *set, uint64_t parent, const char *name);
void candidates_clear(struct seen *s, struct ticket_set *set);

/* As tickets_reread. `r` may be NULL. */
bool candidates_reread(const struct ticket_set *set, const struct record *r, struct ticket_reread *ret);

/* Whether the entry is of the thread that the set was frozen for. */
bool candidate_of_thread(const struct ticket_set *set, const struct entry *e);

#endif
