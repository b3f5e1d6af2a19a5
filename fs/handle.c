#include "handle.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int handle_new(struct mount *m, enum handle_kind kind, uint64_t ino, struct inode *inode, int flags, const struct process *opener, struct handle **ret)
{
	struct handle *h = calloc(1, sizeof(*h));

	if (!h)
		return -ENOMEM;
	atomic_init(&h->kind, kind);
	h->ino = ino;
	h->inode = inode;
	h->flags = flags;
	h->opener = h->writer = *opener;
	atomic_init(&h->draft_size, HANDLE_NONE);
	atomic_init(&h->pending, 0);
	atomic_init(&h->view_size, HANDLE_NONE);
	atomic_init(&h->own_size, HANDLE_NONE);
	atomic_init(&h->mtime, HANDLE_NO_TIME);
	atomic_init(&h->unread, kind == HANDLE_DOCUMENT && !handle_writes(h));
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->idle, NULL);
	pthread_mutex_lock(&h->lock);
	if (inode)
		inodes_add_handle(m->inodes, inode, h);
	*ret = h;
	return 0;
}

void handle_forget(struct mount *m, uint64_t ino, const struct process *who)
{
	static const struct process nobody;
	struct store_attr a;
	struct inode *i;
	bool open = inodes_leave(m->inodes, ino, &i);

	if (!open && !store_getattr(m->store, ino, &a)) {
		gone_note(m->gone, &a);
		store_forget(m->store, ino);
	}
	/* Who has it open forgets it. */
	if (inodes_left(m->inodes, i, true, who ? who : &nobody) && open)
		store_forget(m->store, ino);
}

static void close_inode(struct mount *m, struct inode *i)
{
	uint64_t ino = i->ino;
	bool unlinked;

	if (inodes_close(m->inodes, i, &unlinked) && unlinked)
		handle_forget(m, ino, NULL);
}

void handle_move(struct mount *m, struct handle *h, struct inode *to)
{
	struct inode *spare = inodes_move_handle(m->inodes, h, to);

	if (spare)
		close_inode(m, spare);
}

int handle_stands_for(struct mount *m, struct handle *h, uint64_t ino)
{
	struct inode *former;
	int err = inodes_open(m->inodes, ino, h->parent, h->name, &former);

	if (!err)
		inodes_set_former(m->inodes, h, former);
	return err;
}

void handle_free(struct mount *m, struct handle *h)
{
	struct place place;
	uint64_t id;

	if (!h)
		return;
	handle_unsettled(m, h, false);
	/* Who renames the file may have found the handle before that; nobody does from now on. */
	handle_closing(h);
	handle_lock(h);
	handle_unlock(h);
	if (h->inode)
		inodes_remove_handle(m->inodes, h->inode, h);
	draft_release(&h->draft);
	store_view_unref(h->view);
	ticket_set_free(h->set);
	if (h->inode) {
		inodes_place(m->inodes, h->inode, &place);
		if ((id = atomic_load(&h->temp)))
			temps_closed(m, place.name, id);
		close_inode(m, h->inode);
	}
	if (h->former)
		close_inode(m, h->former);
	free(h->bytes);
	pthread_mutex_destroy(&h->lock);
	pthread_cond_destroy(&h->idle);
	free(h);
}

void handle_lock(struct handle *h)
{
	pthread_mutex_lock(&h->lock);
	while (h->saving)
		pthread_cond_wait(&h->idle, &h->lock);
}

void handle_unlock(struct handle *h)
{
	pthread_mutex_unlock(&h->lock);
}

bool handle_is_new(struct mount *m, const struct handle *h)
{
	struct place place;

	inodes_place(m->inodes, h->inode, &place);
	return place.embryo && !h->seen;
}

int handle_view(struct mount *m, const struct handle *h, struct store_view **ret)
{
	struct store_attr a;
	uint64_t stored;
	int err = store_view_open(m->store, h->ino, 0, ret);

	/* A new file may have the number of a document that was unlinked. */
	if (err != -ENOENT || handle_is_new(m, h))
		return err;
	err = store_getattr(m->store, h->ino, &a);
	if (!err && a.kind == STORE_DOCUMENT && a.version)
		err = store_view_open(m->store, h->ino, a.version, ret);
	/* The file that it made was saved by another handle first, as the document that had the name before. */
	if (err == -ENOENT && (stored = inodes_stored(m->inodes, h->inode->ino)))
		err = store_view_open(m->store, stored, 0, ret);
	return err;
}

/* The bytes of a file that is no document yet. */
static int begin_raw(struct mount *m, struct handle *h)
{
	struct store_attr a;
	char *bytes;
	size_t got;
	int err = store_getattr(m->store, h->ino, &a);

	if (err == -ENOENT || (!err && (!a.size || a.kind == STORE_DOCUMENT)))
		return 0;
	if (err)
		return err;
	if (a.size > m->options.max_document)
		return -EFBIG;
	bytes = malloc(a.size);
	if (!bytes)
		return -ENOMEM;
	err = store_read(m->store, h->ino, 0, bytes, a.size, &got);
	if (!err)
		err = draft_write(&h->draft, 0, bytes, got, m->options.max_document);
	free(bytes);
	return err;
}

int handle_draft(struct mount *m, struct handle *h, bool truncate)
{
	struct store_view *now = NULL;
	int err;

	if (h->has_draft)
		return 0;
	/* What was read through this handle is what it goes on from; otherwise the newest. */
	if (h->view && !truncate)
		now = store_view_ref(h->view);
	else if (truncate)
		store_view_open(m->store, h->ino, 0, &now);
	else if ((err = handle_view(m, h, &now)) && err != -ENOENT && err != -EINVAL)
		return err;
	if (truncate || h->empty) {
		draft_begin(&h->draft, now);
	} else if (now) {
		draft_begin_whole(&h->draft, now);
	} else {
		draft_begin(&h->draft, NULL);
		err = begin_raw(m, h);
		if (err) {
			draft_release(&h->draft);
			return err;
		}
	}
	store_view_unref(now);
	h->has_draft = true;
	atomic_store(&h->draft_size, draft_size(&h->draft));
	return 0;
}

void handle_undraft(struct handle *h)
{
	draft_release(&h->draft);
	h->has_draft = false;
	atomic_store(&h->draft_size, HANDLE_NONE);
}

#define SETTLE_NS 10000000	/* a release follows its flush within microseconds; a long wait would slow who looks at a file being written */

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void handle_unsettled(struct mount *m, struct handle *h, bool unsettled)
{
	uint64_t old = atomic_exchange(&h->unsettled, unsettled ? now_ns() : 0);

	if (unsettled && !old)
		atomic_fetch_add(&m->unsettled, 1);
	else if (!unsettled && old)
		atomic_fetch_sub(&m->unsettled, 1);
}

void handle_releasing(struct handle *h)
{
	if (atomic_load(&h->unsettled))
		atomic_store(&h->unsettled, UINT64_MAX);
}

void handle_closing(struct handle *h)
{
	atomic_store(&h->closing, true);
}

static void visit_unsettled(struct handle *h, void *arg)
{
	uint64_t at = atomic_load(&h->unsettled), *latest = arg;

	if (at > *latest)
		*latest = at;
}

void handle_settle(struct mount *m, uint64_t ino, uint64_t parent, const char *name)
{
	struct store_attr a;

	while (atomic_load(&m->unsettled)) {
		uint64_t latest = 0;

		/* One that has been renamed to a document's name, too. */
		if (name && inodes_find_embryo(m->inodes, parent, name, 0, &a))
			inodes_visit(m->inodes, a.ino, visit_unsettled, &latest);
		if (ino)
			inodes_visit(m->inodes, ino, visit_unsettled, &latest);
		if (!latest || (latest != UINT64_MAX && now_ns() - latest > SETTLE_NS))
			return;
		nanosleep(&(struct timespec){ 0, 100000 }, NULL);
	}
}

struct beneath {
	uint64_t parent, latest;
};

static void visit_beneath(struct handle *h, void *arg)
{
	struct beneath *b = arg;

	if (h->inode && h->inode->parent == b->parent)
		visit_unsettled(h, &b->latest);
}

void handle_settle_directory(struct mount *m, uint64_t ino)
{
	while (atomic_load(&m->unsettled)) {
		struct beneath b = { .parent = ino };

		inodes_visit(m->inodes, 0, visit_beneath, &b);
		if (!b.latest || (b.latest != UINT64_MAX && now_ns() - b.latest > SETTLE_NS))
			return;
		nanosleep(&(struct timespec){ 0, 100000 }, NULL);
	}
}

void handle_changed(struct handle *h, const struct process *who)
{
	h->dirty = true;
	h->refused = 0;
	h->writer = *who;
	atomic_store(&h->mtime, HANDLE_NO_TIME);
	atomic_store(&h->draft_size, draft_size(&h->draft));
	if (atomic_load(&h->own_size) != HANDLE_NONE)
		atomic_store(&h->own_size, draft_size(&h->draft));
}

struct timing {
	const struct process *who;
	int64_t mtime;
};

static void visit_timed(struct handle *h, void *arg)
{
	struct timing *t = arg;

	/* What was made and not written yet has no time but this. */
	if (handle_writes(h) && (atomic_load(&h->draft_size) != HANDLE_NONE || atomic_load(&h->pending) || (h->inode && h->inode->embryo)) &&
	    process_same(&h->opener, t->who))
		atomic_store(&h->mtime, t->mtime);
}

void handle_timed(struct mount *m, uint64_t ino, const struct process *who, struct timespec mtime)
{
	struct timing t = { who, (int64_t)mtime.tv_sec * 1000000000 + mtime.tv_nsec };

	inodes_visit(m->inodes, ino, visit_timed, &t);
}
