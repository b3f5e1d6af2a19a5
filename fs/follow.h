/*
 * Open handles that follow their file: it was a plain file, or a temp document, and is renamed to a
 * document's name while it is open for writing, by whoever. What is written after that is the
 * document's too, and saved at the handle's flush, fsync or release as with any other (handle.h).
 *
 * The kernel goes on naming the file by its old number. Of what was a plain file it has pages in
 * memory: such a handle shows its own bytes as long as it lives, and its fstat their size.
 *
 * Private to rename.c, but for the last two functions.
 */
#ifndef FS_FOLLOW_H
#define FS_FOLLOW_H

#include "handle.h"

/* The handles that write a file, and are not closed; the latest first. */
struct followers {
	struct handle *first;		/* by next_follower, each with its lock */
};

/*
 * Those of a plain file; or of a document those of the temp file `temp` (NULL: its entry is not
 * known), for others who write that document have handles that rename it by themselves. Waits for
 * saves that are under way, and takes the handles' locks.
 */
void followers_lock(struct mount *m, uint64_t ino, bool document, const struct temp *temp,
		    struct followers *ret);
void followers_unlock(struct followers *f);
/* Who has opened the file: of several the process whose temp file it is. Needs at least one. */
const struct process *followers_writer(const struct followers *f, const struct temp *temp);

/* What they follow to. */
struct followed {
	uint64_t ino, parent;
	const char *name;
	uint64_t version;	/* made of what they have written so far; 0: that is not saved */
	struct draft *draft;	/* of a plain file: its bytes; taken over */
	struct ticket_set **set;	/* the bases of what comes next, or NULL; taken over */
	int64_t mtime;		/* the file's, of what is not saved yet; HANDLE_NO_TIME: of the save */
};

/* Needs their locks. Without memory a handle stays behind, and its close says so. */
void followers_go(struct mount *m, struct followers *f, const struct process *writer,
		  const struct followed *to);

/*
 * The handle's plain file has become a document by another's save, without a rename (it had a document's name): the
 * handle is one of the document. -EINVAL: it has not. Without the handle's lock.
 */
int follow_in_place(struct mount *m, struct handle *h);

/*
 * What the file of that number is to a process: a plain file that was renamed while it had it open
 * is the document. *ret_size (may be NULL): of its own bytes, or HANDLE_NONE. Any thread.
 */
uint64_t follow_ino(struct mount *m, const struct process *who, uint64_t ino, uint64_t *ret_size);

#endif
