/* Files that are being made (embryos): one of a name at a time, and none beside a document that has just been committed (P3). */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "inode.h"

enum { DIRECTORY = 1, MAKER = 100, OTHER = 200 };

static struct inodes *t;
static struct inode *made;

static void begin(void)
{
	cr_assert_eq(inodes_new(&t), 0);
}

static void end(void)
{
	inodes_free(t);
}

/* Opens the new s.json, as number `ino` if there is none. *ret_new and *a as inodes_open_embryo. */
static int open_new(uint64_t ino, pid_t creator, bool exclusive, uint64_t hatched, struct store_attr *a, struct inode **ret, bool *ret_new)
{
	*a = (struct store_attr){ .ino = ino, .parent = DIRECTORY, .name = "s.json", .mode = 0640, .uid = 7, .gid = 8 };
	return inodes_open_embryo(t, a, creator, exclusive, hatched, ret, ret_new);
}

static void make(void)
{
	struct store_attr a;
	bool fresh;

	cr_assert_eq(open_new(20, MAKER, true, inodes_hatched(t), &a, &made, &fresh), 0);
	cr_assert(fresh && a.ino == 20 && a.kind == STORE_DOCUMENT && a.uid == 7);
}

TestSuite(inode, .init = begin, .fini = end);

Test(inode, another_opens_what_is_being_made)
{
	struct store_attr a;
	struct inode *i;
	bool fresh, unlinked;

	make();
	cr_assert_eq(open_new(21, OTHER, false, inodes_hatched(t), &a, &i, &fresh), 0);
	cr_assert(!fresh && i == made && a.ino == 20, "number %llu", (unsigned long long)a.ino);
	cr_assert_not(inodes_close(t, i, &unlinked));
	cr_assert(inodes_close(t, made, &unlinked));
}

Test(inode, exclusive_is_refused_and_everybody_sees_it_from_then_on)
{
	struct store_attr a;
	struct inode *i;
	bool fresh, unlinked;

	make();
	cr_assert_not(inodes_find_embryo(t, DIRECTORY, "s.json", OTHER, &a), "seen by who was not told");
	cr_assert_eq(open_new(21, OTHER, true, inodes_hatched(t), &a, &i, &fresh), -EEXIST);
	cr_assert(inodes_find_embryo(t, DIRECTORY, "s.json", OTHER, &a));
	cr_assert(inodes_close(t, made, &unlinked), "the refused one holds it");
}

Test(inode, what_was_committed_since_the_look_up_is_looked_up_again)
{
	uint64_t before = inodes_hatched(t);
	struct store_attr a;
	struct inode *i;
	bool fresh, unlinked;

	make();
	inodes_hatch(t, made, 20);
	for (int exclusive = 0; exclusive < 2; exclusive++)
		cr_assert_eq(open_new(21, OTHER, exclusive, before, &a, &i, &fresh), -ESTALE);
	cr_assert_eq(open_new(21, OTHER, true, inodes_hatched(t), &a, &i, &fresh), 0);
	cr_assert(fresh && a.ino == 21);
	inodes_close(t, i, &unlinked);
	inodes_close(t, made, &unlinked);
}

/* A document that was unlinked by another name than it is made anew by, and is open still. */
Test(inode, what_is_made_anew_has_the_name_it_is_made_by)
{
	struct process who = { .tgid = OTHER, .start = 1, .known = true };
	struct store_attr a;
	struct inode *reader;
	struct place place;
	bool unlinked;

	cr_assert_eq(inodes_open(t, 20, DIRECTORY, "s.json~", &reader), 0);
	cr_assert(inodes_unlinked(t, 20, &who));
	make();
	cr_assert_eq(made, reader);
	inodes_place(t, made, &place);
	cr_assert(strcmp(place.name, "s.json") == 0 && !place.unlinked, "%s", place.name);
	cr_assert(inodes_find_embryo(t, DIRECTORY, "s.json", MAKER, &a));
	cr_assert_not(inodes_find_embryo(t, DIRECTORY, "s.json~", MAKER, &a));
	inodes_close(t, made, &unlinked);
	inodes_close(t, reader, &unlinked);
}

Test(inode, what_has_come_back_has_a_name)
{
	struct process who = { .tgid = OTHER, .start = 1, .known = true };
	struct inode *reader;
	struct place place;
	bool unlinked;

	cr_assert_eq(inodes_open(t, 20, DIRECTORY, "s.json~", &reader), 0);
	inodes_unlinked(t, 20, &who);
	inodes_renamed(t, 20, DIRECTORY, "s.json");
	inodes_place(t, reader, &place);
	cr_assert(strcmp(place.name, "s.json") == 0 && !place.unlinked, "%s", place.name);
	inodes_close(t, reader, &unlinked);
	cr_assert_not(unlinked, "it would be forgotten");
}
