/*
 * What is durable but not yet in the tree: a file of records in the order in which they were made. Appending to it is one synchronous write,
 * past the page cache where that can be had, of bytes that have their place on the disk already; a commit of the tree is two syncs and rewrites pages.
 *
 * The file has two halves. Entries are numbered; what the tree says it has taken is not needed any more. While what one
 * half holds is taken to the tree, entries go on in the other. Whoever opens the store after a crash replays what follows the number that the
 * tree has taken; an entry that was cut short does not count. What one that is damaged makes of those behind it: journal_replay.c. Entries bear the mark of the tree that they follow, and
 * each commit gives the tree the next one: so the journal of another tree, say of the one before a backup was put in its place, is not taken for its
 * own. FORMAT.md has every byte.
 *
 * No lock inside: db.c sees to it that one thread of one process uses it.
 */
#ifndef STORE_JOURNAL_H
#define STORE_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "mem.h"

#define JOURNAL_HALF (1u << 20)	/* bytes */

struct journal;

/* Where the tree is in its journal. */
struct journal_place {
	uint64_t taken;	/* the number of the last entry that the tree has */
	uint64_t mark;	/* of the tree; entries that follow it have this one, or the next: they came while it was being written */
	uint64_t noted, noted_mark;	/* the last entry that is known to have been written, as db_file_noted tells */
};

/*
 * What a record belongs to, so that an entry which goes on from a missing one can be told. `changed`: the record changes it; `needed`: the record is of no use
 * when another change of it is missing. Returns how many there are, 0 to 2. Numbers below 2^63 are inodes.
 */
struct entry_record;
struct journal_object {
	uint64_t id;
	bool changed, needed;
};
typedef int journal_objects_fn(const struct entry_record *record, struct journal_object ret[2]);

/* One wrong bit is put right in entries up to this size; it takes a tenth of a second at most. */
#define MEND_BIT 8192u

/* What was not whole when it was replayed; see journal_replay.c for the words. */
#define JOURNAL_TOLD 256
#define JOURNAL_GAPS 16
struct journal_report {
	bool absent;		/* there is none, but entries are known to have been written */
	bool unplaced;		/* of a store that is salvaged: which entries count can't be read, so none does */
	bool cut;		/* the file is too short */
	bool torn;
	uint64_t mended;
	uint64_t missing;
	struct {
		uint64_t first, last;
	} gaps[JOURNAL_GAPS];		/* the numbers of those that are missing; of more gaps the last one here goes on to the last of them */
	size_t gap_count;
	bool unknown;		/* what some of them changed is not known */
	uint64_t left_out;
	uint64_t objects[JOURNAL_TOLD];	/* that these concern */
	size_t count;
	bool more;		/* objects than that */
	uint64_t highest;	/* inode in the entries */
};

static inline bool journal_is_whole(const struct journal_report *r)
{
	return !r->absent && !r->unplaced && !r->cut && !r->torn && !r->mended && !r->missing;
}

/* Makes the journal of the store in directory `dir` (db_dir.h) when there is none. As open(2) and write(2), -ENOSPC among them: then there is none. */
int journal_create(int dir);
/* -ENOENT: there is none. `objects` may be NULL: then all records belong together. */
int journal_open(int dir, bool read_only, journal_objects_fn *objects, struct journal **ret);
void journal_close(struct journal *j);	/* NULL is fine */

/*
 * Puts what the entries after `place` say into `to`, and sets the number of the last of them (`taken` when there is none). What was not whole is added to
 * the report. -ENOMEM, -EIO; -EUCLEAN: a whole entry has records that run over its end.
 */
int journal_replay(struct journal *j, const struct journal_place *place, struct mem *to, uint64_t *ret_last, struct journal_report *report);

/* Renames the file to `journal.damaged-TIME`, durably. For when nobody uses it any more. As rename(2). */
int journal_set_aside(int dir);

/* Begins anew: the tree has taken all up to this number. What follows is not replayed unless the tree has the mark. */
void journal_restart(struct journal *j, const struct journal_place *place);

/* The number of the last entry, whether it was written or failed. */
uint64_t journal_last(const struct journal *j);

/* Bytes used of the half that is written to. */
size_t journal_used(const struct journal *j);

/* An entry: begin, add nodes, append. Sizes are checked by journal_append. -ENOMEM. */
int journal_begin(struct buf *entry);
int journal_add(struct buf *entry, const struct mem_node *n);

/*
 * Writes the entry and waits until it is on disk. -E2BIG: it doesn't fit any more. Other errors: whether it is on disk is not known, and nothing
 * may be appended until journal_restart.
 */
int journal_append(struct journal *j, struct buf *entry);

uint64_t journal_marked(const struct journal *j);
/* Entries have this mark from now on. */
void journal_mark(struct journal *j, uint64_t mark);

/* From now on the other half is written to. All that it holds must have been taken. */
void journal_switch(struct journal *j);

#endif
