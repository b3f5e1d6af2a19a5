/*
 * The whole of LMDB's file. Each page from 2 to the last one has one use: it is in the tree of records, in that of free pages, or listed as free there. What has two or none
 * shows damage that no page shows by itself.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mem.h"
#include "pages_inside.h"

struct walk {
	const struct snapshot *snapshot;	/* of the tree that is being walked */
	pages_problem *problem;
	void *arg;
	uint64_t problems;
	unsigned char *use;			/* a byte for each page: enum use */
	uint64_t used, freed, entries;
	const struct page **leaves;		/* salvage: those that were found */
	size_t leaf_count, leaf_room;
	struct lost *ranges;			/* salvage: of pages that could not be read */
	size_t range_count;
	bool collect;
	bool lost;				/* a page that others hang on could not be read */
	int err;
};

enum use { NONE, TREE, FREE };

static void tell(struct walk *w, const char *what, uint64_t number)
{
	char text[200];

	w->problems++;
	snprintf(text, sizeof(text), "the store: page %llu of data.mdb %s", (unsigned long long)number, what);
	if (w->problem)
		w->problem(w->arg, text);
}

static bool mark(struct walk *w, uint64_t number, uint64_t count, enum use use)
{
	bool good = true;

	for (uint64_t i = number; i < number + count; i++) {
		if (w->use[i] != NONE) {
			tell(w, w->use[i] == use && use == FREE ? "is listed as free twice" : "has two uses", i);
			good = false;
		}
		w->use[i] = use;
		*(use == FREE ? &w->freed : &w->used) += 1;
	}
	return good;
}

static void collect(struct walk *w, const struct page *p)
{
	if (w->leaf_count == w->leaf_room) {
		size_t room = w->leaf_room ? w->leaf_room * 2 : 256;
		const struct page **more = realloc(w->leaves, room * sizeof(*more));

		if (!more) {
			w->err = -ENOMEM;
			return;
		}
		w->leaves = more;
		w->leaf_room = room;
	}
	w->leaves[w->leaf_count++] = p;
}

/* ---- Trees ---------------------------------------------------------------------------------------------------- */

/* A list of page numbers, its length first. */
static void take_list(struct walk *w, uint64_t page, const char *bytes, size_t size)
{
	uint64_t count, number;

	memcpy(&count, bytes, size < 8 ? 0 : 8);
	if (size < 8 || size % 8 || count > size / 8 - 1) {
		tell(w, "has a list of free pages that is wrong", page);
		return;
	}
	for (uint64_t i = 1; i <= count; i++) {
		memcpy(&number, bytes + i * 8, 8);
		if (number < 2 || number > w->snapshot->last)
			tell(w, "lists a free page that there is not", page);
		else
			mark(w, number, 1, FREE);
	}
}

static void take_leaf(struct walk *w, const struct page *p)
{
	const struct snapshot *s = w->snapshot;

	for (unsigned i = 0, count = node_count(p); i < count; i++) {
		const struct node *n = node_at(p, i);
		const struct page *o = NULL;
		size_t pages;

		if (n->flags) {
			o = node_overflow(s, n, &pages);
			if (!o)
				tell(w, "leads to a value that is not there", p->number);
			else
				mark(w, o->number, pages, TREE);
		}
		if (s->numbers && (o || !n->flags))
			take_list(w, p->number, o ? (const char *)o->nodes : n->bytes + n->key_size, node_value_size(n));
	}
	w->entries += node_count(p);
	if (w->collect && !s->numbers)
		collect(w, p);
}

static void lose(struct walk *w, uint64_t number, unsigned level, const struct bounds *b)
{
	uint64_t from = 0, to = UINT64_MAX;
	char text[160];

	w->lost = true;
	if (w->collect && !w->snapshot->numbers) {
		struct lost *more = realloc(w->ranges, (w->range_count + 1) * sizeof(*more));

		if (!more) {
			w->err = -ENOMEM;
			return;
		}
		w->ranges = more;
		w->ranges[w->range_count++] = (struct lost){ number, level == 1, *b };
	}
	if (b->from && b->from->key_size >= 8)
		memcpy(&from, b->from->bytes, 8);
	if (b->to && b->to->key_size >= 8)
		memcpy(&to, b->to->bytes, 8);
	if (w->snapshot->numbers)
		snprintf(text, sizeof(text), "is damaged: it is of the list of free pages");
	else if (!b->to)
		snprintf(text, sizeof(text), "is damaged: records from inode %llu on are %s it", (unsigned long long)__builtin_bswap64(from),
			 level > 1 ? "beneath" : "on");
	else
		snprintf(text, sizeof(text), "is damaged: records from inode %llu to %llu are %s it", (unsigned long long)__builtin_bswap64(from),
			 (unsigned long long)__builtin_bswap64(to), level > 1 ? "beneath" : "on");
	tell(w, text, number);
}

/* Down to the leaves; not deeper than the tree is said to be, and to no page twice, so it ends. */
static void walk_tree(struct walk *w, uint64_t number, unsigned level, struct bounds b)
{
	bool clean;
	const struct page *p = page_look(w->snapshot, number, level > 1 ? BRANCH : LEAF, &clean);

	if (!p || (!w->snapshot->numbers && !page_is_within(p, &b))) {
		lose(w, number, level, &b);
		return;
	}
	if (!mark(w, number, 1, TREE))
		return;
	if (level == 1) {
		take_leaf(w, p);
		return;
	}
	for (unsigned i = 0, count = node_count(p); i < count && !w->err; i++) {
		struct bounds in = { i ? node_at(p, i) : b.from, i + 1 < count ? node_at(p, i + 1) : b.to };

		walk_tree(w, node_child(node_at(p, i)), level - 1, in);
	}
}

static struct snapshot free_tree(const struct snapshot *s)
{
	struct snapshot f = *s;

	f.root = s->free_root;
	f.depth = s->free_depth;
	f.numbers = true;
	return f;
}

static int begin(struct walk *w, const struct snapshot *s)
{
	w->snapshot = s;
	w->use = calloc(1, s->last + 1);
	return w->use ? 0 : -ENOMEM;
}

static void walk_free(struct walk *w, const struct snapshot *s)
{
	struct snapshot f = free_tree(s);

	w->snapshot = &f;
	if (f.root != NO_PAGE)
		walk_tree(w, f.root, f.depth, (struct bounds){ 0 });
	w->snapshot = s;
}

/* Those that are there as a whole. */
static uint64_t file_pages(const struct snapshot *s)
{
	struct stat st;

	return fstat(s->pages->fd, &st) ? 0 : (uint64_t)st.st_size / s->pages->page_size;
}

int pages_check_free(const struct snapshot *s)
{
	struct walk w = { 0 };
	uint64_t have = file_pages(s);
	int err = begin(&w, s);

	if (err)
		return err;
	walk_free(&w, s);
	if (w.problems || (s->root != NO_PAGE && w.use[s->root] != NONE))
		err = -EUCLEAN;
	for (uint64_t i = have; !err && i <= s->last; i++)
		err = w.use[i] == FREE ? 0 : -EUCLEAN;
	/* Longer than it should be: a commit was cut short, or the last page is told too low. */
	if (!err && have > s->last + 1 && s->root != NO_PAGE) {
		walk_tree(&w, s->root, s->depth, (struct bounds){ 0 });
		if (w.lost || w.used + w.freed + 2 != s->last + 1)
			err = -EUCLEAN;
	}
	free(w.use);
	return err;
}

int pages_survey(const struct snapshot *s, pages_problem *problem, void *arg)
{
	struct walk w = { .problem = problem, .arg = arg };
	uint64_t have = file_pages(s);
	char text[120];
	int err = begin(&w, s);

	if (err)
		return err;
	if (pages_check_metas(s->pages))
		tell(&w, "or the other one of its two heads is damaged; what is there may be what was before the last commit", s->id & 1);
	walk_free(&w, s);
	w.entries = 0;
	if (s->root != NO_PAGE)
		walk_tree(&w, s->root, s->depth, (struct bounds){ 0 });
	for (uint64_t i = 2; i <= s->last && w.problems < 50; i++) {
		if (i >= have && w.use[i] != FREE)
			tell(&w, "is missing: the file was cut short", i);
		else if (w.use[i] == NONE && !w.lost)
			tell(&w, "has no use: what led to it is damaged", i);
	}
	if (!w.problems && w.entries != s->entries) {
		snprintf(text, sizeof(text), "the store: there are %llu records in data.mdb, its head says %llu", (unsigned long long)w.entries,
			 (unsigned long long)s->entries);
		problem(arg, text);
	}
	free(w.use);
	return w.err;
}

/* ---- Salvage -------------------------------------------------------------------------------------------------- */

static int by_first_key(const void *a, const void *b)
{
	const struct node *x = node_at(*(const struct page *const *)a, 0), *y = node_at(*(const struct page *const *)b, 0);

	return node_compare(x, y->bytes, y->key_size);
}

struct pick {
	const struct node *node;
	size_t room;
};

static int by_key(const void *a, const void *b)
{
	const struct node *x = ((const struct pick *)a)->node, *y = ((const struct pick *)b)->node;

	int order = node_compare(x, y->bytes, y->key_size);

	/* Of two with one key the upper one is not a remnant. */
	return order ? order : x > y ? -1 : x < y;
}

static bool is_node(const struct snapshot *s, const struct page *p, size_t at, size_t *ret_room)
{
	size_t page_size = s->pages->page_size, room;
	const struct node *n = (const struct node *)((const char *)p + at);
	struct db_value v;

	if (at < sizeof(*p) || at % 2 || at + sizeof(*n) + 9 > page_size || n->flags > ELSEWHERE || n->key_size < 9 || n->key_size > KEY_LARGEST)
		return false;
	room = sizeof(*n) + n->key_size + (n->flags ? 8 : node_value_size(n));
	*ret_room = (room + 1) & ~(size_t)1;
	return room <= page_size - at && !node_checked(s, n, false, true, &v);
}

/*
 * The nodes on a page that is not one any more, whose values have a check that fits. When the page does not tell where they are, what lies beneath them is left from those that
 * were: it does not count where it can be told, and the tree tells the range of keys.
 */
static size_t pick_nodes(const struct snapshot *s, const struct page *p, const struct bounds *b, struct pick *picks)
{
	size_t count = 0, room, from = is_node(s, p, p->upper, &room) ? p->upper : sizeof(*p);

	if (page_is_good(s, p, p->number, LEAF)) {
		for (unsigned i = 0; i < node_count(p); i++) {
			if (is_node(s, p, p->nodes[i], &room))
				picks[count++] = (struct pick){ node_at(p, i), room };
		}
		return count;
	}
	for (size_t at = from; at < s->pages->page_size; at += 2) {
		const struct node *n = (const struct node *)((const char *)p + at);

		if (!is_node(s, p, at, &room) || (b && b->from && node_compare(n, b->from->bytes, b->from->key_size) < 0) ||
		    (b && b->to && node_compare(n, b->to->bytes, b->to->key_size) >= 0))
			continue;
		picks[count++] = (struct pick){ n, room };
	}
	return count;
}

/* A page of our own with what is whole on a ruined one. */
static void collect_ruined(struct walk *w, const struct page *ruined, uint64_t number)
{
	const struct bounds *bounds = NULL;
	size_t page_size = w->snapshot->pages->page_size, count, at = page_size;
	struct pick *picks = calloc(page_size / 2, sizeof(*picks));
	struct page *p = calloc(1, page_size);

	if (!picks || !p) {
		w->err = -ENOMEM;
		free(picks);
		free(p);
		return;
	}
	for (size_t i = 0; i < w->range_count; i++)
		bounds = w->ranges[i].number == number ? &w->ranges[i].bounds : bounds;
	count = pick_nodes(w->snapshot, ruined, bounds, picks);
	qsort(picks, count, sizeof(*picks), by_key);
	p->lower = sizeof(*p);
	for (size_t i = 0; i < count; i++) {
		const struct node *n = picks[i].node;

		if ((i && !node_compare(picks[i - 1].node, n->bytes, n->key_size)) || at < p->lower + 2 + picks[i].room)
			continue;
		at -= picks[i].room;
		memcpy((char *)p + at, n, picks[i].room < page_size - (size_t)((const char *)n - (const char *)ruined) ? picks[i].room :
		       page_size - (size_t)((const char *)n - (const char *)ruined));
		p->nodes[node_count(p)] = (uint16_t)at;
		p->lower += 2;
	}
	p->upper = (uint16_t)at;
	free(picks);
	if (p->lower > sizeof(*p))
		collect(w, p);
	else
		free(p);
}

enum look { WHOLE, RUINED };

/* Returns how many pages it takes. Those of a value are skipped: anything may stand in them. */
static uint64_t look_at(struct walk *w, const struct snapshot *s, uint64_t number, enum look look)
{
	const struct page *p = w->use[number] == NONE ? page_raw(s, number) : NULL;

	if (!p)
		return 1;
	if (p->number == number && p->flags == OVERFLOW && p->pages && pages_are_there(s, number, p->pages))
		return p->pages;
	/* One with a wrong key in it may seem to overlap with others. */
	if (page_is_good(s, p, number, LEAF) && page_values_are_good(s, p)) {
		w->use[number] = TREE;
		take_leaf(w, p);
	} else if (look == RUINED && !page_is_good(s, p, number, BRANCH)) {
		w->use[number] = TREE;
		collect_ruined(w, p, number);
	}
	return 1;
}

/*
 * Every page that has no use may be one that the tree does not lead to any more. What is found first counts where keys
 * overlap. So ruined leaves that the tree leads to come first, for of others it may not be known that they were given
 * up; and last ruined pages that say they are another one: that may be true, and may be one that was given up.
 */
static void look_everywhere(struct walk *w, const struct snapshot *s)
{
	for (size_t i = 0, count = w->range_count; i < count && !w->err; i++) {
		const struct lost *lost = &w->ranges[i];
		const struct page *p = lost->is_leaf ? page_raw(s, lost->number) : NULL;

		if (p && p->number == lost->number)
			look_at(w, s, lost->number, RUINED);
	}
	for (enum look look = WHOLE; look <= RUINED; look++) {
		for (uint64_t i = 2; i <= s->last && !w->err;)
			i += look_at(w, s, i, look);
	}
}

/* One that collect_ruined made. */
static void release(const struct snapshot *s, const struct page *p)
{
	if ((const char *)p < s->pages->map || (const char *)p >= s->pages->map + s->pages->map_size)
		free((void *)p);
}

static const struct node *last_node(const struct page *p)
{
	return node_at(p, node_count(p) - 1);
}

/* Where leaves overlap one is old; those that the tree leads to come first in the list, and stay. */
static size_t without_old(const struct snapshot *s, const struct page **leaves, size_t in_tree, size_t count)
{
	size_t kept = in_tree;

	for (size_t i = in_tree; i < count; i++) {
		const struct node *first = node_at(leaves[i], 0), *last = last_node(leaves[i]);
		bool overlaps = false;

		for (size_t j = 0; j < kept && !overlaps; j++) {
			const struct node *f = node_at(leaves[j], 0), *l = last_node(leaves[j]);

			overlaps = node_compare(f, last->bytes, last->key_size) <= 0 && node_compare(l, first->bytes, first->key_size) >= 0;
		}
		if (!overlaps)
			leaves[kept++] = leaves[i];
		else
			release(s, leaves[i]);
	}
	return kept;
}

int pages_salvage(struct snapshot *s)
{
	struct walk w = { .collect = true };
	size_t in_tree;
	int err = begin(&w, s);

	if (err)
		return err;
	walk_free(&w, s);
	w.lost = false;
	if (s->root != NO_PAGE)
		walk_tree(&w, s->root, s->depth, (struct bounds){ 0 });
	in_tree = w.leaf_count;
	if (!w.err)
		look_everywhere(&w, s);
	w.leaf_count = without_old(s, w.leaves, in_tree, w.leaf_count);
	free(w.use);
	if (!w.err && !w.leaves)
		w.leaves = calloc(1, sizeof(*w.leaves));
	qsort(w.leaves, w.leaf_count, sizeof(*w.leaves), by_first_key);
	s->lost = w.ranges;
	s->lost_count = w.range_count;
	s->leaves = w.leaves;
	s->leaf_count = w.leaf_count;
	if (w.err)
		pages_forget(s);
	return w.err;
}

void pages_forget(struct snapshot *s)
{
	for (size_t i = 0; i < s->leaf_count; i++) {
		release(s, s->leaves[i]);
	}
	free(s->leaves);
	free(s->lost);
	s->leaves = NULL;
	s->lost = NULL;
	s->lost_count = 0;
	s->leaf_count = 0;
}
