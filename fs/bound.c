/* One counter a bound. */
#include "bound.h"

#include <stdatomic.h>

static atomic_ullong counts[BOUND_COUNT];

static const char *const names[BOUND_COUNT] = {
	[BOUND_ASIDES] = "asides", [BOUND_RENAMES] = "renames", [BOUND_BEFORE] = "documents_before", [BOUND_TICKETS] = "tickets_joined",
	[BOUND_ENDED] = "tickets_ended", [BOUND_NEEDED] = "documents_needed", [BOUND_OWN] = "own_versions", [BOUND_MEMORY] = "tickets_memory",
	[BOUND_ANCESTORS] = "ancestors", [BOUND_UNSEEN] = "saves_unseen", [BOUND_TEMPS] = "temps", [BOUND_TEMPS_LOST] = "temps_waiting",
	[BOUND_TEMPS_OWN] = "temps_own", [BOUND_TEMP_BYTES] = "temp_bytes", [BOUND_SIZES] = "sizes_told",
	[BOUND_GONE] = "removed_open",
};

void bound_met(enum bound b)
{
	atomic_fetch_add_explicit(&counts[b], 1, memory_order_relaxed);
}

uint64_t bound_count(enum bound b)
{
	return atomic_load_explicit(&counts[b], memory_order_relaxed);
}

const char *bound_name(enum bound b)
{
	return names[b];
}
