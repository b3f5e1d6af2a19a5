#include "import_base.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "diff.h"
#include "inside.h"
#include "merge.h"

int import_find(struct store *s, uint64_t dir, uint64_t records, const char *name, struct import_found *ret)
{
	struct key key = key_name(records, REC_IMPORT, name, strlen(name)), head;
	struct import_found f = { 0 };
	struct db_value rest;
	struct rec_entry e;
	struct db_txn *txn;
	int err = db_read_begin(s->db, &txn);

	if (err)
		return err;
	err = records ? record_get(txn, &key, &f.rec, sizeof(f.rec), &rest) : -ENOENT;
	if (!err) {
		f.recorded = true;
		f.own_count = rest.size / 8;
		if (f.own_count > IMPORT_OWN)
			err = -EUCLEAN;
		else
			memcpy(f.own, rest.data, f.own_count * 8);
	}
	if (!err || err == -ENOENT)
		err = dir ? entry_get(txn, dir, REC_ENTRY, name, &e) : -ENOENT;
	if (!err) {
		f.exists = true;
		f.ino = e.ino;
		err = attr_get(txn, e.ino, &f.attr, NULL);
		head = key_plain(e.ino, REC_HEAD);
		if (!err && f.attr.kind == STORE_DOCUMENT)
			err = record_get(txn, &head, &f.head, sizeof(f.head), NULL);
		if (err == -ENOENT)
			err = -EUCLEAN;
	}
	db_read_end(txn);
	if (err && err != -ENOENT)
		return err;
	*ret = f;
	return 0;
}

int import_record_put(struct db_txn *txn, uint64_t records, const char *name, const struct rec_import *rec,
		      const uint64_t *own, size_t own_count)
{
	struct key key = key_name(records, REC_IMPORT, name, strlen(name));
	char value[sizeof(*rec) + IMPORT_OWN * 8];

	memcpy(value, rec, sizeof(*rec));
	if (own_count)
		memcpy(value + sizeof(*rec), own, own_count * 8);
	return record_put(txn, &key, value, sizeof(*rec) + own_count * 8);
}

/*
 * Whether the file has all that came into the store since it was taken in, and there is such: then it was copied from the
 * store, and has seen the newest version.
 */
static int has_seen_all(const struct store_view *v, const struct doc *d, const struct store_base *base)
{
	uint64_t *hashes = calloc(v->count + d->count + 1, sizeof(*hashes)), *ours = hashes;
	size_t *match = calloc(v->count + 1, sizeof(*match)), i = 0;
	struct view_cursor c = view_at(v, 0);
	const struct view_item *item;
	bool any = false;
	int err = hashes && match ? 0 : -ENOMEM;

	if (err)
		goto out;
	while ((item = view_next(&c)))
		*ours++ = item->hash;
	for (size_t j = 0; j < d->count; j++)
		ours[j] = d->items[j].hash;
	err = diff_match(hashes, v->count, ours, d->count, match);
	if (err)
		goto out;
	for (c = view_at(v, 0); (item = view_next(&c)); i++) {
		if (base_knows(base, item->born))
			continue;
		any = true;
		if (match[i] == DIFF_NONE)
			goto out;
	}
	err = any;
out:
	free(hashes);
	free(match);
	return err;
}

static bool is_list(enum doc_kind kind)
{
	return kind == DOC_LIST || kind == DOC_ENVELOPE;
}

/* Whether what a file has more can be added to what the store has. */
static bool can_grow(enum doc_kind store, enum doc_kind file)
{
	if (store == DOC_EMPTY)
		return is_list(file) || file == DOC_LINES;
	return store == DOC_LIST ? is_list(file) : (store == DOC_ENVELOPE || store == DOC_LINES) && store == file;
}

static int plan(const struct import_found *found, bool trusted, struct store_view *v, const struct doc *d, int64_t mtime,
		enum import_plan *ret_plan, struct store_base *base, bool *ret_based, unsigned *ret_flags)
{
	int rc;

	*ret_plan = IMPORT_SAVE;
	*ret_based = trusted && found->recorded && found->rec.ino == found->ino && found->rec.version;
	*ret_flags = 0;
	if (*ret_based) {
		*base = (struct store_base){ .ino = found->ino, .version = found->rec.version, .own = found->own, .own_count = found->own_count };
		rc = (is_list(d->kind) && is_list(v->frame->kind)) || (d->kind == DOC_LINES && v->frame->kind == DOC_LINES) ? has_seen_all(v, d, base) : 0;
		if (rc < 0)
			return rc;
		if (rc)
			*base = (struct store_base){ .ino = found->ino, .version = v->version };
		return 0;
	}
	/* Nothing tells what the file had seen, so nothing is removed. What is no list is one thing: the newer stays. */
	if (can_grow(v->frame->kind, d->kind))
		*ret_flags = STORE_SAVE_KEEP;
	else if (v->frame->kind != DOC_EMPTY && (v->count || mtime <= found->head.mtime))
		*ret_plan = IMPORT_ASIDE;
	return 0;
}

int import_plan(struct store *s, const struct import_found *found, bool trusted, bool lines, const char *text, size_t size, int64_t mtime,
		enum import_plan *ret_plan, struct store_base *ret_base, bool *ret_based, unsigned *ret_flags, struct json_error *error)
{
	struct doc d = { 0 };
	struct store_view *v;
	size_t equal = 0;
	int err = store_view_open(s, found->ino, 0, &v);

	if (err)
		return err;
	if (v->size == size)
		err = store_view_match(v, 0, text, size, &equal);
	ret_base->version = v->version;
	if (!err && v->size == size && equal == size)
		*ret_plan = IMPORT_SAME;
	else if (!err && !size)
		*ret_plan = IMPORT_EMPTY;
	else if (!err)
		err = lines ? doc_slice_lines(text, size, &d) : doc_slice(text, size, &d, error);
	if (!err && d.kind != DOC_EMPTY)
		err = plan(found, trusted, v, &d, mtime, ret_plan, ret_base, ret_based, ret_flags);
	doc_release(&d);
	store_view_unref(v);
	return err;
}

void import_learn(struct import_found *f, const struct store_save *save, bool exact)
{
	const struct store_base *base = save->base >= 0 ? &save->bases[save->base] : NULL;

	f->rec.ino = save->saved_ino;
	f->rec.version = exact ? save->version : base ? base->version : 0;
	f->own_count = 0;
	if (exact || !base)
		return;
	if (base->own_count)
		memmove(f->own, base->own, base->own_count * 8);
	f->own_count = base->own_count;
	if (save->result & STORE_SAVED_SAME)
		return;
	if (f->own_count == IMPORT_OWN) {
		/* Too much to remember: from now on the file removes nothing. */
		f->rec.version = f->own_count = 0;
		return;
	}
	f->own[f->own_count++] = save->version;
	while (f->own_count && f->own[0] == f->rec.version + 1) {
		f->rec.version++;
		memmove(f->own, f->own + 1, --f->own_count * 8);
	}
}
