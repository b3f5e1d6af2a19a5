/* An entry of the journal as it lies on disk. Private to journal.c and journal_replay.c; FORMAT.md has every byte. */
#ifndef STORE_JOURNAL_ENTRY_H
#define STORE_JOURNAL_ENTRY_H

#include <endian.h>
#include <string.h>

#include "journal.h"

#define SECTOR 512u	/* entries begin at one, so that writing the next does not touch the last */
#define REMOVED UINT32_MAX

/* Its records follow: size of the key (2), size of the value or REMOVED (4), key, value; then the list. All little-endian. */
struct head {
	uint64_t sum;	/* of all that follows */
	uint64_t number;
	uint64_t mark;
	uint32_t size;	/* of the entry with its head and the list at its end */
	uint32_t before;	/* numbers in that list, and one; 0: what the entry before it changed is not told */
} __attribute__((packed));

/*
 * The list at an entry's end tells what each of the entries before it changed, the last one first, with NEXT_OLDER
 * between two of them. So a damage that spoils several does not hide of what.
 */
#define NEXT_OLDER UINT64_MAX
#define RECENT 9		/* entries that a list tells of at most */
#define SPOILED 4096u		/* bytes: of how many it tells is what one damage of this size may have hit, two at least */

struct changed {
	struct buf objects;	/* 8 bytes each */
	size_t size;		/* of the entry */
};

struct journal {
	int fd;
	int direct;	/* -1: the disk takes none */
	char *sectors;	/* what is written directly: DIRECT bytes, aligned */
	int half;
	size_t at;
	uint64_t last, mark;
	journal_objects_fn *objects;
	struct changed recent[RECENT];	/* what the last entries changed, the last one first */
	unsigned recent_count;		/* of how many it is known */
};

static inline size_t whole_sectors(size_t size)
{
	return (size + SECTOR - 1) / SECTOR * SECTOR;
}

#define SUM_BEGIN 0xcbf29ce484222325u

/* FNV-1a, in words of 64 bits, with the halves mixed: what has to be told from a torn entry. */
static inline uint64_t sum_on(uint64_t h, const char *bytes, size_t size)
{
	uint64_t word;

	for (; size; bytes += sizeof(word)) {
		size_t n = size < sizeof(word) ? size : sizeof(word);

		word = 0;
		memcpy(&word, bytes, n);
		h = (h ^ le64toh(word)) * 0x100000001b3u;
		h ^= h >> 29;
		size -= n;
	}
	return h;
}

static inline uint64_t sum_of(const char *bytes, size_t size)
{
	return sum_on(SUM_BEGIN, bytes, size);
}

/* The list at the end of an entry, and how many numbers there are in it. */
static inline const char *entry_list(const char *entry, const struct head *h, size_t *ret_count)
{
	*ret_count = h->before ? h->before - 1 : 0;
	return entry + h->size - *ret_count * 8;
}

/* A record of an entry. Goes on to the next one; false at the end, or when it runs over it. */
struct entry_record {
	const char *key, *value;	/* value NULL: removed */
	size_t key_size, value_size;
};

static inline bool entry_next(const char **at, const char *end, struct entry_record *ret)
{
	uint16_t key_size;
	uint32_t value_size;

	if (end - *at < 6)
		return false;
	memcpy(&key_size, *at, 2);
	memcpy(&value_size, *at + 2, 4);
	ret->key_size = le16toh(key_size);
	value_size = le32toh(value_size);
	ret->value_size = value_size == REMOVED ? 0 : value_size;
	ret->key = *at + 6;
	if ((size_t)(end - ret->key) < ret->key_size || (size_t)(end - ret->key) - ret->key_size < ret->value_size)
		return false;
	ret->value = value_size == REMOVED ? NULL : ret->key + ret->key_size;
	*at = ret->key + ret->key_size + ret->value_size;
	return true;
}

#endif
