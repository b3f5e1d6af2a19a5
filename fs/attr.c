#include <errno.h>
#include <string.h>

#include "control.h"
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
	st->st_blksize = 4096;
	st->st_atim = a->atime;
	st->st_mtim = a->mtime;
	st->st_ctim = a->ctime;
}

void attr_entry(const struct store_attr *a, struct fuse_entry_param *e)
{
	memset(e, 0, sizeof(*e));
	e->ino = a->ino;
	attr_stat(a, &e->attr);
}

struct own_draft {
	const struct process *who;
	uint64_t size;
};

static bool visit_own(struct handle *h, void *arg)
{
	struct own_draft *o = arg;
	uint64_t size = atomic_load(&h->draft_size);

	if (size == HANDLE_NO_DRAFT || h->opener.tgid != o->who->tgid || h->opener.start != o->who->start)
		return false;
	o->size = size;
	return true;
}

int attr_for(struct mount *m, const struct process *who, uint64_t ino, struct store_attr *ret)
{
	struct own_draft own = { who, 0 };
	int err;

	if (control_owns(ino))
		return control_getattr(m, ino, ret);
	err = store_getattr(m->store, ino, ret);
	if ((err == -ENOENT || (!err && !ret->parent)) && inodes_get_embryo(m->inodes, ino, ret))
		err = 0;
	if (!err && ret->kind != STORE_DIRECTORY && inodes_visit_writers(m->inodes, ino, visit_own, &own))
		ret->size = own.size;
	else if (!err && ret->kind == STORE_DOCUMENT)
		shown_tell(m->shown, who, ino, ret->version, ret->size);
	return err;
}
