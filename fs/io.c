#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "control.h"
#include "follow.h"
#include "ops.h"
#include "save.h"

/* Whether the file's writes are drafts of a document. Lines that are too many for one stay plain bytes. */
static bool is_document(struct mount *m, const struct store_attr *a)
{
	if (a->kind == STORE_DOCUMENT)
		return true;
	if (store_is_lines_name(a->name) && a->size > m->options.max_document)
		return false;
	return a->parent != STORE_REJECTED && store_is_document_name(a->name);
}

/* Lines of before they were a kind of document, kept as plain bytes. What can't be converted now is shown as it is. */
static void convert(struct mount *m, const struct process *who, struct store_attr *a)
{
	struct store_save save = { .ino = a->ino, .flags = STORE_SAVE_LINES | STORE_SAVE_SOON, .pid = who->tgid };

	if (a->kind == STORE_SCRATCH && a->size && store_is_lines_name(a->name) && is_document(m, a) && !m->options.read_only &&
	    !store_save(m->store, &save))
		store_getattr(m->store, a->ino, a);
}

static void use_handle(struct fuse_file_info *fi, struct handle *h)
{
	fi->fh = (uintptr_t)h;
	/* The kernel's cache would serve old bytes, and its pages would lag behind other handles' commits. */
	fi->direct_io = h->kind != HANDLE_SCRATCH || h->former;
	/* A plain file's too: it may be a document by the time that it is closed. */
	fi->noflush = !handle_writes(h);
}

/* Freezes what the save of a file that may be renamed to a document can be based on (rule 3). */
static int freeze(struct mount *m, const struct process *who, const struct store_attr *a, unsigned flags, uint64_t *ret_id)
{
	struct ticket_set *set;
	int err = tickets_freeze(m->tickets, who, &set);

	if (!err)
		tickets_writing(set, a->ino);
	return err ? err : temps_add(m, who, a, set, flags, ret_id);
}

/* Whether the file had lost its name, and perhaps was forgotten, before it was known to be open. */
static bool is_gone(struct mount *m, const struct store_attr *a)
{
	struct store_attr b;
	uint64_t parent;
	int err = store_getattr(m->store, a->ino, &b);

	if (err == -ENOENT)
		return !inodes_get_embryo(m->inodes, a->ino, &b);
	return !err && !b.parent && a->parent && !temps_place(m->temps, &b, &parent);
}

/* -ESTALE: it is to be made anew, and has lost its name meanwhile. */
static int open_document(struct mount *m, struct handle *h, const struct process *who, const struct store_attr *a, bool fresh, unsigned flags)
{
	bool anew = !fresh && (h->flags & O_TRUNC);
	unsigned known = fresh ? 0 : temps_fresh(m->temps, a);
	uint64_t id = 0;
	int err = tickets_freeze(m->tickets, who, &h->set);

	if (!err)
		tickets_writing(h->set, a->ino);
	/* A new document may turn out to be a temp file too. */
	if (known)
		flags = known;
	/* Of a temp file that was renamed nothing is known any more. */
	if (!err && anew && !flags && is_gone(m, a))
		err = -ESTALE;
	if (!err && flags && !(flags & TEMP_READ))
		err = freeze(m, who, a, flags, &id);
	atomic_store(&h->temp, id);
	if (!err && (fresh || (h->flags & O_TRUNC))) {
		err = handle_draft(m, h, true);
		h->created = fresh;
		h->truncated = (h->flags & O_TRUNC) != 0;
		if (!err && h->truncated)
			handle_changed(h, who);
		else if (!err)
			atomic_store(&h->draft_size, HANDLE_NONE);	/* another may save before this one writes */
	}
	return err;
}

static int open_file(struct mount *m, const struct process *who, struct store_attr *a, int flags, bool fresh, unsigned temp,
		     struct inode *inode, struct handle **ret)
{
	struct store_attr zero = { .size = 0 };
	struct handle *h;
	enum handle_kind kind = is_document(m, a) ? HANDLE_DOCUMENT : HANDLE_SCRATCH;
	bool unlinked;
	int err = 0;

	convert(m, who, a);
	if (!inode)
		err = inodes_open(m->inodes, a->ino, a->parent, a->name, &inode);
	if (err)
		return err;
	/* A rename that finds it waits until it is open. */
	err = handle_new(m, kind, a->ino, inode, flags, who, &h);
	if (err) {
		inodes_close(m->inodes, inode, &unlinked);
		return err;
	}
	h->parent = a->parent;
	strcpy(h->name, a->name);
	h->opened = shown_now(m->shown);
	h->appends = (flags & O_APPEND) && kind == HANDLE_DOCUMENT && (a->lines || store_is_lines_name(a->name));
	h->seen = a->version;
	if (handle_writes(h) && a->parent != STORE_REJECTED) {
		if (kind == HANDLE_DOCUMENT) {
			err = open_document(m, h, who, a, fresh, temp);
		} else {
			err = freeze(m, who, a, flags & O_APPEND ? TEMP_APPEND : 0, NULL);
			if (!err && (flags & O_TRUNC) && !fresh)
				err = store_setattr(m->store, a->ino, &zero, STORE_SET_SIZE, NULL);
		}
	}
	handle_unlock(h);
	if (err) {
		handle_free(m, h);
		return err;
	}
	*ret = h;
	return 0;
}

static int open_status(struct mount *m, const struct process *who, int flags, struct handle **ret)
{
	struct handle *h;
	int err;

	if ((flags & O_ACCMODE) != O_RDONLY)
		return -EACCES;
	err = handle_new(m, HANDLE_BYTES, CONTROL_STATUS, NULL, flags, who, &h);
	if (err)
		return err;
	err = control_status(m, &h->bytes, &h->size);
	handle_unlock(h);
	if (err) {
		handle_free(m, h);
		return err;
	}
	*ret = h;
	return 0;
}

/*
 * A new document stays unseen by others until it is committed (P3). -ESTALE: since `hatched` another may have been
 * committed under the name.
 */
static int create_document(struct mount *m, fuse_req_t req, const struct process *who, uint64_t parent, const char *name, mode_t mode,
			   struct fuse_file_info *fi, uint64_t hatched, struct store_attr *a, bool *ret_fresh, struct handle **ret)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct store_attr new = { .parent = parent, .mode = mode, .uid = ctx->uid, .gid = ctx->gid };
	struct store_attr dir;
	struct inode *inode;
	uint64_t version;
	unsigned temp = TEMP_FRESH | TEMP_LOG;
	enum renamed_seen seen;
	bool renamed, unlinked;
	int err = store_getattr(m->store, parent, &dir);

	if (!err && m->options.read_only)
		err = -EROFS;
	if (!err && strlen(name) > STORE_NAME_MAX)
		err = -ENAMETOOLONG;
	if (err)
		return err;
	/* A name that had a document continues it, unless that one now goes by another name (rule 13), or is damaged. */
	if (store_former(m->store, parent, name, &new.ino, &version) || store_getattr(m->store, new.ino, a) || a->parent ||
	    store_is_whole(m->store, new.ino))
		temp = TEMP_FRESH;
	if (temp == TEMP_FRESH || !version)
		err = store_new_ino(m->store, &new.ino);
	strcpy(new.name, name);
	if (!err)
		err = inodes_open_embryo(m->inodes, &new, ctx->pid ? ctx->pid : INODE_UNKNOWN, fi->flags & O_EXCL, hatched, &inode, ret_fresh);
	if (err)
		return err;
	*a = new;
	/*
	 * Its look-up did not count. What it had read and renamed away it makes anew from that (rule 13); else what others make
	 * meanwhile it did not know.
	 */
	renamed = renamed_by(m->renamed, parent, name, who, NULL, &seen);
	if (renamed && (seen == RENAMED_NOTHING || seen == RENAMED_WRITTEN))
		err = tickets_shown(m->tickets, who, parent, name, 0, 0);
	if (err) {
		inodes_close(m->inodes, inode, &unlinked);
		return err;
	}
	err = open_file(m, who, a, fi->flags, *ret_fresh, temp, inode, ret);
	if (!err && !renamed && (*ret)->set)
		tickets_created(m->tickets, (*ret)->set, who, parent, name);
	return err;
}

/* Who opens it to read writes nothing that would have to be waited for. What another has saved there meanwhile stays. */
static int create_empty(struct mount *m, fuse_req_t req, const struct process *who, uint64_t parent, const char *name, mode_t mode,
			struct store_attr *ret)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct work w = { .save = {
		.parent = parent, .name = name, .flags = STORE_SAVE_EMPTY | STORE_SAVE_KEEP | STORE_SAVE_SOON,
		.mode = mode & 07777, .uid = ctx->uid, .gid = ctx->gid, .writer_uid = ctx->uid,
	} };
	struct ticket_set *set = NULL;
	int err = tickets_freeze(m->tickets, who, &set);

	/* It is a save as any: the look-up that found the name free is over, and what there is is its own. */
	if (!err) {
		tickets_created(m->tickets, set, who, parent, name);
		save_fill(&w, m, set, who, parent, name);
		err = store_save(m->store, &w.save);
	}
	if (!err)
		save_note(m, set, parent, name, &w.save);
	ticket_set_free(set);
	return err ? err : store_getattr(m->store, w.save.saved_ino, ret);
}

static int create_plain(struct mount *m, fuse_req_t req, const struct process *who, uint64_t parent, const char *name, mode_t mode, int flags,
			struct store_attr *ret)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct store_attr a = { .parent = parent, .mode = S_IFREG | (mode & 07777), .uid = ctx->uid, .gid = ctx->gid };
	int err;

	/* Who opens it to read has no file of his own to write. */
	if (!temps_is_shared(name) || (flags & O_ACCMODE) == O_RDONLY)
		return store_create(m->store, parent, name, 0, a.mode, a.uid, a.gid, NULL, ret);
	if (strlen(name) > STORE_NAME_MAX)
		return -ENAMETOOLONG;
	strcpy(a.name, name);
	err = temps_make(m, who, &a, false, &a.ino);
	return err ? err : store_getattr(m->store, a.ino, ret);
}

/* A temp name that another is writing to. */
static int claim(struct mount *m, const struct process *who, const struct store_attr *a, int flags)
{
	bool anew = (flags & O_TRUNC) && (flags & O_ACCMODE) != O_RDONLY && a->kind == STORE_SCRATCH && a->parent != STORE_REJECTED;

	return anew ? temps_claim(m, who, a) : 0;
}

static int give_owner(struct mount *m, fuse_req_t req, mode_t mode, const struct store_attr *a)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct store_attr to = { .mode = mode & 07777, .uid = ctx->uid, .gid = ctx->gid };

	if (to.mode == (a->mode & 07777) && to.uid == a->uid && to.gid == a->gid)
		return 0;
	return store_setattr(m->store, a->ino, &to, STORE_SET_MODE | STORE_SET_UID | STORE_SET_GID, NULL);
}

static int open_or_create(struct mount *m, fuse_req_t req, const struct process *who, uint64_t parent, const char *name, mode_t mode,
			  struct fuse_file_info *fi, struct store_attr *a, bool *ret_fresh, struct handle **ret)
{
	uint64_t hatched = inodes_hatched(m->inodes);
	int err = store_lookup(m->store, parent, name, a);

	*ret_fresh = false;
	/* Who has set it aside makes it anew, and it is his. */
	if (!err && aside_make(m->asides, who, parent, name) && !(err = give_owner(m, req, mode, a))) {
		if (processes_events(m->processes, who))
			tickets_unlooked(m->tickets, who, parent, name);
		/* Who only reads has nothing to close that would empty it. */
		if ((fi->flags & O_ACCMODE) == O_RDONLY && !(err = save_truncate(m, who, a, 0)))
			err = store_getattr(m->store, a->ino, a);
		return err ? err : open_file(m, who, a, fi->flags | O_TRUNC, false, 0, NULL, ret);
	}
	if (!err && (fi->flags & O_EXCL))
		return -EEXIST;
	if (err == -ENOENT && store_is_document_name(name) && (fi->flags & O_ACCMODE) == O_RDONLY) {
		*ret_fresh = !(err = create_empty(m, req, who, parent, name, mode, a));
		return err ? err : open_file(m, who, a, fi->flags, false, 0, NULL, ret);
	}
	if (err == -ENOENT && store_is_document_name(name))
		return create_document(m, req, who, parent, name, mode, fi, hatched, a, ret_fresh, ret);
	if (err == -ENOENT) {
		err = create_plain(m, req, who, parent, name, mode, fi->flags, a);
		*ret_fresh = !err;
	}
	if (err)
		return err;
	if (!*ret_fresh)
		err = claim(m, who, a, fi->flags);
	/* The caller's own, made by that. */
	if (err == -ESTALE && temps_find(m, who, parent, name, a))
		err = 0;
	if (!err)
		err = open_file(m, who, a, fi->flags, *ret_fresh, 0, NULL, ret);
	if (!err && a->kind == STORE_SCRATCH && is_gone(m, a)) {
		handle_free(m, *ret);
		*ret = NULL;
		err = -ENOENT;
	}
	/* It has gone since. */
	return err == -ENOENT ? -ESTALE : err;
}

static int open_by_name(struct mount *m, fuse_req_t req, const struct process *who, uint64_t parent, const char *name, mode_t mode,
			struct fuse_file_info *fi, struct store_attr *a, bool *ret_fresh, struct handle **ret)
{
	int err;

	/* What the name stands for has changed meanwhile. Of a plain file the kernel is told so. */
	do
		err = open_or_create(m, req, who, parent, name, mode, fi, a, ret_fresh, ret);
	while ((err == -ESTALE && store_is_document_name(name)) || (err == -EEXIST && !(fi->flags & O_EXCL)));
	return err;
}

static int open_linked(struct mount *m, fuse_req_t req, const struct process *who, fuse_ino_t ino, struct store_attr *a,
		       struct fuse_file_info *fi, struct handle **ret)
{
	struct store_attr former;
	bool anew = (fi->flags & O_TRUNC) != 0, gone, fresh;
	uint64_t stored;
	int err;

	aside_settle_ino(m->asides, ino);
	err = store_getattr(m->store, ino, a);
	if ((fi->flags & O_ACCMODE) != O_RDONLY && asides_any(m->asides)) {
		bool known = looked_name(m->looked, who->tid, ino, &former.parent, former.name);

		aside_make_ino(m->asides, who, ino, former.parent, known ? former.name : NULL);
		/* It may have got the backup's name by that. */
		err = store_getattr(m->store, ino, a);
	}
	if (err == -ENOENT && inodes_get_embryo(m->inodes, ino, a))
		err = 0;
	/* By a descriptor (/proc/self/fd) of what has become another file since that was opened. */
	if (!anew && (err == -ENOENT || (!err && !a->parent)) && (stored = inodes_stored(m->inodes, ino)))
		err = store_getattr(m->store, stored, a);
	/* The name was looked up, and then the file was renamed or waits for that (rule 14): the name is what is meant. */
	if (anew && (err == -ENOENT || (!err && !a->parent))) {
		bool known = !err && temps_place(m->temps, a, &a->parent);

		if (known)
			former = *a;
		if (known ? a->kind == STORE_DOCUMENT : temps_former(m->temps, ino, &former)) {
			if (former.kind == STORE_DOCUMENT)
				return open_by_name(m, req, who, former.parent, former.name, former.mode, fi, a, &fresh, ret);
			err = temps_make(m, who, &former, true, &ino);
			return err ? err : -ESTALE;
		}
		if (known)
			a->parent = 0;
	}
	/*
	 * It has lost its name since that was looked up, and what is saved through it would have none: it is opened as if that had come after.
	 * One that was being made, and was refused, is made again.
	 */
	gone = err == -ENOENT || (!err && !a->parent && a->kind == STORE_DOCUMENT);
	if (gone && (fi->flags & O_ACCMODE) != O_RDONLY) {
		if (!looked_name(m->looked, who->tid, ino, &former.parent, former.name) || !store_is_document_name(former.name))
			err = -ENOENT;
		else if (anew || err)
			return open_by_name(m, req, who, former.parent, former.name, err ? 0600 : a->mode, fi, a, &fresh, ret);
		else
			a->parent = former.parent;
	}
	if (!err && anew)
		err = claim(m, who, a, fi->flags);
	if (!err)
		err = open_file(m, who, a, fi->flags, false, 0, NULL, ret);
	/* It may have been renamed since that was looked up. */
	if (!err && (*ret)->kind == HANDLE_DOCUMENT)
		looked_name(m->looked, who->tid, ino, &(*ret)->parent, (*ret)->name);
	if (!err && (!anew || a->kind == STORE_SCRATCH) && !gone && is_gone(m, a)) {
		handle_free(m, *ret);
		err = -ENOENT;
	}
	return err;
}

/*
 * The kernel has looked twice, and would hand ESTALE on: what has the name is opened in place of the number, or made, as if it had been there when
 * it looked.
 */
static int open_in_place(struct mount *m, fuse_req_t req, const struct process *who, fuse_ino_t ino, struct store_attr *a,
			 struct fuse_file_info *fi, struct handle **ret)
{
	struct store_attr former;
	bool fresh;
	int err;

	if (!looked_name(m->looked, who->tid, ino, &former.parent, former.name))
		return -ESTALE;
	if (!gone_get(m->gone, ino, a))
		a->mode = 0600;
	former.mode = a->mode & 07777;
	do
		err = open_by_name(m, req, who, former.parent, former.name, former.mode, fi, a, &fresh, ret);
	while (err == -ESTALE);
	return err;
}

/* What is opened to be written by the name that it was given is a file of that name: it does not come back to the former one. */
static int take_name(struct mount *m, const struct handle *h)
{
	struct store_attr a;

	if (h->kind != HANDLE_DOCUMENT || !handle_writes(h) || store_getattr(m->store, h->ino, &a) || !a.renamed)
		return 0;
	if (a.parent != h->parent || strcmp(a.name, h->name))
		return 0;
	return store_setattr(m->store, a.ino, &a, STORE_SET_NAMED, NULL);
}

/* Replies: open, err. */
void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct process who = caller(req);
	struct handle *h = NULL;
	struct store_attr a = { .ino = 0 };
	int err;

	if (ino == CONTROL_STATUS) {
		err = open_status(m, &who, fi->flags, &h);
	} else {
		handle_settle(m, ino, 0, NULL);
		do
			err = open_linked(m, req, &who, ino, &a, fi, &h);
		while (err == -ESTALE && a.kind == STORE_DOCUMENT);
		/* The kernel looks again for what the name stands for now. */
		if (err == -ENOENT)
			err = -ESTALE;
		if (err == -ESTALE && looked_stale(m->looked, who.tid, ino, (fi->flags & O_TRUNC) != 0) > 1)
			err = open_in_place(m, req, &who, ino, &a, fi, &h);
		if (err != -ESTALE)
			looked_opened(m->looked, who.tid);
		if (!err && h->inode->ino != ino && (err = handle_stands_for(m, h, ino)))
			handle_free(m, h);
		if (!err && a.renamed && (err = take_name(m, h)))
			handle_free(m, h);
	}
	if (err) {
		fuse_reply_err(req, -err);
		return;
	}
	use_handle(fi, h);
	if (fuse_reply_open(req, fi))
		handle_free(m, h);
}

/* Replies: create, err. */
void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct process who = caller(req);
	struct fuse_entry_param e;
	struct handle *h = NULL;
	struct store_attr a;
	bool fresh = false;
	int err;

	if (parent == CONTROL_DIRECTORY || parent == STORE_REJECTED) {
		fuse_reply_err(req, EACCES);
		return;
	}
	do
		err = open_by_name(m, req, &who, parent, name, mode, fi, &a, &fresh, &h);
	while (err == -ESTALE);
	if (err) {
		fuse_reply_err(req, -err);
		return;
	}
	use_handle(fi, h);
	if (h->has_draft && !h->created)
		a.size = 0;
	attr_entry(&a, &e);
	/* Its maker asks at once, and until it is written nothing changes; what is written to a plain file the kernel sees. */
	if (fresh)
		e.attr_timeout = 0.001;
	if (fuse_reply_create(req, &e, fi))
		handle_free(m, h);
}

/* Replies: buf, iov, err. */
void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct handle *h = handle_of(fi);
	size_t got;
	char *buf;
	int err;

	buf = h->kind == HANDLE_DOCUMENT ? NULL : malloc(size);
	err = buf ? 0 : -ENOMEM;
	if (buf && h->kind == HANDLE_BYTES) {
		got = (uint64_t)offset < h->size ? h->size - offset : 0;
		if (got > size)
			got = size;
		memcpy(buf, h->bytes + (got ? offset : 0), got);
	} else if (buf && h->kind == HANDLE_SCRATCH) {
		err = store_read(m->store, h->ino, offset, buf, size, &got);
		if (err == -EINVAL)
			err = follow_in_place(m, h);
	}
	if (h->kind == HANDLE_DOCUMENT) {
		free(buf);
		/* read(2) tells whose it is, for the sake of locks; the page cache does not. */
		read_reply(req, h, size, offset, !fi->lock_owner);
		return;
	}
	if (err)
		fuse_reply_err(req, -err);
	else
		fuse_reply_buf(req, buf, got);
	free(buf);
}

/* Before the first write to what may be a temp file. */
static void begin(struct mount *m, struct handle *h, const struct process *who)
{
	uint64_t id = atomic_load(&h->temp);

	if (atomic_exchange(&h->begun, true) || (h->kind == HANDLE_DOCUMENT && !id))
		return;
	temps_begin(m, who, h->name, id, h->ino, h->flushed);
	if (h->kind == HANDLE_DOCUMENT && h->set)
		tickets_begin(h->set, who);
}

/* -ESTALE: it is a plain file no more. */
static int write_plain(struct mount *m, struct handle *h, const struct process *who, const char *buf, size_t size, off_t offset, bool append)
{
	uint64_t where;
	int err = -ESTALE;

	handle_lock(h);
	if (h->kind == HANDLE_SCRATCH) {
		begin(m, h, who);
		/* The kernel's offset comes from a size that may be stale. */
		err = append ? store_append(m->store, h->ino, buf, size, &where) : store_write(m->store, h->ino, offset, buf, size);
		h->writer = *who;
	}
	handle_unlock(h);
	return err;
}

static int write_draft(struct mount *m, struct handle *h, const struct process *who, const char *buf, size_t size, off_t offset)
{
	int err;

	handle_lock(h);
	begin(m, h, who);
	err = handle_draft(m, h, false);
	if (!err && (h->flags & O_APPEND))
		offset = draft_size(&h->draft);
	if (!err)
		err = draft_write(&h->draft, offset, buf, size, m->options.max_document);
	if (!err) {
		h->truncated = false;
		handle_changed(h, who);
		handle_unsettled(m, h, false);
	} else if (!h->error) {
		/* What could not be written makes the document incomplete: close says so. */
		h->error = err;
		h->writer = *who;
		h->dirty = h->has_draft;
	}
	handle_unlock(h);
	return err;
}

void io_lost(uint64_t fh, bool flush)
{
	struct handle *h = (struct handle *)(uintptr_t)fh;

	if (h->kind != HANDLE_DOCUMENT || h->appends)
		return;
	handle_lock(h);
	if (flush)
		h->refused = -ENOMEM;
	else if (!h->error)
		h->error = -ENOMEM;
	if (!h->writer.known)
		h->writer = h->opener;
	if (!flush)
		h->dirty = h->has_draft;
	handle_unlock(h);
}

/* Replies: write, err. */
void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct handle *h = handle_of(fi);
	/* Pages of a mapping are written by the kernel when it likes. */
	struct process who = fi->writepage ? h->opener : caller(req);
	int err = -ESTALE;

	loop_reached();

	if (h->kind == HANDLE_SCRATCH)
		err = write_plain(m, h, &who, buf, size, offset, fi->flags & O_APPEND);
	if (err == -EINVAL && !follow_in_place(m, h))
		err = -ESTALE;
	if (err == -ESTALE && h->kind == HANDLE_DOCUMENT)
		err = h->appends ? save_append(m, h, &who, buf, size) : write_draft(m, h, &who, buf, size, offset);
	/*
	 * With O_SYNC; of a plain file the kernel asks for an fsync by itself. Not what ends in the
	 * middle: the new beginning and the old rest may be JSON, too, and nobody has written that.
	 */
	if (!err && (fi->flags & O_DSYNC) && h->kind == HANDLE_DOCUMENT) {
		handle_lock(h);
		if ((fi->flags & O_APPEND) || (uint64_t)offset + size >= draft_size(&h->draft)) {
			save_flush(req, h, &who, true, size);
			return;
		}
		handle_unlock(h);
	}
	if (err)
		fuse_reply_err(req, -err);
	else
		fuse_reply_write(req, size);
}

/* Replies: err. */
void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi);
	struct process who;

	loop_reached();
	if (!handle_writes(h)) {
		fuse_reply_err(req, 0);
		return;
	}
	/* Nothing is decided by a descriptor that is closed on the way to another program, and nothing may be waited for here. */
	if (process_execs(fuse_req_ctx(req)->pid)) {
		atomic_store(&h->flushed, true);
		handle_unsettled(mount_of(req), h, true);
		fuse_reply_err(req, 0);
		return;
	}
	who = caller(req);
	handle_lock(h);
	save_flush(req, h, &who, false, 0);
}

struct unsaved {
	const struct process *who;
	struct handle *found;		/* locked */
	bool busy;
};

static void visit_unsaved(struct handle *h, void *arg)
{
	struct unsaved *u = arg;

	if (u->found || !handle_writes(h))
		return;
	if (!process_same(&h->opener, u->who))
		return;
	if (pthread_mutex_trylock(&h->lock)) {
		u->busy = true;
		return;
	}
	u->busy |= h->saving;
	if (!h->saving && !atomic_load(&h->closing) && h->has_draft && h->dirty)
		u->found = h;
	else
		pthread_mutex_unlock(&h->lock);
}

/* Replies: err. */
void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct handle *h = handle_of(fi);
	struct process who = caller(req);

	handle_lock(h);
	if (h->kind == HANDLE_DOCUMENT && !(h->has_draft && h->dirty)) {
		struct unsaved u = { &who, NULL, false };
		uint64_t number = h->inode->ino;

		/* What the process has written through another descriptor is in the file, too. */
		handle_unlock(h);
		do {
			u.busy = false;
			inodes_visit(m->inodes, number, visit_unsaved, &u);
		} while (!u.found && u.busy && !nanosleep(&(struct timespec){ .tv_nsec = 50000 }, NULL));
		if (!u.found) {
			fuse_reply_err(req, -store_sync(m->store));
			return;
		}
		h = u.found;
	}
	save_flush(req, h, &who, true, 0);
}

/* Replies: err. */
void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct handle *h = handle_of(fi);

	loop_reached();
	if (handle_writes(h))
		save_release(m, h);
	handle_free(m, h);
	fuse_reply_err(req, 0);
}

/* Takes over the handle's lock. */
static int truncate_draft(struct mount *m, const struct process *who, struct handle *h, uint64_t size)
{
	struct store_attr now;
	bool same, touched;
	uint64_t ino;
	int err = h->appends ? save_begin_rewrite(m, h, who) : 0;

	if (!err)
		err = handle_draft(m, h, false);
	same = !err && size == draft_size(&h->draft);
	if (!err && !same) {
		err = draft_truncate(&h->draft, size, m->options.max_document);
		h->truncated = !size;
		if (!err)
			handle_changed(h, who);
	}
	/* By a descriptor it is a change of the times at least. */
	if (same)
		atomic_store(&h->mtime, HANDLE_NO_TIME);
	touched = same && !h->dirty && !handle_is_new(m, h);
	ino = h->ino;
	handle_unlock(h);
	if (touched) {
		clock_gettime(CLOCK_REALTIME, &now.mtime);
		err = store_setattr(m->store, ino, &now, STORE_SET_MTIME, NULL);
		/* Another has saved just now what was being made. */
		if (err == -ENOENT)
			err = 0;
	}
	return err;
}

int io_truncate(struct mount *m, const struct process *who, const struct store_attr *a, struct handle *h, uint64_t size)
{
	struct store_attr embryo;

	if (h && h->kind == HANDLE_SCRATCH && a->kind == STORE_DOCUMENT)
		follow_in_place(m, h);
	if (h && h->kind == HANDLE_DOCUMENT) {
		handle_lock(h);
		return truncate_draft(m, who, h, size);
	}
	/* One that is being made is what its maker has written so far. */
	if (a->kind == STORE_DOCUMENT && inodes_get_embryo(m->inodes, a->ino, &embryo) && (h = handle_lock_maker(m, who, a->ino)))
		return truncate_draft(m, who, h, size);
	if (a->kind == STORE_DOCUMENT)
		return save_truncate(m, who, a, size);
	return store_setattr(m->store, a->ino, &(struct store_attr){ .size = size }, STORE_SET_SIZE, NULL);
}
