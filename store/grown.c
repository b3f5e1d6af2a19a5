/*
 * An answer that is being streamed: the process saves its document again and again, and each time the last message has grown.
 *
 *	written last	... {"role": "assistant", "content": "The quick"}
 *	written now	... {"role": "assistant", "content": "The quick brown fox"}
 *
 * That two writers say such texts by chance does not happen, once the first has some length. So the base is what the process wrote
 * last, whatever else it may have read (rule 15).
 */
#include <string.h>

#include "apply.h"
#include "diff.h"

#define GROWN_MIN 8	/* bytes of the text before it grew: shorter ones are the beginning of many */

/* Whether `now` is `before` with something more at the end of one of its strings. */
static bool has_grown(struct db_value before, struct db_value now)
{
	const char *b = before.data, *n = now.data;
	size_t same = 0, text = 0, rest;

	if (now.size <= before.size || !before.size || *b != '{')
		return false;
	while (same < before.size && b[same] == n[same])
		same++;
	rest = before.size - same;
	while (text < same && b[same - text - 1] != '"')
		text++;
	return rest && b[same] == '"' && text >= GROWN_MIN && !memcmp(b + same, n + now.size - rest, rest);
}

/* Whether the document is what the candidate held, but for its last message, which is another one. */
static bool replaces_last(const struct merge_candidate *c, const struct written *w)
{
	const struct merge_diff *d = &c->diff;

	return c->base->flags & STORE_BASE_WRITTEN && !(c->base->flags & STORE_BASE_LATER) && c->view->count == w->count &&
	       d->gone == 1 && d->added == 1 && d->match[d->base_rest - 1] == DIFF_NONE && d->back[d->written_rest - 1] == DIFF_NONE;
}

/* Whether the document's last message is the candidate's, which is still there, and more. */
static int compare_last(struct apply *a, const struct merge_candidate *c, bool *ret)
{
	uint64_t last = a->job->written.count - 1;
	const struct view_item *item = view_get(c->view, last);
	struct db_value lead, body, bytes;
	struct rec_message rec;
	bool there;
	uint64_t at = view_find(a->current, item->pos, item->born, &there);
	int err;

	*ret = false;
	if (!there)
		return 0;
	/* The candidate's own index is not to be read from. */
	err = view_record(a->txn, a->current, view_get(a->current, at), &rec, &bytes);
	if (!err)
		err = job_message(a->txn, a->job, last, &lead, &body);
	if (!err)
		*ret = has_grown((struct db_value){ (const char *)bytes.data + rec.lead_size, bytes.size - rec.lead_size }, body);
	return err;
}

int apply_grown(struct apply *a)
{
	bool grown = false;
	int err = 0;

	if (a->as_text || (a->save->flags & (STORE_SAVE_EVENTS | STORE_SAVE_EDIT)) != STORE_SAVE_EVENTS)
		return 0;
	for (size_t i = 0; i < a->count && !grown && !err; i++) {
		if (replaces_last(&a->candidates[i], &a->job->written))
			err = compare_last(a, &a->candidates[i], &grown);
		for (size_t j = 0; grown && j < a->count; j++) {
			if (j != i)
				a->bases[j].flags |= STORE_BASE_UNLIKELY;
		}
	}
	a->save->grown = grown;
	return err;
}
