/*
 * What a JSON document that is no list of messages holds, as a sequence of hashes: of each element of its arrays, and of the names of
 * its members; members that go by numbers count as elements. Enough to tell which of several versions a rewrite was made from. Pure.
 */
#ifndef STORE_OUTLINE_H
#define STORE_OUTLINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Set in the hashes of elements that are long enough to tell versions apart; not in those of member names. */
#define OUTLINE_TELLING 1ull

struct outline {
	uint64_t *hashes;	/* in the document's order */
	uint64_t *sorted;
	size_t count, room;
};

void outline_release(struct outline *o);

/* Of a well-formed document, or of none (size 0). Containers nested deeper than 64 count as one element. 0 or -ENOMEM. */
int outline_take(const char *text, size_t size, struct outline *ret);

bool outline_has(const struct outline *o, uint64_t hash);

#endif
