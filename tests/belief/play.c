#include "play.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define OPS 96
#define NEVER UINT64_MAX
#define NOTES 8192
#define LONG 48

const char *const app_names[APPS] = { "tight", "holder", "prompt", "reload", "memory", "mixed", "reread" };
const char *const threads_names[THREADS] = { "loop", "pool", "loop+threads", "threads", "single" };
const char *const extra_names[EXTRAS] = { "none", "0.1 Hz", "1 Hz", "5 Hz", "20 Hz", "100 Hz", "listing", "export", "exists" };
const char *const crowd_names[CROWDS] = { "alone", "sparse", "bursts", "onset", "dense", "barrier", "conveyor" };

/* ---- Random numbers --------------------------------------------------------------------------------------------- */

struct dice {
	uint64_t state;
};

static uint64_t mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static struct dice dice_of(uint64_t seed, uint64_t a, uint64_t b)
{
	return (struct dice){ mix(mix(mix(seed) ^ a) ^ b) };
}

static uint64_t roll(struct dice *d)
{
	d->state += UINT64_C(0x9e3779b97f4a7c15);
	return mix(d->state);
}

static uint64_t below(struct dice *d, uint64_t n)
{
	return roll(d) % n;
}

static bool chance(struct dice *d, double p)
{
	return (double)(roll(d) >> 11) * 0x1p-53 < p;
}

static double uniform(struct dice *d, double from, double to)
{
	return from + (to - from) * ((double)(roll(d) >> 11) * 0x1p-53);
}

static double normal(struct dice *d)
{
	double u = uniform(d, 1e-12, 1), v = uniform(d, 0, 1);

	return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

/* Log-normal, within bounds. */
static uint64_t spread(struct dice *d, double median, double sigma, double least, double most)
{
	double x = median * exp(sigma * normal(d));

	return (uint64_t)fmin(fmax(x, least), most);
}

/* ---- The scenario ----------------------------------------------------------------------------------------------- */

enum op_kind { READ, GLANCE, LOOK, CHANGE, OPEN, CLOSE, LOCK_UP, MEET };
enum change { APPEND, ANSWER, TURN, AGAIN, EDIT_CUT, DELETE, UNDO, CLEAR, GROW, CHANGES };

struct op {
	uint64_t delay;		/* before it */
	enum op_kind kind;
	enum change change;
	bool keep;		/* the loop, or the lock, is kept until the next */
};

struct actor {
	bool reader, done, waiting;
	unsigned session, process, thread, number;
	uint64_t next;
	struct dice dice;
	struct op ops[OPS];
	size_t count, at;
	uint64_t requests, total;
	uint64_t period;
	struct list_of_notes base, doc;
	uint64_t seen;		/* the version that `base` was of */
	struct stage_handle *handle;
	uint32_t growing;	/* the message that grows */
};

struct memory {
	bool read;
	uint64_t seen;
	struct list_of_notes list;
};

static struct play {
	const struct script *s;
	const struct mask *mask;
	struct tally *tally;
	FILE *trace;
	unsigned until;
	bool failed;
	/* What all of it has in common. */
	unsigned processes, sessions, users, threads, threads_used;
	bool events, temp, hold_all;
	double gap, hold, think, large, edits;
	struct actor actors[ACTORS];
	unsigned actor_count;
	int locked[STAGE_PROCESSES];	/* actor, or -1 */
	struct memory memory[STAGE_PROCESSES][STAGE_SESSIONS];
	uint32_t notes;
	char writer[NOTES];
	bool unwanted[NOTES];	/* it was removed, and came back; nobody has it in his list again so far */
	uint32_t stamp, in_base[NOTES], in_doc[NOTES], in_now[NOTES], place[NOTES];
} run;

static void trace(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void trace(const char *format, ...)
{
	va_list args;

	if (!run.trace)
		return;
	va_start(args, format);
	vfprintf(run.trace, format, args);
	va_end(args);
}

static void trace_list(const struct list_of_notes *l)
{
	size_t from = l->count > 7 ? l->count - 7 : 0;

	trace(from ? "[%zu.. " : "[", from);
	for (size_t i = from; i < l->count; i++)
		trace("%s%c%u%s", i > from ? " " : "", run.writer[l->at[i].id], l->at[i].id, l->at[i].hash < 16 ? "=" : "");
	trace("]");
}

static void trace_head(const struct actor *a, unsigned thread, const char *what)
{
	trace("%12.3f ms  p%u.%-3u %c  %-7s ", (double)(stage_now - 5000 * SEC) / 1e6, a->process, thread, 'A' + a->number, what);
}

static bool is_loop(void)
{
	return run.s->threads == LOOP;
}

/* ---- What an application does for a request ------------------------------------------------------------------- */

static void add(struct actor *a, enum op_kind kind, uint64_t delay, bool keep)
{
	if (a->count < OPS)
		a->ops[a->count++] = (struct op){ .kind = kind, .delay = delay, .keep = keep };
}

static void add_change(struct actor *a, enum change c)
{
	add(a, CHANGE, 0, true);
	a->ops[a->count - 1].change = c;
}

/* What the scheduler may add. */
static uint64_t stall(struct dice *d)
{
	return chance(d, 0.003) ? (uint64_t)uniform(d, 5e6, 50e6) : 0;
}

static uint64_t step_delay(struct dice *d)
{
	uint64_t t = spread(d, run.gap, 0.5, 0.05e6, run.s->threads == POOL ? 8e6 : 3e6) + stall(d);

	/* Who runs beside others waits for its turn. */
	if (!is_loop() && run.users > 1 && run.think == 0)
		t += (uint64_t)uniform(d, 0, run.gap * (run.users - 1));
	if (run.large > 0)
		t += (uint64_t)uniform(d, run.large / 2, run.large * 1.5);
	return t;
}

static uint64_t model_delay(struct dice *d)
{
	if (run.hold <= 0)
		return 0;
	return spread(d, run.hold, run.hold >= 1e9 ? 0.9 : 0.4, run.hold >= 80e6 ? 80e6 : 0, 180e9);
}

static void add_read(struct actor *a, uint64_t delay, bool keep)
{
	if (run.s->extra == EXISTS)
		add(a, LOOK, delay, is_loop());
	add(a, READ, run.s->extra == EXISTS ? 20 * US : delay, keep && is_loop());
}

static void add_save(struct actor *a, struct dice *d)
{
	add(a, OPEN, step_delay(d), is_loop());
	add(a, CLOSE, step_delay(d) / 2, false);
}

static void tight(struct actor *a, struct dice *d, enum change c, uint64_t delay)
{
	add_read(a, delay, true);
	add_change(a, c);
	a->ops[a->count - 1].keep = is_loop();
	add_save(a, d);
}

static void from_memory(struct actor *a, struct dice *d, enum change c, uint64_t delay)
{
	add(a, LOCK_UP, delay, true);
	add_change(a, c);
	add(a, OPEN, step_delay(d), true);
	add(a, CLOSE, step_delay(d) / 2, false);
}

static bool needs_model(enum change c)
{
	return c == ANSWER || c == TURN || c == AGAIN || c == EDIT_CUT || c == GROW;
}

/* One save of the kind that the application does for the answer. */
static void save_answer(struct actor *a, struct dice *d, enum change c, uint64_t delay)
{
	uint64_t model = needs_model(c) || run.hold_all ? model_delay(d) : 0;

	switch (run.s->app) {
	case MEMORY:
		from_memory(a, d, c, delay + model);
		break;
	case HOLDER:
		add_read(a, delay, !model && run.s->crowd != BARRIER);
		if (run.s->crowd == BARRIER && run.s->threads != SINGLE)
			add(a, MEET, 0, false);
		add_change(a, c);
		a->ops[a->count - 1].delay = model;
		a->ops[a->count - 1].keep = is_loop();
		add_save(a, d);
		break;
	case PROMPT:
		add_read(a, delay, false);
		tight(a, d, c, model);
		break;
	case RELOAD:
		tight(a, d, c, delay + model);
		add(a, GLANCE, step_delay(d), false);
		break;
	default:
		tight(a, d, c, delay + model);
	}
}

static void turn(struct actor *a, struct dice *d)
{
	switch (run.s->app) {
	case HOLDER:
		save_answer(a, d, TURN, 0);
		break;
	case MIXED:
	case REREAD:
		tight(a, d, APPEND, 0);
		if (run.s->app == REREAD)
			add_read(a, step_delay(d), false);
		add_change(a, ANSWER);
		a->ops[a->count - 1].delay = model_delay(d);
		a->ops[a->count - 1].keep = is_loop();
		add_save(a, d);
		break;
	case MEMORY:
		from_memory(a, d, APPEND, 0);
		from_memory(a, d, ANSWER, model_delay(d));
		break;
	default:
		tight(a, d, APPEND, 0);
		save_answer(a, d, ANSWER, step_delay(d));
	}
}

static void edit(struct actor *a, struct dice *d)
{
	static const enum change kinds[] = { AGAIN, AGAIN, AGAIN, EDIT_CUT, EDIT_CUT, DELETE, DELETE, UNDO, UNDO, GROW, GROW, CLEAR };
	enum change c = kinds[below(d, sizeof(kinds) / sizeof(*kinds))];

	if (c == GROW) {
		uint64_t pieces = 2 + below(d, 4);

		a->growing = 0;
		for (uint64_t i = 0; i < pieces; i++)
			save_answer(a, d, GROW, i ? (uint64_t)uniform(d, 50e6, 500e6) : 0);
		return;
	}
	save_answer(a, d, c, 0);
}

static void plan(struct actor *a)
{
	struct dice *d = &a->dice;

	a->count = a->at = 0;
	a->growing = 0;
	if (run.s->crowd == BARRIER)
		add(a, MEET, 0, false);
	if (chance(d, run.edits))
		edit(a, d);
	else
		turn(a, d);
	/* A server of one thread does nothing else until it is done. */
	for (size_t i = 0; run.s->threads == SINGLE && i + 1 < a->count; i++)
		a->ops[i].keep = a->ops[i].kind != MEET;
}

/* ---- What the list becomes --------------------------------------------------------------------------------------- */

static struct note say(const struct actor *a, bool user)
{
	static const double rates[2] = { 0.04, 0.15 };
	struct dice d = dice_of(run.s->seed, run.notes, 77);
	uint32_t id = ++run.notes % NOTES;

	run.writer[id] = (char)('a' + a->number);
	run.unwanted[id] = false;
	if (run.s->equal_texts && chance(&d, rates[user]))
		return (struct note){ .hash = 1 + (user ? below(&d, 3) : 4), .id = id };
	return (struct note){ .hash = mix(run.notes) | 16, .id = id };
}

static void push(struct list_of_notes *l, struct note n)
{
	if (l->count < LIST_MAX - 8)
		l->at[l->count++] = n;
}

static void drop(struct list_of_notes *l, size_t at)
{
	memmove(&l->at[at], &l->at[at + 1], (l->count - at - 1) * sizeof(l->at[0]));
	l->count--;
}

static void grow(struct actor *a, struct list_of_notes *l)
{
	struct note n = say(a, false);

	for (size_t i = 0; i < l->count; i++) {
		if (l->at[i].id == a->growing && a->growing) {
			n.grown = below(&a->dice, 5) ? l->at[i].hash : 0;
			l->at[i] = n;
			a->growing = n.id;
			return;
		}
	}
	push(l, n);
	a->growing = n.id;
}

static void change(struct actor *a, struct list_of_notes *l, enum change c)
{
	struct dice *d = &a->dice;
	size_t i;

	/* Of nothing nothing can be taken away. */
	if (!l->count && (c == DELETE || c == UNDO || c == CLEAR))
		c = TURN;
	/* Long lists are cut: that is an edit as another. */
	if (l->count > LONG && c != GROW)
		l->count = LONG / 2;
	switch (c) {
	case TURN:
		push(l, say(a, true));
		push(l, say(a, false));
		break;
	case APPEND:
	case ANSWER:
		push(l, say(a, c == APPEND));
		break;
	case AGAIN:
		if (l->count)
			l->count--;
		push(l, say(a, false));
		break;
	case EDIT_CUT:
		i = l->count > 6 ? l->count - 1 - below(d, 6) : l->count ? below(d, l->count) : 0;
		l->count = i < l->count ? i : l->count;
		push(l, say(a, true));
		if (run.s->app == HOLDER)
			push(l, say(a, false));
		break;
	case DELETE:
		if (l->count)
			drop(l, l->count > 8 ? l->count - 1 - below(d, 8) : below(d, l->count));
		break;
	case UNDO:
		l->count -= l->count > 2 ? 2 : l->count;
		break;
	case CLEAR:
		l->count = 0;
		break;
	default:
		grow(a, l);
	}
}

/* ---- What must be there ---------------------------------------------------------------------------------------- */

/* What a save of `a` must leave of `now`. Whether it removes something of it. */
static bool expect(const struct actor *a, const struct list_of_notes *now, struct list_of_notes *ret)
{
	static size_t before[LIST_MAX];
	size_t at = now->count, n = 0;
	uint32_t stamp = ++run.stamp;
	bool removes = false;

	for (size_t i = 0; i < a->base.count; i++)
		run.in_base[a->base.at[i].id] = stamp;
	for (size_t i = 0; i < now->count; i++) {
		run.in_now[now->at[i].id] = stamp;
		run.place[now->at[i].id] = (uint32_t)i;
	}
	for (size_t i = a->doc.count; i-- > 0;) {
		uint32_t id = a->doc.at[i].id;

		run.in_doc[id] = stamp;
		before[i] = SIZE_MAX;
		if (run.in_base[id] != stamp)
			before[i] = at;
		else if (run.in_now[id] == stamp)
			at = run.place[id];
	}
	ret->count = 0;
	for (size_t i = 0; i <= now->count; i++) {
		for (; n < a->doc.count && (before[n] == SIZE_MAX || before[n] <= i); n++) {
			if (before[n] != SIZE_MAX && ret->count < LIST_MAX)
				ret->at[ret->count++] = a->doc.at[n];
		}
		if (i == now->count)
			break;
		if (run.in_base[now->at[i].id] == stamp && run.in_doc[now->at[i].id] != stamp)
			removes = true;
		else if (ret->count < LIST_MAX)
			ret->at[ret->count++] = now->at[i];
	}
	return removes;
}

static bool same_texts(const struct list_of_notes *a, const struct list_of_notes *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++) {
		if (a->at[i].hash != b->at[i].hash)
			return false;
	}
	return true;
}

/* How many of a's messages b has not, by text; `all`: or but for those that somebody wanted to be rid of. */
static size_t missing(const struct list_of_notes *a, const struct list_of_notes *b, bool all)
{
	bool used[LIST_MAX] = { false };
	size_t n = 0, j;

	for (size_t i = 0; i < a->count; i++) {
		for (j = 0; j < b->count && (used[j] || b->at[j].hash != a->at[i].hash); j++)
			;
		if (j < b->count)
			used[j] = true;
		else
			n += all || !run.unwanted[a->at[i].id];
	}
	return n;
}

/* Whether the messages of the document stand in its order, by number. */
static bool in_order(const struct actor *a, const struct list_of_notes *l)
{
	uint32_t stamp = ++run.stamp, last = 0;

	for (size_t i = 0; i < a->doc.count; i++) {
		run.in_doc[a->doc.at[i].id] = stamp;
		run.place[a->doc.at[i].id] = (uint32_t)i;
	}
	for (size_t i = 0; i < l->count; i++) {
		if (run.in_doc[l->at[i].id] != stamp)
			continue;
		if (run.place[l->at[i].id] < last)
			return false;
		last = run.place[l->at[i].id];
	}
	return true;
}

/* What came back: its writer has removed it, or somebody else had before and its writer still has it. */
static size_t count_back(const struct list_of_notes *after)
{
	uint32_t stamp = run.stamp;	/* of expect() */
	size_t n = 0;

	for (size_t i = 0; i < after->count; i++) {
		uint32_t id = after->at[i].id;

		if (run.in_base[id] != stamp || (run.in_now[id] == stamp) == (run.in_doc[id] == stamp))
			continue;
		run.unwanted[id] = true;
		n++;
	}
	return n;
}

static unsigned check(const struct actor *a, const struct list_of_notes *now, const struct store_save *save, bool stale)
{
	static struct list_of_notes want, got;
	struct tally *t = run.tally;
	bool removes = expect(a, now, &want);
	size_t lost, extra, back;
	unsigned wrong = 0;

	session_list(stage_session(a->session), &got);
	t->saves++;
	t->stale += stale;
	t->edits += removes;
	t->uncertain += (save->result & STORE_SAVED_UNCERTAIN) && !(save->result & STORE_SAVED_EDIT);
	t->decided += (save->result & STORE_SAVED_EDIT) != 0;
	if (same_texts(&want, &got)) {
		session_number(stage_session(a->session), &want);
		return 0;
	}
	lost = missing(&want, &got, false);
	extra = missing(&got, &want, true);
	back = count_back(&got);
	if (back > extra)
		back = extra;
	wrong = (lost ? W_LOST : 0) | (back ? W_KEPT : 0) | (extra > back ? W_DOUBLED : 0);
	if (!wrong && !run.s->equal_texts && !in_order(a, &got))
		wrong = W_ORDER;
	t->lost += lost;
	t->lost_saves += lost > 0;
	t->lost_decided += lost && (save->result & STORE_SAVED_EDIT);
	t->kept += back > 0 && removes;
	t->doubled += extra - back;
	t->order += wrong == W_ORDER;
	if (run.trace && wrong) {
		trace("%37s now   ", "");
		trace_list(&now[0]);
		trace("\n%37s want  ", "");
		trace_list(&want);
		trace("\n%37s got   ", "");
		trace_list(&got);
		trace("  %s%s%s%s\n", wrong & W_LOST ? "LOST " : "", wrong & W_KEPT ? "KEPT " : "", wrong & W_DOUBLED ? "DOUBLED " : "",
		      wrong & W_ORDER ? "ORDER" : "");
	}
	return wrong;
}

/* ---- Steps --------------------------------------------------------------------------------------------------------- */

static unsigned thread_of(struct actor *a)
{
	if (run.s->threads == POOL)
		return 1 + (unsigned)below(&a->dice, run.threads);
	return a->thread;
}

static void begin_request(struct actor *a)
{
	a->dice = dice_of(run.s->seed, a->number + 1, a->requests);
	if (run.s->app != MEMORY)
		a->process = (unsigned)below(&a->dice, run.processes);
	switch (run.s->threads) {
	case LOOP:
	case SINGLE:
		a->thread = 0;
		break;
	case REQUEST:
		/* A new one each time; of numbers that are used again much later. */
		a->thread = 1 + run.threads_used++ % (STAGE_THREADS - 1);
		break;
	default:
		a->thread = 1 + (unsigned)below(&a->dice, run.threads);
	}
}

static bool is_left_out(const struct actor *a)
{
	return run.mask && a->requests < STEPS && (run.mask->step[a->number][a->requests / 64] >> a->requests % 64 & 1);
}

static void do_read(struct actor *a, enum op_kind kind)
{
	struct stage_who who = { a->process, thread_of(a) };
	static struct list_of_notes seen;

	stage_read(who, a->session, &seen);
	if (kind == READ) {
		list_copy(&a->base, &seen);
		list_copy(&a->doc, &seen);
		a->seen = session_version(stage_session(a->session));
		for (size_t i = 0; i < seen.count; i++)
			run.unwanted[seen.at[i].id] = false;
	}
	if (run.trace) {
		trace_head(a, who.thread, kind == READ ? "reads" : "glances");
		trace("v%-4lu ", (unsigned long)session_version(stage_session(a->session)));
		trace_list(&seen);
		trace("\n");
	}
}

static void do_open(struct actor *a)
{
	struct stage_who who = { a->process, thread_of(a) };

	a->handle = stage_open(who, a->session, run.temp);
	if (run.trace) {
		trace_head(a, who.thread, "opens");
		trace("      ");
		trace_list(&a->doc);
		trace("\n");
	}
}

static void do_close(struct actor *a)
{
	struct stage_who who = { a->process, thread_of(a) };
	static struct list_of_notes now;
	struct session *s = stage_session(a->session);
	struct store_save save;
	uint64_t before = session_version(s);
	unsigned wrong;

	session_list(s, &now);
	stage_close(a->handle, who, &a->doc, &save);
	a->handle = NULL;
	if (run.trace) {
		trace_head(a, who.thread, "saves");
		trace("v%-4lu %s%s%s; base v%lu+%lu%s of %zu, %zu ruled out; it was v%lu\n", (unsigned long)save.version,
		      save.result & STORE_SAVED_SAME ? "the same" : save.result & STORE_SAVED_MERGED ? "merged" : "as written",
		      save.certain ? ", certain" : save.result & STORE_SAVED_EDIT ? ", taken for an EDIT" :
		      save.result & STORE_SAVED_UNCERTAIN ? ", UNCERTAIN" : "", save.result & STORE_SAVED_DOUBT ? ", doubt" : "",
		      (unsigned long)stage_choice.version, (unsigned long)stage_choice.own, stage_choice.written ? " written" : "",
		      stage_choice.candidates, stage_choice.unlikely, (unsigned long)a->seen);
	}
	wrong = check(a, &now, &save, a->seen != before);
	list_copy(&a->base, &a->doc);
	a->seen = save.version;
	if (run.s->app == MEMORY) {
		list_copy(&run.memory[a->process][a->session].list, &a->doc);
		run.memory[a->process][a->session].seen = save.version;
	}
	if (wrong & run.until)
		run.failed = true;
}

static void do_lock_up(struct actor *a)
{
	struct memory *m = &run.memory[a->process][a->session];

	if (!m->read) {
		do_read(a, READ);
		list_copy(&m->list, &a->base);
		m->seen = a->seen;
		m->read = true;
	}
	list_copy(&a->base, &m->list);
	list_copy(&a->doc, &m->list);
	a->seen = m->seen;
}

static bool all_wait(unsigned session)
{
	for (unsigned i = 0; i < run.actor_count; i++) {
		const struct actor *b = &run.actors[i];

		if (!b->reader && !b->done && b->session == session && !b->waiting)
			return false;
	}
	return true;
}

static void release(unsigned session)
{
	if (!all_wait(session))
		return;
	for (unsigned i = 0; i < run.actor_count; i++) {
		struct actor *b = &run.actors[i];

		if (b->waiting && b->session == session) {
			b->waiting = false;
			b->next = stage_now + 1 + below(&b->dice, 300 * US);
		}
	}
}

static uint64_t pause_of(struct actor *a)
{
	struct dice *d = &a->dice;

	switch (run.s->crowd) {
	case ALONE:
	case SPARSE:
		return run.think > 0 ? spread(d, run.think, 0.8, 1e6, 60e9) : 0;
	case BURSTS:
		return chance(d, 0.7) ? (uint64_t)uniform(d, 0, 5e6) : spread(d, 3e9, 0.5, 1e6, 60e9);
	case CONVEYOR:
		return a->period;
	default:
		return run.think > 0 ? (uint64_t)uniform(d, 0, run.think) : 0;
	}
}

static void next_request(struct actor *a)
{
	a->requests++;
	if (a->requests >= a->total || !session_room(stage_session(a->session), 64) || run.notes + 64 > NOTES) {
		a->done = true;
		a->next = NEVER;
		release(a->session);
		return;
	}
	begin_request(a);
	plan(a);
	a->next = stage_now + pause_of(a) + (a->count ? a->ops[0].delay : 0);
}

/* When the list is read again: after a poll's period, or when one likes. */
static void reader_step(struct actor *a)
{
	if (!is_left_out(a)) {
		if (run.s->extra == LISTING) {
			unsigned own = a->session;

			for (a->session = 0; a->session < run.sessions; a->session++)
				do_read(a, GLANCE);
			a->session = own;
		} else {
			do_read(a, GLANCE);
		}
	}
	a->requests++;
	begin_request(a);
	a->next = stage_now + (run.s->extra == LISTING || run.s->extra == EXPORT ? (uint64_t)(-(double)a->period * log(uniform(&a->dice, 1e-9, 1))) :
			       (uint64_t)((double)a->period * uniform(&a->dice, 0.95, 1.05))) + 1;
}

static void user_step(struct actor *a)
{
	const struct op *o = &a->ops[a->at];

	if (a->at == 0 && is_left_out(a))
		a->at = a->count;
	if (a->at < a->count) {
		switch (o->kind) {
		case READ:
		case GLANCE:
			do_read(a, o->kind);
			break;
		case LOOK:
			stage_look((struct stage_who){ a->process, thread_of(a) }, a->session);
			break;
		case CHANGE:
			change(a, &a->doc, o->change);
			break;
		case OPEN:
			do_open(a);
			break;
		case CLOSE:
			do_close(a);
			break;
		case LOCK_UP:
			do_lock_up(a);
			break;
		case MEET:
			a->waiting = true;
			a->next = NEVER;
			break;
		}
		run.locked[a->process] = o->keep ? (int)a->number : -1;
		a->at++;
	}
	if (a->at >= a->count) {
		next_request(a);
	} else if (a->waiting) {
		release(a->session);
	} else {
		a->next = stage_now + a->ops[a->at].delay;
	}
}

/* ---- The whole ------------------------------------------------------------------------------------------------------ */

static struct actor *new_actor(bool reader, unsigned session)
{
	struct actor *a = &run.actors[run.actor_count];

	a->number = run.actor_count++;
	a->reader = reader;
	a->done = a->waiting = false;
	a->session = session;
	a->process = 0;
	a->requests = 0;
	a->handle = NULL;
	a->base.count = a->doc.count = 0;
	a->seen = 0;
	a->count = a->at = 0;
	return a;
}

static double pick(struct dice *d, const double *list, size_t n)
{
	return list[below(d, n)];
}
#define PICK(d, ...) pick(d, (const double[]){ __VA_ARGS__ }, sizeof((const double[]){ __VA_ARGS__ }) / sizeof(double))

static void set_up(const struct script *s)
{
	static const double periods[EXTRAS] = { [POLL_SLOW] = 10e9, [POLL_1] = 1e9, [POLL_5] = 200e6, [POLL_20] = 50e6, [POLL_100] = 10e6,
						[LISTING] = 5e9, [EXPORT] = 20e9 };
	struct dice d = dice_of(s->seed, 0, 0);
	bool dense = s->crowd >= ONSET, real = chance(&d, 0.6);
	double most = periods[s->extra] ? periods[s->extra] * 100 : 60e9;
	uint64_t saves;

	run.events = s->threads == LOOP || s->threads == POOL || s->threads == LOOP_REQUEST;
	run.processes = chance(&d, 0.75) ? 1 : 2 + (unsigned)below(&d, 3);
	run.threads = s->threads == POOL && chance(&d, 0.3) ? 4 : s->threads == POOL ? 12 : 8 + (unsigned)below(&d, 32);
	run.threads_used = 0;
	run.temp = chance(&d, 0.25);
	run.hold_all = chance(&d, 0.5);
	run.gap = s->threads == POOL ? PICK(&d, 0.3e6, 0.6e6, 1.2e6) : PICK(&d, 0.1e6, 0.2e6, 0.4e6);
	run.large = chance(&d, 0.08) ? PICK(&d, 5e6, 20e6, 100e6) : 0;
	if (dense) {
		run.hold = PICK(&d, 0, 1e6, 10e6, 100e6, 1e9);
		run.think = PICK(&d, 0, 0, 1e6, 20e6);
		run.edits = PICK(&d, 0, 0.05, 0.2);
	} else if (s->crowd == ALONE) {
		run.hold = real ? PICK(&d, 1e9, 3e9, 10e9) : PICK(&d, 80e6, 200e6, 500e6);
		run.think = real ? PICK(&d, 1e9, 4e9, 15e9) : PICK(&d, 0, 20e6, 300e6);
		run.edits = 0.35;
	} else {
		run.hold = real ? PICK(&d, 1e9, 3e9, 10e9) : PICK(&d, 80e6, 500e6);
		run.think = s->crowd == BURSTS ? 0 : real ? PICK(&d, 4e9, 15e9, 40e9) : PICK(&d, 1e9, 3e9);
		run.edits = PICK(&d, 0, 0.1, 0.25);
	}
	/* So that what reads often does not do most of the work. */
	run.hold = fmin(run.hold, most);
	run.think = fmin(run.think, most);
	run.users = s->crowd == ALONE ? 1 : s->crowd == SPARSE ? 2 + (unsigned)below(&d, 3) : s->crowd == ONSET ? 8 : 2 + (unsigned)below(&d, 7);
	run.sessions = dense || chance(&d, 0.6) ? 1 : 2;
	run.actor_count = 0;
	saves = s->crowd == ONSET ? 40 : 60 + below(&d, 120);
	for (unsigned n = 0; n < run.sessions; n++) {
		for (unsigned i = 0; i < run.users && run.actor_count < ACTORS - 2; i++) {
			struct actor *a = new_actor(false, n);

			a->total = saves / run.users + 1;
			if (s->crowd == ALONE)
				a->total = 20 + below(&d, 60);
			if (s->crowd == ONSET)
				a->total = 6;
			a->period = (uint64_t)uniform(&d, 0.1e6, run.gap * 6);
			if (s->app == MEMORY)
				a->process = (unsigned)below(&d, run.processes);
		}
	}
	if (periods[s->extra] > 0) {
		for (unsigned i = 0; i < 1 + (chance(&d, 0.2) ? 1u : 0u); i++)
			new_actor(true, (unsigned)below(&d, run.sessions))->period = (uint64_t)periods[s->extra];
	}
	if (s->crowd == ONSET)
		run.users = 1;
	for (unsigned i = 0; i < STAGE_PROCESSES; i++)
		run.locked[i] = -1;
	for (unsigned i = 0; i < STAGE_PROCESSES; i++)
		for (unsigned k = 0; k < STAGE_SESSIONS; k++)
			run.memory[i][k].read = false;
	run.notes = 0;
}

/* The first requests of an onset are one user's alone. */
static void start(struct actor *a)
{
	struct dice d = dice_of(run.s->seed, 1000 + a->number, 0);

	begin_request(a);
	a->next = stage_now + 1 + below(&d, a->reader ? a->period + 1 : 2 * MS);
	if (a->reader)
		return;
	if (run.s->crowd == ONSET && a->number)
		a->next = NEVER;
	else if (run.s->crowd == ONSET)
		a->total = 36 + below(&d, 60);
	plan(a);
}

/* After its part alone the first of an onset is joined by the rest. */
static void onset(const struct actor *first)
{
	if (run.s->crowd != ONSET || first->number || first->requests + 6 != first->total || first->at)
		return;
	for (unsigned i = 1; i < run.actor_count; i++) {
		struct actor *a = &run.actors[i];

		if (!a->reader && !a->done && a->next == NEVER)
			a->next = stage_now + below(&a->dice, 500 * US);
	}
	run.users = run.actor_count;
	run.edits = fmin(run.edits, 0.05);
}

bool play(const struct script *s, const struct mask *mask, unsigned until, struct tally *tally, FILE *trace_to)
{
	bool events[STAGE_PROCESSES];
	unsigned left = 0;

	run.s = s;
	run.mask = mask;
	run.tally = tally;
	run.trace = trace_to;
	run.until = until;
	run.failed = false;
	set_up(s);
	for (unsigned i = 0; i < STAGE_PROCESSES; i++)
		events[i] = run.events;
	stage_begin(s->mode, run.processes, events);
	for (unsigned i = 0; i < run.actor_count; i++) {
		start(&run.actors[i]);
		if (mask && mask->actor[i]) {
			run.actors[i].done = true;
			run.actors[i].next = NEVER;
		}
	}
	for (;;) {
		struct actor *a = NULL;

		left = 0;
		for (unsigned i = 0; i < run.actor_count; i++) {
			struct actor *b = &run.actors[i];

			left += !b->reader && !b->done;
			if (!a || b->next < a->next)
				a = b;
		}
		if (!left || a->next == NEVER || run.failed)
			break;
		int owner = run.locked[a->process];
		if (owner >= 0 && (unsigned)owner != a->number) {
			a->next = run.actors[owner].next + 1 + a->number;
			continue;
		}
		stage_now = a->next > stage_now ? a->next : stage_now + 1;
		if (a->reader) {
			reader_step(a);
		} else {
			user_step(a);
			onset(a);
		}
	}
	for (unsigned i = 0; i < run.actor_count; i++) {
		if (run.actors[i].handle)
			stage_drop(run.actors[i].handle);
		run.actors[i].handle = NULL;
	}
	stage_end();
	return run.failed;
}
