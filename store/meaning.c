#include "meaning.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"

#define DEPTH_MAX 64		/* what is nested deeper is compared as it is spelled */
#define NUMBER_MAX 64		/* as are longer numbers */

#define LIST UINT64_C(0x8bb84b93962eacc9)
#define OBJECT UINT64_C(0x4b33a62ed433d4a3)
#define MEMBER UINT64_C(0x2d358dccaa6c78a5)

static uint64_t mix(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)(a ^ UINT64_C(0xa0761d6478bd642f)) * (b ^ UINT64_C(0xe7037ed1a0b428db));

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static unsigned hex4(const char *text)
{
	unsigned value = 0;

	for (int i = 0; i < 4; i++) {
		char c = text[i];

		value = value << 4 | (unsigned)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
	}
	return value;
}

static char *add_utf8(char *out, unsigned c)
{
	if (c < 0x80) {
		*out++ = (char)c;
		return out;
	}
	if (c < 0x800) {
		*out++ = (char)(0xc0 | c >> 6);
	} else {
		if (c < 0x10000) {
			*out++ = (char)(0xe0 | c >> 12);
		} else {
			*out++ = (char)(0xf0 | c >> 18);
			*out++ = (char)(0x80 | (c >> 12 & 0x3f));
		}
		*out++ = (char)(0x80 | (c >> 6 & 0x3f));
	}
	*out++ = (char)(0x80 | (c & 0x3f));
	return out;
}

/* As \u and four lower case digits, or shorter where JSON has a letter for it. */
static char *add_escape(char *out, unsigned c)
{
	static const char letters[] = "b\bf\fn\nr\rt\t\"\"\\\\", digits[] = "0123456789abcdef";

	*out++ = '\\';
	for (const char *l = letters; *l; l += 2) {
		if ((unsigned char)l[1] == c) {
			*out++ = l[0];
			return out;
		}
	}
	*out++ = 'u';
	for (int shift = 12; shift >= 0; shift -= 4)
		*out++ = digits[c >> shift & 0xf];
	return out;
}

/* A string, quotes included, with escapes only where there must be some: never longer than it was. */
static size_t plain_string(const char *text, size_t size, char *out)
{
	char *start = out;
	size_t at = 0;

	while (at < size) {
		unsigned c, low;

		if (text[at] != '\\') {
			*out++ = text[at++];
		} else if (text[at + 1] == '/') {
			*out++ = '/';
			at += 2;
		} else if (text[at + 1] != 'u') {
			*out++ = text[at++];
			*out++ = text[at++];
		} else {
			c = hex4(text + at + 2);
			at += 6;
			if (c >= 0xd800 && c < 0xdc00 && at + 6 <= size && text[at] == '\\' && text[at + 1] == 'u' &&
			    (low = hex4(text + at + 2)) >= 0xdc00 && low < 0xe000) {
				c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
				at += 6;
			}
			/* A lone surrogate has no other spelling. */
			if (c < 0x20 || c == '"' || c == '\\' || (c >= 0xd800 && c < 0xe000))
				out = add_escape(out, c);
			else
				out = add_utf8(out, c);
		}
	}
	return (size_t)(out - start);
}

static int string_hash(const char *text, size_t size, uint64_t *ret)
{
	char *plain;

	if (!memmem(text, size, "\\u", 2) && !memmem(text, size, "\\/", 2)) {
		*ret = json_hash(text, size);
		return 0;
	}
	plain = malloc(size);
	if (!plain)
		return -ENOMEM;
	*ret = json_hash(plain, plain_string(text, size, plain));
	free(plain);
	return 0;
}

/* Numbers, and words: NaN is none of the numbers that strtod reads here. */
static uint64_t plain_hash(const char *text, size_t size)
{
	char copy[NUMBER_MAX + 1];
	uint64_t bits;
	double value;

	if (size > NUMBER_MAX || ((text[0] < '0' || text[0] > '9') && (text[0] != '-' || text[1] == 'I')))
		return json_hash(text, size);
	memcpy(copy, text, size);
	copy[size] = 0;
	value = strtod(copy, NULL) + 0.0;	/* and -0 is 0 */
	memcpy(&bits, &value, sizeof(bits));
	return mix(bits, MEMBER);
}

static int value_hash(const char *text, size_t size, unsigned depth, uint64_t *ret)
{
	bool object = text[0] == '{';
	uint64_t sum, key, value;
	struct json_walk w;
	int err;

	if (text[0] == '"')
		return string_hash(text, size, ret);
	if ((!object && text[0] != '[') || depth == DEPTH_MAX) {
		*ret = depth == DEPTH_MAX ? json_hash(text, size) : plain_hash(text, size);
		return 0;
	}
	sum = object ? OBJECT : LIST;
	w = json_walk_begin(text, size, 0);
	while (json_walk_next(&w)) {
		err = value_hash(text + w.start, w.end - w.start, depth + 1, &value);
		if (!err && object)
			err = string_hash(text + w.key, w.key_end - w.key, &key);
		if (err)
			return err;
		sum = object ? sum + mix(mix(key, MEMBER), value) : mix(sum, value);
	}
	*ret = mix(sum, object ? OBJECT : LIST);
	return 0;
}

int meaning_hash(const char *text, size_t size, uint64_t *ret)
{
	return value_hash(text, size, 0, ret);
}
