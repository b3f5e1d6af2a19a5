#include "respell.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "diff.h"
#include "meaning.h"

struct respell {
	struct db_txn *txn;
	struct job *job;
	const struct store_view *view;
	struct store_view *current;
	struct merge_diff *diff;
	uint64_t *base, *written;	/* keys of the rest: of what is matched already its place, else its meaning */
};

static int record_meaning(const struct rec_message *rec, struct db_value bytes, uint64_t *ret)
{
	return meaning_hash((const char *)bytes.data + rec->lead_size, bytes.size - rec->lead_size, ret);
}

/* Messages of the base that have been removed since. */
static int dead_keys(struct respell *r, uint64_t version)
{
	struct key from = key_dead(r->view->ino, version + 1, 0);
	struct db_value key, value, bytes;
	struct rec_message rec;
	struct db_scan scan;
	int err = db_scan_begin(&scan, r->txn, from.data, from.size, KEY_PREFIX);

	if (err)
		return err;
	while (!(err = db_scan_next(&scan, &key, &value))) {
		bool found;
		uint64_t i;

		err = message_parse(value, &rec, &bytes);
		if (err)
			break;
		i = view_find(r->view, key_u64(key.data, 17), rec.born, &found);
		if (!found || i < r->diff->common || view_get(r->view, i)->edition != rec.edition ||
		    r->diff->match[i - r->diff->common] != DIFF_NONE)
			continue;
		err = record_meaning(&rec, bytes, &r->base[i - r->diff->common]);
		if (err)
			break;
	}
	db_scan_end(&scan);
	return err == -ENOENT ? 0 : err;
}

static int base_keys(struct respell *r, uint64_t version)
{
	const struct merge_diff *d = r->diff;
	struct rec_message rec;
	struct db_value bytes;
	bool dead = false;
	int err = 0;

	for (size_t i = 0; !err && i < d->base_rest; i++) {
		const struct view_item *item = view_get(r->view, d->common + i);
		bool alive;
		uint64_t at;

		r->base[i] = d->match[i] != DIFF_NONE ? i : UINT64_MAX - i;
		if (d->match[i] != DIFF_NONE || !item->born)	/* of another document: never the same message */
			continue;
		at = view_find(r->current, item->pos, item->born, &alive);
		dead = dead || !alive;
		if (alive)
			err = view_record(r->txn, r->current, view_get(r->current, at), &rec, &bytes);
		if (alive && !err)
			err = record_meaning(&rec, bytes, &r->base[i]);
	}
	return !err && dead ? dead_keys(r, version) : err;
}

static int written_keys(struct respell *r)
{
	const struct merge_diff *d = r->diff;
	int err = 0;

	for (size_t i = 0; !err && i < d->written_rest; i++) {
		struct db_value lead, body;

		if (d->back[i] != DIFF_NONE) {
			r->written[i] = d->back[i];
			continue;
		}
		err = job_message(r->txn, r->job, d->common + i, &lead, &body);
		if (!err)
			err = meaning_hash(body.data, body.size, &r->written[i]);
	}
	return err;
}

int respell_diff(struct db_txn *txn, struct job *job, const struct store_base *base, const struct store_view *view,
		 struct store_view *current, struct merge_diff *ret)
{
	struct merge_diff d = { 0 };
	struct respell r = { .txn = txn, .job = job, .view = view, .current = current, .diff = &d };
	int err = merge_diff(&job->written, view, &d);

	/* A line means its bytes. */
	if (!err && d.gone && d.added && !job->lines && view->frame->kind != DOC_LINES) {
		r.base = malloc(d.base_rest * sizeof(*r.base));
		r.written = malloc(d.written_rest * sizeof(*r.written));
		err = r.base && r.written ? base_keys(&r, base->version) : -ENOMEM;
		if (!err)
			err = written_keys(&r);
		if (!err)
			err = merge_match(&d, r.base, r.written);
		free(r.base);
		free(r.written);
	}
	if (err)
		merge_diff_release(&d);
	else
		*ret = d;
	return err;
}
