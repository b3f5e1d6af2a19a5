/*
 * Keeps the bytes of refused documents within a bound. Those that this may remove again bear a mark
 * in their mode; what else is in the directory (originals of salvaged files, bytes that a first
 * document replaced) is nobody's to remove but its owner's.
 */
#include "reject.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "log.h"

#define KEPT_PENDING (UINT64_C(4) << 20)	/* bytes that wait for the disk at most */
#define FILES_MAX 1000
#define MARK (S_IFREG | S_ISVTX | 0600)
#define PIECE (1u << 20)

struct rejects {
	pthread_mutex_t lock;
	/* All under `lock`. */
	bool counted;
	uint64_t files, bytes, gone;
};

struct kept {
	uint64_t ino, size;
	char name[STORE_NAME_MAX + 1];
};

struct list {
	struct kept *kept;
	size_t count, room;
	uint64_t bytes;
};

int rejects_new(struct rejects **ret)
{
	struct rejects *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	pthread_mutex_init(&r->lock, NULL);
	*ret = r;
	return 0;
}

void rejects_free(struct rejects *r)
{
	if (!r)
		return;
	pthread_mutex_destroy(&r->lock);
	free(r);
}

static int add(void *arg, const struct store_attr *a, uint64_t cookie)
{
	struct list *l = arg;

	if (a->mode != MARK)
		return 0;
	if (l->count == l->room) {
		size_t room = l->room ? l->room * 2 : 64;
		struct kept *kept = realloc(l->kept, room * sizeof(*kept));

		if (!kept)
			return -ENOMEM;
		l->kept = kept;
		l->room = room;
	}
	l->kept[l->count] = (struct kept){ .ino = a->ino, .size = a->size };
	strcpy(l->kept[l->count++].name, a->name);
	l->bytes += a->size;
	return 0;
}

/* Numbers of inodes ascend. */
static int by_age(const void *a, const void *b)
{
	const struct kept *one = a, *other = b;

	return (one->ino > other->ino) - (one->ino < other->ino);
}

/*
 * Needs the lock. Counts what is there, and removes the oldest until there is room for `size`
 * bytes, and some for the next.
 */
static int make_room(struct mount *m, struct rejects *r, uint64_t size)
{
	uint64_t limit = m->options.rejected, room = limit - size, gone = 0, bytes = 0;
	struct list l = { 0 };
	int err = store_readdir(m->store, STORE_REJECTED, 0, true, add, &l);
	bool full = l.count >= FILES_MAX || l.bytes > room;

	if (full && room > limit / 16 * 15)
		room = limit / 16 * 15;
	if (!err && full)
		qsort(l.kept, l.count, sizeof(*l.kept), by_age);
	for (size_t i = 0; !err && full && i < l.count; i++) {
		if (l.count - gone <= FILES_MAX / 16 * 15 && l.bytes - bytes <= room)
			break;
		err = store_unlink(m->store, STORE_REJECTED, l.kept[i].name,
				   inodes_is_open(m->inodes, l.kept[i].ino), NULL);
		if (err == -ENOENT)
			err = 0;
		gone += !err;
		bytes += err ? 0 : l.kept[i].size;
	}
	if (!err) {
		r->counted = true;
		r->files = l.count - gone;
		r->bytes = l.bytes - bytes;
	}
	r->gone += gone;
	if (gone)
		log_often("removed the %llu oldest of the refused documents from "
			  ".historyfs/rejected/, %llu bytes: %llu bytes and %d files are kept "
			  "there (-o rejected=SIZE)", (unsigned long long)gone, (unsigned long long)bytes,
			  (unsigned long long)limit, FILES_MAX);
	free(l.kept);
	return err;
}

void rejects_name(const char *name, char kept[STORE_NAME_MAX + 1])
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	snprintf(kept, STORE_NAME_MAX + 1, "%.200s-%lld%09ld", name, (long long)now.tv_sec,
		 now.tv_nsec);
}

/* Needs the lock. */
static int count(struct mount *m, uint64_t size)
{
	struct rejects *r = m->rejects;
	int err = 0;

	if (size > m->options.rejected)
		return -EFBIG;
	if (!r->counted || r->files >= FILES_MAX || r->bytes + size > m->options.rejected)
		err = make_room(m, r, size);
	if (!err) {
		r->files++;
		r->bytes += size;
	}
	return err;
}

static int copy(struct mount *m, struct draft *d, uint64_t ino)
{
	uint64_t size = draft_size(d);
	size_t room = size < PIECE ? size : PIECE, got;
	char *buf = malloc(room ? room : 1);
	int err = buf ? 0 : -ENOMEM;

	for (uint64_t at = 0; !err && at < size; at += got) {
		err = draft_read(d, at, buf, room, &got);
		if (!err)
			err = store_write(m->store, ino, at, buf, got);
		/* Where memory is short, as it may be just now, it must not gather there. */
		if (!err && (at + got) / KEPT_PENDING != at / KEPT_PENDING)
			err = store_drain(m->store);
	}
	free(buf);
	return err;
}

int rejects_keep(struct mount *m, struct draft *d, const char *name, char kept[STORE_NAME_MAX + 1])
{
	struct rejects *r = m->rejects;
	struct store_attr a;
	int err;

	pthread_mutex_lock(&r->lock);
	rejects_name(name, kept);
	err = count(m, draft_size(d));
	if (!err)
		err = store_create(m->store, STORE_REJECTED, kept, 0, MARK, m->owner,
				   m->owner_group, NULL, &a);
	if (!err) {
		err = copy(m, d, a.ino);
		/* Half of it would only look like all. */
		if (err)
			store_unlink(m->store, STORE_REJECTED, kept, false, NULL);
	}
	r->counted &= !err;
	pthread_mutex_unlock(&r->lock);
	return err;
}

void rejects_took(struct mount *m, uint64_t ino, uint64_t size)
{
	struct rejects *r = m->rejects;

	pthread_mutex_lock(&r->lock);
	/* One that is alone too large is counted, so that the next makes room, and it goes then. */
	count(m, size < m->options.rejected ? size : m->options.rejected);
	if (store_setattr(m->store, ino, &(struct store_attr){ .mode = MARK }, STORE_SET_MODE,
			  NULL))
		r->counted = false;
	pthread_mutex_unlock(&r->lock);
}

uint64_t rejects_gone(struct rejects *r)
{
	uint64_t gone;

	pthread_mutex_lock(&r->lock);
	gone = r->gone;
	pthread_mutex_unlock(&r->lock);
	return gone;
}
