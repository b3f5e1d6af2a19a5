#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "control.h"
#include "handle.h"
#include "ops.h"

/* A reply in the making. Cookies 1 and 2 are "." and "..", the store's begin at 16. */
struct listing {
	struct mount *mount;
	fuse_req_t req;
	char *buf;
	size_t size, used;
	bool plus;
};

/* 1 when it is full. */
static int add(void *arg, const struct store_attr *a, uint64_t cookie)
{
	static const mode_t types[] = { 0, S_IFDIR, S_IFLNK, S_IFREG, S_IFREG };
	struct listing *l = arg;
	struct fuse_entry_param e;
	size_t need;

	if (l->plus) {
		if (a->damaged)
			e = (struct fuse_entry_param){ .attr = { .st_ino = a->ino, .st_mode = types[a->kind] } };
		else
			attr_listed(l->mount, a, &e);
		/* "." and ".." must not count as look-ups. */
		if (cookie < 16 && a->name[0] == '.')
			e.ino = 0;
		need = fuse_add_direntry_plus(l->req, l->buf + l->used, l->size - l->used, a->name, &e, cookie);
	} else {
		struct stat st = { .st_ino = a->ino, .st_mode = types[a->kind] };

		need = fuse_add_direntry(l->req, l->buf + l->used, l->size - l->used, a->name, &st, cookie);
	}
	if (need > l->size - l->used)
		return 1;
	l->used += need;
	return 0;
}

static int add_dots(struct listing *l, uint64_t ino, off_t offset)
{
	struct store_attr a = { .ino = ino, .kind = STORE_DIRECTORY, .mode = S_IFDIR, .parent = ino };

	for (uint64_t i = offset + 1; i <= 2; i++) {
		strcpy(a.name, i == 1 ? "." : "..");
		if (add(l, &a, i))
			return 1;
	}
	return 0;
}

static int list_control(struct mount *m, struct listing *l, off_t offset)
{
	struct store_attr a;

	for (unsigned i = offset > 2 ? offset - 2 : 0; control_entry(m, i, &a); i++) {
		if (add(l, &a, i + 3))
			return 1;
	}
	return 0;
}

static int pass(void *arg, const struct store_attr *a, uint64_t cookie)
{
	return 0;
}

static void list(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, bool plus)
{
	struct mount *m = mount_of(req);
	struct listing l = { .mount = m, .req = req, .buf = malloc(size), .size = size, .plus = plus };
	int err = l.buf ? 0 : -ENOMEM;

	if (!err)
		err = add_dots(&l, ino, offset);
	if (!err && ino == CONTROL_DIRECTORY)
		err = list_control(m, &l, offset);
	else if (!err)
		err = store_readdir(m->store, ino, offset > 2 ? offset : 0, plus, add, &l);
	/* First what can be listed; at the end whether that was all, also of what earlier calls have passed over. */
	if (err == -EUCLEAN && l.used)
		err = 0;
	else if (!err && !l.used && ino != CONTROL_DIRECTORY)
		err = store_readdir(m->store, ino, 0, false, pass, NULL);
	if (err < 0)
		fuse_reply_err(req, -err);
	else
		fuse_reply_buf(req, l.buf, l.used);
	free(l.buf);
}

void op_settle(fuse_req_t req, uint64_t parent, const char *name)
{
	struct mount *m = mount_of(req);
	struct process who;

	if (!asides_any(m->asides))
		return;
	who = caller(req);
	aside_settle(m->asides, &who, parent, name);
}

/* Replies: open, err. */
void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	op_settle(req, ino, NULL);
	handle_settle_directory(mount_of(req), ino);
	fuse_reply_open(req, fi);
}

/* Replies: buf, err. */
void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	list(req, ino, size, offset, false);
}

/* Replies: buf, err. */
void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	list(req, ino, size, offset, true);
}
