/* The public operations on files against a tree in memory, with the store opened again now and then. SEED=n repeats a run. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support.h"

/* ---- The model ------------------------------------------------------------------------------------------------ */

#define NODES_MAX 400
#define SIZE_LIMIT 200000

struct node {
	uint64_t ino;			/* 0: free */
	enum store_kind kind;
	struct node *parent;		/* NULL: unlinked, or the root */
	char name[32];
	uint32_t mode, uid;
	char *bytes;
	uint64_t size, version;
	bool open;			/* unlinked, but kept */
};

static struct node nodes[NODES_MAX], *root = &nodes[0];
static struct store *s;

static struct node *add_node(struct node *parent, const char *name, uint64_t ino, enum store_kind kind)
{
	for (struct node *n = nodes; n < nodes + NODES_MAX; n++) {
		if (n->ino)
			continue;
		*n = (struct node){ .ino = ino, .kind = kind, .parent = parent };
		strcpy(n->name, name);
		return n;
	}
	cr_assert(false, "the model is full");
	return NULL;
}

static void drop_node(struct node *n)
{
	free(n->bytes);
	*n = (struct node){ 0 };
}

static struct node *child(const struct node *dir, const char *name)
{
	for (struct node *n = nodes; n < nodes + NODES_MAX; n++) {
		if (n->ino && n->parent == dir && n != root && strcmp(n->name, name) == 0)
			return n;
	}
	return NULL;
}

static bool has_children(const struct node *dir)
{
	for (struct node *n = nodes; n < nodes + NODES_MAX; n++) {
		if (n->ino && n != root && n->parent == dir)
			return true;
	}
	return false;
}

static bool is_under(const struct node *n, const struct node *above)
{
	for (; n; n = n->parent) {
		if (n == above)
			return true;
	}
	return false;
}

static struct node *random_node(bool (*wanted)(const struct node *))
{
	struct node *found = NULL;
	unsigned count = 0;

	for (struct node *n = nodes; n < nodes + NODES_MAX; n++) {
		if (n->ino && wanted(n) && random_below(++count) == 0)
			found = n;
	}
	return found;
}

static bool is_directory(const struct node *n)
{
	return n->kind == STORE_DIRECTORY;
}

static bool is_scratch(const struct node *n)
{
	return n->kind == STORE_SCRATCH;
}

static bool is_kept(const struct node *n)
{
	return n->open;
}

static bool is_any(const struct node *n)
{
	return true;
}

static void random_name(char *name)
{
	sprintf(name, "%c%s", (int)('a' + random_below(6)), random_chance(30) ? ".json" : "");
}

/* ---- One operation each --------------------------------------------------------------------------------------- */

static void do_create(void)
{
	static const uint32_t types[] = { S_IFREG, S_IFREG, S_IFREG, S_IFDIR, S_IFLNK, S_IFIFO };
	struct node *dir = random_node(is_any), *n;
	uint32_t type = types[random_below(6)], mode = type | random_below(07777 + 1);
	struct store_attr a;
	uint64_t ino = 0;
	char name[32];
	int err, want;

	random_name(name);
	if (random_chance(20))
		cr_assert_eq(store_new_ino(s, &ino), 0);
	want = type == S_IFIFO ? -EPERM : dir->kind != STORE_DIRECTORY ? -ENOTDIR : child(dir, name) ? -EEXIST : 0;
	err = store_create(s, dir->ino, name, ino, mode, 7, 8, "some/target", &a);
	if (dir->kind != STORE_DIRECTORY && dir->open && type != S_IFIFO)
		want = -ENOTDIR;
	cr_assert_eq(err, want, "create %s: %d, not %d", name, err, want);
	if (err)
		return;
	cr_assert(!ino || a.ino == ino);
	n = add_node(dir, name, a.ino, type == S_IFDIR ? STORE_DIRECTORY : type == S_IFLNK ? STORE_SYMLINK : STORE_SCRATCH);
	n->mode = mode;
	n->uid = 7;
	if (type == S_IFLNK) {
		n->bytes = strdup("some/target");
		n->size = strlen(n->bytes);
	}
}

static void unlink_node(struct node *n, bool keep)
{
	if (n->kind == STORE_DOCUMENT || !keep) {
		drop_node(n);
	} else {
		n->parent = NULL;
		n->open = true;
	}
}

static void do_unlink(void)
{
	struct node *dir = random_node(is_directory), *n;
	bool keep = random_chance(40);
	struct store_attr a;
	char name[32];
	int err, want;

	random_name(name);
	n = child(dir, name);
	want = !n ? -ENOENT : n->kind == STORE_DIRECTORY ? -EISDIR : 0;
	err = store_unlink(s, dir->ino, name, keep, &a);
	cr_assert_eq(err, want, "unlink %s: %d, not %d", name, err, want);
	if (err)
		return;
	cr_assert_eq(a.ino, n->ino);
	unlink_node(n, keep);
}

static void do_rmdir(void)
{
	struct node *dir = random_node(is_directory), *n;
	char name[32];
	int err, want;

	random_name(name);
	n = child(dir, name);
	want = !n ? -ENOENT : n->kind != STORE_DIRECTORY ? -ENOTDIR : has_children(n) ? -ENOTEMPTY : 0;
	err = store_rmdir(s, dir->ino, name);
	cr_assert_eq(err, want, "rmdir %s: %d, not %d", name, err, want);
	if (!err)
		drop_node(n);
}

static int expected_rename(const struct node *from, const struct node *to_dir, const struct node *to, unsigned flags)
{
	if (!from)
		return -ENOENT;
	if (from->kind == STORE_DIRECTORY && is_under(to_dir, from))
		return -EINVAL;
	if (to && (flags & STORE_NOREPLACE))
		return -EEXIST;
	if (to == from)
		return 0;
	if (flags & STORE_EXCHANGE)
		return !to ? -ENOENT : to->kind == STORE_DIRECTORY && is_under(from->parent, to) ? -EINVAL : 0;
	if (!to)
		return 0;
	if (to->kind == STORE_DIRECTORY)
		return from->kind != STORE_DIRECTORY ? -EISDIR : has_children(to) ? -ENOTEMPTY : 0;
	return from->kind == STORE_DIRECTORY ? -ENOTDIR : 0;
}

static void do_rename(void)
{
	struct node *dir = random_node(is_directory), *to_dir = random_chance(50) ? dir : random_node(is_directory), *from, *to;
	unsigned flags = random_below(4) == 0 ? 1 + random_below(2) : 0;
	bool keep = random_chance(40);
	char name[32], to_name[32];
	int err, want;

	random_name(name);
	random_name(to_name);
	from = child(dir, name);
	to = child(to_dir, to_name);
	want = expected_rename(from, to_dir, to, flags);
	err = store_rename(s, dir->ino, name, to_dir->ino, to_name, flags, keep);
	cr_assert_eq(err, want, "rename %s to %s, flags %u: %d, not %d", name, to_name, flags, err, want);
	if (err || from == to)
		return;
	if (flags & STORE_EXCHANGE) {
		to->parent = dir;
		strcpy(to->name, name);
	} else if (to && to->kind == STORE_DIRECTORY) {
		drop_node(to);
	} else if (to) {
		unlink_node(to, keep);
	}
	from->parent = to_dir;
	strcpy(from->name, to_name);
}

static void put_bytes(struct node *n, uint64_t offset, const char *bytes, size_t size)
{
	if (size && offset + size > n->size) {
		n->bytes = realloc(n->bytes, offset + size);
		memset(n->bytes + n->size, 0, offset + size - n->size);
		n->size = offset + size;
	}
	if (size)
		memcpy(n->bytes + offset, bytes, size);
}

static void do_write(void)
{
	static char bytes[SIZE_LIMIT];
	struct node *n = random_node(is_scratch);
	size_t size = random_below(random_chance(80) ? 300 : 90000);
	uint64_t offset, at;

	if (!n)
		return;
	for (size_t i = 0; i < size; i++)
		bytes[i] = (char)(1 + random_below(255));
	offset = random_below(random_chance(50) ? n->size + 1 : SIZE_LIMIT - 90000);
	/* Around the ends of chunks. */
	if (random_chance(30))
		offset = 32752 * (1 + random_below(3)) - random_below(40);
	if (random_chance(30) && n->size + size < SIZE_LIMIT) {
		cr_assert_eq(store_append(s, n->ino, bytes, size, &at), 0);
		cr_assert_eq(at, n->size);
		put_bytes(n, n->size, bytes, size);
	} else {
		cr_assert_eq(store_write(s, n->ino, offset, bytes, size), 0);
		put_bytes(n, offset, bytes, size);
	}
}

static void do_truncate(void)
{
	struct node *n = random_node(is_any);
	struct store_attr to = { .size = random_below(random_chance(50) && n->size ? n->size + 1 : SIZE_LIMIT) }, a;
	int err = store_setattr(s, n->ino, &to, STORE_SET_SIZE, &a);

	cr_assert_eq(err, n->kind == STORE_SCRATCH ? 0 : -EINVAL, "truncate kind %d: %d", n->kind, err);
	if (err)
		return;
	cr_assert_eq(a.size, to.size);
	n->bytes = realloc(n->bytes, to.size + 1);
	if (to.size > n->size)
		memset(n->bytes + n->size, 0, to.size - n->size);
	n->size = to.size;
}

static void do_setattr(void)
{
	struct node *n = random_node(is_any);
	struct timespec t = { 1000000000 + random_below(1000), random_below(1000000000) };
	struct store_attr to = { .mode = random_below(07777 + 1), .uid = random_below(9), .mtime = t, .atime = t }, a;
	unsigned mask = random_below(32);

	cr_assert_eq(store_setattr(s, n->ino, &to, mask, &a), 0);
	if (mask & STORE_SET_MODE)
		n->mode = (n->mode & S_IFMT) | to.mode;
	if (mask & STORE_SET_UID)
		n->uid = to.uid;
	cr_assert(!(mask & STORE_SET_MTIME) || !memcmp(&a.mtime, &t, sizeof(t)), "mtime of a kind %d", n->kind);
	cr_assert(!(mask & STORE_SET_ATIME) || !memcmp(&a.atime, &t, sizeof(t)));
}

static void do_forget(void)
{
	struct node *n = random_node(is_kept);

	if (!n)
		return;
	cr_assert_eq(store_forget(s, n->ino), 0);
	drop_node(n);
}

static void do_save(void)
{
	struct node *dir = random_node(is_directory), *n;
	struct text t = text_format("[%llu]", (unsigned long long)random_below(1000));
	struct store_save save = { .parent = dir->ino, .tail = t.data, .tail_size = t.size, .mode = 0640, .uid = 7 };
	char name[32];
	int want;

	random_name(name);
	save.name = name;
	n = child(dir, name);
	want = !n ? 0 : n->kind == STORE_DIRECTORY ? -EISDIR : n->kind == STORE_SYMLINK ? -EINVAL : 0;
	store_save(s, &save);
	cr_assert_eq(save.error, want, "save %s: %d, not %d", name, save.error, want);
	if (save.error) {
		text_free(t);
		return;
	}
	if (!n) {
		n = add_node(dir, name, save.saved_ino, STORE_DOCUMENT);
		n->mode = S_IFREG | 0640;
		n->uid = 7;
	}
	cr_assert_eq(n->ino, save.saved_ino);
	n->kind = STORE_DOCUMENT;
	free(n->bytes);
	n->bytes = t.data;
	n->size = t.size;
	n->version = save.version;
}

/* ---- Comparing ------------------------------------------------------------------------------------------------ */

static void check_bytes(const struct node *n)
{
	static char bytes[2 * SIZE_LIMIT];
	uint64_t offset = n->size ? random_below(n->size + 10) : 0;
	size_t size, want = 1 + random_below(SIZE_LIMIT);
	struct text t;

	if (n->kind == STORE_SYMLINK) {
		cr_assert_eq(store_readlink(s, n->ino, bytes, n->size + 1), 0);
		cr_assert_str_eq(bytes, "some/target");
		cr_assert_eq(store_readlink(s, n->ino, bytes, n->size), -ENAMETOOLONG);
	} else if (n->kind == STORE_DOCUMENT) {
		t = read_version(s, n->ino, 0, NULL);
		cr_assert(t.size == n->size && !memcmp(t.data, n->bytes, t.size), "document %s", n->name);
		text_free(t);
		cr_assert_eq(store_read(s, n->ino, 0, bytes, 10, &size), -EINVAL);
	} else if (n->kind == STORE_SCRATCH) {
		cr_assert_eq(store_read(s, n->ino, 0, bytes, sizeof(bytes), &size), 0);
		cr_assert(size == n->size && (!size || !memcmp(bytes, n->bytes, size)), "%s, %zu of %lu bytes", n->name, size, n->size);
		cr_assert_eq(store_read(s, n->ino, offset, bytes, want, &size), 0);
		want = offset >= n->size ? 0 : want < n->size - offset ? want : n->size - offset;
		cr_assert(size == want && (!size || !memcmp(bytes, n->bytes + offset, size)), "%s from %lu", n->name, offset);
	} else {
		cr_assert_eq(store_read(s, n->ino, 0, bytes, 10, &size), -EINVAL);
		cr_assert_eq(store_readlink(s, n->ino, bytes, 10), -EINVAL);
	}
}

static void check_attr(const struct node *n, const struct store_attr *a)
{
	cr_assert_eq(a->ino, n->ino);
	cr_assert_eq(a->kind, n->kind, "%s is of kind %d, not %d", n->name, a->kind, n->kind);
	cr_assert_eq(a->parent, n->parent ? n->parent->ino : 0);
	cr_assert(n == root || n->open || strcmp(a->name, n->name) == 0, "%s, not %s", a->name, n->name);
	cr_assert(n == root || (a->mode == n->mode && a->uid == n->uid), "%s: mode %o, not %o", n->name, a->mode, n->mode);
	cr_assert(n->kind == STORE_DIRECTORY || a->size == n->size, "%s: %lu bytes, not %lu", n->name, a->size, n->size);
	cr_assert(n->kind != STORE_DOCUMENT || a->version == n->version);
}

static void check_path(const struct node *n)
{
	char want[4096] = "", path[4096], tail[4096];
	struct store_attr a;

	for (const struct node *up = n; up != root; up = up->parent) {
		strcpy(tail, want);
		snprintf(want, sizeof(want), "%s%s%.3000s", up->name, *tail ? "/" : "", tail);
	}
	cr_assert_eq(store_path(s, n->ino, path, sizeof(path)), 0);
	cr_assert_str_eq(path, want);
	cr_assert_eq(store_path(s, n->ino, path, strlen(want)), -ENAMETOOLONG);
	cr_assert_eq(store_resolve(s, want, &a), 0);
	cr_assert_eq(a.ino, n->ino);
}

struct listing {
	const struct node *dir;
	size_t seen;
	uint64_t last;
	size_t stop_after;
	bool attr;
};

static int check_entry(void *arg, const struct store_attr *a, uint64_t cookie)
{
	struct listing *l = arg;
	const struct node *n = child(l->dir, a->name);

	cr_assert(n, "%s is listed, but not there", a->name);
	cr_assert_eq(a->ino, n->ino);
	cr_assert_eq(a->parent, l->dir->ino);
	cr_assert(cookie > l->last && cookie >= 16, "cookies do not ascend");
	if (l->attr)
		check_attr(n, a);
	l->last = cookie;
	l->seen++;
	return l->stop_after && l->seen % l->stop_after == 0;
}

/* In parts, as the kernel asks. */
static void check_listing(const struct node *dir)
{
	struct listing l = { .dir = dir, .stop_after = random_below(4), .attr = random_chance(50) };
	size_t want = 0;
	int rc;

	for (struct node *n = nodes; n < nodes + NODES_MAX; n++)
		want += n->ino && n != root && n->parent == dir;
	while ((rc = store_readdir(s, dir->ino, l.last, l.attr, check_entry, &l)) == 1)
		;
	cr_assert_eq(rc, 0);
	cr_assert_eq(l.seen, want, "%zu names are listed, %zu are there", l.seen, want);
}

static void check_everything(void)
{
	struct store_attr a;
	char path[4096];

	for (struct node *n = nodes; n < nodes + NODES_MAX; n++) {
		if (!n->ino)
			continue;
		cr_assert_eq(store_getattr(s, n->ino, &a), 0, "%s has gone", n->name);
		check_attr(n, &a);
		check_bytes(n);
		if (n->kind == STORE_DIRECTORY)
			check_listing(n);
		else
			cr_assert_eq(store_readdir(s, n->ino, 0, false, check_entry, NULL), -ENOTDIR);
		if (n->open) {
			cr_assert_eq(store_path(s, n->ino, path, sizeof(path)), -ENOENT);
			continue;
		}
		check_path(n);
		if (n == root)
			continue;
		cr_assert_eq(store_lookup(s, n->parent->ino, n->name, &a), 0);
		cr_assert_eq(a.ino, n->ino);
	}
}

static void open_again(const char *dir)
{
	must_close(s);
	s = must_open(dir, 0);
	/* What was unlinked and kept goes with the process. */
	for (struct node *n = nodes; n < nodes + NODES_MAX; n++) {
		struct store_attr a;

		if (!n->ino || !n->open)
			continue;
		cr_assert_eq(store_getattr(s, n->ino, &a), -ENOENT);
		drop_node(n);
	}
}

Test(files, random_operations)
{
	static void (*const operations[])(void) = {
		do_create, do_create, do_create, do_unlink, do_rmdir, do_rename, do_rename, do_write, do_write, do_truncate, do_setattr, do_forget,
		do_save,
	};

	random_seed("files");
	for (int run = 0; run < 6; run++) {
		char *dir = dir_make();

		s = must_open(dir, run % 2 * 20);
		*root = (struct node){ .ino = STORE_ROOT, .kind = STORE_DIRECTORY };
		for (int i = 0; i < 1200; i++) {
			operations[random_below(sizeof(operations) / sizeof(operations[0]))]();
			if (i % 60 == 59)
				check_everything();
			if (i % 300 == 299) {
				open_again(dir);
				check_everything();
			}
		}
		must_close(s);
		for (struct node *n = nodes; n < nodes + NODES_MAX; n++)
			drop_node(n);
		dir_remove(dir);
	}
}

/* ---- Fixed cases ---------------------------------------------------------------------------------------------- */

static int collect(void *arg, const struct store_attr *a, uint64_t cookie)
{
	struct listing *l = arg;

	l->last = cookie;
	return ++l->seen == l->stop_after;
}

/* Names that stay are listed once, whatever comes and goes between two parts of a listing. */
Test(files, cookies_stay_while_names_come_and_go)
{
	enum { COUNT = 200 };
	char *dir = dir_make(), name[32];
	struct listing l = { .stop_after = COUNT / 2 };
	struct store_attr a;

	s = must_open(dir, 0);
	for (int i = 0; i < COUNT; i++) {
		snprintf(name, sizeof(name), "stays %d", i);
		cr_assert_eq(store_create(s, STORE_ROOT, name, 0, S_IFREG, 0, 0, NULL, &a), 0);
		snprintf(name, sizeof(name), "goes %d", i);
		cr_assert_eq(store_create(s, STORE_ROOT, name, 0, S_IFREG, 0, 0, NULL, &a), 0);
	}
	/* Half of all, then all "goes" go and others come. */
	l.stop_after = COUNT;
	cr_assert_eq(store_readdir(s, STORE_ROOT, 0, false, collect, &l), 1);
	size_t stays = 0;
	uint64_t middle = l.last;

	for (int pass = 0; pass < 2; pass++) {
		struct listing part = { .stop_after = pass ? SIZE_MAX : COUNT };

		cr_assert_geq(store_readdir(s, STORE_ROOT, pass ? middle : 0, false, collect, &part), 0);
		if (pass == 0) {
			for (int i = 0; i < COUNT; i++) {
				snprintf(name, sizeof(name), "goes %d", i);
				cr_assert_eq(store_unlink(s, STORE_ROOT, name, false, NULL), 0);
			}
			/* What is left of the first half. */
			l = (struct listing){ .stop_after = SIZE_MAX };
			cr_assert_eq(store_readdir(s, STORE_ROOT, 0, false, collect, &l), 0);
			cr_assert_eq(l.seen, COUNT);
			l = (struct listing){ .stop_after = SIZE_MAX };
			cr_assert_eq(store_readdir(s, STORE_ROOT, middle, false, collect, &l), 0);
			stays = l.seen;
		} else {
			cr_assert_eq(part.seen, stays);
		}
	}
	cr_assert(stays > COUNT / 5 && stays < COUNT * 4 / 5, "%zu of %d names above the middle", stays, COUNT);
	must_close(s);
	dir_remove(dir);
}

/* A huge file of holes costs what is in it. */
Test(files, sparse_files)
{
	char *dir = dir_make(), bytes[16];
	struct store_attr a, to = { .size = 1ull << 46 };
	struct store_stats before, after;
	size_t size;

	s = must_open(dir, 0);
	cr_assert_eq(store_create(s, STORE_ROOT, "sparse", 0, S_IFREG, 0, 0, NULL, &a), 0);
	cr_assert_eq(store_setattr(s, a.ino, &to, STORE_SET_SIZE, &a), 0);
	cr_assert_eq(store_write(s, a.ino, (1ull << 46) - 3, "abcdef", 6), 0);
	cr_assert_eq(store_write(s, a.ino, 1ull << 45, "middle", 6), 0);
	cr_assert_eq(store_sync(s), 0);
	cr_assert_eq(store_stats(s, false, &before), 0);
	cr_assert_eq(store_read(s, a.ino, (1ull << 46) - 4, bytes, sizeof(bytes), &size), 0);
	cr_assert(size == 7 && !memcmp(bytes, "\0abcdef", 7));
	to.size = 1000000;
	cr_assert_eq(store_setattr(s, a.ino, &to, STORE_SET_SIZE, &a), 0);
	to.size = 1ull << 46;
	cr_assert_eq(store_setattr(s, a.ino, &to, STORE_SET_SIZE, &a), 0);
	cr_assert_eq(store_read(s, a.ino, 1ull << 45, bytes, 6, &size), 0);
	cr_assert(size == 6 && !memcmp(bytes, "\0\0\0\0\0\0", 6), "what was cut off came back");
	cr_assert_eq(store_write(s, a.ino, 1ull << 45, "middle", 6), 0);
	cr_assert_eq(store_unlink(s, STORE_ROOT, "sparse", false, NULL), 0);
	cr_assert_eq(store_stats(s, false, &after), 0);
	cr_assert_lt(after.pending_bytes, 1 << 20, "%lu bytes of memory for a removal", after.pending_bytes);
	cr_assert_eq(store_write(s, a.ino, 0, "x", 1), -ENOENT);
	cr_assert_eq(store_sync(s), 0);
	must_close(s);
	dir_remove(dir);
}

static int copy_entry(void *arg, const struct store_attr *a, uint64_t cookie)
{
	*(struct store_attr *)arg = *a;
	return 0;
}

Test(files, a_first_document_replaces_a_sparse_file)
{
	char *dir = dir_make(), bytes[16];
	struct store_attr a, to = { .size = 1ull << 46 };
	struct store_save save;
	size_t size;

	s = must_open(dir, 0);
	cr_assert_eq(store_create(s, STORE_ROOT, "a.json", 0, S_IFREG, 0, 0, NULL, &a), 0);
	cr_assert_eq(store_write(s, a.ino, 0, "torn", 4), 0);
	cr_assert_eq(store_write(s, a.ino, 1ull << 45, "middle", 6), 0);
	cr_assert_eq(store_setattr(s, a.ino, &to, STORE_SET_SIZE, &a), 0);
	save = save_text(s, "a.json", (struct text){ "[1]", 3 }, NULL, 0);
	cr_assert_eq(save.error, 0);
	a.ino = 0;
	cr_assert_eq(store_readdir(s, STORE_REJECTED, 0, true, copy_entry, &a), 0);
	cr_assert(a.ino && a.size == to.size, "what was replaced is not kept whole");
	cr_assert_eq(store_read(s, a.ino, 0, bytes, 5, &size), 0);
	cr_assert(size == 5 && !memcmp(bytes, "torn\0", 5));
	cr_assert_eq(store_read(s, a.ino, (1ull << 45) - 1, bytes, 8, &size), 0);
	cr_assert(size == 8 && !memcmp(bytes, "\0middle\0", 8));
	must_close(s);
	dir_remove(dir);
}

static const struct {
	const char *path;
	int err;
} paths[] = {
	{ "", 0 }, { "/", 0 }, { ".", 0 }, { "d", 0 }, { "/d//e/", 0 }, { "d/./e", 0 }, { "x", -ENOENT }, { "d/x", -ENOENT }, { "f/x", -ENOTDIR },
	{ "l/x", -ENOTDIR }, { "l", 0 },
};

Test(files, names_and_paths)
{
	char *dir = dir_make(), name[300];
	struct store_attr a, d;

	s = must_open(dir, 0);
	cr_assert_eq(store_create(s, STORE_ROOT, "d", 0, S_IFDIR, 0, 0, NULL, &d), 0);
	cr_assert_eq(store_create(s, d.ino, "e", 0, S_IFDIR, 0, 0, NULL, &a), 0);
	cr_assert_eq(store_create(s, STORE_ROOT, "f", 0, S_IFREG, 0, 0, NULL, &a), 0);
	cr_assert_eq(store_create(s, STORE_ROOT, "l", 0, S_IFLNK, 0, 0, "d", &a), 0);
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		int err = store_resolve(s, paths[i].path, &a);

		cr_assert_eq(err, paths[i].err, "\"%s\": %d", paths[i].path, err);
	}
	memset(name, 'n', sizeof(name));
	name[STORE_NAME_MAX] = 0;
	cr_assert_eq(store_create(s, STORE_ROOT, name, 0, S_IFREG, 0, 0, NULL, &a), 0);
	cr_assert_eq(store_lookup(s, STORE_ROOT, name, &a), 0);
	cr_assert_str_eq(a.name, name);
	cr_assert_eq(store_rename(s, STORE_ROOT, name, d.ino, name, 0, false), 0);
	name[STORE_NAME_MAX] = 'n';
	name[STORE_NAME_MAX + 1] = 0;
	cr_assert_eq(store_create(s, STORE_ROOT, name, 0, S_IFREG, 0, 0, NULL, &a), -ENAMETOOLONG);
	cr_assert_eq(store_lookup(s, STORE_ROOT, name, &a), -ENAMETOOLONG);
	cr_assert_eq(store_rename(s, STORE_ROOT, "f", STORE_ROOT, name, 0, false), -ENAMETOOLONG);
	cr_assert_eq(store_resolve(s, name, &a), -ENAMETOOLONG);
	cr_assert_eq(store_lookup(s, 999, "x", &a), -ENOENT);
	cr_assert_eq(store_create(s, 999, "x", 0, S_IFREG, 0, 0, NULL, &a), -ENOENT);
	cr_assert_eq(store_getattr(s, 999, &a), -ENOENT);
	cr_assert(store_is_document_name("a.json") && !store_is_document_name(".json") && store_is_document_name("a.jsonl") &&
		  !store_is_document_name("a.json.tmp"));
	must_close(s);
	dir_remove(dir);
}
