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

int apply_grown(struct apply *a)
{
	const struct written *w = &a->job->written;
	struct db_value lead, body, bytes, before;
	struct rec_message rec;
	bool grown = false;
	int err = 0;

	if (a->as_text || (a->save->flags & (STORE_SAVE_EVENTS | STORE_SAVE_EDIT)) != STORE_SAVE_EVENTS)
		return 0;
	for (size_t i = 0; i < a->count && !grown && !err; i++) {
		struct merge_candidate *c = &a->candidates[i];

		if (!replaces_last(c, w))
			continue;
		err = view_record(a->txn, c->view, view_get(c->view, w->count - 1), &rec, &bytes);
		if (!err)
			err = job_message(a->txn, a->job, w->count - 1, &lead, &body);
		if (err)
			return err;
		before = (struct db_value){ (const char *)bytes.data + rec.lead_size, bytes.size - rec.lead_size };
		grown = has_grown(before, body);
		for (size_t j = 0; grown && j < a->count; j++) {
			if (j != i)
				a->bases[j].flags |= STORE_BASE_UNLIKELY;
		}
	}
	a->save->grown = grown;
	return 0;
}
