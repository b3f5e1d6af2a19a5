/*
 * Made-up processes and their threads, which read and save sessions as fs/ does it: the tickets of fs/ticket.c over the model of a
 * session. The clock is a variable.
 */
#ifndef TESTS_STAGE_H
#define TESTS_STAGE_H

#include "session.h"

#define STAGE_PROCESSES 8
#define STAGE_SESSIONS 4
#define STAGE_THREADS 16384

#define US UINT64_C(1000)
#define MS (1000 * US)
#define SEC (1000 * MS)

enum merge_mode { AUTO, KEEP, EDIT };

extern uint64_t stage_now;	/* nanoseconds */

struct stage_who {
	unsigned process, thread;	/* the first thread is 0 */
};

struct stage_handle;

/* Everything anew. One stage at a time. */
void stage_begin(enum merge_mode mode, unsigned processes, const bool *events);
void stage_end(void);	/* no handles may be left */

struct session *stage_session(unsigned session);

/* The whole document, read at once. False: there is none, which is a ticket too. */
bool stage_read(struct stage_who who, unsigned session, struct list_of_notes *ret);
/* Looks whether there is one. */
void stage_look(struct stage_who who, unsigned session);
/* Opens it with O_TRUNC; or, `temp`, a temp file that is renamed to it when it is closed. */
struct stage_handle *stage_open(struct stage_who who, unsigned session, bool temp);
/* Writes the document, and closes or renames. *ret tells what became of the save. */
void stage_close(struct stage_handle *h, struct stage_who who, const struct list_of_notes *doc, struct store_save *ret);
void stage_drop(struct stage_handle *h);

/* Of the last save: how many candidates, how many of them ruled out, and the version that was chosen. */
struct stage_choice {
	size_t candidates, unlikely;
	uint64_t version, own;
	bool known, written;
};
extern struct stage_choice stage_choice;

#endif
