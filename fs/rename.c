/* Renaming a temp file, or a session, to a document's name. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "save.h"

/* What is renamed: a file, as `temp` says that it was written (may be NULL). */
struct source {
	struct store_attr attr;
	const struct temp *temp;
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
		temps_leaving(m->temps, &from->attr, from->temp ? from->temp->parent : from->attr.parent);
		err = store_save(m->store, save);
	}
	if (!err) {
		save_note(m, set, parent, name, save);
		/* It may have come back from another name (rule 13). */
		inodes_renamed(m->inodes, save->saved_ino, parent, name);
		if (!from->temp)
			inodes_unlinked(m->inodes, from->attr.ino, who);
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
