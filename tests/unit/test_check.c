/* The check behind a value is what FORMAT.md says, for every size; and no changed bit fits. */
#include <criterion/criterion.h>
#include <endian.h>
#include <stdint.h>
#include <string.h>

#include "check.h"

static uint64_t stir(uint64_t h, uint64_t word)
{
	h = (h ^ word) * 0x100000001b3u;
	return h ^ h >> 29;
}

/* Word `i` of these bytes, filled with zeros. */
static uint64_t word_at(const unsigned char *bytes, size_t size, size_t i)
{
	uint64_t word = 0;

	for (size_t b = 0; b < 8 && i * 8 + b < size; b++)
		word |= (uint64_t)bytes[i * 8 + b] << b * 8;
	return word;
}

/* The text of FORMAT.md, word by word. */
static uint32_t sum(const unsigned char *key, size_t key_size, const unsigned char *value, size_t size)
{
	static const uint64_t k[8] = {
		0xcbf29ce484222325u, 0x243f6a8885a308d3u, 0x13198a2e03707344u, 0xa4093822299f31d0u,
		0x082efa98ec4e6c89u, 0x452821e638d01377u, 0xbe5466cf34e90c6cu, 0xc0ac29b7c97c50ddu,
	};
	uint64_t h[8] = { 0 }, s = (uint64_t)key_size << 32 ^ size;

	for (size_t i = 0; i < (key_size + 7) / 8; i++)
		s = stir(s, word_at(key, key_size, i));
	for (size_t n = 0; n < (size + 63) / 64; n++) {
		for (size_t i = 0; i < 8; i++) {
			uint64_t w = word_at(value, size, n * 8 + i);
			uint64_t d = w ^ (k[i] + n * 0x9e3779b97f4a7c15u);

			h[i] += (d & 0xffffffff) * (d >> 32) + w;
		}
	}
	for (int i = 0; i < 8; i++)
		s = stir(s, h[i]);
	return (uint32_t)(s ^ s >> 32);
}

static void fill(unsigned char *bytes, size_t size, uint64_t seed)
{
	for (size_t i = 0; i < size; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		bytes[i] = (unsigned char)(seed >> 56);
	}
}

Test(check, is_what_the_format_says)
{
	unsigned char key[64], value[700 + CHECK_SIZE];

	for (size_t size = 0; size <= 700; size += size < 300 ? 1 : 37) {
		size_t key_size = 9 + size % 55, with = size + CHECK_SIZE;
		uint32_t check[2];

		fill(key, key_size, size);
		fill(value, size, size + 1);
		check_make(key, key_size, value, size, value + size);
		memcpy(check, value + size, CHECK_SIZE);
		cr_assert_eq(le32toh(check[0]), 0x6b636863u);
		cr_assert_eq(le32toh(check[1]), sum(key, key_size, value, size), "%zu bytes", size);
		cr_assert(check_strip(key, key_size, value, &with, true));
		cr_assert_eq(with, size);
	}
}

Test(check, no_changed_bit_fits)
{
	unsigned char key[17], value[200 + CHECK_SIZE];
	size_t size = sizeof(value);

	fill(key, sizeof(key), 1);
	fill(value, 200, 2);
	check_make(key, sizeof(key), value, 200, value + 200);
	for (size_t bit = 0; bit < (sizeof(key) + sizeof(value)) * 8; bit++) {
		unsigned char *at = bit < sizeof(key) * 8 ? key + bit / 8 : value + bit / 8 - sizeof(key);

		*at ^= (unsigned char)(1 << bit % 8);
		cr_assert(!check_strip(key, sizeof(key), value, &size, true), "bit %zu", bit);
		*at ^= (unsigned char)(1 << bit % 8);
	}
	cr_assert(check_strip(key, sizeof(key), value, &size, true));
}
