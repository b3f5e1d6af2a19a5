#include "plain.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inside.h"
#include "tree.h"

#define PIECE (32 * (size_t)CHUNK_SIZE)	/* bytes of a file that one update carries */

struct put {
	const struct plain *plain;
	uint64_t parent, ino, offset;
	const char *bytes;
	size_t size;
	bool keep_old, last;
};

/* Bytes of the source. Fewer than `size` only at its end. */
static int fetch(struct plain *p, uint64_t offset, char *buf, size_t size, size_t *ret)
{
	size_t done = 0;

	if (p->bytes) {
		memcpy(buf, (const char *)p->bytes + offset, size);
		done = size;
	}
	while (done < size) {
		ssize_t n = pread(p->fd, buf + done, size - done, offset + done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			p->unreadable = true;
			return -errno;
		}
		if (!n)
			break;
		done += n;
	}
	*ret = done;
	return 0;
}

static void rejected_name(char out[STORE_NAME_MAX + 1], const char *name, int64_t mtime, unsigned attempt)
{
	if (attempt)
		snprintf(out, STORE_NAME_MAX + 1, "%.200s-%lld-%u", name, (long long)mtime, attempt);
	else
		snprintf(out, STORE_NAME_MAX + 1, "%.200s-%lld", name, (long long)mtime);
}

/* Moves what has the name to the rejected ones. */
static int move_aside(struct db_txn *txn, uint64_t parent, const char *name, uint64_t ino, struct rec_attr *a)
{
	char aside[STORE_NAME_MAX + 1];
	struct rec_entry e;
	int err = 0;

	for (unsigned i = 0; !err; i++) {
		rejected_name(aside, name, a->mtime, i);
		err = entry_get(txn, STORE_REJECTED, REC_ENTRY, aside, &e);
	}
	if (err != -ENOENT)
		return err;
	a->parent = STORE_REJECTED;
	err = entry_del(txn, parent, REC_ENTRY, name);
	if (!err)
		err = attr_put(txn, ino, a, aside);
	return err ? err : entry_put(txn, STORE_REJECTED, REC_ENTRY, aside, ino, a->kind);
}

static int clear_name(struct db_txn *txn, const struct put *put)
{
	const char *name = put->plain->name;
	struct rec_entry e;
	struct rec_attr a;
	int err = entry_get(txn, put->parent, REC_ENTRY, name, &e);

	if (err)
		return err == -ENOENT ? 0 : err;
	err = attr_get(txn, e.ino, &a, NULL);
	if (err)
		return err == -ENOENT ? -EUCLEAN : err;
	if (a.kind != STORE_SCRATCH && a.kind != STORE_SYMLINK)
		return -EEXIST;
	if (put->keep_old)
		return move_aside(txn, put->parent, name, e.ino, &a);
	return tree_unlink(txn, put->parent, name, &e, false);
}

static int put_piece(struct db_txn *txn, void *arg)
{
	const struct put *put = arg;
	const struct plain *p = put->plain;
	struct rec_attr a = {
		.kind = p->kind, .mode = p->mode, .uid = p->uid, .gid = p->gid, .size = put->offset + put->size,
		.atime = p->atime, .mtime = p->mtime, .ctime = time_now(),
	};
	struct key orphan = key_number(0, REC_ORPHAN, put->ino);
	int err = 0;

	for (size_t at = 0; !err && at < put->size; at += CHUNK_SIZE) {
		struct key key = key_chunk(put->ino, (put->offset + at) / CHUNK_SIZE);

		err = record_put(txn, &key, put->bytes + at, put->size - at < CHUNK_SIZE ? put->size - at : CHUNK_SIZE);
	}
	if (err)
		return err;
	if (!put->last) {
		/* Until it is whole it goes away with the process. */
		err = attr_put(txn, put->ino, &a, p->name);
		return err ? err : record_put(txn, &orphan, "", 0);
	}
	if (put->offset)
		err = record_del(txn, &orphan);
	if (!err)
		err = clear_name(txn, put);
	a.parent = put->parent;
	if (!err)
		err = attr_put(txn, put->ino, &a, p->name);
	if (!err)
		err = entry_put(txn, put->parent, REC_ENTRY, p->name, put->ino, p->kind);
	if (!err)
		err = tree_touch(txn, put->parent);
	return err || !p->also ? err : p->also(txn, &a, put->ino, p->arg);
}

int plain_put(struct store *s, uint64_t parent, struct plain *p, bool keep_old)
{
	struct put put = { .plain = p, .parent = parent, .keep_old = keep_old };
	size_t room = p->size < PIECE ? p->size : PIECE;
	char *buf = malloc(room + 1);
	int err = buf ? store_new_ino(s, &put.ino) : -ENOMEM;

	put.bytes = buf;
	while (!err && !put.last) {
		size_t want = p->size - put.offset < room ? p->size - put.offset : room;

		err = fetch(p, put.offset, buf, want, &put.size);
		if (err)
			break;
		put.last = put.size < want || put.offset + put.size == p->size;
		err = db_update(s->db, put_piece, &put);
		if (!err)
			put.offset += put.size;
	}
	if (err && put.offset)
		store_forget(s, put.ino);
	free(buf);
	return err;
}

int plain_same(struct store *s, uint64_t ino, struct plain *p)
{
	char ours[4096], theirs[4096];
	struct store_attr a;
	int err = store_getattr(s, ino, &a);

	if (err)
		return err;
	if (a.kind != p->kind || a.size != p->size)
		return 0;
	if (a.kind == STORE_SYMLINK) {
		err = store_readlink(s, ino, ours, sizeof(ours));
		return err ? err : memcmp(ours, p->bytes, p->size) == 0;
	}
	for (uint64_t at = 0; at < a.size; at += sizeof(ours)) {
		size_t want = a.size - at < sizeof(ours) ? a.size - at : sizeof(ours), got, read = 0;

		err = store_read(s, ino, at, ours, want, &got);
		if (!err)
			err = fetch(p, at, theirs, want, &read);
		if (err)
			return err;
		if (got != want || read != want || memcmp(ours, theirs, want) != 0)
			return 0;
	}
	return 1;
}

int plain_reject(struct store *s, struct plain *p)
{
	char name[STORE_NAME_MAX + 1];
	struct plain copy = *p;
	struct store_attr a;
	int err, same = 0;

	for (unsigned i = 0;; i++) {
		rejected_name(name, p->name, p->mtime, i);
		err = store_lookup(s, STORE_REJECTED, name, &a);
		if (err)
			break;
		same = plain_same(s, a.ino, p);
		if (same)
			return same < 0 ? same : 0;
	}
	if (err != -ENOENT)
		return err;
	copy.name = name;
	copy.also = NULL;
	err = plain_put(s, STORE_REJECTED, &copy, false);
	p->unreadable = copy.unreadable;
	return err;
}
