#include "tree.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FIRST_INO 16

bool store_is_document_name(const char *name)
{
	size_t size = strlen(name);

	return (size > 5 && memcmp(name + size - 5, ".json", 5) == 0) || store_is_lines_name(name);
}

bool store_is_lines_name(const char *name)
{
	size_t size = strlen(name);

	return size > 6 && memcmp(name + size - 6, ".jsonl", 6) == 0;
}

static int take_linked(struct db_txn *txn, uint64_t ino, struct tree_target *t)
{
	int err = attr_get(txn, ino, &t->attr, t->name);

	if (err)
		return err;
	if (t->attr.kind == STORE_DIRECTORY)
		return -EISDIR;
	if (t->attr.kind != STORE_DOCUMENT && t->attr.kind != STORE_SCRATCH)
		return -EINVAL;
	if (!t->attr.parent)
		return -ENOENT;
	t->ino = ino;
	t->parent = t->attr.parent;
	t->linked = true;
	t->document = t->attr.kind == STORE_DOCUMENT;
	return 0;
}

static bool knew(const struct store_save *save, uint64_t ino)
{
	for (size_t i = 0; i < save->base_count; i++) {
		if (save->bases[i].ino == ino && save->bases[i].version)
			return true;
	}
	return false;
}

int tree_is_whole(struct db_txn *txn, uint64_t ino)
{
	struct key key = key_number(ino, REC_MESSAGE, 0), head = key_plain(ino, REC_HEAD), frame = key_plain(ino, REC_FRAME);
	struct db_value k, v;
	struct db_scan scan;
	int err = db_scan_begin(&scan, txn, key.data, key.size, KEY_PREFIX);

	if (err)
		return err;
	while (!(err = db_scan_next(&scan, &k, &v)))
		;
	db_scan_end(&scan);
	if (err == -ENOENT)
		err = db_get(txn, head.data, head.size, &v);
	if (!err)
		err = db_get(txn, frame.data, frame.size, &v);
	return err == -ENOENT ? 0 : err;
}

/* -ENOENT: there is none, or it is damaged. That name can be used again. */
static int take_former(struct db_txn *txn, const struct store_save *save, struct tree_target *t)
{
	char own[STORE_NAME_MAX + 1];
	struct rec_entry e;
	struct rec_attr a;
	int err = entry_get(txn, t->parent, REC_TOMB, t->name, &e);

	if (!err)
		err = attr_get(txn, e.ino, &a, own);
	if (!err && !a.parent)
		err = tree_is_whole(txn, e.ino);
	if (err == -EUCLEAN)
		err = -ENOENT;
	if (err)
		return err;
	t->moved = a.parent != 0;
	t->former = !t->moved;
	t->elsewhere = t->former && (a.size != t->parent || strcmp(own, t->name));
	/* What was saved by the name that it was given is a file of that name. */
	if ((t->moved || t->elsewhere) && !(a.flags & ATTR_RENAMED))
		return -ENOENT;
	if (t->moved && !(save->flags & STORE_SAVE_LINEAGE) && !knew(save, e.ino))
		return -ENOENT;
	t->ino = e.ino;
	return 0;
}

int tree_begin_anew(struct db_txn *txn, const struct store_save *save, struct tree_target *t)
{
	t->former = t->moved = t->elsewhere = false;
	t->ino = save->ino;
	return t->ino ? 0 : tree_new_ino(txn, &t->ino);
}

int tree_target(struct db_txn *txn, const struct store_save *save, struct tree_target *ret)
{
	struct tree_target t = { 0 };
	struct rec_attr dir;
	struct rec_entry e;
	int err = -ENOENT;

	if (save->ino)
		err = take_linked(txn, save->ino, &t);
	if (err == -ENOENT && save->name) {
		t = (struct tree_target){ .parent = save->parent };
		if (strlen(save->name) > STORE_NAME_MAX)
			return -ENAMETOOLONG;
		strcpy(t.name, save->name);
		err = attr_get(txn, save->parent, &dir, NULL);
		if (!err && dir.kind != STORE_DIRECTORY)
			err = -ENOTDIR;
		if (err)
			return err;
		err = entry_get(txn, save->parent, REC_ENTRY, save->name, &e);
		if (!err) {
			err = take_linked(txn, e.ino, &t);
			if (err == -ENOENT)
				err = -EUCLEAN;
		} else if (err == -ENOENT) {
			err = take_former(txn, save, &t);
			if (err == -ENOENT)
				err = tree_begin_anew(txn, save, &t);
		}
	}
	if (err)
		return err;
	*ret = t;
	return 0;
}

static int copy_messages(struct db_txn *txn, uint64_t from, uint64_t to)
{
	struct key at = key_number(from, REC_MESSAGE, 0), key;
	struct buf value = BUF_INIT;
	struct db_value k, v;
	struct db_scan scan;
	int err;

	for (;;) {
		struct rec_message *rec;
		uint64_t pos;

		err = db_scan_begin(&scan, txn, at.data, at.size, KEY_PREFIX);
		if (err)
			break;
		err = db_scan_next(&scan, &k, &v);
		if (!err && v.size < sizeof(*rec))
			err = -EUCLEAN;
		value.size = 0;
		if (!err)
			err = buf_add(&value, v.data, v.size);
		pos = err ? 0 : key_u64(k.data, 9);
		db_scan_end(&scan);
		if (err)
			break;
		rec = (struct rec_message *)value.data;
		rec->born = rec->edition = 1;
		key = key_number(to, REC_MESSAGE, pos);
		err = record_put(txn, &key, value.data, value.size);
		if (err)
			break;
		at = key_number(from, REC_MESSAGE, pos + 1);
	}
	buf_release(&value);
	return err == -ENOENT ? 0 : err;
}

/* Makes `to` a document of one version, the newest of `from`. */
static int copy_document(struct db_txn *txn, uint64_t from, uint64_t to)
{
	struct key key = key_plain(from, REC_FRAME);
	struct buf frame = BUF_INIT;
	struct rec_head head;
	struct db_value v;
	int err = db_get(txn, key.data, key.size, &v);

	if (!err && v.size < sizeof(struct rec_frame))
		err = -EUCLEAN;
	if (!err)
		err = buf_add(&frame, v.data, v.size);
	if (!err) {
		((struct rec_frame *)frame.data)->edition = 1;
		key = key_plain(to, REC_FRAME);
		err = record_put(txn, &key, frame.data, frame.size);
	}
	buf_release(&frame);
	if (err)
		return err;
	key = key_plain(from, REC_HEAD);
	err = record_get(txn, &key, &head, sizeof(head), NULL);
	if (err)
		return err;
	head.version = head.reshaped = 1;
	head.creator = 0;
	key = key_plain(to, REC_HEAD);
	err = record_put(txn, &key, &head, sizeof(head));
	if (!err) {
		struct rec_change c = { .time = head.mtime, .added = head.count };

		key = key_number(to, REC_CHANGE, 1);
		err = record_put(txn, &key, &c, sizeof(c));
	}
	return err ? err : copy_messages(txn, from, to);
}

static struct rec_attr new_attr(const struct store_save *save, enum store_kind kind)
{
	int64_t now = time_now();
	int64_t mtime = save->mtime.tv_sec || save->mtime.tv_nsec ? time_pack(save->mtime) : now;

	return (struct rec_attr){ .kind = kind, .mode = S_IFREG | (save->mode & 07777), .uid = save->uid, .gid = save->gid,
				  .parent = save->parent, .atime = mtime, .mtime = mtime, .ctime = now };
}

/* The copy goes by the name that the document had been given. A time that was set on the newest version was set on the copy's one. */
static int put_copy(struct db_txn *txn, uint64_t from, uint64_t copy, struct rec_attr a, const char *away)
{
	struct key key = key_plain(from, REC_HEAD);
	struct rec_head head;
	int err = record_get(txn, &key, &head, sizeof(head), NULL);

	a.mtime_version = !err && a.mtime_version == head.version ? 1 : 0;
	a.flags = 0;
	if (!err)
		err = attr_put(txn, copy, &a, away);
	return err ? err : entry_put(txn, a.parent, REC_ENTRY, away, copy, STORE_DOCUMENT);
}

int tree_reclaim(struct db_txn *txn, struct tree_target *t, struct store_save *save)
{
	char away[STORE_NAME_MAX + 1];
	struct rec_attr a;
	uint64_t copy;
	int err = attr_get(txn, t->ino, &a, away);

	if (!err)
		err = tree_new_ino(txn, &copy);
	if (!err)
		err = copy_document(txn, t->ino, copy);
	if (!err)
		err = put_copy(txn, t->ino, copy, a, away);
	if (!err)
		save->copy_ino = copy;
	/* The file is the one that the writer has made under the name. */
	a = new_attr(save, STORE_DOCUMENT);
	a.parent = t->parent;
	if (!err)
		err = attr_put(txn, t->ino, &a, t->name);
	if (!err)
		err = entry_put(txn, t->parent, REC_ENTRY, t->name, t->ino, STORE_DOCUMENT);
	if (!err)
		err = entry_del(txn, t->parent, REC_TOMB, t->name);
	if (err)
		return err;
	t->attr = a;
	t->linked = t->document = true;
	return 0;
}

int tree_revive(struct db_txn *txn, struct tree_target *t)
{
	struct key head = key_plain(t->ino, REC_HEAD), change;
	char own[STORE_NAME_MAX + 1];
	struct rec_change c;
	struct rec_head h;
	struct rec_entry e;
	struct rec_attr a;
	int err = record_get(txn, &head, &h, sizeof(h), NULL);

	if (!err)
		err = attr_get(txn, t->ino, &a, own);
	if (err)
		return err == -ENOENT ? -EUCLEAN : err;
	/* tree_unlink has written it. */
	change = key_number(t->ino, REC_CHANGE, h.version);
	err = record_get(txn, &change, &c, sizeof(c), NULL);
	if (err)
		return err == -ENOENT ? -EUCLEAN : err;
	c.removed = 0;
	err = record_put(txn, &change, &c, sizeof(c));
	h.unlinked = 0;
	if (!err)
		err = record_put(txn, &head, &h, sizeof(h));
	if (err)
		return err;
	/* Another may have gone by that name since. */
	err = entry_get(txn, a.size, REC_TOMB, own, &e);
	if (!err && e.ino == t->ino)
		err = entry_del(txn, a.size, REC_TOMB, own);
	return err == -ENOENT ? 0 : err;
}

/* The file's first chunk that is not below *number, which is set to its own. -ENOENT: there is none. */
static int find_chunk(struct db_txn *txn, uint64_t ino, uint32_t *number, struct db_value *ret)
{
	struct key key = key_chunk(ino, *number);
	struct db_value found;
	struct db_scan scan;
	int err = db_scan_begin(&scan, txn, key.data, key.size, KEY_PREFIX);

	if (err)
		return err;
	err = db_scan_next(&scan, &found, ret);
	if (!err && (found.size != key.size || ret->size > CHUNK_SIZE))
		err = -EUCLEAN;
	if (!err) {
		memcpy(number, (const char *)found.data + KEY_PREFIX, sizeof(*number));
		*number = be32toh(*number);
		err = *number == UINT32_MAX ? -EUCLEAN : 0;
	}
	db_scan_end(&scan);
	return err;
}

/* The raw bytes that a first document replaces get a file of their own among the rejected ones (P9). Most of it may be holes. */
static int keep_aside(struct db_txn *txn, const struct tree_target *t)
{
	struct rec_attr a = t->attr;
	char name[STORE_NAME_MAX + 1], copy[CHUNK_SIZE];
	uint32_t number = 0;
	struct db_value v;
	uint64_t ino;
	int err = tree_new_ino(txn, &ino);

	if (err)
		return err;
	snprintf(name, sizeof(name), "%.200s-%lld", t->name, (long long)time_now());
	a.parent = STORE_REJECTED;
	while (!err && !(err = find_chunk(txn, t->ino, &number, &v))) {
		struct key to = key_chunk(ino, number++);

		memcpy(copy, v.data, v.size);
		err = record_put(txn, &to, copy, v.size);
	}
	if (err == -ENOENT)
		err = attr_put(txn, ino, &a, name);
	return err ? err : entry_put(txn, STORE_REJECTED, REC_ENTRY, name, ino, STORE_SCRATCH);
}

/* A name leads to a document only when that has a version and is not unlinked: whatever a save does, nothing else gets one. */
static int has_version(struct db_txn *txn, uint64_t ino)
{
	struct key key = key_plain(ino, REC_HEAD);
	struct rec_head head;
	int err = record_get(txn, &key, &head, sizeof(head), NULL);

	return err == -ENOENT || (!err && head.unlinked) ? -EUCLEAN : err;
}

/* A file that was unlinked while open comes back under its number: what it was is no longer to be cleared away. */
static int adopt(struct db_txn *txn, uint64_t ino)
{
	struct key orphan = key_number(0, REC_ORPHAN, ino);
	struct rec_attr a;
	int err;

	if (!tree_is_orphan(txn, ino))
		return 0;
	err = attr_get(txn, ino, &a, NULL);
	if (!err)
		err = tree_drop_chunks(txn, ino, a.size, 0);
	return err ? err : record_del(txn, &orphan);
}

int tree_get_chunks(struct db_txn *txn, const struct tree_target *t, struct buf *ret)
{
	size_t size = t->attr.size;
	int err = buf_resize(ret, size);

	for (size_t at = 0; !err && at < size; at += CHUNK_SIZE) {
		struct key key = key_chunk(t->ino, at / CHUNK_SIZE);
		struct db_value v;

		err = db_get(txn, key.data, key.size, &v);
		if (!err && v.size > size - at)
			err = -EUCLEAN;
		if (!err)
			memcpy(ret->data + at, v.data, v.size);
		err = err == -ENOENT ? 0 : err;
	}
	return err;
}

int tree_make_document(struct db_txn *txn, struct tree_target *t)
{
	int err = tree_drop_chunks(txn, t->ino, t->attr.size, 0);

	t->attr.kind = STORE_DOCUMENT;
	t->attr.size = 0;
	t->document = true;
	return err ? err : attr_put(txn, t->ino, &t->attr, t->name);
}

/* Whether the writer knows it by the name that it has. */
static bool is_by_name(const struct tree_target *t, const struct store_save *save)
{
	return save->name && save->parent == t->parent && strcmp(save->name, t->name) == 0;
}

int tree_link_document(struct db_txn *txn, struct tree_target *t, const struct store_save *save)
{
	struct rec_attr a = t->attr;
	bool renamed = (a.flags & ATTR_RENAMED) && is_by_name(t, save);
	int err = 0;

	if (renamed)
		a.flags &= ~ATTR_RENAMED;
	if (t->document && (save->flags & STORE_SAVE_MTIME) && !(save->result & STORE_SAVED_MERGED)) {
		a.mtime = time_pack(save->mtime);
		a.mtime_version = save->version;
		a.ctime = time_now();
		return attr_put(txn, t->ino, &a, t->name);
	}
	if (t->document)
		return renamed ? attr_put(txn, t->ino, &a, t->name) : 0;
	err = has_version(txn, t->ino);
	if (!err && t->linked) {
		if (a.size)
			err = keep_aside(txn, t);
		return err ? err : tree_make_document(txn, t);
	}
	a = new_attr(save, STORE_DOCUMENT);
	a.parent = t->parent;
	if (!err)
		err = adopt(txn, t->ino);
	if (!err)
		err = attr_put(txn, t->ino, &a, t->name);
	if (!err)
		err = entry_put(txn, t->parent, REC_ENTRY, t->name, t->ino, STORE_DOCUMENT);
	if (!err && t->former)
		err = entry_del(txn, t->parent, REC_TOMB, t->name);
	return err;
}

int tree_put_raw(struct db_txn *txn, const struct tree_target *t, const struct store_save *save, const void *bytes, size_t size)
{
	struct rec_attr a = t->linked ? t->attr : new_attr(save, STORE_SCRATCH);
	uint64_t ino = t->ino;
	int err = t->linked ? 0 : adopt(txn, ino);

	if (t->linked)
		a.mtime = time_now();
	a.parent = t->parent;
	if (!err)
		err = tree_put_chunks(txn, ino, &a, bytes, size);
	if (!err)
		err = attr_put(txn, ino, &a, t->name);
	if (!err && !t->linked)
		err = entry_put(txn, t->parent, REC_ENTRY, t->name, ino, STORE_SCRATCH);
	return err;
}

/* Removes the keys from `from` on whose first `prefix` bytes are the same. */
static int drop_keys(struct db_txn *txn, struct key from, size_t prefix)
{
	struct key batch[64];
	struct db_value key, value;
	struct db_scan scan;
	size_t count;
	int err;

	do {
		count = 0;
		err = db_scan_begin(&scan, txn, from.data, from.size, prefix);
		if (err)
			return err;
		while (count < 64 && !(err = db_scan_next(&scan, &key, &value))) {
			batch[count].size = key.size;
			memcpy(batch[count++].data, key.data, key.size);
		}
		db_scan_end(&scan);
		if (err && err != -ENOENT)
			return err;
		err = 0;
		for (size_t i = 0; !err && i < count; i++)
			err = record_del(txn, &batch[i]);
		if (count)
			from = batch[count - 1];
	} while (!err && count == 64);
	return err;
}

int tree_drop_chunks(struct db_txn *txn, uint64_t ino, uint64_t from_size, uint64_t size)
{
	uint64_t keep = (size + CHUNK_SIZE - 1) / CHUNK_SIZE, end = (from_size + CHUNK_SIZE - 1) / CHUNK_SIZE;
	int err = 0;

	/* Most of a large file may be holes: look for what there is. */
	if (end > keep + 64)
		return drop_keys(txn, key_chunk(ino, keep), KEY_PREFIX);
	for (; !err && keep < end; keep++) {
		struct key key = key_chunk(ino, keep);

		err = record_del(txn, &key);
	}
	return err;
}

int tree_put_chunks(struct db_txn *txn, uint64_t ino, struct rec_attr *attr, const void *bytes, size_t size)
{
	int err = tree_drop_chunks(txn, ino, attr->size, size);

	for (size_t at = 0; !err && at < size; at += CHUNK_SIZE) {
		struct key key = key_chunk(ino, at / CHUNK_SIZE);

		err = record_put(txn, &key, (const char *)bytes + at, size - at < CHUNK_SIZE ? size - at : CHUNK_SIZE);
	}
	attr->size = size;
	return err;
}

int tree_forget(struct db_txn *txn, uint64_t ino)
{
	struct key from = key_plain(ino, 0), orphan = key_number(0, REC_ORPHAN, ino);
	int err;

	from.size = 8;	/* the inode alone: all types */
	err = drop_keys(txn, from, from.size);
	return err ? err : record_del(txn, &orphan);
}

static int unlink_document(struct db_txn *txn, uint64_t ino, struct rec_attr *a)
{
	struct key key = key_plain(ino, REC_HEAD), change;
	struct rec_head head;
	int err = record_get(txn, &key, &head, sizeof(head), NULL);

	if (err)
		return err == -ENOENT ? -EUCLEAN : err;
	head.version++;
	head.reshaped = head.version;
	head.unlinked = 1;
	head.mtime = time_now();
	a->size = a->parent;	/* where it was, so that it can come back */
	a->parent = 0;
	err = record_put(txn, &key, &head, sizeof(head));
	if (!err) {
		struct rec_change c = { .time = head.mtime, .flags = STORE_LOG_UNLINKED, .removed = head.count };

		change = key_number(ino, REC_CHANGE, head.version);
		err = record_put(txn, &change, &c, sizeof(c));
	}
	return err;
}

int tree_unlink(struct db_txn *txn, uint64_t parent, const char *name, const struct rec_entry *e, bool keep)
{
	struct key orphan = key_number(0, REC_ORPHAN, e->ino), attr = key_plain(e->ino, REC_ATTR);
	struct rec_attr a;
	char own[STORE_NAME_MAX + 1];
	int err = attr_get(txn, e->ino, &a, own);

	if (err)
		return err == -ENOENT ? -EUCLEAN : err;
	err = entry_del(txn, parent, REC_ENTRY, name);
	if (err)
		return err;
	a.ctime = time_now();
	if (a.kind == STORE_DOCUMENT) {
		err = unlink_document(txn, e->ino, &a);
		if (!err)
			err = attr_put(txn, e->ino, &a, own);
		return err ? err : entry_put(txn, parent, REC_TOMB, name, e->ino, STORE_DOCUMENT);
	}
	if (keep) {
		a.parent = 0;
		err = attr_put(txn, e->ino, &a, own);
		return err ? err : record_put(txn, &orphan, "", 0);
	}
	err = tree_drop_chunks(txn, e->ino, a.kind == STORE_SYMLINK ? 1 : a.size, 0);
	return err ? err : record_del(txn, &attr);
}

int tree_drop_source(struct db_txn *txn, const struct store_save *save)
{
	struct key key = key_plain(save->from_ino, REC_HEAD), orphan = key_number(0, REC_ORPHAN, save->from_ino);
	char name[STORE_NAME_MAX + 1];
	struct rec_head head;
	struct rec_attr a;
	struct rec_entry e;
	int err = attr_get(txn, save->from_ino, &a, name);

	if (err)
		return err == -ENOENT ? 0 : err;
	if (!a.parent)
		return 0;
	err = entry_get(txn, a.parent, REC_ENTRY, name, &e);
	if (err)
		return err == -ENOENT ? -EUCLEAN : err;
	if (a.kind != STORE_DOCUMENT)
		return tree_unlink(txn, a.parent, name, &e, save->from_keep);
	err = record_get(txn, &key, &head, sizeof(head), NULL);
	if (err)
		return err == -ENOENT ? -EUCLEAN : err;
	/* Another's document is under the name by now. */
	if (save->from_version && head.version != save->from_version)
		return 0;
	if (save->from_log)
		return tree_unlink(txn, a.parent, name, &e, true);
	/* A temp file that was a document for a moment: what it held has just been saved under its new name. But some may be reading it. */
	err = entry_del(txn, a.parent, REC_ENTRY, name);
	a.parent = 0;
	if (!err)
		err = attr_put(txn, save->from_ino, &a, name);
	return err ? err : record_put(txn, &orphan, "", 0);
}

int tree_reserve(struct db_txn *txn, uint64_t count, uint64_t *ret)
{
	struct key key = key_plain(0, REC_NEXT);
	uint64_t next, after;
	int err = record_get(txn, &key, &next, sizeof(next), NULL);

	if (err == -ENOENT)
		next = FIRST_INO;
	else if (err)
		return err;
	after = next + count;
	err = record_put(txn, &key, &after, sizeof(after));
	if (!err)
		*ret = next;
	return err;
}

int tree_new_ino(struct db_txn *txn, uint64_t *ret)
{
	return tree_reserve(txn, 1, ret);
}

bool tree_is_orphan(struct db_txn *txn, uint64_t ino)
{
	struct key key = key_number(0, REC_ORPHAN, ino);
	struct db_value v;

	return db_get(txn, key.data, key.size, &v) == 0;
}

int tree_touch(struct db_txn *txn, uint64_t ino)
{
	char name[STORE_NAME_MAX + 1];
	struct rec_attr a;
	int err = attr_get(txn, ino, &a, name);

	if (err)
		return err;
	a.mtime = a.ctime = time_now();
	return attr_put(txn, ino, &a, name);
}

int tree_touch_document(struct db_txn *txn, uint64_t ino, uint64_t version)
{
	struct key key = key_plain(ino, REC_HEAD);
	char name[STORE_NAME_MAX + 1];
	struct rec_head head;
	struct rec_attr a;
	int err = record_get(txn, &key, &head, sizeof(head), NULL);

	if (!err)
		err = attr_get(txn, ino, &a, name);
	if (err || head.version != version || head.unlinked)
		return err;
	a.mtime = a.ctime = time_now();
	a.mtime_version = version;
	return attr_put(txn, ino, &a, name);
}
