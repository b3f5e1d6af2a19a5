#include "db.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "db_file.h"
#include "db_inside.h"

/* ---- The lock between processes ------------------------------------------------------------------------------- */

/* Where the tree says that it is. */
static int read_place(struct db *db, struct journal_place *ret)
{
	struct {
		uint64_t taken, mark;
	} place = { 0 };
	struct disk_txn *txn;
	struct db_value v;
	int err = disk_read_begin(db->disk, &txn);

	if (err)
		return err;
	err = disk_get(db->disk, txn, db->journal_key, db->journal_key_size, &v);
	if (!err && v.size == sizeof(place))
		memcpy(&place, v.data, sizeof(place));
	disk_read_end(db->disk, txn);
	if (err && err != -ENOENT)
		return err;
	*ret = (struct journal_place){ le64toh(place.taken), le64toh(place.mark), 0, 0 };
	return 0;
}

void db_restart_journal(struct db *db, uint64_t taken)
{
	db->place.taken = taken;
	db->half_free = true;
	db->journal_broken = false;
	journal_restart(db->journal, &db->place);
}

int db_lock(struct db *db)
{
	struct journal_place place;
	int err;

	if (db->locked)
		return 0;
	err = db_file_lock(db->lock_fd);
	if (err)
		return err;
	db->locked = true;
	/* LMDB sees what a process that died in a commit has left only when a write transaction begins. */
	disk_is_alive(db->disk);
	if (!db->journal)
		return 0;
	/* Another process may have used the journal; it has left nothing in it. */
	if (read_place(db, &place)) {
		db->journal_broken = true;
	} else if (place.taken != db->place.taken || place.mark != db->place.mark) {
		db->place.mark += 2;	/* as in write_disk: no entry has what the other has done */
		db_restart_journal(db, place.taken);
		db->marked = false;
	}
	return 0;
}

void db_unlock_if_idle(struct db *db)
{
	if (db->locked && !db_is_pending(db) && !db->in_flight && !db->draining) {
		db_file_unlock(db->lock_fd);
		db->locked = false;
	}
}

/* ---- Opening -------------------------------------------------------------------------------------------------- */

static int create(int dir, const struct db_options *o)
{
	struct db_txn txn = { .kind = DURABLE };
	char *name;
	int fresh, err = db_file_prepare(dir, &name, &fresh);

	if (err || !name)
		return err;
	err = o->fill(&txn, o->arg);
	if (!err)
		err = disk_create(fresh, o->map_size, &txn.local);
	mem_release(&txn.local);
	return db_file_install(dir, name, fresh, err);
}

int db_open(const char *path, const struct db_options *o, struct db **ret)
{
	pthread_rwlockattr_t attr;
	struct db *db;
	int dir, err = db_dir_open(path, o->create && !o->read_only, o->read_only, &o->why, &dir);

	if (err)
		return err;
	if (o->create && !o->read_only)
		err = create(dir, o);
	if (!err)
		err = db_file_present(dir);
	db = err ? NULL : calloc(1, sizeof(*db));
	if (!db) {
		close(dir);
		return err ? err : -ENOMEM;
	}
	db->dir = dir;
	pthread_rwlockattr_init(&attr);
	/* A stream of readers must not keep a finished commit from being shown. */
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&db->memory, &attr);
	pthread_rwlockattr_destroy(&attr);
	pthread_mutex_init(&db->update, NULL);
	pthread_cond_init(&db->settled, NULL);
	db->read_only = o->read_only;
	db->salvaged = o->salvage;
	db->on_pending = o->on_pending;
	db->arg = o->arg;
	db->objects = o->objects;
	memcpy(db->journal_key, o->journal_key, o->journal_key_size);
	db->journal_key_size = o->journal_key_size;
	db->lock_fd = -1;
	atomic_init(&db->flight_id, UINT64_MAX);
	err = db_file_lock_open(dir, db->read_only, &db->lock_fd);
	if (!err)
		err = db_file_join(db->lock_fd);
	/* Who only reads does not need to be seen where it can't be. */
	if (err && db->read_only)
		err = 0;
	/* Without LMDB nothing keeps a writer from using pages again. */
	if (!err && o->salvage && db->lock_fd >= 0 && !db_file_alone(db->lock_fd))
		err = -EBUSY;
	if (!err)
		err = disk_open(dir, o->map_size, o->salvage ? DISK_SALVAGE : db->read_only ? DISK_READ : DISK_WRITE, &db->disk);
	if (err) {
		db_close(db);
		return err;
	}
	*ret = db;
	return 0;
}

void db_close(struct db *db)
{
	if (!db)
		return;
	disk_close(db->disk);
	journal_close(db->journal);
	mem_release(&db->mem);
	mem_release(&db->frozen);
	if (db->lock_fd >= 0)
		close(db->lock_fd);
	pthread_rwlock_destroy(&db->memory);
	pthread_mutex_destroy(&db->update);
	pthread_cond_destroy(&db->settled);
	close(db->dir);
	free(db);
}

/*
 * What the last process could not take to the tree, because it was killed or the power failed. Needs `update` and the file lock. What only reads
 * shows it: the next commit on this disk takes just these along.
 */
static int replay(struct db *db)
{
	struct disk_txn *txn;
	uint64_t last;
	int err = read_place(db, &db->place);

	if (err == -EUCLEAN && db->salvaged) {
		db->report.unplaced = true;
		return 0;
	}
	db_file_noted(db->lock_fd, &db->place.noted, &db->place.noted_mark);
	if (!err)
		err = journal_open(db->dir, db->read_only, db->objects, &db->journal);
	if (err == -ENOENT && db->place.mark && db->place.noted > db->place.taken && db->place.noted_mark - db->place.mark <= 1)
		db->report.absent = true;
	if (!err)
		err = journal_replay(db->journal, &db->place, &db->frozen, &last, &db->report);
	if (err)
		return err;
	if (!db->read_only && !journal_is_whole(&db->report)) {
		/* Nothing is to be written over it. */
		journal_close(db->journal);
		db->journal = NULL;
		db->place.taken = last;
	} else {
		db_restart_journal(db, last);
	}
	if (!db->frozen.count)
		return 0;
	/* Until the disk has them, the entries must stay. */
	db->half_free = false;
	db->journal_broken = db->journal;
	err = disk_read_begin(db->disk, &txn);
	if (err)
		return err;
	if (db->read_only)
		atomic_store(&db->flight_id, disk_txn_id(txn) + 1);
	disk_read_end(db->disk, txn);
	return 0;
}

/* Without room for one the store does as well, only slower. Needs `update` and the file lock, or to be alone. */
static void begin_journal(struct db *db)
{
	if (!journal_create(db->dir) && !journal_open(db->dir, false, db->objects, &db->journal))
		db_restart_journal(db, db->place.taken);
}

static int recover(struct db *db)
{
	int err = 0;

	if (db->read_only) {
		/* When another process has something pending it is alive, and takes care of its journal. */
		if (db->lock_fd >= 0 && !db_file_hold(db->lock_fd))
			return 0;
		err = replay(db);
		if (db->lock_fd >= 0)
			db_file_unlock(db->lock_fd);
		return err == -ENOENT ? 0 : err;
	}
	err = db_lock(db);
	if (!err)
		err = replay(db);
	if (err == -ENOENT) {
		err = 0;
		if (!db->report.absent)
			begin_journal(db);
	}
	if (!err && getrandom(&db->place.mark, sizeof(db->place.mark), 0) != sizeof(db->place.mark))
		err = -EIO;
	if (!err && db->journal && !db->journal_broken)
		db_restart_journal(db, db->place.taken);
	db_unlock_if_idle(db);
	return err;
}

/* One that was damaged is not needed any more, since the tree has all that is whole in it; and there is a new one. */
static int replace_journal(struct db *db)
{
	int err;

	pthread_mutex_lock(&db->update);
	err = db->report.absent ? 0 : journal_set_aside(db->dir);
	if (!err)
		begin_journal(db);
	pthread_mutex_unlock(&db->update);
	return err == -ENOENT ? 0 : err;
}

int db_use_journal(struct db *db)
{
	bool damaged;
	int err;

	pthread_mutex_lock(&db->update);
	err = recover(db);
	pthread_mutex_unlock(&db->update);
	damaged = !db->read_only && !journal_is_whole(&db->report);
	/* On a full disk it stays where it is, for now. */
	if (!err)
		err = db_drain(db, damaged);
	if (!err && damaged)
		err = replace_journal(db);
	return err == -ENOSPC ? 0 : err;
}

int db_strict(struct db *db, bool strict)
{
	if (strict)
		disk_strict(db->disk);
	return disk_salvage(db->disk);
}

const struct journal_report *db_journal_report(const struct db *db)
{
	return &db->report;
}

int db_reopen(struct db *db)
{
	int err;

	pthread_rwlock_wrlock(&db->memory);
	err = disk_reopen(db->disk);
	if (!err)
		db->reopened++;
	pthread_rwlock_unlock(&db->memory);
	/* As in db_lock, which may have found none. */
	if (!err && !db->read_only)
		disk_is_alive(db->disk);
	return err;
}
