/* The mount: what all requests share. */
#ifndef FS_MOUNT_H
#define FS_MOUNT_H

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>
#include <stdatomic.h>
#include <time.h>

#include "aside.h"
#include "epoch.h"
#include "gone.h"
#include "inode.h"
#include "looked.h"
#include "loop.h"
#include "process.h"
#include "store.h"
#include "renamed.h"
#include "shown.h"
#include "temp.h"
#include "ticket.h"

struct options {
	char *store, *mountpoint;
	int foreground, import, read_only, allow_other, power_save;
	enum { MERGE_AUTO, MERGE_KEEP, MERGE_EDIT } merge;
	unsigned delay_ms, ticket_ttl;
	uint64_t cache, max_document, memory, rejected;
};

struct rejects;

struct mount {
	struct options options;
	struct store *store;
	struct processes *processes;
	struct tickets *tickets;
	struct inodes *inodes;
	struct temps *temps;
	struct shown *shown;
	struct renamed *renamed;
	struct asides *asides;
	struct looked *looked;
	struct gone *gone;
	struct epoch *epoch;
	struct loop *loop;
	struct rejects *rejects;
	struct process self;
	struct timespec started;
	uid_t owner;
	gid_t owner_group;
	unsigned device;	/* minor number of the mount's; 0: unknown */
	atomic_ullong rejected;
	atomic_ullong damaged;	/* calls that got EIO because the store is damaged */
	atomic_uint unsettled;	/* handles that wait for their release */
	atomic_ullong listed;	/* when a name was last listed that the kernel believes for a moment, nanoseconds; 0: never */
	atomic_ullong listed_ino;	/* the highest inode of these: temp files that were made since have higher ones */
	void (*ready)(struct mount *m);	/* called once, when the kernel has begun to talk */
	int ready_fd;
};

static inline struct mount *mount_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* Who sent the request. */
static inline struct process caller(fuse_req_t req)
{
	return processes_identify(mount_of(req)->processes, fuse_req_ctx(req)->pid);
}

#endif
