/* The ordered map against a sorted array. SEED=n repeats a run. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "support.h"

#define MODEL_MAX 512
#define SIZE_MAX_KEY 6

struct pair {
	unsigned char key[SIZE_MAX_KEY];
	size_t key_size;
	char value[16];
	size_t value_size;
	bool removed, loose;
};

struct model {
	struct pair pair[MODEL_MAX];
	size_t count;
};

static size_t model_at(const struct model *m, const void *key, size_t size, bool *ret_found)
{
	size_t i = 0;

	while (i < m->count && mem_compare(m->pair[i].key, m->pair[i].key_size, key, size) < 0)
		i++;
	*ret_found = i < m->count && mem_compare(m->pair[i].key, m->pair[i].key_size, key, size) == 0;
	return i;
}

static void model_put(struct model *m, const struct pair *p)
{
	bool found;
	size_t at = model_at(m, p->key, p->key_size, &found);

	if (!found) {
		cr_assert_lt(m->count, MODEL_MAX);
		memmove(&m->pair[at + 1], &m->pair[at], (m->count - at) * sizeof(*p));
		m->count++;
	}
	m->pair[at] = *p;
}

static void check_node(const struct mem_node *n, const struct pair *p)
{
	cr_assert(n);
	cr_assert_eq(mem_compare(n->key, n->key_size, p->key, p->key_size), 0);
	cr_assert_eq(n->removed, p->removed);
	cr_assert_eq(n->loose, p->loose);
	cr_assert_eq(n->value_size, p->value_size);
	cr_assert_eq(n->value == NULL, p->removed);
	cr_assert(p->removed || memcmp(n->value, p->value, p->value_size) == 0);
}

static void check_all(const struct mem *m, const struct model *model)
{
	const struct mem_node *n = m->first[0];
	size_t bytes = 0, loose = 0;

	for (size_t i = 0; i < model->count; i++, n = n->next[0]) {
		check_node(n, &model->pair[i]);
		bytes += sizeof(*n) + n->levels * sizeof(n->next[0]) + n->key_size + n->value_size;
	}
	cr_assert_null(n);
	for (n = m->loose; n; n = n->next_loose, loose++)
		cr_assert(n->loose);
	for (size_t i = 0; i < model->count; i++)
		loose -= model->pair[i].loose;
	cr_assert_eq(loose, 0, "the list of loose nodes has others than those");
	cr_assert_eq(m->count, model->count);
	cr_assert_eq(m->bytes, bytes);
	/* Every level is a part of the one below. */
	for (int l = 1; l < MEM_LEVELS; l++) {
		const struct mem_node *below = m->first[l - 1];

		for (n = m->first[l]; n; n = n->next[l]) {
			while (below && below != n)
				below = below->next[l - 1];
			cr_assert(below, "a node of level %d is not on level %d", l, l - 1);
		}
	}
}

static void random_key(struct pair *p)
{
	p->key_size = random_below(SIZE_MAX_KEY) + 1;
	for (size_t i = 0; i < p->key_size; i++)
		p->key[i] = (unsigned char[]){ 0, 1, 0x7f, 0xff }[random_below(i ? 4 : 3)];
	/* Keys of up to three bytes, so that they meet. */
	if (p->key_size > 3)
		p->key_size = 3;
}

static struct pair random_pair(void)
{
	struct pair p = { 0 };

	random_key(&p);
	p.removed = random_chance(30);
	p.value_size = p.removed ? 0 : random_below(sizeof(p.value));
	for (size_t i = 0; i < p.value_size; i++)
		p.value[i] = (char)random_below(256);
	return p;
}

static void put(struct mem *m, struct model *model, const struct pair *p)
{
	cr_assert_eq(mem_put(m, p->key, p->key_size, p->removed ? NULL : p->value, p->value_size), 0);
	model_put(model, p);
}

static void check_seek(const struct mem *m, const struct model *model)
{
	struct pair p = { 0 };
	struct mem_node *n;
	bool found;
	size_t at;

	random_key(&p);
	at = model_at(model, p.key, p.key_size, &found);
	n = mem_seek(m, p.key, p.key_size);
	if (at == model->count)
		cr_assert_null(n);
	else
		check_node(n, &model->pair[at]);
	n = mem_get(m, p.key, p.key_size);
	cr_assert_eq(n != NULL, found);
}

/* The other map's pairs replace those of the model; loose ones stay loose, and the others become so if asked. */
static void model_merge(struct model *model, const struct model *from, bool loose)
{
	for (size_t i = 0; i < from->count; i++) {
		struct pair p = from->pair[i];
		bool found;
		size_t at = model_at(model, p.key, p.key_size, &found);

		p.loose = loose || (found && model->pair[at].loose);
		model_put(model, &p);
	}
}

Test(mem, random_operations)
{
	static struct model model, other;
	struct mem m = { 0 }, from = { 0 };

	random_seed("mem");
	for (int round = 0; round < 3000; round++) {
		struct pair p = random_pair();
		bool loose = random_chance(50);

		switch (random_below(24)) {
		case 0:
			mem_release(&m);
			model.count = 0;
			break;
		case 1:
		case 2:
			loose ? mem_loosen(&m) : mem_fasten(&m);
			for (size_t i = 0; i < model.count; i++)
				model.pair[i].loose = loose;
			break;
		default:
			other.count = 0;
			for (uint64_t n = random_below(30); n; n--) {
				p = random_pair();
				put(&from, &other, &p);
			}
			mem_merge(&m, &from, loose);
			cr_assert_eq(from.count, 0);
			cr_assert_null(from.first[0]);
			model_merge(&model, &other, loose);
		}
		check_seek(&m, &model);
		if (round % 16 == 0)
			check_all(&m, &model);
	}
	check_all(&m, &model);
	mem_release(&m);
	mem_release(&from);
	cr_assert_eq(m.bytes, 0);
}

Test(mem, many_in_order_and_backwards)
{
	enum { COUNT = 20000 };
	struct mem m = { 0 };
	const struct mem_node *n;
	uint32_t i;

	for (i = 0; i < COUNT; i++) {
		uint32_t key = __builtin_bswap32(i % 2 ? i : COUNT * 2 - i);

		cr_assert_eq(mem_put(&m, &key, 4, &i, 4), 0);
	}
	for (n = m.first[0], i = 0; n && n->next[0]; n = n->next[0], i++)
		cr_assert_lt(mem_compare(n->key, 4, n->next[0]->key, 4), 0);
	cr_assert_eq(i + 1, COUNT);
	cr_assert(m.first[4], "all nodes are low: the map is a list");
	mem_release(&m);
}

/* Transactions of a few keys each make a large map that is still searched quickly. */
Test(mem, many_small_ones_merged)
{
	enum { COUNT = 20000 };
	struct mem m = { 0 }, from = { 0 };
	size_t high = 0;

	for (uint32_t i = 0; i < COUNT; i++) {
		uint32_t key = __builtin_bswap32(i);

		cr_assert_eq(mem_put(&from, &key, 4, &i, 4), 0);
		if (i % 4 == 3)
			mem_merge(&m, &from, true);
	}
	cr_assert_eq(m.count, COUNT);
	for (const struct mem_node *n = m.first[4]; n; n = n->next[4])
		high++;
	cr_assert(high > COUNT / 1024 && high < COUNT / 64, "%zu nodes of %d are on the fifth level", high, COUNT);
	mem_release(&m);
}

static const struct {
	const char *a, *b;
	int order;
} orders[] = {
	{ "", "", 0 }, { "", "a", -1 }, { "a", "b", -1 }, { "a", "ab", -1 }, { "ab", "b", -1 }, { "\x7f", "\xff", -1 }, { "abc", "abc", 0 },
};

Test(mem, order)
{
	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
		int ab = mem_compare(orders[i].a, strlen(orders[i].a), orders[i].b, strlen(orders[i].b));
		int ba = mem_compare(orders[i].b, strlen(orders[i].b), orders[i].a, strlen(orders[i].a));

		cr_assert_eq((ab > 0) - (ab < 0), orders[i].order, "%s, %s", orders[i].a, orders[i].b);
		cr_assert_eq((ba > 0) - (ba < 0), -orders[i].order, "%s, %s", orders[i].b, orders[i].a);
	}
}
