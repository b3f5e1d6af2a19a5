/*
 * Sessions that their writers set aside to make them anew (merge rule 13): `target -> target.bak; new -> target; unlink target.bak`.
 *
 * Two steps of one save, and between them there is no session, as on any filesystem: who reads then finds none (P3), and who saves begins another, without what is in the first (P1, P2). So a
 * process that renames a session it knows to a backup's name beside it is told that this is done, and sees it so. For everybody else nothing has happened:
 * the session is where it was, and what the process puts in its place is a save of it.
 *
 *	away	the process finds the name free and the session under the backup's name
 *	made	it has put something there: the name is the session's for it too, and the backup what the session was when it was set aside
 *
 * An event loop that removes the backup before anything was made may mean another task's: that is done when it has ended.
 *
 * That ends when the process removes the backup, or puts it back; and when somebody needs the backup, its process has ended, or three seconds have
 * passed: then the rename happens (away), or the backup becomes a document of its own (made). Lost in a crash like any rename that
 * was not synced.
 *
 * Not lines, which are renamed to begin new ones. One lock inside, before all others of fs/ and never taken with a handle's; held while the store works.
 */
#ifndef FS_ASIDE_H
#define FS_ASIDE_H

#include <stdbool.h>

#include "process.h"
#include "store.h"

struct asides;
struct mount;

/* The mount must outlive it. 0 or -ENOMEM. */
int asides_new(struct mount *m, struct asides **ret);
/* Ends all. NULL is fine. */
void asides_free(struct asides *t);

/* Whether there is any just now. */
bool asides_any(const struct asides *t);

/* Instead of a rename: 0. -ENOSYS: it is an ordinary one. -EBUSY: too many are away just now, and readers would miss this one. */
int aside_begin(struct asides *t, const struct process *who, uint64_t parent, const char *name, uint64_t new_parent, const char *new_name);

enum aside_view {
	ASIDE_NOT,		/* nothing of the process's: what the store has */
	ASIDE_AWAY,		/* the name is free; *ret is the session */
	ASIDE_BACKUP,		/* *ret is the backup */
};

/* What the process finds under a name. */
enum aside_view aside_look(struct asides *t, const struct process *who, uint64_t parent, const char *name, struct store_attr *ret);

/* The process puts something under the name. True: it was away. */
bool aside_make(struct asides *t, const struct process *who, uint64_t parent, const char *name);

/* The same, through a file that it opens for writing, by that name (NULL: not known). What it does with the backup it does with a file of its own. */
void aside_make_ino(struct asides *t, const struct process *who, uint64_t ino, uint64_t parent, const char *name);

/* The process removes its backup. False: it has none of that name, or that is an ordinary file now. */
bool aside_unlink(struct asides *t, const struct process *who, uint64_t parent, const char *name);

/* The process renames its backup back to the name of the session that is away. False: it is none. */
bool aside_back(struct asides *t, const struct process *who, uint64_t parent, const char *name, uint64_t new_parent, const char *new_name);

/* Takes the name from the file *a, which is what was unlinked afterwards. Its bytes go when nobody has it open. */
int unlink_file(struct mount *m, const struct process *who, uint64_t parent, const char *name, struct store_attr *a);
/* A rename as on any filesystem. `flags`: STORE_NOREPLACE, STORE_EXCHANGE. */
int rename_plainly(struct mount *m, const struct process *who, uint64_t parent, const char *name, uint64_t new_parent, const char *new_name,
		   unsigned flags);

/* The process has set attributes of the file that it has set aside: its backup has them. `mask`: STORE_SET_*. */
void aside_set(struct asides *t, const struct process *who, uint64_t ino, const struct store_attr *set, unsigned mask);

/* Before the process does something else with a name that it sees otherwise; NULL: with any name of that directory. */
void aside_settle(struct asides *t, const struct process *who, uint64_t parent, const char *name);
/* Before somebody takes a session from its name: who has it away has renamed it first. */
void aside_leave(struct asides *t, uint64_t parent, const char *name);
/* Before something is done with the file of that number: it may be a backup. */
void aside_settle_ino(struct asides *t, uint64_t ino);

#endif
