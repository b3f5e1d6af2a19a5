/* What the stress programs on a store share: the store, threads that hammer it, and looking at what they left. */
#ifndef TESTS_STRESS_H
#define TESTS_STRESS_H

#include <stdatomic.h>
#include <stdint.h>

#include "store.h"

#define THREADS 8

extern struct store *store;
extern atomic_int failures;
extern int rounds;

/* A failure, printed with a number that tells more of it. Any thread. */
void fail(const char *what, int err);

struct stress {
	const char *name;
	struct store_options options;
	void *(*hammer)(void *number);	/* what each thread does, as pthread_create takes it; numbers from 0 on */
	void (*before_close)(void);	/* may be NULL */
	void (*after_close)(void);	/* may be NULL; there is no store then */
	void (*check)(void);		/* the store opened again */
};

/* The program: arguments are rounds and the delay of commits in milliseconds. Its exit status. */
int stress_run(struct stress *s, int argc, char **argv);

#endif
