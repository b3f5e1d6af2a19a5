/*
 * A mount in miniature: processes and their threads, made up, that read and save one document as fs/ does it, with the tickets of
 * fs/ticket.c, over the store or over the pure merge. One world at a time; steps are done one after the other, and a made-up
 * clock goes on by 30 ms with each process that begins, by a microsecond with each other step.
 */
#ifndef TESTS_WORLD_H
#define TESTS_WORLD_H

#include "store.h"
#include "support.h"

struct world;
struct world_handle;

struct who {
	unsigned process, thread;	/* below WORLD_PROCESSES; the first thread is 1 */
};

#define WORLD_PROCESSES 256

/* Over `store`, or over the pure merge when it is NULL. `flags` are added to every save. */
struct world *world_new(struct store *s, unsigned flags);
void world_free(struct world *w);	/* no handles may be left */

/* What was there is out of sight from now on: the document is another file. `name` must live as long. */
void world_document(struct world *w, const char *name);

/* A fresh process, instead of the one that had the number. */
void world_process(struct world *w, unsigned process, bool events);
void world_fork(struct world *w, unsigned parent, unsigned child);
void world_group(struct world *w, unsigned process, unsigned group);

/* The whole document, read at once. False: there is none, which is a ticket too. */
bool world_read(struct world *w, struct who who, struct text *ret);

/* How a document is saved. */
enum world_way {
	WORLD_TRUNCATE,		/* O_TRUNC */
	WORLD_BOTH,		/* O_RDWR: read, ftruncate, write */
	WORLD_TEMP,		/* a temp file, renamed by whoever closes it */
	WORLD_READ,		/* only read */
};

struct world_handle *world_open(struct world *w, struct who who, enum world_way way);
/* From the beginning; `begin` reads only so much that the version is fixed. */
struct text world_handle_read(struct world *w, struct world_handle *h, bool begin);
void world_write(struct world_handle *h, struct text t);	/* takes over the text */
/* Closes, or renames, and frees the handle. *ret is what became of the save; its error is returned. */
int world_close(struct world *w, struct world_handle *h, struct who who, struct store_save *ret);
/* The process was killed with it open. */
void world_drop(struct world *w, struct world_handle *h);

void world_unlink(struct world *w, struct who who);
/* Renames the document to NAME.bak, and removes that. Over the store only. */
void world_rename_away(struct world *w, struct who who);
void world_unlink_away(struct world *w, struct who who);

/* Looks without leaving a ticket. False: there is none. */
bool world_look(struct world *w, struct text *ret);

#endif
