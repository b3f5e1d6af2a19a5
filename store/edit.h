/* Writing a new version: edits to the newest version become records and an index. */
#ifndef STORE_EDIT_H
#define STORE_EDIT_H

#include "job.h"

/* What an edit starts from and where its new texts come from. */
struct edit {
	uint64_t ino;
	struct rec_head head;		/* of the version before; all zero: there is none. Updated on success */
	struct store_view *current;	/* its index */
	struct view_frame *frame;	/* the new version's */
	struct view_frame *as_written;	/* what the writer put around the messages, kept in the log when merged; may be NULL */
	struct merge_edits edits;
	struct job *job;		/* brings the texts of inserted and restyled messages */
	bool restyle;			/* compare the texts of kept messages with what is stored */
	const struct store_base *base;	/* restyle only bytes that it knows; NULL: it knows all */
	int64_t time, mtime;
	uint32_t pid, uid, flags;	/* for the log */
};

/*
 * Writes the version after `e->head` and sets *ret_fresh to its index; NULL when nothing changes (and nothing was written).
 * *ret_log gets STORE_LOG_REMOVED and STORE_LOG_RESTYLED.
 */
int edit_apply(struct db_txn *txn, struct edit *e, struct store_view **ret_fresh, unsigned *ret_log);

/*
 * Writes a version after `e->head` that changes nothing, and tells that `e->edits.spared` was kept. Sets *ret_fresh to its index.
 */
int edit_trace(struct db_txn *txn, struct edit *e, struct store_view **ret_fresh);

/*
 * Appends messages to a list, an envelope or lines, without an index of it: the cost does not grow with the list. `who` tells inode, time,
 * writer and, unless it stays as it is (NULL), the frame, and its head is updated.
 */
int edit_append(struct db_txn *txn, struct edit *who, const struct db_value *bodies, size_t count);

/* Buries the messages that an unlinked document left behind. Afterwards the newest version is empty. */
int edit_bury(struct db_txn *txn, uint64_t ino, uint64_t died);

#endif
