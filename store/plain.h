/* Plain files (scratch, symbolic links) taken over as a whole: a crash leaves all of one or nothing. */
#ifndef STORE_PLAIN_H
#define STORE_PLAIN_H

#include "record.h"

struct plain {
	const char *name;
	enum store_kind kind;	/* STORE_SCRATCH or STORE_SYMLINK */
	uint32_t mode, uid, gid;
	int64_t atime, mtime;
	const void *bytes;	/* NULL: they come from `fd`, from its beginning */
	int fd;
	uint64_t size;
	bool unreadable;	/* set with an error that came from `fd` */
	/* Called in the transaction that puts the file in place, maybe several times; may be NULL. */
	int (*also)(struct db_txn *txn, const struct rec_attr *attr, uint64_t ino, void *arg);
	void *arg;
};

/*
 * Puts it into directory `parent`. A plain file that had the name goes, with `keep_old` to the rejected ones.
 * -EEXIST when something else has the name.
 */
int plain_put(struct store *s, uint64_t parent, struct plain *p, bool keep_old);

/* Puts it among the rejected ones as NAME-<mtime in ns>, unless the same bytes are there already. */
int plain_reject(struct store *s, struct plain *p);

/* Whether the store's file has these bytes and this kind: 1, 0, or an error. */
int plain_same(struct store *s, uint64_t ino, struct plain *p);

#endif
