/* json.h on any bytes: the fast and the scalar scanners agree, and what is accepted holds the header's promises. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/json.h"
#include "tests/unit/json_reference.h"

#define MUST(condition)                                                                 \
	do {                                                                            \
		if (!(condition)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                        \
		}                                                                       \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_walk(const char *text, size_t size, size_t at, size_t end)
{
	struct json_walk w = json_walk_begin(text, size, at), s = scalar_json_walk_begin(text, size, at);
	size_t value_end;

	while (json_walk_next(&w)) {
		MUST(scalar_json_walk_next(&s));
		MUST(w.start == s.start && w.end == s.end && w.key == s.key && w.key_end == s.key_end);
		MUST(json_value(text, size, w.start, &value_end, NULL) == 0 && value_end == w.end);
		if (w.object)
			MUST(json_value(text, size, w.key, &value_end, NULL) == 0 && value_end == w.key_end);
	}
	MUST(!scalar_json_walk_next(&s));
	MUST(w.end == end && s.end == end);
}

static void check_accepted(const char *text, size_t size)
{
	size_t start, end, n, cut;
	char *minified, *part;
	uint64_t hash, scanned;

	start = json_space(text, size, memcmp(text, "\xef\xbb\xbf", size < 3 ? size : 3) == 0 ? 3 : 0);
	MUST(scalar_json_space(text, size, start) == start);
	MUST(json_value(text, size, start, &end, NULL) == 0);
	hash = json_hash(text + start, size - start);
	MUST(json_value_hash(text, size, start, &end, &scanned, NULL) == 0 && scanned == hash);
	minified = malloc(size);
	MUST(minified);
	n = json_minify(text + start, size - start, minified);
	MUST(scalar_json_hash(text + start, size - start) == hash);
	MUST(json_hash(minified, n) == hash);
	MUST(json_check(minified, n, NULL) == 0);
	MUST(json_same(text + start, size - start, minified, n));
	MUST(scalar_json_same(minified, n, text + start, size - start));
	free(minified);
	if (text[start] != '[' && text[start] != '{')
		return;
	check_walk(text, size, start, end);
	cut = hash % end;
	part = malloc(cut ? cut : 1);
	MUST(part);
	memcpy(part, text, cut);
	MUST(json_check(part, cut, NULL) == -ENODATA);
	MUST(scalar_json_check(part, cut, NULL) == -ENODATA);
	free(part);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct json_error err = { 0, NULL }, scalar_err = { 0, NULL };
	const char *text = (const char *)data;
	int r = json_check(text, size, &err);

	MUST(scalar_json_check(text, size, &scalar_err) == r);
	/* Any bytes have a hash and equal themselves. */
	MUST(json_hash(text, size) == scalar_json_hash(text, size));
	MUST(json_same(text, size, text, size));
	if (r == 0) {
		check_accepted(text, size);
		return 0;
	}
	MUST(r == -EINVAL || r == -ENODATA);
	MUST(err.offset <= size && err.offset == scalar_err.offset && strcmp(err.reason, scalar_err.reason) == 0);
	MUST(r == -EINVAL || err.offset == size);
	MUST(r == -ENODATA || json_check(text, err.offset, NULL) != -EINVAL);
	return 0;
}
