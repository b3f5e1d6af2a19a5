/*
 * An open file handle.
 *
 * Reading: a handle's version is fixed when reading starts, and anew when offset 0 is read again after all was read from beginning to end.
 * Pages of a mapping are read whenever the kernel has dropped them, so they begin anew only if the process was told another version since.
 *
 * Writing a document:
 *
 *	open --write, O_TRUNC--> dirty --flush/fsync, complete--> clean --write--> dirty
 *	                           |  --flush by another process, or incomplete--> dirty
 *	                           `--release--> committed, or rejected (P5)
 *
 * A plain file, or a temp document, that is renamed to a document's name while it is open for writing: the handle follows (follow.h). It is the
 * document's from then on, and what it has written so far is its draft.
 *
 *	plain --rename, complete--> clean
 *	   `--rename, nothing or not complete--> dirty
 *
 * Appending to lines (O_APPEND): whole lines are committed by the write that ends them, and are on disk when flush or fsync returns. The
 * draft then holds the beginning of a line only, which waits for its end, for a flush or for release; a killed writer's is rejected.
 *
 * Lock order: a handle's lock, or that of what is set aside (aside.h), then that of the temp files, then the inode table's, then those inside tickets and store.
 */
#ifndef FS_HANDLE_H
#define FS_HANDLE_H

#include "draft.h"
#include "mount.h"

enum handle_kind { HANDLE_DOCUMENT, HANDLE_SCRATCH, HANDLE_BYTES };

#define HANDLE_NONE UINT64_MAX
#define HANDLE_NO_TIME INT64_MIN

struct handle {
	_Atomic(enum handle_kind) kind;	/* changes under `lock`, from plain to document */
	uint64_t ino;			/* lock, once it is open: an embryo may become another inode */
	struct inode *inode;		/* NULL for HANDLE_BYTES. lock, and the inode table's */
	struct inode *former;		/* what the kernel knows it by, when it has followed a rename; held. lock, and the inode table's */
	int flags;			/* of open(2) */
	bool appends;			/* to lines, with O_APPEND */
	struct process opener;
	struct handle *next_handle;	/* the inode table's */
	atomic_bool closing;		/* its release has come, and may still have to be dealt with */
	_Atomic uint64_t draft_size;	/* of a draft that differs from what is stored; HANDLE_NONE: there is none */
	_Atomic uint64_t view_size;	/* of the version that is being read; HANDLE_NONE: reading has not begun, or the end was reached */
	_Atomic uint64_t pending;	/* bytes of a line that has begun */
	_Atomic uint64_t own_size;	/* of what its own bytes are, when these are all that it shows; HANDLE_NONE: it shows what is stored */
	_Atomic uint64_t unsettled;	/* when a flush left it to release what becomes of the draft, nanoseconds; 0: nothing is open */
	_Atomic int64_t mtime;		/* that utimensat gave to the draft; HANDLE_NO_TIME: none since it was last written */
	_Atomic uint64_t temp;		/* its entry among the temp files; 0: it is none */
	atomic_bool unread;		/* opened for reading, and nothing read so far */
	atomic_bool begun;		/* something was written */
	atomic_bool flushed;		/* some flush came: without one the opener was killed before it had the descriptor */
	char *bytes;			/* HANDLE_BYTES: what is read, fixed at open; owned */
	size_t size;

	pthread_mutex_t lock;
	/* All under `lock`. */
	struct handle *next_follower;	/* of the rename that holds the lock */
	uint64_t parent;		/* the name it was opened by, or got by a rename of its own */
	char name[STORE_NAME_MAX + 1];
	pthread_cond_t idle;		/* `saving` ended */
	bool saving;			/* the draft is with the store: it must not change */
	struct store_view *view;	/* what is being read */
	bool raw;			/* it is no document yet: bytes are read as they are */
	bool empty;			/* what is being read was empty when its size was told: nothing is read */
	bool ended;			/* it was read from the beginning to the end */
	bool told_end;			/* the reader was told so, by zero bytes */
	uint64_t sequel;		/* how far it was read from the beginning on, piece after piece */
	uint64_t opened;		/* sizes told since then count for what is read (shown.h) */
	bool has_draft, dirty;
	bool appended;			/* the draft holds nothing but what goes to the end of the lines */
	bool unsynced;			/* lines that were committed may not be on disk */
	uint64_t seen, own;		/* appending: the version at open, and the last one by this handle */
	bool truncated;			/* by O_TRUNC or ftruncate, and nothing written since */
	bool dying;			/* the last flush came from a process that is being killed */
	bool created;			/* the file is this handle's */
	int error;			/* a write failed: what close says, however it goes on */
	int refused;			/* what the last flush said, while the draft is what it was */
	struct draft draft;
	struct ticket_set *set;		/* opened for writing: the bases of its save */
	struct process writer;		/* who wrote last; also of a plain file */
};

/* With its lock: it is among those of its inode at once. -ENOMEM. */
int handle_new(struct mount *m, enum handle_kind kind, uint64_t ino, struct inode *inode, int flags, const struct process *opener, struct handle **ret);
/* Frees the handle and lets go of its inode. */
void handle_free(struct mount *m, struct handle *h);
/* It is a handle of inode `to`, which it takes over, from now on. Needs the lock. */
void handle_move(struct mount *m, struct handle *h, struct inode *to);

/* The kernel knows the handle's file by another number, that of a file which had gone before it was opened. -ENOMEM. */
int handle_stands_for(struct mount *m, struct handle *h, uint64_t ino);

/*
 * A file that has no name is forgotten with its last handle: now, if there is none. Nobody opens it meanwhile. `who` has taken the name from it
 * (NULL: somebody).
 */
void handle_forget(struct mount *m, uint64_t ino, const struct process *who);

static inline struct handle *handle_of(struct fuse_file_info *fi)
{
	return (struct handle *)(uintptr_t)fi->fh;
}

/* Whether the handle's file was new when it was opened, and has not been committed since. */
bool handle_is_new(struct mount *m, const struct handle *h);
/* The newest version of the document; of one that was unlinked meanwhile the last it had. -ENOENT: none yet; -EINVAL: it is no document. Needs the lock. */
int handle_view(struct mount *m, const struct handle *h, struct store_view **ret);
/* Begins the draft if there is none: nothing yet with `truncate`, else what the file holds. Needs the lock. */
int handle_draft(struct mount *m, struct handle *h, bool truncate);
/* Drops the draft: what is stored counts. Needs the lock. */
void handle_undraft(struct handle *h);
/* The draft has changed by a write of this process. Needs the lock. */
void handle_changed(struct handle *h, const struct process *who);

/* The process set the file's mtime: what it has not saved yet is to have it too. */
void handle_timed(struct mount *m, uint64_t ino, const struct process *who, struct timespec mtime);

/* Takes the lock when no save is under way. */
void handle_lock(struct handle *h);
void handle_unlock(struct handle *h);
/* The handle by which the process makes the document, with its lock. NULL: none. */
struct handle *handle_lock_maker(struct mount *m, const struct process *who, uint64_t ino);

/*
 * Waits a moment for the release of handles whose last flush decided nothing, so that who opens the file after `: > f` has returned finds
 * it empty: release comes after close. By inode (0: none), and by name for what will be saved under it (NULL: not known).
 */
void handle_settle(struct mount *m, uint64_t ino, uint64_t parent, const char *name);
/* The same before a directory is listed. */
void handle_settle_directory(struct mount *m, uint64_t ino);
/* Marks the handle so, or no longer. */
void handle_unsettled(struct mount *m, struct handle *h, bool unsettled);
/* Its release has come and is being dealt with: that is waited for however long it takes. */
void handle_releasing(struct handle *h);
/* Its release has been received. Needs no lock. */
void handle_closing(struct handle *h);

static inline bool handle_writes(const struct handle *h)
{
	return (h->flags & O_ACCMODE) != O_RDONLY;
}

/* save.c, append.c, rename.c: the draft becomes a save. */

/*
 * Replies to a flush, or with `sync` to an fsync, or to a write of `wrote` bytes (0: it is none) that is to be on disk. A document that is not complete an
 * fsync leaves as it is: nothing of it is stored, and only close tells. Takes over the handle's lock.
 */
void save_flush(fuse_req_t req, struct handle *h, const struct process *who, bool sync, size_t wrote);
/* The last chance: commits or rejects. Nothing is done for a plain file. Without the lock; waits. */
void save_release(struct mount *m, struct handle *h);
/* A write that appends to lines; commits those that it completes. Without the lock. 0 or an error: then nothing was written. */
int save_append(struct mount *m, struct handle *h, const struct process *who, const char *bytes, size_t size);
/* Commits the line that an appending handle has begun, so that the file can be read. Needs the lock. */
int save_pending(struct mount *m, struct handle *h);
/* What comes next through an appending handle changes what is there, all of which it goes on from. Needs the lock. */
int save_begin_rewrite(struct mount *m, struct handle *h, const struct process *who);
/* truncate(2) by path. 0 or an error. */
int save_truncate(struct mount *m, const struct process *who, const struct store_attr *a, uint64_t size);
/* rename(2) of a temp file, or fresh document, to a document's name: merges (0), fails, or -ENOSYS: an ordinary rename. */
int save_rename(struct mount *m, const struct process *who, uint64_t parent, const char *name, uint64_t new_parent, const char *new_name,
		bool replace);
/*
 * The exchange of a temp file with a session is a save of that as a rename is (by either order of the names), and what the session was is a plain
 * file under the other name then. -ENOSYS: an ordinary exchange.
 */
int save_exchange(struct mount *m, const struct process *who, uint64_t parent, const char *name, uint64_t new_parent, const char *new_name);
/*
 * rename(2) of a document that is being made: saves it as far as it is complete, and what comes of it after that goes to the new name. -ENOSYS: it
 * is none, or one by now.
 */
int save_rename_embryo(struct mount *m, const struct process *who, uint64_t parent, const char *name, uint64_t new_parent, const char *new_name,
		       bool replace);

/* read.c: replies to a read. */
/* `mapped`: the kernel wants pages of a mapping. */
void read_reply(fuse_req_t req, struct handle *h, size_t size, uint64_t offset, bool mapped);
/* Fixes what the handle reads, if that is not fixed yet. `size`: of the read at hand. Needs the lock. */
int read_begin(struct mount *m, struct handle *h, const struct process *who, size_t size);

#endif
