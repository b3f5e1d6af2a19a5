/*
 * The fuzzer of filesystem operations: workers run batches of sequences (ops_batch.c), each on
 * mounts of its own, and this adds up what they find.
 *
 *	fuzz_ops [-j WORKERS] [-k FINDINGS] HISTORYFS HISTORYCTL COUNT [SEED [FIRST]]
 *
 * WORKERS: 1 without; 0: one for each processor. It ends after that many FINDINGS (8). FIRST: the
 * first sequence's number; each minute, and when it is interrupted, it tells how to go on.
 * Exit status: 0, 1 when something was found, 77 when nothing could be mounted, 130 when it was
 * interrupted.
 */
#include "ops.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TELL_SECONDS 60

struct run *run;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int usage(void)
{
	fprintf(stderr, "usage: fuzz_ops [-j WORKERS] [-k FINDINGS] HISTORYFS HISTORYCTL COUNT "
			"[SEED [FIRST]]\n");
	return 2;
}

static bool run_make(void)
{
	pthread_mutexattr_t shared;

	run = mmap(NULL, sizeof(*run), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (run == MAP_FAILED)
		return false;
	pthread_mutexattr_init(&shared);
	pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&run->lock, &shared);
	pthread_mutexattr_destroy(&shared);
	return true;
}

/* Workers, whose processes have a group of their own, end the sequence that they run. */
static void interrupt(int signal)
{
	run->stop = true;
}

/* A worker: takes batches until there is none left, or enough was found. */
static int work(unsigned me)
{
	uint64_t at, end = run->first + run->count;

	setpgid(0, 0);
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (seats_make()) {
		perror("fuzz_ops");
		return 77;
	}
	while (!run_is_over() && (at = atomic_fetch_add(&run->next_batch, 1) * BATCH) < end) {
		uint64_t from = at > run->first ? at : run->first,
			 to = at + BATCH < end ? at + BATCH : end;

		run->at[me] = from;
		run_batch(from, (unsigned)(to - from));
	}
	if (!run_is_over())
		run->at[me] = UINT64_MAX;
	return 0;
}

/* All before that one have been run. */
static uint64_t next_sequence(unsigned workers)
{
	uint64_t next = run->next_batch * BATCH, end = run->first + run->count;

	for (unsigned i = 0; i < workers; i++)
		next = run->at[i] < next ? run->at[i] : next;
	return next < end ? next : end;
}

static void tell_totals(unsigned workers, double seconds)
{
	uint64_t next = next_sequence(workers);

	if (next < run->first + run->count)
		printf("to go on: SEED %llu, FIRST %llu\n", (unsigned long long)run->seed,
		       (unsigned long long)next);
	printf("%llu calls, %llu kills of the daemon, %llu times verified: %llu executions, %u "
	       "findings, %.1f seconds\n",
	       (unsigned long long)run->calls, (unsigned long long)run->kills,
	       (unsigned long long)run->verified, (unsigned long long)run->sequences, run->found,
	       seconds);
	fflush(stdout);
}

/* Until all have ended. The exit status of the first that did not end well, or 0. */
static int wait_for(unsigned workers, double began)
{
	double told = began;
	int status, ret = 0;

	for (unsigned left = workers; left;) {
		if (waitpid(-1, &status, WNOHANG) > 0) {
			left--;
			if (!ret && status)
				ret = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
			continue;
		}
		nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
		if (now() - told > TELL_SECONDS) {
			told = now();
			tell_totals(workers, told - began);
		}
	}
	return ret;
}

int main(int argc, char **argv)
{
	unsigned workers = 1;
	double began = now();
	struct timespec t;
	int option, status;

	if (argc == 3 && strcmp(argv[1], "--actor") == 0)
		return actor_main(atoi(argv[2]));
	if (!run_make())
		return 77;
	run->found_max = 8;
	while ((option = getopt(argc, argv, "+j:k:")) != -1) {
		if (option == 'j')
			workers = atoi(optarg) ? (unsigned)atoi(optarg)
					       : (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
		else if (option == 'k')
			run->found_max = (unsigned)atoi(optarg);
		else
			return usage();
	}
	argv += optind;
	argc -= optind;
	if (argc < 3 || argc > 5 || !workers || workers > WORKERS_MAX || !run->found_max)
		return usage();
	historyfs = argv[0];
	historyctl = argv[1];
	run->count = strtoull(argv[2], NULL, 0);
	clock_gettime(CLOCK_REALTIME, &t);
	run->seed = argc > 3 && *argv[3]
			    ? strtoull(argv[3], NULL, 0)
			    : (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
	run->first = argc > 4 ? strtoull(argv[4], NULL, 0) : 0;
	run->next_batch = run->first / BATCH;
	printf("seed %llu\n", (unsigned long long)run->seed);
	fflush(stdout);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGINT, interrupt);
	signal(SIGTERM, interrupt);
	for (unsigned i = 0; i < workers; i++) {
		run->at[i] = run->first;
		if (!fork())
			exit(work(i));
	}
	status = wait_for(workers, began);
	tell_families();
	tell_totals(workers, now() - began);
	if (!run->found && status && status != 77)
		printf("a worker ended with status %d\n", status);
	return run->found ? 1 : run->stop ? 130 : status;
}
