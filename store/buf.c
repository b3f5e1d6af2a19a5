#include "buf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void buf_release(struct buf *b)
{
	free(b->data);
	*b = BUF_INIT;
}

int buf_reserve(struct buf *b, size_t more)
{
	size_t need, room;
	char *data;

	if (__builtin_add_overflow(b->size, more, &need))
		return -ENOMEM;
	if (need <= b->room)
		return 0;
	room = b->room + b->room / 2;
	if (room < need)
		room = need < 64 ? 64 : need;
	data = realloc(b->data, room);
	if (!data)
		return -ENOMEM;
	b->data = data;
	b->room = room;
	return 0;
}

int buf_add(struct buf *b, const void *bytes, size_t size)
{
	int err = buf_reserve(b, size);

	if (err)
		return err;
	if (size)
		memcpy(b->data + b->size, bytes, size);
	b->size += size;
	return 0;
}

int buf_resize(struct buf *b, size_t size)
{
	int err;

	if (size == 0) {
		buf_release(b);
		return 0;
	}
	if (size > b->size) {
		err = buf_reserve(b, size - b->size);
		if (err)
			return err;
		memset(b->data + b->size, 0, size - b->size);
	}
	b->size = size;
	return 0;
}
