/* The store's own struct, for the files that make up its public face. */
#ifndef STORE_INSIDE_H
#define STORE_INSIDE_H

#include <pthread.h>

#include "cache.h"
#include "commit.h"
#include "db.h"
#include "record.h"
#include "store.h"

struct store {
	char *directory;
	char *damage;		/* what store_damage says */
	bool read_only;
	uint64_t max_document;
	unsigned delay_ms;
	struct db *db;
	struct cache *cache;
	struct commit *commit;
	struct gather *gather;

	pthread_mutex_t lock;
	uint64_t ino_next, ino_end;	/* lock; inode numbers reserved for this process */
};

/* damage.c: sets `damage`. -ENOMEM, and as db_update. */
int store_look_for_damage(struct store *s);

/* read.c: the buffers that reads share. -ENOMEM. */
int gather_new(struct gather **ret);
void gather_free(struct gather *g);

/* files.c: the name under which an unlinked document can be found as a former one. -ENOENT when another has taken its place. */
int store_former_place(struct store *s, uint64_t ino, uint64_t *ret_parent, char name[STORE_NAME_MAX + 1]);

#endif
