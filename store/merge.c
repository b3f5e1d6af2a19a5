#include "merge.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "diff.h"

#define EQUAL_BY_CHANCE 3	/* so many messages of one request may be equal to those of another; and two for each of its own */
#define GREETING_MAX 4	/* messages that a session may begin with */
#define MOVED_MAX 64	/* messages that are looked for at another place */
#define MOVED (SIZE_MAX / 2 + 1)	/* flag of an index in `match` and `back`: found at another place */

uint64_t written_hash(const struct written *w, uint64_t i)
{
	return i < w->kept ? view_get(w->prefix, i)->hash : w->items[i - w->kept].hash;
}

void merge_diff_release(struct merge_diff *d)
{
	free(d->match);
	free(d->back);
	*d = (struct merge_diff){ 0 };
}

static void view_hashes(const struct store_view *v, uint64_t from, uint64_t to, uint64_t *out)
{
	struct view_cursor c = view_at(v, from);

	while (from++ < to)
		*out++ = view_next(&c)->hash;
}

int merge_match(struct merge_diff *d, const uint64_t *base, const uint64_t *written)
{
	int err = diff_match(base, d->base_rest, written, d->written_rest, d->match);

	if (err)
		return err;
	for (size_t i = 0; i < d->written_rest; i++)
		d->back[i] = DIFF_NONE;
	d->added = d->written_rest;
	d->gone = 0;
	for (size_t i = 0; i < d->base_rest; i++) {
		if (d->match[i] == DIFF_NONE) {
			d->gone++;
		} else {
			d->back[d->match[i]] = i;
			d->added--;
		}
	}
	return 0;
}

int merge_diff(const struct written *w, const struct store_view *base, struct merge_diff *ret)
{
	struct merge_diff d = { 0 };
	uint64_t *hashes;
	size_t i = 0;
	int err;

	if (w->kept) {
		d.common = view_common(w->prefix, base);
		if (d.common > w->kept)
			d.common = w->kept;
	}
	d.base_rest = base->count - d.common;
	d.written_rest = w->count - d.common;
	d.match = malloc((d.base_rest + 1) * sizeof(*d.match));
	d.back = malloc((d.written_rest + 1) * sizeof(*d.back));
	hashes = malloc((d.base_rest + d.written_rest + 1) * sizeof(*hashes));
	err = d.match && d.back && hashes ? 0 : -ENOMEM;
	if (!err) {
		view_hashes(base, d.common, base->count, hashes);
		if (w->kept > d.common) {
			i = w->kept - d.common;
			view_hashes(w->prefix, d.common, w->kept, hashes + d.base_rest);
		}
		for (; i < d.written_rest; i++)
			hashes[d.base_rest + i] = w->items[d.common + i - w->kept].hash;
		err = merge_match(&d, hashes, hashes + d.base_rest);
	}
	free(hashes);
	if (err) {
		merge_diff_release(&d);
		return err;
	}
	*ret = d;
	return 0;
}

int merge_diff_outline(const struct outline *written, const struct outline *base, const struct outline *current, struct merge_diff *ret, uint64_t *ret_removed)
{
	struct merge_diff d = { .base_rest = base->count, .written_rest = written->count };
	uint64_t removed = 0;
	int err;

	d.match = malloc((d.base_rest + 1) * sizeof(*d.match));
	d.back = malloc((d.written_rest + 1) * sizeof(*d.back));
	err = d.match && d.back ? merge_match(&d, base->hashes, written->hashes) : -ENOMEM;
	if (err) {
		merge_diff_release(&d);
		return err;
	}
	for (size_t i = 0; i < d.base_rest; i++)
		removed += d.match[i] == DIFF_NONE && outline_has(current, base->hashes[i]);
	*ret = d;
	*ret_removed = removed;
	return 0;
}

bool base_knows(const struct store_base *base, uint64_t version)
{
	size_t low = 0, high = base->own_count;

	if (version <= base->version)
		return true;
	while (low < high) {
		size_t mid = (low + high) / 2;

		if (base->own[mid] < version)
			low = mid + 1;
		else
			high = mid;
	}
	return low < base->own_count && base->own[low] == version;
}

static uint64_t count_removed(const struct merge_candidate *c, const struct store_view *current)
{
	struct view_cursor at = view_at(c->view, c->diff.common);
	const struct view_item *item;
	uint64_t removed = 0;
	bool alive;

	if (!c->diff.gone)
		return 0;
	for (size_t i = 0; (item = view_next(&at)); i++) {
		if (c->diff.match[i] != DIFF_NONE)
			continue;
		view_find(current, item->pos, item->born, &alive);
		removed += alive;
	}
	return removed;
}

static bool is_there(const struct store_view *current, const struct view_item *item)
{
	bool alive;

	view_find(current, item->pos, item->born, &alive);
	return alive;
}

/*
 * Messages that the base has at another place than the document, for where its own insertions stand among messages that have gone is not
 * known of a base that is put together from several versions. What is there is that message, and stays where it is.
 */
static void match_moved(const struct written *w, struct merge_candidate *c, const struct store_view *current)
{
	struct merge_diff *d = &c->diff;

	if (!d->gone || d->added > MOVED_MAX)
		return;
	for (size_t i = 0; d->added && i < d->written_rest; i++) {
		uint64_t hash;

		if (d->back[i] != DIFF_NONE)
			continue;
		hash = written_hash(w, d->common + i);
		for (size_t j = 0; j < d->base_rest; j++) {
			const struct view_item *item = d->match[j] == DIFF_NONE ? view_get(c->view, d->common + j) : NULL;

			if (!item || item->hash != hash || !is_there(current, item))
				continue;
			d->match[j] = i | MOVED;
			d->back[i] = j | MOVED;
			d->gone--;
			d->added--;
			break;
		}
	}
}

void merge_removed(const struct written *w, struct merge_candidate *c, const struct store_view *current)
{
	if (c->view != current)
		match_moved(w, c, current);
	c->removed = count_removed(c, current);
}

/* The base's message that the document's message i is, or NULL. */
static const struct view_item *explained(const struct merge_candidate *c, uint64_t i)
{
	if (i < c->diff.common)
		return view_get(c->view, i);
	i = c->diff.back[i - c->diff.common];
	return i == DIFF_NONE ? NULL : view_get(c->view, c->diff.common + (i & ~MOVED));
}

/* What the process wrote itself, and has not been shown since. */
static bool is_memory(const struct merge_candidate *c)
{
	return (c->base->flags & (STORE_BASE_WRITTEN | STORE_BASE_SHOWN)) == STORE_BASE_WRITTEN;
}

/* Whether the document's message i, which `c` does not hold, is one that came after `c` and that `other` explains. */
static bool told_by(const struct written *w, const struct merge_candidate *c, const struct merge_candidate *other, uint64_t i)
{
	const struct view_item *item;

	if (w->outline) {
		uint64_t hash = w->outline->hashes[i];

		return (hash & OUTLINE_TELLING) && other->diff.back[i] != DIFF_NONE && !outline_has(&c->outline, hash);
	}
	item = explained(other, i);
	return item && !base_knows(c->base, item->born);
}

/* Whether the document, made from `other`, removes what came after `c`. */
static bool removes_unknown(const struct written *w, const struct merge_candidate *c, const struct merge_candidate *other,
			    const struct store_view *current)
{
	if (!other->removed)
		return false;
	for (size_t i = 0; i < other->diff.base_rest; i++) {
		const struct view_item *item;

		if (other->diff.match[i] != DIFF_NONE)
			continue;
		if (w->outline) {
			uint64_t hash = other->outline.hashes[i];

			if ((hash & OUTLINE_TELLING) && outline_has(w->there, hash) && !outline_has(&c->outline, hash))
				return true;
			continue;
		}
		item = view_get(other->view, other->diff.common + i);
		if (!base_knows(c->base, item->born) && is_there(current, item))
			return true;
	}
	return false;
}

/*
 * Rule 5: the document has messages that came after `c`, and `other` explains them. An equal text is no proof of that (rule 16): two requests
 * that begin at `c` may ask the same, or fail with the same words. It is one where `other` explains the document without the loss of what came after
 * `c`, or where more is equal than one request says by chance, whatever it adds of its own. Where it is none it counts only when the process was shown
 * `other`, and then nothing is removed that `c` did not know (merge_spare); its own document it may not have looked at. So it does against a base
 * that holds nothing: a look-up says less than a read.
 */
enum outdated { NOT_OUTDATED, DOUBTED, OUTDATED };

/* How many messages of this text are there, 2 at most. */
static unsigned said(const struct store_view *current, uint64_t hash)
{
	const struct view_item *item;
	unsigned n = 0;

	for (struct view_cursor at = view_at(current, 0); n < 2 && (item = view_next(&at));)
		n += item->hash == hash;
	return n;
}

/*
 * Whether what is equal says nothing: the document is all of `c` with messages of its own behind, and only after these one or a few that others have
 * said too, such as an answer; or what is equal is said again and again.
 */
static bool by_chance(const struct written *w, const struct merge_candidate *c, const struct merge_candidate *other, const struct store_view *current,
		      size_t equal, size_t fresh)
{
	bool own = false, behind = c->view->count && !c->diff.gone && equal <= fresh, often = true;

	for (uint64_t i = c->diff.common; i < w->count; i++) {
		if (c->diff.back[i - c->diff.common] != DIFF_NONE) {
			behind = behind && !own;
		} else if (told_by(w, c, other, i)) {
			behind = behind && own;
			often = often && said(current, written_hash(w, i)) > 1;
		} else {
			own = true;
		}
	}
	return behind || often;
}

static enum outdated outdated(const struct written *w, const struct merge_candidate *c, const struct merge_candidate *other,
			      const struct store_view *current, bool own_read)
{
	size_t equal = 0, fresh = 0;

	if (!c->diff.added)
		return NOT_OUTDATED;
	for (uint64_t i = c->diff.common; i < w->count; i++) {
		if (c->diff.back[i - c->diff.common] != DIFF_NONE)
			continue;
		if (told_by(w, c, other, i))
			equal++;
		else
			fresh++;
	}
	if (!equal)
		return NOT_OUTDATED;
	if (equal >= EQUAL_BY_CHANCE + 2 * fresh || (!own_read && !removes_unknown(w, c, other, current)))
		return OUTDATED;
	/* Who goes on from what it wrote itself keeps one list in memory. */
	if (is_memory(c))
		return OUTDATED;
	if (own_read || w->outline || by_chance(w, c, other, current, equal, fresh))
		return NOT_OUTDATED;
	return (other->base->flags & STORE_BASE_SHOWN) || !c->view->count ? DOUBTED : NOT_OUTDATED;
}

static bool equal(const struct merge_candidate *c)
{
	return !c->diff.gone && !c->diff.added;
}

/*
 * Rule 6. Without an event loop the thread's own tickets go first (rule 4). With one any thread may do any step, and the difference tells more:
 * the ticket of another save must not be used up for this one.
 */
static bool better(const struct merge_candidate *a, const struct merge_candidate *b, bool own_thread)
{
	unsigned own_a = a->base->flags & STORE_BASE_THREAD, own_b = b->base->flags & STORE_BASE_THREAD;
	uint64_t size_a = a->diff.gone + a->diff.added, size_b = b->diff.gone + b->diff.added;

	if (own_thread && own_a != own_b)
		return own_a != 0;
	if (a->removed != b->removed)
		return a->removed < b->removed;
	if (size_a != size_b)
		return size_a < size_b;
	if (own_a != own_b)
		return own_a != 0;
	return a->base->order > b->base->order;
}

static bool is_later(const struct merge_candidate *c)
{
	return (c->base->flags & STORE_BASE_LATER) != 0;
}

/*
 * Whether a document that the process committed after the save's handle was opened can tell of it: yes for who keeps his list in memory, whose
 * lists overlap, or has only looked the name up. Of who has read for this save a few messages more of the same text are his own: two coroutines may
 * say "ok".
 */
static bool tells(const struct merge_candidate *c, const struct merge_candidate *later)
{
	if ((c->base->flags & STORE_BASE_WRITTEN) || c->diff.added >= EQUAL_BY_CHANCE)
		return true;
	return !c->view->count && (later->diff.added || later->diff.gone || c->diff.added > 1);
}

/*
 * Without an event loop a thread saves what it has read itself, though another thread has said the same meanwhile. Much that is in that
 * thread's document is a list that both have in memory.
 */
static bool own_read(const struct merge_candidate *c, const struct merge_candidate *document, bool own_thread)
{
	return own_thread && (c->base->flags & STORE_BASE_THREAD) && !(document->base->flags & STORE_BASE_THREAD);
}

static bool read_last(const struct merge_candidate *list, size_t count, const struct merge_candidate *c)
{
	for (size_t i = 0; i < count; i++) {
		if ((list[i].base->flags & STORE_BASE_THREAD) && list[i].base->order > c->base->order)
			return false;
	}
	return (c->base->flags & STORE_BASE_THREAD) != 0;
}

/* Which candidates: those of before the save's handle was opened, all or but for what the evidence rules out; or the documents committed after. */
enum asked { POSSIBLE, LIKELY, LATER };

/* Sets `meant` and `doubted`. */
static void weigh(struct merge_candidate *list, size_t count, size_t i, const struct written *w, const struct store_view *current,
		  bool own_thread, uint64_t newest, enum asked asked)
{
	struct merge_candidate *c = &list[i];
	enum outdated worst = NOT_OUTDATED, found;
	bool later = asked == LATER;

	c->meant = c->doubted = false;
	if (is_later(c) != later || (asked == LIKELY && c->base->flags & STORE_BASE_UNLIKELY))
		return;
	if (own_thread && !(c->base->flags & (STORE_BASE_THREAD | STORE_BASE_WRITTEN)))
		return;
	/* But what a thread has read last it may save unchanged, though others have saved. */
	if (!later && equal(c) && c->base->order != newest && count > 1 && !(own_thread && read_last(list, count, c)))
		return;
	for (size_t j = 0; j < count; j++) {
		if (j == i || (is_later(&list[j]) && !later && !tells(c, &list[j])))
			continue;
		found = outdated(w, c, &list[j], current, own_read(c, &list[j], own_thread));
		worst = found > worst ? found : worst;
	}
	c->meant = worst == NOT_OUTDATED;
	c->doubted = worst == DOUBTED;
}

/* The best of those that are usable, and the latest. */
static int best_of(struct merge_candidate *list, size_t count, const struct written *w, const struct store_view *current, bool own_thread,
		   uint64_t newest, enum asked asked, int *ret_latest)
{
	int best = MERGE_NONE;

	*ret_latest = MERGE_NONE;
	for (size_t i = 0; i < count; i++) {
		weigh(list, count, i, w, current, own_thread, newest, asked);
		if (!list[i].meant)
			continue;
		if (best < 0 || better(&list[i], &list[best], own_thread))
			best = i;
		if (*ret_latest < 0 || list[i].base->order > list[*ret_latest].base->order)
			*ret_latest = i;
	}
	return best;
}

static size_t count_meant(const struct merge_candidate *list, size_t count)
{
	size_t n = 0;

	for (size_t i = 0; i < count; i++)
		n += list[i].meant || list[i].doubted;
	return n;
}

/* How many of the document's, or of the base's, messages from the first unmatched on up to `end` have this text and are unmatched. */
static size_t count_unmatched(const struct written *w, const struct merge_candidate *c, bool of_base, size_t end, uint64_t hash)
{
	size_t n = 0;

	for (size_t i = 0; i < end; i++) {
		if ((of_base ? c->diff.match[i] : c->diff.back[i]) != DIFF_NONE)
			continue;
		n += (of_base ? view_get(c->view, c->diff.common + i)->hash : written_hash(w, c->diff.common + i)) == hash;
	}
	return n;
}

/*
 * Whether all of the document is in what the base holds, wherever: where a base's messages stand among those that have gone is not
 * known for certain, and then some don't match.
 */
static bool contained(const struct written *w, const struct merge_candidate *c)
{
	if (c->apart)
		return false;
	if (!c->diff.added)
		return true;
	if (w->outline || c->diff.added > MOVED_MAX)
		return false;
	for (size_t i = 0; i < c->diff.written_rest; i++) {
		uint64_t hash;

		if (c->diff.back[i] != DIFF_NONE)
			continue;
		hash = written_hash(w, c->diff.common + i);
		if (count_unmatched(w, c, false, i + 1, hash) > count_unmatched(w, c, true, c->diff.base_rest, hash))
			return false;
	}
	return true;
}

/* When each candidate is outdated by another: whichever loses least. */
static int least_loss(const struct merge_candidate *list, size_t count, bool own_thread)
{
	int best = MERGE_NONE;

	for (size_t i = 0; i < count; i++) {
		if (!is_later(&list[i]) && (best < 0 || better(&list[i], &list[best], own_thread)))
			best = i;
	}
	return best;
}

/* Rule 15: the best of those that the evidence leaves; `best` is that of all. Whether it removes what another might have spared. */
static int likely_of(struct merge_candidate *list, size_t count, const struct written *w, const struct store_view *current, bool own_thread,
		     uint64_t newest, int best, int *ret_latest, unsigned *ret_result)
{
	uint64_t least = list[best].removed;
	int likely;

	for (size_t i = 0; i < count; i++) {
		if (list[i].doubted && list[i].base->flags & STORE_BASE_UNLIKELY)
			least = 0;
	}
	likely = best_of(list, count, w, current, own_thread, newest, LIKELY, ret_latest);
	if (likely < 0)
		return best_of(list, count, w, current, own_thread, newest, POSSIBLE, ret_latest);
	if (list[likely].removed > least)
		*ret_result |= STORE_SAVED_UNCERTAIN | STORE_SAVED_EDIT;
	return likely;
}

int merge_choose(const struct written *w, struct merge_candidate *list, size_t count, const struct store_view *current,
		 unsigned flags, unsigned *ret_result, bool *ret_certain)
{
	bool own_thread = false;
	uint64_t newest = 0;
	int best, latest;

	*ret_result = 0;
	for (size_t i = 0; i < count; i++) {
		const struct store_base *b = list[i].base;

		if (is_later(&list[i]))
			continue;
		if (b->order >= newest)
			newest = b->order;
		/* Without an event loop a thread saves what it has read itself (rule 4). */
		if (!(flags & STORE_SAVE_EVENTS) && (b->flags & STORE_BASE_THREAD))
			own_thread = true;
	}
	best = best_of(list, count, w, current, own_thread, newest, POSSIBLE, &latest);
	*ret_certain = best >= 0 && count_meant(list, count) == 1;
	if (best >= 0 && !*ret_certain)
		best = likely_of(list, count, w, current, own_thread, newest, best, &latest, ret_result);
	for (size_t i = 0; i < count; i++) {
		const struct merge_candidate *b = best < 0 ? NULL : &list[best];

		if (is_later(&list[i]) && contained(w, &list[i]) && (!b || (b->diff.added ? tells(b, &list[i]) : !b->removed)))
			return MERGE_STALE;
	}
	if (best < 0)
		best = best_of(list, count, w, current, own_thread, newest, LATER, &latest);
	if (best < 0)
		best = least_loss(list, count, own_thread);
	if (best >= 0 && latest >= 0 && (flags & STORE_SAVE_EVENTS) && list[latest].removed > list[best].removed) {
		*ret_result |= STORE_SAVED_UNCERTAIN;
		if (flags & STORE_SAVE_EDIT)
			best = latest;
	}
	return best;
}

bool merge_from_memory(const struct merge_candidate *c)
{
	return is_memory(c) && !is_later(c);
}

bool merge_repeats(const struct written *w, const struct merge_candidate *c, const struct store_view *current)
{
	return c->view != current && merge_from_memory(c) && equal(c) && c->view->count == w->count;
}

bool merge_begins(const struct merge_candidate *c)
{
	const struct view_item *item;
	uint64_t born = 0;

	if (c->view->count > GREETING_MAX)
		return false;
	for (struct view_cursor at = view_at(c->view, 0); (item = view_next(&at));) {
		if (born && item->born != born)
			return false;
		born = item->born;
	}
	return true;
}

bool merge_older_text(const struct merge_candidate *list, size_t count, size_t chosen)
{
	const struct merge_candidate *c = &list[chosen];
	uint64_t kept = c->diff.common + c->diff.written_rest;

	for (size_t i = 0; i < count; i++) {
		if ((list[i].base->flags & STORE_BASE_SHOWN) && list[i].base->order >= c->base->order)
			return false;
	}
	if (!(c->base->flags & STORE_BASE_WRITTEN) || c->diff.added || !kept || kept == c->view->count)
		return false;
	for (size_t i = 0; i < c->diff.written_rest; i++) {
		if (c->diff.back[i] != i)
			return false;
	}
	return view_get(c->view, kept - 1)->born == view_get(c->view, kept)->born;
}

bool merge_doubt(const struct merge_candidate *list, size_t count, size_t chosen)
{
	for (size_t i = 0; i < count; i++) {
		if (i != chosen && list[i].meant && !is_later(&list[i]) && list[i].removed == list[chosen].removed)
			return true;
	}
	return false;
}

bool merge_spare(const struct merge_candidate *list, size_t count, size_t chosen, const struct store_view *current, struct merge_edits *e)
{
	size_t kept = 0, before = e->removed_count;

	for (size_t i = 0; i < before; i++) {
		uint64_t born = view_get(current, e->removed[i])->born;
		bool known = !is_later(&list[chosen]);

		for (size_t j = 0; known && j < count; j++)
			known = j == chosen || !(list[j].doubted || (list[j].meant && list[j].removed)) || base_knows(list[j].base, born);
		if (known)
			e->removed[kept++] = e->removed[i];
		else
			e->spared[e->spared_count++] = e->removed[i];
	}
	e->removed_count = kept;
	return kept < before;
}

void merge_spare_all(struct merge_edits *e)
{
	for (size_t i = 0; i < e->removed_count; i++)
		e->spared[e->spared_count++] = e->removed[i];
	e->removed_count = e->inserted_count = e->kept_count = 0;
}

/* Whether the candidate may be the base too, and has not the document's message i. */
static bool may_lack(const struct merge_candidate *c, uint64_t i)
{
	if (!(c->meant || c->doubted) || is_later(c) || !(c->base->flags & STORE_BASE_SHOWN))
		return false;
	return i >= c->diff.common && c->diff.back[i - c->diff.common] == DIFF_NONE;
}

/* Whether the same text is there as another message: then it is said twice already. */
static bool has_text(const struct store_view *current, uint64_t hash)
{
	const struct view_item *item;

	for (struct view_cursor at = view_at(current, 0); (item = view_next(&at));) {
		if (item->hash == hash)
			return true;
	}
	return false;
}

/* The document's message i of the rest is one of its own, though the base has one of this text. */
static void unmatch(struct merge_diff *d, size_t i)
{
	d->match[d->back[i]] = DIFF_NONE;
	d->back[i] = DIFF_NONE;
	d->added++;
	d->gone++;
}

/* Whether a candidate that only equal texts speak against has neither the document's message i nor the base's that it was taken for. */
static bool doubted_lacks(const struct merge_candidate *list, size_t count, uint64_t i, const struct view_item *item)
{
	for (size_t j = 0; j < count; j++) {
		if (list[j].doubted && !base_knows(list[j].base, item->born) && may_lack(&list[j], i))
			return true;
	}
	return false;
}

/*
 * What the document says behind messages of its own, and others say again and again, is its own when the base is in doubt: an answer that many requests
 * get. What it was taken for is kept by merge_spare.
 */
static bool own_answers(struct merge_candidate *list, size_t count, struct merge_candidate *c, const struct store_view *current)
{
	struct merge_diff *d = &c->diff;
	bool own = false, any = false;

	for (size_t i = 0; i < d->written_rest; i++) {
		const struct view_item *item = d->back[i] == DIFF_NONE || (d->back[i] & MOVED) ? NULL : view_get(c->view, d->common + d->back[i]);

		own = own || d->back[i] == DIFF_NONE;
		if (!own || !item || said(current, item->hash) < 2 || !doubted_lacks(list, count, d->common + i, item))
			continue;
		unmatch(d, i);
		any = true;
	}
	return any;
}

bool merge_revive(struct merge_candidate *list, size_t count, size_t chosen, const struct store_view *current)
{
	struct merge_candidate *c = &list[chosen];
	struct merge_diff *d = &c->diff;
	bool any = own_answers(list, count, c, current), fresh;

	if (!is_memory(c))
		return any;
	for (size_t i = 0; c->view != current && i < d->written_rest; i++) {
		size_t k = d->back[i];

		if (k == DIFF_NONE || (k & MOVED) || is_there(current, view_get(c->view, d->common + k)))
			continue;
		fresh = false;
		for (size_t j = 0; j < count && !fresh; j++)
			fresh = j != chosen && may_lack(&list[j], d->common + i);
		if (!fresh || has_text(current, view_get(c->view, d->common + k)->hash))
			continue;
		unmatch(d, i);
		any = true;
	}
	return any;
}

void merge_edits_release(struct merge_edits *e)
{
	free(e->removed);
	free(e->spared);
	free(e->inserted);
	free(e->kept);
	*e = (struct merge_edits){ 0 };
}

/* Index in current of the base's rest item i, or DIFF_NONE when it has gone. */
static uint64_t in_current(const struct store_view *base, const struct merge_diff *d, size_t i, const struct store_view *current)
{
	const struct view_item *item = view_get(base, d->common + i);
	bool alive;
	uint64_t at = view_find(current, item->pos, item->born, &alive);

	return alive ? at : DIFF_NONE;
}

static int by_hash(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* Of equal messages those that were left out are the ones that have gone anyway: the others stay. */
static int spare_equal(const struct store_view *base, const struct merge_diff *d, const struct store_view *current, struct merge_edits *e)
{
	uint64_t *gone = NULL, *at;
	size_t count = 0, kept = 0;

	for (size_t i = 0; e->removed_count && i < d->base_rest; i++) {
		if (d->match[i] == DIFF_NONE || in_current(base, d, i, current) != DIFF_NONE)
			continue;
		if (!gone) {
			gone = malloc((d->base_rest - i) * sizeof(*gone));
			if (!gone)
				return -ENOMEM;
		}
		gone[count++] = view_get(base, d->common + i)->hash;
	}
	if (!count)
		return 0;
	qsort(gone, count, sizeof(*gone), by_hash);
	for (size_t i = 0; i < e->removed_count; i++) {
		at = bsearch(&view_get(current, e->removed[i])->hash, gone, count, sizeof(*gone), by_hash);
		if (at)
			memmove(at, at + 1, (size_t)(gone + --count - at) * sizeof(*gone));
		else
			e->removed[kept++] = e->removed[i];
	}
	e->removed_count = kept;
	free(gone);
	return 0;
}

int merge_edits(const struct written *w, const struct store_view *base, const struct merge_diff *d, const struct store_view *current,
		struct merge_edits *ret)
{
	struct merge_edits e = { 0 };
	uint64_t before = current->count;

	e.removed = malloc((d->gone + 1) * sizeof(*e.removed));
	e.spared = malloc((d->gone + 1) * sizeof(*e.spared));
	e.inserted = malloc((d->added + 1) * sizeof(*e.inserted));
	e.kept = malloc((d->written_rest - d->added + 1) * sizeof(*e.kept));
	if (!e.removed || !e.spared || !e.inserted || !e.kept) {
		merge_edits_release(&e);
		return -ENOMEM;
	}
	for (size_t i = 0; i < d->base_rest; i++) {
		uint64_t at;

		if (d->match[i] == DIFF_NONE && (at = in_current(base, d, i, current)) != DIFF_NONE)
			e.removed[e.removed_count++] = at;
	}
	if (spare_equal(base, d, current, &e)) {
		merge_edits_release(&e);
		return -ENOMEM;
	}
	/* Backwards, so that each inserted message knows the message of both sides that it stands before. */
	for (size_t i = d->written_rest; i-- > 0;) {
		uint64_t index = d->common + i, at;

		if (d->back[i] == DIFF_NONE) {
			e.inserted[e.inserted_count++] = (struct merge_insert){ index, before, false };
		} else if (d->back[i] & MOVED) {
			continue;
		} else if ((at = in_current(base, d, d->back[i], current)) != DIFF_NONE) {
			before = at;
			e.kept[e.kept_count++] = (struct merge_keep){ index, at };
		}
	}
	for (size_t i = 0; i < e.inserted_count / 2; i++) {
		struct merge_insert t = e.inserted[i];

		e.inserted[i] = e.inserted[e.inserted_count - 1 - i];
		e.inserted[e.inserted_count - 1 - i] = t;
	}
	*ret = e;
	return 0;
}
