/*
 * Eight threads on one store, for the thread sanitizer: they save, read, unlink, list and sync; then the store is closed and
 * looked at. What must hold whatever the interleaving is checked: a document that is read is whole (P3), what its thread alone
 * appends is all there in its order (P1, P6).
 *
 *	stress_store [ROUNDS [DELAY_MS]]
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "json.h"
#include "stress.h"

#define SHARED 3		/* documents that all append to */

static atomic_int appended[SHARED];

/* A shared document as it is now; NULL when there is none. To be freed. */
static char *read_document(const char *name, struct store_view **ret_view)
{
	struct store_attr a;
	struct store_view *v;
	char *text;
	size_t size;
	int err = store_lookup(store, STORE_ROOT, name, &a);

	if (!err)
		err = a.kind == STORE_DOCUMENT ? store_view_open(store, a.ino, 0, &v) : -ENOENT;
	if (err) {
		if (err != -ENOENT)
			fail("open", err);
		return NULL;
	}
	text = malloc(store_view_size(v) + 1);
	err = store_view_read(v, 0, text, store_view_size(v), &size);
	if (err || size != store_view_size(v))
		fail("read", err);
	else if (size && json_check(text, size, NULL))
		fail("a document that is read is not whole", 0);
	text[size] = 0;
	*ret_view = v;
	return text;
}

static void append(unsigned *seed, int thread, int round)
{
	int which = rand_r(seed) % SHARED;
	struct store_view *view = NULL;
	char name[32], *text, *whole;
	struct store_base base = { .flags = STORE_BASE_THREAD, .order = 1 };
	struct store_save save = { .parent = STORE_ROOT, .name = name, .bases = &base, .base_count = 1, .mode = 0644, .pid = thread + 1 };
	int size;

	snprintf(name, sizeof(name), "%d.json", which);
	text = read_document(name, &view);
	if (view) {
		base.ino = store_view_ino(view);
		base.version = store_view_version(view);
	}
	/* What was read, and one more. */
	size = text && strlen(text) > 2 ? (int)strlen(text) - 1 : 0;
	size = asprintf(&whole, "%.*s%s{\"thread\": %d, \"round\": %d}]", size, text ? text : "", size ? ", " : "[", thread, round);
	if (view && rand_r(seed) % 2) {
		save.prefix = view;
		if (store_view_match(view, 0, whole, (size_t)size, &save.prefix_size))
			fail("match", 0);
	}
	save.tail = whole + save.prefix_size;
	save.tail_size = (size_t)size - save.prefix_size;
	if (store_save(store, &save))
		fail("append", save.error);
	else
		atomic_fetch_add(&appended[which], 1);
	store_view_unref(view);
	free(text);
	free(whole);
}

static void churn(unsigned *seed, int thread, int round)
{
	char name[32], text[64];
	struct store_save save = { .parent = STORE_ROOT, .name = name, .tail = text, .mode = 0600 };
	struct store_attr a;
	uint64_t offset;
	int err;

	snprintf(name, sizeof(name), "churn%d.%s", rand_r(seed) % 4, rand_r(seed) % 2 ? "json" : "tmp");
	switch (rand_r(seed) % 5) {
	case 0:
		if (name[7] != 'j')
			break;
		save.tail_size = (size_t)snprintf(text, sizeof(text), "[%d, %d]", thread, round);
		if (store_save(store, &save) && save.error != -EINVAL)
			fail("save", save.error);
		break;
	case 1:
		err = store_create(store, STORE_ROOT, name, 0, S_IFREG | 0600, 0, 0, NULL, &a);
		if (err && err != -EEXIST)
			fail("create", err);
		break;
	case 2:
		err = store_unlink(store, STORE_ROOT, name, rand_r(seed) % 2, &a);
		if (!err && a.kind == STORE_SCRATCH)
			err = store_forget(store, a.ino);
		if (err && err != -ENOENT)
			fail("unlink", err);
		break;
	case 3:
		err = store_lookup(store, STORE_ROOT, name, &a);
		if (!err)
			err = store_append(store, a.ino, name, strlen(name), &offset);
		if (err && err != -ENOENT && err != -EINVAL)
			fail("write", err);
		break;
	default:
		err = store_rename(store, STORE_ROOT, "churn0.tmp", STORE_ROOT, name, 0, false);
		if (err && err != -ENOENT)
			fail("rename", err);
	}
}

static int count_entry(void *arg, const struct store_attr *a, uint64_t cookie)
{
	uint64_t *last = arg;

	if (cookie <= *last)
		fail("cookies do not ascend", 0);
	*last = cookie;
	return 0;
}

static void look(unsigned *seed)
{
	struct store_view *view = NULL;
	struct store_stats stats;
	uint64_t last = 0;
	char name[32], *text;
	int err;

	switch (rand_r(seed) % 4) {
	case 0:
		err = store_readdir(store, STORE_ROOT, 0, true, count_entry, &last);
		if (err)
			fail("readdir", err);
		break;
	case 1:
		err = store_stats(store, true, &stats);
		if (err)
			fail("stats", err);
		break;
	case 2:
		err = rand_r(seed) % 4 ? 0 : store_sync(store);
		if (err)
			fail("sync", err);
		break;
	default:
		snprintf(name, sizeof(name), "%d.json", rand_r(seed) % SHARED);
		text = read_document(name, &view);
		store_view_unref(view);
		free(text);
	}
}

static void *hammer(void *arg)
{
	int thread = (int)(intptr_t)arg;
	unsigned seed = (unsigned)thread;

	for (int i = 0; i < rounds; i++) {
		switch (rand_r(&seed) % 4) {
		case 0:
			append(&seed, thread, i);
			break;
		case 1:
			churn(&seed, thread, i);
			break;
		default:
			look(&seed);
		}
	}
	return NULL;
}

static void check_appended(void)
{
	for (int i = 0; i < SHARED; i++) {
		struct store_view *view = NULL;
		int last[THREADS], count = 0;
		char name[32], *text, *at;

		memset(last, 0xff, sizeof(last));
		snprintf(name, sizeof(name), "%d.json", i);
		text = read_document(name, &view);
		for (at = text; at && (at = strstr(at, "{\"thread\": ")); at++, count++) {
			int thread, round;

			if (sscanf(at, "{\"thread\": %d, \"round\": %d", &thread, &round) != 2 || thread < 0 || thread >= THREADS) {
				fail("a message", 0);
				break;
			}
			if (round <= last[thread])
				fail("a thread's messages are out of order", round);
			last[thread] = round;
		}
		if (count != atomic_load(&appended[i]) || (view && store_view_count(view) != (uint64_t)count))
			fail("messages are lost or came twice", atomic_load(&appended[i]) - count);
		store_view_unref(view);
		free(text);
	}
}

int main(int argc, char **argv)
{
	struct stress s = {
		.name = "stress_store", .options = { .create = true, .map_size = 1ull << 30, .cache_size = 64 << 10 }, .hammer = hammer,
		.before_close = check_appended, .check = check_appended,
	};

	rounds = 300;
	return stress_run(&s, argc, argv);
}
