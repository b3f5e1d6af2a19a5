/* Files and names, inside a transaction. The public operations are in files.c. */
#ifndef STORE_TREE_H
#define STORE_TREE_H

#include "buf.h"
#include "record.h"

/* The file that a save goes to. */
struct tree_target {
	uint64_t ino, parent;
	char name[STORE_NAME_MAX + 1];
	struct rec_attr attr;	/* all zero when the file is new or comes back */
	bool linked;		/* it exists under its name */
	bool document;		/* it exists and is a document */
	bool former;		/* a document that had the name comes back */
	bool elsewhere;		/* and it was another name by which it was unlinked */
	bool moved;		/* the document `ino` had the name, goes by another one now, and the writer knew it by this one */
};

/* Whether what an unlinked document left behind can be read: what goes on from it has that among its past. 0 or -EUCLEAN. */
int tree_is_whole(struct db_txn *txn, uint64_t ino);
/* Finds or invents the file of a save. -ENOENT no such directory; -EISDIR; -EINVAL not a plain file; -ENAMETOOLONG. Writes nothing. */
int tree_target(struct db_txn *txn, const struct store_save *save, struct tree_target *ret);

/*
 * Merge rule 13, the lineage belongs to the name: a document that was renamed away (`f` to `f.bak`) comes back to the target's name, so that
 * what others saved in between is merged, and what it was renamed to becomes a copy of it. Sets save->copy_ino.
 */
int tree_reclaim(struct db_txn *txn, struct tree_target *t, struct store_save *save);

/*
 * The same for one that had been renamed away and was unlinked there: that took a backup's name from it, and nothing from this name's history. It is
 * as if it had not been unlinked; to be linked by tree_link_document.
 */
int tree_revive(struct db_txn *txn, struct tree_target *t);
/* The target is a new document, not the one that had the name. */
int tree_begin_anew(struct db_txn *txn, const struct store_save *save, struct tree_target *t);

/* Makes the target a linked document, if it is not. Bytes that it had as a scratch file are kept in the rejected directory. */
int tree_link_document(struct db_txn *txn, struct tree_target *t, const struct store_save *save);

/* The bytes of a target that is a plain file, into an empty buf. */
int tree_get_chunks(struct db_txn *txn, const struct tree_target *t, struct buf *ret);
/* The target, a plain file, is a document from now on; its bytes go. */
int tree_make_document(struct db_txn *txn, struct tree_target *t);

/* Makes the target a scratch file of these bytes. */
int tree_put_raw(struct db_txn *txn, const struct tree_target *t, const struct store_save *save, const void *bytes, size_t size);

/* Takes its name from the temp file that a save was renamed from, when it still has that and nothing was saved to it since. */
int tree_drop_source(struct db_txn *txn, const struct store_save *save);

/* Unlinks one entry that is no directory: documents stay as former ones, scratch bytes go unless kept. */
int tree_unlink(struct db_txn *txn, uint64_t parent, const char *name, const struct rec_entry *e, bool keep);

/* Removes every record of a file that is noted as unlinked, and the note. */
int tree_forget(struct db_txn *txn, uint64_t ino);

/* Replaces the bytes of a scratch file; sets attr->size. */
int tree_put_chunks(struct db_txn *txn, uint64_t ino, struct rec_attr *attr, const void *bytes, size_t size);
int tree_drop_chunks(struct db_txn *txn, uint64_t ino, uint64_t from_size, uint64_t size);

/* Sets a directory's mtime and ctime to now. */
int tree_touch(struct db_txn *txn, uint64_t ino);
/* The same for a document, if that is its newest version. */
int tree_touch_document(struct db_txn *txn, uint64_t ino, uint64_t version);

/* A fresh inode number, taken inside the transaction. */
int tree_new_ino(struct db_txn *txn, uint64_t *ret);
/* Takes `count` numbers, the first is *ret. */
int tree_reserve(struct db_txn *txn, uint64_t count, uint64_t *ret);

bool tree_is_orphan(struct db_txn *txn, uint64_t ino);

#endif
