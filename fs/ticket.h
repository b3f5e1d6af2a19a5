/*
 * Tickets: which versions of a name each process has been shown, and so which bases a save of it may have had.
 * The rules are numbered in the project's merge rules: 1 to 4 are kept here, 5 to 8 in the store, which gets the candidates.
 *
 * A name is (inode of its directory, name in it); tell of names that are or can become documents only (store_is_document_name),
 * so that look-ups of lock and temp files leave no tickets. All functions may be called from any thread, with one lock inside;
 * but one set is used by one thread at a time.
 */
#ifndef FS_TICKET_H
#define FS_TICKET_H

#include "process.h"
#include "store.h"

struct tickets;
struct ticket_set;

/*
 * Tickets older than `ttl` seconds are forgotten (0: 3600), but of a process that lives its own last document never, and its
 * newest unused ticket not before there is something newer. Processes that exited are forgotten after `ttl` or ten minutes at most;
 * until then a pipeline may still need them (rule 8). When memory exceeds max_bytes (0: 8 MiB) exited processes go first, then
 * names seen absent, then what was not touched for longest. `processes` must outlive the tickets. 0 or -ENOMEM.
 */
int tickets_new(struct processes *processes, unsigned ttl, size_t max_bytes, struct tickets **ret);
/* Evidence is to decide what the calls leave open (rule 15). Before the first use. */
void tickets_weigh(struct tickets *t);
/* Another clock than the system's, in nanoseconds, for tests. It may repeat itself, but not go back. Before the first use. */
void tickets_clock(struct tickets *t, uint64_t (*clock)(void *arg), void *arg);
/* No sets may be left. NULL is fine. */
void tickets_free(struct tickets *t);

/*
 * Rule 1: `who` was shown version `version` of inode `ino` under that name: a handle's first read, or a look-up answered
 * ENOENT (`version` is then the newest of the document that had the name, `ino` its inode; both 0 when there never was one). That a document goes
 * by another name (`version` 0, but not `ino`) does not end what a thread that goes step by step had seen of it.
 * Shown again what its thread's newest unused ticket of the name already says, that ticket becomes newer and can be used once
 * more. Of other versions a process holds 64 unused tickets a name; of more than these the ones in the middle become one, for
 * any of their versions.
 * -ENOMEM, after some tries: then it must not be shown, for a save from it would be taken for one of a process that has read nothing.
 */
int tickets_shown(struct tickets *t, const struct process *who, uint64_t parent, const char *name, uint64_t ino, uint64_t version);

/* It was shown, or the like, and could not be noted: a save of this process that seems to have read nothing has not (tickets_unseen). */
void tickets_forgot(struct tickets *t, const struct process *who);

/*
 * Rule 3: freezes the candidates of a save, when its handle is opened for writing (or when a temp file is opened that may be
 * renamed later: freeze at open, resolve against the final name with tickets_bases). The set belongs to the caller. -ENOMEM.
 * A handle that is itself read from before it is written (O_RDWR, flock, read, truncate, write) is based on that
 * read: after telling tickets_shown of it, free its set and freeze again.
 */
int tickets_freeze(struct tickets *t, const struct process *who, struct ticket_set **ret);
void ticket_set_free(struct ticket_set *set);	/* NULL is fine */
/* `who` renames the temp file: where it is the thread that opened it, what it was shown so far is no base of its next save. */
void ticket_set_renamed(struct ticket_set *set, const struct process *who);
/*
 * `who` begins to write a temp file: what it has read since it opened that counts, if the same thread did both (`open temp, read, write temp,
 * rename`). The set is frozen anew.
 */
void tickets_begin(struct ticket_set *set, const struct process *who);

/*
 * The file is being created, or a temp file renamed to a name that is free, by `who`: the kernel has just looked the name up for that. That
 * ticket belongs to this save: beside the base that it is made from it uses up this one, so that none is left over.
 */
void tickets_created(struct tickets *t, struct ticket_set *set, const struct process *who, uint64_t parent, const char *name);
/*
 * The file is being created in an event loop that has set aside what has the name: the kernel's look-up for that told nobody that
 * there is none. Its ticket goes.
 */
void tickets_unlooked(struct tickets *t, const struct process *who, uint64_t parent, const char *name);

/* Through this set a file is opened for writing. Of a process the last few are remembered, for tickets_reread. */
void tickets_writing(struct ticket_set *set, uint64_t ino);

#define TICKETS_WRITING 4
struct ticket_reread {
	uint64_t ino, version;		/* what was read */
	uint64_t opened[TICKETS_WRITING];	/* other files that the process has opened for writing since it knew the older state */
	size_t count;
};

/*
 * Whether the saving thread, of a process without an event loop, has read the name a last time, once, while it knew an older state of it from
 * a ticket or from what it wrote itself, and has opened other files for writing since: that read may have been for a copy, a backup.
 */
bool tickets_reread(struct tickets *t, const struct ticket_set *set, uint64_t parent, const char *name, struct ticket_reread *ret);
/* It was: it does not end what was known before. The next save through the set may go on from either. */
void tickets_copied(struct ticket_set *set, const struct ticket_reread *copied);

/*
 * The candidates for a save under this name, newest first, none twice: unused tickets of the process that are older than the
 * freeze, its own last written document of before the freeze (several, when their saves overlapped), and its own documents committed
 * after the freeze (flag STORE_BASE_LATER). The thread that counts as the saving one is the one that froze.
 * Rule 4: with an event loop all of these. Without one, and if the thread has unused tickets of its own: the newest of them, and the
 * written document if it is newer still; a thread that goes step by step saves what it read itself, and read last. What was copied
 * counts as not read here, and is a candidate beside these.
 * A forked child's set holds also what its parents' sets would have held when it (or the parent between) was forked, until
 * a save of the child used it up, or was done by its first thread.
 * Without any of these: the unused tickets, frozen or not, of the process itself and its children; else of those with the same parent, else of the
 * process group (rule 8); of these, unless `pipeline` is set (a rename), only what was read when the process was started.
 * The array and what it points to live until the next call with this set or until it is freed. -ENOMEM.
 */
int tickets_bases(struct tickets *t, struct ticket_set *set, uint64_t parent, const char *name, bool pipeline,
		  const struct store_base **ret, size_t *ret_count);

/*
 * Whether the last tickets_bases of this set found none because what the process had seen, or its parent, was forgotten at a bound: of memory, of
 * ended tickets, of parents. Then nothing tells what the save may remove.
 */
bool tickets_unseen(const struct ticket_set *set);

/*
 * After a save succeeded (also one that changed nothing), with the bases of the last tickets_bases of this set: the chosen base
 * is used up (rules 4 and 6) unless another may be meant (STORE_SAVED_UNCERTAIN, _DOUBT), and the document as written becomes the process's own last one: with a base that
 * holds all versions up to `save->previous`, or none, it is all up to save->version; with another base, that base's versions
 * and save->version. A save that changed nothing adds no version, and leaves a document committed after its freeze the
 * last one (rule 7). `set` is then ready for the next save through the same handle: frozen anew, now.
 */
void tickets_saved(struct tickets *t, struct ticket_set *set, uint64_t parent, const char *name, const struct store_save *save);

/*
 * After `who` appended lines to what is there: that needed no base, and uses up none but tickets of its thread (without an event loop), but what
 * it had seen of the name then has them too. Who had seen nothing goes on so.
 */
void tickets_appended(struct tickets *t, const struct process *who, uint64_t parent, const char *name, const struct store_save *save);

/*
 * Rule 13: a process's own unlink ends its tickets of that name and its own last document; what it knows now is that the name
 * is absent: tell that with tickets_shown, as for a look-up answered ENOENT.
 */
void tickets_unlinked(struct tickets *t, const struct process *who, uint64_t parent, const char *name);

/*
 * The process renamed an established document: what it knows of the old name holds for the new one too. (Still of the old one:
 * editors rename a file away and write it anew.)
 */
void tickets_renamed(struct tickets *t, const struct process *who, uint64_t parent, const char *name,
		     uint64_t new_parent, const char *new_name);

/* The process exchanged two names: what it knows of each is of the other now. */
void tickets_exchanged(struct tickets *t, const struct process *who, uint64_t parent, const char *name,
		       uint64_t other_parent, const char *other_name);

/*
 * After a save that took a document back from another name, `name`, which a copy has now (save->copy_ino): what
 * the process knew of the whole document by that name, it knows of the copy.
 */
void tickets_parted(struct tickets *t, const struct process *who, uint64_t parent, const char *name,
		    const struct store_save *save);

/* Whether a save of this name through `set` comes from a process with an event loop (rule 4). As found when it froze. */
bool ticket_set_events(const struct ticket_set *set);
const struct process *ticket_set_process(const struct ticket_set *set);
/* The parent of that process, when it was first seen; 0: not known. */
pid_t ticket_set_above(const struct ticket_set *set);

/* For .historyfs/status: unused tickets and own last documents; processes remembered; bytes used. */
void tickets_count(struct tickets *t, uint64_t *ret_tickets, uint64_t *ret_processes, uint64_t *ret_bytes);

#endif
