/*
 * The fuzzer of filesystem operations: random sequences of system calls by several processes on a mount.
 *
 *	ops.c		workers, and what they add up to
 *	ops_batch.c	batches of sequences
 *	ops_found.c	what was found: replays, shrinking, families
 *	ops_make.c	what a sequence is made of, and how it is told
 *	ops_call.c	one call, as an actor makes it
 *	ops_actor.c	actors: a forked process, a thread of it, another process, an executed program; and what asks them
 *	ops_world.c	a store, its mount, and the actors
 *	ops_check.c	what must hold
 *
 * One call at a time, in the order of the sequence: a seed tells all but how long things take.
 */
#ifndef FUZZ_OPS_H
#define FUZZ_OPS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum what {
	/* On names. */
	OP_OPEN, OP_TRUNCATE, OP_RENAME, OP_UNLINK, OP_MKDIR, OP_RMDIR, OP_SYMLINK, OP_LINK, OP_STAT, OP_CHMOD, OP_CHOWN, OP_UTIME,
	/* On descriptors. */
	OP_CLOSE, OP_WRITE, OP_PWRITE, OP_READ, OP_PREAD, OP_FTRUNCATE, OP_DUP, OP_FSYNC, OP_FDATASYNC, OP_FSTAT, OP_FCHMOD, OP_FUTIME,
	/* Several calls that belong together. */
	OP_LOAD, OP_SAVE, OP_SAVE_TEMP, OP_ADD, OP_ADD_TEMP, OP_APPEND,
	/* On directories and processes. */
	OP_LIST, OP_SYNC_DIRECTORY, OP_FORK, OP_EXEC, OP_KILL,
	OP_KINDS,
	/* What the fuzzer itself asks for. */
	OP_TREE = OP_KINDS, OP_SWEEP, OP_END
};

enum text { T_ONE, T_TWO, T_LIST, T_NONE, T_OBJECT, T_FREE, T_PART, T_REST, T_TAIL, T_LINE, T_LINES, T_LINE_PART, T_WORDS, T_NOTHING, T_BIG, T_KINDS };

/* Flags of what it asks for. */
#define ASK_CLOSE 1		/* first everything is closed */
#define ASK_SETTLE 2		/* then directories are opened: what was set aside is where its process said */
#define ASK_END 4		/* at last the sequence's directory is left */

#define NAMES 18		/* in two directories */
#define SLOTS 4			/* descriptors of a process */
#define OPS_MAX 24
#define TEXT_MAX 65536
#define DATA_MAX (1 << 20)

struct op {
	uint8_t what, actor, name, to, slot, other, text;
	uint16_t id;		/* its place in the sequence as it was made: its texts are known by it */
	int flags;
	unsigned mode;
	int64_t at;
};

enum mode {
	MODE_ONE,		/* one process: as on a plain directory */
	MODE_ADD,		/* several, that only add: nothing acknowledged is lost */
	MODE_ANY,
};

struct sequence {
	uint64_t number;
	enum mode mode;
	bool modes;		/* modes and owners are looked at: no plain file is renamed to a session's name, which keeps its own */
	bool two;		/* directories; else there is only the first */
	unsigned count;
	struct op ops[OPS_MAX];
};

struct result {
	int64_t ret;		/* -1: `error` */
	int error;
	int step;		/* of several calls, the one that failed; STEP_BEGIN: the sequence's directory can't be opened */
	size_t size;		/* of the data that was read */
};

#define STEP_BEGIN -1

enum { SIDE_MOUNT, SIDE_PLAIN, SIDES };

/* ops.c */
#define BATCH 2000	/* sequences on one store */
#define FAMILIES 200
#define REASON_MAX 160
#define TOLD_MAX 16

struct family {
	char reason[REASON_MAX];
	unsigned count;			/* 0: unused */
	uint64_t first;			/* the number of a sequence */
	unsigned told;
	uint64_t calls[TOLD_MAX], numbers[TOLD_MAX];	/* of those that were told: which calls, and the sequence */
};

#define WORKERS_MAX 64

/* Shared by all workers. */
struct run {
	uint64_t seed, first, count;
	unsigned found_max;
	atomic_bool stop;		/* it was interrupted */
	_Atomic uint64_t at[WORKERS_MAX];	/* which sequence each worker's batch begins with; after the last: UINT64_MAX */
	_Atomic uint64_t next_batch, sequences, calls, kills, verified;
	pthread_mutex_t lock;		/* also held by who prints several lines */
	_Atomic unsigned found;		/* changes under `lock` */
	struct family families[FAMILIES];	/* under `lock` */
};
extern struct run *run;

static inline bool run_is_over(void)
{
	return run->stop || run->found >= run->found_max;
}

/* ops_batch.c */
void run_batch(uint64_t first, unsigned count);
const char *options_of(uint64_t number);	/* of the mount */

/* ops_found.c */
struct outcome;
void report(const struct sequence *s, const char *why);
void report_batch(uint64_t first, unsigned count, const char *why);	/* it can't be told which of them */
void find_damage(uint64_t first, unsigned count, const char *why);	/* one of them damages the store */
void tell_families(void);

/* ops_make.c */
void make_sequence(uint64_t seed, uint64_t number, struct sequence *ret);
const char *name_of(unsigned name);			/* relative to the sequence's directory */
bool is_document(unsigned name);
bool names_two(const struct op *op);			/* `to` counts */
bool is_lines(unsigned name);
size_t make_text(uint64_t number, const struct op *op, char buf[TEXT_MAX]);
const char *word_of(const struct op *op);
void tell_op(const struct op *op, char *buf, size_t size);
void tell_sequence(const struct sequence *s, const struct result *results);	/* `results` may be NULL */
uint64_t random_next(uint64_t *state);

/* ops_actor.c */
enum { ACTOR_PROCESS, ACTOR_THREAD, ACTOR_OTHER, ACTOR_PROGRAM, ACTOR_CHILD, ACTORS, ACTOR_CHECKER = ACTORS, SEATS };

struct seat {
	_Atomic uint32_t turn;
	pid_t pid;		/* 0: nobody sits here */
	pid_t asker;
	struct op op;
	uint64_t number;
	bool begin;		/* the sequence's directory is to be opened first */
	bool both;		/* on the plain directory, too */
	bool two;		/* directories */
	bool modes;		/* it is told of modes and owners */
	char base[SIDES][160];
	struct result results[SIDES];
	char data[SIDES][DATA_MAX];
};

extern struct seat *seats;	/* shared by all */

int seats_make(void);			/* 0, or -1 */
void actor_start(int actor);		/* a new process sits down; of the thread: with its process */
void actor_kill(int actor);		/* also of those that are gone */
int actor_main(int actor);		/* of an executed program */
/* False: it is dead, or does not answer. */
bool actor_ask(int actor, const struct op *op);

/* ops_call.c */
struct descriptors {
	int base[SIDES], slots[SIDES][SLOTS];
};
void call(struct seat *seat, struct descriptors *d, int side);
/* Whether the directories could be opened; else the result says why not. */
bool begin(struct seat *seat, struct descriptors *d);
int sit(int actor, struct descriptors *d);	/* ops_actor.c: the loop of an actor */

/* ops_world.c */
struct world {
	char dir[64], store[96], mount[96], plain[96], log[96];
	const char *options;
	pid_t daemon;
};
extern const char *historyfs, *historyctl;

bool world_make(struct world *w, const char *options);
bool world_remount(struct world *w);		/* after a kill of the daemon */
bool world_verify(const struct world *w, char *why, size_t size);
bool world_alive(const struct world *w);
bool world_sync(const struct world *w);
void world_new_actors(struct world *w);
void world_end(struct world *w);
bool world_unmount(struct world *w);		/* cleanly */

/* ops_check.c */
struct outcome {
	bool failed;
	bool stuck;		/* a call did not come back */
	char why[1024];
	struct result results[OPS_MAX];
	char *tree;		/* what is there in the end, malloced; NULL: not known */
	unsigned calls;
};
/* Runs it in a directory of its own. */
void run_sequence(struct world *w, const struct sequence *s, struct outcome *ret);
/* Whether what is there is as it was at the end of the run. */
bool same_tree(struct world *w, const struct sequence *s, const char *tree, char *why, size_t size);
void fail(struct outcome *o, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
