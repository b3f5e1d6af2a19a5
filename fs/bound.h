/*
 * How often bounds were met at which something is remembered less exactly, or refused: for .historyfs/status. What happens at each
 * stands in README.md beside this file. Counts of the whole daemon; any thread.
 */
#ifndef FS_BOUND_H
#define FS_BOUND_H

#include <stdint.h>

enum bound {
	BOUND_ASIDES,		/* aside.c: COUNT */
	BOUND_RENAMES,		/* renamed.c: COUNT */
	BOUND_BEFORE,		/* epoch.c: SLOTS */
	BOUND_TICKETS,		/* seen.c: SHOWN_MAX */
	BOUND_ENDED,		/* seen.c: ENDED_MAX */
	BOUND_NEEDED,		/* seen.c: NEEDED_MAX */
	BOUND_OWN,		/* seen.c: OWN_MAX */
	BOUND_MEMORY,		/* ticket.c: MAX_BYTES */
	BOUND_ANCESTORS,	/* candidate.c: ANCESTORS_MAX */
	BOUND_UNSEEN,		/* saves that removed nothing because of one of these */
	BOUND_TEMPS,		/* temp_table.c: NAMED_MAX */
	BOUND_TEMPS_LOST,	/* temp_table.c: LOST_MAX */
	BOUND_TEMPS_OWN,	/* temp.h: TEMPS_OWN */
	BOUND_TEMP_BYTES,	/* temp_table.h: TEMP_BYTES_MAX */
	BOUND_SIZES,		/* shown.c: SLOTS */
	BOUND_GONE,		/* gone.c: GONE_MAX */
	BOUND_COUNT
};

void bound_met(enum bound b);
uint64_t bound_count(enum bound b);
/* As status calls it. */
const char *bound_name(enum bound b);

#endif
