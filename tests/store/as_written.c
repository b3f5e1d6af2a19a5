#include "as_written.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define TICKETS 400

/* What a process has been shown, or what it wrote last. */
struct ticket {
	struct list list;
	bool has[MESSAGES];	/* of `list` */
	unsigned version;
	size_t order;
	unsigned thread;
	char process;
	bool written, used;
};

struct as_written_save {
	char process;
	unsigned thread;
	bool events;
	size_t opened, count;
	struct ticket *candidates[TICKETS];
	struct ticket before;	/* what the process had written when this was opened */
};

static struct {
	struct list there;
	unsigned version, born[MESSAGES];	/* 0: not there yet */
	size_t now, count;
	struct ticket tickets[TICKETS];
	struct ticket last[256];		/* by process */
} doc;

bool list_has(const struct list *l, unsigned id)
{
	for (size_t i = 0; i < l->count; i++) {
		if (l->id[i] == id)
			return true;
	}
	return false;
}

static struct ticket ticket_of(char process, unsigned thread, const struct list *l, unsigned version)
{
	struct ticket t = { .list = *l, .version = version, .order = ++doc.now, .thread = thread, .process = process };

	for (size_t i = 0; i < l->count; i++)
		t.has[l->id[i]] = true;
	return t;
}

static void list_insert(struct list *l, size_t at, unsigned id)
{
	memmove(&l->id[at + 1], &l->id[at], (l->count - at) * sizeof(l->id[0]));
	l->id[at] = id;
	l->count++;
}

void as_written_begin(void)
{
	memset(&doc, 0, sizeof(doc));
}

void as_written_read(char process, unsigned thread)
{
	cr_assert_lt(doc.count, TICKETS);
	doc.tickets[doc.count++] = ticket_of(process, thread, &doc.there, doc.version);
}

struct as_written_save *as_written_open(char process, unsigned thread, bool events)
{
	struct as_written_save *s = calloc(1, sizeof(*s));

	cr_assert(s);
	s->process = process;
	s->thread = thread;
	s->events = events;
	s->opened = ++doc.now;
	for (size_t i = 0; i < doc.count; i++) {
		if (doc.tickets[i].process == process && !doc.tickets[i].used)
			s->candidates[s->count++] = &doc.tickets[i];
	}
	s->before = doc.last[(unsigned char)process];
	if (s->before.written)
		s->candidates[s->count++] = &s->before;
	return s;
}

static bool knows(const struct ticket *t, unsigned id)
{
	return t->has[id] || (doc.born[id] && doc.born[id] <= t->version);
}

static bool same(const struct list *a, const struct list *b)
{
	return a->count == b->count && memcmp(a->id, b->id, a->count * sizeof(a->id[0])) == 0;
}

static size_t missing(const struct list *from, const struct list *in, const struct list *and)
{
	size_t n = 0;

	for (size_t i = 0; i < from->count; i++)
		n += !list_has(in, from->id[i]) && (!and || list_has(and, from->id[i]));
	return n;
}

/* Rule 5. */
static bool dropped(const struct as_written_save *s, const struct ticket *t, const struct list *document, size_t newest)
{
	if (t->order != newest && same(&t->list, document))
		return true;
	for (size_t c = 0; c < s->count; c++) {
		for (size_t i = 0; s->candidates[c] != t && i < document->count; i++) {
			if (s->candidates[c]->has[document->id[i]] && !knows(t, document->id[i]))
				return true;
		}
	}
	return false;
}

/* Rule 6. */
static bool better(const struct as_written_save *s, const struct ticket *a, const struct ticket *b, const struct list *document)
{
	size_t removed_a = missing(&a->list, document, &doc.there), removed_b = missing(&b->list, document, &doc.there);
	size_t size_a = missing(&a->list, document, NULL) + missing(document, &a->list, NULL);
	size_t size_b = missing(&b->list, document, NULL) + missing(document, &b->list, NULL);

	if (removed_a != removed_b)
		return removed_a < removed_b;
	if ((a->thread == s->thread) != (b->thread == s->thread))
		return a->thread == s->thread;
	return size_a != size_b ? size_a < size_b : a->order > b->order;
}

static struct ticket *choose(struct as_written_save *s, const struct list *document)
{
	struct ticket *best = NULL;
	size_t newest = 0, kept = 0;
	bool own = false;

	for (size_t c = 0; c < s->count; c++) {
		if (!s->candidates[c]->used)
			s->candidates[kept++] = s->candidates[c];
	}
	s->count = kept;
	/* Rule 4: without an event loop the thread's own tickets go first. */
	for (size_t c = 0; c < s->count && !s->events; c++)
		own |= !s->candidates[c]->written && s->candidates[c]->thread == s->thread;
	for (size_t c = 0; c < s->count; c++)
		newest = s->candidates[c]->order > newest ? s->candidates[c]->order : newest;
	for (int strict = 1; !best && strict >= 0; strict--) {
		for (size_t c = 0; c < s->count; c++) {
			struct ticket *t = s->candidates[c];

			if ((own && (t->written || t->thread != s->thread)) || (strict && dropped(s, t, document, newest)))
				continue;
			if (!best || better(s, t, best, document))
				best = t;
		}
	}
	return best;
}

/* Rule 9. */
static void apply(const struct list *base, const struct list *document)
{
	struct list *there = &doc.there;
	size_t kept = 0, shared = 0, at = 0;

	for (size_t i = 0; i < there->count; i++) {
		if (!list_has(base, there->id[i]) || list_has(document, there->id[i]))
			there->id[kept++] = there->id[i];
	}
	there->count = kept;
	for (size_t i = 0; i < document->count; i++)
		shared = list_has(base, document->id[i]) ? i + 1 : shared;
	for (size_t i = 0; i < document->count; i++) {
		if (list_has(there, document->id[i])) {
			for (at = 0; there->id[at] != document->id[i];)
				at++;
			at++;
		} else if (!list_has(base, document->id[i])) {
			list_insert(there, i >= shared ? there->count : at++, document->id[i]);
		}
	}
}

void as_written_close(struct as_written_save *s, const struct list *document, struct list *there)
{
	struct ticket *last = &doc.last[(unsigned char)s->process], *base = NULL;
	struct list nothing = { .count = 0 };

	/* Rule 7. */
	if (!last->written || last->order < s->opened || missing(document, &last->list, NULL)) {
		base = choose(s, document);
		apply(base ? &base->list : &nothing, document);
		doc.version++;
		for (size_t i = 0; i < doc.there.count; i++) {
			if (!doc.born[doc.there.id[i]])
				doc.born[doc.there.id[i]] = doc.version;
		}
		if (base)
			base->used = true;
		for (size_t i = 0; i < doc.count && !s->events; i++)
			doc.tickets[i].used |= doc.tickets[i].process == s->process && doc.tickets[i].thread == s->thread;
	}
	*last = ticket_of(s->process, s->thread, document, base ? base->version : 0);
	last->written = true;
	*there = doc.there;
	free(s);
}
