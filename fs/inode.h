/*
 * Files that are open. A request names a file by its inode number, which is the store's, so files that are not open need no
 * memory here. Kept for the open ones: the name they go by, and that they were unlinked.
 *
 * Three kinds of number: the store's (a file that is stored), the store's but not yet in use (an embryo: a new document,
 * created and not yet committed, which others do not see, P3), and those of control.h.
 */
#ifndef FS_INODE_H
#define FS_INODE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "process.h"
#include "store.h"

struct handle;
struct inodes;

/* Creators that no look-up has, and a looker that has created nothing: their thread is not told (pid 0). */
#define INODE_UNKNOWN (-1)
#define INODE_NOBODY (-2)

struct inode {
	uint64_t ino;
	struct inode *chain;
	/* All under the table's lock. */
	unsigned opens;
	unsigned leaving;	/* so many of them only take the name from it */
	uint64_t parent;
	char name[STORE_NAME_MAX + 1];
	bool embryo;
	uint64_t stored;	/* the inode it was committed as, or that its handles followed to, when that is another; 0 */
	bool unlinked;		/* its name is gone */
	struct process unlinker;
	pid_t creator;		/* embryo: the thread that made it, the only one to see it; 0: all do */
	uint32_t mode, uid, gid;	/* embryo */
	struct handle *handles;	/* open handles of a document, the latest first */
};

/* The name of an open file, as it is now. */
struct place {
	uint64_t parent;
	char name[STORE_NAME_MAX + 1];
	bool unlinked, embryo;
	struct process unlinker;
	uint32_t mode, uid, gid;
};

int inodes_new(struct inodes **ret);
void inodes_free(struct inodes *t);	/* NULL is fine */

/* Opens: the caller holds the inode until inodes_close. -ENOMEM. */
int inodes_open(struct inodes *t, uint64_t ino, uint64_t parent, const char *name, struct inode **ret);

/* Counts the embryos that were committed. */
uint64_t inodes_hatched(struct inodes *t);
/*
 * A new document's file, of the number, parent, name, mode and owner in *a, unless there is an embryo of that name already, which is then opened;
 * *ret_new tells, and *a is what was opened. -EEXIST: `exclusive`, and there is one; from now on everybody sees it, as an empty file.
 * -ESTALE: some embryo was committed since `hatched`, so there may be a document of that name.
 */
int inodes_open_embryo(struct inodes *t, struct store_attr *a, pid_t creator, bool exclusive, uint64_t hatched, struct inode **ret, bool *ret_new);
/* True when this was the last holder; `keep` then tells that the file was unlinked meanwhile. */
bool inodes_close(struct inodes *t, struct inode *i, bool *ret_unlinked);

/* The embryo of that name if `creator` sees it (0: whoever), with its attributes. False: none. */
bool inodes_find_embryo(struct inodes *t, uint64_t parent, const char *name, pid_t creator, struct store_attr *ret);
bool inodes_get_embryo(struct inodes *t, uint64_t ino, struct store_attr *ret);
/* Sets mode or owner of an embryo (STORE_SET_*). False: it is none. */
bool inodes_set_embryo(struct inodes *t, uint64_t ino, const struct store_attr *to, unsigned mask);
/* It has been committed, as inode `stored`: another one when the name turned out to have a document. */
void inodes_hatch(struct inodes *t, struct inode *i, uint64_t stored);
/* What the file of an open embryo became, or one that its handles have followed; 0: nothing else. */
uint64_t inodes_stored(struct inodes *t, uint64_t ino);

/* Some handle that is open, or NULL: at the end, to free what the kernel did not release. */
struct handle *inodes_any(struct inodes *t);

bool inodes_is_open(struct inodes *t, uint64_t ino);
/*
 * Before a file's name is taken, and after that. True: it is open, and its bytes are to be kept. False: nobody opens it before
 * inodes_left; who waits for that then looks whether it has a name. *ret is for inodes_left, which takes NULL too.
 */
bool inodes_leave(struct inodes *t, uint64_t ino, struct inode **ret);
/* `gone`: its name is gone, by `who`. True: it is for the caller to forget the file in the store. */
bool inodes_left(struct inodes *t, struct inode *i, bool gone, const struct process *who);
/* False: nobody has it open. */
bool inodes_unlinked(struct inodes *t, uint64_t ino, const struct process *who);
void inodes_renamed(struct inodes *t, uint64_t ino, uint64_t parent, const char *name);
void inodes_place(struct inodes *t, const struct inode *i, struct place *ret);

/* Open handles of an inode, for the sizes that their processes see. */
void inodes_add_handle(struct inodes *t, struct inode *i, struct handle *h);
void inodes_remove_handle(struct inodes *t, struct inode *i, struct handle *h);
/* The handle is one of `to` from now on, and holds what the kernel knows it by. What it has to let go of beside that is returned, or NULL. */
struct inode *inodes_move_handle(struct inodes *t, struct handle *h, struct inode *to);
/* The kernel knows the handle, which has no such inode yet, by this one, which it takes over. */
void inodes_set_former(struct inodes *t, struct handle *h, struct inode *former);
/* Calls `visit` for each, the latest first, under the table's lock. ino 0: for those of all inodes. */
void inodes_visit(struct inodes *t, uint64_t ino, void (*visit)(struct handle *h, void *arg), void *arg);

#endif
