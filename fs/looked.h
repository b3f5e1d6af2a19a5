/*
 * By which name each thread was led to a file last. The kernel looks a name up, and then opens a number: by then another may have
 * renamed the file. One lock inside.
 */
#ifndef FS_LOOKED_H
#define FS_LOOKED_H

#include <stdbool.h>
#include <sys/types.h>

#include "store.h"

struct looked;

int looked_new(struct looked **ret);
void looked_free(struct looked *l);	/* NULL is fine */

/* The thread was told that this name stands for `ino`. */
void looked_note(struct looked *l, pid_t thread, uint64_t ino, uint64_t parent, const char *name);

/* The name by which the thread came to `ino`. False: not known; it was led to another file since, or by a listing or a descriptor to this one. */
bool looked_name(struct looked *l, pid_t thread, uint64_t ino, uint64_t *ret_parent, char name[STORE_NAME_MAX + 1]);

/*
 * The thread, which opens `ino`, is told to look again, as the kernel does once; `anew`: it empties the file. How often it was told so by now, without
 * having opened it; 0: not known.
 */
unsigned looked_stale(struct looked *l, pid_t thread, uint64_t ino, bool anew);
void looked_opened(struct looked *l, pid_t thread);
/*
 * The thread asks for attributes of `ino` by its name, and there is no such file. False: it is to look again. True: it has, just before, and
 * has found none either.
 */
bool looked_gone(struct looked *l, pid_t thread, uint64_t ino);
void looked_found(struct looked *l, pid_t thread);	/* it has found one */
/* Whether it looks again for a file that it empties; that counts once. */
bool looked_again(struct looked *l, pid_t thread, uint64_t parent, const char *name);

#endif
