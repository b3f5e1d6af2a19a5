/*
 * A sequential test. The waits of certain saves, from the newest read to the open, are weighed against those that chance would
 * give if each read were somebody else's. When the odds are large enough the process is one that reads right before it saves, or
 * holds what it read about so long. Then an older read counts no more for a save if it is older by far than the process was ever
 * seen to wait; but not in a crowd of reads, nor where saves follow one another too fast for one person's hand: there a task
 * that was held up for long, at a lock say, may come between another's read and save.
 */
#include "evidence.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Each constant with its reason; the measured effects are those of tests/belief. */
#define ODDS 11.5		/* natural logarithm of 100,000: so rarely may chance alone look like that */
#define SAVE_MAX 5.0		/* what a single save can say, either way: clocks and schedulers have moods */
#define CHANCE_MAX 0.15		/* above it a read before the save at hand says nothing */
#define STRAYS_MIN 0.5		/* reads that are assumed though none was seen */
#define SLACK 3			/* the save at hand may have waited so much longer than those before */
#define FAR 40			/* one task's wait among others that keep the machine busy may be so much longer than most */
#define FAR_MIN UINT64_C(6000000)	/* a scheduler's turn is 3 to 5 ms */
#define FAR_MAX UINT64_C(50000000)	/* no turn is so long */
#define OUTLIERS 8u		/* one wait in so many is the machine's, not the process's */
#define SHORTEST 50000		/* nanoseconds: requests take that long */
#define QUIET 5.0		/* so many waits lie between a save and the read for the next one, by one person's hand */
#define QUIET_MIN 2e6
#define QUIET_MAX 50e6
#define CROWD 3.0		/* reads that one save may come with: a prompt, its own, and the reload after the one before */
#define REGULAR_MIN 6u		/* saves with the same number of reads, for that number to be known */

void reads_note(struct reads *r, uint64_t now, pid_t thread, uint64_t ino, uint64_t version)
{
	r->last[r->next++ % READS_KEPT] = (struct glimpse){ .at = now, .ino = ino, .version = version, .thread = thread };
	r->since++;
	r->total++;
}

void reads_saved(struct reads *r, uint64_t now, bool grown)
{
	r->turns[r->next_turn++ % TURNS_KEPT] = (struct turn){ .saved = now, .reads = r->since, .grown = grown };
	r->since = 0;
	r->saves++;
	r->grown += grown;
}

/* How many of those that are kept came after `from` and, `to` not 0, before `to`. */
static uint32_t count_between(const struct reads *r, uint64_t from, uint64_t to)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < READS_KEPT && i < r->next; i++)
		n += r->last[i].at > from && (!to || r->last[i].at < to);
	return n;
}

static uint32_t saves_since(const struct reads *r, uint64_t from)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < TURNS_KEPT && i < r->next_turn; i++)
		n += r->turns[i].saved > from;
	return n;
}

struct moment reads_moment(const struct reads *r, uint64_t opened, pid_t thread)
{
	struct moment m = { 0 };

	for (uint32_t i = 0; r && i < READS_KEPT && i < r->next; i++) {
		const struct glimpse *g = &r->last[i];

		if (g->at < opened && g->at > m.newest.at)
			m.newest = *g;
	}
	if (!m.newest.at)
		return m;
	uint32_t later = count_between(r, opened, 0);
	uint64_t saved = r->next_turn ? r->turns[(r->next_turn - 1) % TURNS_KEPT].saved : 0;
	m.known = true;
	m.gap = opened - m.newest.at;
	m.span = saved && saved < opened ? opened - saved : 0;
	m.quiet = saved && saved < m.newest.at ? m.newest.at - saved : 0;
	m.reads = r->since > later ? r->since - later : 0;
	m.own_thread = m.newest.thread == thread;
	return m;
}

void habit_confirm(struct habit *h, const struct moment *m)
{
	/* Of the first save it is not known how many reads were made for it. */
	if (!m->span)
		return;
	h->saves[h->count % SAVES_KEPT] = (struct habit_save){ m->gap, m->span, m->reads, m->own_thread };
	/* Full it stays full. */
	h->count = h->count + 1 < 2 * SAVES_KEPT ? h->count + 1 : SAVES_KEPT;
	h->doubted &= h->count < SAVES_MIN;
}

void habit_doubt(struct habit *h)
{
	h->count = 0;
	h->doubted = true;
}

/* What the saves of a habit have in common. */
struct summary {
	uint32_t count, same;
	uint32_t reads;			/* that a save takes; 0: some take none, the list is elsewhere */
	bool regular;			/* as many each time: nobody else reads */
	double crowd;			/* reads between two saves, at most CROWD */
	uint64_t longest, usual;	/* wait, of all and but for outliers */
	double mean;			/* of the waits but for outliers */
	double rate;			/* of reads, in a nanosecond: to another task all of them are somebody else's */
	double odds;			/* that the waits are no chance, as a logarithm */
};

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static struct summary summarize(const struct habit *h)
{
	struct summary s = { .count = h->count < SAVES_KEPT ? h->count : SAVES_KEPT };
	uint32_t usual = s.count - s.count / OUTLIERS, fewest = UINT32_MAX, exact = 0;
	uint64_t waits[SAVES_KEPT];
	double reads = STRAYS_MIN, span = 1;

	for (uint32_t i = 0; i < s.count; i++) {
		const struct habit_save *x = &h->saves[i];

		fewest = x->reads < fewest ? x->reads : fewest;
		s.same += x->own_thread;
		span += x->span;
		waits[i] = x->gap;
	}
	for (uint32_t i = 0; i < s.count; i++)
		exact += h->saves[i].reads == fewest;
	s.regular = exact >= REGULAR_MIN && 4 * exact >= 3 * s.count;
	s.reads = s.regular || !fewest ? fewest : 1;
	for (uint32_t i = 0; i < s.count; i++) {
		reads += h->saves[i].reads;
		s.crowd += (double)h->saves[i].reads / s.count;
	}
	s.crowd = fmin(s.crowd, CROWD);
	qsort(waits, s.count, sizeof(*waits), compare);
	for (uint32_t i = 0; i < usual; i++)
		s.mean += (double)waits[i] / usual;
	s.mean = fmax(s.mean, SHORTEST);
	s.longest = s.count ? waits[s.count - 1] : 0;
	s.usual = usual ? waits[usual - 1] : 0;
	s.rate = reads / span;
	/* Both as waits of chance come, with their own mean. */
	for (uint32_t i = 0; i < s.count; i++)
		s.odds += fmax(-SAVE_MAX, fmin(SAVE_MAX, -log(s.rate * s.mean) - waits[i] / s.mean + waits[i] * s.rate));
	return s;
}

/* Whether each read so far belongs to a save, when each takes so many. */
static bool all_used(const struct reads *r, uint32_t each)
{
	return r->open + r->total + r->grown <= each * (r->saves + 1);
}

/* How old another read must be to be out of the question, when `chance` is that of the newest one. */
static uint64_t far_from(const struct summary *s, double chance)
{
	double busy = fmin(fmax(FAR * s->mean, 4.0 * s->longest), FAR_MAX);
	double waits = (log(chance) + ODDS) * s->mean;

	return (uint64_t)fmax(fmax(FAR_MIN, busy), fmax(waits, 1.5 * s->longest));
}

static bool trusts(const struct habit *h, const struct reads *r, const struct moment *m, uint64_t opened, struct verdict *ret)
{
	struct summary s = summarize(h);
	struct verdict v = { 0 };
	double chance;
	uint64_t far;

	/* Who saves without a read before has its list elsewhere. */
	if (s.count < SAVES_MIN || !m->known || !s.reads || m->reads < s.reads || m->gap > SLACK * s.longest ||
	    (s.same == SAVES_KEPT && !m->own_thread))
		return false;
	chance = -expm1(-s.rate * fmax(s.mean, m->gap));
	far = far_from(&s, chance);
	/* Where more read just now, what was seen in quieter times says little. */
	if (opened > far && m->quiet >= fmin(fmax(QUIET * s.usual, QUIET_MIN), QUIET_MAX) && chance <= CHANCE_MAX && s.odds >= ODDS &&
	    count_between(r, opened - far, opened) <= s.crowd * (1 + saves_since(r, opened - far)) + 1 + 2 * s.rate * far)
		v.before = opened - far;
	if (s.regular && all_used(r, s.reads))
		v.reads = s.reads;
	*ret = v;
	return v.before || v.reads;
}

bool habit_trusts(const struct habit *own, const struct habit *others, const struct reads *r, const struct moment *m, uint64_t opened,
		  struct verdict *ret)
{
	if (trusts(own, r, m, opened, ret))
		return true;
	return others && !own->doubted && (own->count < SAVES_MIN || summarize(own).reads) && trusts(others, r, m, opened, ret);
}
bool verdict_excludes(const struct verdict *v, const struct reads *r, uint64_t at)
{
	const struct turn *of = NULL;

	if (at < v->before)
		return true;
	for (uint32_t i = 0; i < TURNS_KEPT && i < r->next_turn; i++) {
		const struct turn *t = &r->turns[i];

		if (t->saved > at && (!of || t->saved < of->saved))
			of = t;
	}
	/* The oldest turn that is kept began at a time that is not known. */
	return of && of->reads + of->grown <= v->reads && (r->next_turn <= TURNS_KEPT || of != &r->turns[r->next_turn % TURNS_KEPT]);
}
