/*
 * One scenario: users of a chat application, and what else reads its sessions, on a virtual clock. A model knows each message by its number, and
 * knows of each save what its writer had seen: it says what must be there after the save, and what is otherwise is counted.
 */
#ifndef TESTS_PLAY_H
#define TESTS_PLAY_H

#include <stdio.h>

#include "stage.h"

/* How the application saves. */
enum app {
	TIGHT,		/* reads right before it writes */
	HOLDER,		/* holds the list over the model call */
	PROMPT,		/* reads for the prompt before the model call, and again before it writes */
	RELOAD,		/* tight, and reads again after it has saved */
	MEMORY,		/* a list in memory */
	MIXED,		/* tight for the user's message; the same list is held over the model call, for the answer */
	REREAD,		/* as that, but what is held was read again */
	APPS
};

/* On which threads. */
enum threads { LOOP, POOL, LOOP_REQUEST, REQUEST, SINGLE, THREADS };

/* What else reads. */
enum extra { NONE, POLL_SLOW, POLL_1, POLL_5, POLL_20, POLL_100, LISTING, EXPORT, EXISTS, EXTRAS };

/* How many at once. */
enum crowd { ALONE, SPARSE, BURSTS, ONSET, DENSE, BARRIER, CONVEYOR, CROWDS };

extern const char *const app_names[APPS], *const threads_names[THREADS], *const extra_names[EXTRAS], *const crowd_names[CROWDS];

struct script {
	enum app app;
	enum threads threads;
	enum extra extra;
	enum crowd crowd;
	enum merge_mode mode;
	bool equal_texts;
	uint64_t seed;
};

struct tally {
	uint64_t saves, stale, edits;	/* stale: others have saved since its writer read; edits: saves that remove something that is there */
	uint64_t kept;			/* edits of which something came back */
	uint64_t lost, doubled, order;	/* messages; messages; saves */
	uint64_t uncertain, decided;	/* kept on both sides; taken for an edit on the evidence */
	uint64_t lost_saves, lost_decided;	/* saves that lost something; of these the decided ones */
};

enum wrong { W_KEPT = 1, W_LOST = 2, W_DOUBLED = 4, W_ORDER = 8 };

#define ACTORS 16
#define STEPS 8192
struct mask {
	bool actor[ACTORS];	/* left out */
	uint64_t step[ACTORS][STEPS / 64];	/* its requests, or reads, that are left out */
};

/* Plays it; adds to *tally. Ends at the first save where something of `until` is wrong: then true. `mask` and `trace` may be NULL. */
bool play(const struct script *s, const struct mask *mask, unsigned until, struct tally *tally, FILE *trace);

#endif
