/* A view and the records: building it from them, and the bytes behind it. */
#include "view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store.h"

/* ---- Bytes ---------------------------------------------------------------------------------------------------- */

int message_parse(struct db_value value, struct rec_message *ret_head, struct db_value *ret)
{
	if (value.size < sizeof(*ret_head))
		return -EUCLEAN;
	memcpy(ret_head, value.data, sizeof(*ret_head));
	*ret = (struct db_value){ (const char *)value.data + sizeof(*ret_head), value.size - sizeof(*ret_head) };
	return ret_head->lead_size <= ret->size ? 0 : -EUCLEAN;
}

static int dead_compare(const void *a, const void *b)
{
	const struct view_dead *x = a, *y = b;

	if (x->pos != y->pos)
		return x->pos < y->pos ? -1 : 1;
	return (x->edition > y->edition) - (x->edition < y->edition);
}

/* Reads anew what has died since the view's version. Needs the view's lock. */
static int dead_refresh(struct db_txn *txn, struct store_view *v)
{
	struct key from = key_dead(v->ino, v->version + 1, 0);
	struct view_dead *dead = NULL;
	size_t count = 0, room = 0;
	struct db_value key, value, body;
	struct rec_message rec;
	struct db_scan scan;
	int err;

	err = db_scan_begin(&scan, txn, from.data, from.size, KEY_PREFIX);
	if (err)
		return err;
	while (!(err = db_scan_next(&scan, &key, &value))) {
		err = message_parse(value, &rec, &body);
		if (err)
			break;
		if (rec.edition > v->version)
			continue;
		if (count == room) {
			struct view_dead *bigger = realloc(dead, (room = room ? room * 2 : 16) * sizeof(*dead));

			if (!bigger) {
				err = -ENOMEM;
				break;
			}
			dead = bigger;
		}
		dead[count++] = (struct view_dead){ key_u64(key.data, 17), rec.edition, key_u64(key.data, 9) };
	}
	db_scan_end(&scan);
	if (err != -ENOENT) {
		free(dead);
		return err;
	}
	if (count)
		qsort(dead, count, sizeof(*dead), dead_compare);
	free(v->dead);
	v->dead = dead;
	v->dead_count = count;
	return 0;
}

static int dead_get(struct db_txn *txn, struct store_view *v, const struct view_item *item, struct db_value *ret)
{
	struct view_dead want = { item->pos, item->edition, 0 }, *found = NULL;
	struct key key;
	int err = -ENOENT;

	/* What the table says may come from a transaction that was aborted: then read it anew. */
	for (int attempt = 0; err == -ENOENT && attempt < 2; attempt++) {
		pthread_mutex_lock(&v->lock);
		err = attempt ? dead_refresh(txn, v) : 0;
		found = v->dead && !err ? bsearch(&want, v->dead, v->dead_count, sizeof(want), dead_compare) : NULL;
		if (found)
			key = key_dead(v->ino, found->died, want.pos);
		pthread_mutex_unlock(&v->lock);
		if (err)
			return err;
		err = found ? db_get(txn, key.data, key.size, ret) : -ENOENT;
	}
	return err == -ENOENT ? -EUCLEAN : err;
}

int view_record(struct db_txn *txn, struct store_view *v, const struct view_item *item, struct rec_message *ret_head, struct db_value *ret)
{
	struct key key = key_number(v->ino, REC_MESSAGE, item->pos);
	struct db_value value;
	int err = db_get(txn, key.data, key.size, &value);

	if (!err) {
		err = message_parse(value, ret_head, ret);
		if (err || ret_head->edition == item->edition)
			return err;
	} else if (err != -ENOENT) {
		return err;
	}
	err = dead_get(txn, v, item, &value);
	return err ? err : message_parse(value, ret_head, ret);
}

struct range {
	uint64_t skip, left;	/* bytes before the range, bytes in it still to come */
	int (*piece)(void *arg, const void *bytes, size_t size);
	void *arg;
};

static int emit(struct range *r, const void *bytes, size_t size)
{
	if (r->skip >= size) {
		r->skip -= size;
		return 0;
	}
	bytes = (const char *)bytes + r->skip;
	size -= r->skip;
	r->skip = 0;
	if (size > r->left)
		size = r->left;
	r->left -= size;
	return size ? r->piece(r->arg, bytes, size) : 0;
}

/* Reads live records in their order and the odd dead one by key. */
static int item_bytes(struct db_txn *txn, struct db_scan *scan, bool *scanning, struct store_view *v, const struct view_item *item,
		      struct rec_message *rec, struct db_value *ret)
{
	struct db_value key, value;
	int err;

	if (!*scanning)
		return view_record(txn, v, item, rec, ret);
	do {
		err = db_scan_next(scan, &key, &value);
	} while (!err && key_u64(key.data, 9) < item->pos);
	if (!err && key_u64(key.data, 9) == item->pos) {
		err = message_parse(value, rec, ret);
		if (err || rec->edition == item->edition)
			return err;
	} else if (err && err != -ENOENT) {
		return err;
	} else {
		/* The walk has run ahead of the view: the rest one by one. */
		*scanning = false;
	}
	return view_record(txn, v, item, rec, ret);
}

static int item_pieces(struct db_txn *txn, struct store_view *v, struct range *r, uint64_t offset)
{
	const struct view_item *item;
	struct view_cursor c;
	struct db_scan scan;
	struct rec_message rec;
	struct db_value bytes;
	struct key key;
	bool scanning = true;
	uint64_t at;
	int err;

	c = view_item_at(v, offset, &at);
	r->skip = offset - at;
	key = key_number(v->ino, REC_MESSAGE, view_slot(v, c.slot)->block->items[c.at].pos);
	err = db_scan_begin(&scan, txn, key.data, key.size, KEY_PREFIX);
	if (err)
		return err;
	while (!err && r->left) {
		bool first = c.slot == 0 && c.at == 0;

		item = view_next(&c);
		if (!item)
			break;
		err = item_bytes(txn, &scan, &scanning, v, item, &rec, &bytes);
		if (err)
			break;
		if (bytes.size != item->size || rec.lead_size != item->lead) {
			err = -EUCLEAN;
			break;
		}
		if (first) {
			bytes.data = (const char *)bytes.data + item->lead;
			bytes.size -= item->lead;
		} else if (!item->lead) {
			err = emit(r, frame_sep(v->frame), v->frame->sep_size);
		}
		if (!err)
			err = emit(r, bytes.data, bytes.size);
	}
	db_scan_end(&scan);
	return err;
}

int view_pieces(struct db_txn *txn, struct store_view *v, uint64_t offset, uint64_t size,
		int (*piece)(void *arg, const void *bytes, size_t size), void *arg)
{
	const struct view_frame *f = v->frame;
	struct range r = { offset, 0, piece, arg };
	uint64_t tail = v->size - f->tail_size;
	int err = 0;

	if (offset >= v->size || !size)
		return 0;
	r.left = size < v->size - offset ? size : v->size - offset;
	if (offset < f->head_size)
		err = emit(&r, f->bytes, f->head_size);
	if (!err && r.left && v->count && offset < tail)
		err = item_pieces(txn, v, &r, offset > f->head_size ? offset : f->head_size);
	if (!err && r.left) {
		r.skip = offset > tail ? offset - tail : 0;
		err = emit(&r, frame_tail(f), f->tail_size);
	}
	return err;
}

/* ---- Loading -------------------------------------------------------------------------------------------------- */

int frame_at(struct db_txn *txn, uint64_t ino, uint64_t version, struct view_frame **ret)
{
	struct key key = key_plain(ino, REC_FRAME), from = key_number(ino, REC_GONE, version + 1);
	struct db_value k, value;
	struct db_scan scan;
	struct rec_frame rec;
	int err = record_get(txn, &key, &rec, sizeof(rec), NULL);

	if (err)
		return err == -ENOENT ? -EUCLEAN : err;
	if (rec.edition > version) {
		err = db_scan_begin(&scan, txn, from.data, from.size, KEY_PREFIX);
		if (err)
			return err;
		err = db_scan_next(&scan, &k, &value);
		if (!err)
			key = key_number(ino, REC_GONE, key_u64(k.data, 9));
		db_scan_end(&scan);
		if (err)
			return err;
	}
	return frame_get(txn, &key, ret);
}

static void item_from(struct view_item *item, uint64_t pos, const struct rec_message *rec, size_t size)
{
	*item = (struct view_item){ pos, rec->born, rec->edition, rec->hash, size, rec->lead_size };
}

/* The next live message that belongs to the version. -ENOENT at the end. */
static int next_live(struct db_scan *scan, uint64_t version, struct view_item *ret)
{
	struct db_value key, value, bytes;
	struct rec_message rec;
	int err;

	for (;;) {
		err = db_scan_next(scan, &key, &value);
		if (!err)
			err = message_parse(value, &rec, &bytes);
		if (err)
			return err;
		if (rec.edition <= version)
			break;
	}
	item_from(ret, key_u64(key.data, 9), &rec, bytes.size);
	return 0;
}

/* From position `from` on. */
static int load_items(struct db_txn *txn, struct store_view *v, uint64_t from)
{
	struct key key = key_number(v->ino, REC_MESSAGE, from);
	struct view_item item, dead;
	struct rec_message rec;
	struct db_value bytes;
	struct db_scan scan;
	size_t d = 0;
	int err;

	err = db_scan_begin(&scan, txn, key.data, key.size, KEY_PREFIX);
	if (err)
		return err;
	err = next_live(&scan, v->version, &item);
	while (!err || (err == -ENOENT && d < v->dead_count)) {
		if (d < v->dead_count && (err || v->dead[d].pos < item.pos)) {
			struct db_value value;
			int rc;

			key = key_dead(v->ino, v->dead[d].died, v->dead[d].pos);
			rc = db_get(txn, key.data, key.size, &value);
			if (!rc)
				rc = message_parse(value, &rec, &bytes);
			if (rc) {
				err = rc == -ENOENT ? -EUCLEAN : rc;
				break;
			}
			item_from(&dead, v->dead[d++].pos, &rec, bytes.size);
			rc = view_add(v, &dead);
			if (rc) {
				err = rc;
				break;
			}
			continue;
		}
		err = view_add(v, &item);
		if (!err)
			err = next_live(&scan, v->version, &item);
	}
	db_scan_end(&scan);
	return err == -ENOENT ? 0 : err;
}

int view_load(struct db_txn *txn, uint64_t ino, uint64_t version, struct store_view **ret)
{
	struct key key = key_plain(ino, REC_HEAD);
	struct view_frame *frame;
	struct store_view *v;
	struct rec_head head;
	int err = record_get(txn, &key, &head, sizeof(head), NULL);

	if (err)
		return err;
	if (!version)
		version = head.version;
	if (version > head.version || (version == head.version && head.unlinked))
		return -ENOENT;
	err = frame_at(txn, ino, version, &frame);
	if (err)
		return err;
	v = view_new(ino, version, frame);
	frame_unref(frame);
	if (!v)
		return -ENOMEM;
	if (version < head.version)
		err = dead_refresh(txn, v);
	if (!err)
		err = load_items(txn, v, 0);
	if (err) {
		store_view_unref(v);
		return err;
	}
	view_finish(v);
	if (version == head.version && (v->size != head.size || v->count != head.count)) {
		store_view_unref(v);
		return -EUCLEAN;
	}
	*ret = v;
	return 0;
}

int view_renew(struct db_txn *txn, struct store_view *old, struct store_view **ret)
{
	struct key key = key_plain(old->ino, REC_HEAD);
	uint64_t ino = old->ino, from = old->count ? view_get(old, old->count - 1)->pos + 1 : 0;
	struct store_view *v = NULL;
	struct rec_head head;
	int err = record_get(txn, &key, &head, sizeof(head), NULL);

	if (!err && !head.unlinked && head.reshaped <= old->version && old->version <= head.version) {
		v = view_new(ino, head.version, old->frame);
		err = v ? view_add_range(v, old, 0, old->count) : -ENOMEM;
		if (!err)
			err = load_items(txn, v, from);
		if (!err)
			view_finish(v);
	}
	store_view_unref(old);
	if (!err && v && v->size == head.size && v->count == head.count) {
		*ret = v;
		return 0;
	}
	store_view_unref(v);
	return err ? err : view_load(txn, ino, 0, ret);
}
