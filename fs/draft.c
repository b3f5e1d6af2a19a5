/*
 * Drafts, in memory or in files. Invariant: `memory` is the room of all tails that are in no file,
 * and never above `limit`.
 */
#include "draft.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PIECE 65536
#define LITTLE (1u << 20)	/* as much as this comes back to memory */

/* One mount a process. */
static struct {
	struct store *store;
	size_t limit;
	_Atomic size_t memory, files, file_bytes, moved;
} all = { .limit = SIZE_MAX };

void drafts_begin(struct store *s, uint64_t limit)
{
	all.store = s;
	all.limit = limit;
}

void drafts_count(struct draft_counts *ret)
{
	*ret = (struct draft_counts){ all.limit, all.memory, all.files, all.file_bytes, all.moved };
}

void draft_begin(struct draft *d, struct store_view *base)
{
	*d = (struct draft){ .base = base ? store_view_ref(base) : NULL };
}

void draft_begin_whole(struct draft *d, struct store_view *base)
{
	draft_begin(d, base);
	d->keep = store_view_size(base);
}

static void release_tail(struct draft *d)
{
	if (d->mapped) {
		munmap(d->tail - d->skip, d->mapped);
		close(d->fd);
		all.files--;
		all.file_bytes -= d->tail_size;
	} else {
		free(d->tail);
		all.memory -= d->tail_room;
	}
	d->tail = NULL;
	d->tail_size = d->tail_room = d->skip = d->mapped = 0;
}

void draft_release(struct draft *d)
{
	store_view_unref(d->base);
	release_tail(d);
	*d = (struct draft){ 0 };
}

uint64_t draft_size(const struct draft *d)
{
	return d->keep + d->tail_size;
}

/* ---- In a file ------------------------------------------------------------------------------- */

static int write_all(int fd, const char *bytes, size_t size, uint64_t offset)
{
	while (size) {
		ssize_t n = pwrite(fd, bytes, size, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -ENOSPC;
		bytes += n;
		size -= n;
		offset += n;
	}
	return 0;
}

static int copy_kept(const struct draft *d, int fd)
{
	char *piece = malloc(PIECE);
	size_t got = 0;
	int err = piece ? 0 : -ENOMEM;

	for (uint64_t at = 0; !err && at < d->keep; at += got) {
		size_t size = d->keep - at < PIECE ? d->keep - at : PIECE;

		err = store_view_read(d->base, at, piece, size, &got);
		if (!err)
			err = got == size ? write_all(fd, piece, size, at) : -EIO;
	}
	free(piece);
	return err;
}

/* Takes the whole document to a file. Twice the room is mapped, for what `skip` leaves behind. */
static int move_to_file(struct draft *d, uint64_t max)
{
	size_t mapped = 2 * max + PIECE;
	char *map;
	int fd, err = all.store ? store_temp(all.store, &fd) : -ENOMEM;

	if (err)
		return err;
	err = copy_kept(d, fd);
	if (!err)
		err = write_all(fd, d->tail, d->tail_size, d->keep);
	map = err ? MAP_FAILED : mmap(NULL, mapped, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED) {
		close(fd);
		return err ? err : -ENOMEM;
	}
	free(d->tail);
	all.memory -= d->tail_room;
	d->tail = map;
	d->tail_size += d->keep;
	d->keep = 0;
	d->tail_room = d->skip = 0;
	d->fd = fd;
	d->mapped = mapped;
	all.files++;
	all.moved++;
	all.file_bytes += d->tail_size;
	return 0;
}

/* The tail's end becomes `size`; bytes that are new are zero. */
static int resize_file(struct draft *d, size_t size)
{
	if (size > d->mapped - d->skip)
		return -ENOMEM;
	if (ftruncate(d->fd, (off_t)(d->skip + size)))
		return -errno;
	all.file_bytes += size - d->tail_size;
	d->tail_size = size;
	return 0;
}

static int write_file(struct draft *d, uint64_t offset, const void *bytes, size_t size)
{
	int err;

	if (offset + size > d->mapped - d->skip)
		return -ENOMEM;
	err = write_all(d->fd, bytes, size, d->skip + offset);
	/* What was written in part beyond the end does not count. */
	if (err && ftruncate(d->fd, (off_t)(d->skip + d->tail_size)))
		return -EIO;
	if (!err && offset + size > d->tail_size) {
		all.file_bytes += offset + size - d->tail_size;
		d->tail_size = offset + size;
	}
	return err;
}

/* ---- In memory ------------------------------------------------------------------------------- */

/*
 * Counts room for a tail of this size, if there is any. A small one may take what is left, a large
 * one a quarter.
 */
static bool take_room(const struct draft *d, size_t room)
{
	size_t more = room - d->tail_room;

	if (room > all.limit / 4)
		return false;
	if (atomic_fetch_add(&all.memory, more) + more <= all.limit)
		return true;
	all.memory -= more;
	return false;
}

/* Room for a tail of this size in memory; or the document is in a file afterwards. */
static int reserve(struct draft *d, size_t size, uint64_t max)
{
	size_t room = d->tail_room + d->tail_room / 2;
	char *tail;

	if (d->mapped || size <= d->tail_room)
		return 0;
	if (room < size || !take_room(d, room)) {
		room = size;
		if (!take_room(d, room))
			return move_to_file(d, max);
	}
	tail = realloc(d->tail, room);
	if (!tail) {
		all.memory -= room - d->tail_room;
		return move_to_file(d, max);
	}
	d->tail = tail;
	d->tail_room = room;
	return 0;
}

/* Takes the kept bytes from `from` on into the tail, where they can be changed. */
static int unshare(struct draft *d, uint64_t from, uint64_t max)
{
	size_t more = d->keep - from, got;
	int err;

	if (!more)
		return 0;
	err = reserve(d, d->tail_size + more, max);
	if (err || d->mapped)
		return err;
	memmove(d->tail + more, d->tail, d->tail_size);
	err = store_view_read(d->base, from, d->tail, more, &got);
	if (!err && got != more)
		err = -EIO;
	if (err) {
		memmove(d->tail, d->tail + more, d->tail_size);
		return err;
	}
	d->tail_size += more;
	d->keep = from;
	return 0;
}

int draft_write(struct draft *d, uint64_t offset, const void *bytes, size_t size, uint64_t max)
{
	uint64_t end = offset + size;
	size_t equal = 0;
	int err;

	if (offset > max || size > max - offset)
		return -EFBIG;
	if (!size)
		return 0;
	/*
	 * Inside the kept bytes, or just at their end: as long as it is what the base says, nothing
	 * needs to be held.
	 */
	if (d->base && (offset < d->keep || (offset == d->keep && !d->tail_size))) {
		size_t most = size;

		if (d->tail_size && end > d->keep)
			most = d->keep - offset;
		err = store_view_match(d->base, offset, bytes, most, &equal);
		if (err)
			return err;
		if (offset + equal > d->keep)
			d->keep = offset + equal;
		if (equal == size)
			return 0;
		bytes = (const char *)bytes + equal;
		offset += equal;
		size -= equal;
	}
	if (offset < d->keep) {
		err = unshare(d, offset, max);
		if (err)
			return err;
	}
	if (offset - d->keep + size > d->tail_size) {
		err = reserve(d, offset - d->keep + size, max);
		if (err)
			return err;
	}
	offset -= d->keep;
	if (d->mapped)
		return write_file(d, offset, bytes, size);
	if (offset + size > d->tail_size) {
		if (offset > d->tail_size)
			memset(d->tail + d->tail_size, 0, offset - d->tail_size);
		d->tail_size = offset + size;
	}
	memcpy(d->tail + offset, bytes, size);
	return 0;
}

int draft_truncate(struct draft *d, uint64_t size, uint64_t max)
{
	int err;

	if (size > max)
		return -EFBIG;
	if (size <= d->keep) {
		d->keep = size;
		release_tail(d);
		return 0;
	}
	if (size - d->keep > d->tail_size) {
		err = reserve(d, size - d->keep, max);
		if (err)
			return err;
	}
	size -= d->keep;
	if (d->mapped)
		return resize_file(d, size);
	if (size > d->tail_size)
		memset(d->tail + d->tail_size, 0, size - d->tail_size);
	d->tail_size = size;
	return 0;
}

void draft_drop(struct draft *d, size_t size)
{
	size_t left = d->tail_size - size;
	char *tail;

	if (!d->mapped) {
		memmove(d->tail, d->tail + size, left);
		d->tail_size = left;
		return;
	}
	tail = left <= LITTLE ? malloc(left ? left : 1) : NULL;
	if (!tail) {
		d->skip += size;
		d->tail += size;
		d->tail_size = left;
		all.file_bytes -= size;
		return;
	}
	memcpy(tail, d->tail + size, left);
	release_tail(d);
	d->tail = tail;
	d->tail_size = d->tail_room = left;
	all.memory += left;
}

int draft_read(struct draft *d, uint64_t offset, void *buf, size_t size, size_t *ret)
{
	size_t done = 0;
	int err;

	if (offset < d->keep) {
		done = size < d->keep - offset ? size : d->keep - offset;
		err = store_view_read(d->base, offset, buf, done, &done);
		if (err)
			return err;
	}
	offset += done;
	if (offset >= d->keep && done < size && offset - d->keep < d->tail_size) {
		size_t more = d->tail_size - (offset - d->keep);

		if (more > size - done)
			more = size - done;
		memcpy((char *)buf + done, d->tail + (offset - d->keep), more);
		done += more;
	}
	*ret = done;
	return 0;
}
