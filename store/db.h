/*
 * Records and transactions: ordered keys and values, LMDB on disk with what is not yet there in memory above it.
 * Knows nothing of messages, JSON or FUSE. db.c alone includes lmdb.h; a second engine would stand beside it.
 *
 * Three kinds of transaction:
 *   read     sees the memory and the disk as one; short; any number at once, never two in one thread
 *   update   its changes go to memory, all or none, and are seen by everybody at once; on disk with the next durable one
 *   durable  takes what is in memory along; its own changes are seen when they are on disk
 *
 * Invariants:
 *  1. Memory over disk is always the newest state but for the durable transaction in flight.
 *  2. What enters memory first, reaches the disk no later than what enters after it: memory goes as a whole.
 *  3. An update never reads or writes a key that the durable transaction in flight has changed: it waits and runs again.
 *  4. At most one process has anything in memory or in flight: it holds the file lock `pending.lock`, which is handed on
 *     in the order of asking.
 *
 * Lock order: update, then the file lock, then LMDB's writer lock, then `memory` (a rwlock; readers hold it for the
 * length of their transaction), then `pool`.
 */
#ifndef STORE_DB_H
#define STORE_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct db;
struct db_txn;
struct mem_node;

struct db_value {
	const void *data;
	size_t size;
};

struct db_options {
	bool create, read_only;
	uint64_t map_size;
	int (*fill)(struct db_txn *txn, void *arg);	/* writes the first records of a new store; called before the store is there */
	void (*on_pending)(void *arg);	/* called with the update lock held when memory stops being empty: see to db_durable_begin soon */
	void *arg;
};

/* Errors: as store_open. The largest key is 511 bytes. */
int db_open(const char *path, const struct db_options *options, struct db **ret);
/* What is still in memory is lost: commit first. NULL is fine. */
void db_close(struct db *db);

int db_read_begin(struct db *db, struct db_txn **ret);
void db_read_end(struct db_txn *txn);	/* NULL is fine */

/*
 * Runs `change`, which reads and writes through its transaction, and puts what it wrote into memory when it returns 0.
 * It may be run several times, so it must set its outputs anew each time. Its error is returned; -EAGAIN from a
 * function of this header must be handed on.
 */
int db_update(struct db *db, int (*change)(struct db_txn *txn, void *arg), void *arg);

/* Holds the update lock until commit or abort; the same thread must end it. */
int db_durable_begin(struct db *db, struct db_txn **ret);
/* Frees the transaction in any case. On failure nothing of it is on disk, and memory is as it was. -ENOSPC, -EIO. */
int db_durable_commit(struct db_txn *txn);
void db_durable_abort(struct db_txn *txn);

/*
 * Values and keys are borrowed: in read and update transactions until its end or until the key is written, in durable
 * ones until the next put or del of any key. -ENOENT: no such key.
 */
int db_get(struct db_txn *txn, const void *key, size_t key_size, struct db_value *ret);
int db_put(struct db_txn *txn, const void *key, size_t key_size, const void *value, size_t value_size);
/* 0 also when there was none. */
int db_del(struct db_txn *txn, const void *key, size_t key_size);

/*
 * Walks the keys in order from the first that is not below `key`, while their first `prefix` bytes (at most 32) equal those of `key`.
 */
struct db_scan {
	struct db_txn *txn;
	void *cursor;
	struct db_value disk_key, disk_value;
	const struct mem_node *memory, *local;
	unsigned char prefix[32];
	size_t prefix_size;
	int state;
};
int db_scan_begin(struct db_scan *scan, struct db_txn *txn, const void *key, size_t key_size, size_t prefix);
int db_scan_next(struct db_scan *scan, struct db_value *ret_key, struct db_value *ret_value);	/* -ENOENT at the end */
void db_scan_end(struct db_scan *scan);

/* Whether no other process has this store open; asked once, just after opening. */
bool db_alone(struct db *db);

/* Whether anything is waiting in memory, and how many bytes. */
size_t db_pending(struct db *db);

struct db_stats {
	uint64_t used_bytes, file_bytes, map_bytes, reopened;
	uint64_t records;	/* on disk */
};
void db_stats(struct db *db, struct db_stats *ret);

#endif
