/*
 * The store: a tree of files whose JSON documents are kept as versions of messages. The one header that fs/ and tools/
 * include. How it works: store/README.md; the bytes on disk: store/FORMAT.md.
 *
 * Results are 0 or a negative errno; outputs are set only on success. Every function may be called from any thread
 * unless it says otherwise. Errors that any function can return beside its own:
 *	-ENOMEM	out of memory
 *	-ENOSPC	the disk or the map is full
 *	-EIO	the disk failed; the store has reopened itself and the last committed state stands
 *	-EUCLEAN	a record is damaged (run `historyctl verify`)
 *	-EROFS	a change was asked of a store that was opened read-only
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

struct store;
struct store_view;
struct db_txn;

/* ---- Opening ------------------------------------------------------------------------------------------------- */

struct store_options {
	bool create;			/* make the store when there is none */
	bool read_only;
	bool salvage;			/* read what is whole of a damaged store, also where its tree is broken. Implies read_only; nobody may have it open for writing */
	uint64_t map_size;		/* bytes of address space, the largest store; 0: 256 GiB */
	uint64_t cache_size;		/* bytes of memory for indexes of documents; 0: 64 MiB */
	uint64_t max_document;		/* bytes; larger documents are refused with -EFBIG; 0: 256 MiB */
	unsigned delay_ms;		/* 0: a save is answered when it is on disk; else at once, and on disk within this time */
	char *reason;			/* gets a sentence with -EPERM and -ENOTEMPTY: what is wrong and what to do; may be NULL */
	size_t reason_size;
};

/*
 * Opens the store in directory `path` and starts its writer thread: open after fork(), never twice in one process.
 * `options` may be NULL. Several processes may have one store open.
 * -ENOENT: no store there and `create` is not set. -EPROTO: written by a newer format. -EUCLEAN: not a store, or damaged.
 * -EPERM: somebody else could lead what is written there to other files: who writes opens the path without symbolic links of others, and
 * the directory and its files must be root's or this user's, its mode such that no others can write. What only reads may be another's.
 * -EBUSY: to be salvaged, but another process has it open.
 * -ENOTEMPTY: no store is there, but other files are. -EACCES, -EROFS, -ENOTDIR: as open(2).
 */
int store_open(const char *path, const struct store_options *options, struct store **ret);

/* Puts everything on disk that is waiting and closes. NULL is fine. No views may be left. */
void store_close(struct store *s);

/*
 * What was found damaged in the journal when the store was opened, a sentence for the log; NULL: nothing. What is whole in it counts nevertheless. Who opened for
 * writing is the last to be told, since a new journal has been begun. Owned by the store.
 */
const char *store_damage(const struct store *s);

/* Returns when everything done so far, by this process, is durable: no crash can take it away. */
int store_sync(struct store *s);

/* Returns when other processes that have the store open see everything done so far by this one. */
int store_drain(struct store *s);

/*
 * An empty file without a name in the store's directory, for reading and writing, which goes when it is closed: for bytes that wait and
 * have no room in memory. As open(2).
 */
int store_temp(struct store *s, int *ret_fd);

/* A sentence for an errno (positive or negative) as this library means it. Static. */
const char *store_strerror(int err);

/* ---- Files --------------------------------------------------------------------------------------------------- */

#define STORE_ROOT 1		/* inode of the mount's root */
#define STORE_REJECTED 2	/* inode of the directory that keeps refused documents; it has no parent */
#define STORE_NAME_MAX 255

enum store_kind {
	STORE_DIRECTORY = 1,
	STORE_SYMLINK,
	STORE_SCRATCH,		/* plain bytes */
	STORE_DOCUMENT,		/* versions of messages */
};

struct store_attr {
	uint64_t ino;
	uint64_t parent;		/* 0: unlinked, or a root */
	enum store_kind kind;
	uint32_t mode;			/* as st_mode, type included */
	uint32_t uid, gid;
	uint64_t size;
	struct timespec atime, mtime, ctime;
	uint64_t version;		/* documents: the newest, of an unlinked one the last that it had; 0 for other kinds */
	uint64_t messages;		/* documents: how many the newest version has */
	bool lines;			/* documents: the newest version is lines */
	bool renamed;			/* documents: not saved by this name since they were renamed to it; of an unlinked one, by its last */
	bool damaged;			/* store_readdir: only ino, kind and name are known, the rest can't be read */
	char name[STORE_NAME_MAX + 1];	/* the name under `parent` */
};

/* Whether a file of this name is kept as a document when its content allows: it ends in ".json" or ".jsonl" and is more than that. */
bool store_is_document_name(const char *name);
/* Whether a document of this name is lines, of any bytes: it ends in ".jsonl". */
bool store_is_lines_name(const char *name);

/* -ENOENT; -ENOTDIR when parent is no directory. */
int store_lookup(struct store *s, uint64_t parent, const char *name, struct store_attr *ret);
int store_getattr(struct store *s, uint64_t ino, struct store_attr *ret);

/* Follows a path of names from the root, "" is the root itself; symbolic links are not followed. -ENOENT, -ENOTDIR, -ENAMETOOLONG. */
int store_resolve(struct store *s, const char *path, struct store_attr *ret);

/* Writes the path of a linked inode, without a leading slash, into buf. -ENAMETOOLONG; -ENOENT when it is unlinked. */
int store_path(struct store *s, uint64_t ino, char *buf, size_t size);

/*
 * The document that had this name and was unlinked or renamed away: its inode, and its newest version, or 0 when it goes, or went last, by another name.
 * -ENOENT when there was none. A document saved under the name later continues that inode (merge-rules 13).
 */
int store_former(struct store *s, uint64_t parent, const char *name, uint64_t *ret_ino, uint64_t *ret_version);
/* Whether it can be continued. -EUCLEAN: something that it left behind can't be read, and what is saved under the name is a new document. Reads all of it. */
int store_is_whole(struct store *s, uint64_t ino);

#define STORE_SET_MODE 1u
#define STORE_SET_UID 2u
#define STORE_SET_GID 4u
#define STORE_SET_ATIME 8u
#define STORE_SET_MTIME 16u
#define STORE_SET_SIZE 32u	/* scratch only; -EINVAL for documents */
#define STORE_SET_NAMED 64u	/* a document: somebody writes it by the name that it was given (`renamed` is false from now on) */

/* Changes the attributes named in `mask` to those of `to`, and ctime. *ret (may be NULL) is the result. */
int store_setattr(struct store *s, uint64_t ino, const struct store_attr *to, unsigned mask, struct store_attr *ret);

/* A fresh inode number, never used before. It belongs to nothing until store_create or a save uses it. */
int store_new_ino(struct store *s, uint64_t *ret);

/*
 * Makes a directory, symbolic link (target: `link`) or empty scratch file by the type in `mode`.
 * `ino` 0 takes a fresh number. -EEXIST, -ENOENT (no parent), -ENOTDIR, -ENAMETOOLONG, -EPERM for other types.
 */
int store_create(struct store *s, uint64_t parent, const char *name, uint64_t ino, uint32_t mode, uint32_t uid, uint32_t gid,
		 const char *link, struct store_attr *ret);

/* Reads a symbolic link into buf, zero-terminated. -EINVAL when it is none; -ENAMETOOLONG. */
int store_readlink(struct store *s, uint64_t ino, char *buf, size_t size);

/*
 * Removes a name. A document's messages stay in its log (P9). With `keep`, a scratch file stays usable by its inode number until
 * store_forget; otherwise its bytes go too. -ENOENT, -EISDIR (directories), *ret (may be NULL): what was unlinked.
 */
int store_unlink(struct store *s, uint64_t parent, const char *name, bool keep, struct store_attr *ret);
int store_forget(struct store *s, uint64_t ino);

/*
 * For a temp name that several writers use (merge-rules 14): an empty scratch file of number new_ino, with mode and owner of the old one, takes the name
 * from scratch file `ino`, which stays usable by its number until store_forget, or gets a name again by store_relink. -ESTALE:
 * the name leads to another file, or to none.
 */
int store_displace(struct store *s, uint64_t parent, const char *name, uint64_t ino, uint64_t new_ino);
/* As store_rename, of a file that has no name. `flags`: STORE_NOREPLACE. -ENOENT: it has one, or was forgotten. */
int store_relink(struct store *s, uint64_t ino, uint64_t parent, const char *name, unsigned flags, bool keep);

/* -ENOTEMPTY, -ENOTDIR, -ENOENT. */
int store_rmdir(struct store *s, uint64_t parent, const char *name);

#define STORE_NOREPLACE 1u
#define STORE_EXCHANGE 2u

/*
 * Renames as rename(2): what was at the new name is unlinked as by store_unlink(keep). Content is not looked at: a temp
 * file that is to become a document goes through store_save with `from`. -EEXIST, -ENOTEMPTY, -EISDIR, -ENOTDIR, -EINVAL (into itself), -ENOENT.
 */
int store_rename(struct store *s, uint64_t parent, const char *name, uint64_t new_parent, const char *new_name, unsigned flags, bool keep);

/*
 * Calls `entry` for each name of a directory with a cookie above `cookie`, in the order of cookies, until it returns
 * non-zero (which is then returned) or none is left. Cookies stay valid while names come and go; 0 starts; the first is >= 16.
 * With `attr` set entry gets whole attributes, else only ino, kind and name. The callback must not call the store.
 * -EUCLEAN: names in the range can't be read; all others have been told.
 */
int store_readdir(struct store *s, uint64_t ino, uint64_t cookie, bool attr,
		  int (*entry)(void *arg, const struct store_attr *a, uint64_t cookie), void *arg);

/* Scratch bytes. read: up to `size` bytes, fewer at the end; holes are zero. write extends the file. -EINVAL for other kinds; -EFBIG. */
int store_read(struct store *s, uint64_t ino, uint64_t offset, void *buf, size_t size, size_t *ret);
int store_write(struct store *s, uint64_t ino, uint64_t offset, const void *buf, size_t size);
/* As store_write at the end of the file, atomically; *ret_offset: where that was. */
int store_append(struct store *s, uint64_t ino, const void *buf, size_t size, uint64_t *ret_offset);

/* ---- Reading documents --------------------------------------------------------------------------------------- */

/*
 * One version of a document, immutable (P3). Holds an index in memory, not the bytes, and no transaction.
 * version 0: the newest. -ENOENT: no such version, or the file is unlinked; -EINVAL: not a document.
 */
int store_view_open(struct store *s, uint64_t ino, uint64_t version, struct store_view **ret);
struct store_view *store_view_ref(struct store_view *v);
void store_view_unref(struct store_view *v);	/* NULL is fine */

uint64_t store_view_ino(const struct store_view *v);
uint64_t store_view_version(const struct store_view *v);
uint64_t store_view_size(const struct store_view *v);	/* bytes of the whole document */
uint64_t store_view_count(const struct store_view *v);	/* messages */
bool store_view_lines(const struct store_view *v);	/* they are lines */

/* Where message i lies in the document: [*ret_start, *ret_end), separators left out. i < count. */
void store_view_message(const struct store_view *v, uint64_t i, uint64_t *ret_start, uint64_t *ret_end);

/* Copies bytes of the document; *ret is fewer than `size` only at its end. */
int store_view_read(struct store_view *v, uint64_t offset, void *buf, size_t size, size_t *ret);

/* Hands the bytes to `send`, in few pieces, borrowed until it returns; its result is returned. */
int store_view_send(struct store_view *v, uint64_t offset, size_t size, int (*send)(void *arg, struct iovec *pieces, int count), void *arg);

/* How many of `bytes` equal the document's bytes at `offset`, from the first on. */
int store_view_match(struct store_view *v, uint64_t offset, const void *bytes, size_t size, size_t *ret);

/* Who brought message i and when. */
struct store_origin {
	uint64_t version;
	struct timespec time;
	pid_t pid;
	uid_t uid;
};
int store_view_origin(struct store_view *v, uint64_t i, struct store_origin *ret);

/* ---- Saving documents: the one door -------------------------------------------------------------------------- */

#define STORE_BASE_THREAD 1u	/* shown to the very thread that saves */
#define STORE_BASE_WRITTEN 2u	/* the process's own last document, as it wrote it */
#define STORE_BASE_LATER 4u	/* own document, but committed after this save's handle was opened (merge-rules 7) */
#define STORE_BASE_SHOWN 8u	/* shown to the process, or its parent */
#define STORE_BASE_UNLIKELY 16u	/* the evidence rules it out, unless no other explains the document (merge-rules 15) */

/* What a writer had seen: the versions up to `version`, and of the later ones those that it committed itself. */
struct store_base {
	uint64_t ino;		/* the document it was shown; 0: the name was absent and had never been a document */
	uint64_t version;	/* 0: absent */
	uint64_t oldest;	/* not 0: it was any of the versions from this to `version`, which one is to be found out; then without `own` */
	const uint64_t *own;	/* ascending, each above `version`; may be NULL */
	size_t own_count;
	unsigned flags;
	uint64_t order;		/* larger is newer */
};

#define STORE_SAVE_REPLACE 1u	/* as written, whatever was there (merge-rules 8) */
#define STORE_SAVE_KEEP 2u	/* removes nothing: what is not in the document stays (import) */
#define STORE_SAVE_EMPTY 4u	/* the document is empty: the file becomes zero bytes long */
#define STORE_SAVE_RAW 8u	/* when it is no JSON and the name is free or not a document, keep it as it is (import, rename) */
#define STORE_SAVE_APPEND 16u	/* the document is one JSON value: append it as a message, or a line, to what is there (historyctl append) */
#define STORE_SAVE_EDIT 32u	/* merge-rules 15 with -o merge=edit */
#define STORE_SAVE_EVENTS 64u	/* the writer runs an event loop: rule 15's ambiguity can arise */
#define STORE_SAVE_LINEAGE 128u	/* the writer has just renamed the document of that name away: it comes back (merge-rules 13) */
#define STORE_SAVE_LINES 256u	/* the document goes to the end of a file of lines; see below */
#define STORE_SAVE_SOON 512u	/* seen at once, and on disk with what is saved or synced next, in 50 ms at most */
#define STORE_SAVE_QUEUED 1024u	/* store_submit returns at once: for who has more to submit. A thread of the store does the work */
#define STORE_SAVE_MTIME 2048u	/* `mtime` was set on the file: it has that afterwards, unless others' changes were merged in */
#define STORE_SAVE_DURABLE 4096u	/* answered when it is on disk, also with a delay (fsync) */
#define STORE_SAVE_UNSEEN 8192u	/* what its writer had seen is not known any more: no message is removed, and STORE_SAVED_UNCERTAIN says so */

#define STORE_SAVED_MERGED 1u	/* others had committed in between */
#define STORE_SAVED_SAME 2u	/* nothing changed, nothing was committed */
#define STORE_SAVED_UNCERTAIN 4u	/* merge-rules 15: kept both */
#define STORE_SAVED_BLIND 8u	/* no base was known */
#define STORE_SAVED_EDIT (1u << 17)	/* with STORE_SAVED_UNCERTAIN: it was taken for an edit on the evidence; not logged by itself */
#define STORE_SAVED_LOGGED 0xffffu	/* those that the log keeps */
#define STORE_SAVED_DOUBT (1u << 16)	/* another base would have done the same: not logged, but neither is used up */

/*
 * STORE_SAVE_LINES: its bytes are appended as lines, which needs no base and never conflicts. They go on with a last line that has no newline when
 * bases[0] knows it; of what others have left so meanwhile they are parted by a newline. Plain bytes under the name of lines become
 * lines; with an empty document that, and what waits for the disk going there, is all.
 *
 * One save. The document is the first `prefix_size` bytes of `prefix` (may be NULL) followed by `tail`. The caller owns the
 * struct and all it points to, unchanged until `done` is called.
 *
 * Which file: `ino` when that document (or scratch file with a document's name) is linked; else the name `parent`/`name`, which is made
 * if need be, continuing the document that had it before, or with number `ino` when it is not 0.
 */
struct store_save {
	uint64_t ino, parent;
	const char *name;
	struct store_view *prefix;
	uint64_t prefix_size;
	const void *tail;
	size_t tail_size;
	const struct store_base *bases;
	size_t base_count;
	unsigned flags;
	uint32_t mode, uid, gid;	/* of the file, when it is new */
	struct timespec mtime;		/* all zero: now */
	pid_t pid;			/* the writer, for the log */
	uid_t writer_uid;
	/*
	 * The temp file that this was renamed from, or 0: its name goes in the same commit, but with from_version not when another
	 * version of it is the newest by then. A document stays usable by its number until store_forget.
	 */
	uint64_t from_ino, from_version;
	bool from_keep;			/* plain bytes: as store_unlink's `keep` */
	bool from_log;			/* a document: its messages stay in its log, as with store_unlink */

	/*
	 * Saves with the same `writer`, not 0, are merged one after the other: `prepare` (may be NULL) is called when all before
	 * it are done, to set the bases, on the committing thread. Its error is the save's. It must not call the store.
	 */
	uint64_t writer;
	int (*prepare)(struct store_save *save);
	/*
	 * Called once, on any thread that submits, or the store's own; often before store_submit returns. So it must not wait for a lock that a thread may
	 * hold which submits another save, while this one is under way.
	 */
	void (*done)(struct store_save *save);
	void *arg;

	/* Results, set before `done`. */
	int error;			/* 0; -EINVAL not JSON or incomplete; -EFBIG; -ENOENT no parent; -ENAMETOOLONG; ... */
	size_t error_offset;		/* with -EINVAL: where in the document */
	const char *reason;		/* with -EINVAL: why; static */
	unsigned result;		/* STORE_SAVED_* */
	int base;			/* index of the base that was chosen, or -1 */
	bool certain;			/* no other may be meant */
	bool grown;			/* its last message is that of what the process wrote last, and more */
	uint64_t base_version;		/* the version of the document that the base was taken for; 0: of none */
	uint64_t saved_ino, version;	/* the document, and the version it has now */
	uint64_t previous;		/* the version it had before */
	uint64_t copy_ino;		/* not 0: the document came back from another name, which this copy has, of one version */
	uint64_t undo_version;		/* the store's */
	int (*also)(struct store_save *save, struct db_txn *txn);	/* the store's: what else belongs to the transaction */

	struct store_save *next;	/* the store's */
};

/*
 * Queues the save; it is merged and committed with what else is waiting (P1: `done` comes when it is durable as configured). When no
 * other thread is at it, this one takes the queue's saves, and those that come meanwhile, before it returns.
 */
void store_submit(struct store *s, struct store_save *save);

/* The same, and waits; for its own save only. `done` and `arg` are used by it. Returns save->error. */
int store_save(struct store *s, struct store_save *save);

/* ---- The log ------------------------------------------------------------------------------------------------- */

#define STORE_LOG_REMOVED 16u	/* beside STORE_SAVED_*: messages were removed or replaced */
#define STORE_LOG_RESTYLED 32u
#define STORE_LOG_UNLINKED 64u
#define STORE_LOG_UNDO 128u
#define STORE_LOG_KEPT 256u		/* nothing was changed, though the save may have meant to remove what was kept; undo removes it */

struct store_change {
	uint64_t version;
	struct timespec time;
	pid_t pid;
	uid_t uid;
	unsigned flags;
	uint64_t added, removed;
};

/* Calls `change` for each change of a document, newest first, until it returns non-zero. The callback must not call the store. */
int store_log(struct store *s, uint64_t ino, int (*change)(void *arg, const struct store_change *c), void *arg);

/* Takes back what version `version` did (0: the newest merged one): what it added goes, what it removed returns; as a new version. */
int store_undo(struct store *s, uint64_t ino, uint64_t version, uint64_t *ret_version);

/* ---- Import -------------------------------------------------------------------------------------------------- */

struct store_import_counts {
	uint64_t files, documents, messages, bytes, unchanged, torn, salvaged, failed, total_files;
};

struct store_import {
	bool salvage;		/* a torn list becomes a document of its complete messages; the original is kept in the rejected directory */
	bool remember;		/* this is the directory beneath the mount: remember what was taken in, take in only changes, merge them */
	void (*progress)(void *arg, const struct store_import_counts *so_far);	/* may be NULL */
	void (*report)(void *arg, const char *path, int err, const char *reason);	/* a file that is torn or could not be read; may be NULL */
	void *arg;
};

/* Takes the tree under `dirfd` into directory `into`. One bad file does not stop the rest. */
int store_import_tree(struct store *s, int dirfd, uint64_t into, const struct store_import *how, struct store_import_counts *ret);

/* ---- Looking at the store ------------------------------------------------------------------------------------ */

struct store_stats {
	uint64_t files, documents, messages;		/* linked now */
	uint64_t unreadable;				/* records and pages that are damaged; what is on them is not counted */
	uint64_t commits, saves, merged, same, blind, uncertain, edits, refused, reopened;	/* since open */
	uint64_t groups[8];				/* transactions that carried 1, 2, 3-4, 5-8, 9-16, 17-32, 33-64, more saves */
	uint64_t cache_bytes, cache_limit, cache_views, cache_hits, cache_misses;
	uint64_t pending_bytes;				/* that other processes don't see yet */
	uint64_t used_bytes, file_bytes, map_bytes;	/* pages in use, size of the file, largest size */
	uint32_t format;
	bool read_only;
};
/* With `count` set the linked files are counted, which takes time in proportion to them; otherwise files, documents and messages are 0. */
int store_stats(struct store *s, bool count, struct store_stats *ret);

/* The next inode number above `after` of which anything can be read, whether it has a name or not; damage is passed over. -ENOENT: there is none. */
int store_next_ino(struct store *s, uint64_t after, uint64_t *ret);

/* Tells of the pages of the store that are damaged, as store_verify does among the rest. *ret_problems: how many. */
int store_survey(struct store *s, void (*problem)(void *arg, const char *text), void *arg, uint64_t *ret_problems);

/* Checks every invariant of the format, also of a store in use. `problem` gets a sentence for each violation, and must not call the store; *ret_problems: their number. */
int store_verify(struct store *s, void (*problem)(void *arg, const char *text), void (*progress)(void *arg, uint64_t done, uint64_t total),
		 void *arg, uint64_t *ret_problems);

/* The directory it was opened with, as an absolute path. Owned by the store. */
const char *store_directory(const struct store *s);

#endif
