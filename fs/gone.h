/*
 * Files and directories that were removed while the kernel still knew them: somebody may have one open, or be in it. Nothing
 * but this tells what fstat, or a look-up beneath it, is to say; without it these would fail with ESTALE, as they do on no
 * filesystem of one's own. Forgotten when the kernel says that nobody has it any more. One lock inside.
 */
#ifndef FS_GONE_H
#define FS_GONE_H

#include <stdbool.h>

#include "store.h"

struct gone;

int gone_new(struct gone **ret);	/* 0 or -ENOMEM */
void gone_free(struct gone *g);		/* NULL is fine */

/* It has been removed: before that is answered. Without memory it is not remembered. */
void gone_note(struct gone *g, const struct store_attr *a);
/* As it was when it was removed, without a name. False: not known. */
bool gone_get(struct gone *g, uint64_t ino, struct store_attr *ret);
/* Sets mode, owner or times (STORE_SET_*). False: not known. */
bool gone_set(struct gone *g, uint64_t ino, const struct store_attr *to, unsigned mask);
/* The kernel does not know it any more. */
void gone_forget(struct gone *g, uint64_t ino);

#endif
