/* Where a path of the host lies in a store: what /proc/self/mountinfo tells of historyfs mounts. */
#ifndef TOOLS_PLACE_H
#define TOOLS_PLACE_H

#include <stdbool.h>

struct place {
	char *store;	/* directory of the store */
	char *path;	/* inside the store, without a leading slash; "" is its root */
};

/*
 * The place of a host path, which need not exist, but its directory must. Its last component isn't followed when it is
 * a symbolic link inside a mount. -EXDEV: not in a historyfs mount; -ENOENT, -EACCES, -ENOTCONN (the daemon is gone), ...
 */
int place_of(const char *path, struct place *ret);
void place_release(struct place *p);

/* Calls `found` for the mount point of each mount of a store (NULL: of any). 0 or -errno. */
int place_mounts(const char *store, void (*found)(void *arg, const char *mountpoint), void *arg);

/* Lexically: "./a//b/../c/" becomes "a/c"; ".." stops at the root. NULL: out of memory. */
char *place_clean(const char *path);

#endif
