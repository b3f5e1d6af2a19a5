/*
 * The process is killed, or the power fails, at every point of its I/O (P1, P7). What was acknowledged is there, all in
 * its order; and the store opens as it is. SEED=n repeats a run.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "faultio.h"
#include "support.h"

/* What the child has done, seen by its parent after its death. */
struct board {
	atomic_uint begun, saved, created, synced;	/* created before the last save, and before the last sync */
	atomic_uint calls;
};

static struct board *board;

static void make_board(void)
{
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(board, MAP_FAILED);
}

TestSuite(crash, .init = make_board);

static struct text list_of(unsigned count)
{
	struct text t = { 0 };
	FILE *f = open_memstream(&t.data, &t.size);

	for (unsigned i = 0; i < count; i++)
		fprintf(f, "%s{\"number\": %u, \"content\": \"%*u\"}", i ? ", " : "[", i, (int)(i * 37 % 5 == 0 ? 9000 : 20), i);
	fputs("]\n", f);
	fclose(f);
	return t;
}

#define SAVES 8

/* Appends to one document, makes files, rewrites and unlinks others, between saves. */
static int work(struct store *s)
{
	struct store_base base = base_at(0, 0);
	char name[32];

	for (unsigned i = 1; i <= SAVES; i++) {
		struct text t = list_of(i), other = text_format("[%u]", i);
		struct store_attr a;
		struct store_save save;

		snprintf(name, sizeof(name), "file %u", i);
		if (store_create(s, STORE_ROOT, name, 0, S_IFREG | 0600, 0, 0, NULL, &a) || store_write(s, a.ino, 0, name, strlen(name)))
			return 1;
		atomic_store(&board->begun, i);
		save = save_text(s, "log.json", t, &base, 0);
		if (save.error)
			return 2;
		base = base_at(save.saved_ino, save.version);
		atomic_store(&board->saved, i);
		atomic_store(&board->created, i);
		if (i % 3 == 0) {
			if (store_sync(s))
				return 3;
			atomic_store(&board->synced, i);
		}
		if (i % 2) {
			save = save_text(s, "other.json", other, NULL, 0);
			if (save.error)
				return 4;
		} else if (store_unlink(s, STORE_ROOT, "other.json", false, NULL)) {
			return 5;
		}
		text_free(t);
		text_free(other);
	}
	return 0;
}

/* A child does the work until its I/O call number `at`. Whether it got there. */
static bool crash_at(const char *dir, unsigned delay, enum fault fault, bool direct, unsigned at)
{
	int status;
	pid_t pid;

	memset(board, 0, sizeof(*board));
	fflush(stdout);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (!pid) {
		struct store_options o = { .delay_ms = delay, .map_size = 1ull << 30 };
		struct store *s;

		srand(at);
		fault_direct(direct);
		fault_skip_sync(dir);
		fault_arm(dir, fault, at, 1);
		if (store_open(dir, &o, &s))
			_exit(10);
		int rc = work(s);

		store_close(s);
		atomic_store(&board->calls, fault_disarm());
		_exit(rc);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return true;
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the work ended with %d", status);
	return false;
}

static void check_after(const char *dir, unsigned delay, const char *what, unsigned at)
{
	unsigned saved = atomic_load(&board->saved), begun = atomic_load(&board->begun), least = delay ? atomic_load(&board->synced) : saved;
	struct store *s = must_open(dir, 0);
	struct store_attr a;
	struct text t, want;
	unsigned found = 0;
	char name[32], bytes[32];
	size_t size;

	/* The document is one of the states that it had, and not older than what was acknowledged. */
	if (store_lookup(s, STORE_ROOT, "log.json", &a) == 0)
		found = (unsigned)a.messages;
	cr_assert(found >= least && found <= begun, "%s at call %u: %u messages, %u were acknowledged, %u begun", what, at, found, least, begun);
	if (found) {
		t = read_name(s, "log.json");
		want = list_of(found);
		check_text(t, want, what, "log.json");
		text_free(t);
		text_free(want);
	}
	/* What was done before a save that is there is there too; and all of it in order. */
	for (unsigned i = 1; i <= SAVES; i++) {
		snprintf(name, sizeof(name), "file %u", i);
		if (store_lookup(s, STORE_ROOT, name, &a)) {
			cr_assert_gt(i, found, "%s at call %u: %s is missing", what, at, name);
			continue;
		}
		cr_assert_leq(i, begun + 1);
		if (i <= found)
			cr_assert_eq(a.size, strlen(name), "%s at call %u: %s is empty", what, at, name);
		cr_assert_eq(store_read(s, a.ino, 0, bytes, sizeof(bytes), &size), 0);
		cr_assert(!memcmp(bytes, name, size));
	}
	/* And it goes on. */
	t = list_of(found + 1);
	struct store_save save = save_text(s, "log.json", t, NULL, 0);

	must_save(&save, "after the crash");
	text_free(t);
	must_close(s);
}

static void crash_everywhere(unsigned delay, enum fault fault, bool direct, const char *what)
{
	unsigned at = 1, step = 1;
	bool crashed = true;

	while (crashed) {
		char *dir = dir_make();
		struct store *s = must_open(dir, 0);

		store_close(s);
		crashed = crash_at(dir, delay, fault, direct, at);
		check_after(dir, delay, what, at);
		dir_remove(dir);
		at += step;
	}
	cr_assert_gt(at, delay ? 8 : direct ? 10 : 20, "only %u calls", at);
}

static const struct {
	enum fault fault;
	const char *name;
} ends[] = { { FAULT_KILL, "killed" }, { FAULT_TORN, "killed in a write" }, { FAULT_POWER, "power failed" } };

Test(crash, at_every_call)
{
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		for (int direct = 0; direct < 2; direct++) {
			crash_everywhere(0, ends[i].fault, direct, ends[i].name);
			crash_everywhere(5, ends[i].fault, direct, ends[i].name);
		}
	}
}

/* Killed from outside, with several threads at work. */
Test(crash, killed_at_random_moments)
{
	random_seed("crash");
	for (int round = 0; round < 25; round++) {
		char *dir = dir_make();
		struct store *s = must_open(dir, 0);
		unsigned delay = round % 2 * 5;
		int status;
		pid_t pid;

		store_close(s);
		memset(board, 0, sizeof(*board));
		fflush(stdout);
		pid = fork();
		cr_assert_geq(pid, 0);
		if (!pid) {
			s = must_open(dir, delay);
			_exit(work(s) ? 1 : 0);
		}
		usleep((useconds_t)random_below(60000));
		kill(pid, SIGKILL);
		cr_assert_eq(waitpid(pid, &status, 0), pid);
		cr_assert(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
		check_after(dir, delay, "killed", (unsigned)round);
		dir_remove(dir);
	}
}

/* Making a store: it fails, or is interrupted, and can be made again; or it is whole. */
static int create_failing(const char *dir, enum fault fault, unsigned at)
{
	struct store_options o = { .create = true, .map_size = 1ull << 30 };
	struct store *s;
	int err;

	srand(at);
	fault_arm(dir, fault, at, 1);
	err = store_open(dir, &o, &s);
	if (!err)
		store_close(s);
	atomic_store(&board->calls, fault_disarm());
	atomic_store(&board->begun, err ? 1 : 0);
	return 0;
}

Test(crash, while_the_store_is_made)
{
	static const enum fault faults[] = { FAULT_KILL, FAULT_TORN, FAULT_POWER, FAULT_EIO, FAULT_ENOSPC, FAULT_SHORT };

	for (size_t f = 0; f < sizeof(faults) / sizeof(faults[0]); f++) {
		unsigned at = 1;

		for (bool hit = true; hit; at++) {
			char *top = dir_make(), *dir, *again;
			struct store_attr a;
			struct store *s;
			int status, err;
			pid_t pid;

			cr_assert(asprintf(&dir, "%s/store", top) > 0);
			memset(board, 0, sizeof(*board));
			fflush(stdout);
			pid = fork();
			cr_assert_geq(pid, 0);
			if (!pid)
				_exit(create_failing(dir, faults[f], at));
			cr_assert_eq(waitpid(pid, &status, 0), pid);
			hit = WIFSIGNALED(status) || atomic_load(&board->calls) >= at;
			cr_assert(!WIFSIGNALED(status) || WTERMSIG(status) == SIGKILL, "fault %zu at call %u: signal %d", f, at, WTERMSIG(status));
			/* Without asking for one to be made: there is a whole one, or none. */
			err = store_open(dir, &(struct store_options){ .read_only = true }, &s);
			cr_assert(err == 0 || err == -ENOENT, "fault %zu at call %u: %d", f, at, err);
			if (!err) {
				cr_assert_eq(store_getattr(s, STORE_ROOT, &a), 0, "fault %zu at call %u: no root", f, at);
				store_close(s);
			}
			s = must_open(dir, 0);
			again = "[1]";
			struct store_save save = save_text(s, "a.json", (struct text){ again, 3 }, NULL, 0);

			must_save(&save, "in a store made again");
			must_close(s);
			free(dir);
			dir_remove(top);
		}
		cr_assert_gt(at, 8, "only %u calls", at);
	}
}
