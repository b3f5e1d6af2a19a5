#include <criterion/criterion.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "diff.h"

#define SMALL 48

static uint64_t random_state;

static uint64_t random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* Asserts what every answer holds to, and returns how many keys were matched. */
static size_t check_match(const uint64_t *a, size_t na, const uint64_t *b, size_t nb, const size_t *match)
{
	size_t matched = 0, next = 0, bad = 0;

	for (size_t i = 0; i < na; i++) {
		if (match[i] == DIFF_NONE)
			continue;
		if (match[i] < next || match[i] >= nb || a[i] != b[match[i]]) {
			bad++;
			break;
		}
		next = match[i] + 1;
		matched++;
	}
	cr_assert_eq(bad, 0, "a match falls, leaves b or joins unequal keys");
	return matched;
}

static size_t longest(const uint64_t *a, size_t na, const uint64_t *b, size_t nb)
{
	size_t row[SMALL + 1] = { 0 };

	for (size_t i = 0; i < na; i++) {
		size_t corner = 0;

		for (size_t j = 0; j < nb; j++) {
			size_t above = row[j + 1];

			if (a[i] == b[j])
				row[j + 1] = corner + 1;
			else if (row[j] > above)
				row[j + 1] = row[j];
			corner = above;
		}
	}
	return row[nb];
}

Test(diff, table)
{
	/* The third text has for each letter of a the letter's place in b, or '.'. */
	static const struct {
		const char *a, *b, *match;
	} table[] = {
		{ "", "", "" },
		{ "", "abc", "" },
		{ "abc", "", "..." },
		{ "abc", "abc", "012" },
		{ "abc", "abcd", "012" },		/* appended */
		{ "abc", "xabc", "123" },		/* put first */
		{ "abcd", "cd", "..01" },		/* the last two kept */
		{ "abcd", "ab", "01.." },
		{ "abc", "axc", "0.2" },		/* replaced */
		{ "abc", "abxc", "013" },
		{ "a", "aa", "0" },			/* an equal one appended */
		{ "aa", "a", "0." },
		{ "abab", "abababab", "0123" },
		{ "abc", "xyz", "..." },
		{ "abcdef", "axcyef", "0.2.45" },
		{ "xaby", "zabw", ".12." },
		{ "abcabba", "cbabac", NULL },
		{ "abcdefgh", "hgfedcba", NULL },
		{ "ab", "ba", NULL },
	};

	for (size_t t = 0; t < sizeof(table) / sizeof(table[0]); t++) {
		size_t na = strlen(table[t].a), nb = strlen(table[t].b), match[SMALL];
		uint64_t a[SMALL], b[SMALL];

		for (size_t i = 0; i < na; i++)
			a[i] = table[t].a[i];
		for (size_t i = 0; i < nb; i++)
			b[i] = table[t].b[i];
		cr_assert_eq(diff_match(a, na, b, nb, match), 0);
		cr_assert_eq(check_match(a, na, b, nb, match), longest(a, na, b, nb), "row %zu is not the longest", t);
		for (size_t i = 0; table[t].match && i < na; i++) {
			char place = match[i] == DIFF_NONE ? '.' : (char)('0' + match[i]);

			cr_assert_eq(place, table[t].match[i], "row %zu: place %zu is %c", t, i, place);
		}
	}
}

Test(diff, longest_for_random_small_inputs)
{
	uint64_t seed = getenv("SEED") ? strtoull(getenv("SEED"), NULL, 10) : (uint64_t)time(NULL);

	random_state = seed * 2654435761u + 1;
	for (int round = 0; round < 100000; round++) {
		size_t na = random_next() % (SMALL + 1), nb = random_next() % (SMALL + 1), letters = 1 + random_next() % 12;
		size_t match[SMALL], again[SMALL];
		uint64_t a[SMALL], b[SMALL];

		for (size_t i = 0; i < na; i++)
			a[i] = random_next() % letters;
		for (size_t i = 0; i < nb; i++)
			b[i] = random_next() % letters;
		cr_assert_eq(diff_match(a, na, b, nb, match), 0);
		cr_assert_eq(check_match(a, na, b, nb, match), longest(a, na, b, nb), "SEED=%ju round %d", (uintmax_t)seed, round);
		cr_assert_eq(diff_match(a, na, b, nb, again), 0);
		cr_assert(na == 0 || memcmp(match, again, na * sizeof(match[0])) == 0, "SEED=%ju round %d: not the same twice",
			  (uintmax_t)seed, round);
	}
}

/* Inputs on which the search for the longest would take hours; the answer still has to be a fair part of it. */

enum shape {
	SHAPE_APPENDED,		/* a million, and half a million more */
	SHAPE_EDITED,		/* distinct keys, every tenth replaced */
	SHAPE_EDITED_REPEATS,	/* the same among 1000 different keys */
	SHAPE_SWAPPED,		/* the last fifth put first */
	SHAPE_REVERSED,
	SHAPE_DISJOINT,
	SHAPE_CONSTANT,		/* one key, of different number */
	SHAPE_SHIFTED,		/* abab against baba, with different ends */
	SHAPE_BINARY,		/* random, two keys */
	SHAPE_LETTERS,		/* random, 30 keys */
	SHAPE_MIXED,		/* distinct keys between random runs of two */
};

static void shape_fill(enum shape shape, size_t n, uint64_t *a, uint64_t *b)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t key = i * UINT64_C(0x9e3779b97f4a7c15), other = key ^ 1;

		switch (shape) {
		case SHAPE_APPENDED:
			a[i] = b[i] = key;
			break;
		case SHAPE_EDITED:
			a[i] = key;
			b[i] = i % 10 ? key : other;
			break;
		case SHAPE_EDITED_REPEATS:
			a[i] = random_next() % 1000;
			b[i] = random_next() % 10 ? a[i] : random_next() % 1000;
			break;
		case SHAPE_SWAPPED:
			a[i] = key;
			b[(i + n / 5) % n] = key;
			break;
		case SHAPE_REVERSED:
			a[i] = key;
			b[n - 1 - i] = key;
			break;
		case SHAPE_DISJOINT:
			a[i] = i * 2;
			b[i] = i * 2 + 1;
			break;
		case SHAPE_CONSTANT:
			a[i] = b[i] = 7;
			break;
		case SHAPE_SHIFTED:
			a[i] = i % 2;
			b[i] = (i + 1) % 2;
			break;
		case SHAPE_BINARY:
			a[i] = random_next() >> 32 & 1;
			b[i] = random_next() >> 32 & 1;
			break;
		case SHAPE_LETTERS:
			a[i] = random_next() % 30;
			b[i] = random_next() % 30;
			break;
		case SHAPE_MIXED:
			a[i] = i % 100 ? random_next() >> 32 & 1 : key | 2;
			b[i] = i % 100 ? random_next() >> 32 & 1 : key | 2;
			break;
		}
	}
	if (shape == SHAPE_SHIFTED) {
		a[0] = 100;
		b[0] = 101;
		a[n - 1] = 102;
		b[n - 1] = 103;
	}
}

Test(diff, huge_inputs)
{
	static const struct {
		enum shape shape;
		size_t na, nb, at_least;
	} table[] = {
		{ SHAPE_APPENDED, 1000000, 1500000, 1000000 },
		{ SHAPE_APPENDED, 1500000, 1000000, 1000000 },
		{ SHAPE_EDITED, 500000, 500000, 450000 },
		{ SHAPE_EDITED_REPEATS, 500000, 500000, 440000 },
		{ SHAPE_SWAPPED, 500000, 500000, 400000 },
		{ SHAPE_REVERSED, 500000, 500000, 1 },
		{ SHAPE_DISJOINT, 500000, 500000, 0 },
		{ SHAPE_CONSTANT, 500000, 300000, 300000 },
		{ SHAPE_SHIFTED, 500000, 500000, 499900 },
		{ SHAPE_BINARY, 500000, 500000, 380000 },
		{ SHAPE_LETTERS, 500000, 500000, 120000 },
		{ SHAPE_MIXED, 500000, 500000, 380000 },
	};
	static uint64_t a[1500000], b[1500000];
	static size_t match[1500000];

	random_state = 88172645463325252u;
	for (size_t t = 0; t < sizeof(table) / sizeof(table[0]); t++) {
		size_t na = table[t].na, nb = table[t].nb, matched;
		struct timespec from, to;

		shape_fill(table[t].shape, na > nb ? na : nb, a, b);
		clock_gettime(CLOCK_MONOTONIC, &from);
		cr_assert_eq(diff_match(a, na, b, nb, match), 0);
		clock_gettime(CLOCK_MONOTONIC, &to);
		matched = check_match(a, na, b, nb, match);
		if (getenv("VERBOSE"))
			fprintf(stderr, "shape %d: %zu matched, %.0f ms\n", table[t].shape, matched,
				(to.tv_sec - from.tv_sec) * 1e3 + (to.tv_nsec - from.tv_nsec) / 1e6);
		cr_assert_geq(matched, table[t].at_least, "row %zu: only %zu", t, matched);
	}
}
