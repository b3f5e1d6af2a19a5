/* Group commit: who does the work, and that nobody is kept by it. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"

static struct store *s;
static atomic_int generations;
static atomic_bool returned;
static sem_t go, submitted, over;

#define MOST 3000

/* Others who save again as soon as they are answered: the queue is never empty. */
static void once_more(struct store_save *save)
{
	cr_assert_eq(save->error, 0);
	if (atomic_load(&returned) || atomic_fetch_add(&generations, 1) >= MOST)
		sem_post(&over);
	else
		store_submit(s, save);
}

static struct store_save append_to(const char *name)
{
	return (struct store_save){ .parent = STORE_ROOT, .name = name, .tail = "{}", .tail_size = 2, .flags = STORE_SAVE_APPEND, .mode = 0600 };
}

static void *submit_another(void *arg)
{
	struct store_save *save = arg;

	sem_wait(&go);
	store_submit(s, save);
	sem_post(&submitted);
	return NULL;
}

/* While the save is being merged another one is queued. */
static int let_another_in(struct store_save *save)
{
	sem_post(&go);
	sem_wait(&submitted);
	return 0;
}

Test(commit, who_waits_for_a_save_is_not_kept_by_others)
{
	struct store_save own = append_to("own.json"), other = append_to("other.json");
	char *dir = dir_make();
	pthread_t thread;
	int seen;

	sem_init(&go, 0, 0);
	sem_init(&submitted, 0, 0);
	sem_init(&over, 0, 0);
	s = must_open(dir, 0);
	own.prepare = let_another_in;
	other.done = once_more;
	cr_assert_eq(pthread_create(&thread, NULL, submit_another, &other), 0);
	cr_assert_eq(store_save(s, &own), 0);
	seen = atomic_load(&generations);
	atomic_store(&returned, true);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	sem_wait(&over);
	cr_assert_lt(seen, MOST, "it came back when nobody else had anything to save");
	must_close(s);
	dir_remove(dir);
}

/* Sessions that are new are the highest keys, so what they hold needs little more room than its bytes. */
/* ---- Large documents ------------------------------------------------------------------------------------------ */

#define MB (1u << 20)

static const unsigned sizes[] = { 9, 9, 1, 20, 1, 1 };	/* MB */
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

static struct store_save large[SIZES];

static void answered(struct store_save *save)
{
	sem_post(&over);
}

static void *submit_large(void *arg)
{
	sem_wait(&go);
	for (size_t i = 0; i < SIZES; i++)
		store_submit(s, &large[i]);
	sem_post(&submitted);
	return NULL;
}

/* Memory for one large document at a time: those that wait are taken in their order, as many as make 16 MB, or one. */
Test(commit, large_documents_are_not_in_memory_together)
{
	struct store_save own = append_to("own.json");
	char *dir = dir_make(), names[SIZES][16];
	struct store_stats st;
	pthread_t thread;

	sem_init(&go, 0, 0);
	sem_init(&submitted, 0, 0);
	sem_init(&over, 0, 0);
	s = must_open(dir, 0);
	for (size_t i = 0; i < SIZES; i++) {
		char *text = malloc(sizes[i] * MB);

		memset(text, 'x', sizes[i] * MB);
		memcpy(text, "[\"", 2);
		memcpy(text + sizes[i] * MB - 2, "\"]", 2);
		snprintf(names[i], sizeof(names[i]), "%zu.json", i);
		large[i] = (struct store_save){ .parent = STORE_ROOT, .name = names[i], .tail = text, .tail_size = sizes[i] * MB,
						.flags = STORE_SAVE_QUEUED, .mode = 0600, .done = answered };
	}
	cr_assert_eq(pthread_create(&thread, NULL, submit_large, NULL), 0);
	own.prepare = let_another_in;
	cr_assert_eq(store_save(s, &own), 0);
	pthread_join(thread, NULL);
	for (size_t i = 0; i < SIZES; i++)
		sem_wait(&over);
	cr_assert_eq(store_stats(s, false, &st), 0);
	cr_assert_eq(st.groups[0], 3, "alone: %llu", (unsigned long long)st.groups[0]);
	cr_assert_eq(st.groups[1], 2, "two together: %llu", (unsigned long long)st.groups[1]);
	for (size_t i = 0; i < SIZES; i++) {
		struct text got = read_name(s, names[i]);

		cr_assert_eq(large[i].error, 0, "%s: %d", names[i], large[i].error);
		cr_assert(got.size == large[i].tail_size && memcmp(got.data, large[i].tail, got.size) == 0, "%s", names[i]);
		text_free(got);
		free((void *)large[i].tail);
	}
	must_close(s);
	dir_remove(dir);
}

Test(commit, new_sessions_fill_their_pages)
{
	enum { SESSIONS = 3, MESSAGES = 2000, SIZE = 1000 };
	char *dir = dir_make(), *text = malloc(MESSAGES * (SIZE + 1) + 2);
	struct store_stats stats;

	s = must_open(dir, 0);
	for (int i = 0; i < SESSIONS; i++) {
		struct text t = { .data = text };
		char name[32];

		text[t.size++] = '[';
		for (int j = 0; j < MESSAGES; j++)
			t.size += sprintf(text + t.size, "%s\"%0*d\"", j ? "," : "", SIZE - 2, i * MESSAGES + j);
		text[t.size++] = ']';
		snprintf(name, sizeof(name), "%d.json", i);
		cr_assert_eq(save_text(s, name, t, NULL, 0).error, 0);
	}
	cr_assert_eq(store_drain(s), 0);
	cr_assert_eq(store_stats(s, false, &stats), 0);
	cr_assert_lt(stats.used_bytes, SESSIONS * MESSAGES * SIZE * 3 / 2, "%llu bytes", (unsigned long long)stats.used_bytes);
	must_close(s);
	free(text);
	dir_remove(dir);
}
