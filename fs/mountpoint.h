/* The place a store is mounted at: whether it is fit, and what may lie there. Messages go to stderr. */
#ifndef FS_MOUNTPOINT_H
#define FS_MOUNTPOINT_H

#include <limits.h>
#include <stdbool.h>

/* The absolute path, also of something that does not exist yet or is a dead mount. -1 with errno. */
int mountpoint_absolute(const char *path, char ret[PATH_MAX]);

/*
 * Whether `path` can be mounted over: a directory without a living historyfs on it. A dead one ("Transport endpoint is not
 * connected") is cleared. Sets ret to the absolute path. 0, or -1 after a message.
 */
int mountpoint_check(const char *path, char ret[PATH_MAX]);

/* Whether `inner` is `outer` or lies beneath it. Both absolute. */
bool mountpoint_contains(const char *outer, const char *inner);

/* What is likely to be missing when mounting fails, as the end of a sentence. Static. */
const char *mountpoint_hint(void);

#endif
