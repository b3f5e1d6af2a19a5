/*
 * Records and transactions: ordered keys and values on disk, with what is not yet there in memory above it, and a journal that makes
 * durable what is in memory only. Knows nothing of messages, JSON or FUSE.
 *
 * Three kinds of transaction:
 *   read     sees the memory and the disk as one; short; any number at once, never two in one thread
 *   update   its changes go to memory, all or none, and are seen by everybody at once; durable with the next durable one
 *   durable  makes what is in memory durable with it; its own changes are seen when they are durable
 *
 * Four layers, newest first: what a transaction itself has written; memory; what is being taken to disk, frozen; the disk.
 *
 * Durable means: in the journal. That is one sync; the disk's tree follows later, many transactions at once (db_drain). Where the journal can't serve, a
 * transaction goes straight to the tree: it is too large, the journal is full, missing or broken, the disk refused something, or
 * another process has the store open, which must see at once what this one commits.
 *
 * Invariants:
 *  1. Memory over frozen over disk is always the newest state but for the durable transaction in flight.
 *  2. What enters memory first is durable no later than what enters after it: memory goes as a whole.
 *  3. An update never reads or writes a key that the durable transaction in flight has changed: it waits and runs again.
 *  4. At most one process has anything in memory, in flight or in the journal: it holds the file lock `pending.lock`, which is handed
 *     on in the order of asking.
 *  5. Every entry of the journal that the tree has not taken is in memory or frozen, too.
 *
 * Lock order: update, then the file lock, then LMDB's writer lock, then `memory` (a rwlock; readers hold it for the
 * length of their transaction), then the disk's pool.
 */
#ifndef STORE_DB_H
#define STORE_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "db_dir.h"
#include "disk.h"
#include "journal.h"

struct db;
struct db_txn;
struct mem_node;

struct db_options {
	bool create, read_only;
	bool salvage;		/* with read_only: see disk.h */
	uint64_t map_size;
	struct db_why why;	/* of a refusal (db_dir.h) */
	/* A key of the caller's, of up to 16 bytes, that db uses alone: the disk's place in the journal. */
	const void *journal_key;
	size_t journal_key_size;
	journal_objects_fn *objects;	/* may be NULL: all records belong together */
	int (*fill)(struct db_txn *txn, void *arg);	/* writes the first records of a new store; called before the store is there */
	/*
	 * Called with the update lock held. When something is waiting that was not before: see to db_sync and db_drain soon. `now`: to db_drain at once. May be NULL.
	 */
	void (*on_pending)(void *arg, bool now);
	void *arg;
};

/* Errors: as store_open. The largest key is 511 bytes. */
int db_open(const char *path, const struct db_options *options, struct db **ret);
/* What is not durable is lost: sync first, or better drain. NULL is fine. */
void db_close(struct db *db);

/*
 * Takes what a killed process has left in the journal, and uses it from now on; makes one if there is none. To be called once, before anything is
 * written. Waits for what other processes have pending. A journal that is not whole is kept aside first, and gives what is whole in it: see db_journal_report.
 * -ENOMEM, -EIO. No room for a journal is no error.
 */
int db_use_journal(struct db *db);

/*
 * To be called once, when the first records have been read: whether every record on disk must have a check. Of a store that is salvaged all records are found only now. -ENOMEM.
 */
int db_strict(struct db *db, bool strict);

/* What db_use_journal found. Owned by db. */
const struct journal_report *db_journal_report(const struct db *db);

int db_read_begin(struct db *db, struct db_txn **ret);
void db_read_end(struct db_txn *txn);	/* NULL is fine */

/*
 * Runs `change`, which reads and writes through its transaction, and puts what it wrote into memory when it returns 0.
 * It may be run several times, so it must set its outputs anew each time. Its error is returned; -EAGAIN from a
 * function of this header must be handed on.
 */
int db_update(struct db *db, int (*change)(struct db_txn *txn, void *arg), void *arg);

/* Holds the update lock until commit or abort; the same thread must end it. One at a time: waits for the last to end. */
int db_durable_begin(struct db *db, struct db_txn **ret);
/*
 * Frees the transaction in any case. On failure nothing of it is seen, and memory is as it was; but when the process dies before anything else is durable,
 * and db_drain did not succeed, it may be there when the store is opened again. -ENOSPC, -EIO.
 */
int db_durable_commit(struct db_txn *txn);
void db_durable_abort(struct db_txn *txn);

/* Makes what updates have left in memory durable. */
int db_sync(struct db *db);
/* Takes everything to disk, so that other processes see it. With `force` also when there is nothing. -ENOSPC, -EIO. */
int db_drain(struct db *db, bool force);

/*
 * Values and keys are borrowed until the transaction's end, or until it writes the key. -ENOENT: no such key.
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
	bool past_damage;	/* set after db_scan_begin: what can't be read is left out, and counted */
	uint64_t damaged;
	struct disk_cursor *cursor;
	struct db_value disk_key, disk_value;
	int disk_err;		/* instead of the value; without a key: of all up to the next */
	const struct mem_node *layers[3];
	unsigned char prefix[32];
	size_t prefix_size;
};
int db_scan_begin(struct db_scan *scan, struct db_txn *txn, const void *key, size_t key_size, size_t prefix);
/* -ENOENT at the end. -EUCLEAN: something is damaged here, of this key when its size is not 0; the next call goes on behind it. */
int db_scan_next(struct db_scan *scan, struct db_value *ret_key, struct db_value *ret_value);
void db_scan_end(struct db_scan *scan);

/* The store's directory, for db_file.h. Owned by db. */
int db_directory(struct db *db);

/* Tells of every page on disk that is damaged. -ENOMEM. */
int db_survey(struct db_txn *txn, void (*problem)(void *arg, const char *text), void *arg);

/* Whether no other process has this store open. */
bool db_alone(struct db *db);

/* How many bytes are in memory that the disk does not have yet. */
size_t db_pending(struct db *db);

/* Whether db_drain should not wait: much is waiting, or another process is. */
bool db_crowded(struct db *db);

struct db_stats {
	uint64_t used_bytes, file_bytes, map_bytes, reopened;
	uint64_t records;	/* on disk */
	uint64_t journaled, drained;	/* entries and drains since it was opened */
};
void db_stats(struct db *db, struct db_stats *ret);

#endif
