/*
 * The members of one JSON object, or the elements of one array, and which of them are the same in three states of it.
 * Private to value.c.
 */
#ifndef STORE_PARTS_H
#define STORE_PARTS_H

#include <stdbool.h>
#include <stddef.h>

#include "value.h"

#define PARTS_NONE SIZE_MAX

/* Offsets into the container's text. */
struct part {
	size_t begin;		/* of a member's name, quotes included; of an element itself */
	size_t name_end;	/* of a member's name */
	size_t start, end;	/* of the value */
};

struct parts {
	struct value_text text;	/* the container alone, from bracket to bracket; borrowed. NULL: there is none */
	bool object;
	struct part *part;
	size_t count, room;
};

/* Takes a container apart; a NULL text has no parts. On success *ret is to be released. 0 or -ENOMEM. */
int parts_read(struct value_text container, struct parts *ret);
void parts_release(struct parts *p);

struct value_text parts_name(const struct parts *p, size_t i);	/* of a member, as it is spelled */
struct value_text parts_value(const struct parts *p, size_t i);
struct value_text parts_whole(const struct parts *p, size_t i);	/* name and value */

/* What stands in front of part i: after the opening bracket (0), between two parts, before the closing bracket (count). */
struct value_text parts_before(const struct parts *p, size_t i);

/* Indices into the other state's parts, or PARTS_NONE. */
struct parts_relation {
	size_t *current_base, *written_base;
	size_t *current_written, *written_current;
	uint64_t *number;	/* of each of written: the number that it gets for a name, or 0 when it keeps its own */
};

/*
 * Finds the same parts of three objects or of three arrays. Members are the same by name, the k-th of a name with the k-th;
 * names that differ in escapes only are the same. Where all go by numbers that count, what both sides added under one is two, and written's get the next
 * free ones. Elements are the same by "id" or "session_id" where value.h says so, and
 * else by value (diff_match). 0 or -ENOMEM; on success *ret is to be released.
 */
int parts_relate(const struct parts *base, const struct parts *current, const struct parts *written,
		 struct parts_relation *ret);
void parts_relation_release(struct parts_relation *r);

#endif
