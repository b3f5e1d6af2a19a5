/*
 * Ordered keys and values on disk: LMDB. disk.c alone includes lmdb.h; a second engine would stand beside it. Knows nothing of what
 * is above: db.c lays memory and the journal over it.
 *
 * Threads: reading from any; at most one write transaction at a time (LMDB's own lock sees to it, also between processes). disk_reopen
 * needs that no transaction is open: its caller's locks see to that.
 */
#ifndef STORE_DISK_H
#define STORE_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct disk;
struct disk_txn;
struct disk_cursor;
struct mem;

struct db_value {
	const void *data;
	size_t size;
};

enum disk_way {
	DISK_WRITE,
	DISK_READ,
	DISK_SALVAGE,	/* without LMDB, from what can be read of its file: nobody may have it open */
};

/*
 * Opens the environment in `dir`. -EPROTO: a newer LMDB made it; -EUCLEAN: damaged, or none; -ENOSPC: no room for the table of
 * readers; others as open(2).
 */
int disk_open(int dir, uint64_t map_size, enum disk_way way, struct disk **ret);
/* Makes a new environment in `dir` with these records, durably. */
int disk_create(int dir, uint64_t map_size, const struct mem *records);
/* Every value has a check from now on: one without is damaged. */
void disk_strict(struct disk *d);
/* Of one opened to be salvaged: looks for records beside those that the tree leads to. To be called once, before any transaction but for disk_strict. -ENOMEM. */
int disk_salvage(struct disk *d);
void disk_close(struct disk *d);	/* NULL is fine */

/* An environment is dead after a failed write of its meta page: begins with a new one. On failure there is none (disk_is_open). */
int disk_reopen(struct disk *d);
bool disk_is_open(const struct disk *d);

/* A snapshot: of what was committed when it began. */
int disk_read_begin(struct disk *d, struct disk_txn **ret);
void disk_read_end(struct disk *d, struct disk_txn *txn);

/* -EIO also when the environment is dead: disk_reopen, and again. */
int disk_write_begin(struct disk *d, struct disk_txn **ret);
/*
 * All nodes of `m`, removals too, without those that are in `but` (may be NULL). A key must not be written twice in one transaction. -EUCLEAN: the pages on the way are
 * damaged; nothing has been done, or the transaction must be aborted.
 */
int disk_write(struct disk *d, struct disk_txn *txn, const struct mem *m, const struct mem *but);
/* The same; frees the values meanwhile, so that they are not in memory twice. The keys stay. */
int disk_write_away(struct disk *d, struct disk_txn *txn, struct mem *m);
/* Frees the transaction in any case. -ENOSPC, -EIO: nothing of it is on disk. */
int disk_write_commit(struct disk *d, struct disk_txn *txn);
void disk_write_abort(struct disk_txn *txn);
/* Whether write transactions are still possible after a failed one. */
bool disk_is_alive(struct disk *d);

/* Commits are numbered; a snapshot has the number of the last one that it sees. */
uint64_t disk_txn_id(struct disk_txn *txn);

/* Values are borrowed until the transaction's end. -ENOENT: no such key. -EUCLEAN: it, or what leads to it, is damaged. */
int disk_get(struct disk *d, struct disk_txn *txn, const void *key, size_t key_size, struct db_value *ret);

/* Whether this key could be changed. 0 or -EUCLEAN. */
int disk_check(struct disk *d, struct disk_txn *txn, const void *key, size_t key_size, bool removed);

/* Tells of every page that is damaged. -ENOMEM. */
int disk_survey(struct disk *d, struct disk_txn *txn, void (*problem)(void *arg, const char *text), void *arg);

/*
 * Walks the keys from the first that is not below `key` (of size 0: from the first). -ENOENT at the end. -EUCLEAN: what is here can't be read, and the next call goes on
 * behind it; *ret_key is that record's key, or has size 0 when not even that is known.
 */
int disk_cursor_open(struct disk *d, struct disk_txn *txn, const void *key, size_t key_size, struct disk_cursor **ret);
int disk_cursor_next(struct disk_cursor *c, struct db_value *ret_key, struct db_value *ret_value);
void disk_cursor_close(struct disk_cursor *c);

struct disk_stats {
	uint64_t used_bytes, map_bytes, records;
};
void disk_stats(struct disk *d, struct disk_stats *ret);

#endif
