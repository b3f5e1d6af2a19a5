#include "draft.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void draft_begin(struct draft *d, struct store_view *base)
{
	*d = (struct draft){ .base = base ? store_view_ref(base) : NULL };
}

void draft_begin_whole(struct draft *d, struct store_view *base)
{
	draft_begin(d, base);
	d->keep = store_view_size(base);
}

void draft_release(struct draft *d)
{
	store_view_unref(d->base);
	free(d->tail);
	*d = (struct draft){ 0 };
}

uint64_t draft_size(const struct draft *d)
{
	return d->keep + d->tail_size;
}

static int reserve(struct draft *d, size_t size)
{
	size_t room = d->tail_room + d->tail_room / 2;
	char *tail;

	if (size <= d->tail_room)
		return 0;
	if (room < size)
		room = size;
	tail = realloc(d->tail, room);
	if (!tail)
		return -ENOMEM;
	d->tail = tail;
	d->tail_room = room;
	return 0;
}

/* Takes the kept bytes from `from` on into the tail, where they can be changed. */
static int unshare(struct draft *d, uint64_t from)
{
	size_t more = d->keep - from, got;
	int err;

	if (!more)
		return 0;
	err = reserve(d, d->tail_size + more);
	if (err)
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
	/* Inside the kept bytes, or just at their end: as long as it is what the base says, nothing needs to be held. */
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
		err = unshare(d, offset);
		if (err)
			return err;
	}
	offset -= d->keep;
	if (offset + size > d->tail_size) {
		err = reserve(d, offset + size);
		if (err)
			return err;
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
		d->tail_size = 0;
		free(d->tail);
		d->tail = NULL;
		d->tail_room = 0;
		return 0;
	}
	size -= d->keep;
	if (size > d->tail_size) {
		err = reserve(d, size);
		if (err)
			return err;
		memset(d->tail + d->tail_size, 0, size - d->tail_size);
	}
	d->tail_size = size;
	return 0;
}

void draft_drop(struct draft *d, size_t size)
{
	d->tail_size -= size;
	memmove(d->tail, d->tail + size, d->tail_size);
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
