/* The journal while the disk refuses, the power fails, or a process dies beside another. SEED=n repeats a run. */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "faultio.h"
#include "numbered.h"
#include "support.h"

static uint64_t journaled(struct db *db)
{
	struct db_stats stats;

	db_stats(db, &stats);
	return stats.journaled;
}

/* Opened again, as after a kill. */
static uint64_t again(const char *dir, const char *what)
{
	struct db *db = numbered_open(dir, true);
	uint64_t n = numbered_check(db, what);

	db_close(db);
	db = numbered_open(dir, false);
	cr_assert_eq(numbered_check(db, what), n, "%s: the reader saw state %llu", what, (unsigned long long)n);
	db_close(db);
	return n;
}

/* ---- A disk that refuses -------------------------------------------------------------------------------------- */

static int durable(struct db *db)
{
	return numbered_durable(db, NULL);
}

static int update_and_sync(struct db *db)
{
	int err = numbered_update(db, NULL);

	return err ? err : db_sync(db);
}

static int update_and_drain(struct db *db)
{
	int err = numbered_update(db, NULL);

	return err ? err : db_drain(db, false);
}

static const struct { const char *name; int (*run)(struct db *db); bool shown; } ways[] = {
	{ "durable", durable, false }, { "sync", update_and_sync, true }, { "drain", update_and_drain, true },
};

static const struct { const char *name; enum fault fault; unsigned count; } faults[] = {
	{ "EIO", FAULT_EIO, 1 }, { "ENOSPC", FAULT_ENOSPC, 1 }, { "a short write", FAULT_SHORT, 1 },
	{ "EIO from there on", FAULT_EIO, UINT32_MAX }, { "ENOSPC from there on", FAULT_ENOSPC, UINT32_MAX },
};

/*
 * A call fails: either the transaction goes another way, or it fails and nothing of it is there; what has been acknowledged before is. Then the
 * journal serves again. With `close` the process ends before the disk has taken anything more.
 */
static bool refuse(size_t w, size_t f, unsigned at, bool close, bool fresh, bool direct)
{
	char *dir = dir_make(), what[140];
	struct db *db;
	uint64_t n, entries;
	bool hit;
	int err;

	fault_direct(direct);
	db = numbered_open(dir, false);
	fault_skip_sync(dir);
	for (int i = 0; i < 6; i++)
		cr_assert_eq(numbered_durable(db, NULL), 0);
	/* Nothing waits for the tree. */
	if (fresh)
		cr_assert_eq(db_drain(db, false), 0);
	snprintf(what, sizeof(what), "%s%s%s, %s at call %u%s", ways[w].name, fresh ? ", drained" : "", direct ? ", direct" : "", faults[f].name, at, close ? ", closed" : "");
	fault_arm(dir, faults[f].fault, at, faults[f].count);
	err = ways[w].run(db);
	hit = fault_disarm() >= at;
	cr_assert(err == 0 || err == -EIO || err == -ENOSPC, "%s: %d", what, err);
	cr_assert(hit || !err, "%s: %d, though nothing failed", what, err);
	n = numbered_check(db, what);
	cr_assert_eq(n, err && !ways[w].shown ? 6 : 7, "%s: %d, and state %llu", what, err, (unsigned long long)n);
	if (close) {
		uint64_t found;

		/* As store_close does; the disk is well. */
		cr_assert_eq(db_drain(db, false), 0);
		db_close(db);
		found = again(dir, what);
		cr_assert_eq(found, n, "%s: state %llu when opened again, %llu before", what, (unsigned long long)found, (unsigned long long)n);
	} else {
		cr_assert_eq(db_sync(db), 0, "%s", what);
		for (int i = 0; i < 2; i++)
			cr_assert_eq(numbered_durable(db, NULL), 0, "%s", what);
		cr_assert_eq(numbered_check(db, what), n + 2);
		entries = journaled(db);
		cr_assert_eq(numbered_durable(db, NULL), 0, "%s", what);
		cr_assert_eq(journaled(db), entries + 1, "%s: the journal does not serve any more", what);
		db_close(db);
		cr_assert_eq(again(dir, what), n + 3, "%s", what);
	}
	fault_direct(true);
	fault_skip_sync(NULL);
	dir_remove(dir);
	return hit;
}

static void refuse_everywhere(bool close)
{
	for (size_t w = 0; w < sizeof(ways) / sizeof(ways[0]); w++) {
		for (size_t f = 0; f < sizeof(faults) / sizeof(faults[0]); f++) {
			for (int how = 0; how < 4; how++) {
				bool fresh = how & 1, direct = how & 2;
				unsigned at = 1;

				while (refuse(w, f, at, close, fresh, direct))
					at++;
				cr_assert_gt(at, direct ? 1 : 2, "%s: only %u calls", ways[w].name, at);
			}
		}
	}
}

Test(journal_faults, a_call_fails)
{
	refuse_everywhere(false);
}

/* "On failure nothing of it is seen": nor when the store is opened again. */
Test(journal_faults, a_call_fails_and_it_is_closed)
{
	refuse_everywhere(true);
}

static int put_two_megabytes(struct db_txn *txn, void *arg)
{
	static char bytes[2 << 20];

	return db_put(txn, "large", 5, bytes, sizeof(bytes));
}

static int put_nothing(struct db_txn *txn, void *arg)
{
	return 0;
}

/* An update that finds nothing to do, such as the one at opening, needs no room. */
Test(journal_faults, nothing_needs_no_room)
{
	char *dir = dir_make();
	struct db *db = numbered_open(dir, false);

	cr_assert_eq(db_update(db, put_two_megabytes, NULL), 0);
	fault_arm(dir, FAULT_ENOSPC, 1, UINT32_MAX);
	cr_assert_neq(db_drain(db, false), 0);
	cr_assert_eq(db_update(db, put_nothing, NULL), 0);
	cr_assert_neq(db_update(db, put_two_megabytes, NULL), 0);
	fault_disarm();
	cr_assert_eq(db_drain(db, false), 0);
	db_close(db);
	dir_remove(dir);
}

/* ---- The end, at every call ----------------------------------------------------------------------------------- */

/* Half the journal, drained, and again: both halves are used, one of them twice. */
static int work(struct db *db, struct board *board)
{
	int err = 0;

	for (int i = 0; !err && i < 5; i++) {
		for (int n = 0; !err && n < 3; n++) {
			err = n == 1 ? numbered_update(db, board) : 0;
			if (!err)
				err = numbered_durable(db, board);
		}
		if (!err)
			err = numbered_sync(db, board, i % 4 != 3);
	}
	return err;
}

static const struct { const char *name; enum fault fault; } ends[] = {
	{ "killed", FAULT_KILL }, { "killed in a write", FAULT_TORN }, { "killed after a call", FAULT_AFTER }, { "power failed", FAULT_POWER },
};

static bool end_at(const char *dir, struct board *board, enum fault fault, bool direct, unsigned at, unsigned seed)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (!pid) {
		struct db *db = NULL;
		int err;

		srand(seed + at);
		fault_direct(direct);
		fault_skip_sync(dir);
		fault_arm(dir, fault, at, 1);
		err = numbered_try(dir, false, &db);
		_exit(err || work(db, board) ? 1 : 0);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert((WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) || !status, "a child ended with %x", status);
	return WIFSIGNALED(status);
}

Test(journal_faults, the_end_around_a_switch)
{
	struct board *board = board_make();

	random_seed("journal switch");
	for (size_t i = 0; i < 2 * sizeof(ends) / sizeof(ends[0]); i++) {
		size_t e = i / 2;
		bool direct = i % 2;
		unsigned seed = (unsigned)random_below(1000000), at = 1;

		for (bool ended = true; ended; at++) {
			char *dir = dir_make(), what[100];
			struct db *db = numbered_open(dir, false);
			uint64_t n;

			db_close(db);
			memset(board, 0, sizeof(*board));
			ended = end_at(dir, board, ends[e].fault, direct, at, seed);
			/* And once more, in what that left. */
			if (at % 3 == 0)
				end_at(dir, board, ends[e].fault, direct, at / 2, seed);
			snprintf(what, sizeof(what), "%s%s at call %u", ends[e].name, direct ? ", direct," : "", at);
			n = again(dir, what);
			cr_assert(n >= atomic_load(&board->durable) && n <= atomic_load(&board->begun), "%s: state %llu, %llu was durable, %llu begun",
				  what, (unsigned long long)n, (unsigned long long)atomic_load(&board->durable),
				  (unsigned long long)atomic_load(&board->begun));
			dir_remove(dir);
		}
		cr_assert_gt(at, direct ? 20 : 40, "only %u calls", at);
	}
	board_free(board);
}

/* ---- Beside another process ----------------------------------------------------------------------------------- */

/*
 * A process dies in the middle of a commit: what LMDB's table of readers says is older than the tree. The other, alone now, must not go on from there, or what it
 * puts into the journal belongs to a tree that is no more.
 */
Test(journal_faults, another_dies_in_a_commit)
{
	struct board *board = board_make();
	unsigned at = 1;

	for (bool died = true; died; at++) {
		char *dir = dir_make(), what[64];
		struct db *db;
		uint64_t n;
		int status;
		pid_t pid;

		db_close(numbered_open(dir, false));
		memset(board, 0, sizeof(*board));
		fflush(stdout);
		pid = fork();
		cr_assert_geq(pid, 0);
		if (!pid) {
			int err;

			while (!atomic_load(&board->ready))
				usleep(100);
			err = numbered_try(dir, false, &db);
			fault_arm(dir, FAULT_AFTER, at, 1);
			_exit(err || numbered_durable(db, board) ? 1 : 0);
		}
		db = numbered_open(dir, false);
		for (int i = 0; i < 4; i++)
			cr_assert_eq(numbered_durable(db, board), 0);
		cr_assert_eq(numbered_sync(db, board, true), 0);
		atomic_store(&board->ready, 1);
		cr_assert_eq(waitpid(pid, &status, 0), pid);
		died = WIFSIGNALED(status);
		cr_assert(died || !status, "the other ended with %x", status);
		snprintf(what, sizeof(what), "it died after call %u", at);
		for (int i = 0; i < 3; i++)
			cr_assert_eq(numbered_durable(db, board), 0);
		n = numbered_check(db, what);
		db_close(db);
		cr_assert_eq(again(dir, what), n, "%s: state %llu is lost", what, (unsigned long long)n);
		dir_remove(dir);
	}
	cr_assert_gt(at, 3, "only %u calls", at);
	board_free(board);
}
