/*
 * Slicing a document into messages and what stands around them. Pure.
 *
 *	[\n  {"role": ...},\n  {"role": ...}\n]\n
 *	head  item 0     lead 1  item 1     tail
 *
 * head + item 0 + (lead + item) ... + tail is the document, byte for byte. The head ends where item 0 begins, the tail begins
 * where the last item ends; without items the head ends just after the opening bracket.
 *
 * Lines are a list without brackets: no head, a newline as the separator, and as the tail one when the last line has one.
 */
#ifndef STORE_DOC_H
#define STORE_DOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "json.h"

enum doc_kind {
	DOC_EMPTY = 0,		/* zero bytes */
	DOC_LIST,		/* a JSON array: its elements are the messages */
	DOC_ENVELOPE,		/* an object with one array of objects: their elements are the messages */
	DOC_FREE,		/* any other JSON: all of it is the head */
	DOC_LINES,		/* any bytes, at least one: the lines, without their newlines, are the messages */
};

struct doc_item {
	size_t lead;		/* where the separator in front of it begins: the end of the item before */
	size_t start, end;
	uint64_t hash;		/* json_hash */
};

struct doc {
	enum doc_kind kind;
	struct doc_item *items;
	size_t count, room;
	size_t head_end, tail_start;
};

void doc_release(struct doc *d);

/*
 * Slices a whole document. On success *ret is to be released. -EINVAL, -ENODATA (a proper prefix of a document), -ENOMEM;
 * *err (may be NULL) then tells where and why.
 */
int doc_slice(const char *text, size_t size, struct doc *ret, struct json_error *err);

/*
 * The same for what follows an item of a list or an envelope, up to the end of the document. `head` is what stood before
 * item 0; it is needed to check an envelope. The result has no head, and leads count from the beginning of `text`.
 */
int doc_slice_rest(const char *text, size_t size, enum doc_kind kind, const char *head, size_t head_size,
		   struct doc *ret, struct json_error *err);

/* Slices any bytes into lines; none are DOC_EMPTY. 0 or -ENOMEM. */
int doc_slice_lines(const char *text, size_t size, struct doc *ret);

/* The same for what follows a line: nothing, or bytes that begin with a newline. */
int doc_slice_lines_rest(const char *text, size_t size, struct doc *ret);

/* The separator that a document with this head and this (only) item would put between two. Static or within `head`-sized buf. 0 or -ENOMEM. */
int doc_guess_separator(const char *head, size_t head_size, const char *item, size_t item_size, struct buf *ret);

#endif
