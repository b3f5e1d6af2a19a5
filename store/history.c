#include "history.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "apply.h"
#include "base.h"
#include "respell.h"
#include "value.h"

/* Stands for the messages where what surrounds them is merged as JSON. */
#define MESSAGES "\"\\u0001 messages 8f14e45f-ceea-467f\""

static void candidate_release(struct merge_candidate *c)
{
	store_view_unref(c->view);
	merge_diff_release(&c->diff);
	outline_release(&c->outline);
	*c = (struct merge_candidate){ 0 };
}

void apply_release(struct apply *a)
{
	for (size_t i = 0; i < a->count; i++)
		candidate_release(&a->candidates[i]);
	free(a->candidates);
	free(a->bases);
	frame_unref(a->as_written);
	outline_release(&a->written_outline);
	outline_release(&a->current_outline);
	store_view_unref(a->current);
}

static int empty_current(struct apply *a)
{
	struct view_frame *f = frame_new(DOC_EMPTY, 0, NULL, 0, NULL, 0, NULL, 0);

	a->current = f ? view_new(a->target.ino, a->head.version, f) : NULL;
	frame_unref(f);
	if (!a->current)
		return -ENOMEM;
	view_finish(a->current);
	return 0;
}

/* An absent document has no frame: what it had died with the file. */
static int bury_frame(struct apply *a)
{
	struct key frame = key_plain(a->target.ino, REC_FRAME), gone = key_number(a->target.ino, REC_GONE, a->head.version);
	struct view_frame *f;
	int err = frame_get(a->txn, &frame, &f);

	if (err)
		return err;
	if (f->edition < a->head.version)
		err = frame_put(a->txn, &gone, f);
	frame_unref(f);
	return err;
}

/* The newest version as it is in the transaction. What an unlinked document left behind is buried first. */
int apply_load(struct apply *a)
{
	struct key key = key_plain(a->target.ino, REC_HEAD), frame = key_plain(a->target.ino, REC_FRAME);
	int err = record_get(a->txn, &key, &a->head, sizeof(a->head), NULL);

	if (err == -ENOENT) {
		a->head = (struct rec_head){ 0 };
		err = empty_current(a);
	} else if (!err && a->head.unlinked) {
		err = edit_bury(a->txn, a->target.ino, a->head.version);
		if (!err)
			err = bury_frame(a);
		if (!err)
			err = empty_current(a);
		if (!err) {
			a->current->frame->edition = a->head.version;
			err = frame_put(a->txn, &frame, a->current->frame);
		}
		a->head.kind = DOC_EMPTY;
		a->head.size = a->head.count = 0;
		if (!err)
			err = record_put(a->txn, &key, &a->head, sizeof(a->head));
	} else if (!err) {
		struct store_view *near = a->h->recent(a->h->arg, a->target.ino, a->head.version);

		if (near && near->version == a->head.version)
			a->current = near;
		else
			err = near ? view_renew(a->txn, near, &a->current) : view_load(a->txn, a->target.ino, 0, &a->current);
	}
	if (!err && !a->current->store)
		a->current->store = a->h->store;
	return err;
}

/* Whether messages can be merged one by one; otherwise the documents are merged as text. */
static bool lists_alike(const struct view_frame *current, const struct view_frame *written)
{
	if (current->kind == DOC_FREE || written->kind == DOC_FREE)
		return false;
	return current->kind == written->kind || current->kind == DOC_EMPTY || written->kind == DOC_EMPTY;
}

/* Lines on one side, JSON on the other: the file was renamed. */
bool apply_mixed(const struct view_frame *current, const struct view_frame *written)
{
	return (current->kind == DOC_LINES) != (written->kind == DOC_LINES) && current->kind != DOC_EMPTY && written->kind != DOC_EMPTY;
}

/* The document as it arrived. */
static int written_text(struct apply *a, struct buf *out)
{
	const struct view_frame *f = a->job->frame;
	struct db_value lead, body;
	int err = buf_add(out, f->bytes, f->head_size);

	for (uint64_t i = 0; !err && i < a->job->written.count; i++) {
		err = job_message(a->txn, a->job, i, &lead, &body);
		if (!err)
			err = buf_add(out, lead.data, lead.size);
		if (!err)
			err = buf_add(out, body.data, body.size);
	}
	return err ? err : buf_add(out, frame_tail(f), f->tail_size);
}

static int outline_candidate(struct apply *a, const struct store_base *base, struct merge_candidate *c)
{
	struct buf text = BUF_INIT;
	int err = c->view == a->current ? view_text(a->txn, a->current, &text) : base_text(a->txn, a->target.ino, base, &text);

	if (!err)
		err = outline_take(text.data, text.size, &c->outline);
	if (!err)
		err = merge_diff_outline(&a->written_outline, &c->outline, &a->current_outline, &c->diff, &c->removed);
	buf_release(&text);
	return err;
}

static int take_outlines(struct apply *a)
{
	struct buf text = BUF_INIT;
	int err = written_text(a, &text);

	if (!err)
		err = outline_take(text.data, text.size, &a->written_outline);
	text.size = 0;
	if (!err)
		err = view_text(a->txn, a->current, &text);
	if (!err)
		err = outline_take(text.data, text.size, &a->current_outline);
	buf_release(&text);
	return err;
}

/* Without messages only what stands around them tells documents apart. */
static bool is_apart(const struct view_frame *base, const struct view_frame *written)
{
	if (written->kind == DOC_EMPTY)
		return false;
	return base->kind != written->kind ||
	       (base->kind == DOC_FREE && (base->head_size != written->head_size ||
					   memcmp(base->bytes, written->bytes, base->head_size)));
}

static int load_candidate(struct apply *a, const struct store_base *base)
{
	struct merge_candidate *c = &a->candidates[a->count];
	int err;

	a->bases[a->count] = *base;
	err = base_view(a->txn, a->target.ino, a->current, base, &c->view);
	if (err)
		return err;
	/* Versions of another document say nothing of this one's: nor is this save contained in one of them. */
	if (base->ino && base->ino != a->target.ino) {
		a->bases[a->count].version = 0;
		a->bases[a->count].own_count = 0;
		a->bases[a->count].flags &= ~STORE_BASE_LATER;
	}
	/* Who knew that there is none knows all there is. */
	if (a->head.unlinked && !base->version && !base->own_count) {
		a->bases[a->count].ino = a->target.ino;
		a->bases[a->count].version = a->head.version;
		store_view_unref(c->view);
		c->view = store_view_ref(a->current);
	}
	c->base = &a->bases[a->count];
	c->apart = !(a->as_text ? a->written_outline.count : a->job->written.count) && is_apart(c->view->frame, a->job->frame);
	err = a->as_text ? outline_candidate(a, base, c) : respell_diff(a->txn, a->job, base, c->view, a->current, &c->diff);
	if (!err && !a->as_text)
		merge_removed(&a->job->written, c, a->current);
	return err;
}

/*
 * Of several versions (`oldest`) it is the newest one from which the document removes nothing that is there, which no newer one does either; when it
 * removes something from all, the oldest.
 */
static int add_candidate(struct apply *a, const struct store_base *base)
{
	struct merge_candidate *c = &a->candidates[a->count];
	struct store_base one = *base;
	uint64_t low = base->oldest, high = base->version;
	int err;

	one.oldest = 0;
	while (!(err = load_candidate(a, &one)) && base->oldest) {
		if (!c->removed)
			low = one.version;
		else
			high = one.version > low ? one.version - 1 : low;
		if (low == high && one.version == low)
			break;
		one.version = low + (high - low + 1) / 2;
		candidate_release(c);
	}
	/* Also half-built: apply_release has it. */
	a->count++;
	return err;
}

/* There is no document that would hold it, and after a rename there has to be one. */
static bool must_save(const struct apply *a)
{
	return !a->head.version || (a->head.unlinked && a->save->from_ino);
}

/* Blind: as if it had seen all there is (rule 8). */
static int see_all(struct apply *a)
{
	struct store_base now = { .ino = a->target.ino, .version = a->head.version };
	int err = add_candidate(a, &now);

	if (!err && a->head.version && !a->head.unlinked && !(a->save->flags & (STORE_SAVE_APPEND | STORE_SAVE_LINES)))
		a->save->result |= STORE_SAVED_BLIND;
	return err;
}

int apply_choose(struct apply *a)
{
	struct written written = a->job->written;
	size_t n = a->save->base_count;
	int err = 0;

	a->candidates = calloc(n + 1, sizeof(*a->candidates));
	a->bases = calloc(n + 1, sizeof(*a->bases));
	if (!a->candidates || !a->bases)
		return -ENOMEM;
	/* With one base there is nothing to choose. */
	if (n > 1 && lists_alike(a->current->frame, a->job->frame))
		err = apply_holds_things(a, &a->things);
	a->as_text = a->things || ((n > 1 || (n && a->save->bases[0].oldest)) && !lists_alike(a->current->frame, a->job->frame) &&
				   !apply_mixed(a->current->frame, a->job->frame));
	if (!err && a->as_text)
		err = take_outlines(a);
	for (size_t i = 0; !err && i < n && !(a->save->flags & (STORE_SAVE_REPLACE | STORE_SAVE_APPEND | STORE_SAVE_LINES)); i++)
		err = add_candidate(a, &a->save->bases[i]);
	if (err)
		return err;
	if (a->as_text)
		written = (struct written){ .count = a->written_outline.count, .outline = &a->written_outline, .there = &a->current_outline };
	err = apply_grown(a);
	if (err)
		return err;
	a->chosen = merge_choose(&written, a->candidates, a->count, a->current, a->save->flags, &a->result, &a->save->certain);
	if (a->chosen == MERGE_STALE && must_save(a))
		a->chosen = MERGE_NONE;
	if (a->chosen >= 0)
		a->save->base_version = a->bases[a->chosen].version;
	return a->chosen == MERGE_NONE ? see_all(a) : 0;
}

/* What stands around the messages, as one JSON text with a mark where they are. */
static int frame_text(const struct view_frame *f, struct buf *out)
{
	int err = buf_add(out, f->bytes, f->head_size);

	if (!err && f->kind == DOC_ENVELOPE)
		err = buf_add(out, MESSAGES, strlen(MESSAGES));
	return err ? err : buf_add(out, frame_tail(f), f->tail_size);
}

static int merge_envelopes(const struct view_frame *base, const struct view_frame *current, const struct view_frame *written,
			   const struct value_counts *counts, struct view_frame **ret)
{
	struct buf b = BUF_INIT, c = BUF_INIT, w = BUF_INIT, out = BUF_INIT;
	const size_t mark = strlen(MESSAGES);
	char *first, *last, *next;
	int err = 0;

	if (base && base->kind == DOC_ENVELOPE)
		err = frame_text(base, &b);
	if (!err)
		err = frame_text(current, &c);
	if (!err)
		err = frame_text(written, &w);
	if (!err)
		err = value_merge((struct value_text){ b.data, b.size }, (struct value_text){ c.data, c.size },
				  (struct value_text){ w.data, w.size }, counts, &out, NULL);
	if (!err) {
		first = last = memmem(out.data, out.size, MESSAGES, mark);
		while (last && (next = memmem(last + mark, out.data + out.size - last - mark, MESSAGES, mark)))
			last = next;
		*ret = first ? frame_new(DOC_ENVELOPE, 0, out.data, first - out.data, frame_sep(current), current->sep_size,
					 last + mark, out.data + out.size - last - mark) : frame_ref((struct view_frame *)written);
		err = *ret ? 0 : -ENOMEM;
	}
	buf_release(&b);
	buf_release(&c);
	buf_release(&w);
	buf_release(&out);
	return err;
}

/* The new version's frame: merge rules 10 and 11. */
static int merge_frames(struct apply *a, const struct merge_candidate *c, const struct merge_edits *e, struct view_frame **ret)
{
	struct view_frame *current = a->current->frame, *written = a->job->frame, *base, *pick = NULL;
	struct value_counts counts = {
		a->current->count, a->job->written.count, a->current->count + e->inserted_count - e->removed_count,
	};
	int err;

	if (c->view == a->current) {
		*ret = frame_ref(written);
		return 0;
	}
	err = base_frame(a->txn, a->target.ino, c->base, &base);
	if (err)
		return err;
	/* A last line that may be somebody else's now had better keep the newline that it has. */
	if (current->kind == DOC_LINES && written->kind == DOC_LINES)
		pick = current->tail_size ? current : written;
	else if (current->kind == DOC_EMPTY || (current->kind == DOC_LIST && !a->current->count && written->kind == DOC_LIST))
		pick = written;
	else if (written->kind == DOC_EMPTY || (base && frame_same(base, written) && written->kind != DOC_ENVELOPE))
		pick = current;
	else if (current->kind == DOC_LIST)
		pick = base && frame_same(base, current) ? written : current;
	if (pick)
		*ret = frame_ref(pick);
	else
		err = merge_envelopes(base, current, written, &counts, ret);
	frame_unref(base);
	return err;
}

/* Merges three texts; the job then is the result, written by one who had seen the newest version. */
static int merge_as_text(struct apply *a, const struct merge_candidate *c)
{
	struct buf base = BUF_INIT, current = BUF_INIT, written = BUF_INIT, out = BUF_INIT;
	struct value_text none = { NULL, 0 };
	int err;

	err = base_text(a->txn, a->target.ino, c->base, &base);
	if (!err)
		err = view_text(a->txn, a->current, &current);
	if (!err)
		err = written_text(a, &written);
	if (!err && !current.size)
		err = buf_add(&out, written.data, written.size);
	else if (!err)
		err = value_merge(base.size ? (struct value_text){ base.data, base.size } : none, (struct value_text){ current.data, current.size },
				  written.size ? (struct value_text){ written.data, written.size } : none,
				  &(struct value_counts){ SIZE_MAX, SIZE_MAX, SIZE_MAX }, &out, NULL);
	if (!err) {
		a->as_written = frame_new(DOC_FREE, 0, written.data, written.size, NULL, 0, NULL, 0);
		err = a->as_written ? 0 : -ENOMEM;
	}
	/* Nothing is left when a document was emptied that is what it was: then it is the empty one, as written. */
	if (!err && out.size)
		err = job_replace(a->job, &out);
	buf_release(&base);
	buf_release(&current);
	buf_release(&written);
	buf_release(&out);
	return err;
}

/* All of current goes and all of the document comes: separators of lists and of lines don't go together. */
static int replace_all(const struct written *w, const struct store_view *current, struct merge_edits *ret)
{
	struct merge_edits e = { .removed_count = current->count, .inserted_count = w->count };

	e.removed = malloc((current->count + 1) * sizeof(*e.removed));
	e.inserted = malloc((w->count + 1) * sizeof(*e.inserted));
	if (!e.removed || !e.inserted) {
		merge_edits_release(&e);
		return -ENOMEM;
	}
	for (uint64_t i = 0; i < current->count; i++)
		e.removed[i] = i;
	for (uint64_t i = 0; i < w->count; i++)
		e.inserted[i] = (struct merge_insert){ i, current->count, false };
	*ret = e;
	return 0;
}

/* Whether another candidate may as well have been the base, so that never lose wins (rule 15). */
static bool is_guess(const struct apply *a)
{
	return a->chosen >= 0 && !a->as_text && (a->save->flags & (STORE_SAVE_EVENTS | STORE_SAVE_EDIT)) == STORE_SAVE_EVENTS;
}

int apply_write(struct apply *a, struct merge_candidate *c)
{
	struct store_save *save = a->save;
	int64_t now = time_now(), mtime = save->mtime.tv_sec || save->mtime.tv_nsec ? time_pack(save->mtime) : now;
	struct edit e = {
		.ino = a->target.ino, .head = a->head, .current = a->current, .job = a->job, .restyle = true,
		.time = save->flags & STORE_SAVE_KEEP ? mtime : now, .mtime = mtime, .pid = save->pid, .uid = save->writer_uid,
	};
	bool merged = c->view != a->current, guess = is_guess(a);
	unsigned log = 0;
	int err;

	if (guess && merge_revive(a->candidates, a->count, (size_t)a->chosen, a->current))
		a->result |= STORE_SAVED_UNCERTAIN;
	if (apply_mixed(a->current->frame, a->job->frame))
		err = replace_all(&a->job->written, a->current, &e.edits);
	else
		err = merge_edits(&a->job->written, c->view, &c->diff, a->current, &e.edits);
	if (err)
		return err;
	/* Messages can stay only where the new document has a list for them. */
	if (guess && a->job->frame->kind != DOC_FREE && merge_spare(a->candidates, a->count, (size_t)a->chosen, a->current, &e.edits))
		a->result |= STORE_SAVED_UNCERTAIN;
	if ((save->flags & (STORE_SAVE_KEEP | STORE_SAVE_UNSEEN)) && a->job->frame->kind != DOC_FREE && a->job->frame->kind != DOC_EMPTY &&
	    !apply_mixed(a->current->frame, a->job->frame)) {
		if ((save->flags & STORE_SAVE_UNSEEN) && e.edits.removed_count)
			a->result |= STORE_SAVED_UNCERTAIN;
		e.edits.removed_count = 0;
	}
	if (a->repeat == REPEAT_OLDER)
		merge_spare_all(&e.edits);
	if (a->repeat == REPEAT_OLDER)
		e.frame = frame_ref(a->current->frame);
	else
		err = merge_frames(a, c, &e.edits, &e.frame);
	if (err)
		goto out;
	if (merged)
		save->result |= STORE_SAVED_MERGED;
	save->result |= a->result;
	e.flags = save->result & STORE_SAVED_LOGGED;
	e.base = merged ? c->base : NULL;
	e.as_written = a->as_written ? a->as_written : a->job->frame;
	err = edit_apply(a->txn, &e, &a->job->fresh, &log);
	if (err)
		goto out;
	save->previous = a->head.version;
	save->saved_ino = a->target.ino;
	if (!a->job->fresh) {
		save->result |= STORE_SAVED_SAME;
		if (a->result & STORE_SAVED_UNCERTAIN)
			err = apply_trace(a, c, &e);
		/* To its writer nothing has changed. */
		save->previous = e.head.version;
	}
	save->version = e.head.version;
	if (err)
		goto out;
	if (a->chosen >= 0 && (save->flags & STORE_SAVE_EVENTS) && merge_doubt(a->candidates, a->count, (size_t)a->chosen))
		save->result |= STORE_SAVED_DOUBT;
out:
	frame_unref(e.frame);
	merge_edits_release(&e.edits);
	return err;
}

int apply_document(struct apply *a)
{
	struct merge_candidate *c;
	int err = apply_load(a);

	if (!err)
		err = apply_choose(a);
	if (err)
		return err;
	c = &a->candidates[a->chosen < 0 ? a->count - 1 : (size_t)a->chosen];
	if (a->chosen >= 0)
		err = apply_repeat(a, c, &a->repeat);
	if (!err && a->repeat == REPEAT_RESET) {
		a->chosen = MERGE_NONE;
		err = see_all(a);
	}
	if (err)
		return err;
	if (is_guess(a) && !must_save(a) && merge_older_text(a->candidates, a->count, (size_t)a->chosen))
		a->repeat = REPEAT_OLDER;
	if (a->repeat == REPEAT_AUTOSAVE || a->repeat == REPEAT_OLDER)
		a->result |= STORE_SAVED_UNCERTAIN;
	if (a->chosen == MERGE_STALE) {
		a->save->base = -1;
		a->save->result |= STORE_SAVED_SAME;
		a->save->previous = a->save->version = a->head.version;
		a->save->saved_ino = a->target.ino;
		return 0;
	}
	a->save->base = a->chosen;
	c = &a->candidates[a->chosen < 0 ? a->count - 1 : (size_t)a->chosen];
	if (c->view != a->current && apply_mixed(a->current->frame, a->job->frame)) {
		a->save->reason = "others have saved it meanwhile, when its name was another";
		return -EINVAL;
	}
	if (!a->things)
		err = apply_things(a, c, &a->things);
	if (err)
		return err;
	if (c->view != a->current && (a->things || !lists_alike(a->current->frame, a->job->frame))) {
		a->save->result |= STORE_SAVED_MERGED;
		err = merge_as_text(a, c);
		if (err)
			return err;
		store_view_unref(c->view);
		c->view = store_view_ref(a->current);
		a->as_text = true;
	}
	if (a->as_text) {
		/* What was found by outlines says nothing of messages. */
		merge_diff_release(&c->diff);
		err = respell_diff(a->txn, a->job, c->base, c->view, a->current, &c->diff);
		if (err)
			return err;
	}
	return apply_write(a, c);
}

static bool is_object(const struct view_frame *f)
{
	return f->kind == DOC_FREE || f->kind == DOC_ENVELOPE;
}

/* Whether the document holds messages that its writer had seen by this name, before it was renamed away. Of objects one is taken to. */
static int goes_on(struct apply *a, bool *ret)
{
	const struct store_save *save = a->save;
	struct written *w = &a->job->written;
	struct store_view *v;
	struct merge_diff d;
	int err = 0;

	*ret = false;
	for (size_t i = 0; !err && !*ret && i < save->base_count; i++) {
		if (save->bases[i].ino != a->target.ino || !base_last(&save->bases[i]) || (save->bases[i].flags & STORE_BASE_LATER))
			continue;
		err = view_load(a->txn, a->target.ino, base_last(&save->bases[i]), &v);
		if (err == -ENOENT) {
			err = 0;
			continue;
		}
		if (err)
			return err;
		if (!lists_alike(v->frame, a->job->frame))
			*ret = is_object(v->frame) && is_object(a->job->frame);
		else if (!v->count)
			*ret = true;
		else if (!(err = merge_diff(w, v, &d))) {
			*ret = d.added < w->count;
			merge_diff_release(&d);
		}
		store_view_unref(v);
	}
	return err;
}

/* The name's document goes by another name, or was unlinked by one: whether it is what the writer goes on from (rule 13). */
static int settle_former(struct apply *a)
{
	bool same = false;
	int err;

	if ((!a->target.moved && !a->target.elsewhere) || a->job->raw || (a->save->flags & (SAVE_UNDO | STORE_SAVE_APPEND | STORE_SAVE_LINES)))
		return 0;
	err = goes_on(a, &same);
	if (err)
		return err;
	if (a->target.elsewhere)
		return same ? tree_revive(a->txn, &a->target) : 0;
	if (!same && !(a->save->flags & STORE_SAVE_LINEAGE))
		return tree_begin_anew(a->txn, a->save, &a->target);
	return 0;
}

/* What an empty append asks for has been done. */
static bool nothing_to_append(const struct job *job)
{
	return (job->save->flags & STORE_SAVE_LINES) && !job->text_size;
}

int history_apply(const struct history *h, struct db_txn *txn, struct job *job)
{
	struct apply a = { .h = h, .txn = txn, .job = job, .save = job->save };
	int err;

	job->save->result = 0;
	job->save->base = -1;
	job->save->copy_ino = 0;
	err = tree_target(txn, job->save, &a.target);
	if (err)
		return err == -ENOENT && nothing_to_append(job) ? 0 : err;
	if (job->raw && a.target.document)
		return -EINVAL;
	job->touched = true;
	if (a.target.linked && !a.target.document && a.target.attr.size &&
	    (job->lines || ((job->save->flags & STORE_SAVE_APPEND) && store_is_lines_name(a.target.name)))) {
		err = apply_convert(&a);
		if (err)
			return err;
	}
	if (nothing_to_append(job)) {
		job->save->result |= STORE_SAVED_SAME;
		return 0;
	}
	if (!a.target.linked)
		job->touched_dir = a.target.parent;
	/* Plain bytes continue no document. */
	if (job->raw && !a.target.linked)
		err = tree_begin_anew(txn, job->save, &a.target);
	if (!err)
		err = settle_former(&a);
	if (err)
		return err;
	if (a.target.moved && !job->raw)
		err = tree_reclaim(txn, &a.target, job->save);
	if (err)
		return err;
	if (job->save->flags & SAVE_UNDO)
		err = apply_undo(&a);
	else if (job->raw)
		err = tree_put_raw(txn, &a.target, job->save, job->text, job->text_size);
	else if (job->save->flags & STORE_SAVE_APPEND)
		err = apply_append(&a);
	else if (job->save->flags & STORE_SAVE_LINES)
		err = apply_lines(&a);
	else
		err = apply_document(&a);
	/* What changed nothing does not bring an unlinked document back either. */
	if (!err && !job->raw && !(a.head.unlinked && !job->fresh))
		err = tree_link_document(txn, &a.target, job->save);
	if (!err && job->save->from_ino)
		err = tree_drop_source(txn, job->save);
	if (!err && job->save->also)
		err = job->save->also(job->save, txn);
	apply_release(&a);
	return err;
}
