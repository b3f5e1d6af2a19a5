/*
 * What a writer has put into a file so far. The bytes are compared with a version of the document
 * as they arrive, so that a rewrite that repeats it holds memory only for what follows the first
 * difference.
 *
 *	document = the first `keep` bytes of `base` + `tail`
 *
 *	in memory --larger than a quarter of the limit, or no room left for all--> in a file
 *	in a file --empty, or little is left--> in memory
 *
 * A tail in a file has the whole document (`keep` is 0): the file is in the store's directory and
 * has no name, `tail` is where it is mapped. Its pages go to the disk when memory is short. What
 * can't be written there is an error of that write.
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
	char *tail;			/* of a tail in a file: only to be read */
	size_t tail_size;
	size_t tail_room;		/* in memory */
	size_t mapped;			/* of the file, from its beginning on; 0: it is in memory */
	size_t skip;			/* in a file: where the tail begins there */
	int fd;				/* in a file */
};

/* What all drafts of this process hold. */
struct draft_counts {
	uint64_t limit, memory, files, file_bytes;
	uint64_t moved;			/* to files, since the start */
};

/* Once, before the first draft: memory for the tails of all, in bytes, and where the others go. */
void drafts_begin(struct store *s, uint64_t limit);
void drafts_count(struct draft_counts *ret);

/* An empty document that is expected to repeat `base` (may be NULL; a reference is taken). */
void draft_begin(struct draft *d, struct store_view *base);
/* The whole of `base`, to be changed. */
void draft_begin_whole(struct draft *d, struct store_view *base);
void draft_release(struct draft *d);

uint64_t draft_size(const struct draft *d);

/*
 * Bytes between the end and `offset` become zero. -EFBIG above `max` bytes, -ENOMEM, -ENOSPC and
 * the like from a file, or an error of the store: then nothing changed.
 */
int draft_write(struct draft *d, uint64_t offset, const void *bytes, size_t size, uint64_t max);
int draft_truncate(struct draft *d, uint64_t size, uint64_t max);
/* The first bytes of a draft without a base are done with. */
void draft_drop(struct draft *d, size_t size);
int draft_read(struct draft *d, uint64_t offset, void *buf, size_t size, size_t *ret);

#endif
