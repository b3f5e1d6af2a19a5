/*
 * Documents that were renamed lately (merge rule 13: the lineage belongs to the name). Of the last renames and for some
 * seconds, as long as a save by `target -> target.bak, new -> target` takes. One lock inside.
 */
#ifndef FS_RENAMED_H
#define FS_RENAMED_H

#include "process.h"
#include "store.h"

struct renamed;

int renamed_new(struct renamed **ret);
void renamed_free(struct renamed *r);	/* NULL is fine */

/* What a process knew of the name when it renamed the document away, and has not saved since. */
enum renamed_seen {
	RENAMED_NOTHING,
	RENAMED_ABSENT,		/* that there was none */
	RENAMED_READ,		/* what it had read */
	RENAMED_WRITTEN,	/* what it had written, and read nothing since */
};

void renamed_add(struct renamed *r, uint64_t ino, uint64_t parent, const char *name, const struct process *who, enum renamed_seen seen);

/*
 * Whether it was this process that renamed a document of that name away last. Then *ret_thread, its thread that did, and *ret_seen are set; both may
 * be NULL.
 */
bool renamed_by(struct renamed *r, uint64_t parent, const char *name, const struct process *who, pid_t *ret_thread, enum renamed_seen *ret_seen);

#endif
