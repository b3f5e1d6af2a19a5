/*
 * Sums of records, so cheap that each can be checked when it is read: products of halves of words, as
 * in XXH3 (Yann Collet), in eight lanes. Each block has keys of its own, so its place counts.
 */
#include "check.h"

#include <endian.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define TAG 0x6b636863u	/* "chck" */
#define PRIME 0x100000001b3u
#define STEP 0x9e3779b97f4a7c15u
#define LANES 8
#define BLOCK (LANES * 8)

static const uint64_t keys[LANES] = {
	0xcbf29ce484222325u, 0x243f6a8885a308d3u, 0x13198a2e03707344u, 0xa4093822299f31d0u,
	0x082efa98ec4e6c89u, 0x452821e638d01377u, 0xbe5466cf34e90c6cu, 0xc0ac29b7c97c50ddu,
};

static uint64_t stir(uint64_t h, uint64_t word)
{
	h = (h ^ word) * PRIME;
	return h ^ h >> 29;
}

/* Adds blocks to the lanes; `first` is the number of the first of them. */
#ifdef __SSE2__
/* Two lanes a vector: a compiler does not see that a product of 32 bits is all that is wanted. */
static void blocks(uint64_t h[LANES], const char *bytes, size_t count, uint64_t first)
{
	const __m128i step = _mm_set1_epi64x((int64_t)STEP);
	__m128i sum[LANES / 2], key[LANES / 2];

	for (int i = 0; i < LANES / 2; i++) {
		sum[i] = _mm_loadu_si128((const __m128i *)h + i);
		key[i] = _mm_add_epi64(_mm_loadu_si128((const __m128i *)keys + i),
				       _mm_set1_epi64x((int64_t)(first * STEP)));
	}
	for (; count; count--, bytes += BLOCK) {
		for (int i = 0; i < LANES / 2; i++) {
			__m128i w = _mm_loadu_si128((const __m128i *)bytes + i);
			__m128i d = _mm_xor_si128(w, key[i]);

			d = _mm_mul_epu32(d, _mm_srli_epi64(d, 32));
			sum[i] = _mm_add_epi64(sum[i], _mm_add_epi64(d, w));
			key[i] = _mm_add_epi64(key[i], step);
		}
	}
	for (int i = 0; i < LANES / 2; i++)
		_mm_storeu_si128((__m128i *)h + i, sum[i]);
}
#else
static void blocks(uint64_t h[LANES], const char *bytes, size_t count, uint64_t first)
{
	for (size_t n = 0; n < count; n++, bytes += BLOCK) {
		uint64_t w[LANES];

		memcpy(w, bytes, sizeof(w));
		for (int i = 0; i < LANES; i++) {
			uint64_t word = le64toh(w[i]), d = word ^ (keys[i] + (first + n) * STEP);

			h[i] += (d & UINT32_MAX) * (d >> 32) + word;
		}
	}
}
#endif

static uint32_t sum_of(const void *key, size_t key_size, const void *value, size_t size)
{
	uint64_t h[LANES] = { 0 }, sum = (uint64_t)key_size << 32 ^ size, word;
	size_t whole = size / BLOCK;
	char last[BLOCK] = { 0 };

	for (size_t at = 0; at + 8 <= key_size; at += 8) {
		memcpy(&word, (const char *)key + at, 8);
		sum = stir(sum, le64toh(word));
	}
	if (key_size % 8) {
		word = 0;
		memcpy(&word, (const char *)key + key_size / 8 * 8, key_size % 8);
		sum = stir(sum, le64toh(word));
	}
	blocks(h, value, whole, 0);
	if (size % BLOCK) {
		memcpy(last, (const char *)value + whole * BLOCK, size % BLOCK);
		blocks(h, last, 1, whole);
	}
	for (int i = 0; i < LANES; i++)
		sum = stir(sum, h[i]);
	return (uint32_t)(sum ^ sum >> 32);
}

void check_make(const void *key, size_t key_size, const void *value, size_t size, void *to)
{
	uint32_t check[2] = { htole32(TAG), htole32(sum_of(key, key_size, value, size)) };

	memcpy(to, check, sizeof(check));
}

static bool split(const void *value, size_t size, uint32_t check[2])
{
	if (size < CHECK_SIZE)
		return false;
	memcpy(check, (const char *)value + size - CHECK_SIZE, CHECK_SIZE);
	check[0] = le32toh(check[0]);
	check[1] = le32toh(check[1]);
	return true;
}

bool check_strip(const void *key, size_t key_size, const void *value, size_t *size, bool strict)
{
	uint32_t check[2];
	bool fits;

	if (!split(value, *size, check))
		return !strict;
	fits = check[1] == sum_of(key, key_size, value, *size - CHECK_SIZE);
	if (check[0] == TAG && fits) {
		*size -= CHECK_SIZE;
		return true;
	}
	/* One of the two would be an odd chance. */
	return !strict && check[0] != TAG && !fits;
}

void check_drop(const void *value, size_t *size, bool strict)
{
	uint32_t check[2];

	if (split(value, *size, check) && (strict || check[0] == TAG))
		*size -= CHECK_SIZE;
}
