#include "ops.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "control.h"
#include "follow.h"

#define SET_TRIES 3	/* while others rename the file */

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct mount *m = userdata;

	/* Sizes come from us and nothing is cached: there is nothing for the kernel to invalidate by itself. */
	conn->want &= ~FUSE_CAP_AUTO_INVAL_DATA;
#ifdef FUSE_CAP_OVER_IO_URING
	/*
	 * libfuse holds a queue's lock while it serves one of its requests: who answers those of another queue, as who commits for several does,
	 * and who waits for that, would wait for one another.
	 */
	fuse_unset_feature_flag(conn, FUSE_CAP_OVER_IO_URING);
#endif
	conn->max_write = 1 << 20;
	/* Releases are requests in the background: none is to wait for another, so that a rename comes after those of before (handle_closing). */
	conn->max_background = 1024;
	conn->time_gran = 1;
	if (m->ready)
		m->ready(m);
}

static void reply_entry(fuse_req_t req, const struct store_attr *a)
{
	struct fuse_entry_param e;

	attr_entry(a, &e);
	fuse_reply_entry(req, &e);
}

/* A name that several writers use leads each to its own file (rule 14). */
static bool find_own(struct mount *m, fuse_req_t req, uint64_t parent, const char *name, int err, struct store_attr *a)
{
	struct process who = caller(req);

	if (err)
		a->ino = 0;
	return temps_find(m, &who, parent, name, a);
}

static void claim_own(fuse_req_t req, struct store_attr *a)
{
	struct mount *m = mount_of(req);
	struct process who = caller(req);

	if (a->parent != STORE_REJECTED && temps_claim(m, &who, a) == -ESTALE)
		temps_find(m, &who, a->parent, a->name, a);
}

/*
 * Who has just renamed a document away learns nothing by its absence: it makes it anew from what it knew (rule 13). Other tasks of the
 * same event loop do.
 */
static bool makes_anew(struct mount *m, uint64_t parent, const char *name, const struct process *who)
{
	pid_t thread;

	return renamed_by(m->renamed, parent, name, who, &thread, NULL) && thread == who->tid && !processes_events(m->processes, who);
}

/* A process that makes a session anew finds its name free. */
static bool lookup_aside(fuse_req_t req, uint64_t parent, const char *name)
{
	struct mount *m = mount_of(req);
	struct process who = caller(req);
	struct store_attr a;
	int err = -ENOENT;

	switch (aside_look(m->asides, &who, parent, name, &a)) {
	case ASIDE_NOT:
		return false;
	case ASIDE_AWAY:
		if (!makes_anew(m, parent, name, &who) && tickets_shown(m->tickets, &who, parent, name, a.ino, 0))
			err = -ENOMEM;
		fuse_reply_err(req, -err);
		return true;
	case ASIDE_BACKUP:
		looked_note(m->looked, fuse_req_ctx(req)->pid, a.ino, parent, name);
		reply_entry(req, &a);
		return true;
	}
	return false;
}

/* Replies: entry, err. */
static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct mount *m = mount_of(req);
	struct store_attr a;
	uint64_t ino = 0, version = 0;
	pid_t thread = fuse_req_ctx(req)->pid;
	int err = control_lookup(m, parent, name, &a);

	if (asides_any(m->asides) && lookup_aside(req, parent, name))
		return;
	if (err == -ENOENT && parent != CONTROL_DIRECTORY) {
		err = store_lookup(m->store, parent, name, &a);
		if (!store_is_document_name(name) && (err == -ENOENT || (!err && a.kind == STORE_SCRATCH)) &&
		    find_own(m, req, parent, name, err, &a))
			err = 0;
		/* It was told to look again, once: the kernel does so no second time. */
		if (!err && a.kind == STORE_SCRATCH && looked_again(m->looked, thread, parent, name))
			claim_own(req, &a);
	}
	if (atomic_load(&m->unsettled) && parent != CONTROL_DIRECTORY && store_is_document_name(name)) {
		handle_settle(m, err ? 0 : a.ino, parent, name);
		err = store_lookup(m->store, parent, name, &a);
	}
	if (err == -ENOENT && store_is_document_name(name)) {
		pid_t pid = fuse_req_ctx(req)->pid;

		/* One without a name can't be told from the embryo's creator, so it is none. */
		if (inodes_find_embryo(m->inodes, parent, name, pid ? pid : INODE_NOBODY, &a) || find_own(m, req, parent, name, err, &a))
			err = 0;
		/* When there was none before either: it may have come back meanwhile. */
		else if (store_former(m->store, parent, name, &ino, &version))
			err = store_lookup(m->store, parent, name, &a);
		if (err) {
			struct process who = caller(req);

			/* Its caller has seen that there is none: what is there when it saves, it did not know (rule 1). */
			if (!makes_anew(m, parent, name, &who) && tickets_shown(m->tickets, &who, parent, name, ino, version))
				err = -ENOMEM;
		}
	}
	if (!err && (a.kind == STORE_DOCUMENT || a.kind == STORE_SCRATCH))
		looked_note(m->looked, thread, a.ino, parent, name);
	if (err)
		fuse_reply_err(req, -err);
	else
		reply_entry(req, &a);
}

/* A number that nothing has any more. The kernel then looks again for what the name stands for now; ENOENT it would hand on, of open too. */
static int stale(int err)
{
	return err == -ENOENT ? -ESTALE : err;
}

/* Who has looked again by name, and found nothing again, is told so. */
static int gone_by_name(struct mount *m, const struct process *who, fuse_ino_t ino, const struct fuse_file_info *fi, int err)
{
	return err == -ESTALE && !fi && looked_gone(m->looked, who->tid, ino) ? -ENOENT : err;
}

/* Replies: attr, err. */
static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct process who = caller(req);
	struct store_attr a;
	struct stat st;
	int err = stale(attr_for(m, &who, ino, &a));

	/* On the way to an open: the kernel looks again only once. */
	if (err == -ESTALE)
		looked_stale(m->looked, who.tid, ino, false);
	if (err) {
		fuse_reply_err(req, -gone_by_name(m, &who, ino, fi, err));
		return;
	}
	if (!fi)
		looked_found(m->looked, who.tid);
	attr_stat(&a, &st);
	fuse_reply_attr(req, &st, attr_timeout(&a));
}

static struct timespec now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return t;
}

/* *a is the file's; it may have been renamed since that was looked at. */
static int set_attr(struct mount *m, const struct process *who, uint64_t ino, struct store_attr *a, const struct store_attr *set, unsigned mask)
{
	uint64_t file;
	int err, n = 0;

	do {
		err = 0;
		/* Its number may be that of the plain file that the document was when its writer opened it: what is set is the document's. */
		file = follow_ino(m, who, ino, NULL);
		/* First: an embryo may have the number of a document that was unlinked, and is in the store still. */
		if (!inodes_set_embryo(m->inodes, file, set, mask))
			err = store_setattr(m->store, file == ino ? a->ino : file, set, mask, NULL);
		if (!err)
			aside_set(m->asides, who, file, set, mask);
		/* Of a file that has gone the kernel is to look again: others may have replaced it while it was looked up. */
		if (err == -ENOENT && a->kind == STORE_DIRECTORY && gone_set(m->gone, ino, set, mask))
			err = 0;
	} while (err == -ENOENT && n++ < SET_TRIES && !attr_for(m, who, ino, a));
	if (!err && (mask & STORE_SET_MTIME))
		handle_timed(m, file, who, set->mtime);
	return err;
}

/* Replies: attr, err. */
static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *to, int valid, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct process who = caller(req);
	struct store_attr a, set = { .mode = to->st_mode, .uid = to->st_uid, .gid = to->st_gid, .atime = to->st_atim, .mtime = to->st_mtim };
	unsigned mask = 0;
	char name[STORE_NAME_MAX + 1];
	uint64_t parent;
	struct stat st;
	bool cut;
	int err, n = 0;

	/* Who cuts the backup that it has just set aside cuts no session. */
	if ((valid & FUSE_SET_ATTR_SIZE) && asides_any(m->asides) && looked_name(m->looked, who.tid, ino, &parent, name) &&
	    aside_look(m->asides, &who, parent, name, &a) == ASIDE_BACKUP)
		aside_settle(m->asides, &who, parent, name);
	/* Others may rename it meanwhile: who has it open goes on with it. */
	do {
		err = control_owns(ino) ? -EPERM : attr_for(m, &who, ino, &a);
		if (!err && (valid & FUSE_SET_ATTR_SIZE))
			err = a.kind == STORE_DIRECTORY ? -EISDIR : io_truncate(m, &who, &a, fi ? handle_of(fi) : NULL, to->st_size);
	} while (err == -ENOENT && fi && n++ < SET_TRIES);
	cut = !err && (valid & FUSE_SET_ATTR_SIZE);
	if (valid & FUSE_SET_ATTR_MODE)
		mask |= STORE_SET_MODE;
	if (valid & FUSE_SET_ATTR_UID)
		mask |= STORE_SET_UID;
	if (valid & FUSE_SET_ATTR_GID)
		mask |= STORE_SET_GID;
	if (valid & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW))
		mask |= STORE_SET_ATIME;
	if (valid & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW))
		mask |= STORE_SET_MTIME;
	if (valid & FUSE_SET_ATTR_ATIME_NOW)
		set.atime = now();
	if (valid & FUSE_SET_ATTR_MTIME_NOW)
		set.mtime = now();
	if (!err && mask)
		err = set_attr(m, &who, ino, &a, &set, mask);
	if (!err)
		err = attr_for(m, &who, ino, &a);
	if (err) {
		/* Its caller takes it that the size is what it was. */
		if (cut && fi)
			io_lost(fi->fh, false);
		fuse_reply_err(req, -gone_by_name(m, &who, ino, fi, stale(err)));
		return;
	}
	if (!fi)
		looked_found(m->looked, who.tid);
	attr_stat(&a, &st);
	fuse_reply_attr(req, &st, attr_timeout(&a));
}

static bool is_ours(uint64_t parent, const char *name)
{
	return parent == CONTROL_DIRECTORY || (parent == STORE_ROOT && strcmp(name, CONTROL_NAME) == 0);
}

static void make(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, const char *link)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct mount *m = mount_of(req);
	struct store_attr a;
	int err = parent == CONTROL_DIRECTORY ? -EACCES : -EEXIST;

	op_settle(req, parent, name);
	if (!is_ours(parent, name) && !inodes_find_embryo(m->inodes, parent, name, 0, &a))
		err = parent == STORE_REJECTED ? -EACCES : store_create(m->store, parent, name, 0, mode, ctx->uid, ctx->gid, link, &a);
	if (err)
		fuse_reply_err(req, -err);
	else
		reply_entry(req, &a);
}

/* Replies: entry, err. */
static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	if (S_ISREG(mode))
		make(req, parent, name, S_IFREG | (mode & 07777), NULL);
	else
		fuse_reply_err(req, EPERM);
}

/* Replies: entry, err. */
static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	make(req, parent, name, S_IFDIR | (mode & 07777), NULL);
}

/* Replies: entry, err. */
static void op_symlink(fuse_req_t req, const char *link, fuse_ino_t parent, const char *name)
{
	make(req, parent, name, S_IFLNK | 0777, link);
}

/* Replies: err. */
static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	fuse_reply_err(req, EPERM);
}

/* Replies: readlink, err. */
static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	char target[4096];
	int err = store_readlink(mount_of(req)->store, ino, target, sizeof(target));

	if (err)
		fuse_reply_err(req, -stale(err));
	else
		fuse_reply_readlink(req, target);
}

/* Replies: err. */
static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct mount *m = mount_of(req);
	struct process who = caller(req);
	struct store_attr a;
	int err;

	if (is_ours(parent, name)) {
		fuse_reply_err(req, EPERM);
		return;
	}
	if (aside_unlink(m->asides, &who, parent, name)) {
		fuse_reply_err(req, 0);
		return;
	}
	aside_leave(m->asides, parent, name);
	err = store_lookup(m->store, parent, name, &a);
	if (err == -ENOENT && inodes_find_embryo(m->inodes, parent, name, 0, &a)) {
		inodes_unlinked(m->inodes, a.ino, &who);
		gone_note(m->gone, &a);
		fuse_reply_err(req, 0);
		return;
	}
	if (temps_unlink(m, &who, parent, name, err ? 0 : a.ino)) {
		fuse_reply_err(req, 0);
		return;
	}
	if (!err)
		err = unlink_file(m, &who, parent, name, &a);
	if (!err)
		temps_unlinked(m->temps, &a);
	if (!err && store_is_document_name(name)) {
		tickets_unlinked(m->tickets, &who, parent, name);
		if (tickets_shown(m->tickets, &who, parent, name, a.kind == STORE_DOCUMENT ? a.ino : 0, a.kind == STORE_DOCUMENT ? a.version + 1 : 0))
			tickets_forgot(m->tickets, &who);
	}
	fuse_reply_err(req, -err);
}

/* Replies: err. */
static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct mount *m = mount_of(req);
	struct store_attr a;
	int err = is_ours(parent, name) ? -EPERM : store_lookup(m->store, parent, name, &a);

	if (!err)
		err = store_rmdir(m->store, parent, name);
	if (!err)
		gone_note(m->gone, &a);
	fuse_reply_err(req, -err);
}

/* Replies: none. */
static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
	gone_forget(mount_of(req)->gone, ino);
	fuse_reply_none(req);
}

/* A temp file that takes the place of a session is a save; all else means names as the process sees them. */
static void settle_asides(struct mount *m, const struct process *who, uint64_t parent, const char *name, uint64_t new_parent, const char *new_name,
			  unsigned how)
{
	struct store_attr a;
	bool there;

	aside_settle(m->asides, who, parent, name);
	there = !store_lookup(m->store, parent, name, &a);
	/* One that others of its tasks have taken the name from waits without it (rule 14). */
	if (!there)
		a.ino = 0;
	there = there || temps_find(m, who, parent, name, &a);
	if (how || !store_is_document_name(new_name) || !there || (a.kind == STORE_DOCUMENT && !temps_fresh(m->temps, &a)))
		aside_settle(m->asides, who, new_parent, new_name);
}

/* Replies: err. */
static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name, unsigned flags)
{
	struct mount *m = mount_of(req);
	struct process who = caller(req);
	unsigned how = (flags & RENAME_NOREPLACE ? STORE_NOREPLACE : 0) | (flags & RENAME_EXCHANGE ? STORE_EXCHANGE : 0);
	int err = 0, aside;

	if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE))
		err = -EINVAL;
	else if (is_ours(parent, name) || is_ours(new_parent, new_name) || new_parent == STORE_REJECTED)
		err = -EPERM;
	else if (strlen(new_name) > STORE_NAME_MAX)
		err = -ENAMETOOLONG;
	aside = err || how ? -ENOSYS : aside_back(m->asides, &who, parent, name, new_parent, new_name) ? 0 :
		aside_begin(m->asides, &who, parent, name, new_parent, new_name);
	if (aside != -ENOSYS) {
		fuse_reply_err(req, -aside);
		return;
	}
	if (!err) {
		settle_asides(m, &who, parent, name, new_parent, new_name, how);
		attr_unlist(m, parent, name);
		if (how & STORE_EXCHANGE)
			err = save_exchange(m, &who, parent, name, new_parent, new_name);
		else
			err = save_rename_embryo(m, &who, parent, name, new_parent, new_name, !how);
		if (err == -ENOSYS && !(how & STORE_EXCHANGE))
			err = save_rename(m, &who, parent, name, new_parent, new_name, !how);
	}
	if (err == -ENOSYS)
		aside_leave(m->asides, parent, name);
	if (err == -ENOSYS)
		err = rename_plainly(m, &who, parent, name, new_parent, new_name, how);
	if (!err)
		aside_make(m->asides, &who, new_parent, new_name);
	fuse_reply_err(req, -err);
}

/* Replies: statfs, err. The figures of the disk that the store is on. */
static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct statvfs st;

	if (statvfs(store_directory(mount_of(req)->store), &st)) {
		fuse_reply_err(req, errno);
		return;
	}
	st.f_namemax = STORE_NAME_MAX;
	fuse_reply_statfs(req, &st);
}

/* Replies: err. For the root, what other processes see of the store is then what the mount shows: historyctl asks for that. */
static void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct store *s = mount_of(req)->store;

	fuse_reply_err(req, -(ino == STORE_ROOT ? store_drain(s) : store_sync(s)));
}

const struct fuse_lowlevel_ops fs_operations = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readlink = op_readlink,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.symlink = op_symlink,
	.rename = op_rename,
	.link = op_link,
	.open = op_open,
	.create = op_create,
	.read = op_read,
	.write = op_write,
	.flush = op_flush,
	.release = op_release,
	.fsync = op_fsync,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.fsyncdir = op_fsyncdir,
	.statfs = op_statfs,
};
