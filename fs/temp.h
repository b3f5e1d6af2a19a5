/*
 * Files that may be renamed to a document: who wrote them, and what that process had seen when it opened them (merge rules 3, 8).
 * Bounded: the oldest are forgotten. One lock inside.
 */
#ifndef FS_TEMP_H
#define FS_TEMP_H

#include "ticket.h"

struct temps;

int temps_new(struct temps **ret);
void temps_free(struct temps *t);	/* NULL is fine */

/* The file was opened for writing. Takes over the set. `fresh`: it was created by that open, or was one before. */
void temps_add(struct temps *t, uint64_t ino, struct ticket_set *set, bool fresh);

/* The set of the last writer, now the caller's; NULL when there is none. *ret_fresh: the file was made by a writer known here. */
struct ticket_set *temps_take(struct temps *t, uint64_t ino, bool *ret_fresh);
void temps_forget(struct temps *t, uint64_t ino);

#endif
