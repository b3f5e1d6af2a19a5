/* One call, as an actor makes it: on the mount, or on the plain directory beside it. */
#include "ops.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define SET_BEFORE 1000000	/* seconds: times that were set lie before this, others after */

struct data {
	char *bytes;
	size_t size;
	bool modes;
};

static void add(struct data *d, const char *bytes, size_t size)
{
	if (size > DATA_MAX - d->size)
		size = DATA_MAX - d->size;
	memcpy(d->bytes + d->size, bytes, size);
	d->size += size;
}

/* What both sides must say of a file. Sizes of directories are not theirs to agree on. */
static void add_stat(struct data *d, const struct stat *st)
{
	char line[128];
	bool whole = d->modes || !S_ISREG(st->st_mode);
	int n = snprintf(line, sizeof(line), "%o %u %u %lld %lld", whole ? st->st_mode : st->st_mode & S_IFMT, whole ? st->st_uid : 0, whole ? st->st_gid : 0,
			 S_ISDIR(st->st_mode) ? 0 : (long long)st->st_size, st->st_mtim.tv_sec < SET_BEFORE && !S_ISDIR(st->st_mode) ? (long long)st->st_mtim.tv_sec : 0);

	add(d, line, (size_t)n);
}

/* In pieces, and to the end. */
static int read_all(int fd, struct data *d)
{
	ssize_t n;

	while ((n = read(fd, d->bytes + d->size, DATA_MAX - d->size > 8192 ? 8192 : DATA_MAX - d->size)) > 0)
		d->size += (size_t)n;
	return n < 0 ? -1 : 0;
}

static int write_all(int fd, const char *text, size_t size)
{
	while (size) {
		ssize_t n = write(fd, text, size > 8192 ? 8192 : size);

		if (n < 0)
			return -1;
		text += n;
		size -= (size_t)n;
	}
	return 0;
}

/* Opens, writes and closes; *step: where it failed. */
static int put(int base, const char *name, int flags, unsigned mode, const char *text, size_t size, int *step)
{
	int fd = openat(base, name, O_WRONLY | O_CREAT | O_CLOEXEC | flags, mode), err;

	*step = 0;
	if (fd < 0)
		return -1;
	*step = 1;
	if (write_all(fd, text, size)) {
		err = errno;
		close(fd);
		errno = err;
		return -1;
	}
	*step = 2;
	return close(fd);
}

static int load(int base, const char *name, struct data *d)
{
	int fd = openat(base, name, O_RDONLY | O_CLOEXEC), err, ret;

	if (fd < 0)
		return -1;
	ret = read_all(fd, d);
	err = errno;
	close(fd);
	errno = err;
	return ret;
}

static int save(const struct seat *seat, int base, int *step)
{
	const struct op *op = &seat->op;
	char text[TEXT_MAX];
	bool temp = op->what == OP_SAVE_TEMP;
	size_t size = make_text(seat->number, op, text);

	if (put(base, name_of(temp ? op->to : op->name), op->what == OP_APPEND ? O_APPEND : O_TRUNC, op->mode, text, size, step))
		return -1;
	*step = 3;
	return temp ? renameat(base, name_of(op->to), base, name_of(op->name)) : 0;
}

/* What an application does: reads the list, and writes it with one message more. */
static int add_message(const struct seat *seat, int base, struct data *d, int *step)
{
	const struct op *op = &seat->op;
	bool temp = op->what == OP_ADD_TEMP;
	char message[80];
	size_t size;

	*step = 0;
	if (load(base, name_of(op->name), d) && errno != ENOENT)
		return -1;
	size = d->size;
	while (size && d->bytes[size - 1] == '\n')
		size--;
	if (size && d->bytes[size - 1] != ']') {
		errno = EBADMSG;
		return -1;
	}
	size = size ? size - 1 : (size_t)sprintf(d->bytes, "[");
	size += (size_t)sprintf(d->bytes + size, "%s%s]", size > 1 ? ", " : "",
				(snprintf(message, sizeof(message), "{\"c\":\"%llu.%u\"}", (unsigned long long)seat->number, op->id), message));
	if (put(base, name_of(temp ? op->to : op->name), O_TRUNC, op->mode, d->bytes, size, step))
		return -1;
	*step = 3;
	return temp ? renameat(base, name_of(op->to), base, name_of(op->name)) : 0;
}

#define LISTED_MAX 64

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* Whether the entry was added. */
static bool add_listed(const struct dirent64 *e, char names[LISTED_MAX][256], unsigned *count)
{
	if (e->d_name[0] == '.')
		return true;
	if (*count == LISTED_MAX)
		return false;
	/* Its type stands before the name. */
	names[*count][0] = e->d_type == DT_REG ? 'f' : '-';
	strcpy(names[(*count)++] + 1, e->d_name);
	return true;
}

/*
 * Without opendir, which prepares for a megabyte of names. With `brief` an answer that leaves room
 * for more is the last: that saves a request.
 */
static int read_names(int base, const char *directory, bool brief, char names[LISTED_MAX][256],
		      unsigned *ret)
{
	int fd = openat(base, directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC), err;
	_Alignas(struct dirent64) char buf[4096];
	ssize_t n;

	*ret = 0;
	if (fd < 0)
		return -1;
	while ((n = getdents64(fd, buf, sizeof(buf))) > 0) {
		const struct dirent64 *e;
		bool last = brief && n < (ssize_t)sizeof(buf) / 2;

		for (ssize_t at = 0; at < n; at += e->d_reclen) {
			e = (const void *)(buf + at);
			if (!add_listed(e, names, ret)) {
				close(fd);
				errno = E2BIG;
				return -1;
			}
		}
		if (last)
			break;
	}
	err = errno;
	close(fd);
	errno = err;
	qsort(names, *ret, sizeof(*names), by_name);
	return n < 0 ? -1 : 0;
}

/*
 * What a look-up says of a file and what it reads. The attributes that come with the look-up are
 * asked for again in every fourth sequence only: that is one more request to the daemon.
 */
static int look_into(const struct seat *seat, int base, const char *path, struct data *d)
{
	int fd = openat(base, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), err;
	size_t asked;
	ssize_t n;
	struct statx x;

	if (fd < 0)
		return -1;
	n = statx(fd, "", AT_EMPTY_PATH | (seat->number % 4 ? AT_STATX_DONT_SYNC : 0),
		  STATX_BASIC_STATS, &x);
	if (!n) {
		add_stat(d,
			 &(struct stat){ .st_mode = x.stx_mode,
					 .st_uid = x.stx_uid,
					 .st_gid = x.stx_gid,
					 .st_size = (off_t)x.stx_size,
					 .st_mtim = { x.stx_mtime.tv_sec, x.stx_mtime.tv_nsec } });
		add(d, ": ", 2);
		/* Less than was asked for is all. */
		do {
			asked = x.stx_size < 4096 ? 4096 : DATA_MAX;
			asked = asked < DATA_MAX - d->size ? asked : DATA_MAX - d->size;
			n = read(fd, d->bytes + d->size, asked);
			d->size += n > 0 ? (size_t)n : 0;
		} while (n > 0 && (size_t)n == asked);
	}
	err = errno;
	close(fd);
	errno = err;
	return n < 0 ? -1 : 0;
}

static void look_at(const struct seat *seat, int base, const char *path, bool file, struct data *d)
{
	char target[64];
	struct stat st;
	ssize_t n;

	add(d, " ", 1);
	if (file) {
		if (look_into(seat, base, path, d))
			add(d, target,
			    (size_t)snprintf(target, sizeof(target), "read: %s",
					     strerrorname_np(errno)));
		return;
	}
	if (fstatat(base, path, &st, AT_SYMLINK_NOFOLLOW)) {
		add(d, target,
		    (size_t)snprintf(target, sizeof(target), "stat: %s", strerrorname_np(errno)));
		return;
	}
	add_stat(d, &st);
	if (S_ISLNK(st.st_mode) && (n = readlinkat(base, path, target, sizeof(target))) > 0) {
		add(d, ": ", 2);
		add(d, target, (size_t)n);
	}
}

static int list(const struct seat *seat, int base, const char *directory, struct data *d,
		bool whole)
{
	char path[300], names[LISTED_MAX][256];
	unsigned count;

	if (read_names(base, directory, whole && seat->number % 4, names, &count))
		return -1;
	for (unsigned i = 0; i < count; i++) {
		snprintf(path, sizeof(path), "%s/%s", directory, names[i] + 1);
		add(d, path, strlen(path));
		if (whole)
			look_at(seat, base, path, names[i][0] == 'f', d);
		add(d, "\n", 1);
	}
	return 0;
}

/* One string after another, the last is empty. */
static const char *directories_of(const struct seat *seat)
{
	return seat->two ? "d\0e\0" : "d\0";
}

static int settle(const struct seat *seat, int base)
{
	int ret = 0;

	for (const char *d = directories_of(seat); *d; d += 2) {
		int fd = openat(base, d, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		ret |= fd < 0 ? -1 : close(fd);
	}
	return ret;
}

/* Removes what is there; what can't be removed is told. */
static int sweep(const struct seat *seat, int base, struct data *d)
{
	char names[LISTED_MAX][256], path[300];
	unsigned count;

	for (const char *directory = directories_of(seat); *directory; directory += 2) {
		bool listed = !read_names(base, directory, false, names, &count);

		for (unsigned i = 0; i < count; i++) {
			snprintf(path, sizeof(path), "%s/%s", directory, names[i] + 1);
			if (unlinkat(base, path, 0) && (errno != EISDIR || unlinkat(base, path, AT_REMOVEDIR)))
				d->size += (size_t)snprintf(d->bytes + d->size, 400, "%s can't be removed: %s\n", path, strerrorname_np(errno));
		}
		if (!listed || unlinkat(base, directory, AT_REMOVEDIR))
			d->size += (size_t)snprintf(d->bytes + d->size, 100, "directory %s can't be removed: %s\n", directory, strerrorname_np(errno));
	}
	return 0;
}

static int sync_directory(int base, unsigned name)
{
	char directory[2] = { name_of(name)[0], 0 };
	int fd = openat(base, directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC), ret;

	if (fd < 0)
		return -1;
	ret = fsync(fd);
	close(fd);
	return ret;
}

static int spawn(void)
{
	char *const argv[] = { "true", NULL };
	int status;
	pid_t pid;

	errno = posix_spawn(&pid, "/bin/true", NULL, NULL, argv, NULL);
	return errno ? -1 : waitpid(pid, &status, 0) == pid ? 0 : -1;
}

static int cut(int base, const char *name, int64_t size)
{
	int file = openat(base, name, O_PATH | O_CLOEXEC), ret;
	struct stat st;
	struct statfs fs;
	char path[300];

	if (file < 0)
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", base, name);
	ret = fstat(file, &st) || fstatfs(file, &fs) ? -1 : truncate(path, size);
	close(file);
	/* Of an empty file the time moves as well, but in memory. */
	if (!ret && !size && !st.st_size && fs.f_type == TMPFS_MAGIC)
		ret = utimensat(AT_FDCWD, path, NULL, 0);
	return ret;
}

static int on_name(const struct seat *seat, int base, struct data *d, int *fd)
{
	const struct op *op = &seat->op;
	const char *name = name_of(op->name);
	struct timespec times[2] = { { op->at, 5 }, { op->at, 5 } };
	struct stat st;
	int ret;

	switch (op->what) {
	case OP_OPEN:
		ret = *fd >= 0 ? close(*fd) : 0;
		*fd = -1;
		if (ret)
			return ret;
		*fd = openat(base, name, op->flags, op->mode);
		return *fd < 0 ? -1 : 0;
	case OP_TRUNCATE:
		return cut(base, name, op->at);
	case OP_RENAME:
		return renameat2(base, name, base, name_of(op->to), (unsigned)op->flags);
	case OP_UNLINK:
		return unlinkat(base, name, 0);
	case OP_MKDIR:
		return mkdirat(base, name, 0755);
	case OP_RMDIR:
		return unlinkat(base, name, AT_REMOVEDIR);
	case OP_SYMLINK:
		return symlinkat("p", base, name);
	case OP_LINK:
		return linkat(base, name, base, name_of(op->to), 0);
	case OP_CHMOD:
		return fchmodat(base, name, op->mode, 0);
	case OP_CHOWN:
		return fchownat(base, name, op->mode & 7, op->mode & 7, 0);
	case OP_UTIME:
		return utimensat(base, name, times, 0);
	case OP_STAT:
		ret = fstatat(base, name, &st, AT_SYMLINK_NOFOLLOW);
		if (!ret)
			add_stat(d, &st);
		return ret;
	}
	errno = ENOSYS;
	return -1;
}

static int on_descriptor(const struct seat *seat, struct data *d, int *fds)
{
	const struct op *op = &seat->op;
	struct timespec times[2] = { { op->at, 5 }, { op->at, 5 } };
	int *fd = &fds[op->slot], ret;
	char text[TEXT_MAX];
	struct stat st;
	ssize_t n;

	switch (op->what) {
	case OP_CLOSE:
		ret = close(*fd);
		*fd = -1;
		return ret;
	case OP_WRITE:
		return (int)write(*fd, text, make_text(seat->number, op, text));
	case OP_PWRITE:
		return (int)pwrite(*fd, text, make_text(seat->number, op, text), op->at);
	case OP_READ:
		return read_all(*fd, d);
	case OP_PREAD:
		n = pread(*fd, d->bytes, 100000, op->at);
		d->size = n > 0 ? (size_t)n : 0;
		return n < 0 ? -1 : 0;
	case OP_FTRUNCATE:
		return ftruncate(*fd, op->at);
	case OP_DUP:
		if (op->other == op->slot)
			return 0;
		ret = fds[op->other] >= 0 ? close(fds[op->other]) : 0;
		fds[op->other] = -1;
		if (ret)
			return ret;
		fds[op->other] = *fd < 0 ? -1 : dup(*fd);
		if (*fd < 0)
			errno = EBADF;
		return fds[op->other] < 0 ? -1 : 0;
	case OP_FSYNC:
		return fsync(*fd);
	case OP_FDATASYNC:
		return fdatasync(*fd);
	case OP_FSTAT:
		ret = fstat(*fd, &st);
		if (!ret)
			add_stat(d, &st);
		return ret;
	case OP_FCHMOD:
		return fchmod(*fd, op->mode);
	case OP_FUTIME:
		return futimens(*fd, times);
	}
	errno = ENOSYS;
	return -1;
}

bool begin(struct seat *seat, struct descriptors *d)
{
	for (int side = 0; side < (seat->both ? SIDES : 1); side++) {
		for (int i = 0; i < SLOTS; i++)
			d->slots[side][i] = -1;
		d->base[side] = open(seat->base[side], O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (d->base[side] < 0) {
			seat->results[SIDE_MOUNT] =
				(struct result){ .ret = -1, .error = errno, .step = STEP_BEGIN };
			return false;
		}
	}
	return true;
}

static int close_all(struct descriptors *d, int side)
{
	int ret = 0;

	for (int i = 0; i < SLOTS; i++) {
		if (d->slots[side][i] >= 0)
			ret |= close(d->slots[side][i]);
		d->slots[side][i] = -1;
	}
	return ret;
}

static int tree(const struct seat *seat, int base, struct data *d)
{
	int ret = 0;

	for (const char *directory = directories_of(seat); *directory && !ret; directory += 2)
		ret = list(seat, base, directory, d, true);
	return ret;
}

/* What the fuzzer asks for. */
static int look(const struct seat *seat, struct descriptors *d, int side, struct data *data,
		int *step)
{
	const struct op *op = &seat->op;
	int ret = 0, err;

	if (op->flags & ASK_CLOSE)
		ret = close_all(d, side);
	*step = ret ? 1 : 0;
	if (op->flags & ASK_SETTLE)
		settle(seat, d->base[side]);
	if (!ret && op->what == OP_TREE)
		ret = tree(seat, d->base[side], data);
	if (!ret && op->what == OP_SWEEP)
		ret = sweep(seat, d->base[side], data);
	err = errno;
	if (op->flags & ASK_END && d->base[side] >= 0) {
		close(d->base[side]);
		d->base[side] = -1;
	}
	errno = err;
	return ret;
}

void call(struct seat *seat, struct descriptors *d, int side)
{
	struct result *r = &seat->results[side];
	struct data data = { seat->data[side], 0, seat->modes };
	const struct op *op = &seat->op;
	int ret, base = d->base[side];

	*r = (struct result){ .ret = 0 };
	errno = 0;
	switch (op->what) {
	case OP_TREE: case OP_SWEEP: case OP_END: ret = look(seat, d, side, &data, &r->step); break;
	case OP_LOAD: ret = load(base, name_of(op->name), &data); break;
	case OP_SAVE: case OP_SAVE_TEMP: case OP_APPEND: ret = save(seat, base, &r->step); break;
	case OP_ADD: case OP_ADD_TEMP: ret = add_message(seat, base, &data, &r->step); break;
	case OP_LIST:
		ret = list(seat, base, (char[]){ *name_of(op->name), 0 }, &data, false);
		break;
	case OP_SYNC_DIRECTORY: ret = sync_directory(base, op->name); break;
	case OP_EXEC: ret = spawn(); break;
	default:
		ret = op->what < OP_CLOSE ? on_name(seat, base, &data, &d->slots[side][op->slot]) : on_descriptor(seat, &data, d->slots[side]);
	}
	r->ret = ret;
	r->error = ret < 0 ? errno : 0;
	r->size = data.size;
}
