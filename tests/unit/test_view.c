/* Indexes that share blocks and fronts, against plain arrays. SEED=n repeats a run. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"
#include "view.h"

#define VIEWS 8
#define MOST 60000

struct model {
	struct store_view *view;
	struct view_item *items;
	size_t count;
};

static struct view_frame *frame;
static uint64_t positions;

static struct view_item next_item(uint64_t version)
{
	uint32_t lead = random_chance(20) ? 0 : 2;

	return (struct view_item){ .pos = ++positions, .born = version, .edition = version, .hash = positions, .size = lead + 1 + random_below(50),
				   .lead = lead };
}

static void put(struct model *m, const struct view_item *item)
{
	cr_assert_eq(view_add(m->view, item), 0);
	m->items[m->count++] = *item;
}

static void put_range(struct model *m, const struct model *from, size_t first, size_t count)
{
	cr_assert_eq(view_add_range(m->view, from->view, first, count), 0);
	memcpy(m->items + m->count, from->items + first, count * sizeof(*m->items));
	m->count += count;
}

static void check(const struct model *m)
{
	struct view_cursor c = view_at(m->view, 0);
	uint64_t size = frame->head_size + frame->tail_size, bare = 0;
	size_t i;

	cr_assert_eq(m->view->count, m->count);
	for (i = 0; i < m->count; i++) {
		const struct view_item *item = view_next(&c);

		cr_assert(item && memcmp(item, &m->items[i], sizeof(*item)) == 0, "item %zu of %zu", i, m->count);
		bare += !item->lead;
		size += item->size + (item->lead ? 0 : frame->sep_size);
	}
	cr_assert_null(view_next(&c));
	/* The first has no separator before it. */
	if (m->count)
		size -= m->items[0].lead ? m->items[0].lead : frame->sep_size;
	cr_assert_eq(m->view->size, size);
	cr_assert_eq(m->view->bare, bare);
	for (int n = 0; n < 20 && m->count; n++) {
		uint64_t lead, start, end, from;

		i = random_below(m->count);
		cr_assert_eq(view_get(m->view, i)->pos, m->items[i].pos);
		view_span(m->view, i, &lead, &start, &end);
		c = view_item_at(m->view, start, &from);
		cr_assert_eq(view_next(&c)->pos, m->items[i].pos);
	}
}

static void begin(struct model *m, uint64_t version)
{
	store_view_unref(m->view);
	m->view = view_new(1, version, frame);
	m->items = realloc(m->items, 2 * MOST * sizeof(*m->items));
	m->count = 0;
	cr_assert(m->view && m->items);
}

/* Each new version is made of parts of the others; those it was made of stay as they are, and may go before or after it. */
Test(view, versions_share_blocks)
{
	static struct model models[VIEWS];
	uint64_t version = 1;

	random_seed("view");
	frame = frame_new(DOC_LIST, 1, "[", 1, ", ", 2, "]\n", 3);
	begin(&models[0], version);
	for (size_t i = 0; i < 40 * BLOCK_ITEMS; i++)
		put(&models[0], &(struct view_item){ .pos = ++positions, .born = 1, .edition = 1, .size = 9, .lead = i ? 2 : 0 });
	view_finish(models[0].view);
	check(&models[0]);
	for (size_t i = 1; i < VIEWS; i++) {
		begin(&models[i], ++version);
		put_range(&models[i], &models[0], 0, models[0].count);
		view_finish(models[i].view);
	}
	for (int round = 0; round < 400; round++) {
		struct model *to = &models[random_below(VIEWS)], *from = &models[random_below(VIEWS)];
		size_t keep = from->count, skip = 0;

		if (to == from)
			continue;
		begin(to, ++version);
		/* Mostly appends; else a part is left out, or put first. */
		switch (random_below(8)) {
		case 0:
			keep = random_below(from->count + 1);
			skip = random_below(from->count - keep + 1);
			break;
		case 1:
			put(to, &(struct view_item){ .pos = 0, .born = version, .edition = version, .size = 5 });
			break;
		}
		put_range(to, from, 0, keep);
		for (uint64_t n = random_below(random_chance(10) ? 5000 : 4); n && to->count < MOST; n--) {
			struct view_item item = next_item(version);

			put(to, &item);
		}
		if (to->count + from->count - keep - skip < MOST)
			put_range(to, from, keep + skip, from->count - keep - skip);
		view_finish(to->view);
		if (random_chance(15)) {
			cr_assert_eq(view_own(to->view), 0);
			for (int n = 0; n < 30 && to->count; n++) {
				size_t i = random_below(to->count);
				struct view_cursor c = view_at(to->view, i);

				view_slot(to->view, c.slot)->block->items[c.at].hash = to->items[i].hash = version;
			}
		}
		check(to);
		check(from);
	}
	for (size_t i = 0; i < VIEWS; i++) {
		check(&models[i]);
		store_view_unref(models[i].view);
		free(models[i].items);
	}
	frame_unref(frame);
}

/* What the last messages cost does not depend on how many are before them: a long document's version holds few blocks itself. */
Test(view, an_append_leaves_the_front_alone)
{
	struct store_view *v, *next;

	frame = frame_new(DOC_LIST, 1, "[", 1, ", ", 2, "]\n", 2);
	v = view_new(1, 1, frame);
	for (uint64_t i = 1; i <= 100 * BLOCK_ITEMS; i++)
		cr_assert_eq(view_add(v, &(struct view_item){ .pos = i, .born = 1, .edition = 1, .size = 5, .lead = 2 }), 0);
	view_finish(v);
	for (uint64_t i = 2; i < 100; i++) {
		next = view_new(1, i, frame);
		cr_assert_eq(view_add_range(next, v, 0, v->count), 0);
		cr_assert_eq(view_add(next, &(struct view_item){ .pos = 1000000 + i, .born = i, .edition = i, .size = 5, .lead = 2 }), 0);
		view_finish(next);
		cr_assert_eq(next->front, v->front);
		cr_assert_leq(next->slot_count - next->front_count, FRONT_BLOCKS);
		cr_assert_eq(view_slot(next, 0)->block->refs, 1, "the first block has %u references", view_slot(next, 0)->block->refs);
		store_view_unref(v);
		v = next;
	}
	store_view_unref(v);
	frame_unref(frame);
}
