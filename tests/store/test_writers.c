/*
 * Many writers of one document, with the bases that fs/ticket.c would find for them, against a list that is trivially right: each
 * commit takes out what its writer had seen and left out, and adds what is new at the end. SEED=n repeats a run.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "support.h"

#define MESSAGES_MAX 2000
#define WRITERS_MAX 8
#define OWN_MAX 256
#define TICKETS_MAX 32

struct list {
	uint64_t id[MESSAGES_MAX];
	size_t count;
};

struct writer {
	struct list doc;		/* as it read or wrote it */
	struct list before;		/* what it had seen, while a save is under way */
	uint64_t version, own[OWN_MAX];
	size_t own_count;
	struct store_base base;
	struct store_save save;
	struct text text;
};

static struct list there;
static struct writer writers[WRITERS_MAX];
static uint64_t ino, version, next_id;

static bool list_has(const struct list *l, uint64_t id)
{
	for (size_t i = 0; i < l->count; i++) {
		if (l->id[i] == id)
			return true;
	}
	return false;
}

static struct text list_text(const struct list *l)
{
	struct text t = { 0 };
	FILE *f = open_memstream(&t.data, &t.size);

	/* Indentation before the first is of what stands around the messages: it stays when they have all gone. */
	fputs("[\n  ", f);
	for (size_t i = 0; i < l->count; i++)
		fprintf(f, "%s{\"role\": \"user\", \"content\": \"%llu\"}", i ? ",\n  " : "", (unsigned long long)l->id[i]);
	fputs("\n]\n", f);
	fclose(f);
	return t;
}

static void list_change(struct list *l, bool removing)
{
	size_t kept = 0;

	if (removing && random_chance(25)) {
		for (size_t i = 0; i < l->count; i++) {
			if (!random_chance(15))
				l->id[kept++] = l->id[i];
		}
		l->count = kept;
	}
	for (uint64_t n = random_below(3) + !l->count; n; n--)
		l->id[l->count++] = ++next_id;
}

/* The commit of a save, in the order of versions. */
static void commit(const struct list *before, const struct list *doc)
{
	size_t kept = 0;

	for (size_t i = 0; i < there.count; i++) {
		if (!list_has(before, there.id[i]) || list_has(doc, there.id[i]))
			there.id[kept++] = there.id[i];
	}
	there.count = kept;
	for (size_t i = 0; i < doc->count; i++) {
		if (!list_has(before, doc->id[i]))
			there.id[there.count++] = doc->id[i];
	}
}

static void check_there(struct store *s, const char *what)
{
	struct text want = list_text(&there), got = read_version(s, ino, 0, NULL);

	check_text(got, want, what, "P1, P2, P6");
	text_free(got);
	text_free(want);
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t answered = PTHREAD_COND_INITIALIZER;
static size_t waiting;

static void count_answer(struct store_save *save)
{
	pthread_mutex_lock(&lock);
	waiting--;
	pthread_cond_signal(&answered);
	pthread_mutex_unlock(&lock);
}

static void submit_all(struct store *s, struct store_save **saves, size_t count)
{
	waiting = count;
	for (size_t i = 0; i < count; i++) {
		saves[i]->done = count_answer;
		saves[i]->flags |= STORE_SAVE_QUEUED;
		store_submit(s, saves[i]);
	}
	pthread_mutex_lock(&lock);
	while (waiting)
		pthread_cond_wait(&answered, &lock);
	pthread_mutex_unlock(&lock);
}

static void prepare(struct writer *w, size_t serial, struct store_view *view)
{
	size_t same = 0;

	w->before = w->doc;
	list_change(&w->doc, true);
	w->text = list_text(&w->doc);
	w->base = (struct store_base){ .ino = ino, .version = w->version, .own = w->own, .own_count = w->own_count,
				       .flags = w->own_count ? STORE_BASE_WRITTEN : STORE_BASE_THREAD, .order = 1 };
	cr_assert_eq(store_view_match(view, 0, w->text.data, w->text.size, &same), 0);
	if (random_chance(30))
		same = random_below(same + 1);
	w->save = (struct store_save){ .ino = ino, .parent = STORE_ROOT, .name = "a.json", .prefix = same ? view : NULL, .prefix_size = same,
				       .tail = w->text.data + same, .tail_size = w->text.size - same, .bases = &w->base, .base_count = 1,
				       .pid = 100 + serial };
}

/* As fs/ticket.c: what others brought between is not in the document as written. */
static void remember(struct writer *w)
{
	if (w->save.version == w->save.previous)
		return;
	if (w->version >= w->save.previous) {
		w->version = w->save.version;
		w->own_count = 0;
	} else {
		w->own[w->own_count++] = w->save.version;
	}
}

static int by_version(const void *a, const void *b)
{
	const struct store_save *const *x = a, *const *y = b;

	return ((*x)->version > (*y)->version) - ((*x)->version < (*y)->version);
}

static void begin(struct store *s)
{
	struct text t;
	struct store_save save;

	memset(writers, 0, sizeof(writers));
	there = (struct list){ .id = { ++next_id, ++next_id }, .count = 2 };
	t = list_text(&there);
	save = save_text(s, "a.json", t, NULL, 0);
	must_save(&save, "first");
	text_free(t);
	ino = save.saved_ino;
	version = save.version;
}

/* Writers that read now and then, and else go on from their memory; up to all of them save at once. */
static void run_stale(unsigned delay, int rounds)
{
	char *dir = dir_make();
	struct store *s = must_open(dir, delay);
	size_t count = 1 + random_below(WRITERS_MAX);

	begin(s);
	for (size_t i = 0; i < count; i++)
		writers[i].doc = there, writers[i].version = version;
	for (int round = 0; round < rounds && there.count + 100 < MESSAGES_MAX; round++) {
		struct store_save *saves[WRITERS_MAX];
		struct store_view *view;
		size_t n = 0;

		cr_assert_eq(store_view_open(s, ino, random_chance(50) ? 0 : 1 + random_below(version), &view), 0);
		for (size_t i = 0; i < count; i++) {
			struct writer *w = &writers[i];

			if (random_chance(30) || w->own_count + 1 >= OWN_MAX) {
				w->doc = there;
				w->version = version;
				w->own_count = 0;
			}
			if (random_chance(40)) {
				prepare(w, i, view);
				saves[n++] = &w->save;
			}
		}
		submit_all(s, saves, n);
		qsort(saves, n, sizeof(saves[0]), by_version);
		for (size_t i = 0; i < n; i++) {
			struct writer *w = (struct writer *)((char *)saves[i] - offsetof(struct writer, save));

			must_save(&w->save, "stale");
			commit(&w->before, &w->doc);
			remember(w);
			text_free(w->text);
			version = w->save.version;
		}
		store_view_unref(view);
		check_there(s, "after a round");
	}
	must_close(s);
	s = must_open(dir, delay);
	check_there(s, "after opening again");
	must_close(s);
	dir_remove(dir);
}

Test(writers, stale_bases)
{
	random_seed("writers");
	for (int i = 0; i < 30; i++)
		run_stale(20, 100);
	for (int i = 0; i < 4; i++)
		run_stale(0, 40);
}

/*
 * One process with an event loop: its coroutines read, wait, and append to what they had read. All of its tickets that are not used up
 * are candidates, and its own last document.
 */
static void run_coroutines(unsigned delay, int rounds)
{
	struct { uint64_t version; unsigned count; } tickets[TICKETS_MAX];
	struct { struct list doc; uint64_t version; bool reading; } coroutine[6] = { 0 };
	struct store_base bases[TICKETS_MAX + 1], written = { 0 };
	char *dir = dir_make();
	struct store *s = must_open(dir, delay);
	uint64_t own[OWN_MAX];
	size_t ticket_count = 0;

	begin(s);
	for (int round = 0; round < rounds; round++) {
		size_t c = random_below(6), n = 0, i;
		struct text t;

		if (!coroutine[c].reading) {
			coroutine[c].doc = there;
			coroutine[c].version = version;
			coroutine[c].reading = true;
			for (i = 0; i < ticket_count && tickets[i].version != version; i++)
				;
			if (i == ticket_count) {
				tickets[ticket_count].version = version;
				tickets[ticket_count++].count = 0;
			}
			tickets[i].count++;
			continue;
		}
		/* Another process in between. */
		if (random_chance(20)) {
			struct list doc = there;
			struct store_base now = base_at(ino, version);

			list_change(&doc, false);
			t = list_text(&doc);
			struct store_save save = save_text(s, "a.json", t, &now, 0);

			must_save(&save, "another");
			version = save.version;
			there = doc;
			text_free(t);
		}
		coroutine[c].reading = false;
		struct list before = coroutine[c].doc;

		coroutine[c].doc.id[coroutine[c].doc.count++] = ++next_id;
		for (i = ticket_count; i-- > 0; n++)
			bases[n] = (struct store_base){ .ino = ino, .version = tickets[i].version, .order = tickets[i].version * 2 };
		if (written.version || written.own_count)
			bases[n++] = written;
		t = list_text(&coroutine[c].doc);
		struct store_save save = { .ino = ino, .parent = STORE_ROOT, .name = "a.json", .tail = t.data, .tail_size = t.size, .bases = bases,
					   .base_count = n, .flags = STORE_SAVE_EVENTS };

		store_save(s, &save);
		text_free(t);
		must_save(&save, "coroutine");
		cr_assert(save.base >= 0 && (size_t)save.base < n);
		commit(&before, &coroutine[c].doc);
		version = save.version;
		check_there(s, "after a coroutine");
		/* As tickets_saved. */
		struct store_base chosen = bases[save.base];

		if ((size_t)save.base < ticket_count) {
			i = ticket_count - 1 - (size_t)save.base;
			if (--tickets[i].count == 0)
				memmove(&tickets[i], &tickets[i + 1], (--ticket_count - i) * sizeof(tickets[0]));
		}
		if (chosen.version >= save.previous) {
			written = base_at(ino, save.version);
		} else {
			if (chosen.own_count)
				memmove(own, chosen.own, chosen.own_count * sizeof(own[0]));
			own[chosen.own_count] = save.version;
			written = chosen;
			written.own = own;
			written.own_count = chosen.own_count + 1;
		}
		written.flags = STORE_BASE_WRITTEN;
		written.order = save.version * 2 + 1;
	}
	must_close(s);
	dir_remove(dir);
}

Test(writers, coroutines_lose_nothing)
{
	random_seed("coroutines");
	for (int i = 0; i < 40; i++)
		run_coroutines(20, 120);
}

/* ---- Groups --------------------------------------------------------------------------------------------------- */

#define AT_ONCE 64

Test(writers, saves_at_once_share_commits)
{
	static struct store_save saves[AT_ONCE];
	static struct text texts[AT_ONCE];
	struct store_save *list[AT_ONCE];
	struct store_base absent = base_at(0, 0);
	struct store_stats before, after;
	char *dir = dir_make(), names[AT_ONCE][16];
	struct store *s = must_open(dir, 0);
	uint64_t groups = 0;

	store_sync(s);
	cr_assert_eq(store_stats(s, false, &before), 0);
	for (size_t i = 0; i < AT_ONCE; i++) {
		/* Half to one document, half to one each; some of them no JSON. */
		snprintf(names[i], sizeof(names[i]), "%zu.json", i % 2 ? 0 : i);
		texts[i] = text_format(i % 16 == 4 ? "[%zu" : "[%zu]", i);
		saves[i] = (struct store_save){ .parent = STORE_ROOT, .name = names[i], .tail = texts[i].data, .tail_size = texts[i].size,
						.bases = &absent, .base_count = 1 };
		list[i] = &saves[i];
	}
	submit_all(s, list, AT_ONCE);
	for (size_t i = 0; i < AT_ONCE; i++)
		cr_assert_eq(saves[i].error, i % 16 == 4 ? -EINVAL : 0, "save %zu: %d", i, saves[i].error);
	cr_assert_eq(store_stats(s, false, &after), 0);
	for (size_t i = 0; i < 8; i++)
		groups += after.groups[i];
	cr_assert_leq(groups, 8, "%lu transactions for %d saves", groups, AT_ONCE);
	cr_assert_eq(after.saves - before.saves + after.refused - before.refused, AT_ONCE);
	for (size_t i = 0; i < AT_ONCE; i++) {
		struct text got;

		if (i % 2 == 0 && i && i % 16 != 4) {
			got = read_name(s, names[i]);
			check_text(got, texts[i], "alone", names[i]);
			text_free(got);
		}
		text_free(texts[i]);
	}
	struct store_attr a;

	cr_assert_eq(store_lookup(s, STORE_ROOT, "0.json", &a), 0);
	cr_assert_eq(a.messages, AT_ONCE / 2 + 1);
	must_close(s);
	dir_remove(dir);
}

/* A save that can't be made must not fail those beside it, and may be answered by what asks the store (P1). */
static struct store *asked;
static int answer;

static void ask(struct store_save *save)
{
	struct store_attr a;

	answer = store_create(asked, STORE_ROOT, "kept", 0, S_IFREG | 0600, 0, 0, NULL, &a);
	count_answer(save);
}

Test(writers, one_that_fails_does_not_fail_its_neighbours)
{
	char *dir = dir_make(), name[300];
	struct store *s = must_open(dir, 0);
	struct store_save good[3], bad[3], *all[6];

	memset(name, 'x', sizeof(name));
	strcpy(name + sizeof(name) - 6, ".json");
	asked = s;
	for (int i = 0; i < 3; i++) {
		good[i] = (struct store_save){ .parent = STORE_ROOT, .name = (const char *[]){ "a.json", "b.json", "c.json" }[i], .tail = "[1]",
					       .tail_size = 3, .done = count_answer };
		bad[i] = good[i];
		bad[i].name = i == 0 ? name : "d.json";
		bad[i].parent = i == 1 ? 999 : STORE_ROOT;
		/* Fails when it has begun to write. */
		if (i == 2)
			bad[i].flags = STORE_SAVE_APPEND, bad[i].name = "e.json";
		all[2 * i] = &bad[i];
		all[2 * i + 1] = &good[i];
	}
	struct text object = { "{\"a\":1}", 7 };
	struct store_save first = save_text(s, "e.json", object, NULL, 0);

	must_save(&first, "an object");
	waiting = 6;
	for (int i = 0; i < 6; i++) {
		all[i]->done = i == 0 ? ask : count_answer;
		store_submit(s, all[i]);
	}
	pthread_mutex_lock(&lock);
	while (waiting)
		pthread_cond_wait(&answered, &lock);
	pthread_mutex_unlock(&lock);
	for (int i = 0; i < 3; i++)
		must_save(&good[i], good[i].name);
	cr_assert_eq(answer, 0, "a callback that asks the store: %d", answer);
	cr_assert_eq(bad[0].error, -ENAMETOOLONG);
	cr_assert_eq(bad[1].error, -ENOENT);
	cr_assert_eq(bad[2].error, -EINVAL);
	must_close(s);
	dir_remove(dir);
}
