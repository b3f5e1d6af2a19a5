#include "store.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "db_file.h"
#include "history.h"
#include "inside.h"
#include "tree.h"

#define MAGIC "historyfs store"
#define INO_BATCH 1024

const char *store_strerror(int err)
{
	if (err < 0)
		err = -err;
	switch (err) {
	case EPROTO:
		return "the store was written by a newer version";
	case EUCLEAN:
		return "the store is damaged, or is none";
	case ENODATA:
		return "the document is incomplete";
	default:
		return strerrordesc_np(err) ? strerrordesc_np(err) : "unknown error";
	}
}

/* ---- Opening -------------------------------------------------------------------------------------------------- */

static void on_pending(void *arg, bool urgent)
{
	struct store *s = arg;

	if (s->commit)
		commit_pending(s->commit, urgent);
}

static int check_superblock(struct store *s, uint32_t *ret_format, bool *ret_checked)
{
	struct key key = key_plain(0, REC_SUPER);
	struct rec_super super;
	struct db_txn *txn;
	int err = db_read_begin(s->db, &txn);

	if (err)
		return err;
	err = record_get(txn, &key, &super, sizeof(super), NULL);
	db_read_end(txn);
	if (err == -ENOENT || (!err && memcmp(super.magic, MAGIC, sizeof(MAGIC)) != 0))
		return -EUCLEAN;
	if (!err && (super.format > FORMAT_VERSION || (super.flags & ~FORMAT_CHECKED)))
		return -EPROTO;
	if (err)
		return err;
	*ret_format = super.format;
	*ret_checked = super.flags & FORMAT_CHECKED;
	return 0;
}

/* Programs that know of no journal, no lines, and no lists in the journal must not open a store that may have them. */
static int put_format(struct db_txn *txn, void *arg)
{
	struct key key = key_plain(0, REC_SUPER);
	struct rec_super super;
	int err = record_get(txn, &key, &super, sizeof(super), NULL);

	if (err)
		return err;
	super.format = FORMAT_VERSION;
	return record_put(txn, &key, &super, sizeof(super));
}

static int bring_up_to_date(struct store *s, uint32_t format)
{
	int err = 0;

	if (format < FORMAT_VERSION && !s->read_only) {
		err = db_update(s->db, put_format, NULL);
		if (!err)
			err = db_drain(s->db, false);
		if (!err)
			format = FORMAT_VERSION;
	}
	return err || format < FORMAT_JOURNAL ? err : db_use_journal(s->db);
}

static int put_root(struct db_txn *txn, uint64_t ino, uint32_t mode)
{
	int64_t now = time_now();
	struct rec_attr a = { .kind = STORE_DIRECTORY, .mode = S_IFDIR | mode, .uid = getuid(), .gid = getgid(),
			      .atime = now, .mtime = now, .ctime = now };

	return attr_put(txn, ino, &a, "");
}

static int fill(struct db_txn *txn, void *arg)
{
	struct rec_super super = { .magic = MAGIC, .format = FORMAT_VERSION, .flags = FORMAT_CHECKED, .created = time_now() };
	struct key key = key_plain(0, REC_SUPER);
	int err = record_put(txn, &key, &super, sizeof(super));

	if (!err)
		err = put_root(txn, STORE_ROOT, 0755);
	return err ? err : put_root(txn, STORE_REJECTED, 0700);
}

/* Files that had lost their name and were still in use, by a daemon that ended. */
static int drop_orphans(struct db_txn *txn, void *arg)
{
	struct key from = key_plain(0, REC_ORPHAN);
	struct db_value key, value;
	struct db_scan scan;
	int err;

	for (;;) {
		uint64_t ino = 0;

		err = db_scan_begin(&scan, txn, from.data, from.size, KEY_PREFIX);
		if (err)
			return err;
		err = db_scan_next(&scan, &key, &value);
		if (!err)
			ino = key_u64(key.data, 9);
		db_scan_end(&scan);
		if (err)
			return err == -ENOENT ? 0 : err;
		err = tree_forget(txn, ino);
		if (err)
			return err;
	}
}

int store_open(const char *path, const struct store_options *options, struct store **ret)
{
	static const struct store_options defaults;
	const struct store_options *o = options ? options : &defaults;
	struct db_options db = {
		.create = o->create, .read_only = o->read_only || o->salvage, .salvage = o->salvage, .map_size = o->map_size ? o->map_size : 256ull << 30,
		.objects = record_objects, .fill = fill, .on_pending = on_pending, .why = { o->reason, o->reason_size },
	};
	struct key journal = key_plain(0, REC_JOURNAL);
	struct store *s = calloc(1, sizeof(*s));
	char real[PATH_MAX];
	uint32_t format = FORMAT_VERSION;
	bool checked = false;
	int err;

	if (!s)
		return -ENOMEM;
	db.arg = s;
	db.journal_key = journal.data;
	db.journal_key_size = journal.size;
	pthread_mutex_init(&s->lock, NULL);
	s->read_only = o->read_only || o->salvage;
	s->delay_ms = o->delay_ms;
	s->max_document = o->max_document ? o->max_document : 256ull << 20;
	if (s->max_document > UINT32_MAX / 2)
		s->max_document = UINT32_MAX / 2;
	err = gather_new(&s->gather);
	if (!err)
		err = cache_new(o->cache_size ? o->cache_size : 64ull << 20, &s->cache);
	if (!err)
		err = db_open(path, &db, &s->db);
	if (!err)
		err = check_superblock(s, &format, &checked);
	/* It may be found where the tree does not lead to any more. If not, this record is not the one that matters. */
	if (err == -EUCLEAN && o->salvage) {
		err = db_strict(s->db, false);
		if (!err && check_superblock(s, &format, &checked) == -EPROTO)
			err = -EPROTO;
	}
	if (!err)
		err = db_strict(s->db, checked);
	if (!err)
		err = bring_up_to_date(s, format);
	if (!err) {
		char link[PATH_MAX];

		db_dir_path(db_directory(s->db), link);
		s->directory = strdup(realpath(link, real) ? real : path);
		err = s->directory ? 0 : -ENOMEM;
	}
	if (!err)
		err = store_look_for_damage(s);
	if (!err && !s->read_only)
		db_file_keep_spare(db_directory(s->db));
	if (!err)
		err = commit_new(s, &s->commit);
	/* What a killed process has left, and the disk has no room for. */
	if (!err && !s->read_only && db_pending(s->db))
		commit_pending(s->commit, true);
	if (!err && !s->read_only && db_alone(s->db))
		err = db_update(s->db, drop_orphans, NULL);
	if (err) {
		store_close(s);
		return err;
	}
	*ret = s;
	return 0;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	commit_free(s->commit);
	cache_free(s->cache);
	gather_free(s->gather);
	db_close(s->db);
	pthread_mutex_destroy(&s->lock);
	free(s->directory);
	free(s->damage);
	free(s);
}

int store_sync(struct store *s)
{
	return s->read_only ? 0 : commit_sync(s->commit);
}

int store_drain(struct store *s)
{
	return s->read_only ? 0 : commit_drain(s->commit);
}

int store_temp(struct store *s, int *ret_fd)
{
	return s->read_only ? -EROFS : db_file_temp(db_directory(s->db), ret_fd);
}

const char *store_directory(const struct store *s)
{
	return s->directory;
}

static int reserve(struct db_txn *txn, void *arg)
{
	return tree_reserve(txn, INO_BATCH, arg);
}

int store_new_ino(struct store *s, uint64_t *ret)
{
	int err = 0;

	pthread_mutex_lock(&s->lock);
	if (s->ino_next == s->ino_end) {
		err = db_update(s->db, reserve, &s->ino_next);
		if (!err)
			s->ino_end = s->ino_next + INO_BATCH;
	}
	if (!err)
		*ret = s->ino_next++;
	pthread_mutex_unlock(&s->lock);
	return err;
}

/* ---- Views ---------------------------------------------------------------------------------------------------- */

int store_read_begin(struct store *s, struct db_txn **ret)
{
	return db_read_begin(s->db, ret);
}

int store_view_open(struct store *s, uint64_t ino, uint64_t version, struct store_view **ret)
{
	struct key key = key_plain(ino, REC_HEAD);
	struct store_view *v = NULL;
	struct rec_head head;
	struct db_txn *txn;
	int err = db_read_begin(s->db, &txn);

	if (err)
		return err;
	err = record_get(txn, &key, &head, sizeof(head), NULL);
	if (err == -ENOENT) {
		struct rec_attr a;

		if (!attr_get(txn, ino, &a, NULL))
			err = -EINVAL;
	}
	if (!err && head.unlinked && (!version || version == head.version))
		err = -ENOENT;
	if (!err && (!version || version == head.version))
		v = cache_get(s->cache, ino, head.version);
	if (!err && (!v || v->version != head.version)) {
		err = v ? view_renew(txn, v, &v) : view_load(txn, ino, version, &v);
		if (!err) {
			v->store = s;
			if (v->version == head.version)
				cache_put(s->cache, v);
		}
	}
	db_read_end(txn);
	if (!err)
		*ret = v;
	return err;
}

uint64_t store_view_ino(const struct store_view *v)
{
	return v->ino;
}

uint64_t store_view_version(const struct store_view *v)
{
	return v->version;
}

uint64_t store_view_size(const struct store_view *v)
{
	return v->size;
}

uint64_t store_view_count(const struct store_view *v)
{
	return v->count;
}

bool store_view_lines(const struct store_view *v)
{
	return v->frame->kind == DOC_LINES;
}

void store_view_message(const struct store_view *v, uint64_t i, uint64_t *ret_start, uint64_t *ret_end)
{
	uint64_t lead;

	view_span(v, i, &lead, ret_start, ret_end);
}

/* ---- Saving --------------------------------------------------------------------------------------------------- */

void store_submit(struct store *s, struct store_save *save)
{
	commit_submit(s->commit, save);
}

struct waiter {
	pthread_mutex_t lock;
	pthread_cond_t done;
	bool finished;
};

static void wake(struct store_save *save)
{
	struct waiter *w = save->arg;

	pthread_mutex_lock(&w->lock);
	w->finished = true;
	pthread_cond_signal(&w->done);
	pthread_mutex_unlock(&w->lock);
}

int store_save(struct store *s, struct store_save *save)
{
	struct waiter w = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false };

	save->done = wake;
	save->arg = &w;
	save->flags |= SAVE_WAITS;
	store_submit(s, save);
	pthread_mutex_lock(&w.lock);
	while (!w.finished)
		pthread_cond_wait(&w.done, &w.lock);
	pthread_mutex_unlock(&w.lock);
	save->flags &= ~SAVE_WAITS;
	return save->error;
}

/* ---- Figures -------------------------------------------------------------------------------------------------- */

static int count_tree(struct store *s, struct db_txn *txn, struct store_stats *st)
{
	struct key from = key_plain(0, 0);
	struct db_value key, value;
	struct rec_attr a;
	struct db_scan scan;
	int err = db_scan_begin(&scan, txn, from.data, from.size, 0);

	/* Not even the first page can be read. */
	if (err == -EUCLEAN)
		st->unreadable++;
	if (err)
		return err == -EUCLEAN ? 0 : err;
	scan.past_damage = true;
	while (!(err = db_scan_next(&scan, &key, &value))) {
		unsigned char type = key.size >= KEY_PREFIX ? ((const unsigned char *)key.data)[8] : 0;

		if (type == REC_ATTR && value.size >= sizeof(a)) {
			memcpy(&a, value.data, sizeof(a));
			if (!a.parent || a.parent == STORE_REJECTED)
				continue;
			st->files++;
			if (a.kind == STORE_DOCUMENT) {
				struct store_attr attr;

				err = attr_load(txn, key_u64(key.data, 0), &attr);
				if (err && err != -EUCLEAN)
					break;
				st->documents++;
				if (!err)
					st->messages += attr.messages;
			}
		}
	}
	st->unreadable += scan.damaged;
	db_scan_end(&scan);
	return err == -ENOENT ? 0 : err;
}

int store_stats(struct store *s, bool count, struct store_stats *ret)
{
	struct store_stats st = { .format = FORMAT_VERSION, .read_only = s->read_only };
	struct commit_stats c;
	struct cache_stats v;
	struct db_stats d;
	struct db_txn *txn;
	int err = 0;

	if (count) {
		err = db_read_begin(s->db, &txn);
		if (err)
			return err;
		err = count_tree(s, txn, &st);
		db_read_end(txn);
		if (err)
			return err;
	}
	commit_stats(s->commit, &c);
	cache_stats(s->cache, &v);
	db_stats(s->db, &d);
	st.commits = c.commits;
	st.saves = c.saves;
	st.merged = c.merged;
	st.same = c.same;
	st.blind = c.blind;
	st.uncertain = c.uncertain;
	st.edits = c.edits;
	st.refused = c.refused;
	st.reopened = d.reopened;
	memcpy(st.groups, c.groups, sizeof(st.groups));
	st.cache_bytes = v.bytes;
	st.cache_limit = v.limit;
	st.cache_views = v.views;
	st.cache_hits = v.hits;
	st.cache_misses = v.misses;
	st.pending_bytes = db_pending(s->db);
	st.used_bytes = d.used_bytes;
	st.file_bytes = d.file_bytes;
	st.map_bytes = d.map_bytes;
	*ret = st;
	return 0;
}
