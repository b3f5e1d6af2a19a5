/*
 * What tells the elements of a list apart, when they are things that change, such as sessions: a member of theirs ("id", "session_id", "run_id",
 * "name"), or of pairs `[key, {...}]` the key. Pure.
 */
#ifndef STORE_IDENTITY_H
#define STORE_IDENTITY_H

#include "parts.h"

#define IDENTITY_NAMES 16	/* members that are tried; elements with more are matched by one of the first, or by value */

struct identity {
	struct value_text name;	/* of the member, without quotes; NULL: the key of pairs */
	bool strong;		/* it is made to tell: two that were added under one are one thing */
};

/* What may tell the elements of these lists apart, the likeliest first, as the first element has it. Borrowed. At most IDENTITY_NAMES. */
size_t identity_names(const struct parts *const side[3], struct identity *ret);

/* What the element goes by; a NULL text when it has none that tells: a string, or a number. */
struct value_text identity_of(const struct identity *id, struct value_text element);

/* `["key", {...}]`. */
bool identity_is_pair(struct value_text element);

/* An object that somebody said: who else says something with the same number says another thing. */
bool identity_is_message(struct value_text element);

/* An object, or a pair, that is no message and holds lists or objects: it changes, and what is in it tells versions of it apart. */
bool identity_is_thing(struct value_text element);

/* Whether two objects that are no messages share a member that may tell what they are: a cheap look, before they are merged as things. */
bool identity_shared(struct value_text a, struct value_text b);

#endif
