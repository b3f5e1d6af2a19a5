/* What two sequences have in common. */
#ifndef STORE_DIFF_H
#define STORE_DIFF_H

#include <stddef.h>
#include <stdint.h>

#define DIFF_NONE SIZE_MAX

/*
 * Matches the elements of a with those of b, in order: ret_match[i] is the index in b that a[i] is matched with, or
 * DIFF_NONE; the indices that are not DIFF_NONE increase, and matched keys are equal.
 *
 * Common beginnings and ends are matched first; the answer is a longest common subsequence for ordinary inputs (Myers 1986).
 * For inputs whose difference is huge (over 1024 insertions and deletions of keys that both have) it may be shorter: unique
 * keys are matched first ("patience"), so that time stays near linear and memory bounded. Deterministic.
 *
 * ret_match has na entries and belongs to the caller. 0 or -ENOMEM (ret_match is then undefined). Any thread.
 */
int diff_match(const uint64_t *a, size_t na, const uint64_t *b, size_t nb, size_t *ret_match);

#endif
