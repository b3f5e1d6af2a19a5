/*
 * The inner loops of json.c, each twice: by machine word, which is right on every machine, and for AVX2 and the bit instructions that
 * come with it, which is chosen at run time. Both give the same answers; tests compare them. Private to json.c and its tests.
 *
 * JSON_SCAN_SCALAR, defined before inclusion, leaves the AVX2 ones out.
 */
#ifndef STORE_JSON_SCAN_H
#define STORE_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && !defined(JSON_SCAN_SCALAR)
#define JSON_SCAN_AVX2 __attribute__((target("avx2,bmi,bmi2,lzcnt")))
#include <immintrin.h>
#endif

#define JSON_SCAN_BYTES(c) (UINT64_C(0x0101010101010101) * (unsigned char)(c))
#define JSON_SCAN_HIGH JSON_SCAN_BYTES(0x80)

/* Whether a byte of w is c. */
static inline bool json_scan_has(uint64_t w, char c)
{
	w ^= JSON_SCAN_BYTES(c);
	return (w - JSON_SCAN_BYTES(1)) & ~w & JSON_SCAN_HIGH;
}

static inline bool json_scan_is_space(char c)
{
	return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/*
 * The length of the UTF-8 sequence at text[at], at < size: 1 to 4; 0 when it is none; -1 when the text ends inside of what
 * may still become one.
 */
static inline int json_scan_utf8(const char *text, size_t size, size_t at)
{
	const unsigned char *p = (const unsigned char *)text + at;
	unsigned char low = 0x80, high = 0xbf;
	int length;

	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	length = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	/* RFC 3629: the second byte's range keeps out overlong forms, surrogates and what is above U+10FFFF. */
	if (p[0] == 0xe0)
		low = 0xa0;
	else if (p[0] == 0xed)
		high = 0x9f;
	else if (p[0] == 0xf0)
		low = 0x90;
	else if (p[0] == 0xf4)
		high = 0x8f;
	for (int i = 1; i < length; i++) {
		if (size - at <= (size_t)i)
			return -1;
		if (p[i] < low || p[i] > high)
			return 0;
		low = 0x80;
		high = 0xbf;
	}
	return length;
}

static inline bool json_scan_is_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* The length of the escape that begins with the backslash at text[at]: 2 or 6; 0 when it is none or the text cuts it off. */
static inline size_t json_scan_escape(const char *text, size_t size, size_t at)
{
	if (size - at < 2)
		return 0;
	switch (text[at + 1]) {
	case '"':
	case '\\':
	case '/':
	case 'b':
	case 'f':
	case 'n':
	case 'r':
	case 't':
		return 2;
	case 'u':
		if (size - at < 6)
			return 0;
		for (size_t i = at + 2; i < at + 6; i++)
			if (!json_scan_is_hex(text[i]))
				return 0;
		return 6;
	default:
		return 0;
	}
}

/*
 * Goes through the inside of a string from `at` on: the offset of its closing quote; or of the first control character,
 * or of the first escape or UTF-8 sequence that is wrong or cut off by the end; or `size`.
 */
static inline size_t json_scan_string_scalar(const char *text, size_t size, size_t at)
{
	while (at < size) {
		size_t escape;
		uint64_t w;
		int length;

		while (size - at >= sizeof(w)) {
			memcpy(&w, text + at, sizeof(w));
			if (((w | (w - JSON_SCAN_BYTES(0x20))) & JSON_SCAN_HIGH) || json_scan_has(w, '"') || json_scan_has(w, '\\'))
				break;
			at += sizeof(w);
		}
		if (at == size || text[at] == '"' || (unsigned char)text[at] < 0x20)
			break;
		if (text[at] == '\\') {
			escape = json_scan_escape(text, size, at);
			if (escape == 0)
				break;
			at += escape;
		} else {
			length = json_scan_utf8(text, size, at);
			if (length <= 0)
				break;
			at += (size_t)length;
		}
	}
	return at;
}

/* From inside a string that is known to be right, the offset of its closing quote; `size` when there is none. */
static inline size_t json_scan_close_scalar(const char *text, size_t size, size_t at)
{
	uint64_t w;

	while (at < size) {
		while (size - at >= sizeof(w)) {
			memcpy(&w, text + at, sizeof(w));
			if (json_scan_has(w, '"') || json_scan_has(w, '\\'))
				break;
			at += sizeof(w);
		}
		while (at < size && text[at] != '"' && text[at] != '\\')
			at++;
		if (at == size || text[at] == '"')
			break;
		at += size - at < 2 ? 1 : 2;
	}
	return at;
}

/* The offset of the first byte at or after `at` that is not white space; `size` when there is none. */
static inline size_t json_scan_space_scalar(const char *text, size_t size, size_t at)
{
	while (at < size && json_scan_is_space(text[at]))
		at++;
	return at;
}

#ifdef JSON_SCAN_AVX2

/* Bytes of text, 64 in a row, and sets of them: bit i stands for byte i. */
struct json_scan_block {
	__m256i half[2];
};

JSON_SCAN_AVX2 static inline struct json_scan_block json_scan_load(const char *text)
{
	const __m256i *p = (const __m256i *)text;

	return (struct json_scan_block){ { _mm256_loadu_si256(p), _mm256_loadu_si256(p + 1) } };
}

/* The bytes whose high bit is set. */
JSON_SCAN_AVX2 static inline uint64_t json_scan_set(struct json_scan_block b)
{
	return (uint32_t)_mm256_movemask_epi8(b.half[0]) | (uint64_t)(uint32_t)_mm256_movemask_epi8(b.half[1]) << 32;
}

JSON_SCAN_AVX2 static inline uint64_t json_scan_equal(struct json_scan_block b, char c)
{
	b.half[0] = _mm256_cmpeq_epi8(b.half[0], _mm256_set1_epi8(c));
	b.half[1] = _mm256_cmpeq_epi8(b.half[1], _mm256_set1_epi8(c));
	return json_scan_set(b);
}

JSON_SCAN_AVX2 static inline uint64_t json_scan_control(struct json_scan_block b)
{
	const __m256i last = _mm256_set1_epi8(0x1f);

	b.half[0] = _mm256_cmpeq_epi8(_mm256_min_epu8(b.half[0], last), b.half[0]);
	b.half[1] = _mm256_cmpeq_epi8(_mm256_min_epu8(b.half[1], last), b.half[1]);
	return json_scan_set(b);
}

/*
 * The second bytes of escapes. *slashes are the block's backslashes, and becomes those that are no second byte of the escape that has `begun` before:
 * that one's place, or 0.
 */
static inline uint64_t json_scan_escaped(uint64_t *slashes, uint64_t begun)
{
	const uint64_t even = UINT64_C(0x5555555555555555);
	uint64_t slash = *slashes &= ~begun;
	uint64_t first = slash & ~(slash << 1);
	/* Adding its first bit to a run carries into the bit after the run; other runs stay, and are masked out. */
	uint64_t after_even = (slash + (first & even)) & ~slash;
	uint64_t after_odd = (slash + (first & ~even)) & ~slash;

	return (after_even & ~even) | (after_odd & even) | begun;
}

/* Whether the block's last byte is a backslash that begins an escape. */
static inline bool json_scan_open_escape(uint64_t slash)
{
	return slash >> 63 && ~slash && __builtin_clzll(~slash) % 2;
}

/*
 * UTF-8 by table (Keiser and Lemire, "Validating UTF-8 in less than one instruction per byte", 2021): each nibble of a byte and
 * the high nibble of the next one rules out some faults of the two; what none of the three rules out is there.
 */
#define SHORT 0x01	/* a lead byte, then no continuation */
#define LONE 0x02	/* ASCII, then a continuation */
#define OVER2 0x04	/* C0, C1: fits in one byte */
#define OVER3 0x08	/* E0 80..9F: fits in two */
#define SURROGATE 0x10	/* ED A0..BF */
#define LARGE 0x20	/* F4 90..BF, F5..FF 90..BF: above U+10FFFF */
#define OVER4 0x40	/* F0 80..8F: fits in three; and F5..FF 80..8F: above U+10FFFF */
#define THIRD 0x80	/* two continuations: right where a third or fourth byte is due */
#define ANY_LOW (SHORT | LONE | THIRD)
#define CONTINUED (LONE | OVER2 | THIRD)
#define TABLE(...) _mm256_broadcastsi128_si256(_mm_setr_epi8(__VA_ARGS__))

/* Non-zero where a byte of c cannot follow the bytes one, two and three places before it. */
JSON_SCAN_AVX2 static inline __m256i json_scan_utf8_faults(__m256i c, __m256i before1, __m256i before2, __m256i before3)
{
	const __m256i nibble = _mm256_set1_epi8(0x0f);
	const __m256i by_high = TABLE(LONE, LONE, LONE, LONE, LONE, LONE, LONE, LONE, (char)THIRD, (char)THIRD, (char)THIRD, (char)THIRD,
				      SHORT | OVER2, SHORT, SHORT | OVER3 | SURROGATE, SHORT | LARGE | OVER4);
	const __m256i by_low = TABLE((char)(ANY_LOW | OVER2 | OVER3 | OVER4), (char)(ANY_LOW | OVER2), (char)ANY_LOW, (char)ANY_LOW,
				     (char)(ANY_LOW | LARGE), (char)(ANY_LOW | LARGE | OVER4), (char)(ANY_LOW | LARGE | OVER4),
				     (char)(ANY_LOW | LARGE | OVER4), (char)(ANY_LOW | LARGE | OVER4), (char)(ANY_LOW | LARGE | OVER4),
				     (char)(ANY_LOW | LARGE | OVER4), (char)(ANY_LOW | LARGE | OVER4), (char)(ANY_LOW | LARGE | OVER4),
				     (char)(ANY_LOW | LARGE | OVER4 | SURROGATE), (char)(ANY_LOW | LARGE | OVER4),
				     (char)(ANY_LOW | LARGE | OVER4));
	const __m256i by_next = TABLE(SHORT, SHORT, SHORT, SHORT, SHORT, SHORT, SHORT, SHORT, (char)(CONTINUED | OVER3 | OVER4),
				      (char)(CONTINUED | OVER3 | LARGE), (char)(CONTINUED | SURROGATE | LARGE),
				      (char)(CONTINUED | SURROGATE | LARGE), SHORT, SHORT, SHORT, SHORT);
	__m256i pair = _mm256_shuffle_epi8(by_high, _mm256_and_si256(_mm256_srli_epi16(before1, 4), nibble));
	__m256i due;

	pair = _mm256_and_si256(pair, _mm256_shuffle_epi8(by_low, _mm256_and_si256(before1, nibble)));
	pair = _mm256_and_si256(pair, _mm256_shuffle_epi8(by_next, _mm256_and_si256(_mm256_srli_epi16(c, 4), nibble)));
	/* The high bit is left where two places before is E0 or more, or three places before F0 or more. */
	due = _mm256_or_si256(_mm256_subs_epu8(before2, _mm256_set1_epi8(0xe0 - 0x80)),
			      _mm256_subs_epu8(before3, _mm256_set1_epi8(0xf0 - 0x80)));
	return _mm256_xor_si256(pair, _mm256_and_si256(due, _mm256_set1_epi8((char)THIRD)));
}

#undef SHORT
#undef LONE
#undef OVER2
#undef OVER3
#undef SURROGATE
#undef LARGE
#undef OVER4
#undef THIRD
#undef ANY_LOW
#undef CONTINUED

/* The faults of the block at text[at]: what is before it counts, and a character that its end cuts off is no fault. */
JSON_SCAN_AVX2 static inline uint64_t json_scan_bad_utf8(struct json_scan_block b, const char *text, size_t at)
{
	const __m256i zero = _mm256_setzero_si256();
	struct json_scan_block bad;
	const char *p = text + at;
	char first[35];

	if (at < 3) {
		memset(first, 0, 3);
		memcpy(first + 3, p, 32);
		p = first + 3;
	}
	bad.half[0] = json_scan_utf8_faults(b.half[0], _mm256_loadu_si256((const __m256i *)(p - 1)), _mm256_loadu_si256((const __m256i *)(p - 2)),
					    _mm256_loadu_si256((const __m256i *)(p - 3)));
	p = text + at + 32;
	bad.half[1] = json_scan_utf8_faults(b.half[1], _mm256_loadu_si256((const __m256i *)(p - 1)), _mm256_loadu_si256((const __m256i *)(p - 2)),
					    _mm256_loadu_si256((const __m256i *)(p - 3)));
	bad.half[0] = _mm256_cmpeq_epi8(bad.half[0], zero);
	bad.half[1] = _mm256_cmpeq_epi8(bad.half[1], zero);
	return ~json_scan_set(bad);
}

/* How many of the block's bytes come before a character that its end cuts off. */
JSON_SCAN_AVX2 static inline size_t json_scan_whole(struct json_scan_block b)
{
	const __m256i most = _mm256_setr_epi8(-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
					      -1, -1, -1, -1, -1, -1, (char)0xef, (char)0xdf, (char)0xbf);
	uint32_t within = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_min_epu8(b.half[1], most), b.half[1]));

	return within == UINT32_MAX ? 64 : 32 + (size_t)__builtin_ctz(~within);
}

/* The bytes that make an escape of two with a backslash before them. */
JSON_SCAN_AVX2 static inline uint64_t json_scan_short_escape(struct json_scan_block b)
{
	/* A bit for each high nibble, and under each low nibble those it goes with: " / \\ b f n r t. */
	const __m256i nibble = _mm256_set1_epi8(0x0f), zero = _mm256_setzero_si256();
	const __m256i by_high = TABLE(0, 0, 1, 0, 0, 2, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0);
	const __m256i by_low = TABLE(0, 0, 1 | 4 | 8, 0, 8, 0, 4, 0, 0, 0, 0, 0, 2, 0, 4, 1);

	for (int i = 0; i < 2; i++) {
		__m256i high = _mm256_shuffle_epi8(by_high, _mm256_and_si256(_mm256_srli_epi16(b.half[i], 4), nibble));

		b.half[i] = _mm256_and_si256(high, _mm256_shuffle_epi8(by_low, _mm256_and_si256(b.half[i], nibble)));
		b.half[i] = _mm256_cmpeq_epi8(b.half[i], zero);
	}
	return ~json_scan_set(b);
}

JSON_SCAN_AVX2 static inline uint64_t json_scan_hex(struct json_scan_block b)
{
	for (int i = 0; i < 2; i++) {
		__m256i digit = _mm256_sub_epi8(b.half[i], _mm256_set1_epi8('0'));
		__m256i letter = _mm256_sub_epi8(_mm256_or_si256(b.half[i], _mm256_set1_epi8(0x20)), _mm256_set1_epi8('a'));

		digit = _mm256_cmpeq_epi8(_mm256_min_epu8(digit, _mm256_set1_epi8(9)), digit);
		letter = _mm256_cmpeq_epi8(_mm256_min_epu8(letter, _mm256_set1_epi8(5)), letter);
		b.half[i] = _mm256_or_si256(digit, letter);
	}
	return json_scan_set(b);
}

/* Whether the escapes whose second bytes are at these places of the block at text[at] are all \u and right. */
JSON_SCAN_AVX2 static inline bool json_scan_unicode_escapes(struct json_scan_block b, const char *text, size_t size, size_t at, uint64_t places)
{
	uint64_t digits = places << 1 | places << 2 | places << 3 | places << 4;

	if (places & ~json_scan_equal(b, 'u') || digits & ~json_scan_hex(b))
		return false;
	/* The last one's digits may lie beyond the block. */
	return !(places >> 60) || json_scan_escape(text, size, at + 62 - (size_t)__builtin_clzll(places));
}

/*
 * Blocks follow one another whatever is in them, so that the processor need not wait for one to know where the next begins; the last one overlaps what
 * was before it, which is then left out.
 */
JSON_SCAN_AVX2 static inline size_t json_scan_string_avx2(const char *text, size_t size, size_t at)
{
	const size_t from = at;
	uint64_t begun = 0;

	while (at < size && size >= 64) {
		size_t start = size - at >= 64 ? at : size - 64;
		uint64_t live = ~UINT64_C(0) << (at - start);
		struct json_scan_block b = json_scan_load(text + start);
		uint64_t quote = json_scan_equal(b, '"');
		uint64_t slash = json_scan_equal(b, '\\') & live;
		uint64_t escaped = json_scan_escaped(&slash, begun << (at - start));
		uint64_t stop = ((quote & ~escaped) | json_scan_control(b)) & live;
		uint64_t other = escaped & ~json_scan_short_escape(b);

		live &= stop ^ (stop - 1);	/* up to the first stop, itself included; without one, all */
		if (other & live && !json_scan_unicode_escapes(b, text, size, start, other & live))
			break;
		/* Also where all is ASCII: a test that goes either way costs more than this. */
		if (json_scan_bad_utf8(b, text, start) & live)
			break;
		if (stop)
			return start + (size_t)__builtin_ctzll(stop);
		begun = json_scan_open_escape(slash);
		at = start + 64;
		if (at == size)
			return begun ? size - 1 : start + json_scan_whole(b);
	}
	/* The text is less than a block, or wrong somewhere. */
	return json_scan_string_scalar(text, size, from);
}

JSON_SCAN_AVX2 static inline size_t json_scan_close_avx2(const char *text, size_t size, size_t at)
{
	uint64_t begun = 0;

	while (at < size && size >= 64) {
		size_t start = size - at >= 64 ? at : size - 64;
		uint64_t live = ~UINT64_C(0) << (at - start);
		struct json_scan_block b = json_scan_load(text + start);
		uint64_t slash = json_scan_equal(b, '\\') & live;
		uint64_t stop = json_scan_equal(b, '"') & live & ~json_scan_escaped(&slash, begun << (at - start));

		if (stop)
			return start + (size_t)__builtin_ctzll(stop);
		begun = json_scan_open_escape(slash);
		at = start + 64;
	}
	return json_scan_close_scalar(text, size, at);
}

#undef TABLE

/* Whether the next 16 bytes are a short string's: a quote, and plain ASCII before it. *at is then the quote's offset. */
static inline bool json_scan_short(const char *text, size_t size, size_t *at)
{
	__m128i c, odd;
	unsigned quote;

	if (size - *at < 16)
		return false;
	c = _mm_loadu_si128((const __m128i *)(text + *at));
	quote = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(c, _mm_set1_epi8('"')));
	/* As signed bytes, what is not ASCII is below 0x20 too. */
	odd = _mm_or_si128(_mm_cmplt_epi8(c, _mm_set1_epi8(0x20)), _mm_cmpeq_epi8(c, _mm_set1_epi8('\\')));
	if (!quote || (unsigned)_mm_movemask_epi8(odd) & (quote ^ (quote - 1)))
		return false;
	*at += (size_t)__builtin_ctz(quote);
	return true;
}

/* Processors that have BMI2 have the other two sets of bit instructions. */
static inline bool json_scan_wide(void)
{
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2");
}

static inline size_t json_scan_string(const char *text, size_t size, size_t at)
{
	if (json_scan_short(text, size, &at))
		return at;
	return json_scan_wide() ? json_scan_string_avx2(text, size, at) : json_scan_string_scalar(text, size, at);
}

static inline size_t json_scan_close(const char *text, size_t size, size_t at)
{
	if (json_scan_short(text, size, &at))
		return at;
	return json_scan_wide() ? json_scan_close_avx2(text, size, at) : json_scan_close_scalar(text, size, at);
}

/* 16 bytes at a time, with what all of x86-64 has: most runs are short. */
static inline size_t json_scan_space(const char *text, size_t size, size_t at)
{
	if (at >= size || !json_scan_is_space(text[at]))
		return at;
	for (at++; size - at >= 16; at += 16) {
		__m128i c = _mm_loadu_si128((const __m128i *)(text + at));
		__m128i space = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(c, _mm_set1_epi8(' ')), _mm_cmpeq_epi8(c, _mm_set1_epi8('\n'))),
					     _mm_or_si128(_mm_cmpeq_epi8(c, _mm_set1_epi8('\r')), _mm_cmpeq_epi8(c, _mm_set1_epi8('\t'))));
		unsigned other = ~(unsigned)_mm_movemask_epi8(space) & 0xffff;

		if (other)
			return at + (size_t)__builtin_ctz(other);
	}
	return json_scan_space_scalar(text, size, at);
}

#else

static inline size_t json_scan_string(const char *text, size_t size, size_t at)
{
	return json_scan_string_scalar(text, size, at);
}

static inline size_t json_scan_close(const char *text, size_t size, size_t at)
{
	return json_scan_close_scalar(text, size, at);
}

static inline size_t json_scan_space(const char *text, size_t size, size_t at)
{
	return json_scan_space_scalar(text, size, at);
}

#endif

#endif
