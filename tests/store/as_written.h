/*
 * The merge rules 1 to 9 as they are written down, of lists of distinct messages and with nothing that has been learnt since: what the product is
 * compared with. Knows messages by number. One document at a time.
 */
#ifndef TESTS_AS_WRITTEN_H
#define TESTS_AS_WRITTEN_H

#include <stdbool.h>
#include <stddef.h>

#define MESSAGES 400

struct list {
	unsigned id[MESSAGES];
	size_t count;
};

bool list_has(const struct list *l, unsigned id);

struct as_written_save;

/* A new document, with nothing in it. */
void as_written_begin(void);
void as_written_read(char process, unsigned thread);
struct as_written_save *as_written_open(char process, unsigned thread, bool events);
/* *there: what is there then. Frees the save. */
void as_written_close(struct as_written_save *save, const struct list *document, struct list *there);

#endif
