/* What was done to a document, and taking it back. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "history.h"
#include "inside.h"

static int load_change(struct db_txn *txn, uint64_t ino, uint64_t version, struct store_change *ret)
{
	struct key key = key_number(ino, REC_CHANGE, version);
	struct rec_change c;
	int err = record_get(txn, &key, &c, sizeof(c), NULL);

	if (!err)
		*ret = (struct store_change){ version, time_unpack(c.time), c.pid, c.uid, c.flags, c.added, c.removed };
	return err;
}

/* A plain append has no entry: its messages tell of it. */
static int append_change(struct store_view *v, struct db_txn *txn, uint64_t version, struct store_change *ret)
{
	struct view_cursor c = view_at(v, 0);
	const struct view_item *item, *some = NULL;
	struct rec_message rec;
	struct db_value bytes;
	uint64_t added = 0;
	int err;

	while ((item = view_next(&c))) {
		if (item->born == version) {
			added++;
			some = item;
		}
	}
	*ret = (struct store_change){ .version = version, .added = added };
	/* Each version has an entry or brought a message. */
	if (!some)
		return -EUCLEAN;
	err = view_record(txn, v, some, &rec, &bytes);
	if (!err) {
		ret->time = time_unpack(rec.time);
		ret->pid = rec.pid;
		ret->uid = rec.uid;
	}
	return err;
}

int store_log(struct store *s, uint64_t ino, int (*change)(void *arg, const struct store_change *c), void *arg)
{
	struct key key = key_plain(ino, REC_HEAD);
	struct store_view *v = NULL;
	struct store_change c;
	struct rec_head head;
	struct db_txn *txn;
	int err = db_read_begin(s->db, &txn);

	if (err)
		return err;
	err = record_get(txn, &key, &head, sizeof(head), NULL);
	for (uint64_t version = head.version; !err && version; version--) {
		err = load_change(txn, ino, version, &c);
		if (err == -ENOENT) {
			/* One view serves all appends up to the next change. */
			err = v ? 0 : view_load(txn, ino, version, &v);
			if (!err)
				err = append_change(v, txn, version, &c);
			else if (err == -ENOENT)
				err = 0, c = (struct store_change){ .version = version };
		} else {
			store_view_unref(v);
			v = NULL;
		}
		if (!err)
			err = change(arg, &c);
	}
	store_view_unref(v);
	db_read_end(txn);
	return err;
}

static int is_merge(void *arg, const struct store_change *c)
{
	if (!(c->flags & (STORE_SAVED_MERGED | STORE_LOG_REMOVED | STORE_LOG_UNLINKED | STORE_LOG_KEPT)) || (c->flags & STORE_LOG_UNDO))
		return 0;
	*(uint64_t *)arg = c->version;
	return 1;
}

int store_undo(struct store *s, uint64_t ino, uint64_t version, uint64_t *ret_version)
{
	struct store_save save = { .ino = ino, .flags = SAVE_UNDO, .pid = getpid(), .writer_uid = getuid() };
	struct store_attr a;
	char name[STORE_NAME_MAX + 1];
	int err = store_getattr(s, ino, &a);

	if (err)
		return err;
	if (!version)
		err = store_log(s, ino, is_merge, &version);
	if (err < 0)
		return err;
	if (!version)
		return -ENOENT;
	if (!a.parent) {
		err = store_former_place(s, ino, &save.parent, name);
		if (err)
			return err;
		save.name = name;
		save.mode = a.mode;
		save.uid = a.uid;
		save.gid = a.gid;
	}
	save.undo_version = version;
	err = store_save(s, &save);
	if (!err)
		*ret_version = save.version;
	return err;
}

