/*
 * Second opinions on store/json.h: json.c compiled anew with the scalar scanners only, its functions named scalar_json_*;
 * and a minifier that goes byte by byte.
 */
#ifndef TESTS_JSON_REFERENCE_H
#define TESTS_JSON_REFERENCE_H

#include "store/json.h"

size_t scalar_json_space(const char *text, size_t size, size_t at);
int scalar_json_value(const char *text, size_t size, size_t at, size_t *ret_end, struct json_error *err);
int scalar_json_value_hash(const char *text, size_t size, size_t at, size_t *ret_end, uint64_t *ret_hash, struct json_error *err);
int scalar_json_check(const char *text, size_t size, struct json_error *err);
uint64_t scalar_json_hash(const char *text, size_t size);
bool scalar_json_same(const char *a, size_t a_size, const char *b, size_t b_size);
struct json_walk scalar_json_walk_begin(const char *text, size_t size, size_t at);
bool scalar_json_walk_next(struct json_walk *w);

/* Copies well-formed text without its insignificant white space to `to`, which has room for `size` bytes; the number copied. */
size_t json_minify(const char *text, size_t size, char *to);

#endif
