/*
 * What becomes of a document, step by step: what is saved from which base, and what is there afterwards. Each scenario runs with saves
 * on disk at once and delayed, with the document given whole, and as what it shares with the newest version and the rest.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"

struct step {
	char op;		/* s save, u unlink, r undo version number `base`; 0 ends */
	const char *base;	/* "3": versions up to 3, "1+3": and own later ones, "0": absent, NULL: none; W: its own last document */
	const char *text;
	const char *expected;	/* what is there afterwards; NULL: nothing */
	unsigned flags, result;
	int error;
};

#define MERGED STORE_SAVED_MERGED
#define SAME STORE_SAVED_SAME
#define UNCERTAIN STORE_SAVED_UNCERTAIN
#define BLIND STORE_SAVED_BLIND
#define REMOVED STORE_LOG_REMOVED

struct scenario {
	const char *name;
	struct step steps[8];
};

#define SAVE_AS(b, t, e, f, r) { .op = 's', .base = (b), .text = (t), .expected = (e), .flags = (f), .result = (r) }
#define SAVE(b, t, e) SAVE_AS(b, t, e, 0, 0)
#define REFUSED(b, t, e, f, err) { .op = 's', .base = (b), .text = (t), .expected = (e), .flags = (f), .error = (err) }
#define UNLINK { .op = 'u' }
#define UNDO(v, e) { .op = 'r', .base = (v), .expected = (e) }

static const struct scenario scenarios[] = {
	{ "equal texts from one base are two (P1)", {
		SAVE("0", "[{\"a\":1}]", "[{\"a\":1}]"),
		SAVE("1", "[{\"a\":1},\"ok\"]", "[{\"a\":1},\"ok\"]"),
		SAVE_AS("1", "[{\"a\":1},\"ok\"]", "[{\"a\":1},\"ok\",\"ok\"]", 0, MERGED) } },
	{ "two that spell all messages anew do not double them", {
		SAVE("0", "[{\"a\":1,\"b\":\"\\u00fc\"},7]", "[{\"a\":1,\"b\":\"\\u00fc\"},7]"),
		SAVE("1", "[{\"b\":\"\\u00fc\",\"a\":1},7,2]", "[{\"b\":\"\\u00fc\",\"a\":1},7,2]"),
		SAVE_AS("1", "[{\"b\":\"\xc3\xbc\",\"a\":1.0},7,3]", "[{\"b\":\"\\u00fc\",\"a\":1},7,2,3]", 0, MERGED),
		SAVE_AS("1+3", "[{\"a\":1,\"b\":\"\xc3\xbc\"},7.0,3,4]", "[{\"b\":\"\\u00fc\",\"a\":1},7.0,2,3,4]", 0, MERGED),
		SAVE("4", "[{\"a\":1,\"b\":\"\xc3\xbc\"},7,2,3,4,5]", "[{\"a\":1,\"b\":\"\xc3\xbc\"},7,2,3,4,5]") } },
	{ "a message spelled anew by one and removed by the other stays removed", {
		SAVE("0", "[\"\\u00fc\",{\"a\":1,\"b\":2},3]", "[\"\\u00fc\",{\"a\":1,\"b\":2},3]"),
		SAVE("1", "[3]", "[3]"),
		SAVE_AS("1", "[\"\xc3\xbc\",{\"b\":2,\"a\":1},3,4]", "[3,4]", 0, MERGED),
		UNDO("2", "[\"\\u00fc\",{\"a\":1,\"b\":2},3,4]") } },
	{ "two writers begin a document", {
		SAVE("0", "[{\"a\": 1}]", "[{\"a\": 1}]"),
		SAVE_AS("0", "[{\"a\": 2}]", "[{\"a\": 1}, {\"a\": 2}]", 0, MERGED) } },
	{ "one that had read removes (P2)", {
		SAVE("0", "[1,2,3]", "[1,2,3]"),
		SAVE("1", "[1,2,3,4]", "[1,2,3,4]"),
		SAVE_AS("1", "[3]", "[3,4]", 0, MERGED),
		SAVE("3", "[4]", "[4]") } },
	{ "an edit and an append", {
		SAVE("0", "[1,2]", "[1,2]"),
		SAVE("1", "[1,2,3]", "[1,2,3]"),
		SAVE_AS("1", "[1,9]", "[1,3,9]", 0, MERGED) } },
	{ "in-memory list", {
		SAVE("0", "[1]", "[1]"),
		SAVE("1", "[1,2]", "[1,2]"),
		SAVE_AS("1", "[1,3]", "[1,2,3]", 0, MERGED),
		SAVE_AS("1+3", "[1,3,4]", "[1,2,3,4]", 0, MERGED),
		SAVE_AS("1+3,4", "[4]", "[2,4]", 0, MERGED) } },
	{ "nothing new", {
		SAVE("0", "[1]", "[1]"),
		SAVE_AS("1", "[1]", "[1]", 0, SAME),
		SAVE("1", "[1,2]", "[1,2]"),
		SAVE_AS("1", "[1]", "[1,2]", 0, SAME | MERGED) } },
	{ "blind replaces (rule 8)", {
		SAVE("0", "[1,2]", "[1,2]"),
		SAVE_AS(NULL, "[3]", "[3]", 0, BLIND),
		SAVE_AS(NULL, "[]", "[]", 0, BLIND) } },
	{ "replace whatever was there", {
		SAVE("0", "[1,2]", "[1,2]"),
		SAVE("1", "[1,2,3]", "[1,2,3]"),
		SAVE_AS("1", "[1]", "[1]", STORE_SAVE_REPLACE, BLIND) } },
	{ "keep what is there (import)", {
		SAVE("0", "[1,2]", "[1,2]"),
		SAVE_AS(NULL, "[2,3]", "[1,2,3]", STORE_SAVE_KEEP, BLIND) } },
	{ "append a value", {
		SAVE_AS(NULL, "{\"a\":1}", "[\n  {\"a\":1}\n]", STORE_SAVE_APPEND, 0),
		SAVE_AS(NULL, " {\"a\":2}\n", "[\n  {\"a\":1},\n  {\"a\":2}\n]", STORE_SAVE_APPEND, 0),
		SAVE_AS("0", "\xef\xbb\xbf{\"a\":3}", "[\n  {\"a\":1},\n  {\"a\":2},\n  {\"a\":3}\n]", STORE_SAVE_APPEND, 0),
		SAVE_AS(NULL, "{\"m\": [{\"a\":1}], \"n\": 2}", "{\"m\": [{\"a\":1}], \"n\": 2}", 0, BLIND),
		SAVE_AS(NULL, "{\"a\":2}", "{\"m\": [{\"a\":1}, {\"a\":2}], \"n\": 2}", STORE_SAVE_APPEND, 0) } },
	{ "append to an envelope without messages", {
		SAVE(NULL, "{\"m\":[]}", "{\"m\":[]}"),
		SAVE_AS(NULL, "{\"a\":1}", "{\"m\":[{\"a\":1}]}", STORE_SAVE_APPEND, 0),
		SAVE_AS(NULL, "{\"a\":2}", "{\"m\":[{\"a\":1},{\"a\":2}]}", STORE_SAVE_APPEND, 0) } },
	{ "append to what has no messages", {
		SAVE(NULL, "{\"a\": 1}", "{\"a\": 1}"),
		REFUSED(NULL, "2", "{\"a\": 1}", STORE_SAVE_APPEND, -EINVAL) } },
	{ "empty file", {
		SAVE("0", "[1,2]", "[1,2]"),
		SAVE("1", "", ""),
		SAVE("2", "[3]", "[3]"),
		SAVE("3", "[3,4]", "[3,4]"),
		SAVE_AS("3", "", "[4]", 0, MERGED) } },
	{ "an object emptied by one who had not seen the newest", {
		SAVE("0", "{\"a\":1}", "{\"a\":1}"),
		SAVE("1", "{\"a\":1,\"b\":2}", "{\"a\":1,\"b\":2}"),
		SAVE_AS("1", "", "{\"a\":1,\"b\":2}", 0, MERGED | SAME) } },
	{ "clear", {
		SAVE("0", "[1,2]", "[1,2]"),
		SAVE("1", "[1,2,3]", "[1,2,3]"),
		SAVE_AS("1", "[]", "[3]", 0, MERGED),
		SAVE("3", "[]", "[]") } },
	{ "torn and wrong documents change nothing (P5)", {
		SAVE("0", "[1,2]", "[1,2]"),
		REFUSED("1", "[1,2", "[1,2]", 0, -EINVAL),
		REFUSED("1", "[1,2,3]]", "[1,2]", 0, -EINVAL),
		REFUSED("1", "hello", "[1,2]", STORE_SAVE_RAW, -EINVAL) } },
	{ "unlink, then a save by name goes on (rule 13)", {
		SAVE("0", "[1,2]", "[1,2]"),
		UNLINK,
		SAVE("2", "[3]", "[3]"),
		SAVE("3", "[3,4]", "[3,4]") } },
	{ "a stale writer after an unlink", {
		SAVE("0", "[1,2]", "[1,2]"),
		UNLINK,
		SAVE_AS("1", "[1,2,3]", "[3]", 0, MERGED) } },
	{ "a stale writer saw it absent", {
		SAVE("0", "[1,2]", "[1,2]"),
		UNLINK,
		SAVE("2", "[3]", "[3]"),
		SAVE_AS("2", "[4]", "[3,4]", 0, MERGED) } },
	{ "undo of a removal", {
		SAVE("0", "[1, 2, 3]", "[1, 2, 3]"),
		SAVE("1", "[3]", "[3]"),
		SAVE("2", "[3, 4]", "[3, 4]"),
		UNDO("0", "[1, 2, 3, 4]") } },
	{ "undo of an edit", {
		SAVE("0", "[\n 1,\n 2,\n 3\n]\n", "[\n 1,\n 2,\n 3\n]\n"),
		SAVE("1", "[\n 1,\n 9,\n 3\n]\n", "[\n 1,\n 9,\n 3\n]\n"),
		UNDO("2", "[\n 1,\n 2,\n 3\n]\n") } },
	{ "undo of a merge", {
		SAVE("0", "[1]", "[1]"),
		SAVE("1", "[1,2]", "[1,2]"),
		SAVE_AS("1", "[1,3]", "[1,2,3]", 0, MERGED),
		UNDO("0", "[1,2]") } },
	{ "undo of an autosave that kept what others had added", {
		SAVE("0", "[1]", "[1]"),
		SAVE("1", "[1,2]", "[1,2]"),
		SAVE("2", "[1,2,3,4]", "[1,2,3,4]"),
		SAVE_AS("W2", "[1,2]", "[1,2,3,4]", 0, MERGED | SAME | UNCERTAIN),
		SAVE("4", "[1,2,4]", "[1,2,4]"),
		UNDO("4", "[1,2]"),
		UNDO("6", "[1,2,4]") } },
	{ "undo of a reset", {
		SAVE("0", "[]", "[]"),
		SAVE("1", "[1]", "[1]"),
		SAVE_AS("W1", "[]", "[]", 0, BLIND),
		UNDO("0", "[1]") } },
	{ "three messages that a session began with are a reset", {
		SAVE("0", "[1,2,3]", "[1,2,3]"),
		SAVE("1", "[1,2,3,8]", "[1,2,3,8]"),
		SAVE_AS("W1", "[1,2,3]", "[1,2,3]", 0, BLIND),
		UNDO("0", "[1,2,3,8]") } },
	{ "and so are four", {
		SAVE("0", "[1,2,3,4]", "[1,2,3,4]"),
		SAVE("1", "[1,2,3,4,8]", "[1,2,3,4,8]"),
		SAVE_AS("W1", "[1,2,3,4]", "[1,2,3,4]", 0, BLIND),
		UNDO("0", "[1,2,3,4,8]") } },
	{ "five are an autosave: kept, and told of", {
		SAVE("0", "[1,2,3,4,5]", "[1,2,3,4,5]"),
		SAVE("1", "[1,2,3,4,5,8]", "[1,2,3,4,5,8]"),
		SAVE_AS("W1", "[1,2,3,4,5]", "[1,2,3,4,5,8]", 0, MERGED | SAME | UNCERTAIN),
		UNDO("3", "[1,2,3,4,5]") } },
	{ "undo of a change of kind", {
		SAVE("0", "[1,2]", "[1,2]"),
		SAVE("1", "{\"a\": 1}", "{\"a\": 1}"),
		UNDO("2", "[1,2]"),
		UNDO("3", "{\"a\": 1}") } },
	{ "undo of an unlink", {
		SAVE("0", "[1, 2]\n", "[1, 2]\n"),
		UNLINK,
		UNDO("0", "[1, 2]\n"),
		SAVE("3", "[1, 2, 3]\n", "[1, 2, 3]\n") } },
	{ "one who saw it absent does not know what an undo brought back (P2)", {
		SAVE("0", "[1,2]", "[1,2]"),
		UNLINK,
		UNDO("0", "[1,2]"),
		SAVE_AS("2", "[3]", "[1,2,3]", 0, MERGED) } },
	{ "members of an object", {
		SAVE("0", "{\"a\":1,\"b\":1}", "{\"a\":1,\"b\":1}"),
		SAVE("1", "{\"a\":2,\"b\":1}", "{\"a\":2,\"b\":1}"),
		SAVE_AS("1", "{\"a\":1,\"b\":3}", "{\"a\":2,\"b\":3}", 0, MERGED) } },
	{ "an object held in memory, nothing of others is undone (P2)", {
		SAVE("0", "{\"a\":1}", "{\"a\":1}"),
		SAVE("1", "{\"a\":1,\"b\":1}", "{\"a\":1,\"b\":1}"),
		SAVE_AS("1", "{\"a\":2}", "{\"a\":2,\"b\":1}", 0, MERGED),
		SAVE_AS("1+3", "{\"a\":3}", "{\"a\":3,\"b\":1}", 0, MERGED),
		SAVE_AS("1+3,4", "{\"a\":3,\"c\":1}", "{\"a\":3,\"b\":1,\"c\":1}", 0, MERGED) } },
	{ "an envelope: members and messages", {
		SAVE("0", "{\"n\": 1, \"m\": [{\"a\": 1}]}", "{\"n\": 1, \"m\": [{\"a\": 1}]}"),
		SAVE("1", "{\"n\": 2, \"m\": [{\"a\": 1}, {\"a\": 2}]}", "{\"n\": 2, \"m\": [{\"a\": 1}, {\"a\": 2}]}"),
		SAVE_AS("1", "{\"n\": 1, \"p\": true, \"m\": [{\"a\": 1}, {\"a\": 3}]}", "{\"n\": 2, \"p\": true, \"m\": [{\"a\": 1}, {\"a\": 2}, {\"a\": 3}]}", 0, MERGED) } },
	{ "an envelope held in memory", {
		SAVE("0", "{\"n\":1,\"m\":[{\"a\":0},{\"a\":1}]}", "{\"n\":1,\"m\":[{\"a\":0},{\"a\":1}]}"),
		SAVE("1", "{\"n\":2,\"m\":[{\"a\":0},{\"a\":1}]}", "{\"n\":2,\"m\":[{\"a\":0},{\"a\":1}]}"),
		SAVE_AS("1", "{\"n\":1,\"m\":[{\"a\":0},{\"a\":1},{\"a\":2}]}", "{\"n\":2,\"m\":[{\"a\":0},{\"a\":1},{\"a\":2}]}", 0, MERGED),
		SAVE_AS("1+3", "{\"n\":1,\"m\":[{\"a\":0},{\"a\":1},{\"a\":2},{\"a\":3}]}", "{\"n\":2,\"m\":[{\"a\":0},{\"a\":1},{\"a\":2},{\"a\":3}]}", 0, MERGED) } },
	{ "counters follow the merged list (rule 10)", {
		SAVE("0", "{\"message_count\":1,\"m\":[{\"a\":1}]}", "{\"message_count\":1,\"m\":[{\"a\":1}]}"),
		SAVE("1", "{\"message_count\":2,\"m\":[{\"a\":1},{\"a\":2}]}", "{\"message_count\":2,\"m\":[{\"a\":1},{\"a\":2}]}"),
		SAVE_AS("1", "{\"message_count\":2,\"m\":[{\"a\":1},{\"a\":3}]}", "{\"message_count\":3,\"m\":[{\"a\":1},{\"a\":2},{\"a\":3}]}", 0, MERGED) } },
	{ "a merge follows the format of the session", {
		SAVE("0", "[\n  1\n]\n", "[\n  1\n]\n"),
		SAVE("1", "[\n  1,\n  2\n]\n", "[\n  1,\n  2\n]\n"),
		SAVE_AS("1", "[\n  1,\n  3\n]\n", "[\n  1,\n  2,\n  3\n]\n", 0, MERGED) } },
	{ "what another reformatted stays so", {
		SAVE("0", "[1,2]", "[1,2]"),
		SAVE("1", "[\n  1,\n  2\n]\n", "[\n  1,\n  2\n]\n"),
		SAVE_AS("1", "[1,2,3]", "[\n  1,\n  2,\n  3\n]\n", 0, MERGED) } },
	{ "a separator that changes leaves others alone (P4)", {
		SAVE("0", "[1]", "[1]"),
		SAVE("1", "[0,1]", "[0,1]"),
		SAVE("2", "[0,1,   2]", "[0,1,   2]"),
		SAVE("3", "[5,0,1,   2,\n3]", "[5,0,1,   2,\n3]") } },
};

static struct store_base parse_base(const char *s, uint64_t ino, uint64_t own[8])
{
	char *end;
	bool written = *s == 'W';
	struct store_base b = base_at(ino, strtoull(s + written, &end, 10));

	b.flags |= written ? STORE_BASE_WRITTEN : 0;

	b.own = own;
	while (*end)
		own[b.own_count++] = strtoull(end + 1, &end, 10);
	if (!b.version && !b.own_count)
		b.ino = 0;
	return b;
}

/* With `share` the document is given as what it shares with the newest version, as the mount does. */
static void play(struct store *s, const struct scenario *c, bool share)
{
	uint64_t ino = 0;
	char name[64];

	snprintf(name, sizeof(name), "%p%d.json", (void *)c, share);
	for (const struct step *step = c->steps; step->op; step++) {
		struct text text = { (char *)step->text, step->text ? strlen(step->text) : 0 };
		struct text want = { (char *)step->expected, step->expected ? strlen(step->expected) : 0 }, got;
		struct store_view *view = NULL;
		struct store_save save = { 0 };
		struct store_base base;
		struct store_attr a;
		uint64_t own[8], version;
		char where[200], how[800];

		snprintf(where, sizeof(where), "%s, step %zu%s", c->name, (size_t)(step - c->steps) + 1, share ? ", shared" : "");
		switch (step->op) {
		case 's':
			if (step->base)
				base = parse_base(step->base, ino, own);
			if (share && ino && !(step->flags & STORE_SAVE_APPEND))
				store_view_open(s, ino, 0, &view);
			save = save_sharing(s, name, text, view, SIZE_MAX, step->base ? &base : NULL, step->flags);
			store_view_unref(view);
			cr_expect_eq(save.error, step->error, "%s: %d, %s", where, save.error, save.reason ? save.reason : "");
			if (!save.error) {
				cr_expect_eq(save.result, step->result, "%s: result %x, not %x", where, save.result, step->result);
				ino = save.saved_ino;
			}
			break;
		case 'u':
			cr_assert_eq(store_unlink(s, STORE_ROOT, name, false, NULL), 0, "%s", where);
			break;
		case 'r':
			save.error = store_undo(s, ino, strtoull(step->base, NULL, 10), &version);
			cr_expect_eq(save.error, 0, "%s: %d", where, save.error);
			break;
		}
		if (!step->expected) {
			cr_assert_eq(store_lookup(s, STORE_ROOT, name, &a), -ENOENT, "%s", where);
			continue;
		}
		got = read_version(s, ino, 0, NULL);
		/* The other steps build on it. */
		if (text_differ(got, want, how, sizeof(how))) {
			cr_expect(false, "%s: %s", where, how);
			text_free(got);
			return;
		}
		text_free(got);
	}
}

/* Things of which others have changed `theirs` before number `end`, and the writer the last `mine`, of `count` in all. */
static struct text things(int count, int end, int theirs, int mine)
{
	struct text t = { malloc((size_t)count * 64 + 8), 0 };

	t.size = (size_t)sprintf(t.data, "[");
	for (int i = 0; i < count; i++)
		t.size += (size_t)sprintf(t.data + t.size, "%s{\"id\":\"s%d\",\"a\":[%d],\"b\":[%d]}", i ? "," : "", i, i < end && i >= end - theirs, i >= count - mine);
	t.size += (size_t)sprintf(t.data + t.size, "]");
	return t;
}

static int count_word(struct text t, const char *word)
{
	int n = 0;

	for (const char *at = t.data; (at = memmem(at, t.size - (size_t)(at - t.data), word, strlen(word))); at++)
		n++;
	return n;
}

/* One object that two have changed is one while it is among the first that are compared. Else both stay beside one another: no change is lost. */
Test(history, things)
{
	static const struct { int count, theirs, mine, times; } table[] = {
		{ 2, 1, 2, 1 }, { 63, 63, 1, 1 }, { 64, 64, 1, 1 }, { 65, 65, 1, 2 }, { 100, 100, 1, 2 },
		{ 63, 1, 63, 1 }, { 64, 1, 64, 1 }, { 65, 1, 65, 2 }, { 100, 1, 100, 2 },
	};
	char *dir = dir_make(), name[32];
	struct store *s = must_open(dir, 0);

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		int count = table[i].count;
		struct text texts[3] = { things(count, 0, 0, 0), things(count, count, table[i].theirs, 0), things(count, 0, 0, table[i].mine) }, got;
		struct store_base base;
		uint64_t ino = 0;

		snprintf(name, sizeof(name), "%zu.json", i);
		for (int v = 0; v < 3; v++) {
			base = base_at(v ? ino : 0, v ? 1 : 0);
			ino = save_text(s, name, texts[v], &base, 0).saved_ino;
			text_free(texts[v]);
		}
		got = read_version(s, ino, 0, NULL);
		/* The last is what both have changed. */
		snprintf(name, sizeof(name), "\"id\":\"s%d\"", count - 1);
		cr_expect_eq(count_word(got, name), table[i].times, "row %zu: %d times", i, count_word(got, name));
		cr_expect_eq(count_word(got, "\"a\":[1]"), table[i].theirs, "row %zu: what others have changed", i);
		cr_expect_eq(count_word(got, "\"b\":[1]"), table[i].mine, "row %zu: what the writer has changed", i);
		cr_expect_eq(count_word(got, "\"id\""), count + table[i].times - 1, "row %zu: in all", i);
		text_free(got);
	}
	must_close(s);
	dir_remove(dir);
}

static struct text nested(int levels, const char *inner)
{
	struct text t = { malloc((size_t)levels * 6 + strlen(inner) + 1), 0 };

	for (int i = 0; i < levels; i++)
		t.size += (size_t)sprintf(t.data + t.size, "{\"a\":");
	t.size += (size_t)sprintf(t.data + t.size, "%s", inner);
	for (int i = 0; i < levels; i++)
		t.data[t.size++] = '}';
	return t;
}

/* Below so many levels the later close wins. What the other had there is in the log, and undo brings it back. */
Test(history, levels)
{
	static const struct { int levels; bool merged; } table[] = { { 1, true }, { 511, true }, { 512, false }, { 513, false } };
	char *dir = dir_make(), name[32];
	struct store *s = must_open(dir, 0);

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		static const char *const inner[] = { "[\"a\"]", "[\"a\",\"x\"]", "[\"a\",\"y\"]" };
		struct text both = nested(table[i].levels, "[\"a\",\"x\",\"y\"]"), text, other = nested(table[i].levels, inner[1]);
		uint64_t ino = 0, version;

		snprintf(name, sizeof(name), "%zu.json", i);
		for (int v = 0; v < 3; v++) {
			struct store_base base = base_at(v ? ino : 0, v ? 1 : 0);

			text = nested(table[i].levels, inner[v]);
			ino = save_text(s, name, text, &base, 0).saved_ino;
			if (v < 2)
				text_free(text);
		}
		check_version(s, ino, 0, table[i].merged ? both : text, name);
		check_version(s, ino, 2, other, name);
		cr_assert_eq(store_undo(s, ino, 3, &version), 0);
		check_version(s, ino, 0, other, name);
		text_free(both);
		text_free(other);
		text_free(text);
	}
	must_close(s);
	dir_remove(dir);
}

Test(history, scenarios)
{
	EACH_MODE(delay) {
		char *dir = dir_make();
		struct store *s = must_open(dir, delay);

		for (size_t i = 0; i < 2 * sizeof(scenarios) / sizeof(scenarios[0]); i++)
			play(s, &scenarios[i / 2], i % 2);
		must_close(s);
		dir_remove(dir);
	}
}
