/*
 * An index of one version of a document: which messages, in which order, how long. Immutable once finished, so versions
 * share blocks: an append copies one block, and touches no other, not even to count a reference: all but the last few are in a front
 * that the versions share.
 *
 * Identity of a message is (pos, born); its bytes are those of `edition`. They are in the record ('M', pos), or, when the
 * message has been removed or restyled since, in a dead one ('D').
 */
#ifndef STORE_VIEW_H
#define STORE_VIEW_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "doc.h"
#include "record.h"

#define BLOCK_ITEMS 128
#define FRONT_BLOCKS 16		/* blocks that a version may hold itself before they get a front */

struct view_item {
	uint64_t pos, born, edition, hash;
	uint32_t size, lead;		/* of the record's bytes: lead and body; of the lead alone */
};

struct view_block {
	atomic_uint refs;
	uint32_t count, room;
	uint64_t bytes;			/* sum of size */
	uint64_t bare;			/* items without a lead */
	uint64_t newest;		/* highest born */
	struct view_item items[];
};

struct view_frame {
	atomic_uint refs;
	enum doc_kind kind;
	uint64_t edition;
	size_t head_size, sep_size, tail_size;
	char bytes[];			/* head, separator, tail */
};

struct view_slot {
	struct view_block *block;
	uint64_t offset;		/* in the document, of the block's first item, its lead included */
	uint64_t index;			/* of its first item */
	uint64_t bare;			/* items without a lead before it */
	uint64_t newest;		/* the block's */
};

/* The first slots of all the versions that share it, with a reference to each block. */
struct view_front {
	atomic_uint refs;
	size_t count;
	struct view_slot slots[];
};

struct view_dead {
	uint64_t pos, edition, died;
};

struct store_view {
	atomic_uint refs;
	struct store *store;		/* not owned; NULL in views that are never read */
	uint64_t ino, version, count, size;
	struct view_frame *frame;
	struct view_front *front;	/* may be NULL */
	size_t front_count;		/* how many of its slots are the view's first */
	struct view_slot *slots;	/* those behind them */
	size_t slot_count;		/* in the front and behind it */
	size_t slot_room;		/* of `slots` */
	uint64_t bare;			/* items without a lead */
	size_t settled;			/* slots at the beginning that were taken from another view, places and all */

	pthread_mutex_t lock;
	struct view_dead *dead;		/* lock; where bytes have gone since, ordered by pos and edition */
	size_t dead_count;		/* lock */
};

/* The i-th slot, i < slot_count. */
static inline struct view_slot *view_slot(const struct store_view *v, size_t i)
{
	return i < v->front_count ? &v->front->slots[i] : &v->slots[i - v->front_count];
}

static inline const char *frame_sep(const struct view_frame *f)
{
	return f->bytes + f->head_size;
}

static inline const char *frame_tail(const struct view_frame *f)
{
	return f->bytes + f->head_size + f->sep_size;
}

struct view_frame *frame_new(enum doc_kind kind, uint64_t edition, const void *head, size_t head_size, const void *sep, size_t sep_size,
			     const void *tail, size_t tail_size);
struct view_frame *frame_ref(struct view_frame *f);
void frame_unref(struct view_frame *f);
/* Reads a frame record. -ENOENT, -EUCLEAN, -ENOMEM. */
int frame_get(struct db_txn *txn, const struct key *key, struct view_frame **ret);
/* The frame that a version of the document has, which is not above its newest. */
int frame_at(struct db_txn *txn, uint64_t ino, uint64_t version, struct view_frame **ret);
int frame_put(struct db_txn *txn, const struct key *key, const struct view_frame *f);
/* Appends the bytes of a frame record. */
int frame_pack(const struct view_frame *f, uint64_t edition, struct buf *out);
int frame_parse(struct db_value value, struct view_frame **ret);
bool frame_same(const struct view_frame *a, const struct view_frame *b);

/* Building: new, then add in order, then finish. On -ENOMEM unref what there is. Takes no reference to `frame` but its own. */
struct store_view *view_new(uint64_t ino, uint64_t version, struct view_frame *frame);
int view_add(struct store_view *v, const struct view_item *item);
int view_add_range(struct store_view *v, const struct store_view *from, uint64_t first, uint64_t count);
void view_finish(struct store_view *v);
/* Makes all blocks the view's own, so that they may be changed; for a view that nobody else has yet. -ENOMEM. */
int view_own(struct store_view *v);

/* Walking. */
struct view_cursor {
	const struct store_view *view;
	size_t slot;
	uint32_t at;
};
struct view_cursor view_at(const struct store_view *v, uint64_t index);
const struct view_item *view_next(struct view_cursor *c);	/* NULL at the end */
const struct view_item *view_get(const struct store_view *v, uint64_t index);

/* How many items at the beginning are the same editions of the same messages. */
uint64_t view_common(const struct store_view *a, const struct store_view *b);
/* The index of the message with this position and born, or of the first with a higher position (*ret_found false). */
uint64_t view_find(const struct store_view *v, uint64_t pos, uint64_t born, bool *ret_found);

/* Where item i's lead and body begin, and where the body ends, in the document. */
void view_span(const struct store_view *v, uint64_t i, uint64_t *ret_lead, uint64_t *ret_start, uint64_t *ret_end);

/* The item whose lead or body holds the byte at `offset`, and where its lead begins. There is such an item. */
struct view_cursor view_item_at(const struct store_view *v, uint64_t offset, uint64_t *ret_offset);

/* How many messages end at or before `offset`; *ret_end: where the last of them ends. */
uint64_t view_ending(const struct store_view *v, uint64_t offset, uint64_t *ret_end);

/* Builds the view of a version (0: the newest) from the records. -ENOENT, -EUCLEAN, -ENOMEM. */
int view_load(struct db_txn *txn, uint64_t ino, uint64_t version, struct store_view **ret);

/* The newest version's, from the view of an earlier one, whose reference it takes over in any case: appended messages alone are read. */
int view_renew(struct db_txn *txn, struct store_view *old, struct store_view **ret);

/* A message's record: its fixed part; its lead and body, borrowed. -EUCLEAN. */
int message_parse(struct db_value value, struct rec_message *ret_head, struct db_value *ret);

/* The record of an item: *ret_head its fixed part, *ret its lead and body, borrowed from the transaction. -EUCLEAN when it is missing. */
int view_record(struct db_txn *txn, struct store_view *v, const struct view_item *item, struct rec_message *ret_head, struct db_value *ret);

/*
 * Calls `piece` for the runs of bytes that make up [offset, offset + size), in order, cut to that range, until it returns
 * non-zero; its result, or 0, or an error. The bytes are borrowed from the transaction and the view.
 */
int view_pieces(struct db_txn *txn, struct store_view *v, uint64_t offset, uint64_t size,
		int (*piece)(void *arg, const void *bytes, size_t size), void *arg);


#endif
