/*
 * Opens the store's directory. Invariant: what is written to afterwards lies in a directory in
 * which root and this user alone can put anything, and was a regular file with one name when the
 * directory was opened.
 */
#include "db_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define LINKS_MAX 40

/* All that a store has in its directory, besides new-XXXXXX/ and draft-N-N. */
static const char *const files[] = { "data.mdb", "lock.mdb", "journal", "journal.new", "spare",
				    "pending.lock" };
#define FILES (sizeof(files) / sizeof(*files))

static int refuse(const struct db_why *why, int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int refuse(const struct db_why *why, int err, const char *format, ...)
{
	va_list args;

	if (!why || !why->text)
		return err;
	va_start(args, format);
	vsnprintf(why->text, why->size, format, args);
	va_end(args);
	return err;
}

static bool trusted(uid_t uid)
{
	return uid == 0 || uid == geteuid();
}

/* ---- Finding it ------------------------------------------------------------------------------ */

/* Puts what the symbolic link `fd` says before the rest of the path. */
static int expand(int fd, char rest[PATH_MAX])
{
	char target[PATH_MAX], joined[PATH_MAX];
	ssize_t n = readlinkat(fd, "", target, sizeof(target));

	if (n < 0)
		return -errno;
	if (n == sizeof(target))
		return -ENAMETOOLONG;
	if (snprintf(joined, PATH_MAX, "%.*s/%s", (int)n, target, rest) >= PATH_MAX)
		return -ENAMETOOLONG;
	strcpy(rest, joined);
	return 0;
}

/* The directory that a path begins at. */
static int start(const char *path)
{
	int fd = open(*path == '/' ? "/" : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* One step. `rest` begins after the name. */
static int step(int *at, const char *name, char rest[PATH_MAX], int *links,
		const struct db_why *why)
{
	struct stat st;
	int err = 0, fd = openat(*at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st)) {
		err = -errno;
	} else if (!S_ISLNK(st.st_mode)) {
		close(*at);
		*at = fd;
		return 0;
	} else if (!trusted(st.st_uid)) {
		err = refuse(why, -EPERM, "the path leads through the symbolic link \"%s\" of user "
			     "%u, who could lead to any place; give the path without it", name,
			     (unsigned)st.st_uid);
	} else {
		err = ++*links > LINKS_MAX ? -ELOOP : expand(fd, rest);
	}
	if (fd >= 0)
		close(fd);
	if (!err && *rest == '/') {
		fd = start(rest);
		if (fd < 0)
			return fd;
		close(*at);
		*at = fd;
	}
	return err;
}

/*
 * Follows a path; symbolic links only when they are root's or this user's. With `create` the last
 * name may be missing and is made then.
 */
static int walk(const char *path, bool create, const struct db_why *why, int *ret, bool *ret_made)
{
	char rest[PATH_MAX], name[NAME_MAX + 1];
	int links = 0, err = 0, at = start(path);

	*ret_made = false;
	if (at < 0)
		return at;
	if (snprintf(rest, PATH_MAX, "%s", path) >= PATH_MAX)
		err = -ENAMETOOLONG;
	while (!err) {
		size_t skip = strspn(rest, "/"), size = strcspn(rest + skip, "/");

		if (!size)
			break;
		if (size > NAME_MAX) {
			err = -ENAMETOOLONG;
			break;
		}
		memcpy(name, rest + skip, size);
		name[size] = 0;
		memmove(rest, rest + skip + size, strlen(rest + skip + size) + 1);
		err = step(&at, name, rest, &links, why);
		if (err == -ENOENT && create && !rest[strspn(rest, "/")]) {
			*ret_made = mkdirat(at, name, 0700) == 0;
			err = *ret_made || errno == EEXIST ? 0 : -errno;
			if (!err)
				err = step(&at, name, rest, &links, why);
		}
	}
	if (err)
		close(at);
	else
		*ret = at;
	return err;
}

/* So that a crash cannot take the store's directory itself away. */
static int sync_parent(int dir)
{
	int fd = openat(dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC), err = 0;

	if (fd < 0)
		return -errno;
	if (fsync(fd))
		err = -errno;
	close(fd);
	return err;
}

/* ---- Looking at it --------------------------------------------------------------------------- */

/*
 * Whether more than the owner's own group may write: the bits of a group stand for all that an
 * access list names, too.
 */
static bool group_writes(int dir, const struct stat *st)
{
	char path[PATH_MAX];

	if (!(st->st_mode & S_IWGRP))
		return false;
	db_dir_path(dir, path);
	if (st->st_gid != 0 && st->st_gid != getegid())
		return true;
	return getxattr(path, "system.posix_acl_access", NULL, 0) > 0;
}

static int check_directory(int dir, const struct db_why *why)
{
	struct stat st;

	if (fstat(dir, &st))
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	if (!trusted(st.st_uid))
		return refuse(why, -EPERM, "the store's directory belongs to user %u, who could "
			      "lead historyfs to any file; run this as that user, or look at what "
			      "is in it and give it to yourself (chown -R)", (unsigned)st.st_uid);
	if (st.st_mode & S_IWOTH || group_writes(dir, &st))
		return refuse(why, -EPERM, "others may write in the store's directory (mode %04o, "
			      "group %u) and could lead historyfs to any file; look at what is in "
			      "it, then: chmod go-w", st.st_mode & 07777, (unsigned)st.st_gid);
	return 0;
}

static int check_file(int dir, const char *name, const struct db_why *why)
{
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISREG(st.st_mode))
		return refuse(why, -EPERM, "\"%s\" in the store's directory is %s, not a regular "
			      "file; it would be written to. Remove it, or put the file itself in "
			      "its place", name,
			      S_ISLNK(st.st_mode) ? "a symbolic link" : "a directory or device");
	if (!trusted(st.st_uid))
		return refuse(why, -EPERM, "\"%s\" in the store's directory belongs to user %u; "
			      "run this as that user, or give it to yourself (chown)", name,
			      (unsigned)st.st_uid);
	if (st.st_nlink != 1)
		return refuse(why, -EPERM, "\"%s\" in the store's directory has %u names (hard "
			      "links): the file of the other name would be changed with it. Put a "
			      "copy in its place (cp -p, mv)", name, (unsigned)st.st_nlink);
	return 0;
}

static bool is_ours(const char *name)
{
	for (size_t i = 0; i < FILES; i++) {
		if (strcmp(name, files[i]) == 0)
			return true;
	}
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strncmp(name, "new-", 4) == 0 ||
	       strncmp(name, "draft-", 6) == 0 || strncmp(name, "journal.damaged-", 16) == 0 ||
	       strcmp(name, "lost+found") == 0;
}

/* A directory in which something else lies is hardly meant: arguments in the wrong order, say. */
static int check_room(int dir, const struct db_why *why)
{
	struct dirent *d;
	struct stat st;
	int err = 0, fd;
	DIR *list;

	if (fstatat(dir, "data.mdb", &st, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	list = fd < 0 ? NULL : fdopendir(fd);
	if (!list) {
		err = -errno;
		if (fd >= 0)
			close(fd);
		return err;
	}
	while (!err && (d = readdir(list))) {
		if (!is_ours(d->d_name))
			err = refuse(why, -ENOTEMPTY, "no store is in this directory, but other "
				     "files are (\"%s\"); name an empty or new directory for the "
				     "store, before that of the history files", d->d_name);
	}
	closedir(list);
	return err;
}

int db_dir_open(const char *path, bool create, bool read_only, const struct db_why *why, int *ret)
{
	bool made;
	int fd, err;

	if (read_only) {
		fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0)
			return -errno;
		*ret = fd;
		return 0;
	}
	err = walk(path, create, why, &fd, &made);
	if (err)
		return err;
	err = check_directory(fd, why);
	for (size_t i = 0; !err && i < FILES; i++)
		err = check_file(fd, files[i], why);
	if (!err && create)
		err = check_room(fd, why);
	if (!err && made)
		err = sync_parent(fd);
	if (err)
		close(fd);
	else
		*ret = fd;
	return err;
}

void db_dir_path(int dir, char ret[PATH_MAX])
{
	snprintf(ret, PATH_MAX, "/proc/self/fd/%d", dir);
}

/* ---- For who only reads ---------------------------------------------------------------------- */

/* *ret -1: there is none. */
static int open_file(int dir, const char *name, int *ret, struct stat *ret_st)
{
	*ret = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (*ret < 0)
		return errno == ENOENT ? 0 : -errno;
	return fstat(*ret, ret_st) ? -errno : S_ISREG(ret_st->st_mode) ? 0 : -EPERM;
}

/* The lock file; made like LMDB would, but for the directory's owner. */
static int open_lock(int dir, int *ret)
{
	struct stat st, of_dir;
	int fd, err = fstat(dir, &of_dir) ? -errno : open_file(dir, "lock.mdb", ret, &st);

	if (!err && *ret < 0) {
		if (geteuid() != 0 && geteuid() != of_dir.st_uid)
			return -EACCES;
		fd = openat(dir, "lock.mdb", O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			    0600);
		if (fd < 0)
			return -errno;
		if (geteuid() == 0 && fchown(fd, of_dir.st_uid, of_dir.st_gid))
			err = -errno;
		close(fd);
		if (!err)
			err = open_file(dir, "lock.mdb", ret, &st);
		if (!err && *ret < 0)
			err = -ENOENT;
	}
	/*
	 * Others' files may have been moved or linked to where they are by the directory's owner.
	 */
	return !err && (st.st_uid != of_dir.st_uid || st.st_nlink != 1) ? -EPERM : err;
}

static int link_to(int dir, const char *name, int fd)
{
	char target[64];

	snprintf(target, sizeof(target), "/proc/self/fd/%d", fd);
	return symlinkat(target, dir, name) ? -errno : 0;
}

int db_dir_link(int dir, struct db_dir_links *ret)
{
	const char *tmp = getenv("TMPDIR");
	struct stat st;
	int at, err;

	*ret = (struct db_dir_links){ .data = -1, .lock = -1 };
	if (!check_directory(dir, NULL))
		return 0;
	err = open_file(dir, "data.mdb", &ret->data, &st);
	if (!err && ret->data < 0)
		err = -ENOENT;
	if (!err)
		err = open_lock(dir, &ret->lock);
	/* Where nothing can be written LMDB does without; it makes one in the private directory. */
	if (err == -EROFS)
		err = 0;
	if (!err && snprintf(ret->path, PATH_MAX, "%s/historyfs-XXXXXX", tmp && *tmp == '/' ? tmp :
			     "/tmp") >= PATH_MAX)
		err = -ENAMETOOLONG;
	if (!err && !mkdtemp(ret->path)) {
		err = -errno;
		ret->path[0] = 0;
	}
	if (!err) {
		at = open(ret->path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		err = at < 0 ? -errno : link_to(at, "data.mdb", ret->data);
		if (!err && ret->lock >= 0)
			err = link_to(at, "lock.mdb", ret->lock);
		if (at >= 0)
			close(at);
	}
	if (err)
		db_dir_unlink(ret);
	return err;
}

void db_dir_unlink(struct db_dir_links *l)
{
	int at = *l->path ? open(l->path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;

	if (at >= 0) {
		unlinkat(at, "data.mdb", 0);
		unlinkat(at, "lock.mdb", 0);
		close(at);
		rmdir(l->path);
	}
	if (l->data >= 0)
		close(l->data);
	if (l->lock >= 0)
		close(l->lock);
	*l = (struct db_dir_links){ .data = -1, .lock = -1 };
}
