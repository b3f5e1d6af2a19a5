#include "numbered.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support.h"

#define KEYS 40
#define LARGEST 5000

struct board *board_make(void)
{
	struct board *board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	cr_assert_neq(board, MAP_FAILED);
	return board;
}

void board_free(struct board *board)
{
	munmap(board, sizeof(*board));
}

static void raise_to(atomic_ullong *to, unsigned long long n)
{
	unsigned long long old = atomic_load(to);

	while (old < n && !atomic_compare_exchange_weak(to, &old, n))
		;
}

static uint64_t mixed(uint64_t n)
{
	n = (n + 1) * 0x9e3779b97f4a7c15u;
	n = (n ^ n >> 29) * 0xbf58476d1ce4e5b9u;
	return n ^ n >> 32;
}

/* What change n does: to which keys, and whether it sets (to a value of that size) or removes them. */
struct step {
	unsigned key;
	size_t size;	/* 0: removed */
};

static unsigned steps_of(uint64_t n, struct step steps[4])
{
	unsigned count = 1 + mixed(n) % 4;

	for (unsigned i = 0; i < count; i++) {
		uint64_t m = mixed(n * 8 + i + 1);

		steps[i] = (struct step){ (unsigned)(m % KEYS), m >> 20 & 3 ? 1 + (m >> 32) % (m >> 22 & 7 ? 200 : LARGEST) : 0 };
	}
	return count;
}

static void bytes_of(uint64_t n, unsigned key, size_t size, char *bytes)
{
	for (size_t i = 0; i < size; i++)
		bytes[i] = (char)(n * 31 + key * 7 + i);
}

static int put_none(struct db_txn *txn, void *arg)
{
	uint64_t none = 0;

	return db_put(txn, "number", 6, &none, sizeof(none));
}

static void on_pending(void *arg, bool now)
{
}

int numbered_try(const char *dir, bool read_only, struct db **ret)
{
	struct db_options o = { .create = true, .read_only = read_only, .map_size = 1ull << 30, .fill = put_none, .on_pending = on_pending,
				.journal_key = "!journal", .journal_key_size = 8 };
	struct db *db;
	int err = db_open(dir, &o, &db);

	if (err)
		return err;
	err = db_use_journal(db);
	if (err)
		db_close(db);
	else
		*ret = db;
	return err;
}

struct db *numbered_open(const char *dir, bool read_only)
{
	struct db *db = NULL;
	int err = numbered_try(dir, read_only, &db);

	cr_assert_eq(err, 0, "%s: %d", dir, err);
	return db;
}

static int number_of(struct db_txn *txn, uint64_t *ret)
{
	struct db_value v;
	int err = db_get(txn, "number", 6, &v);

	if (!err)
		memcpy(ret, v.data, sizeof(*ret));
	return err;
}

struct change {
	struct board *board;
	uint64_t number;
};

static int change(struct db_txn *txn, void *arg)
{
	struct change *c = arg;
	struct step steps[4];
	char key[16], bytes[LARGEST];
	uint64_t n;
	int err = number_of(txn, &n);

	if (err)
		return err;
	c->number = ++n;
	if (c->board)
		raise_to(&c->board->begun, n);
	err = db_put(txn, "number", 6, &n, sizeof(n));
	for (unsigned i = 0, count = steps_of(n, steps); !err && i < count; i++) {
		snprintf(key, sizeof(key), "key %02u", steps[i].key);
		bytes_of(n, steps[i].key, steps[i].size, bytes);
		err = steps[i].size ? db_put(txn, key, 6, bytes, steps[i].size) : db_del(txn, key, 6);
	}
	return err;
}

int numbered_update(struct db *db, struct board *board)
{
	return db_update(db, change, &(struct change){ .board = board });
}

int numbered_durable(struct db *db, struct board *board)
{
	struct change c = { .board = board };
	struct db_txn *txn;
	int err = db_durable_begin(db, &txn);

	if (err)
		return err;
	err = change(txn, &c);
	if (err) {
		db_durable_abort(txn);
		return err;
	}
	err = db_durable_commit(txn);
	if (!err && board)
		raise_to(&board->durable, c.number);
	return err;
}

static int find_number(struct db *db, uint64_t *ret)
{
	struct db_txn *txn;
	int err = db_read_begin(db, &txn);

	if (err)
		return err;
	err = number_of(txn, ret);
	db_read_end(txn);
	return err;
}

int numbered_sync(struct db *db, struct board *board, bool drain)
{
	uint64_t n;
	int err = find_number(db, &n);

	if (!err)
		err = drain ? db_drain(db, false) : db_sync(db);
	if (!err && board)
		raise_to(&board->durable, n);
	return err;
}

uint64_t numbered_check(struct db *db, const char *what)
{
	struct { uint64_t n; size_t size; } want[KEYS] = { 0 };
	struct db_value key, value;
	struct step steps[4];
	char bytes[LARGEST];
	struct db_scan scan;
	struct db_txn *txn;
	uint64_t number;
	int err;

	cr_assert_eq(db_read_begin(db, &txn), 0);
	cr_assert_eq(number_of(txn, &number), 0, "%s: no number", what);
	for (uint64_t n = 1; n <= number; n++) {
		for (unsigned i = 0, count = steps_of(n, steps); i < count; i++) {
			want[steps[i].key].n = n;
			want[steps[i].key].size = steps[i].size;
		}
	}
	cr_assert_eq(db_scan_begin(&scan, txn, "key ", 4, 4), 0);
	for (unsigned i = 0; i < KEYS; i++) {
		char name[16];

		if (!want[i].size)
			continue;
		snprintf(name, sizeof(name), "key %02u", i);
		err = db_scan_next(&scan, &key, &value);
		cr_assert_eq(err, 0, "%s: state %llu lacks %s: %d", what, (unsigned long long)number, name, err);
		cr_assert(key.size == 6 && !memcmp(key.data, name, 6), "%s: state %llu has %.6s, and should have %s", what,
			  (unsigned long long)number, (const char *)key.data, name);
		bytes_of(want[i].n, i, want[i].size, bytes);
		cr_assert(value.size == want[i].size && !memcmp(value.data, bytes, value.size), "%s: state %llu, %s is not of change %llu", what,
			  (unsigned long long)number, name, (unsigned long long)want[i].n);
	}
	cr_assert_eq(db_scan_next(&scan, &key, &value), -ENOENT, "%s: more than state %llu has", what, (unsigned long long)number);
	db_scan_end(&scan);
	db_read_end(txn);
	return number;
}

struct drains {
	struct db *db;
	atomic_bool stop;
	int err;
};

static void *drain_on(void *arg)
{
	struct drains *d = arg;

	while (!atomic_load(&d->stop) && !d->err) {
		d->err = db_drain(d->db, false);
		usleep(500);
	}
	return NULL;
}

int numbered_work(struct db *db, struct board *board, uint64_t changes)
{
	struct drains d = { .db = db };
	pthread_t thread;
	int err = -pthread_create(&thread, NULL, drain_on, &d);

	if (err)
		return err;
	for (uint64_t i = 0; !err && i < changes; i++) {
		switch (random_below(8)) {
		case 0:
		case 1:
			err = numbered_update(db, board);
			break;
		case 2:
			err = numbered_sync(db, board, random_chance(20));
			break;
		default:
			err = numbered_durable(db, board);
		}
	}
	atomic_store(&d.stop, true);
	pthread_join(thread, NULL);
	return err ? err : d.err;
}
