#include "db.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "db_file.h"
#include "db_tail.h"
#include "mem.h"

#define POOL_SIZE 16
#define PENDING_LIMIT (64u << 20)	/* bytes in memory after which updates wait for the disk */
#define SMALL_CHANGE 2048

enum kind { READ, UPDATE, DURABLE };

struct db_txn {
	struct db *db;
	enum kind kind;
	MDB_txn *mdb;
	struct mem local;	/* UPDATE: what it has written so far */
	bool conflict;		/* UPDATE: touched a key that is in flight */
	uint64_t seq;		/* DURABLE: memory up to here is taken along; READ: is on its disk, with what came after */
};

/* Hashes of the keys that the durable transaction in flight has changed. */
struct keys {
	uint64_t *slots;
	size_t count, room;
};

struct db {
	char *path;
	bool read_only, alone;
	uint64_t map_size;
	int lock_fd;
	void (*on_pending)(void *arg);
	void *arg;

	pthread_mutex_t update;
	pthread_cond_t settled;		/* with `update`: a durable transaction has ended */
	bool has_committer;		/* update */
	pthread_t committer;		/* update; the thread of the last durable transaction */
	bool in_flight;			/* update */
	uint64_t ended;			/* update: durable transactions that have ended */
	int last_error;			/* update: why memory did not reach the disk when it was last tried, or 0 */
	struct keys keys;		/* update; filled by the durable transaction */
	bool locked;			/* update: the file lock is held */
	uint64_t seq;			/* update */
	uint64_t reopened;		/* update */

	/* The last durable transaction: LMDB's number for it, and the memory that it takes along. Set in this order, read in the other. */
	atomic_uint_fast64_t flight_id, flight_seq;

	pthread_rwlock_t memory;
	struct mem mem;			/* memory; changed only with `update` held too */
	MDB_env *env;			/* memory; changed only with `update` held too */
	MDB_dbi dbi;			/* memory */

	pthread_mutex_t pool;
	MDB_txn *idle[POOL_SIZE];	/* pool */
	int idle_count;			/* pool */
};

/* The one place where LMDB's codes become errnos. */
static int translate(int rc)
{
	if (rc >= 0)
		return -rc;
	switch (rc) {
	case MDB_NOTFOUND:
		return -ENOENT;
	case MDB_MAP_FULL:
	case MDB_MAP_RESIZED:
		return -ENOSPC;
	case MDB_TXN_FULL:
		return -EFBIG;
	case MDB_VERSION_MISMATCH:
		return -EPROTO;
	case MDB_INVALID:
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case MDB_INCOMPATIBLE:
		return -EUCLEAN;
	case MDB_READERS_FULL:
		return -EBUSY;
	case MDB_BAD_VALSIZE:
		return -ENAMETOOLONG;
	default:
		return -EIO;
	}
}

/* ---- The environment ------------------------------------------------------------------------------------------ */

/* Pages beyond the end of a truncated file would be SIGBUS on the first read. */
static int check_size(MDB_env *env)
{
	MDB_txn *txn;
	int fd, err;

	do {
		err = translate(mdb_env_get_fd(env, &fd));
		if (!err)
			err = translate(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn));
		if (err)
			return err;
		err = db_tail_check(fd, mdb_txn_id(txn));
		mdb_txn_abort(txn);
	} while (err == -EAGAIN);
	return err;
}

static int env_open(const char *dir, uint64_t map_size, unsigned flags, MDB_env **ret, MDB_dbi *ret_dbi)
{
	MDB_env *env = NULL;
	MDB_txn *txn;
	int rc, err;

	if (!(flags & MDB_RDONLY)) {
		err = db_file_reserve(dir);
		if (err)
			return err;
	}
	rc = mdb_env_create(&env);
	if (rc)
		return translate(rc);
	rc = mdb_env_set_mapsize(env, map_size);
	if (!rc)
		rc = mdb_env_set_maxreaders(env, 510);
	if (!rc)
		rc = mdb_env_open(env, dir, flags | MDB_NOTLS | MDB_NORDAHEAD, 0600);
	err = rc ? translate(rc) : check_size(env);
	if (!err) {
		rc = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn);
		if (!rc && (rc = mdb_dbi_open(txn, NULL, 0, ret_dbi)))
			mdb_txn_abort(txn);
		else if (!rc)
			rc = mdb_txn_commit(txn);
		err = translate(rc);
	}
	if (err) {
		mdb_env_close(env);
		return err;
	}
	if (!(flags & MDB_RDONLY)) {
		int dead;

		mdb_reader_check(env, &dead);
	}
	*ret = env;
	return 0;
}

/* Fills a new environment in `dir` with its first records, durably. */
static int env_create(const char *dir, const struct db_options *o)
{
	MDB_env *env = NULL;
	MDB_txn *txn;
	MDB_dbi dbi;
	struct db fresh = { 0 };
	int err;

	err = env_open(dir, o->map_size, 0, &env, &dbi);
	if (err)
		return err;
	fresh.dbi = dbi;
	err = translate(mdb_txn_begin(env, NULL, 0, &txn));
	if (!err) {
		err = o->fill(&(struct db_txn){ .db = &fresh, .kind = DURABLE, .mdb = txn }, o->arg);
		if (err)
			mdb_txn_abort(txn);
		else
			err = translate(mdb_txn_commit(txn));
	}
	free(fresh.keys.slots);
	if (!err)
		err = translate(mdb_env_sync(env, 1));
	mdb_env_close(env);
	return err;
}

static unsigned env_flags(const struct db *db)
{
	return db->read_only ? MDB_RDONLY : 0;
}

int db_open(const char *path, const struct db_options *o, struct db **ret)
{
	pthread_rwlockattr_t attr;
	struct db *db;
	int err;

	if (o->create && !o->read_only) {
		char *fresh;

		err = db_file_prepare(path, &fresh);
		if (!err && fresh) {
			err = env_create(fresh, o);
			err = db_file_install(path, fresh, err);
		}
		if (err)
			return err;
	}
	err = db_file_present(path);
	if (err)
		return err;
	db = calloc(1, sizeof(*db));
	if (!db)
		return -ENOMEM;
	pthread_rwlockattr_init(&attr);
	/* A stream of readers must not keep a finished commit from being shown. */
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&db->memory, &attr);
	pthread_rwlockattr_destroy(&attr);
	pthread_mutex_init(&db->update, NULL);
	pthread_mutex_init(&db->pool, NULL);
	pthread_cond_init(&db->settled, NULL);
	db->read_only = o->read_only;
	db->map_size = o->map_size;
	db->on_pending = o->on_pending;
	db->arg = o->arg;
	db->lock_fd = -1;
	atomic_init(&db->flight_id, UINT64_MAX);
	db->path = strdup(path);
	err = db->path ? 0 : -ENOMEM;
	if (!err && !db->read_only)
		err = db_file_lock_open(path, &db->lock_fd);
	if (!err && !db->read_only)
		err = db_file_join(db->lock_fd, &db->alone);
	if (!err)
		err = env_open(path, db->map_size, env_flags(db), &db->env, &db->dbi);
	if (err) {
		db_close(db);
		return err;
	}
	*ret = db;
	return 0;
}

/* Needs `update` and `memory`, or that no other thread is left. */
static void env_close(struct db *db)
{
	while (db->idle_count)
		mdb_txn_abort(db->idle[--db->idle_count]);
	if (db->env)
		mdb_env_close(db->env);
	db->env = NULL;
}

void db_close(struct db *db)
{
	if (!db)
		return;
	env_close(db);
	mem_release(&db->mem);
	free(db->keys.slots);
	if (db->lock_fd >= 0)
		close(db->lock_fd);
	pthread_rwlock_destroy(&db->memory);
	pthread_mutex_destroy(&db->update);
	pthread_mutex_destroy(&db->pool);
	pthread_cond_destroy(&db->settled);
	free(db->path);
	free(db);
}

/* Needs `update`. An environment is dead after a failed write of its meta page: begin with a new one. */
static int reopen(struct db *db)
{
	MDB_env *env = NULL;
	MDB_dbi dbi;
	int err;

	pthread_rwlock_wrlock(&db->memory);
	env_close(db);
	err = env_open(db->path, db->map_size, env_flags(db), &env, &dbi);
	if (!err) {
		db->env = env;
		db->dbi = dbi;
		db->reopened++;
	}
	pthread_rwlock_unlock(&db->memory);
	return err;
}

/* ---- Reading -------------------------------------------------------------------------------------------------- */

/*
 * LMDB reads the number of the newest state and then its root, from one of two places that commits use in turn. A reader that is
 * delayed between the two has the root of the second commit after it under the older number: a state that may not be on disk yet,
 * and would be laid under the wrong memory. It tries again. Aborts the transaction on failure.
 */
static int snapshot_settle(struct db *db, MDB_txn *txn)
{
	MDB_envinfo info;
	int rc = 0;

	for (int i = 0; !rc && i < 8; i++) {
		mdb_env_info(db->env, &info);
		if (info.me_last_txnid <= mdb_txn_id(txn) + 1)
			return 0;
		mdb_txn_reset(txn);
		rc = mdb_txn_renew(txn);
	}
	if (rc)
		mdb_txn_abort(txn);
	return translate(rc);
}

/* Needs `memory` or `update`. */
static int snapshot_begin(struct db *db, MDB_txn **ret)
{
	MDB_txn *txn = NULL;
	int rc;

	if (!db->env)
		return -EIO;
	pthread_mutex_lock(&db->pool);
	if (db->idle_count)
		txn = db->idle[--db->idle_count];
	pthread_mutex_unlock(&db->pool);
	if (txn) {
		rc = mdb_txn_renew(txn);
		if (rc) {
			mdb_txn_abort(txn);
			txn = NULL;
		}
	}
	if (!txn) {
		rc = mdb_txn_begin(db->env, NULL, MDB_RDONLY, &txn);
		if (rc)
			return translate(rc);
	}
	rc = snapshot_settle(db, txn);
	if (!rc)
		*ret = txn;
	return rc;
}

static void snapshot_end(struct db *db, MDB_txn *txn)
{
	mdb_txn_reset(txn);
	pthread_mutex_lock(&db->pool);
	if (db->idle_count < POOL_SIZE) {
		db->idle[db->idle_count++] = txn;
		txn = NULL;
	}
	pthread_mutex_unlock(&db->pool);
	if (txn)
		mdb_txn_abort(txn);
}

int db_read_begin(struct db *db, struct db_txn **ret)
{
	struct db_txn *txn = calloc(1, sizeof(*txn));
	uint64_t seq;
	int err;

	if (!txn)
		return -ENOMEM;
	txn->db = db;
	txn->kind = READ;
	pthread_rwlock_rdlock(&db->memory);
	if (!db->env) {
		/* It could not be opened again when the disk failed. */
		pthread_rwlock_unlock(&db->memory);
		pthread_mutex_lock(&db->update);
		err = db->env ? 0 : reopen(db);
		pthread_mutex_unlock(&db->update);
		pthread_rwlock_rdlock(&db->memory);
	}
	err = snapshot_begin(db, &txn->mdb);
	if (err) {
		pthread_rwlock_unlock(&db->memory);
		free(txn);
		return err;
	}
	/* Until memory is dropped, what has just been committed is newer than what lies over it. */
	seq = atomic_load(&db->flight_seq);
	if (mdb_txn_id(txn->mdb) >= atomic_load(&db->flight_id))
		txn->seq = seq;
	*ret = txn;
	return 0;
}

void db_read_end(struct db_txn *txn)
{
	struct db *db;

	if (!txn)
		return;
	db = txn->db;
	snapshot_end(db, txn->mdb);
	pthread_rwlock_unlock(&db->memory);
	free(txn);
}

/* ---- Keys in flight ------------------------------------------------------------------------------------------- */

static uint64_t key_hash(const void *key, size_t size)
{
	const unsigned char *p = key;
	uint64_t h = 0xcbf29ce484222325u;

	while (size--)
		h = (h ^ *p++) * 0x100000001b3u;
	return h ? h : 1;
}

static bool keys_has(const struct keys *k, uint64_t hash)
{
	if (!k->count)
		return false;
	for (size_t i = hash & (k->room - 1); k->slots[i]; i = (i + 1) & (k->room - 1)) {
		if (k->slots[i] == hash)
			return true;
	}
	return false;
}

static int keys_add(struct keys *k, uint64_t hash)
{
	size_t i;

	if ((k->count + 1) * 2 > k->room) {
		struct keys bigger = { .room = k->room ? k->room * 2 : 64 };

		bigger.slots = calloc(bigger.room, sizeof(*bigger.slots));
		if (!bigger.slots)
			return -ENOMEM;
		for (size_t j = 0; j < k->room; j++) {
			if (k->slots[j])
				keys_add(&bigger, k->slots[j]);
		}
		free(k->slots);
		*k = bigger;
	}
	for (i = hash & (k->room - 1); k->slots[i]; i = (i + 1) & (k->room - 1)) {
		if (k->slots[i] == hash)
			return 0;
	}
	k->slots[i] = hash;
	k->count++;
	return 0;
}

static void keys_clear(struct keys *k)
{
	if (k->room > 4096) {
		free(k->slots);
		*k = (struct keys){ 0 };
	} else if (k->count) {
		memset(k->slots, 0, k->room * sizeof(*k->slots));
		k->count = 0;
	}
}

/* ---- Records -------------------------------------------------------------------------------------------------- */

static bool in_conflict(struct db_txn *txn, const void *key, size_t size)
{
	if (txn->kind == UPDATE && txn->db->in_flight && keys_has(&txn->db->keys, key_hash(key, size)))
		txn->conflict = true;
	return txn->conflict;
}

/* Whether the disk that a reader sees has something newer. */
static bool is_hidden(const struct db_txn *txn, const struct mem_node *n)
{
	return txn->kind == READ && n->seq <= txn->seq;
}

int db_get(struct db_txn *txn, const void *key, size_t key_size, struct db_value *ret)
{
	MDB_val k = { key_size, (void *)key }, v;
	const struct mem_node *n = NULL;
	int rc;

	if (txn->kind == UPDATE) {
		n = mem_get(&txn->local, key, key_size);
		if (!n && in_conflict(txn, key, key_size))
			return -EAGAIN;
	}
	if (!n && txn->kind != DURABLE)
		n = mem_get(&txn->db->mem, key, key_size);
	if (n && is_hidden(txn, n))
		n = NULL;
	if (n) {
		if (n->removed)
			return -ENOENT;
		*ret = (struct db_value){ n->value, n->value_size };
		return 0;
	}
	rc = mdb_get(txn->mdb, txn->db->dbi, &k, &v);
	if (rc)
		return translate(rc);
	*ret = (struct db_value){ v.mv_data, v.mv_size };
	return 0;
}

static int change(struct db_txn *txn, const void *key, size_t key_size, const void *value, size_t value_size)
{
	MDB_val k = { key_size, (void *)key }, v = { value_size, (void *)value };
	int rc, err;

	if (key_size > 511)
		return -ENAMETOOLONG;
	if (txn->kind == UPDATE) {
		if (in_conflict(txn, key, key_size))
			return -EAGAIN;
		return mem_put(&txn->local, key, key_size, value, value_size, 0);
	}
	err = keys_add(&txn->db->keys, key_hash(key, key_size));
	if (err)
		return err;
	if (value)
		rc = mdb_put(txn->mdb, txn->db->dbi, &k, &v, 0);
	else
		rc = mdb_del(txn->mdb, txn->db->dbi, &k, NULL);
	return rc == MDB_NOTFOUND ? 0 : translate(rc);
}

int db_put(struct db_txn *txn, const void *key, size_t key_size, const void *value, size_t value_size)
{
	return change(txn, key, key_size, value ? value : "", value_size);
}

int db_del(struct db_txn *txn, const void *key, size_t key_size)
{
	return change(txn, key, key_size, NULL, 0);
}

/* ---- Scanning ------------------------------------------------------------------------------------------------- */

static int disk_step(struct db_scan *s, MDB_cursor_op op)
{
	MDB_val k = { s->disk_key.size, (void *)s->disk_key.data }, v;
	int rc = mdb_cursor_get(s->cursor, &k, &v, op);

	if (rc == MDB_NOTFOUND) {
		s->disk_key = (struct db_value){ 0 };
		return 0;
	}
	if (rc)
		return translate(rc);
	s->disk_key = (struct db_value){ k.mv_data, k.mv_size };
	s->disk_value = (struct db_value){ v.mv_data, v.mv_size };
	return 0;
}

int db_scan_begin(struct db_scan *s, struct db_txn *txn, const void *key, size_t key_size, size_t prefix)
{
	MDB_cursor *cursor;
	int rc, err;

	*s = (struct db_scan){ .txn = txn, .prefix_size = prefix };
	memcpy(s->prefix, key, prefix);
	/* Keys in flight are known one by one, not as ranges. */
	if (txn->kind == UPDATE && txn->db->in_flight && txn->db->keys.count) {
		txn->conflict = true;
		return -EAGAIN;
	}
	rc = mdb_cursor_open(txn->mdb, txn->db->dbi, &cursor);
	if (rc)
		return translate(rc);
	s->cursor = cursor;
	s->disk_key = (struct db_value){ key, key_size };
	err = disk_step(s, key_size ? MDB_SET_RANGE : MDB_FIRST);
	if (err) {
		db_scan_end(s);
		return err;
	}
	if (txn->kind != DURABLE)
		s->memory = mem_seek(&txn->db->mem, key, key_size);
	if (txn->kind == UPDATE)
		s->local = mem_seek(&txn->local, key, key_size);
	return 0;
}

static int order(const struct mem_node *n, const struct db_value *key)
{
	if (!n)
		return 1;
	if (!key->data)
		return -1;
	return mem_compare(n->key, n->key_size, key->data, key->size);
}

int db_scan_next(struct db_scan *s, struct db_value *ret_key, struct db_value *ret_value)
{
	for (;;) {
		const struct mem_node *n = s->memory;
		struct db_value key, value;
		bool removed = false;
		int c, err;

		/* `state` says that the disk's record was handed out and is still under the cursor. */
		if (s->state) {
			s->state = 0;
			err = disk_step(s, MDB_NEXT);
			if (err)
				return err;
		}
		while (n && is_hidden(s->txn, n))
			n = s->memory = n->next[0];
		if (s->local && order(s->local, &(struct db_value){ n ? n->key : NULL, n ? n->key_size : 0 }) <= 0) {
			if (n && order(s->local, &(struct db_value){ n->key, n->key_size }) == 0)
				s->memory = n->next[0];
			n = s->local;
		}
		c = order(n, &s->disk_key);
		if (!n && !s->disk_key.data)
			return -ENOENT;
		if (c <= 0) {
			key = (struct db_value){ n->key, n->key_size };
			value = (struct db_value){ n->value, n->value_size };
			removed = n->removed;
			if (n == s->local)
				s->local = n->next[0];
			else
				s->memory = n->next[0];
			if (c == 0)
				s->state = 1;
		} else {
			key = s->disk_key;
			value = s->disk_value;
			s->state = 1;
		}
		if (key.size < s->prefix_size || memcmp(key.data, s->prefix, s->prefix_size) != 0)
			return -ENOENT;
		if (removed)
			continue;
		*ret_key = key;
		*ret_value = value;
		return 0;
	}
}

void db_scan_end(struct db_scan *s)
{
	if (s->cursor)
		mdb_cursor_close(s->cursor);
	s->cursor = NULL;
}

/* ---- Updating ------------------------------------------------------------------------------------------------- */

/* Both need `update`. */
static int file_lock(struct db *db)
{
	int err;

	if (db->locked)
		return 0;
	err = db_file_lock(db->lock_fd);
	if (!err)
		db->locked = true;
	return err;
}

static void file_unlock_if_idle(struct db *db)
{
	if (db->locked && !db->mem.count && !db->in_flight) {
		db_file_unlock(db->lock_fd);
		db->locked = false;
	}
}

static int run_update(struct db *db, struct db_txn *txn, int (*fn)(struct db_txn *txn, void *arg), void *arg)
{
	int err = file_lock(db);

	if (!err && !db->env)
		err = reopen(db);
	if (err)
		return err;
	err = snapshot_begin(db, &txn->mdb);
	if (err)
		return err;
	txn->conflict = false;
	err = fn(txn, arg);
	snapshot_end(db, txn->mdb);
	if (txn->conflict)
		return -EAGAIN;
	return err;
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
	return grows <= SMALL_CHANGE && (removes || db->mem.bytes <= PENDING_LIMIT / 64);
}

int db_update(struct db *db, int (*fn)(struct db_txn *txn, void *arg), void *arg)
{
	struct db_txn txn = { .db = db, .kind = UPDATE };
	int err;

	if (db->read_only)
		return -EROFS;
	pthread_mutex_lock(&db->update);
	for (;;) {
		uint64_t ended = db->ended;

		/* The thread that takes memory to disk must not wait for that. */
		if (db->mem.bytes > PENDING_LIMIT && !(db->has_committer && pthread_equal(db->committer, pthread_self()))) {
			if (db->last_error) {
				err = db->last_error;
				break;
			}
			db->on_pending(db->arg);
			while (db->ended == ended)
				pthread_cond_wait(&db->settled, &db->update);
			continue;
		}
		err = run_update(db, &txn, fn, arg);
		if (!txn.conflict)
			break;
		mem_release(&txn.local);
		while (db->in_flight && db->ended == ended)
			pthread_cond_wait(&db->settled, &db->update);
	}
	/* While memory can't reach the disk, only small changes are taken, such as the removal that makes room. */
	if (!err && db->last_error && !is_small(db, &txn.local))
		err = db->last_error;
	if (!err && txn.local.count) {
		bool first;

		pthread_rwlock_wrlock(&db->memory);
		first = !db->mem.count;
		mem_merge(&db->mem, &txn.local, ++db->seq);
		pthread_rwlock_unlock(&db->memory);
		if (first)
			db->on_pending(db->arg);
	}
	file_unlock_if_idle(db);
	pthread_mutex_unlock(&db->update);
	mem_release(&txn.local);
	return err;
}

bool db_alone(struct db *db)
{
	return db->alone;
}

size_t db_pending(struct db *db)
{
	size_t bytes;

	pthread_rwlock_rdlock(&db->memory);
	bytes = db->mem.bytes;
	pthread_rwlock_unlock(&db->memory);
	return bytes;
}

/* ---- Durable -------------------------------------------------------------------------------------------------- */

static int take_memory_along(struct db *db, struct db_txn *txn)
{
	for (struct mem_node *n = db->mem.first[0]; n; n = n->next[0]) {
		MDB_val k = { n->key_size, n->key }, v = { n->value_size, n->value };
		int rc;

		if (n->removed)
			rc = mdb_del(txn->mdb, db->dbi, &k, NULL);
		else
			rc = mdb_put(txn->mdb, db->dbi, &k, &v, 0);
		if (rc && rc != MDB_NOTFOUND)
			return translate(rc);
	}
	return 0;
}

int db_durable_begin(struct db *db, struct db_txn **ret)
{
	struct db_txn *txn;
	int rc, err;

	if (db->read_only)
		return -EROFS;
	txn = calloc(1, sizeof(*txn));
	if (!txn)
		return -ENOMEM;
	txn->db = db;
	txn->kind = DURABLE;
	pthread_mutex_lock(&db->update);
	db->committer = pthread_self();
	db->has_committer = true;
	err = file_lock(db);
	if (!err && !db->env)
		err = reopen(db);
	if (!err) {
		rc = mdb_txn_begin(db->env, NULL, 0, &txn->mdb);
		if (rc == MDB_PANIC) {
			err = reopen(db);
			rc = err ? 0 : mdb_txn_begin(db->env, NULL, 0, &txn->mdb);
		}
		if (!err)
			err = translate(rc);
	}
	if (!err) {
		err = take_memory_along(db, txn);
		if (err)
			mdb_txn_abort(txn->mdb);
	}
	if (err) {
		db->last_error = db->mem.count ? err : 0;
		db->ended++;
		pthread_cond_broadcast(&db->settled);
		file_unlock_if_idle(db);
		pthread_mutex_unlock(&db->update);
		free(txn);
		return err;
	}
	txn->seq = db->seq;
	*ret = txn;
	return 0;
}

/* Needs `update`. */
static void durable_end(struct db_txn *txn, int err)
{
	struct db *db = txn->db;

	if (!err && db->mem.count) {
		pthread_rwlock_wrlock(&db->memory);
		mem_drop(&db->mem, txn->seq);
		pthread_rwlock_unlock(&db->memory);
	}
	keys_clear(&db->keys);
	db->in_flight = false;
	db->ended++;
	pthread_cond_broadcast(&db->settled);
	file_unlock_if_idle(db);
	pthread_mutex_unlock(&db->update);
	free(txn);
}

int db_durable_commit(struct db_txn *txn)
{
	struct db *db = txn->db;
	int rc, err;

	db->in_flight = true;
	atomic_store(&db->flight_id, mdb_txn_id(txn->mdb));
	atomic_store(&db->flight_seq, txn->seq);
	pthread_mutex_unlock(&db->update);
	rc = mdb_txn_commit(txn->mdb);
	err = translate(rc);
	/* A write cut short for want of room is EIO to LMDB. */
	if (err == -EIO && db_file_disk_full(db->path))
		err = -ENOSPC;
	pthread_mutex_lock(&db->update);
	db->last_error = db->mem.count ? err : 0;
	if (rc) {
		MDB_txn *probe;

		atomic_store(&db->flight_id, UINT64_MAX);
		/* Only a write transaction tells whether the environment survived. */
		int alive = mdb_txn_begin(db->env, NULL, 0, &probe);

		if (!alive)
			mdb_txn_abort(probe);
		else
			reopen(db);
	}
	durable_end(txn, err);
	return err;
}

void db_durable_abort(struct db_txn *txn)
{
	mdb_txn_abort(txn->mdb);
	durable_end(txn, -ECANCELED);
}

void db_stats(struct db *db, struct db_stats *ret)
{
	MDB_envinfo info;
	MDB_stat stat;

	*ret = (struct db_stats){ 0 };
	pthread_mutex_lock(&db->update);
	ret->reopened = db->reopened;
	pthread_mutex_unlock(&db->update);
	pthread_rwlock_rdlock(&db->memory);
	if (db->env) {
		mdb_env_info(db->env, &info);
		mdb_env_stat(db->env, &stat);
		ret->used_bytes = (uint64_t)stat.ms_psize * (stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages);
		ret->records = stat.ms_entries;
		ret->map_bytes = info.me_mapsize;
		ret->file_bytes = db_file_size(db->path);
	}
	pthread_rwlock_unlock(&db->memory);
}
