/*
 * Writers of several kinds that read, open and close as a script says, with the tickets of fs/ over the store. A model knows each message by
 * who brought it, not by its text, and checks each save:
 *
 *	P1	what is new in it is there once; equal texts are two messages
 *	P2	nothing is gone but what its writer had removed itself
 *	P6	each writer's messages keep their order
 *
 * A removal that is not done is counted: never lose wins.
 */
#ifndef TESTS_CROWD_H
#define TESTS_CROWD_H

#include <stdio.h>

#include "store.h"
#include "support.h"

#define ACTIONS 150		/* of one document */
#define PEERS 6

enum { ONE_PROCESS, PROCESSES, THREADS, LOOP_IN_TURN, LOOP_TURN_STRAY, LOOP, LOOP_STRAY, MEMORY, MIXED, KINDS };

struct kind {
	const char *name;
	bool exact;		/* every removal must be done, but for equal texts */
	bool identity;		/* equal texts must be told apart */
};
extern const struct kind kinds[KINDS];	/* the program's */

/*
 * What happened: removals asked for and not done; messages that came again; equal texts and what they led to, where nothing tells them apart. `lost`
 * is counted for the rules as they are written, and else a failure.
 */
struct tally {
	uint64_t saves, merged, edits, kept, back, joined, lost;
};

struct action {
	unsigned peer, what, a, b, c;
};

struct actor {
	char process;		/* as in the table: capital letters run event loops */
	unsigned thread;	/* 0: any */
	bool memory;		/* reads once, then keeps its list */
};

/* What is done to one document: all random decisions, so that it can be done again. */
struct script {
	unsigned kind, peers;
	struct actor actors[PEERS];
	bool equal_texts, edits;
	bool as_written;	/* by as_written.h, not by the store; no equal texts then */
	struct action actions[ACTIONS];
	size_t count;
};

/* Over this store, until crowd_end. One at a time. */
void crowd_begin(struct store *s);
void crowd_end(void);

/* Whether all was as it must be; else crowd_why() tells. `trace`: NULL, or where the steps go to as in the table of interleavings. */
bool crowd_play(const struct script *s, FILE *trace);
const char *crowd_why(void);
const struct tally *crowd_tally(void);

#endif
