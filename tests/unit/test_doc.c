/* Slicing documents. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "doc.h"
#include "support.h"

#define DOCUMENTS TEST_DATA "/documents"

/* The pieces that doc.h names, one after the other, are the document. */
static void check_pieces(const char *name, const struct text *t, const struct doc *d)
{
	size_t at = d->head_end;

	for (size_t i = 0; i < d->count; i++) {
		const struct doc_item *item = &d->items[i];

		cr_assert(i == 0 ? item->start == d->head_end : item->lead == at, "%s: item %zu does not follow the one before", name, i);
		cr_assert(item->lead <= item->start && item->start < item->end && item->end <= t->size, "%s: item %zu", name, i);
		cr_assert_eq(json_check(t->data + item->start, item->end - item->start, NULL), 0, "%s: item %zu is no value", name, i);
		cr_assert_eq(json_space(t->data, t->size, item->start), item->start, "%s: item %zu begins with space", name, i);
		cr_assert_eq(item->hash, json_hash(t->data + item->start, item->end - item->start), "%s: item %zu", name, i);
		at = item->end;
	}
	cr_assert_eq(at, d->tail_start, "%s: the tail does not follow the last item", name);
	cr_assert_leq(at, t->size);
}

static void check_same_items(const char *name, size_t cut, const struct doc *whole, size_t kept, const struct doc *rest, size_t from)
{
	cr_assert_eq(kept + rest->count, whole->count, "%s cut at %zu: %zu items after %zu", name, cut, rest->count, kept);
	for (size_t i = 0; i < rest->count; i++) {
		const struct doc_item *a = &whole->items[kept + i], *b = &rest->items[i];

		cr_assert(a->lead == b->lead + from && a->start == b->start + from && a->end == b->end + from && a->hash == b->hash,
			  "%s cut at %zu: item %zu", name, cut, kept + i);
	}
	cr_assert_eq(whole->tail_start, rest->tail_start + from, "%s cut at %zu: tail", name, cut);
}

Test(doc, documents_are_their_pieces)
{
	char **names = names_in(DOCUMENTS);
	size_t lists = 0, envelopes = 0, other = 0;

	for (char **n = names; *n; n++) {
		struct text t = text_file(DOCUMENTS, *n);
		struct doc d;

		cr_assert_eq(doc_slice(t.data, t.size, &d, NULL), 0, "%s", *n);
		check_pieces(*n, &t, &d);
		lists += d.kind == DOC_LIST;
		envelopes += d.kind == DOC_ENVELOPE;
		other += d.kind == DOC_FREE;
		doc_release(&d);
		text_free(t);
	}
	names_free(names);
	cr_assert(lists > 10 && envelopes > 3 && other > 3, "%zu lists, %zu envelopes, %zu others", lists, envelopes, other);
}

Test(doc, rest_after_every_item)
{
	char **names = names_in(DOCUMENTS);

	for (char **n = names; *n; n++) {
		struct text t = text_file(DOCUMENTS, *n);
		struct doc d, rest;

		cr_assert_eq(doc_slice(t.data, t.size, &d, NULL), 0, "%s", *n);
		for (size_t i = 0; i < d.count; i++) {
			size_t from = d.items[i].end;

			cr_assert_eq(doc_slice_rest(t.data + from, t.size - from, d.kind, t.data, d.head_end, &rest, NULL), 0,
				     "%s after item %zu", *n, i);
			check_same_items(*n, from, &d, i + 1, &rest, from);
			doc_release(&rest);
		}
		doc_release(&d);
		text_free(t);
	}
	names_free(names);
}

/* Every beginning of a document is refused as incomplete (P5), whole or as a rest. */
Test(doc, torn_documents)
{
	char **names = names_in(DOCUMENTS);

	for (char **n = names; *n; n++) {
		struct text t = text_file(DOCUMENTS, *n);
		size_t end = t.size;
		struct doc d, torn;

		cr_assert_eq(doc_slice(t.data, t.size, &d, NULL), 0, "%s", *n);
		while (end && strchr(" \t\r\n", t.data[end - 1]))
			end--;
		/* A number is complete wherever it ends. */
		if (t.data[end - 1] != ']' && t.data[end - 1] != '}')
			end = 0;
		for (size_t size = 0; size < end; size += size < 3000 ? 1 : 97) {
			int err = doc_slice(t.data, size, &torn, NULL);

			cr_assert_eq(err, -ENODATA, "%s torn at %zu: %d", *n, size, err);
		}
		for (size_t i = 0; i < d.count; i += 1 + d.count / 8) {
			size_t from = d.items[i].end;

			for (size_t size = from; size < end; size += size < from + 300 ? 1 : 97) {
				int err = doc_slice_rest(t.data + from, size - from, d.kind, t.data, d.head_end, &torn, NULL);

				cr_assert_eq(err, -ENODATA, "%s torn at %zu after item %zu: %d", *n, size, i, err);
			}
		}
		doc_release(&d);
		text_free(t);
	}
	names_free(names);
}

static const struct {
	const char *text;
	enum doc_kind kind;
	size_t count, head_end, tail_start;
} slices[] = {
	{ "[]", DOC_LIST, 0, 1, 1 },
	{ " [ ] \n", DOC_LIST, 0, 2, 2 },
	{ "[1]", DOC_LIST, 1, 1, 2 },
	{ "[ 1 , 2 ]", DOC_LIST, 2, 2, 7 },
	{ "\xef\xbb\xbf[1]", DOC_LIST, 1, 4, 5 },
	{ "[[],{},\"]\"]", DOC_LIST, 3, 1, 10 },
	{ "{}", DOC_FREE, 0, 2, 2 },
	{ "{\"m\":[]}", DOC_ENVELOPE, 0, 6, 6 },
	{ "{\"m\":[{}]}", DOC_ENVELOPE, 1, 6, 8 },
	{ "{\"m\":[{}],\"n\":[]}", DOC_ENVELOPE, 1, 6, 8 },
	{ "{\"n\":[],\"m\":[{},{}]}", DOC_ENVELOPE, 2, 13, 18 },
	{ "{\"m\":[{}],\"n\":[{}]}", DOC_FREE, 0, 19, 19 },
	{ "{\"m\":[],\"n\":[]}", DOC_FREE, 0, 15, 15 },
	{ "{\"m\":[1]}", DOC_FREE, 0, 9, 9 },
	{ "{\"m\":{\"n\":[{}]}}", DOC_FREE, 0, 16, 16 },
	{ "1", DOC_FREE, 0, 1, 1 },
	{ "\"x\"\n", DOC_FREE, 0, 4, 4 },
};

Test(doc, kinds)
{
	for (size_t i = 0; i < sizeof(slices) / sizeof(slices[0]); i++) {
		struct doc d;

		cr_assert_eq(doc_slice(slices[i].text, strlen(slices[i].text), &d, NULL), 0, "%s", slices[i].text);
		cr_assert(d.kind == slices[i].kind && d.count == slices[i].count && d.head_end == slices[i].head_end &&
			  d.tail_start == slices[i].tail_start,
			  "%s: kind %d, %zu items, head to %zu, tail from %zu", slices[i].text, d.kind, d.count, d.head_end, d.tail_start);
		doc_release(&d);
	}
}

static const struct {
	const char *text;
	int err;
	size_t offset;
} refused[] = {
	{ "", -ENODATA, 0 }, { " \n", -ENODATA, 2 }, { "[", -ENODATA, 1 }, { "[1", -ENODATA, 2 }, { "[1,", -ENODATA, 3 },
	{ "[1,]", -EINVAL, 3 }, { "[,1]", -EINVAL, 1 }, { "[1 2]", -EINVAL, 3 }, { "[1]]", -EINVAL, 3 }, { "[1] x", -EINVAL, 4 },
	{ "[1}", -EINVAL, 2 }, { "{\"m\":[{}]", -ENODATA, 9 }, { "{\"m\":[{}]} []", -EINVAL, 11 }, { "hello", -EINVAL, 0 },
};

Test(doc, errors)
{
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		struct json_error e = { 0 };
		struct doc d;
		int err = doc_slice(refused[i].text, strlen(refused[i].text), &d, &e);

		cr_assert(err == refused[i].err && e.offset == refused[i].offset && e.reason, "\"%s\": %d at %zu", refused[i].text, err,
			  e.offset);
	}
}

/* What follows the last shared item of [{"a":1},{"a":2}] or of {"m":[{"a":1}]. */
static const struct {
	const char *rest;
	enum doc_kind kind;
	int err;
	size_t count;
} rests[] = {
	{ "]", DOC_LIST, 0, 0 },
	{ ",3]", DOC_LIST, 0, 1 },
	{ " , 3 , 4 ]\n", DOC_LIST, 0, 2 },
	{ ",]", DOC_LIST, -EINVAL, 0 },
	{ "3]", DOC_LIST, -EINVAL, 0 },
	{ ",3]]", DOC_LIST, -EINVAL, 0 },
	{ "", DOC_LIST, -ENODATA, 0 },
	{ ",", DOC_LIST, -ENODATA, 0 },
	{ "]}", DOC_ENVELOPE, 0, 0 },
	{ ",{}],\"n\":1}", DOC_ENVELOPE, 0, 1 },
	{ "]", DOC_ENVELOPE, -ENODATA, 0 },
	{ "],}", DOC_ENVELOPE, -EINVAL, 0 },
	{ "]}}", DOC_ENVELOPE, -EINVAL, 0 },
};

Test(doc, rests)
{
	for (size_t i = 0; i < sizeof(rests) / sizeof(rests[0]); i++) {
		const char *head = rests[i].kind == DOC_LIST ? "[" : "{\"m\":[";
		struct doc d;
		int err = doc_slice_rest(rests[i].rest, strlen(rests[i].rest), rests[i].kind, head, strlen(head), &d, NULL);

		cr_assert_eq(err, rests[i].err, "%s: %d", rests[i].rest, err);
		if (err)
			continue;
		cr_assert_eq(d.count, rests[i].count, "%s: %zu", rests[i].rest, d.count);
		doc_release(&d);
	}
}

static const struct {
	const char *head, *item, *separator;
} separators[] = {
	{ "[", "{\"a\": 1, \"b\": 2}", ", " },
	{ "[", "{\"a\":1,\"b\":2}", "," },
	{ "[", "{}", ", " },
	{ "[", "{\"a\":1}", ", " },
	{ "[\n  ", "{\"a\": 1}", ",\n  " },
	{ "[\r\n\t", "{}", ",\r\n\t" },
	{ "[", "{\"a\": 1,\n \"b\": 2}", "," },
	{ "[", "", "," },
	{ "{\"m\": [\n    ", "{}", ",\n    " },
};

Test(doc, guessed_separators)
{
	for (size_t i = 0; i < sizeof(separators) / sizeof(separators[0]); i++) {
		struct buf b = BUF_INIT;

		cr_assert_eq(doc_guess_separator(separators[i].head, strlen(separators[i].head), separators[i].item,
						 strlen(separators[i].item), &b), 0);
		cr_assert(b.size == strlen(separators[i].separator) && !memcmp(b.data, separators[i].separator, b.size), "%s%s: \"%.*s\"",
			  separators[i].head, separators[i].item, (int)b.size, b.data);
		buf_release(&b);
	}
}

static const struct {
	const char *text;
	size_t count, tail;
} lines[] = {
	{ "", 0, 0 }, { "a", 1, 0 }, { "a\n", 1, 1 }, { "\n", 1, 1 }, { "\n\n", 2, 1 }, { "a\nb", 2, 0 }, { "a\n\nb\n", 3, 1 }, { "\na", 2, 0 },
	{ "a\r\nb\r\n", 2, 1 }, { "[1,\n2]\n", 2, 1 }, { "\xff\n\t ", 2, 0 },
};

Test(doc, lines)
{
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct doc d;

		cr_assert_eq(doc_slice_lines(lines[i].text, strlen(lines[i].text), &d), 0);
		cr_assert_eq(d.kind, *lines[i].text ? DOC_LINES : DOC_EMPTY, "row %zu", i);
		cr_assert_eq(d.count, lines[i].count, "row %zu: %zu lines", i, d.count);
		cr_assert_eq(strlen(lines[i].text) - d.tail_start, lines[i].tail, "row %zu: tail at %zu", i, d.tail_start);
		doc_release(&d);
	}
}

static void check_lines(const char *text, size_t size)
{
	struct doc d, rest;
	size_t at = 0;

	cr_assert_eq(doc_slice_lines(text, size, &d), 0);
	for (size_t i = 0; i < d.count; i++) {
		const struct doc_item *item = &d.items[i];

		cr_assert(item->lead == at && item->start == at + (i > 0) && item->end >= item->start && item->end <= size, "line %zu of \"%.*s\"", i, (int)size, text);
		cr_assert(i == 0 || text[item->lead] == '\n', "line %zu of \"%.*s\"", i, (int)size, text);
		cr_assert(item->end == item->start || !memchr(text + item->start, '\n', item->end - item->start), "line %zu of \"%.*s\"", i, (int)size, text);
		at = item->end;
		cr_assert_eq(doc_slice_lines_rest(text + at, size - at, &rest), 0);
		check_same_items(text, at, &d, i + 1, &rest, at);
		doc_release(&rest);
	}
	cr_assert(at == d.tail_start && (at == size || (at + 1 == size && text[at] == '\n')), "the tail of \"%.*s\"", (int)size, text);
	doc_release(&d);
}

/* Every text of up to eight letters. */
Test(doc, lines_are_their_pieces)
{
	static const char letters[] = "a\n \"";
	char text[9] = "";

	for (unsigned size = 0; size <= 8; size++) {
		for (unsigned n = 0; n < 1u << 2 * size; n++) {
			for (unsigned i = 0; i < size; i++)
				text[i] = letters[n >> 2 * i & 3];
			check_lines(text, size);
		}
	}
}
