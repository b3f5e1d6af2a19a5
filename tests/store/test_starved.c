/* Saves from what was read long ago, when the process has read the document more often since than it is remembered singly. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

#ifdef __SANITIZE_ADDRESS__
#define READS 90
#define CROWD 100
#else
#define READS 150
#define CROWD 300
#endif

static const struct form {
	const char *name, *head, *message, *tail;
} forms[] = {
	{ "list", "[", "{\"role\": \"user\", \"content\": \"message %u of several\"}", "]" },
	{ "envelope", "{\"title\": \"t\", \"messages\": [", "{\"role\": \"user\", \"content\": \"message %u of several\"}", "]}" },
	{ "state", "{\"agent\": {\"content\": [", "[{\"role\": \"user\", \"content\": \"message %u of several\"}, []]", "]}}" },
};

static const struct {
	const char *name;
	bool events, edit;
} writers[] = {
	{ "event loop, appends", true, false },
	{ "event loop, says the last once more", true, true },
	{ "threads, append", false, false },
};

/* Which of the reads is saved, in this order; ends with READS. */
static const unsigned lates[][5] = {
	{ 0, READS }, { 20, READS }, { 31, READS }, { 33, READS }, { 75, READS }, { 119, READS }, { 130, READS }, { 149, READS },
	{ 40, 41, 90, 110, READS }, { 110, 90, 41, 40, READS }, { 0, 75, 76, 149, READS },
};

/* The text with one message more, in place of its last one or after it. */
static struct text add(const struct form *f, const struct text *t, unsigned number, bool in_place)
{
	size_t keep = t->size - strlen(f->tail);
	const char *last = in_place ? memrchr(t->data, '\n', keep) : NULL;
	struct text message = text_format(f->message, number), ret;

	/* Each message but the first is on a line of its own, after its comma. */
	if (last)
		keep = (size_t)(last - t->data) - 1;
	ret = text_format("%.*s,\n%s%s", (int)keep, t->data, message.data, f->tail);
	text_free(message);
	return ret;
}

static unsigned count(const struct text *t, unsigned number)
{
	char *wanted;
	unsigned n = 0;

	cr_assert_gt(asprintf(&wanted, "\"message %u of", number), 0);
	for (const char *at = t->data; (at = memmem(at, (size_t)(t->data + t->size - at), wanted, strlen(wanted))); at++)
		n++;
	free(wanted);
	return n;
}

static void save(struct world *w, struct who who, struct text t)
{
	struct world_handle *h = world_open(w, who, WORLD_TRUNCATE);
	struct store_save ret;

	world_write(h, t);
	cr_assert_eq(world_close(w, h, who, &ret), 0);
}

static void play(struct world *w, size_t form, size_t writer, size_t late)
{
	const struct form *f = &forms[form];
	const struct who other = { 'q', 1 };
	const unsigned *l = lates[late];
	bool edit = writers[writer].edit, events = writers[writer].events;
	struct text read[READS], now, first = text_format(f->message, 0);

	world_process(w, 'p', events);
	world_process(w, 'q', false);
	save(w, other, text_format("%s%s%s", f->head, first.data, f->tail));
	text_free(first);
	for (unsigned i = 0; i < READS; i++) {
		cr_assert(world_read(w, (struct who){ 'p', events ? 1 + i % 4 : 1 + i }, &read[i]));
		cr_assert(world_read(w, other, &now));
		save(w, other, add(f, &now, i + 1, false));
		text_free(now);
	}
	for (; *l < READS; l++)
		save(w, (struct who){ 'p', events ? 2 : 1 + *l }, add(f, &read[*l], 1000 + *l, edit && *l));
	cr_assert(world_look(w, &now));
	for (unsigned i = 0; i <= READS; i++) {
		bool edited = false;

		for (l = lates[late]; edit && *l < READS; l++)
			edited = edited || *l == i;
		cr_expect(count(&now, i) == 1 || (edited && !count(&now, i)), "%s, %s, %zu: message %u is there %u times", f->name,
			  writers[writer].name, late, i, count(&now, i));
	}
	for (l = lates[late]; *l < READS; l++)
		cr_expect_eq(count(&now, 1000 + *l), 1, "%s, %s, %zu: the message after %u is there %u times", f->name, writers[writer].name,
			     late, *l, count(&now, 1000 + *l));
	text_free(now);
	for (unsigned i = 0; i < READS; i++)
		text_free(read[i]);
}

/* All have read before the first of them saves. */
static void play_crowd(struct world *w, const struct form *f, bool events)
{
	struct text first = text_format(f->message, 1000), read, now;

	world_process(w, 'p', events);
	save(w, (struct who){ 'p', 1 }, text_format("%s%s%s", f->head, first.data, f->tail));
	text_free(first);
	cr_assert(world_look(w, &read));
	for (unsigned i = 0; i < CROWD; i++)
		cr_assert(world_read(w, (struct who){ 'p', events ? 1 : 1 + i }, NULL));
	for (unsigned i = 0; i < CROWD; i++)
		save(w, (struct who){ 'p', events ? 1 : 1 + i }, add(f, &read, i, false));
	cr_assert(world_look(w, &now));
	for (unsigned i = 0; i < CROWD; i++)
		cr_expect_eq(count(&now, i), 1, "%s, %s: message %u is there %u times", f->name, events ? "event loop" : "threads", i,
			     count(&now, i));
	text_free(read);
	text_free(now);
}

Test(starved, many_at_once_lose_nothing)
{
	char *dir = dir_make(), name[64];
	struct store *s = must_open(dir, 60000);
	struct world *w = world_new(s, 0);

	for (size_t f = 0; f < sizeof(forms) / sizeof(forms[0]); f++) {
		for (int events = 0; events < 2; events++) {
			snprintf(name, sizeof(name), "%zu-%d.json", f, events);
			world_document(w, name);
			play_crowd(w, &forms[f], events);
		}
	}
	world_free(w);
	must_close(s);
	dir_remove(dir);
}

Test(starved, reads_of_long_ago_lose_nothing)
{
	char *dir = dir_make(), name[64];
	struct store *s = must_open(dir, 60000);
	struct world *w = world_new(s, 0);

	for (size_t f = 0; f < sizeof(forms) / sizeof(forms[0]); f++) {
		for (size_t writer = 0; writer < sizeof(writers) / sizeof(writers[0]); writer++) {
			for (size_t late = 0; late < sizeof(lates) / sizeof(lates[0]); late++) {
				snprintf(name, sizeof(name), "%zu-%zu-%zu.json", f, writer, late);
				world_document(w, name);
				play(w, f, writer, late);
			}
		}
	}
	world_free(w);
	must_close(s);
	dir_remove(dir);
}
