/*
 * A document and all its versions with nothing beneath: the pure merge (store/merge.h; store/value.h for what is no list) kept going from
 * save to save, so that one table of interleavings can be run over it and over the store.
 */
#ifndef TESTS_PAST_H
#define TESTS_PAST_H

#include "store.h"
#include "support.h"

struct past;

struct past *past_new(void);
void past_free(struct past *p);

/* As store_save of a document without `prefix`: sets error and results. */
int past_save(struct past *p, struct store_save *save);

/* The newest version, or that of the removal. -ENOENT: it is not there, or (version 0) never was. */
int past_lookup(const struct past *p, uint64_t *ret_ino, uint64_t *ret_version);
void past_unlink(struct past *p);

/* The bytes of the newest version. */
struct text past_text(const struct past *p);

#endif
