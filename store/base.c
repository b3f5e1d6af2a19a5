#include "base.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "merge.h"

static int empty_view(uint64_t ino, struct store_view **ret)
{
	struct view_frame *f = frame_new(DOC_EMPTY, 0, NULL, 0, NULL, 0, NULL, 0);
	struct store_view *v = f ? view_new(ino, 0, f) : NULL;

	frame_unref(f);
	if (!v)
		return -ENOMEM;
	view_finish(v);
	*ret = v;
	return 0;
}

uint64_t base_last(const struct store_base *b)
{
	return b->own_count ? b->own[b->own_count - 1] : b->version;
}

/* The document that had the name then is another one: its messages are none of this document's. */
static int foreign_view(struct db_txn *txn, uint64_t ino, const struct store_base *base, struct store_view **ret)
{
	struct store_view *other, *v;
	const struct view_item *item;
	struct view_cursor c;
	int err = view_load(txn, base->ino, base_last(base), &other);

	if (err == -ENOENT)
		return empty_view(ino, ret);
	if (err)
		return err;
	v = view_new(ino, 0, other->frame);
	err = v ? 0 : -ENOMEM;
	c = view_at(other, 0);
	while (!err && (item = view_next(&c))) {
		struct view_item copy = *item;

		copy.pos = copy.born = 0;
		err = view_add(v, &copy);
	}
	store_view_unref(other);
	if (err) {
		store_view_unref(v);
		return err;
	}
	view_finish(v);
	*ret = v;
	return 0;
}

static bool knows_all(const struct store_base *b, uint64_t version)
{
	if (b->version >= version)
		return true;
	return b->own_count == version - b->version && b->own[b->own_count - 1] == version;
}

static int compare_pos(const void *a, const void *b)
{
	const struct view_item *x = a, *y = b;

	return (x->pos > y->pos) - (x->pos < y->pos);
}

/* Messages that the writer knew and did not see removed. */
static int known_dead(struct db_txn *txn, uint64_t ino, const struct store_base *b, struct view_item **ret, size_t *ret_count)
{
	struct key from = key_dead(ino, b->version + 1, 0);
	struct view_item *items = NULL;
	struct db_value key, value;
	struct rec_message rec;
	struct db_scan scan;
	size_t count = 0, room = 0;
	int err = db_scan_begin(&scan, txn, from.data, from.size, KEY_PREFIX);

	if (err)
		return err;
	while (!(err = db_scan_next(&scan, &key, &value))) {
		if (value.size < sizeof(rec)) {
			err = -EUCLEAN;
			break;
		}
		memcpy(&rec, value.data, sizeof(rec));
		if ((rec.flags & MESSAGE_RESTYLED) || !base_knows(b, rec.born) || base_knows(b, key_u64(key.data, 9)))
			continue;
		if (count == room) {
			struct view_item *more = realloc(items, (room = room ? room * 2 : 16) * sizeof(*items));

			if (!more) {
				err = -ENOMEM;
				break;
			}
			items = more;
		}
		items[count++] = (struct view_item){ key_u64(key.data, 17), rec.born, rec.edition, rec.hash,
						     value.size - sizeof(rec), rec.lead_size };
	}
	db_scan_end(&scan);
	if (err != -ENOENT) {
		free(items);
		return err;
	}
	if (count)
		qsort(items, count, sizeof(*items), compare_pos);
	*ret = items;
	*ret_count = count;
	return 0;
}

/* Up to which slot all items are known, and no dead one belongs before the end. */
static size_t known_until(const struct store_view *current, size_t s, const struct store_base *b, const struct view_item *dead)
{
	while (s < current->slot_count && view_slot(current, s)->newest <= b->version &&
	       (!dead || dead->pos > view_slot(current, s)->block->items[view_slot(current, s)->block->count - 1].pos))
		s++;
	return s;
}

static int add_known(struct store_view *v, const struct store_view *current, const struct store_base *b, const struct view_item *dead, size_t count)
{
	size_t d = 0;
	int err = 0;

	for (size_t s = 0; !err && s < current->slot_count; s++) {
		const struct view_block *block = view_slot(current, s)->block;
		size_t end = known_until(current, s, b, d < count ? &dead[d] : NULL);

		if (end > s) {
			uint64_t first = view_slot(current, s)->index;

			err = view_add_range(v, current, first, (end < current->slot_count ? view_slot(current, end)->index : current->count) - first);
			s = end - 1;
			continue;
		}
		for (uint32_t i = 0; !err && i < block->count; i++) {
			while (!err && d < count && dead[d].pos < block->items[i].pos)
				err = view_add(v, &dead[d++]);
			if (!err && base_knows(b, block->items[i].born))
				err = view_add(v, &block->items[i]);
		}
	}
	while (!err && d < count)
		err = view_add(v, &dead[d++]);
	return err;
}

int base_view(struct db_txn *txn, uint64_t ino, struct store_view *current, const struct store_base *base, struct store_view **ret)
{
	struct view_item *dead = NULL;
	struct store_view *v;
	size_t count = 0;
	int err;

	if (!current->version) {
		*ret = store_view_ref(current);
		return 0;
	}
	if (!base->version && !base->own_count)
		return empty_view(ino, ret);
	if (base->ino && base->ino != ino)
		return foreign_view(txn, ino, base, ret);
	if (knows_all(base, current->version)) {
		*ret = store_view_ref(current);
		return 0;
	}
	err = known_dead(txn, ino, base, &dead, &count);
	if (err)
		return err;
	v = view_new(ino, 0, current->frame);
	err = v ? add_known(v, current, base, dead, count) : -ENOMEM;
	free(dead);
	if (err) {
		store_view_unref(v);
		return err;
	}
	view_finish(v);
	*ret = v;
	return 0;
}

static int frame_written(struct db_txn *txn, uint64_t ino, uint64_t version, struct view_frame **ret)
{
	struct key key = key_number(ino, REC_CHANGE, version);
	struct rec_change change;
	struct db_value rest;
	int err = record_get(txn, &key, &change, sizeof(change), &rest);

	if (err)
		return err;
	return rest.size && !(change.flags & STORE_LOG_KEPT) ? frame_parse(rest, ret) : -ENOENT;
}

int base_frame(struct db_txn *txn, uint64_t ino, const struct store_base *base, struct view_frame **ret)
{
	uint64_t last = base_last(base);
	int err = -ENOENT;

	*ret = NULL;
	if (!last)
		return 0;
	if (base->ino)
		ino = base->ino;
	if (base->own_count)
		err = frame_written(txn, ino, last, ret);
	if (err == -ENOENT)
		err = frame_at(txn, ino, last, ret);
	return err == -ENOENT ? 0 : err;
}

static int add_piece(void *arg, const void *bytes, size_t size)
{
	return buf_add(arg, bytes, size);
}

int view_text(struct db_txn *txn, struct store_view *v, struct buf *ret)
{
	int err = buf_reserve(ret, v->size);

	return err ? err : view_pieces(txn, v, 0, v->size, add_piece, ret);
}

int base_text(struct db_txn *txn, uint64_t ino, const struct store_base *base, struct buf *ret)
{
	uint64_t last = base_last(base);
	struct view_frame *frame = NULL;
	struct store_view *v;
	int err = -ENOENT;

	if (!last)
		return 0;
	if (base->ino)
		ino = base->ino;
	if (base->own_count)
		err = frame_written(txn, ino, last, &frame);
	if (!err && frame->kind == DOC_FREE)
		err = buf_add(ret, frame->bytes, frame->head_size);
	else if (!err)
		err = -ENOENT;
	frame_unref(frame);
	if (err != -ENOENT)
		return err;
	err = view_load(txn, ino, last, &v);
	if (err)
		return err == -ENOENT ? 0 : err;
	err = view_text(txn, v, ret);
	store_view_unref(v);
	return err;
}
