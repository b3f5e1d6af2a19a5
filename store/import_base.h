/* What was taken in before from a directory beneath a mount, and what a file there therefore knows of the store. */
#ifndef STORE_IMPORT_BASE_H
#define STORE_IMPORT_BASE_H

#include "json.h"
#include "record.h"
#include "store.h"

#define IMPORT_OWN 60	/* later versions that a record can name */

/* What there is under a name, in the store and in the records of what was taken in. */
struct import_found {
	bool recorded, exists;
	struct rec_import rec;
	uint64_t own[IMPORT_OWN];
	size_t own_count;
	uint64_t ino;		/* with `exists` */
	struct rec_attr attr;
	struct rec_head head;	/* documents */
};

/* `dir`: the directory in the store, or 0; `records`: what the records stand under, or 0. */
int import_find(struct store *s, uint64_t dir, uint64_t records, const char *name, struct import_found *ret);

int import_record_put(struct db_txn *txn, uint64_t records, const char *name, const struct rec_import *rec,
		      const uint64_t *own, size_t own_count);

/* How a changed file is to be saved over a document that exists. */
enum import_plan {
	IMPORT_SAVE,		/* with the base, or with `flags` when there is none */
	IMPORT_SAME,		/* it is the newest version, byte for byte; ret_base->version is set */
	IMPORT_EMPTY,		/* nothing is in the file, but something in the document */
	IMPORT_ASIDE,		/* can't be merged, and the document is newer or has messages */
};

/*
 * For IMPORT_SAVE sets *ret_flags, and *ret_based when *ret_base is to be its base, which borrows found->own. `trusted`: the
 * record is of this very directory. `lines`: the text is lines. -EINVAL, -ENODATA: the file is not JSON; -ENOENT: the document has just gone.
 */
int import_plan(struct store *s, const struct import_found *found, bool trusted, bool lines, const char *text, size_t size, int64_t mtime,
		enum import_plan *ret_plan, struct store_base *ret_base, bool *ret_based, unsigned *ret_flags, struct json_error *error);

/* Sets what the file knows after `save`; `exact`: the version that it made has the file's bytes. */
void import_learn(struct import_found *found, const struct store_save *save, bool exact);

#endif
