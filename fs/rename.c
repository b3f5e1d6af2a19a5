/* Renaming a temp file, or a session, to a document's name. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "save.h"

/* What is renamed: a file, as `temp` says that it was written (may be NULL). */
struct source {
	struct store_attr attr;
	struct temp *temp;
	const char *kept;		/* the name that its bytes get in the rejected directory when they are refused; or NULL */
	bool current;			/* as it stands now, whoever wrote it */
	bool fresh;			/* a document that may be a temp file */
	struct store_view *view;	/* a document's version */
	uint64_t version, size;
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

/* The temp file's bytes, as what they share with the document that is there and the rest. */
static int take_bytes(struct mount *m, struct source *from, const struct store_attr *to, struct draft *d)
{
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
	draft_begin(d, now);
	store_view_unref(now);
	room = from->size < 1 << 20 ? from->size : 1 << 20;
	buf = malloc(room ? room : 1);
	err = buf ? 0 : -ENOMEM;
	for (uint64_t at = 0; !err && at < from->size; at += got) {
		err = source_read(m, from, at, buf, room, &got);
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
	return from->attr.version > 1 && !(from->temp->who.tgid == who->tgid && from->temp->who.start == who->start);
}

static bool earlier(struct timespec a, struct timespec b)
{
	return a.tv_sec != b.tv_sec ? a.tv_sec < b.tv_sec : a.tv_nsec < b.tv_nsec;
}

static int rename_as_save(struct mount *m, const struct process *who, struct source *from, const struct store_attr *to, uint64_t parent,
			  const char *name, bool last)
{
	struct ticket_set *set = from->temp ? from->temp->set : NULL, *own = NULL;
	struct draft d = { 0 };
	struct work w = { .rename = true };
	struct store_save *save = &w.save;
	bool renamed = renamed_by(m->renamed, parent, name, who, NULL, NULL);
	uint64_t former = from->temp ? from->temp->parent : from->attr.parent;
	int err = take_bytes(m, from, to, &d);

	if (!err && !set) {
		err = tickets_freeze(m->tickets, who, &own);
		set = own;
	}
	if (!err) {
		/* Who has renamed it away learnt nothing by the look-up: the newest ticket is a read of his, or of another task's. */
		if (!to && !renamed)
			tickets_created(m->tickets, set, who, parent, name);
		*save = (struct store_save){
			.ino = to ? to->ino : 0, .parent = parent, .name = name, .prefix = d.base, .prefix_size = d.keep,
			.tail = d.tail, .tail_size = d.tail_size, .mode = from->attr.mode & 07777, .uid = from->attr.uid, .gid = from->attr.gid,
			.from_ino = from->attr.ino, .from_version = from->fresh ? from->version : 0,
			.from_keep = !last || inodes_is_open(m->inodes, from->attr.ino), .from_log = has_log(from, who),
		};
		if (!from->size)
			save->flags |= STORE_SAVE_EMPTY;
		/* A write sets both times; mtime is the older one when it was set by itself. */
		if (earlier(from->attr.mtime, from->attr.ctime)) {
			save->flags |= STORE_SAVE_MTIME;
			save->mtime = from->attr.mtime;
		}
		if (renamed)
			save->flags |= STORE_SAVE_LINEAGE;
		save_fill(&w, m, set, who, parent, name);
		if (former)
			temps_leaving(m->temps, &from->attr, former);
		err = store_save(m->store, save);
	}
	if (!err) {
		save_note(m, set, parent, name, save);
		/* It may have come back from another name (rule 13). */
		inodes_renamed(m->inodes, save->saved_ino, parent, name);
		if (!from->temp)
			inodes_unlinked(m->inodes, from->attr.ino, who);
	} else if (err != -EINVAL || last) {
		log_line(LOG_WARNING, "refused %s as %s, renamed by pid %d: %s at byte %llu; the last good version stands, %s%s",
			 from->attr.name, name, (int)who->tgid, save->reason ? save->reason : store_strerror(err),
			 (unsigned long long)save->error_offset, from->kept ? "its bytes are kept as .historyfs/rejected/" : "the file stays",
			 from->kept ? from->kept : "");
	}
	draft_release(&d);
	store_view_unref(from->view);
	ticket_set_free(own);
	return err;
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
	if ((from->attr.version <= 1 || (temp->flags & TEMP_SHARED)) &&
	    (temp->name[0] == '.' || strcasestr(temp->name, "tmp") || strcasestr(temp->name, "temp")))
		return true;
	inodes_visit(m->inodes, from->attr.ino, visit_writer, &others);
	return others.found || temps_shared(m->temps, temp);
}

/* ---- Before it is closed --------------------------------------------------------------------------------------- */

/* What a plain file was renamed to while its writer had it open. */
struct early {
	struct process who;
	struct ticket_set *set;
	uint64_t parent;
	char name[STORE_NAME_MAX + 1];
	pthread_mutex_t lock;		/* held by who renames or releases; before all other locks */
	/* Under `lock`. */
	bool renamed;
	uint64_t size;			/* as it has been saved; 0: not yet */
	struct timespec mtime;
};

bool early_is(const struct handle *h, uint64_t parent, const char *name)
{
	return h->early->parent == parent && strcmp(h->early->name, name) == 0;
}

void early_free(struct early *e)
{
	if (!e)
		return;
	ticket_set_free(e->set);
	pthread_mutex_destroy(&e->lock);
	free(e);
}

struct writing {
	struct mount *m;
	const struct process *who;
	struct early *early;		/* to be noted with its handle */
	bool found;
};

static void visit_writing(struct handle *h, void *arg)
{
	struct writing *w = arg;

	if (w->found || !handle_writes(h) || h->early || h->closed || h->opener.tgid != w->who->tgid || h->opener.start != w->who->start)
		return;
	w->found = true;
	h->early = w->early;
	if (w->early)
		atomic_fetch_add(&w->m->early, 1);
}

static void visit_renamed(struct handle *h, void *arg)
{
	struct writing *w = arg;

	if (h->early == w->early && !h->closed)
		handle_unsettled(w->m, h, true);
}

static int early_new(const struct process *who, uint64_t parent, const char *name, struct early **ret)
{
	struct early *e = calloc(1, sizeof(*e));

	if (!e)
		return -ENOMEM;
	pthread_mutex_init(&e->lock, NULL);
	e->who = *who;
	e->parent = parent;
	strcpy(e->name, name);
	*ret = e;
	return 0;
}

/* It has no name any more, and is usable by its number while it is open. */
static int drop_name(struct mount *m, const struct process *who, const struct source *from)
{
	int err = from->attr.parent ? store_unlink(m->store, from->attr.parent, from->attr.name, true, NULL) : 0;

	if (err)
		return err;
	temps_leaving(m->temps, &from->attr, from->temp ? from->temp->parent : from->attr.parent);
	inodes_unlinked(m->inodes, from->attr.ino, who);
	return 0;
}

/* Saves what there is if it is complete; the rest when it is closed. -EAGAIN: it has been closed meanwhile. */
static int rename_early(struct mount *m, const struct process *who, struct source *from, const struct store_attr *to, uint64_t parent,
			const char *name)
{
	struct writing w = { .m = m, .who = who };
	struct early *early;
	int err = early_new(who, parent, name, &early);

	if (err)
		return err;
	pthread_mutex_lock(&early->lock);
	w.early = early;
	inodes_visit(m->inodes, from->attr.ino, visit_writing, &w);
	if (!w.found) {
		pthread_mutex_unlock(&early->lock);
		early_free(early);
		return -EAGAIN;
	}
	err = from->attr.size ? rename_as_save(m, who, from, to, parent, name, false) : -EINVAL;
	if (!err) {
		early->size = from->attr.size;
		early->mtime = from->attr.mtime;
	} else if (err == -EINVAL && to) {
		err = drop_name(m, who, from);
	} else if (err == -EINVAL) {
		/* The name is there from now on. */
		from->attr.size = 0;
		err = rename_as_save(m, who, from, to, parent, name, false);
	}
	early->renamed = !err;
	if (!err && from->temp) {
		early->set = from->temp->set;
		from->temp->set = NULL;
	}
	if (!err && !early->set)
		tickets_freeze(m->tickets, who, &early->set);
	inodes_visit(m->inodes, from->attr.ino, visit_renamed, &w);
	pthread_mutex_unlock(&early->lock);
	return err;
}

/* A file may have been closed already. False: of the first `releases` no handler is left that would tell. */
static bool awaits_release(struct mount *m, uint64_t releases)
{
	if (!loop_releasing(m->loop, releases))
		return false;
	nanosleep(&(struct timespec){ .tv_nsec = 50000 }, NULL);
	return true;
}

/* Whether the process has the file open to write. */
static bool is_written(struct mount *m, const struct process *who, uint64_t ino)
{
	struct writing w = { .m = m, .who = who };
	uint64_t releases = loop_releases(m->loop);

	do {
		w.found = false;
		inodes_visit(m->inodes, ino, visit_writing, &w);
	} while (w.found && awaits_release(m, releases));
	return w.found;
}

static void save_rest(struct mount *m, struct handle *h, struct early *early)
{
	struct temp temp = { .set = early->set };
	char kept[STORE_NAME_MAX + 1];
	struct source from = { .temp = &temp, .current = true, .kept = kept };
	struct timespec now;
	struct store_attr to;
	int err = store_getattr(m->store, h->ino, &from.attr);

	/* Of a killed writer nothing says little. */
	if (err || (!from.attr.size && (early->size || process_dying(early->who.tid) || !process_alive(&early->who))) ||
	    (from.attr.size && from.attr.size == early->size && !earlier(early->mtime, from.attr.mtime)))
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	snprintf(kept, sizeof(kept), "%.200s-%lld%09ld", from.attr.name, (long long)now.tv_sec, now.tv_nsec);
	err = store_lookup(m->store, early->parent, early->name, &to);
	err = rename_as_save(m, &early->who, &from, err ? NULL : &to, early->parent, early->name, true);
	if (err && !store_relink(m->store, h->ino, STORE_REJECTED, kept, 0, false))
		inodes_renamed(m->inodes, h->ino, STORE_REJECTED, kept);
}

struct closing {
	struct handle *h;
	struct early *early;
};

static void visit_closing(struct handle *h, void *arg)
{
	struct closing *c = arg;

	if (h == c->h) {
		h->closed = true;
		c->early = h->early;
	}
}

static void visit_closed(struct handle *h, void *arg)
{
	if (h == arg)
		h->early = NULL;
}

void save_early(struct mount *m, struct handle *h)
{
	struct closing c = { .h = h };

	inodes_visit(m->inodes, h->ino, visit_closing, &c);
	if (!c.early)
		return;
	handle_releasing(h);
	pthread_mutex_lock(&c.early->lock);
	if (c.early->renamed)
		save_rest(m, h, c.early);
	pthread_mutex_unlock(&c.early->lock);
	inodes_visit(m->inodes, h->ino, visit_closed, h);
	atomic_fetch_sub(&m->early, 1);
	early_free(c.early);
}

struct making {
	const struct process *who;
	struct handle *found;		/* locked */
	bool busy;
};

static void visit_making(struct handle *h, void *arg)
{
	struct making *w = arg;

	if (w->found || !handle_writes(h) || h->opener.tgid != w->who->tgid || h->opener.start != w->who->start)
		return;
	if (pthread_mutex_trylock(&h->lock)) {
		w->busy = true;
	} else if (h->saving) {
		pthread_mutex_unlock(&h->lock);
		w->busy = true;
	} else {
		w->found = h;
	}
}

/* The handle by which the process makes the document, with its lock. NULL: none. */
static struct handle *lock_maker(struct mount *m, const struct process *who, uint64_t ino)
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
	uint64_t releases = loop_releases(m->loop), id;
	struct handle *h;
	int err;

	do {
		if (who->tid <= 0 || !inodes_find_embryo(m->inodes, parent, name, who->tid, &a) ||
		    store_lookup(m->store, parent, name, &to) != -ENOENT)
			return -ENOSYS;
	} while (awaits_release(m, releases));
	err = store_lookup(m->store, new_parent, new_name, &to);
	exists = !err;
	if (err && err != -ENOENT)
		return err;
	if (exists && !replace)
		return -EEXIST;
	if (exists && document && to.kind != STORE_DOCUMENT && to.kind != STORE_SCRATCH)
		return -ENOSYS;
	h = lock_maker(m, who, a.ino);
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

/* One file; `last`: it is the only one that the rename means. -ENOSYS: an ordinary rename. */
static int rename_file(struct mount *m, const struct process *who, struct source *from, uint64_t parent, const char *name, bool last)
{
	const struct temp *temp = from->temp;
	struct store_attr to;
	int err = store_lookup(m->store, parent, name, &to);
	bool exists = !err;

	if (from->attr.kind != STORE_SCRATCH && from->attr.kind != STORE_DOCUMENT)
		return -ENOSYS;
	if (err && err != -ENOENT)
		return err;
	if (exists && (to.kind == STORE_DIRECTORY || to.kind == STORE_SYMLINK || to.ino == from->attr.ino))
		return -ENOSYS;
	if (!last && !from->attr.size)
		return -EINVAL;
	if (last && from->attr.kind == STORE_SCRATCH && (!exists || to.kind == STORE_DOCUMENT) && is_written(m, who, from->attr.ino)) {
		err = rename_early(m, who, from, exists ? &to : NULL, parent, name);
		if (err != -EAGAIN)
			return err;
		err = store_getattr(m->store, from->attr.ino, &from->attr);
		if (err)
			return err;
	}
	from->fresh = from->attr.kind == STORE_DOCUMENT && temp && temp_is_fresh(temp, from->attr.version);
	/* An established session that is renamed over another is a version of that one, whose log goes on (P9). */
	if (from->attr.kind == STORE_DOCUMENT && !is_temp(m, from, exists, name) && !(exists && to.kind == STORE_DOCUMENT))
		return -ENOSYS;
	err = rename_as_save(m, who, from, exists ? &to : NULL, parent, name, last);
	/* What is no document may take a name that no document has. */
	if ((err == -EINVAL || (err == -EFBIG && store_is_lines_name(name))) && last && !(exists && to.kind == STORE_DOCUMENT))
		return -ENOSYS;
	return err;
}

/* Of what the process has written under the name, each as it wrote it (rule 14). */
static int rename_own(struct mount *m, const struct process *who, const char *name, const uint64_t *ids, size_t count, uint64_t new_parent,
		      const char *new_name)
{
	struct temp *e, *done = NULL;
	int err, first = 0;

	for (size_t i = 0; i < count; i++) {
		struct source from = { .temp = e = temps_take(m->temps, name, ids[i]) };

		if (!e)
			continue;
		err = e->saved ? 0 : store_getattr(m->store, e->ino, &from.attr);
		if (!err && !e->saved)
			err = rename_file(m, who, &from, new_parent, new_name, count == 1);
		/* One that is still being written is its writer's to rename. */
		if (err && err != -EINVAL)
			first = first ? first : err;
		else if (err && count == 1)
			first = err;
		if (!err && !done)
			done = e;
		else
			temps_put(m, e, !err);
	}
	if (!first || !done) {
		temps_done(m, done);
		return done ? 0 : first ? first : -EINVAL;
	}
	temps_put(m, done, true);
	return first;
}

int save_rename(struct mount *m, const struct process *who, uint64_t parent, const char *name, uint64_t new_parent, const char *new_name)
{
	uint64_t ids[TEMPS_OWN];
	struct source from = { 0 };
	struct temp *temp;
	bool reserved;
	size_t count;
	int err;

	if (!store_is_document_name(new_name))
		return -ENOSYS;
	count = temps_own(m, who, parent, name, new_name, ids);
	if (count)
		return rename_own(m, who, name, ids, count, new_parent, new_name);
	err = store_lookup(m->store, parent, name, &from.attr);
	if (err)
		return err;
	/* Whoever wrote it: what stands there now. */
	from.temp = temp = temps_take_any(m->temps, &from.attr, &reserved);
	if (reserved)
		return -ENOENT;
	from.current = true;
	err = rename_file(m, who, &from, new_parent, new_name, true);
	if (temp && err)
		temps_put(m, temp, temp->saved);
	else
		temps_done(m, temp);
	return err;
}
