/* The engine: what reads see, while updates wait in memory and durable transactions take them to disk. SEED=n repeats a run. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "db.h"
#include "support.h"

static atomic_int pending_calls;

static void on_pending(void *arg, bool now)
{
	atomic_fetch_add(&pending_calls, 1);
}

static int put_first(struct db_txn *txn, void *arg)
{
	return db_put(txn, "!first", 6, "1", 1);
}

static struct db *open_as(const char *dir, bool journal, bool read_only)
{
	struct db_options o = { .create = true, .read_only = read_only, .map_size = 1ull << 30, .fill = put_first, .on_pending = on_pending,
				.journal_key = "!journal", .journal_key_size = 8 };
	struct db *db;
	int err = db_open(dir, &o, &db);

	cr_assert_eq(err, 0, "db_open: %d", err);
	if (journal)
		cr_assert_eq(db_use_journal(db), 0);
	return db;
}

static struct db *open_db(const char *dir)
{
	return open_as(dir, true, false);
}

/* ---- One thread, against a table ------------------------------------------------------------------------------ */

#define KEYS 60

/* Values by key; 0: there is none. */
struct model {
	uint64_t value[KEYS];
};

struct writes {
	const struct model *now;	/* what the transaction must see, and what it writes */
	struct model next;
	int fail;
	int runs;
};

static void key_of(size_t i, char key[8])
{
	snprintf(key, 8, "%c%02zu", "abc"[i % 3], i);
}

static void check_sees(struct db_txn *txn, const struct model *m)
{
	struct db_value key, value;
	struct db_scan scan;
	char name[8];
	size_t from;
	int err;

	for (int n = 0; n < 10; n++) {
		size_t i = random_below(KEYS);

		key_of(i, name);
		err = db_get(txn, name, 3, &value);
		cr_assert_eq(err, m->value[i] ? 0 : -ENOENT, "get of %s: %d", name, err);
		cr_assert(err || (value.size == 8 && !memcmp(value.data, &m->value[i], 8)), "get of %s", name);
	}
	/* One letter's keys, from somewhere on. */
	from = random_below(KEYS);
	key_of(from, name);
	cr_assert_eq(db_scan_begin(&scan, txn, name, 3, 1), 0);
	for (size_t i = from; i < KEYS; i += 3) {
		if (!m->value[i])
			continue;
		key_of(i, name);
		err = db_scan_next(&scan, &key, &value);
		cr_assert_eq(err, 0, "scan ends before %s", name);
		cr_assert(key.size == 3 && !memcmp(key.data, name, 3), "scan gives %.3s, not %s", (const char *)key.data, name);
		cr_assert(value.size == 8 && !memcmp(value.data, &m->value[i], 8), "scan of %s", name);
	}
	cr_assert_eq(db_scan_next(&scan, &key, &value), -ENOENT);
	db_scan_end(&scan);
}

static int write_some(struct db_txn *txn, void *arg)
{
	struct writes *w = arg;
	char name[8];

	w->runs++;
	w->next = *w->now;
	check_sees(txn, &w->next);
	for (uint64_t n = random_below(8); n; n--) {
		size_t i = random_below(KEYS);

		key_of(i, name);
		w->next.value[i] = random_chance(40) ? 0 : 1 + random_below(1000000);
		cr_assert_eq(w->next.value[i] ? db_put(txn, name, 3, &w->next.value[i], 8) : db_del(txn, name, 3), 0);
		check_sees(txn, &w->next);
	}
	return w->fail;
}

static void check_read(struct db *db, const struct model *m)
{
	struct db_txn *txn;

	cr_assert_eq(db_read_begin(db, &txn), 0);
	check_sees(txn, m);
	db_read_end(txn);
}

static void run_layers(bool journal)
{
	struct model now = { 0 }, durable = { 0 };
	char *dir = dir_make();
	struct db *db = open_as(dir, journal, false);
	struct db_txn *txn;

	for (int round = 0; round < 1500; round++) {
		struct writes w = { .now = &now };

		switch (random_below(14)) {
		case 0:
			w.fail = -EDOM;
			cr_assert_eq(db_update(db, write_some, &w), -EDOM);
			break;
		case 1:
			cr_assert_eq(db_durable_begin(db, &txn), 0);
			write_some(txn, &w);
			cr_assert_eq(db_durable_commit(txn), 0);
			durable = now = w.next;
			cr_assert(journal || !db_pending(db));
			break;
		case 2:
			cr_assert_eq(db_durable_begin(db, &txn), 0);
			write_some(txn, &w);
			db_durable_abort(txn);
			break;
		case 3:
			if (random_chance(80))
				break;
			/* What is only in memory is lost. What is in the journal is there, also for who only reads. */
			db_close(db);
			now = durable;
			if (random_chance(50)) {
				db = open_as(dir, journal, true);
				check_read(db, &now);
				db_close(db);
			}
			db = open_as(dir, journal, false);
			cr_assert_eq(db_pending(db), 0);
			break;
		case 4:
			cr_assert_eq(db_sync(db), 0);
			durable = now;
			break;
		case 5:
			cr_assert_eq(db_drain(db, random_chance(50)), 0);
			cr_assert_eq(db_pending(db), 0);
			durable = now;
			break;
		default:
			cr_assert_eq(db_update(db, write_some, &w), 0);
			cr_assert_eq(w.runs, 1);
			now = w.next;
		}
		check_read(db, &now);
	}
	db_close(db);
	dir_remove(dir);
}

Test(db, layers)
{
	random_seed("db");
	run_layers(false);
	run_layers(true);
}

static int put_big_key(struct db_txn *txn, void *arg)
{
	char key[600] = "k";
	size_t size = *(size_t *)arg;

	return db_put(txn, key, size, "v", 1);
}

Test(db, limits_of_keys_and_scans)
{
	char *dir = dir_make();
	struct db *db = open_db(dir);
	struct db_value key, value;
	struct db_txn *txn;
	struct db_scan scan;
	char prefix[40];

	cr_assert_eq(db_update(db, put_big_key, &(size_t){ 511 }), 0);
	cr_assert_eq(db_update(db, put_big_key, &(size_t){ 512 }), -ENAMETOOLONG);
	for (size_t size = 1; size <= 32; size++) {
		memset(prefix, 'p', sizeof(prefix));
		cr_assert_eq(db_durable_begin(db, &txn), 0);
		cr_assert_eq(db_put(txn, prefix, size + 1, "in", 2), 0);
		prefix[size - 1]++;
		cr_assert_eq(db_put(txn, prefix, size + 1, "out", 3), 0);
		prefix[size - 1]--;
		cr_assert_eq(db_scan_begin(&scan, txn, prefix, size + 1, size), 0);
		cr_assert_eq(db_scan_next(&scan, &key, &value), 0);
		cr_assert_eq(value.size, 2);
		cr_assert_eq(db_scan_next(&scan, &key, &value), -ENOENT, "a prefix of %zu bytes", size);
		db_scan_end(&scan);
		db_durable_abort(txn);
	}
	db_close(db);
	dir_remove(dir);
}

/* ---- Threads -------------------------------------------------------------------------------------------------- */

/*
 * Updates set x, or move one from p to q; durable transactions set x and y to the same higher number and count z. Whoever looks
 * sees y at most x (memory never hides part of a newer commit), p and q with the same sum, and nothing that goes back.
 */
struct numbers {
	uint64_t x, y, z, p, q;
};

static struct db *shared;
static atomic_bool stop;

static uint64_t get_number(struct db_txn *txn, const char *key, int *err)
{
	struct db_value v;
	uint64_t n = 0;
	int rc = db_get(txn, key, 1, &v);

	if (!rc)
		memcpy(&n, v.data, 8);
	else if (rc != -ENOENT)
		*err = rc;
	return n;
}

static int get_numbers(struct db_txn *txn, struct numbers *n)
{
	int err = 0;

	n->x = get_number(txn, "x", &err);
	n->y = get_number(txn, "y", &err);
	n->z = get_number(txn, "z", &err);
	n->p = get_number(txn, "p", &err);
	n->q = get_number(txn, "q", &err);
	return err;
}

static int check_numbers(const struct numbers *n, const struct numbers *before)
{
	return n->y <= n->x && n->p + n->q == 1000 && n->x >= before->x && n->y >= before->y && n->z >= before->z;
}

static int raise_x(struct db_txn *txn, void *arg)
{
	int err = 0;
	uint64_t x = get_number(txn, "x", &err) + 1;

	return err ? err : db_put(txn, "x", 1, &x, 8);
}

static int move_one(struct db_txn *txn, void *arg)
{
	int err = 0;
	uint64_t p = get_number(txn, "p", &err), q = get_number(txn, "q", &err);

	p += p ? -1 : 1000;
	q = 1000 - p;
	if (!err)
		err = db_put(txn, "p", 1, &p, 8);
	return err ? err : db_put(txn, "q", 1, &q, 8);
}

static void *reading(void *arg)
{
	struct numbers before = { 0 }, n;
	struct db_txn *txn;
	intptr_t bad = 0;

	while (!atomic_load(&stop)) {
		if (db_read_begin(shared, &txn))
			return (void *)-1;
		if (get_numbers(txn, &n) || !check_numbers(&n, &before))
			bad++;
		before = n;
		db_read_end(txn);
	}
	return (void *)bad;
}

static void *updating(void *arg)
{
	intptr_t bad = 0;

	for (unsigned i = 0; !atomic_load(&stop); i++) {
		bad += db_update(shared, i % 2 ? raise_x : move_one, NULL) != 0;
		if (i % 8 == 0)
			usleep(50);
	}
	return (void *)bad;
}

static void *draining(void *arg)
{
	intptr_t bad = 0;

	while (!atomic_load(&stop)) {
		bad += db_drain(shared, false) != 0;
		usleep(2000);
	}
	return (void *)bad;
}

static int durable_numbers(struct db *db)
{
	struct db_txn *txn;
	struct numbers n;
	int err = db_durable_begin(db, &txn);

	if (err)
		return err;
	err = get_numbers(txn, &n);
	if (!err && !check_numbers(&n, &(struct numbers){ 0 }))
		err = -EDOM;
	n.x = n.y = n.x + 1;
	n.z++;
	if (!err)
		err = db_put(txn, "x", 1, &n.x, 8);
	if (!err)
		err = db_put(txn, "y", 1, &n.y, 8);
	if (!err)
		err = db_put(txn, "z", 1, &n.z, 8);
	if (!err && random_chance(10)) {
		db_durable_abort(txn);
		return 0;
	}
	if (err)
		db_durable_abort(txn);
	return err ? err : db_durable_commit(txn);
}

static void begin_numbers(struct db *db)
{
	struct db_txn *txn;
	uint64_t p = 1000, q = 0;

	cr_assert_eq(db_durable_begin(db, &txn), 0);
	cr_assert_eq(db_put(txn, "p", 1, &p, 8), 0);
	cr_assert_eq(db_put(txn, "q", 1, &q, 8), 0);
	cr_assert_eq(db_durable_commit(txn), 0);
}

Test(db, threads_see_whole_transactions)
{
	pthread_t threads[7];
	char *dir = dir_make();
	struct numbers n, none = { 0 };
	struct db_txn *txn;
	void *bad;

	random_seed("db threads");
	shared = open_db(dir);
	begin_numbers(shared);
	atomic_store(&stop, false);
	for (int i = 0; i < 7; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, i < 4 ? reading : i < 6 ? updating : draining, NULL), 0);
	for (int i = 0; i < 300; i++) {
		cr_assert_eq(durable_numbers(shared), 0);
		if (i % 10 == 0)
			cr_assert_eq(db_drain(shared, false), 0);
	}
	atomic_store(&stop, true);
	for (int i = 0; i < 7; i++) {
		cr_assert_eq(pthread_join(threads[i], &bad), 0);
		cr_assert_eq((intptr_t)bad, 0, "%s saw or did wrong %ld times", i < 4 ? "a reader" : i < 6 ? "an updater" : "a drain", (long)(intptr_t)bad);
	}
	cr_assert_eq(db_durable_begin(shared, &txn), 0);
	cr_assert_eq(db_durable_commit(txn), 0);
	db_close(shared);
	shared = open_db(dir);
	cr_assert_eq(db_read_begin(shared, &txn), 0);
	cr_assert_eq(get_numbers(txn, &n), 0);
	cr_assert(check_numbers(&n, &none) && n.z > 0);
	db_read_end(txn);
	db_close(shared);
	dir_remove(dir);
}

/* ---- Conflicts ------------------------------------------------------------------------------------------------ */

static int append_letter(struct db_txn *txn, void *arg)
{
	struct db_value v = { 0 };
	char text[64];
	int err = db_get(txn, "text", 4, &v);

	if (err && err != -ENOENT)
		return err;
	if (!err)
		memcpy(text, v.data, v.size);
	text[v.size] = *(char *)arg;
	return db_put(txn, "text", 4, text, v.size + 1);
}

static void *append_in_thread(void *arg)
{
	return (void *)(intptr_t)db_update(shared, append_letter, arg);
}

/* An update that meets what is in flight comes after it, whatever the interleaving. */
Test(db, updates_follow_what_is_in_flight)
{
	char *dir = dir_make();
	struct db_txn *txn;
	struct db_value v;

	shared = open_db(dir);
	for (int round = 0; round < 60; round++) {
		pthread_t thread;
		void *err;

		cr_assert_eq(db_durable_begin(shared, &txn), 0);
		cr_assert_eq(db_put(txn, "text", 4, "a", 1), 0);
		cr_assert_eq(pthread_create(&thread, NULL, append_in_thread, "b"), 0);
		cr_assert_eq(db_durable_commit(txn), 0);
		cr_assert_eq(pthread_join(thread, &err), 0);
		cr_assert_null(err);
		cr_assert_eq(db_read_begin(shared, &txn), 0);
		cr_assert_eq(db_get(txn, "text", 4, &v), 0);
		cr_assert(v.size == 2 && !memcmp(v.data, "ab", 2), "\"%.*s\"", (int)v.size, (const char *)v.data);
		db_read_end(txn);
	}
	db_close(shared);
	dir_remove(dir);
}

static int put_megabytes(struct db_txn *txn, void *arg)
{
	static char bytes[1 << 20];
	int err = 0;

	for (int i = 0; !err && i < 8; i++) {
		char key[32];
		int size = snprintf(key, sizeof(key), "big %d %d", *(int *)arg, i);

		err = db_put(txn, key, size, bytes, sizeof(bytes));
	}
	return err;
}

static void *put_much(void *arg)
{
	int err = 0;

	for (int i = 0; !err && i < 16; i++)
		err = db_update(shared, put_megabytes, &i);
	atomic_store(&stop, true);
	return (void *)(intptr_t)err;
}

/* 128 MiB of updates wait for the disk now and then. */
Test(db, pending_memory_is_bounded)
{
	char *dir = dir_make();
	pthread_t thread;
	size_t most = 0;
	void *err;

	shared = open_db(dir);
	atomic_store(&stop, false);
	cr_assert_eq(pthread_create(&thread, NULL, put_much, NULL), 0);
	while (!atomic_load(&stop)) {
		size_t now = db_pending(shared);

		most = now > most ? now : most;
		if (now >= 60 << 20)
			cr_assert_eq(db_drain(shared, false), 0);
	}
	cr_assert_eq(pthread_join(thread, &err), 0);
	cr_assert_null(err);
	cr_assert_lt(most, 90u << 20, "%zu bytes in memory", most);
	cr_assert_gt(most, 50u << 20);
	db_close(shared);
	dir_remove(dir);
}

static int put_nothing(struct db_txn *txn, void *arg)
{
	return 0;
}

/* Who waits for the disk sees to it: it may be the very thread that would. */
Test(db, an_update_makes_its_own_room)
{
	char *dir = dir_make();
	size_t before;

	shared = open_db(dir);
	for (int i = 0; i < 8; i++)
		cr_assert_eq(db_update(shared, put_megabytes, &i), 0);
	before = db_pending(shared);
	cr_assert_gt(before, 64u << 20);
	cr_assert_eq(db_update(shared, put_nothing, NULL), 0);
	cr_assert_eq(db_pending(shared), 0);
	cr_assert_eq(db_update(shared, put_megabytes, &(int){ 9 }), 0);
	db_close(shared);
	dir_remove(dir);
}

/* ---- Processes ------------------------------------------------------------------------------------------------ */

struct board {
	atomic_int ready;
	atomic_bool go, stop;
	atomic_uint turns[2];
};

/* Each takes its turn again and again: an update, and the durable one that hands the file lock on. */
static int take_turns(const char *dir, struct board *board, int me, int turns)
{
	struct db *db = open_db(dir);
	struct db_txn *txn;
	int err = 0;

	atomic_fetch_add(&board->ready, 1);
	while (!atomic_load(&board->go))
		usleep(100);
	for (int i = 0; !err && i < turns; i++) {
		err = db_update(db, i % 2 ? raise_x : move_one, NULL);
		if (!err)
			err = db_durable_begin(db, &txn);
		if (!err)
			err = db_durable_commit(txn);
		if (!err)
			err = durable_numbers(db);
		atomic_fetch_add(&board->turns[me], 1);
	}
	db_close(db);
	return err;
}

Test(db, processes_share_a_store)
{
	enum { TURNS = 100 };
	struct board *board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned first, second;
	char *dir = dir_make();
	struct db_txn *txn;
	struct numbers n;
	struct db *db;
	pid_t pid;
	int status;

	cr_assert_neq(board, MAP_FAILED);
	random_seed("db processes");
	db = open_db(dir);
	cr_assert(db_alone(db));
	begin_numbers(db);
	db_close(db);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (!pid)
		_exit(take_turns(dir, board, 1, TURNS) ? 1 : 0);
	while (atomic_load(&board->ready) < 1)
		usleep(100);
	atomic_store(&board->go, true);
	cr_assert_eq(take_turns(dir, board, 0, TURNS), 0);
	first = atomic_load(&board->turns[0]);
	second = atomic_load(&board->turns[1]);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(status, 0);
	/* The lock is granted in the order of asking: neither can run ahead. */
	cr_assert_eq(first, TURNS);
	cr_assert_geq(second, TURNS / 2, "one process had %u turns, the other %u", first, second);
	db = open_db(dir);
	cr_assert_eq(db_read_begin(db, &txn), 0);
	cr_assert_eq(get_numbers(txn, &n), 0);
	cr_assert(check_numbers(&n, &(struct numbers){ 0 }));
	cr_assert_gt(n.z, TURNS);
	db_read_end(txn);
	db_close(db);
	munmap(board, sizeof(*board));
	dir_remove(dir);
}

static int wait_beside(const char *dir, struct board *board)
{
	struct db *db = open_db(dir);
	bool alone = db_alone(db);

	atomic_store(&board->ready, 1);
	while (!atomic_load(&board->stop))
		usleep(100);
	db_close(db);
	return alone;
}

/* What one process has in memory the other waits for, and then sees. */
Test(db, processes_wait_for_each_other)
{
	struct board *board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char *dir = dir_make();
	struct db *db = open_db(dir);
	struct db_txn *txn;
	struct db_value v;
	pid_t pid;
	int status;

	cr_assert_neq(board, MAP_FAILED);
	db_close(db);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (!pid) {
		int err;

		db = open_db(dir);
		err = db_update(db, append_letter, "a");
		atomic_store(&board->ready, 1);
		while (!atomic_load(&board->go))
			usleep(100);
		usleep(20000);
		if (!err)
			err = db_durable_begin(db, &txn);
		if (!err)
			err = db_durable_commit(txn);
		db_close(db);
		_exit(err ? 1 : 0);
	}
	while (!atomic_load(&board->ready))
		usleep(100);
	db = open_as(dir, false, true);
	cr_assert(!db_alone(db));
	cr_assert_eq(db_read_begin(db, &txn), 0);
	cr_assert_eq(db_get(txn, "text", 4, &v), -ENOENT, "another process's memory shows");
	db_read_end(txn);
	db_close(db);
	atomic_store(&board->go, true);
	db = open_db(dir);
	cr_assert_eq(db_update(db, append_letter, "b"), 0);
	cr_assert_eq(db_read_begin(db, &txn), 0);
	cr_assert_eq(db_get(txn, "text", 4, &v), 0);
	cr_assert(v.size == 2 && !memcmp(v.data, "ab", 2), "\"%.*s\"", (int)v.size, (const char *)v.data);
	db_read_end(txn);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(status, 0);
	db_close(db);
	/* Who is alone is told. */
	atomic_store(&board->ready, 0);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (!pid)
		_exit(wait_beside(dir, board) ? 0 : 1);
	while (!atomic_load(&board->ready))
		usleep(100);
	db = open_db(dir);
	cr_assert(!db_alone(db));
	atomic_store(&board->stop, true);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(status, 0, "it was alone and did not know");
	db_close(db);
	munmap(board, sizeof(*board));
	dir_remove(dir);
}
