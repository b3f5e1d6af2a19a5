/* Renaming a temp file, or a session, to a document's name. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "follow.h"
#include "log.h"
#include "reject.h"
#include "save.h"

/* What is renamed: a file, as `temp` says that it was written (may be NULL). */
struct source {
	struct store_attr attr;
	struct temp *temp;
	bool unseen;			/* nobody knows any more who wrote it */
	bool current;			/* as it stands now, whoever wrote it */
	bool fresh;			/* a document that may be a temp file */
	struct store_view *view;	/* a document's version */
	uint64_t version, size;
	struct draft draft;		/* its bytes, as what they share with the document that is there and the rest */
	struct ticket_set *set;		/* the bases of its save */
	uint64_t saved_ino, saved;	/* the document, and the version it is now */
	struct followers open;		/* the handles by which it is being written */
};

static int source_open(struct mount *m, struct source *from)
{
	bool own = from->temp && !from->current;
	int err = 0;

	from->size = from->attr.size;
	from->version = from->attr.kind == STORE_DOCUMENT ? own ? from->temp->version : from->attr.version : 0;
	if (own && from->temp->bytes) {
		from->size = from->temp->size;
	} else if (from->attr.kind == STORE_DOCUMENT) {
		err = store_view_open(m->store, from->attr.ino, from->version, &from->view);
		if (!err)
			from->size = store_view_size(from->view);
	}
	return !err && from->size > m->options.max_document ? -EFBIG : err;
}

static int source_read(struct mount *m, const struct source *from, uint64_t at, char *buf, size_t room, size_t *ret)
{
	if (from->view)
		return store_view_read(from->view, at, buf, room, ret);
	if (from->attr.kind != STORE_DOCUMENT)
		return store_read(m->store, from->attr.ino, at, buf, room, ret);
	*ret = room < from->size - at ? room : from->size - at;
	memcpy(buf, from->temp->bytes + at, *ret);
	return 0;
}

static int take_bytes(struct mount *m, struct source *from, const struct store_attr *to)
{
	struct draft *d = &from->draft;
	struct store_view *now = NULL;
	size_t room, got = 0;
	char *buf;
	int err = source_open(m, from);

	if (err)
		return err;
	if (to && to->kind == STORE_DOCUMENT)
		err = store_view_open(m->store, to->ino, 0, &now);
	if (err && err != -ENOENT)
		return err;
	draft_release(d);
	draft_begin(d, now);
	store_view_unref(now);
	room = from->size < 1 << 20 ? from->size : 1 << 20;
	buf = malloc(room ? room : 1);
	err = buf ? 0 : -ENOMEM;
	for (uint64_t at = 0; !err && at < from->size; at += got) {
		err = source_read(m, from, at, buf, room, &got);
		/* A plain file may be cut meanwhile. */
		if (!err && !got && from->attr.kind == STORE_SCRATCH)
			break;
		if (!err && !got)
			err = -EIO;
		if (!err)
			err = draft_write(d, at, buf, got, m->options.max_document);
	}
	free(buf);
	return err;
}

/* Whether a document has a log of its own, which it keeps; temp files of a writer that saves twice before it renames have none. */
static bool has_log(const struct source *from, const struct process *who)
{
	if (!from->fresh || (from->temp->flags & TEMP_LOG))
		return true;
	return from->attr.version > 1 && !process_same(&from->temp->who, who);
}

static bool earlier(struct timespec a, struct timespec b)
{
	return a.tv_sec != b.tv_sec ? a.tv_sec < b.tv_sec : a.tv_nsec < b.tv_nsec;
}

/* Whether its entry is of a writer before the last one: what that one had seen says nothing of what the file holds now. */
static bool is_overtaken(const struct source *from)
{
	return from->current && from->attr.kind == STORE_DOCUMENT && from->temp->version != from->attr.version;
}

/* Whose the file is, and what that process had seen when it opened it; of a file that nobody is known to have written, whoever renames it. */
static int take_set(struct mount *m, const struct process *who, struct source *from)
{
	if (from->temp && from->temp->set && !is_overtaken(from)) {
		from->set = from->temp->set;
		from->temp->set = NULL;
	}
	if (from->set)
		return 0;
	return tickets_freeze(m->tickets, from->open.first ? followers_writer(&from->open, from->temp) : who, &from->set);
}

static void refused(const struct process *who, const struct source *from, const char *name, const struct store_save *save, int err)
{
	log_often("refused %s as %s, renamed by pid %d: %s at byte %llu; the last good version stands, the file stays",
		 from->attr.name, name, (int)who->tgid, save->reason ? save->reason : store_strerror(err),
		 (unsigned long long)save->error_offset);
}

/* The save itself; whether the temp file's bytes are still needed is found out and settled around it. */
static int save_source(struct mount *m, const struct process *who, const struct source *from, struct store_save *save, bool last)
{
	struct inode *inode = NULL;
	int err;

	if (from->attr.kind == STORE_SCRATCH)
		save->from_keep = inodes_leave(m->inodes, from->attr.ino, &inode) || !last;
	err = store_save(m->store, save);
	/* What others wait for is forgotten with the last of them (temps_done). */
	if (inodes_left(m->inodes, inode, !err && !from->temp, who))
		store_forget(m->store, from->attr.ino);
	return err;
}

/* `empty`: not its bytes, which are not complete; but the name is there from now on. */
static int rename_as_save(struct mount *m, const struct process *who, struct source *from, const struct store_attr *to, uint64_t parent,
			  const char *name, bool last, bool empty)
{
	struct work w = { .rename = true };
	struct store_save *save = &w.save;
	enum renamed_seen seen = RENAMED_NOTHING;
	bool renamed = renamed_by(m->renamed, parent, name, who, NULL, &seen);
	uint64_t former = from->temp ? from->temp->parent : from->attr.parent;
	int err = take_bytes(m, from, to);

	if (!err)
		err = take_set(m, who, from);
	if (!err)
		ticket_set_renamed(from->set, who);
	if (!err) {
		struct draft none = { 0 }, *d = empty ? &none : &from->draft;

		/* Who has renamed it away learnt nothing by the look-up: the newest ticket is a read of his, or of another task's. */
		if (!to && !renamed)
			tickets_created(m->tickets, from->set, who, parent, name);
		*save = (struct store_save){
			.ino = to ? to->ino : 0, .parent = parent, .name = name, .prefix = d->base, .prefix_size = d->keep,
			.tail = d->tail, .tail_size = d->tail_size, .mode = from->attr.mode & 07777, .uid = from->attr.uid, .gid = from->attr.gid,
			.from_ino = from->attr.ino, .from_version = from->fresh ? from->version : 0,
			.from_log = has_log(from, who),
		};
		if (!draft_size(d))
			save->flags |= STORE_SAVE_EMPTY;
		/* A write sets both times; mtime is the older one when it was set by itself. */
		if (earlier(from->attr.mtime, from->attr.ctime)) {
			save->flags |= STORE_SAVE_MTIME;
			save->mtime = from->attr.mtime;
		}
		/* What it renamed away, and did not know, it did not mean to take from the name. */
		if (renamed && seen != RENAMED_READ && seen != RENAMED_WRITTEN)
			save->flags |= STORE_SAVE_LINEAGE;
		if (from->unseen)
			save->flags |= STORE_SAVE_UNSEEN;
		save_fill(&w, m, from->set, who, parent, name);
		if (former)
			temps_leaving(m->temps, &from->attr, former);
		gone_note(m->gone, &from->attr);
		err = save_source(m, who, from, save, last);
	}
	if (!err) {
		save_note(m, from->set, parent, name, save);
		from->saved_ino = save->saved_ino;
		from->saved = empty ? 0 : save->version;
		temps_changed(m, who, name, save->saved_ino, save->version);
		/* It may have come back from another name (rule 13). */
		inodes_renamed(m->inodes, save->saved_ino, parent, name);
		if (!from->temp && from->attr.kind == STORE_DOCUMENT)
			inodes_unlinked(m->inodes, from->attr.ino, who);
	} else if (err != -EINVAL || (last && !(from->open.first && from->attr.kind == STORE_SCRATCH))) {
		refused(who, from, name, save, err);
	}
	store_view_unref(from->view);
	from->view = NULL;
	return err;
}

/* It has no name any more, and is usable by its number while it is open. */
static int drop_name(struct mount *m, const struct process *who, struct source *from)
{
	int err = from->attr.parent ? store_unlink(m->store, from->attr.parent, from->attr.name, true, NULL) : 0;

	if (!err) {
		temps_leaving(m->temps, &from->attr, from->temp ? from->temp->parent : from->attr.parent);
		inodes_unlinked(m->inodes, from->attr.ino, who);
	}
	return err;
}

/* Plain bytes that are still being written, and are not complete: what becomes of them is decided when they are closed. */
static int rename_begun(struct mount *m, const struct process *who, struct source *from, const struct store_attr *to, uint64_t parent,
			const char *name)
{
	int err = take_set(m, who, from);

	if (!err)
		err = to ? drop_name(m, who, from) : rename_as_save(m, who, from, NULL, parent, name, false, true);
	if (!err && to)
		from->saved_ino = to->ino;
	return err;
}

/* The handles by which it is being written follow it. Unlocks them. */
static void let_follow(struct mount *m, struct source *from, uint64_t parent, const char *name, bool renamed)
{
	if (renamed && from->open.first) {
		struct process writer = *followers_writer(&from->open, from->temp);
		struct timespec t = from->attr.mtime;
		int64_t mtime = earlier(t, from->attr.ctime) ? (int64_t)t.tv_sec * 1000000000 + t.tv_nsec : HANDLE_NO_TIME;

		followers_go(m, &from->open, &writer,
			     &(struct followed){ from->saved_ino, parent, name, from->saved, &from->draft, &from->set, mtime });
	}
	followers_unlock(&from->open);
	/* It stays with a file that was not renamed. */
	if (!renamed && from->temp && !from->temp->set) {
		from->temp->set = from->set;
		from->set = NULL;
	}
	ticket_set_free(from->set);
	from->set = NULL;
	draft_release(&from->draft);
}

struct writers {
	uint64_t but;	/* entry of the handle that does not count */
	bool found;
};

static void visit_writer(struct handle *h, void *arg)
{
	struct writers *w = arg;
	uint64_t id = atomic_load(&h->temp);

	w->found |= id && id != w->but;
}

static bool is_temp_name(const char *name)
{
	return name[0] == '.' || strcasestr(name, "tmp") || strcasestr(name, "temp");
}

/*
 * Whether a document is a temp file: an established session keeps its own history when it is renamed, and a new one that somebody has read
 * when it stays of its kind.
 */
static bool is_temp(struct mount *m, const struct source *from, bool exists, const char *new_name)
{
	const struct temp *temp = from->temp;
	struct writers others = { .but = temp ? temp->id : 0 };

	if (!from->fresh)
		return false;
	if (exists || !from->attr.parent || from->attr.lines != store_is_lines_name(new_name))
		return true;
	if (temp->flags & TEMP_READ)
		return false;
	/* Another may be opening it just now. */
	if ((from->attr.version <= 1 || (temp->flags & TEMP_SHARED)) && is_temp_name(temp->name))
		return true;
	inodes_visit(m->inodes, from->attr.ino, visit_writer, &others);
	return others.found || temps_shared(m->temps, temp);
}

/* ---- Documents that are being made --------------------------------------------------------------------------- */

struct making {
	const struct process *who;
	struct handle *found;		/* locked */
	bool busy;
};

static void visit_making(struct handle *h, void *arg)
{
	struct making *w = arg;

	if (w->found || !handle_writes(h) || !process_same(&h->opener, w->who))
		return;
	/* What becomes of one that is closed is waited for. */
	if (pthread_mutex_trylock(&h->lock)) {
		w->busy = true;
	} else if (h->saving || atomic_load(&h->closing)) {
		pthread_mutex_unlock(&h->lock);
		w->busy = true;
	} else {
		w->found = h;
	}
}

struct handle *handle_lock_maker(struct mount *m, const struct process *who, uint64_t ino)
{
	struct making w;

	for (;;) {
		w = (struct making){ .who = who };
		inodes_visit(m->inodes, ino, visit_making, &w);
		if (w.found || !w.busy)
			return w.found;
		nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
	}
}

static void give_name(struct mount *m, struct handle *h, uint64_t parent, const char *name)
{
	inodes_renamed(m->inodes, h->inode->ino, parent, name);
	h->parent = parent;
	strcpy(h->name, name);
}

/* Saves what there is if it is complete, `empty`: also when it is nothing. Needs the handle's lock. */
static int save_complete(struct mount *m, struct handle *h, bool empty)
{
	struct work w = { .mount = m };
	int err;

	if (!h->has_draft || h->error || !(draft_size(&h->draft) ? h->dirty : empty))
		return 0;
	save_prepare(m, h, &w);
	err = store_save(m->store, &w.save);
	if (!err)
		save_done(m, h, &w);
	return err == -EINVAL ? 0 : err;
}

int save_rename_embryo(struct mount *m, const struct process *who, uint64_t parent, const char *name, uint64_t new_parent, const char *new_name,
		       bool replace)
{
	bool document = store_is_document_name(new_name), exists;
	struct store_attr a, to;
	struct handle *h;
	uint64_t id;
	int err;

	if (who->tid <= 0 || !inodes_find_embryo(m->inodes, parent, name, who->tid, &a) || store_lookup(m->store, parent, name, &to) != -ENOENT)
		return -ENOSYS;
	err = store_lookup(m->store, new_parent, new_name, &to);
	exists = !err;
	if (err && err != -ENOENT)
		return err;
	if (exists && !replace)
		return -EEXIST;
	if (exists && document && to.kind != STORE_DOCUMENT && to.kind != STORE_SCRATCH)
		return -ENOSYS;
	h = handle_lock_maker(m, who, a.ino);
	if (!h)
		return -ENOSYS;
	id = atomic_exchange(&h->temp, document ? 0 : atomic_load(&h->temp));
	if (document && id)
		temps_closed(m, name, id);
	if (document && !exists && h->set)
		tickets_created(m->tickets, h->set, who, new_parent, new_name);
	if (document)
		give_name(m, h, new_parent, new_name);
	err = save_complete(m, h, !document);
	if (err && document)
		give_name(m, h, parent, name);
	handle_unlock(h);
	return err || document ? err : -ENOSYS;
}

/* ---- Renaming -------------------------------------------------------------------------------------------------- */

/* What the handles that write it may have written since it was looked at. */
static int lock_open(struct mount *m, struct source *from)
{
	followers_lock(m, from->attr.ino, from->attr.kind == STORE_DOCUMENT, from->temp, &from->open);
	return from->open.first ? store_getattr(m->store, from->attr.ino, &from->attr) : 0;
}

static int rename_locked(struct mount *m, const struct process *who, struct source *from, const struct store_attr *to, uint64_t parent,
			 const char *name, bool last)
{
	bool document = to && to->kind == STORE_DOCUMENT, written = from->open.first && from->attr.kind == STORE_SCRATCH;
	int err;

	/* One of several that is still being written is its writer's to rename. */
	if (!last && (written || !from->attr.size))
		return -EINVAL;
	from->fresh = from->attr.kind == STORE_DOCUMENT && from->temp && temp_is_fresh(from->temp, from->attr.version);
	/* An established session that is renamed over another is a version of that one, whose log goes on (P9). */
	if (from->attr.kind == STORE_DOCUMENT && !is_temp(m, from, to, name) && !document)
		return -ENOSYS;
	err = written && !from->attr.size ? -EINVAL : rename_as_save(m, who, from, to, parent, name, last, false);
	if (err == -EINVAL && written)
		return rename_begun(m, who, from, to, parent, name);
	/* What is no document may take a name that no document has. */
	if ((err == -EINVAL || (err == -EFBIG && store_is_lines_name(name))) && last && !document)
		return -ENOSYS;
	return err;
}

/* One file; `last`: it is the only one that the rename means. -ENOSYS: an ordinary rename. */
static int rename_file(struct mount *m, const struct process *who, struct source *from, uint64_t parent, const char *name, bool replace, bool last)
{
	struct store_attr to;
	int err = store_lookup(m->store, parent, name, &to);
	bool exists = !err;

	if (from->attr.kind != STORE_SCRATCH && from->attr.kind != STORE_DOCUMENT)
		return -ENOSYS;
	if (err && err != -ENOENT)
		return err;
	if (exists && !replace)
		return -EEXIST;
	if (exists && (to.kind == STORE_DIRECTORY || to.kind == STORE_SYMLINK || to.ino == from->attr.ino))
		return -ENOSYS;
	err = lock_open(m, from);
	if (!err)
		err = rename_locked(m, who, from, exists ? &to : NULL, parent, name, last);
	let_follow(m, from, parent, name, !err);
	return err;
}

/* Of what the process has written under the name, each as it wrote it (rule 14). */
static int rename_own(struct mount *m, const struct process *who, const char *name, const uint64_t *ids, size_t count, uint64_t new_parent,
		      const char *new_name, bool replace)
{
	struct temp *e, *done = NULL;
	int err, first = 0;

	for (size_t i = 0; i < count; i++) {
		struct source from = { .temp = e = temps_take(m->temps, name, ids[i]) };

		if (!e)
			continue;
		err = e->saved ? 0 : store_getattr(m->store, e->ino, &from.attr);
		if (!err && !e->saved)
			err = rename_file(m, who, &from, new_parent, new_name, replace || done, count == 1);
		if (err && err != -EINVAL)
			first = first ? first : err;
		else if (err && count == 1)
			first = err;
		if (!err && !done)
			done = e;
		else
			temps_put(m, e, !err);
	}
	/* All are still being written: the newest is meant. */
	if (!first && !done && count > 1)
		return rename_own(m, who, name, ids + count - 1, 1, new_parent, new_name, replace);
	if (!first || !done) {
		temps_done(m, done);
		return done ? 0 : first ? first : -EINVAL;
	}
	temps_put(m, done, true);
	return first;
}

int save_rename(struct mount *m, const struct process *who, uint64_t parent, const char *name, uint64_t new_parent, const char *new_name,
		bool replace)
{
	uint64_t ids[TEMPS_OWN];
	struct source from = { 0 };
	struct temp *temp;
	bool reserved, forgot;
	size_t count;
	int err;

	if (!store_is_document_name(new_name))
		return -ENOSYS;
	forgot = temps_forgot_own(m, who, parent, name);
	count = temps_own(m, who, parent, name, new_name, ids);
	err = count ? rename_own(m, who, name, ids, count, new_parent, new_name, replace) : 0;
	if (forgot && !err) {
		log_often("%s: pid %d had too many files of this name that it had not renamed, and one had to go; %zu that are left are saved as %s, "
			  "but its renames fail for %d seconds: write less at once, or under different names", name, (int)who->tgid, count, new_name,
			  TEMP_SECONDS);
		return -EBUSY;
	}
	if (count)
		return err;
	err = store_lookup(m->store, parent, name, &from.attr);
	if (err)
		return err;
	/* Whoever wrote it: what stands there now. */
	from.temp = temp = temps_take_any(m->temps, &from.attr, &reserved);
	if (reserved)
		return -ENOENT;
	from.current = true;
	from.unseen = !temp && temps_forgot(m->temps);
	err = rename_file(m, who, &from, new_parent, new_name, replace, true);
	if (temp && err)
		temps_put(m, temp, temp->saved);
	else
		temps_done(m, temp);
	return err;
}

/* ---- Exchanging ------------------------------------------------------------------------------------------------ */

/* Whether the file may be what a session is to be: plain, or a document that has just been made for that by its name. */
static bool is_made_to_replace(struct mount *m, const struct store_attr *a)
{
	if (!store_is_document_name(a->name))
		return a->kind == STORE_SCRATCH;
	return a->kind == STORE_DOCUMENT && is_temp_name(a->name) && temps_fresh(m->temps, a);
}

static bool is_session(const struct store_attr *a)
{
	return store_is_document_name(a->name) && (a->kind == STORE_DOCUMENT || a->kind == STORE_SCRATCH);
}

static int copy_bytes(struct mount *m, const struct store_attr *from, struct store_view *v, uint64_t to)
{
	uint64_t size = v ? store_view_size(v) : from->size, at = 0;
	size_t room = size < 1 << 20 ? size : 1 << 20, got = 1;
	char *buf = malloc(room ? room : 1);
	int err = buf ? 0 : -ENOMEM;

	for (; !err && at < size && got; at += got) {
		err = v ? store_view_read(v, at, buf, room, &got) : store_read(m->store, from->ino, at, buf, room, &got);
		if (!err)
			err = store_write(m->store, to, at, buf, got);
	}
	free(buf);
	return err;
}

/* What the session was is a plain file under the name that its new bytes came from. */
static int put_former(struct mount *m, const struct store_attr *was, struct store_view *v, uint64_t parent, const char *name)
{
	struct store_attr to;
	int err = store_create(m->store, parent, name, 0, S_IFREG | (was->mode & 07777), was->uid, was->gid, NULL, &to);

	if (!err)
		err = copy_bytes(m, was, v, to.ino);
	if (!err)
		err = store_setattr(m->store, to.ino, was, STORE_SET_ATIME | STORE_SET_MTIME, NULL);
	/* Another has made its own there, or removed this. */
	if (err == -EEXIST || err == -ENOENT)
		return 0;
	if (err)
		log_line(LOG_WARNING, "%s was exchanged with %s, and what it was could not be put there: %s; `historyctl log` has it",
			 was->name, name, store_strerror(err));
	return err;
}

int save_exchange(struct mount *m, const struct process *who, uint64_t parent, const char *name, uint64_t new_parent, const char *new_name)
{
	struct store_view *v = NULL;
	struct store_attr a, b;
	bool turned;
	int err = store_lookup(m->store, parent, name, &a);

	if (!err)
		err = store_lookup(m->store, new_parent, new_name, &b);
	if (err)
		return err;
	turned = is_made_to_replace(m, &b);
	/* Of a hidden session the name says nothing, of a plain file beside it the kind does. */
	if (turned && is_made_to_replace(m, &a) && (a.kind == STORE_SCRATCH) != (b.kind == STORE_SCRATCH))
		turned = b.kind == STORE_SCRATCH;
	else if (turned == is_made_to_replace(m, &a))
		return -ENOSYS;
	if (!is_session(turned ? &a : &b))
		return -ENOSYS;
	if (turned) {
		struct store_attr c = a;

		a = b;
		b = c;
	}
	if (b.kind == STORE_DOCUMENT)
		err = store_view_open(m->store, b.ino, b.version, &v);
	if (!err)
		err = save_rename(m, who, a.parent, a.name, b.parent, b.name, true);
	if (!err)
		err = put_former(m, &b, v, a.parent, a.name);
	store_view_unref(v);
	return err;
}
