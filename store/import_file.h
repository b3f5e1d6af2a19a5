/* Taking files in, one at a time, documents with many in flight. Private to import.c. */
#ifndef STORE_IMPORT_FILE_H
#define STORE_IMPORT_FILE_H

#include <pthread.h>
#include <sys/stat.h>

#include "buf.h"
#include "store.h"

struct import_file;

struct dir_time {
	uint64_t ino;
	struct timespec atime, mtime;
};

struct import {
	struct store *store;
	const struct store_import *how;
	struct store_import_counts n;
	int error;			/* of the store itself: nothing more can be taken in */
	uint64_t source;		/* tells one directory beneath from another */
	struct buf path;		/* of what is being looked at, zero-terminated */
	struct dir_time *times;		/* of new directories: set when they are full */
	size_t time_count, time_room;
	size_t flying;
	uint64_t flying_bytes;
	int64_t shown_at;
	uint64_t shown_files;

	pthread_mutex_t lock;
	pthread_cond_t landed;		/* with `lock`: `first` is set */
	struct import_file *first;	/* lock; saves that have been answered */
};

/* A directory on the way down. */
struct level {
	struct level *up;
	const char *name;
	struct stat st;
	int fd;
	uint64_t dir;		/* in the store; 0: it was removed there, and comes back when something in it has to */
	uint64_t records;	/* what the records of its files stand under; 0: none are kept */
	size_t path_size;
};

/* import.c: makes the directory in the store, and those above it, when it is not there. */
int import_need_dir(struct import *in, struct level *l);

/* Times that the format can't hold are moved to the nearest that it can. */
struct timespec import_time(struct timespec t);

void import_report(struct import *in, const char *path, int err, const char *reason);
void import_show(struct import *in, bool last);

/* One bad file does not stop the rest; a store that takes nothing more does. `unreadable`: the error is the file's. */
void import_fail(struct import *in, const char *path, int err, bool unreadable);

/* Takes in a regular file or a symbolic link; in->path is its path. */
void import_take_file(struct import *in, struct level *l, const char *name, const struct stat *st);

/* Takes the answers to saves that have come; with `wait` at least one when any is to come. */
void import_land(struct import *in, bool wait);

#endif
