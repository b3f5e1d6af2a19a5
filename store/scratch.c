/* Scratch files: their bytes, in chunks, and those that have lost their name. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "inside.h"
#include "tree.h"

struct io {
	uint64_t ino, offset;
	const char *bytes;
	size_t size;
	bool append;
};

int store_read(struct store *s, uint64_t ino, uint64_t offset, void *buf, size_t size, size_t *ret)
{
	struct rec_attr a;
	struct db_txn *txn;
	size_t done = 0;
	int err = db_read_begin(s->db, &txn);

	if (err)
		return err;
	err = attr_get(txn, ino, &a, NULL);
	if (!err && a.kind != STORE_SCRATCH)
		err = -EINVAL;
	if (!err && offset < a.size && size > a.size - offset)
		size = a.size - offset;
	if (!err && offset >= a.size)
		size = 0;
	while (!err && done < size) {
		uint64_t at = offset + done;
		struct key key = key_chunk(ino, at / CHUNK_SIZE);
		size_t skip = at % CHUNK_SIZE, want = CHUNK_SIZE - skip, have = 0;
		struct db_value v;

		if (want > size - done)
			want = size - done;
		err = db_get(txn, key.data, key.size, &v);
		if (!err && v.size > skip) {
			have = v.size - skip < want ? v.size - skip : want;
			memcpy((char *)buf + done, (const char *)v.data + skip, have);
		}
		if (err == -ENOENT)
			err = 0;
		memset((char *)buf + done + have, 0, want - have);
		done += want;
	}
	db_read_end(txn);
	if (!err)
		*ret = done;
	return err;
}

static int write_chunk(struct db_txn *txn, uint64_t ino, uint64_t number, size_t skip, const char *bytes, size_t size)
{
	struct key key = key_chunk(ino, number);
	struct db_value v;
	char chunk[CHUNK_SIZE];
	size_t have = 0;
	int err = db_get(txn, key.data, key.size, &v);

	if (err && err != -ENOENT)
		return err;
	if (!err) {
		if (v.size > CHUNK_SIZE)
			return -EUCLEAN;
		have = v.size;
		memcpy(chunk, v.data, have);
	}
	if (have < skip)
		memset(chunk + have, 0, skip - have);
	memcpy(chunk + skip, bytes, size);
	if (have < skip + size)
		have = skip + size;
	return record_put(txn, &key, chunk, have);
}

static int do_write(struct db_txn *txn, void *arg)
{
	struct io *io = arg;
	char name[STORE_NAME_MAX + 1];
	struct rec_attr a;
	int err = attr_get(txn, io->ino, &a, name);

	if (err)
		return err;
	if (a.kind != STORE_SCRATCH)
		return -EINVAL;
	if (io->append)
		io->offset = a.size;
	if (io->offset > INT64_MAX - io->size || (io->offset + io->size) / CHUNK_SIZE >= UINT32_MAX)
		return -EFBIG;
	for (size_t done = 0; !err && done < io->size;) {
		uint64_t at = io->offset + done;
		size_t n = CHUNK_SIZE - at % CHUNK_SIZE;

		if (n > io->size - done)
			n = io->size - done;
		err = write_chunk(txn, io->ino, at / CHUNK_SIZE, at % CHUNK_SIZE, io->bytes + done, n);
		done += n;
	}
	if (err)
		return err;
	if (io->size && io->offset + io->size > a.size)
		a.size = io->offset + io->size;
	a.mtime = a.ctime = time_now();
	return attr_put(txn, io->ino, &a, name);
}

int store_write(struct store *s, uint64_t ino, uint64_t offset, const void *buf, size_t size)
{
	return db_update(s->db, do_write, &(struct io){ .ino = ino, .offset = offset, .bytes = buf, .size = size });
}

int store_append(struct store *s, uint64_t ino, const void *buf, size_t size, uint64_t *ret_offset)
{
	struct io io = { .ino = ino, .bytes = buf, .size = size, .append = true };
	int err = db_update(s->db, do_write, &io);

	if (!err)
		*ret_offset = io.offset;
	return err;
}

/* ---- Files without a name ------------------------------------------------------------------------------------- */

struct nameless {
	uint64_t ino, parent, new_ino;
	const char *name;
	bool keep, replace;
};

static int do_forget(struct db_txn *txn, void *arg)
{
	struct nameless *n = arg;

	return tree_is_orphan(txn, n->ino) ? tree_forget(txn, n->ino) : 0;
}

int store_forget(struct store *s, uint64_t ino)
{
	return db_update(s->db, do_forget, &(struct nameless){ .ino = ino });
}

static int do_displace(struct db_txn *txn, void *arg)
{
	struct nameless *n = arg;
	struct rec_entry e;
	struct rec_attr a;
	int err = entry_get(txn, n->parent, REC_ENTRY, n->name, &e);

	if (err == -ENOENT || (!err && e.ino != n->ino))
		err = -ESTALE;
	if (!err)
		err = attr_get(txn, e.ino, &a, NULL);
	if (!err && a.kind != STORE_SCRATCH)
		err = -ESTALE;
	if (!err)
		err = tree_unlink(txn, n->parent, n->name, &e, true);
	if (err)
		return err;
	a.size = 0;
	a.atime = a.mtime = a.ctime = time_now();
	err = attr_put(txn, n->new_ino, &a, n->name);
	if (!err)
		err = entry_put(txn, n->parent, REC_ENTRY, n->name, n->new_ino, a.kind);
	return err ? err : tree_touch(txn, n->parent);
}

int store_displace(struct store *s, uint64_t parent, const char *name, uint64_t ino, uint64_t new_ino)
{
	return db_update(s->db, do_displace, &(struct nameless){ .ino = ino, .parent = parent, .name = name, .new_ino = new_ino });
}

static int do_relink(struct db_txn *txn, void *arg)
{
	struct key orphan;
	struct nameless *n = arg;
	char old[STORE_NAME_MAX + 1];
	struct rec_attr a, there;
	struct rec_entry e;
	int err;

	if (!tree_is_orphan(txn, n->ino))
		return -ENOENT;
	err = attr_get(txn, n->parent, &a, NULL);
	if (!err && a.kind != STORE_DIRECTORY)
		err = -ENOTDIR;
	if (!err)
		err = attr_get(txn, n->ino, &a, old);
	if (err)
		return err;
	err = entry_get(txn, n->parent, REC_ENTRY, n->name, &e);
	if (!err) {
		if (!n->replace)
			return -EEXIST;
		err = attr_get(txn, e.ino, &there, NULL);
		if (!err && there.kind == STORE_DIRECTORY)
			err = -EISDIR;
		if (!err)
			err = tree_unlink(txn, n->parent, n->name, &e, n->keep);
	} else if (err == -ENOENT) {
		err = 0;
	}
	a.parent = n->parent;
	a.ctime = time_now();
	orphan = key_number(0, REC_ORPHAN, n->ino);
	if (!err)
		err = record_del(txn, &orphan);
	if (!err)
		err = attr_put(txn, n->ino, &a, n->name);
	if (!err)
		err = entry_put(txn, n->parent, REC_ENTRY, n->name, n->ino, a.kind);
	return err ? err : tree_touch(txn, n->parent);
}

int store_relink(struct store *s, uint64_t ino, uint64_t parent, const char *name, unsigned flags, bool keep)
{
	return db_update(s->db, do_relink, &(struct nameless){ .ino = ino, .parent = parent, .name = name, .keep = keep,
							       .replace = !(flags & STORE_NOREPLACE) });
}
