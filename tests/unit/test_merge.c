/*
 * What a rewrite meant, on made-up histories. A message is a letter; "a1 b1-3 c2" are all the messages that a document ever had, in
 * their order: a came with version 1 and is there, b came with 1 and went with 3. Bases are written newest first: "2T 1+4,6W"
 * are version 2, shown to the saving thread, and version 1 with the process's own 4 and 6, its last Written document; L: Later; R: Read.
 * The rules are numbered as in the project's merge rules. SEED=n repeats a run.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "merge.h"
#include "support.h"

#define ITEMS 4096
#define BASES 4
#define OWN 64

struct message {
	uint64_t text, born, died;
};

struct past {
	struct message list[ITEMS];
	size_t count;
};

static struct view_frame *frame;

static void make_frame(void)
{
	frame = frame_new(DOC_LIST, 1, "[", 1, ",", 1, "]", 1);
	cr_assert(frame);
}

static void drop_frame(void)
{
	frame_unref(frame);
}

TestSuite(merge, .init = make_frame, .fini = drop_frame);

static bool is_known(const struct message *m, const struct store_base *base)
{
	if (!base)
		return !m->died;
	return base_knows(base, m->born) && !(m->died && base_knows(base, m->died));
}

/* What a base knows of the past; all that is there for NULL. */
static struct store_view *view_of(const struct past *p, const struct store_base *base)
{
	struct store_view *v = view_new(1, 0, frame);

	cr_assert(v);
	for (size_t i = 0; i < p->count; i++) {
		const struct message *m = &p->list[i];

		if (is_known(m, base))
			cr_assert_eq(view_add(v, &(struct view_item){ i + 1, m->born, m->born, m->text, 2, 1 }), 0);
	}
	view_finish(v);
	return v;
}

struct outcome {
	int chosen;
	unsigned result;
	bool certain;
	uint64_t texts[ITEMS];
	bool fresh[ITEMS];		/* the document's own, else one of the past */
	size_t place[ITEMS];		/* index in the past */
	size_t count;
};

static void apply(const struct written *w, const struct past *p, const struct store_view *current, const struct merge_edits *e,
		  struct outcome *out)
{
	size_t in = 0, gone = 0;

	out->count = 0;
	for (uint64_t i = 0; i <= current->count; i++) {
		for (; in < e->inserted_count && e->inserted[in].before == i; in++) {
			cr_assert(!e->inserted[in].moved);
			out->fresh[out->count] = true;
			out->texts[out->count++] = written_hash(w, e->inserted[in].written);
		}
		if (i == current->count)
			break;
		if (gone < e->removed_count && e->removed[gone] == i) {
			gone++;
			continue;
		}
		out->fresh[out->count] = false;
		out->place[out->count] = view_get(current, i)->pos - 1;
		out->texts[out->count++] = view_get(current, i)->hash;
	}
	cr_assert_eq(in, e->inserted_count, "insertions are not in order");
	cr_assert_eq(gone, e->removed_count, "removals are not in order");
	for (size_t i = 0; i < e->kept_count; i++)
		cr_assert_eq(view_get(current, e->kept[i].current)->hash, written_hash(w, e->kept[i].written));
}

static void merge(const struct past *p, const struct store_base *bases, size_t base_count, const struct written *w, unsigned flags,
		  struct outcome *out)
{
	struct merge_candidate candidates[BASES] = { 0 };
	struct store_view *current = view_of(p, NULL);
	struct merge_edits e;

	for (size_t i = 0; i < base_count; i++) {
		candidates[i].base = &bases[i];
		candidates[i].view = view_of(p, &bases[i]);
		cr_assert_eq(merge_diff(w, candidates[i].view, &candidates[i].diff), 0);
		merge_removed(w, &candidates[i], current);
	}
	out->chosen = merge_choose(w, candidates, base_count, current, flags, &out->result, &out->certain);
	out->count = 0;
	if (out->chosen >= 0) {
		const struct merge_candidate *c = &candidates[out->chosen];

		cr_assert_eq(merge_edits(w, c->view, &c->diff, current, &e), 0);
		apply(w, p, current, &e, out);
		merge_edits_release(&e);
	}
	for (size_t i = 0; i < base_count; i++) {
		store_view_unref(candidates[i].view);
		merge_diff_release(&candidates[i].diff);
	}
	store_view_unref(current);
}

/* ---- Fixed cases ---------------------------------------------------------------------------------------------- */

struct merge_case {
	const char *rule, *name, *past, *bases, *written;
	unsigned flags;
	int chosen;
	const char *result;
};

#define UNCERTAIN (1u << 30)
#define EVENTS STORE_SAVE_EVENTS

static const struct merge_case cases[] = {
	{ "5", "contains what came after an older read", "a1 b2", "2T 1T", "abc", 0, 0, "abc" },
	{ "5", "the same, older read first", "a1 b2", "1T 2T", "abc", 0, 1, "abc" },
	{ "5", "a read and an older own document", "a1 b2 c3", "3T 1+2W", "abcd", 0, 0, "abcd" },
	{ "5", "own document explains what a read does not", "a1 b2 c3", "1+3W 1T", "acd", EVENTS, 0, "abcd" },
	{ "5", "a thread says what another has said", "a1 k2", "2W 1T", "ak", 0, 1, "akk" },
	{ "5", "and that one more since", "a1 k2 m3", "3W 1T", "ak", 0, 1, "akmk" },
	{ "5", "a thread's question is another's, its answer is not", "a1 k2", "2W 1T", "akb", 0, 1, "akkb" },
	{ "5", "three messages that another thread has saved are a list in memory", "a1 b2 c2 d2", "2W 1T", "abcd", 0, 0, "abcd" },
	{ "5", "much of it in one's own words", "a1 b2 c2 d2", "2W 1T", "abxcd", 0, 1, "abcdbxcd" },
	{ "5", "equal to an older read is a removal", "a1 b2", "2T 1T", "a", 0, 0, "a" },
	{ "5", "equal to the newest read changes nothing", "a1 b2", "1T", "a", 0, 0, "ab" },
	{ "5", "equal to a thread's own read it changes nothing", "a1 b2", "2W 1T", "a", 0, 1, "ab" },
	{ "5", "also when another thread has written the same", "a1 b2", "2W 1TW", "a", 0, 1, "ab" },
	{ "5", "empty is a clear, not an old no-op", "a1 b1", "1T 0T", "", 0, 0, "" },
	{ "5", "empty after another's message clears what was read", "a1 b1 c2", "1T 0T", "", EVENTS, 0, "c" },
	{ "5", "empty by one who never read anything else", "a1", "0T", "", 0, 0, "a" },

	{ "6", "fewest removed: the older read", "a1 b1 c2", "2 1", "abd", EVENTS | UNCERTAIN, 1, "abcd" },
	{ "6", "fewest removed goes before own thread", "a1 b1 c2", "2T 1", "abd", EVENTS | UNCERTAIN, 1, "abcd" },
	{ "6", "the smaller difference before the own thread", "a1 b1-2", "2 1T", "ac", EVENTS, 0, "ac" },
	{ "6", "own thread before the newer", "a1 b2-3", "3 1T", "ac", EVENTS, 1, "ac" },
	{ "6", "without an event loop own thread before the smaller difference", "a1 b1-2", "2 1T", "ac", 0, 1, "ac" },
	{ "6", "and before the fewest removed", "a1 b1 c2", "1+2W 1T", "", 0, 1, "c" },
	{ "6", "smaller difference", "a1 b1-2", "1 2", "ac", EVENTS, 1, "ac" },
	{ "6", "newest", "a1", "2 1", "ab", EVENTS, 0, "ab" },
	{ "6", "two coroutines hold two tickets of one version", "a1 b2", "2W 1", "ac", EVENTS | UNCERTAIN, 1, "abc" },
	{ "6", "a thread's own read without an event loop", "a1 b1 c2", "2T 1", "abd", 0, 0, "abd" },
	{ "6", "an in-memory list, nobody else wrote", "a1 b2", "2W", "abc", 0, 0, "abc" },
	{ "6", "an in-memory list, others wrote", "a1 b2 c3 d4", "1+3W", "ace", 0, 0, "abcde" },
	{ "6", "an in-memory list removes its own", "a1 b2 c3 d4", "1+3W", "a", 0, 0, "abd" },

	{ "16", "one answer of two requests is no proof", "a1 q2 k2", "2W 1R", "ark", EVENTS | UNCERTAIN, 1, "aqkrk" },
	{ "16", "nor is one question", "a1 k2 q2", "2W 1R", "akr", EVENTS | UNCERTAIN, 1, "akqkr" },
	{ "16", "of what was read since an equal answer behind a question of one's own is no proof", "a1 q2 k2", "2RW 1R", "ark", EVENTS | UNCERTAIN, 1, "aqkrk" },
	{ "16", "but an equal question is doubt: the newer is the base, and all of it stays (merge_spare)", "a1 k2 q2", "2RW 1R", "akr", EVENTS, 0, "akr" },
	{ "16", "what is said again and again is no proof", "a1 k2 q2 k3", "3RW 1R", "akr", EVENTS | UNCERTAIN, 1, "akqkkr" },
	{ "16", "it is proof when nothing is lost", "a1 k2", "2W 1R", "akr", EVENTS, 0, "akr" },
	{ "16", "and when three are equal and none is its own", "a1 b2 c2 d2 e2", "2W 1R", "abcd", EVENTS, 0, "abcd" },
	{ "16", "two are not", "a1 b2 c2 e2", "2W 1R", "abc", EVENTS | UNCERTAIN, 1, "abcebc" },
	{ "16", "or five beside one of its own", "a1 b2 c2 d2 e2 f2 g2", "2W 1R", "abcdefG", EVENTS, 0, "abcdefG" },
	{ "16", "four do not", "a1 b2 c2 d2 e2 g2", "2W 1R", "abcdeG", EVENTS | UNCERTAIN, 1, "abcdegbcdeG" },
	{ "16", "saved since the file was opened", "a1 q2 k2", "2WL 1R", "ark", EVENTS, 1, "aqkrk" },
	{ "16", "the same with nothing of its own", "a1 q2 k2", "2WL 1R", "ak", EVENTS, 1, "aqkk" },
	{ "16", "three that were saved since the file was opened are", "a1 b2 c2 d2 e2", "2WL 1R", "abcd", EVENTS, MERGE_STALE, "" },
	{ "16", "two are not", "a1 b2 c2 e2", "2WL 1R", "abc", EVENTS, 1, "abcebc" },
	{ "16", "of who has but looked the name up", "q1 k1", "1WL 0R", "k", EVENTS, MERGE_STALE, "" },

	{ "7", "an overlapping save closed late", "a1 b2 c3", "3WL 1W", "ab", EVENTS, MERGE_STALE, "" },
	{ "7", "the same with nothing else known", "a1 b2 c3", "3WL", "abc", EVENTS, MERGE_STALE, "" },
	{ "7", "but it brings something", "a1 b2", "2WL 1W", "ax", EVENTS, 1, "abx" },
	{ "7", "a read since goes before", "a1 b2 c3", "3WL 3T", "ab", EVENTS, 1, "ab" },

	{ "8", "blind", "a1", "", "b", 0, MERGE_NONE, "" },

	{ "9", "both append", "a1 b2", "1T", "ac", 0, 0, "abc" },
	{ "9", "both append several", "a1 b2 c2", "1T", "ade", 0, 0, "abcde" },
	{ "9", "both start a document", "a1 b1", "0T", "cd", 0, 0, "abcd" },
	{ "9", "insert at the front", "a1 b1 c2", "1T", "xab", 0, 0, "xabc" },
	{ "9", "insert between", "a1 b1 c2", "1T", "axb", 0, 0, "axbc" },
	{ "9", "both insert at one place, P6", "a1 n2 b1", "1T", "axb", 0, 0, "anxb" },
	{ "9", "insert before what another removed", "a1 b1-2 c1", "1T", "axbc", 0, 0, "axc" },
	{ "9", "insert before a removed last one", "a1 b1-2", "1T", "axb", 0, 0, "ax" },
	{ "9", "equal texts are two", "a1 o2", "1T", "ao", 0, 0, "aoo" },
	{ "9", "equal texts at the start", "o1", "0T", "o", 0, 0, "oo" },
	{ "9", "the third of equal texts is removed", "o1 o1 o1 p2", "1T", "oo", 0, 0, "oop" },
	{ "9", "remove", "a1 b1 c2", "1T", "b", 0, 0, "bc" },
	{ "9", "remove what has gone", "a1 b1-2 c1", "1T", "ac", 0, 0, "ac" },
	{ "9", "what is there, at another place in the document, stays where it is", "a1 b1 c2", "1T", "ba", 0, 0, "abc" },
	{ "9", "what has gone, at another place, is new", "a1-2 b1", "1T", "ba", 0, 0, "ba" },
	{ "9", "the one of equal texts that has gone is the one removed", "k1-2 b1 k1", "1T", "kb", 0, 0, "bk" },
	{ "9", "keep what another removed", "a1 b1-2 c1", "1T", "abcd", 0, 0, "acd" },
	{ "9", "clear keeps what was not read", "a1 b1 c2", "1T", "", 0, 0, "c" },
	{ "9", "replace the last", "a1 b1", "1T", "ax", 0, 0, "ax" },
	{ "9", "replace the last, another appends", "a1 b1 c2", "1T", "ax", 0, 0, "acx" },
	{ "9", "replace one between", "a1 b1 c1 d2", "1T", "axc", 0, 0, "axcd" },
	{ "9", "keep the last two (P2)", "a1 b1 c1 d1 e2", "1T", "cd", 0, 0, "cde" },
	{ "9", "all different", "a1 b1 c2", "1T", "xy", 0, 0, "cxy" },

	{ "15", "regenerate or another coroutine: both stay", "a1 b2", "2 1", "ac", EVENTS | UNCERTAIN, 1, "abc" },
	{ "15", "-o merge=edit", "a1 b2", "2 1", "ac", EVENTS | UNCERTAIN | STORE_SAVE_EDIT, 0, "ac" },
	{ "15", "a step-by-step thread regenerates", "a1 b2", "2T", "ac", 0, 0, "ac" },
};

static void parse_past(const char *s, struct past *p)
{
	p->count = 0;
	while (*s) {
		struct message *m = &p->list[p->count++];
		char *end;

		*m = (struct message){ .text = (unsigned char)*s, .born = strtoull(s + 1, &end, 10) };
		if (*end == '-')
			m->died = strtoull(end + 1, &end, 10);
		s = end + strspn(end, " ");
	}
}

static size_t parse_bases(const char *s, struct store_base *bases, uint64_t own[BASES][OWN])
{
	size_t n = 0;

	for (; *s; n++) {
		struct store_base *b = &bases[n];
		char *end;

		*b = (struct store_base){ .ino = 1, .version = strtoull(s, &end, 10), .own = own[n], .order = 100 - n };
		while (*end == '+' || *end == ',')
			own[n][b->own_count++] = strtoull(end + 1, &end, 10);
		for (; *end && *end != ' '; end++)
			b->flags |= *end == 'T' ? STORE_BASE_THREAD : *end == 'R' ? STORE_BASE_SHOWN : *end == 'W' ? STORE_BASE_WRITTEN : STORE_BASE_WRITTEN | STORE_BASE_LATER;
		s = end + strspn(end, " ");
	}
	return n;
}

Test(merge, rules)
{
	static struct past p;
	static struct outcome out;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct merge_case *c = &cases[i];
		struct doc_item items[64] = { 0 };
		struct written w = { .count = strlen(c->written), .items = items };
		struct store_base bases[BASES];
		uint64_t own[BASES][OWN];
		char result[64];
		size_t n = parse_bases(c->bases, bases, own);

		parse_past(c->past, &p);
		for (size_t j = 0; j < w.count; j++)
			items[j].hash = (unsigned char)c->written[j];
		merge(&p, bases, n, &w, c->flags & ~UNCERTAIN, &out);
		for (size_t j = 0; j < out.count; j++)
			result[j] = (char)out.texts[j];
		result[out.count] = 0;
		cr_expect_eq(out.chosen, c->chosen, "rule %s, %s: base %d is chosen, not %d", c->rule, c->name, out.chosen, c->chosen);
		cr_expect_str_eq(result, c->result, "rule %s, %s: %s, not %s", c->rule, c->name, result, c->result);
		cr_expect_eq((out.result & STORE_SAVED_UNCERTAIN) != 0, (c->flags & UNCERTAIN) != 0, "rule %s, %s: %s", c->rule, c->name,
			     out.result & STORE_SAVED_UNCERTAIN ? "uncertain" : "certain");
	}
}

/* The second half of a document, which is the longer, goes before the first. `size`: messages of the first. */
static void swap_halves(size_t size, const char *bases, unsigned flags, struct outcome *out)
{
	static struct past p;
	static struct doc_item items[ITEMS];
	struct written w = { .count = 2 * size + 1, .items = items };
	struct store_base base[BASES];
	uint64_t own[BASES][OWN];

	p.count = 0;
	for (size_t i = 0; i < w.count; i++) {
		p.list[p.count++] = (struct message){ .text = 1000 + i, .born = 1 };
		items[(i + size + 1) % w.count] = (struct doc_item){ .hash = 1000 + i };
	}
	p.list[p.count++] = (struct message){ .text = 5000, .born = 2 };
	merge(&p, base, parse_bases(bases, base, own), &w, flags, out);
}

/* So many messages at another place are those that are there, and stay. More are new ones, for which the old ones go: none is lost, none comes twice. */
Test(merge, moved)
{
	static const struct { size_t size; bool stay; } table[] = { { 1, true }, { 63, true }, { 64, true }, { 65, false }, { 200, false } };
	static struct outcome out;

	for (size_t t = 0; t < sizeof(table) / sizeof(table[0]); t++) {
		size_t size = table[t].size;
		size_t times[1000] = { 0 };

		swap_halves(size, "1T", 0, &out);
		cr_assert_eq(out.chosen, 0);
		cr_expect_eq(out.count, 2 * size + 2, "%zu messages: %zu are there", size, out.count);
		for (size_t i = 0; i < out.count; i++)
			times[out.texts[i] == 5000 ? 999 : out.texts[i] - 1000]++;
		for (size_t i = 0; i < 2 * size + 1; i++)
			cr_expect_eq(times[i], 1, "%zu messages: message %zu is there %zu times", size, i, times[i]);
		cr_expect_eq(times[999], 1, "%zu messages: another's", size);
		cr_expect_eq(out.texts[0], table[t].stay ? 1000 : 1000 + size, "%zu messages: the first", size);
		/* All of it was in what the process saved since: that this many are at another place is of no matter, but more are not looked for. */
		swap_halves(size, "2WL", EVENTS, &out);
		cr_expect_eq(out.chosen, table[t].stay ? MERGE_STALE : 0, "%zu messages: base %d", size, out.chosen);
	}
}

/* ---- Random writers ------------------------------------------------------------------------------------------- */

/* A process: what it knows, as fs/ticket.c keeps it, and its document as it wrote or read it. */
struct writer {
	struct store_base base;
	uint64_t own[OWN];
	uint64_t doc[ITEMS];
	size_t count;
};

static uint64_t next_text, version;

static bool has(const uint64_t *list, size_t count, uint64_t text)
{
	for (size_t i = 0; i < count; i++) {
		if (list[i] == text)
			return true;
	}
	return false;
}

static void read_all(struct writer *w, const struct past *p)
{
	w->count = 0;
	for (size_t i = 0; i < p->count; i++) {
		if (!p->list[i].died)
			w->doc[w->count++] = p->list[i].text;
	}
	w->base = (struct store_base){ .ino = 1, .version = version, .own = w->own, .flags = STORE_BASE_THREAD, .order = 1 };
}

static void edit(struct writer *w, bool inserting)
{
	size_t kept = 0;

	if (random_chance(30)) {
		for (size_t i = 0; i < w->count; i++) {
			if (!random_chance(20))
				w->doc[kept++] = w->doc[i];
		}
		w->count = kept;
	}
	if (inserting && random_chance(30)) {
		size_t at = random_below(w->count + 1);

		memmove(&w->doc[at + 1], &w->doc[at], (w->count++ - at) * sizeof(w->doc[0]));
		w->doc[at] = ++next_text;
	}
	for (uint64_t n = random_below(4); n; n--)
		w->doc[w->count++] = ++next_text;
}

static void bury(const struct past *p, size_t from, size_t to, struct past *next)
{
	for (; from < to; from++) {
		struct message *m = &next->list[next->count++];

		*m = p->list[from];
		if (!m->died)
			m->died = version;
	}
}

/* The past after a merge: messages that went keep their place in it, new ones come right before their right neighbour. */
static void advance(struct past *p, const struct outcome *out)
{
	static struct past next;
	size_t at = 0;

	version++;
	next.count = 0;
	for (size_t i = 0; i < out->count; i++) {
		size_t stop = i;

		while (stop < out->count && out->fresh[stop])
			stop++;
		stop = stop < out->count ? out->place[stop] : p->count;
		bury(p, at, stop, &next);
		at = stop;
		if (out->fresh[i])
			next.list[next.count++] = (struct message){ .text = out->texts[i], .born = version };
		else
			next.list[next.count++] = p->list[at++];
	}
	bury(p, at, p->count, &next);
	*p = next;
}

/* P1, P2, P6 of one save: `before` is what the writer had seen, `there` what was current. */
static void check(const struct writer *w, const uint64_t *before, size_t before_count, const uint64_t *there, size_t there_count,
		  const struct outcome *out, bool alone)
{
	size_t last = 0, expected = 0;

	for (size_t i = 0; i < out->count; i++)
		cr_assert(!has(out->texts, i, out->texts[i]), "message %lu is there twice", out->texts[i]);
	for (size_t i = 0; i < there_count; i++) {
		bool removes = has(before, before_count, there[i]) && !has(w->doc, w->count, there[i]);

		cr_assert_eq(has(out->texts, out->count, there[i]), !removes, "message %lu of others: %s", there[i], removes ? "stayed" : "lost");
		expected += !removes;
	}
	for (size_t i = 0; i < w->count; i++) {
		bool fresh = !has(before, before_count, w->doc[i]);

		if (fresh)
			cr_assert(has(out->texts, out->count, w->doc[i]), "new message %lu is lost", w->doc[i]);
		expected += fresh;
	}
	cr_assert_eq(out->count, expected, "%zu messages, not %zu: something came back", out->count, expected);
	/* Its own in its order. */
	for (size_t i = 0; i < w->count; i++) {
		size_t at = 0;

		while (at < out->count && out->texts[at] != w->doc[i])
			at++;
		if (at == out->count)
			continue;
		cr_assert_geq(at, last, "message %lu left its order", w->doc[i]);
		last = at;
	}
	if (alone)
		cr_assert(out->count == w->count && !memcmp(out->texts, w->doc, w->count * sizeof(w->doc[0])), "not as written");
}

static void run_writers(bool inserting, size_t writers)
{
	static struct past p;
	static struct outcome out;
	static struct writer list[8];
	static uint64_t before[ITEMS], there[ITEMS];
	static struct doc_item items[ITEMS];

	memset(list, 0, sizeof(list));
	p.count = 0;
	version = 0;
	for (size_t i = 0; i < writers; i++)
		list[i].base = (struct store_base){ .ino = 1, .own = list[i].own, .flags = STORE_BASE_THREAD, .order = 1 };
	for (int round = 0; round < 300; round++) {
		struct writer *w = &list[random_below(writers)];
		struct written written = { .items = items };
		struct store_view *view;
		size_t before_count = w->count, there_count = 0;
		uint64_t previous = version;

		/* Now and then it reads; else it goes on from its memory. */
		if (random_chance(40) || w->base.own_count + 1 >= OWN)
			read_all(w, &p);
		before_count = w->count;
		memcpy(before, w->doc, w->count * sizeof(before[0]));
		view = view_of(&p, &w->base);
		/* What others had removed before it removed it too, it is not known to have seen go. */
		cr_assert_geq(view->count, w->count, "a base of %lu messages, the writer has %zu", view->count, w->count);
		store_view_unref(view);
		for (size_t i = 0; i < p.count; i++) {
			if (!p.list[i].died)
				there[there_count++] = p.list[i].text;
		}
		if (random_chance(30))
			continue;
		edit(w, inserting);
		written.count = w->count;
		for (size_t i = 0; i < w->count; i++)
			items[i] = (struct doc_item){ .hash = w->doc[i] };
		merge(&p, &w->base, 1, &written, 0, &out);
		cr_assert_eq(out.chosen, 0);
		check(w, before, before_count, there, there_count, &out, inserting);
		advance(&p, &out);
		if (w->base.version >= previous)
			w->base.version = version, w->base.own_count = 0;
		else
			w->own[w->base.own_count++] = version;
		if (p.count + 16 > ITEMS)
			break;
	}
}

Test(merge, random_appends_and_removals)
{
	random_seed("merge");
	for (int i = 0; i < 60; i++)
		run_writers(false, 1 + random_below(6));
}

Test(merge, random_single_writer_with_insertions)
{
	random_seed("merge");
	for (int i = 0; i < 60; i++)
		run_writers(true, 1);
}

/* ---- Views ---------------------------------------------------------------------------------------------------- */

/* Views that share blocks with others, against a plain list. */
Test(merge, random_views)
{
	enum { LIMIT = 3000 };
	static struct view_item model[LIMIT], made[LIMIT];
	struct store_view *v = view_new(1, 1, frame), *next;
	uint64_t count = 0, n, first, pos = 1;

	random_seed("views");
	view_finish(v);
	for (uint64_t round = 0; round < 400; round++) {
		next = view_new(1, round + 2, frame);
		n = 0;
		for (first = 0; first < count;) {
			uint64_t run = 1 + random_below(random_chance(50) ? count - first : 40);

			if (run > count - first)
				run = count - first;
			if (!random_chance(10)) {
				cr_assert_eq(view_add_range(next, v, first, run), 0);
				memcpy(&made[n], &model[first], run * sizeof(made[0]));
				n += run;
			}
			first += run;
		}
		for (uint64_t more = random_below(300); more && n < LIMIT; more--) {
			struct view_item item = { pos += 2, round + 2, round + 2, random_below(9), 2 + random_below(90), 0 };

			item.lead = random_chance(20) ? 0 : 1 + random_below(item.size - 1);
			cr_assert_eq(view_add(next, &item), 0);
			made[n++] = item;
		}
		view_finish(next);
		first = 0;
		while (first < n && first < count && !memcmp(&made[first], &model[first], sizeof(made[0])))
			first++;
		cr_assert_eq(view_common(v, next), first);
		store_view_unref(v);
		v = next;
		memcpy(model, made, n * sizeof(made[0]));
		count = n;
		cr_assert_eq(v->count, count);

		uint64_t offset = 1;

		for (uint64_t i = 0; i < count; i++) {
			uint64_t lead, start, end, size = i == 0 ? 0 : model[i].lead ? model[i].lead : 1, at;
			bool found;

			cr_assert(!memcmp(view_get(v, i), &model[i], sizeof(model[0])));
			if (i % 7 == round % 7) {
				view_span(v, i, &lead, &start, &end);
				cr_assert(lead == offset && start == lead + size && end == start + model[i].size - model[i].lead, "item %lu", i);
				at = view_find(v, model[i].pos, model[i].born, &found);
				cr_assert(found && at == i);
				view_find(v, model[i].pos, model[i].born + 1, &found);
				cr_assert(!found);
				at = view_find(v, model[i].pos - 1, 0, &found);
				cr_assert(!found && at == i, "%lu before item %lu", at, i);
			}
			offset += size + model[i].size - model[i].lead;
		}
		cr_assert_eq(v->size, offset + 1);
	}
	store_view_unref(v);
}

/* ---- Cost ----------------------------------------------------------------------------------------------------- */

#define LONG 100000

static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* The first `count` messages of a view and `more` of a later version. */
static struct store_view *extend(const struct store_view *from, uint64_t count, uint64_t number, uint64_t more)
{
	struct store_view *v = view_new(1, number, frame);

	if (from)
		cr_assert_eq(view_add_range(v, from, 0, count), 0);
	for (uint64_t i = 0; i < more; i++)
		cr_assert_eq(view_add(v, &(struct view_item){ count + i + 1, number, number, number << 32 | i, 80, 2 }), 0);
	view_finish(v);
	return v;
}

/* The processor time of an append to 100,000 messages is printed, and what it does is checked. */
Test(merge, append_to_a_long_list)
{
	struct store_view *read = extend(NULL, 0, 1, LONG), *other = extend(read, LONG, 2, 1);
	struct store_base base = { .ino = 1, .version = 1, .flags = STORE_BASE_THREAD, .order = 1 };
	struct doc_item item = { .hash = 7 };
	struct written w = { .prefix = read, .kept = LONG, .count = LONG + 1, .items = &item };

	for (int merged = 0; merged < 2; merged++) {
		struct store_view *current = merged ? other : read;
		uint64_t least = UINT64_MAX;

		for (int i = 0; i < 50; i++) {
			struct merge_candidate c = { .base = &base };
			struct merge_edits e;
			unsigned result;
	bool certain;
			uint64_t began = cpu_ns();

			/* As base_view: all blocks but the last are shared. */
			c.view = merged ? extend(current, LONG, 0, 0) : store_view_ref(current);
			cr_assert_eq(merge_diff(&w, c.view, &c.diff), 0);
			merge_removed(&w, &c, current);
			cr_assert_eq(merge_choose(&w, &c, 1, current, 0, &result, &certain), 0);
			cr_assert_eq(merge_edits(&w, c.view, &c.diff, current, &e), 0);
			began = cpu_ns() - began;
			least = began < least ? began : least;
			cr_assert(e.removed_count == 0 && e.inserted_count == 1 && e.inserted[0].before == current->count);
			merge_edits_release(&e);
			merge_diff_release(&c.diff);
			store_view_unref(c.view);
		}
		printf("an append to %d messages, %s: %.1f us\n", LONG, merged ? "another has appended" : "nobody else wrote", (double)least / 1000);
	}
	fflush(stdout);
	store_view_unref(other);
	store_view_unref(read);
}
