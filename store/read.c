/* Reading a version's bytes. */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "inside.h"
#include "view.h"

#define PAGE_AHEAD 4096

struct sink {
	char *at;
	size_t left;
};

static int copy_piece(void *arg, const void *bytes, size_t size)
{
	struct sink *sink = arg;

	/* Messages that follow one another lie in pages that do so, mostly; the processor looks no further than the end of one. */
	for (size_t i = 0; i < size; i += 64)
		__builtin_prefetch((const char *)bytes + PAGE_AHEAD + i);
	memcpy(sink->at, bytes, size);
	sink->at += size;
	sink->left -= size;
	return 0;
}

static int view_copy(struct db_txn *txn, struct store_view *v, uint64_t offset, void *buf, size_t size, size_t *ret)
{
	struct sink sink = { buf, size };
	int err = view_pieces(txn, v, offset, size, copy_piece, &sink);

	if (!err)
		*ret = size - sink.left;
	return err;
}

int store_view_read(struct store_view *v, uint64_t offset, void *buf, size_t size, size_t *ret)
{
	struct db_txn *txn;
	int err = db_read_begin(v->store->db, &txn);

	if (err)
		return err;
	err = view_copy(txn, v, offset, buf, size, ret);
	db_read_end(txn);
	return err;
}

#define SEND_PIECES 16	/* more are gathered: the kernel takes one large piece much faster than many small ones */
#define SEND_SMALL (64u << 10)	/* bytes: so many are gathered on the stack */

struct pieces {
	struct iovec *list;
	int count;
};

static int collect_piece(void *arg, const void *bytes, size_t size)
{
	struct pieces *p = arg;

	if (p->count == SEND_PIECES)
		return -E2BIG;
	p->list[p->count++] = (struct iovec){ (void *)bytes, size };
	return 0;
}

/*
 * Buffers for what lies in too many pieces, of as many reads at once as there can be processors at work on them. They are kept: memory
 * fresh from the system costs more than the copy. In a huge page the kernel has one page to look up, not hundreds.
 */
#define GATHERS 8
#define HUGE_PAGE ((size_t)2 << 20)

struct gather {
	pthread_mutex_t lock;
	pthread_cond_t freed;
	struct gather_buffer {
		bool taken;		/* gather.lock */
		size_t size;		/* whose it is while it is taken */
		char *bytes;
	} buffers[GATHERS];
};

int gather_new(struct gather **ret)
{
	struct gather *g = calloc(1, sizeof(*g));

	if (!g)
		return -ENOMEM;
	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->freed, NULL);
	*ret = g;
	return 0;
}

void gather_free(struct gather *g)
{
	if (!g)
		return;
	for (size_t i = 0; i < GATHERS; i++)
		free(g->buffers[i].bytes);
	pthread_cond_destroy(&g->freed);
	pthread_mutex_destroy(&g->lock);
	free(g);
}

/* Rather one that this processor has in its cache than another's. Needs the lock. */
static struct gather_buffer *free_buffer(struct gather *g)
{
	size_t first = (size_t)sched_getcpu();

	for (size_t i = 0; i < GATHERS; i++) {
		struct gather_buffer *b = &g->buffers[(first + i) % GATHERS];

		if (!b->taken)
			return b;
	}
	return NULL;
}

static int gather_take(struct gather *g, size_t size, struct gather_buffer **ret)
{
	struct gather_buffer *b;

	pthread_mutex_lock(&g->lock);
	while (!(b = free_buffer(g)))
		pthread_cond_wait(&g->freed, &g->lock);
	b->taken = true;
	pthread_mutex_unlock(&g->lock);
	if (b->size < size) {
		free(b->bytes);
		b->size = (size + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
		b->bytes = aligned_alloc(HUGE_PAGE, b->size);
		if (b->bytes)
			madvise(b->bytes, b->size, MADV_HUGEPAGE);
		else
			b->size = 0;
	}
	*ret = b;
	return b->size < size ? -ENOMEM : 0;
}

static void gather_give(struct gather *g, struct gather_buffer *b)
{
	pthread_mutex_lock(&g->lock);
	b->taken = false;
	pthread_cond_signal(&g->freed);
	pthread_mutex_unlock(&g->lock);
}

int store_view_send(struct store_view *v, uint64_t offset, size_t size, int (*send)(void *arg, struct iovec *pieces, int count), void *arg)
{
	struct iovec list[SEND_PIECES];
	struct pieces p = { list, 0 };
	struct gather *g = v->store->gather;
	struct gather_buffer *b = NULL;
	struct db_txn *txn;
	char small[SEND_SMALL];
	int err = db_read_begin(v->store->db, &txn);

	if (err)
		return err;
	err = view_pieces(txn, v, offset, size, collect_piece, &p);
	if (err == -E2BIG) {
		err = size > SEND_SMALL ? gather_take(g, size, &b) : 0;
		list[0] = (struct iovec){ b ? b->bytes : small, 0 };
		p.count = 1;
		if (!err)
			err = view_copy(txn, v, offset, list[0].iov_base, size, &list[0].iov_len);
	}
	if (!err)
		err = send(arg, list, p.count);
	if (b)
		gather_give(g, b);
	db_read_end(txn);
	return err;
}

struct comparison {
	const char *at;
	size_t equal;
};

static int compare_piece(void *arg, const void *bytes, size_t size)
{
	struct comparison *c = arg;
	const char *other = bytes;
	size_t i = 0;

	if (memcmp(c->at, other, size) != 0) {
		while (c->at[i] == other[i])
			i++;
		c->equal += i;
		return 1;
	}
	c->at += size;
	c->equal += size;
	return 0;
}

int store_view_match(struct store_view *v, uint64_t offset, const void *bytes, size_t size, size_t *ret)
{
	struct comparison c = { bytes, 0 };
	struct db_txn *txn;
	int err = db_read_begin(v->store->db, &txn);

	if (err)
		return err;
	err = view_pieces(txn, v, offset, size, compare_piece, &c);
	db_read_end(txn);
	if (err < 0)
		return err;
	*ret = c.equal;
	return 0;
}

int store_view_origin(struct store_view *v, uint64_t i, struct store_origin *ret)
{
	struct rec_message rec;
	struct db_value bytes;
	struct db_txn *txn;
	int err = db_read_begin(v->store->db, &txn);

	if (err)
		return err;
	err = view_record(txn, v, view_get(v, i), &rec, &bytes);
	db_read_end(txn);
	if (!err)
		*ret = (struct store_origin){ rec.born, time_unpack(rec.time), rec.pid, rec.uid };
	return err;
}
