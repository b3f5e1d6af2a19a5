/*
 * What somebody else has planted where the store lies: links to a victim's file, others' files and
 * directories. A store is not opened for writing there, the reason says why, and the victim stays
 * what it was.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support.h"

#define OTHER 54321	/* a user and a group of nobody here */

static const char *const files[] = { "data.mdb", "lock.mdb", "journal", "journal.new", "spare",
				    "pending.lock" };

enum plant { SYMLINK, DANGLING, HARD_LINK, FIFO, DIRECTORY, OTHERS };

static const struct {
	const char *name, *says;
	enum plant plant;
} plants[] = {
	{ "a symbolic link", "symbolic link", SYMLINK },
	{ "a symbolic link to a file that is not there", "symbolic link", DANGLING },
	{ "a hard link", "2 names", HARD_LINK },
	{ "a FIFO", "not a regular file", FIFO },
	{ "a directory", "not a regular file", DIRECTORY },
	{ "another user's file", "user 54321", OTHERS },
};

static char *at(const char *dir, const char *name)
{
	static _Thread_local char paths[4][PATH_MAX];
	static _Thread_local unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, PATH_MAX, "%s/%s", dir, name);
	return path;
}

static void make_victim(const char *path)
{
	FILE *f = fopen(path, "w");

	cr_assert_not_null(f);
	for (int i = 0; i < 3000; i++)
		fputc('S', f);
	fclose(f);
}

static void check_victim(const char *path, const char *what)
{
	char dir[PATH_MAX];
	struct text t;
	size_t same = 0;

	snprintf(dir, sizeof(dir), "%s", path);
	*strrchr(dir, '/') = 0;
	t = text_file(dir, strrchr(path, '/') + 1);
	while (same < t.size && t.data[same] == 'S')
		same++;
	cr_assert(t.size == 3000 && same == 3000, "%s: the victim has %zu bytes, %zu of them its "
		  "own", what, t.size, same);
	text_free(t);
}

static int try_open(const char *path, bool read_only, char reason[1024])
{
	struct store *s = NULL;
	struct store_options o = { .create = !read_only, .read_only = read_only, .reason = reason,
				  .reason_size = 1024 };
	int err;

	*reason = 0;
	err = store_open(path, &o, &s);
	store_close(s);
	return err;
}

static char *store_with(const char *text)
{
	char *dir = dir_make();
	struct store *s = must_open(dir, 0);
	struct store_save save = save_text(s, "a.json", text_format("%s", text), NULL, 0);

	must_save(&save, "a.json");
	free((void *)save.tail);
	must_close(s);
	return dir;
}

static void plant_at(enum plant plant, const char *path, const char *victim)
{
	unlink(path);
	switch (plant) {
	case SYMLINK:
		cr_assert_eq(symlink(victim, path), 0);
		break;
	case DANGLING:
		cr_assert_eq(symlink(at(victim, "../none"), path), 0);
		break;
	case HARD_LINK:
		cr_assert_eq(link(victim, path), 0);
		break;
	case FIFO:
		cr_assert_eq(mkfifo(path, 0600), 0);
		break;
	case DIRECTORY:
		cr_assert_eq(mkdir(path, 0700), 0);
		break;
	case OTHERS:
		make_victim(path);
		cr_assert_eq(chown(path, OTHER, OTHER), 0);
		break;
	}
}

/* Each file of a store, new or not, times each thing in its place. */
Test(planted, files_of_the_store)
{
	for (size_t f = 0; f < 2 * sizeof(files) / sizeof(files[0]); f++) {
		for (size_t p = 0; p < sizeof(plants) / sizeof(plants[0]); p++) {
			const char *file = files[f / 2];
			char *dir = f % 2 ? store_with("[1]") : dir_make(), *top = dir_make();
			char victim[PATH_MAX], reason[1024], what[200];
			int err;

			if (plants[p].plant == OTHERS && geteuid())
				continue;
			snprintf(what, sizeof(what), "%s is %s, the store is %s", file,
				 plants[p].name, f % 2 ? "there" : "new");
			snprintf(victim, sizeof(victim), "%s/victim", top);
			make_victim(victim);
			plant_at(plants[p].plant, at(dir, file), victim);
			err = try_open(dir, false, reason);
			cr_assert_eq(err, -EPERM, "%s: %d", what, err);
			cr_assert(strstr(reason, file) && strstr(reason, plants[p].says),
				  "%s: \"%s\"", what, reason);
			check_victim(victim, what);
			cr_assert(access(at(top, "none"), F_OK), "%s: a file was made elsewhere",
				  what);
			dir_remove(dir);
			dir_remove(top);
		}
	}
}

static const struct {
	const char *name, *says;
	mode_t mode;
	uid_t uid;
	gid_t gid;
	int err;	/* of who writes; reading is possible in all */
} directories[] = {
	{ "private", NULL, 0700, 0, 0, 0 },
	{ "readable by all", NULL, 0755, 0, 0, 0 },
	{ "writable by its own group", NULL, 0770, 0, 0, 0 },
	{ "writable by another group", "chmod go-w", 0770, 0, OTHER, -EPERM },
	{ "another group's, who may not write", NULL, 0750, 0, OTHER, 0 },
	{ "writable by all", "chmod go-w", 0777, 0, 0, -EPERM },
	{ "writable by all, sticky", "chmod go-w", 01777, 0, 0, -EPERM },
	{ "another user's", "user 54321", 0700, OTHER, OTHER, -EPERM },
	{ "another user's, readable by all", "user 54321", 0755, OTHER, OTHER, -EPERM },
};

/*
 * A store that is there is read in all of them as before; it is refused to who would write where
 * others decide which files those are.
 */
Test(planted, directory)
{
	if (geteuid())
		cr_skip_test("only root can give directories away");
	for (size_t i = 0; i < sizeof(directories) / sizeof(directories[0]); i++) {
		char *dir = store_with("[1]"), reason[1024];
		struct stat before, after;
		int err;

		for (size_t f = 0; directories[i].uid && f < sizeof(files) / sizeof(files[0]); f++)
			lchown(at(dir, files[f]), directories[i].uid, directories[i].gid);
		cr_assert_eq(chown(dir, directories[i].uid, directories[i].gid), 0);
		cr_assert_eq(chmod(dir, directories[i].mode), 0);
		cr_assert_eq(stat(dir, &before), 0);
		err = try_open(dir, false, reason);
		cr_assert_eq(err, directories[i].err, "%s: %d", directories[i].name, err);
		cr_assert(err ? strstr(reason, directories[i].says) != NULL : !*reason,
			  "%s: \"%s\"", directories[i].name, reason);
		cr_assert_eq(stat(dir, &after), 0);
		cr_assert_eq(before.st_mode, after.st_mode, "%s: the mode has changed",
			     directories[i].name);
		err = try_open(dir, true, reason);
		cr_assert_eq(err, 0, "%s, reading: %d", directories[i].name, err);
		/* What reading makes belongs to who owns the store. */
		cr_assert_eq(unlink(at(dir, "lock.mdb")), 0);
		err = try_open(dir, true, reason);
		cr_assert_eq(err, 0, "%s, reading without a lock file: %d", directories[i].name,
			     err);
		cr_assert_eq(stat(at(dir, "lock.mdb"), &after), 0);
		cr_assert_eq(after.st_uid, directories[i].uid, "%s: the lock file",
			     directories[i].name);
		dir_remove(dir);
	}
}

/* What a reader writes to, the lock file, is led nowhere either. */
Test(planted, reading)
{
	if (geteuid())
		cr_skip_test("only root can give directories away");
	for (size_t p = 0; p < sizeof(plants) / sizeof(plants[0]); p++) {
		char *dir = store_with("[1]"), *top = dir_make(), victim[PATH_MAX], reason[1024];
		int err;

		snprintf(victim, sizeof(victim), "%s/victim", top);
		make_victim(victim);
		plant_at(plants[p].plant, at(dir, "lock.mdb"), victim);
		/* A file that is root's, in a directory that is not. */
		if (plants[p].plant == OTHERS)
			cr_assert_eq(chown(at(dir, "lock.mdb"), 0, 0), 0);
		cr_assert_eq(chown(dir, OTHER, OTHER), 0);
		err = try_open(dir, true, reason);
		cr_assert(err, "%s: opened", plants[p].name);
		check_victim(plants[p].plant == OTHERS ? at(dir, "lock.mdb") : victim,
			     plants[p].name);
		cr_assert(access(at(top, "none"), F_OK), "%s: a file was made elsewhere",
			  plants[p].name);
		dir_remove(dir);
		dir_remove(top);
	}
}

struct swap {
	char lock[PATH_MAX], link[PATH_MAX];
	atomic_bool stop;
};

/* Gives the lock file's name to a link and back, as fast as it goes. */
static void *swap_names(void *arg)
{
	struct swap *s = arg;

	while (!atomic_load(&s->stop))
		renameat2(AT_FDCWD, s->lock, AT_FDCWD, s->link, RENAME_EXCHANGE);
	return NULL;
}

Test(planted, swapped_while_it_is_opened)
{
	char *dir, *top, victim[PATH_MAX], reason[1024];
	struct swap s = { .stop = false };
	pthread_t thread;

	if (geteuid())
		cr_skip_test("only root can give directories away");
	dir = store_with("[1]");
	top = dir_make();
	snprintf(victim, sizeof(victim), "%s/victim", top);
	make_victim(victim);
	snprintf(s.lock, sizeof(s.lock), "%s/lock.mdb", dir);
	snprintf(s.link, sizeof(s.link), "%s/other", dir);
	cr_assert_eq(symlink(victim, s.link), 0);
	cr_assert_eq(lchown(s.lock, OTHER, OTHER), 0);
	cr_assert_eq(chown(dir, OTHER, OTHER), 0);
	cr_assert_eq(pthread_create(&thread, NULL, swap_names, &s), 0);
	for (int i = 0; i < 300; i++)
		try_open(dir, true, reason);
	atomic_store(&s.stop, true);
	pthread_join(thread, NULL);
	check_victim(victim, "swapped");
	dir_remove(dir);
	dir_remove(top);
}

static const struct {
	const char *name;
	uid_t uid;
	bool middle;	/* the link is a directory above the store's */
	int err;
} paths[] = {
	{ "of root's", 0, false, 0 },
	{ "of another user's", OTHER, false, -EPERM },
	{ "of root's above", 0, true, 0 },
	{ "of another user's above", OTHER, true, -EPERM },
};

/* Symbolic links in the path to the store: those of others are not followed by who writes. */
Test(planted, links_in_the_path)
{
	if (geteuid())
		cr_skip_test("only root can give links away");
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		for (int there = 0; there < 2; there++) {
			char *top = dir_make(), reason[1024], path[PATH_MAX], real[PATH_MAX];
			int err;

			cr_assert_eq(mkdir(at(top, "real"), 0755), 0);
			snprintf(real, sizeof(real), "%s/real/store", top);
			cr_assert_eq(mkdir(real, 0700), 0);
			if (there)
				must_close(must_open(real, 0));
			snprintf(path, sizeof(path), "%s/%s", top, "link");
			cr_assert_eq(symlink(paths[i].middle ? "./real" : at(top, "real/store"),
					     path), 0);
			cr_assert_eq(lchown(path, paths[i].uid, paths[i].uid), 0);
			if (paths[i].middle)
				strcat(path, "/store/");
			err = try_open(path, false, reason);
			cr_assert_eq(err, paths[i].err, "a link %s: %d", paths[i].name, err);
			cr_assert(err ? strstr(reason, "\"link\" of user 54321") != NULL : !*reason,
				  "a link %s: \"%s\"", paths[i].name, reason);
			if (there)
				cr_assert_eq(try_open(path, true, reason), 0, "a link %s, reading",
					     paths[i].name);
			dir_remove(top);
		}
	}
}

/*
 * The names of the descriptors that a process has beneath /tmp, after it has opened and closed
 * stores, are none: nothing leaks, nothing is left.
 */
Test(planted, nothing_is_left)
{
	char *dir = store_with("[1]"), *tmp = dir_make(), reason[1024];
	int before = dup(0), after;

	close(before);
	if (!geteuid()) {
		lchown(at(dir, "lock.mdb"), OTHER, OTHER);
		cr_assert_eq(chown(dir, OTHER, OTHER), 0);
	}
	setenv("TMPDIR", tmp, 1);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(try_open(dir, true, reason), 0);
	unsetenv("TMPDIR");
	after = dup(0);
	cr_assert_eq(after, before, "descriptors: %d instead of %d is free", after, before);
	close(after);
	cr_assert_eq(rmdir(tmp), 0, "something is left in %s", tmp);
	free(tmp);
	dir_remove(dir);
}
