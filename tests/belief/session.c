#include "session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "diff.h"
#include "merge.h"

#define MESSAGES 4096		/* that there ever were */
#define VERSIONS 1024
#define BASES 160
#define GAP (UINT64_C(1) << 44)	/* of places, for what is inserted between */

struct message {
	uint64_t pos, hash, born, died;
	uint32_t id;
};

struct session {
	struct message list[MESSAGES];	/* all there ever were, in their order */
	size_t count;
	uint64_t version;
	bool narrow;		/* places are nearly used up somewhere */
	struct view_frame *frame;
	struct store_view *views[VERSIONS];	/* by version */
};

#define must(what) must_(what, __LINE__)
static void must_(bool what, int line)
{
	if (what)
		return;
	fprintf(stderr, "line %d: the model of the session is out of room or memory\n", line);
	abort();
}

static bool alive_at(const struct message *m, const struct store_base *base)
{
	if (!base)
		return !m->died;
	return base_knows(base, m->born) && !(m->died && base_knows(base, m->died));
}

/* What a base knows; all that is there for NULL. */
static struct store_view *build(const struct session *s, const struct store_base *base)
{
	struct store_view *v = view_new(SESSION_INO, 0, s->frame);

	must(v);
	for (size_t i = 0; i < s->count; i++) {
		const struct message *m = &s->list[i];

		if (alive_at(m, base))
			must(!view_add(v, &(struct view_item){ m->pos, m->born, m->born, m->hash, 2, 1 }));
	}
	view_finish(v);
	return v;
}

void list_copy(struct list_of_notes *to, const struct list_of_notes *from)
{
	to->count = from->count;
	memcpy(to->at, from->at, from->count * sizeof(to->at[0]));
}

struct session *session_new(void)
{
	struct session *s = calloc(1, sizeof(*s));

	must(s && (s->frame = frame_new(DOC_LIST, 1, "[", 1, ",", 1, "]", 1)));
	s->views[0] = build(s, NULL);
	return s;
}

void session_reset(struct session *s)
{
	for (uint64_t i = 1; i <= s->version; i++) {
		store_view_unref(s->views[i]);
		s->views[i] = NULL;
	}
	s->count = 0;
	s->version = 0;
	s->narrow = false;
}

void session_free(struct session *s)
{
	session_reset(s);
	store_view_unref(s->views[0]);
	frame_unref(s->frame);
	free(s);
}

uint64_t session_version(const struct session *s)
{
	return s->version;
}

void session_list(const struct session *s, struct list_of_notes *ret)
{
	ret->count = 0;
	for (size_t i = 0; i < s->count; i++) {
		if (s->list[i].died)
			continue;
		must(ret->count < LIST_MAX);
		ret->at[ret->count++] = (struct note){ .hash = s->list[i].hash, .id = s->list[i].id };
	}
}

void session_number(struct session *s, const struct list_of_notes *as)
{
	for (size_t i = 0, n = 0; i < s->count; i++) {
		if (!s->list[i].died)
			s->list[i].id = as->at[n++].id;
	}
}

bool session_room(const struct session *s, size_t saves)
{
	return s->version + saves < VERSIONS && s->count + saves * 8 < MESSAGES && s->views[s->version]->count < LIST_MAX / 2;
}

static bool knows_all(const struct session *s, const struct store_base *b)
{
	return b->version >= s->version || (b->own_count == s->version - b->version && b->own[b->own_count - 1] == s->version);
}

static struct store_view *view_of(const struct session *s, const struct store_base *base)
{
	if (knows_all(s, base))
		return store_view_ref(s->views[s->version]);
	return base->own_count ? build(s, base) : store_view_ref(s->views[base->version]);
}

static void load(const struct session *s, const struct written *w, const struct store_base *base, struct store_base *as, struct merge_candidate *c)
{
	*as = *base;
	as->oldest = 0;
	*c = (struct merge_candidate){ .base = as, .view = view_of(s, as) };
	must(!merge_diff(w, c->view, &c->diff));
	merge_removed(w, c, s->views[s->version]);
}

static void unload(struct merge_candidate *c)
{
	store_view_unref(c->view);
	merge_diff_release(&c->diff);
}

/* Of several versions the one that store/history.c takes. */
static void load_candidate(const struct session *s, const struct written *w, const struct store_base *base, struct store_base *as,
			   struct merge_candidate *c)
{
	uint64_t low = base->oldest, high = base->version;
	struct store_base one = *base;

	for (;;) {
		load(s, w, &one, as, c);
		if (!base->oldest)
			return;
		if (!c->removed)
			low = one.version;
		else
			high = one.version > low ? one.version - 1 : low;
		if (low == high && one.version == low)
			return;
		one.version = low + (high - low + 1) / 2;
		unload(c);
	}
}

/* `same`: how many go to that place, with this one, and come before what was inserted there. */
static void insert(struct session *s, size_t at, const struct note *n, uint64_t same)
{
	uint64_t before = at ? s->list[at - 1].pos : 0;
	uint64_t pos = before + (at < s->count ? (s->list[at].pos - before) / (same + 1) * same : GAP * same);

	must(s->count < MESSAGES);
	must(pos > before);
	s->narrow = s->narrow || pos - before < 1 << 20;
	memmove(&s->list[at + 1], &s->list[at], (s->count - at) * sizeof(s->list[0]));
	s->list[at] = (struct message){ .pos = pos, .hash = n->hash, .born = s->version + 1, .id = n->id };
	s->count++;
}

static size_t place_of(const struct session *s, uint64_t pos)
{
	size_t low = 0, high = s->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (s->list[mid].pos < pos)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* Whether anything changed. */
static bool apply(struct session *s, const struct store_view *current, const struct merge_edits *e, const struct list_of_notes *doc)
{
	static size_t at[LIST_MAX];

	for (size_t i = 0; i < e->removed_count; i++)
		s->list[place_of(s, view_get(current, e->removed[i])->pos)].died = s->version + 1;
	for (size_t i = 0; i < e->inserted_count; i++) {
		uint64_t before = e->inserted[i].before;

		at[i] = before == current->count ? s->count : place_of(s, view_get(current, before)->pos);
	}
	/* From behind, so that the places before stay what they were. */
	for (size_t i = e->inserted_count; i-- > 0;) {
		uint64_t same = 1;

		while (same <= i && at[i - same] == at[i])
			same++;
		insert(s, at[i], &doc->at[e->inserted[i].written], same);
	}
	return e->removed_count || e->inserted_count;
}

/* New places for all, a gap from each other. */
static void spread(struct session *s)
{
	for (size_t i = 0; i < s->count; i++)
		s->list[i].pos = (i + 1) * GAP;
	for (uint64_t v = 1; v <= s->version; v++) {
		store_view_unref(s->views[v]);
		s->views[v] = build(s, &(struct store_base){ .version = v });
	}
	s->narrow = false;
}

/* As store/grown.c tells: whether the document's last message is that of what the process wrote last, and more. */
static bool has_grown(const struct session *s, const struct list_of_notes *doc, const struct merge_candidate *c)
{
	const struct merge_diff *d = &c->diff;
	const struct view_item *last;
	bool there;

	if (!(c->base->flags & STORE_BASE_WRITTEN) || c->base->flags & STORE_BASE_LATER || c->view->count != doc->count || d->gone != 1 ||
	    d->added != 1 || d->match[d->base_rest - 1] != DIFF_NONE || d->back[d->written_rest - 1] != DIFF_NONE)
		return false;
	last = view_get(c->view, doc->count - 1);
	view_find(s->views[s->version], last->pos, last->born, &there);
	return there && last->hash == doc->at[doc->count - 1].grown;
}

static bool find_grown(const struct session *s, const struct list_of_notes *doc, struct merge_candidate *list, struct store_base *bases, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!has_grown(s, doc, &list[i]))
			continue;
		for (size_t j = 0; j < n; j++)
			bases[j].flags |= j == i ? 0 : STORE_BASE_UNLIKELY;
		return true;
	}
	return false;
}

/* Which of the saves that change less than they say it is (store/repeat.c, and merge_older_text). */
enum less { NO_LESS, RESET, AUTOSAVE, OLDER };

static enum less find_less(const struct session *s, const struct written *w, struct merge_candidate *list, size_t n, int chosen, bool guess)
{
	if (chosen < 0)
		return NO_LESS;
	if (merge_repeats(w, &list[chosen], s->views[s->version]))
		return merge_begins(&list[chosen]) ? RESET : AUTOSAVE;
	return guess && merge_older_text(list, n, (size_t)chosen) ? OLDER : NO_LESS;
}

/* As store/history.c does what store/merge.c decides. Whether anything changed. */
static bool merge(struct session *s, const struct written *w, struct merge_candidate *list, struct store_base *bases, size_t n,
		  const struct list_of_notes *doc, struct store_save *save)
{
	struct store_view *current = s->views[s->version];
	bool events = save->flags & STORE_SAVE_EVENTS, guess = events && !(save->flags & STORE_SAVE_EDIT), changed;
	struct merge_edits edits;
	unsigned result;
	enum less less;

	save->grown = guess && find_grown(s, doc, list, bases, n);
	int chosen = merge_choose(w, list, n, current, save->flags, &result, &save->certain);
	if (chosen == MERGE_STALE && !s->version)
		chosen = MERGE_NONE;
	save->base = -1;
	if (chosen == MERGE_STALE)
		return false;
	less = find_less(s, w, list, n, chosen, guess);
	chosen = less == RESET ? MERGE_NONE : chosen;
	guess &= chosen >= 0;
	result |= less == AUTOSAVE || less == OLDER ? STORE_SAVED_UNCERTAIN : 0;
	save->base = chosen;
	struct merge_candidate *c = &list[chosen < 0 ? n : (size_t)chosen];
	save->base_version = c->base->version;
	if (guess && merge_revive(list, n, (size_t)chosen, current))
		result |= STORE_SAVED_UNCERTAIN;
	must(!merge_edits(w, c->view, &c->diff, current, &edits));
	if (guess && merge_spare(list, n, (size_t)chosen, current, &edits))
		result |= STORE_SAVED_UNCERTAIN;
	if (less == OLDER)
		merge_spare_all(&edits);
	save->result = (chosen < 0 && s->version ? STORE_SAVED_BLIND : 0) | result | (c->view == current ? 0 : STORE_SAVED_MERGED);
	if (chosen >= 0 && events && merge_doubt(list, n, (size_t)chosen))
		save->result |= STORE_SAVED_DOUBT;
	changed = apply(s, current, &edits, doc);
	merge_edits_release(&edits);
	return changed;
}

void session_save(struct session *s, const struct list_of_notes *doc, struct store_save *save)
{
	static struct merge_candidate list[BASES];
	static struct store_base bases[BASES];
	static struct doc_item items[LIST_MAX];
	struct store_base now = { .ino = SESSION_INO, .version = s->version };
	struct written w = { .count = doc->count, .items = items };
	struct view_cursor at;
	const struct view_item *item;
	size_t n = save->base_count;

	must(n < BASES && s->version + 1 < VERSIONS);
	if (s->narrow)
		spread(s);
	w.prefix = s->views[s->version];
	at = view_at(w.prefix, 0);
	while (w.kept < doc->count && (item = view_next(&at)) && item->hash == doc->at[w.kept].hash)
		w.kept++;
	for (size_t i = w.kept; i < doc->count; i++)
		items[i - w.kept].hash = doc->at[i].hash;
	save->result = 0;
	save->error = 0;
	for (size_t i = 0; i <= n; i++)
		load_candidate(s, &w, i < n ? &save->bases[i] : &now, &bases[i], &list[i]);
	bool changed = merge(s, &w, list, bases, n, doc, save) || !s->version;
	save->previous = s->version;
	save->saved_ino = SESSION_INO;
	if (changed)
		s->views[++s->version] = build(s, NULL);
	else
		save->result |= STORE_SAVED_SAME;
	/* A trace in the log, which is a version too. To its writer nothing has changed. */
	if (!changed && save->result & STORE_SAVED_UNCERTAIN) {
		s->views[s->version + 1] = store_view_ref(s->views[s->version]);
		save->previous = ++s->version;
	}
	save->version = s->version;
	for (size_t i = 0; i <= n; i++)
		unload(&list[i]);
}
