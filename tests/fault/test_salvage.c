/* Single damages of data.mdb, and what is read past them: all that is whole, and nothing that is old. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "faultio.h"
#include "support.h"

#define PAGE 4096
#define SESSIONS 60
#define HEADER 16	/* of a page; then come the places of its nodes */

enum { BRANCH = 1, LEAF = 2 };

struct file {
	char *dir;
	struct text data;
	uint64_t inos[SESSIONS];
	uint64_t list, root;	/* pages: of the list of free pages, and of the records */
};

static uint16_t number_at(const struct file *f, size_t at)
{
	uint16_t n;

	memcpy(&n, f->data.data + at, 2);
	return n;
}

static unsigned kind_of(const struct file *f, uint64_t page)
{
	return number_at(f, page * PAGE + 10);
}

/* Of the newer head. */
static void read_file(struct file *f)
{
	uint64_t ids[2];
	size_t m;

	f->data = text_file(f->dir, "data.mdb");
	for (m = 0; m < 2; m++)
		memcpy(&ids[m], f->data.data + m * PAGE + 144, 8);
	m = ids[1] > ids[0];
	memcpy(&f->list, f->data.data + m * PAGE + 80, 8);
	memcpy(&f->root, f->data.data + m * PAGE + 128, 8);
}

static void name_of(unsigned session, char name[16])
{
	snprintf(name, 16, "%u.json", session);
}

static struct text document(unsigned session, unsigned state)
{
	return text_format("[{\"state\": %u}, {\"session\": \"%0*u\"}]", state, 100 + session, session);
}

/* What there was at `state`. */
static void save_all(struct store *s, unsigned count, unsigned state)
{
	for (unsigned i = 0; i < count; i++) {
		struct text t = document(i, state);
		struct store_save save;
		char name[16];

		name_of(i, name);
		save = save_text(s, name, t, NULL, STORE_SAVE_REPLACE);
		must_save(&save, name);
		text_free(t);
	}
}

/* Saves a few times, so that there are pages with what was before. */
static struct file make(unsigned count, unsigned states)
{
	struct file f = { .dir = dir_make() };
	struct store_attr a;
	char name[16];

	fault_skip_sync(f.dir);
	for (unsigned i = 0; i < states; i++) {
		struct store *s = must_open(f.dir, 0);

		save_all(s, count, i);
		for (unsigned n = 0; n < count; n++) {
			name_of(n, name);
			cr_assert_eq(store_lookup(s, STORE_ROOT, name, &a), 0);
			f.inos[n] = a.ino;
		}
		must_close(s);
	}
	read_file(&f);
	return f;
}

/* Salvages what the file is by now: all sessions but that with inode `but` must be as they were last. */
static void check_salvaged(struct file *f, unsigned count, unsigned states, uint64_t but)
{
	struct store_options o = { .salvage = true };
	char path[256], name[16];
	struct store *s;
	FILE *out;

	snprintf(path, sizeof(path), "%s/data.mdb", f->dir);
	out = fopen(path, "w");
	cr_assert(out && fwrite(f->data.data, 1, f->data.size, out) == f->data.size && !fclose(out));
	cr_assert_eq(store_open(f->dir, &o, &s), 0);
	for (unsigned i = 0; i < count; i++) {
		struct text got, want = document(i, states - 1);

		name_of(i, name);
		if (f->inos[i] != but) {
			got = read_name(s, name);
			check_text(got, want, "salvaged", name);
			text_free(got);
		}
		text_free(want);
	}
	store_close(s);
	text_free(f->data);
	dir_remove(f->dir);
}

/* A leaf that is not the root, with a message of a session in this state; 0: there is none from this page on. */
static uint64_t leaf_with(const struct file *f, uint64_t from, unsigned state)
{
	struct text what = text_format("{\"state\": %u}", state);
	uint64_t page = from;

	while (page * PAGE < f->data.size &&
	       (page == f->root || kind_of(f, page) != LEAF || !memmem(f->data.data + page * PAGE, PAGE, what.data, what.size)))
		page++;
	text_free(what);
	return page * PAGE < f->data.size ? page : 0;
}

/* A page is ruined, and which ones are free can't be told: what is whole on it counts, not what is on one that was given up before. */
Test(salvage, what_is_whole_on_a_ruined_page_counts_before_what_is_old)
{
	unsigned states = 4;
	struct file f = make(1, states);

	/* The tree is one leaf here; there must be an old one before it. */
	while (kind_of(&f, f.root) != LEAF || !leaf_with(&f, 2, states - 2) || leaf_with(&f, 2, states - 2) > f.root) {
		cr_assert_lt(states, 30);
		text_free(f.data);
		dir_remove(f.dir);
		f = make(1, ++states);
	}
	memset(f.data.data + f.list * PAGE, 0, PAGE);
	f.data.data[f.root * PAGE + HEADER] ^= 1;	/* where its first record is */
	check_salvaged(&f, 1, states, 0);
}

/* A wrong key, which is outside of what the tree says of its leaf: the leaf is of no use to LMDB, but all else on it is whole. */
Test(salvage, one_bit_of_the_first_key_of_a_leaf)
{
	unsigned tried = 0;

	for (int at = 0; at < 6; at++) {
		struct file f = make(SESSIONS, 3);
		uint64_t page = 2, ino;
		size_t key;

		for (int i = 0; i <= at && page; i++)
			page = leaf_with(&f, page + 1, 2);
		if (!page)
			break;
		key = page * PAGE + number_at(&f, page * PAGE + HEADER) + 8;
		memcpy(&ino, f.data.data + key, 8);
		ino = __builtin_bswap64(ino);
		/* A name: without it the session is found by its number only. */
		if (ino == STORE_ROOT) {
			text_free(f.data);
			dir_remove(f.dir);
			continue;
		}
		f.data.data[key + 7] ^= (char)(ino & -ino);	/* lower than it was */
		tried++;
		check_salvaged(&f, SESSIONS, 3, ino);
	}
	cr_assert_geq(tried, 2);
}

static const char *first_key(const struct file *f, uint64_t page)
{
	return f->data.data + page * PAGE + number_at(f, page * PAGE + HEADER) + 8;
}

/* A leaf that was given up: one with the newest state begins with the same key. 0: there is none. */
static uint64_t old_leaf(const struct file *f, unsigned newest)
{
	for (uint64_t page = leaf_with(f, 2, newest - 1); page; page = leaf_with(f, page + 1, newest - 1)) {
		uint64_t heir = leaf_with(f, 2, newest);

		while (heir && (heir == page || memcmp(first_key(f, heir), first_key(f, page), 17)))
			heir = leaf_with(f, heir + 1, newest);
		if (heir && leaf_with(f, page, newest) != page)
			return page;
	}
	return 0;
}

/* A leaf with what was before stands where the tree has its root: it says itself that its place is another. */
Test(salvage, an_old_leaf_in_the_place_of_a_branch)
{
	struct file f = make(SESSIONS, 5);
	uint64_t old = old_leaf(&f, 4);

	cr_assert_eq(kind_of(&f, f.root), BRANCH);
	cr_assert(old, "there is nothing old");
	memcpy(f.data.data + f.root * PAGE, f.data.data + old * PAGE, PAGE);
	check_salvaged(&f, SESSIONS, 5, 0);
}
