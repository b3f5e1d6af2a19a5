/*
 * Group commit, for the thread sanitizer, as the mount uses it: handles whose lock is held while one saves and waits (release), whose lock `done`
 * takes (flush), which save to memory with the lock held (appends), beside an import that queues, updates, syncs, drains and
 * readers. Whoever submits may lead for all others. Nothing hangs, each is answered once, and what was acknowledged is there, also
 * when the store is closed while saves are under way and opened again.
 *
 *	stress_commit [ROUNDS [DELAY_MS]]
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stress.h"

#define HANDLES 6
#define QUEUED 16	/* in flight at once */

struct handle {
	pthread_mutex_t lock;
	pthread_cond_t idle;
	bool saving;		/* lock */
	unsigned flushed;	/* lock; answered without an error */
	char name[16];
};

struct flush {
	struct store_save save;
	struct handle *handle;
	char text[40];
};

static struct handle handles[HANDLES];
static sem_t queue;
static atomic_int under_way, queued;

/* It knows nothing of `saving`, which excludes that `done` wants a lock held by one who submits: a real one would hang. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "detect_deadlocks=0";
}

static void handle_lock(struct handle *h)
{
	pthread_mutex_lock(&h->lock);
	while (h->saving)
		pthread_cond_wait(&h->idle, &h->lock);
}

/* On whatever thread leads, with another handle's lock held by it, perhaps. */
static void flushed(struct store_save *save)
{
	struct flush *f = (struct flush *)save;
	struct handle *h = f->handle;

	if (save->error)
		fail("flush", save->error);
	pthread_mutex_lock(&h->lock);
	h->saving = false;
	h->flushed += !save->error;
	pthread_cond_broadcast(&h->idle);
	pthread_mutex_unlock(&h->lock);
	free(f);
	atomic_fetch_sub(&under_way, 1);
}

static int prepared(struct store_save *save)
{
	atomic_fetch_add((atomic_int *)save->arg, 1);
	return 0;
}

static struct flush *flush_of(struct handle *h, int thread, int round)
{
	static atomic_int prepares;
	struct flush *f = calloc(1, sizeof(*f));

	snprintf(f->text, sizeof(f->text), "{\"thread\": %d, \"round\": %d}", thread, round);
	f->handle = h;
	f->save = (struct store_save){ .parent = STORE_ROOT, .name = h ? h->name : "queued.json", .tail = f->text, .tail_size = strlen(f->text),
				       .flags = STORE_SAVE_APPEND, .mode = 0600, .pid = thread + 1, .writer = h ? (uintptr_t)h : 0, .prepare = prepared,
				       .arg = &prepares, .done = flushed };
	return f;
}

static void flush(struct handle *h, int thread, int round)
{
	struct flush *f = flush_of(h, thread, round);

	handle_lock(h);
	h->saving = true;
	atomic_fetch_add(&under_way, 1);
	pthread_mutex_unlock(&h->lock);
	store_submit(store, &f->save);
}

/* Holds the lock while it waits, and leads. */
static void release(struct handle *h, int thread, int round, unsigned flags)
{
	struct flush *f = flush_of(h, thread, round);

	f->save.flags |= flags;
	f->save.prepare = NULL;
	handle_lock(h);
	if (store_save(store, &f->save))
		fail("release", f->save.error);
	h->flushed += !f->save.error;
	pthread_mutex_unlock(&h->lock);
	free(f);
}

static void landed(struct store_save *save)
{
	if (save->error)
		fail("import", save->error);
	else
		atomic_fetch_add(&queued, 1);
	free(save);
	sem_post(&queue);
	atomic_fetch_sub(&under_way, 1);
}

static void enqueue(int thread, int round)
{
	struct flush *f = flush_of(NULL, thread, round);

	f->save.flags |= STORE_SAVE_QUEUED;
	f->save.done = landed;
	sem_wait(&queue);
	atomic_fetch_add(&under_way, 1);
	store_submit(store, &f->save);
}

static void update(unsigned *seed, int thread)
{
	static const char bytes[30000];
	struct store_attr a;
	char name[32];
	int err;

	snprintf(name, sizeof(name), "plain%d", thread);
	err = store_lookup(store, STORE_ROOT, name, &a);
	if (err == -ENOENT)
		err = store_create(store, STORE_ROOT, name, 0, S_IFREG | 0600, 0, 0, NULL, &a);
	if (!err)
		err = store_write(store, a.ino, 0, bytes, (size_t)rand_r(seed) % sizeof(bytes));
	if (!err && rand_r(seed) % 4 == 0)
		err = store_unlink(store, STORE_ROOT, name, false, NULL);
	if (err)
		fail("update", err);
}

static void look(const struct handle *h)
{
	struct store_attr a;
	struct store_view *v;
	char text[64];
	size_t size;
	int err = store_lookup(store, STORE_ROOT, h->name, &a);

	if (!err)
		err = store_view_open(store, a.ino, 0, &v);
	if (!err) {
		err = store_view_read(v, 0, text, sizeof(text), &size);
		store_view_unref(v);
	}
	if (err && err != -ENOENT)
		fail("read", err);
}

static void *hammer(void *arg)
{
	int thread = (int)(intptr_t)arg;
	unsigned seed = (unsigned)thread + 1;

	for (int i = 0; i < rounds; i++) {
		struct handle *h = &handles[rand_r(&seed) % HANDLES];
		int err = 0;

		switch (rand_r(&seed) % 12) {
		case 0:
		case 1:
		case 2:
			flush(h, thread, i);
			break;
		case 3:
		case 4:
			release(h, thread, i, 0);
			break;
		case 5:
			release(h, thread, i, STORE_SAVE_SOON);
			break;
		case 6:
		case 7:
			enqueue(thread, i);
			break;
		case 8:
			update(&seed, thread);
			break;
		case 9:
			err = store_sync(store);
			break;
		case 10:
			err = rand_r(&seed) % 4 ? 0 : store_drain(store);
			break;
		default:
			look(h);
		}
		if (err)
			fail("sync", err);
	}
	return NULL;
}

static void check(const char *name, unsigned want)
{
	struct store_attr a;
	int err = store_lookup(store, STORE_ROOT, name, &a);

	if (err ? want : a.messages != want)
		fail(name, err ? err : (int)(a.messages - want));
}

static void check_all(void)
{
	for (int i = 0; i < HANDLES; i++)
		check(handles[i].name, handles[i].flushed);
	check("queued.json", (unsigned)atomic_load(&queued));
}

/* Closed with saves in the queue: they are answered before it returns. */
static void fill_queue(void)
{
	for (int i = 0; i < QUEUED; i++)
		enqueue(THREADS, i);
}

static void check_answered(void)
{
	if (atomic_load(&under_way))
		fail("saves that were not answered", atomic_load(&under_way));
}

int main(int argc, char **argv)
{
	struct stress s = {
		.name = "stress_commit", .options = { .create = true, .map_size = 1ull << 30 }, .hammer = hammer,
		.before_close = fill_queue, .after_close = check_answered, .check = check_all,
	};

	rounds = 200;
	sem_init(&queue, 0, QUEUED);
	for (int i = 0; i < HANDLES; i++) {
		pthread_mutex_init(&handles[i].lock, NULL);
		pthread_cond_init(&handles[i].idle, NULL);
		snprintf(handles[i].name, sizeof(handles[i].name), "%d.json", i);
	}
	return stress_run(&s, argc, argv);
}
