/* Allocations that fail, a run of them at a time: see starve.c. */
#ifndef TESTS_STARVE_H
#define TESTS_STARVE_H

#include <stdatomic.h>
#include <stdint.h>

struct starve {
	_Atomic uint64_t count;		/* how many fail, one after the other; 0: none, and nothing is counted */
	_Atomic uint64_t first;		/* which call is the first of them, counted from 1 */
	_Atomic uint64_t calls, failed;	/* so far */
};

/* The calling thread's allocations go by this from now on; NULL: as before. */
void starve_thread(struct starve *s);

#endif
