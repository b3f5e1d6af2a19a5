/*
 * What a document has of a base, by byte and where that is not enough by meaning: a program that reads and writes a file may spell all of its
 * messages anew. They are the same messages still, or two such programs would double them.
 */
#ifndef STORE_RESPELL_H
#define STORE_RESPELL_H

#include "job.h"
#include "merge.h"

/* merge_diff; then what matched nothing is matched by meaning, which costs reading it. Reads records. 0, -ENOMEM, -EUCLEAN. */
int respell_diff(struct db_txn *txn, struct job *job, const struct store_base *base, const struct store_view *view,
		 struct store_view *current, struct merge_diff *ret);

#endif
