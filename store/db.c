#include "db.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "db_file.h"
#include "db_inside.h"

#define PENDING_LIMIT (64u << 20)	/* bytes in memory after which updates wait for the disk */
#define SMALL_CHANGE 2048
#define LARGE (32u << 20)	/* bytes in a commit after which memory is given back */
#define JOURNAL_ENTRY (JOURNAL_HALF / 4)	/* larger ones are no faster there than on the disk */

static void tell(struct db *db, bool now)
{
	if (db->on_pending)
		db->on_pending(db->arg, now);
}

/* ---- Updating ------------------------------------------------------------------------------------------------- */

/* Needs `update`. */
static int snapshot_begin(struct db *db, struct db_txn *txn)
{
	int err = db_lock(db);

	if (!err && !disk_is_open(db->disk))
		err = db_reopen(db);
	return err ? err : disk_read_begin(db->disk, &txn->disk);
}

static int run_update(struct db *db, struct db_txn *txn, int (*fn)(struct db_txn *txn, void *arg), void *arg)
{
	int err = snapshot_begin(db, txn);

	if (err)
		return err;
	txn->conflict = false;
	err = fn(txn, arg);
	disk_read_end(db->disk, txn->disk);
	return txn->conflict ? -EAGAIN : err;
}

/* Removals are small however many keys they have, and have more room than others. */
static bool is_small(const struct db *db, const struct mem *change)
{
	bool removes = false;
	size_t grows = 0;

	for (const struct mem_node *n = change->first[0]; n; n = n->next[0]) {
		removes = removes || n->removed;
		grows += n->removed ? 0 : n->key_size + n->value_size;
	}
	return grows <= SMALL_CHANGE && (removes || db->mem.bytes + db->frozen.bytes <= PENDING_LIMIT / 64);
}

/* Needs `update`. Makes what a transaction has written part of memory. */
static void show(struct db *db, struct mem *local, bool durable)
{
	bool first;

	pthread_rwlock_wrlock(&db->memory);
	first = durable ? !db->mem.count : !db->mem.loose;
	mem_merge(&db->mem, local, !durable);
	pthread_rwlock_unlock(&db->memory);
	if (first)
		tell(db, false);
}

int db_directory(struct db *db)
{
	return db->dir;
}

bool db_alone(struct db *db)
{
	return db->lock_fd >= 0 && db_file_alone(db->lock_fd);
}

/* ---- Making it durable ---------------------------------------------------------------------------------------- */

/* Needs `update`. From now on nothing else is in flight. */
static void take_off(struct db *db, const struct mem *local)
{
	while (db->in_flight)
		pthread_cond_wait(&db->settled, &db->update);
	db->in_flight = true;
	db->flight = local;
}

static void land(struct db *db)
{
	db->in_flight = false;
	db->flight = NULL;
	pthread_cond_broadcast(&db->settled);
}

/* Needs `update`. */
static bool journal_serves(struct db *db)
{
	return db->journal && db->marked && !db->journal_broken && !db->exposed && !db->last_error && db_alone(db);
}

static int add(struct buf *entry, const struct mem_node *n)
{
	return entry->size + n->key_size + n->value_size > JOURNAL_ENTRY ? -E2BIG : journal_add(entry, n);
}

static int make_entry(const struct db *db, const struct mem *local, struct buf *entry)
{
	int err = journal_begin(entry);

	/* What the transaction replaces need not be written twice. */
	for (const struct mem_node *n = db->mem.loose; !err && n; n = n->next_loose)
		err = local && mem_get(local, n->key, n->key_size) ? 0 : add(entry, n);
	for (const struct mem_node *n = local ? local->first[0] : NULL; !err && n; n = n->next[0])
		err = add(entry, n);
	return err;
}

/* Needs `update`, which is free while it waits for the disk, and to be in flight. -E2BIG, and others: only the disk can help now. */
static int write_journal(struct db *db, const struct mem *local)
{
	struct buf entry = BUF_INIT;
	int err = make_entry(db, local, &entry);

	if (!err) {
		mem_fasten(&db->mem);
		pthread_mutex_unlock(&db->update);
		err = journal_append(db->journal, &entry);
		pthread_mutex_lock(&db->update);
		if (err) {
			mem_loosen(&db->mem);
			db->journal_broken = err != -E2BIG;
		} else {
			db->journaled++;
			db_file_note(db->lock_fd, journal_last(db->journal), journal_marked(db->journal));
			if (journal_used(db->journal) > JOURNAL_HALF / 2)
				tell(db, true);
		}
	}
	buf_release(&entry);
	return err;
}

/* Needs `update`. What is in memory is to go to disk; readers see no difference. */
static void freeze(struct db *db)
{
	pthread_rwlock_wrlock(&db->memory);
	db->exposed |= db->mem.loose != NULL;
	if (db->frozen.count) {
		mem_merge(&db->frozen, &db->mem, false);
	} else {
		db->frozen = db->mem;
		db->mem = (struct mem){ 0 };
	}
	pthread_rwlock_unlock(&db->memory);
}

/* Needs `update`. What was frozen is on disk. */
static void thaw(struct db *db)
{
	struct mem gone = db->frozen;

	pthread_rwlock_wrlock(&db->memory);
	db->frozen = (struct mem){ 0 };
	atomic_store(&db->flight_id, UINT64_MAX);
	pthread_rwlock_unlock(&db->memory);
	db->exposed = false;
	pthread_mutex_unlock(&db->update);
	mem_release(&gone);
	pthread_mutex_lock(&db->update);
}

/* What is frozen and what the transaction has written, in one commit, with the disk's new place. Of the latter only the keys are left. */
static int commit_to_disk(struct db *db, struct disk_txn *txn, struct mem *local, const struct journal_place *to)
{
	uint64_t place[2] = { htole64(to->taken), htole64(to->mark) };
	struct mem note = { 0 };
	int err = disk_write(db->disk, txn, &db->frozen, local);

	if (!err && local)
		err = disk_write_away(db->disk, txn, local);
	/* Also when there is no journal: what a forced drain frees can only be used when something has been committed. */
	if (!err && to->mark)
		err = mem_put(&note, db->journal_key, db->journal_key_size, place, sizeof(place));
	if (!err)
		err = disk_write(db->disk, txn, &note, NULL);
	mem_release(&note);
	if (err) {
		disk_write_abort(txn);
		return err;
	}
	atomic_store(&db->flight_id, disk_txn_id(txn));
	return disk_write_commit(db->disk, txn);
}

/*
 * Where the disk will be. Entries may follow while it is being written: they bear the new mark, and are good for the disk as it is, too, which knows
 * that one comes after its own. Not so when what is written now is in no entry: then a mark is left out, and none comes meanwhile.
 */
static struct journal_place next_place(const struct db *db, const struct mem *local)
{
	bool apart = local || db->exposed || !db->marked;

	return (struct journal_place){
		db->journal ? journal_last(db->journal) : db->place.taken,
		db->place.mark ? db->place.mark + (apart ? 2 : 1) : 0, 0, 0,
	};
}

/*
 * Takes all that is in memory to disk, and with it what a transaction has written, if there is one: then it is in flight until it is there.
 * Without one, journal and updates go on meanwhile. Needs `update`.
 */
static int write_disk(struct db *db, struct mem *local)
{
	struct journal_place to;
	struct disk_txn *txn;
	bool large;
	int err;

	while (db->draining)
		pthread_cond_wait(&db->settled, &db->update);
	err = db_lock(db);
	if (!err && !disk_is_open(db->disk))
		err = db_reopen(db);
	if (err)
		return err;
	err = disk_write_begin(db->disk, &txn);
	if (err == -EIO) {
		err = db_reopen(db);
		if (!err)
			err = disk_write_begin(db->disk, &txn);
	}
	if (err)
		return err;
	freeze(db);
	large = db->frozen.bytes + (local ? local->bytes : 0) > LARGE;
	db->draining = true;
	to = next_place(db, local);
	if (db->journal && db->half_free) {
		journal_switch(db->journal);
		db->half_free = false;
	}
	if (db->journal)
		journal_mark(db->journal, to.mark);
	pthread_mutex_unlock(&db->update);
	err = commit_to_disk(db, txn, local, &to);
	pthread_mutex_lock(&db->update);
	if (err) {
		atomic_store(&db->flight_id, UINT64_MAX);
		db->marked = false;
		/* Only a write transaction tells whether the environment survived. */
		if (!disk_is_alive(db->disk))
			db_reopen(db);
	} else {
		db->place = to;
		db->half_free = true;
		db->marked = true;
		if (db->journal_broken && journal_last(db->journal) == to.taken)
			db_restart_journal(db, to.taken);
		thaw(db);
		/* LMDB keeps the pages that it has written for the next time: as many as this had. On failure who comes next tries again. */
		if (large && !db_reopen(db))
			db->reopened--;
	}
	/* Memory may be back at any time, and is asked for again: only the disk is not worth a try at each change. */
	db->last_error = db_is_pending(db) && err != -ENOMEM ? err : 0;
	db->draining = false;
	db->ended++;
	pthread_cond_broadcast(&db->settled);
	return err;
}

/* Needs `update`. When too much is in memory whoever would add to it takes it to disk: nobody else can be relied on to get there. */
static int make_room(struct db *db)
{
	int err = 0;

	while (!err && db->mem.bytes + db->frozen.bytes > PENDING_LIMIT) {
		if (db->in_flight || db->draining)
			pthread_cond_wait(&db->settled, &db->update);
		else
			err = db->last_error ? db->last_error : write_disk(db, NULL);
	}
	return err;
}

int db_update(struct db *db, int (*fn)(struct db_txn *txn, void *arg), void *arg)
{
	struct db_txn txn = { .db = db, .kind = UPDATE };
	int err;

	if (db->read_only)
		return -EROFS;
	pthread_mutex_lock(&db->update);
	for (;;) {
		err = make_room(db);
		if (err)
			break;
		err = run_update(db, &txn, fn, arg);
		if (!txn.conflict)
			break;
		mem_release(&txn.local);
		while (db->in_flight && db->flight)
			pthread_cond_wait(&db->settled, &db->update);
	}
	/* While memory can't reach the disk, only small changes are taken, such as the removal that makes room. */
	if (!err && db->last_error && txn.local.count && !is_small(db, &txn.local))
		err = db->last_error;
	if (!err && txn.local.count)
		show(db, &txn.local, false);
	db_unlock_if_idle(db);
	pthread_mutex_unlock(&db->update);
	mem_release(&txn.local);
	return err;
}

int db_durable_begin(struct db *db, struct db_txn **ret)
{
	struct db_txn *txn;
	int err;

	if (db->read_only)
		return -EROFS;
	txn = calloc(1, sizeof(*txn));
	if (!txn)
		return -ENOMEM;
	txn->db = db;
	txn->kind = DURABLE;
	pthread_mutex_lock(&db->update);
	while (db->in_flight)
		pthread_cond_wait(&db->settled, &db->update);
	err = snapshot_begin(db, txn);
	if (err) {
		db_unlock_if_idle(db);
		pthread_mutex_unlock(&db->update);
		free(txn);
		return err;
	}
	*ret = txn;
	return 0;
}

/* Needs `update`, which it gives back. */
static void durable_end(struct db_txn *txn)
{
	struct db *db = txn->db;

	db_unlock_if_idle(db);
	pthread_mutex_unlock(&db->update);
	mem_release(&txn->local);
	free(txn);
}

int db_durable_commit(struct db_txn *txn)
{
	struct db *db = txn->db;
	int err = 0;

	disk_read_end(db->disk, txn->disk);
	if (txn->local.count || db->mem.loose || db->exposed) {
		take_off(db, &txn->local);
		err = journal_serves(db) ? write_journal(db, &txn->local) : -E2BIG;
		if (!err)
			show(db, &txn->local, true);
		else
			err = write_disk(db, &txn->local);
		land(db);
	}
	durable_end(txn);
	return err;
}

void db_durable_abort(struct db_txn *txn)
{
	disk_read_end(txn->db->disk, txn->disk);
	durable_end(txn);
}

int db_sync(struct db *db)
{
	int err = 0;

	if (db->read_only)
		return 0;
	pthread_mutex_lock(&db->update);
	take_off(db, NULL);
	if (db->mem.loose || db->exposed) {
		err = journal_serves(db) ? write_journal(db, NULL) : -E2BIG;
		if (err)
			err = write_disk(db, NULL);
	}
	land(db);
	db_unlock_if_idle(db);
	pthread_mutex_unlock(&db->update);
	return err;
}

int db_drain(struct db *db, bool force)
{
	int err = 0;

	if (db->read_only)
		return 0;
	pthread_mutex_lock(&db->update);
	/* What is frozen should be in the journal, so that what follows it may be before it is on disk. */
	take_off(db, NULL);
	while (db->draining)
		pthread_cond_wait(&db->settled, &db->update);
	if (db->mem.loose && journal_serves(db))
		write_journal(db, NULL);
	land(db);
	/* An entry that failed may be there, and must not come back. */
	if (db_is_pending(db) || db->journal_broken || force)
		err = write_disk(db, NULL);
	db_unlock_if_idle(db);
	pthread_mutex_unlock(&db->update);
	return err;
}

size_t db_pending(struct db *db)
{
	size_t bytes;

	pthread_rwlock_rdlock(&db->memory);
	bytes = db->mem.bytes + db->frozen.bytes;
	pthread_rwlock_unlock(&db->memory);
	return bytes;
}

bool db_crowded(struct db *db)
{
	bool crowded;

	pthread_mutex_lock(&db->update);
	/* Of a journal that fills up on_pending has told. */
	crowded = db_is_pending(db) && (!db_alone(db) || !db->journal || db->mem.bytes + db->frozen.bytes > PENDING_LIMIT / 4);
	pthread_mutex_unlock(&db->update);
	return crowded;
}

void db_stats(struct db *db, struct db_stats *ret)
{
	struct disk_stats disk;

	*ret = (struct db_stats){ 0 };
	pthread_mutex_lock(&db->update);
	ret->reopened = db->reopened;
	ret->journaled = db->journaled;
	ret->drained = db->ended;
	pthread_mutex_unlock(&db->update);
	pthread_rwlock_rdlock(&db->memory);
	disk_stats(db->disk, &disk);
	ret->used_bytes = disk.used_bytes;
	ret->records = disk.records;
	ret->map_bytes = disk.map_bytes;
	ret->file_bytes = db_file_size(db->dir);
	pthread_rwlock_unlock(&db->memory);
}
