/* Handles that follow their file to a document's name: found and locked, moved, asked for. */
#include "follow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- Locking -------------------------------------------------------------------------------- */

struct finding {
	struct followers *to;
	const struct temp *temp;
	bool document, busy;
};

/* Others who write the same temp document have entries of their own. */
static bool is_of(const struct handle *h, const struct temp *temp)
{
	uint64_t id = atomic_load(&h->temp);

	if (!temp)
		return !id;
	return id ? id == temp->id : process_same(&h->opener, &temp->who);
}

static void visit_finding(struct handle *h, void *arg)
{
	struct finding *f = arg;

	if (f->busy || !handle_writes(h) || atomic_load(&h->closing))
		return;
	if (f->document && !is_of(h, f->temp))
		return;
	if (pthread_mutex_trylock(&h->lock)) {
		f->busy = true;
		return;
	}
	if (h->saving || atomic_load(&h->closing)) {
		f->busy = h->saving;
		pthread_mutex_unlock(&h->lock);
		return;
	}
	h->next_follower = f->to->first;
	f->to->first = h;
}

/* In the order that they were found in. */
static void turn(struct followers *f)
{
	struct handle *h = f->first, *next;

	for (f->first = NULL; h; h = next) {
		next = h->next_follower;
		h->next_follower = f->first;
		f->first = h;
	}
}

void followers_lock(struct mount *m, uint64_t ino, bool document, const struct temp *temp,
		    struct followers *ret)
{
	for (;;) {
		struct finding f = { .to = ret, .temp = temp, .document = document };

		ret->first = NULL;
		inodes_visit(m->inodes, ino, visit_finding, &f);
		if (!f.busy)
			break;
		followers_unlock(ret);
		nanosleep(&(struct timespec){ .tv_nsec = 50000 }, NULL);
	}
	turn(ret);
}

void followers_unlock(struct followers *f)
{
	struct handle *h = f->first, *next;

	for (f->first = NULL; h; h = next) {
		next = h->next_follower;
		handle_unlock(h);
	}
}

const struct process *followers_writer(const struct followers *f, const struct temp *temp)
{
	for (const struct handle *h = f->first; h && temp; h = h->next_follower) {
		if (process_same(&h->opener, &temp->who))
			return &h->opener;
	}
	return &f->first->opener;
}

/* ---- Following ------------------------------------------------------------------------------ */

/* The last one takes the bytes themselves. */
static int take_draft(struct mount *m, struct draft *from, bool last, struct draft *ret)
{
	int err = 0;

	if (last) {
		*ret = *from;
		*from = (struct draft){ 0 };
		return 0;
	}
	draft_begin(ret, from->base);
	ret->keep = from->keep;
	if (from->tail_size)
		err = draft_write(ret, from->keep, from->tail, from->tail_size,
				  m->options.max_document);
	return err;
}

/* A plain file's handle becomes a document's. */
static void go_on(struct mount *m, struct handle *h, const struct followed *to, struct draft *draft)
{
	bool lines = store_is_lines_name(to->name), saved = to->version != 0;

	h->appends = lines && (h->flags & O_APPEND) && (h->flags & O_ACCMODE) == O_WRONLY;
	h->dirty = !saved;
	h->truncated = !saved && !draft_size(draft);
	if (h->appends && saved) {
		draft_release(draft);
	} else {
		h->draft = *draft;
		*draft = (struct draft){ 0 };
		h->has_draft = true;
	}
	atomic_store(&h->draft_size, saved ? HANDLE_NONE : draft_size(&h->draft));
	if (!h->appends)
		atomic_store(&h->own_size, draft_size(&h->draft));
	atomic_store(&h->mtime, saved ? HANDLE_NO_TIME : to->mtime);
	atomic_store(&h->kind, HANDLE_DOCUMENT);
	/* Its release may be next, and decides. */
	if (h->truncated)
		handle_unsettled(m, h, true);
}

/* `set` (may be NULL) is taken over. */
static void follow(struct mount *m, struct handle *h, const struct followed *to,
		   struct ticket_set *set, bool last)
{
	bool plain = h->kind == HANDLE_SCRATCH;
	struct draft draft = { 0 };
	struct inode *inode;
	int err = plain ? take_draft(m, to->draft, last, &draft) : 0;

	if (!err && !set)
		err = tickets_freeze(m->tickets, &h->opener, &set);
	if (!err)
		err = inodes_open(m->inodes, to->ino, to->parent, to->name, &inode);
	if (err) {
		draft_release(&draft);
		ticket_set_free(set);
		h->error = err;
		return;
	}
	handle_move(m, h, inode);
	h->ino = to->ino;
	h->parent = to->parent;
	strcpy(h->name, to->name);
	ticket_set_free(h->set);
	h->set = set;
	tickets_writing(set, to->ino);
	h->seen = to->version;
	h->own = 0;
	h->created = false;
	h->opened = shown_now(m->shown);
	atomic_store(&h->temp, 0);
	if (plain)
		go_on(m, h, to, &draft);
}

void followers_go(struct mount *m, struct followers *f, const struct process *writer,
		  const struct followed *to)
{
	struct ticket_set *set;

	for (struct handle *h = f->first; h; h = h->next_follower) {
		set = NULL;
		if (*to->set && process_same(&h->opener, writer)) {
			set = *to->set;
			*to->set = NULL;
		}
		follow(m, h, to, set, !h->next_follower);
	}
	draft_release(to->draft);
}

int follow_in_place(struct mount *m, struct handle *h)
{
	struct ticket_set *set = NULL;
	struct store_attr a;
	int err = 0;

	handle_lock(h);
	if (h->kind == HANDLE_SCRATCH) {
		err = store_getattr(m->store, h->ino, &a);
		if (!err && a.kind != STORE_DOCUMENT)
			err = -EINVAL;
		if (!err && handle_writes(h))
			err = tickets_freeze(m->tickets, &h->opener, &set);
	}
	if (!err && h->kind == HANDLE_SCRATCH) {
		if (set)
			tickets_writing(set, h->ino);
		h->set = set;
		h->seen = a.version;
		h->appends = a.lines && (h->flags & O_APPEND) && (h->flags & O_ACCMODE) == O_WRONLY;
		h->opened = shown_now(m->shown);
		h->parent = a.parent ? a.parent : h->parent;
		strcpy(h->name, a.name);
		atomic_store(&h->kind, HANDLE_DOCUMENT);
	}
	handle_unlock(h);
	return err;
}

/* ---- Asking --------------------------------------------------------------------------------- */

struct asking {
	const struct process *who;
	uint64_t former, size, found;	/* the number of what they follow to; 0: there are none */
};

static void visit_asking(struct handle *h, void *arg)
{
	struct asking *a = arg;

	if (!h->former || h->former->ino != a->former)
		return;
	if (a->who->known && !process_same(&h->opener, a->who))
		return;
	a->found = h->inode->ino;
	if (a->size == HANDLE_NONE)
		a->size = atomic_load(&h->own_size);
}

uint64_t follow_ino(struct mount *m, const struct process *who, uint64_t ino, uint64_t *ret_size)
{
	uint64_t stored = inodes_stored(m->inodes, ino);
	struct asking a = { who, ino, HANDLE_NONE, 0 };

	if (stored)
		inodes_visit(m->inodes, stored, visit_asking, &a);
	/* One number may lead to several files, each opened in place of one that had gone. */
	if (stored && !a.found)
		inodes_visit(m->inodes, 0, visit_asking, &a);
	if (ret_size)
		*ret_size = a.size;
	return a.found ? a.found : ino;
}
