/*
 * Eight threads on one set of tickets with little memory, for the thread sanitizer. What must hold whatever the
 * interleaving is checked: orders descend, own versions ascend and lie above the version, and the memory keeps its bound.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ticket.h"

#define THREADS 8
#define MEMORY (256u << 10)

static struct processes *processes;
static struct tickets *tickets;
static atomic_uint_fast64_t version = 1;
static atomic_int failures;
static int rounds = 20000;

static void fail(const char *what)
{
	fprintf(stderr, "stress_ticket: %s\n", what);
	atomic_fetch_add(&failures, 1);
}

static void check(const struct store_base *bases, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (i && bases[i].order > bases[i - 1].order)
			fail("order");
		for (size_t j = 0; j < bases[i].own_count; j++)
			if (bases[i].own[j] <= (j ? bases[i].own[j - 1] : bases[i].version))
				fail("own versions");
	}
}

static void *hammer(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;
	pid_t tid = (pid_t)syscall(SYS_gettid);
	struct ticket_set *set = NULL;
	const struct store_base *bases;
	size_t n;
	char name[16];

	for (int i = 0; i < rounds; i++) {
		struct process self = processes_identify(processes, tid), who = self;
		if (!self.known || self.tid != tid || self.tgid != getpid())
			fail("identify");
		/* Most of the time itself, else one of many that do not exist. */
		if (rand_r(&seed) % 4 == 0)
			who = (struct process){ .tid = 1 << 23 | rand_r(&seed) % 1000, .start = 1, .known = true };
		if (who.tgid == 0)
			who.tgid = who.tid;
		snprintf(name, sizeof name, "%d.json", rand_r(&seed) % 20);
		uint64_t v = atomic_load(&version);

		switch (rand_r(&seed) % 8) {
		case 0:
			tickets_unlinked(tickets, &who, 1, name);
			break;
		case 1:
			tickets_renamed(tickets, &who, 1, name, 1, "r.json");
			break;
		case 2:
		case 3:
		case 4:
			tickets_shown(tickets, &who, 1, name, 7, v);
			break;
		default:
			if (!set && tickets_freeze(tickets, &who, &set) < 0)
				break;
			if (tickets_bases(tickets, set, 1, name, rand_r(&seed) % 2, &bases, &n) < 0)
				break;
			check(bases, n);
			if (rand_r(&seed) % 2) {
				struct store_save s = { .saved_ino = 7, .base = n ? (int)(rand_r(&seed) % n) : -1 };
				s.previous = atomic_fetch_add(&version, 1);
				s.version = s.previous + 1;
				tickets_saved(tickets, set, 1, name, &s);
			} else {
				ticket_set_free(set);
				set = NULL;
			}
		}
	}
	ticket_set_free(set);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];
	uint64_t n, count, bytes;

	if (argc > 1)
		rounds = atoi(argv[1]);
	if (processes_new(4, &processes) < 0 || tickets_new(processes, 1, MEMORY, &tickets) < 0)
		return 1;
	for (size_t i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, hammer, (void *)(uintptr_t)(i + 1)))
			return 1;
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	tickets_count(tickets, &n, &count, &bytes);
	if (bytes > MEMORY)
		fail("memory");
	tickets_free(tickets);
	processes_free(processes);
	return failures ? 1 : 0;
}
