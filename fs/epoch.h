/*
 * What stood when this daemon began. A process that is older than the daemon may have read a document through the one before it:
 * what was committed since, it had not seen (P2). Of the documents first saved since then, the version before that. Bounded: beyond that
 * it is not known which of the others were saved. One lock inside.
 */
#ifndef FS_EPOCH_H
#define FS_EPOCH_H

#include <stdbool.h>
#include <stdint.h>

struct epoch;

/* `slots`: a power of two, half of which is used (0: 1,048,576). 0 or -ENOMEM. */
int epoch_new(unsigned slots, struct epoch **ret);
void epoch_free(struct epoch *e);	/* NULL is fine */

/* The document was saved; `previous` is the version it had. Only the first time counts. */
void epoch_saved(struct epoch *e, uint64_t ino, uint64_t previous);

/* The version that the document had at the beginning. False: it has not been saved since, as far as is known. */
bool epoch_version(struct epoch *e, uint64_t ino, uint64_t *ret);

/* Whether it is not known of all documents any more. */
bool epoch_full(struct epoch *e);

#endif
