/*
 * Taking a tree of plain files in. One thread walks, reads and slices; documents are saved with many in flight, so that each
 * commit carries a group of them.
 *
 * What was taken in from beneath a mount is remembered by name under the directory it went to (REC_IMPORT), in the same
 * transaction as the file itself: an import that is interrupted anywhere can be run again.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "import_base.h"
#include "import_file.h"
#include "inside.h"

#define SHOW_FILES 100
#define SHOW_NS 50000000

struct timespec import_time(struct timespec t)
{
	const int64_t most = INT64_MAX / 1000000000 - 1;

	if (t.tv_sec > most)
		t.tv_sec = most;
	if (t.tv_sec < -most)
		t.tv_sec = -most;
	return t;
}

/* ---- Telling -------------------------------------------------------------------------------------------------- */

void import_report(struct import *in, const char *path, int err, const char *reason)
{
	if (in->how->report)
		in->how->report(in->how->arg, path, err, reason);
}

void import_show(struct import *in, bool last)
{
	struct timespec t;
	int64_t now;

	if (!in->how->progress)
		return;
	clock_gettime(CLOCK_MONOTONIC, &t);
	now = time_pack(t);
	if (!last && in->n.files - in->shown_files < SHOW_FILES && now - in->shown_at < SHOW_NS)
		return;
	in->shown_at = now;
	in->shown_files = in->n.files;
	in->how->progress(in->how->arg, &in->n);
}

void import_fail(struct import *in, const char *path, int err, bool unreadable)
{
	in->n.failed++;
	import_report(in, path, err, NULL);
	if (err == -ENOSPC || err == -EROFS || err == -ENOMEM || (err == -EIO && !unreadable))
		in->error = err;
}

/* ---- Directories ---------------------------------------------------------------------------------------------- */

static int add_time(struct import *in, uint64_t ino, const struct stat *st)
{
	if (in->time_count == in->time_room) {
		size_t room = in->time_room ? in->time_room * 2 : 64;
		struct dir_time *times = realloc(in->times, room * sizeof(*times));

		if (!times)
			return -ENOMEM;
		in->times = times;
		in->time_room = room;
	}
	in->times[in->time_count++] = (struct dir_time){ ino, import_time(st->st_atim), import_time(st->st_mtim) };
	return 0;
}

static void set_times(struct import *in)
{
	for (size_t i = in->time_count; i-- > 0;) {
		struct store_attr to = { .atime = in->times[i].atime, .mtime = in->times[i].mtime };

		store_setattr(in->store, in->times[i].ino, &to, STORE_SET_ATIME | STORE_SET_MTIME, NULL);
	}
}

struct dir_note {
	const struct import *in;
	const struct level *up;
	const char *name;
	uint64_t ino;
};

static int put_dir_note(struct db_txn *txn, void *arg)
{
	const struct dir_note *n = arg;
	struct rec_import rec = { .source = n->in->source, .ino = n->ino };

	return import_record_put(txn, n->up->records, n->name, &rec, NULL, 0);
}

int import_need_dir(struct import *in, struct level *l)
{
	struct store_attr a;
	int err;

	if (l->dir)
		return 0;
	err = import_need_dir(in, l->up);
	if (!err)
		err = store_create(in->store, l->up->dir, l->name, 0, S_IFDIR | (l->st.st_mode & 07777), l->st.st_uid, l->st.st_gid, NULL, &a);
	if (!err)
		err = add_time(in, a.ino, &l->st);
	if (!err)
		l->dir = a.ino;
	return err;
}

/* Where the directory goes. One that was taken in before and then removed in the store does not come back by itself. */
static int place_dir(struct import *in, struct level *l)
{
	struct import_found f;
	int err = import_find(in->store, l->up->dir, l->up->records, l->name, &f);

	if (err)
		return err;
	if (f.exists && f.attr.kind != STORE_DIRECTORY)
		return -ENOTDIR;
	if (f.exists)
		l->dir = f.ino;
	else if (!f.recorded)
		err = import_need_dir(in, l);
	if (err || !in->how->remember)
		return err;
	l->records = f.recorded ? f.rec.ino : l->dir;
	return f.recorded ? 0 : db_update(in->store->db, put_dir_note, &(struct dir_note){ in, l->up, l->name, l->records });
}

/* ---- Walking ---------------------------------------------------------------------------------------------------- */

/* Calls `entry` for all names in the directory, with in->path at each. Closes l->fd. */
static int each(struct import *in, struct level *l, void (*entry)(struct import *in, struct level *l, const char *name))
{
	DIR *dir = fdopendir(l->fd);
	struct dirent *d;
	int err;

	if (!dir) {
		err = -errno;
		close(l->fd);
		return err;
	}
	while (!in->error && (errno = 0, d = readdir(dir))) {
		if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, ".."))
			continue;
		in->path.size = l->path_size;
		in->error = l->path_size ? buf_add(&in->path, "/", 1) : 0;
		if (!in->error)
			in->error = buf_add(&in->path, d->d_name, strlen(d->d_name) + 1);
		if (!in->error)
			entry(in, l, d->d_name);
	}
	err = in->error ? 0 : -errno;
	closedir(dir);
	in->path.size = l->path_size + 1;
	in->path.data[l->path_size] = 0;
	return err;
}

static int open_dir(int fd, const char *name)
{
	fd = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static void count(struct import *in, struct level *up, const char *name)
{
	struct level l = { .path_size = in->path.size - 1 };

	if (fstatat(up->fd, name, &l.st, AT_SYMLINK_NOFOLLOW))
		return;
	in->n.total_files += S_ISREG(l.st.st_mode) || S_ISLNK(l.st.st_mode);
	if (!S_ISDIR(l.st.st_mode))
		return;
	l.fd = open_dir(up->fd, name);
	if (l.fd >= 0)
		each(in, &l, count);
}

static void take(struct import *in, struct level *l, const char *name);

/* Mode and owner are those of what is read: the name may have been given to another directory meanwhile. */
static void take_dir(struct import *in, struct level *up, const char *name)
{
	struct level l = { .up = up, .name = name, .path_size = in->path.size - 1, .fd = open_dir(up->fd, name) };
	int err = l.fd < 0 ? l.fd : fstat(l.fd, &l.st) ? -errno : place_dir(in, &l);

	if (!err)
		err = each(in, &l, take);
	else if (l.fd >= 0)
		close(l.fd);
	if (err)
		import_fail(in, in->path.data, err, true);
}

static void take(struct import *in, struct level *l, const char *name)
{
	struct stat st;

	if (fstatat(l->fd, name, &st, AT_SYMLINK_NOFOLLOW)) {
		/* It may have gone since. */
		if (errno != ENOENT)
			import_fail(in, in->path.data, -errno, true);
	} else if (S_ISDIR(st.st_mode)) {
		take_dir(in, l, name);
	} else if (S_ISREG(st.st_mode) || S_ISLNK(st.st_mode)) {
		import_take_file(in, l, name, &st);
	} else {
		import_report(in, in->path.data, -EPERM, "a socket, FIFO or device; left out");
	}
}


static int note_any(void *arg, const struct store_attr *a, uint64_t cookie)
{
	return 1;
}

/* A new store's directory looks as the one that is taken in, so that its owner can go on writing there. */
static int adopt(struct import *in, struct level *top)
{
	struct store_attr to = { .mode = top->st.st_mode, .uid = top->st.st_uid, .gid = top->st.st_gid };
	struct import_found found = { 0 };
	int err = store_readdir(in->store, top->dir, 0, false, note_any, NULL);

	if (!err && in->how->remember)
		err = import_find(in->store, 0, top->dir, "", &found);
	if (err || found.recorded)
		return err < 0 ? err : 0;
	err = store_setattr(in->store, top->dir, &to, STORE_SET_MODE | STORE_SET_UID | STORE_SET_GID, NULL);
	if (!err)
		err = add_time(in, top->dir, &top->st);
	if (!err && in->how->remember)
		err = db_update(in->store->db, put_dir_note, &(struct dir_note){ in, top, "", top->dir });
	return err;
}

/* Survives reboots and changes with the directory; 0 never. */
static int source_of(int fd, uint64_t *ret)
{
	struct statx x;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &x))
		return -errno;
	*ret = x.stx_ino * 0x9e3779b97f4a7c15u ^ ((uint64_t)x.stx_btime.tv_sec * 1000000000 + x.stx_btime.tv_nsec);
	*ret += !*ret;
	return 0;
}

static int import_top(struct import *in, int dirfd, uint64_t into)
{
	struct level top = { .dir = into, .records = in->how->remember ? into : 0 };
	struct store_attr a;
	int err = store_getattr(in->store, into, &a);

	if (!err && a.kind != STORE_DIRECTORY)
		err = -ENOTDIR;
	if (!err && in->store->read_only)
		err = -EROFS;
	if (!err)
		err = buf_add(&in->path, "", 1);
	if (!err)
		err = source_of(dirfd, &in->source);
	if (!err && fstat(dirfd, &top.st))
		err = -errno;
	if (err)
		return err;
	top.fd = open_dir(dirfd, ".");
	if (top.fd < 0)
		return top.fd;
	err = each(in, &top, count);
	import_show(in, true);
	if (!err)
		err = adopt(in, &top);
	if (err)
		return err;
	top.fd = open_dir(dirfd, ".");
	if (top.fd < 0)
		return top.fd;
	err = each(in, &top, take);
	while (in->flying)
		import_land(in, true);
	set_times(in);
	import_show(in, true);
	return in->error ? in->error : err;
}

int store_import_tree(struct store *s, int dirfd, uint64_t into, const struct store_import *how, struct store_import_counts *ret)
{
	struct import in = { .store = s, .how = how, .lock = PTHREAD_MUTEX_INITIALIZER, .landed = PTHREAD_COND_INITIALIZER };
	int err = import_top(&in, dirfd, into);

	pthread_mutex_destroy(&in.lock);
	pthread_cond_destroy(&in.landed);
	buf_release(&in.path);
	free(in.times);
	if (!err)
		*ret = in.n;
	return err;
}
