#include "db_file.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "db_dir.h"

#define SPARE (256 << 10)
#define READER_TABLE 36864	/* 64 bytes for each of MAX_READERS, and its head, in whole pages */

uint64_t db_file_size(int dir)
{
	struct stat st;

	return fstatat(dir, "data.mdb", &st, 0) ? 0 : st.st_size;
}

int db_file_open_data(int dir)
{
	int fd = openat(dir, "data.mdb", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int db_file_present(int dir)
{
	struct stat st;

	if (fstatat(dir, "data.mdb", &st, 0))
		return -errno;
	return st.st_size ? 0 : -EUCLEAN;
}

static int sync_in(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), err = 0;

	if (fd < 0)
		return -errno;
	if (fsync(fd))
		err = -errno;
	close(fd);
	return err;
}

int db_file_prepare(int dir, char **ret_name, int *ret)
{
	char path[PATH_MAX + 16];
	int err = db_file_present(dir);

	if (err != -ENOENT) {
		if (!err)
			*ret_name = NULL;
		return err;
	}
	db_dir_path(dir, path);
	strcat(path, "/new-XXXXXX");
	if (!mkdtemp(path))
		return -errno;
	*ret = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	err = *ret < 0 ? -errno : 0;
	*ret_name = err ? NULL : strdup(strrchr(path, '/') + 1);
	if (!err && !*ret_name) {
		close(*ret);
		err = -ENOMEM;
	}
	if (err)
		rmdir(path);
	return err;
}

/* Gives the data file its name, if that is free. A second name, even for a moment, would be one too many (db_dir.h). */
static int name_data(int fresh, int dir)
{
	if (!renameat2(fresh, "data.mdb", dir, "data.mdb", RENAME_NOREPLACE) || errno == EEXIST)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	if (!linkat(fresh, "data.mdb", dir, "data.mdb", 0) || errno == EEXIST)
		return 0;
	return errno != EPERM && errno != EOPNOTSUPP ? -errno : renameat(fresh, "data.mdb", dir, "data.mdb") ? -errno : 0;
}

int db_file_install(int dir, char *name, int fresh, int err)
{
	if (!err)
		err = sync_in(fresh, "data.mdb");
	if (!err)
		err = name_data(fresh, dir);
	unlinkat(fresh, "data.mdb", 0);
	unlinkat(fresh, "lock.mdb", 0);
	close(fresh);
	unlinkat(dir, name, AT_REMOVEDIR);
	free(name);
	return err ? err : db_file_sync(dir);
}

int db_file_temp(int dir, int *ret_fd)
{
	char name[32];
	int fd = openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	/* Not every filesystem can. */
	for (unsigned i = 0; fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL || errno == ENOENT || errno == EEXIST) && i < 100; i++) {
		snprintf(name, sizeof(name), "draft-%d-%u", (int)gettid(), i);
		fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd >= 0)
			unlinkat(dir, name, 0);
	}
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

int db_file_sync(int dir)
{
	return sync_in(dir, ".");
}

int db_file_reserve(int dir)
{
	int fd = openat(dir, "lock.mdb", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600), err;

	if (fd < 0)
		return -errno;
	err = -posix_fallocate(fd, 0, READER_TABLE);
	close(fd);
	return err == -EOPNOTSUPP || err == -EINVAL ? 0 : err;
}

void db_file_keep_spare(int dir)
{
	int fd = openat(dir, "spare", O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600), err = -1;

	if (fd < 0)
		return;
	for (off_t size = SPARE; err && size >= SPARE / 8; size /= 2)
		err = posix_fallocate(fd, 0, size);
	close(fd);
	if (err)
		unlinkat(dir, "spare", 0);
}

void db_file_use_spare(int dir)
{
	unlinkat(dir, "spare", 0);
}

bool db_file_disk_full(int dir)
{
	struct statvfs st;

	return fstatvfs(dir, &st) == 0 && (uint64_t)st.f_bavail * st.f_frsize < 1 << 20;
}

int db_file_lock_open(int dir, bool read_only, int *ret_fd)
{
	int fd = openat(dir, "pending.lock", (read_only ? O_RDONLY : O_RDWR | O_CREAT) | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);

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

struct note {
	uint64_t number, mark, sum;
};

static uint64_t sum_of(const struct note *n)
{
	return (n->number ^ n->mark << 1) * 0x9e3779b97f4a7c15u + 1;
}

void db_file_note(int fd, uint64_t number, uint64_t mark)
{
	struct note n = { number, mark, 0 };

	n.sum = htole64(sum_of(&n));
	n.number = htole64(number);
	n.mark = htole64(mark);
	/* Without it less can be told, that is all. */
	if (pwrite(fd, &n, sizeof(n), 0) < 0)
		return;
}

void db_file_noted(int fd, uint64_t *ret_number, uint64_t *ret_mark)
{
	struct note n = { 0 };
	bool good = fd >= 0 && pread(fd, &n, sizeof(n), 0) == sizeof(n);

	n = (struct note){ le64toh(n.number), le64toh(n.mark), le64toh(n.sum) };
	good = good && n.sum == sum_of(&n);
	*ret_number = good ? n.number : 0;
	*ret_mark = good ? n.mark : 0;
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
