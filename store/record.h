/*
 * Keys and values of the format (FORMAT.md describes every byte). All integers in values are little-endian, in keys
 * big-endian, so that keys sort by number.
 *
 * A key is the inode's number (8 bytes), a type (1 byte) and what the type adds. Messages ('M') and the head ('N') are
 * neighbours on purpose: an append changes the end of the one and the other, which is one leaf of the tree.
 */
#ifndef STORE_RECORD_H
#define STORE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "db.h"
#include "store.h"

#define FORMAT_VERSION 3u
#define FORMAT_CHECKED 1u	/* a flag of the superblock: every record has a check */
#define FORMAT_JOURNAL 2u	/* the first with a journal */

enum record_type {
	REC_ATTR = 'A',		/* attributes */
	REC_CHUNK = 'C',	/* + number (4): scratch bytes, or the target of a symbolic link */
	REC_DEAD = 'D',		/* + version that removed it (8), position (8): a message */
	REC_ENTRY = 'E',	/* + hash (8), name: a directory entry */
	REC_FRAME = 'F',	/* what stands around the messages */
	REC_GONE = 'G',		/* + version that replaced it (8): a frame */
	REC_IMPORT = 'I',	/* + hash (8), name: what was taken in from beneath the mount under this name */
	REC_JOURNAL = 'J',	/* inode 0: the tree's place in the journal */
	REC_MESSAGE = 'M',	/* + position (8) */
	REC_HEAD = 'N',		/* the newest version of a document */
	REC_ORPHAN = 'O',	/* inode 0; + inode (8): unlinked while open */
	REC_SUPER = 'S',	/* inode 0: the superblock */
	REC_TOMB = 'T',		/* + hash (8), name: the document that had this name */
	REC_CHANGE = 'V',	/* + version (8): log of what was more than an append */
	REC_NEXT = 'X',		/* inode 0: the next free inode number */
};

#define KEY_MAX (8 + 1 + 8 + STORE_NAME_MAX)

struct key {
	unsigned char data[KEY_MAX];
	size_t size;
};

/* Keys by type; `record_prefix` is the length that all keys of one inode and type share. */
#define KEY_PREFIX 9
struct key key_plain(uint64_t ino, enum record_type type);
struct key key_number(uint64_t ino, enum record_type type, uint64_t number);
struct key key_chunk(uint64_t ino, uint32_t number);
struct key key_dead(uint64_t ino, uint64_t died, uint64_t pos);
struct key key_name(uint64_t parent, enum record_type type, const char *name, size_t size);
struct key key_cookie(uint64_t parent, uint64_t cookie);

/* The big-endian number that begins at byte `at` of a key. */
uint64_t key_u64(const void *key, size_t at);
uint64_t name_hash(const char *name, size_t size);	/* 16 and above: a readdir cookie */

struct rec_super {
	char magic[16];
	uint32_t format;
	uint32_t flags;			/* FORMAT_CHECKED, or 0 in a store of an older version */
	int64_t created;
} __attribute__((packed));

#define ATTR_RENAMED 1u	/* not saved, nor opened to be written, by its present name since it was given that */

struct rec_attr {
	uint8_t kind;
	uint8_t flags;
	uint8_t unused[2];
	uint32_t mode, uid, gid;
	uint64_t parent;
	uint64_t size;			/* scratch; of an unlinked document: the directory it was in */
	int64_t atime, mtime, ctime;	/* nanoseconds since 1970 */
	uint64_t mtime_version;		/* documents: mtime counts while the head has this version */
	/* name follows */
} __attribute__((packed));

struct rec_head {
	uint64_t version;
	uint64_t size, count;
	uint64_t next_pos;
	uint64_t reshaped;	/* the last version that was more than an append */
	int64_t mtime;
	uint8_t kind;		/* enum doc_kind */
	uint8_t unlinked;	/* this version is "absent": what stands in messages died with it */
	uint8_t unused[6];
	uint64_t creator;	/* hash of the process that wrote all versions so far; 0: several did */
} __attribute__((packed));

struct rec_frame {
	uint64_t edition;	/* version that brought these bytes */
	uint32_t head_size, sep_size;
	uint8_t kind;
	uint8_t unused[7];
	/* head, separator, tail follow */
} __attribute__((packed));

#define MESSAGE_RESTYLED 1u	/* dead: only these bytes were replaced, the message lives on */

struct rec_message {
	uint64_t born;		/* version that brought the message */
	uint64_t edition;	/* version that brought these bytes: another after a restyle */
	uint64_t hash;		/* json_hash of the body */
	int64_t time;
	uint32_t pid, uid;
	uint32_t lead_size;	/* separator in front of it; none: it came first */
	uint32_t flags;
	/* lead, body follow */
} __attribute__((packed));

struct rec_change {
	int64_t time;
	uint32_t pid, uid;
	uint32_t flags;		/* STORE_SAVED_*, STORE_LOG_* */
	uint32_t unused;
	uint64_t added, removed;
} __attribute__((packed));

/* After the log entry of a version that changed nothing (STORE_LOG_KEPT): a message that it may have meant to remove. */
struct rec_kept {
	uint64_t pos, born;
} __attribute__((packed));

struct rec_entry {
	uint64_t ino;
	uint8_t kind;		/* enum store_kind when it was made; a scratch file may have become a document since */
} __attribute__((packed));

struct rec_import {
	uint64_t source;	/* the directory beneath that it came from */
	uint64_t size;
	int64_t mtime;
	uint64_t ino;		/* what it became; of a directory: what its own records stand under */
	uint64_t version;	/* documents: all up to it is in the file; 0: that is not known */
	/* later versions that came from the file follow (8 each) */
} __attribute__((packed));

/* 4095 pages' worth less than a page: a value of this size fills whole pages of 4 KiB exactly. */
#define CHUNK_SIZE (8 * 4096 - 16)

/* What a record belongs to; see journal.h. Of inodes the number, of names a hash with the highest bit set. */
int record_objects(const struct entry_record *record, struct journal_object ret[2]);

/* Reads a record of fixed size into *ret, or the fixed part of one that is longer. -ENOENT; -EUCLEAN when it is too short. */
int record_get(struct db_txn *txn, const struct key *key, void *ret, size_t size, struct db_value *ret_rest);
int record_put(struct db_txn *txn, const struct key *key, const void *value, size_t size);
int record_del(struct db_txn *txn, const struct key *key);

int attr_get(struct db_txn *txn, uint64_t ino, struct rec_attr *ret, char name[STORE_NAME_MAX + 1]);
int attr_put(struct db_txn *txn, uint64_t ino, const struct rec_attr *attr, const char *name);

/* The attributes as the public face shows them. */
int attr_load(struct db_txn *txn, uint64_t ino, struct store_attr *ret);

/* -ENOENT when there is no such name. `type`: REC_ENTRY or REC_TOMB. */
int entry_get(struct db_txn *txn, uint64_t parent, enum record_type type, const char *name, struct rec_entry *ret);
int entry_put(struct db_txn *txn, uint64_t parent, enum record_type type, const char *name, uint64_t ino, enum store_kind kind);
int entry_del(struct db_txn *txn, uint64_t parent, enum record_type type, const char *name);

int64_t time_now(void);
int64_t time_pack(struct timespec t);
struct timespec time_unpack(int64_t t);

#endif
