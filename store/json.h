/*
 * Scanning JSON by byte: where values begin and end, and whether they are well formed. Nothing is built or changed.
 *
 * Accepted: RFC 8259, and what Python's json module writes beyond it: NaN, Infinity, -Infinity, lone surrogates as
 * \u escapes, duplicate keys. Strings are valid UTF-8 (RFC 3629: no overlong forms, no encoded surrogates) and hold no
 * raw control characters. Nesting has no limit but memory, and uses no recursion.
 *
 * All functions are pure and may be called from any thread.
 */
#ifndef STORE_JSON_H
#define STORE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where and why a scan ended early. `reason` is a static English phrase such as "a comma or a bracket was expected". */
struct json_error {
	size_t offset;
	const char *reason;
};

/* The offset of the first byte at or after `at` that is not JSON white space; `size` when there is none. */
size_t json_space(const char *text, size_t size, size_t at);

/*
 * Scans the one value that begins exactly at text[at].
 *
 * Sets *ret_end to the offset after its last byte. A number at the very end of the text counts as complete.
 * 0; -EINVAL when the text is not JSON; -ENODATA when it ends before the value does (it is a proper prefix of some
 * JSON); -ENOMEM. On error *err (may be NULL) tells where and why.
 */
int json_value(const char *text, size_t size, size_t at, size_t *ret_end, struct json_error *err);

/* The same, and sets *ret_hash to json_hash of the value: in less time than one after the other. */
int json_value_hash(const char *text, size_t size, size_t at, size_t *ret_end, uint64_t *ret_hash, struct json_error *err);

/*
 * Checks that the text is one JSON value with nothing but white space around it; a UTF-8 byte order mark may come first.
 * The same errors as json_value; an empty or blank text is -ENODATA.
 */
int json_check(const char *text, size_t size, struct json_error *err);

/*
 * A 64-bit hash of a well-formed value without its insignificant white space: equal for two texts that differ only in
 * formatting between tokens. Not cryptographic. Fast path: no allocation, one pass.
 */
uint64_t json_hash(const char *text, size_t size);

/* Whether two well-formed values are the same bytes once insignificant white space is left out. */
bool json_same(const char *a, size_t a_size, const char *b, size_t b_size);

/*
 * Walks the members of an object or the elements of an array, in a text that json_value has accepted.
 *
 *	struct json_walk w = json_walk_begin(text, size, at);	// text[at] is '{' or '['
 *	while (json_walk_next(&w))
 *		... w.key .. w.key_end (object only, quotes included), w.start .. w.end (the value) ...
 *	// afterwards w.end is the offset just after the closing bracket
 */
struct json_walk {
	const char *text;
	size_t size, at;
	size_t key, key_end, start, end;
	bool object, first, done;
};
struct json_walk json_walk_begin(const char *text, size_t size, size_t at);
bool json_walk_next(struct json_walk *w);

#endif
