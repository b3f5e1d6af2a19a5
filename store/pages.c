/* Reading LMDB's file: its map, its pages, its trees. See pages.h. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "mem.h"
#include "pages_inside.h"

#define MAGIC 0xbeefc0deu
#define VERSION 1u
#define OVERFLOW_MOST 65536u
#define CACHE_LINE 64
#define KEY_OWNER 9	/* bytes: inode and type */
#define MAPS 16		/* whose pages may be missing; of more SIGBUS ends the process */

/* ---- Pages that are not there --------------------------------------------------------------------------------- */

static struct {
	atomic_uintptr_t begin, end;
} maps[MAPS];
static struct sigaction before;
static pthread_once_t caught = PTHREAD_ONCE_INIT;

/* The file was cut, or its disk can't read it: the page becomes zeros. */
static void on_bus(int number, siginfo_t *info, void *context)
{
	uintptr_t at = (uintptr_t)info->si_addr, size = (uintptr_t)sysconf(_SC_PAGESIZE);

	for (int i = 0; i < MAPS; i++) {
		if (at >= atomic_load(&maps[i].begin) && at < atomic_load(&maps[i].end) &&
		    mmap((void *)(at & ~(size - 1)), size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED)
			return;
	}
	sigaction(SIGBUS, &before, NULL);
}

static void catch_bus(void)
{
	struct sigaction catch = { .sa_sigaction = on_bus, .sa_flags = SA_SIGINFO };

	sigaction(SIGBUS, &catch, &before);
}

static void guard(const char *map, size_t size)
{
	pthread_once(&caught, catch_bus);
	for (int i = 0; i < MAPS; i++) {
		uintptr_t none = 0;

		if (atomic_compare_exchange_strong(&maps[i].begin, &none, (uintptr_t)map)) {
			atomic_store(&maps[i].end, (uintptr_t)map + size);
			return;
		}
	}
}

static void unguard(const char *map)
{
	for (int i = 0; i < MAPS; i++) {
		if (atomic_load(&maps[i].begin) == (uintptr_t)map) {
			atomic_store(&maps[i].end, 0);
			atomic_store(&maps[i].begin, 0);
		}
	}
}

/* ---- The file ------------------------------------------------------------------------------------------------- */

static bool good_page_size(size_t size)
{
	return size >= 512 && size <= 32768 && !(size & (size - 1));
}

/* Either meta tells it. */
static int find_page_size(struct pages *p)
{
	struct meta m;

	for (size_t at = 0; at <= 32768; at = at ? at * 2 : 512) {
		if (pread(p->fd, &m, sizeof(m), (off_t)at) == sizeof(m) && m.magic == MAGIC && m.version == VERSION && good_page_size(m.free.page_size) &&
		    (!at || m.free.page_size == at)) {
			p->page_size = m.free.page_size;
			return 0;
		}
	}
	return -EUCLEAN;
}

int pages_open(int fd, uint64_t map_size, struct pages **ret)
{
	struct pages *p = calloc(1, sizeof(*p));
	void *map, *bits;
	struct stat st;
	int err;

	if (!p)
		return -ENOMEM;
	p->fd = fd;
	err = find_page_size(p);
	if (!err && fstat(fd, &st))
		err = -errno;
	if (err) {
		free(p);
		return err;
	}
	p->map_size = map_size > (uint64_t)st.st_size ? map_size : (uint64_t)st.st_size;
	p->checked_size = p->map_size / p->page_size / 8 + 8;
	map = mmap(NULL, p->map_size, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, 0);
	bits = mmap(NULL, p->checked_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED || bits == MAP_FAILED) {
		err = -errno;
		if (map != MAP_FAILED)
			munmap(map, p->map_size);
		free(p);
		return err;
	}
	madvise(map, p->map_size, MADV_RANDOM);
	p->map = map;
	p->checked = bits;
	pthread_mutex_init(&p->lock, NULL);
	atomic_init(&p->file_pages, ((uint64_t)st.st_size + p->page_size - 1) / p->page_size);
	guard(p->map, p->map_size);
	*ret = p;
	return 0;
}

void pages_close(struct pages *p)
{
	if (!p)
		return;
	unguard(p->map);
	munmap((void *)p->map, p->map_size);
	munmap((void *)p->checked, p->checked_size);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

void pages_strict(struct pages *p)
{
	atomic_store(&p->strict, true);
}

/* Goes down from where the cursor stands to a leaf: always first, always last, or by the key. -EUCLEAN: it stands above a bad page. */
static int descend(struct pages_cursor *c, const void *key, size_t key_size, bool last);

/* ---- States --------------------------------------------------------------------------------------------------- */

static bool good_tree(const struct tree *t, uint64_t last)
{
	return t->root == NO_PAGE ? !t->depth : t->root >= 2 && t->root <= last && t->depth && t->depth < PAGES_DEPTH;
}

int pages_meta(struct pages *p, unsigned which, struct snapshot *ret)
{
	struct meta m;

	if (which >= atomic_load(&p->file_pages))
		return -EUCLEAN;
	memcpy(&m, p->map + which * p->page_size, sizeof(m));
	if (m.page.number != which || m.page.flags != META || m.magic != MAGIC || m.version != VERSION || m.free.page_size != p->page_size || m.address ||
	    m.main.flags || m.free.flags != 8 || (m.id && (m.id & 1) != which) || m.last < 1 || m.last >= p->map_size / p->page_size ||
	    !good_tree(&m.free, m.last) || !good_tree(&m.main, m.last))
		return -EUCLEAN;
	*ret = (struct snapshot){
		.pages = p, .id = m.id, .root = m.main.root, .free_root = m.free.root, .last = m.last, .depth = m.main.depth, .free_depth = m.free.depth,
		.tree_pages = m.main.branch_pages + m.main.leaf_pages + m.main.overflow_pages, .entries = m.main.entries,
	};
	return 0;
}

int pages_check_metas(struct pages *p)
{
	struct meta m[2];

	if (atomic_load(&p->file_pages) < 2)
		return -EUCLEAN;
	for (unsigned i = 0; i < 2; i++) {
		memcpy(&m[i], p->map + i * p->page_size, sizeof(m[i]));
		if (m[i].page.number != i || m[i].page.flags != META || m[i].magic != MAGIC || m[i].version != VERSION || m[i].free.page_size != p->page_size ||
		    (m[i].id && (m[i].id & 1) != i))
			return -EUCLEAN;
	}
	/* They are written in turns. Of the older one the rest does not matter, and a write that failed may have left anything there. */
	return m[0].id - m[1].id + 1 <= 2 ? 0 : -EUCLEAN;
}

static void clear_all(struct pages *p)
{
	size_t words = atomic_load(&p->file_pages) / 64 + 1;

	for (size_t i = 0; i < words && i < p->checked_size / 8; i++) {
		if (atomic_load_explicit(&p->checked[i], memory_order_relaxed))
			atomic_store_explicit(&p->checked[i], 0, memory_order_relaxed);
	}
}

/* Of a state that follows the last one: what it freed may be written over by the next, and nothing else. False: that is not told. */
static bool clear_freed(const struct snapshot *s)
{
	struct snapshot f = *s;
	struct pages_cursor c = { .snapshot = &f };
	const struct page *p, *o = NULL;
	const struct node *n;
	uint64_t id, count, number;
	const char *list;
	size_t pages;

	f.root = s->free_root;
	f.depth = s->free_depth;
	f.numbers = true;
	if (f.root == NO_PAGE || descend(&c, NULL, 0, true))
		return false;
	p = c.way[c.depth - 1].page;
	n = node_at(p, node_count(p) - 1);
	memcpy(&id, n->bytes, 8);
	if (id != s->id || (n->flags && !(o = node_overflow(&f, n, &pages))) || node_value_size(n) < 8)
		return false;
	list = o ? (const char *)o->nodes : n->bytes + n->key_size;
	memcpy(&count, list, 8);
	if (count > node_value_size(n) / 8 - 1)
		return false;
	for (uint64_t i = 1; i <= count; i++) {
		memcpy(&number, list + i * 8, 8);
		if (number > s->last)
			return false;
		atomic_fetch_and_explicit(&s->pages->checked[number / 64], ~(1ull << number % 64), memory_order_relaxed);
	}
	return true;
}

/* What was good in an older state may have been written over. */
static void begin_state(const struct snapshot *s)
{
	struct pages *p = s->pages;
	uint64_t last;

	pthread_mutex_lock(&p->lock);
	last = atomic_load(&p->checked_id);
	if (last < s->id) {
		if (last + 1 != s->id || !clear_freed(s))
			clear_all(p);
		atomic_store(&p->checked_id, s->id);
	}
	pthread_mutex_unlock(&p->lock);
}

int pages_snapshot(struct pages *p, uint64_t id, struct snapshot *ret)
{
	const struct meta *other = (const struct meta *)(p->map + (~id & 1) * p->page_size);
	struct snapshot s = { 0 };
	int err = pages_meta(p, id & 1, &s);
	bool newer;

	atomic_thread_fence(memory_order_acquire);
	newer = *(const volatile uint64_t *)&other->id > id;
	if (!newer && (err || s.id != id))
		return -EUCLEAN;
	if (atomic_load(&p->checked_id) < id)
		begin_state(&s);
	*ret = s;
	return newer ? -EAGAIN : 0;
}

int pages_newest(struct pages *p, struct snapshot *ret)
{
	struct snapshot s[2];
	bool good[2];

	/* That its root can be read is not asked: what hangs on it may be found without it, and an older state is not what was there. */
	for (unsigned i = 0; i < 2; i++)
		good[i] = !pages_meta(p, i, &s[i]);
	if (!good[0] && !good[1])
		return -EUCLEAN;
	*ret = s[!good[0] || (good[1] && s[1].id > s[0].id)];
	return 0;
}

/* ---- A page --------------------------------------------------------------------------------------------------- */

static bool is_checked(const struct pages *p, uint64_t number)
{
	return atomic_load_explicit(&p->checked[number / 64], memory_order_relaxed) >> number % 64 & 1;
}

/* An older state may have pages that are free by now. */
static void note_checked(const struct snapshot *s, uint64_t number)
{
	struct pages *p = s->pages;

	if (atomic_load_explicit(&p->checked_id, memory_order_relaxed) <= s->id)
		atomic_fetch_or_explicit(&p->checked[number / 64], 1ull << number % 64, memory_order_relaxed);
}

bool pages_are_there(const struct snapshot *s, uint64_t number, uint64_t count)
{
	struct pages *p = s->pages;
	struct stat st;

	if (number < 2 || number > s->last || count > s->last - number + 1)
		return false;
	if (number + count > atomic_load_explicit(&p->file_pages, memory_order_relaxed)) {
		if (fstat(p->fd, &st))
			return false;
		/* The last one may be there in part; the rest reads as zeros. */
		atomic_store(&p->file_pages, ((uint64_t)st.st_size + p->page_size - 1) / p->page_size);
	}
	return number + count <= atomic_load(&p->file_pages);
}

const struct page *page_raw(const struct snapshot *s, uint64_t number)
{
	return pages_are_there(s, number, 1) ? (const struct page *)(s->pages->map + number * s->pages->page_size) : NULL;
}

int node_compare(const struct node *a, const void *key, size_t key_size)
{
	return mem_compare(a->bytes, a->key_size, key, key_size);
}

/* Room that a node takes; 0: it runs over the page. */
static size_t node_room(const struct page *p, unsigned i, size_t page_size)
{
	const struct node *n = node_at(p, i);
	size_t room = sizeof(*n), left;

	if (p->nodes[i] % 2 || p->nodes[i] < p->upper || p->nodes[i] + sizeof(*n) > page_size)
		return 0;
	left = page_size - p->nodes[i];
	room += n->key_size;
	if (n->key_size > KEY_LARGEST || (p->flags == LEAF && n->flags > ELSEWHERE))
		return 0;
	if (p->flags == LEAF)
		room += n->flags ? 8 : node_value_size(n);
	return room <= left ? (room + 1) & ~(size_t)1 : 0;
}

static bool ascends(const struct snapshot *s, const struct node *a, const struct node *b)
{
	uint64_t x, y;

	if (!s->numbers)
		return node_compare(a, b->bytes, b->key_size) < 0;
	if (a->key_size != 8 || b->key_size != 8)
		return false;
	memcpy(&x, a->bytes, 8);
	memcpy(&y, b->bytes, 8);
	return x < y;
}

/* Whether the nodes of a page ascend and fill it. */
bool page_is_good(const struct snapshot *s, const struct page *p, uint64_t number, unsigned kind)
{
	size_t page_size = s->pages->page_size;
	size_t used = 0;
	unsigned count;

	if (p->number != number || p->flags != kind || p->lower < sizeof(*p) || p->lower > p->upper || p->upper > page_size || p->lower % 2)
		return false;
	count = node_count(p);
	if (count < 1)
		return false;
	for (unsigned i = 0; i < count; i++) {
		size_t room = node_room(p, i, page_size);
		const struct node *n = node_at(p, i);

		if (!room)
			return false;
		used += room;
		/* The first key of a branch is not one, but below all others. */
		if (i > (kind == BRANCH) && !ascends(s, node_at(p, i - 1), n))
			return false;
	}
	return used == page_size - p->upper;
}

bool page_is_within(const struct page *p, const struct bounds *b)
{
	unsigned first = p->flags == BRANCH, last = node_count(p) - 1;

	if (last < first)
		return true;
	return (!b->from || node_compare(node_at(p, first), b->from->bytes, b->from->key_size) >= 0) &&
	       (!b->to || node_compare(node_at(p, last), b->to->bytes, b->to->key_size) < 0);
}

bool page_values_are_good(const struct snapshot *s, const struct page *p)
{
	bool strict = atomic_load_explicit(&s->pages->strict, memory_order_relaxed);

	for (unsigned i = 0, count = node_count(p); i < count; i++) {
		const struct node *n = node_at(p, i);
		size_t size = node_value_size(n);

		if (!n->flags && !check_strip(n->bytes, n->key_size, n->bytes + n->key_size, &size, strict))
			return false;
	}
	return true;
}

const struct page *page_look(const struct snapshot *s, uint64_t number, unsigned kind, bool *ret_clean)
{
	const struct page *p;

	if (!pages_are_there(s, number, 1))
		return NULL;
	p = (const struct page *)(s->pages->map + number * s->pages->page_size);
	if (is_checked(s->pages, number) && p->flags == kind) {
		*ret_clean = true;
		return p;
	}
	if (!page_is_good(s, p, number, kind))
		return NULL;
	*ret_clean = kind == BRANCH || s->numbers || page_values_are_good(s, p);
	if (*ret_clean)
		note_checked(s, number);
	return p;
}

const struct page *node_overflow(const struct snapshot *s, const struct node *n, size_t *ret_pages)
{
	size_t page_size = s->pages->page_size, count = (sizeof(struct page) + node_value_size(n) + page_size - 1) / page_size;
	bool strict = atomic_load_explicit(&s->pages->strict, memory_order_relaxed);
	const struct page *p;
	uint64_t number;

	memcpy(&number, n->bytes + n->key_size, sizeof(number));
	if (!pages_are_there(s, number, count))
		return NULL;
	p = (const struct page *)(s->pages->map + number * page_size);
	/* LMDB leaves a value that shrinks within one commit its pages. This program does not write one twice any more. */
	if (p->number != number || p->flags != OVERFLOW || p->pages < count || ((strict || p->pages > count + OVERFLOW_MOST) && p->pages != count) ||
	    !pages_are_there(s, number, p->pages))
		return NULL;
	*ret_pages = p->pages;
	return p;
}

int node_value(const struct snapshot *s, const struct node *n, bool clean, struct db_value *ret)
{
	return node_checked(s, n, clean, atomic_load_explicit(&s->pages->strict, memory_order_relaxed), ret);
}

int node_checked(const struct snapshot *s, const struct node *n, bool clean, bool strict, struct db_value *ret)
{
	const struct page *p = NULL;
	const void *bytes = n->bytes + n->key_size;
	size_t size = node_value_size(n), pages;

	if (n->flags) {
		p = node_overflow(s, n, &pages);
		if (!p)
			return -EUCLEAN;
		bytes = p->nodes;
		clean = is_checked(s->pages, p->number);
	}
	if (clean)
		check_drop(bytes, &size, strict);
	else if (!check_strip(n->bytes, n->key_size, bytes, &size, strict))
		return -EUCLEAN;
	if (p && !clean)
		note_checked(s, p->number);
	*ret = (struct db_value){ bytes, size };
	return 0;
}

/* ---- A tree --------------------------------------------------------------------------------------------------- */

/* The first node that is not below the key; of a branch the one under which the key belongs. */
static unsigned search(const struct page *p, const void *key, size_t key_size)
{
	unsigned low = p->flags == BRANCH, high = node_count(p);

	while (low < high) {
		unsigned at = (low + high) / 2;
		int c = node_compare(node_at(p, at), key, key_size);

		if (p->flags == BRANCH ? c <= 0 : c < 0)
			low = at + 1;
		else
			high = at;
	}
	return p->flags == BRANCH ? low - 1 : low;
}

/* Goes down from where the cursor stands to a leaf: always first, always last, or by the key. -EUCLEAN: it stands above a bad page. */
static int descend(struct pages_cursor *c, const void *key, size_t key_size, bool last)
{
	const struct snapshot *s = c->snapshot;
	uint64_t number = c->depth ? node_child(node_at(c->way[c->depth - 1].page, c->way[c->depth - 1].at)) : s->root;

	while (c->depth < s->depth) {
		bool clean;
		const struct page *p = page_look(s, number, c->depth + 1 == s->depth ? LEAF : BRANCH, &clean);

		if (!p)
			return -EUCLEAN;
		c->way[c->depth].page = p;
		c->way[c->depth].clean = clean;
		c->way[c->depth].at = key ? search(p, key, key_size) : last ? node_count(p) - 1 : 0;
		if (++c->depth < s->depth)
			number = node_child(node_at(p, c->way[c->depth - 1].at));
	}
	return 0;
}

/*
 * All of a page is read when it is looked at first; in the order of its nodes that would be one wait for
 * the memory after the other. The next one comes while this one is summed up.
 */
static void prefetch_next(const struct pages_cursor *c)
{
	const struct pages *p = c->snapshot->pages;
	unsigned at = c->depth > 1 ? c->way[c->depth - 2].at + 1 : 0;
	uint64_t number;

	if (!at || at >= node_count(c->way[c->depth - 2].page))
		return;
	number = node_child(node_at(c->way[c->depth - 2].page, at));
	if (number >= p->map_size / p->page_size || is_checked(p, number))
		return;
	for (size_t i = 0; i < p->page_size; i += CACHE_LINE)
		__builtin_prefetch(p->map + number * p->page_size + i);
}

/* To the leaf before or behind. -ENOENT: there is none. */
static int turn(struct pages_cursor *c, bool back)
{
	while (--c->depth) {
		unsigned *at = &c->way[c->depth - 1].at;

		if (back ? *at : *at + 1 < node_count(c->way[c->depth - 1].page)) {
			*at += back ? -1 : 1;
			return descend(c, NULL, 0, back);
		}
	}
	return -ENOENT;
}

static struct bounds bounds_of(const struct pages_cursor *c)
{
	struct bounds b = { 0 };

	for (unsigned i = 0; i + 1 < c->depth; i++) {
		const struct page *p = c->way[i].page;

		if (c->way[i].at)
			b.from = node_at(p, c->way[i].at);
		if (c->way[i].at + 1 < node_count(p))
			b.to = node_at(p, c->way[i].at + 1);
	}
	return b;
}

/* A wrong key or number in a branch leads to the wrong leaf. The key should be on this one: whether its neighbours don't have it. */
static int check_beside(const struct pages_cursor *here, const void *key, size_t key_size)
{
	const struct page *p = here->way[here->depth - 1].page;
	unsigned at = here->way[here->depth - 1].at, count = node_count(p);
	struct bounds bounds;
	struct pages_cursor c;

	if (at && at < count)
		return 0;
	bounds = bounds_of(here);
	if (!page_is_within(p, &bounds))
		return -EUCLEAN;
	c = *here;
	if (turn(&c, !at))
		return 0;	/* none, or it can't be asked */
	p = c.way[c.depth - 1].page;
	if (!at)
		return node_compare(node_at(p, node_count(p) - 1), key, key_size) < 0 ? 0 : -EUCLEAN;
	return node_compare(node_at(p, 0), key, key_size) > 0 ? 0 : -EUCLEAN;
}

/*
 * Whether the record of this key is there with another one: when its value is whole, the check tells; when it is not, what it
 * belongs to by its key. Keys begin with that (FORMAT.md).
 */
static bool is_renamed(const struct snapshot *s, const struct node *n, const void *key, size_t key_size)
{
	struct db_value value;
	size_t size = node_value_size(n);

	if (!node_value(s, n, false, &value))
		return false;
	if (n->key_size >= KEY_OWNER && key_size >= KEY_OWNER && !memcmp(n->bytes, key, KEY_OWNER))
		return true;
	return !n->flags && check_strip(key, key_size, n->bytes + n->key_size, &size, true);
}

/* A damaged record may have had any key between those beside it: so also one that is not found there. */
static int check_neighbours(const struct snapshot *s, const struct page *p, unsigned at, const void *key, size_t key_size)
{
	bool bad = at && is_renamed(s, node_at(p, at - 1), key, key_size);

	return bad || (at < node_count(p) && is_renamed(s, node_at(p, at), key, key_size)) ? -EUCLEAN : 0;
}

/* ---- Salvaged ------------------------------------------------------------------------------------------------- */

/* The leaf on which the key would be: the last that does not begin above it. */
static unsigned leaf_of(const struct snapshot *s, const void *key, size_t key_size)
{
	size_t low = 0, high = s->leaf_count;

	while (low < high) {
		size_t at = (low + high) / 2;

		if (node_compare(node_at(s->leaves[at], 0), key, key_size) <= 0)
			low = at + 1;
		else
			high = at;
	}
	return low ? low - 1 : 0;
}

/* The cursor's first place is the leaf's number among them, the second the node's on it. */
static void seek_leaf(struct pages_cursor *c, const void *key, size_t key_size)
{
	const struct snapshot *s = c->snapshot;

	c->way[0].at = key_size ? leaf_of(s, key, key_size) : 0;
	c->way[1].at = key_size && s->leaf_count ? search(s->leaves[c->way[0].at], key, key_size) : 0;
}

static const struct node *salvaged(struct pages_cursor *c)
{
	const struct snapshot *s = c->snapshot;

	while (c->way[0].at < s->leaf_count && c->way[1].at >= node_count(s->leaves[c->way[0].at])) {
		c->way[0].at++;
		c->way[1].at = 0;
	}
	return c->way[0].at < s->leaf_count ? node_at(s->leaves[c->way[0].at], c->way[1].at) : NULL;
}

static bool is_lost(const struct snapshot *s, const void *key, size_t key_size)
{
	for (size_t i = 0; i < s->lost_count; i++) {
		const struct bounds *b = &s->lost[i].bounds;

		if ((!b->from || node_compare(b->from, key, key_size) <= 0) && (!b->to || node_compare(b->to, key, key_size) > 0))
			return true;
	}
	return false;
}

/* ---- Reading -------------------------------------------------------------------------------------------------- */

int pages_get(const struct snapshot *s, const void *key, size_t key_size, struct db_value *ret)
{
	struct pages_cursor c;
	const struct node *n;
	unsigned at;
	int err;

	c.snapshot = s;
	c.depth = 0;
	if (s->leaves) {
		seek_leaf(&c, key, key_size);
		n = salvaged(&c);
		if (n && !node_compare(n, key, key_size))
			return node_value(s, n, false, ret);
		return is_lost(s, key, key_size) ? -EUCLEAN : -ENOENT;
	}
	if (s->root == NO_PAGE)
		return -ENOENT;
	err = descend(&c, key, key_size, false);
	if (err)
		return err;
	at = c.way[c.depth - 1].at;
	n = at < node_count(c.way[c.depth - 1].page) ? node_at(c.way[c.depth - 1].page, at) : NULL;
	if (n && !node_compare(n, key, key_size))
		return node_value(s, n, c.way[c.depth - 1].clean, ret);
	err = check_beside(&c, key, key_size);
	if (!err && !c.way[c.depth - 1].clean)
		err = check_neighbours(s, c.way[c.depth - 1].page, at, key, key_size);
	return err ? err : -ENOENT;
}

int pages_seek(struct pages_cursor *c, const struct snapshot *s, const void *key, size_t key_size)
{
	int err;

	c->snapshot = s;
	c->depth = 0;
	c->fresh = true;
	c->last = (struct db_value){ 0 };
	if (s->leaves)
		seek_leaf(c, key, key_size);
	if (s->leaves || s->root == NO_PAGE)
		return 0;
	err = descend(c, key_size ? key : NULL, key_size, false);
	if (err && c->depth == 0)
		return err;
	/* A bad page further down is for pages_next to tell of. */
	return !err && key_size ? check_beside(c, key, key_size) : 0;
}

/* Of the page on which the cursor could not get down. */
static struct db_value lower_bound(const struct pages_cursor *c)
{
	struct db_value low = { 0 };

	for (unsigned i = 0; i < c->depth; i++) {
		const struct node *n = node_at(c->way[i].page, c->way[i].at);

		if (c->way[i].at)
			low = (struct db_value){ n->bytes, n->key_size };
	}
	return low;
}

int pages_next(struct pages_cursor *c, struct db_value *ret_key, struct db_value *ret_value)
{
	const struct snapshot *s = c->snapshot;
	const struct node *n;
	int err;

	*ret_key = (struct db_value){ 0 };
	if (s->leaves) {
		c->way[1].at += !c->fresh;
		c->fresh = false;
		n = salvaged(c);
		if (!n)
			return -ENOENT;
		*ret_key = (struct db_value){ n->bytes, n->key_size };
		return node_value(s, n, false, ret_value);
	}
	if (c->depth && !c->fresh)
		c->way[c->depth - 1].at++;
	c->fresh = false;
	while (c->depth && (c->depth < s->depth || c->way[c->depth - 1].at >= node_count(c->way[c->depth - 1].page))) {
		if (c->way[c->depth - 1].at >= node_count(c->way[c->depth - 1].page)) {
			if (--c->depth)
				c->way[c->depth - 1].at++;
			continue;
		}
		err = descend(c, NULL, 0, false);
		if (err) {
			*ret_value = lower_bound(c);
			return err;
		}
		prefetch_next(c);
	}
	if (!c->depth)
		return -ENOENT;
	n = node_at(c->way[c->depth - 1].page, c->way[c->depth - 1].at);
	*ret_key = (struct db_value){ n->bytes, n->key_size };
	/* Within a page they are known to ascend. */
	if (c->last.data && !c->way[c->depth - 1].at && mem_compare(c->last.data, c->last.size, n->bytes, n->key_size) >= 0)
		return -EUCLEAN;
	c->last = *ret_key;
	return node_value(s, n, c->way[c->depth - 1].clean, ret_value);
}

/* ---- Before it is changed ------------------------------------------------------------------------------------- */

#define BESIDE 2	/* leaves on each side that LMDB may join with one that has become small */

int pages_check_way(const struct snapshot *s, const void *key, size_t key_size, bool removed)
{
	struct pages_cursor c, side;
	const struct page *p;
	unsigned at;
	size_t pages;
	int err;

	c.snapshot = s;
	c.depth = 0;
	if (s->root == NO_PAGE)
		return 0;
	err = descend(&c, key, key_size, false);
	if (err)
		return err;
	err = check_beside(&c, key, key_size);
	p = c.way[c.depth - 1].page;
	at = c.way[c.depth - 1].at;
	if (!err && at < node_count(p) && node_at(p, at)->flags && !node_compare(node_at(p, at), key, key_size) && !node_overflow(s, node_at(p, at), &pages))
		err = -EUCLEAN;
	for (int back = 0; !err && removed && back < 2; back++) {
		int r = 0;

		side = c;
		for (int i = 0; !r && i < BESIDE; i++)
			r = turn(&side, back);
		err = r == -ENOENT ? 0 : r;
	}
	return err;
}
