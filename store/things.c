/*
 * Lists of things that change, such as sessions (`[{"session_id": ..., "runs": [...]}]`): what a writer replaces, and others have changed meanwhile, is one thing
 * and not two. Here is told only whether there may be any; then the documents are merged as text, where things are matched by what tells them
 * apart (identity.h).
 */
#include "apply.h"
#include "diff.h"
#include "identity.h"

#define THINGS_MAX 64	/* that one save brings, and that others have: of more than these each stays, as of messages */

/* Whether one of those that others have brought may be the same thing. */
static int is_theirs(struct apply *a, const struct merge_candidate *c, struct value_text mine, bool *ret)
{
	struct rec_message rec;
	struct db_value bytes;
	size_t looked = 0;
	int err = 0;

	for (size_t s = 0; !err && !*ret && s < a->current->slot_count; s++) {
		const struct view_block *block = view_slot(a->current, s)->block;

		if (view_slot(a->current, s)->newest <= c->base->version)
			continue;
		for (uint32_t i = 0; !err && !*ret && i < block->count; i++) {
			if (base_knows(c->base, block->items[i].born))
				continue;
			if (looked++ == THINGS_MAX)
				return 0;
			err = view_record(a->txn, a->current, &block->items[i], &rec, &bytes);
			if (!err)
				*ret = identity_shared(mine, (struct value_text){ (const char *)bytes.data + rec.lead_size, bytes.size - rec.lead_size });
		}
	}
	return err;
}

int apply_holds_things(struct apply *a, bool *ret)
{
	struct db_value lead, body;
	int err;

	*ret = false;
	if (!a->job->written.count || a->job->lines)
		return 0;
	err = job_message(a->txn, a->job, 0, &lead, &body);
	if (!err)
		*ret = identity_is_thing((struct value_text){ body.data, body.size });
	return err;
}

int apply_things(struct apply *a, const struct merge_candidate *c, bool *ret)
{
	const struct written *w = &a->job->written;
	enum doc_kind kind = a->job->frame->kind;
	struct db_value lead, body;
	size_t looked = 0;
	int err = 0;

	*ret = false;
	if (a->as_text || c->view == a->current || kind != a->current->frame->kind || (kind != DOC_LIST && kind != DOC_ENVELOPE))
		return 0;
	for (uint64_t i = c->diff.common; !err && !*ret && i < w->count && looked < THINGS_MAX; i++) {
		if (c->diff.back[i - c->diff.common] != DIFF_NONE)
			continue;
		looked++;
		err = job_message(a->txn, a->job, i, &lead, &body);
		if (!err && body.size && !identity_is_message((struct value_text){ body.data, body.size }))
			err = is_theirs(a, c, (struct value_text){ body.data, body.size }, ret);
	}
	return err;
}
