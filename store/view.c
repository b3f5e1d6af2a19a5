#include "view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store.h"

/* ---- Frames --------------------------------------------------------------------------------------------------- */

struct view_frame *frame_new(enum doc_kind kind, uint64_t edition, const void *head, size_t head_size, const void *sep, size_t sep_size,
			     const void *tail, size_t tail_size)
{
	struct view_frame *f = malloc(sizeof(*f) + head_size + sep_size + tail_size);

	if (!f)
		return NULL;
	*f = (struct view_frame){ .refs = 1, .kind = kind, .edition = edition,
				  .head_size = head_size, .sep_size = sep_size, .tail_size = tail_size };
	if (head_size)
		memcpy(f->bytes, head, head_size);
	if (sep_size)
		memcpy(f->bytes + head_size, sep, sep_size);
	if (tail_size)
		memcpy(f->bytes + head_size + sep_size, tail, tail_size);
	return f;
}

struct view_frame *frame_ref(struct view_frame *f)
{
	atomic_fetch_add(&f->refs, 1);
	return f;
}

void frame_unref(struct view_frame *f)
{
	if (f && atomic_fetch_sub(&f->refs, 1) == 1)
		free(f);
}

int frame_parse(struct db_value value, struct view_frame **ret)
{
	const char *bytes = (const char *)value.data + sizeof(struct rec_frame);
	struct rec_frame rec;
	struct view_frame *f;
	size_t size;

	if (value.size < sizeof(rec))
		return -EUCLEAN;
	memcpy(&rec, value.data, sizeof(rec));
	size = value.size - sizeof(rec);
	if (size < (size_t)rec.head_size + rec.sep_size || rec.kind > DOC_FREE)
		return -EUCLEAN;
	f = frame_new(rec.kind, rec.edition, bytes, rec.head_size, bytes + rec.head_size, rec.sep_size,
		      bytes + rec.head_size + rec.sep_size, size - rec.head_size - rec.sep_size);
	if (!f)
		return -ENOMEM;
	*ret = f;
	return 0;
}

int frame_get(struct db_txn *txn, const struct key *key, struct view_frame **ret)
{
	struct db_value value;
	int err = db_get(txn, key->data, key->size, &value);

	return err ? err : frame_parse(value, ret);
}

int frame_pack(const struct view_frame *f, uint64_t edition, struct buf *out)
{
	struct rec_frame rec = { .edition = edition, .head_size = f->head_size, .sep_size = f->sep_size, .kind = f->kind };
	int err = buf_add(out, &rec, sizeof(rec));

	return err ? err : buf_add(out, f->bytes, f->head_size + f->sep_size + f->tail_size);
}

int frame_put(struct db_txn *txn, const struct key *key, const struct view_frame *f)
{
	struct buf value = BUF_INIT;
	int err = frame_pack(f, f->edition, &value);

	if (!err)
		err = record_put(txn, key, value.data, value.size);
	buf_release(&value);
	return err;
}

bool frame_same(const struct view_frame *a, const struct view_frame *b)
{
	return a->kind == b->kind && a->head_size == b->head_size && a->sep_size == b->sep_size && a->tail_size == b->tail_size &&
	       memcmp(a->bytes, b->bytes, a->head_size + a->sep_size + a->tail_size) == 0;
}

/* ---- Building ------------------------------------------------------------------------------------------------- */

static void block_unref(struct view_block *b)
{
	if (b && atomic_fetch_sub(&b->refs, 1) == 1)
		free(b);
}

struct store_view *view_new(uint64_t ino, uint64_t version, struct view_frame *frame)
{
	struct store_view *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	atomic_init(&v->refs, 1);
	pthread_mutex_init(&v->lock, NULL);
	v->ino = ino;
	v->version = version;
	v->frame = frame_ref(frame);
	return v;
}

struct store_view *store_view_ref(struct store_view *v)
{
	atomic_fetch_add(&v->refs, 1);
	return v;
}

void store_view_unref(struct store_view *v)
{
	if (!v || atomic_fetch_sub(&v->refs, 1) != 1)
		return;
	for (size_t i = 0; i < v->slot_count; i++)
		block_unref(v->slots[i].block);
	free(v->slots);
	free(v->dead);
	frame_unref(v->frame);
	pthread_mutex_destroy(&v->lock);
	free(v);
}

static int add_slot(struct store_view *v, struct view_block *b)
{
	if (v->slot_count == v->slot_room) {
		size_t room = v->slot_room ? v->slot_room * 2 : 4;
		struct view_slot *slots = realloc(v->slots, room * sizeof(*slots));

		if (!slots)
			return -ENOMEM;
		v->slots = slots;
		v->slot_room = room;
	}
	v->slots[v->slot_count++] = (struct view_slot){ .block = b };
	return 0;
}

/* The last block, when it is this view's alone and has room for `more`; else NULL. */
static struct view_block *open_block(struct store_view *v, uint32_t more)
{
	struct view_block *b, *bigger;
	uint32_t room;

	if (!v->slot_count)
		return NULL;
	b = v->slots[v->slot_count - 1].block;
	if (atomic_load(&b->refs) != 1 || b->count + more > BLOCK_ITEMS)
		return NULL;
	if (b->count + more <= b->room)
		return b;
	room = b->room * 2 < b->count + more ? b->count + more : b->room * 2;
	if (room > BLOCK_ITEMS)
		room = BLOCK_ITEMS;
	bigger = realloc(b, sizeof(*b) + room * sizeof(b->items[0]));
	if (!bigger)
		return NULL;
	bigger->room = room;
	v->slots[v->slot_count - 1].block = bigger;
	return bigger;
}

static int new_block(struct store_view *v, uint32_t room, struct view_block **ret)
{
	struct view_block *b = malloc(sizeof(*b) + room * sizeof(b->items[0]));
	int err;

	if (!b)
		return -ENOMEM;
	*b = (struct view_block){ .refs = 1, .room = room };
	err = add_slot(v, b);
	if (err) {
		free(b);
		return err;
	}
	*ret = b;
	return 0;
}

static void put_items(struct view_block *b, const struct view_item *items, uint32_t count)
{
	memcpy(b->items + b->count, items, count * sizeof(*items));
	b->count += count;
	for (uint32_t i = 0; i < count; i++) {
		b->bytes += items[i].size;
		b->bare += items[i].lead == 0;
		if (items[i].born > b->newest)
			b->newest = items[i].born;
	}
}

int view_add(struct store_view *v, const struct view_item *item)
{
	struct view_block *b = open_block(v, 1);
	int err;

	if (!b) {
		err = new_block(v, v->slot_count ? 32 : 4, &b);
		if (err)
			return err;
	}
	put_items(b, item, 1);
	v->bare += item->lead == 0;
	v->count++;
	return 0;
}

/* Whether what begins like `from` lies at the same places. */
static bool same_layout(const struct store_view *v, const struct store_view *from)
{
	return v->frame->head_size == from->frame->head_size && v->frame->sep_size == from->frame->sep_size;
}

int view_add_range(struct store_view *v, const struct store_view *from, uint64_t first, uint64_t count)
{
	struct view_cursor c = view_at(from, first);
	int err;

	while (count) {
		struct view_block *b = from->slots[c.slot].block, *open;
		uint32_t n = b->count - c.at;

		if (n > count)
			n = count;
		open = open_block(v, n);
		/* Whole blocks are shared, unless they are small enough to be gathered. */
		if (n == b->count && (n > BLOCK_ITEMS / 4 || !open) && count > n) {
			err = add_slot(v, b);
			if (err)
				return err;
			atomic_fetch_add(&b->refs, 1);
			v->bare += b->bare;
			if (v->settled == c.slot && v->slot_count == c.slot + 1 && same_layout(v, from)) {
				v->slots[c.slot] = from->slots[c.slot];
				v->settled++;
			}
		} else {
			if (!open) {
				err = new_block(v, n + 8 > BLOCK_ITEMS ? BLOCK_ITEMS : n + 8, &open);
				if (err)
					return err;
			}
			for (uint32_t i = 0; i < n; i++)
				v->bare += b->items[c.at + i].lead == 0;
			put_items(open, b->items + c.at, n);
		}
		v->count += n;
		count -= n;
		c.slot++;
		c.at = 0;
	}
	return 0;
}

static uint64_t block_size(const struct store_view *v, size_t i)
{
	const struct view_block *b = v->slots[i].block;
	uint64_t size = b->bytes + b->bare * v->frame->sep_size;

	if (i == 0)
		size -= b->items[0].lead ? b->items[0].lead : v->frame->sep_size;
	return size;
}

void view_finish(struct store_view *v)
{
	uint64_t offset = v->frame->head_size, index = 0;
	size_t i = v->settled;

	if (i) {
		offset = v->slots[i - 1].offset + block_size(v, i - 1);
		index = v->slots[i - 1].index + v->slots[i - 1].block->count;
	}
	for (; i < v->slot_count; i++) {
		v->slots[i].offset = offset;
		v->slots[i].index = index;
		offset += block_size(v, i);
		index += v->slots[i].block->count;
	}
	v->size = offset + v->frame->tail_size;
}

/* ---- Walking -------------------------------------------------------------------------------------------------- */

struct view_cursor view_at(const struct store_view *v, uint64_t index)
{
	size_t low = 0, high = v->slot_count;

	if (index >= v->count)
		return (struct view_cursor){ v, v->slot_count, 0 };
	while (high - low > 1) {
		size_t mid = (low + high) / 2;

		if (v->slots[mid].index <= index)
			low = mid;
		else
			high = mid;
	}
	return (struct view_cursor){ v, low, index - v->slots[low].index };
}

const struct view_item *view_next(struct view_cursor *c)
{
	const struct view_item *item;
	struct view_block *b;

	if (c->slot >= c->view->slot_count)
		return NULL;
	b = c->view->slots[c->slot].block;
	item = &b->items[c->at];
	if (++c->at == b->count) {
		c->at = 0;
		c->slot++;
	}
	return item;
}

const struct view_item *view_get(const struct store_view *v, uint64_t index)
{
	struct view_cursor c = view_at(v, index);

	return view_next(&c);
}

static bool same_edition(const struct view_item *a, const struct view_item *b)
{
	return a->pos == b->pos && a->edition == b->edition && a->born == b->born;
}

uint64_t view_common(const struct store_view *a, const struct store_view *b)
{
	uint64_t common = 0;
	size_t slots = a->slot_count < b->slot_count ? a->slot_count : b->slot_count, i = 0;
	struct view_cursor ca, cb;
	const struct view_item *x, *y;

	while (i < slots && a->slots[i].block == b->slots[i].block)
		i++;
	if (i)
		common = a->slots[i - 1].index + a->slots[i - 1].block->count;
	ca = (struct view_cursor){ a, i, 0 };
	cb = (struct view_cursor){ b, i, 0 };
	while ((x = view_next(&ca)) && (y = view_next(&cb)) && same_edition(x, y))
		common++;
	return common;
}

uint64_t view_find(const struct store_view *v, uint64_t pos, uint64_t born, bool *ret_found)
{
	size_t low = 0, high = v->slot_count;
	struct view_block *b;
	uint32_t first, last;

	*ret_found = false;
	if (!high)
		return 0;
	while (high - low > 1) {
		size_t mid = (low + high) / 2;

		if (v->slots[mid].block->items[0].pos <= pos)
			low = mid;
		else
			high = mid;
	}
	b = v->slots[low].block;
	first = 0;
	last = b->count;
	while (first < last) {
		uint32_t mid = (first + last) / 2;

		if (b->items[mid].pos < pos)
			first = mid + 1;
		else
			last = mid;
	}
	*ret_found = first < b->count && b->items[first].pos == pos && b->items[first].born == born;
	return v->slots[low].index + first;
}

static uint32_t lead_of(const struct store_view *v, const struct view_item *item, bool first)
{
	if (first)
		return 0;
	return item->lead ? item->lead : v->frame->sep_size;
}

void view_span(const struct store_view *v, uint64_t i, uint64_t *ret_lead, uint64_t *ret_start, uint64_t *ret_end)
{
	struct view_cursor c = view_at(v, i);
	const struct view_slot *slot = &v->slots[c.slot];
	const struct view_item *item = &slot->block->items[c.at];
	uint64_t offset = slot->offset;

	for (uint32_t j = 0; j < c.at; j++) {
		const struct view_item *before = &slot->block->items[j];

		offset += before->size - before->lead + lead_of(v, before, c.slot == 0 && j == 0);
	}
	*ret_lead = offset;
	*ret_start = offset + lead_of(v, item, i == 0);
	*ret_end = *ret_start + item->size - item->lead;
}

/* The item whose lead or body holds the byte at `offset`, and where its lead begins. There is such an item. */
static struct view_cursor item_at(const struct store_view *v, uint64_t offset, uint64_t *ret_offset)
{
	size_t low = 0, high = v->slot_count;
	struct view_block *b;
	uint64_t at;
	uint32_t i;

	while (high - low > 1) {
		size_t mid = (low + high) / 2;

		if (v->slots[mid].offset <= offset)
			low = mid;
		else
			high = mid;
	}
	b = v->slots[low].block;
	at = v->slots[low].offset;
	for (i = 0; i + 1 < b->count; i++) {
		uint64_t size = b->items[i].size - b->items[i].lead + lead_of(v, &b->items[i], low == 0 && i == 0);

		if (at + size > offset)
			break;
		at += size;
	}
	*ret_offset = at;
	return (struct view_cursor){ v, low, i };
}

uint64_t view_ending(const struct store_view *v, uint64_t offset, uint64_t *ret_end)
{
	struct view_cursor c;
	uint64_t at, lead, start, end, i;

	if (!v->count || offset <= v->frame->head_size)
		return 0;
	c = item_at(v, offset - 1, &at);
	i = v->slots[c.slot].index + c.at;
	view_span(v, i, &lead, &start, &end);
	if (end > offset) {
		if (!i)
			return 0;
		end = lead;
	} else {
		i++;
	}
	*ret_end = end;
	return i;
}

/* ---- Bytes ---------------------------------------------------------------------------------------------------- */

static int message_parse(struct db_value value, struct rec_message *ret_head, struct db_value *ret)
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

	c = item_at(v, offset, &at);
	r->skip = offset - at;
	key = key_number(v->ino, REC_MESSAGE, v->slots[c.slot].block->items[c.at].pos);
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

static int load_items(struct db_txn *txn, struct store_view *v)
{
	struct key key = key_number(v->ino, REC_MESSAGE, 0);
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
		err = load_items(txn, v);
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
