#include <errno.h>
#include <string.h>

#include "control.h"
#include "follow.h"
#include "ops.h"

void attr_stat(const struct store_attr *a, struct stat *st)
{
	memset(st, 0, sizeof(*st));
	st->st_ino = a->ino;
	st->st_mode = a->mode;
	st->st_nlink = a->parent || a->ino == STORE_ROOT || a->ino == STORE_REJECTED ? 1 : 0;
	st->st_uid = a->uid;
	st->st_gid = a->gid;
	st->st_size = a->size;
	st->st_blocks = (a->size + 511) / 512;
	/* Programs size their buffers by it: larger writes and reads are fewer round trips. */
	st->st_blksize = 1 << 20;
	st->st_atim = a->atime;
	st->st_mtim = a->mtime;
	st->st_ctim = a->ctime;
}

/*
 * Each path leads through directories, and where permissions are checked their attributes are asked for each time. What this mount does to them
 * the kernel knows; what another process does shows as late as everything else of it. Files' sizes and what a name stands for
 * change at any moment.
 */
double attr_timeout(const struct store_attr *a)
{
	return a->kind == STORE_DIRECTORY && !control_owns(a->ino) ? 0.05 : 0;
}

void attr_entry(const struct store_attr *a, struct fuse_entry_param *e)
{
	memset(e, 0, sizeof(*e));
	e->ino = a->ino;
	e->attr_timeout = e->entry_timeout = attr_timeout(a);
	attr_stat(a, &e->attr);
}

#define LISTED_NS 50000000ull		/* how long a name that was listed is believed */
#define LISTED_WAIT_NS 80000000l	/* the same for the kernel, which counts in ticks of up to 10 ms */
#define LISTED_AGO_NS 10000000000ull	/* after which no process is still busy with what it was answered */
#define LASTS_SECONDS 2
#define NS 1000000000

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Temp files, and what is saved all the time, have changed just now. */
static bool lasts(const struct store_attr *a)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME_COARSE, &t);
	return a->kind == STORE_DOCUMENT && t.tv_sec - a->ctime.tv_sec > LASTS_SECONDS;
}

void attr_listed(struct mount *m, const struct store_attr *a, struct fuse_entry_param *e)
{
	unsigned long long highest = atomic_load(&m->listed_ino);

	attr_entry(a, e);
	if (!lasts(a))
		return;
	e->entry_timeout = LISTED_NS / 1e9;
	while (highest < a->ino && !atomic_compare_exchange_weak(&m->listed_ino, &highest, a->ino))
		;
	atomic_store(&m->listed, now_ns());
}

void attr_unlist(struct mount *m, uint64_t parent, const char *name)
{
	uint64_t at = atomic_load(&m->listed);
	struct store_attr a;

	/* The kernel lists no directory while it renames in it: what it was told until now it has taken in. */
	if (at && now_ns() - at < LISTED_AGO_NS && !store_lookup(m->store, parent, name, &a) && a.kind == STORE_DOCUMENT &&
	    a.ino <= atomic_load(&m->listed_ino))
		nanosleep(&(struct timespec){ .tv_nsec = LISTED_WAIT_NS }, NULL);
}

/* What a process has open of a file. fstat does not say through which handle it asks. */
struct own {
	const struct process *who;
	bool unread;
	uint64_t view, draft, pending;
	bool written;			/* it has changed the file, or made it, and not saved it yet */
	int64_t mtime;			/* and then has set this time; or HANDLE_NO_TIME */
};

static void visit_own(struct handle *h, void *arg)
{
	struct own *o = arg;

	if (!process_same(&h->opener, o->who))
		return;
	o->unread |= atomic_load(&h->unread);
	o->pending += atomic_load(&h->pending);
	if (o->view == HANDLE_NONE)
		o->view = atomic_load(&h->view_size);
	if (!o->written && handle_writes(h) && (atomic_load(&h->draft_size) != HANDLE_NONE || atomic_load(&h->pending) || (h->inode && h->inode->embryo))) {
		o->written = true;
		o->mtime = atomic_load(&h->mtime);
	}
	if (o->draft == HANDLE_NONE)
		o->draft = atomic_load(&h->draft_size);
}

static int stored_attr(struct mount *m, uint64_t ino, struct store_attr *ret)
{
	uint64_t stored;
	int err = store_getattr(m->store, ino, ret);

	if (err == -ENOENT && (stored = inodes_stored(m->inodes, ino)))
		err = store_getattr(m->store, stored, ret);
	return err;
}

/* What the thread means that was led to a number which nothing has any more: what now has the name. */
static int attr_by_name(struct mount *m, const struct process *who, uint64_t ino, struct store_attr *ret)
{
	char name[STORE_NAME_MAX + 1];
	uint64_t parent;
	int err;

	if (!looked_name(m->looked, who->tid, ino, &parent, name))
		return -ENOENT;
	err = store_lookup(m->store, parent, name, ret);
	return err == -ENOENT && inodes_find_embryo(m->inodes, parent, name, 0, ret) ? 0 : err;
}

int attr_for(struct mount *m, const struct process *who, uint64_t ino, struct store_attr *ret)
{
	struct own own = { .who = who, .view = HANDLE_NONE, .draft = HANDLE_NONE };
	uint64_t parent, size;
	int err;

	if (control_owns(ino))
		return control_getattr(m, ino, ret);
	ino = follow_ino(m, who, ino, &size);
	aside_settle_ino(m->asides, ino);
	err = stored_attr(m, ino, ret);
	if ((err == -ENOENT || (!err && !ret->parent)) && inodes_get_embryo(m->inodes, ino, ret))
		err = 0;
	/* It has been saved between the two. */
	if (err == -ENOENT)
		err = stored_attr(m, ino, ret);
	if (err == -ENOENT)
		err = attr_by_name(m, who, ino, ret);
	if (err == -ENOENT && gone_get(m->gone, ino, ret))
		return 0;
	if (err || (ret->kind != STORE_DOCUMENT && ret->kind != STORE_SCRATCH))
		return err;
	/* To its writer it still has its name (rule 14). */
	if (!ret->parent && temps_place(m->temps, ret, &parent))
		ret->parent = parent;
	if (size != HANDLE_NONE) {
		ret->size = size;
		return 0;
	}
	inodes_visit(m->inodes, ino, visit_own, &own);
	/* Who has just opened it to read asks how much there is; who is in the middle of reading, of what he reads (P3). */
	if (!own.unread && own.view != HANDLE_NONE)
		ret->size = own.view;
	else if (!own.unread && own.draft != HANDLE_NONE)
		ret->size = own.draft;
	else if (ret->kind == STORE_DOCUMENT)
		shown_tell(m->shown, who, ino, ret->version ? ret->version : SHOWN_EMPTY, ret->size);
	if (own.written && own.mtime != HANDLE_NO_TIME)
		ret->mtime = (struct timespec){ own.mtime / NS - (own.mtime % NS < 0), (own.mtime % NS + NS) % NS };
	else if (own.written)
		clock_gettime(CLOCK_REALTIME, &ret->mtime);
	ret->size += own.pending;
	return err;
}
