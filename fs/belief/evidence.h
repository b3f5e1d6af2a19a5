/*
 * How a process saves: what it has shown so far, and what that says of a save whose base its document leaves open (merge rule 15).
 *
 * A trace such as `read, read, write, read, write` has two meanings: the last write replaces what was written before it, or
 * another task of the process goes on from the older read. The order of the calls does not tell. What tells is how the process
 * has done it so far: how long before a save it reads, how many reads it makes for one, whether on the same thread; and how often
 * somebody reads for other purposes, for then a read just before the save may be such a one.
 *
 * Pure: time and identities are arguments, nothing is locked. The tickets' lock guards what is kept here.
 */
#ifndef FS_BELIEF_EVIDENCE_H
#define FS_BELIEF_EVIDENCE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define READS_KEPT 16
#define SAVES_KEPT 16
#define TURNS_KEPT 8

/* The last reads of a name by a process: those of versions, and look-ups that found none. */
struct reads {
	struct glimpse {
		uint64_t at;		/* nanoseconds */
		uint64_t ino, version;
		pid_t thread;
	} last[READS_KEPT];
	uint32_t next;			/* of all reads so far; the place of the next in `last` is its rest */
	uint32_t since;			/* reads since the process's last save */
	uint64_t total, saves, grown;	/* reads; saves, and those of them that went on from what the process wrote itself */
	uint64_t open;			/* reads before the first save that no save used */
	struct turn {
		uint64_t saved;		/* when a save was done */
		uint32_t reads;		/* since the save before */
		bool grown;		/* it went on from what the process had written itself */
	} turns[TURNS_KEPT];
	uint32_t next_turn;
};

/* What stood when a file was opened to be saved: the newest read before that, and what was around it. */
struct moment {
	bool known;			/* there is such a read */
	struct glimpse newest;
	uint64_t gap;			/* from that read to the open */
	uint64_t span;			/* from the save before to the open; 0: there was none */
	uint64_t quiet;			/* from the save before to the read */
	uint32_t reads;			/* in this time */
	bool own_thread;		/* it was the saving thread that read */
};

/* The last saves whose base was certain, and was what had been read last. */
struct habit {
	struct habit_save {
		uint64_t gap, span;
		uint32_t reads;
		bool own_thread;
	} saves[SAVES_KEPT];
	uint32_t count;			/* since a save that did not fit */
	bool doubted;			/* there was one, and too few since */
};

void reads_note(struct reads *r, uint64_t now, pid_t thread, uint64_t ino, uint64_t version);
void reads_saved(struct reads *r, uint64_t now, bool grown);

/* For a file that `thread` opened at `opened`: later reads don't count. `r` may be NULL. */
struct moment reads_moment(const struct reads *r, uint64_t opened, pid_t thread);

#define SAVES_MIN 3u	/* so few saves say nothing: two may be alike by chance */

/* A save at this moment went on from what had been read last, for certain. */
void habit_confirm(struct habit *h, const struct moment *m);
/* A save may have gone on from something else: what was learnt does not hold any more. */
void habit_doubt(struct habit *h);

/* What is out of the question for a save at some moment. */
struct verdict {
	uint64_t before;		/* what was read before this */
	uint32_t reads;			/* what was read for a save that had no more reads than these; 0: nothing is */
};

/*
 * Whether the odds are overwhelming that a save at this moment goes on from what was read last, unless from one of the reads
 * that *ret leaves. `r` is what `m` is from; `others` (may be NULL) is how the process saves other names: it stands in while nothing
 * that is known of this one speaks against it.
 */
bool habit_trusts(const struct habit *own, const struct habit *others, const struct reads *r, const struct moment *m, uint64_t opened, struct verdict *ret);

/* Whether a read at that time is out of the question. */
bool verdict_excludes(const struct verdict *v, const struct reads *r, uint64_t at);

#endif
