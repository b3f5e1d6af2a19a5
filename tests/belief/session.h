/*
 * A session and all its versions with nothing beneath, as numbers: the pure merge (store/merge.h) kept going from save to save, without
 * a byte of JSON. Each message has a number that tells it from all others, and the hash of its text.
 */
#ifndef TESTS_SESSION_H
#define TESTS_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store.h"

#define LIST_MAX 384
#define SESSION_INO 7

struct note {
	uint64_t hash, grown;	/* grown: hash of the text that this one goes on from, as a streamed answer does; 0: none */
	uint32_t id;
};

struct list_of_notes {
	size_t count;
	struct note at[LIST_MAX];
};

struct session;

struct session *session_new(void);
void session_free(struct session *s);
/* As new. */
void session_reset(struct session *s);

void list_copy(struct list_of_notes *to, const struct list_of_notes *from);

/* The newest version; 0: it was never saved. */
uint64_t session_version(const struct session *s);
/* The messages that are there. */
void session_list(const struct session *s, struct list_of_notes *ret);
/* Gives the messages that are there the numbers of these, which have the same texts. */
void session_number(struct session *s, const struct list_of_notes *as);

/* As store_save of this document: uses bases and flags, sets the results. Room for one version more must be there. */
void session_save(struct session *s, const struct list_of_notes *doc, struct store_save *save);
/* Whether there is room for `saves` more. */
bool session_room(const struct session *s, size_t saves);

#endif
