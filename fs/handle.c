#include "handle.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int handle_new(enum handle_kind kind, uint64_t ino, struct inode *inode, int flags, const struct process *opener, struct handle **ret)
{
	struct handle *h = calloc(1, sizeof(*h));

	if (!h)
		return -ENOMEM;
	h->kind = kind;
	h->ino = ino;
	h->inode = inode;
	h->flags = flags;
	h->opener = h->writer = *opener;
	atomic_init(&h->draft_size, HANDLE_NO_DRAFT);
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->idle, NULL);
	*ret = h;
	return 0;
}

void handle_free(struct mount *m, struct handle *h)
{
	bool unlinked;

	if (!h)
		return;
	if (h->has_draft)
		inodes_remove_writer(m->inodes, h->inode, h);
	draft_release(&h->draft);
	store_view_unref(h->view);
	ticket_set_free(h->set);
	if (h->inode && inodes_close(m->inodes, h->inode, &unlinked) && unlinked && h->kind == HANDLE_SCRATCH)
		store_forget(m->store, h->ino);
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

/* The bytes of a file that is no document yet. */
static int begin_raw(struct mount *m, struct handle *h)
{
	struct store_attr a;
	char *bytes;
	size_t got;
	int err = store_getattr(m->store, h->ino, &a);

	if (err == -ENOENT || (!err && !a.size))
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
	else
		err = store_view_open(m->store, h->ino, 0, &now);
	if (truncate) {
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
	inodes_add_writer(m->inodes, h->inode, h);
	return 0;
}

void handle_changed(struct handle *h, const struct process *who)
{
	h->dirty = true;
	h->settled = false;
	h->writer = *who;
	atomic_store(&h->draft_size, draft_size(&h->draft));
}
