/*
 * What a writer has put into a file so far. The bytes are compared with a version of the document as they arrive, so that a
 * rewrite that repeats it holds memory only for what follows the first difference.
 *
 *	document = the first `keep` bytes of `base` + `tail`
 *
 * No lock inside: the handle's guards it.
 */
#ifndef FS_DRAFT_H
#define FS_DRAFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store.h"

struct draft {
	struct store_view *base;	/* owned; may be NULL */
	uint64_t keep;
	char *tail;
	size_t tail_size, tail_room;
};

/* An empty document that is expected to repeat `base` (may be NULL; a reference is taken). */
void draft_begin(struct draft *d, struct store_view *base);
/* The whole of `base`, to be changed. */
void draft_begin_whole(struct draft *d, struct store_view *base);
void draft_release(struct draft *d);

uint64_t draft_size(const struct draft *d);

/* Bytes between the end and `offset` become zero. -EFBIG above `max` bytes, -ENOMEM, or an error of the store: then nothing changed. */
int draft_write(struct draft *d, uint64_t offset, const void *bytes, size_t size, uint64_t max);
int draft_truncate(struct draft *d, uint64_t size, uint64_t max);
/* The first bytes of a draft without a base are done with. */
void draft_drop(struct draft *d, size_t size);
int draft_read(struct draft *d, uint64_t offset, void *buf, size_t size, size_t *ret);

#endif
