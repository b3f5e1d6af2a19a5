/* One save of a handle. Private to save.c, append.c and rename.c. What takes a handle needs its lock. */
#ifndef FS_SAVE_H
#define FS_SAVE_H

#include "handle.h"

struct work {
	struct store_save save;	/* first, so that it leads to the rest */
	struct mount *mount;
	struct ticket_set *set;	/* may be NULL */
	uint64_t parent;	/* the name by which its writer knows it */
	const char *name;
	bool rename;
	struct store_base before;	/* for a process older than the daemon */
	struct handle *h;
	fuse_req_t req;
	size_t wrote;
	struct place place;
};

/* Replies to a flush or fsync, or to a write of `wrote` bytes (0: it is none). */
void save_answer(fuse_req_t req, int err, size_t wrote);

/* Fills in who saves under that name, and what it is based on. *w stays until it is saved. */
void save_fill(struct work *w, struct mount *m, struct ticket_set *set, const struct process *who, uint64_t parent, const char *name);
/* Tells who keeps account of what was seen and saved. */
void save_note(struct mount *m, struct ticket_set *set, uint64_t parent, const char *name, const struct store_save *save);
/* Fills in the save of the draft. */
void save_prepare(struct mount *m, struct handle *h, struct work *w);
/* It has succeeded. */
void save_done(struct mount *m, struct handle *h, const struct work *w);

/* A file that its own writer unlinked has no name to be saved under: as on any filesystem it goes with the handle. */
bool save_orphaned(const struct handle *h, const struct place *place);

/* append.c */

/* Whether the file is lines: nothing in them tells that there should be more. */
bool append_to_lines(const struct handle *h, const struct place *place);
/* Appends the first `size` bytes of the draft. `flags`: STORE_SAVE_SOON or 0. */
int append_commit(struct mount *m, struct handle *h, size_t size, unsigned flags);
/*
 * What was appended goes to disk; what has begun too, unless it `waits`, for it may go on: then release decides. With `sync` the reply comes when all that
 * was done before is there. As save_flush.
 */
void append_flush(fuse_req_t req, struct handle *h, bool waits, bool sync, size_t wrote);

#endif
