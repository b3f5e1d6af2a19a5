/*
 * Refused documents (P5): their bytes are kept under .historyfs/rejected/, up to -o rejected=SIZE
 * and 1000 of them; then the oldest go.
 */
#ifndef FS_REJECT_H
#define FS_REJECT_H

#include "draft.h"
#include "mount.h"

struct rejects;

int rejects_new(struct rejects **ret);
void rejects_free(struct rejects *r);	/* NULL is fine */

/*
 * Keeps the bytes of a draft under a name made from `name`, which goes to `kept`. -EFBIG: alone
 * larger than what is kept in all. Any thread; takes a lock of its own, below the handle's.
 */
int rejects_keep(struct mount *m, struct draft *d, const char *name, char kept[STORE_NAME_MAX + 1]);

/* A name for what is refused now. */
void rejects_name(const char *name, char kept[STORE_NAME_MAX + 1]);

/* A file has come into the directory by that name that is to be kept as those are. */
void rejects_took(struct mount *m, uint64_t ino, uint64_t size);

/* How many went to keep within the bound, since the start. */
uint64_t rejects_gone(struct rejects *r);

#endif
