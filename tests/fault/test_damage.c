/* Stores that are not whole, newer than this program, or not to be written. Nothing of it ends in a signal. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "db.h"
#include "faultio.h"
#include "record.h"
#include "support.h"

#define PAGE 4096

static const struct store_options read_only = { .read_only = true };

/* A store with something of each kind in it. */
static void populate(const char *dir)
{
	static const char *const texts[] = { "[1,2,3]", "[1,3,4]", "[ 1,3,4]\n", "{\"m\":[{\"a\":1},{\"a\":2}]}", "{\"a\":1}" };
	struct store *s = must_open(dir, 0);
	struct store_attr a, d;
	char bytes[70000] = "bytes";
	uint64_t version = 0, ino = 0;

	for (size_t i = 0; i < 5; i++) {
		struct store_base base = base_at(ino, version);
		struct store_save save = save_text(s, "a.json", (struct text){ (char *)texts[i], strlen(texts[i]) }, &base, 0);

		must_save(&save, texts[i]);
		ino = save.saved_ino;
		version = save.version;
		save = save_text(s, "b.json", (struct text){ (char *)texts[i % 3], strlen(texts[i % 3]) }, NULL, 0);
		must_save(&save, texts[i]);
	}
	cr_assert_eq(store_create(s, STORE_ROOT, "d", 0, S_IFDIR | 0755, 0, 0, NULL, &d), 0);
	cr_assert_eq(store_create(s, d.ino, "f", 0, S_IFREG | 0644, 0, 0, NULL, &a), 0);
	cr_assert_eq(store_write(s, a.ino, 0, bytes, sizeof(bytes)), 0);
	cr_assert_eq(store_create(s, d.ino, "l", 0, S_IFLNK | 0777, 0, 0, "target", &a), 0);
	cr_assert_eq(store_unlink(s, STORE_ROOT, "b.json", false, NULL), 0);
	cr_assert_eq(store_sync(s), 0);
	store_close(s);
}

static void data_path(const char *dir, char path[256])
{
	snprintf(path, 256, "%s/data.mdb", dir);
}

static int try_open(const char *dir, bool writing)
{
	struct store_options o = { .read_only = !writing, .create = writing, .map_size = 1ull << 30 };
	struct store *s;
	int err = store_open(dir, &o, &s);

	if (!err)
		store_close(s);
	return err;
}

/* ---- The file ------------------------------------------------------------------------------------------------- */

Test(damage, truncated_files)
{
	char *dir = dir_make(), path[256];
	struct stat st;

	populate(dir);
	data_path(dir, path);
	cr_assert_eq(stat(path, &st), 0);
	cr_assert_gt(st.st_size, 8 * PAGE);
	for (off_t size = st.st_size - 1; size >= 0; size = size % PAGE ? size / PAGE * PAGE : size - 1000) {
		cr_assert_eq(truncate(path, size), 0);
		for (int writing = 0; writing < 2; writing++) {
			int err = try_open(dir, writing);

			cr_assert_eq(err, -EUCLEAN, "%ld of %ld bytes, %s: %d", (long)size, (long)st.st_size, writing ? "to write" : "to read", err);
		}
		cr_assert_eq(stat(path, &st), 0);
		cr_assert_eq(st.st_size, size, "a damaged file was written to");
	}
	dir_remove(dir);
}

/* Whether the file is shorter than LMDB's newest meta page says. */
static bool is_short(const char *path)
{
	uint64_t meta[2][2];	/* last page, transaction */
	struct stat st;
	int fd = open(path, O_RDONLY);

	cr_assert_geq(fd, 0);
	for (size_t i = 0; i < 2; i++)
		cr_assert_eq(pread(fd, meta[i], sizeof(meta[i]), (off_t)i * PAGE + 136), (ssize_t)sizeof(meta[i]));
	cr_assert_eq(fstat(fd, &st), 0);
	close(fd);
	return (uint64_t)st.st_size < (meta[meta[1][1] > meta[0][1]][0] + 1) * PAGE;
}

static void take_and_give_back(const char *dir, size_t size)
{
	static char bytes[1 << 20];
	MDB_val key = { 4, "gone" }, value = { size, bytes };
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;

	cr_assert_eq(mdb_env_create(&env), 0);
	cr_assert_eq(mdb_env_set_mapsize(env, 1ul << 30), 0);
	cr_assert_eq(mdb_env_open(env, dir, 0, 0600), 0);
	cr_assert_eq(mdb_txn_begin(env, NULL, 0, &txn), 0);
	cr_assert_eq(mdb_dbi_open(txn, NULL, 0, &dbi), 0);
	cr_assert_eq(mdb_put(txn, dbi, &key, &value, 0), 0);
	cr_assert_eq(mdb_del(txn, dbi, &key, NULL), 0);
	cr_assert_eq(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
}

/* P7: LMDB does not write a page that one transaction took and gave back, so the file may end before its last page number. */
Test(damage, free_pages_may_be_missing_at_the_end)
{
	for (size_t pages = 1; pages <= 64; pages *= 2) {
		char *dir = dir_make(), path[256];

		populate(dir);
		data_path(dir, path);
		take_and_give_back(dir, pages * PAGE);
		cr_assert(is_short(path), "%zu pages are there: nothing is tested", pages);
		cr_assert_eq(try_open(dir, false), 0, "to read, %zu pages", pages);
		cr_assert_eq(try_open(dir, true), 0, "to write, %zu pages", pages);
		dir_remove(dir);
	}
}

static const struct {
	const char *name;
	off_t at;
	size_t size;
	int byte;		/* -1: any */
	bool may_open;		/* LMDB has two meta pages */
} scribbles[] = {
	{ "both meta pages", 0, 2 * PAGE, -1, false },
	{ "both meta pages are zero", 0, 2 * PAGE, 0, false },
	{ "the first meta page", 0, PAGE, -1, true },
	{ "the first meta page is zero", 0, PAGE, 0, true },
	{ "the magic number", 16, 4, 0xff, true },
	{ "the second meta page", PAGE, PAGE, 0, true },
};

Test(damage, scribbled_meta_pages)
{
	random_seed("damage");
	for (size_t i = 0; i < sizeof(scribbles) / sizeof(scribbles[0]); i++) {
		char *dir = dir_make(), path[256], bytes[2 * PAGE];
		int fd, err;

		populate(dir);
		data_path(dir, path);
		for (size_t b = 0; b < scribbles[i].size; b++)
			bytes[b] = (char)(scribbles[i].byte < 0 ? random_below(256) : (uint64_t)scribbles[i].byte);
		fd = open(path, O_WRONLY);
		cr_assert_eq(pwrite(fd, bytes, scribbles[i].size, scribbles[i].at), (ssize_t)scribbles[i].size);
		close(fd);
		err = try_open(dir, true);
		cr_assert(err == -EUCLEAN || (scribbles[i].may_open && (err == 0 || err == -EPROTO)), "%s: %d", scribbles[i].name, err);
		dir_remove(dir);
	}
}

static const struct {
	const char *name, *file, *content;
	int reading, writing;
} odd[] = {
	{ "an empty directory", NULL, NULL, -ENOENT, 0 },
	{ "an empty file", "data.mdb", "", -EUCLEAN, -EUCLEAN },
	{ "some text", "data.mdb", "hello\n", -EUCLEAN, -EUCLEAN },
	{ "something else in it", "notes.txt", "hello\n", -ENOENT, -ENOTEMPTY },
};

Test(damage, what_is_no_store)
{
	char *top = dir_make(), path[300];

	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		char *dir = dir_make();
		int err;

		if (odd[i].file) {
			FILE *f;

			snprintf(path, sizeof(path), "%s/%s", dir, odd[i].file);
			f = fopen(path, "w");
			fputs(odd[i].content, f);
			fclose(f);
		}
		err = try_open(dir, false);
		cr_assert_eq(err, odd[i].reading, "%s: %d", odd[i].name, err);
		err = try_open(dir, true);
		cr_assert_eq(err, odd[i].writing, "%s, to be made: %d", odd[i].name, err);
		dir_remove(dir);
	}
	snprintf(path, sizeof(path), "%s/none", top);
	cr_assert_eq(try_open(path, false), -ENOENT);
	snprintf(path, sizeof(path), "%s/none/below", top);
	cr_assert_eq(try_open(path, true), -ENOENT);
	snprintf(path, sizeof(path), "%s/file", top);
	fclose(fopen(path, "w"));
	cr_assert_eq(try_open(path, true), -ENOTDIR);
	cr_assert_eq(try_open(path, false), -ENOTDIR);
	dir_remove(top);
}

/* ---- Records -------------------------------------------------------------------------------------------------- */

static struct db *open_records(const char *dir)
{
	struct db_options o = { .map_size = 1ull << 30, .journal_key = "" };
	struct db *db;

	cr_assert_eq(db_open(dir, &o, &db), 0);
	return db;
}

static void put_super(const char *dir, struct rec_super super)
{
	struct db *db = open_records(dir);
	struct key key = key_plain(0, REC_SUPER);
	struct db_txn *txn;

	cr_assert_eq(db_durable_begin(db, &txn), 0);
	cr_assert_eq(record_put(txn, &key, &super, sizeof(super)), 0);
	cr_assert_eq(db_durable_commit(txn), 0);
	cr_assert_eq(db_drain(db, false), 0);
	db_close(db);
}

Test(damage, newer_formats)
{
	char *dir = dir_make();
	struct key key = key_plain(0, REC_SUPER);
	struct rec_super super, other;
	struct db_txn *txn;
	struct db *db;

	populate(dir);
	db = open_records(dir);
	cr_assert_eq(db_read_begin(db, &txn), 0);
	cr_assert_eq(record_get(txn, &key, &super, sizeof(super), NULL), 0);
	db_read_end(txn);
	db_close(db);
	cr_assert_eq(super.format, FORMAT_VERSION);
	other = super;
	other.format++;
	put_super(dir, other);
	cr_assert_eq(try_open(dir, true), -EPROTO);
	cr_assert_eq(try_open(dir, false), -EPROTO);
	other = super;
	other.flags |= 2;
	put_super(dir, other);
	cr_assert_eq(try_open(dir, true), -EPROTO);
	other = super;
	other.magic[0]++;
	put_super(dir, other);
	cr_assert_eq(try_open(dir, true), -EUCLEAN);
	put_super(dir, super);
	cr_assert_eq(try_open(dir, true), 0);
	cr_assert_str_eq(store_strerror(-EPROTO), "the store was written by a newer version");
	dir_remove(dir);
}

struct record {
	struct key key;
	char *value;
	size_t size;
};

static size_t all_records(const char *dir, struct record *list, size_t room)
{
	struct db *db = open_records(dir);
	struct db_value key, value;
	struct db_txn *txn;
	struct db_scan scan;
	size_t count = 0;

	cr_assert_eq(db_read_begin(db, &txn), 0);
	cr_assert_eq(db_scan_begin(&scan, txn, "", 0, 0), 0);
	while (!db_scan_next(&scan, &key, &value)) {
		cr_assert_lt(count, room);
		memcpy(list[count].key.data, key.data, key.size);
		list[count].key.size = key.size;
		list[count].value = malloc(value.size + 1);
		memcpy(list[count].value, value.data, value.size);
		list[count++].size = value.size;
	}
	db_scan_end(&scan);
	db_read_end(txn);
	db_close(db);
	return count;
}

static void put_record(const char *dir, const struct record *r, const void *value, size_t size)
{
	struct db *db = open_records(dir);
	struct db_txn *txn;

	cr_assert_eq(db_durable_begin(db, &txn), 0);
	cr_assert_eq(value ? record_put(txn, &r->key, value, size) : record_del(txn, &r->key), 0);
	cr_assert_eq(db_durable_commit(txn), 0);
	cr_assert_eq(db_drain(db, false), 0);
	db_close(db);
}

static int ignore_entry(void *arg, const struct store_attr *a, uint64_t cookie)
{
	return 0;
}

static int ignore_change(void *arg, const struct store_change *c)
{
	return 0;
}

static void look_at(struct store *s, uint64_t ino)
{
	static char bytes[100000];
	struct store_attr a;
	struct store_view *v;
	struct store_origin o;
	size_t size;

	store_getattr(s, ino, &a);
	store_path(s, ino, bytes, sizeof(bytes));
	store_readdir(s, ino, 0, true, ignore_entry, NULL);
	store_readlink(s, ino, bytes, sizeof(bytes));
	store_read(s, ino, 0, bytes, sizeof(bytes), &size);
	store_log(s, ino, ignore_change, NULL);
	for (uint64_t version = 0; version < 7; version++) {
		if (store_view_open(s, ino, version, &v))
			continue;
		if (store_view_size(v) < sizeof(bytes))
			store_view_read(v, 0, bytes, sizeof(bytes), &size);
		for (uint64_t i = 0; i < store_view_count(v) && i < 10; i++)
			store_view_origin(v, i, &o);
		store_view_unref(v);
	}
}

/* All operations over a store one of whose records is damaged: any answer will do but a crash, and good documents stay good. */
static void use(const char *dir)
{
	struct store_options o = { .map_size = 1ull << 30 };
	struct text t = { "[1,3,9]", 7 };
	struct store_base base;
	struct store_save save;
	struct store_attr a;
	struct store *s;
	uint64_t version;

	if (store_open(dir, &o, &s))
		return;
	for (uint64_t ino = 1; ino < 1060; ino += ino == 30 ? 994 : 1)
		look_at(s, ino);
	base = base_at(16, 2);
	save = save_text(s, "a.json", t, &base, 0);
	save = save_text(s, "b.json", t, &base, 0);
	save = save_text(s, "c.json", t, NULL, 0);
	if (!save.error) {
		struct text got = read_name(s, "c.json");

		check_text(got, t, "another document", "c.json");
		text_free(got);
	}
	if (store_lookup(s, STORE_ROOT, "a.json", &a) == 0)
		store_undo(s, a.ino, 0, &version);
	store_rename(s, STORE_ROOT, "a.json", STORE_ROOT, "z.json", 0, false);
	store_unlink(s, STORE_ROOT, "z.json", false, NULL);
	store_sync(s);
	store_close(s);
}

static void copy_file(const char *from, const char *to)
{
	static char bytes[1 << 20];
	int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	ssize_t n = read(in, bytes, sizeof(bytes));

	cr_assert(n > 0 && n < (ssize_t)sizeof(bytes) && write(out, bytes, (size_t)n) == n);
	close(in);
	close(out);
}

Test(damage, every_record_in_turn)
{
	static struct record records[300];
	char *dir = dir_make(), *work = dir_make(), path[256], copy[256];
	size_t count;

	random_seed("damage");
	fault_skip_sync(work);
	populate(dir);
	count = all_records(dir, records, 300);
	cr_assert_gt(count, 30);
	data_path(dir, path);
	data_path(work, copy);
	for (size_t i = 0; i < count; i++) {
		struct record *r = &records[i];

		for (int how = 0; how < 6; how++) {
			char *value = malloc(r->size + 64);
			size_t size = r->size;

			memcpy(value, r->value, r->size);
			switch (how) {
			case 0:
				size = 0;
				break;
			case 1:
				size = random_below(r->size + 1);
				break;
			case 2:
				for (size_t b = 0; b < size; b++)
					value[b] = (char)random_below(256);
				break;
			case 3:
				memset(value, 0xff, size);
				break;
			case 4:
				size = r->size + 1 + random_below(60);
				memset(value + r->size, 'x', size - r->size);
				break;
			}
			copy_file(path, copy);
			put_record(work, r, how == 5 ? NULL : value, size);
			use(work);
			free(value);
		}
		free(r->value);
	}
	dir_remove(dir);
	dir_remove(work);
}

/* ---- Only to read --------------------------------------------------------------------------------------------- */

static void check_read_only(const char *dir)
{
	struct text t = { "[1]", 3 };
	struct store_attr a;
	struct store_save save;
	struct store_stats stats;
	uint64_t number;
	struct store *s;
	int err = store_open(dir, &read_only, &s);

	cr_assert_eq(err, 0, "store_open: %d", err);
	struct text got = read_name(s, "a.json"), want = { "{\"a\":1}", 7 };

	check_text(got, want, "read-only", "a.json");
	text_free(got);
	cr_assert_eq(store_stats(s, true, &stats), 0);
	cr_assert(stats.read_only && stats.files == 4 && stats.documents == 1);
	save = save_text(s, "a.json", t, NULL, 0);
	cr_assert_eq(save.error, -EROFS);
	cr_assert_eq(store_create(s, STORE_ROOT, "x", 0, S_IFREG, 0, 0, NULL, &a), -EROFS);
	cr_assert_eq(store_new_ino(s, &number), -EROFS);
	cr_assert_eq(store_unlink(s, STORE_ROOT, "a.json", false, NULL), -EROFS);
	cr_assert_eq(store_rename(s, STORE_ROOT, "a.json", STORE_ROOT, "b.json", 0, false), -EROFS);
	cr_assert_eq(store_rmdir(s, STORE_ROOT, "d"), -EROFS);
	cr_assert_eq(store_write(s, 17, 0, "x", 1), -EROFS);
	cr_assert_eq(store_setattr(s, 17, &a, STORE_SET_MODE, NULL), -EROFS);
	cr_assert_eq(store_undo(s, stats.documents ? 16 : 0, 1, &number), -EROFS);
	cr_assert_eq(store_forget(s, 17), -EROFS);
	cr_assert_eq(store_sync(s), 0);
	store_close(s);
}

Test(damage, opened_read_only)
{
	char *dir = dir_make();

	populate(dir);
	check_read_only(dir);
	cr_assert_eq(try_open(dir, true), 0);
	dir_remove(dir);
}

/* The directory is on a filesystem that is mounted read-only. In a mount namespace of its own; needs root. */
Test(damage, on_a_read_only_filesystem)
{
	char *dir = dir_make();
	struct store *s;

	populate(dir);
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || mount(dir, dir, NULL, MS_BIND, NULL)) {
		dir_remove(dir);
		cr_skip_test("mounting is not allowed here: %s", strerror(errno));
	}
	cr_assert_eq(mount(NULL, dir, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), 0);
	check_read_only(dir);
	cr_assert_eq(store_open(dir, NULL, &s), -EROFS);
	cr_assert_eq(umount(dir), 0);
	dir_remove(dir);
}

/* Another user may not write here. */
Test(damage, without_permission)
{
	char *dir = dir_make(), path[256];
	int status;
	pid_t pid;

	populate(dir);
	data_path(dir, path);
	if (geteuid()) {
		dir_remove(dir);
		cr_skip_test("only root can become another user");
	}
	cr_assert_eq(chmod(dir, 0755) | chmod(path, 0644), 0);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (!pid) {
		struct store *s;

		if (setgid(65534) || setuid(65534))
			_exit(1);
		_exit(store_open(dir, NULL, &s) == -EACCES ? 0 : 2);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(status, 0);
	dir_remove(dir);
}
