/* The public operations on files, names and scratch bytes: each is one update, seen at once and on disk soon. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "inside.h"
#include "tree.h"

static int check_name(const char *name)
{
	if (!*name || strchr(name, '/'))
		return -EINVAL;
	return strlen(name) > STORE_NAME_MAX ? -ENAMETOOLONG : 0;
}

static int is_directory(struct db_txn *txn, uint64_t ino)
{
	struct rec_attr a;
	int err = attr_get(txn, ino, &a, NULL);

	return err ? err : a.kind == STORE_DIRECTORY ? 0 : -ENOTDIR;
}

/* ---- Looking up ----------------------------------------------------------------------------------------------- */

int store_lookup(struct store *s, uint64_t parent, const char *name, struct store_attr *ret)
{
	struct rec_entry e;
	struct db_txn *txn;
	int err = db_read_begin(s->db, &txn);

	if (err)
		return err;
	err = entry_get(txn, parent, REC_ENTRY, name, &e);
	if (err == -ENOENT) {
		int rc = is_directory(txn, parent);

		if (rc)
			err = rc;
	} else if (!err) {
		err = attr_load(txn, e.ino, ret);
		if (err == -ENOENT)
			err = -EUCLEAN;
	}
	db_read_end(txn);
	return err;
}

int store_getattr(struct store *s, uint64_t ino, struct store_attr *ret)
{
	struct db_txn *txn;
	int err = db_read_begin(s->db, &txn);

	if (err)
		return err;
	err = attr_load(txn, ino, ret);
	db_read_end(txn);
	return err;
}

int store_resolve(struct store *s, const char *path, struct store_attr *ret)
{
	struct store_attr a;
	int err = store_getattr(s, STORE_ROOT, &a);

	while (!err) {
		char name[STORE_NAME_MAX + 1];
		size_t size;

		path += strspn(path, "/");
		size = strcspn(path, "/");
		if (!size)
			break;
		if (size > STORE_NAME_MAX)
			return -ENAMETOOLONG;
		memcpy(name, path, size);
		name[size] = 0;
		path += size;
		if (strcmp(name, ".") != 0)
			err = store_lookup(s, a.ino, name, &a);
	}
	if (!err)
		*ret = a;
	return err;
}

int store_path(struct store *s, uint64_t ino, char *buf, size_t size)
{
	char *at = buf + size;
	struct store_attr a;
	size_t length;
	int err;

	if (!size)
		return -ENAMETOOLONG;
	*--at = 0;
	while (ino != STORE_ROOT) {
		err = store_getattr(s, ino, &a);
		if (err)
			return err;
		if (!a.parent)
			return -ENOENT;
		length = strlen(a.name);
		if ((size_t)(at - buf) < length + 1)
			return -ENAMETOOLONG;
		if (*at)
			*--at = '/';
		at -= length;
		memcpy(at, a.name, length);
		ino = a.parent;
	}
	memmove(buf, at, buf + size - at);
	return 0;
}

int store_former(struct store *s, uint64_t parent, const char *name, uint64_t *ret_ino, uint64_t *ret_version)
{
	char own[STORE_NAME_MAX + 1];
	struct rec_entry e;
	struct rec_head head;
	struct rec_attr a;
	struct db_txn *txn;
	struct key key;
	int err = db_read_begin(s->db, &txn);

	if (err)
		return err;
	err = entry_get(txn, parent, REC_TOMB, name, &e);
	if (!err) {
		key = key_plain(e.ino, REC_HEAD);
		err = record_get(txn, &key, &head, sizeof(head), NULL);
		if (!err)
			err = attr_get(txn, e.ino, &a, own);
	}
	db_read_end(txn);
	if (err)
		return err;
	*ret_ino = e.ino;
	*ret_version = a.parent || a.size != parent || strcmp(own, name) ? 0 : head.version;
	return 0;
}

int store_is_whole(struct store *s, uint64_t ino)
{
	struct db_txn *txn;
	int err = db_read_begin(s->db, &txn);

	if (err)
		return err;
	err = tree_is_whole(txn, ino);
	db_read_end(txn);
	return err;
}

int store_former_place(struct store *s, uint64_t ino, uint64_t *ret_parent, char name[STORE_NAME_MAX + 1])
{
	struct rec_entry e;
	struct rec_attr a;
	struct db_txn *txn;
	int err = db_read_begin(s->db, &txn);

	if (err)
		return err;
	err = attr_get(txn, ino, &a, name);
	if (!err)
		err = entry_get(txn, a.size, REC_TOMB, name, &e);
	db_read_end(txn);
	if (!err && e.ino != ino)
		err = -ENOENT;
	if (!err)
		*ret_parent = a.size;
	return err;
}

int store_readlink(struct store *s, uint64_t ino, char *buf, size_t size)
{
	struct key key = key_chunk(ino, 0);
	struct rec_attr a;
	struct db_value v;
	struct db_txn *txn;
	int err = db_read_begin(s->db, &txn);

	if (err)
		return err;
	err = attr_get(txn, ino, &a, NULL);
	if (!err && a.kind != STORE_SYMLINK)
		err = -EINVAL;
	if (!err)
		err = db_get(txn, key.data, key.size, &v);
	if (!err && v.size >= size)
		err = -ENAMETOOLONG;
	if (!err) {
		memcpy(buf, v.data, v.size);
		buf[v.size] = 0;
	}
	db_read_end(txn);
	return err;
}

int store_readdir(struct store *s, uint64_t ino, uint64_t cookie, bool attr,
		  int (*entry)(void *arg, const struct store_attr *a, uint64_t cookie), void *arg)
{
	struct key from = key_cookie(ino, cookie + 1);
	struct db_value key, value;
	struct store_attr a;
	struct rec_entry e;
	struct db_txn *txn;
	struct db_scan scan;
	int err = db_read_begin(s->db, &txn);

	if (err)
		return err;
	err = is_directory(txn, ino);
	if (!err)
		err = db_scan_begin(&scan, txn, from.data, from.size, KEY_PREFIX);
	if (err) {
		db_read_end(txn);
		return err;
	}
	scan.past_damage = true;
	while (!(err = db_scan_next(&scan, &key, &value))) {
		if (key.size < 18 || key.size > KEY_MAX || value.size < sizeof(e)) {
			scan.damaged++;
			continue;
		}
		memcpy(&e, value.data, sizeof(e));
		a = (struct store_attr){ .ino = e.ino, .parent = ino, .kind = e.kind <= STORE_DOCUMENT ? e.kind : 0 };
		err = attr ? attr_load(txn, e.ino, &a) : 0;
		if (err && err != -ENOENT && err != -EUCLEAN)
			break;
		a.damaged = err;
		memcpy(a.name, (const char *)key.data + 17, key.size - 17);
		a.name[key.size - 17] = 0;
		err = entry(arg, &a, key_u64(key.data, 9));
		if (err)
			break;
	}
	db_scan_end(&scan);
	db_read_end(txn);
	return err != -ENOENT ? err : scan.damaged ? -EUCLEAN : 0;
}

/* ---- Changing names and attributes ---------------------------------------------------------------------------- */

struct change {
	uint64_t parent, new_parent, ino;
	const char *name, *new_name, *link;
	uint32_t mode, uid, gid;
	unsigned flags;
	bool keep;
	const struct store_attr *to;
	struct store_attr result;
};

static int do_create(struct db_txn *txn, void *arg)
{
	struct change *c = arg;
	int64_t now = time_now();
	struct rec_attr a = { .mode = c->mode, .uid = c->uid, .gid = c->gid, .parent = c->parent, .atime = now, .mtime = now, .ctime = now };
	struct key target = key_chunk(c->ino, 0);
	struct rec_entry e;
	int err = is_directory(txn, c->parent);

	if (err)
		return err;
	err = entry_get(txn, c->parent, REC_ENTRY, c->name, &e);
	if (err != -ENOENT)
		return err ? err : -EEXIST;
	a.kind = S_ISDIR(c->mode) ? STORE_DIRECTORY : S_ISLNK(c->mode) ? STORE_SYMLINK : STORE_SCRATCH;
	err = 0;
	if (a.kind == STORE_SYMLINK) {
		a.size = strlen(c->link);
		err = record_put(txn, &target, c->link, a.size);
	}
	if (!err)
		err = attr_put(txn, c->ino, &a, c->name);
	if (!err)
		err = entry_put(txn, c->parent, REC_ENTRY, c->name, c->ino, a.kind);
	if (!err)
		err = tree_touch(txn, c->parent);
	return err ? err : attr_load(txn, c->ino, &c->result);
}

int store_create(struct store *s, uint64_t parent, const char *name, uint64_t ino, uint32_t mode, uint32_t uid, uint32_t gid,
		 const char *link, struct store_attr *ret)
{
	struct change c = { .parent = parent, .name = name, .ino = ino, .mode = mode, .uid = uid, .gid = gid, .link = link };
	int err = check_name(name);

	if (err)
		return err;
	if (!S_ISREG(mode) && !S_ISDIR(mode) && !(S_ISLNK(mode) && link))
		return -EPERM;
	if (S_ISLNK(mode) && strlen(link) > 4095)
		return -ENAMETOOLONG;
	if (!ino)
		err = store_new_ino(s, &c.ino);
	if (!err)
		err = db_update(s->db, do_create, &c);
	if (!err && ret)
		*ret = c.result;
	return err;
}

static int resize(struct db_txn *txn, uint64_t ino, struct rec_attr *a, uint64_t size)
{
	struct key key = key_chunk(ino, size / CHUNK_SIZE);
	struct db_value v;
	char copy[CHUNK_SIZE];
	int err;

	if (a->kind != STORE_SCRATCH)
		return -EINVAL;
	if (size > INT64_MAX || size / CHUNK_SIZE >= UINT32_MAX)
		return -EFBIG;
	if (size < a->size) {
		err = tree_drop_chunks(txn, ino, a->size, size);
		if (err)
			return err;
		/* What is cut off must not come back when the file grows again. */
		err = size % CHUNK_SIZE ? db_get(txn, key.data, key.size, &v) : -ENOENT;
		if (err && err != -ENOENT)
			return err;
		if (!err && v.size > size % CHUNK_SIZE) {
			memcpy(copy, v.data, size % CHUNK_SIZE);
			err = record_put(txn, &key, copy, size % CHUNK_SIZE);
			if (err)
				return err;
		}
	}
	a->size = size;
	a->mtime = time_now();
	return 0;
}

static int do_setattr(struct db_txn *txn, void *arg)
{
	struct change *c = arg;
	char name[STORE_NAME_MAX + 1];
	struct key key = key_plain(c->ino, REC_HEAD);
	struct rec_head head;
	struct rec_attr a;
	int err = attr_get(txn, c->ino, &a, name);

	if (!err && (c->flags & STORE_SET_SIZE))
		err = resize(txn, c->ino, &a, c->to->size);
	if (!err && a.kind == STORE_DOCUMENT && (c->flags & STORE_SET_MTIME)) {
		err = record_get(txn, &key, &head, sizeof(head), NULL);
		if (!err)
			a.mtime_version = head.version;
	}
	if (err)
		return err;
	if (c->flags & STORE_SET_NAMED)
		a.flags &= (uint8_t)~ATTR_RENAMED;
	if (c->flags & STORE_SET_MODE)
		a.mode = (a.mode & S_IFMT) | (c->to->mode & 07777);
	if (c->flags & STORE_SET_UID)
		a.uid = c->to->uid;
	if (c->flags & STORE_SET_GID)
		a.gid = c->to->gid;
	if (c->flags & STORE_SET_ATIME)
		a.atime = time_pack(c->to->atime);
	if (c->flags & STORE_SET_MTIME)
		a.mtime = time_pack(c->to->mtime);
	a.ctime = time_now();
	err = attr_put(txn, c->ino, &a, name);
	return err ? err : attr_load(txn, c->ino, &c->result);
}

int store_setattr(struct store *s, uint64_t ino, const struct store_attr *to, unsigned mask, struct store_attr *ret)
{
	struct change c = { .ino = ino, .to = to, .flags = mask };
	int err = db_update(s->db, do_setattr, &c);

	if (!err && ret)
		*ret = c.result;
	return err;
}

static int do_unlink(struct db_txn *txn, void *arg)
{
	struct change *c = arg;
	struct rec_entry e;
	int err = entry_get(txn, c->parent, REC_ENTRY, c->name, &e);

	if (!err)
		err = attr_load(txn, e.ino, &c->result);
	if (!err && c->result.kind == STORE_DIRECTORY)
		err = -EISDIR;
	if (!err)
		err = tree_unlink(txn, c->parent, c->name, &e, c->keep);
	return err ? err : tree_touch(txn, c->parent);
}

int store_unlink(struct store *s, uint64_t parent, const char *name, bool keep, struct store_attr *ret)
{
	struct change c = { .parent = parent, .name = name, .keep = keep };
	int err = db_update(s->db, do_unlink, &c);

	if (!err && ret)
		*ret = c.result;
	return err;
}

static int is_empty(struct db_txn *txn, uint64_t ino)
{
	struct key from = key_plain(ino, REC_ENTRY);
	struct db_value key, value;
	struct db_scan scan;
	int err = db_scan_begin(&scan, txn, from.data, from.size, KEY_PREFIX);

	if (err)
		return err;
	err = db_scan_next(&scan, &key, &value);
	db_scan_end(&scan);
	return err == -ENOENT ? 0 : err ? err : -ENOTEMPTY;
}

static int remove_directory(struct db_txn *txn, uint64_t parent, const char *name, uint64_t ino)
{
	struct key attr = key_plain(ino, REC_ATTR);
	int err = is_empty(txn, ino);

	if (!err)
		err = entry_del(txn, parent, REC_ENTRY, name);
	return err ? err : record_del(txn, &attr);
}

static int do_rmdir(struct db_txn *txn, void *arg)
{
	struct change *c = arg;
	struct rec_entry e;
	int err = entry_get(txn, c->parent, REC_ENTRY, c->name, &e);

	if (!err)
		err = is_directory(txn, e.ino);
	if (!err)
		err = remove_directory(txn, c->parent, c->name, e.ino);
	return err ? err : tree_touch(txn, c->parent);
}

int store_rmdir(struct store *s, uint64_t parent, const char *name)
{
	return db_update(s->db, do_rmdir, &(struct change){ .parent = parent, .name = name });
}

/* Whether `ino` is `above` or lies beneath it. */
static int is_beneath(struct db_txn *txn, uint64_t ino, uint64_t above)
{
	struct rec_attr a;
	int err;

	for (; ino; ino = a.parent) {
		if (ino == above)
			return 1;
		err = attr_get(txn, ino, &a, NULL);
		if (err)
			return err;
	}
	return 0;
}

static int relink(struct db_txn *txn, uint64_t parent, const char *name, uint64_t ino)
{
	char old[STORE_NAME_MAX + 1];
	struct rec_attr a;
	int err = attr_get(txn, ino, &a, old);

	if (err)
		return err;
	a.parent = parent;
	a.ctime = time_now();
	if (a.kind == STORE_DOCUMENT)
		a.flags |= ATTR_RENAMED;
	err = attr_put(txn, ino, &a, name);
	return err ? err : entry_put(txn, parent, REC_ENTRY, name, ino, a.kind);
}

static int replace(struct db_txn *txn, struct change *c, const struct rec_attr *moved, const struct rec_entry *old)
{
	struct rec_attr a;
	int err = attr_get(txn, old->ino, &a, NULL);

	if (err)
		return err;
	if (a.kind == STORE_DIRECTORY) {
		if (moved->kind != STORE_DIRECTORY)
			return -EISDIR;
		return remove_directory(txn, c->new_parent, c->new_name, old->ino);
	}
	if (moved->kind == STORE_DIRECTORY)
		return -ENOTDIR;
	return tree_unlink(txn, c->new_parent, c->new_name, old, c->keep);
}

static int do_rename(struct db_txn *txn, void *arg)
{
	struct change *c = arg;
	struct rec_entry from, to;
	struct rec_attr a;
	bool exists;
	int err = entry_get(txn, c->parent, REC_ENTRY, c->name, &from);

	if (!err)
		err = attr_get(txn, from.ino, &a, NULL);
	if (!err)
		err = is_directory(txn, c->new_parent);
	if (!err && a.kind == STORE_DIRECTORY)
		err = is_beneath(txn, c->new_parent, from.ino) ? -EINVAL : 0;
	if (err)
		return err;
	err = entry_get(txn, c->new_parent, REC_ENTRY, c->new_name, &to);
	exists = !err;
	if (err && err != -ENOENT)
		return err;
	if (exists && (c->flags & STORE_NOREPLACE))
		return -EEXIST;
	if (exists && from.ino == to.ino)
		return 0;
	if (c->flags & STORE_EXCHANGE) {
		if (!exists)
			return -ENOENT;
		if (is_beneath(txn, c->parent, to.ino))
			return -EINVAL;
		err = relink(txn, c->parent, c->name, to.ino);
	} else {
		err = exists ? replace(txn, c, &a, &to) : 0;
		if (!err)
			err = entry_del(txn, c->parent, REC_ENTRY, c->name);
		/* The name remembers the document (merge rule 13). */
		if (!err && a.kind == STORE_DOCUMENT)
			err = entry_put(txn, c->parent, REC_TOMB, c->name, from.ino, STORE_DOCUMENT);
	}
	if (!err)
		err = relink(txn, c->new_parent, c->new_name, from.ino);
	if (!err)
		err = tree_touch(txn, c->parent);
	if (!err && c->new_parent != c->parent)
		err = tree_touch(txn, c->new_parent);
	return err;
}

int store_rename(struct store *s, uint64_t parent, const char *name, uint64_t new_parent, const char *new_name, unsigned flags, bool keep)
{
	struct change c = { .parent = parent, .name = name, .new_parent = new_parent, .new_name = new_name, .flags = flags, .keep = keep };
	int err = check_name(new_name);

	if (!err && (flags & ~(STORE_NOREPLACE | STORE_EXCHANGE)))
		err = -EINVAL;
	return err ? err : db_update(s->db, do_rename, &c);
}
