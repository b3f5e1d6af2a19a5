/* What the files of db share. */
#ifndef STORE_DB_INSIDE_H
#define STORE_DB_INSIDE_H

#include <pthread.h>
#include <stdatomic.h>

#include "db.h"
#include "journal.h"
#include "mem.h"

enum kind { READ, UPDATE, DURABLE };

struct db_txn {
	struct db *db;
	enum kind kind;
	struct disk_txn *disk;
	struct mem local;	/* what it has written so far */
	bool conflict;		/* UPDATE: touched a key that is in flight */
	bool thawed;		/* READ: its disk has what is frozen */
};

struct db {
	int dir;		/* db_dir.h; -1 before it is open */
	bool read_only, salvaged;
	int lock_fd;
	void (*on_pending)(void *arg, bool now);
	void *arg;
	char journal_key[16];
	size_t journal_key_size;

	pthread_mutex_t update;
	pthread_cond_t settled;		/* with `update`: something has ended */
	bool in_flight;			/* update: a durable transaction is being committed, or the journal is written */
	const struct mem *flight;	/* update: what that transaction has written; NULL for none. Does not change while in flight */
	bool draining;			/* update: what is frozen is being taken to disk */
	bool exposed;			/* update: something frozen is not durable */
	uint64_t ended;			/* update: drains that have ended */
	int last_error;			/* update: why the disk did not take it when it was last tried, or 0 */
	bool locked;			/* update: the file lock is held */
	journal_objects_fn *objects;
	struct journal_report report;	/* written by db_use_journal only */
	struct journal *journal;	/* update; used by who is in flight. May be NULL */
	bool journal_broken;		/* update: nothing may be appended until the disk has everything */
	bool half_free;			/* update: the disk has all that the journal's other half holds */
	struct journal_place place;	/* update: the last entry that the disk has, and its mark; 0 before db_use_journal */
	bool marked;			/* update: the disk is known to have that mark */
	uint64_t reopened, journaled;	/* update */

	atomic_uint_fast64_t flight_id;	/* the commit that takes what is frozen to disk; UINT64_MAX: none */

	pthread_rwlock_t memory;
	struct mem mem;			/* memory; changed only with `update` held too. Loose: not durable */
	struct mem frozen;		/* memory; changed only with `update` held too, and not while draining */
	struct disk *disk;		/* memory: reopened only with `update` held too */
};

/* All need `update`. */

static inline bool db_is_pending(const struct db *db)
{
	return db->mem.count || db->frozen.count;
}

/* The lock between processes, kept while anything is pending. */
int db_lock(struct db *db);
void db_unlock_if_idle(struct db *db);
/* The journal begins anew after this entry. */
void db_restart_journal(struct db *db, uint64_t taken);
/* Begins with a new environment. */
int db_reopen(struct db *db);

#endif
