/* store_verify finds each kind of damage, and none where there is none. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "doc.h"
#include "record.h"
#include "store.h"

static char top[64], whole[80], damaged[80];
static uint64_t inos[9];	/* by enum file */

enum file { NONE, ROOT, DOCUMENT, UNLINKED, SCRATCH, LINK, DIRECTORY, ORPHAN, LINES };

static void run(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void run(const char *format, ...)
{
	char command[256];
	va_list ap;

	va_start(ap, format);
	vsnprintf(command, sizeof(command), format, ap);
	va_end(ap);
	cr_assert_eq(system(command), 0, "%s", command);
}

static uint64_t save(struct store *s, const char *name, const char *text, uint64_t base_version)
{
	struct store_base base = { .version = base_version, .flags = STORE_BASE_THREAD, .order = 1 };
	struct store_save w = { .parent = STORE_ROOT, .name = name, .tail = text, .tail_size = strlen(text), .mode = 0644, .bases = &base, .base_count = 1 };

	cr_assert_eq(store_save(s, &w), 0);
	inos[DOCUMENT] = w.saved_ino;
	return w.version;
}

static void make_orphan(void)
{
	struct key key = key_number(0, REC_ORPHAN, inos[ORPHAN]), attr = key_plain(inos[ORPHAN], REC_ATTR);
	struct rec_attr a = { .kind = STORE_SCRATCH, .mode = S_IFREG | 0600 };
	char value[sizeof(a) + 1 + CHECK_SIZE], none[CHECK_SIZE];
	MDB_val k = { key.size, key.data }, v = { sizeof(none), none };
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;

	memcpy(value, &a, sizeof(a));
	value[sizeof(a)] = 'o';
	check_make(attr.data, attr.size, value, sizeof(a) + 1, value + sizeof(a) + 1);
	check_make(key.data, key.size, "", 0, none);
	cr_assert_eq(mdb_env_create(&env), 0);
	cr_assert_eq(mdb_env_set_mapsize(env, 1 << 30), 0);
	cr_assert_eq(mdb_env_open(env, whole, 0, 0600), 0);
	cr_assert_eq(mdb_txn_begin(env, NULL, 0, &txn), 0);
	cr_assert_eq(mdb_dbi_open(txn, NULL, 0, &dbi), 0);
	cr_assert_eq(mdb_put(txn, dbi, &k, &v, 0), 0);
	k = (MDB_val){ attr.size, attr.data };
	v = (MDB_val){ sizeof(value), value };
	cr_assert_eq(mdb_put(txn, dbi, &k, &v, 0), 0);
	cr_assert_eq(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
}

/* A store that has every type of record. */
static void make_whole(void)
{
	struct store_import how = { .remember = true };
	struct store_import_counts n;
	struct store_attr a;
	struct store *s;
	uint64_t v1;
	char beneath[80];
	int fd;

	strcpy(top, "/tmp/test-verify-XXXXXX");
	cr_assert_not_null(mkdtemp(top));
	snprintf(whole, sizeof(whole), "%s/whole", top);
	snprintf(damaged, sizeof(damaged), "%s/damaged", top);
	cr_assert_eq(store_open(whole, &(struct store_options){ .create = true }, &s), 0);

	snprintf(beneath, sizeof(beneath), "%s/beneath", top);
	run("mkdir %s && echo '[1]' > %s/i.json", beneath, beneath);
	save(s, "l.jsonl", "not JSON\n\nb\n", 0);
	inos[LINES] = inos[DOCUMENT];
	fd = open(beneath, O_RDONLY | O_DIRECTORY);
	cr_assert_geq(fd, 0);
	cr_assert_eq(store_import_tree(s, fd, STORE_ROOT, &how, &n), 0);
	close(fd);
	save(s, "u.json", "[5]", 0);
	cr_assert_eq(store_unlink(s, STORE_ROOT, "u.json", false, &a), 0);
	inos[UNLINKED] = a.ino;
	cr_assert_eq(store_create(s, STORE_ROOT, "scratch", 0, S_IFREG | 0600, 0, 0, NULL, &a), 0);
	inos[SCRATCH] = a.ino;
	for (uint64_t at = 0; at < 3 * (uint64_t)CHUNK_SIZE; at += 4096)
		cr_assert_eq(store_write(s, a.ino, at, "abc", 3), 0);
	cr_assert_eq(store_create(s, STORE_ROOT, "link", 0, S_IFLNK | 0777, 0, 0, "target", &a), 0);
	inos[LINK] = a.ino;
	cr_assert_eq(store_create(s, STORE_ROOT, "dir", 0, S_IFDIR | 0755, 0, 0, NULL, &a), 0);
	inos[DIRECTORY] = a.ino;
	v1 = save(s, "a.json", "[{\"a\":1}, {\"a\":2}, {\"a\":3}]", 0);
	save(s, "a.json", "[{\"a\":1}, {\"a\":2}, {\"a\":3}, {\"a\":4}]", v1);
	save(s, "a.json", "[{\"a\":1}, {\"a\": 2}, {\"a\":3}, {\"a\":5}]", v1);	/* merged, restyled */
	save(s, "a.json", "[\n{\"a\":1}, {\"a\": 2}, {\"a\":3}\n]", 3);		/* removed, framed anew */
	inos[ROOT] = STORE_ROOT;
	cr_assert_eq(store_new_ino(s, &inos[ORPHAN]), 0);
	store_close(s);
	make_orphan();
}

static char told[16384];

static void note(void *arg, const char *text)
{
	size_t used = strlen(told);

	snprintf(told + used, sizeof(told) - used, "%s\n", text);
}

static uint64_t verify(const char *dir)
{
	uint64_t problems = 999;
	struct store *s;

	told[0] = 0;
	cr_assert_eq(store_open(dir, &(struct store_options){ .read_only = true }, &s), 0);
	cr_assert_eq(store_verify(s, note, NULL, NULL, &problems), 0);
	store_close(s);
	return problems;
}

enum damage { REMOVE, SET, ADD, CUT, RENAME, COPY };

struct row {
	enum file file;
	char type;
	int nth;		/* of its type, in the order of keys */
	enum damage damage;
	size_t at;		/* SET: offset in the value; RENAME, COPY: in the key; CUT, ADD: the new size */
	unsigned char byte;	/* SET: the new one; RENAME, COPY: what is added to the old */
	const char *told;
};

#define MESSAGE(field) offsetof(struct rec_message, field)
#define HEAD(field) offsetof(struct rec_head, field)
#define ATTR(field) offsetof(struct rec_attr, field)

static const struct row table[] = {
	/* The store. */
	{ NONE, 'S', 0, CUT, sizeof(struct rec_super) + 4, 0, "superblock" },
	{ NONE, 'X', 0, SET, 0, 17, "not below the next free one" },
	{ NONE, 'X', 0, CUT, 9, 0, "the next inode number has 9 bytes" },
	{ NONE, 'X', 0, RENAME, 8, 2, "unknown type 0x5a" },
	{ NONE, 'O', 0, CUT, 1, 0, "a note of an unlinked file is damaged" },
	{ NONE, 'O', 0, RENAME, 15, 1, "noted as unlinked, but is no unlinked file" },
	{ NONE, 'O', 0, REMOVE, 0, 0, "not noted as unlinked" },
	/* Names. */
	{ ROOT, 'A', 0, REMOVE, 0, 0, "the root directory: it does not exist" },
	{ ROOT, 'A', 0, SET, ATTR(parent), 1, "it must be a directory without a parent" },
	{ ROOT, 'E', 0, SET, 0, 200, "which does not exist" },
	{ ROOT, 'E', 0, SET, 8, STORE_DIRECTORY + 9, "is of kind" },
	{ ROOT, 'E', 0, REMOVE, 0, 0, "has no entry" },
	{ ROOT, 'E', 0, CUT, 3, 0, "has 3 bytes" },
	{ ROOT, 'E', 0, RENAME, 12, 1, "has a wrong hash" },
	{ ROOT, 'E', 0, RENAME, 17, (unsigned char)('/' - 'a'), "name" },
	{ ROOT, 'E', 1, COPY, 7, 1, "which is \"" },
	{ ROOT, 'T', 0, SET, 0, STORE_ROOT, "is no document" },
	{ ROOT, 'T', 0, RENAME, 12, 1, "has a wrong hash" },
	{ DIRECTORY, 'A', 0, SET, ATTR(parent), 0, "a directory without a parent" },
	{ DIRECTORY, 'A', 0, SET, ATTR(mode) + 1, S_IFREG >> 8, "does not go with its mode" },
	{ ROOT, 'I', 0, CUT, 8, 0, "what was taken in as" },
	{ ROOT, 'I', 0, RENAME, 12, 1, "has a wrong hash" },
	/* Plain files. */
	{ SCRATCH, 'A', 0, REMOVE, 0, 0, "which does not exist" },
	{ SCRATCH, 'A', 0, CUT, 9, 0, "its attributes are damaged" },
	{ SCRATCH, 'A', 0, SET, sizeof(struct rec_attr), '/', "its name is not one" },
	{ SCRATCH, 'A', 0, SET, sizeof(struct rec_attr), 'x', "has no entry" },
	{ SCRATCH, 'A', 0, SET, ATTR(kind), 9, "its kind, 9" },
	{ SCRATCH, 'A', 0, SET, ATTR(parent), 0, "it has no directory, and is not noted as unlinked" },
	{ SCRATCH, 'A', 0, SET, ATTR(size) + 1, 0, "chunk 2 ends" },
	{ SCRATCH, 'C', 1, CUT, CHUNK_SIZE + 1, 0, "chunk 1 has" },
	{ SCRATCH, 'C', 0, RENAME, 12, 5, "chunk 5 ends" },
	{ SCRATCH, 'C', 0, COPY, 7, 100, "is no plain file" },
	{ LINK, 'C', 0, CUT, 3, 0, "chunk 0 ends at byte 3" },
	/* Documents. */
	{ DOCUMENT, 'A', 0, SET, ATTR(parent), 0, "is not unlinked" },
	{ DOCUMENT, 'A', 0, SET, ATTR(mtime_version), 99, "above the newest" },
	{ UNLINKED, 'A', 0, SET, ATTR(parent), 1, "unlinked, but it has a directory" },
	{ DOCUMENT, 'N', 0, REMOVE, 0, 0, "a document without its head" },
	{ DOCUMENT, 'N', 0, CUT, 10, 0, "its head is damaged" },
	{ DOCUMENT, 'N', 0, SET, HEAD(count), 9, "its head says 9" },
	{ DOCUMENT, 'N', 0, SET, HEAD(size), 9, "its head says 9" },
	{ DOCUMENT, 'N', 0, SET, HEAD(version), 2, "the newest is 2" },
	{ DOCUMENT, 'N', 0, SET, HEAD(next_pos) + 7, 1, "is not below the next position" },
	{ DOCUMENT, 'N', 0, SET, HEAD(kind), DOC_FREE, "its frame is of kind" },
	{ DOCUMENT, 'N', 0, SET, HEAD(unlinked), 2, "unlinked 2" },
	{ DOCUMENT, 'N', 0, SET, HEAD(reshaped), 77, "last reshaped 77" },
	{ DOCUMENT, 'F', 0, REMOVE, 0, 0, "a document without its frame" },
	{ DOCUMENT, 'F', 0, CUT, 10, 0, "a frame is damaged" },
	{ DOCUMENT, 'F', 0, SET, sizeof(struct rec_frame), '{', "no document of its kind" },
	{ DOCUMENT, 'F', 0, SET, 0, 50, "a frame of version 50" },
	{ DOCUMENT, 'G', 0, CUT, 10, 0, "a frame is damaged" },
	{ DOCUMENT, 'G', 0, RENAME, 16, 60, "a frame of version" },
	{ DOCUMENT, 'M', 0, REMOVE, 0, 0, "its head says 3" },
	{ DOCUMENT, 'M', 0, CUT, 20, 0, "is damaged: 20 bytes" },
	{ DOCUMENT, 'M', 1, SET, MESSAGE(lead_size), 200, "is damaged" },
	{ DOCUMENT, 'M', 1, SET, sizeof(struct rec_message), 'x', "no separator" },
	{ DOCUMENT, 'M', 0, SET, MESSAGE(born), 0, "was born in version 0" },
	{ DOCUMENT, 'M', 0, SET, MESSAGE(edition), 70, "bytes of version 70" },
	{ DOCUMENT, 'M', 0, SET, MESSAGE(hash), 1, "the hash of the message" },
	{ DOCUMENT, 'M', 0, SET, sizeof(struct rec_message), 'x', "is not JSON at byte 0" },
	{ DOCUMENT, 'M', 0, ADD, 1, 0, "something follows it" },
	{ DOCUMENT, 'M', 0, RENAME, 9, 0x20, "is not below the next position" },
	{ DOCUMENT, 'M', 2, COPY, 7, 100, "it is no document" },
	{ LINES, 'M', 0, SET, sizeof(struct rec_message), '\n', "is not one line" },
	{ LINES, 'M', 1, SET, sizeof(struct rec_message), ',', "is not one line" },
	{ LINES, 'M', 2, SET, sizeof(struct rec_message) + 1, 'c', "the hash of the message" },
	{ LINES, 'F', 0, SET, sizeof(struct rec_frame), ',', "no document of its kind" },
	{ LINES, 'F', 0, ADD, 1, 0, "no document of its kind" },
	{ LINES, 'N', 0, SET, HEAD(kind), 1, "its frame is of kind 4, its head of kind 1" },
	{ LINES, 'N', 0, SET, HEAD(kind), 5, "its head is wrong" },
	{ DOCUMENT, 'D', 0, SET, MESSAGE(edition), 60, "died in version" },
	{ DOCUMENT, 'D', 0, SET, MESSAGE(hash), 1, "the hash of the message" },
	{ DOCUMENT, 'D', 0, SET, MESSAGE(flags), 0, "had two messages at once" },
	{ DOCUMENT, 'D', 0, RENAME, 16, 60, "died in version" },
	{ DOCUMENT, 'V', 0, CUT, 5, 0, "a log entry is damaged" },
	{ DOCUMENT, 'V', 0, RENAME, 16, 60, "the log tells of version" },
	{ DOCUMENT, 'V', 0, CUT, sizeof(struct rec_change) + 3, 0, "has a damaged frame" },
	{ DOCUMENT, 'V', 0, RENAME, 8, 10, "unknown type 0x60" },
};

static void plant(const struct row *r, size_t row)
{
	char key[512], *value;
	size_t size;
	struct key from = key_plain(inos[r->file], r->type);
	MDB_val k = { from.size, from.data }, v;
	MDB_cursor *cursor;
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;

	cr_assert_eq(mdb_env_create(&env), 0);
	cr_assert_eq(mdb_env_set_mapsize(env, 1 << 30), 0);
	cr_assert_eq(mdb_env_open(env, damaged, 0, 0600), 0);
	cr_assert_eq(mdb_txn_begin(env, NULL, 0, &txn), 0);
	cr_assert_eq(mdb_dbi_open(txn, NULL, 0, &dbi), 0);
	cr_assert_eq(mdb_cursor_open(txn, dbi, &cursor), 0);
	cr_assert_eq(mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE), 0, "row %zu", row);
	for (int i = 0; i < r->nth; i++)
		cr_assert_eq(mdb_cursor_get(cursor, &k, &v, MDB_NEXT), 0, "row %zu", row);
	cr_assert(k.mv_size >= from.size && !memcmp(k.mv_data, from.data, from.size), "row %zu: there is no such record", row);

	/* Copies with room, as LMDB's own memory changes under them. */
	size = v.mv_size - CHECK_SIZE;
	value = calloc(1, size + CHUNK_SIZE + 16 + CHECK_SIZE);
	memcpy(value, v.mv_data, size);
	memcpy(key, k.mv_data, k.mv_size);
	k.mv_data = key;
	mdb_cursor_close(cursor);
	if (r->damage != COPY)
		cr_assert_eq(mdb_del(txn, dbi, &k, NULL), 0);
	if (r->damage == SET) {
		cr_assert_lt(r->at, size, "row %zu", row);
		cr_assert_neq(value[r->at], (char)r->byte, "row %zu changes nothing", row);
		value[r->at] = r->byte;
	} else if (r->damage == CUT) {
		size = r->at;
	} else if (r->damage == ADD) {
		size += r->at;
		value[size - 1] = '7';
	} else if (r->damage == RENAME || r->damage == COPY) {
		cr_assert_lt(r->at, k.mv_size, "row %zu", row);
		key[r->at] += r->byte;
	}
	/* A fault of the program, not of the disk: the check is right. */
	check_make(k.mv_data, k.mv_size, value, size, value + size);
	v = (MDB_val){ size + CHECK_SIZE, value };
	if (r->damage != REMOVE)
		cr_assert_eq(mdb_put(txn, dbi, &k, &v, MDB_NOOVERWRITE), 0, "row %zu", row);
	free(value);
	cr_assert_eq(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
}

Test(verify, damage)
{
	uint64_t problems;

	make_whole();
	problems = verify(whole);
	cr_assert_eq(problems, 0, "%s", told);
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		run("rm -rf %s && mkdir %s && cp %s/data.mdb %s/", damaged, damaged, whole, damaged);
		plant(&table[i], i);
		problems = verify(damaged);
		cr_assert_neq(problems, 0, "row %zu (%s) was not found", i, table[i].told);
		cr_assert_not_null(strstr(told, table[i].told), "row %zu: \"%s\" is not in: %s", i, table[i].told, told);
	}
	run("rm -rf %s", top);
}

/* Problems of one file are told up to a number, and all counted. */
Test(verify, many_problems)
{
	static char text[8192] = "[0";
	struct row hash = { DOCUMENT, 'M', 0, SET, MESSAGE(hash) + 5, 1, "" };
	uint64_t problems;
	struct store *s;
	size_t lines = 0;

	make_whole();
	cr_assert_eq(store_open(whole, NULL, &s), 0);
	for (int i = 1; i < 100; i++)
		sprintf(text + strlen(text), ",%d", i);
	strcat(text, "]");
	save(s, "many.json", text, 0);
	store_close(s);
	run("cp -r %s %s", whole, damaged);
	for (; hash.nth < 100; hash.nth++)
		plant(&hash, hash.nth);
	problems = verify(damaged);
	cr_assert_eq(problems, 100);
	for (char *at = told; (at = strchr(at, '\n')); at++)
		lines++;
	cr_assert_eq(lines, 21, "%s", told);
	cr_assert_not_null(strstr(told, "many.json: "));
	cr_assert_not_null(strstr(told, "and 80 more"));
	run("rm -rf %s", top);
}

static struct store *busy;
static atomic_bool stop;

static void *write_on(void *arg)
{
	char name[32], text[64];

	for (unsigned i = 0; !atomic_load(&stop); i++) {
		struct store_save w = { .parent = STORE_ROOT, .name = "long.json", .tail = text, .mode = 0644, .flags = STORE_SAVE_APPEND };
		struct store_attr a;

		sprintf(text, "{\"n\": %u}", i);
		w.tail_size = strlen(text);
		cr_assert_eq(store_save(busy, &w), 0);
		sprintf(name, "f%u", i % 7);
		if (!store_unlink(busy, STORE_ROOT, name, false, NULL))
			continue;
		cr_assert_eq(store_create(busy, STORE_ROOT, name, 0, S_IFREG | 0600, 0, 0, NULL, &a), 0);
		cr_assert_eq(store_write(busy, a.ino, 100000, "x", 1), 0);
	}
	return NULL;
}

/* A store in use is as whole as one at rest: a file longer than one reading is read again when it has changed. */
Test(verify, in_use)
{
	enum { MESSAGES = 20000 };
	static char text[MESSAGES * 16];
	size_t used = 0;
	uint64_t problems;
	struct store_save w = { .parent = STORE_ROOT, .name = "long.json", .tail = text, .mode = 0644 };
	pthread_t thread;

	strcpy(top, "/tmp/test-verify-XXXXXX");
	cr_assert_not_null(mkdtemp(top));
	cr_assert_eq(store_open(top, &(struct store_options){ .create = true }, &busy), 0);
	for (int i = 0; i < MESSAGES; i++)
		used += sprintf(text + used, "%c{\"n\":%d}", i ? ',' : '[', i);
	text[used++] = ']';
	w.tail_size = used;
	cr_assert_eq(store_save(busy, &w), 0);
	cr_assert_eq(pthread_create(&thread, NULL, write_on, NULL), 0);
	for (int round = 0; round < 20; round++) {
		told[0] = 0;
		cr_assert_eq(store_verify(busy, note, NULL, NULL, &problems), 0);
		cr_assert_eq(problems, 0, "%s", told);
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	cr_assert_eq(store_verify(busy, note, NULL, NULL, &problems), 0);
	cr_assert_eq(problems, 0, "%s", told);
	store_close(busy);
	run("rm -rf %s", top);
}
