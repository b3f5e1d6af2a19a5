#include "crowd.h"

#include <criterion/criterion.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "as_written.h"
#include "json.h"
#include "view.h"
#include "world.h"

#define SHORT 3			/* texts that anyone may say */

struct message {
	uint64_t pos, born, hash;
	unsigned text;		/* below SHORT, or SHORT + its own number */
	unsigned author;
	bool stored, appended;
};

/* One open save. */
struct draft {
	struct world_handle *handle;
	struct as_written_save *save;
	struct list doc, removed;	/* what is in it; what it leaves out of what its writer had */
};

struct peer {
	char process;
	unsigned thread;
	bool memory, begun;
	struct list doc;
	bool had[MESSAGES], dropped[MESSAGES];
	struct draft drafts[2];
	size_t open;
};

static struct run {
	const struct script *script;
	struct world *world;
	struct store *store;
	struct message messages[MESSAGES];
	unsigned message_count;
	struct list there;
	struct peer peers[PEERS];
	struct tally tally;
	char why[256];
	FILE *trace;		/* NULL: not wanted */
} run;

/* ---- Lists ---------------------------------------------------------------------------------------------------- */

static void list_swap(struct list *l, unsigned from, unsigned to)
{
	for (size_t i = 0; i < l->count; i++) {
		if (l->id[i] == from)
			l->id[i] = to;
	}
}

static int message_text(unsigned text, char *out, size_t size)
{
	if (text < SHORT)
		return snprintf(out, size, "{\"role\": \"user\", \"content\": \"ok%u\"}", text);
	return snprintf(out, size, "{\"role\": \"user\", \"content\": \"message %u\"}", text);
}

static struct text list_text(const struct list *l)
{
	struct text t = { malloc(l->count * 64 + 3), 1 };

	cr_assert(t.data);
	t.data[0] = '[';
	for (size_t i = 0; i < l->count; i++) {
		if (i)
			t.size += (size_t)sprintf(t.data + t.size, ", ");
		t.size += (size_t)message_text(run.messages[l->id[i]].text, t.data + t.size, 64);
	}
	t.data[t.size++] = ']';
	return t;
}

/* As in the table. */
static void trace_list(const struct list *l)
{
	static const char letters[] = "abcdefghijlmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

	for (size_t i = 0; i < l->count; i++) {
		unsigned text = run.messages[l->id[i]].text;

		fputc(text < SHORT ? "k+*"[text] : letters[(text - SHORT) % (sizeof(letters) - 1)], run.trace);
	}
	if (!l->count)
		fputc('-', run.trace);
}

static void __attribute__((format(printf, 1, 2))) trace(const char *format, ...)
{
	va_list args;

	if (!run.trace)
		return;
	va_start(args, format);
	vfprintf(run.trace, format, args);
	va_end(args);
}

static void __attribute__((format(printf, 1, 2))) wrong(const char *format, ...)
{
	va_list args;

	if (run.script->as_written)
		run.tally.lost++;
	if (*run.why || run.script->as_written)
		return;
	va_start(args, format);
	vsnprintf(run.why, sizeof(run.why), format, args);
	va_end(args);
}

/* ---- What a writer does to its list --------------------------------------------------------------------------- */

static unsigned new_message(struct peer *a, unsigned chance)
{
	unsigned id = run.message_count++;
	struct message *m = &run.messages[id];
	char text[64];

	*m = (struct message){ .text = run.script->equal_texts && chance % 100 < 35 ? chance / 100 % SHORT : SHORT + id,
			       .author = (unsigned)(a - run.peers) };
	m->hash = json_hash(text, (size_t)message_text(m->text, text, sizeof(text)));
	a->had[id] = true;
	return id;
}

static void append(struct peer *a, unsigned chance)
{
	unsigned id = new_message(a, chance);

	run.messages[id].appended = true;
	a->doc.id[a->doc.count++] = id;
}

static void insert(struct peer *a, size_t at, unsigned chance)
{
	unsigned id = new_message(a, chance);

	memmove(&a->doc.id[at + 1], &a->doc.id[at], (a->doc.count - at) * sizeof(a->doc.id[0]));
	a->doc.id[at] = id;
	a->doc.count++;
}

static void cut(struct peer *a, size_t from, size_t to, struct draft *d)
{
	for (size_t i = from; i < to; i++) {
		a->dropped[a->doc.id[i]] = true;
		d->removed.id[d->removed.count++] = a->doc.id[i];
	}
	memmove(&a->doc.id[from], &a->doc.id[to], (a->doc.count - to) * sizeof(a->doc.id[0]));
	a->doc.count -= to - from;
}

static void change(struct peer *a, const struct action *x, struct draft *d)
{
	size_t n = a->doc.count, i = n ? x->b % n : 0;

	/* Saved as it was read. In an event loop that may be a return to what was there before (rule 5). */
	if (run.script->edits && kinds[run.script->kind].identity && x->a % 100 >= 96)
		return;
	/* Of lists whose saves overlap the order of closing decides: nothing is removed from them. */
	if (!run.script->edits || !n || x->a % 100 >= 15 || a->open > 1) {
		append(a, x->b);
		if (x->a % 100 >= 92)
			append(a, 99);
		return;
	}
	switch (x->a / 100 % 7) {
	case 0:		/* regenerate the last */
		cut(a, n - 1, n, d);
		append(a, x->c);
		break;
	case 1:		/* edit one and cut the rest */
		cut(a, i, n, d);
		append(a, x->c);
		break;
	case 2:
		cut(a, i, i + 1, d);
		break;
	case 3:
		insert(a, 0, x->c);
		break;
	case 4:		/* keep the last few */
		cut(a, 0, n > 4 ? n - 4 : 0, d);
		append(a, x->c);
		break;
	case 5:		/* summarise */
		cut(a, 0, (n + 1) / 2, d);
		insert(a, 0, x->c);
		break;
	default:
		if (x->c % 4)
			cut(a, i, i + 1, d);
		else
			cut(a, 0, n, d);
	}
}

/* ---- The model ------------------------------------------------------------------------------------------------ */

/*
 * In an event loop nothing tells a coroutine that says what another has said from one that goes on from the other's document; that, and what comes
 * of it, is counted. With other texts nothing may go wrong.
 */
static bool is_guess(const struct peer *a)
{
	return run.script->equal_texts && isupper((unsigned char)a->process);
}

static size_t find_there(const struct list *there, const struct view_item *item)
{
	for (size_t i = 0; i < there->count; i++) {
		const struct message *m = &run.messages[there->id[i]];

		if (m->pos == item->pos && m->born == item->born)
			return i;
	}
	return SIZE_MAX;
}

/* The document's own message that this item is. */
static bool find_fresh(const struct list *doc, const struct view_item *item, unsigned *ret)
{
	for (size_t i = 0; i < doc->count; i++) {
		struct message *m = &run.messages[doc->id[i]];

		if (m->stored || m->hash != item->hash)
			continue;
		m->stored = true;
		m->pos = item->pos;
		m->born = item->born;
		*ret = doc->id[i];
		return true;
	}
	return false;
}

/* The document's message that was taken out and put in again at another place. */
static bool find_moved(const struct list *before, const struct list *stay, const struct draft *d, const struct view_item *item, unsigned *ret)
{
	for (size_t i = 0; i < d->doc.count; i++) {
		unsigned id = d->doc.id[i];
		struct message *m = &run.messages[id];

		if (m->hash != item->hash || !list_has(before, id) || list_has(stay, id))
			continue;
		m->pos = item->pos;
		m->born = item->born;
		*ret = id;
		return true;
	}
	return false;
}

/* What came though it was nobody's new message: an old one again. Gets a number of its own. */
static unsigned came_back(struct peer *a, const struct list *before, struct draft *d, const struct view_item *item)
{
	unsigned id = run.message_count++, old = id;

	for (size_t i = 0; i < d->doc.count; i++) {
		const struct message *m = &run.messages[d->doc.id[i]];

		if (m->hash != item->hash)
			continue;
		old = d->doc.id[i];
		run.messages[id].text = m->text;
		if (!is_guess(a) && list_has(before, d->doc.id[i]))
			wrong("message %u is there twice", d->doc.id[i]);
	}
	if (old == id)
		wrong("there is what nobody wrote");
	a->had[id] = true;
	list_swap(&a->doc, old, id);
	list_swap(&d->doc, old, id);
	for (size_t i = 0; i < 2; i++)
		list_swap(&a->drafts[i].doc, old, id);
	run.messages[id].hash = item->hash;
	run.messages[id].pos = item->pos;
	run.messages[id].born = item->born;
	run.messages[id].stored = true;
	run.tally.back++;
	return id;
}

static bool is_loop(const struct peer *a)
{
	return isupper((unsigned char)a->process);
}

/* Of two with the same text it does not matter which one went. */
static bool swap_equal(struct peer *a, struct draft *d, const struct list *after, unsigned gone)
{
	if (!a->had[gone])
		return false;
	for (size_t i = 0; i < after->count; i++) {
		unsigned other = after->id[i];

		if (!a->dropped[other] || list_has(&d->doc, other) || run.messages[other].hash != run.messages[gone].hash)
			continue;
		a->dropped[gone] = true;
		a->dropped[other] = false;
		list_swap(&a->doc, gone, other);
		for (size_t j = 0; j < 2; j++) {
			list_swap(&a->drafts[j].doc, gone, other);
			list_swap(&a->drafts[j].removed, other, gone);
		}
		if (d != &a->drafts[0] && d != &a->drafts[1]) {
			list_swap(&d->doc, gone, other);
			list_swap(&d->removed, other, gone);
		}
		return true;
	}
	return false;
}

/* Removed and said again with the same text in one save it is what it was, there or gone. */
static bool said_again(struct peer *a, struct draft *d, const struct list *after, unsigned fresh)
{
	if (swap_equal(a, d, after, fresh))
		return true;
	for (size_t i = 0; i < d->removed.count; i++) {
		unsigned old = d->removed.id[i];

		if (run.messages[old].hash != run.messages[fresh].hash || list_has(&d->doc, old))
			continue;
		a->dropped[old] = false;
		list_swap(&a->doc, fresh, old);
		list_swap(&d->doc, fresh, old);
		return true;
	}
	return false;
}

static void check_lost(struct peer *a, struct draft *d, const struct list *before, const struct list *after)
{
	for (size_t i = 0; i < before->count; i++) {
		unsigned id = before->id[i];

		if (list_has(after, id) || (a->dropped[id] && !list_has(&d->doc, id)) || swap_equal(a, d, after, id))
			continue;
		if (is_guess(a))
			run.tally.joined++;
		else
			wrong("message %u (%u) was removed by a writer that had not removed it (P2)", id, run.messages[id].text);
	}
	for (size_t i = 0; i < d->doc.count; i++) {
		struct message *m = &run.messages[d->doc.id[i]];

		if (m->stored || said_again(a, d, after, d->doc.id[i]))
			continue;
		m->stored = true;
		m->pos = m->born = 0;
		if (is_guess(a))
			run.tally.joined++;
		else
			wrong("message %u (%u) is lost (P1)", d->doc.id[i], m->text);
	}
}

static void check_order(const struct list *after)
{
	unsigned last[PEERS] = { 0 };

	for (size_t i = 0; i < after->count; i++) {
		const struct message *m = &run.messages[after->id[i]];

		if (!m->appended || m->text < SHORT)
			continue;
		if (after->id[i] < last[m->author])
			wrong("message %u comes after %u of the same writer (P6)", after->id[i], last[m->author]);
		last[m->author] = after->id[i];
	}
}

static void check_edit(const struct draft *d, const struct list *before, const struct list *after)
{
	size_t asked = 0, kept = 0;

	for (size_t i = 0; i < d->removed.count; i++) {
		asked += list_has(before, d->removed.id[i]);
		kept += list_has(after, d->removed.id[i]);
	}
	run.tally.edits += asked > 0;
	run.tally.kept += kept > 0;
	if (kept && kinds[run.script->kind].exact && !run.script->equal_texts && !run.script->as_written)
		wrong("%zu messages stay that were removed", kept);
}

static void check_save(struct peer *a, struct draft *d, const struct store_save *save)
{
	struct list before = run.there, *after = &run.there, stay = { .count = 0 };
	struct store_view *v;

	cr_assert_eq(save->error, 0);
	run.tally.saves++;
	run.tally.merged += (save->result & STORE_SAVED_MERGED) != 0;
	cr_assert_eq(store_view_open(run.store, save->saved_ino, 0, &v), 0);
	for (uint64_t i = 0; i < v->count; i++) {
		size_t at = find_there(&before, view_get(v, i));

		if (at != SIZE_MAX)
			stay.id[stay.count++] = before.id[at];
	}
	after->count = 0;
	for (struct view_cursor c = view_at(v, 0); after->count < v->count;) {
		const struct view_item *item = view_next(&c);
		size_t at = find_there(&before, item);
		unsigned id;

		if (at != SIZE_MAX)
			id = before.id[at];
		else if (!find_fresh(&d->doc, item, &id) && !find_moved(&before, &stay, d, item, &id))
			id = came_back(a, &before, d, item);
		after->id[after->count++] = id;
	}
	store_view_unref(v);
	check_lost(a, d, &before, after);
	if (!run.script->equal_texts || kinds[run.script->kind].identity)
		check_order(after);
	check_edit(d, &before, after);
}

/* The same where the rules are followed as they are written. */
static void check_as_written(struct peer *a, struct draft *d)
{
	struct list before = run.there;

	as_written_close(d->save, &d->doc, &run.there);
	run.tally.saves++;
	for (size_t i = 0; i < run.there.count; i++)
		run.messages[run.there.id[i]].stored = true;
	check_lost(a, d, &before, &run.there);
	check_edit(d, &before, &run.there);
}

/* ---- Steps ---------------------------------------------------------------------------------------------------- */

static struct who who_of(const struct peer *a, unsigned chance)
{
	return (struct who){ (unsigned char)a->process, a->thread ? a->thread : 1 + chance % 4 };
}

static void trace_who(struct who who)
{
	if (who.thread > 1)
		trace(" %c%u:", (char)who.process, who.thread);
	else
		trace(" %c:", (char)who.process);
}

static void show(struct who who)
{
	if (run.script->as_written) {
		as_written_read((char)who.process, who.thread);
		return;
	}
	trace_who(who);
	trace(world_read(run.world, who, NULL) ? "r" : "n");
}

static void read_list(struct peer *a, const struct action *x)
{
	show(who_of(a, x->c));
	a->doc = run.there;
	for (size_t i = 0; i < a->doc.count; i++) {
		a->had[a->doc.id[i]] = true;
		a->dropped[a->doc.id[i]] = false;
	}
	a->begun = true;
}

static void open_draft(struct peer *a, const struct action *x)
{
	struct draft *d = &a->drafts[a->open++];
	struct who who = who_of(a, x->c);

	d->removed.count = 0;
	change(a, x, d);
	d->doc = a->doc;
	if (run.script->as_written) {
		d->save = as_written_open((char)who.process, who.thread, is_loop(a));
		return;
	}
	d->handle = world_open(run.world, who, WORLD_TRUNCATE);
	world_write(d->handle, list_text(&d->doc));
	if (run.trace) {
		size_t number = (size_t)(d - &run.peers[0].drafts[0]) % 2 + (size_t)(a - run.peers) * 2;

		trace_who(who);
		trace("o%zu %zu=", number, number);
		trace_list(&d->doc);
	}
}

static void close_draft(struct peer *a, const struct action *x)
{
	size_t i = a->open > 1 ? x->b % 2 : 0;
	struct draft d = a->drafts[i];
	struct store_save save;

	trace(" %zu:c", (size_t)(a - run.peers) * 2 + i);
	if (!run.script->as_written)
		world_close(run.world, d.handle, who_of(a, x->c), &save);
	if (i == 0 && a->open > 1)
		a->drafts[0] = a->drafts[1];
	a->open--;
	if (run.script->as_written)
		check_as_written(a, &d);
	else
		check_save(a, &d, &save);
	if (!a->memory)
		a->begun = false;
}

static bool others_busy(const struct peer *a)
{
	for (size_t i = 0; i < run.script->peers; i++) {
		if (&run.peers[i] != a && (run.peers[i].begun || run.peers[i].open))
			return true;
	}
	return false;
}

static void take(const struct action *x)
{
	struct peer *a = &run.peers[x->peer % run.script->peers];
	unsigned kind = run.script->kind;
	bool stray = (kind == LOOP_STRAY || kind == LOOP_TURN_STRAY || kind == MIXED) && is_loop(a) && !a->memory && x->what % 100 < 15;

	if (run.message_count + 8 > MESSAGES)
		return;
	if ((kind == LOOP_IN_TURN || kind == LOOP_TURN_STRAY) && others_busy(a))
		return;
	if (stray)
		show(who_of(a, x->c));
	else if (!a->begun)
		read_list(a, x);
	else if (!a->open || (a->memory && is_loop(a) && a->open < 2 && x->what % 100 >= 70))
		open_draft(a, x);
	else
		close_draft(a, x);
}

static void begin_peers(const struct script *s)
{
	memset(run.peers, 0, sizeof(run.peers));
	for (unsigned i = 0; i < s->peers; i++) {
		struct peer *a = &run.peers[i];

		a->process = s->actors[i].process;
		a->thread = s->actors[i].thread;
		a->memory = s->actors[i].memory;
		world_process(run.world, (unsigned char)a->process, is_loop(a));
	}
}

bool crowd_play(const struct script *s, FILE *trace_to)
{
	static unsigned number;
	char name[32];

	snprintf(name, sizeof(name), "%u.json", number++);
	run.script = s;
	run.message_count = 0;
	run.there.count = 0;
	run.tally = (struct tally){ 0 };
	run.trace = trace_to;
	*run.why = 0;
	memset(run.messages, 0, sizeof(run.messages));
	world_document(run.world, name);
	as_written_begin();
	begin_peers(s);
	for (size_t i = 0; i < s->count && !*run.why; i++)
		take(&s->actions[i]);
	for (size_t i = 0; i < s->peers; i++) {
		while (run.peers[i].open && !*run.why)
			close_draft(&run.peers[i], &(struct action){ .what = 0 });
		while (run.peers[i].open)
			world_close(run.world, run.peers[i].drafts[--run.peers[i].open].handle, who_of(&run.peers[i], 0), &(struct store_save){ 0 });
	}
	return !*run.why;
}

void crowd_begin(struct store *s)
{
	run.store = s;
	run.world = world_new(s, 0);
}

void crowd_end(void)
{
	world_free(run.world);
}

const char *crowd_why(void)
{
	return run.why;
}

const struct tally *crowd_tally(void)
{
	return &run.tally;
}
