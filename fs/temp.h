/*
 * Files that may be renamed to a document: who wrote them, and what that process had seen when it opened them (merge rules 3, 8).
 *
 * Several writers may use one temp name at once (rule 14). Of each its own file waits, until it renames or unlinks it:
 *
 * - Who opens another's temp file to write it anew gets a file of its own under the name. The other's file loses the name, but
 *   its writer still finds it there: by look-up, rename, unlink; and has the name again when it writes it anew.
 * - Temp names that end in .json lead to one document for all. Of each writer the version that it wrote is remembered, or its bytes
 *   when they were merged with another's, and that is what its rename takes.
 * - A program that a shell started with its output in the file is gone when the next one renames it: the shell tells whose it is.
 * - Tasks of one process can't be told apart when it has an event loop. The first rename then saves what all of them have
 *   written, and the others' renames find it done.
 *
 * Bounded in number, age and bytes; of processes that died nothing is kept but the file under the name. One lock inside.
 */
#ifndef FS_TEMP_H
#define FS_TEMP_H

#include <sys/queue.h>
#include <time.h>

#include "ticket.h"

struct mount;
struct temps;

#define TEMP_FRESH 1u	/* a document: made by that open */
#define TEMP_LOG 2u	/* a document that had the name before comes back: its log is to stay */
#define TEMP_APPEND 4u	/* not written anew: its bytes are others' too */
#define TEMP_READ 8u	/* a document that somebody has read */
#define TEMP_SHARED 16u	/* several processes have written files of that name at a time */

#define TEMPS_OWN 1024	/* files of one process under one name */
#define TEMP_SECONDS 600	/* so long a file waits */

/* One file, as one writer wrote it. */
struct temp {
	LIST_ENTRY(temp) by_name, by_ino, by_id;	/* in the table */
	TAILQ_ENTRY(temp) age;
	struct temp *next_gone;
	uint64_t id;			/* ascending */
	uint64_t ino, parent;
	uint64_t version;		/* a document: what the writer saved; 0: nothing so far */
	char *bytes;			/* of a document that was merged with another's: what was written; or NULL */
	size_t size;
	struct process who;
	struct process shell;		/* that has started the writer with its output in the file; not known: none */
	struct ticket_set *set;		/* NULL while it is only reserved */
	time_t at, made;		/* when it was opened; when the document was made */
	unsigned flags;
	bool document;
	bool lost;			/* another has the name */
	bool reserved;			/* made for a thread that is about to open it */
	bool saved;			/* in the document already; a rename of its writer is still to come */
	bool taken;			/* by a rename, which does not hold the lock */
	bool dropped;			/* out of the table meanwhile */
	char name[];
};

int temps_new(struct temps **ret);
void temps_free(struct temps *t);

/* Whether plain files of that name may be temp files that several writers use. Those that are locked must stay one for all. */
bool temps_is_shared(const char *name);
/*
 * Makes an empty plain file of that parent, name, mode and owner for a thread that is about to open it. -EEXIST; with `displace`
 * the file that is there loses its name.
 */
int temps_make(struct mount *m, const struct process *who, const struct store_attr *a, bool displace, uint64_t *ret_ino);
/*
 * Before a plain file is opened to be written anew. -ESTALE: it is another writer's, and the name now leads to one of the
 * caller's own; the kernel looks it up again when it is told so.
 */
int temps_claim(struct mount *m, const struct process *who, const struct store_attr *a);

/* The file was opened for writing. Takes over the set. *ret_id (may be NULL): for what follows. -ENOMEM: the set is freed. */
int temps_add(struct mount *m, const struct process *who, const struct store_attr *a, struct ticket_set *set, unsigned flags, uint64_t *ret_id);
/*
 * Its first write: by id, or of a plain file by its inode (id 0). `redirected`: the descriptor was duplicated and closed before, as a shell does
 * it for what it starts.
 */
void temps_begin(struct mount *m, const struct process *who, const char *name, uint64_t id, uint64_t ino, bool redirected);
/* Whether a document, now of that version, may be a temp file: what is saved again after a while is none. */
bool temp_is_fresh(const struct temp *e, uint64_t version);
/* The flags of a document that may turn out to be a temp file; else 0. */
unsigned temps_fresh(struct temps *t, const struct store_attr *a);
/* Whether it may still turn out to be a temp file: nobody has read it. */
bool temps_needs(struct temps *t, const char *name, uint64_t id);
/* Somebody reads the document. */
void temps_read(struct temps *t, const char *name, uint64_t ino);
/* The document was saved. `bytes` (may be NULL; taken over): as it was written. */
void temps_saved(struct temps *t, const char *name, uint64_t id, uint64_t ino, uint64_t version, char *bytes, size_t size);
/* The thread changed the document by its name: that is what it has written there. Of an event loop it may be another task. */
void temps_changed(struct mount *m, const struct process *who, const char *name, uint64_t ino, uint64_t version);
/* Its handle is gone: nothing will be saved any more. */
void temps_closed(struct mount *m, const char *name, uint64_t id);

/* What the process finds under that name in place of `a`, or of nothing (ino 0). False: just that. */
bool temps_find(struct mount *m, const struct process *who, uint64_t parent, const char *name, struct store_attr *a);
/* The name of a file that has lost it and that somebody waits for. */
bool temps_place(struct temps *t, const struct store_attr *a, uint64_t *ret_parent);
/*
 * Whether file `ino` was renamed to a document lately: a look-up may have told of it before. *ret: name, mode and owner of
 * what the looker means.
 */
bool temps_former(struct temps *t, uint64_t ino, struct store_attr *ret);

/* What a rename of that name to `new_name` by this process means: files in the order of their writing. */
size_t temps_own(struct mount *m, const struct process *who, uint64_t parent, const char *name, const char *new_name, uint64_t ids[TEMPS_OWN]);
/*
 * Whether the process has written a file of that name that had to go, at a bound, before it was renamed: which of its renames means that nobody
 * can tell, so that none is to be told that its file is saved.
 */
bool temps_forgot_own(struct mount *m, const struct process *who, uint64_t parent, const char *name);
/* It does not change until temps_put or temps_done. NULL: gone. */
struct temp *temps_take(struct temps *t, const char *name, uint64_t id);
/* Whether a file that somebody may still rename was forgotten lately, at a bound: who renames one that he has not written may mean that. */
bool temps_forgot(struct temps *t);
/* The newest of that file, whoever wrote it. *ret_reserved: somebody is about to write it, there is nothing yet. */
struct temp *temps_take_any(struct temps *t, const struct store_attr *a, bool *ret_reserved);
/* Before a file that was taken loses its name. */
void temps_leaving(struct temps *t, const struct store_attr *a, uint64_t parent);
/* It stays; `saved`: and is in the document now. */
void temps_put(struct mount *m, struct temp *e, bool saved);
/* It has been renamed: a file that nobody needs any more is forgotten. NULL is fine. */
void temps_done(struct mount *m, struct temp *e);
/* Whether nobody has read the document, nor saved it again. */
bool temps_unread(struct temps *t, const struct store_attr *a);
/* Whether others have written that document too, and may still rename it. */
bool temps_shared(struct temps *t, const struct temp *e);

/* The process removes its file under a name that leads to inode `linked`, or 0. True: that is done, what has the name is another's. */
bool temps_unlink(struct mount *m, const struct process *who, uint64_t parent, const char *name, uint64_t linked);
/* Whether a thread is about to open that file: it is to be kept when its name is taken. */
bool temps_awaited(struct temps *t, const struct store_attr *a);
/* The file was unlinked. Who is about to open it still finds it. */
void temps_unlinked(struct temps *t, const struct store_attr *a);
/* The file was renamed to a name of another kind. */
void temps_forget(struct temps *t, const struct store_attr *a);

/* Files that have lost their name, for .historyfs/status. */
unsigned temps_waiting(struct temps *t);

#endif
