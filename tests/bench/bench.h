/* What the programs of the benchmark share: workers that start together, their times, the message that is saved. */
#ifndef BENCH_H
#define BENCH_H

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE_MAX 512

/* In shared memory when the workers are processes. */
struct run {
	size_t workers, each;
	void (*work)(struct run *r, size_t worker);
	const void *arg;
	pthread_barrier_t ready;
	double *ends, *times;	/* a worker's end; times[worker * each + i]: how long it took, in seconds */
};

__attribute__((noreturn, format(printf, 1, 2))) static inline void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\n");
	/* The others may wait for this one: they are all in the program's own session. */
	if (getsid(0) == getpgrp())
		kill(0, SIGTERM);
	_exit(1);
}

static inline double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static inline size_t number(const char *text)
{
	char *end;
	size_t n = strtoul(text, &end, 10);

	if (end == text || *end)
		die("%s: not a number", text);
	return n;
}

static inline void *shared(size_t size)
{
	void *p = mmap(NULL, size ? size : 1, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	return p;
}

/* About 250 bytes, as json.dump(indent=2) writes it into a list. */
static inline size_t make_message(char buf[MESSAGE_MAX], size_t worker, size_t i)
{
	return snprintf(buf, MESSAGE_MAX,
			"{\n    \"role\": \"%s\",\n    \"content\": \"w%zu:%zu; It depends on what you measure, so first write a benchmark. "
			"See https://example.org/docs/page?id=42 below,\\nna\xc3\xafve as it is: the answer to \\\"how fast?\\\" is a number "
			"with a unit, a size and a machine beside it.\"\n  }", i % 2 ? "assistant" : "user", worker, i);
}

/* Each worker calls this once when it is ready to begin. */
static inline void run_go(struct run *r)
{
	pthread_barrier_wait(&r->ready);
}

struct run_worker {
	struct run *run;
	size_t worker;
};

static inline void *run_thread(void *arg)
{
	struct run_worker *w = arg;

	w->run->work(w->run, w->worker);
	w->run->ends[w->worker] = now();
	return NULL;
}

static inline int run_compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Starts the workers, waits for them and prints one JSON object. */
static inline void run(size_t workers, size_t each, bool threads, void (*work)(struct run *r, size_t worker), const void *arg)
{
	struct run *r = shared(sizeof(*r));
	struct run_worker *w = calloc(workers, sizeof(*w));
	pthread_t *ids = calloc(workers, sizeof(*ids));
	size_t n = workers * each;
	pthread_barrierattr_t attr;
	double start, end = 0;
	int status;

	if (!w || !ids || !n)
		die("no workers, or no memory for them");
	*r = (struct run){ .workers = workers, .each = each, .work = work, .arg = arg, .ends = shared(workers * sizeof(double)),
			   .times = shared(n * sizeof(double)) };
	pthread_barrierattr_init(&attr);
	pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&r->ready, &attr, workers + 1);
	for (size_t i = 0; i < workers; i++) {
		pid_t pid;

		w[i] = (struct run_worker){ r, i };
		if (threads) {
			if (pthread_create(&ids[i], NULL, run_thread, &w[i]))
				die("can't start a thread");
			continue;
		}
		pid = fork();
		if (pid < 0)
			die("fork: %s", strerror(errno));
		if (!pid) {
			run_thread(&w[i]);
			_exit(0);
		}
	}
	pthread_barrier_wait(&r->ready);
	start = now();
	for (size_t i = 0; i < workers; i++) {
		if (threads)
			pthread_join(ids[i], NULL);
		else if (wait(&status) < 0 || status)
			die("a worker failed");
	}
	for (size_t i = 0; i < workers; i++)
		end = r->ends[i] > end ? r->ends[i] : end;
	qsort(r->times, n, sizeof(double), run_compare);
	printf("{\"count\":%zu,\"seconds\":%.9f,\"rate\":%.3f,\"median\":%.9f,\"p99\":%.9f,\"max\":%.9f}\n", n, end - start,
	       (double)n / (end - start), r->times[n / 2], r->times[n * 99 / 100], r->times[n - 1]);
	fflush(stdout);
	free(w);
	free(ids);
}

#endif
