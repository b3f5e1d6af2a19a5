/* What tells versions of a document apart. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

#include "outline.h"

/* An element, and another beside it, in lists within lists: `levels` of them. */
static struct outline nested(int levels, const char *element)
{
	char text[1000], *at = text;
	struct outline o;

	memset(at, '[', (size_t)levels);
	at += levels;
	at += sprintf(at, "\"0123456789\",\"%s\"", element);
	memset(at, ']', (size_t)levels);
	cr_assert_eq(outline_take(text, (size_t)(at - text) + (size_t)levels, &o), 0);
	return o;
}

/* Lists within 64 others are looked into; what is deeper counts with the one that it is in. */
Test(outline, levels)
{
	static const struct { int levels; bool looked_into; } table[] = { { 1, true }, { 64, true }, { 65, true }, { 66, false }, { 67, false }, { 300, false } };

	for (size_t t = 0; t < sizeof(table) / sizeof(table[0]); t++) {
		struct outline a = nested(table[t].levels, "abcdefghij"), b = nested(table[t].levels, "klmnopqrst");
		size_t shared = 0;

		for (size_t i = 0; i < a.count; i++)
			shared += outline_has(&b, a.hashes[i]);
		cr_expect_eq(a.count, table[t].looked_into ? (size_t)table[t].levels + 1 : 65, "%d levels: %zu elements", table[t].levels, a.count);
		cr_expect_eq(shared, table[t].looked_into, "%d levels: %zu are in both", table[t].levels, shared);
		cr_expect_lt(shared, a.count, "%d levels: that they differ is seen at any depth", table[t].levels);
		outline_release(&a);
		outline_release(&b);
	}
}
