#include "doc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void doc_release(struct doc *d)
{
	free(d->items);
	*d = (struct doc){ 0 };
}

static int fail(struct json_error *err, int code, size_t offset, const char *reason)
{
	if (err)
		*err = (struct json_error){ offset, reason };
	return code;
}

static int add_item(struct doc *d, size_t lead, size_t start, size_t end, uint64_t hash)
{
	if (d->count == d->room) {
		size_t room = d->room ? d->room * 2 : 8;
		struct doc_item *items = realloc(d->items, room * sizeof(*items));

		if (!items)
			return -ENOMEM;
		d->items = items;
		d->room = room;
	}
	d->items[d->count++] = (struct doc_item){ lead, start, end, hash };
	return 0;
}

static size_t bom(const char *text, size_t size)
{
	return size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}

/*
 * Takes elements from `at`, which is after an element (`more` set: a comma or the end must follow) or after the opening bracket.
 * Sets *ret_close to the offset of the closing bracket.
 */
static int take_items(struct doc *d, const char *text, size_t size, size_t at, bool more, size_t *ret_close, struct json_error *err)
{
	size_t lead = at, end;
	uint64_t hash;
	int rc;

	for (;;) {
		at = json_space(text, size, at);
		if (at == size)
			return fail(err, -ENODATA, at, "the list is not closed");
		if (text[at] == ']' && (more || !d->count))
			break;
		if (more) {
			if (text[at] != ',')
				return fail(err, -EINVAL, at, "a comma or a closing bracket was expected");
			at = json_space(text, size, at + 1);
			if (at == size)
				return fail(err, -ENODATA, at, "the list is not closed");
		}
		rc = json_value_hash(text, size, at, &end, &hash, err);
		if (rc)
			return rc;
		rc = add_item(d, lead, at, end, hash);
		if (rc)
			return rc;
		lead = at = end;
		more = true;
	}
	*ret_close = at;
	return 0;
}

static int only_space(const char *text, size_t size, size_t at, struct json_error *err)
{
	at = json_space(text, size, at);
	return at == size ? 0 : fail(err, -EINVAL, at, "something follows the end of the document");
}

static bool all_objects(const char *text, size_t size, size_t at, bool *ret_any)
{
	struct json_walk w = json_walk_begin(text, size, at);

	*ret_any = false;
	while (json_walk_next(&w)) {
		if (text[w.start] != '{')
			return false;
		*ret_any = true;
	}
	return true;
}

/* The one member of an object that is an array of objects: with elements if there is such, else the one that is empty. */
static bool message_array(const char *text, size_t size, size_t at, size_t *ret)
{
	struct json_walk w = json_walk_begin(text, size, at);
	size_t filled = 0, empty = 0, filled_at = 0, empty_at = 0;

	while (json_walk_next(&w)) {
		bool any;

		if (text[w.start] != '[' || !all_objects(text, size, w.start, &any))
			continue;
		if (any) {
			filled++;
			filled_at = w.start;
		} else {
			empty++;
			empty_at = w.start;
		}
	}
	if (filled ? filled != 1 : empty != 1)
		return false;
	*ret = filled ? filled_at : empty_at;
	return true;
}

/* Cuts the array that begins at `at` in a text known to be well formed. */
static int cut(struct doc *d, const char *text, size_t size, size_t at, struct json_error *err)
{
	size_t close;
	int rc = take_items(d, text, size, at + 1, false, &close, err);

	if (rc)
		return rc;
	d->head_end = d->count ? d->items[0].start : at + 1;
	d->tail_start = d->count ? d->items[d->count - 1].end : at + 1;
	return 0;
}

int doc_slice(const char *text, size_t size, struct doc *ret, struct json_error *err)
{
	struct doc d = { 0 };
	size_t at = json_space(text, size, bom(text, size)), close;
	int rc;

	if (at < size && text[at] == '[') {
		d.kind = DOC_LIST;
		rc = take_items(&d, text, size, at + 1, false, &close, err);
		if (!rc)
			rc = only_space(text, size, close + 1, err);
		if (!rc) {
			d.head_end = d.count ? d.items[0].start : at + 1;
			d.tail_start = d.count ? d.items[d.count - 1].end : at + 1;
		}
	} else {
		rc = json_check(text, size, err);
		if (!rc && text[at] == '{' && message_array(text, size, at, &at)) {
			d.kind = DOC_ENVELOPE;
			rc = cut(&d, text, size, at, err);
		} else if (!rc) {
			d.kind = DOC_FREE;
			d.head_end = d.tail_start = size;
		}
	}
	if (rc) {
		doc_release(&d);
		return rc;
	}
	*ret = d;
	return 0;
}

/* Whether head and tail make a document when the items are left out. */
static int check_frame(const char *head, size_t head_size, const char *tail, size_t tail_size, size_t tail_at, struct json_error *err)
{
	struct buf whole = BUF_INIT;
	struct json_error e = { 0 };
	int rc;

	rc = buf_add(&whole, head, head_size);
	if (!rc)
		rc = buf_add(&whole, tail, tail_size);
	if (!rc)
		rc = json_check(whole.data, whole.size, &e);
	if (rc && rc != -ENOMEM)
		fail(err, rc, tail_at + (e.offset > head_size ? e.offset - head_size : 0), e.reason);
	buf_release(&whole);
	return rc;
}

int doc_slice_rest(const char *text, size_t size, enum doc_kind kind, const char *head, size_t head_size,
		   struct doc *ret, struct json_error *err)
{
	struct doc d = { .kind = kind };
	size_t close;
	int rc;

	rc = take_items(&d, text, size, 0, true, &close, err);
	if (!rc && kind == DOC_LIST)
		rc = only_space(text, size, close + 1, err);
	if (!rc) {
		d.tail_start = d.count ? d.items[d.count - 1].end : 0;
		if (kind == DOC_ENVELOPE)
			rc = check_frame(head, head_size, text + d.tail_start, size - d.tail_start, d.tail_start, err);
	}
	if (rc) {
		doc_release(&d);
		return rc;
	}
	*ret = d;
	return 0;
}

/* Takes lines; with `more` set the text begins at the end of one. */
static int take_lines(struct doc *d, const char *text, size_t size, bool more)
{
	size_t at = 0;
	int rc;

	/* At the end of a line: a newline that nothing follows is the tail. */
	while (more ? at + 1 < size : size > 0) {
		size_t start = more ? at + 1 : 0, stop;
		const char *end = memchr(text + start, '\n', size - start);

		stop = end ? (size_t)(end - text) : size;
		rc = add_item(d, at, start, stop, json_hash(text + start, stop - start));
		if (rc)
			return rc;
		at = d->items[d->count - 1].end;
		more = true;
	}
	d->tail_start = at;
	return 0;
}

int doc_slice_lines(const char *text, size_t size, struct doc *ret)
{
	struct doc d = { .kind = size ? DOC_LINES : DOC_EMPTY };
	int rc = take_lines(&d, text, size, false);

	if (rc) {
		doc_release(&d);
		return rc;
	}
	*ret = d;
	return 0;
}

int doc_slice_lines_rest(const char *text, size_t size, struct doc *ret)
{
	struct doc d = { .kind = DOC_LINES };
	int rc = take_lines(&d, text, size, true);

	if (rc) {
		doc_release(&d);
		return rc;
	}
	*ret = d;
	return 0;
}

int doc_guess_separator(const char *head, size_t head_size, const char *item, size_t item_size, struct buf *ret)
{
	size_t space = head_size;
	int rc = buf_add(ret, ",", 1);

	while (space && strchr(" \t\r\n", head[space - 1]) && head[space - 1])
		space--;
	if (!rc && space < head_size)
		return buf_add(ret, head + space, head_size - space);
	/* On one line: as between the members of the item. */
	if (!rc && item_size && item[0] == '{') {
		struct json_walk w = json_walk_begin(item, item_size, 0);

		if (json_walk_next(&w)) {
			size_t end = w.end, at = json_space(item, item_size, end);

			if (at < item_size && item[at] == ',' && json_walk_next(&w)) {
				if (w.key > at + 1 && !memchr(item + at, '\n', w.key - at))
					return buf_add(ret, item + at + 1, w.key - at - 1);
				return 0;
			}
		}
		return buf_add(ret, " ", 1);
	}
	return rc;
}
