/*
 * Faults in the I/O below one directory, put between the program and the C library by being linked into it: what LMDB calls
 * comes here first. Off until armed.
 */
#ifndef TESTS_FAULTIO_H
#define TESTS_FAULTIO_H

#include <limits.h>
#include <stdbool.h>

enum fault {
	FAULT_NONE,		/* counts only */
	FAULT_EIO,
	FAULT_ENOSPC,
	FAULT_SHORT,		/* half of a write is done, and said so; other calls: EIO */
	FAULT_KILL,		/* the process dies before the call */
	FAULT_TORN,		/* the process dies when half of a write is done */
	FAULT_AFTER,		/* the process dies when the call is done, and does not see that it is */
	FAULT_POWER,		/* the power fails before the call: of what was not synced some is lost, some is there, some in part */
};

/* From now on: the calls `at` (1 is the next) up to `at` + `count` - 1 on files below `dir` fail. */
void fault_arm(const char *dir, enum fault fault, unsigned at, unsigned count);

/* How many calls were counted since; no more are from now on. */
unsigned fault_disarm(void);

/* With FAULT_POWER armed: the power fails now, and all that was not synced is lost. */
void fault_lose_power(void);

/* Syncs below `dir` are not really done from now on: tests that need no disk are faster. NULL: they are. */
void fault_skip_sync(const char *dir);

/* Whether files can be opened for writes past the page cache from now on; at first they can, where the disk takes them. */
void fault_direct(bool possible);

#endif
