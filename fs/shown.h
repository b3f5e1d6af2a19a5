/*
 * Sizes that were told to processes (P3). fstat carries no handle, so what a process reads first through a handle is the version
 * whose size it was told since it opened it, even when a commit came between; unless it has taken a lock
 * meanwhile, for then it must see what the lock's holder before it has committed. One lock inside; old entries are overwritten.
 */
#ifndef FS_SHOWN_H
#define FS_SHOWN_H

#include "process.h"

struct shown;

#define SHOWN_EMPTY UINT64_MAX	/* in place of a version: a new document, of which nothing was committed yet */

int shown_new(struct shown **ret);
void shown_free(struct shown *s);	/* NULL is fine */

/* A point in time, to compare what was told with. */
uint64_t shown_now(struct shown *s);

/* `version` 0: the process has saved the file, what it was told before is out of date. */
void shown_tell(struct shown *s, const struct process *who, uint64_t ino, uint64_t version, uint64_t size);

/*
 * The version that a first read of `size` bytes is meant for, of those told since `since`: the newest whose size it asks for, else the newest told
 * to the thread, else to the process; without any of these, what the process was told last, if that was this thread, of a
 * version of just `size` bytes: it asked before it opened. 0: none.
 */
uint64_t shown_version(struct shown *s, const struct process *who, uint64_t ino, uint64_t size, uint64_t since);

/* Whether the process holds a file lock: by /proc/locks, and, for OFD locks, whose owner that does not tell, by its descriptors. */
bool shown_locked(const struct process *who);
/* Whether somebody holds a lock on that file. `device`: the minor number of its filesystem, whose major number is 0; 0: unknown, any may be meant. */
bool shown_held(unsigned device, uint64_t ino);

#endif
