/*
 * Documents and their versions, each test with saves on disk at once and with saves delayed. SEED=n repeats a run.
 * Promises (P1 ...) are those of the design, rules those of the merge rules.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support.h"

#define DOCUMENTS TEST_DATA "/documents"

/* ---- Every document (P4) -------------------------------------------------------------------------------------- */

Test(history, documents_as_first_save)
{
	char **names = names_in(DOCUMENTS);

	EACH_MODE(delay) {
		char *dir = dir_make();
		struct store *s = must_open(dir, delay);

		for (int pass = 0; pass < 2; pass++) {
			for (char **n = names; *n; n++) {
				struct text t = text_file(DOCUMENTS, *n), got;

				if (pass == 0) {
					struct store_save save = save_text(s, *n, t, NULL, 0);

					must_save(&save, *n);
					cr_assert_eq(save.version, 1);
				}
				got = read_name(s, *n);
				check_text(got, t, pass ? "after opening again" : "first save", *n);
				text_free(got);
				text_free(t);
			}
			must_close(s);
			s = must_open(dir, delay);
		}
		must_close(s);
		dir_remove(dir);
	}
	names_free(names);
}

/* Each document becomes each other one, which shares what it happens to share. */
static void rewrite_all(struct store *s, char **names, size_t stride)
{
	struct text texts[128], got;
	size_t count = 0;
	uint64_t written[128 * 128], version = 0, ino = 0;

	for (; names[count]; count++)
		texts[count] = text_file(DOCUMENTS, names[count]);
	cr_assert_lt(count, 128);
	for (size_t i = 0, at = 0; i < count * count / stride; i++) {
		struct store_base base = base_at(ino, version);
		struct store_view *view = NULL;
		struct store_save save;

		at = (at + i / count * stride + i % 3 + 1) % count;
		if (version)
			cr_assert_eq(store_view_open(s, ino, 0, &view), 0);
		save = save_sharing(s, "a.json", texts[at], view, i % 4 ? SIZE_MAX : i % 50, &base, 0);
		must_save(&save, names[at]);
		cr_assert_eq(save.result & (STORE_SAVED_MERGED | STORE_SAVED_BLIND), 0);
		if (view)
			store_view_unref(view);
		ino = save.saved_ino;
		if (save.version != version)
			written[save.version] = at;
		cr_assert_leq(save.version, version + 1);
		version = save.version;
		got = read_version(s, ino, 0, NULL);
		check_text(got, texts[at], "rewritten", names[at]);
		text_free(got);
	}
	for (uint64_t v = 1; v <= version; v += stride)
		check_version(s, ino, v, texts[written[v]], names[written[v]]);
	for (size_t i = 0; i < count; i++)
		text_free(texts[i]);
}

Test(history, documents_rewrite_each_other)
{
	char **names = names_in(DOCUMENTS);

	EACH_MODE(delay) {
		char *dir = dir_make();
		struct store *s = must_open(dir, delay);

		rewrite_all(s, names, delay ? 1 : 8);
		must_close(s);
		dir_remove(dir);
	}
	names_free(names);
}

/* ---- Identity, the log, names --------------------------------------------------------------------------------- */

static struct text numbered(const char *before, const char *between, const char *after, unsigned count)
{
	struct text t = { 0 };
	FILE *f = open_memstream(&t.data, &t.size);

	fputs(before, f);
	for (unsigned i = 0; i < count; i++)
		fprintf(f, "%s%u", i ? between : "", i);
	fputs(after, f);
	fclose(f);
	return t;
}

/* Reformatting a file leaves its messages those that they were. */
Test(history, restyle_keeps_identity)
{
	EACH_MODE(delay) {
		char *dir = dir_make();
		struct store *s = must_open(dir, delay);
		struct store_view *v;
		struct store_base base;
		uint64_t ino = 0;

		for (unsigned i = 1; i <= 12; i++) {
			struct text t = i < 10 ? numbered("[", ",", "]", i) : numbered("[\n  ", i == 11 ? ",\n\t" : ",\n  ", "\n]\n", 9);
			struct store_save save;

			base = base_at(ino, i - 1);
			save = save_text(s, "a.json", t, &base, 0);
			must_save(&save, "restyle");
			cr_assert_eq(save.version, i);
			ino = save.saved_ino;
			check_version(s, ino, 0, t, "restyled");
			text_free(t);
		}
		cr_assert_eq(store_view_open(s, ino, 0, &v), 0);
		for (unsigned i = 0; i < 9; i++) {
			struct store_origin o;

			cr_assert_eq(store_view_origin(v, i, &o), 0);
			cr_assert_eq(o.version, i + 1, "message %u is of version %lu", i, o.version);
			cr_assert_eq(o.pid, getpid());
			cr_assert_gt(o.time.tv_sec, 1600000000);
		}
		store_view_unref(v);
		must_close(s);
		dir_remove(dir);
	}
}

/* The room between two positions is used up time and again. */
Test(history, insertions_at_one_place)
{
	static const char *const places[] = { "front", "second", "before the last" };
	enum { COUNT = 150 };

	for (int place = 0; place < 3; place++) {
		char *dir = dir_make();
		struct store *s = must_open(dir, 20);
		unsigned order[COUNT + 3] = { 1000, 1001, 1002 }, count = 3;
		struct store_base base = base_at(0, 0);
		struct text texts[COUNT + 1], stale;
		struct store_view *held = NULL;
		uint64_t ino = 0;

		for (unsigned i = 0; i <= COUNT; i++) {
			struct text *t = &texts[i];
			struct store_save save;
			FILE *f;

			if (i) {
				unsigned at = place == 0 ? 0 : place == 1 ? 1 : count - 1;

				memmove(&order[at + 1], &order[at], (count++ - at) * sizeof(order[0]));
				order[at] = i;
			}
			*t = (struct text){ 0 };
			f = open_memstream(&t->data, &t->size);
			for (unsigned j = 0; j < count; j++)
				fprintf(f, "%s%u", j ? ", " : "[", order[j]);
			fputs("]", f);
			fclose(f);
			save = save_text(s, "a.json", *t, &base, 0);
			must_save(&save, places[place]);
			cr_assert_eq(save.version, i + 1);
			ino = save.saved_ino;
			base = base_at(ino, save.version);
			check_version(s, ino, 0, *t, places[place]);
			if (i == 20)
				cr_assert_eq(store_view_open(s, ino, 0, &held), 0);
		}
		stale = read_view(held);
		check_text(stale, texts[20], "a view from before", places[place]);
		text_free(stale);
		store_view_unref(held);
		/* One who knows little of all that appends. */
		base.version = 3;
		stale = text_format("%.*s, 7]", (int)texts[2].size - 1, texts[2].data);
		struct store_save save = save_text(s, "a.json", stale, &base, 0);

		must_save(&save, "stale");
		text_free(stale);
		stale = text_format("%.*s, 7]", (int)texts[COUNT].size - 1, texts[COUNT].data);
		check_version(s, ino, 0, stale, places[place]);
		text_free(stale);
		for (unsigned i = 0; i <= COUNT; i++) {
			check_version(s, ino, i + 1, texts[i], places[place]);
			text_free(texts[i]);
		}
		must_close(s);
		dir_remove(dir);
	}
}

struct expected_change {
	uint64_t version;
	unsigned flags;
	uint64_t added, removed;
};

struct log_check {
	const struct expected_change *next;
	size_t left;
};

static int check_change(void *arg, const struct store_change *c)
{
	struct log_check *check = arg;
	const struct expected_change *want = check->next++;

	cr_assert_gt(check->left--, 0, "version %lu is one too many", c->version);
	cr_assert(c->version == want->version && c->flags == want->flags && c->added == want->added && c->removed == want->removed,
		  "version %lu, flags %x, +%lu -%lu; not version %lu, flags %x, +%lu -%lu", c->version, c->flags, c->added, c->removed, want->version,
		  want->flags, want->added, want->removed);
	cr_assert_gt(c->time.tv_sec, 1600000000, "version %lu has no time", c->version);
	return 0;
}

static int stop_at_two(void *arg, const struct store_change *c)
{
	return ++*(int *)arg == 2 ? 42 : 0;
}

Test(history, log_tells_each_version)
{
	static const struct { const char *text; uint64_t base; } saves[] = {
		{ "[1]", 0 }, { "[1,2]", 1 }, { "[1,2,3,4]", 2 }, { "[1,2,3,4]\n", 3 }, { "[1,4]\n", 4 }, { "[1,4,5]\n", 4 }, { "[1, 4,5]\n", 6 },
	};
	static const struct expected_change want[] = {
		{ 9, STORE_LOG_UNDO, 2, 0 }, { 8, STORE_LOG_UNLINKED, 0, 3 }, { 7, STORE_LOG_RESTYLED, 0, 0 }, { 6, STORE_SAVED_MERGED, 1, 0 },
		{ 5, STORE_LOG_REMOVED, 0, 2 }, { 4, 0, 0, 0 }, { 3, 0, 2, 0 }, { 2, 0, 1, 0 }, { 1, 0, 1, 0 },
	};

	EACH_MODE(delay) {
		struct log_check check = { want, sizeof(want) / sizeof(want[0]) };
		char *dir = dir_make();
		struct store *s = must_open(dir, delay);
		uint64_t ino = 0, version;
		int count = 0;

		for (size_t i = 0; i < sizeof(saves) / sizeof(saves[0]); i++) {
			struct store_base base = base_at(ino, saves[i].base);
			struct text t = { (char *)saves[i].text, strlen(saves[i].text) };
			struct store_save save = save_text(s, "a.json", t, &base, 0);

			must_save(&save, saves[i].text);
			ino = save.saved_ino;
		}
		cr_assert_eq(store_unlink(s, STORE_ROOT, "a.json", false, NULL), 0);
		cr_assert_eq(store_undo(s, ino, 8, &version), 0);
		cr_assert_eq(version, 9);
		struct expected_change back = want[0];

		back.added = 3;
		struct expected_change all[9];

		memcpy(all, want, sizeof(all));
		all[0] = back;
		check.next = all;
		cr_assert_eq(store_log(s, ino, check_change, &check), 0);
		cr_assert_eq(check.left, 0);
		cr_assert_eq(store_log(s, ino, stop_at_two, &count), 42);
		cr_assert_eq(store_log(s, 9999, stop_at_two, &count), -ENOENT);
		cr_assert_eq(store_undo(s, ino, 99, &version), -ENOENT);
		must_close(s);
		dir_remove(dir);
	}
}

/* target -> target.bak; new -> target; unlink target.bak: the lineage belongs to the name (rule 13). */
static const struct {
	const char *first, *meanwhile, *written, *result;
} renames[] = {
	{ "[1,2]", NULL, "[1,2,3]", "[1,2,3]" },
	{ "[1,2]", "[1,2,9]", "[1,2,3]", "[1,2,9,3]" },
	{ "{\"a\":1}", NULL, "{\"a\":2}", "{\"a\":2}" },
	{ "{\"a\":1}", "{\"a\":1,\"b\":1}", "{\"a\":2}", "{\"a\":2,\"b\":1}" },
};

static void check_name(struct store *s, const char *name, const char *text, const char *what)
{
	struct text want = { (char *)text, strlen(text) }, got = read_name(s, name);

	check_text(got, want, what, name);
	text_free(got);
}

Test(history, a_name_keeps_what_is_saved_under_it)
{
	EACH_MODE(delay) {
		char *dir = dir_make();
		struct store *s = must_open(dir, delay);

		for (size_t i = 0; i < sizeof(renames) / sizeof(renames[0]); i++) {
			struct text first = { (char *)renames[i].first, strlen(renames[i].first) };
			struct text written = { (char *)renames[i].written, strlen(renames[i].written) };
			struct text meanwhile = { (char *)renames[i].meanwhile, renames[i].meanwhile ? strlen(renames[i].meanwhile) : 0 };
			const char *before = meanwhile.data ? meanwhile.data : first.data;
			struct store_save save;
			struct store_base base;
			struct store_view *v;
			uint64_t ino, version;
			char name[16], bak[16];
			struct store_attr a;
			int count = 0;

			snprintf(name, sizeof(name), "%zu.json", i);
			snprintf(bak, sizeof(bak), "%zu.json.bak", i);
			save = save_text(s, name, first, NULL, 0);
			must_save(&save, "first");
			base = base_at(save.saved_ino, save.version);
			if (meanwhile.data) {
				save = save_text(s, name, meanwhile, &base, 0);
				must_save(&save, "meanwhile");
			}
			cr_assert_eq(store_view_open(s, base.ino, 0, &v), 0);
			cr_assert_eq(store_rename(s, STORE_ROOT, name, STORE_ROOT, bak, 0, false), 0);
			cr_assert_eq(store_former(s, STORE_ROOT, name, &ino, &version), 0);
			cr_assert_eq(ino, base.ino);
			save = save_text(s, name, written, &base, 0);
			must_save(&save, "written");
			cr_assert_eq(save.saved_ino, base.ino, "the name's document is another one");
			check_name(s, name, renames[i].result, "P2, P4");
			check_name(s, bak, before, "renamed away");
			cr_assert_eq(store_lookup(s, STORE_ROOT, bak, &a), 0);
			cr_assert_neq(a.ino, base.ino);
			cr_assert_eq(store_log(s, a.ino, stop_at_two, &count), 0);
			check_version(s, base.ino, 1, first, name);
			cr_assert_eq(store_unlink(s, STORE_ROOT, bak, false, NULL), 0);
			check_name(s, name, renames[i].result, "after the unlink");
			/* A view from before is what it was. */
			struct text want = { (char *)before, strlen(before) }, got = read_view(v);

			check_text(got, want, "P3", name);
			text_free(got);
			store_view_unref(v);
		}
		must_close(s);
		dir_remove(dir);
	}
}

/* Rule 13: another has unlinked the backup. Who goes on from the session has it back with its history, who begins anew has not. */
Test(history, unlinked_by_another_name)
{
	static const struct {
		const char *written, *result;
	} table[] = { { "[1,3]", "[1,2,3]" }, { "[9]", "[9]" }, { "[]", "[]" } };

	EACH_MODE(delay) {
		char *dir = dir_make();
		struct store *s = must_open(dir, delay);

		for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
			struct text one = { "[1]", 3 }, two = { "[1,2]", 5 };
			struct text written = { (char *)table[i].written, strlen(table[i].written) };
			uint64_t ino, version;
			struct store_base base;
			struct store_save save;
			struct store_attr a;
			char name[16];

			snprintf(name, sizeof(name), "%zu.json", i);
			save = save_text(s, name, one, NULL, 0);
			must_save(&save, "one");
			base = base_at(save.saved_ino, 1);
			save = save_text(s, name, two, &base, 0);
			must_save(&save, "two");
			cr_assert_eq(store_rename(s, STORE_ROOT, name, STORE_ROOT, "backup", 0, false), 0);
			cr_assert_eq(store_unlink(s, STORE_ROOT, "backup", true, NULL), 0);
			cr_assert_eq(store_former(s, STORE_ROOT, name, &ino, &version), 0);
			cr_assert(ino == base.ino && version == 0, "version %llu", (unsigned long long)version);
			/* Who has it open reads on. */
			cr_assert_eq(store_getattr(s, base.ino, &a), 0);
			cr_assert(a.version == 2 && a.size == two.size, "version %llu", (unsigned long long)a.version);
			save = save_text(s, name, written, &base, 0);
			must_save(&save, written.data);
			check_name(s, name, table[i].result, written.data);
			cr_assert_eq(save.saved_ino, base.ino);
			check_version(s, base.ino, 2, two, "before it went");
			cr_assert_eq(store_former(s, STORE_ROOT, "backup", &ino, &version), i ? 0 : -ENOENT);
		}
		must_close(s);
		dir_remove(dir);
	}
}

/* Undoing a file's unlink does not touch another that has its name now. */
Test(history, undo_of_a_name_that_is_taken)
{
	char *dir = dir_make();
	struct store *s = must_open(dir, 0);
	struct text one = { "[1]", 3 }, two = { "[2,3]", 5 }, got;
	struct store_save a = save_text(s, "a.json", one, NULL, 0), b = save_text(s, "b.json", two, NULL, 0);
	uint64_t version;

	must_save(&a, "a");
	must_save(&b, "b");
	cr_assert_eq(store_unlink(s, STORE_ROOT, "a.json", false, NULL), 0);
	cr_assert_eq(store_rename(s, STORE_ROOT, "b.json", STORE_ROOT, "a.json", 0, false), 0);
	cr_assert_eq(store_undo(s, a.saved_ino, 0, &version), -EEXIST);
	got = read_name(s, "a.json");
	check_text(got, two, "the other file", "undo");
	text_free(got);
	must_close(s);
	dir_remove(dir);
}

/* Rule 7, and the file has gone meanwhile: a save that says nothing new does not bring it back. */
Test(history, late_save_of_an_unlinked_file)
{
	EACH_MODE(delay) {
		char *dir = dir_make();
		struct store *s = must_open(dir, delay);
		struct text one = { "[1]", 3 }, two = { "[1,2]", 5 };
		struct store_save save = save_text(s, "a.json", one, NULL, 0);
		struct store_base base = base_at(save.saved_ino, 1);
		struct store_attr a;

		save = save_text(s, "a.json", two, &base, 0);
		must_save(&save, "two");
		cr_assert_eq(store_unlink(s, STORE_ROOT, "a.json", false, NULL), 0);
		for (int i = 0; i < 2; i++) {
			base = base_at(save.saved_ino, 2);
			base.flags = STORE_BASE_WRITTEN | STORE_BASE_LATER;
			save = save_text(s, "a.json", one, &base, 0);
			must_save(&save, "late");
			cr_assert_eq(save.result, STORE_SAVED_SAME);
			cr_assert_eq(store_lookup(s, STORE_ROOT, "a.json", &a), -ENOENT);
		}
		check_version(s, base.ino, 2, two, "before it went");
		must_close(s);
		dir_remove(dir);
	}
}

/* An open file of no JSON yet is unlinked, and what is then saved through it stays. */
Test(history, unlinked_scratch_becomes_a_document)
{
	EACH_MODE(delay) {
		char *dir = dir_make(), bytes[100000] = "no JSON";
		struct store *s = must_open(dir, delay);
		struct text t = { "[1,2]", 5 }, got;
		struct store_attr a;
		struct store_save save;

		cr_assert_eq(store_create(s, STORE_ROOT, "a.json", 0, S_IFREG | 0644, 0, 0, NULL, &a), 0);
		cr_assert_eq(store_write(s, a.ino, 0, bytes, sizeof(bytes)), 0);
		cr_assert_eq(store_unlink(s, STORE_ROOT, "a.json", true, NULL), 0);
		save = (struct store_save){ .ino = a.ino, .parent = STORE_ROOT, .name = "a.json", .tail = t.data, .tail_size = t.size };
		cr_assert_eq(store_save(s, &save), 0);
		cr_assert_eq(save.saved_ino, a.ino);
		cr_assert_eq(store_forget(s, a.ino), 0);
		must_close(s);
		s = must_open(dir, delay);
		got = read_name(s, "a.json");
		check_text(got, t, "opened again", "a.json");
		text_free(got);
		must_close(s);
		dir_remove(dir);
	}
}

static struct text of(const char *s)
{
	return (struct text){ (char *)s, strlen(s) };
}

/* What is shared with the version before may end within the first message. */
static const struct {
	const char *name, *before, *after;
} begun[] = {
	{ "a.json", "[5]", "[56]" }, { "b.json", "[5]", "[5" "7, 1]" }, { "c.json", "[5, 6]", "[51, 6]" }, { "d.jsonl", "a\n", "ab\n" }, { "e.jsonl", "a", "ab\nc" },
	{ "f.jsonl", "\n", "\nb" }, { "g.jsonl", "\nb", "\nbc\n" },
};

Test(history, a_first_message_goes_on)
{
	char *dir = dir_make();
	struct store *s = must_open(dir, 0);

	for (size_t i = 0; i < sizeof(begun) / sizeof(begun[0]); i++) {
		struct store_save save = save_text(s, begun[i].name, of(begun[i].before), NULL, 0);
		struct store_base base = base_at(save.saved_ino, save.version);
		struct store_view *v;

		must_save(&save, begun[i].name);
		cr_assert_eq(store_view_open(s, save.saved_ino, 0, &v), 0);
		save = save_sharing(s, begun[i].name, of(begun[i].after), v, SIZE_MAX, &base, 0);
		must_save(&save, begun[i].after);
		check_name(s, begun[i].name, begun[i].after, "the shared part");
		store_view_unref(v);
	}
	must_close(s);
	dir_remove(dir);
}

/* What comes back to a document that was emptied since brings what stood around it. */
Test(history, undo_into_an_empty_document)
{
	static const char *const names[] = { "a.json", "a.jsonl" }, *const first[] = { "[\n  1,\n  2\n]\n", "1\n2\n" },
		*const second[] = { "[\n  1\n]\n", "1\n" }, *const back[] = { "[\n  2\n]\n", "2\n" };

	for (int i = 0; i < 2; i++) {
		char *dir = dir_make();
		struct store *s = must_open(dir, 0);
		struct store_save save = save_text(s, names[i], of(first[i]), NULL, 0);
		uint64_t version;

		save = save_text(s, names[i], of(second[i]), NULL, 0);
		must_save(&save, "one less");
		save = save_text(s, names[i], of(""), NULL, STORE_SAVE_EMPTY);
		must_save(&save, "empty");
		cr_assert_eq(store_undo(s, save.saved_ino, 2, &version), 0);
		check_name(s, names[i], back[i], "undone");
		must_close(s);
		dir_remove(dir);
	}
}

/* A message has no place in a document that is one value. */
Test(history, undo_into_another_kind)
{
	char *dir = dir_make();
	struct store *s = must_open(dir, 0);
	struct store_save save = save_text(s, "a.json", of("[1, 2]"), NULL, 0);
	uint64_t version;

	save = save_text(s, "a.json", of("[1]"), NULL, 0);
	save = save_text(s, "a.json", of("{\"x\": 1}"), NULL, 0);
	must_save(&save, "an object");
	cr_assert_eq(store_undo(s, save.saved_ino, 2, &version), -EINVAL);
	check_name(s, "a.json", "{\"x\": 1}", "as it was");
	must_close(s);
	dir_remove(dir);
}
