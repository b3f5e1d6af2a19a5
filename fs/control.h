/*
 * .historyfs in the mount's root: not listed, for the mount's owner only.
 *
 *	status		JSON, made at each open
 *	rejected/	the store's directory STORE_REJECTED
 */
#ifndef FS_CONTROL_H
#define FS_CONTROL_H

#include "mount.h"

#define CONTROL_NAME ".historyfs"
#define CONTROL_DIRECTORY 3
#define CONTROL_STATUS 4

/* Whether the number is of this directory's own files, which are not the store's. */
static inline bool control_owns(uint64_t ino)
{
	return ino == CONTROL_DIRECTORY || ino == CONTROL_STATUS;
}

/* -ENOENT when the name is none of ours and the store is to be asked. */
int control_lookup(struct mount *m, uint64_t parent, const char *name, struct store_attr *ret);
int control_getattr(struct mount *m, uint64_t ino, struct store_attr *ret);
/* The i-th entry of the directory; false when there is none. */
bool control_entry(struct mount *m, unsigned i, struct store_attr *ret);
/* The status as text, the caller's to free. 0 or -ENOMEM. */
int control_status(struct mount *m, char **ret, size_t *ret_size);

#endif
