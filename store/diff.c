#include "diff.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/*
 * Common ends are matched first, then keys that one side lacks are left out: what remains is numbered densely and small
 * in all ordinary cases. Myers' search (1986) decides it exactly within a budget of steps; beyond that, keys that are unique on
 * both sides split it, and parts that are still too different are walked through by the same search, a step at a time.
 */

#define NONE UINT32_MAX
#define DIFFERENCES_EXACT 1024	/* the trace has half the square of this in entries */
#define DIFFERENCES_STEP 128
#define STEPS_FREE (8u << 20)
#define STEPS_PER_KEY 64u

/* Positions from here on are those among the keys that both sides have. */
struct diff {
	uint32_t *a, *b;	/* the keys, numbered */
	size_t *a_at, *b_at;	/* where they stood */
	uint32_t *match;	/* for each of a the position in b, or NONE */
	size_t na, nb, distinct;

	uint32_t *trace;	/* row d has the furthest x on the d + 1 diagonals that d differences reach */
	size_t trace_room;
	size_t steps, share;	/* left of the budget; how much of it one range may use */

	uint32_t *count_a, *count_b, *place;	/* by key number; the place in b */
	uint32_t *pair_a, *pair_b, *tail, *back;	/* by candidate */
};

struct range {
	size_t a, a_end, b, b_end;
};

struct occurrence {
	uint64_t key;
	size_t at;	/* in a followed by b */
};

static int occurrence_compare(const void *left, const void *right)
{
	const struct occurrence *l = left, *r = right;

	if (l->key != r->key)
		return l->key < r->key ? -1 : 1;
	return l->at < r->at ? -1 : l->at > r->at;
}

static void diff_release(struct diff *d)
{
	free(d->a);
	free(d->b);
	free(d->a_at);
	free(d->b_at);
	free(d->match);
	free(d->trace);
	free(d->count_a);
	free(d->count_b);
	free(d->place);
	free(d->pair_a);
	free(d->pair_b);
	free(d->tail);
	free(d->back);
}

/* Numbers the keys that both sides have, and drops the others. Sorting, since keys may be chosen to collide in a table. */
static int diff_init(struct diff *d, const uint64_t *a, size_t na, const uint64_t *b, size_t nb)
{
	size_t total = na + nb;
	struct occurrence *all = calloc(total, sizeof(*all));
	uint32_t *number = calloc(total, sizeof(*number));
	int err = -ENOMEM;

	*d = (struct diff){ 0 };
	if (!all || !number)
		goto out;
	for (size_t i = 0; i < total; i++)
		all[i] = (struct occurrence){ i < na ? a[i] : b[i - na], i };
	qsort(all, total, sizeof(*all), occurrence_compare);
	for (size_t i = 0, end; i < total; i = end) {
		bool shared;

		for (end = i + 1; end < total && all[end].key == all[i].key;)
			end++;
		shared = all[i].at < na && all[end - 1].at >= na;
		for (size_t k = i; k < end; k++) {
			number[all[k].at] = shared ? d->distinct : NONE;
			if (shared && all[k].at < na)
				d->na++;
			else if (shared)
				d->nb++;
		}
		d->distinct += shared;
	}
	if (d->na) {
		d->a = calloc(d->na, sizeof(*d->a));
		d->b = calloc(d->nb, sizeof(*d->b));
		d->a_at = calloc(d->na, sizeof(*d->a_at));
		d->b_at = calloc(d->nb, sizeof(*d->b_at));
		d->match = malloc(d->na * sizeof(*d->match));
		if (!d->a || !d->b || !d->a_at || !d->b_at || !d->match)
			goto out;
		memset(d->match, 0xff, d->na * sizeof(*d->match));
	}
	d->na = d->nb = 0;
	for (size_t i = 0; i < total; i++) {
		if (number[i] == NONE)
			continue;
		if (i < na) {
			d->a[d->na] = number[i];
			d->a_at[d->na++] = i;
		} else {
			d->b[d->nb] = number[i];
			d->b_at[d->nb++] = i - na;
		}
	}
	err = 0;
out:
	free(all);
	free(number);
	return err;
}

static void match_ends(struct diff *d, struct range *r)
{
	for (; r->a < r->a_end && r->b < r->b_end && d->a[r->a] == d->b[r->b]; r->a++, r->b++)
		d->match[r->a] = r->b;
	for (; r->a < r->a_end && r->b < r->b_end && d->a[r->a_end - 1] == d->b[r->b_end - 1]; r->a_end--, r->b_end--)
		d->match[r->a_end - 1] = r->b_end - 1;
}

/* Where path j of a row begins its run of matches: one step right or down from the row before. */
static uint32_t path_start(const uint32_t *before, size_t j, size_t row, bool *ret_down)
{
	*ret_down = j == 0 || (j < row && before[j] > before[j - 1]);
	return *ret_down ? before[j] : before[j - 1] + 1;
}

/*
 * Matches from the beginning of the range along a path of fewest differences, and moves its beginning to where that ended: at
 * the end of a side, or with `far`, after so many differences, where the most of both sides lies behind. Without `far`,
 * -E2BIG when the end is too many differences or steps away.
 */
static int match_path(struct diff *d, struct range *r, size_t differences, bool far)
{
	const uint32_t *a = d->a + r->a, *b = d->b + r->b;
	size_t n = r->a_end - r->a, m = r->b_end - r->b, limit = d->steps < d->share ? d->steps : d->share, used = 0;
	size_t row, j, best, best_j;
	uint32_t x;
	bool down = false;

	for (row = 0;; row++) {
		size_t base = row * (row + 1) / 2;
		const uint32_t *before;

		if (base + row + 1 > d->trace_room) {
			size_t room = (base + row + 1) * 2;
			uint32_t *trace = realloc(d->trace, room * sizeof(*trace));

			if (!trace)
				return -ENOMEM;
			d->trace = trace;
			d->trace_room = room;
		}
		before = d->trace + base - row;
		best = best_j = 0;
		for (j = 0; j <= row; j++) {
			uint32_t start = row ? path_start(before, j, row, &down) : 0;
			size_t y = start + row - 2 * j;

			/* Points beyond an edge match nothing, and never come before the end on their diagonal. */
			for (x = start; x < n && y < m && a[x] == b[y]; x++)
				y++;
			d->trace[base + j] = x;
			used += 1 + x - start;
			if (x <= n && y <= m && x + y >= best) {
				best = x + y;
				best_j = j;
			}
		}
		if (best == n + m || (far && row == differences))
			break;
		if (!far && (row == differences || used > limit)) {
			d->steps -= used < d->steps ? used : d->steps;
			return -E2BIG;
		}
	}
	d->steps -= used < d->steps ? used : d->steps;
	j = best_j;
	x = d->trace[row * (row + 1) / 2 + j];
	r->a += x;
	r->b += x + row - 2 * j;
	for (;; row--) {
		const uint32_t *before = d->trace + row * (row - 1) / 2;
		uint32_t start = row ? path_start(before, j, row, &down) : 0;

		while (x > start) {
			x--;
			d->match[a - d->a + x] = b - d->b + x + row - 2 * j;
		}
		if (row == 0)
			return 0;
		j -= !down;
		x = before[j];
	}
}

/* Pairs the keys that are unique in a range, and matches the longest run of pairs that rises on both sides. */
static int match_unique(struct diff *d, struct range r)
{
	size_t pairs = 0, longest = 0;

	d->count_a = calloc(d->distinct, sizeof(uint32_t));
	d->count_b = calloc(d->distinct, sizeof(uint32_t));
	d->place = calloc(d->distinct, sizeof(uint32_t));
	d->pair_a = calloc(d->na, sizeof(uint32_t));
	d->pair_b = calloc(d->na, sizeof(uint32_t));
	d->tail = calloc(d->na, sizeof(uint32_t));
	d->back = calloc(d->na, sizeof(uint32_t));
	if (!d->count_a || !d->count_b || !d->place || !d->pair_a || !d->pair_b || !d->tail || !d->back)
		return -ENOMEM;
	for (size_t i = r.a; i < r.a_end; i++)
		d->count_a[d->a[i]]++;
	for (size_t i = r.b; i < r.b_end; i++) {
		d->count_b[d->b[i]]++;
		d->place[d->b[i]] = i;
	}
	for (size_t i = r.a; i < r.a_end; i++) {
		if (d->count_a[d->a[i]] != 1 || d->count_b[d->a[i]] != 1)
			continue;
		d->pair_a[pairs] = i;
		d->pair_b[pairs++] = d->place[d->a[i]];
	}
	for (size_t i = 0; i < pairs; i++) {
		size_t low = 0, high = longest;

		while (low < high) {
			size_t mid = (low + high) / 2;

			if (d->pair_b[d->tail[mid]] < d->pair_b[i])
				low = mid + 1;
			else
				high = mid;
		}
		d->back[i] = low ? d->tail[low - 1] : NONE;
		d->tail[low] = i;
		if (low == longest)
			longest++;
	}
	for (uint32_t i = longest ? d->tail[longest - 1] : NONE; i != NONE; i = d->back[i])
		d->match[d->pair_a[i]] = d->pair_b[i];
	return 0;
}

/* A range without keys that could split it: exactly when that is cheap, else step by step. */
static int match_gap(struct diff *d, struct range r)
{
	int err = 0;

	match_ends(d, &r);
	if (r.a < r.a_end && r.b < r.b_end)
		err = match_path(d, &r, DIFFERENCES_EXACT, false);
	d->share = err == -E2BIG ? d->share / 2 : d->share;
	for (err = err == -E2BIG ? 0 : err; !err && r.a < r.a_end && r.b < r.b_end;)
		err = match_path(d, &r, DIFFERENCES_STEP, true);
	return err;
}

static int match_all(struct diff *d)
{
	struct range all = { 0, d->na, 0, d->nb }, gap = { 0 };
	int err = 0;

	match_ends(d, &all);
	if (all.a < all.a_end && all.b < all.b_end)
		err = match_path(d, &all, DIFFERENCES_EXACT, false);
	if (err != -E2BIG)
		return err;
	err = match_unique(d, all);
	gap.a = all.a;
	gap.b = all.b;
	for (size_t i = all.a; !err && i <= all.a_end; i++) {
		if (i < all.a_end && d->match[i] == NONE)
			continue;
		gap.a_end = i;
		gap.b_end = i < all.a_end ? d->match[i] : all.b_end;
		err = match_gap(d, gap);
		gap.a = i + 1;
		gap.b = gap.b_end + 1;
	}
	return err;
}

int diff_match(const uint64_t *a, size_t na, const uint64_t *b, size_t nb, size_t *ret_match)
{
	size_t start = 0, end = 0;
	struct diff d;
	int err;

	for (; start < na && start < nb && a[start] == b[start]; start++)
		ret_match[start] = start;
	for (; end < na - start && end < nb - start && a[na - 1 - end] == b[nb - 1 - end]; end++)
		ret_match[na - 1 - end] = nb - 1 - end;
	for (size_t i = start; i < na - end; i++)
		ret_match[i] = DIFF_NONE;
	na -= start + end;
	nb -= start + end;
	if (na == 0 || nb == 0)
		return 0;
	if (na + nb >= UINT32_MAX / 2)
		return -ENOMEM;

	err = diff_init(&d, a + start, na, b + start, nb);
	if (!err) {
		d.steps = STEPS_FREE + STEPS_PER_KEY * (na + nb);
		d.share = d.steps / 2;
		err = match_all(&d);
	}
	for (size_t i = 0; !err && i < d.na; i++) {
		if (d.match[i] != NONE)
			ret_match[start + d.a_at[i]] = start + d.b_at[d.match[i]];
	}
	diff_release(&d);
	return err;
}
