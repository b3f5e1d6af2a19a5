/*
 * The versions of a document: a job becomes records inside one transaction. Runs wherever the transaction does.
 *
 * Invariants of a document's records:
 *  1. The messages of the newest version are the 'M' records in order of position; nothing else is there, but what an
 *     unlinked document leaves behind.
 *  2. A message that version v removed is a 'D' record under v; its bytes before a restyle likewise, marked so.
 *  3. A position has one message at a time; a new one is above all others, below the first, or between two neighbours, where
 *     one that has gone may have been. A message is named by its position and the version that brought it.
 *  4. Every version above the first is one transaction's work.
 */
#ifndef STORE_HISTORY_H
#define STORE_HISTORY_H

#include "job.h"

/* What history_apply needs to know of the world. */
struct history {
	/* A recent view of this version of the document or of an earlier one, with a reference for the caller, or NULL. */
	struct store_view *(*recent)(void *arg, uint64_t ino, uint64_t version);
	void *arg;
	struct store *store;
	uint64_t max_document;
};

/*
 * Merges the job into its document and writes the records. Sets the results of its save and job->fresh. After an error the
 * transaction must be abandoned if job->touched is set: some records may have been written.
 */
int history_apply(const struct history *h, struct db_txn *txn, struct job *job);

#endif
