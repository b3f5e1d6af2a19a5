#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handle.h"
#include "log.h"

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

static int keep_bytes(struct mount *m, struct handle *h, const char *name, char kept[STORE_NAME_MAX + 1])
{
	uint64_t size = draft_size(&h->draft);
	size_t room = size < 1 << 20 ? size : 1 << 20, got;
	struct store_attr a;
	struct timespec now;
	char *buf = malloc(room);
	int err;

	if (!buf)
		return -ENOMEM;
	clock_gettime(CLOCK_REALTIME, &now);
	snprintf(kept, STORE_NAME_MAX + 1, "%.200s-%lld%09ld", name, (long long)now.tv_sec, now.tv_nsec);
	err = store_create(m->store, STORE_REJECTED, kept, 0, S_IFREG | 0600, m->owner, m->owner_group, NULL, &a);
	for (uint64_t at = 0; !err && at < size; at += got) {
		err = draft_read(&h->draft, at, buf, room, &got);
		if (!err)
			err = store_write(m->store, a.ino, at, buf, got);
	}
	free(buf);
	return err;
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
		err = keep_bytes(m, h, place->name, kept);
	else
		strcpy(kept, "");
	log_line(LOG_WARNING, "refused %s, written by pid %d (%s): %s at byte %llu of %llu; the last good version stands; %s%s", path,
		 (int)h->writer.tgid, comm, reason ? reason : store_strerror(error), (unsigned long long)offset,
		 (unsigned long long)draft_size(&h->draft),
		 err ? "its bytes could not be kept: " : *kept ? "its bytes are kept as .historyfs/rejected/" : "it was empty",
		 err ? store_strerror(err) : kept);
	h->dirty = false;
}

/* ---- Saves ---------------------------------------------------------------------------------------------------- */

struct work {
	struct store_save save;	/* first, so that it leads to the rest */
	struct mount *mount;
	struct ticket_set *set;	/* may be NULL */
	uint64_t parent;	/* the name it is saved under */
	const char *name;
	bool rename;
	struct store_base before;	/* for a process older than the daemon */
	struct handle *h;
	fuse_req_t req;
	struct place place;
};

/* Called when the process's earlier saves of the name are done: they count. */
static int take_bases(struct store_save *save)
{
	struct work *w = (struct work *)save;
	const struct process *self = &w->mount->self, *who;
	int err;

	if (!w->set)
		return 0;
	err = tickets_bases(w->mount->tickets, w->set, w->parent, w->name, w->rename, &save->bases, &save->base_count);
	who = ticket_set_process(w->set);
	if (!err && !save->base_count && save->ino && who->known && self->known && who->start < self->start &&
	    epoch_version(w->mount->epoch, save->ino, &w->before.version)) {
		w->before.ino = save->ino;
		save->bases = &w->before;
		save->base_count = 1;
	}
	return err;
}

/* Tells who keeps account of what was seen and saved. */
static void note(struct mount *m, struct ticket_set *set, uint64_t parent, const char *name, const struct store_save *save)
{
	if (set)
		tickets_saved(m->tickets, set, parent, name, save);
	if (save->saved_ino && save->version != save->previous)
		epoch_saved(m->epoch, save->saved_ino, save->previous);
}

static uint64_t writer_of(const struct process *who, uint64_t parent, const char *name)
{
	uint64_t h = (uint64_t)who->tgid * 0x9e3779b97f4a7c15u ^ who->start * 0xff51afd7ed558ccdu ^ parent;

	while (*name)
		h = (h ^ (unsigned char)*name++) * 0x100000001b3u;
	return h | 1;
}

static void fill(struct work *w, struct mount *m, struct ticket_set *set, const struct process *who, uint64_t parent, const char *name)
{
	struct store_save *save = &w->save;

	w->mount = m;
	w->set = set;
	w->parent = parent;
	w->name = name;
	save->prepare = take_bases;
	save->writer = writer_of(set ? ticket_set_process(set) : who, parent, name);
	save->pid = who->tgid;
	if (set && ticket_set_events(set))
		save->flags |= STORE_SAVE_EVENTS;
	if (m->options.edit)
		save->flags |= STORE_SAVE_EDIT;
}

/* Needs the handle's lock. */
static void prepare(struct mount *m, struct handle *h, struct work *w)
{
	struct store_save *save = &w->save;
	struct place *place = &w->place;
	struct store_attr a;

	inodes_place(m->inodes, h->inode, place);
	*save = (struct store_save){
		.ino = h->ino, .parent = place->parent, .name = place->name, .prefix = h->draft.base, .prefix_size = h->draft.keep,
		.tail = h->draft.tail, .tail_size = h->draft.tail_size, .mode = place->mode, .uid = place->uid, .gid = place->gid,
	};
	if (!place->embryo && place->unlinked && !store_getattr(m->store, h->ino, &a)) {
		save->mode = a.mode & 07777;
		save->uid = a.uid;
		save->gid = a.gid;
	}
	if (!draft_size(&h->draft))
		save->flags |= STORE_SAVE_EMPTY;
	fill(w, m, h->set, &h->writer, place->parent, place->name);
}

/* A file that its own writer unlinked has no name to be saved under: as on any filesystem it goes with the handle. */
static bool orphaned(const struct handle *h, const struct place *place)
{
	return place->unlinked && place->unlinker.known && place->unlinker.tgid == h->writer.tgid && place->unlinker.start == h->writer.start;
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

/* Needs the handle's lock. */
static void saved(struct mount *m, struct handle *h, const struct place *place, const struct store_save *save)
{
	uint64_t id;

	h->dirty = h->truncated = h->created = false;
	atomic_store(&h->draft_size, HANDLE_NONE);
	inodes_hatch(m->inodes, h->inode, save->saved_ino);
	if (save->saved_ino)
		h->ino = save->saved_ino;
	store_view_unref(h->view);
	h->view = NULL;
	atomic_store(&h->view_size, HANDLE_NONE);
	h->raw = false;
	note(m, h->set, place->parent, place->name, save);
	id = atomic_load(&h->temp);
	if (id && temps_needs(m->temps, place->name, id))
		temps_saved(m->temps, place->name, id, save->saved_ino, save->version,
			    save->result & (STORE_SAVED_MERGED | STORE_SAVED_SAME) ? copy_draft(h) : NULL, draft_size(&h->draft));
	if (save->result & STORE_SAVED_UNCERTAIN)
		log_line(LOG_INFO, "%s: version %llu keeps both of what may have been an edit; `historyctl undo` takes it back", place->name,
			 (unsigned long long)save->version);
}

static void flushed(struct store_save *save)
{
	struct work *w = save->arg;
	struct handle *h = w->h;
	int err;

	pthread_mutex_lock(&h->lock);
	err = save->error;
	if (!err)
		saved(w->mount, h, &w->place, save);
	else if (err != -EINVAL)
		h->refused = err;	/* what is incomplete gets another chance at release */
	h->saving = false;
	pthread_cond_broadcast(&h->idle);
	pthread_mutex_unlock(&h->lock);
	fuse_reply_err(w->req, -err);
	free(w);
}

static bool same_process(const struct process *a, const struct process *b)
{
	return a->tgid == b->tgid && a->start == b->start;
}

void save_flush(fuse_req_t req, struct handle *h, const struct process *who, bool sync)
{
	struct mount *m = mount_of(req);
	struct work *w;
	bool foreign = who->known && h->writer.known && !same_process(who, &h->writer);
	int err = 0;

	h->flushed = true;
	if (!sync && who->known)
		h->dying = process_dying(who->tid);
	/* What a process that did not write it closes is not finished by that (a child's inherited descriptors). */
	if (!h->has_draft || (!h->dirty && !h->created))
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
	if (!draft_size(&h->draft) && (h->truncated || h->dying) && !sync) {
		handle_unsettled(m, h, true);
		goto reply;
	}
	w = calloc(1, sizeof(*w));
	if (!w) {
		err = -ENOMEM;
		goto reply;
	}
	prepare(m, h, w);
	if (orphaned(h, &w->place)) {
		free(w);
		goto reply;
	}
	w->h = h;
	w->req = req;
	w->save.done = flushed;
	w->save.arg = w;
	h->saving = true;
	handle_unlock(h);
	store_submit(m->store, &w->save);
	return;
reply:
	handle_unlock(h);
	fuse_reply_err(req, -err);
}

void save_release(struct mount *m, struct handle *h)
{
	struct work w = { .mount = m };
	int err;

	handle_lock(h);
	if (!h->has_draft || (!h->dirty && !h->created) || ((h->dying || !h->flushed) && !draft_size(&h->draft)))
		goto out;
	prepare(m, h, &w);
	if (orphaned(h, &w.place))
		goto out;
	if (h->error || h->refused) {
		reject(m, h, &w.place, h->error ? h->error : h->refused, draft_size(&h->draft), NULL);
		goto out;
	}
	handle_releasing(h);
	err = store_save(m->store, &w.save);
	if (!err)
		saved(m, h, &w.place, &w.save);
	else
		reject(m, h, &w.place, err, w.save.error_offset, w.save.reason);
out:
	handle_unlock(h);
}

int save_truncate(struct mount *m, const struct process *who, const struct store_attr *a, uint64_t size)
{
	struct work w = { .save = { .ino = a->ino, .prefix_size = size } };
	struct ticket_set *set = NULL;
	int err;

	if (size == a->size)
		return 0;
	if (size > a->size)
		return -EINVAL;
	err = tickets_freeze(m->tickets, who, &set);
	if (!err && size)
		err = store_view_open(m->store, a->ino, a->version, &w.save.prefix);
	if (!err) {
		fill(&w, m, set, who, a->parent, a->name);
		if (!size)
			w.save.flags |= STORE_SAVE_EMPTY;
		err = store_save(m->store, &w.save);
	}
	if (!err)
		note(m, set, a->parent, a->name, &w.save);
	store_view_unref(w.save.prefix);
	ticket_set_free(set);
	return err;
}

/* ---- Renaming a temp file to a document ----------------------------------------------------------------------- */

/* What is renamed: a file, as `temp` says that it was written (may be NULL). */
struct source {
	struct store_attr attr;
	const struct temp *temp;
	bool current;			/* as it stands now, whoever wrote it */
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

static int rename_as_save(struct mount *m, const struct process *who, struct source *from, const struct store_attr *to, uint64_t parent,
			  const char *name, bool last)
{
	struct ticket_set *set = from->temp ? from->temp->set : NULL, *own = NULL;
	struct draft d = { 0 };
	struct work w = { .rename = true };
	struct store_save *save = &w.save;
	int err = take_bytes(m, from, to, &d);

	if (!err && !set) {
		err = tickets_freeze(m->tickets, who, &own);
		set = own;
	}
	if (!err) {
		*save = (struct store_save){
			.ino = to ? to->ino : 0, .parent = parent, .name = name, .prefix = d.base, .prefix_size = d.keep,
			.tail = d.tail, .tail_size = d.tail_size, .mode = from->attr.mode & 07777, .uid = from->attr.uid, .gid = from->attr.gid,
			.from_ino = from->attr.ino, .from_version = from->version,
			.from_keep = !last || inodes_is_open(m->inodes, from->attr.ino),
			.from_log = !from->temp || (from->temp->flags & TEMP_LOG),
		};
		if (!from->size)
			save->flags |= STORE_SAVE_EMPTY;
		if (renamed_by(m->renamed, parent, name, who))
			save->flags |= STORE_SAVE_LINEAGE;
		fill(&w, m, set, who, parent, name);
		temps_leaving(m->temps, &from->attr, from->temp ? from->temp->parent : from->attr.parent);
		err = store_save(m->store, save);
	}
	if (!err) {
		note(m, set, parent, name, save);
		/* It may have come back from another name (rule 13). */
		inodes_renamed(m->inodes, save->saved_ino, parent, name);
	} else if (err != -EINVAL || last) {
		log_line(LOG_WARNING, "refused %s as %s, renamed by pid %d: %s at byte %llu; the last good version stands, the file stays",
			 from->attr.name, name, (int)who->tgid, save->reason ? save->reason : store_strerror(err),
			 (unsigned long long)save->error_offset);
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

/* Whether a document is a temp file: an established session keeps its own history when it is renamed. */
static bool is_temp(struct mount *m, const struct source *from, bool exists)
{
	const struct temp *temp = from->temp;
	struct writers others = { .but = temp->id };

	if (!temp_is_fresh(temp, from->attr.version))
		return false;
	if (exists || !from->attr.parent)
		return true;
	if (temp->flags & TEMP_READ)
		return false;
	/* Another may be opening it just now. */
	if (from->attr.version <= 1 && (temp->name[0] == '.' || strcasestr(temp->name, "tmp") || strcasestr(temp->name, "temp")))
		return true;
	inodes_visit(m->inodes, from->attr.ino, visit_writer, &others);
	return others.found || temps_shared(m->temps, temp);
}

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
	if (from->attr.kind == STORE_DOCUMENT && !(temp && is_temp(m, from, exists)))
		return -ENOSYS;
	err = rename_as_save(m, who, from, exists ? &to : NULL, parent, name, last);
	/* What is no document may take a name that no document has. */
	return err == -EINVAL && last && !(exists && to.kind == STORE_DOCUMENT) ? -ENOSYS : err;
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
