/* What each record must be like, and what a file's records must add up to. Private to verify.c. */
#ifndef STORE_VERIFY_H
#define STORE_VERIFY_H

#include "record.h"
#include "view.h"

#define TOLD 20		/* problems told of one file; the others are counted */

/* What is known of the file whose records are being read. */
struct subject {
	uint64_t ino;
	bool has_attr, has_head;
	struct rec_attr attr;
	struct rec_head head;
	char name[STORE_NAME_MAX + 1];
	struct view_frame *frame;
	uint64_t count, bytes, bare, first_lead;	/* of live messages */
	char *problems[TOLD];
	size_t problem_count;
	int attempts;
};

struct verify {
	struct store *store;
	void (*problem)(void *arg, const char *text);
	void (*progress)(void *arg, uint64_t done, uint64_t total);
	void *arg;
	uint64_t problems, done, next_ino;
	struct db_txn *txn;
	bool lines;			/* the superblock's flag, as the transaction has it */
	struct subject at;
	bool begun;
	unsigned char last[512];	/* the last key that was read, and a zero byte */
	size_t last_size;
};

/* Notes a problem of the file that is being read. */
void verify_tell(struct verify *v, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Checks one record, whose key has at least KEY_PREFIX bytes, and counts it towards the file's sums. */
void verify_record(struct verify *v, struct db_value key, struct db_value value);

/* When all records of a file have been read. */
void verify_sums(struct verify *v);

#endif
