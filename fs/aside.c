#include "aside.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bound.h"
#include "handle.h"
#include "log.h"
#include "mount.h"

#define COUNT 1024	/* sessions that are set aside at once; with more the oldest that is made ends, and when none is, the rename is refused */
#define LONGEST_NS 3000000000u	/* what takes longer is no part of a save */
#define GENERATIONS 4	/* a shell between */
#define LOOK_NS 20000000u	/* how often it is looked whether it has ended */

struct aside {
	struct process who;
	struct store_attr attr;		/* the session's when it was set aside */
	uint64_t copy;			/* the number of the document that the backup may become */
	uint64_t at;
	bool made;
	bool unlinked;			/* the process has removed the backup, and made nothing so far */
	char backup[STORE_NAME_MAX + 1];
};

struct asides {
	struct mount *mount;
	atomic_uint count;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Under `lock`. */
	struct aside *list[COUNT];	/* the first `count` */
	bool watched, stop;
	pthread_t watcher;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int asides_new(struct mount *m, struct asides **ret)
{
	struct asides *t = calloc(1, sizeof(*t));
	pthread_condattr_t attr;

	if (!t)
		return -ENOMEM;
	t->mount = m;
	pthread_mutex_init(&t->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&t->changed, &attr);
	pthread_condattr_destroy(&attr);
	*ret = t;
	return 0;
}

bool asides_any(const struct asides *t)
{
	return atomic_load(&t->count);
}

/* ---- Renaming as any filesystem does -------------------------------------------------------------------------- */

/* What the process knows of a document that it is about to rename. */
static enum renamed_seen seen_of(struct mount *m, const struct process *who, uint64_t parent, const char *name)
{
	const struct store_base *bases;
	struct ticket_set *set;
	size_t count = 0;
	enum renamed_seen seen = RENAMED_NOTHING;

	if (tickets_freeze(m->tickets, who, &set))
		return seen;
	if (!tickets_bases(m->tickets, set, parent, name, false, &bases, &count)) {
		bool read = false, written = false;

		for (size_t i = 0; i < count; i++) {
			written |= (bases[i].flags & STORE_BASE_WRITTEN) != 0;
			read |= bases[i].version && !(bases[i].flags & STORE_BASE_WRITTEN);
		}
		seen = read ? RENAMED_READ : written ? RENAMED_WRITTEN : count ? RENAMED_ABSENT : RENAMED_NOTHING;
	}
	ticket_set_free(set);
	return seen;
}

/* It has lost its name, which may have been given to another just before: what that had was not looked at until now. */
static void let_go(struct mount *m, const struct process *who, const struct store_attr *a)
{
	if (temps_awaited(m->temps, a))
		return;
	if (a->kind == STORE_DOCUMENT)
		inodes_unlinked(m->inodes, a->ino, who);
	else
		handle_forget(m, a->ino, who);
}

int unlink_file(struct mount *m, const struct process *who, uint64_t parent, const char *name, struct store_attr *a)
{
	int err = store_unlink(m->store, parent, name, true, a);

	if (!err)
		let_go(m, who, a);
	return err;
}

int rename_plainly(struct mount *m, const struct process *who, uint64_t parent, const char *name, uint64_t new_parent, const char *new_name,
		   unsigned flags)
{
	struct store_attr from, to;
	bool exists, lost, unread, gone;
	int err = store_lookup(m->store, parent, name, &from);

	if (err == -ENOENT)
		from.ino = 0;
	if (err && err != -ENOENT)
		return err;
	lost = !(flags & STORE_EXCHANGE) && temps_find(m, who, parent, name, &from);
	if (err && !lost)
		return err;
	exists = store_lookup(m->store, new_parent, new_name, &to) == 0;
	gone = exists && from.ino != to.ino && !(flags & STORE_EXCHANGE);
	if (lost)
		err = store_relink(m->store, from.ino, new_parent, new_name, flags, true);
	else
		err = store_rename(m->store, parent, name, new_parent, new_name, flags, true);
	if (gone && !err && to.kind == STORE_DIRECTORY)
		gone_note(m->gone, &to);
	else if (gone && !err)
		let_go(m, who, &to);
	if (err || (exists && from.ino == to.ino))
		return err;
	inodes_renamed(m->inodes, from.ino, new_parent, new_name);
	if (exists && (flags & STORE_EXCHANGE))
		inodes_renamed(m->inodes, to.ino, parent, name);
	unread = from.kind == STORE_DOCUMENT && temps_unread(m->temps, &from);
	if (exists)
		temps_unlinked(m->temps, &to);
	temps_forget(m->temps, &from);
	if (from.kind == STORE_DOCUMENT && !(flags & STORE_EXCHANGE))
		renamed_add(m->renamed, from.ino, parent, name, who, seen_of(m, who, parent, name));
	if (exists && flags & STORE_EXCHANGE)
		tickets_exchanged(m->tickets, who, parent, name, new_parent, new_name);
	else if (from.kind == STORE_DOCUMENT)
		tickets_renamed(m->tickets, who, parent, name, new_parent, new_name);
	/* The process has put it there: it does not take the name for free any more. */
	if (from.kind == STORE_SCRATCH && !(flags & STORE_EXCHANGE) && store_is_document_name(new_name))
		tickets_unlinked(m->tickets, who, new_parent, new_name);
	/* It was a temp file: what is written under that name next is another one, and not this document come back (rule 13). */
	if (unread && !(flags & STORE_EXCHANGE))
		tickets_unlinked(m->tickets, who, parent, name);
	return 0;
}

/* ---- All of this needs the lock ------------------------------------------------------------------------------- */

static void drop(struct asides *t, unsigned i)
{
	free(t->list[i]);
	t->list[i] = t->list[--t->count];
}

static bool is_of(const struct aside *a, const struct process *who)
{
	return process_same(&a->who, who);
}

static bool stands_for(const struct aside *a, uint64_t parent, const char *name)
{
	return a->attr.parent == parent && strcmp(a->attr.name, name) == 0;
}

static bool is_backup(const struct aside *a, uint64_t parent, const char *name)
{
	return a->attr.parent == parent && strcmp(a->backup, name) == 0;
}

/* `gzip f.json.bak`, which the process has started, is to find it. */
static bool is_below(struct asides *t, struct process who, const struct process *above)
{
	struct processes *p = t->mount->processes;
	struct process parent;
	pid_t group;

	for (int i = 0; i < GENERATIONS && processes_family(p, &who, &group, &parent) && parent.tgid > 1; i++) {
		if (parent.tgid == above->tgid)
			return true;
		who = processes_identify(p, parent.tgid);
	}
	return false;
}

/* The one of the process that is away from that name, or whose backup has it. SIZE_MAX: none. */
static size_t find(const struct asides *t, const struct process *who, uint64_t parent, const char *name, bool backup)
{
	for (size_t i = 0; i < t->count; i++) {
		const struct aside *a = t->list[i];

		if (is_of(a, who) && (backup ? !a->unlinked && is_backup(a, parent, name) : !a->made && stands_for(a, parent, name)))
			return i;
	}
	return SIZE_MAX;
}

/* What the session was is a document of its own. */
static int copy(struct asides *t, const struct aside *a)
{
	struct store_save save = {
		.ino = a->copy, .parent = a->attr.parent, .name = a->backup, .mode = a->attr.mode & 07777, .uid = a->attr.uid, .gid = a->attr.gid,
		.mtime = a->attr.mtime, .pid = a->who.tgid, .flags = STORE_SAVE_REPLACE | STORE_SAVE_SOON | STORE_SAVE_MTIME,
	};
	struct store_view *v;
	int err = store_view_open(t->mount->store, a->attr.ino, a->attr.version, &v);

	if (err)
		return err;
	save.prefix = v;
	save.prefix_size = store_view_size(v);
	if (!save.prefix_size)
		save.flags |= STORE_SAVE_EMPTY;
	err = store_save(t->mount->store, &save);
	store_view_unref(v);
	return err;
}

/* A backup that another has made under the name meanwhile has replaced this one. What others have saved is not removed. */
static void end(struct asides *t, unsigned i)
{
	struct mount *m = t->mount;
	struct aside *a = t->list[i];
	struct store_attr now, there;
	bool exists = !store_lookup(m->store, a->attr.parent, a->backup, &there), away;
	int err = 0;

	away = !a->made && !store_lookup(m->store, a->attr.parent, a->attr.name, &now) && now.ino == a->attr.ino;
	if (a->made && !exists)
		err = copy(t, a);
	else if (away && !exists && !a->unlinked)
		err = rename_plainly(m, &a->who, a->attr.parent, a->attr.name, a->attr.parent, a->backup, 0);
	else if (away && (!a->unlinked || now.version == a->attr.version))
		err = unlink_file(m, &a->who, a->attr.parent, a->attr.name, &now);
	/* Its process was told long ago that this was done. */
	if (err)
		log_line(LOG_WARNING, "%s: the backup %s, made by pid %d, could not be kept: %s; the session is as it was, and `historyctl log` has what it has been",
			 a->attr.name, a->backup, (int)a->who.tgid, store_strerror(err));
	drop(t, i);
}

/* ---- Ending by itself ----------------------------------------------------------------------------------------- */

static void *watch(void *arg)
{
	struct asides *t = arg;

	pthread_mutex_lock(&t->lock);
	while (!t->stop) {
		uint64_t until = now_ns() + LOOK_NS;

		if (!t->count)
			pthread_cond_wait(&t->changed, &t->lock);
		else
			pthread_cond_timedwait(&t->changed, &t->lock, &(struct timespec){ (time_t)(until / 1000000000u), (long)(until % 1000000000u) });
		for (unsigned i = t->count; i-- > 0;) {
			if (now_ns() - t->list[i]->at > LONGEST_NS || !process_alive(&t->list[i]->who))
				end(t, i);
		}
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

void asides_free(struct asides *t)
{
	if (!t)
		return;
	pthread_mutex_lock(&t->lock);
	t->stop = true;
	pthread_cond_signal(&t->changed);
	while (t->count)
		end(t, t->count - 1);
	pthread_mutex_unlock(&t->lock);
	if (t->watched)
		pthread_join(t->watcher, NULL);
	pthread_cond_destroy(&t->changed);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

/* ---- What processes do ---------------------------------------------------------------------------------------- */

/* `f.json~`, `f.json.bak`, `.f.json.bak_1.tmp`, and of vim `f.jsoz~`. */
static bool is_backup_name(const char *backup, const char *name)
{
	size_t size = strlen(backup);

	return size <= STORE_NAME_MAX && !store_is_document_name(backup) && (strstr(backup, name) || backup[size - 1] == '~');
}

/* What a rename to the backup's name would replace goes. */
static bool make_room(struct mount *m, const struct process *who, uint64_t parent, const char *backup)
{
	struct store_attr there;

	if (store_lookup(m->store, parent, backup, &there))
		return true;
	if ((there.kind != STORE_SCRATCH && there.kind != STORE_DOCUMENT) || unlink_file(m, who, parent, backup, &there))
		return false;
	temps_unlinked(m->temps, &there);
	return true;
}

/* A name that had a document continues it, unless another name may. */
static int number_of(struct mount *m, uint64_t parent, const char *backup, uint64_t *ret)
{
	struct store_attr former;
	uint64_t version;

	if (!store_former(m->store, parent, backup, ret, &version) && version && !store_getattr(m->store, *ret, &former) && !former.parent && !former.renamed)
		return 0;
	return store_new_ino(m->store, ret);
}

/* The oldest that is made becomes an ordinary document before its time. False: all are away, and readers would miss what ends. Needs the lock. */
static bool end_one_made(struct asides *t)
{
	unsigned oldest = COUNT;

	bound_met(BOUND_ASIDES);
	for (unsigned i = 0; i < t->count; i++) {
		if (t->list[i]->made && (oldest == COUNT || t->list[i]->at < t->list[oldest]->at))
			oldest = i;
	}
	if (oldest < COUNT)
		end(t, oldest);
	return oldest < COUNT;
}

int aside_begin(struct asides *t, const struct process *who, uint64_t parent, const char *name, uint64_t new_parent, const char *new_name)
{
	struct mount *m = t->mount;
	enum renamed_seen seen;
	struct aside *a;
	size_t before;
	int err = 0;

	/* Logs are renamed to begin new ones. */
	if (parent != new_parent || !who->known || !store_is_document_name(name) || store_is_lines_name(name) || !is_backup_name(new_name, name))
		return -ENOSYS;
	a = calloc(1, sizeof(*a));
	if (!a)
		return -ENOSYS;
	a->who = *who;
	a->at = now_ns();
	strcpy(a->backup, new_name);
	seen = seen_of(m, who, parent, name);
	pthread_mutex_lock(&t->lock);
	if (!t->watched)
		t->watched = !pthread_create(&t->watcher, NULL, watch, t);
	/* Who knows nothing of it makes nothing anew. */
	if ((seen != RENAMED_READ && seen != RENAMED_WRITTEN) || !t->watched || store_lookup(m->store, parent, name, &a->attr) ||
	    a->attr.kind != STORE_DOCUMENT || temps_unread(m->temps, &a->attr))
		err = -ENOSYS;
	else if (t->count == COUNT && find(t, who, parent, new_name, true) == SIZE_MAX && !end_one_made(t))
		err = -EBUSY;
	else if (!make_room(m, who, parent, new_name) || number_of(m, parent, new_name, &a->copy))
		err = -ENOSYS;
	if (err) {
		pthread_mutex_unlock(&t->lock);
		free(a);
		return err;
	}
	/* What it had set aside before is replaced. */
	if ((before = find(t, who, parent, new_name, true)) != SIZE_MAX)
		drop(t, (unsigned)before);
	t->list[t->count++] = a;
	pthread_cond_signal(&t->changed);
	renamed_add(m->renamed, a->attr.ino, parent, name, who, seen);
	pthread_mutex_unlock(&t->lock);
	return 0;
}

enum aside_view aside_look(struct asides *t, const struct process *who, uint64_t parent, const char *name, struct store_attr *ret)
{
	enum aside_view view = ASIDE_NOT;
	size_t i;

	if (!asides_any(t))
		return ASIDE_NOT;
	pthread_mutex_lock(&t->lock);
	for (unsigned j = t->count; j-- > 0;) {
		struct aside *a = t->list[j];

		if (!is_of(a, who) && (is_backup(a, parent, name) || stands_for(a, parent, name)) &&
		    (!process_alive(&a->who) || (is_backup(a, parent, name) && is_below(t, *who, &a->who))))
			end(t, j);
	}
	if ((i = find(t, who, parent, name, false)) != SIZE_MAX) {
		*ret = t->list[i]->attr;
		view = ASIDE_AWAY;
	} else if ((i = find(t, who, parent, name, true)) != SIZE_MAX) {
		*ret = t->list[i]->attr;
		if (t->list[i]->made)
			ret->ino = t->list[i]->copy;
		strcpy(ret->name, name);
		view = ASIDE_BACKUP;
	}
	pthread_mutex_unlock(&t->lock);
	return view;
}

/* Of one whose backup has gone nothing is left. Needs the lock. */
static void make(struct asides *t, unsigned i)
{
	t->list[i]->made = true;
	if (t->list[i]->unlinked)
		drop(t, i);
}

bool aside_make(struct asides *t, const struct process *who, uint64_t parent, const char *name)
{
	size_t i;

	if (!asides_any(t))
		return false;
	pthread_mutex_lock(&t->lock);
	i = find(t, who, parent, name, false);
	if (i != SIZE_MAX)
		make(t, (unsigned)i);
	pthread_mutex_unlock(&t->lock);
	return i != SIZE_MAX;
}

void aside_make_ino(struct asides *t, const struct process *who, uint64_t ino, uint64_t parent, const char *name)
{
	if (!asides_any(t))
		return;
	pthread_mutex_lock(&t->lock);
	for (unsigned i = t->count; i-- > 0;) {
		if (!is_of(t->list[i], who) || t->list[i]->attr.ino != ino)
			continue;
		if (name && !t->list[i]->made && is_backup(t->list[i], parent, name))
			end(t, i);
		else
			make(t, i);
	}
	pthread_mutex_unlock(&t->lock);
}

bool aside_unlink(struct asides *t, const struct process *who, uint64_t parent, const char *name)
{
	struct store_attr there;
	bool done = false, wait;
	size_t i;

	if (!asides_any(t))
		return false;
	pthread_mutex_lock(&t->lock);
	i = find(t, who, parent, name, true);
	if (i != SIZE_MAX) {
		/* Before anything was made it is the session that goes; in an event loop it may be another task's backup, and is waited for. */
		wait = !t->list[i]->made && processes_events(t->mount->processes, who);
		done = wait || t->list[i]->made || !store_lookup(t->mount->store, parent, name, &there);
		if (wait)
			t->list[i]->unlinked = true;
		else if (t->list[i]->made)
			drop(t, (unsigned)i);
		else
			end(t, (unsigned)i);
	}
	pthread_mutex_unlock(&t->lock);
	return done;
}

bool aside_back(struct asides *t, const struct process *who, uint64_t parent, const char *name, uint64_t new_parent, const char *new_name)
{
	bool back = false;
	size_t i;

	if (!asides_any(t) || parent != new_parent)
		return false;
	pthread_mutex_lock(&t->lock);
	i = find(t, who, parent, name, true);
	if (i != SIZE_MAX && !t->list[i]->made && stands_for(t->list[i], parent, new_name)) {
		drop(t, (unsigned)i);
		back = true;
	}
	pthread_mutex_unlock(&t->lock);
	return back;
}

void aside_set(struct asides *t, const struct process *who, uint64_t ino, const struct store_attr *set, unsigned mask)
{
	if (!asides_any(t))
		return;
	pthread_mutex_lock(&t->lock);
	for (unsigned i = 0; i < t->count; i++) {
		struct store_attr *a = &t->list[i]->attr;

		if (!is_of(t->list[i], who) || a->ino != ino || t->list[i]->made)
			continue;
		if (mask & STORE_SET_MODE)
			a->mode = (a->mode & ~07777u) | (set->mode & 07777);
		if (mask & STORE_SET_UID)
			a->uid = set->uid;
		if (mask & STORE_SET_GID)
			a->gid = set->gid;
		if (mask & STORE_SET_MTIME)
			a->mtime = set->mtime;
	}
	pthread_mutex_unlock(&t->lock);
}

void aside_settle(struct asides *t, const struct process *who, uint64_t parent, const char *name)
{
	if (!asides_any(t))
		return;
	pthread_mutex_lock(&t->lock);
	for (unsigned i = t->count; i-- > 0;) {
		const struct aside *a = t->list[i];

		if (name ? is_of(a, who) && (is_backup(a, parent, name) || stands_for(a, parent, name)) :
			   a->attr.parent == parent && (is_of(a, who) || !process_alive(&a->who)))
			end(t, i);
	}
	pthread_mutex_unlock(&t->lock);
}

void aside_leave(struct asides *t, uint64_t parent, const char *name)
{
	if (!asides_any(t))
		return;
	pthread_mutex_lock(&t->lock);
	for (unsigned i = t->count; i-- > 0;) {
		if (!t->list[i]->made && stands_for(t->list[i], parent, name))
			end(t, i);
	}
	pthread_mutex_unlock(&t->lock);
}

void aside_settle_ino(struct asides *t, uint64_t ino)
{
	if (!asides_any(t))
		return;
	pthread_mutex_lock(&t->lock);
	for (unsigned i = t->count; i-- > 0;) {
		if (t->list[i]->made && t->list[i]->copy == ino)
			end(t, i);
	}
	pthread_mutex_unlock(&t->lock);
}
