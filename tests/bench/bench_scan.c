/*
 * How fast json_check and json_hash go through chat messages, and doc_slice through a list of them, beside cJSON_Parse: they take
 * turns in one run on the same bytes, and the median round counts. Prints one JSON object.
 *
 *	bench_scan [ROUNDS]
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cjson/cJSON.h>

#include "store/buf.h"
#include "store/doc.h"
#include "store/json.h"

#define MESSAGES 4000
#define ROUNDS_MAX 1000

static const char *const words[] = {
	"the ", "answer ", "depends ", "on ", "what ", "you ", "measure, ", "so ", "first ", "write ", "a ", "benchmark. ", "function ",
	"returns ", "nothing; ", "see ", "https://example.org/docs/page?id=42 ", "below, ",
};
static const char *const special[] = {
	"\\n\\n", "\\n- item ", "```python\\ndef add(a, b):\\n    return a + b\\n```\\n", "he said \\\"no\\\" ", "C:\\\\temp\\\\x.txt ",
	"x\\ty ", "caf\xc3\xa9 ", "na\xc3\xafve ", "\xe2\x80\x94 ", "\xe2\x80\x9cquoted\xe2\x80\x9d ", "\xf0\x9f\x98\x80 ", "\\u00e9t\\u00e9 ",
};
static const char *const foreign[] = {
	"\xd0\xbf\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82, ", "\xd0\xbc\xd0\xb8\xd1\x80 ", "\xd0\xba\xd0\xb0\xd0\xba ", "\xd0\xb4\xd0\xb5\xd0\xbb\xd0\xb0? ",
	"\xe4\xbd\xa0\xe5\xa5\xbd\xef\xbc\x8c", "\xe4\xb8\x96\xe7\x95\x8c\xe3\x80\x82", "\xe6\xb6\x88\xe6\x81\xaf", "OK ", "\\n",
};

static uint64_t seed = 42;

static uint64_t pick(uint64_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % below;
}

static void add(struct buf *b, const char *text)
{
	if (buf_add(b, text, strlen(text)))
		abort();
}

/* One of five messages is in other scripts; in the rest one word of eight has an escape or a character beyond ASCII. */
static void make_message(struct buf *b, const char *gap, const char *colon)
{
	size_t end = b->size + 200 + pick(1800);
	bool other = pick(5) == 0;

	add(b, "{");
	add(b, gap);
	add(b, "\"role\"");
	add(b, colon);
	add(b, pick(2) ? "\"user\"," : "\"assistant\",");
	add(b, gap);
	add(b, "\"content\"");
	add(b, colon);
	add(b, "\"");
	while (b->size < end) {
		if (other)
			add(b, foreign[pick(sizeof(foreign) / sizeof(*foreign))]);
		else if (pick(8) == 0)
			add(b, special[pick(sizeof(special) / sizeof(*special))]);
		else
			add(b, words[pick(sizeof(words) / sizeof(*words))]);
	}
	add(b, "\",");
	add(b, gap);
	add(b, "\"timestamp\"");
	add(b, colon);
	add(b, "1732291200.125");
	add(b, gap);
	add(b, "}");
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *times, size_t n)
{
	qsort(times, n, sizeof(*times), compare);
	return times[n / 2];
}

enum { CHECK, HASH, HASH_INDENTED, CJSON, SLICE, CJSON_LIST, KINDS };

/* One pass over a whole list. */
static int take_list(int kind, const struct buf *list)
{
	struct doc d = { 0 };
	cJSON *tree;

	if (kind == SLICE) {
		bool whole = !doc_slice(list->data, list->size, &d, NULL) && d.count == MESSAGES;

		doc_release(&d);
		return whole ? 0 : -1;
	}
	tree = cJSON_ParseWithLength(list->data, list->size);
	if (!tree)
		return -1;
	cJSON_Delete(tree);
	return 0;
}

int main(int argc, char **argv)
{
	static double times[KINDS][ROUNDS_MAX];
	static size_t ends[2][MESSAGES];
	struct buf text[2] = { BUF_INIT, BUF_INIT }, list = BUF_INIT;
	size_t rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 31;
	uint64_t sum = 0;
	double speed[KINDS];

	if (rounds < 1 || rounds > ROUNDS_MAX)
		rounds = 31;
	for (int style = 0; style < 2; style++) {
		seed = 42;
		for (size_t i = 0; i < MESSAGES; i++) {
			make_message(&text[style], style ? "\n        " : " ", ": ");
			ends[style][i] = text[style].size;
		}
	}
	for (size_t i = 0, start = 0; i < MESSAGES; start = ends[0][i++]) {
		add(&list, i ? ",\n  " : "[\n  ");
		if (buf_add(&list, (const char *)text[0].data + start, ends[0][i] - start))
			abort();
	}
	add(&list, "\n]");
	for (size_t round = 0; round < rounds; round++) {
		for (int kind = 0; kind < KINDS; kind++) {
			int style = kind == HASH_INDENTED;
			const char *base = text[style].data;
			size_t start = 0;
			double t = now();

			if (kind >= SLICE && take_list(kind, &list))
				return 1;
			for (size_t i = 0; kind < SLICE && i < MESSAGES; start = ends[style][i++]) {
				const char *message = base + start;
				size_t size = ends[style][i] - start;

				if (kind == CHECK) {
					if (json_check(message, size, NULL))
						return 1;
				} else if (kind == CJSON) {
					cJSON *tree = cJSON_ParseWithLength(message, size);

					if (!tree)
						return 1;
					cJSON_Delete(tree);
				} else {
					sum += json_hash(message, size);
				}
			}
			times[kind][round] = now() - t;
		}
	}
	for (int kind = 0; kind < KINDS; kind++)
		speed[kind] = (double)(kind >= SLICE ? list.size : text[kind == HASH_INDENTED].size) / median(times[kind], rounds);
	printf("{\"scan_bytes_per_s\":%.0f,\"hash_bytes_per_s\":%.0f,\"hash_indented_bytes_per_s\":%.0f,\"cjson_bytes_per_s\":%.0f,"
	       "\"slice_bytes_per_s\":%.0f,\"cjson_list_bytes_per_s\":%.0f,\"cjson_ratio\":%.2f,\"hash_sum\":\"%016llx\"}\n",
	       speed[CHECK], speed[HASH], speed[HASH_INDENTED], speed[CJSON], speed[SLICE], speed[CJSON_LIST], speed[CHECK] / speed[CJSON],
	       (unsigned long long)sum);
	buf_release(&text[0]);
	buf_release(&text[1]);
	buf_release(&list);
	return 0;
}
