#include "json.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "buf.h"
#include "json_scan.h"

/* ---- Hashing -------------------------------------------------------------------------------------------------- */

/* Each holds a byte that UTF-8 never has, so that no text can cancel one out. */
#define HASH_SEED UINT64_C(0x6a09e667f3bcc9ff)
#define HASH_A UINT64_C(0xff8f1bbcdcbfa563)
#define HASH_B UINT64_C(0x9e3779b97f4a7cff)
#define HASH_C UINT64_C(0xc2b2ae3d27d4ffb5)
#define HASH_D UINT64_C(0xd6e8feb86659fd93)
#define HASH_E UINT64_C(0xa0761d6478bdff2f)

static inline uint64_t mix(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t load64(const char *p)
{
	uint64_t w;

	memcpy(&w, p, sizeof(w));
	return le64toh(w);
}

static inline uint64_t load32(const char *p)
{
	uint32_t w;

	memcpy(&w, p, sizeof(w));
	return le32toh(w);
}

static inline uint64_t hash_run(uint64_t h, const char *p, size_t n)
{
	size_t left = n;
	uint64_t a, b;

	if (left > 64) {
		uint64_t h1 = h ^ HASH_B, h2 = h ^ HASH_C, h3 = h ^ HASH_D;

		for (; left > 64; left -= 64, p += 64) {
			h = mix(load64(p) ^ HASH_A, load64(p + 8) ^ h);
			h1 = mix(load64(p + 16) ^ HASH_B, load64(p + 24) ^ h1);
			h2 = mix(load64(p + 32) ^ HASH_C, load64(p + 40) ^ h2);
			h3 = mix(load64(p + 48) ^ HASH_D, load64(p + 56) ^ h3);
		}
		h ^= h1 ^ h2 ^ h3;
	}
	for (; left > 16; left -= 16, p += 16)
		h = mix(load64(p) ^ HASH_A, load64(p + 8) ^ h);
	/* The last 1 to 16 bytes, by words that may overlap: the length tells them apart. */
	if (left >= 8) {
		a = load64(p);
		b = load64(p + left - 8);
	} else if (left >= 4) {
		a = load32(p);
		b = load32(p + left - 4);
	} else {
		a = (unsigned char)p[0];
		b = (uint64_t)(unsigned char)p[left / 2] << 8 | (unsigned char)p[left - 1];
	}
	return mix(a ^ HASH_E, b ^ h ^ n * HASH_B);
}

/*
 * Strings are hashed as they lie in the text; what is between them is gathered in a word of up to seven bytes (and a 1 before
 * them, which tells how many). So nothing depends on where white space divides the text.
 */
struct hash {
	uint64_t h, word;
};

#define HASH_BEGIN { HASH_SEED, 1 }

static inline void hash_word(struct hash *h)
{
	h->h = mix(h->word ^ HASH_C, h->h ^ HASH_D);
	h->word = 1;
}

static inline void hash_byte(struct hash *h, char c)
{
	h->word = h->word << 8 | (unsigned char)c;
	if (h->word >> 56)
		hash_word(h);
}

static inline void hash_string(struct hash *h, const char *text, size_t size)
{
	hash_word(h);
	h->h = hash_run(h->h, text, size);
}

static inline uint64_t hash_end(struct hash *h)
{
	hash_word(h);
	return mix(h->h ^ HASH_A, HASH_B);
}

/* ---- Checking ------------------------------------------------------------------------------------------------ */

static int fail(struct json_error *err, int r, size_t offset, const char *reason)
{
	if (err)
		*err = (struct json_error){ offset, reason };
	return r;
}

/* The text ends at `size` before what it began is complete. */
static int cut(struct json_error *err, size_t size, const char *reason)
{
	return fail(err, -ENODATA, size, reason);
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Tells what is wrong with the escape whose backslash is at text[at]. */
static int bad_escape(const char *text, size_t size, size_t at, struct json_error *err)
{
	size_t i = at + 1;

	if (i < size && text[i] != 'u')
		return fail(err, -EINVAL, at, "an unknown escape");
	do
		i++;
	while (i < size && json_scan_is_hex(text[i]));
	if (i >= size)
		return cut(err, size, "the text ends inside an escape");
	return fail(err, -EINVAL, i, "four hexadecimal digits were expected");
}

/* The scanners below take *at inside of the text and leave it after what they accepted. */

static int scan_string(const char *text, size_t size, size_t *at, struct json_error *err)
{
	size_t i = json_scan_string(text, size, *at + 1);

	if (i == size)
		return cut(err, size, "the text ends inside a string");
	if (text[i] == '\\')
		return bad_escape(text, size, i, err);
	if ((unsigned char)text[i] < 0x20)
		return fail(err, -EINVAL, i, "a control character in a string");
	if (text[i] != '"') {
		if (json_scan_utf8(text, size, i) < 0)
			return cut(err, size, "the text ends inside a character");
		return fail(err, -EINVAL, i, "a string is not valid UTF-8");
	}
	*at = i + 1;
	return 0;
}

static int scan_word(const char *text, size_t size, size_t *at, const char *word, struct json_error *err)
{
	size_t i = *at;

	for (; *word; word++, i++) {
		if (i == size)
			return cut(err, size, "the text ends inside a word");
		if (text[i] != *word)
			return fail(err, -EINVAL, i, "an unknown word");
	}
	*at = i;
	return 0;
}

static int scan_digits(const char *text, size_t size, size_t *at, struct json_error *err)
{
	size_t i = *at;

	if (i == size)
		return cut(err, size, "the text ends inside a number");
	if (!is_digit(text[i]))
		return fail(err, -EINVAL, i, "a digit was expected");
	while (i < size && is_digit(text[i]))
		i++;
	*at = i;
	return 0;
}

static int scan_number(const char *text, size_t size, size_t *at, struct json_error *err)
{
	size_t i = *at;
	int r = 0;

	if (text[i] == '-' && ++i < size && text[i] == 'I') {
		r = scan_word(text, size, &i, "Infinity", err);
	} else {
		if (i < size && text[i] == '0')
			i++;
		else
			r = scan_digits(text, size, &i, err);
		if (!r && i < size && text[i] == '.') {
			i++;
			r = scan_digits(text, size, &i, err);
		}
		if (!r && i < size && (text[i] == 'e' || text[i] == 'E')) {
			i++;
			if (i < size && (text[i] == '+' || text[i] == '-'))
				i++;
			r = scan_digits(text, size, &i, err);
		}
	}
	if (!r)
		*at = i;
	return r;
}

static int scan_scalar(const char *text, size_t size, size_t *at, struct json_error *err)
{
	switch (text[*at]) {
	case '"':
		return scan_string(text, size, at, err);
	case 't':
		return scan_word(text, size, at, "true", err);
	case 'f':
		return scan_word(text, size, at, "false", err);
	case 'n':
		return scan_word(text, size, at, "null", err);
	case 'N':
		return scan_word(text, size, at, "NaN", err);
	case 'I':
		return scan_word(text, size, at, "Infinity", err);
	case '-':
	case '0' ... '9':
		return scan_number(text, size, at, err);
	default:
		return fail(err, -EINVAL, *at, "a value was expected");
	}
}

/* Scanning feeds the hash of what it accepts, when there is one: the processor does both at a time. */
static inline void take_byte(struct hash *h, char c)
{
	if (h)
		hash_byte(h, c);
}

static inline void take_scalar(struct hash *h, const char *text, size_t size)
{
	if (h && text[0] == '"')
		hash_string(h, text, size);
	else if (h)
		while (size--)
			hash_byte(h, *text++);
}

/* From the opening quote of a member's name to the first byte of its value. */
static inline int scan_key(struct hash *h, const char *text, size_t size, size_t *at, struct json_error *err)
{
	size_t i = *at;
	int r;

	if (i == size)
		return cut(err, size, "the text ends inside an object");
	if (text[i] != '"')
		return fail(err, -EINVAL, i, "a name in quotes was expected");
	r = scan_string(text, size, &i, err);
	if (r)
		return r;
	take_scalar(h, text + *at, i - *at);
	i = json_scan_space(text, size, i);
	if (i == size)
		return cut(err, size, "the text ends inside an object");
	if (text[i] != ':')
		return fail(err, -EINVAL, i, "a colon was expected");
	take_byte(h, ':');
	*at = json_scan_space(text, size, i + 1);
	return 0;
}

/* The open brackets, one bit each (set: an object). The innermost 1 to 64 are in `bits`, the others in words below. */
struct nesting {
	uint64_t bits;
	size_t depth;
	uint64_t near[8];
	struct buf far;
};

static int nesting_push(struct nesting *n, bool object)
{
	size_t word = n->depth / 64;

	if (n->depth % 64 == 0 && word > 0) {
		if (word <= 8) {
			n->near[word - 1] = n->bits;
		} else {
			int r = buf_add(&n->far, &n->bits, sizeof(n->bits));

			if (r)
				return r;
		}
	}
	n->bits = n->bits << 1 | object;
	n->depth++;
	return 0;
}

static void nesting_pop(struct nesting *n)
{
	size_t word;

	n->bits >>= 1;
	n->depth--;
	word = n->depth / 64;
	if (n->depth % 64 == 0 && word > 0) {
		if (word <= 8) {
			n->bits = n->near[word - 1];
		} else {
			n->far.size -= sizeof(n->bits);
			memcpy(&n->bits, n->far.data + n->far.size, sizeof(n->bits));
		}
	}
}

static inline __attribute__((always_inline)) int scan_value(struct nesting *n, struct hash *h, const char *text, size_t size, size_t *ret_end,
							     size_t at, struct json_error *err)
{
	int r;

	for (;;) {
		bool object;

		/* A value begins here. */
		if (at >= size)
			return cut(err, size, "the text ends where a value was expected");
		if (text[at] == '{' || text[at] == '[') {
			size_t open = at;

			object = text[at] == '{';
			take_byte(h, text[at]);
			at = json_scan_space(text, size, at + 1);
			if (at == size || text[at] != (object ? '}' : ']')) {
				r = nesting_push(n, object);
				if (r)
					return fail(err, r, open, "out of memory");
				r = object ? scan_key(h, text, size, &at, err) : 0;
				if (r)
					return r;
				continue;
			}
			take_byte(h, text[at++]);
		} else {
			size_t start = at;

			r = scan_scalar(text, size, &at, err);
			if (r)
				return r;
			take_scalar(h, text + start, at - start);
		}

		/* It has ended; so may those around it. */
		for (;;) {
			if (n->depth == 0) {
				*ret_end = at;
				return 0;
			}
			object = n->bits & 1;
			at = json_scan_space(text, size, at);
			if (at == size)
				return cut(err, size, object ? "the text ends inside an object" : "the text ends inside an array");
			if (text[at] == ',')
				break;
			if (text[at] != (object ? '}' : ']'))
				return fail(err, -EINVAL, at, "a comma or a bracket was expected");
			nesting_pop(n);
			take_byte(h, text[at++]);
		}
		take_byte(h, ',');
		at = json_scan_space(text, size, at + 1);
		if (object) {
			r = scan_key(h, text, size, &at, err);
			if (r)
				return r;
		}
	}
}

size_t json_space(const char *text, size_t size, size_t at)
{
	return json_scan_space(text, size, at);
}

static void nesting_begin(struct nesting *n)
{
	n->bits = 0;
	n->depth = 0;
	n->far = BUF_INIT;
}

int json_value(const char *text, size_t size, size_t at, size_t *ret_end, struct json_error *err)
{
	struct nesting n;
	int r;

	nesting_begin(&n);
	r = scan_value(&n, NULL, text, size, ret_end, at, err);
	buf_release(&n.far);
	return r;
}

int json_value_hash(const char *text, size_t size, size_t at, size_t *ret_end, uint64_t *ret_hash, struct json_error *err)
{
	struct hash h = HASH_BEGIN;
	struct nesting n;
	int r;

	nesting_begin(&n);
	r = scan_value(&n, &h, text, size, ret_end, at, err);
	buf_release(&n.far);
	if (!r)
		*ret_hash = hash_end(&h);
	return r;
}

int json_check(const char *text, size_t size, struct json_error *err)
{
	static const char mark[] = { '\xef', '\xbb', '\xbf' };
	size_t at = 0;
	int r;

	if (size > 0 && memcmp(text, mark, size < sizeof(mark) ? size : sizeof(mark)) == 0)
		at = size < sizeof(mark) ? size : sizeof(mark);
	at = json_scan_space(text, size, at);
	r = json_value(text, size, at, &at, err);
	if (r)
		return r;
	at = json_scan_space(text, size, at);
	if (at < size)
		return fail(err, -EINVAL, at, "something follows the value");
	return 0;
}

/* ---- Comparing ----------------------------------------------------------------------------------------------- */

/* The offset after the string that begins at text[at], its quotes and escapes known to be right. */
static size_t skip_string(const char *text, size_t size, size_t at)
{
	at = json_scan_close(text, size, at + 1);
	return at < size ? at + 1 : size;
}

uint64_t json_hash(const char *text, size_t size)
{
	struct hash h = HASH_BEGIN;
	size_t at = 0, end;

	while (at < size) {
		if (text[at] == '"') {
			end = skip_string(text, size, at);
			hash_string(&h, text + at, end - at);
			at = end;
		} else if (json_scan_is_space(text[at])) {
			at = json_scan_space(text, size, at);
		} else {
			do
				hash_byte(&h, text[at++]);
			while (at < size && text[at] > '"');	/* above white space too */
		}
	}
	return hash_end(&h);
}

bool json_same(const char *a, size_t a_size, const char *b, size_t b_size)
{
	size_t i = 0, j = 0, run;

	for (;;) {
		i = json_scan_space(a, a_size, i);
		j = json_scan_space(b, b_size, j);
		if (i == a_size || j == b_size)
			return i == a_size && j == b_size;
		run = a[i] == '"' ? skip_string(a, a_size, i) - i : 1;
		if (run > b_size - j || memcmp(a + i, b + j, run) != 0)
			return false;
		i += run;
		j += run;
	}
}

/* ---- Walking ------------------------------------------------------------------------------------------------- */

/* The offset after the number or word at text[at]. */
static size_t skip_plain(const char *text, size_t size, size_t at)
{
	do
		at++;
	while (at < size && !json_scan_is_space(text[at]) && text[at] != ',' && text[at] != ']' && text[at] != '}');
	return at;
}

/* The offset after the well-formed value at text[at]. */
static size_t skip_value(const char *text, size_t size, size_t at)
{
	size_t depth = 0;

	while (at < size) {
		switch (text[at]) {
		case '"':
			at = skip_string(text, size, at);
			break;
		case '{':
		case '[':
			depth++;
			at++;
			break;
		case '}':
		case ']':
			depth--;
			at++;
			break;
		case ' ':
		case '\n':
		case '\r':
		case '\t':
			at = json_scan_space(text, size, at);
			continue;
		case ',':
		case ':':
			at++;
			continue;
		default:
			at = skip_plain(text, size, at);
		}
		if (depth == 0)
			break;
	}
	return at;
}

struct json_walk json_walk_begin(const char *text, size_t size, size_t at)
{
	return (struct json_walk){ .text = text, .size = size, .at = at + 1, .object = text[at] == '{', .first = true };
}

bool json_walk_next(struct json_walk *w)
{
	size_t at;

	if (w->done)
		return false;
	at = json_scan_space(w->text, w->size, w->at);
	if (at == w->size || w->text[at] == ']' || w->text[at] == '}') {
		w->end = at < w->size ? at + 1 : at;
		w->done = true;
		return false;
	}
	if (!w->first)
		at = json_scan_space(w->text, w->size, at + 1);
	w->first = false;
	if (w->object) {
		w->key = at;
		w->key_end = skip_string(w->text, w->size, at);
		at = json_scan_space(w->text, w->size, w->key_end);
		at = json_scan_space(w->text, w->size, at + 1);
	}
	w->start = at;
	w->end = w->at = skip_value(w->text, w->size, at);
	return true;
}
