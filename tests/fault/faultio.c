/* The calls are defined under both of their names: LMDB is built without this, the store with it. */
#undef _FILE_OFFSET_BITS
#include "faultio.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* What was written since the last sync, for FAULT_POWER: where, and what had been there. */
struct undo {
	char path[128];
	off_t offset, old_size;
	size_t size, had;
	char *bytes;
};

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
/* All under `lock`. */
static char armed_dir[128], skip_dir[128];
static bool direct = true;
static enum fault armed;
static unsigned first, last, calls;
static struct undo *undos;
static size_t undo_count;

void fault_arm(const char *dir, enum fault fault, unsigned at, unsigned count)
{
	pthread_mutex_lock(&lock);
	snprintf(armed_dir, sizeof(armed_dir), "%s", dir);
	armed = fault;
	first = at;
	last = count > UINT_MAX - at ? UINT_MAX : at + count - 1;
	calls = 0;
	pthread_mutex_unlock(&lock);
}

unsigned fault_disarm(void)
{
	unsigned n;

	pthread_mutex_lock(&lock);
	n = calls;
	*armed_dir = 0;
	for (size_t i = 0; i < undo_count; i++)
		free(undos[i].bytes);
	free(undos);
	undos = NULL;
	undo_count = 0;
	pthread_mutex_unlock(&lock);
	return n;
}

void fault_skip_sync(const char *dir)
{
	pthread_mutex_lock(&lock);
	snprintf(skip_dir, sizeof(skip_dir), "%s", dir ? dir : "");
	pthread_mutex_unlock(&lock);
}

void fault_direct(bool possible)
{
	pthread_mutex_lock(&lock);
	direct = possible;
	pthread_mutex_unlock(&lock);
}

static bool below(const char *path, const char *dir)
{
	size_t size = strlen(dir);

	return size && strncmp(path, dir, size) == 0 && (path[size] == '/' || !path[size]);
}

static void path_of(int fd, char path[128])
{
	char link[32];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = syscall(SYS_readlink, link, path, 127);
	path[n > 0 ? n : 0] = 0;
}

/* ---- Loss of power -------------------------------------------------------------------------------------------- */

static void remember(int fd, off_t offset, size_t size)
{
	struct undo u = { .offset = offset, .size = size, .bytes = malloc(size ? size : 1) };
	char link[64];
	struct stat st;
	int in;

	path_of(fd, u.path);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	in = syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC);
	if (in >= 0 && u.bytes && fstat(in, &st) == 0) {
		ssize_t n = pread(in, u.bytes, size, offset);

		u.had = n > 0 ? (size_t)n : 0;
		u.old_size = st.st_size;
		undos = realloc(undos, (undo_count + 1) * sizeof(*undos));
		undos[undo_count++] = u;
	}
	if (in >= 0)
		close(in);
}

static void synced(int fd)
{
	char path[128];
	size_t kept = 0;

	path_of(fd, path);
	for (size_t i = 0; i < undo_count; i++) {
		if (strcmp(undos[i].path, path) == 0)
			free(undos[i].bytes);
		else
			undos[kept++] = undos[i];
	}
	undo_count = kept;
}

static void lose_power(bool all)
{
	/* Backwards, so that the oldest content comes last. */
	for (size_t i = undo_count; i-- > 0;) {
		const struct undo *u = &undos[i];
		int fd = syscall(SYS_openat, AT_FDCWD, u->path, O_RDWR | O_CLOEXEC);
		size_t from = 0;

		if (fd < 0)
			continue;
		switch (all ? 2 : rand() % 3) {
		case 0:
			close(fd);
			continue;
		case 1:
			from = u->size / 2 / 512 * 512;
			break;
		}
		if (u->had > from && syscall(SYS_pwrite64, fd, u->bytes + from, u->had - from, u->offset + (off_t)from) < 0)
			abort();
		if (u->old_size < u->offset + (off_t)u->size && from == 0 && syscall(SYS_ftruncate, fd, u->old_size))
			abort();
		close(fd);
	}
	kill(getpid(), SIGKILL);
}

void fault_lose_power(void)
{
	pthread_mutex_lock(&lock);
	lose_power(true);
}

/* ---- Deciding ------------------------------------------------------------------------------------------------- */

/* What is to happen to a call on this file. Needs the lock. */
static enum fault decide(const char *path)
{
	if (!below(path, armed_dir))
		return FAULT_NONE;
	calls++;
	if (calls < first || calls > last)
		return FAULT_NONE;
	if (armed == FAULT_POWER)
		lose_power(false);
	if (armed == FAULT_KILL)
		kill(getpid(), SIGKILL);
	return armed;
}

static int fail(enum fault fault)
{
	errno = fault == FAULT_ENOSPC ? ENOSPC : EIO;
	return -1;
}

static enum fault decide_fd(int fd)
{
	char path[128];

	if (!*armed_dir)
		return FAULT_NONE;
	path_of(fd, path);
	return decide(path);
}

static ssize_t write_bytes(int fd, const void *bytes, size_t size, off_t offset)
{
	/* Half of a direct write: the kernel would take whole sectors only. */
	if (fcntl(fd, F_GETFL) & O_DIRECT && size % 512) {
		char link[32];
		int other;
		ssize_t n;

		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		other = syscall(SYS_openat, AT_FDCWD, link, O_WRONLY | O_CLOEXEC);
		n = syscall(SYS_pwrite64, other, bytes, size, offset);
		close(other);
		return n;
	}
	return offset < 0 ? syscall(SYS_write, fd, bytes, size) : syscall(SYS_pwrite64, fd, bytes, size, offset);
}

/* offset -1: where the file is. */
static ssize_t do_write(int fd, const void *bytes, size_t size, off_t offset)
{
	enum fault fault;
	ssize_t n;

	pthread_mutex_lock(&lock);
	fault = decide_fd(fd);
	if (*armed_dir && armed == FAULT_POWER) {
		char path[128];

		path_of(fd, path);
		if (below(path, armed_dir) && !(fcntl(fd, F_GETFL) & O_DSYNC))
			remember(fd, offset < 0 ? (off_t)syscall(SYS_lseek, fd, 0, SEEK_CUR) : offset, size);
	}
	switch (fault) {
	case FAULT_NONE:
		n = write_bytes(fd, bytes, size, offset);
		break;
	case FAULT_SHORT:
		n = write_bytes(fd, bytes, size / 2, offset);
		break;
	case FAULT_TORN:
		n = write_bytes(fd, bytes, size / 2, offset);
		kill(getpid(), SIGKILL);
		break;
	case FAULT_AFTER:
		n = write_bytes(fd, bytes, size, offset);
		kill(getpid(), SIGKILL);
		break;
	default:
		n = fail(fault);
	}
	pthread_mutex_unlock(&lock);
	return n;
}

static int decide_sync(int fd, int number)
{
	enum fault fault;
	char path[128];
	int rc;

	pthread_mutex_lock(&lock);
	fault = decide_fd(fd);
	if (fault == FAULT_TORN || fault == FAULT_AFTER)
		kill(getpid(), SIGKILL);
	if (fault != FAULT_NONE) {
		rc = fail(fault);
	} else {
		path_of(fd, path);
		rc = below(path, skip_dir) ? 0 : (int)syscall(number, fd);
		if (!rc)
			synced(fd);
	}
	pthread_mutex_unlock(&lock);
	return rc;
}

/* `path` is absolute or beneath the directory `at`; it may begin with a descriptor's link, as LMDB gets it. */
static bool path_fails(int at, const char *path, int *ret)
{
	char real[PATH_MAX + 128], dir[128];
	enum fault fault;
	int fd, used = 0;

	if (!*armed_dir)
		return false;
	if (*path != '/') {
		path_of(at, dir);
		snprintf(real, sizeof(real), "%s/%s", dir, path);
	} else if (sscanf(path, "/proc/self/fd/%d%n", &fd, &used) == 1 && path[used]) {
		path_of(fd, dir);
		snprintf(real, sizeof(real), "%s%s", dir, path + used);
	} else {
		snprintf(real, sizeof(real), "%s", path);
	}
	pthread_mutex_lock(&lock);
	fault = decide(real);
	pthread_mutex_unlock(&lock);
	if (fault == FAULT_TORN || fault == FAULT_AFTER)
		kill(getpid(), SIGKILL);
	if (fault != FAULT_NONE)
		*ret = fail(fault);
	return fault != FAULT_NONE;
}

/* ---- The calls ------------------------------------------------------------------------------------------------ */

ssize_t write(int fd, const void *bytes, size_t size)
{
	return *armed_dir ? do_write(fd, bytes, size, -1) : syscall(SYS_write, fd, bytes, size);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
	return do_write(fd, bytes, size, offset);
}

ssize_t writev(int fd, const struct iovec *pieces, int count)
{
	size_t size = 0, at = 0;
	char *bytes;
	ssize_t n;

	if (!*armed_dir)
		return syscall(SYS_writev, fd, pieces, count);
	for (int i = 0; i < count; i++)
		size += pieces[i].iov_len;
	bytes = malloc(size ? size : 1);
	for (int i = 0; i < count; i++) {
		memcpy(bytes + at, pieces[i].iov_base, pieces[i].iov_len);
		at += pieces[i].iov_len;
	}
	n = do_write(fd, bytes, size, -1);
	free(bytes);
	return n;
}

int fdatasync(int fd)
{
	return decide_sync(fd, SYS_fdatasync);
}

int fsync(int fd)
{
	return decide_sync(fd, SYS_fsync);
}

int ftruncate(int fd, off_t size)
{
	enum fault fault;

	pthread_mutex_lock(&lock);
	fault = decide_fd(fd);
	pthread_mutex_unlock(&lock);
	if (fault == FAULT_TORN || fault == FAULT_AFTER)
		kill(getpid(), SIGKILL);
	return fault == FAULT_NONE ? (int)syscall(SYS_ftruncate, fd, size) : fail(fault);
}

int renameat2(int from_dir, const char *from, int dir, const char *to, unsigned flags)
{
	int rc;

	return path_fails(dir, to, &rc) ? rc : (int)syscall(SYS_renameat2, from_dir, from, dir, to, flags);
}

int mkdirat(int dir, const char *path, mode_t mode)
{
	int rc;

	return path_fails(dir, path, &rc) ? rc : (int)syscall(SYS_mkdirat, dir, path, mode);
}

static int do_open(int dir, const char *path, int flags, mode_t mode)
{
	int rc;

	if (flags & O_DIRECT && !direct) {
		errno = EINVAL;
		return -1;
	}
	/* To look at a name is not what a disk fails in. */
	return !(flags & O_PATH) && path_fails(dir, path, &rc) ? rc : (int)syscall(SYS_openat, dir, path, flags, mode);
}

int open(const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list args;

	va_start(args, flags);
	if (flags & O_CREAT)
		mode = va_arg(args, mode_t);
	va_end(args);
	return do_open(AT_FDCWD, path, flags, mode);
}

int openat(int dir, const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list args;

	va_start(args, flags);
	if (flags & O_CREAT)
		mode = va_arg(args, mode_t);
	va_end(args);
	return do_open(dir, path, flags, mode);
}

/* On 64-bit Linux they are the same. */
ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t offset)
{
	return pwrite(fd, bytes, size, offset);
}

int ftruncate64(int fd, off64_t size)
{
	return ftruncate(fd, size);
}

int open64(const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list args;

	va_start(args, flags);
	if (flags & O_CREAT)
		mode = va_arg(args, mode_t);
	va_end(args);
	return open(path, flags, mode);
}

int openat64(int dir, const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list args;

	va_start(args, flags);
	if (flags & O_CREAT)
		mode = va_arg(args, mode_t);
	va_end(args);
	return do_open(dir, path, flags, mode);
}
