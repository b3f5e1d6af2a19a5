/* Who sent a request: what /proc tells of a thread id. */
#ifndef FS_PROCESS_H
#define FS_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct processes;

/* A client process as seen by one request. Two requests are of one process when tgid and start are equal and known. */
struct process {
	pid_t tid;		/* the thread that asked */
	pid_t tgid;		/* its process; `tid` when /proc does not tell */
	uint64_t start;		/* start time of the process in clock ticks after boot; 0 when /proc does not tell */
	bool known;		/* /proc told */
};

/* Whether two requests came from one process, as far as is known: never when one of them is unknown. */
static inline bool process_same(const struct process *a, const struct process *b)
{
	return a->known && b->known && a->tgid == b->tgid && a->start == b->start;
}

/*
 * Remembers what it has read of /proc: of the `limit` threads (0: 256) seen last, at the cost of an open descriptor each, and
 * whether they run event loops for 16 times as many processes. 0 or -ENOMEM.
 */
int processes_new(size_t limit, struct processes **ret);
void processes_free(struct processes *p);	/* NULL is fine */

/*
 * Identifies thread `tid`. Never fails: what can't be found out (pid 0, other pid namespace, no /proc) gives known = false.
 * A reused thread id is never taken for the earlier one. Under a microsecond when the thread was seen lately, else ten or
 * twenty. Any thread.
 */
struct process processes_identify(struct processes *p, pid_t tid);

/*
 * Whether the process runs an event loop: an eventpoll or io_uring among its descriptors. A "yes" is remembered for the
 * process's life, a "no" for a second: loops are made late. Unknown processes, those whose descriptors may not be read, and
 * those with more than 4096 of them count as event loops (the side that never loses). Any thread.
 */
bool processes_events(struct processes *p, const struct process *who);

/*
 * The process group, and the parent with its start time (not known when it is outside of our /proc, or when it runs another
 * program: who was exec'd has none of its parent's memory). False when /proc does not tell, or the process is gone. Not remembered.
 */
bool processes_family(struct processes *p, const struct process *who, pid_t *ret_group, struct process *ret_parent);

/*
 * Whether the thread is exiting because a signal killed it (merge-rules 12: /proc/<tid>/stat, flags 0x4 and 0x400).
 * False when /proc does not tell.
 */
bool process_dying(pid_t tid);

/*
 * Whether the thread is in the middle of execve: it closes descriptors then, and what of /proc tells of its process beyond this waits until it goes on
 * (Linux 6.18: also stat). So who answers it must ask nothing more.
 */
bool process_execs(pid_t tid);

/* Whether its standard input is a pipe. False when that can't be told. */
bool process_piped(const struct process *who);

/* Whether the process still exists with that start time and has not exited. Unknown processes count as alive. */
bool process_alive(const struct process *who);

#endif
