#include "edit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_POSITION (1ull << 62)
#define STEP (1ull << 32)	/* between appended messages: room for 32 insertions at one place, each halving what is left */

/* ---- Records -------------------------------------------------------------------------------------------------- */

static int put_message(struct db_txn *txn, uint64_t ino, uint64_t pos, const struct rec_message *rec, struct db_value lead, struct db_value body)
{
	struct key key = key_number(ino, REC_MESSAGE, pos);
	struct buf value = BUF_INIT;
	int err;

	err = buf_reserve(&value, sizeof(*rec) + lead.size + body.size);
	if (err)
		return err;
	buf_add(&value, rec, sizeof(*rec));
	buf_add(&value, lead.data, lead.size);
	buf_add(&value, body.data, body.size);
	err = record_put(txn, &key, value.data, value.size);
	buf_release(&value);
	return err;
}

/* Copies the live message at `pos` to the dead ones. */
static int put_dead(struct db_txn *txn, uint64_t ino, uint64_t pos, uint64_t died, uint32_t flags)
{
	struct key live = key_number(ino, REC_MESSAGE, pos), dead = key_dead(ino, died, pos);
	struct buf value = BUF_INIT;
	struct db_value v;
	int err = db_get(txn, live.data, live.size, &v);

	if (err)
		return err == -ENOENT ? -EUCLEAN : err;
	if (v.size < sizeof(struct rec_message))
		return -EUCLEAN;
	err = buf_add(&value, v.data, v.size);
	if (!err) {
		((struct rec_message *)value.data)->flags |= flags;
		err = record_put(txn, &dead, value.data, value.size);
	}
	buf_release(&value);
	return err;
}

static int remove_message(struct db_txn *txn, uint64_t ino, uint64_t pos, uint64_t died)
{
	struct key live = key_number(ino, REC_MESSAGE, pos);
	int err = put_dead(txn, ino, pos, died, 0);

	return err ? err : record_del(txn, &live);
}

int edit_bury(struct db_txn *txn, uint64_t ino, uint64_t died)
{
	struct key from = key_number(ino, REC_MESSAGE, 0);
	struct db_value key, value;
	struct db_scan scan;
	uint64_t batch[256];
	size_t count;
	int err;

	do {
		count = 0;
		err = db_scan_begin(&scan, txn, from.data, from.size, KEY_PREFIX);
		if (err)
			return err;
		while (count < 256 && !(err = db_scan_next(&scan, &key, &value)))
			batch[count++] = key_u64(key.data, 9);
		db_scan_end(&scan);
		if (err && err != -ENOENT)
			return err;
		for (size_t i = 0; i < count; i++) {
			err = remove_message(txn, ino, batch[i], died);
			if (err)
				return err;
		}
	} while (count == 256);
	return 0;
}

/* ---- Where inserted messages go ------------------------------------------------------------------------------- */

static uint64_t next_position(const struct edit *e)
{
	return e->head.next_pos ? e->head.next_pos : FIRST_POSITION;
}

/*
 * Positions for `run` messages before current's message `before`: *ret_first and the step between them. False when there is no room
 * left between the neighbours.
 */
static bool place(const struct edit *e, uint64_t before, size_t run, uint64_t *ret_first, uint64_t *ret_step)
{
	const struct store_view *v = e->current;
	uint64_t low, high, gap;

	if (before == v->count) {
		*ret_first = next_position(e);
		*ret_step = STEP;
		return true;
	}
	high = view_get(v, before)->pos;
	if (before == 0) {
		if (high / STEP <= run)
			return false;
		*ret_first = high - run * STEP;
		*ret_step = STEP;
		return true;
	}
	low = view_get(v, before - 1)->pos;
	gap = (high - low) / (run + 1);
	if (!gap)
		return false;
	*ret_first = low + gap;
	*ret_step = gap;
	return true;
}

/*
 * No room between two neighbours: all from current's message `from` on is removed and inserted again at the end, in the order it
 * would have had. Stale writers lose sight of these messages' identity; their texts are kept once.
 */
static int make_room(struct edit *e, uint64_t from)
{
	struct merge_edits *m = &e->edits;
	uint64_t count = e->current->count;
	struct merge_insert *inserted = calloc(m->inserted_count + (count - from), sizeof(*inserted));
	uint64_t *removed = calloc(m->removed_count + (count - from), sizeof(*removed));
	size_t i = 0, r = 0, kept = m->kept_count, n = 0, dead = 0;

	if (!inserted || !removed) {
		free(inserted);
		free(removed);
		return -ENOMEM;
	}
	for (; i < m->inserted_count && m->inserted[i].before < from; i++)
		inserted[n++] = m->inserted[i];
	for (; r < m->removed_count && m->removed[r] < from; r++)
		removed[dead++] = m->removed[r];
	for (uint64_t c = from; c <= count; c++) {
		for (; i < m->inserted_count && m->inserted[i].before == c; i++)
			inserted[n++] = (struct merge_insert){ m->inserted[i].written, count, false };
		if (c == count)
			break;
		removed[dead++] = c;
		if (r < m->removed_count && m->removed[r] == c) {
			r++;
			continue;
		}
		/* `kept` descends; what the document has of it is its newest text. */
		while (kept && m->kept[kept - 1].current < c)
			kept--;
		if (kept && m->kept[kept - 1].current == c)
			inserted[n++] = (struct merge_insert){ m->kept[kept - 1].written, count, false };
		else
			inserted[n++] = (struct merge_insert){ c, count, true };
	}
	for (i = 0, kept = 0; i < m->kept_count; i++) {
		if (m->kept[i].current < from)
			m->kept[kept++] = m->kept[i];
	}
	m->kept_count = kept;
	free(m->inserted);
	free(m->removed);
	m->inserted = inserted;
	m->inserted_count = n;
	m->removed = removed;
	m->removed_count = dead;
	return 0;
}

/* The messages inserted before current's message `before`, from insertion i on. */
static size_t run_length(const struct merge_edits *m, size_t i)
{
	size_t run = 1;

	while (i + run < m->inserted_count && m->inserted[i + run].before == m->inserted[i].before)
		run++;
	return run;
}

static int ensure_room(struct edit *e)
{
	uint64_t first, step;

	for (size_t i = 0, run; i < e->edits.inserted_count; i += run) {
		run = run_length(&e->edits, i);
		if (!place(e, e->edits.inserted[i].before, run, &first, &step))
			return make_room(e, e->edits.inserted[i].before);
	}
	return 0;
}

/* ---- The new version ------------------------------------------------------------------------------------------ */

struct writer {
	struct db_txn *txn;
	struct edit *e;
	uint64_t version;
	struct store_view *fresh;
	uint64_t taken;		/* messages of current that are already in `fresh` or gone */
	uint64_t next_pos;
	bool appended_only;
};

static bool is_separator(const struct view_frame *f, struct db_value lead)
{
	return lead.size && lead.size == f->sep_size && !memcmp(lead.data, frame_sep(f), lead.size);
}

static int insert(struct writer *w, uint64_t pos, const struct merge_insert *m)
{
	struct edit *e = w->e;
	struct rec_message rec = { .time = e->time, .pid = e->pid, .uid = e->uid };
	struct db_value lead, body, bytes;
	struct buf copy = BUF_INIT;
	struct view_item item;
	int err;

	if (m->moved) {
		const struct view_item *old = view_get(e->current, m->written);

		err = view_record(w->txn, e->current, old, &rec, &bytes);
		if (!err)
			err = buf_add(&copy, bytes.data, bytes.size);
		lead = (struct db_value){ copy.data, rec.lead_size };
		body = (struct db_value){ copy.data + rec.lead_size, copy.size - rec.lead_size };
	} else {
		rec.hash = written_hash(&e->job->written, m->written);
		err = job_message(w->txn, e->job, m->written, &lead, &body);
		if (!err && (body.size > UINT32_MAX / 2 || lead.size > UINT32_MAX / 2))
			err = -EFBIG;
		/* A merged document follows the formatting that it has, when it has separators of its own. */
		if (!err && (e->flags & STORE_SAVED_MERGED) && e->current->count > 1 && is_separator(e->job->frame, lead))
			lead = (struct db_value){ frame_sep(e->frame), e->frame->sep_size };
	}
	if (!err) {
		rec.born = rec.edition = w->version;
		rec.lead_size = lead.size;
		item = (struct view_item){ pos, rec.born, rec.edition, rec.hash, lead.size + body.size, lead.size };
		err = put_message(w->txn, e->ino, pos, &rec, lead, body);
	}
	buf_release(&copy);
	return err ? err : view_add(w->fresh, &item);
}

/* Takes over the messages of current up to `to`, but for those that are removed. `next` is the next of edits.removed. */
static int take_until(struct writer *w, uint64_t to, size_t *next)
{
	const struct merge_edits *m = &w->e->edits;
	int err;

	while (w->taken < to) {
		uint64_t stop = *next < m->removed_count && m->removed[*next] < to ? m->removed[*next] : to;

		err = view_add_range(w->fresh, w->e->current, w->taken, stop - w->taken);
		if (err)
			return err;
		w->taken = stop;
		if (stop < to) {
			w->taken++;
			(*next)++;
		}
	}
	return 0;
}

static int insert_all(struct writer *w, size_t *next)
{
	const struct merge_edits *m = &w->e->edits;
	size_t i = 0;
	int err;

	while (i < m->inserted_count) {
		uint64_t before = m->inserted[i].before, pos, step;
		size_t run = run_length(m, i);

		err = take_until(w, before, next);
		if (err)
			return err;
		if (!place(w->e, before, run, &pos, &step))
			return -EUCLEAN;
		if (before == w->e->current->count)
			w->next_pos += run * STEP;
		else
			w->appended_only = false;
		for (size_t j = 0; j < run; j++) {
			err = insert(w, pos + j * step, &m->inserted[i + j]);
			if (err)
				return err;
		}
		i += run;
	}
	return 0;
}

static int remove_all(struct writer *w)
{
	const struct merge_edits *m = &w->e->edits;
	int err = 0;

	for (size_t i = 0; !err && i < m->removed_count; i++)
		err = remove_message(w->txn, w->e->ino, view_get(w->e->current, m->removed[i])->pos, w->version);
	return err;
}

static int restyle_one(struct writer *w, const struct merge_keep *k, struct db_value lead, struct db_value body, struct rec_message rec)
{
	struct edit *e = w->e;
	const struct view_item *old = view_get(e->current, k->current);
	struct view_item *item;
	struct view_cursor c;
	bool found;
	uint64_t at;
	int err;

	/* put_dead reads what `lead` may point to; the texts come from the job and are not moved by it. */
	err = put_dead(w->txn, e->ino, old->pos, w->version, MESSAGE_RESTYLED);
	if (err)
		return err;
	rec.edition = w->version;
	rec.hash = written_hash(&e->job->written, k->written);
	rec.lead_size = lead.size;
	rec.flags = 0;
	err = put_message(w->txn, e->ino, old->pos, &rec, lead, body);
	if (err)
		return err;
	at = view_find(w->fresh, old->pos, old->born, &found);
	if (!found)
		return -EUCLEAN;
	c = view_at(w->fresh, at);
	item = &view_slot(w->fresh, c.slot)->block->items[c.at];
	item->edition = w->version;
	item->hash = rec.hash;
	item->size = lead.size + body.size;
	item->lead = lead.size;
	return 0;
}

/* Rewrites the kept messages whose bytes the writer changed, where it had seen the bytes that are stored. */
static int restyle_all(struct writer *w, size_t *ret_count)
{
	struct edit *e = w->e;
	const struct merge_edits *m = &e->edits;
	const struct view_frame *f = e->frame;

	*ret_count = 0;
	for (size_t i = 0; i < m->kept_count; i++) {
		const struct merge_keep *k = &m->kept[i];
		struct db_value lead, body, stored;
		struct buf copy = BUF_INIT;
		struct rec_message rec;
		bool same, known;
		int err;

		err = view_record(w->txn, e->current, view_get(e->current, k->current), &rec, &stored);
		if (!err)
			err = buf_add(&copy, stored.data, stored.size);
		if (!err)
			err = job_message(w->txn, e->job, k->written, &lead, &body);
		if (err) {
			buf_release(&copy);
			return err;
		}
		/* What others have made of it since is not changed back. */
		known = !e->base || base_knows(e->base, rec.edition);
		same = body.size == copy.size - rec.lead_size && (!body.size || !memcmp(body.data, copy.data + rec.lead_size, body.size));
		if (k->written) {
			const char *old = rec.lead_size ? copy.data : frame_sep(f);
			size_t old_size = rec.lead_size ? rec.lead_size : f->sep_size;

			same = same && lead.size == old_size && !memcmp(lead.data, old, old_size);
		}
		buf_release(&copy);
		if (same || !known)
			continue;
		if (k->written < e->job->written.kept) {
			/* The text is a record itself: keep it while records change. */
			err = buf_add(&copy, lead.data, lead.size);
			if (!err)
				err = buf_add(&copy, body.data, body.size);
			lead.data = copy.data;
			body.data = copy.data + lead.size;
		}
		if (!err)
			err = restyle_one(w, k, lead, body, rec);
		buf_release(&copy);
		if (err)
			return err;
		++*ret_count;
	}
	return 0;
}

static void resum(struct store_view *v)
{
	v->settled = 0;
	v->bare = 0;
	for (size_t i = 0; i < v->slot_count; i++) {
		struct view_block *b = view_slot(v, i)->block;

		b->bytes = b->bare = 0;
		for (uint32_t j = 0; j < b->count; j++) {
			b->bytes += b->items[j].size;
			b->bare += b->items[j].lead == 0;
		}
		v->bare += b->bare;
	}
}

static int put_frame(struct db_txn *txn, const struct edit *e, uint64_t version)
{
	struct key key = key_plain(e->ino, REC_FRAME), gone = key_number(e->ino, REC_GONE, version);
	int err = 0;

	if (e->head.version && e->current->frame->edition)
		err = frame_put(txn, &gone, e->current->frame);
	return err ? err : frame_put(txn, &key, e->frame);
}

/* A merged version's entry also keeps what its writer had put around the messages: the base of its next save. */
static int put_change(struct writer *w, unsigned log)
{
	struct edit *e = w->e;
	struct key key = key_number(e->ino, REC_CHANGE, w->version);
	struct rec_change c = { .time = e->time, .pid = e->pid, .uid = e->uid, .flags = e->flags | log,
				.added = e->edits.inserted_count, .removed = e->edits.removed_count };
	const struct view_frame *f = e->flags & STORE_SAVED_MERGED ? e->as_written : NULL;
	struct buf value = BUF_INIT;
	int err = buf_add(&value, &c, sizeof(c));

	if (!err && f)
		err = frame_pack(f, w->version, &value);
	if (!err)
		err = record_put(w->txn, &key, value.data, value.size);
	buf_release(&value);
	return err;
}

static int put_head(struct writer *w, unsigned log)
{
	struct edit *e = w->e;
	struct key key = key_plain(e->ino, REC_HEAD);
	struct rec_head *h = &e->head;
	uint64_t creator = e->pid;

	if (h->version && h->creator != creator)
		creator = 0;
	*h = (struct rec_head){
		.version = w->version, .size = w->fresh->size, .count = w->fresh->count, .next_pos = w->next_pos,
		.reshaped = w->appended_only && !log ? h->reshaped : w->version,
		.mtime = e->mtime, .kind = e->frame->kind, .creator = creator,
	};
	return record_put(w->txn, &key, h, sizeof(*h));
}

/* What was kept stands in its entry: position and the version that brought it. */
static int put_kept(struct writer *w)
{
	struct edit *e = w->e;
	struct key key = key_number(e->ino, REC_CHANGE, w->version);
	struct rec_change c = { .time = e->time, .pid = e->pid, .uid = e->uid, .flags = e->flags | STORE_LOG_KEPT };
	struct buf value = BUF_INIT;
	int err = buf_add(&value, &c, sizeof(c));

	for (size_t i = 0; !err && i < e->edits.spared_count; i++) {
		const struct view_item *item = view_get(e->current, e->edits.spared[i]);
		struct rec_kept kept = { item->pos, item->born };

		err = buf_add(&value, &kept, sizeof(kept));
	}
	if (!err)
		err = record_put(w->txn, &key, value.data, value.size);
	buf_release(&value);
	return err;
}

int edit_trace(struct db_txn *txn, struct edit *e, struct store_view **ret_fresh)
{
	struct writer w = { .txn = txn, .e = e, .version = e->head.version + 1, .next_pos = next_position(e), .appended_only = true };
	int err;

	frame_unref(e->frame);
	e->frame = frame_ref(e->current->frame);
	w.fresh = view_new(e->ino, w.version, e->frame);
	if (!w.fresh)
		return -ENOMEM;
	w.fresh->store = e->current->store;
	err = view_add_range(w.fresh, e->current, 0, e->current->count);
	if (!err) {
		view_finish(w.fresh);
		err = put_kept(&w);
	}
	if (!err)
		err = put_head(&w, 0);
	if (err)
		store_view_unref(w.fresh);
	else
		*ret_fresh = w.fresh;
	return err;
}

/* When no line is left, there is none that could end in a newline. What an emptied file leaves of others' messages stays in their list. */
static int fit_frame(struct edit *e)
{
	bool left = e->current->count + e->edits.inserted_count > e->edits.removed_count;
	struct view_frame *empty;

	if (left && e->frame->kind == DOC_EMPTY) {
		frame_unref(e->frame);
		e->frame = frame_ref(e->current->frame);
	}
	if (left || e->frame->kind != DOC_LINES)
		return 0;
	empty = frame_new(DOC_EMPTY, 0, NULL, 0, NULL, 0, NULL, 0);
	if (!empty)
		return -ENOMEM;
	frame_unref(e->frame);
	e->frame = empty;
	return 0;
}

int edit_apply(struct db_txn *txn, struct edit *e, struct store_view **ret_fresh, unsigned *ret_log)
{
	struct writer w = { .txn = txn, .e = e, .version = e->head.version + 1, .next_pos = next_position(e), .appended_only = true };
	bool new_frame;
	size_t next = 0, restyled = 0;
	unsigned log = 0;
	int err = fit_frame(e);

	if (err)
		return err;
	new_frame = !e->head.version || e->head.unlinked || !frame_same(e->frame, e->current->frame);
	if (new_frame)
		e->frame->edition = w.version;
	w.fresh = view_new(e->ino, w.version, new_frame ? e->frame : e->current->frame);
	if (!w.fresh)
		return -ENOMEM;
	w.fresh->store = e->current->store;
	err = ensure_room(e);
	if (!err)
		err = insert_all(&w, &next);
	if (!err)
		err = take_until(&w, e->current->count, &next);
	if (!err && e->restyle && e->edits.kept_count) {
		view_finish(w.fresh);	/* messages are found by its index */
		err = view_own(w.fresh);
		if (!err)
			err = restyle_all(&w, &restyled);
		if (restyled)
			resum(w.fresh);
	}
	if (!err)
		err = remove_all(&w);
	if (err)
		goto fail;
	if (!new_frame && !restyled && !e->edits.inserted_count && !e->edits.removed_count) {
		store_view_unref(w.fresh);
		*ret_fresh = NULL;
		return 0;
	}
	view_finish(w.fresh);
	if (e->edits.removed_count)
		log |= STORE_LOG_REMOVED;
	if (restyled)
		log |= STORE_LOG_RESTYLED;
	if (new_frame)
		err = put_frame(txn, e, w.version);
	/* A plain append is told by its messages. */
	if (!err && (log || e->flags || !e->edits.inserted_count))
		err = put_change(&w, log);
	if (!err)
		err = put_head(&w, log | (new_frame ? STORE_LOG_RESTYLED : 0));
	if (err)
		goto fail;
	*ret_fresh = w.fresh;
	*ret_log = log;
	return 0;
fail:
	store_view_unref(w.fresh);
	return err;
}

/* Of lines a change at the end of the last one is a change of the frame. */
static int append_frame(struct db_txn *txn, struct edit *who, const struct view_frame *old, size_t count)
{
	struct key frame = key_plain(who->ino, REC_FRAME), gone = key_number(who->ino, REC_GONE, who->head.version);
	struct writer w = { .txn = txn, .e = who, .version = who->head.version };
	int err;

	who->frame->edition = who->head.reshaped = who->head.version;
	who->head.size += who->frame->tail_size - old->tail_size;
	err = frame_put(txn, &gone, old);
	if (!err)
		err = frame_put(txn, &frame, who->frame);
	return err || count ? err : put_change(&w, STORE_LOG_RESTYLED);
}

int edit_append(struct db_txn *txn, struct edit *who, const struct db_value *bodies, size_t count)
{
	struct rec_head *h = &who->head;
	struct rec_message rec = { .time = who->time, .pid = who->pid, .uid = who->uid };
	struct key frame = key_plain(who->ino, REC_FRAME), head = key_plain(who->ino, REC_HEAD);
	struct view_frame *f;
	int err = frame_get(txn, &frame, &f);

	if (err)
		return err == -ENOENT ? -EUCLEAN : err;
	rec.born = rec.edition = ++h->version;
	rec.lead_size = f->sep_size;
	for (const struct db_value *b = bodies; !err && b < bodies + count; b++) {
		h->next_pos = next_position(who) + STEP;
		h->size += b->size + (h->count++ ? f->sep_size : 0);
		rec.hash = json_hash(b->data, b->size);
		err = b->size > UINT32_MAX / 2 ? -EFBIG :
			put_message(txn, who->ino, h->next_pos - STEP, &rec, (struct db_value){ frame_sep(f), f->sep_size }, *b);
	}
	h->mtime = who->mtime;
	if (h->creator != who->pid)
		h->creator = 0;
	if (!err && who->frame)
		err = append_frame(txn, who, f, count);
	frame_unref(f);
	return err ? err : record_put(txn, &head, h, sizeof(*h));
}
