/* A full disk: a filesystem of two megabytes, mounted where only this test sees it. Needs root. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

static bool mount_small(const char *dir)
{
	return !unshare(CLONE_NEWNS) && !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) && !mount("none", dir, "tmpfs", 0, "size=2m");
}

static struct text filled(unsigned count)
{
	struct text t = { 0 };
	FILE *f = open_memstream(&t.data, &t.size);
	char words[20000];

	memset(words, 'w', sizeof(words) - 1);
	words[sizeof(words) - 1] = 0;
	for (unsigned i = 0; i < count; i++)
		fprintf(f, "%s{\"n\": %u, \"content\": \"%s\"}", i ? ", " : "[", i, words);
	fputs("]\n", f);
	fclose(f);
	return t;
}

/* Appends until the disk is full; how many messages were acknowledged. */
static unsigned fill(struct store *s, unsigned have, unsigned most)
{
	for (unsigned n = have + 1; n <= most; n++) {
		struct text t = filled(n);
		struct store_save save = save_text(s, "a.json", t, NULL, 0);

		text_free(t);
		if (save.error) {
			cr_assert_eq(save.error, -ENOSPC, "message %u: %d", n, save.error);
			return n - 1;
		}
	}
	return most;
}

static void check_there(struct store *s, unsigned count)
{
	struct text want = filled(count), got = read_name(s, "a.json");

	check_text(got, want, "the last good version", "a.json");
	text_free(want);
	text_free(got);
}

static void run(unsigned delay)
{
	char *dir = dir_make(), *path;
	struct text small = { "[1]", 3 };
	struct store_attr a, ballast;
	static char bytes[600000];
	struct store_save save;
	unsigned count, more;
	struct store *s;

	if (!mount_small(dir)) {
		int err = errno;

		dir_remove(dir);
		cr_skip_test("mounting is not allowed here: %s", strerror(err));
	}
	cr_assert(asprintf(&path, "%s/store", dir) > 0);
	s = must_open(path, delay);
	cr_assert_eq(store_create(s, STORE_ROOT, "ballast", 0, S_IFREG | 0600, 0, 0, NULL, &ballast), 0);
	memset(bytes, 'b', sizeof(bytes));
	cr_assert_eq(store_write(s, ballast.ino, 0, bytes, sizeof(bytes)), 0);
	cr_assert_eq(store_sync(s), 0);
	count = fill(s, 0, 200);
	if (delay) {
		/* What was acknowledged may not have fitted any more: then the store says so when asked. */
		cr_assert_lt(count, 200);
	} else {
		cr_assert(count > 10 && count < 100, "%u messages fitted", count);
	}
	check_there(s, count);
	/* Again and again: nothing is lost, nothing hangs. One more may fit yet. */
	for (int i = 0; i < 5; i++) {
		count = fill(s, count, 200);
		cr_assert_lt(count, 200);
		check_there(s, count);
	}
	/* Removing makes room; but what is delayed goes to disk as one, or not at all. */
	cr_assert_eq(store_unlink(s, STORE_ROOT, "ballast", false, NULL), 0);
	cr_assert_eq(store_lookup(s, STORE_ROOT, "ballast", &a), -ENOENT);
	more = count;
	if (!delay) {
		cr_assert_eq(store_sync(s), 0, "what removes a file does not fit");
		more = fill(s, count, count + 20);
		cr_assert_geq(more, count + 15, "room for %u messages after 600 KB were removed", more - count);
	}
	check_there(s, more);
	/* Full again; then the filesystem grows. */
	count = fill(s, more, 200);
	cr_assert_lt(count, 200);
	cr_assert_eq(mount(NULL, dir, NULL, MS_REMOUNT, "size=16m"), 0);
	cr_assert_eq(store_sync(s), 0);
	cr_assert_eq(fill(s, count, count + 5), count + 5);
	save = save_text(s, "b.json", small, NULL, 0);
	must_save(&save, "b.json");
	store_close(s);
	s = must_open(path, 0);
	check_there(s, count + 5);
	cr_assert_eq(store_lookup(s, STORE_ROOT, "ballast", &a), -ENOENT);
	store_close(s);
	free(path);
	cr_assert_eq(umount(dir), 0);
	dir_remove(dir);
}

Test(space, full_disk)
{
	run(0);
}

Test(space, full_disk_delayed)
{
	run(20);
}

static uint64_t pending_bytes(struct store *s)
{
	struct store_stats stats;

	cr_assert_eq(store_stats(s, false, &stats), 0);
	return stats.pending_bytes;
}

static void fill_disk(const char *path)
{
	static char bytes[4096];
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	cr_assert_geq(fd, 0);
	while (write(fd, bytes, sizeof(bytes)) > 0)
		;
	cr_assert_eq(errno, ENOSPC);
	close(fd);
}

/*
 * Killed with a full journal, and opened when the disk is full: all is there. When there is room it goes to the tree by itself, and others, who wait for that,
 * can open the store.
 */
Test(space, opened_full_after_a_kill)
{
	char *dir = dir_make(), *path, *ballast;
	struct store_save save;
	struct store_attr a;
	struct text t;
	struct store *s;
	int status;
	pid_t pid;

	if (!mount_small(dir)) {
		int err = errno;

		dir_remove(dir);
		cr_skip_test("mounting is not allowed here: %s", strerror(err));
	}
	cr_assert_eq(mount(NULL, dir, NULL, MS_REMOUNT, "size=6m"), 0);
	cr_assert(asprintf(&path, "%s/store", dir) > 0 && asprintf(&ballast, "%s/ballast", dir) > 0);
	store_close(must_open(path, 0));
	fflush(stdout);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (!pid) {
		s = must_open(path, 0);
		save = save_text(s, "first.json", (struct text){ "[1]", 3 }, NULL, 0);
		_exit(save.error || fill(s, 0, 22) != 22 || !pending_bytes(s));
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(status, 0);
	fill_disk(ballast);
	s = must_open(path, 0);
	cr_assert_gt(pending_bytes(s), 0);
	check_there(s, 22);
	cr_assert_eq(store_lookup(s, STORE_ROOT, "first.json", &a), 0);
	cr_assert_eq(unlink(ballast), 0);
	while (pending_bytes(s))
		usleep(1000);
	fflush(stdout);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (!pid) {
		struct store *other = must_open(path, 0);

		save = save_text(other, "second.json", (struct text){ "[2]", 3 }, NULL, 0);
		_exit(save.error != 0);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(status, 0);
	t = read_name(s, "second.json");
	cr_assert_eq(t.size, 3);
	text_free(t);
	check_there(s, 22);
	must_close(s);
	free(path);
	free(ballast);
	cr_assert_eq(umount(dir), 0);
	dir_remove(dir);
}

/* The largest size of the store is a full disk of its own. */
Test(space, full_map)
{
	struct store_options o = { .create = true, .map_size = 1 << 20 };
	char *dir = dir_make();
	struct store *s;
	unsigned count;

	cr_assert_eq(store_open(dir, &o, &s), 0);
	count = fill(s, 0, 200);
	/* One megabyte of them, and what the two of the journal hold before the first drain finds out: that depends on when it comes. */
	cr_assert(count > 5 && count < 160, "%u messages fitted", count);
	check_there(s, count);
	store_close(s);
	o.map_size = 8 << 20;
	cr_assert_eq(store_open(dir, &o, &s), 0);
	cr_assert_eq(fill(s, count, count + 10), count + 10);
	check_there(s, count + 10);
	store_close(s);
	dir_remove(dir);
}
