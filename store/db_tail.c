#include "db_tail.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Pages of LMDB 0.9 on a 64-bit machine. */
#define MAGIC 0xbeefc0de
#define NO_PAGE UINT64_MAX
#define LEAF 2
#define BRANCH 1
#define ELSEWHERE 1		/* a node's flag: its value is on overflow pages */
#define DEPTH_MAX 32

struct page {
	uint64_t number;
	uint16_t pad, flags, lower, upper;
	uint16_t nodes[];
};

struct tree {
	uint32_t page_size;
	uint16_t flags, depth;
	uint64_t branch_pages, leaf_pages, overflow_pages, entries, root;
};

struct meta {
	struct page page;
	uint32_t magic, version;
	uint64_t address, map_size;
	struct tree free, main;
	uint64_t last, id;
};

struct node {
	uint16_t low, high, flags, key_size;
	char bytes[];
};

struct tail {
	int fd;
	size_t page_size;
	uint64_t first, last;	/* the missing pages */
	uint64_t found;		/* how many of them are free */
};

static int read_at(const struct tail *t, uint64_t page, size_t offset, void *buf, size_t size)
{
	ssize_t got;

	if (page >= t->first)
		return -EUCLEAN;
	got = pread(t->fd, buf, size, (off_t)(page * t->page_size + offset));
	return got == (ssize_t)size ? 0 : got < 0 ? -errno : -EUCLEAN;
}

/* A list of page numbers, its length first, is a value; it begins here, or on the overflow pages that are named here. */
static int count_list(struct tail *t, const struct node *n, size_t room)
{
	uint64_t size = n->low | (uint64_t)n->high << 16, page = 0, count, *list;
	bool elsewhere = n->flags & ELSEWHERE;
	int err = 0;

	if (n->key_size != 8 || size < 8 || size % 8 || room < sizeof(*n) + 8 + (elsewhere ? 8 : size))
		return -EUCLEAN;
	list = malloc(size);
	if (!list)
		return -ENOMEM;
	memcpy(elsewhere ? &page : list, n->bytes + n->key_size, elsewhere ? 8 : size);
	if (elsewhere)
		err = read_at(t, page, sizeof(struct page), list, size);
	count = err ? 0 : list[0];
	if (count > size / 8 - 1)
		err = -EUCLEAN;
	for (uint64_t i = 1; !err && i <= count; i++)
		t->found += list[i] >= t->first && list[i] <= t->last;
	free(list);
	return err;
}

static int count_page(struct tail *t, uint64_t number, unsigned depth)
{
	struct page *p = malloc(t->page_size);
	size_t count;
	int err = p ? read_at(t, number, 0, p, t->page_size) : -ENOMEM;

	if (!err && (p->number != number || !(p->flags & (LEAF | BRANCH)) || p->lower < sizeof(*p) || p->lower > t->page_size || depth > DEPTH_MAX))
		err = -EUCLEAN;
	count = err ? 0 : (p->lower - sizeof(*p)) / 2;
	for (size_t i = 0; !err && i < count; i++) {
		const struct node *n = (const struct node *)((const char *)p + p->nodes[i]);

		if (p->nodes[i] + sizeof(*n) > t->page_size || p->nodes[i] % 2)
			err = -EUCLEAN;
		else if (p->flags & LEAF)
			err = count_list(t, n, t->page_size - p->nodes[i]);
		else
			err = count_page(t, n->low | (uint64_t)n->high << 16 | (uint64_t)n->flags << 32, depth + 1);
	}
	free(p);
	return err;
}

int db_tail_check(int fd, uint64_t id)
{
	struct tail t = { .fd = fd, .page_size = 4096, .first = NO_PAGE };
	struct meta first, meta;
	struct stat st;

	if (read_at(&t, 0, 0, &first, sizeof(first)) || first.magic != MAGIC)
		return -EUCLEAN;
	t.page_size = first.free.page_size;
	/* The two are written in turns. */
	if (t.page_size < sizeof(meta) || read_at(&t, id & 1, 0, &meta, sizeof(meta)) || meta.magic != MAGIC)
		return -EUCLEAN;
	if (meta.id != id)
		return -EAGAIN;
	if (fstat(t.fd, &st))
		return -errno;
	t.first = (uint64_t)st.st_size / t.page_size;
	t.last = meta.last;
	if (t.first > t.last)
		return 0;
	if (meta.free.root != NO_PAGE) {
		int err = count_page(&t, meta.free.root, 1);

		if (err)
			return err;
	}
	return t.found == t.last - t.first + 1 ? 0 : -EUCLEAN;
}
