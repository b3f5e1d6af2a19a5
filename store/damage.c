/* What was not whole when the store was opened, in words, and what has to be seen to then. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inside.h"
#include "tree.h"

static int raise_next(struct db_txn *txn, void *arg)
{
	struct key key = key_plain(0, REC_NEXT);
	uint64_t next = *(uint64_t *)arg + 1, now;
	int err = record_get(txn, &key, &now, sizeof(now), NULL);

	if (err && err != -ENOENT)
		return err;
	return !err && now >= next ? 0 : record_put(txn, &key, &next, sizeof(next));
}

/* The files that missing entries concern. */
static void add_names(struct store *s, const struct journal_report *r, FILE *out)
{
	char path[4096];
	unsigned count = 0, nameless = 0;

	for (size_t i = 0; i < r->count; i++) {
		if (r->objects[i] > INT64_MAX)
			continue;
		if (store_path(s, r->objects[i], path, sizeof(path))) {
			nameless++;
			continue;
		}
		if (!*path)
			continue;
		fprintf(out, "%s%s", count++ ? ", " : "; it concerns ", path);
	}
	if (nameless)
		fprintf(out, "%s%u files that were removed, or whose names are among what is missing", count ? " and " : "; it concerns ", nameless);
	if ((count || nameless) && (r->more || r->unknown))
		fprintf(out, ", and others");
}

static void tell_missing(const struct journal_report *r, FILE *out)
{
	fprintf(out, "of what was saved, %llu of its entries (number", (unsigned long long)r->missing);
	for (size_t i = 0; i < r->gap_count; i++) {
		fprintf(out, "%s %llu", i ? "," : "", (unsigned long long)r->gaps[i].first);
		if (r->gaps[i].last != r->gaps[i].first)
			fprintf(out, " to %llu", (unsigned long long)r->gaps[i].last);
	}
	fprintf(out, ") can't be read%s; ", r->unknown ? ", and of which files some of them were is not known" : "");
}

static void tell(struct store *s, const struct journal_report *r, FILE *out)
{
	fprintf(out, "the journal is damaged: ");
	if (r->absent)
		fprintf(out, "it is gone, and what was saved last with it; ");
	if (r->unplaced)
		fprintf(out, "which of its entries count can't be read in data.mdb, so what was saved in the last second before a crash may be missing; ");
	if (r->cut)
		fprintf(out, "the file was cut short; ");
	if (r->missing)
		tell_missing(r, out);
	if (r->left_out)
		fprintf(out, "%llu later ones that go on from them, or may, were left out; ", (unsigned long long)r->left_out);
	if (r->mended)
		fprintf(out, "in %llu entries one byte was wrong, and has been put right; ", (unsigned long long)r->mended);
	if (r->torn)
		fprintf(out, "its last entry is not whole: cut short when the machine stopped, and then no save had been answered, or damaged since; ");
	fprintf(out, "all else in it counts");
	fprintf(out, s->read_only ? "" : "; what there was is kept in %s/journal.damaged-*", s->directory);
	add_names(s, r, out);
}

int store_look_for_damage(struct store *s)
{
	const struct journal_report *r = db_journal_report(s->db);
	uint64_t highest = r->highest;
	size_t size;
	FILE *out;
	int err = 0;

	if (journal_is_whole(r))
		return 0;
	/* The missing entry may have been the one that gave the numbers. */
	if (!s->read_only && highest >= 16)
		err = db_update(s->db, raise_next, &highest);
	out = err ? NULL : open_memstream(&s->damage, &size);
	if (!out)
		return err ? err : -ENOMEM;
	tell(s, r, out);
	return fclose(out) ? -ENOMEM : 0;
}

const char *store_damage(const struct store *s)
{
	return s->damage;
}

int store_next_ino(struct store *s, uint64_t after, uint64_t *ret)
{
	struct key from = key_plain(after + 1, 0);
	struct db_value key, value;
	struct db_scan scan;
	struct db_txn *txn;
	int err = db_read_begin(s->db, &txn);

	if (err)
		return err;
	err = db_scan_begin(&scan, txn, from.data, 8, 0);
	if (!err) {
		scan.past_damage = true;
		do {
			err = db_scan_next(&scan, &key, &value);
		} while (!err && key.size < KEY_PREFIX);
		if (!err)
			*ret = key_u64(key.data, 0);
		db_scan_end(&scan);
	}
	db_read_end(txn);
	return err;
}

struct survey {
	void (*problem)(void *arg, const char *text);
	void *arg;
	uint64_t count;
};

static void count_problem(void *arg, const char *text)
{
	struct survey *survey = arg;

	survey->count++;
	survey->problem(survey->arg, text);
}

int store_survey(struct store *s, void (*problem)(void *arg, const char *text), void *arg, uint64_t *ret_problems)
{
	struct survey survey = { problem, arg, 0 };
	struct db_txn *txn;
	int err = db_read_begin(s->db, &txn);

	if (err)
		return err;
	err = db_survey(txn, count_problem, &survey);
	db_read_end(txn);
	if (!err)
		*ret_problems = survey.count;
	return err;
}
