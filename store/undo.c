#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "apply.h"

/* Collects what a version removed, and what it restyled, as the items of a document whose bytes are `text`, and where they stood. */
static int collect_removed(struct apply *a, uint64_t version, struct merge_edits *e)
{
	struct key from = key_dead(a->target.ino, version, 0);
	struct job *job = a->job;
	struct db_value key, value;
	struct rec_message rec;
	struct db_scan scan;
	uint64_t stands;
	size_t room = 0;
	bool found;
	int err = db_scan_begin(&scan, a->txn, from.data, from.size, KEY_PREFIX + 8);

	if (err)
		return err;
	while (!(err = db_scan_next(&scan, &key, &value))) {
		size_t at = job->joined.size, size = value.size - sizeof(rec);

		if (value.size < sizeof(rec)) {
			err = -EUCLEAN;
			break;
		}
		memcpy(&rec, value.data, sizeof(rec));
		/* Unless it is gone, or has been restyled once more. */
		stands = view_find(a->current, key_u64(key.data, 17), rec.flags & MESSAGE_RESTYLED ? rec.born : UINT64_MAX, &found);
		if ((rec.flags & MESSAGE_RESTYLED) && (!found || view_get(a->current, stands)->edition != version))
			continue;
		if (job->doc.count == room) {
			struct doc_item *items = realloc(job->doc.items, (room = room ? room * 2 : 16) * sizeof(*items));
			struct merge_insert *inserted = realloc(e->inserted, room * sizeof(*inserted));
			struct merge_keep *kept = realloc(e->kept, room * sizeof(*kept));

			job->doc.items = items ? items : job->doc.items;
			e->inserted = inserted ? inserted : e->inserted;
			e->kept = kept ? kept : e->kept;
			if (!items || !inserted || !kept) {
				err = -ENOMEM;
				break;
			}
		}
		err = buf_add(&job->joined, (const char *)value.data + sizeof(rec), size);
		if (err)
			break;
		/* Only the first item of a document has no separator before it, and none of these is that. */
		if (!job->doc.count)
			job->doc.items[job->doc.count++] = (struct doc_item){ 0 };
		if (rec.flags & MESSAGE_RESTYLED)
			e->kept[e->kept_count++] = (struct merge_keep){ job->doc.count, stands };
		else
			e->inserted[e->inserted_count++] = (struct merge_insert){ job->doc.count, stands, false };
		job->doc.items[job->doc.count++] = (struct doc_item){ at, at + rec.lead_size, at + size, rec.hash };
	}
	db_scan_end(&scan);
	return err == -ENOENT ? 0 : err;
}

static int collect_added(struct apply *a, uint64_t version, struct merge_edits *e)
{
	struct view_cursor c = view_at(a->current, 0);
	const struct view_item *item;

	e->removed = calloc(a->current->count + 1, sizeof(*e->removed));
	if (!e->removed)
		return -ENOMEM;
	for (uint64_t i = 0; (item = view_next(&c)); i++) {
		if (item->born == version)
			e->removed[e->removed_count++] = i;
	}
	return 0;
}

/* What a version that changed nothing kept, and is there still. */
static int collect_kept(struct apply *a, uint64_t version, struct merge_edits *e)
{
	struct key key = key_number(a->target.ino, REC_CHANGE, version);
	struct rec_change c;
	struct rec_kept kept;
	struct db_value rest;
	int err = record_get(a->txn, &key, &c, sizeof(c), &rest);

	if (err || !(c.flags & STORE_LOG_KEPT))
		return err == -ENOENT ? 0 : err;
	for (size_t at = 0; at + sizeof(kept) <= rest.size; at += sizeof(kept)) {
		uint64_t i;
		bool alive;

		memcpy(&kept, (const char *)rest.data + at, sizeof(kept));
		i = view_find(a->current, kept.pos, kept.born, &alive);
		/* In the order of positions, which is that of indexes. */
		if (alive && e->removed_count < a->current->count && (!e->removed_count || e->removed[e->removed_count - 1] < i))
			e->removed[e->removed_count++] = i;
	}
	return 0;
}

/*
 * What is to stand around messages that come back, when that is not current's frame: an empty document has none, then it is the one they stood in.
 * Between the messages of another kind of document they can't stand.
 */
static int frame_for(struct apply *a, uint64_t version, struct view_frame **ret)
{
	const struct view_frame *current = a->current->frame;
	struct view_frame *then;
	int err = frame_at(a->txn, a->target.ino, version - 1, &then);

	if (err)
		return err;
	if (current->kind == DOC_EMPTY)
		*ret = frame_ref(then);
	else if (current->kind == DOC_FREE || apply_mixed(current, then))
		err = -EINVAL;
	frame_unref(then);
	return err;
}

/*
 * What version save->undo_version did, the other way round. Of a file that was unlinked that is taken back; its messages are
 * new ones then: who had seen it absent did not know them (P2).
 */
int apply_undo(struct apply *a)
{
	struct key gone;
	struct store_save *save = a->save;
	uint64_t version = save->undo_version;
	struct edit e = { .ino = a->target.ino, .job = a->job, .time = time_now(), .mtime = time_now(), .pid = save->pid, .uid = save->writer_uid,
			  .flags = STORE_LOG_UNDO, .restyle = true };
	struct view_frame *before = NULL;
	unsigned log;
	int err;

	/* Another file has taken its name. */
	if (a->target.ino != save->ino)
		return -EEXIST;
	err = apply_load(a);
	if (err)
		return err;
	if (a->head.unlinked)
		version = a->head.version;
	if (!version || version > a->head.version)
		return -ENOENT;
	e.head = a->head;
	e.current = a->current;
	err = collect_removed(a, version, &e.edits);
	if (!err)
		err = collect_added(a, version, &e.edits);
	if (!err)
		err = collect_kept(a, version, &e.edits);
	a->job->text = a->job->joined.data;
	a->job->text_size = a->job->joined.size;
	a->job->written = (struct written){ .count = a->job->doc.count, .items = a->job->doc.items };
	if (!err && a->current->frame->edition == version) {
		gone = key_number(a->target.ino, REC_GONE, version);
		err = frame_get(a->txn, &gone, &before);
		if (err == -ENOENT)
			err = 0;
	}
	if (!err && !before && e.edits.inserted_count)
		err = frame_for(a, version, &before);
	e.frame = before ? before : frame_ref(a->current->frame);
	if (!err)
		err = edit_apply(a->txn, &e, &a->job->fresh, &log);
	if (!err) {
		save->previous = a->head.version;
		save->version = e.head.version;
		save->saved_ino = a->target.ino;
		if (!a->job->fresh)
			save->result |= STORE_SAVED_SAME;
	}
	frame_unref(e.frame);
	merge_edits_release(&e.edits);
	return err;
}
