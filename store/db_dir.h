/*
 * The store's directory: found and opened so that nobody but root and this user decides which files
 * are written.
 *
 * A directory is private when it belongs to root or this user and nobody else may write in it: what
 * was looked at there stays what it is, and names in it can be used without a race. Only a private
 * one is opened for writing. Its files are opened beneath its descriptor and never through a
 * symbolic link. The descriptor is of O_PATH.
 */
#ifndef STORE_DB_DIR_H
#define STORE_DB_DIR_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

/* Where a sentence goes that says why a directory is refused and what to do. `text` may be NULL. */
struct db_why {
	char *text;
	size_t size;
};

/*
 * Opens the directory; `create` makes it when there is none (mode 0700, durably). For who writes
 * (`read_only` not set) -EPERM, with a reason: the path leads through a symbolic link of another
 * user, the directory is not private, or a file of the store in it is no regular file, is another
 * user's or has another name. -ENOTEMPTY: `create`, and there are other files but no store.
 */
int db_dir_open(const char *path, bool create, bool read_only, const struct db_why *why, int *ret);

/* The path under which LMDB finds the directory. */
void db_dir_path(int dir, char ret[PATH_MAX]);

/*
 * For who only reads, in a directory that is not private: a private directory with nothing in it
 * but links to descriptors of the store's data and lock file, so that nobody can put others in
 * their place meanwhile. The lock file, the one that a reader writes to, must be a regular file of
 * the directory's owner with one name (-EPERM). *ret->path is empty in a private one.
 */
struct db_dir_links {
	char path[PATH_MAX];
	int data, lock;
};
int db_dir_link(int dir, struct db_dir_links *ret);
/* Removes the links and closes the descriptors; for what LMDB has open that makes no difference. */
void db_dir_unlink(struct db_dir_links *l);

#endif
