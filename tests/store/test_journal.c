/* The journal: what it brings back after a crash, whatever has become of it meanwhile. SEED=n repeats a run. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "journal.h"
#include "numbered.h"
#include "support.h"

#define SECTOR 512

static void put_file(const char *dir, const char *name, struct text t)
{
	char path[200];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	cr_assert(fd >= 0 && write(fd, t.data, t.size) == (ssize_t)t.size && !close(fd), "%s: %s", path, strerror(errno));
}

/* What a crash leaves, or a backup holds. */
struct image {
	struct text data, journal;
};

static struct image image_of(const char *dir)
{
	return (struct image){ text_file(dir, "data.mdb"), text_file(dir, "journal") };
}

static void image_free(struct image *image)
{
	text_free(image->data);
	text_free(image->journal);
}

static char *dir_of(struct text data, struct text journal)
{
	char *dir = dir_make();

	put_file(dir, "data.mdb", data);
	put_file(dir, "journal", journal);
	return dir;
}

/* The state that is found there: by who only reads, then by who writes, then when all is in the tree. */
static uint64_t state_in(const char *dir, const char *what)
{
	struct db *db = numbered_open(dir, true);
	uint64_t n = numbered_check(db, what);

	db_close(db);
	db = numbered_open(dir, false);
	cr_assert_eq(numbered_check(db, what), n, "%s: the reader saw state %llu", what, (unsigned long long)n);
	cr_assert_eq(db_pending(db), 0);
	cr_assert_eq(numbered_durable(db, NULL), 0);
	cr_assert_eq(numbered_durable(db, NULL), 0);
	db_close(db);
	db = numbered_open(dir, false);
	cr_assert_eq(numbered_check(db, what), n + 2, "%s: it does not go on", what);
	db_close(db);
	return n;
}

/* By who only reads. */
static uint64_t seen_in(const char *dir, const char *what)
{
	struct db *db = numbered_open(dir, true);
	uint64_t n = numbered_check(db, what);

	db_close(db);
	return n;
}

static uint32_t size_at(const char *entry)
{
	uint32_t size;

	memcpy(&size, entry + 24, 4);
	return size;
}

/* Where the entries of a half end, as it was written. */
static unsigned entries_in(const char *half, unsigned count, size_t begins[], size_t ends[])
{
	size_t at = 0;
	unsigned n = 0;

	for (; n < count; n++) {
		begins[n] = at;
		ends[n] = at + size_at(half + at);
		at = (ends[n] + SECTOR - 1) / SECTOR * SECTOR;
	}
	return n;
}

static const struct damage {
	const char *name;
	bool rest, flip;
} damages[] = { { "zeros from here on", true, false }, { "a sector of zeros", false, false }, { "a bit", false, true } };

/* Damages a half from this sector on; the first byte that is another one. */
static size_t spoil(const struct damage *d, char *half, size_t at)
{
	size_t end = d->rest ? JOURNAL_HALF : at + SECTOR, first = JOURNAL_HALF;

	if (d->flip) {
		first = at + random_below(SECTOR);
		half[first] ^= (char)(1 << random_below(8));
		return first;
	}
	for (size_t i = at; i < end; i++) {
		if (half[i] && i < first)
			first = i;
		half[i] = 0;
	}
	return first;
}

static size_t used_half(struct text journal)
{
	return journal.data[8] ? 0 : JOURNAL_HALF;
}

enum { ENTRIES = 24 };

/* Whether who only reads is told that something is wrong. */
static bool is_told(const char *dir)
{
	struct db *db = numbered_open(dir, true);
	bool told = !journal_is_whole(db_journal_report(db));

	db_close(db);
	return told;
}

/* What was durable before the damage is there, and nothing by half; a wrong bit is put right. What is behind the damage shows it. */
Test(journal, damaged_anywhere)
{
	char *dir = dir_make(), *copy, what[100];
	struct db *db = numbered_open(dir, false);
	size_t begins[ENTRIES], ends[ENTRIES], used;
	struct image image;

	random_seed("journal damage");
	cr_assert_eq(numbered_durable(db, NULL), 0);	/* goes to the tree, with the mark */
	for (int i = 0; i < ENTRIES; i++)
		cr_assert_eq(numbered_durable(db, NULL), 0);
	db_close(db);
	image = image_of(dir);
	used = used_half(image.journal);
	entries_in(image.journal.data + used, ENTRIES, begins, ends);
	for (size_t d = 0; d < sizeof(damages) / sizeof(damages[0]); d++) {
		for (size_t at = 0; at < ends[ENTRIES - 1] + SECTOR; at += SECTOR) {
			struct text spoiled = { malloc(image.journal.size), image.journal.size };
			unsigned whole = 0;
			size_t first;

			memcpy(spoiled.data, image.journal.data, spoiled.size);
			first = spoil(&damages[d], spoiled.data + used, at);
			while (whole < ENTRIES && ends[whole] <= first)
				whole++;
			/* Between two entries nobody looks. */
			if (whole && whole < ENTRIES && first < (ends[whole - 1] + SECTOR - 1) / SECTOR * SECTOR)
				whole = ENTRIES;
			snprintf(what, sizeof(what), "%s, at %zu", damages[d].name, at);
			copy = dir_of(image.data, spoiled);
			if (whole < ENTRIES && !damages[d].rest && (whole < ENTRIES - 1 || damages[d].flip))
				cr_assert(is_told(copy), "%s: not told", what);
			if (damages[d].flip && (whole == ENTRIES || size_at(image.journal.data + used + begins[whole]) <= MEND_BIT))
				whole = ENTRIES;
			/* Who writes sets the journal aside and makes a new one, which takes its time: at every fourth sector. */
			cr_assert_eq(at / SECTOR % 4 ? seen_in(copy, what) : state_in(copy, what), 1 + whole, "%s: not %u entries", what, whole);
			dir_remove(copy);
			text_free(spoiled);
		}
	}
	image_free(&image);
	dir_remove(dir);
}

/* The power fails while a half goes to the tree and entries go on in the other: both are needed. */
Test(journal, damaged_before_the_other_half)
{
	char *dir = dir_make(), *copy;
	struct db *db = numbered_open(dir, false);
	struct text before, spoiled;
	size_t begins[ENTRIES], ends[ENTRIES];
	struct image image;
	uint64_t want;

	random_seed("journal halves");
	for (int i = 0; i <= ENTRIES; i++)
		cr_assert_eq(numbered_durable(db, NULL), 0);
	before = text_file(dir, "data.mdb");
	cr_assert_eq(db_drain(db, false), 0);
	for (int i = 0; i < ENTRIES; i++)
		cr_assert_eq(numbered_durable(db, NULL), 0);
	db_close(db);
	image = image_of(dir);
	cr_assert_eq(state_in(dir, "after the drain"), 1 + 2 * ENTRIES);
	copy = dir_of(before, image.journal);
	cr_assert_eq(state_in(copy, "before it"), 1 + 2 * ENTRIES);
	dir_remove(copy);
	/* Which half came first depends on where the journal began. */
	for (int half = 0; half < 2; half++) {
		uint64_t number;
		bool older;

		memcpy(&number, image.journal.data + half * JOURNAL_HALF + 8, 8);
		older = number == 1;
		entries_in(image.journal.data + half * JOURNAL_HALF, ENTRIES, begins, ends);
		for (int i = 1; i < ENTRIES; i++) {
			bool bit = i % 2 && ends[i] - begins[i] <= MEND_BIT;

			spoiled = (struct text){ malloc(image.journal.size), image.journal.size };
			memcpy(spoiled.data, image.journal.data, spoiled.size);
			for (int b = 0; b < (bit ? 1 : 8); b++)
				spoiled.data[half * JOURNAL_HALF + ends[i] - 1 - b] ^= 4;
			copy = dir_of(before, spoiled);
			cr_assert(is_told(copy), "half %d, entry %d", half, i);
			want = bit ? 1 + 2 * ENTRIES : (uint64_t)(1 + (older ? 0 : ENTRIES) + i);
			cr_assert_eq(state_in(copy, older ? "the first half" : "the later half"), want, "half %d, entry %d", half, i);
			dir_remove(copy);
			text_free(spoiled);
		}
	}
	text_free(before);
	image_free(&image);
	dir_remove(dir);
}

static int put_sized(struct db_txn *txn, void *arg)
{
	static char bytes[3u << 20];

	return db_put(txn, "large", 5, bytes, *(size_t *)arg);
}

/* A backup that was taken earlier, by the same process or another one, is put in the place of data.mdb: it is what it was. */
Test(journal, a_backup_beside_a_later_journal)
{
	enum { ROUNDS = 12 };
	struct { struct text data; uint64_t number; } backups[ROUNDS];
	char *dir = dir_make(), *copy, what[100];
	struct db *db = numbered_open(dir, false);
	struct text journal;
	uint64_t newest;

	random_seed("journal backup");
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct db_txn *txn;

		for (uint64_t n = 1 + random_below(6); n; n--)
			cr_assert_eq(numbered_durable(db, NULL), 0);
		if (i == 4) {
			db_close(db);
			db = numbered_open(dir, false);
		}
		cr_assert_eq(db_drain(db, true), 0);
		backups[i].data = text_file(dir, "data.mdb");
		backups[i].number = numbered_check(db, "now");
		/* What is too large for the journal is missing from it. */
		if (i % 3 == 0) {
			cr_assert_eq(db_durable_begin(db, &txn), 0);
			cr_assert_eq(put_sized(txn, &(size_t){ 1 << 20 }), 0);
			cr_assert_eq(db_durable_commit(txn), 0);
			for (int n = 0; n < 10; n++)
				cr_assert_eq(numbered_update(db, NULL), 0);
			cr_assert_eq(db_durable_begin(db, &txn), 0);
			cr_assert_eq(put_sized(txn, &(size_t){ 2 << 20 }), 0);
			cr_assert_eq(db_durable_commit(txn), 0);
		}
	}
	for (int n = 0; n < 5; n++)
		cr_assert_eq(numbered_durable(db, NULL), 0);
	newest = numbered_check(db, "now");
	db_close(db);
	journal = text_file(dir, "journal");
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t n;

		snprintf(what, sizeof(what), "backup %u", i);
		copy = dir_of(backups[i].data, journal);
		n = state_in(copy, what);
		/* All that came after the last two is in the journal: they are what a crash would have left now, or in the last drain. */
		cr_assert_eq(n, i < ROUNDS - 2 ? backups[i].number : newest, "%s has become state %llu", what, (unsigned long long)n);
		dir_remove(copy);
		text_free(backups[i].data);
	}
	text_free(journal);
	dir_remove(dir);
}

/* ---- Sizes ---------------------------------------------------------------------------------------------------- */

#define ENTRY_MOST (JOURNAL_HALF / 4)
#define AROUND 32	/* the head */

static const struct {
	const char *name;
	size_t key, value;	/* of one record; value SIZE_MAX: it is removed */
	bool loose;		/* by an update, which the durable transaction takes along */
	bool journaled;
} sizes[] = {
	{ "an empty value", 3, 0, false, true },
	{ "the longest key", 511, 0, false, true },
	{ "the longest key, removed", 511, SIZE_MAX, false, true },
	{ "a page", 3, 4096, false, true },
	{ "one sector", 3, 512 - AROUND - 6 - 3, false, true },
	{ "one sector and a byte", 3, 512 - AROUND - 6 - 3 + 1, false, true },
	{ "all of an entry", 3, ENTRY_MOST - AROUND - 3, false, true },
	{ "one byte too many", 3, ENTRY_MOST - AROUND - 3 + 1, false, false },
	{ "all of an entry, loose", 3, ENTRY_MOST / 2, true, true },
	{ "too many, loose", 3, ENTRY_MOST, true, false },
	{ "a half", 3, JOURNAL_HALF - AROUND - 9, false, false },
	{ "more than the journal", 3, 3 << 20, false, false },
	{ "more than the journal, loose", 3, 3 << 20, true, false },
};

struct record {
	size_t key, value;
};

static int put_record(struct db_txn *txn, void *arg)
{
	const struct record *r = arg;
	char key[511], *bytes = NULL;
	int err;

	memset(key, 'k', sizeof(key));
	if (r->value == SIZE_MAX)
		return db_del(txn, key, r->key);
	bytes = malloc(r->value + 1);
	memset(bytes, 'v', r->value);
	err = db_put(txn, key, r->key, bytes, r->value);
	free(bytes);
	return err;
}

static void check_record(struct db *db, const struct record *r, const char *what)
{
	struct db_value v;
	struct db_txn *txn;
	char key[511];
	int err;

	memset(key, 'k', sizeof(key));
	cr_assert_eq(db_read_begin(db, &txn), 0);
	err = db_get(txn, key, r->key, &v);
	cr_assert_eq(err, r->value == SIZE_MAX ? -ENOENT : 0, "%s: %d", what, err);
	cr_assert(err || v.size == r->value, "%s: %zu bytes", what, v.size);
	for (size_t i = 0; !err && i < v.size; i++)
		cr_assert_eq(((const char *)v.data)[i], 'v', "%s: byte %zu", what, i);
	db_read_end(txn);
}

static int durable_record(struct db *db, const struct record *r)
{
	struct db_txn *txn;
	int err = db_durable_begin(db, &txn);

	if (!err && r)
		err = put_record(txn, (void *)r);
	return err ? err : db_durable_commit(txn);
}

Test(journal, sizes)
{
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct record r = { sizes[i].key, sizes[i].value };
		struct db_stats before, after;
		char *dir = dir_make();
		struct db *db = numbered_open(dir, false);

		cr_assert_eq(numbered_durable(db, NULL), 0);
		if (r.value == SIZE_MAX)
			cr_assert_eq(durable_record(db, &(struct record){ r.key, 5 }), 0);
		db_stats(db, &before);
		if (sizes[i].loose)
			cr_assert_eq(db_update(db, put_record, &r), 0);
		cr_assert_eq(durable_record(db, sizes[i].loose ? NULL : &r), 0);
		db_stats(db, &after);
		cr_assert_eq(after.journaled - before.journaled, sizes[i].journaled, "%s: %llu entries", sizes[i].name,
			     (unsigned long long)(after.journaled - before.journaled));
		check_record(db, &r, sizes[i].name);
		db_close(db);
		db = numbered_open(dir, true);
		check_record(db, &r, sizes[i].name);
		db_close(db);
		db = numbered_open(dir, false);
		check_record(db, &r, sizes[i].name);
		cr_assert_eq(numbered_check(db, sizes[i].name), 1);
		db_close(db);
		dir_remove(dir);
	}
}

/* Entries to the last byte of a half, drains now and then, or never: then the one that does not fit takes all to the tree. */
Test(journal, halves_are_used_again)
{
	static const struct { const char *name; unsigned each; } drains[] = { { "drained often", 3 }, { "now and then", 7 }, { "never", 0 } };
	struct record r = { 3, ENTRY_MOST - AROUND - 6 - 3 };

	for (size_t d = 0; d < sizeof(drains) / sizeof(drains[0]); d++) {
		char *dir = dir_make();
		struct db *db = numbered_open(dir, false);
		struct db_stats stats;

		cr_assert_eq(numbered_durable(db, NULL), 0);
		for (unsigned i = 1; i <= 40; i++) {
			r.value = ENTRY_MOST - AROUND - 6 - 3 - (i % 4 == 0 ? i : 0);
			cr_assert_eq(durable_record(db, &r), 0);
			check_record(db, &r, drains[d].name);
			if (drains[d].each && i % drains[d].each == 0)
				cr_assert_eq(db_drain(db, false), 0);
			if (i % 5 == 0) {
				/* As a crash leaves it. */
				struct image image = image_of(dir);
				char *copy = dir_of(image.data, image.journal);
				struct db *other = numbered_open(copy, i % 2);

				check_record(other, &r, drains[d].name);
				db_close(other);
				dir_remove(copy);
				image_free(&image);
			}
		}
		db_stats(db, &stats);
		cr_assert_geq(stats.journaled, 30, "%s: %llu entries", drains[d].name, (unsigned long long)stats.journaled);
		db_close(db);
		dir_remove(dir);
	}
}

/* ---- Processes ------------------------------------------------------------------------------------------------ */

static pid_t start_work(const char *dir, struct board *board, uint64_t changes)
{
	uint64_t seed = random_below(UINT32_MAX);
	pid_t pid;

	fflush(stdout);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (!pid) {
		struct db *db;
		int err;

		for (; seed % 64; seed--)
			random_below(2);
		err = numbered_try(dir, false, &db);
		if (err)
			_exit(100);
		atomic_fetch_add(&board->ready, 1);
		err = numbered_work(db, board, changes);
		/* Killed by its own hand. */
		_exit(err ? 101 : 0);
	}
	return pid;
}

static void end_work(pid_t pid, bool by_force)
{
	int status;

	if (by_force)
		kill(pid, SIGKILL);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert((WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) || (WIFEXITED(status) && !WEXITSTATUS(status)), "a child ended with %x", status);
}

static void check_board(const char *dir, const struct board *board, bool look_first, const char *what)
{
	uint64_t n, seen = 0;
	struct db *db;

	if (look_first) {
		db = numbered_open(dir, true);
		seen = numbered_check(db, what);
		db_close(db);
	}
	db = numbered_open(dir, false);
	n = numbered_check(db, what);
	db_close(db);
	cr_assert(n >= atomic_load(&board->durable) && n <= atomic_load(&board->begun), "%s: state %llu, but %llu was durable and %llu begun", what,
		  (unsigned long long)n, (unsigned long long)atomic_load(&board->durable), (unsigned long long)atomic_load(&board->begun));
	cr_assert(!look_first || seen == n, "%s: who only read saw state %llu, who writes %llu", what, (unsigned long long)seen, (unsigned long long)n);
}

/* 4 MiB and more, drained meanwhile; killed at random moments, again and again. */
Test(journal, killed)
{
	struct board *board = board_make();
	char *dir = dir_make(), what[64];

	random_seed("journal killed");
	for (int round = 0; round < 30; round++) {
		bool by_force = random_chance(60);
		pid_t pid = start_work(dir, board, by_force ? UINT64_MAX : 1 + random_below(200));

		if (by_force) {
			while (!atomic_load(&board->ready))
				usleep(100);
			usleep((useconds_t)random_below(60000));
		}
		end_work(pid, by_force);
		atomic_store(&board->ready, 0);
		snprintf(what, sizeof(what), "round %d", round);
		check_board(dir, board, random_chance(50), what);
	}
	dir_remove(dir);
	board_free(board);
}

/* One is alone and uses the journal, another comes, one of them is killed, the other is alone again. */
Test(journal, two_processes_and_kills)
{
	struct board *board = board_make();
	char *dir = dir_make(), what[64];

	random_seed("journal two processes");
	for (int round = 0; round < 15; round++) {
		bool second = random_chance(50);
		pid_t pids[2];

		pids[0] = start_work(dir, board, UINT64_MAX);
		usleep((useconds_t)random_below(20000));
		pids[1] = start_work(dir, board, UINT64_MAX);
		while (atomic_load(&board->ready) < 2)
			usleep(100);
		usleep((useconds_t)random_below(20000));
		end_work(pids[second], true);
		usleep((useconds_t)random_below(20000));
		end_work(pids[!second], true);
		atomic_store(&board->ready, 0);
		snprintf(what, sizeof(what), "round %d", round);
		check_board(dir, board, random_chance(50), what);
	}
	dir_remove(dir);
	board_free(board);
}

static uint64_t look_on(struct db *reader, uint64_t before, int times, const char *what)
{
	for (int i = 0; i < times; i++) {
		uint64_t n = numbered_check(reader, what);

		cr_assert_geq(n, before, "%s: state %llu after state %llu", what, (unsigned long long)n, (unsigned long long)before);
		before = n;
		usleep((useconds_t)random_below(2000));
	}
	return before;
}

/*
 * Who only reads sees whole states, and none after a later one: beside one who writes; when that is killed; and beside the next, who takes to the tree what the
 * reader has from the journal.
 */
Test(journal, readers_beside_writers)
{
	struct board *board = board_make();
	char *dir = dir_make();

	random_seed("journal readers");
	db_close(numbered_open(dir, false));
	for (int round = 0; round < 10; round++) {
		struct db *early, *late;
		uint64_t durable, n;
		pid_t pid;

		pid = start_work(dir, board, UINT64_MAX);
		while (!atomic_load(&board->ready))
			usleep(100);
		early = numbered_open(dir, true);
		n = look_on(early, 0, 10, "beside a writer");
		end_work(pid, true);
		durable = atomic_load(&board->durable);
		n = look_on(early, n, 2, "its writer was killed");
		late = numbered_open(dir, true);
		cr_assert_geq(numbered_check(late, "opened after that"), durable);
		atomic_store(&board->ready, 0);
		pid = start_work(dir, board, UINT64_MAX);
		look_on(late, durable, 10, "beside the next writer");
		while (!atomic_load(&board->ready))
			usleep(100);
		look_on(late, durable, 3, "which goes on");
		look_on(early, durable, 3, "which goes on, for the first reader");
		end_work(pid, true);
		atomic_store(&board->ready, 0);
		db_close(early);
		db_close(late);
	}
	dir_remove(dir);
	board_free(board);
}

/* ---- The file ------------------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	off_t size;		/* -1: missing, -2: a directory */
	int want;
} files[] = {
	{ "missing", -1, 0 },
	{ "a directory", -2, -EPERM },
	{ "empty", 0, 0 },
	{ "cut", 2 * JOURNAL_HALF - SECTOR, 0 },
	{ "one half", JOURNAL_HALF, 0 },
	{ "too long", 2 * JOURNAL_HALF + 1, 0 },
	{ "of zeros", 2 * JOURNAL_HALF, 0 },
};

/* Without a journal the store is what the tree has; of one that was cut short it is told, and it is kept aside. */
Test(journal, its_file)
{
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char *dir = dir_make(), path[200];
		struct db *db = numbered_open(dir, false);
		struct stat st;
		int err;

		for (int n = 0; n < 5; n++)
			cr_assert_eq(numbered_durable(db, NULL), 0);
		cr_assert_eq(db_drain(db, false), 0);
		db_close(db);
		snprintf(path, sizeof(path), "%s/journal", dir);
		cr_assert(stat(path, &st) == 0 && st.st_size == 2 * JOURNAL_HALF);
		cr_assert_eq(unlink(path), 0);
		if (files[i].size == -2)
			cr_assert_eq(mkdir(path, 0700), 0);
		if (files[i].size >= 0) {
			put_file(dir, "journal", (struct text){ "", 0 });
			cr_assert_eq(truncate(path, files[i].size), 0);
		}
		err = numbered_try(dir, false, &db);
		cr_assert_eq(err, files[i].want, "%s: %d", files[i].name, err);
		if (!err) {
			cr_assert_eq(db_journal_report(db)->cut, files[i].size >= 0 && files[i].size < 2 * JOURNAL_HALF, "%s", files[i].name);
			cr_assert_eq(numbered_check(db, files[i].name), 5);
			for (int n = 0; n < 3; n++)
				cr_assert_eq(numbered_durable(db, NULL), 0);
			db_close(db);
			cr_assert_eq(state_in(dir, files[i].name), 8);
		}
		dir_remove(dir);
	}
}

/* ---- Version 1 ------------------------------------------------------------------------------------------------ */

/* Reads or sets the number of the format; removes the place in the journal. */
static uint32_t format_in(const char *dir, uint32_t set)
{
	unsigned char super[9] = { [8] = 'S' }, place[9] = { [8] = 'J' };
	MDB_val key = { 9, super }, value;
	unsigned char copy[32];
	uint32_t format;
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;

	cr_assert_eq(mdb_env_create(&env), 0);
	cr_assert_eq(mdb_env_open(env, dir, 0, 0600), 0);
	cr_assert_eq(mdb_txn_begin(env, NULL, 0, &txn), 0);
	cr_assert_eq(mdb_dbi_open(txn, NULL, 0, &dbi), 0);
	cr_assert_eq(mdb_get(txn, dbi, &key, &value), 0);
	cr_assert_geq(value.mv_size, sizeof(copy));
	memcpy(copy, value.mv_data, sizeof(copy));
	memcpy(&format, copy + 16, 4);
	if (set) {
		memcpy(copy + 16, &set, 4);
		memset(copy + 20, 0, 4);	/* values had no checks then */
		value = (MDB_val){ sizeof(copy), copy };
		cr_assert_eq(mdb_put(txn, dbi, &key, &value, 0), 0);
		key = (MDB_val){ 9, place };
		cr_assert_eq(mdb_del(txn, dbi, &key, NULL), 0);
	}
	cr_assert_eq(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
	return format;
}

Test(journal, a_store_of_version_1)
{
	static const char *const texts[] = { "[]", "[{\"a\": 1}]", "{\"m\": [{\"b\": 2}], \"n\": 1}", "7" };
	struct store_options only_read = { .read_only = true };
	char *dir = dir_make(), name[16], path[200];
	struct store *s = must_open(dir, 0);
	struct store_save save;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		snprintf(name, sizeof(name), "%zu.json", i);
		save = save_text(s, name, (struct text){ (char *)texts[i], strlen(texts[i]) }, NULL, 0);
		must_save(&save, name);
	}
	store_close(s);
	cr_assert_eq(format_in(dir, 1), 3);
	snprintf(path, sizeof(path), "%s/journal", dir);
	cr_assert_eq(unlink(path), 0);
	for (int round = 0; round < 3; round++) {
		if (round == 1)
			s = must_open(dir, 0);
		else
			cr_assert_eq(store_open(dir, &only_read, &s), 0);
		for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
			struct text t;

			snprintf(name, sizeof(name), "%zu.json", i);
			t = read_name(s, name);
			check_text(t, (struct text){ (char *)texts[i], strlen(texts[i]) }, "of version 1", name);
			text_free(t);
		}
		must_close(s);
		cr_assert_eq(format_in(dir, 0), round ? 3 : 1, "round %d", round);
		cr_assert_eq(access(path, F_OK), round ? 0 : -1);
	}
	dir_remove(dir);
}
