#include "outline.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "identity.h"
#include "json.h"

#define DEPTH_MAX 64
#define TELLING_SIZE 8	/* bytes; shorter elements are found in many a document */

void outline_release(struct outline *o)
{
	free(o->hashes);
	free(o->sorted);
	*o = (struct outline){ 0 };
}

static uint64_t mix(uint64_t a, uint64_t b)
{
	a ^= b + 0x9e3779b97f4a7c15u + (a << 6) + (a >> 2);
	a *= 0xff51afd7ed558ccdu;
	return a ^ a >> 32;
}

static int add(struct outline *o, uint64_t hash)
{
	if (o->count == o->room) {
		size_t room = o->room ? o->room * 2 : 64;
		uint64_t *more = realloc(o->hashes, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		o->hashes = more;
		o->room = room;
	}
	o->hashes[o->count++] = hash;
	return 0;
}

/* Whether a member goes by a number that counts, quotes included: what stands there is an element like that of an array. */
static bool is_number(const char *name, size_t size)
{
	for (size_t i = 1; i + 1 < size; i++) {
		if (name[i] < '0' || name[i] > '9')
			return false;
	}
	return size > 2;
}

/* `path` tells where in the document the container stands, by names. */
static int walk(struct outline *o, const char *text, size_t size, size_t at, uint64_t path, int depth)
{
	struct json_walk w;
	bool object = text[at] == '{';
	int err = 0;

	if ((!object && text[at] != '[') || depth > DEPTH_MAX)
		return 0;
	w = json_walk_begin(text, size, at);
	while (!err && json_walk_next(&w)) {
		bool named = object && !is_number(text + w.key, w.key_end - w.key);
		uint64_t inner = named ? mix(path, json_hash(text + w.key, w.key_end - w.key)) : mix(path, '[');

		/* A thing changes with all that is in it: only that tells. */
		if (!named && identity_is_thing((struct value_text){ text + w.start, w.end - w.start }))
			err = 0;
		else if (named)
			err = add(o, inner & ~OUTLINE_TELLING);
		else if (w.end - w.start < TELLING_SIZE)
			err = add(o, mix(inner, json_hash(text + w.start, w.end - w.start)) & ~OUTLINE_TELLING);
		else
			err = add(o, mix(inner, json_hash(text + w.start, w.end - w.start)) | OUTLINE_TELLING);
		if (!err)
			err = walk(o, text, size, w.start, inner, depth + 1);
	}
	return err;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

int outline_take(const char *text, size_t size, struct outline *ret)
{
	struct outline o = { 0 };
	size_t at = size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
	int err = 0;

	if (size)
		at = json_space(text, size, at);
	if (at < size)
		err = walk(&o, text, size, at, 0, 0);
	o.sorted = malloc((o.count + 1) * sizeof(*o.sorted));
	if (!o.sorted)
		err = -ENOMEM;
	if (err) {
		outline_release(&o);
		return err;
	}
	if (o.count) {
		memcpy(o.sorted, o.hashes, o.count * sizeof(*o.sorted));
		qsort(o.sorted, o.count, sizeof(*o.sorted), compare);
	}
	*ret = o;
	return 0;
}

bool outline_has(const struct outline *o, uint64_t hash)
{
	return o->count && bsearch(&hash, o->sorted, o->count, sizeof(hash), compare);
}
