/*
 * Checks every invariant of the format in one walk over all keys.
 *
 * The store may be in use: a read transaction is kept for a few thousand records only. What one record says of another is
 * looked up in the same transaction. What is summed up over a file's records holds if the file is still the same when the
 * sum is done; else that file is begun again, and the third time read in one transaction.
 */
#include "verify.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inside.h"

#define BATCH_RECORDS 4096
#define BATCH_BYTES (8u << 20)

static void forget_problems(struct subject *s)
{
	for (size_t i = 0; i < s->problem_count && i < TOLD; i++)
		free(s->problems[i]);
	s->problem_count = 0;
}

/* ---- Walking -------------------------------------------------------------------------------------------------- */

/* Reads what the checks of a file's records compare with. */
static void look(struct verify *v, uint64_t ino, struct subject *ret)
{
	struct key head = key_plain(ino, REC_HEAD), next = key_plain(0, REC_NEXT);

	ret->has_attr = ino && !attr_get(v->txn, ino, &ret->attr, ret->name);
	ret->has_head = ino && !record_get(v->txn, &head, &ret->head, sizeof(ret->head), NULL);
	if (record_get(v->txn, &next, &v->next_ino, sizeof(v->next_ino), NULL))
		v->next_ino = 16;
}

static void begin_subject(struct verify *v, uint64_t ino, int attempts)
{
	forget_problems(&v->at);
	frame_unref(v->at.frame);
	v->at = (struct subject){ .ino = ino, .attempts = attempts };
	v->begun = true;
	look(v, ino, &v->at);
}

static void end_subject(struct verify *v)
{
	struct subject *s = &v->at;
	char more[64];

	if (!v->begun)
		return;
	verify_sums(v);
	for (size_t i = 0; i < s->problem_count && i < TOLD; i++)
		v->problem(v->arg, s->problems[i] ? s->problems[i] : "a problem that memory does not suffice to tell");
	if (s->problem_count > TOLD) {
		snprintf(more, sizeof(more), "and %zu more problems of this file", s->problem_count - TOLD);
		v->problem(v->arg, more);
	}
	v->problems += s->problem_count;
	begin_subject(v, 0, 0);
	v->begun = false;
}

/* Whether the file is as it was when its first record was read. Entries of directories are checked one by one. */
static bool still_same(struct verify *v)
{
	struct subject now = { 0 };

	look(v, v->at.ino, &now);
	if (v->at.has_attr && v->at.attr.kind == STORE_DIRECTORY)
		return true;
	return now.has_attr == v->at.has_attr && now.has_head == v->at.has_head && !memcmp(&now.attr, &v->at.attr, sizeof(now.attr)) &&
	       !memcmp(&now.head, &v->at.head, sizeof(now.head)) && !strcmp(now.name, v->at.name);
}

/* Reads on within one transaction. -ENOENT when no key is left. */
static int walk_some(struct verify *v, struct db_scan *scan)
{
	struct db_value key, value;
	size_t records = 0, bytes = 0;
	int err;

	while (!(err = db_scan_next(scan, &key, &value)) || err == -EUCLEAN) {
		bool damaged = err;
		uint64_t ino;

		/* Of pages the survey has told. */
		if (damaged && !key.size)
			continue;
		ino = key.size >= KEY_PREFIX ? key_u64(key.data, 0) : 0;
		if (!v->begun || ino != v->at.ino) {
			end_subject(v);
			begin_subject(v, ino, 0);
		}
		memcpy(v->last, key.data, key.size);
		v->last[key.size] = 0;
		v->last_size = key.size + 1;
		v->done++;
		if (damaged)
			verify_tell(v, "a record of type '%c' is damaged", key.size >= KEY_PREFIX && isalpha(((const char *)key.data)[8]) ? ((const char *)key.data)[8] : '?');
		else if (key.size < KEY_PREFIX)
			verify_tell(v, "a key of %zu bytes", key.size);
		else
			verify_record(v, key, value);
		bytes += damaged ? 0 : value.size;
		if ((++records >= BATCH_RECORDS || bytes >= BATCH_BYTES) && v->at.attempts < 2)
			break;
	}
	if (err == -ENOENT)
		end_subject(v);
	return err == -EUCLEAN ? 0 : err;
}

static int walk(struct verify *v)
{
	struct db_scan scan;
	int err = db_read_begin(v->store->db, &v->txn);

	if (err)
		return err;
	if (v->begun && !still_same(v)) {
		struct key start = key_plain(v->at.ino, 0);

		memcpy(v->last, start.data, 8);
		v->last_size = 8;
		begin_subject(v, v->at.ino, v->at.attempts + 1);
	}
	err = db_scan_begin(&scan, v->txn, v->last, v->last_size, 0);
	if (!err) {
		err = walk_some(v, &scan);
		db_scan_end(&scan);
	}
	db_read_end(v->txn);
	return err;
}

int store_verify(struct store *s, void (*problem)(void *arg, const char *text), void (*progress)(void *arg, uint64_t done, uint64_t total),
		 void *arg, uint64_t *ret_problems)
{
	struct verify v = { .store = s, .problem = problem, .progress = progress, .arg = arg };
	struct store_attr attr;
	struct db_stats stats;
	int err;

	err = store_survey(s, problem, arg, &v.problems);
	if (err)
		return err;
	/* Who writes has seen to it. */
	if (s->damage && s->read_only) {
		problem(arg, s->damage);
		v.problems++;
	}
	do {
		err = walk(&v);
		if (progress) {
			db_stats(s->db, &stats);
			progress(arg, v.done, stats.records > v.done ? stats.records : v.done);
		}
	} while (!err);
	if (err == -EUCLEAN || err == -EIO) {
		problem(arg, "the store: the tree of records is damaged; not all of them could be read");
		v.problems++;
		err = -ENOENT;
	}
	forget_problems(&v.at);
	frame_unref(v.at.frame);
	if (err != -ENOENT)
		return err;
	for (uint64_t ino = STORE_ROOT; ino <= STORE_REJECTED; ino++) {
		if (store_getattr(s, ino, &attr) != -ENOENT)
			continue;
		problem(arg, ino == STORE_ROOT ? "the root directory: it does not exist" : "the rejected directory: it does not exist");
		v.problems++;
	}
	*ret_problems = v.problems;
	return 0;
}
