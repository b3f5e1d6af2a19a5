/* Documents of lines: appends, merges, plain bytes that become lines. SEED=n repeats a run. must_close verifies the store. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "support.h"

static struct text of(const char *s)
{
	return (struct text){ (char *)s, strlen(s) };
}

static void check_now(struct store *s, const char *name, const char *want, const char *what)
{
	struct text got = read_name(s, name);

	check_text(got, of(want), what, name);
	text_free(got);
}

static int append(struct store *s, const char *name, const char *lines, const struct store_base *base, unsigned flags, struct store_save *ret)
{
	*ret = (struct store_save){ .parent = STORE_ROOT, .name = name, .tail = lines, .tail_size = strlen(lines), .mode = 0644,
				    .flags = STORE_SAVE_LINES | flags, .bases = base, .base_count = base != NULL };
	return store_save(s, ret);
}

static const struct {
	const char *before, *lines, *known, *unknown;	/* what is there then, by a writer who knows how it ended, or not */
} appends[] = {
	{ "", "a\n", "a\n", "a\n" },
	{ "", "a", "a", "a" },
	{ "", "\n", "\n", "\n" },
	{ "a\n", "b\n", "a\nb\n", "a\nb\n" },
	{ "a\n", "b\nc\n", "a\nb\nc\n", "a\nb\nc\n" },
	{ "a\n", "b", "a\nb", "a\nb" },
	{ "a\n", "\n", "a\n\n", "a\n\n" },
	{ "a\n", "\r\n", "a\n\r\n", "a\n\r\n" },
	{ "a", "b\n", "ab\n", "a\nb\n" },
	{ "a", "b", "ab", "a\nb" },
	{ "a", "\n", "a\n", "a\n" },
	{ "a", "\n\n", "a\n\n", "a\n\n" },
	{ "a", "\nb", "a\nb", "a\nb" },
	{ "a", "\nb\n", "a\nb\n", "a\nb\n" },
	{ "x\na", "b\nc", "x\nab\nc", "x\na\nb\nc" },
	{ "\n", "a", "\na", "\na" },
};

Test(lines, appends)
{
	EACH_MODE(delay) {
		for (unsigned i = 0; i < 4 * sizeof(appends) / sizeof(appends[0]); i++) {
			unsigned row = i / 4, flags = i & 2 ? STORE_SAVE_SOON : 0;
			bool known = i & 1;
			char *dir = dir_make(), what[32];
			struct store *s = must_open(dir, delay);
			struct store_save save = save_text(s, "a.jsonl", of(appends[row].before), NULL, *appends[row].before ? 0 : STORE_SAVE_EMPTY);
			struct store_base base = base_at(save.saved_ino, save.version);

			snprintf(what, sizeof(what), "row %u, %s", row, known ? "known" : "unknown");
			must_save(&save, what);
			cr_assert_eq(append(s, "a.jsonl", appends[row].lines, known ? &base : NULL, flags, &save), 0, "%s", what);
			cr_assert(save.version == 2 && save.previous == 1, "%s", what);
			check_now(s, "a.jsonl", known ? appends[row].known : appends[row].unknown, what);
			cr_assert_eq(store_undo(s, save.saved_ino, 2, &save.version), 0, "%s", what);
			must_close(s);
			s = must_open(dir, delay);
			check_now(s, "a.jsonl", appends[row].before, "undone");
			must_close(s);
			dir_remove(dir);
		}
	}
}

static const struct {
	const char *base, *meanwhile, *written, *result;
} merges[] = {
	{ "a\nb\n", "a\nb\nx\n", "a\nb\ny\n", "a\nb\nx\ny\n" },
	{ "a\nb", "a\nb\nx", "a\nb\ny", "a\nb\nx\ny" },
	{ "a\nb\n", "a\nb\nx", "a\nb\ny\n", "a\nb\nx\ny\n" },
	{ "a\nb\n", "a\nb\nx\n", "a\n", "a\nx\n" },
	{ "a\nb\n", "b\n", "a\n", "" },
	{ "a\nb\n", "a\nb\nx\n", "", "x\n" },
	{ "a\nb\n", "", "a\nb\ny\n", "y\n" },
	{ "a\n\nb\n", "a\n\nb\n\n", "a\n\nB\n", "a\n\n\nB\n" },
	{ "a\nb\nc\n", "a\nB\nc\n", "x\na\nb\nc\n", "x\na\nB\nc\n" },
	{ "a\r\nb\r\n", "a\r\nb\r\nx\r\n", "a\nb\ny\n", "a\nb\nx\r\ny\n" },
	{ "not {json\n", "not {json\nx\n", "not {json\n\"y\n", "not {json\nx\n\"y\n" },
};

Test(lines, merges)
{
	EACH_MODE(delay) {
		for (size_t i = 0; i < sizeof(merges) / sizeof(merges[0]); i++) {
			char *dir = dir_make();
			struct store *s = must_open(dir, delay);
			struct store_save save = save_text(s, "a.jsonl", of(merges[i].base), NULL, 0);
			struct store_base base = base_at(save.saved_ino, save.version);

			save = save_text(s, "a.jsonl", of(merges[i].meanwhile), &base, *merges[i].meanwhile ? 0 : STORE_SAVE_EMPTY);
			must_save(&save, merges[i].meanwhile);
			check_now(s, "a.jsonl", merges[i].meanwhile, "meanwhile");
			save = save_text(s, "a.jsonl", of(merges[i].written), &base, *merges[i].written ? 0 : STORE_SAVE_EMPTY);
			must_save(&save, merges[i].written);
			check_now(s, "a.jsonl", merges[i].result, merges[i].written);
			must_close(s);
			dir_remove(dir);
		}
	}
}

/* ---- Random lives --------------------------------------------------------------------------------------------- */

#define VERSIONS 120

static char *random_lines(const char *before)
{
	size_t size = strlen(before), cut = random_below(size + 1);
	char *out = malloc(size + 200);

	memcpy(out, before, cut);
	out[cut] = 0;
	for (uint64_t n = random_below(5); n; n--)
		sprintf(out + strlen(out), "%s%s", (const char *[]){ "a", "line ", "\n", "{\"x\": 1}", "ok\n", " " }[random_below(6)], random_chance(50) ? "\n" : "");
	if (random_chance(70) && strlen(out) < 2000)
		strcat(out, before + cut + (cut < size ? random_below(size - cut) : 0));
	return out;
}

/* One writer, who appends or rewrites what he has read: every version is what it would be on a plain filesystem, and stays so. */
Test(lines, random_single_writer)
{
	random_seed("lines");
	EACH_MODE(delay) {
		char *dir = dir_make(), *texts[VERSIONS + 2] = { NULL, calloc(1, 4096) };
		struct store *s = must_open(dir, delay);
		struct store_save save = save_text(s, "a.jsonl", of(""), NULL, STORE_SAVE_EMPTY);
		uint64_t ino = save.saved_ino, version = 1;

		while (version < VERSIONS) {
			struct store_base base = base_at(ino, version);
			struct store_view *v = NULL;
			char *next = random_lines(texts[version]);

			if (random_chance(40)) {
				char piece[300];

				strncpy(piece, next + strlen(next) - random_below(strlen(next) < 20 ? strlen(next) + 1 : 20), sizeof(piece) - 1);
				piece[sizeof(piece) - 1] = 0;
				strcpy(next, texts[version]);
				strcat(next, piece);
				if (*piece)
					cr_assert_eq(append(s, "a.jsonl", piece, &base, random_chance(50) ? STORE_SAVE_SOON : 0, &save), 0);
			} else if (strlen(next)) {
				if (random_chance(70))
					cr_assert_eq(store_view_open(s, ino, 0, &v), 0);
				save = save_sharing(s, "a.jsonl", of(next), v, random_chance(50) ? SIZE_MAX : random_below(30), &base, 0);
				must_save(&save, next);
				store_view_unref(v);
			} else {
				strcpy(next, texts[version]);
			}
			check_now(s, "a.jsonl", next, "newest");
			cr_assert_leq(save.version, version + 1);
			if (save.version == version) {
				free(next);
				continue;
			}
			texts[++version] = realloc(next, 4096);
			if (random_chance(5)) {
				must_close(s);
				s = must_open(dir, delay);
			}
		}
		for (uint64_t v = 1; v <= version; v++) {
			struct text got = read_version(s, ino, v, NULL);

			check_text(got, of(texts[v]), "old version", "a.jsonl");
			text_free(got);
			free(texts[v]);
		}
		must_close(s);
		dir_remove(dir);
	}
}

/* ---- Other kinds ---------------------------------------------------------------------------------------------- */

/* The first use of lines marks the store, so that programs which do not know them refuse it. */
Test(lines, plain_bytes_become_lines)
{
	EACH_MODE(delay) {
		char *dir = dir_make();
		struct store *s = must_open(dir, delay);
		struct store_attr a, b;
		struct store_save save;

		cr_assert_eq(store_create(s, STORE_ROOT, "a.jsonl", 0, S_IFREG | 0640, 1, 2, NULL, &a), 0);
		cr_assert_eq(store_write(s, a.ino, 0, "one\n\ntwo", 8), 0);
		cr_assert_eq(store_getattr(s, a.ino, &a), 0);
		cr_assert_eq(append(s, "a.jsonl", "", NULL, STORE_SAVE_SOON, &save), 0);
		cr_assert_eq(store_getattr(s, a.ino, &b), 0);
		cr_assert(b.kind == STORE_DOCUMENT && b.lines && b.size == 8 && b.messages == 3 && b.version == 1 && b.mode == a.mode && b.uid == 1);
		cr_assert(a.mtime.tv_sec == b.mtime.tv_sec && a.mtime.tv_nsec == b.mtime.tv_nsec);
		check_now(s, "a.jsonl", "one\n\ntwo", "converted");
		cr_assert_eq(append(s, "a.jsonl", "", NULL, 0, &save), 0);
		cr_assert_eq(save.saved_ino, 0);
		cr_assert_eq(append(s, "none.jsonl", "", NULL, 0, &save), 0);
		cr_assert_eq(store_lookup(s, STORE_ROOT, "none.jsonl", &b), -ENOENT);
		cr_assert_eq(store_create(s, STORE_ROOT, "b.jsonl", 0, S_IFREG | 0644, 0, 0, NULL, &a), 0);
		cr_assert_eq(store_write(s, a.ino, 0, "one\ntwo", 7), 0);
		cr_assert_eq(append(s, "b.jsonl", "three\n", NULL, 0, &save), 0);
		check_now(s, "b.jsonl", "one\ntwo\nthree\n", "converted and appended to");
		must_close(s);
		dir_remove(dir);
	}
}

/* A list by the name of lines: who has seen it may make lines of it, who has not is refused; the log has both. */
Test(lines, renamed_list)
{
	char *dir = dir_make();
	struct store *s = must_open(dir, 0);
	struct text list = of("[1,\n 2]");
	struct store_save save = save_text(s, "a.json", list, NULL, 0);
	struct store_base first = base_at(save.saved_ino, 1), now;
	struct text got;
	uint64_t version;

	save = save_text(s, "a.json", of("[1,\n 2,\n 3]"), &first, 0);
	cr_assert_eq(store_rename(s, STORE_ROOT, "a.json", STORE_ROOT, "a.jsonl", 0, false), 0);
	save = save_text(s, "a.jsonl", of("1\n2\n"), &first, 0);
	cr_assert_eq(save.error, -EINVAL);
	cr_assert_not_null(save.reason);
	check_now(s, "a.jsonl", "[1,\n 2,\n 3]", "refused");
	now = base_at(first.ino, 2);
	save = save_text(s, "a.jsonl", of("1\n2\nx"), &now, 0);
	must_save(&save, "as lines");
	check_now(s, "a.jsonl", "1\n2\nx", "lines");
	got = read_version(s, first.ino, 1, NULL);
	check_text(got, list, "old version", "a.jsonl");
	text_free(got);
	cr_assert_eq(store_undo(s, first.ino, save.version, &version), 0);
	check_now(s, "a.jsonl", "[1,\n 2,\n 3]", "undone");
	must_close(s);
	dir_remove(dir);
}

static const struct {
	const char *before, *value, *after;
	int error;
} values[] = {
	{ NULL, "{\"a\": 1}", "{\"a\":1}\n", 0 },
	{ "", " [1, \"a b\\\" \",\n2]\n", "[1,\"a b\\\" \",2]\n", 0 },
	{ "x\n", "\"\\\\\"  ", "x\n\"\\\\\"\n", 0 },
	{ "x", "5", "x\n5\n", 0 },
	{ "x\n", "{", "x\n", -EINVAL },
};

Test(lines, values)
{
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		char *dir = dir_make();
		struct store *s = must_open(dir, 0);
		struct store_save save;

		if (values[i].before)
			save = save_text(s, "a.jsonl", of(values[i].before), NULL, *values[i].before ? 0 : STORE_SAVE_EMPTY);
		save = save_text(s, "a.jsonl", of(values[i].value), NULL, STORE_SAVE_APPEND);
		cr_assert_eq(save.error, values[i].error, "row %zu: %d", i, save.error);
		check_now(s, "a.jsonl", values[i].after, values[i].value);
		must_close(s);
		dir_remove(dir);
	}
}
