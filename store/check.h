/*
 * The check that stands behind each value in data.mdb: a mark, and a sum over key and value. FORMAT.md has it.
 */
#ifndef STORE_CHECK_H
#define STORE_CHECK_H

#include <stdbool.h>
#include <stddef.h>

#define CHECK_SIZE 8

/* Writes the check of a value to `to`, which has CHECK_SIZE bytes. */
void check_make(const void *key, size_t key_size, const void *value, size_t size, void *to);

/*
 * *size: that of a value with its check, then without. With `strict` there must be one; else a value may come from a time when there were none, and is taken as it
 * is. False: it is damaged.
 */
bool check_strip(const void *key, size_t key_size, const void *value, size_t *size, bool strict);
/* The same for what is known to be good. */
void check_drop(const void *value, size_t *size, bool strict);

#endif
