/* A save on its way into the store: the document as it arrived, sliced. Made in the caller's thread, applied in the writer's. */
#ifndef STORE_JOB_H
#define STORE_JOB_H

#include "merge.h"
#include "store.h"
#include "view.h"

#define SAVE_WAITS (1u << 30)	/* private flag of a save: the thread that submits it waits for it */
#define SAVE_UNDO (1u << 31)	/* private flag of a save: take back version `undo_version` of `ino` */

/* store.c: a read transaction of the store that a view belongs to. */
int store_read_begin(struct store *s, struct db_txn **ret);

struct job {
	struct store_save *save;
	struct job *next;
	struct written written;
	struct doc doc;			/* the part of the document that was sliced */
	const char *text;		/* what `doc` points into: save->tail, or `joined` */
	size_t text_size;
	struct buf joined;
	struct view_frame *frame;	/* what stands around the messages in the document; edition 0 */
	bool raw;			/* no JSON: to be kept as it is */
	bool lines;			/* the document is lines */

	/* Set by history_apply. */
	bool touched;			/* it may have written */
	uint64_t touched_dir;		/* the directory that got a new name, or 0 */
	struct store_view *fresh;	/* the index of the version that it made, or NULL */
};

/* Slices the document. -EINVAL, -EFBIG, -ENOMEM: then also set in the save, with offset and reason. */
int job_new(struct store_save *save, uint64_t max_document, struct job **ret);
void job_free(struct job *job);

/* Its text is not needed any more: it has been applied. */
void job_applied(struct job *job);

/* The document's one value, without space around it. Borrowed from the job. */
size_t job_value(const struct job *job, const char **ret);

/* The bytes of the document's message i: its separator (not for the first) and its body. Borrowed from txn, view or job. */
int job_message(struct db_txn *txn, struct job *job, uint64_t i, struct db_value *ret_lead, struct db_value *ret_body);

/* The document becomes this text, whole: for what was put together as text. Takes over the buf. */
int job_replace(struct job *job, struct buf *text);

#endif
