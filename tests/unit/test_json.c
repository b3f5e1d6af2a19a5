/* TEST_DATA is the directory tests/data. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <criterion/criterion.h>

#include "json_reference.h"
#include "store/buf.h"
#include "store/json.h"
#include "store/json_scan.h"

static uint64_t seed = 88172645463325252;

static uint64_t pick(uint64_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed >> 11) % below;
}

static void add(struct buf *b, const void *bytes, size_t size)
{
	cr_assert_eq(buf_add(b, bytes, size), 0);
}

static void add_text(struct buf *b, const char *text)
{
	add(b, text, strlen(text));
}

static struct buf read_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	struct buf b = BUF_INIT;
	char bytes[4096];
	size_t n;

	cr_assert(f, "%s", path);
	while ((n = fread(bytes, 1, sizeof(bytes), f)) > 0)
		add(&b, bytes, n);
	fclose(f);
	return b;
}

/* Calls `each` for the files of a directory of TEST_DATA whose names begin with `prefix`; their number. */
static size_t each_file(const char *directory, const char *prefix, void (*each)(const char *name, const char *text, size_t size))
{
	char path[4096];
	size_t count = 0;
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "%s/%s", TEST_DATA, directory);
	d = opendir(path);
	cr_assert(d, "%s", path);
	while ((e = readdir(d))) {
		struct buf b;

		if (e->d_name[0] == '.' || strncmp(e->d_name, prefix, strlen(prefix)) != 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s/%s", TEST_DATA, directory, e->d_name);
		b = read_file(path);
		each(e->d_name, b.data ? b.data : "", b.size);
		buf_release(&b);
		count++;
	}
	closedir(d);
	return count;
}

/* json_check, after making sure that the scalar twin says the same and that a failure is told. */
static int check(const char *name, const char *text, size_t size, struct json_error *ret_err)
{
	struct json_error err = { 0, NULL }, scalar_err = { 0, NULL };
	int r = json_check(text, size, &err);

	cr_assert_eq(scalar_json_check(text, size, &scalar_err), r, "%s", name);
	cr_assert_eq(json_check(text, size, NULL), r, "%s", name);
	cr_assert_eq(r != 0, err.reason != NULL, "%s", name);
	if (r) {
		cr_assert_leq(err.offset, size, "%s", name);
		cr_assert_eq(scalar_err.offset, err.offset, "%s: %zu, %zu", name, scalar_err.offset, err.offset);
		cr_assert_str_eq(scalar_err.reason, err.reason, "%s", name);
	}
	*ret_err = err;
	return r;
}

static void accept(const char *name, const char *text, size_t size)
{
	struct json_error err;
	int r = check(name, text, size, &err);

	cr_assert_eq(r, 0, "%s: %zu: %s", name, err.offset, err.reason);
}

static void refuse(const char *name, const char *text, size_t size)
{
	struct json_error err;
	int r = check(name, text, size, &err);

	if (strstr(name, "_cut")) {
		cr_assert_eq(r, -ENODATA, "%s: %d", name, r);
		cr_assert_eq(err.offset, size, "%s", name);
	} else {
		cr_assert(r == -EINVAL || r == -ENODATA, "%s: %d", name, r);
	}
	/* The offset is the first place where it went wrong. */
	if (r == -EINVAL)
		cr_assert_neq(check(name, text, err.offset, &err), -EINVAL, "%s", name);
}

Test(json, conformance)
{
	cr_assert_gt(each_file("json", "y_", accept), 50);
	cr_assert_gt(each_file("json", "n_", refuse), 150);
	cr_assert_gt(each_file("documents", "", accept), 20);
}

static size_t skip_mark(const char *text, size_t size)
{
	return size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}

static void cut_everywhere(const char *name, const char *text, size_t size)
{
	size_t first = json_space(text, size, skip_mark(text, size));
	struct json_error err;

	if (text[first] != '[' && text[first] != '{')
		return;
	while (text[size - 1] != ']' && text[size - 1] != '}')
		size--;
	for (size_t cut = 0; cut < size; cut++) {
		char *part = malloc(cut ? cut : 1);	/* of its very size, so that reading on is noticed */
		int r;

		cr_assert(part);
		memcpy(part, text, cut);
		r = check(name, part, cut, &err);
		cr_assert_eq(r, -ENODATA, "%s cut at %zu: %d, %s", name, cut, r, err.reason);
		cr_assert_eq(err.offset, cut, "%s cut at %zu", name, cut);
		free(part);
	}
}

Test(json, proper_prefixes)
{
	each_file("json", "y_", cut_everywhere);
	each_file("documents", "", cut_everywhere);
}

Test(json, errors)
{
	static const struct {
		const char *text;
		int r;
		size_t offset;
		const char *reason;
	} rows[] = {
		{ "", -ENODATA, 0, "the text ends where a value was expected" },
		{ " [1,", -ENODATA, 4, "the text ends where a value was expected" },
		{ "[1 2]", -EINVAL, 3, "a comma or a bracket was expected" },
		{ "[1}", -EINVAL, 2, "a comma or a bracket was expected" },
		{ "[1,]", -EINVAL, 3, "a value was expected" },
		{ "[1", -ENODATA, 2, "the text ends inside an array" },
		{ "{\"a\":1", -ENODATA, 6, "the text ends inside an object" },
		{ "{\"a\"", -ENODATA, 4, "the text ends inside an object" },
		{ "{a", -EINVAL, 1, "a name in quotes was expected" },
		{ "{\"a\" 1}", -EINVAL, 5, "a colon was expected" },
		{ "[\"a", -ENODATA, 3, "the text ends inside a string" },
		{ "[\"a\n\"]", -EINVAL, 3, "a control character in a string" },
		{ "[\"ab\\x\"]", -EINVAL, 4, "an unknown escape" },
		{ "[\"\\u00", -ENODATA, 6, "the text ends inside an escape" },
		{ "[\"\\u00g0\"]", -EINVAL, 6, "four hexadecimal digits were expected" },
		{ "[\"\\", -ENODATA, 3, "the text ends inside an escape" },
		{ "[\"\xe2\x82", -ENODATA, 4, "the text ends inside a character" },
		{ "[\"\xe2\x28", -EINVAL, 2, "a string is not valid UTF-8" },
		{ "[tru", -ENODATA, 4, "the text ends inside a word" },
		{ "[trup]", -EINVAL, 4, "an unknown word" },
		{ "[-", -ENODATA, 2, "the text ends inside a number" },
		{ "[-x", -EINVAL, 2, "a digit was expected" },
		{ "[] []", -EINVAL, 3, "something follows the value" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct json_error err;
		int r = check(rows[i].text, rows[i].text, strlen(rows[i].text), &err);

		cr_expect_eq(r, rows[i].r, "%s: %d", rows[i].text, r);
		cr_expect_eq(err.offset, rows[i].offset, "%s: %zu", rows[i].text, err.offset);
		cr_expect_str_eq(err.reason, rows[i].reason, "%s: %s", rows[i].text, err.reason);
	}
}

Test(json, value_ends)
{
	static const struct {
		const char *text;
		size_t at;
		int r;
		size_t end;
	} rows[] = {
		{ "12", 0, 0, 2 }, { "12 ", 0, 0, 2 }, { "x12,", 1, 0, 3 }, { "012", 0, 0, 1 }, { "-0.5e3]", 0, 0, 6 },
		{ "\"a\\\"b\" ", 0, 0, 6 }, { "[1, [2]] ,3", 0, 0, 8 }, { "[1, [2]] ,3", 4, 0, 7 }, { "{\"a\":{}}}", 0, 0, 8 },
		{ "nullnull", 0, 0, 4 }, { "NaN", 0, 0, 3 }, { "-Infinity,", 0, 0, 9 }, { "[]", 0, 0, 2 },
		{ " 1", 0, -EINVAL, 77 }, { "", 0, -ENODATA, 77 }, { "1", 1, -ENODATA, 77 }, { "[1", 0, -ENODATA, 77 }, { "]", 0, -EINVAL, 77 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		size_t end = 77;
		int r = json_value(rows[i].text, strlen(rows[i].text), rows[i].at, &end, NULL);

		cr_expect_eq(r, rows[i].r, "%s: %d", rows[i].text, r);
		cr_expect_eq(end, rows[i].end, "%s: %zu", rows[i].text, end);
	}
	cr_expect_eq(json_space(" \t\r\n x", 6, 0), 5);
	cr_expect_eq(json_space("x", 1, 0), 0);
	cr_expect_eq(json_space("  ", 2, 0), 2);
	cr_expect_eq(json_space("\f", 1, 0), 0);
}

/* `depth` levels of arrays and objects by `pattern` (a bit for each of 61 levels, again and again) around a number. */
static struct buf nest(size_t depth, uint64_t pattern)
{
	struct buf b = BUF_INIT;

	cr_assert_eq(buf_reserve(&b, depth * 6 + 1), 0);
	for (size_t i = 0; i < depth; i++)
		add_text(&b, pattern >> i % 61 & 1 ? "{\"\":" : "[");
	add_text(&b, "7");
	for (size_t i = depth; i-- > 0;)
		add_text(&b, pattern >> i % 61 & 1 ? "}" : "]");
	return b;
}

Test(json, nesting)
{
	static const size_t depths[] = { 100000, 10000000 };
	struct json_error err;

	for (size_t depth = 1; depth <= 700; depth++) {
		struct buf b = nest(depth, seed);
		size_t wrong = b.size - depth + pick(depth);

		pick(2);
		cr_assert_eq(json_check(b.data, b.size, NULL), 0, "%zu", depth);
		cr_assert_eq(json_check(b.data, b.size - 1, NULL), -ENODATA, "%zu", depth);
		b.data[wrong] = b.data[wrong] == '}' ? ']' : '}';
		cr_assert_eq(json_check(b.data, b.size, &err), -EINVAL, "%zu", depth);
		cr_assert_eq(err.offset, wrong, "%zu", depth);
		buf_release(&b);
	}
	for (size_t i = 0; i < sizeof(depths) / sizeof(*depths); i++) {
		struct buf b = nest(depths[i], UINT64_C(0x0b5ad4ceda1ce2a9));
		struct json_walk w;

		cr_assert_eq(json_check(b.data, b.size, NULL), 0);
		cr_assert_eq(json_check(b.data, b.size - 1, NULL), -ENODATA);
		cr_assert_eq(json_check(b.data, b.size - depths[i], NULL), -ENODATA);
		cr_assert(json_same(b.data, b.size, b.data, b.size));
		w = json_walk_begin(b.data, b.size, 0);
		cr_assert(json_walk_next(&w));
		cr_assert_eq(w.end, b.size - 1);
		cr_assert(!json_walk_next(&w));
		cr_assert_eq(w.end, b.size);
		b.data[b.size - 1] ^= ']' ^ '}';
		cr_assert_eq(json_check(b.data, b.size, NULL), -EINVAL);
		memset(b.data, '[', b.size);
		cr_assert_eq(json_check(b.data, b.size, NULL), -ENODATA);
		buf_release(&b);
	}
}

/* ---- Walking ------------------------------------------------------------------------------------------------- */

static void walk_text(const char *text, size_t size, size_t start, size_t end, struct buf *out)
{
	struct json_walk w;
	const char *comma = "";

	if (text[start] != '[' && text[start] != '{') {
		add(out, text + start, end - start);
		return;
	}
	add(out, text + start, 1);
	for (w = json_walk_begin(text, size, start); json_walk_next(&w); comma = ",") {
		size_t value_end;

		add_text(out, comma);
		cr_assert_eq(w.object, text[start] == '{');
		if (w.object) {
			add(out, text + w.key, w.key_end - w.key);
			add_text(out, ":");
		}
		cr_assert_eq(json_value(text, size, w.start, &value_end, NULL), 0);
		cr_assert_eq(w.end, value_end);
		walk_text(text, size, w.start, w.end, out);
	}
	cr_assert_eq(w.end, end);
	cr_assert(!json_walk_next(&w));
	cr_assert_eq(w.end, end);
	add(out, text + end - 1, 1);
}

static void walk_again(const char *name, const char *text, size_t size)
{
	size_t start = json_space(text, size, skip_mark(text, size)), end, n;
	struct buf walked = BUF_INIT;
	char *minified = malloc(size);

	cr_assert(minified);
	cr_assert_eq(json_value(text, size, start, &end, NULL), 0, "%s", name);
	walk_text(text, size, start, end, &walked);
	n = json_minify(text + start, size - start, minified);
	cr_assert_eq(walked.size, n, "%s", name);
	cr_assert_eq(memcmp(walked.data, minified, n), 0, "%s", name);
	free(minified);
	buf_release(&walked);
}

Test(json, walk)
{
	static const char text[] = "x{ \"a\" : [1,{\"]\":\"}\"}] ,\"b\\\"\":-1.5 }y";
	struct json_walk w = json_walk_begin(text, sizeof(text) - 1, 1);

	cr_assert(json_walk_next(&w));
	cr_assert(w.object);
	cr_assert_eq(strncmp(text + w.key, "\"a\"", w.key_end - w.key), 0);
	cr_assert_eq(w.key_end - w.key, 3);
	cr_assert_eq(strncmp(text + w.start, "[1,{\"]\":\"}\"}]", w.end - w.start), 0);
	cr_assert_eq(w.end - w.start, 13);
	cr_assert(json_walk_next(&w));
	cr_assert_eq(strncmp(text + w.key, "\"b\\\"\"", w.key_end - w.key), 0);
	cr_assert_eq(w.key_end - w.key, 5);
	cr_assert_eq(strncmp(text + w.start, "-1.5", w.end - w.start), 0);
	cr_assert_eq(w.end - w.start, 4);
	cr_assert(!json_walk_next(&w));
	cr_assert_eq(text[w.end], 'y');
	each_file("json", "y_", walk_again);
	each_file("documents", "", walk_again);
}

/* ---- Same and hash ------------------------------------------------------------------------------------------- */

/* Minified text with white space between all its tokens: `indent` of it, or when that is 0, at random. */
static struct buf restyle(const char *text, size_t size, size_t indent)
{
	struct buf b = BUF_INIT;
	size_t depth = 0;

	for (size_t i = 0, end; i < size; i = end) {
		bool open = text[i] == '[' || text[i] == '{', close = text[i] == ']' || text[i] == '}';

		end = i + 1;
		if (text[i] == '"')
			end = json_scan_close_scalar(text, size, end) + 1;
		else if (!strchr("[]{},:", text[i]))
			while (end < size && !strchr("[]{},:", text[end]))
				end++;
		depth += open;
		depth -= close;
		if (indent && close) {
			add_text(&b, "\n");
			for (size_t n = 0; n < depth * indent; n++)
				add_text(&b, " ");
		}
		add(&b, text + i, end - i);
		if (!indent) {
			for (uint64_t n = pick(4) ? pick(3) : pick(40); n > 0; n--)
				add(&b, &" \n\r\t"[pick(4)], 1);
		} else if (open || text[i] == ',') {
			add_text(&b, "\n");
			for (size_t n = 0; n < depth * indent; n++)
				add_text(&b, " ");
		} else if (text[i] == ':') {
			add_text(&b, " ");
		}
	}
	return b;
}

static void restyle_all(const char *name, const char *text, size_t size)
{
	size_t start = json_space(text, size, skip_mark(text, size)), n, end;
	char *minified = malloc(size);
	uint64_t hash, scanned;

	cr_assert(minified);
	text += start;
	size -= start;
	n = json_minify(text, size, minified);
	hash = json_hash(text, size);
	cr_assert_eq(scalar_json_hash(text, size), hash, "%s", name);
	cr_assert_eq(json_hash(minified, n), hash, "%s", name);
	cr_assert_eq(json_value_hash(text, size, 0, &end, &scanned, NULL), 0, "%s", name);
	cr_assert_eq(scanned, hash, "%s: scanned", name);
	cr_assert(json_same(text, size, minified, n), "%s", name);
	cr_assert(json_same(minified, n, text, size), "%s", name);
	for (size_t indent = 0; indent <= 8; indent++) {
		struct buf b = restyle(minified, n, indent);

		cr_assert_eq(json_check(b.data, b.size, NULL), 0, "%s", name);
		cr_assert_eq(json_hash(b.data, b.size), hash, "%s, indent %zu", name, indent);
		cr_assert_eq(scalar_json_hash(b.data, b.size), hash, "%s, indent %zu", name, indent);
		cr_assert(json_same(b.data, b.size, text, size), "%s, indent %zu", name, indent);
		cr_assert(json_same(text, size, b.data, b.size), "%s, indent %zu", name, indent);
		cr_assert(scalar_json_same(text, size, b.data, b.size), "%s, indent %zu", name, indent);
		buf_release(&b);
	}
	/* Another byte makes another value; quotes, backslashes and white space aside, before or after. */
	for (size_t i = 0; i < n; i++) {
		minified[i] ^= 1;
		if (!memchr("\"\\! \t\n\r\x0c\x0b\x08#]", minified[i], 12)) {
			cr_assert(!json_same(text, size, minified, n), "%s: %zu", name, i);
			cr_assert_neq(json_hash(minified, n), hash, "%s: %zu", name, i);
		}
		minified[i] ^= 1;
	}
	cr_assert(n < 2 || !json_same(text, size, minified, n - 1), "%s", name);
	free(minified);
}

Test(json, restyled)
{
	static const char *const different[][2] = {
		{ "[1,2]", "[12]" }, { "[\"a b\"]", "[\"ab\"]" }, { "[\"a\",\"b\"]", "[\"a,b\"]" }, { "{\"a\":1,\"b\":2}", "{\"b\":2,\"a\":1}" },
		{ "[1.0]", "[1]" }, { "[\"\\u0041\"]", "[\"A\"]" }, { "[]", "[[]]" }, { "[]", "{}" }, { "[1]", "[1,1]" }, { "\"\"", "\" \"" },
		{ "[-0]", "[0]" }, { "[\"\\/\"]", "[\"/\"]" }, { "[null]", "[\"null\"]" }, { "[\"a\\\\\",\"b\"]", "[\"a\\\\\",\"b \"]" },
	};

	each_file("json", "y_", restyle_all);
	each_file("documents", "", restyle_all);
	for (size_t i = 0; i < sizeof(different) / sizeof(*different); i++) {
		const char *a = different[i][0], *b = different[i][1];

		cr_expect(!json_same(a, strlen(a), b, strlen(b)), "%s %s", a, b);
		cr_expect(!json_same(b, strlen(b), a, strlen(a)), "%s %s", a, b);
		cr_expect_neq(json_hash(a, strlen(a)), json_hash(b, strlen(b)), "%s %s", a, b);
	}
}

/* cJSON's own two styles of each document that it reads. */
static void restyle_by_cjson(const char *name, const char *text, size_t size)
{
	cJSON *tree = cJSON_ParseWithLength(text, size);
	char *plain, *pretty;

	if (!tree)
		return;
	plain = cJSON_PrintUnformatted(tree);
	pretty = cJSON_Print(tree);
	cr_assert_eq(json_check(plain, strlen(plain), NULL), 0, "%s", name);
	cr_assert_eq(json_check(pretty, strlen(pretty), NULL), 0, "%s", name);
	cr_assert(json_same(plain, strlen(plain), pretty, strlen(pretty)), "%s", name);
	cr_assert_eq(json_hash(plain, strlen(plain)), json_hash(pretty, strlen(pretty)), "%s", name);
	free(plain);
	free(pretty);
	cJSON_Delete(tree);
}

Test(json, restyled_by_cjson)
{
	cr_assert_gt(each_file("documents", "", restyle_by_cjson), 20);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

Test(json, hash_spreads)
{
	enum { COUNT = 200000 };
	uint64_t *hashes = malloc(COUNT * sizeof(*hashes));
	size_t flipped = 0, flips = 0, bits[64] = { 0 };
	char text[600];

	cr_assert(hashes);
	for (size_t i = 0; i < COUNT; i++) {
		int n = i % 2 ? snprintf(text, sizeof(text), "{\"role\":\"user\",\"content\":\"%zu\"}", i)
			      : snprintf(text, sizeof(text), "[%zu,\"%*s\",%zu]", i % 7, (int)(i % 97), "x", i);

		hashes[i] = json_hash(text, (size_t)n);
	}
	qsort(hashes, COUNT, sizeof(*hashes), compare);
	for (size_t i = 1; i < COUNT; i++)
		cr_assert_neq(hashes[i - 1], hashes[i]);
	free(hashes);

	/* One bit of the text changes every bit of the hash half of the time. */
	for (size_t size = 1; size <= 300; size += 1 + size / 16) {
		memset(text, 'a', size + 2);
		text[0] = text[size + 1] = '"';
		for (size_t i = 1; i <= size; i++) {
			uint64_t before, change;

			text[i] = (char)('A' + pick(26));
			before = json_hash(text, size + 2);
			text[i] ^= 1 << pick(4);
			change = before ^ json_hash(text, size + 2);
			flipped += (size_t)__builtin_popcountll(change);
			flips++;
			for (int bit = 0; bit < 64; bit++)
				bits[bit] += change >> bit & 1;
		}
	}
	cr_expect(flipped > flips * 63 / 2 && flipped < flips * 65 / 2, "%zu of %zu", flipped, flips * 64);
	for (int bit = 0; bit < 64; bit++)
		cr_expect(bits[bit] > flips * 45 / 100 && bits[bit] < flips * 55 / 100, "bit %d: %zu of %zu", bit, bits[bit], flips);
}

/* ---- The scanners and their twins ---------------------------------------------------------------------------- */

Test(json, scanners_agree)
{
	static const char *const pieces[] = {
		"\"", "\\", "\\\\", "\\\"", "\\n", "\\t", "\\u00e9", "\\u12", "\\x", "a", "plain text ", "0123456789abcdef0123456789abcdef", "\xc3\xa9",
		"\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xc3", "\xe2\x82", "\xf0\x9f\x98", "\x80", "\xed\xa0\x80", "\xc0\xaf", "\xf4\x90\x80\x80", "\x1f", "\n",
		" ", "        ", "\r\n", "\t", "\x7f", "\xff", "\xe4\xbd\xa0\xe5\xa5\xbd\xef\xbc\x8c",
	};
	const size_t kinds = sizeof(pieces) / sizeof(*pieces);

	for (int round = 0; round < 100000; round++) {
		struct buf b = BUF_INIT;
		size_t size = pick(300), odd = pick(30), at;
		uint64_t spice = pick(kinds);
		char *text;

		/* Mostly plain text, one other kind of piece now and then, and seldom any. */
		while (b.size < size)
			add_text(&b, pieces[pick(40) < odd ? (pick(8) ? spice : pick(kinds)) : pick(2) ? 9 : 12]);
		text = malloc(size ? size : 1);
		cr_assert(text);
		if (size)
			memcpy(text, b.data, size);
		buf_release(&b);
		at = pick(size + 1);
		cr_assert_eq(json_scan_close(text, size, at), json_scan_close_scalar(text, size, at));
		cr_assert_eq(json_scan_space(text, size, at), json_scan_space_scalar(text, size, at));
		while (at > 0 && at < size && ((unsigned char)text[at] & 0xc0) == 0x80)
			at--;
		cr_assert_eq(json_scan_string(text, size, at), json_scan_string_scalar(text, size, at), "size %zu at %zu", size, at);
		free(text);
	}
}

Test(json, utf8_agrees)
{
	static const unsigned char third[] = { 0x22, 0x5c, 0x61, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc2, 0xff };
	static const size_t places[] = { 0, 29, 31, 61, 62, 63, 95, 97 };
	char text[100];

	for (size_t place = 0; place < sizeof(places) / sizeof(*places); place++) {
		for (unsigned pair = 0; pair < 65536; pair++) {
			for (size_t i = 0; i < sizeof(third); i++) {
				size_t size = sizeof(text), at = places[place];

				memset(text, 'a', size);
				text[at] = (char)(pair >> 8);
				text[at + 1] = (char)pair;
				text[at + 2] = (char)third[i];
				if (at + 3 < size)
					text[at + 3] = (char)third[(i + pair) % sizeof(third)];
				cr_assert_eq(json_scan_string(text, size, 0), json_scan_string_scalar(text, size, 0), "%04x %02x at %zu",
					     pair, third[i], at);
			}
		}
	}
}
