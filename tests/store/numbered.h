/*
 * A database whose states are numbered: what change n does to state n - 1 depends on n alone, so that whoever finds number n there knows all
 * that must be there with it.
 */
#ifndef TESTS_NUMBERED_H
#define TESTS_NUMBERED_H

#include <stdatomic.h>

#include "db.h"

/* Shared with children: the newest state that was begun, and the newest that was durable. */
struct board {
	atomic_ullong begun, durable;
	atomic_uint ready, calls;
	atomic_bool stop;
};

struct board *board_make(void);
void board_free(struct board *board);

/* 0, or the error of db_open or db_use_journal. */
int numbered_try(const char *dir, bool read_only, struct db **ret);
struct db *numbered_open(const char *dir, bool read_only);

/* One more change, as an update or as a durable transaction. `board` may be NULL. */
int numbered_update(struct db *db, struct board *board);
int numbered_durable(struct db *db, struct board *board);
/* db_sync or db_drain: then all that came before is durable. */
int numbered_sync(struct db *db, struct board *board, bool drain);

/* The number of the state that is there; asserts that it is there whole, and nothing else. */
uint64_t numbered_check(struct db *db, const char *what);

/* Children: the error becomes the exit code. */
int numbered_work(struct db *db, struct board *board, uint64_t changes);

#endif
