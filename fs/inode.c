#include "inode.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "handle.h"

#define BUCKETS 1024

struct inodes {
	pthread_mutex_t lock;
	pthread_cond_t left;		/* with `lock`: one that was leaving is not any more */
	struct inode *buckets[BUCKETS];	/* lock */
	unsigned embryos;		/* lock */
	uint64_t hatched;		/* lock */
};

int inodes_new(struct inodes **ret)
{
	struct inodes *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->left, NULL);
	*ret = t;
	return 0;
}

void inodes_free(struct inodes *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < BUCKETS; i++) {
		struct inode *n = t->buckets[i], *next;

		for (; n; n = next) {
			next = n->chain;
			free(n);
		}
	}
	pthread_cond_destroy(&t->left);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

static struct inode **find(struct inodes *t, uint64_t ino)
{
	struct inode **at = &t->buckets[ino % BUCKETS];

	while (*at && (*at)->ino != ino)
		at = &(*at)->chain;
	return at;
}

static struct inode *add(struct inodes *t, uint64_t ino, uint64_t parent, const char *name)
{
	struct inode *i = calloc(1, sizeof(*i)), **at = find(t, ino);

	if (!i)
		return NULL;
	i->ino = ino;
	i->parent = parent;
	strcpy(i->name, name);
	*at = i;
	return i;
}

int inodes_open(struct inodes *t, uint64_t ino, uint64_t parent, const char *name, struct inode **ret)
{
	struct inode *i;

	pthread_mutex_lock(&t->lock);
	while ((i = *find(t, ino)) && i->leaving && i->opens == i->leaving)
		pthread_cond_wait(&t->left, &t->lock);
	if (!i)
		i = add(t, ino, parent, name);
	if (i)
		i->opens++;
	pthread_mutex_unlock(&t->lock);
	if (!i)
		return -ENOMEM;
	*ret = i;
	return 0;
}

/* Needs the lock. Embryos are few and short-lived. */
static struct inode *embryo(struct inodes *t, uint64_t parent, const char *name)
{
	if (!t->embryos)
		return NULL;
	for (size_t b = 0; b < BUCKETS; b++) {
		for (struct inode *i = t->buckets[b]; i; i = i->chain) {
			if (i->embryo && !i->unlinked && i->parent == parent && strcmp(i->name, name) == 0)
				return i;
		}
	}
	return NULL;
}

static void embryo_attr(const struct inode *i, struct store_attr *ret)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	*ret = (struct store_attr){ .ino = i->ino, .parent = i->parent, .kind = STORE_DOCUMENT, .mode = S_IFREG | i->mode,
				    .uid = i->uid, .gid = i->gid, .atime = now, .mtime = now, .ctime = now };
	strcpy(ret->name, i->name);
}

uint64_t inodes_hatched(struct inodes *t)
{
	uint64_t count;

	pthread_mutex_lock(&t->lock);
	count = t->hatched;
	pthread_mutex_unlock(&t->lock);
	return count;
}

/* Needs the lock. The number may be that of an unlinked document that is still open: then it comes back. */
static struct inode *make_embryo(struct inodes *t, const struct store_attr *a, pid_t creator)
{
	struct inode *i = *find(t, a->ino);

	if (!i)
		i = add(t, a->ino, a->parent, a->name);
	if (!i)
		return NULL;
	i->parent = a->parent;
	strcpy(i->name, a->name);
	i->embryo = true;
	i->unlinked = false;
	i->creator = creator;
	i->mode = a->mode & 07777;
	i->uid = a->uid;
	i->gid = a->gid;
	t->embryos++;
	return i;
}

int inodes_open_embryo(struct inodes *t, struct store_attr *a, pid_t creator, bool exclusive, uint64_t hatched, struct inode **ret, bool *ret_new)
{
	struct inode *i;
	bool there;
	int err = 0;

	pthread_mutex_lock(&t->lock);
	i = embryo(t, a->parent, a->name);
	there = i != NULL;
	if (there && exclusive) {
		i->creator = 0;
		err = -EEXIST;
	} else if (!there && hatched != t->hatched) {
		err = -ESTALE;
	} else {
		i = there ? i : make_embryo(t, a, creator);
		err = i ? 0 : -ENOMEM;
	}
	if (!err) {
		i->opens++;
		embryo_attr(i, a);
		*ret = i;
		*ret_new = !there;
	}
	pthread_mutex_unlock(&t->lock);
	return err;
}

/* Needs the lock. */
static bool close_one(struct inodes *t, struct inode *i, bool *ret_unlinked)
{
	bool last = --i->opens == 0;

	*ret_unlinked = i->unlinked;
	if (last) {
		*find(t, i->ino) = i->chain;
		t->embryos -= i->embryo;
		free(i);
	}
	return last;
}

bool inodes_close(struct inodes *t, struct inode *i, bool *ret_unlinked)
{
	bool last;

	pthread_mutex_lock(&t->lock);
	last = close_one(t, i, ret_unlinked);
	pthread_mutex_unlock(&t->lock);
	return last;
}

bool inodes_leave(struct inodes *t, uint64_t ino, struct inode **ret)
{
	struct inode *i;
	bool keep;

	pthread_mutex_lock(&t->lock);
	i = *find(t, ino);
	if (!i)
		i = add(t, ino, 0, "");
	keep = !i || i->opens > i->leaving;
	if (i) {
		i->opens++;
		i->leaving++;
	}
	pthread_mutex_unlock(&t->lock);
	*ret = i;
	return keep;
}

bool inodes_left(struct inodes *t, struct inode *i, bool gone, const struct process *who)
{
	bool last, unlinked;

	if (!i)
		return false;
	pthread_mutex_lock(&t->lock);
	i->leaving--;
	if (gone) {
		i->unlinked = true;
		i->unlinker = *who;
	}
	last = close_one(t, i, &unlinked);
	pthread_cond_broadcast(&t->left);
	pthread_mutex_unlock(&t->lock);
	return last && unlinked;
}

bool inodes_find_embryo(struct inodes *t, uint64_t parent, const char *name, pid_t creator, struct store_attr *ret)
{
	struct inode *i;
	bool found;

	pthread_mutex_lock(&t->lock);
	i = embryo(t, parent, name);
	found = i && (!creator || !i->creator || i->creator == creator);
	if (found)
		embryo_attr(i, ret);
	pthread_mutex_unlock(&t->lock);
	return found;
}

bool inodes_get_embryo(struct inodes *t, uint64_t ino, struct store_attr *ret)
{
	struct inode *i;
	bool found;

	pthread_mutex_lock(&t->lock);
	i = *find(t, ino);
	found = i && i->embryo;
	if (found)
		embryo_attr(i, ret);
	pthread_mutex_unlock(&t->lock);
	return found;
}

bool inodes_set_embryo(struct inodes *t, uint64_t ino, const struct store_attr *to, unsigned mask)
{
	struct inode *i;
	bool found;

	pthread_mutex_lock(&t->lock);
	i = *find(t, ino);
	found = i && i->embryo;
	if (found && (mask & STORE_SET_MODE))
		i->mode = to->mode & 07777;
	if (found && (mask & STORE_SET_UID))
		i->uid = to->uid;
	if (found && (mask & STORE_SET_GID))
		i->gid = to->gid;
	pthread_mutex_unlock(&t->lock);
	return found;
}

void inodes_hatch(struct inodes *t, struct inode *i, uint64_t stored)
{
	pthread_mutex_lock(&t->lock);
	if (stored && stored != i->ino)
		i->stored = stored;
	t->embryos -= i->embryo;
	t->hatched += i->embryo;
	i->embryo = false;
	i->unlinked = false;
	pthread_mutex_unlock(&t->lock);
}

uint64_t inodes_stored(struct inodes *t, uint64_t ino)
{
	struct inode *i;
	uint64_t stored;

	pthread_mutex_lock(&t->lock);
	i = *find(t, ino);
	stored = i ? i->stored : 0;
	pthread_mutex_unlock(&t->lock);
	return stored;
}

struct handle *inodes_any(struct inodes *t)
{
	struct handle *h = NULL;

	pthread_mutex_lock(&t->lock);
	for (size_t b = 0; b < BUCKETS && !h; b++) {
		for (struct inode *i = t->buckets[b]; i && !h; i = i->chain)
			h = i->handles;
	}
	pthread_mutex_unlock(&t->lock);
	return h;
}

bool inodes_is_open(struct inodes *t, uint64_t ino)
{
	struct inode *i;
	bool open;

	pthread_mutex_lock(&t->lock);
	i = *find(t, ino);
	open = i && i->opens > i->leaving;
	pthread_mutex_unlock(&t->lock);
	return open;
}

bool inodes_unlinked(struct inodes *t, uint64_t ino, const struct process *who)
{
	struct inode *i;

	pthread_mutex_lock(&t->lock);
	i = *find(t, ino);
	if (i) {
		i->unlinked = true;
		i->unlinker = *who;
	}
	pthread_mutex_unlock(&t->lock);
	return i != NULL;
}

void inodes_renamed(struct inodes *t, uint64_t ino, uint64_t parent, const char *name)
{
	struct inode *i;

	pthread_mutex_lock(&t->lock);
	i = *find(t, ino);
	if (i) {
		i->parent = parent;
		strncpy(i->name, name, STORE_NAME_MAX);
		i->unlinked = false;
	}
	pthread_mutex_unlock(&t->lock);
}

void inodes_place(struct inodes *t, const struct inode *i, struct place *ret)
{
	pthread_mutex_lock(&t->lock);
	*ret = (struct place){ .parent = i->parent, .unlinked = i->unlinked, .embryo = i->embryo, .unlinker = i->unlinker,
			       .mode = i->mode, .uid = i->uid, .gid = i->gid };
	strcpy(ret->name, i->name);
	pthread_mutex_unlock(&t->lock);
}

void inodes_add_handle(struct inodes *t, struct inode *i, struct handle *h)
{
	pthread_mutex_lock(&t->lock);
	h->next_handle = i->handles;
	i->handles = h;
	pthread_mutex_unlock(&t->lock);
}

/* Needs the lock. */
static void remove_handle(struct inode *i, struct handle *h)
{
	struct handle **at = &i->handles;

	while (*at && *at != h)
		at = &(*at)->next_handle;
	if (*at)
		*at = h->next_handle;
}

void inodes_remove_handle(struct inodes *t, struct inode *i, struct handle *h)
{
	pthread_mutex_lock(&t->lock);
	remove_handle(i, h);
	pthread_mutex_unlock(&t->lock);
}

struct inode *inodes_move_handle(struct inodes *t, struct handle *h, struct inode *to)
{
	struct inode *from = h->inode, *spare = h->former ? from : NULL;

	pthread_mutex_lock(&t->lock);
	remove_handle(from, h);
	h->next_handle = to->handles;
	to->handles = h;
	h->inode = to;
	if (!h->former)
		h->former = from;
	h->former->stored = to->ino;
	pthread_mutex_unlock(&t->lock);
	return spare;
}

void inodes_set_former(struct inodes *t, struct handle *h, struct inode *former)
{
	pthread_mutex_lock(&t->lock);
	h->former = former;
	former->stored = h->inode->ino;
	pthread_mutex_unlock(&t->lock);
}

void inodes_visit(struct inodes *t, uint64_t ino, void (*visit)(struct handle *h, void *arg), void *arg)
{
	size_t first = ino ? ino % BUCKETS : 0, last = ino ? first : BUCKETS - 1;

	pthread_mutex_lock(&t->lock);
	for (size_t b = first; b <= last; b++) {
		for (struct inode *i = t->buckets[b]; i; i = i->chain) {
			for (struct handle *h = ino && i->ino != ino ? NULL : i->handles; h; h = h->next_handle)
				visit(h, arg);
		}
	}
	pthread_mutex_unlock(&t->lock);
}
