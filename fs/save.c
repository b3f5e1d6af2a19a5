#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bound.h"
#include "handle.h"
#include "log.h"
#include "reject.h"
#include "save.h"

#define NS 1000000000
#define COPY_PIECE 65536

/* ---- Refused documents (P5) ----------------------------------------------------------------------------------- */

static void name_process(pid_t pid, char name[32])
{
	char path[64];
	FILE *f;

	strcpy(name, "?");
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return;
	if (fgets(name, 32, f))
		name[strcspn(name, "\n")] = 0;
	fclose(f);
}

/* Needs the handle's lock. */
static void reject(struct mount *m, struct handle *h, const struct place *place, int error, uint64_t offset, const char *reason)
{
	char comm[32], kept[STORE_NAME_MAX + 1], path[4096];
	int err = 0;

	atomic_fetch_add(&m->rejected, 1);
	name_process(h->writer.tgid, comm);
	if (place->unlinked || store_path(m->store, h->ino, path, sizeof(path)))
		snprintf(path, sizeof(path), "%s", place->name);
	/* On a full disk they would only take the room that a removal needs. */
	if (error == -ENOSPC || error == -EDQUOT)
		err = error;
	else if (draft_size(&h->draft))
		err = rejects_keep(m, &h->draft, place->name, kept);
	else
		strcpy(kept, "");
	log_often("refused %s, written by pid %d (%s): %s at byte %llu of %llu; the last good version stands; %s%s", path,
		 (int)h->writer.tgid, comm, reason ? reason : store_strerror(error), (unsigned long long)offset,
		 (unsigned long long)draft_size(&h->draft),
		 err ? "its bytes could not be kept: " : *kept ? "its bytes are kept as .historyfs/rejected/" : "it was empty",
		 err == -EFBIG ? "they are more than -o rejected=SIZE keeps" : err ? store_strerror(err) : kept);
	h->dirty = false;
}

/* ---- Saves ---------------------------------------------------------------------------------------------------- */

/* Called when the process's earlier saves of the name are done: they count. */
static int take_bases(struct store_save *save)
{
	struct work *w = (struct work *)save;
	const struct process *self = &w->mount->self, *who;
	bool unseen;
	int err;

	if (!w->set)
		return 0;
	err = tickets_bases(w->mount->tickets, w->set, w->parent, w->name, w->rename, &save->bases, &save->base_count);
	who = ticket_set_process(w->set);
	if (err || save->base_count)
		return err;
	unseen = tickets_unseen(w->set);
	if (save->ino && who->known && self->known && who->start < self->start) {
		if (epoch_version(w->mount->epoch, save->ino, &w->before.version)) {
			w->before.ino = save->ino;
			save->bases = &w->before;
			save->base_count = 1;
			return 0;
		}
		unseen |= epoch_full(w->mount->epoch);
	}
	/* It is no blind one: there was something that it was based on. */
	if (unseen) {
		save->flags |= STORE_SAVE_UNSEEN;
		bound_met(BOUND_UNSEEN);
	}
	return 0;
}

void save_note(struct mount *m, struct ticket_set *set, uint64_t parent, const char *name, const struct store_save *save)
{
	struct store_attr copy;

	if (set && save->copy_ino && !store_getattr(m->store, save->copy_ino, &copy) && copy.parent)
		tickets_parted(m->tickets, ticket_set_process(set), copy.parent, copy.name, save);
	if (set) {
		tickets_saved(m->tickets, set, parent, name, save);
		shown_tell(m->shown, ticket_set_process(set), save->saved_ino, 0, 0);
	}
	if (save->saved_ino && save->version != save->previous)
		epoch_saved(m->epoch, save->saved_ino, save->previous);
}

/* Whether another file holds just the bytes of this version. */
static bool is_copy(struct mount *m, uint64_t ino, struct store_view *v)
{
	uint64_t size = store_view_size(v), at = 0;
	struct store_view *other = NULL;
	size_t got = 1, same = 1;
	struct store_attr a;
	char *buf;

	if (store_getattr(m->store, ino, &a) || a.size != size || (a.kind == STORE_DOCUMENT && store_view_open(m->store, ino, 0, &other)))
		return false;
	buf = malloc(COPY_PIECE);
	while (buf && at < size && got && same == got) {
		if (other ? store_view_read(other, at, buf, COPY_PIECE, &got) : store_read(m->store, ino, at, buf, COPY_PIECE, &got))
			break;
		if (store_view_match(v, at, buf, got, &same))
			break;
		at += same;
	}
	free(buf);
	store_view_unref(other);
	return at == size;
}

/* Who reads a session again to make a copy of it, and then saves what he had read before, has not seen what came between (P2). */
static void note_copy(struct mount *m, struct ticket_set *set, uint64_t parent, const char *name)
{
	struct ticket_reread read;
	struct store_view *v;

	if (!tickets_reread(m->tickets, set, parent, name, &read) || store_view_open(m->store, read.ino, read.version, &v))
		return;
	for (size_t i = 0; i < read.count; i++) {
		if (is_copy(m, read.opened[i], v)) {
			tickets_copied(set, &read);
			break;
		}
	}
	store_view_unref(v);
}

static uint64_t writer_of(const struct process *who, uint64_t parent, const char *name)
{
	uint64_t h = (uint64_t)who->tgid * 0x9e3779b97f4a7c15u ^ who->start * 0xff51afd7ed558ccdu ^ parent;

	while (*name)
		h = (h ^ (unsigned char)*name++) * 0x100000001b3u;
	return h | 1;
}

void save_fill(struct work *w, struct mount *m, struct ticket_set *set, const struct process *who, uint64_t parent, const char *name)
{
	struct store_save *save = &w->save;

	w->mount = m;
	w->set = set;
	w->parent = parent;
	w->name = name;
	save->prepare = take_bases;
	save->writer = writer_of(set ? ticket_set_process(set) : who, parent, name);
	save->pid = who->tgid;
	if (set)
		note_copy(m, set, parent, name);
	if (set && ticket_set_events(set))
		save->flags |= STORE_SAVE_EVENTS;
	if (m->options.merge == MERGE_EDIT)
		save->flags |= STORE_SAVE_EDIT;
	/* A document that was given another kind of name is no session: it is as it is written, as on any filesystem. */
	if (!store_is_document_name(name))
		save->flags |= STORE_SAVE_REPLACE;
}

void save_prepare(struct mount *m, struct handle *h, struct work *w)
{
	struct store_save *save = &w->save;
	struct place *place = &w->place;
	struct store_attr a;
	int64_t mtime;
	enum renamed_seen seen;
	bool own, renamed;

	inodes_place(m->inodes, h->inode, place);
	/* Others may rename it, and unlink it there: its writer knows it by the name it was opened by. */
	renamed = renamed_by(m->renamed, h->parent, h->name, &h->writer, NULL, &seen);
	own = place->embryo || renamed;
	*save = (struct store_save){
		.ino = h->ino, .parent = own ? place->parent : h->parent, .name = own ? place->name : h->name, .prefix = h->draft.base,
		.prefix_size = h->draft.keep, .tail = h->draft.tail, .tail_size = h->draft.tail_size, .mode = place->mode, .uid = place->uid, .gid = place->gid,
	};
	if (!place->embryo && place->unlinked && !store_getattr(m->store, h->ino, &a)) {
		save->mode = a.mode & 07777;
		save->uid = a.uid;
		save->gid = a.gid;
	}
	if (!draft_size(&h->draft))
		save->flags |= STORE_SAVE_EMPTY;
	/* What it renamed away, and did not know, it did not mean to take from the name. */
	if (place->embryo && renamed && seen == RENAMED_ABSENT)
		save->flags |= STORE_SAVE_LINEAGE;
	/* What was a temp file may have been written by the end of a pipeline. */
	w->rename = atomic_load(&h->own_size) != HANDLE_NONE;
	mtime = atomic_load(&h->mtime);
	if (mtime != HANDLE_NO_TIME) {
		save->flags |= STORE_SAVE_MTIME;
		save->mtime = (struct timespec){ mtime / NS - (mtime % NS < 0), (mtime % NS + NS) % NS };
	}
	save_fill(w, m, h->set, &h->writer, save->parent, save->name);
	/* It was opened as a session: what others have saved of that goes along. */
	if (store_is_document_name(h->name))
		save->flags &= ~STORE_SAVE_REPLACE;
}

bool save_orphaned(const struct handle *h, const struct place *place)
{
	return place->unlinked && process_same(&place->unlinker, &h->writer);
}

/* The document as it was written, when the store has it in no version. */
static char *copy_draft(struct handle *h)
{
	size_t size = draft_size(&h->draft), got = 0;
	char *bytes = malloc(size ? size : 1);

	if (bytes && (draft_read(&h->draft, 0, bytes, size, &got) || got != size)) {
		free(bytes);
		bytes = NULL;
	}
	return bytes;
}

void save_done(struct mount *m, struct handle *h, const struct work *w)
{
	const struct store_save *save = &w->save;
	const struct place *place = &w->place;
	uint64_t id;

	h->dirty = h->truncated = h->created = false;
	atomic_store(&h->draft_size, HANDLE_NONE);
	atomic_store(&h->mtime, HANDLE_NO_TIME);
	inodes_hatch(m->inodes, h->inode, save->saved_ino);
	/* It may have come back from another name (rule 13). */
	if (place->embryo)
		inodes_renamed(m->inodes, save->saved_ino, place->parent, place->name);
	if (save->saved_ino)
		h->ino = save->saved_ino;
	store_view_unref(h->view);
	h->view = NULL;
	atomic_store(&h->view_size, HANDLE_NONE);
	h->raw = h->empty = false;
	h->opened = shown_now(m->shown);
	h->own = save->version;
	save_note(m, h->set, w->parent, w->name, save);
	id = atomic_load(&h->temp);
	if (id && temps_needs(m->temps, place->name, id))
		temps_saved(m->temps, place->name, id, save->saved_ino, save->version,
			    !h->appended && save->result & (STORE_SAVED_MERGED | STORE_SAVED_SAME) ? copy_draft(h) : NULL, draft_size(&h->draft));
	if (save->result & STORE_SAVED_UNCERTAIN)
		log_line(LOG_INFO, "%s: version %llu keeps both of what may have been an edit; `historyctl undo` takes it back", place->name,
			 (unsigned long long)save->version);
}

void save_answer(fuse_req_t req, int err, size_t wrote)
{
	if (err || !wrote)
		fuse_reply_err(req, -err);
	else
		fuse_reply_write(req, wrote);
}

static void flushed(struct store_save *save)
{
	struct work *w = save->arg;
	struct handle *h = w->h;
	int err;

	pthread_mutex_lock(&h->lock);
	err = save->error;
	if (!err)
		save_done(w->mount, h, w);
	else if (err != -EINVAL)
		h->refused = err;	/* what is incomplete gets another chance at release */
	/* Who was told so finds the file as release leaves it. */
	if (err)
		handle_unsettled(w->mount, h, true);
	h->saving = false;
	pthread_cond_broadcast(&h->idle);
	pthread_mutex_unlock(&h->lock);
	/* The writer lives and may be in the middle of it: what there was before stands, and is on disk. */
	if (err == -EINVAL && (save->flags & STORE_SAVE_DURABLE))
		err = store_sync(w->mount->store);
	save_answer(w->req, err, w->wrote);
	free(w);
}

/* ---- Flush and release ---------------------------------------------------------------------------------------- */

void save_flush(fuse_req_t req, struct handle *h, const struct process *who, bool sync, size_t wrote)
{
	struct mount *m = mount_of(req);
	struct work *w;
	bool foreign = who->known && h->writer.known && !process_same(who, &h->writer);
	struct place place;
	int err = 0;

	h->flushed = true;
	if (h->kind != HANDLE_DOCUMENT) {
		err = h->error;
		goto reply;
	}
	inodes_place(m->inodes, h->inode, &place);
	/* JSON is complete or not, whoever closes it; but nothing, or lines, may be all that a killed writer came to. */
	if (!sync && who->known)
		h->dying = (!draft_size(&h->draft) || append_to_lines(h, &place)) && process_dying(who->tid);
	/* Nor, of lines, is it by one of several that write one after the other, while who opened it for them lives: `{ a; b; } > f`. */
	if (append_to_lines(h, &place))
		foreign |= who->known && h->opener.known && !process_same(who, &h->opener) && process_alive(&h->opener);
	if (h->appends && (h->appended || !h->has_draft)) {
		append_flush(req, h, !sync && (foreign || h->dying), sync, wrote);
		return;
	}
	/* And who was killed may have had more to write. */
	if (h->dying && !sync && append_to_lines(h, &place))
		goto reply;
	/* What a process that did not write it closes is not finished by that (a child's inherited descriptors). */
	if (!h->has_draft || (!h->dirty && (sync || !h->created)))
		goto reply;
	if (foreign && !sync) {
		handle_unsettled(m, h, true);
		goto reply;
	}
	if (h->error) {
		err = h->error;
		goto reply;
	}
	/* Emptied, and perhaps about to be written: release decides. But a file that was only made exists from now on. */
	if (!draft_size(&h->draft) && (h->truncated || h->dying)) {
		if (!sync)
			handle_unsettled(m, h, true);
		goto reply;
	}
	w = calloc(1, sizeof(*w));
	if (!w) {
		h->refused = err = -ENOMEM;
		goto reply;
	}
	save_prepare(m, h, w);
	if (save_orphaned(h, &w->place)) {
		free(w);
		goto reply;
	}
	if (sync)
		w->save.flags |= STORE_SAVE_DURABLE;
	w->h = h;
	w->req = req;
	w->wrote = wrote;
	w->save.done = flushed;
	w->save.arg = w;
	h->saving = true;
	handle_unlock(h);
	store_submit(m->store, &w->save);
	return;
reply:
	handle_unlock(h);
	save_answer(req, !err && sync ? store_sync(m->store) : err, wrote);
}

void save_release(struct mount *m, struct handle *h)
{
	struct work w = { .mount = m };
	bool killed;
	int err;

	handle_lock(h);
	if (!h->has_draft || (!h->dirty && !h->created) || ((h->dying || !h->flushed) && !draft_size(&h->draft)))
		goto out;
	save_prepare(m, h, &w);
	if (save_orphaned(h, &w.place))
		goto out;
	killed = h->dying && h->dirty && append_to_lines(h, &w.place);
	if (h->error || h->refused || killed) {
		reject(m, h, &w.place, h->error ? h->error : h->refused ? h->refused : -EINVAL, draft_size(&h->draft),
		       killed ? "its writer was killed, there may have been more" : NULL);
		goto out;
	}
	handle_releasing(h);
	err = h->appended ? append_commit(m, h, h->draft.tail_size, 0) : store_save(m->store, &w.save);
	if (err)
		reject(m, h, &w.place, err, w.save.error_offset, w.save.reason);
	else if (w.save.version)
		save_done(m, h, &w);
out:
	handle_unlock(h);
}

int save_truncate(struct mount *m, const struct process *who, const struct store_attr *a, uint64_t size)
{
	struct work w = { .save = { .ino = a->ino, .prefix_size = size } };
	struct ticket_set *set = NULL;
	struct store_attr now;
	int err;

	if (size > a->size)
		return -EINVAL;
	/* Of the size that it has only the time changes. */
	if (size == a->size) {
		clock_gettime(CLOCK_REALTIME, &now.mtime);
		return store_setattr(m->store, a->ino, &now, STORE_SET_MTIME, NULL);
	}
	err = tickets_freeze(m->tickets, who, &set);
	if (!err && size)
		err = store_view_open(m->store, a->ino, a->version, &w.save.prefix);
	if (!err) {
		save_fill(&w, m, set, who, a->parent, a->name);
		if (!size)
			w.save.flags |= STORE_SAVE_EMPTY;
		err = store_save(m->store, &w.save);
	}
	if (!err) {
		save_note(m, set, a->parent, a->name, &w.save);
		temps_changed(m, who, a->name, w.save.saved_ino, w.save.version);
	}
	store_view_unref(w.save.prefix);
	ticket_set_free(set);
	return err;
}
