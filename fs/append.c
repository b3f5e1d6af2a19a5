/* Appending to lines through a handle: whole lines at once, what has begun when it is clear that no more comes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "save.h"

bool append_to_lines(const struct handle *h, const struct place *place)
{
	if (store_is_document_name(place->name))
		return store_is_lines_name(place->name);
	return h->appends || (h->draft.base && store_view_lines(h->draft.base));
}

/* The first `size` bytes of what was appended. */
static void prepare_lines(struct mount *m, struct handle *h, struct work *w, size_t size, unsigned flags)
{
	struct store_save *save = &w->save;

	save_prepare(m, h, w);
	save->prefix = NULL;
	save->prefix_size = 0;
	save->tail_size = size;
	save->flags = STORE_SAVE_LINES | flags | (save->flags & STORE_SAVE_MTIME);
	save->prepare = NULL;
	w->before = (struct store_base){ .ino = h->ino, .version = h->seen, .own = &h->own, .own_count = h->own > h->seen };
	save->bases = &w->before;
	save->base_count = 1;
}

static void set_pending(struct handle *h)
{
	uint64_t size = draft_size(&h->draft);

	if (!size) {
		draft_release(&h->draft);
		h->has_draft = h->dirty = h->appended = false;
	}
	atomic_store(&h->draft_size, HANDLE_NONE);
	atomic_store(&h->pending, size);
}

static void lines_saved(struct mount *m, struct handle *h, const struct work *w)
{
	const struct store_save *save = &w->save;
	struct ticket_set *set = h->set;

	if (save->saved_ino) {
		h->set = NULL;	/* what it was opened with has not been used by this */
		save_done(m, h, w);
		h->set = set;
		tickets_appended(m->tickets, &h->writer, w->place.parent, w->place.name, save);
	}
	h->unsynced |= (save->flags & STORE_SAVE_SOON) != 0;
	draft_drop(&h->draft, save->tail_size);
	h->dirty = true;
	set_pending(h);
}

int append_commit(struct mount *m, struct handle *h, size_t size, unsigned flags)
{
	struct work w;
	int err = 0;

	memset(&w, 0, sizeof(w));
	prepare_lines(m, h, &w, size, flags);
	/* As on any filesystem they go with the file. */
	if (!save_orphaned(h, &w.place))
		err = store_save(m->store, &w.save);
	if (!err)
		lines_saved(m, h, &w);
	return err;
}

int save_pending(struct mount *m, struct handle *h)
{
	return h->appended ? append_commit(m, h, h->draft.tail_size, STORE_SAVE_SOON) : 0;
}

int save_begin_rewrite(struct mount *m, struct handle *h, const struct process *who)
{
	struct ticket_set *set;
	int err = save_pending(m, h);

	/* Lines of its own that it has appended count as seen. */
	if (err || h->has_draft || h->own <= h->seen)
		return err;
	err = tickets_freeze(m->tickets, who, &set);
	if (err)
		return err;
	ticket_set_free(h->set);
	h->set = set;
	return 0;
}

/* A file that was emptied, or cut, through an appending handle, and then written: from the first line on it is appended to. */
static int commit_rewrite(struct mount *m, struct handle *h)
{
	struct work w;
	int err;

	memset(&w, 0, sizeof(w));
	save_prepare(m, h, &w);
	if (save_orphaned(h, &w.place))
		return 0;
	err = store_save(m->store, &w.save);
	if (!err) {
		save_done(m, h, &w);
		draft_release(&h->draft);
		h->has_draft = false;
	}
	return err;
}

static void begin_append(struct handle *h)
{
	bool fresh = h->created && !h->truncated && !h->dirty;

	if (h->has_draft && !fresh)
		return;
	draft_release(&h->draft);
	draft_begin(&h->draft, NULL);
	h->has_draft = h->appended = true;
}

int save_append(struct mount *m, struct handle *h, const struct process *who, const char *bytes, size_t size)
{
	const char *last = memrchr(bytes, '\n', size);
	uint64_t before;
	int err;

	handle_lock(h);
	begin_append(h);
	before = draft_size(&h->draft);
	err = draft_write(&h->draft, before, bytes, size, m->options.max_document);
	if (!err) {
		h->truncated = false;
		handle_changed(h, who);
		handle_unsettled(m, h, false);
	}
	if (!err && last && h->appended)
		err = append_commit(m, h, before + (last + 1 - bytes), STORE_SAVE_SOON);
	else if (!err && last == bytes + size - 1)
		err = commit_rewrite(m, h);
	if (err)
		draft_truncate(&h->draft, before, m->options.max_document);
	if (h->appended)
		set_pending(h);
	handle_unlock(h);
	return err;
}

static void lines_flushed(struct store_save *save)
{
	struct work *w = save->arg;
	struct handle *h = w->h;
	int err = save->error;

	pthread_mutex_lock(&h->lock);
	if (!err) {
		h->unsynced = false;
		if (save->tail_size)
			lines_saved(w->mount, h, w);
	}
	h->saving = false;
	pthread_cond_broadcast(&h->idle);
	pthread_mutex_unlock(&h->lock);
	save_answer(w->req, err, w->wrote);
	free(w);
}

void append_flush(fuse_req_t req, struct handle *h, bool waits, bool sync, size_t wrote)
{
	struct mount *m = mount_of(req);
	size_t size = h->appended && !waits ? h->draft.tail_size : 0;
	struct work *w = size || h->unsynced ? calloc(1, sizeof(*w)) : NULL;
	int err = w || !(size || h->unsynced) ? 0 : -ENOMEM;

	if (h->appended && waits)
		handle_unsettled(m, h, true);
	if (w) {
		prepare_lines(m, h, w, size, sync ? STORE_SAVE_DURABLE : 0);
		w->h = h;
		w->req = req;
		w->wrote = wrote;
		w->save.done = lines_flushed;
		w->save.arg = w;
		if (save_orphaned(h, &w->place))
			w->save.tail_size = 0;
		h->saving = true;
	}
	handle_unlock(h);
	if (w)
		store_submit(m->store, &w->save);
	else
		save_answer(req, !err && sync ? store_sync(m->store) : err, wrote);
}
