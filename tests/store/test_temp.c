/* Temp files: those that have lost their name to another writer's, and those that were renamed to a document. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "support.h"

static struct store *s;

static uint64_t scratch(const char *name, const char *bytes)
{
	struct store_attr a;

	cr_assert_eq(store_create(s, STORE_ROOT, name, 0, S_IFREG | 0640, 7, 8, NULL, &a), 0);
	cr_assert_eq(store_write(s, a.ino, 0, bytes, strlen(bytes)), 0);
	return a.ino;
}

static void check_scratch(uint64_t ino, const char *want)
{
	char bytes[100];
	size_t got;

	cr_assert_eq(store_read(s, ino, 0, bytes, sizeof(bytes), &got), 0);
	cr_assert(got == strlen(want) && memcmp(bytes, want, got) == 0, "%.*s instead of %s", (int)got, bytes, want);
}

static uint64_t document(const char *name, const char *text)
{
	struct store_save save = save_text(s, name, (struct text){ (char *)text, strlen(text) }, NULL, STORE_SAVE_REPLACE);

	must_save(&save, name);
	return save.saved_ino;
}

Test(temp, a_displaced_file_is_used_by_its_number)
{
	EACH_MODE(delay) {
		char *dir = dir_make();
		struct store_attr a;
		uint64_t first, second;

		s = must_open(dir, delay);
		first = scratch("t", "first");
		cr_assert_eq(store_new_ino(s, &second), 0);
		cr_assert_eq(store_displace(s, STORE_ROOT, "t", second, second), -ESTALE);
		cr_assert_eq(store_displace(s, STORE_ROOT, "absent", first, second), -ESTALE);
		cr_assert_eq(store_displace(s, STORE_ROOT, "t", first, second), 0);
		cr_assert_eq(store_lookup(s, STORE_ROOT, "t", &a), 0);
		cr_assert(a.ino == second && a.size == 0 && a.mode == (S_IFREG | 0640) && a.uid == 7 && a.gid == 8);
		cr_assert_eq(store_write(s, second, 0, "2nd", 3), 0);
		cr_assert_eq(store_write(s, first, 5, "!", 1), 0);
		check_scratch(first, "first!");
		check_scratch(second, "2nd");
		cr_assert_eq(store_getattr(s, first, &a), 0);
		cr_assert_eq(a.parent, 0);
		must_close(s);

		s = must_open(dir, delay);
		cr_assert_eq(store_getattr(s, first, &a), -ENOENT, "it outlived its writer");
		check_scratch(second, "2nd");
		must_close(s);
		dir_remove(dir);
	}
}

Test(temp, a_file_without_a_name_gets_one)
{
	static const struct {
		const char *name;
		unsigned flags;
		int want;
	} rows[] = {
		{ "free", 0, 0 },
		{ "free", STORE_NOREPLACE, 0 },
		{ "taken", 0, 0 },
		{ "taken", STORE_NOREPLACE, -EEXIST },
		{ "directory", 0, -EISDIR },
		{ "s.json", 0, 0 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char *dir = dir_make();
		struct store_attr a;
		uint64_t first, second;

		s = must_open(dir, 0);
		scratch("taken", "taken");
		document("s.json", "[1]");
		cr_assert_eq(store_create(s, STORE_ROOT, "directory", 0, S_IFDIR | 0700, 0, 0, NULL, NULL), 0);
		first = scratch("t", "first");
		cr_assert_eq(store_relink(s, first, STORE_ROOT, rows[i].name, rows[i].flags, false), -ENOENT, "it has a name");
		cr_assert_eq(store_new_ino(s, &second), 0);
		cr_assert_eq(store_displace(s, STORE_ROOT, "t", first, second), 0);
		cr_assert_eq(store_relink(s, first, STORE_ROOT, rows[i].name, rows[i].flags, false), rows[i].want, "%s", rows[i].name);
		cr_assert_eq(store_lookup(s, STORE_ROOT, rows[i].name, &a), 0);
		cr_assert_eq(a.ino == first, rows[i].want == 0, "%s", rows[i].name);
		check_scratch(first, "first");
		must_close(s);
		dir_remove(dir);
	}
}

/* A document of two versions is renamed to s.json as it was in one of them. */
Test(temp, a_document_that_was_renamed_is_read_until_it_is_forgotten)
{
	static const struct {
		uint64_t version;
		bool log, linked, forgotten;
	} rows[] = {
		{ 0, false, false, true },
		{ 2, false, false, true },
		{ 1, false, true, false },
		{ 2, true, false, false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char *dir = dir_make();
		struct store_attr a;
		struct store_save save = { .parent = STORE_ROOT, .name = "s.json", .tail = "[1]", .tail_size = 3, .flags = STORE_SAVE_REPLACE };
		struct text text;

		s = must_open(dir, 0);
		save.from_ino = document("t.json", "[1]");
		document("t.json", "[1, 2]");
		save.from_version = rows[i].version;
		save.from_log = rows[i].log;
		cr_assert_eq(store_save(s, &save), 0);
		cr_assert_eq(store_lookup(s, STORE_ROOT, "t.json", &a) == 0, rows[i].linked, "row %zu", i);
		text = read_version(s, save.from_ino, 2, NULL);
		check_text(text, (struct text){ "[1, 2]", 6 }, "what was being read", "t.json");
		text_free(text);
		cr_assert_eq(store_forget(s, save.from_ino), 0);
		cr_assert_eq(store_getattr(s, save.from_ino, &a), rows[i].forgotten ? -ENOENT : 0, "row %zu", i);
		must_close(s);
		dir_remove(dir);
	}
}

Test(temp, a_document_in_use_without_a_name_goes_when_the_store_is_opened_next)
{
	char *dir = dir_make();
	struct store_attr a;
	struct store_save save = { .parent = STORE_ROOT, .name = "s.json", .tail = "[1]", .tail_size = 3 };

	s = must_open(dir, 0);
	save.from_ino = document("t.json", "[1]");
	cr_assert_eq(store_save(s, &save), 0);
	cr_assert_eq(store_getattr(s, save.from_ino, &a), 0);
	must_close(s);
	s = must_open(dir, 0);
	cr_assert_eq(store_getattr(s, save.from_ino, &a), -ENOENT);
	cr_assert_eq(store_lookup(s, STORE_ROOT, "s.json", &a), 0);
	must_close(s);
	dir_remove(dir);
}
