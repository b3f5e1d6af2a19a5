/* Which spellings of a JSON value mean the same. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "meaning.h"

/* Each row: spellings of one value. Two rows are two values. */
static const char *const values[][5] = {
	{ "{\"role\":\"user\",\"content\":\"a\"}", "{\"content\":\"a\",\"role\":\"user\"}", "{ \"content\" : \"a\",\n\"role\":\t\"user\" }" },
	{ "{\"role\":\"a\",\"content\":\"user\"}" },
	{ "{\"role\":\"user\",\"content\":{\"b\":[1,2],\"a\":null}}", "{\"content\":{\"a\":null,\"b\":[1, 2]},\"role\":\"user\"}" },
	{ "{\"role\":\"user\",\"content\":{\"b\":[2,1],\"a\":null}}" },
	{ "{\"b\":[1,2],\"a\":null,\"role\":\"user\",\"content\":{}}" },
	{ "\"\xc3\xbc\"", "\"\\u00fc\"", "\"\\u00FC\"" },
	{ "\"\\\\u00fc\"" },
	{ "{\"\xc3\xbc\":1}", "{\"\\u00fc\":1}", "{\"\\u00fc\":1.0}" },
	{ "\"\xf0\x9f\x98\x80/\"", "\"\\ud83d\\ude00\\/\"", "\"\xf0\x9f\x98\x80\\/\"", "\"\\uD83D\\uDE00/\"", "\"\\uD83D\\uDE00\\u002f\"" },
	{ "\"\\ud83d\"", "\"\\uD83D\"" },
	{ "\"\\ud83dx\"", "\"\\uD83D\\u0078\"" },
	{ "\"\\ud83d\\ud83d\"" },
	{ "\"\\n\\t\\\"\\\\\\b\\f\\r\"", "\"\\u000a\\u0009\\u0022\\u005c\\u0008\\u000c\\u000D\"" },
	{ "\"\\u0000\"" },
	{ "\"\\u001f\"", "\"\\u001F\"" },
	{ "\"\\u20ac\"", "\"\xe2\x82\xac\"" },
	{ "\"\\u07ff\"", "\"\xdf\xbf\"" },
	{ "\"\x7f\"", "\"\\u007f\"" },
	{ "1", "1.0", "1e0", "10E-1", "1.000" },
	{ "-1" },
	{ "0", "-0", "0.0", "-0.0", "0e9" },
	{ "\"1\"" },
	{ "[1]", "[ 1.0 ]" },
	{ "[[1]]" },
	{ "1700000000.25", "1.70000000025e9" },
	{ "[1,2]" },
	{ "[2,1]" },
	{ "[]" },
	{ "{}" },
	{ "[{}]" },
	{ "null" },
	{ "true" },
	{ "false" },
	{ "NaN" },
	{ "Infinity" },
	{ "-Infinity" },
	{ "\"\"" },
	{ "{\"a\":1,\"a\":2}", "{\"a\":2,\"a\":1}" },
	{ "{\"a\":1}" },
	{ "{\"a\":2,\"b\":1}" },
	{ "{\"a\":1,\"b\":2}", "{\"b\":2,\"a\":1}" },
};

#define ROWS (sizeof(values) / sizeof(values[0]))

/* In memory of exactly its size, so that the sanitizer sees reading behind it. */
static uint64_t hash(const char *text)
{
	size_t size = strlen(text);
	char *copy = malloc(size);
	uint64_t h = 0;

	cr_assert(copy);
	memcpy(copy, text, size);
	cr_assert_eq(meaning_hash(copy, size, &h), 0);
	free(copy);
	return h;
}

Test(meaning, spellings)
{
	for (size_t i = 0; i < ROWS; i++) {
		for (size_t s = 1; s < 5 && values[i][s]; s++)
			cr_expect_eq(hash(values[i][0]), hash(values[i][s]), "%s and %s", values[i][0], values[i][s]);
		for (size_t j = 0; j < i; j++)
			cr_expect_neq(hash(values[i][0]), hash(values[j][0]), "%s and %s", values[i][0], values[j][0]);
	}
}

/* Nesting needs no stack of its own size, and long numbers no room. */
Test(meaning, deep_and_long)
{
	const size_t size = 200000;
	char *text = malloc(size + 1);

	cr_assert(text);
	memset(text, '[', size / 2);
	memset(text + size / 2, ']', size / 2);
	text[size] = 0;
	cr_expect_neq(hash(text), hash("[]"));
	memset(text, '1', size);
	cr_expect_eq(hash(text), hash(text));
	text[size - 1] = '2';
	cr_expect_neq(hash(text), hash("1"));
	free(text);
}

/* Spellings are one down to this level, and what is nested deeper is compared by its bytes: equal bytes are the same at any depth. */
Test(meaning, levels)
{
	static const struct { int depth; bool same; } table[] = { { 0, true }, { 62, true }, { 63, true }, { 64, false }, { 65, false } };
	static const char *const spellings[] = { "{\"a\":1,\"b\":2}", "{\"b\":2,\"a\":1}", "{\"a\":1,\"b\":3}" };

	for (size_t t = 0; t < sizeof(table) / sizeof(table[0]); t++) {
		int depth = table[t].depth;
		uint64_t of[3], again;

		for (int i = 0; i < 3; i++) {
			char text[200], *at = text;

			memset(at, '[', (size_t)depth);
			at = stpcpy(at + depth, spellings[i]);
			memset(at, ']', (size_t)depth);
			at[depth] = 0;
			of[i] = hash(text);
			again = hash(text);
			cr_expect_eq(of[i], again);
		}
		cr_expect_eq(of[0] == of[1], table[t].same, "%d levels: another spelling", depth);
		cr_expect_neq(of[0], of[2], "%d levels: another value", depth);
	}
}
