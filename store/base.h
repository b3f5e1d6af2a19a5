/* What a writer had seen, rebuilt from the records. */
#ifndef STORE_BASE_H
#define STORE_BASE_H

#include "store.h"
#include "view.h"

/* The newest version that a writer with this base knew; 0: none. */
uint64_t base_last(const struct store_base *base);

/*
 * The messages that a writer with this base knew: an index that is not to be read from, `current` itself when that is what it knew.
 * `current` is the newest version of document `ino`.
 */
int base_view(struct db_txn *txn, uint64_t ino, struct store_view *current, const struct store_base *base, struct store_view **ret);

/* What stood around them, as the writer had it; *ret NULL when it knew of no document. */
int base_frame(struct db_txn *txn, uint64_t ino, const struct store_base *base, struct view_frame **ret);

/* The whole document as that writer had it, for merging as text; the buf stays empty when it knew of none. */
int base_text(struct db_txn *txn, uint64_t ino, const struct store_base *base, struct buf *ret);

/* The bytes of a version. */
int view_text(struct db_txn *txn, struct store_view *v, struct buf *ret);

#endif
