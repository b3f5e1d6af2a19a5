/* A growable run of bytes. */
#ifndef STORE_BUF_H
#define STORE_BUF_H

#include <stddef.h>

/* Zero-initialise to get an empty one. `data` is NULL until something is added, and is owned by the struct. */
struct buf {
	char *data;
	size_t size;
	size_t room;
};

#define BUF_INIT ((struct buf){ 0 })

/* Frees the bytes and leaves an empty buf. Takes an empty one. */
void buf_release(struct buf *b);

/* Makes room for `more` bytes past the end. 0, or -ENOMEM with the buf unchanged. */
int buf_reserve(struct buf *b, size_t more);

/* Appends `size` bytes. 0, or -ENOMEM with the buf unchanged. `bytes` must not point into the buf. */
int buf_add(struct buf *b, const void *bytes, size_t size);

/* Sets the size; new bytes are zero. Gives memory back when it shrinks to 0. 0, or -ENOMEM. */
int buf_resize(struct buf *b, size_t size);

#endif
