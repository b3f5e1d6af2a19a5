/*
 * What a JSON value means, whoever wrote it: programs order the members of an object as they like, escape what they like, and spell
 * numbers as they like. Pure.
 */
#ifndef STORE_MEANING_H
#define STORE_MEANING_H

#include <stddef.h>
#include <stdint.h>

/*
 * A 64-bit hash of a well-formed value without space around it. Equal for values that differ only in white space, in the order of an object's
 * members, in escapes within strings, and in the spelling of numbers that are the same double. Never stored. 0 or -ENOMEM.
 */
int meaning_hash(const char *text, size_t size, uint64_t *ret);

#endif
