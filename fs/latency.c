#include "latency.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define LINGER_MS 10

struct latency {
	int fd;
	atomic_bool awake;		/* changed with `lock` held */
	atomic_uint_fast64_t last;	/* when the last request came, in milliseconds */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;		/* with `lock`: awake, stop */
	bool stop;			/* lock */
};

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

/* The longest that a CPU may take to wake up, in microseconds; the second value is the kernel's own. Needs the lock. */
static void ask(struct latency *l, bool awake)
{
	int32_t limit = awake ? 0 : 2000 * 1000000;

	if (write(l->fd, &limit, sizeof(limit)) == sizeof(limit))
		atomic_store(&l->awake, awake);
}

void latency_note(struct latency *l)
{
	if (!l)
		return;
	atomic_store_explicit(&l->last, now_ms(), memory_order_relaxed);
	if (atomic_load_explicit(&l->awake, memory_order_relaxed))
		return;
	pthread_mutex_lock(&l->lock);
	if (!atomic_load(&l->awake)) {
		ask(l, true);
		pthread_cond_signal(&l->wake);
	}
	pthread_mutex_unlock(&l->lock);
}

static void *let_go(void *arg)
{
	struct latency *l = arg;

	pthread_mutex_lock(&l->lock);
	while (!l->stop) {
		struct timespec linger = { .tv_nsec = LINGER_MS * 1000000 };

		if (!atomic_load(&l->awake)) {
			pthread_cond_wait(&l->wake, &l->lock);
			continue;
		}
		pthread_mutex_unlock(&l->lock);
		nanosleep(&linger, NULL);
		pthread_mutex_lock(&l->lock);
		if (now_ms() - atomic_load(&l->last) >= LINGER_MS)
			ask(l, false);
	}
	pthread_mutex_unlock(&l->lock);
	return NULL;
}

int latency_new(struct latency **ret)
{
	struct latency *l = calloc(1, sizeof(*l));
	sigset_t all, before;
	int err;

	if (!l)
		return -ENOMEM;
	l->fd = open("/dev/cpu_dma_latency", O_WRONLY | O_CLOEXEC);
	if (l->fd < 0) {
		free(l);
		*ret = NULL;
		return 0;
	}
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->wake, NULL);
	/* Signals are for the program's own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&l->thread, NULL, let_go, l);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err) {
		close(l->fd);
		free(l);
		return -err;
	}
	*ret = l;
	return 0;
}

void latency_free(struct latency *l)
{
	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	l->stop = true;
	pthread_cond_signal(&l->wake);
	pthread_mutex_unlock(&l->lock);
	pthread_join(l->thread, NULL);
	pthread_cond_destroy(&l->wake);
	pthread_mutex_destroy(&l->lock);
	close(l->fd);
	free(l);
}
