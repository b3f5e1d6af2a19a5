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
	if (size < (size_t)rec.head_size + rec.sep_size || rec.kind > DOC_LINES)
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

static void front_unref(struct view_front *f)
{
	if (!f || atomic_fetch_sub(&f->refs, 1) != 1)
		return;
	for (size_t i = 0; i < f->count; i++)
		block_unref(f->slots[i].block);
	free(f);
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
	for (size_t i = v->front_count; i < v->slot_count; i++)
		block_unref(view_slot(v, i)->block);
	front_unref(v->front);
	free(v->slots);
	free(v->dead);
	frame_unref(v->frame);
	pthread_mutex_destroy(&v->lock);
	free(v);
}

static int reserve_slots(struct store_view *v, size_t count)
{
	size_t room = v->slot_room ? v->slot_room : 4;
	struct view_slot *slots;

	if (count <= v->slot_room)
		return 0;
	while (room < count)
		room *= 2;
	slots = realloc(v->slots, room * sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	v->slots = slots;
	v->slot_room = room;
	return 0;
}

static int add_slot(struct store_view *v, struct view_block *b)
{
	int err = reserve_slots(v, v->slot_count - v->front_count + 1);

	if (!err)
		*view_slot(v, v->slot_count++) = (struct view_slot){ .block = b };
	return err;
}

/* The last block, when it is this view's alone and has room for `more`; else NULL. */
static struct view_block *open_block(struct store_view *v, uint32_t more)
{
	struct view_block *b, *bigger;
	uint32_t room;

	if (v->slot_count == v->front_count)
		return NULL;
	b = view_slot(v, v->slot_count - 1)->block;
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
	view_slot(v, v->slot_count - 1)->block = bigger;
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

/* Takes from->front, as far as its blocks are within `count` and not the last ones: how many items those are. */
static uint64_t take_front(struct store_view *v, const struct store_view *from, uint64_t count)
{
	size_t n = from->front_count;

	while (n && (n == from->slot_count || view_slot(from, n)->index >= count))
		n--;
	if (!n || v->count || !same_layout(v, from))
		return 0;
	v->slot_count = v->settled = v->front_count = n;
	v->front = from->front;
	atomic_fetch_add(&v->front->refs, 1);
	v->bare = view_slot(from, n)->bare;
	v->count = view_slot(from, n)->index;
	return v->count;
}

int view_add_range(struct store_view *v, const struct store_view *from, uint64_t first, uint64_t count)
{
	struct view_cursor c;
	uint64_t taken = first ? 0 : take_front(v, from, count);
	int err;

	c = view_at(from, first + taken);
	count -= taken;
	while (count) {
		struct view_block *b = view_slot(from, c.slot)->block, *open;
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
				*view_slot(v, c.slot) = *view_slot(from, c.slot);
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
	const struct view_block *b = view_slot(v, i)->block;
	uint64_t size = b->bytes + b->bare * v->frame->sep_size;

	if (i == 0)
		size -= b->items[0].lead ? b->items[0].lead : v->frame->sep_size;
	return size;
}

/* All slots but the last become a front. Failing for want of memory does no harm. */
static void make_front(struct store_view *v)
{
	size_t count = v->slot_count - 1, more = count - v->front_count;
	struct view_front *f = malloc(sizeof(*f) + count * sizeof(f->slots[0]));

	if (!f)
		return;
	atomic_init(&f->refs, 1);
	f->count = count;
	for (size_t i = 0; i < count; i++) {
		f->slots[i] = *view_slot(v, i);
		if (i < v->front_count)
			atomic_fetch_add(&f->slots[i].block->refs, 1);
	}
	v->slots[0] = v->slots[more];
	front_unref(v->front);
	v->front = f;
	v->front_count = v->settled = count;
}

void view_finish(struct store_view *v)
{
	uint64_t offset = v->frame->head_size, index = 0, bare = 0;
	size_t i = v->settled;

	if (i) {
		const struct view_slot *last = view_slot(v, i - 1);

		offset = last->offset + block_size(v, i - 1);
		index = last->index + last->block->count;
		bare = last->bare + last->block->bare;
	}
	for (; i < v->slot_count; i++) {
		struct view_slot *slot = view_slot(v, i);

		slot->offset = offset;
		slot->index = index;
		slot->bare = bare;
		slot->newest = slot->block->newest;
		offset += block_size(v, i);
		index += slot->block->count;
		bare += slot->block->bare;
	}
	v->size = offset + v->frame->tail_size;
	if (v->slot_count > v->front_count + FRONT_BLOCKS)
		make_front(v);
}

static struct view_block *copy_block(const struct view_block *b)
{
	struct view_block *copy = malloc(sizeof(*b) + b->count * sizeof(b->items[0]));

	if (!copy)
		return NULL;
	*copy = (struct view_block){ .refs = 1, .count = b->count, .room = b->count, .bytes = b->bytes, .bare = b->bare, .newest = b->newest };
	memcpy(copy->items, b->items, b->count * sizeof(b->items[0]));
	return copy;
}

int view_own(struct store_view *v)
{
	struct view_slot *slots = malloc((v->slot_count + 1) * sizeof(*slots));
	size_t done = 0;

	if (!slots)
		return -ENOMEM;
	for (; done < v->slot_count; done++) {
		slots[done] = *view_slot(v, done);
		slots[done].block = copy_block(slots[done].block);
		if (!slots[done].block)
			break;
	}
	if (done < v->slot_count) {
		while (done)
			block_unref(slots[--done].block);
		free(slots);
		return -ENOMEM;
	}
	for (size_t i = v->front_count; i < v->slot_count; i++)
		block_unref(view_slot(v, i)->block);
	front_unref(v->front);
	free(v->slots);
	v->front = NULL;
	v->front_count = 0;
	v->slots = slots;
	v->slot_room = v->slot_count + 1;
	return 0;
}

/* ---- Walking -------------------------------------------------------------------------------------------------- */

struct view_cursor view_at(const struct store_view *v, uint64_t index)
{
	size_t low = 0, high = v->slot_count;

	if (index >= v->count)
		return (struct view_cursor){ v, v->slot_count, 0 };
	while (high - low > 1) {
		size_t mid = (low + high) / 2;

		if (view_slot(v, mid)->index <= index)
			low = mid;
		else
			high = mid;
	}
	return (struct view_cursor){ v, low, index - view_slot(v, low)->index };
}

const struct view_item *view_next(struct view_cursor *c)
{
	const struct view_item *item;
	struct view_block *b;

	if (c->slot >= c->view->slot_count)
		return NULL;
	b = view_slot(c->view, c->slot)->block;
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
	size_t fronts = a->front_count < b->front_count ? a->front_count : b->front_count;
	struct view_cursor ca, cb;
	const struct view_item *x, *y;

	if (a->front == b->front)
		i = fronts;
	while (i < slots && view_slot(a, i)->block == view_slot(b, i)->block)
		i++;
	if (i)
		common = view_slot(a, i - 1)->index + view_slot(a, i - 1)->block->count;
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

		if (view_slot(v, mid)->block->items[0].pos <= pos)
			low = mid;
		else
			high = mid;
	}
	b = view_slot(v, low)->block;
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
	return view_slot(v, low)->index + first;
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
	const struct view_slot *slot = view_slot(v, c.slot);
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

struct view_cursor view_item_at(const struct store_view *v, uint64_t offset, uint64_t *ret_offset)
{
	size_t low = 0, high = v->slot_count;
	struct view_block *b;
	uint64_t at;
	uint32_t i;

	while (high - low > 1) {
		size_t mid = (low + high) / 2;

		if (view_slot(v, mid)->offset <= offset)
			low = mid;
		else
			high = mid;
	}
	b = view_slot(v, low)->block;
	at = view_slot(v, low)->offset;
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
	c = view_item_at(v, offset - 1, &at);
	i = view_slot(v, c.slot)->index + c.at;
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
