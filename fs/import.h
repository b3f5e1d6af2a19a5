/* Taking in what lies beneath the mount point. */
#ifndef FS_IMPORT_H
#define FS_IMPORT_H

#include "store.h"

/*
 * Takes in the directory's files, or, at later times, what changed there. Says on stderr what was taken in and what was torn, with a progress
 * bar when that is a terminal. 0, or an error after a message. Before mounting.
 */
int import_beneath(struct store *s, const char *directory);

#endif
