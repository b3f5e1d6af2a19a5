/* No save leaves records that store/FORMAT.md does not allow: those that nobody thought of when the rules were written. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "support.h"

static struct store *s;

static uint64_t document(const char *name, const char *text)
{
	struct store_save save = save_text(s, name, (struct text){ (char *)text, strlen(text) }, NULL, STORE_SAVE_REPLACE);

	must_save(&save, name);
	return save.saved_ino;
}

static void check_name(const char *name, const char *want)
{
	struct text t = read_name(s, name);

	check_text(t, (struct text){ (char *)want, strlen(want) }, "what the name has", name);
	text_free(t);
}

/* What the process has saved to another document since the file was opened does not hold this save. */
Test(invariants, a_new_document_has_a_head_whatever_its_writer_saved_elsewhere)
{
	static const struct {
		const char *text;
		unsigned flags, base_flags;
	} rows[] = {
		{ "", STORE_SAVE_EMPTY, STORE_BASE_LATER | STORE_BASE_WRITTEN },
		{ "", STORE_SAVE_EMPTY | STORE_SAVE_EVENTS, STORE_BASE_LATER | STORE_BASE_WRITTEN },
		{ "[]", 0, STORE_BASE_LATER | STORE_BASE_WRITTEN },
		{ "[1]", 0, STORE_BASE_LATER | STORE_BASE_WRITTEN },
		{ "[1]", STORE_SAVE_EVENTS, STORE_BASE_WRITTEN },
		{ "{\"a\":1}", 0, STORE_BASE_LATER | STORE_BASE_WRITTEN },
		{ "[1]", STORE_SAVE_REPLACE, STORE_BASE_LATER },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		EACH_MODE(delay) {
			char *dir = dir_make();
			struct store_base base;
			struct store_save save;

			s = must_open(dir, delay);
			base = base_at(document("a.json", "[1, 2]"), 1);
			base.flags = rows[i].base_flags;
			save = save_text(s, "b.json", (struct text){ (char *)rows[i].text, strlen(rows[i].text) }, &base, rows[i].flags);
			cr_assert_eq(store_save(s, &save), 0);
			check_name("b.json", rows[i].text);
			must_close(s);
			dir_remove(dir);
		}
	}
}

/* The same of a document that had the name: a rename leaves a file under the new name. */
Test(invariants, a_rename_leaves_a_file_though_its_writer_has_saved_the_same_before)
{
	static const char *const texts[] = { "", "[]", "[1]", "[1, 2]" };

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		char *dir = dir_make();
		struct store_save save = { .parent = STORE_ROOT, .name = "a.json", .tail = texts[i], .tail_size = strlen(texts[i]), .base_count = 1 };
		struct store_base base;
		struct store_attr a;

		s = must_open(dir, 0);
		base = base_at(document("a.json", "[1, 2]"), 1);
		base.flags = STORE_BASE_LATER | STORE_BASE_WRITTEN;
		cr_assert_eq(store_unlink(s, STORE_ROOT, "a.json", false, NULL), 0);
		cr_assert_eq(store_create(s, STORE_ROOT, "t", 0, S_IFREG | 0600, 0, 0, NULL, &a), 0);
		save.from_ino = a.ino;
		save.bases = &base;
		save.flags = *texts[i] ? 0 : STORE_SAVE_EMPTY;
		cr_assert_eq(store_save(s, &save), 0);
		check_name("a.json", texts[i]);
		cr_assert_eq(store_lookup(s, STORE_ROOT, "t", &a), -ENOENT);
		must_close(s);
		dir_remove(dir);
	}
}

/* A document's time was set, it was renamed, and its writer saves by the old name: the document comes back, a copy keeps the new one. */
Test(invariants, a_copy_that_stays_under_a_backups_name_keeps_a_time_that_was_set)
{
	for (int late = 0; late < 2; late++) {
		char *dir = dir_make();
		struct store_attr to = { .mtime = { 1000, 5 } }, a;
		struct store_base base;
		struct store_save save;

		s = must_open(dir, 0);
		document("a.json", "[1]");
		document("a.json", "[1, 2]");
		base = base_at(document("a.json", "[1, 2, 3]"), 3);
		cr_assert_eq(store_setattr(s, base.ino, &to, STORE_SET_MTIME, NULL), 0);
		if (late)
			document("a.json", "[1, 2, 3, 4]");
		base.version += late;
		cr_assert_eq(store_rename(s, STORE_ROOT, "a.json", STORE_ROOT, "a.json.bak", 0, false), 0);
		save = save_text(s, "a.json", (struct text){ "[1, 2, 3, 4, 5]", 15 }, &base, STORE_SAVE_LINEAGE);
		must_save(&save, "a.json");
		cr_assert_eq(save.saved_ino, base.ino);
		cr_assert_eq(store_lookup(s, STORE_ROOT, "a.json.bak", &a), 0);
		cr_assert_eq(a.mtime.tv_sec == 1000 && a.mtime.tv_nsec == 5, !late);
		must_close(s);
		dir_remove(dir);
	}
}

/* What is no JSON takes the name as plain bytes, and has nothing of the document that had it. */
Test(invariants, plain_bytes_continue_no_document)
{
	static const bool moved[] = { false, true };

	for (size_t i = 0; i < 2; i++) {
		char *dir = dir_make();
		struct store_base base;
		struct store_attr a;
		struct store_save save;
		size_t got;
		char bytes[8];

		s = must_open(dir, 0);
		base = base_at(document("a.json", "[1]"), 1);
		if (moved[i])
			cr_assert_eq(store_rename(s, STORE_ROOT, "a.json", STORE_ROOT, "a.json.bak", 0, false), 0);
		else
			cr_assert_eq(store_unlink(s, STORE_ROOT, "a.json", false, NULL), 0);
		save = save_text(s, "a.json", (struct text){ "hello", 5 }, &base, STORE_SAVE_RAW);
		cr_assert_eq(store_save(s, &save), 0);
		cr_assert_eq(store_lookup(s, STORE_ROOT, "a.json", &a), 0);
		cr_assert(a.kind == STORE_SCRATCH && a.ino != base.ino && a.size == 5);
		cr_assert_eq(store_read(s, a.ino, 0, bytes, sizeof(bytes), &got), 0);
		cr_assert(got == 5 && memcmp(bytes, "hello", 5) == 0);
		must_close(s);
		dir_remove(dir);
	}
}
