#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "output.h"
#include "place.h"
#include "tool.h"

/* A directory that was written; it gets its mode and times when everything in it is there. */
struct written {
	char *path;
	struct store_attr attr;
};

struct export {
	struct store *store;
	int root, directory;		/* where DIR and the directory being written are open */
	uint64_t files, directories, bytes, failed, total;
	unsigned temp;			/* names temp files */
	struct written *written;
	size_t count, room;
	char *buf;
	uint64_t *seen;			/* files that were written or have been told of, in the order of coming */
	size_t seen_count, seen_room;
};

enum { PIECE = 1 << 20 };

static int fail(void *arg, const char *path, int err)
{
	struct export *e = arg;

	e->failed++;
	if (err == -EUCLEAN)
		say_errno(*path ? path : "the root directory", err);
	else
		say_error(*path ? path : "the root directory", "%s; it was not exported", strerror(abs(err)));
	return 0;
}

/* Opens a directory beneath the root without following any symbolic link that someone left there. */
static int open_beneath(int root, const char *path)
{
	int fd = fcntl(root, F_DUPFD_CLOEXEC, 0);
	char *copy = need(strdup(path)), *at = copy;

	for (char *name; fd >= 0 && *path && (name = strsep(&at, "/")); ) {
		int next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), err = errno;

		close(fd);
		fd = next;
		errno = err;
	}
	if (fd < 0)
		fd = -errno;
	free(copy);
	return fd;
}

static int write_all(int fd, const char *buf, size_t size)
{
	while (size) {
		ssize_t n = write(fd, buf, size);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			buf += n;
			size -= (size_t)n;
		}
	}
	return 0;
}

/* The whole content, of one version when it is a document. */
static int write_content(struct export *e, int fd, const struct store_attr *a)
{
	struct store_view *v = NULL;
	uint64_t at = 0;
	size_t n;
	int r = a->kind == STORE_DOCUMENT ? store_view_open(e->store, a->ino, 0, &v) : 0;

	if (r)
		return r;
	do {
		n = 0;
		r = v ? store_view_read(v, at, e->buf, PIECE, &n) : store_read(e->store, a->ino, at, e->buf, PIECE, &n);
		if (!r)
			r = write_all(fd, e->buf, n);
		at += n;
	} while (!r && n);
	store_view_unref(v);
	e->bytes += at;
	return r;
}

static int set_owner(int fd, const char *name, const struct store_attr *a)
{
	if (geteuid() && (a->uid != geteuid() || a->gid != getegid()))
		return 0;	/* only root can give files away */
	return fchownat(fd, name, a->uid, a->gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) ? -errno : 0;
}

/* A file that stays the exporter's own must not run as him because it would have run as another. */
static mode_t mode_of(const struct store_attr *a)
{
	return a->mode & (geteuid() && a->uid != geteuid() ? 0777 : 07777);
}

static int write_file(struct export *e, const char *temp, const struct store_attr *a)
{
	const struct timespec times[2] = { a->atime, a->mtime };
	int fd = openat(e->directory, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600), r;

	if (fd < 0)
		return -errno;
	r = write_content(e, fd, a);
	if (!r)
		r = set_owner(fd, "", a);
	if (!r && (fchmod(fd, mode_of(a)) || futimens(fd, times) || fsync(fd)))
		r = -errno;
	if (close(fd) && !r)
		r = -errno;
	return r;
}

static int write_symlink(struct export *e, const char *temp, const struct store_attr *a)
{
	const struct timespec times[2] = { a->atime, a->mtime };
	int fd, r = store_readlink(e->store, a->ino, e->buf, PIECE);
	struct stat st;

	if (r)
		return r;
	if (symlinkat(e->buf, e->directory, temp))
		return -errno;
	/* By descriptor: in another's directory a file may have been put in its place. */
	fd = openat(e->directory, temp, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = fstat(fd, &st) ? -errno : !S_ISLNK(st.st_mode) ? -EEXIST : set_owner(fd, "", a);
	close(fd);
	if (!r && utimensat(e->directory, temp, times, AT_SYMLINK_NOFOLLOW))
		r = -errno;
	return r;
}

static void note_seen(struct export *e, uint64_t ino)
{
	if (e->seen_count == e->seen_room) {
		e->seen_room = e->seen_room ? e->seen_room * 2 : 1024;
		e->seen = need(realloc(e->seen, e->seen_room * sizeof(*e->seen)));
	}
	e->seen[e->seen_count++] = ino;
}

/* What is known of a file whose attributes can't be read. */
static struct store_attr with_defaults(const struct store_attr *a)
{
	struct store_attr d = *a;

	if (d.damaged) {
		d.mode = S_IFREG | 0600;
		d.uid = geteuid();
		d.gid = getegid();
		d.kind = STORE_DOCUMENT;
		clock_gettime(CLOCK_REALTIME, &d.mtime);
		d.atime = d.mtime;
	}
	return d;
}

static int export_entry(void *arg, const char *path, const struct store_attr *found)
{
	const struct store_attr known = with_defaults(found), *a = &known;
	struct export *e = arg;
	char temp[64];
	int r;

	note_seen(e, a->ino);
	if (e->directory < 0) {		/* its directory could not be made, which has been said */
		e->failed++;
		return 0;
	}
	snprintf(temp, sizeof(temp), ".historyctl-%d-%u", (int)getpid(), e->temp++);
	r = a->kind == STORE_SYMLINK ? write_symlink(e, temp, a) : write_file(e, temp, a);
	if (!r && renameat(e->directory, temp, e->directory, a->name))
		r = -errno;
	if (r && r != -EEXIST)
		unlinkat(e->directory, temp, 0);
	if (r == -ENOSPC || r == -EDQUOT || r == -EIO)
		return r;		/* the next ones would fail too */
	if (r && (r != -ENOENT || found->damaged))	/* ENOENT: removed since it was listed */
		fail(e, path, r);
	if (!r && found->damaged) {
		e->failed++;
		say_error(path, "its attributes are damaged: mode, owner and times are not what they were");
	}
	if (!r)
		e->files++;
	progress_show(e->files, e->total, "files");
	return 0;
}

static int export_directory(void *arg, const char *path, const struct store_attr *a)
{
	struct export *e = arg;
	int parent;

	note_seen(e, a->ino);
	if (e->directory >= 0)
		close(e->directory);
	e->directory = -1;
	if (*path) {
		char *copy = need(strdup(path)), *slash = strrchr(copy, '/');

		*(slash ? slash : copy) = '\0';
		parent = open_beneath(e->root, copy);
		free(copy);
		if (parent < 0) {
			fail(e, path, parent);
			return 0;
		}
		if (mkdirat(parent, a->name, 0700) && errno != EEXIST) {
			fail(e, path, errno);
			close(parent);
			return 0;
		}
		close(parent);
		e->directories++;
	}
	e->directory = open_beneath(e->root, path);
	if (e->directory < 0) {
		fail(e, path, e->directory);
		return 0;
	}
	if (*path)
		fchmod(e->directory, 0700);	/* one from an earlier export may be read-only */
	if (e->count == e->room) {
		e->room = e->room ? e->room * 2 : 64;
		e->written = need(realloc(e->written, e->room * sizeof(*e->written)));
	}
	e->written[e->count++] = (struct written){ need(strdup(path)), *a };
	return 0;
}

/* Last of all, from the leaves up: a directory that must not be written or searched would stop the rest. */
static void finish_directories(struct export *e, bool root_too)
{
	while (e->count) {
		struct written *w = &e->written[--e->count];
		const struct timespec times[2] = { w->attr.atime, w->attr.mtime };
		int fd = open_beneath(e->root, w->path), r = fd < 0 ? fd : 0;

		if (!r && (*w->path || root_too)) {
			r = set_owner(fd, "", &w->attr);
			if (!r && (fchmod(fd, mode_of(&w->attr)) || futimens(fd, times)))
				r = -errno;
		}
		if (!r && fsync(fd))
			r = -errno;
		if (r)
			fail(e, w->path, r);
		if (fd >= 0)
			close(fd);
		free(w->path);
	}
	free(e->written);
}

/* ---- What no name leads to ------------------------------------------------------------------------------------ */

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Whether a file has, or had before the damage, a place in the tree: others were removed, and are kept for their log. */
static bool was_linked(struct export *e, uint64_t ino, struct store_attr *ret)
{
	struct store_view *v;
	int r = store_getattr(e->store, ino, ret);

	if (!r)
		return ret->parent && ret->parent != STORE_REJECTED && ret->kind != STORE_DIRECTORY;
	*ret = (struct store_attr){ .ino = ino, .kind = STORE_DOCUMENT, .damaged = true };
	if (store_view_open(e->store, ino, 0, &v))
		return false;
	store_view_unref(v);
	return true;
}

#define STRAYS "without-a-place"

static bool open_strays(struct export *e)
{
	if (e->directory >= 0)
		close(e->directory);
	e->directory = -1;
	if (mkdirat(e->root, STRAYS, 0700) && errno != EEXIST)
		return false;
	e->directory = open_beneath(e->root, STRAYS);
	return e->directory >= 0;
}

/* In a damaged store a file may be whole though its name, or a directory above it, is not. */
static int export_strays(struct export *e)
{
	size_t known = e->seen_count, strays = 0;
	struct store_attr a;
	int r = 0;

	qsort(e->seen, known, sizeof(*e->seen), by_number);
	for (uint64_t ino = 15; !r && !(r = store_next_ino(e->store, ino, &ino)); ) {
		char path[STORE_NAME_MAX + 64], name[STORE_NAME_MAX + 1];

		if ((known && bsearch(&ino, e->seen, known, sizeof(ino), by_number)) || !was_linked(e, ino, &a))
			continue;
		if (!strays++ && !open_strays(e)) {
			fail(e, STRAYS, errno);
			return 0;
		}
		if (tool_name_is_good(a.name))
			snprintf(name, sizeof(name), "%.200s", a.name);
		else
			snprintf(name, sizeof(name), "%llu.json", (unsigned long long)ino);
		snprintf(a.name, sizeof(a.name), "%llu-%.220s", (unsigned long long)ino, name);
		snprintf(path, sizeof(path), STRAYS "/%s", a.name);
		say_error(path, "no name leads to this file any more, or one above it is damaged");
		e->failed++;
		r = export_entry(e, path, &a);
	}
	return r == -ENOENT ? 0 : r;
}

static void tell_damage(void *arg, const char *text)
{
	struct export *e = arg;

	e->failed++;
	say("%s", text);
}

static int count_entry(void *arg, const char *path, const struct store_attr *a)
{
	++*(uint64_t *)arg;
	return 0;
}

/* Where a symbolic link of another user leads, he has decided; -EPERM. */
static int open_directory(const char *name)
{
	struct stat st;
	int fd = open(name, O_PATH | O_NOFOLLOW | O_CLOEXEC), r = 0;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st))
		r = -errno;
	else if (S_ISLNK(st.st_mode) && st.st_uid && st.st_uid != geteuid())
		r = -EPERM;
	close(fd);
	if (!r) {
		fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (S_ISLNK(st.st_mode) ? 0 : O_NOFOLLOW));
		r = fd < 0 ? -errno : fd;
	}
	return r;
}

/* Opens DIR, made if it isn't there, for nobody else until all is in it; -1 when the error has been printed. */
static int open_target(const struct tool *t, const char *name, bool force, bool *ret_made)
{
	bool made = !mkdir(name, 0700), empty = true;
	struct place place;
	int fd;
	DIR *d;

	if (!made && errno != EEXIST) {
		say_error(name, "%s", strerror(errno));
		return -1;
	}
	if (!place_of(name, &place)) {
		bool same = !strcmp(place.store, t->directory);

		place_release(&place);
		if (same) {
			say_error(name, "it is in a mount of this very store; name a directory outside");
			if (made)
				rmdir(name);
			return -1;
		}
	}
	fd = open_directory(name);
	if (fd == -EPERM) {
		say_error(name, "a symbolic link of another user, who could lead the export to any place; name the directory itself");
		return -1;
	}
	errno = fd < 0 ? -fd : errno;
	d = fd < 0 ? NULL : fdopendir(fcntl(fd, F_DUPFD_CLOEXEC, 0));
	if (!d) {
		say_error(name, "%s", strerror(errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	for (struct dirent *entry; (entry = readdir(d)); )
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			empty = false;
	closedir(d);
	if (!empty && !force) {
		say_error(name, "not empty; name a new directory, or --force to write into it");
		close(fd);
		return -1;
	}
	*ret_made = made;
	return fd;
}

static void print_counts(const struct export *e, const char *name, bool json)
{
	cJSON *o;

	if (!json) {
		printf("exported %s (%s) to %s%s", human_count(e->files, "file"), human_size(e->bytes), name, e->failed ? "" : "\n");
		if (e->failed)
			printf("; %llu files are NOT exported, or not as they were\n", (unsigned long long)e->failed);
		return;
	}
	o = json_object();
	json_number(o, "files", e->files);
	json_number(o, "directories", e->directories);
	json_number(o, "bytes", e->bytes);
	json_number(o, "failed", e->failed);
	json_print(o);
}

int cmd_export(struct tool *t, int argc, char **argv)
{
	static const struct option options[] = { { "force", no_argument, NULL, 'f' }, { "json", no_argument, NULL, 'j' },
						 { "salvage", no_argument, NULL, 's' }, TOOL_OPTIONS };
	struct export e = { .directory = -1 };
	bool force = false, json = false, salvage = false, made;
	uint64_t damaged = 0;
	int c, r;

	while ((c = tool_getopt(t, argc, argv, ":hfjs", options)) != -1) {
		force |= c == 'f';
		salvage |= c == 's';
		json |= c == 'j';
	}
	if (argc - optind != 1)
		tool_usage(t, "export", "name one directory");
	if (!tool_open(t, &(struct store_options){ .read_only = true, .salvage = salvage }, NULL, 0))
		return EXIT_FAILED;
	e.root = open_target(t, argv[optind], force, &made);
	if (e.root < 0)
		return EXIT_FAILED;
	e.store = t->store;
	e.buf = need(malloc(PIECE));
	progress_begin("export");
	if (progress_shown())
		tool_walk(t->store, STORE_ROOT, "", &(struct tool_walk){ .entry = count_entry, .arg = &e.total });
	r = tool_walk(t->store, STORE_ROOT, "", &(struct tool_walk){ export_directory, export_entry, fail, &e });
	if (r == -EUCLEAN)		/* not even the root can be read; what is in it may be */
		r = fail(&e, "", r);
	if (!r)
		r = store_survey(e.store, tell_damage, &e, &damaged);
	if (!r && e.failed)
		r = export_strays(&e);
	if (e.directory >= 0)
		close(e.directory);
	free(e.seen);
	finish_directories(&e, made);
	progress_end();
	close(e.root);
	free(e.buf);
	if (r)
		say_errno(argv[optind], r);
	else
		print_counts(&e, argv[optind], json);
	return r || e.failed ? EXIT_FAILED : EXIT_OK;
}
