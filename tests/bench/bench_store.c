/*
 * Threads that append through store.h, each to a session of its own, durable when the call returns.
 *
 *	bench_store STORE THREADS APPENDS [DELAY_MS]
 */
#include "bench.h"

#include <sys/stat.h>

#include "store.h"

static void work(struct run *r, size_t worker)
{
	struct store *s = (struct store *)r->arg;
	char name[32], message[MESSAGE_MAX];
	struct store_save save = { .tail = message, .flags = STORE_SAVE_APPEND, .parent = STORE_ROOT, .name = name, .mode = S_IFREG | 0644,
				   .pid = getpid() };
	struct store_attr a;
	int err;

	snprintf(name, sizeof(name), "t%zu.json", worker);
	err = store_resolve(s, name, &a);
	if (err && err != -ENOENT)
		die("%s: %s", name, store_strerror(err));
	save.ino = err ? 0 : a.ino;
	run_go(r);
	for (size_t i = 0; i < r->each; i++) {
		double start = now();

		save.tail_size = make_message(message, worker, i);
		err = store_save(s, &save);
		if (err)
			die("%s: %s", name, store_strerror(err));
		save.ino = save.saved_ino;
		r->times[worker * r->each + i] = now() - start;
	}
}

int main(int argc, char **argv)
{
	struct store_options options = { .create = true };
	struct store *s;
	int err;

	if (argc < 4)
		die("usage: bench_store STORE THREADS APPENDS [DELAY_MS]");
	options.delay_ms = argc > 4 ? number(argv[4]) : 0;
	err = store_open(argv[1], &options, &s);
	if (err)
		die("%s: %s", argv[1], store_strerror(err));
	run(number(argv[2]), number(argv[3]), true, work, s);
	store_close(s);
	return 0;
}
