/*
 * What the journal holds after a crash. Whole entries are looked for at every sector, so that one that is damaged does not hide those behind it:
 *
 *   torn     it is not whole and nothing whole follows: cut short by the crash, or damaged; which of the two can't be told
 *   missing  it is not whole and a whole one with a higher number follows, or it is known to have been written
 *   mended   one bit or byte was wrong: the one change under which the sum fits has been made
 *   left out whole, but it goes on from what a missing one, or one left out, has changed
 *
 * What missing entries changed is told by the one behind them, of a few: what one damaged page may hide. All others count.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "journal_entry.h"

#define MEND_BYTE 1024u	/* bytes: in entries up to this size any byte is tried, */

struct found {
	uint64_t number;
	const char *entry;
	struct head head;
};

struct replay {
	struct journal *j;
	const struct journal_place *place;
	struct mem *to;
	struct journal_report *report;
	char *bytes;			/* both halves */
	struct buf found;		/* struct found, by number */
	struct buf stopped;		/* objects (8 each) whose records no later entry may change */
	bool all_stopped;		/* which they are is not known */
};

static bool is_ours(const struct replay *r, uint64_t mark)
{
	return r->place->mark && mark - r->place->mark <= 1;
}

static struct head head_at(const char *at)
{
	struct head h;

	memcpy(&h, at, sizeof(h));
	return (struct head){ le64toh(h.sum), le64toh(h.number), le64toh(h.mark), le32toh(h.size), le32toh(h.before) };
}

/* Whether a whole entry begins here; `room` is what is left of the half. */
static bool entry_at(const char *at, size_t room, struct head *ret)
{
	struct head h;

	if (room < sizeof(h))
		return false;
	h = head_at(at);
	if (h.size < sizeof(h) || h.size > room || sum_of(at + 8, h.size - 8) != h.sum || (h.before && (h.before - 1) * 8ull > h.size - sizeof(h)))
		return false;
	*ret = h;
	return true;
}

/* ---- Finding -------------------------------------------------------------------------------------------------- */

static int read_halves(struct replay *r)
{
	r->bytes = calloc(1, 2 * JOURNAL_HALF);
	if (!r->bytes)
		return -ENOMEM;
	for (size_t at = 0; at < 2 * JOURNAL_HALF;) {
		ssize_t n = pread(r->j->fd, r->bytes + at, 2 * JOURNAL_HALF - at, at);

		if (n < 0)
			return -errno;
		if (!n) {
			r->report->cut = true;
			break;
		}
		at += n;
	}
	return 0;
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = ((const struct found *)a)->number, y = ((const struct found *)b)->number;

	return x < y ? -1 : x > y;
}

static int find(struct replay *r)
{
	int err = 0;

	for (int half = 0; half < 2; half++) {
		const char *bytes = r->bytes + half * JOURNAL_HALF;

		for (size_t at = 0; !err && at < JOURNAL_HALF;) {
			struct found f = { .entry = bytes + at };

			if (!entry_at(f.entry, JOURNAL_HALF - at, &f.head)) {
				at += SECTOR;
				continue;
			}
			f.number = f.head.number;
			if (is_ours(r, f.head.mark) && f.number > r->place->taken)
				err = buf_add(&r->found, &f, sizeof(f));
			at += whole_sectors(f.head.size);
		}
	}
	if (r->found.size)
		qsort(r->found.data, r->found.size / sizeof(struct found), sizeof(struct found), by_number);
	return err;
}

/* The tree is older than this journal: a copy, put in the place of the one that it belongs to. */
static bool is_of_another(const struct replay *r)
{
	struct head h;

	for (int half = 0; half < 2; half++) {
		if (entry_at(r->bytes + half * JOURNAL_HALF, JOURNAL_HALF, &h) && h.mark - r->place->mark > 1 && h.mark - r->place->mark < UINT32_MAX)
			return true;
	}
	return false;
}

/* ---- Mending -------------------------------------------------------------------------------------------------- */

static bool one_byte(uint64_t difference)
{
	while (difference && !(difference & 0xff))
		difference >>= 8;
	return difference < 256;
}

/* Tries each other value of a byte, or each other bit, with the sum of what stands before its word. */
static bool mend_byte(char *entry, size_t at, uint64_t before, const struct head *h)
{
	size_t word = at - at % 8;
	char was = entry[at];

	for (unsigned change = 1; change < 256; change++) {
		if (h->size > MEND_BYTE && (change & (change - 1)))
			continue;
		entry[at] = (char)(was ^ change);
		if (sum_on(before, entry + word, h->size - word) == h->sum)
			return true;
	}
	entry[at] = was;
	return false;
}

/* What has one wrong byte in it, which may be of its head. */
static bool mend(const struct replay *r, char *entry, size_t room, uint64_t number)
{
	struct head h = head_at(entry), good;
	uint64_t sum = SUM_BEGIN;
	char *size = entry + 24;

	for (unsigned i = 0; i < 4 * 255; i++) {
		size[i / 255] ^= (char)(i % 255 + 1);
		if (head_at(entry).size <= MEND_BIT && entry_at(entry, room, &good) && good.number == number && is_ours(r, good.mark))
			return true;
		size[i / 255] ^= (char)(i % 255 + 1);
	}
	if (h.size < sizeof(h) || h.size > room || h.size > MEND_BIT)
		return false;
	if (h.number == number && is_ours(r, h.mark) && one_byte(h.sum ^ sum_of(entry + 8, h.size - 8))) {
		h.sum = htole64(sum_of(entry + 8, h.size - 8));
		memcpy(entry, &h.sum, 8);
		return true;
	}
	for (size_t at = 8; at < h.size; at++) {
		if (at % 8 == 0 && at > 8)
			sum = sum_on(sum, entry + at - 8, 8);
		if (mend_byte(entry, at, sum, &h))
			return entry_at(entry, room, &good) && good.number == number && is_ours(r, good.mark);
	}
	return false;
}

/* Where entry `number` must begin: behind the one before it, or at the beginning of a half. NULL: there are no more places. */
static char *place_of(const struct replay *r, uint64_t number, const struct found *before, int i)
{
	struct head h;
	size_t at;

	if (i < 2)
		return entry_at(r->bytes + i * JOURNAL_HALF, JOURNAL_HALF, &h) ? NULL : r->bytes + i * JOURNAL_HALF;
	if (!before || before->number + 1 != number)
		return NULL;
	at = before->entry - r->bytes + whole_sectors(before->head.size);
	return at % JOURNAL_HALF ? r->bytes + at : NULL;
}

static size_t room_at(const struct replay *r, const char *at)
{
	return JOURNAL_HALF - (size_t)(at - r->bytes) % JOURNAL_HALF;
}

/* Whether what begins here was to be entry `number`: what was left from before has neither the number nor the mark. */
static bool is_remnant(const struct replay *r, const char *at, uint64_t number)
{
	struct head h = head_at(at);

	return is_ours(r, h.mark) || (r->place->mark && h.number == number && (one_byte(h.mark ^ r->place->mark) || one_byte(h.mark ^ (r->place->mark + 1))));
}

static bool mend_number(struct replay *r, uint64_t number, const struct found *before, struct found *ret)
{
	for (int i = 0; i < 3; i++) {
		char *at = place_of(r, number, before, i);

		if (at && is_remnant(r, at, number) && mend(r, at, room_at(r, at), number)) {
			*ret = (struct found){ number, at, head_at(at) };
			r->report->mended++;
			return true;
		}
	}
	return false;
}

/* ---- Applying ------------------------------------------------------------------------------------------------- */

static bool is_stopped(const struct replay *r, uint64_t id)
{
	for (size_t i = 0; i < r->stopped.size; i += 8) {
		if (!memcmp(r->stopped.data + i, &id, 8))
			return true;
	}
	return false;
}

static void tell_object(struct replay *r, uint64_t id)
{
	for (size_t i = 0; i < r->report->count; i++) {
		if (r->report->objects[i] == id)
			return;
	}
	if (r->report->count < JOURNAL_TOLD)
		r->report->objects[r->report->count++] = id;
	else
		r->report->more = true;
}

/* The objects of an entry's records: whether one of them is stopped; with `stop` all that it changes are from now on. */
static int look(struct replay *r, const struct found *f, bool stop, bool *ret_stopped)
{
	size_t listed;
	const char *at = f->entry + sizeof(struct head), *end = entry_list(f->entry, &f->head, &listed);
	struct entry_record record;
	bool stopped = r->all_stopped;
	int err = 0;

	while (!err && at < end) {
		struct journal_object o[2];
		int n;

		if (!entry_next(&at, end, &record))
			return -EUCLEAN;
		n = r->j->objects ? r->j->objects(&record, o) : 0;
		for (int i = 0; !err && i < n; i++) {
			stopped = stopped || (o[i].needed && is_stopped(r, o[i].id));
			if (stop && o[i].changed)
				err = buf_add(&r->stopped, &o[i].id, 8);
			if (stop && o[i].changed)
				tell_object(r, o[i].id);
		}
		if (!stop && record.key_size >= 8) {
			uint64_t number;

			memcpy(&number, record.key, 8);
			if (be64toh(number) > r->report->highest)
				r->report->highest = be64toh(number);
		}
	}
	*ret_stopped = stopped;
	return err;
}

static int apply(struct replay *r, const struct found *f)
{
	size_t listed;
	const char *at = f->entry + sizeof(struct head), *end = entry_list(f->entry, &f->head, &listed);
	struct entry_record record;
	int err = 0;

	while (!err && at < end)
		err = entry_next(&at, end, &record) ? mem_put(r->to, record.key, record.key_size, record.value, record.value_size) : -EUCLEAN;
	return err;
}

/* What the `missing` entries before this one changed. All objects, when its list does not reach so far. */
static int stop_missing(struct replay *r, const struct found *f, uint64_t missing)
{
	size_t count;
	const char *list = entry_list(f->entry, &f->head, &count);
	uint64_t told = f->head.before && r->j->objects;
	int err = 0;

	for (size_t i = 0; !err && told && told <= missing && i < count; i++) {
		uint64_t id;

		memcpy(&id, list + i * 8, 8);
		id = le64toh(id);
		if (id == NEXT_OLDER) {
			told++;
			continue;
		}
		err = buf_add(&r->stopped, &id, 8);
		tell_object(r, id);
	}
	if (told < missing)
		r->all_stopped = r->report->unknown = true;
	return err;
}

/* `missing`: how many before it are. */
static int take(struct replay *r, const struct found *f, uint64_t missing)
{
	bool stopped = false;
	int err = missing ? stop_missing(r, f, missing) : 0;

	if (!err)
		err = look(r, f, false, &stopped);
	if (!err && !stopped)
		return apply(r, f);
	r->report->left_out += !err;
	return err ? err : look(r, f, true, &stopped);
}

static void miss(struct replay *r, uint64_t first, uint64_t last)
{
	struct journal_report *report = r->report;
	size_t i = report->gap_count;

	if (i < JOURNAL_GAPS) {
		report->gaps[i].first = first;
		report->gap_count++;
	}
	report->gaps[i < JOURNAL_GAPS ? i : JOURNAL_GAPS - 1].last = last;
	report->missing += last - first + 1;
}

/* Behind the last whole entry: what was to be the next, and what is known to have been written. */
static int take_tail(struct replay *r, const struct found *before, uint64_t *last)
{
	struct found f;
	int err = 0;

	while (!err && mend_number(r, *last + 1, before, &f)) {
		err = take(r, &f, 0);
		*last = f.number;
		before = NULL;
	}
	for (int i = 0; !err && i < 3; i++) {
		const char *at = place_of(r, *last + 1, before, i);

		r->report->torn = r->report->torn || (at && is_remnant(r, at, *last + 1));
	}
	if (is_ours(r, r->place->noted_mark) && r->place->noted > *last) {
		miss(r, *last + 1, r->place->noted);
		r->report->unknown = true;
		*last = r->place->noted;
		r->report->torn = false;
	}
	return err;
}

static int take_all(struct replay *r, uint64_t *last)
{
	const struct found *f = (const struct found *)r->found.data, *end = f + r->found.size / sizeof(*f);
	struct found before = { 0 }, mended;
	int err = 0;

	for (; !err && f < end; f++) {
		uint64_t missing = 0;

		if (f->number <= *last)
			continue;
		while (!err && *last + 1 < f->number) {
			if (mend_number(r, *last + 1, before.entry ? &before : NULL, &mended)) {
				err = take(r, &mended, 0);
				before = mended;
				++*last;
				continue;
			}
			/* Those behind it have no known place but before the next that is whole. */
			missing = f->number - 1 - *last;
			miss(r, *last + 1, f->number - 1);
			*last = f->number - 1;
		}
		if (!err)
			err = take(r, f, missing);
		*last = f->number;
		before = *f;
	}
	return err ? err : take_tail(r, before.entry ? &before : NULL, last);
}

int journal_replay(struct journal *j, const struct journal_place *place, struct mem *to, uint64_t *ret_last, struct journal_report *report)
{
	struct replay r = { .j = j, .place = place, .to = to, .report = report };
	uint64_t last = place->taken;
	int err = read_halves(&r);

	if (!err && !is_of_another(&r)) {
		err = find(&r);
		if (!err)
			err = take_all(&r, &last);
	}
	if (!err)
		*ret_last = last;
	buf_release(&r.found);
	buf_release(&r.stopped);
	free(r.bytes);
	return err;
}
