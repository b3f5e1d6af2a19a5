/*
 * Group commit. Saves wait in a queue; one thread takes all that are there into one transaction, merges each inside it, commits once and
 * then answers them. That thread is one of those that have submitted them: it goes on until the queue is empty, or, when it waits for its own save, until
 * that is answered; then the keeper goes on.
 *
 *	store_submit -> [queue] -> group -> durable -> done()
 *	                              \-> failed: each alone -> done()
 *
 * With a delay configured (but STORE_SAVE_DURABLE), or asked for by the save (STORE_SAVE_SOON), it is an update of the memory, made in the caller's thread.
 *
 * The keeper, a thread of its own, takes the saves that are only queued, makes durable what updates left in memory, and takes what is
 * durable to the tree, where other processes see it.
 */
#ifndef STORE_COMMIT_H
#define STORE_COMMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store;
struct store_save;
struct commit;

struct commit_stats {
	uint64_t commits, saves, merged, same, blind, uncertain, edits, refused;
	uint64_t groups[8];
};

int commit_new(struct store *s, struct commit **ret);
/* Takes the rest to disk and ends the thread. NULL is fine. */
void commit_free(struct commit *c);

void commit_submit(struct commit *c, struct store_save *save);

/* Memory has something for the disk: see to it within the delay, or at once. */
void commit_pending(struct commit *c, bool urgent);

/* Makes what was done before durable. 0, or why it is not. */
int commit_sync(struct commit *c);
/* Takes it to the tree. */
int commit_drain(struct commit *c);

void commit_stats(struct commit *c, struct commit_stats *ret);

#endif
