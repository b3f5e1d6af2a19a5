#include "disk.h"

#include <errno.h>
#include <limits.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "db_dir.h"
#include "db_file.h"
#include "db_tail.h"
#include "mem.h"

#define POOL_SIZE 16
#define KEY_BYTES 511	/* what LMDB takes */

struct disk {
	int dir;			/* the caller's */
	bool read_only;
	uint64_t map_size;
	MDB_env *env;			/* changed by disk_reopen only, when nobody else is here */
	MDB_dbi dbi;

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

static MDB_txn *mdb(struct disk_txn *txn)
{
	return (MDB_txn *)txn;
}

static MDB_cursor *mdb_cursor(struct disk_cursor *c)
{
	return (MDB_cursor *)c;
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

static int dbi_open(MDB_env *env, MDB_dbi *ret)
{
	MDB_txn *txn;
	int err = translate(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn));

	if (err)
		return err;
	err = translate(mdb_dbi_open(txn, NULL, 0, ret));
	if (!err)
		return translate(mdb_txn_commit(txn));
	mdb_txn_abort(txn);
	return err;
}

static int env_open(struct disk *d)
{
	struct db_dir_links links = { .path = "" };
	char path[PATH_MAX];
	MDB_env *env = NULL;
	int dead, err = d->read_only ? db_dir_link(d->dir, &links) : db_file_reserve(d->dir);

	db_dir_path(d->dir, path);

	if (!err)
		err = translate(mdb_env_create(&env));
	if (!err)
		err = translate(mdb_env_set_mapsize(env, d->map_size));
	if (!err)
		err = translate(mdb_env_set_maxreaders(env, 510));
	if (!err)
		err = translate(mdb_env_open(env, *links.path ? links.path : path, (d->read_only ? MDB_RDONLY : 0) | MDB_NOTLS | MDB_NORDAHEAD, 0600));
	if (*links.path)
		db_dir_unlink(&links);
	if (!err)
		err = check_size(env);
	if (!err)
		err = dbi_open(env, &d->dbi);
	if (err) {
		if (env)
			mdb_env_close(env);
		return err;
	}
	if (!d->read_only)
		mdb_reader_check(env, &dead);
	d->env = env;
	return 0;
}

static void env_close(struct disk *d)
{
	while (d->idle_count)
		mdb_txn_abort(d->idle[--d->idle_count]);
	if (d->env)
		mdb_env_close(d->env);
	d->env = NULL;
}

int disk_open(int dir, uint64_t map_size, bool read_only, struct disk **ret)
{
	struct disk *d = calloc(1, sizeof(*d));
	int err;

	if (!d)
		return -ENOMEM;
	pthread_mutex_init(&d->pool, NULL);
	d->map_size = map_size;
	d->read_only = read_only;
	d->dir = dir;
	err = env_open(d);
	if (err) {
		disk_close(d);
		return err;
	}
	*ret = d;
	return 0;
}

int disk_create(int dir, uint64_t map_size, const struct mem *records)
{
	struct disk_txn *txn;
	struct disk *d;
	int err = disk_open(dir, map_size, false, &d);

	if (err)
		return err;
	err = disk_write_begin(d, &txn);
	if (!err) {
		err = disk_write(d, txn, records);
		if (err)
			disk_write_abort(txn);
		else
			err = disk_write_commit(d, txn);
	}
	if (!err)
		err = translate(mdb_env_sync(d->env, 1));
	disk_close(d);
	return err;
}

void disk_close(struct disk *d)
{
	if (!d)
		return;
	env_close(d);
	pthread_mutex_destroy(&d->pool);
	free(d);
}

int disk_reopen(struct disk *d)
{
	env_close(d);
	return env_open(d);
}

bool disk_is_open(const struct disk *d)
{
	return d->env;
}

/* ---- Reading -------------------------------------------------------------------------------------------------- */

/*
 * LMDB reads the number of the newest state and then its root, from one of two places that commits use in turn. A reader that is
 * delayed between the two has the root of the second commit after it under the older number: a state that may not be on disk yet,
 * and would be laid under the wrong memory. It tries again. Aborts the transaction on failure.
 */
static int snapshot_settle(struct disk *d, MDB_txn *txn)
{
	MDB_envinfo info;
	int rc = 0;

	for (int i = 0; !rc && i < 8; i++) {
		mdb_env_info(d->env, &info);
		if (info.me_last_txnid <= mdb_txn_id(txn) + 1)
			return 0;
		mdb_txn_reset(txn);
		rc = mdb_txn_renew(txn);
	}
	if (rc)
		mdb_txn_abort(txn);
	return translate(rc);
}

int disk_read_begin(struct disk *d, struct disk_txn **ret)
{
	MDB_txn *txn = NULL;
	int rc;

	if (!d->env)
		return -EIO;
	pthread_mutex_lock(&d->pool);
	if (d->idle_count)
		txn = d->idle[--d->idle_count];
	pthread_mutex_unlock(&d->pool);
	if (txn) {
		rc = mdb_txn_renew(txn);
		if (rc) {
			mdb_txn_abort(txn);
			txn = NULL;
		}
	}
	if (!txn) {
		rc = mdb_txn_begin(d->env, NULL, MDB_RDONLY, &txn);
		if (rc)
			return translate(rc);
	}
	rc = snapshot_settle(d, txn);
	if (!rc)
		*ret = (struct disk_txn *)txn;
	return rc;
}

void disk_read_end(struct disk *d, struct disk_txn *snapshot)
{
	MDB_txn *txn = mdb(snapshot);

	mdb_txn_reset(txn);
	pthread_mutex_lock(&d->pool);
	if (d->idle_count < POOL_SIZE) {
		d->idle[d->idle_count++] = txn;
		txn = NULL;
	}
	pthread_mutex_unlock(&d->pool);
	if (txn)
		mdb_txn_abort(txn);
}

uint64_t disk_txn_id(struct disk_txn *txn)
{
	return mdb_txn_id(mdb(txn));
}

int disk_get(struct disk *d, struct disk_txn *txn, const void *key, size_t key_size, struct db_value *ret)
{
	MDB_val k = { key_size, (void *)key }, v;
	int rc = mdb_get(mdb(txn), d->dbi, &k, &v);

	if (!rc)
		*ret = (struct db_value){ v.mv_data, v.mv_size };
	return translate(rc);
}

static int step(MDB_cursor *c, MDB_val k, MDB_cursor_op op, struct db_value *ret_key, struct db_value *ret_value)
{
	MDB_val v;
	int rc = mdb_cursor_get(c, &k, &v, op);

	if (!rc) {
		*ret_key = (struct db_value){ k.mv_data, k.mv_size };
		*ret_value = (struct db_value){ v.mv_data, v.mv_size };
	}
	return translate(rc);
}

int disk_cursor_open(struct disk *d, struct disk_txn *txn, const void *key, size_t key_size, struct disk_cursor **ret, struct db_value *ret_key,
		     struct db_value *ret_value)
{
	MDB_cursor *c;
	int err = translate(mdb_cursor_open(mdb(txn), d->dbi, &c));

	if (err)
		return err;
	err = step(c, (MDB_val){ key_size, (void *)key }, key_size ? MDB_SET_RANGE : MDB_FIRST, ret_key, ret_value);
	if (err)
		mdb_cursor_close(c);
	else
		*ret = (struct disk_cursor *)c;
	return err;
}

int disk_cursor_next(struct disk_cursor *c, struct db_value *ret_key, struct db_value *ret_value)
{
	return step(mdb_cursor(c), (MDB_val){ 0 }, MDB_NEXT, ret_key, ret_value);
}

void disk_cursor_close(struct disk_cursor *c)
{
	if (c)
		mdb_cursor_close(mdb_cursor(c));
}

/* ---- Writing -------------------------------------------------------------------------------------------------- */

int disk_write_begin(struct disk *d, struct disk_txn **ret)
{
	MDB_txn *txn;
	int rc = d->env ? mdb_txn_begin(d->env, NULL, 0, &txn) : MDB_PANIC;

	if (!rc)
		*ret = (struct disk_txn *)txn;
	return translate(rc);
}

/* Copies the highest key that there is; *size 0: there is none. */
static int last_key(struct disk *d, struct disk_txn *txn, char key[KEY_BYTES], size_t *size)
{
	MDB_val k, v;
	MDB_cursor *c;
	int rc = mdb_cursor_open(mdb(txn), d->dbi, &c);

	if (rc)
		return translate(rc);
	rc = mdb_cursor_get(c, &k, &v, MDB_LAST);
	if (!rc)
		memcpy(key, k.mv_data, k.mv_size);
	*size = rc ? 0 : k.mv_size;
	mdb_cursor_close(c);
	return translate(rc == MDB_NOTFOUND ? 0 : rc);
}

static int write_nodes(struct disk *d, struct disk_txn *txn, const struct mem *m, bool away)
{
	char key[KEY_BYTES];
	MDB_val last = { 0, key };
	bool beyond = false;
	int err = m->first[0] ? last_key(d, txn, key, &last.mv_size) : 0;

	if (err)
		return err;
	for (struct mem_node *n = m->first[0]; n; n = n->next[0]) {
		MDB_val k = { n->key_size, n->key }, v = { n->value_size, n->value };
		int rc;

		/* Keys ascend. Told that one is the highest LMDB leaves the page before it full, which it otherwise splits in two. */
		beyond = beyond || !last.mv_size || mdb_cmp(mdb(txn), d->dbi, &k, &last) > 0;
		if (n->removed)
			rc = mdb_del(mdb(txn), d->dbi, &k, NULL);
		else
			rc = mdb_put(mdb(txn), d->dbi, &k, &v, beyond ? MDB_APPEND : 0);
		if (rc && rc != MDB_NOTFOUND)
			return translate(rc);
		if (away) {
			free(n->value);
			n->value = NULL;
		}
	}
	return 0;
}

int disk_write(struct disk *d, struct disk_txn *txn, const struct mem *m)
{
	return write_nodes(d, txn, m, false);
}

int disk_write_away(struct disk *d, struct disk_txn *txn, struct mem *m)
{
	return write_nodes(d, txn, m, true);
}

int disk_write_commit(struct disk *d, struct disk_txn *txn)
{
	int err = translate(mdb_txn_commit(mdb(txn)));

	/* A write cut short for want of room is EIO to LMDB. */
	return err == -EIO && db_file_disk_full(d->dir) ? -ENOSPC : err;
}

void disk_write_abort(struct disk_txn *txn)
{
	mdb_txn_abort(mdb(txn));
}

bool disk_is_alive(struct disk *d)
{
	struct disk_txn *probe;

	if (disk_write_begin(d, &probe))
		return false;
	disk_write_abort(probe);
	return true;
}

void disk_stats(struct disk *d, struct disk_stats *ret)
{
	MDB_envinfo info;
	MDB_stat stat;

	*ret = (struct disk_stats){ 0 };
	if (!d->env)
		return;
	mdb_env_info(d->env, &info);
	mdb_env_stat(d->env, &stat);
	ret->used_bytes = (uint64_t)stat.ms_psize * (stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages);
	ret->records = stat.ms_entries;
	ret->map_bytes = info.me_mapsize;
}
