/*
 * LMDB's file, read without trust: every page is checked before anything in it is followed, so no damage is more than an error. LMDB itself takes a bad page for a
 * good one, or ends the process. Layout: LMDB 0.9, mdb.c, MDB_page, MDB_node, MDB_meta; this file, pages.c and pages_walk.c alone know of it.
 *
 * The file is mapped; a page that the disk can't give back reads as zeros (SIGBUS is caught for these maps), which is a bad page.
 *
 * A page is checked when it is first read: its number, its kind, that its nodes fill it and ascend, and the check of each value (check.h). What is good is
 * noted by page number, until the page becomes free; LMDB writes to no other. That a key is missing counts only when the neighbours agree.
 *
 * Threads: any number may read. A snapshot is good while its caller keeps LMDB from using its pages again.
 */
#ifndef STORE_PAGES_H
#define STORE_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "disk.h"

struct pages;
struct page;

struct snapshot {
	struct pages *pages;
	uint64_t id, root, free_root, last;
	unsigned depth, free_depth;
	bool numbers;			/* keys are numbers, and values have no checks: LMDB's list of free pages */
	const struct page **leaves;	/* salvaged: all that was found, in order; no tree is followed */
	size_t leaf_count;
	struct lost *lost;		/* salvaged: what the tree does not lead to; what is missing there may have been */
	size_t lost_count;
	uint64_t tree_pages, entries;	/* branch, leaf and overflow pages of both trees; records */
};

/* `fd` stays the caller's, and open. -EUCLEAN: no LMDB 0.9 file of this machine's kind. */
int pages_open(int fd, uint64_t map_size, struct pages **ret);
void pages_close(struct pages *p);	/* NULL is fine */
/* From now on every value must have a check. */
void pages_strict(struct pages *p);

/*
 * The state that commit `id` left. -EUCLEAN. -EAGAIN: there is a newer one already; then *ret is set, and good if LMDB gave out `id` as the newest even after this call: the one after the
 * newer, which is written over it, had not begun.
 */
int pages_snapshot(struct pages *p, uint64_t id, struct snapshot *ret);
/* Whether both metas can be told from each other, and the newer one is the last that was written: LMDB takes the other for it when it can't. -EUCLEAN. */
int pages_check_metas(struct pages *p);
/* The newest state that is readable, when LMDB does not open the file. -EUCLEAN: there is none. */
int pages_newest(struct pages *p, struct snapshot *ret);

/* -ENOENT; -EUCLEAN. Values are without their check, and borrowed while the snapshot is good. */
int pages_get(const struct snapshot *s, const void *key, size_t key_size, struct db_value *ret);

#define PAGES_DEPTH 32
struct pages_cursor {
	const struct snapshot *snapshot;
	unsigned depth;
	struct {
		const struct page *page;
		unsigned at;
		bool clean;
	} way[PAGES_DEPTH];
	struct db_value last;	/* the key before */
	bool fresh;		/* it stands where the next one is */
};
/* Then pages_next gives the first key that is not below `key`, and so on. */
int pages_seek(struct pages_cursor *c, const struct snapshot *s, const void *key, size_t key_size);
/*
 * -ENOENT at the end. -EUCLEAN: something here can't be read; the next call goes on behind it. Then *ret_key is that record's key; or, when a page can't be read, its size is 0
 * and *ret_value a key that is not above any on it, or of size 0.
 */
int pages_next(struct pages_cursor *c, struct db_value *ret_key, struct db_value *ret_value);

/* Checks what LMDB reads when it changes this key: the way there, what is beside it, the pages that its value has. -EUCLEAN. */
int pages_check_way(const struct snapshot *s, const void *key, size_t key_size, bool removed);

/* ---- The whole file (pages_walk.c) ---- */

typedef void pages_problem(void *arg, const char *text);

/*
 * Checks LMDB's list of free pages: what is in it LMDB gives away. And that the file has all pages that are in use: one that was taken and given back within one commit is
 * never written, so it may end before its last page, but then those missing are in that list. -EUCLEAN, -ENOMEM.
 */
int pages_check_free(const struct snapshot *s);

/* Tells of each page that is not what it must be, and of those that have two uses or none. Reads all branch and leaf pages. 0, -ENOMEM. */
int pages_survey(const struct snapshot *s, pages_problem *problem, void *arg);

/*
 * Finds all leaves that are whole or have something whole in them, whether the tree leads there or not, and makes the snapshot one of these. Pages that are free are not
 * looked at. To be freed by pages_forget. -ENOMEM.
 */
int pages_salvage(struct snapshot *s);
void pages_forget(struct snapshot *s);

#endif
