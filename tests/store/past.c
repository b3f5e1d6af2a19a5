#include "past.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "merge.h"
#include "value.h"

#define INO 7
#define MESSAGES 256
#define VERSIONS 64
#define BASES 64

struct message {
	struct text text;
	uint64_t hash, born, died;
};

struct past {
	struct message list[MESSAGES];	/* all there ever were, in their order */
	size_t count;
	struct text stored[VERSIONS], written[VERSIONS];	/* by version: what was there then, and what its writer wrote */
	uint64_t version;
	bool absent;
};

struct past *past_new(void)
{
	struct past *p = calloc(1, sizeof(*p));

	cr_assert(p);
	p->absent = true;
	return p;
}

void past_free(struct past *p)
{
	for (size_t i = 0; i < p->count; i++)
		text_free(p->list[i].text);
	for (size_t i = 0; i < VERSIONS; i++) {
		text_free(p->stored[i]);
		text_free(p->written[i]);
	}
	free(p);
}

int past_lookup(const struct past *p, uint64_t *ret_ino, uint64_t *ret_version)
{
	*ret_ino = p->version ? INO : 0;
	*ret_version = p->version;
	return p->absent ? -ENOENT : 0;
}

struct text past_text(const struct past *p)
{
	return text_format("%.*s", (int)p->stored[p->version].size, p->stored[p->version].data ? p->stored[p->version].data : "");
}

void past_unlink(struct past *p)
{
	p->version++;
	cr_assert_lt(p->version, VERSIONS);
	for (size_t i = 0; i < p->count; i++) {
		if (!p->list[i].died)
			p->list[i].died = p->version;
	}
	p->absent = true;
}

static bool is_known(const struct message *m, const struct store_base *base)
{
	if (!base)
		return !m->died;
	return base_knows(base, m->born) && !(m->died && base_knows(base, m->died));
}

/* What a base knows of the past; all that is there for NULL. */
static struct store_view *view_of(const struct past *p, const struct store_base *base)
{
	struct view_frame *frame = frame_new(DOC_LIST, 1, "[", 1, ",", 1, "]", 1);
	struct store_view *v = view_new(INO, 0, frame);

	cr_assert(frame && v);
	frame_unref(frame);
	for (size_t i = 0; i < p->count; i++) {
		if (is_known(&p->list[i], base))
			cr_assert_eq(view_add(v, &(struct view_item){ i + 1, p->list[i].born, p->list[i].born, p->list[i].hash, 2, 1 }), 0);
	}
	view_finish(v);
	return v;
}

static bool knows_all(const struct past *p, const struct store_base *b)
{
	return b->version >= p->version || (b->own_count == p->version - b->version && b->own[b->own_count - 1] == p->version);
}

static void insert(struct past *p, size_t at, const struct doc *d, const char *text, size_t i)
{
	cr_assert_lt(p->count, MESSAGES);
	memmove(&p->list[at + 1], &p->list[at], (p->count - at) * sizeof(p->list[0]));
	p->list[at] = (struct message){
		.text = text_format("%.*s", (int)(d->items[i].end - d->items[i].start), text + d->items[i].start),
		.hash = d->items[i].hash, .born = p->version + 1,
	};
	p->count++;
}

/* Whether anything changed. */
static bool apply(struct past *p, const struct store_view *current, const struct merge_edits *e, const struct doc *d, const char *text)
{
	for (size_t i = 0; i < e->removed_count; i++)
		p->list[view_get(current, e->removed[i])->pos - 1].died = p->version + 1;
	size_t end = p->count;

	/* From behind, so that the places before stay what they were. */
	for (size_t i = e->inserted_count; i-- > 0;) {
		uint64_t before = e->inserted[i].before;

		insert(p, before == current->count ? end : view_get(current, before)->pos - 1, d, text, e->inserted[i].written);
	}
	return e->removed_count || e->inserted_count;
}

static struct text list_text(const struct past *p, bool empty)
{
	struct text t = { 0 };
	FILE *f = open_memstream(&t.data, &t.size);
	size_t n = 0;

	for (size_t i = 0; i < p->count; i++) {
		if (!p->list[i].died)
			fprintf(f, "%s%s", n++ ? "," : "[", p->list[i].text.data);
	}
	fputs(n ? "]" : empty ? "" : "[]", f);
	fclose(f);
	return t;
}

/* A list: true when it changed. */
static bool save_list(struct past *p, struct store_save *save, const struct doc *d)
{
	struct store_base now = { .ino = INO, .version = p->version };
	struct merge_candidate candidates[BASES] = { 0 };
	struct written w = { .count = d->count, .items = d->items };
	struct store_view *current = view_of(p, NULL);
	struct merge_edits edits;
	size_t n = save->base_count;
	unsigned result;
	bool guess, changed = false;
	int chosen;

	cr_assert_lt(n, BASES);
	for (size_t i = 0; i <= n; i++) {
		candidates[i].base = i < n ? &save->bases[i] : &now;
		candidates[i].view = knows_all(p, candidates[i].base) ? store_view_ref(current) : view_of(p, candidates[i].base);
		cr_assert_eq(merge_diff(&w, candidates[i].view, &candidates[i].diff), 0);
		merge_removed(&w, &candidates[i], current);
	}
	chosen = merge_choose(&w, candidates, n, current, save->flags, &result, &save->certain);
	guess = chosen >= 0 && (save->flags & (STORE_SAVE_EVENTS | STORE_SAVE_EDIT)) == STORE_SAVE_EVENTS;
	if (chosen >= 0 && merge_repeats(&w, &candidates[chosen], current)) {
		if (merge_begins(&candidates[chosen]))
			chosen = MERGE_NONE, guess = false;
		else
			result |= STORE_SAVED_UNCERTAIN;
	}
	if (guess && merge_older_text(candidates, n, (size_t)chosen)) {
		save->base = chosen;
		save->result |= STORE_SAVED_UNCERTAIN;
	} else if (chosen != MERGE_STALE) {
		const struct merge_candidate *c = &candidates[chosen < 0 ? n : (size_t)chosen];

		save->base = chosen < 0 ? -1 : chosen;
		if (guess && merge_revive(candidates, n, (size_t)chosen, current))
			result |= STORE_SAVED_UNCERTAIN;
		cr_assert_eq(merge_edits(&w, c->view, &c->diff, current, &edits), 0);
		if (guess && merge_spare(candidates, n, (size_t)chosen, current, &edits))
			result |= STORE_SAVED_UNCERTAIN;
		save->result |= (chosen < 0 && !p->absent ? STORE_SAVED_BLIND : 0) | result |
				(chosen >= 0 && (save->flags & STORE_SAVE_EVENTS) && merge_doubt(candidates, n, (size_t)chosen) ? STORE_SAVED_DOUBT : 0) |
				(knows_all(p, c->base) ? 0 : STORE_SAVED_MERGED);
		changed = apply(p, current, &edits, d, save->tail);
		merge_edits_release(&edits);
	}
	for (size_t i = 0; i <= n; i++) {
		store_view_unref(candidates[i].view);
		merge_diff_release(&candidates[i].diff);
	}
	store_view_unref(current);
	return changed;
}

static struct value_text value_of(const struct text *t)
{
	return (struct value_text){ t->size ? t->data : NULL, t->size };
}

/* Any other document, from the newest base. */
static struct text merge_value(struct past *p, struct store_save *save)
{
	const struct store_base *b = save->bases;
	struct text none = { 0 }, *base = &none, *current = p->absent ? &none : &p->stored[p->version];
	struct buf out = BUF_INIT;
	struct text t;

	if (!save->base_count) {
		save->result |= p->absent ? 0 : STORE_SAVED_BLIND;
		return text_format("%.*s", (int)save->tail_size, (const char *)save->tail);
	}
	save->base = 0;
	save->result |= knows_all(p, b) ? 0 : STORE_SAVED_MERGED;
	if (b->own_count)
		base = &p->written[b->own[b->own_count - 1]];
	else if (b->version)
		base = &p->stored[b->version];
	cr_assert_eq(value_merge(value_of(base), value_of(current), (struct value_text){ save->tail, save->tail_size },
				 &(struct value_counts){ SIZE_MAX, SIZE_MAX, SIZE_MAX }, &out, NULL), 0);
	t = text_format("%.*s", (int)out.size, out.data);
	buf_release(&out);
	return t;
}

int past_save(struct past *p, struct store_save *save)
{
	struct doc d = { 0 };
	struct text next;
	bool list, changed;

	save->result = 0;
	save->base = -1;
	save->error = save->tail_size || !(save->flags & STORE_SAVE_EMPTY) ? doc_slice(save->tail, save->tail_size, &d, NULL) : 0;
	if (save->error) {
		save->error = -EINVAL;
		return save->error;
	}
	cr_assert_lt(p->version + 1, VERSIONS);
	list = d.kind == DOC_LIST || d.kind == DOC_EMPTY;
	changed = list && save_list(p, save, &d);
	next = list ? list_text(p, d.kind == DOC_EMPTY) : merge_value(p, save);
	changed = changed || p->absent || !text_equal(next, p->stored[p->version]);
	save->previous = save->version = p->version;
	save->saved_ino = INO;
	if (changed) {
		save->version = ++p->version;
		p->absent = false;
		p->stored[p->version] = next;
		p->written[p->version] = text_format("%.*s", (int)save->tail_size, save->tail ? (const char *)save->tail : "");
	} else {
		save->result |= STORE_SAVED_SAME;
		text_free(next);
	}
	doc_release(&d);
	return 0;
}
