/* Random documents and changes, and what a merge of them has to hold to. SEED=n repeats a run. */
#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "buf.h"
#include "json.h"
#include "value.h"

#define CHILDREN 16
#define NODES 2048
#define TOKENS 4096
#define ROUNDS 20000

/* Every scalar and every element is a token of its own ("v12", "e12"), so that one can tell where each of them went. */
enum node_type { NODE_SCALAR, NODE_LIST, NODE_OBJECT, NODE_IDS };

struct node {
	enum node_type type;
	int name, token, count;		/* name: of a member, or the id of an element of NODE_IDS */
	struct node *child[CHILDREN];
};

static struct node pool[NODES];
static int pool_used, tokens_used, inserted;
static uint64_t random_state;

static unsigned random_below(unsigned n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (unsigned)((random_state >> 20) % n);
}

static struct node *node_new(enum node_type type)
{
	struct node *n = &pool[pool_used++];

	cr_assert_lt(pool_used, NODES);
	cr_assert_lt(tokens_used + 2, TOKENS);
	*n = (struct node){ .type = type, .name = tokens_used++, .token = tokens_used++ };
	return n;
}

static struct node *node_random(int depth)
{
	struct node *n = node_new(depth ? (enum node_type)random_below(4) : NODE_SCALAR);
	int count = (int)random_below(5);

	for (int i = 0; n->type != NODE_SCALAR && i < count; i++) {
		struct node *child = n->type == NODE_LIST ? node_new(NODE_SCALAR) : node_random(depth - 1);

		if (n->type == NODE_IDS)
			child->type = NODE_OBJECT;
		n->child[n->count++] = child;
	}
	return n;
}

static struct node *node_copy(const struct node *n)
{
	struct node *copy = &pool[pool_used++];

	cr_assert_lt(pool_used, NODES);
	*copy = *n;
	for (int i = 0; i < n->count; i++)
		copy->child[i] = node_copy(n->child[i]);
	return copy;
}

static void node_insert(struct node *n, int at, struct node *child)
{
	memmove(&n->child[at + 1], &n->child[at], (n->count++ - at) * sizeof(n->child[0]));
	n->child[at] = child;
}

/* One change somewhere in the tree; with `quiet` none that adds to a list. */
static void node_change(struct node *n, bool quiet)
{
	while (n->count && random_below(3)) {
		struct node *child = n->child[random_below(n->count)];

		if (n->type == NODE_LIST)
			break;
		n = child;
	}
	if (n->type == NODE_SCALAR) {
		n->token = tokens_used++;
	} else if (n->count && random_below(3) == 0) {
		int at = (int)random_below(n->count);

		memmove(&n->child[at], &n->child[at + 1], (--n->count - at) * sizeof(n->child[0]));
	} else if (n->count < CHILDREN && !(quiet && n->type != NODE_OBJECT)) {
		struct node *child = n->type == NODE_OBJECT && !quiet ? node_random(1) : node_new(NODE_SCALAR);

		if (n->type == NODE_IDS)
			child->type = NODE_OBJECT;
		node_insert(n, random_below(2) ? n->count : (int)random_below(n->count + 1), child);
	}
}

/* How a writer formats: what follows a bracket, a comma and a colon. */
static const struct style {
	const char *begin, *line, *indent, *comma, *colon, *end;
} styles[] = {
	{ "", "", "", ", ", ": ", "" },
	{ "", "", "", ",", ":", "\n" },
	{ "", "\n", "  ", ",", ": ", "" },
	{ "\357\273\277", "\r\n", "\t", ",", ": ", "\r\n" },
	{ " ", " ", "", ",", " : ", " " },
};

static void print(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void print(struct buf *b, const char *format, ...)
{
	char text[64];
	va_list args;
	int size;

	va_start(args, format);
	size = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	cr_assert(size >= 0 && (size_t)size < sizeof(text));
	cr_assert_eq(buf_add(b, text, size), 0);
}

/* For sscanf and printf; not counted. */
static void terminate(struct buf *b)
{
	cr_assert_eq(buf_add(b, "", 1), 0);
	b->size--;
}

static void node_line(struct buf *b, const struct style *s, int depth)
{
	print(b, "%s", s->line);
	for (int i = 0; i < depth; i++)
		print(b, "%s", s->indent);
}

static void node_print(struct buf *b, const struct node *n, const struct style *s, int depth, int id, char kind)
{
	bool list = n->type == NODE_LIST || n->type == NODE_IDS;
	int count = n->count + (id >= 0);

	if (n->type == NODE_SCALAR) {
		/* Some elements are pairs, as of a message and its marks. */
		print(b, kind == 'e' && n->token % 5 == 0 ? "[\"%c%d\", []]" : "\"%c%d\"", kind, n->token);
		return;
	}
	print(b, list ? "[" : "{");
	for (int i = 0; i < count; i++) {
		const struct node *child = id >= 0 ? (i ? n->child[i - 1] : NULL) : n->child[i];

		print(b, "%s", i ? s->comma : "");
		node_line(b, s, depth + 1);
		if (!child)
			print(b, "\"id\"%s%d", s->colon, id);
		else if (!list)
			print(b, "\"k%d\"%s", child->name, s->colon);
		if (child)
			node_print(b, child, s, depth + 1, n->type == NODE_IDS ? child->name : -1, n->type == NODE_LIST ? 'e' : 'v');
	}
	if (count)
		node_line(b, s, depth);
	print(b, list ? "]" : "}");
}

static void document(struct buf *b, const struct node *n)
{
	const struct style *s = &styles[random_below(sizeof(styles) / sizeof(styles[0]))];

	print(b, "%s", s->begin);
	node_print(b, n, s, 0, -1, 'v');
	print(b, "%s", s->end);
	terminate(b);
}

static struct value_text bytes_of(const struct buf *b)
{
	return (struct value_text){ b->data, b->size };
}

struct seen {
	int times[TOKENS], order[TOKENS], count;
	bool element[TOKENS];
};

static void look(struct seen *s, const struct buf *b)
{
	int token;
	char kind;

	memset(s, 0, sizeof(*s));
	for (size_t i = 0; i + 2 < b->size; i++) {
		if (b->data[i] != '"' || sscanf(b->data + i + 1, "%c%d", &kind, &token) != 2 || (kind != 'e' && kind != 'v'))
			continue;
		s->element[token] = kind == 'e';
		s->order[s->count++] = token;
		s->times[token]++;
	}
}

/* What of a side came through keeps that side's order. */
static bool in_order(const struct seen *side, const struct seen *merged)
{
	int place[TOKENS], last = -1;

	for (int i = 0; i < merged->count; i++)
		place[merged->order[i]] = i;
	for (int i = 0; i < side->count; i++) {
		int token = side->order[i];

		if (!merged->times[token])
			continue;
		if (place[token] < last)
			return false;
		last = place[token];
	}
	return true;
}

static const char *broken_law(const struct buf doc[3], const struct buf *out, bool conflict)
{
	static struct seen b, c, w, m;

	look(&b, &doc[0]);
	look(&c, &doc[1]);
	look(&w, &doc[2]);
	look(&m, out);
	for (int t = 0; t < tokens_used; t++) {
		if (m.times[t] > 1)
			return "something is there twice";
		if (m.times[t] && !c.times[t] && !w.times[t])
			return "something came back";
		if (!m.times[t] && c.times[t] && w.times[t])
			return "something that both have is lost";
		if (!m.times[t] && w.times[t] && !b.times[t])
			return "something that written brought is lost";
		if (!m.times[t] && c.times[t] && !b.times[t] && (c.element[t] || !conflict))
			return "something that current brought is lost";
		inserted += m.times[t] && !b.times[t];
	}
	if (!in_order(&c, &m))
		return "current's order is lost";
	return in_order(&w, &m) ? NULL : "written's order is lost";
}

static bool same_documents(const struct buf *a, const struct buf *b)
{
	size_t a_mark = memcmp(a->data, "\357\273\277", 3) ? 0 : 3, b_mark = memcmp(b->data, "\357\273\277", 3) ? 0 : 3;

	return json_same(a->data + a_mark, a->size - a_mark, b->data + b_mark, b->size - b_mark);
}

static bool merges_to(const struct buf *base, const struct buf *current, const struct buf *written, const struct buf *expected)
{
	struct buf out = BUF_INIT;
	bool conflict, same;

	cr_assert_eq(value_merge(bytes_of(base), bytes_of(current), bytes_of(written), NULL, &out, &conflict), 0);
	same = out.size == expected->size && memcmp(out.data, expected->data, out.size) == 0 && !conflict;
	buf_release(&out);
	return same;
}

static void check_round(uint64_t seed, int round)
{
	struct buf doc[3] = { 0 }, out = BUF_INIT;
	struct node *side[3];
	const char *broken;
	bool conflict;

	pool_used = tokens_used = 0;
	side[0] = node_random(4);
	for (int s = 1; s < 3; s++) {
		side[s] = node_copy(side[0]);
		for (int changes = (int)random_below(6); changes > 0; changes--)
			node_change(side[s], false);
	}
	for (int s = 0; s < 3; s++)
		document(&doc[s], side[s]);
	cr_assert_eq(value_merge(bytes_of(&doc[0]), bytes_of(&doc[1]), bytes_of(&doc[2]), NULL, &out, &conflict), 0);
	terminate(&out);
	broken = json_check(out.data, out.size, NULL) ? "not JSON" : broken_law(doc, &out, conflict);
	if (!broken && !merges_to(&doc[0], &doc[0], &doc[2], &doc[2]))
		broken = "merge(b, b, w) is not w";
	if (!broken && !merges_to(&doc[0], &doc[1], &doc[0], &doc[1]))
		broken = "merge(b, c, b) is not c";
	cr_assert_null(broken, "SEED=%ju round %d: %s\nbase    %s\ncurrent %s\nwritten %s\nmerged  %s", (uintmax_t)seed, round, broken,
		       doc[0].data, doc[1].data, doc[2].data, out.data);
	buf_release(&out);

	/* The same from both sides is that, unless it adds to lists: two equal elements are two. */
	for (int changes = (int)random_below(6); changes > 0; changes--)
		node_change(side[0], true);
	for (int s = 1; s < 3; s++) {
		buf_release(&doc[s]);
		document(&doc[s], side[0]);
	}
	cr_assert_eq(value_merge(bytes_of(&doc[0]), bytes_of(&doc[1]), bytes_of(&doc[2]), NULL, &out, &conflict), 0);
	terminate(&out);
	cr_assert(same_documents(&out, &doc[1]) && !conflict, "SEED=%ju round %d: merge(b, x, x) is not x\nbase   %s\nx      %s\nmerged %s",
		  (uintmax_t)seed, round, doc[0].data, doc[1].data, out.data);
	buf_release(&out);
	for (int s = 0; s < 3; s++)
		buf_release(&doc[s]);
}

Test(value_laws, random)
{
	uint64_t seed = getenv("SEED") ? strtoull(getenv("SEED"), NULL, 10) : (uint64_t)time(NULL);

	random_state = seed * 2654435761u + 1;
	for (int round = 0; round < ROUNDS; round++)
		check_round(seed, round);
	cr_assert_gt(inserted, ROUNDS, "the rounds hardly changed anything");
}
