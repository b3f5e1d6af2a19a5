#include "db_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define SPARE (256 << 10)
#define READER_TABLE 36864	/* 64 bytes for each of MAX_READERS, and its head, in whole pages */

static int join(char path[PATH_MAX], const char *dir, const char *name)
{
	return snprintf(path, PATH_MAX, "%s/%s", dir, name) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

uint64_t db_file_size(const char *dir)
{
	char path[PATH_MAX];
	struct stat st;

	if (join(path, dir, "data.mdb") || stat(path, &st))
		return 0;
	return st.st_size;
}

int db_file_present(const char *dir)
{
	char path[PATH_MAX];
	struct stat st;
	int err = join(path, dir, "data.mdb");

	if (err)
		return err;
	if (stat(path, &st))
		return -errno;
	return st.st_size ? 0 : -EUCLEAN;
}

static int sync_path(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), err = 0;

	if (fd < 0)
		return -errno;
	if (fsync(fd))
		err = -errno;
	close(fd);
	return err;
}

/* So that a crash cannot take the store's directory itself away. */
static int sync_parent(const char *dir)
{
	char path[PATH_MAX];

	return join(path, dir, "..") ? -ENAMETOOLONG : sync_path(path);
}

int db_file_prepare(const char *dir, char **ret)
{
	char path[PATH_MAX];
	int err;

	if (mkdir(dir, 0700) == 0) {
		err = sync_parent(dir);
		if (err)
			return err;
	} else if (errno != EEXIST) {
		return -errno;
	}
	err = db_file_present(dir);
	if (err != -ENOENT) {
		if (!err)
			*ret = NULL;
		return err;
	}
	err = join(path, dir, "new-XXXXXX");
	if (err)
		return err;
	if (!mkdtemp(path))
		return -errno;
	*ret = strdup(path);
	if (!*ret) {
		rmdir(path);
		return -ENOMEM;
	}
	return 0;
}

int db_file_install(const char *dir, char *fresh, int err)
{
	char from[PATH_MAX], to[PATH_MAX], lock[PATH_MAX];

	if (join(from, fresh, "data.mdb") || join(lock, fresh, "lock.mdb") || join(to, dir, "data.mdb")) {
		free(fresh);
		return -ENAMETOOLONG;
	}
	if (!err)
		err = sync_path(from);
	if (!err && link(from, to)) {
		if (errno == EPERM || errno == EOPNOTSUPP)
			err = rename(from, to) ? -errno : 0;
		else if (errno != EEXIST)
			err = -errno;
	}
	unlink(from);
	unlink(lock);
	rmdir(fresh);
	free(fresh);
	if (!err)
		err = sync_path(dir);
	return err;
}

int db_file_reserve(const char *dir)
{
	char path[PATH_MAX];
	int fd, err = join(path, dir, "lock.mdb");

	if (err)
		return err;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	err = -posix_fallocate(fd, 0, READER_TABLE);
	close(fd);
	return err == -EOPNOTSUPP || err == -EINVAL ? 0 : err;
}

void db_file_keep_spare(const char *dir)
{
	char path[PATH_MAX];
	int fd, err = -1;

	if (join(path, dir, "spare"))
		return;
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	for (off_t size = SPARE; err && size >= SPARE / 8; size /= 2)
		err = posix_fallocate(fd, 0, size);
	close(fd);
	if (err)
		unlink(path);
}

void db_file_use_spare(const char *dir)
{
	char path[PATH_MAX];

	if (!join(path, dir, "spare"))
		unlink(path);
}

bool db_file_disk_full(const char *dir)
{
	struct statvfs st;

	return statvfs(dir, &st) == 0 && (uint64_t)st.f_bavail * st.f_frsize < 1 << 20;
}

int db_file_lock_open(const char *dir, bool read_only, int *ret_fd)
{
	char path[PATH_MAX];
	int fd, err = join(path, dir, "pending.lock");

	if (err)
		return err;
	fd = open(path, (read_only ? O_RDONLY : O_RDWR | O_CREAT) | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

static int set(int fd, short type, off_t byte)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

	while (fcntl(fd, F_OFD_SETLKW, &lock)) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

/* Byte 0 is the queue: whoever waits for byte 1 holds it, so the last holder of byte 1 cannot overtake. */
int db_file_lock(int fd)
{
	int err = set(fd, F_WRLCK, 0);

	if (err)
		return err;
	err = set(fd, F_WRLCK, 1);
	set(fd, F_UNLCK, 0);
	return err;
}

void db_file_unlock(int fd)
{
	set(fd, F_UNLCK, 1);
}

bool db_file_hold(int fd)
{
	struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 1, .l_len = 1 };

	return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

/* Byte 2 is held shared by all who have the store open. */
int db_file_join(int fd)
{
	return set(fd, F_RDLCK, 2);
}

bool db_file_alone(int fd)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 2, .l_len = 1 };

	return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type == F_UNLCK;
}
