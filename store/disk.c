/* LMDB for writing and for who may read what; pages.c for reading. The one file that includes lmdb.h. */
#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <lmdb.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "db_dir.h"
#include "db_file.h"
#include "mem.h"
#include "pages.h"

#define POOL_SIZE 16
#define KEY_BYTES 511	/* what LMDB takes */

struct disk {
	int dir;			/* the caller's */
	bool read_only;
	uint64_t map_size;
	MDB_env *env;			/* changed by disk_reopen only, when nobody else is here */
	MDB_dbi dbi;
	struct pages *pages;		/* as env */
	bool strict;			/* as pages_strict */
	int salvaged_fd;		/* without an environment: the data file; else -1 */
	struct snapshot salvaged;

	pthread_mutex_t pool;
	struct disk_txn *idle[POOL_SIZE];	/* pool */
	int idle_count;			/* pool */
};

struct disk_txn {
	MDB_txn *mdb;			/* NULL: salvaged */
	struct snapshot snapshot;	/* what it sees; of a write transaction what was there when it began */
};

struct disk_cursor {
	struct pages_cursor at;
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

/*
 * LMDB calls this where it would end the process. What it reads has been checked, so that it should not come to this; if it does, the transaction ends with an error. Else: no
 * transaction is under way in this thread, and nothing can be done.
 */
static _Thread_local sigjmp_buf *escape;

static void on_assert(MDB_env *env, const char *text)
{
	if (escape)
		siglongjmp(*escape, 1);
}

/* ---- The environment ------------------------------------------------------------------------------------------ */

/* What a reading transaction sees, of which it keeps the pages. It is begun again when that cannot be told. */
static int snapshot_of(struct pages *p, MDB_txn *txn, struct snapshot *ret)
{
	int err = pages_snapshot(p, mdb_txn_id(txn), ret);

	for (int i = 0; err == -EAGAIN && i < 1000; i++) {
		mdb_txn_reset(txn);
		err = translate(mdb_txn_renew(txn));
		if (err)
			break;
		if (mdb_txn_id(txn) == ret->id)
			return 0;
		err = pages_snapshot(p, mdb_txn_id(txn), ret);
	}
	return err == -EAGAIN ? -EIO : err;
}

/* LMDB reads these pages without looking at them; and beyond the end of a truncated file would be SIGBUS on the first read. */
static int check_file(struct disk *d, MDB_env *env)
{
	struct snapshot s;
	MDB_txn *txn;
	int fd, err;

	err = translate(mdb_env_get_fd(env, &fd));
	if (!err && !d->pages) {
		err = pages_open(fd, d->map_size, &d->pages);
		if (!err && d->strict)
			pages_strict(d->pages);
	}
	if (err)
		return err;
	err = translate(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn));
	if (err)
		return err;
	err = snapshot_of(d->pages, txn, &s);
	/* While another process commits its metas may be read half written. */
	for (int i = 0; !err && (err = pages_check_metas(d->pages)) && i < 10; i++, err = 0)
		usleep(1000);
	if (!err)
		err = pages_check_free(&s);
	mdb_txn_abort(txn);
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
		err = translate(mdb_env_set_assert(env, on_assert));
	if (!err)
		err = check_file(d, env);
	if (!err)
		err = dbi_open(env, &d->dbi);
	if (err) {
		pages_close(d->pages);
		d->pages = NULL;
		if (env)
			mdb_env_close(env);
		return err;
	}
	if (!d->read_only)
		mdb_reader_check(env, &dead);
	d->env = env;
	return 0;
}

static void txn_free(struct disk_txn *txn)
{
	if (txn->mdb)
		mdb_txn_abort(txn->mdb);
	free(txn);
}

static void env_close(struct disk *d)
{
	while (d->idle_count)
		txn_free(d->idle[--d->idle_count]);
	pages_close(d->pages);
	d->pages = NULL;
	if (d->env)
		mdb_env_close(d->env);
	d->env = NULL;
}

static int salvage(struct disk *d)
{
	int err;

	d->salvaged_fd = db_file_open_data(d->dir);
	if (d->salvaged_fd < 0)
		return d->salvaged_fd;
	err = pages_open(d->salvaged_fd, d->map_size, &d->pages);
	if (!err)
		err = pages_newest(d->pages, &d->salvaged);
	return err;
}

int disk_open(int dir, uint64_t map_size, enum disk_way way, struct disk **ret)
{
	struct disk *d = calloc(1, sizeof(*d));
	int err;

	if (!d)
		return -ENOMEM;
	pthread_mutex_init(&d->pool, NULL);
	d->map_size = map_size;
	d->read_only = way != DISK_WRITE;
	d->salvaged_fd = -1;
	d->dir = dir;
	err = way == DISK_SALVAGE ? salvage(d) : env_open(d);
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
	int err = disk_open(dir, map_size, DISK_WRITE, &d);

	if (err)
		return err;
	err = disk_write_begin(d, &txn);
	if (!err) {
		err = disk_write(d, txn, records, NULL);
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
	pages_forget(&d->salvaged);
	env_close(d);
	if (d->salvaged_fd >= 0)
		close(d->salvaged_fd);
	pthread_mutex_destroy(&d->pool);
	free(d);
}

int disk_reopen(struct disk *d)
{
	if (d->salvaged_fd >= 0)
		return -EUCLEAN;
	env_close(d);
	return env_open(d);
}

bool disk_is_open(const struct disk *d)
{
	return d->pages;
}

void disk_strict(struct disk *d)
{
	d->strict = true;
	pages_strict(d->pages);
}

int disk_salvage(struct disk *d)
{
	return d->salvaged_fd < 0 || d->salvaged.leaves ? 0 : pages_salvage(&d->salvaged);
}

/* ---- Reading -------------------------------------------------------------------------------------------------- */

/* An idle transaction, or a new one. */
static int txn_take(struct disk *d, struct disk_txn **ret)
{
	struct disk_txn *txn = NULL;
	int err = 0;

	pthread_mutex_lock(&d->pool);
	if (d->idle_count)
		txn = d->idle[--d->idle_count];
	pthread_mutex_unlock(&d->pool);
	if (txn && mdb_txn_renew(txn->mdb)) {
		txn_free(txn);
		txn = NULL;
	}
	if (!txn) {
		txn = calloc(1, sizeof(*txn));
		err = txn ? translate(mdb_txn_begin(d->env, NULL, MDB_RDONLY, &txn->mdb)) : -ENOMEM;
	}
	if (err)
		free(txn);
	else
		*ret = txn;
	return err;
}

int disk_read_begin(struct disk *d, struct disk_txn **ret)
{
	struct disk_txn *txn;
	int err;

	if (d->salvaged_fd >= 0) {
		txn = calloc(1, sizeof(*txn));
		if (!txn)
			return -ENOMEM;
		txn->snapshot = d->salvaged;
		*ret = txn;
		return 0;
	}
	if (!d->env)
		return -EIO;
	err = txn_take(d, &txn);
	if (err)
		return err;
	err = snapshot_of(d->pages, txn->mdb, &txn->snapshot);
	if (err)
		txn_free(txn);
	else
		*ret = txn;
	return err;
}

void disk_read_end(struct disk *d, struct disk_txn *txn)
{
	if (!txn->mdb) {
		free(txn);
		return;
	}
	mdb_txn_reset(txn->mdb);
	pthread_mutex_lock(&d->pool);
	if (d->idle_count < POOL_SIZE) {
		d->idle[d->idle_count++] = txn;
		txn = NULL;
	}
	pthread_mutex_unlock(&d->pool);
	if (txn)
		txn_free(txn);
}

uint64_t disk_txn_id(struct disk_txn *txn)
{
	return txn->mdb ? mdb_txn_id(txn->mdb) : txn->snapshot.id;
}

int disk_get(struct disk *d, struct disk_txn *txn, const void *key, size_t key_size, struct db_value *ret)
{
	return pages_get(&txn->snapshot, key, key_size, ret);
}

int disk_check(struct disk *d, struct disk_txn *txn, const void *key, size_t key_size, bool removed)
{
	return pages_check_way(&txn->snapshot, key, key_size, removed);
}

int disk_survey(struct disk *d, struct disk_txn *txn, void (*problem)(void *arg, const char *text), void *arg)
{
	return pages_survey(&txn->snapshot, problem, arg);
}

int disk_cursor_open(struct disk *d, struct disk_txn *txn, const void *key, size_t key_size, struct disk_cursor **ret)
{
	struct disk_cursor *c = malloc(sizeof(*c));
	int err = c ? pages_seek(&c->at, &txn->snapshot, key, key_size) : -ENOMEM;

	if (err)
		free(c);
	else
		*ret = c;
	return err;
}

int disk_cursor_next(struct disk_cursor *c, struct db_value *ret_key, struct db_value *ret_value)
{
	return pages_next(&c->at, ret_key, ret_value);
}

void disk_cursor_close(struct disk_cursor *c)
{
	free(c);
}

/* ---- Writing -------------------------------------------------------------------------------------------------- */

int disk_write_begin(struct disk *d, struct disk_txn **ret)
{
	struct disk_txn *txn = d->env ? calloc(1, sizeof(*txn)) : NULL;
	int err;

	if (!txn)
		return d->env ? -ENOMEM : -EIO;
	err = translate(mdb_txn_begin(d->env, NULL, 0, &txn->mdb));
	if (!err) {
		uint64_t id = mdb_txn_id(txn->mdb) - 1;

		/* Nobody else writes now. */
		err = pages_snapshot(d->pages, id, &txn->snapshot);
		if (err == -EAGAIN)
			err = txn->snapshot.id == id ? 0 : -EUCLEAN;
		if (err)
			mdb_txn_abort(txn->mdb);
	}
	if (err)
		free(txn);
	else
		*ret = txn;
	return err;
}

/* Copies the highest key that there is; *size 0: there is none. */
static int last_key(struct disk *d, struct disk_txn *txn, char key[KEY_BYTES], size_t *size)
{
	MDB_val k, v;
	MDB_cursor *c;
	int rc = mdb_cursor_open(txn->mdb, d->dbi, &c);

	if (rc)
		return translate(rc);
	rc = mdb_cursor_get(c, &k, &v, MDB_LAST);
	if (!rc)
		memcpy(key, k.mv_data, k.mv_size);
	*size = rc ? 0 : k.mv_size;
	mdb_cursor_close(c);
	return translate(rc == MDB_NOTFOUND ? 0 : rc);
}

static int put(struct disk *d, struct disk_txn *txn, const struct mem_node *n, bool beyond)
{
	MDB_val k = { n->key_size, n->key }, v = { n->value_size + CHECK_SIZE, NULL };
	int rc = mdb_put(txn->mdb, d->dbi, &k, &v, MDB_RESERVE | (beyond ? MDB_APPEND : 0));

	if (!rc) {
		memcpy(v.mv_data, n->value, n->value_size);
		check_make(n->key, n->key_size, n->value, n->value_size, (char *)v.mv_data + n->value_size);
	}
	return rc;
}

static int write_nodes(struct disk *d, struct disk_txn *txn, const struct mem *m, const struct mem *but, bool away)
{
	char key[KEY_BYTES];
	MDB_val last = { 0, key };
	bool beyond = false;
	int err = m->first[0] ? last_key(d, txn, key, &last.mv_size) : 0;

	if (err)
		return err;
	for (struct mem_node *n = m->first[0]; n; n = n->next[0]) {
		MDB_val k = { n->key_size, n->key };
		int rc;

		if (but && mem_get(but, n->key, n->key_size))
			continue;
		/* Keys ascend. Told that one is the highest LMDB leaves the page before it full, which it otherwise splits in two. */
		beyond = beyond || !last.mv_size || mdb_cmp(txn->mdb, d->dbi, &k, &last) > 0;
		rc = n->removed ? mdb_del(txn->mdb, d->dbi, &k, NULL) : put(d, txn, n, beyond);
		if (rc && rc != MDB_NOTFOUND)
			return translate(rc);
		if (away) {
			free(n->value);
			n->value = NULL;
		}
	}
	return 0;
}

/* LMDB is not let near a page that is bad: it writes where that tells it to. */
static int check_all(const struct disk_txn *txn, const struct mem *m)
{
	char highest[KEY_BYTES];
	int err = 0;

	memset(highest, 0xff, sizeof(highest));
	if (m->first[0])
		err = pages_check_way(&txn->snapshot, highest, sizeof(highest), false);
	for (const struct mem_node *n = m->first[0]; !err && n; n = n->next[0])
		err = pages_check_way(&txn->snapshot, n->key, n->key_size, n->removed);
	return err;
}

static int write_checked(struct disk *d, struct disk_txn *txn, const struct mem *m, const struct mem *but, bool away)
{
	sigjmp_buf here;
	int err = check_all(txn, m);

	if (err)
		return err;
	if (!sigsetjmp(here, 0)) {
		escape = &here;
		err = write_nodes(d, txn, m, but, away);
	} else {
		err = -EUCLEAN;
	}
	escape = NULL;
	return err;
}

int disk_write(struct disk *d, struct disk_txn *txn, const struct mem *m, const struct mem *but)
{
	return write_checked(d, txn, m, but, false);
}

int disk_write_away(struct disk *d, struct disk_txn *txn, struct mem *m)
{
	return write_checked(d, txn, m, NULL, true);
}

int disk_write_commit(struct disk *d, struct disk_txn *txn)
{
	sigjmp_buf here;
	int err;

	if (!sigsetjmp(here, 0)) {
		escape = &here;
		err = translate(mdb_txn_commit(txn->mdb));
	} else {
		mdb_txn_abort(txn->mdb);
		err = -EUCLEAN;
	}
	escape = NULL;
	free(txn);
	/* A write cut short for want of room is EIO to LMDB. */
	return err == -EIO && db_file_disk_full(d->dir) ? -ENOSPC : err;
}

void disk_write_abort(struct disk_txn *txn)
{
	txn_free(txn);
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
