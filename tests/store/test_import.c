/* Taking trees of files in: P1, P2, P4, P9 between a directory beneath a mount and the store. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store.h"

static char top[64], beneath[80], place[80];
static struct store *store;
static char reports[8192];
static int clock_now;	/* seconds; each file that is written is newer than all before */

static void reopen(void)
{
	store_close(store);
	cr_assert_eq(store_open(place, &(struct store_options){ .create = true, .max_document = 1 << 20 }, &store), 0);
}

static void begin(void)
{
	strcpy(top, "/tmp/test-import-XXXXXX");
	cr_assert_not_null(mkdtemp(top));
	snprintf(beneath, sizeof(beneath), "%s/beneath", top);
	snprintf(place, sizeof(place), "%s/store", top);
	cr_assert_eq(mkdir(beneath, 0750), 0);
	clock_now = 1000000;
	store = NULL;
	reopen();
}

static void print_problem(void *arg, const char *text)
{
	fprintf(stderr, "verify: %s\n", text);
}

static void end(void)
{
	uint64_t problems = 1;
	char command[128];

	cr_assert_eq(store_verify(store, print_problem, NULL, NULL, &problems), 0);
	cr_assert_eq(problems, 0, "the store is not whole");
	store_close(store);
	snprintf(command, sizeof(command), "rm -rf %s", top);
	cr_assert_eq(system(command), 0);
}

static const char *path_of(const char *name)
{
	static char path[512];

	snprintf(path, sizeof(path), "%s/%s", beneath, name);
	return path;
}

static void put_bytes(const char *name, const void *bytes, size_t size)
{
	struct timespec times[2] = { { .tv_sec = clock_now + 1 }, { .tv_sec = ++clock_now, .tv_nsec = 123456789 } };
	int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC, 0640);

	cr_assert_geq(fd, 0, "%s", name);
	cr_assert_eq(write(fd, bytes, size), (ssize_t)size);
	cr_assert_eq(futimens(fd, times), 0);
	close(fd);
}

static void put(const char *name, const char *text)
{
	put_bytes(name, text, strlen(text));
}

static void note_report(void *arg, const char *path, int err, const char *reason)
{
	size_t used = strlen(reports);

	snprintf(reports + used, sizeof(reports) - used, "%s: %s\n", path, reason ? reason : store_strerror(err));
}

static struct store_import_counts import(bool remember, bool salvage)
{
	struct store_import how = { .remember = remember, .salvage = salvage, .report = note_report };
	struct store_import_counts n = { 0 };
	int fd = open(beneath, O_RDONLY | O_DIRECTORY);

	reports[0] = 0;
	cr_assert_eq(store_import_tree(store, fd, STORE_ROOT, &how, &n), 0);
	close(fd);
	cr_assert_eq(n.files, n.total_files);
	return n;
}

/* The bytes of a file in the store, or "(none)". */
static const char *text_of(const char *path)
{
	static char text[1 << 16];
	struct store_view *v;
	struct store_attr a;
	size_t n = 0;
	int err = store_resolve(store, path, &a);

	if (err == -ENOENT)
		return "(none)";
	cr_assert_eq(err, 0, "%s", path);
	if (a.kind == STORE_DOCUMENT) {
		cr_assert_eq(store_view_open(store, a.ino, 0, &v), 0);
		cr_assert_eq(store_view_read(v, 0, text, sizeof(text) - 1, &n), 0);
		store_view_unref(v);
	} else if (a.kind == STORE_SYMLINK) {
		cr_assert_eq(store_readlink(store, a.ino, text, sizeof(text)), 0);
		n = strlen(text);
	} else {
		cr_assert_eq(store_read(store, a.ino, 0, text, sizeof(text) - 1, &n), 0);
	}
	text[n] = 0;
	return text;
}

static int count_entry(void *arg, const struct store_attr *a, uint64_t cookie)
{
	++*(int *)arg;
	return 0;
}

static int rejected(void)
{
	int n = 0;

	cr_assert_eq(store_readdir(store, STORE_REJECTED, 0, false, count_entry, &n), 0);
	return n;
}

/* A save of one who had read the newest version. */
static void save(const char *name, const char *text)
{
	struct store_base base = { .flags = STORE_BASE_THREAD, .order = 1 };
	struct store_save s = { .parent = STORE_ROOT, .name = name, .tail = text, .tail_size = strlen(text), .mode = 0644, .bases = &base, .base_count = 1 };
	struct store_attr a;

	if (!store_lookup(store, STORE_ROOT, name, &a)) {
		base.ino = a.ino;
		base.version = a.version;
	}
	cr_assert_eq(store_save(store, &s), 0);
}

Test(import, one_file)
{
	static const struct {
		const char *name, *bytes;
		bool salvage;
		enum store_kind kind;
		const char *kept;
		int documents, torn, salvaged, rejected;
	} table[] = {
		{ "a.json", "[\n  {\"a\": 1},\n  {\"b\": 2}\n]\n", false, STORE_DOCUMENT, "[\n  {\"a\": 1},\n  {\"b\": 2}\n]\n", 1, 0, 0, 0 },
		{ "a.json", "{\"t\":1,\"messages\":[{\"a\":1}]}", false, STORE_DOCUMENT, "{\"t\":1,\"messages\":[{\"a\":1}]}", 1, 0, 0, 0 },
		{ "a.json", "  {\"free\": [1, 2]}", false, STORE_DOCUMENT, "  {\"free\": [1, 2]}", 1, 0, 0, 0 },
		{ "a.json", "[NaN]", false, STORE_DOCUMENT, "[NaN]", 1, 0, 0, 0 },
		{ "a.json", "", false, STORE_DOCUMENT, "", 1, 0, 0, 0 },
		{ "a.json", "[{\"a\":1},{\"b\"", false, STORE_SCRATCH, "[{\"a\":1},{\"b\"", 0, 1, 0, 0 },
		{ "a.json", "no JSON at all", false, STORE_SCRATCH, "no JSON at all", 0, 1, 0, 0 },
		{ "a.json", "no JSON at all", true, STORE_SCRATCH, "no JSON at all", 0, 1, 0, 0 },
		{ "a.json", "[", true, STORE_SCRATCH, "[", 0, 1, 0, 0 },
		{ "a.json", "[{\"a\":1}, {\"b\"", true, STORE_DOCUMENT, "[{\"a\":1}]", 1, 0, 1, 1 },
		{ "a.json", "[\n  {\"a\":1},\n  {\"b\":2},\n  {\"c", true, STORE_DOCUMENT, "[\n  {\"a\":1},\n  {\"b\":2}\n]", 1, 0, 1, 1 },
		{ "a.json", "[1, 23", true, STORE_DOCUMENT, "[1]", 1, 0, 1, 1 },
		{ "a.json", "[{\"a\":1}]{\"b\":2}]", true, STORE_DOCUMENT, "[{\"a\":1}]", 1, 0, 1, 1 },
		{ "a.json", "\xef\xbb\xbf[{\"a\":1},", true, STORE_DOCUMENT, "\xef\xbb\xbf[{\"a\":1}]", 1, 0, 1, 1 },
		{ "a.txt", "[1]", false, STORE_SCRATCH, "[1]", 0, 0, 0, 0 },
		{ ".json", "[1]", false, STORE_SCRATCH, "[1]", 0, 0, 0, 0 },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct store_import_counts n;
		struct store_attr a;

		begin();
		put(table[i].name, table[i].bytes);
		/* Once more changes nothing. */
		for (int round = 0; round < 2; round++) {
			n = import(false, table[i].salvage);
			cr_assert_eq(store_lookup(store, STORE_ROOT, table[i].name, &a), 0, "row %zu", i);
			cr_assert_eq(a.kind, table[i].kind, "row %zu", i);
			cr_assert_eq(a.mode, S_IFREG | 0640u, "row %zu", i);
			cr_assert_eq(a.mtime.tv_sec, clock_now, "row %zu", i);
			cr_assert_eq(a.mtime.tv_nsec, 123456789, "row %zu", i);
			cr_assert_str_eq(text_of(table[i].name), table[i].kept, "row %zu", i);
			cr_assert_eq(rejected(), table[i].rejected, "row %zu", i);
			cr_assert_eq(n.torn, table[i].torn, "row %zu", i);
			cr_assert_eq(strlen(reports) != 0, table[i].torn || table[i].salvaged, "row %zu: %s", i, reports);
			if (round)
				continue;
			cr_assert_eq(n.documents, table[i].documents, "row %zu", i);
			cr_assert_eq(n.salvaged, table[i].salvaged, "row %zu", i);
			cr_assert_eq(n.failed, 0, "row %zu", i);
		}
		end();
	}
}

/* What is beneath at first, what the store then makes of it, what comes to be beneath meanwhile and after the second import. */
Test(import, both_sides)
{
	static const struct {
		const char *first, *in_store, *second, *merged, *third, *last;
	} table[] = {
		{ "[1,2]", NULL, NULL, "[1,2]", NULL, NULL },
		{ "[1,2]", NULL, "[1,2,3]", "[1,2,3]", "[1,2,3,4]", "[1,2,3,4]" },
		{ "[1,2]", "[1,2,8]", NULL, "[1,2,8]", "[1,2,3]", "[1,2,8,3]" },
		{ "[1,2]", "[1,2,8]", "[1,2,3]", "[1,2,8,3]", NULL, NULL },
		/* The file still knows nothing of 8. */
		{ "[1,2]", "[1,2,8]", "[1,2,3]", "[1,2,8,3]", "[1,2,3,4]", "[1,2,8,3,4]" },
		{ "[1,2]", "[1,2,8]", "[1,2,3]", "[1,2,8,3]", "[1,2]", "[1,2,8]" },
		{ "[1,2]", "[1,2,8]", "[1,2 ]", "[1,2,8 ]", "[1,2,3]", "[1,2,8,3]" },
		{ "[1,2]", "[1,2,8]", "[1,2]", "[1,2,8]", "[1,2,3]", "[1,2,8,3]" },
		/* Removed beneath, as long as the store has it unchanged. */
		{ "[1,2]", NULL, "[2]", "[2]", "[2,3]", "[2,3]" },
		{ "[1,2]", "[1,2,8]", "[2]", "[2,8]", "[2,3]", "[2,8,3]" },
		{ "[1,2]", "[1,2,8]", "[]", "[8]", NULL, NULL },
		/* Removed in the store. */
		{ "[1,2]", "[1]", "[1,2,3]", "[1,3]", "[1,2,3,4]", "[1,3,4]" },
		{ "[1,2]", "[1]", NULL, "[1]", NULL, NULL },
		/* Exported from the store and copied back. */
		{ "[1,2]", "[1,2,8]", "[1,2,8]", "[1,2,8]", "[1,2,8,3]", "[1,2,8,3]" },
		{ "[1,2]", "[1,2,8]", "[1,2,8,3]", "[1,2,8,3]", "[1,2,8]", "[1,2,8]" },
		{ "[1,2]", "[1,2,8]", "[8,3]", "[8,3]", NULL, NULL },
		/* Equal messages of both sides are two when the rest differs. */
		{ "[1]", "[1,5,8]", "[1,5,3]", "[1,5,8,5,3]", NULL, NULL },
		/* Unlinked in the store. */
		{ "[1,2]", "", NULL, "(none)", "[1,2,3]", "[1,2,3]" },
		{ "[1,2]", "", "[1,2,3]", "[1,2,3]", "[1,3]", "[1,3]" },
		/* Emptied or torn beneath: the store's messages stay, also later. */
		{ "[1,2]", NULL, "", "[1,2]", "[3]", "[1,2,3]" },
		{ "[1,2]", "[1,2,8]", "[1,2", "[1,2,8]", "[3]", "[1,2,8,3]" },
		/* Around the messages, and other JSON. */
		{ "{\"t\":1,\"m\":[{\"a\":1}]}", "{\"t\":1,\"m\":[{\"a\":1},{\"a\":8}],\"x\":0}", "{\"t\":2,\"m\":[{\"a\":1},{\"a\":3}]}",
		  "{\"t\":2,\"m\":[{\"a\":1},{\"a\":8},{\"a\":3}],\"x\":0}", "{\"t\":3,\"m\":[{\"a\":1},{\"a\":3}]}",
		  "{\"t\":3,\"m\":[{\"a\":1},{\"a\":8},{\"a\":3}],\"x\":0}" },
		{ "{\"a\":1}", "{\"a\":1,\"b\":2}", "{\"a\":3}", "{\"a\":3,\"b\":2}", "{\"a\":4}", "{\"a\":4,\"b\":2}" },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct store_import_counts n;

		begin();
		put("a.json", table[i].first);
		n = import(true, false);
		cr_assert_eq(n.documents, 1, "row %zu", i);
		if (table[i].in_store && *table[i].in_store)
			save("a.json", table[i].in_store);
		else if (table[i].in_store)
			cr_assert_eq(store_unlink(store, STORE_ROOT, "a.json", false, NULL), 0);
		if (table[i].second)
			put("a.json", table[i].second);
		reopen();
		import(true, false);
		cr_assert_str_eq(text_of("a.json"), table[i].merged, "row %zu: %s", i, text_of("a.json"));
		n = import(true, false);
		cr_assert_eq(n.unchanged, 1, "row %zu", i);
		cr_assert_str_eq(text_of("a.json"), table[i].merged, "row %zu: again: %s", i, text_of("a.json"));
		if (table[i].third) {
			put("a.json", table[i].third);
			import(true, false);
			cr_assert_str_eq(text_of("a.json"), table[i].last, "row %zu: at last: %s", i, text_of("a.json"));
		}
		end();
	}
}

/* Lists of numbers from 1000 and from 2000 on, which stand for the messages of the store and of the file. */
static const char *numbers(int first_of_file, int of_store, int of_file)
{
	static char text[4096];
	int n = sprintf(text, "[0");

	for (int i = 1; i <= of_store || i <= of_file; i++) {
		if (i <= of_store)
			n += sprintf(text + n, ",%d", 1000 + i);
		if (i >= first_of_file && i <= of_file)
			n += sprintf(text + n, ",%d", 2000 + i);
	}
	sprintf(text + n, "]");
	return text;
}

/* The store and the file go on in turn, so often that no more is remembered of what the file has seen; then it removes its first message. */
Test(import, own_versions)
{
	static const struct { int turns; bool removes; } table[] = { { 59, true }, { 60, true }, { 61, false }, { 62, false }, { 70, false } };

	for (size_t t = 0; t < sizeof(table) / sizeof(table[0]); t++) {
		int turns = table[t].turns;

		begin();
		put("a.json", "[0]");
		import(true, false);
		for (int i = 1; i <= turns; i++) {
			save("a.json", numbers(1, i, i - 1));
			put("a.json", numbers(1, 0, i));
			import(true, false);
			cr_assert_str_eq(text_of("a.json"), numbers(1, i, i), "%d of %d turns: %s", i, turns, text_of("a.json"));
		}
		put("a.json", numbers(2, 0, turns));
		import(true, false);
		cr_assert_str_eq(text_of("a.json"), numbers(table[t].removes ? 2 : 1, turns, turns), "%d turns: %s", turns, text_of("a.json"));
		end();
	}
}

/* Over a document that the file is not known to have had anything to do with, nothing is removed. */
Test(import, unknown_document)
{
	static const struct {
		const char *in_store, *file;
		bool newer;
		const char *merged;
		int rejected;
	} table[] = {
		{ "[1,2]", "[1,2]", true, "[1,2]", 0 },
		{ "[1,2]", "[2,3]", true, "[1,2,3]", 0 },
		{ "[1,2]", "[]", true, "[1,2]", 0 },
		{ "[1,2]", "", true, "[1,2]", 0 },
		{ "[1,2]", "{\"a\":1}", true, "[1,2]", 1 },
		{ "{\"a\":1}", "{\"a\":2}", false, "{\"a\":1}", 1 },
		{ "{\"a\":1}", "{\"a\":2}", true, "{\"a\":2}", 0 },
		{ "{\"a\":1}", "[1]", false, "{\"a\":1}", 1 },
		{ "{\"m\":[{\"a\":1}]}", "[{\"a\":2}]", true, "{\"m\":[{\"a\":1}]}", 1 },
		{ "{\"m\":[{\"a\":1}]}", "{\"m\":[{\"a\":2}]}", true, "{\"m\":[{\"a\":1}, {\"a\":2}]}", 0 },
	};

	for (size_t i = 0; i < 2 * sizeof(table) / sizeof(table[0]); i++) {
		size_t row = i / 2;
		const char *result;

		begin();
		save("a.json", table[row].in_store);
		if (table[row].newer)
			clock_now = 2000000000;
		put("a.json", table[row].file);
		for (int round = 0; round < 2; round++) {
			import(i % 2, false);
			result = text_of("a.json");
			cr_assert_str_eq(result, table[row].merged, "row %zu: %s", row, result);
			cr_assert_eq(rejected(), table[row].rejected, "row %zu", row);
		}
		end();
	}
}

Test(import, tree)
{
	struct store_import_counts n;
	struct store_attr a;
	char *large = malloc(3 << 20), *back = malloc(3 << 20);
	struct timespec times[2] = { { .tv_sec = 5000 }, { .tv_sec = 6000, .tv_nsec = 7 } };
	size_t got;

	begin();
	for (size_t i = 0; i < 3 << 20; i++)
		large[i] = i * 2654435761u >> 13;
	cr_assert_eq(mkdir(path_of("d"), 0711), 0);
	cr_assert_eq(mkdir(path_of("d/e"), 0755), 0);
	cr_assert_eq(mkdir(path_of("void"), 0755), 0);
	put("d/e/a.json", "[1]");
	put_bytes("large.bin", large, (3 << 20) - 5);
	put_bytes("huge.json", large, 3 << 20);
	cr_assert_eq(symlink("/etc/passwd", path_of("d/link")), 0);
	cr_assert_eq(symlink("/etc", path_of("outside")), 0);
	cr_assert_eq(mkfifo(path_of("fifo"), 0600), 0);
	cr_assert_eq(utimensat(AT_FDCWD, path_of("d"), times, 0), 0);
	n = import(true, false);
	cr_assert_eq(n.files, 5);
	cr_assert_eq(n.documents, 1);
	cr_assert_eq(n.messages, 1);
	cr_assert_eq(n.failed, 0);
	cr_assert_not_null(strstr(reports, "fifo: "));
	cr_assert_not_null(strstr(reports, "huge.json: larger"));

	cr_assert_eq(store_getattr(store, STORE_ROOT, &a), 0);
	cr_assert_eq(a.mode, S_IFDIR | 0750u, "the root looks as the directory beneath");
	cr_assert_eq(store_resolve(store, "d", &a), 0);
	cr_assert_eq(a.mode, S_IFDIR | 0711u);
	cr_assert_eq(a.mtime.tv_sec, 6000);
	cr_assert_eq(store_resolve(store, "void", &a), 0);
	cr_assert_str_eq(text_of("d/e/a.json"), "[1]");
	cr_assert_str_eq(text_of("d/link"), "/etc/passwd");
	cr_assert_eq(store_resolve(store, "outside", &a), 0);
	cr_assert_eq(a.kind, STORE_SYMLINK);
	cr_assert_eq(store_resolve(store, "large.bin", &a), 0);
	cr_assert_eq(a.size, (3 << 20) - 5);
	cr_assert_eq(store_read(store, a.ino, 0, back, 3 << 20, &got), 0);
	cr_assert_eq(got, (3 << 20) - 5);
	cr_assert_eq(memcmp(large, back, got), 0);

	/* What was removed in the store does not come back, unless something new is in it. */
	cr_assert_eq(store_resolve(store, "d/e", &a), 0);
	cr_assert_eq(store_unlink(store, a.ino, "a.json", false, NULL), 0);
	cr_assert_eq(store_unlink(store, a.parent, "link", false, NULL), 0);
	cr_assert_eq(store_rmdir(store, a.parent, "e"), 0);
	cr_assert_eq(store_rmdir(store, STORE_ROOT, "d"), 0);
	cr_assert_eq(store_rmdir(store, STORE_ROOT, "void"), 0);
	n = import(true, false);
	cr_assert_eq(n.unchanged, 5);
	cr_assert_str_eq(text_of("d"), "(none)");
	put("d/e/b.json", "[2]");
	n = import(true, false);
	cr_assert_eq(n.unchanged, 5);
	cr_assert_str_eq(text_of("d/e/b.json"), "[2]");
	cr_assert_str_eq(text_of("d/e/a.json"), "(none)");
	cr_assert_str_eq(text_of("d/link"), "(none)");
	cr_assert_str_eq(text_of("void"), "(none)");
	n = import(true, false);
	cr_assert_eq(n.unchanged, 6);
	put("d/e/a.json", "[1,3]");
	import(true, false);
	cr_assert_str_eq(text_of("d/e/a.json"), "[1,3]");
	/* Removed beneath: it stays in the store. */
	cr_assert_eq(unlink(path_of("d/e/a.json")), 0);
	import(true, false);
	cr_assert_str_eq(text_of("d/e/a.json"), "[1,3]");
	free(large);
	free(back);
	end();
}

static void write_scratch(const char *name, const char *text, int mtime)
{
	struct store_attr a, to = { .mtime.tv_sec = mtime };

	cr_assert_eq(store_lookup(store, STORE_ROOT, name, &a), 0);
	cr_assert_eq(store_write(store, a.ino, 0, text, strlen(text)), 0);
	cr_assert_eq(store_setattr(store, a.ino, &to, STORE_SET_MTIME, NULL), 0);
}

Test(import, plain_files)
{
	/* The store's is changed at `store_time`, the file after that. */
	static const struct {
		int store_time;
		bool change;
		const char *kept;
		int rejected;
	} table[] = {
		{ 0, false, "one", 0 },
		{ 0, true, "two", 0 },
		{ 500, true, "two", 1 },
		{ 2000000000, true, "abc", 1 },
		{ 2000000000, false, "abc", 0 },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		begin();
		put("a.txt", "one");
		import(true, false);
		if (table[i].store_time)
			write_scratch("a.txt", "abc", table[i].store_time);
		if (table[i].change)
			put("a.txt", "two");
		for (int round = 0; round < 2; round++) {
			import(true, false);
			cr_assert_str_eq(text_of("a.txt"), table[i].kept, "row %zu", i);
			cr_assert_eq(rejected(), table[i].rejected, "row %zu", i);
		}
		end();
	}
}

Test(import, torn_becomes_whole)
{
	begin();
	put("a.json", "[1,2");
	cr_assert_eq(import(true, false).torn, 1);
	put("a.json", "[1,2]");
	cr_assert_eq(import(true, false).documents, 1);
	cr_assert_str_eq(text_of("a.json"), "[1,2]");
	cr_assert_eq(rejected(), 1, "the torn bytes are kept");
	end();
}

/* Another directory's file of the same name is no later state of the first one's. */
Test(import, another_directory)
{
	begin();
	put("a.json", "[1,2]");
	import(true, false);
	snprintf(beneath, sizeof(beneath), "%s/other", top);
	cr_assert_eq(mkdir(beneath, 0755), 0);
	put("a.json", "[7]");
	import(true, false);
	cr_assert_not_null(strstr(text_of("a.json"), "1,2"), "%s", text_of("a.json"));
	cr_assert_not_null(strchr(text_of("a.json"), '7'));
	end();
}

Test(import, what_is_in_the_way)
{
	struct store_import_counts n;
	struct store_attr a;

	begin();
	cr_assert_eq(store_create(store, STORE_ROOT, "a.json", 0, S_IFDIR | 0755, 0, 0, NULL, &a), 0);
	cr_assert_eq(store_create(store, STORE_ROOT, "b.json", 0, S_IFLNK | 0777, 0, 0, "x", &a), 0);
	cr_assert_eq(store_create(store, STORE_ROOT, "d", 0, S_IFREG | 0600, 0, 0, NULL, &a), 0);
	put("a.json", "[1]");
	put("b.json", "[1]");
	put("c.json", "[1]");
	cr_assert_eq(mkdir(path_of("d"), 0755), 0);
	put("d/e.json", "[1]");
	struct store_import how = { .report = note_report };
	int fd = open(beneath, O_RDONLY | O_DIRECTORY);

	reports[0] = 0;
	cr_assert_eq(store_import_tree(store, fd, STORE_ROOT, &how, &n), 0);
	close(fd);
	cr_assert_eq(n.failed, 3);
	cr_assert_eq(n.documents, 1);
	cr_assert_str_eq(text_of("c.json"), "[1]");
	cr_assert_str_eq(text_of("b.json"), "x");
	end();
}

static void stop_at(void *arg, const struct store_import_counts *so_far)
{
	if (so_far->files >= *(uint64_t *)arg)
		kill(getpid(), SIGKILL);
}

/* Killed at many points and run again: each message once, nothing torn (P7). */
Test(import, interrupted)
{
	enum { FILES = 300 };
	static const uint64_t points[] = { 0, 1, 60, 150, 299, 300 };
	struct store_import_counts n;
	char name[32], text[64];

	for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
		begin();
		for (int f = 0; f < FILES; f++) {
			snprintf(name, sizeof(name), f % 3 ? "s%d.json" : "s%d.txt", f);
			snprintf(text, sizeof(text), "[{\"n\":%d},\n {\"n\":%d}]", f, f + 1);
			put(name, text);
		}
		store_close(store);
		store = NULL;
		for (int round = 0; round < 3; round++) {
			pid_t child = fork();
			int status;

			cr_assert_geq(child, 0);
			if (!child) {
				uint64_t at = points[i];
				struct store_import how = { .remember = true, .progress = stop_at, .arg = &at };
				int fd = open(beneath, O_RDONLY | O_DIRECTORY);

				if (!store_open(place, &(struct store_options){ .create = true }, &store))
					store_import_tree(store, fd, STORE_ROOT, &how, &n);
				_exit(1);
			}
			cr_assert_eq(waitpid(child, &status, 0), child);
			cr_assert(WIFSIGNALED(status));
		}
		reopen();
		n = import(true, false);
		cr_assert_eq(n.failed, 0);
		cr_assert_eq(import(true, false).unchanged, FILES);
		for (int f = 0; f < FILES; f++) {
			snprintf(name, sizeof(name), f % 3 ? "s%d.json" : "s%d.txt", f);
			snprintf(text, sizeof(text), "[{\"n\":%d},\n {\"n\":%d}]", f, f + 1);
			cr_assert_str_eq(text_of(name), text, "%s", name);
		}
		cr_assert_eq(rejected(), 0);
		end();
	}
}

/* A changed file whose save is on disk is not merged again, wherever the process was killed. */
Test(import, interrupted_merge)
{
	uint64_t at = 1;
	pid_t child;
	int status;

	begin();
	put("a.json", "[1]");
	import(true, false);
	save("a.json", "[1,8]");
	put("a.json", "[1,3]");
	store_close(store);
	store = NULL;
	child = fork();
	if (!child) {
		struct store_import how = { .remember = true, .progress = stop_at, .arg = &at };
		struct store_import_counts n;
		int fd = open(beneath, O_RDONLY | O_DIRECTORY);

		if (!store_open(place, NULL, &store))
			store_import_tree(store, fd, STORE_ROOT, &how, &n);
		_exit(1);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert(WIFSIGNALED(status));
	reopen();
	cr_assert_str_eq(text_of("a.json"), "[1,8,3]");
	cr_assert_eq(import(true, false).unchanged, 1);
	cr_assert_str_eq(text_of("a.json"), "[1,8,3]");
	end();
}

Test(import, into_directory_and_delayed)
{
	struct store_import how = { .report = note_report };
	struct store_import_counts n;
	struct store_attr a;
	int fd;

	begin();
	store_close(store);
	cr_assert_eq(store_open(place, &(struct store_options){ .delay_ms = 1000 }, &store), 0);
	cr_assert_eq(store_create(store, STORE_ROOT, "sub", 0, S_IFDIR | 0755, 0, 0, NULL, &a), 0);
	put("a.json", "[1]");
	put("b.txt", "b");
	fd = open(beneath, O_RDONLY | O_DIRECTORY);
	cr_assert_eq(store_import_tree(store, fd, a.ino, &how, &n), 0);
	cr_assert_eq(store_import_tree(store, fd, 999, &how, &n), -ENOENT);
	cr_assert_eq(store_lookup(store, a.ino, "b.txt", &a), 0);
	cr_assert_eq(store_import_tree(store, fd, a.ino, &how, &n), -ENOTDIR);
	close(fd);
	cr_assert_str_eq(text_of("sub/a.json"), "[1]");
	cr_assert_str_eq(text_of("sub/b.txt"), "b");
	end();
}
