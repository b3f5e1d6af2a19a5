#include "handle.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int send_pieces(void *arg, struct iovec *pieces, int count)
{
	fuse_reply_iov(arg, pieces, count);
	return 0;
}

/* Whether it was by the name it was opened by that the document was unlinked. It may also have been renamed before, or have come back. */
static bool lost_name(struct mount *m, const struct handle *h)
{
	uint64_t ino, version;

	return !store_former(m->store, h->parent, h->name, &ino, &version) && ino == h->ino && version;
}

int read_begin(struct mount *m, struct handle *h, const struct process *who, size_t size)
{
	struct store_view *v = NULL;
	struct place place;
	uint64_t version;
	int err;

	if (h->view || h->raw || h->empty)
		return 0;
	err = handle_view(m, h, &v);
	h->raw = err == -EINVAL || err == -ENOENT;
	h->empty = err == -ENOENT && handle_is_new(m, h);
	if (err && !h->raw)
		return err;
	if (v) {
		version = shown_version(m->shown, who, h->ino, size, h->opened);
		if (version && version != store_view_version(v) && !shown_locked(who)) {
			struct store_view *told = NULL;

			h->empty = version == SHOWN_EMPTY;
			if (h->empty || !store_view_open(m->store, h->ino, version, &told)) {
				store_view_unref(v);
				v = told;
			}
		}
	}
	h->view = v;
	h->ended = false;
	h->sequel = 0;
	atomic_store(&h->unread, false);
	atomic_store(&h->view_size, v ? store_view_size(v) : HANDLE_NONE);
	inodes_place(m->inodes, h->inode, &place);
	if (v)
		temps_read(m->temps, place.name, h->ino);
	/* It will be saved by the name it was opened by. */
	err = 0;
	if (!place.unlinked || (v && !lost_name(m, h)))
		err = tickets_shown(m->tickets, who, h->parent, h->name, v ? h->ino : 0, v ? store_view_version(v) : 0);
	/* A handle that is read before it is written, or written again, or that made the file, is based on what it reads now. */
	if (!err && handle_writes(h) && !h->dirty && (v || !h->created)) {
		struct ticket_set *set;

		err = tickets_freeze(m->tickets, who, &set);
		if (!err) {
			ticket_set_free(h->set);
			h->set = set;
			handle_undraft(h);
		}
	}
	/* What can't be noted is not shown: reading has not begun. */
	if (err) {
		store_view_unref(h->view);
		h->view = NULL;
		h->raw = h->empty = false;
		atomic_store(&h->unread, true);
		atomic_store(&h->view_size, HANDLE_NONE);
	}
	return err;
}

/*
 * Bytes of a draft, or of a file that is no document yet. Gives up the lock: the handle may be gone once the reply is out. False, with the
 * lock and without a reply: it has become a document meanwhile. That is asked only with `again`.
 */
static bool reply_copy(fuse_req_t req, struct handle *h, size_t size, uint64_t offset, bool from_draft, bool again)
{
	struct mount *m = mount_of(req);
	char *buf = malloc(size ? size : 1);
	size_t got = 0;
	int err = buf ? 0 : -ENOMEM;

	if (!err && from_draft)
		err = draft_read(&h->draft, offset, buf, size, &got);
	else if (!err)
		err = store_read(m->store, h->ino, offset, buf, size, &got);
	if (err == -EINVAL && again) {
		h->raw = false;
		free(buf);
		return false;
	}
	handle_unlock(h);
	if (err && err != -ENOENT)
		fuse_reply_err(req, -err);
	else
		fuse_reply_buf(req, buf, err ? 0 : got);
	free(buf);
	return true;
}

/* Needs the lock. */
static bool begins_anew(struct mount *m, struct handle *h, const struct process *who, uint64_t offset, bool mapped)
{
	uint64_t told;

	if (offset || !h->ended)
		return false;
	told = mapped && h->view ? shown_version(m->shown, who, h->ino, 0, h->opened) : 0;
	return !mapped || (told && told != store_view_version(h->view));
}

/* Who was told that the lines had ended, and reads on, waits for more (tail -f). */
static bool follows(const struct handle *h, uint64_t offset)
{
	return h->told_end && h->view && store_view_lines(h->view) && offset >= store_view_size(h->view);
}

/* Needs the lock. */
static void note_progress(struct handle *h, size_t size, uint64_t offset)
{
	if (offset <= h->sequel && offset + size > h->sequel)
		h->sequel = offset + size;
	if (h->sequel >= store_view_size(h->view)) {
		h->ended = true;
		atomic_store(&h->view_size, HANDLE_NONE);
	}
}

/* Whole pages: a short reply would make the kernel take its end for the file's, also where another handle's version is longer. */
static void reply_pages(fuse_req_t req, struct store_view *v, size_t size, uint64_t offset)
{
	char *buf = calloc(1, size ? size : 1);
	size_t got;
	int err = buf ? 0 : -ENOMEM;

	if (!err && offset < store_view_size(v))
		err = store_view_read(v, offset, buf, size, &got);
	if (err)
		fuse_reply_err(req, -err);
	else
		fuse_reply_buf(req, buf, size);
	free(buf);
}

void read_reply(fuse_req_t req, struct handle *h, size_t size, uint64_t offset, bool mapped)
{
	struct mount *m = mount_of(req);
	struct process who = caller(req);
	struct store_view *v;
	bool follow;
	int err;

	handle_lock(h);
	if (h->appended && (err = save_pending(m, h))) {
		handle_unlock(h);
		fuse_reply_err(req, -err);
		return;
	}
	/* What a plain file held is in the kernel's memory: it goes on with its own bytes. */
	if (h->has_draft && (h->dirty || atomic_load(&h->own_size) != HANDLE_NONE)) {
		reply_copy(req, h, size, offset, true, false);
		return;
	}
	follow = h->ended && follows(h, offset);
	if (follow || begins_anew(m, h, &who, offset, mapped)) {
		store_view_unref(h->view);
		h->view = NULL;
		h->raw = h->empty = h->told_end = false;
		h->opened = shown_now(m->shown);
	}
	for (int i = 0; !(err = read_begin(m, h, &who, size)) && !h->view && !h->empty; i++) {
		if (reply_copy(req, h, size, offset, false, i == 0 && offset == 0))
			return;
	}
	if (err) {
		handle_unlock(h);
		fuse_reply_err(req, -err);
		return;
	}
	if (h->empty) {
		h->ended = true;
		handle_unlock(h);
		fuse_reply_buf(req, NULL, 0);
		return;
	}
	v = store_view_ref(h->view);
	if (follow)
		h->sequel = offset;
	note_progress(h, size, offset);
	h->told_end |= offset >= store_view_size(v);
	handle_unlock(h);
	if (mapped)
		reply_pages(req, v, size, offset);
	else if (offset >= store_view_size(v))
		fuse_reply_buf(req, NULL, 0);
	else if ((err = store_view_send(v, offset, size, send_pieces, req)))
		fuse_reply_err(req, -err);
	store_view_unref(v);
}
