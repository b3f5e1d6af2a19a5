#include "stress.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct store *store;
atomic_int failures;
int rounds;

static const char *program;

void fail(const char *what, int err)
{
	fprintf(stderr, "%s: %s: %d\n", program, what, err);
	atomic_fetch_add(&failures, 1);
}

static void remove_all(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d && (e = readdir(d)))
		unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
	rmdir(dir);
}

int stress_run(struct stress *s, int argc, char **argv)
{
	char dir[64];
	pthread_t threads[THREADS];

	program = s->name;
	if (argc > 1)
		rounds = atoi(argv[1]);
	if (argc > 2)
		s->options.delay_ms = (unsigned)atoi(argv[2]);
	snprintf(dir, sizeof(dir), "/tmp/%s-XXXXXX", program);
	if (!mkdtemp(dir) || store_open(dir, &s->options, &store)) {
		fail("store_open", errno);
		return 1;
	}
	for (intptr_t i = 0; i < THREADS; i++) {
		if (pthread_create(&threads[i], NULL, s->hammer, (void *)i))
			return 1;
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	if (s->before_close)
		s->before_close();
	store_close(store);
	if (s->after_close)
		s->after_close();
	if (store_open(dir, &s->options, &store)) {
		fail("opening again", 0);
	} else {
		s->check();
		store_close(store);
	}
	remove_all(dir);
	return failures ? 1 : 0;
}
