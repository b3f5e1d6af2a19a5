/*
 * Three-way merge of JSON values by byte: base (what a writer had seen), current (what is stored now), written (what it
 * wrote). merge-rules 10: objects by member, recursively; lists as sequences; scalars: the later close, that is, written.
 */
#ifndef STORE_VALUE_H
#define STORE_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"

struct value_text {
	const char *text;	/* a well-formed JSON document (json_check), or NULL when there was none */
	size_t size;
};

/*
 * Lengths of the message list that was cut out of the three documents and of the merged one. A number that is a member of the
 * document, or of objects in it, and equals its own side's length in both current and written, follows the merged list; one that is
 * the same in base too, or new, only when its name says that it counts ("count", "length", "total", "num_"), for "version": 1
 * may equal a length by chance. All SIZE_MAX: no list, no counters.
 */
struct value_counts {
	size_t current, written, merged;
};

/*
 * Appends the merged document to *out, which is made of pieces of the three texts (and counters).
 *
 * What only one side changed against base is that side's bytes; what neither changed is current's bytes. Members and
 * elements keep current's order and formatting: separators and indentation follow the container they are put into, a byte order
 * mark and white space around the document are current's. A member removed by one side and unchanged by the other is
 * removed; removed by one and changed by the other stays changed. Added members and elements come after the neighbour
 * they followed; where both sides added, current's come first (P6); what had nothing that both sides have after it, comes last.
 *
 * Elements of lists are matched with diff_match by json_hash: equal elements that both sides added are two (P1), and one that both
 * changed is two. Where all elements are objects and a member tells them apart, they are matched by that and merged as objects: "id", "uuid" and the
 * like; else, but not of messages (objects with "role" or "content", or "type" and "data"), "session_id", "key", what ends in "id" or "key", or any
 * string or number that each has, no two share, and both sides have of base. Elements that both sides added under one id are one only when they hold
 * lists or objects to merge, and are no messages, and it is not of the last kind. Pairs `["key", {...}]` are matched by their keys and merged by place.
 * The k-th of equal names in one object is matched with the k-th; where all names are numbers, what both sides added by counting on from base is two, and
 * written's get the next free numbers.
 *
 * Without a base (text NULL), or with one of another type, members of both are united, and lists as against an empty one.
 * Values of different types: written, when it differs from base, else current. Containers nested beyond 512 levels, and lists of
 * numbers alone that are the same on both sides, are treated as scalars; so is what costs too much to look into, which only
 * megabytes below dozens of levels do. A document that one side does not have (text NULL) was
 * removed by it. *ret_conflict (may be NULL) tells whether both sides changed one scalar, or type, to different values.
 *
 * When current equals base byte for byte the result is written, byte for byte; when written equals base it is current
 * (unless counters have to move). 0 or -ENOMEM (*out may then hold part of the result; release it). Any thread;
 * it takes up to half a megabyte of stack.
 */
int value_merge(struct value_text base, struct value_text current, struct value_text written,
		const struct value_counts *counts, struct buf *out, bool *ret_conflict);

#endif
