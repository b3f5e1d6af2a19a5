/*
 * A power cut for a daemon: preloaded, it remembers what the daemon writes below the directory of
 * HISTORYFS_POWER_DIR until that is synced. At SIGRTMIN all that was not synced is lost, and the
 * daemon dies.
 */
#include <signal.h>
#include <stdlib.h>

#include "faultio.h"

/* The daemon takes signals in one thread, which is in none of the calls then. */
static void cut(int number)
{
	fault_lose_power();
}

static __attribute__((constructor)) void begin(void)
{
	const char *dir = getenv("HISTORYFS_POWER_DIR");

	if (dir) {
		signal(SIGRTMIN, cut);
		fault_arm(dir, FAULT_POWER, UINT_MAX, 1);
	}
}
