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
