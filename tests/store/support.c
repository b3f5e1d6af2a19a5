#include "support.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

char *dir_make(void)
{
	char *dir = strdup("/tmp/store-test-XXXXXX");

	cr_assert(mkdtemp(dir), "mkdtemp: %s", strerror(errno));
	return dir;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

void dir_remove(char *dir)
{
	cr_assert_eq(nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0, "%s: %s", dir, strerror(errno));
	free(dir);
}

static uint64_t random_state;

void random_seed(const char *test)
{
	const char *seed = getenv("HISTORYFS_SEED") ? getenv("HISTORYFS_SEED") : getenv("SEED");
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	random_state = seed ? strtoull(seed, NULL, 0) : (uint64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
	printf("%s: SEED=%llu\n", test, (unsigned long long)random_state);
	fflush(stdout);
	random_state = random_state * 0x9e3779b97f4a7c15u + 1;
}

uint64_t random_below(uint64_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (random_state >> 11) % n;
}

bool random_chance(unsigned percent)
{
	return random_below(100) < percent;
}

struct text text_file(const char *dir, const char *name)
{
	struct text t = { 0 };
	struct stat st;
	char *path;
	int fd;

	cr_assert(asprintf(&path, "%s/%s", dir, name) > 0);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	cr_assert(fd >= 0 && fstat(fd, &st) == 0, "%s: %s", path, strerror(errno));
	t.data = malloc(st.st_size + 1);
	t.size = st.st_size;
	cr_assert_eq(read(fd, t.data, t.size), (ssize_t)t.size);
	t.data[t.size] = 0;
	close(fd);
	free(path);
	return t;
}

struct text text_format(const char *format, ...)
{
	struct text t;
	va_list args;
	int size;

	va_start(args, format);
	size = vasprintf(&t.data, format, args);
	va_end(args);
	cr_assert(size >= 0);
	t.size = size;
	return t;
}

bool text_equal(struct text a, struct text b)
{
	return a.size == b.size && (!a.size || memcmp(a.data, b.data, a.size) == 0);
}

bool text_differ(struct text got, struct text want, char *how, size_t size)
{
	size_t at = 0;

	if (text_equal(got, want))
		return false;
	while (at < got.size && at < want.size && got.data[at] == want.data[at])
		at++;
	snprintf(how, size, "%zu bytes, not %zu; other from %zu on:\n%.300s\nnot\n%.300s", got.size, want.size, at,
		 got.data ? got.data + (at > 80 ? at - 80 : 0) : "", want.data ? want.data + (at > 80 ? at - 80 : 0) : "");
	return true;
}

void check_text(struct text got, struct text want, const char *what, const char *name)
{
	char how[800];

	cr_assert(!text_differ(got, want, how, sizeof(how)), "%s, %s: %s", name, what, how);
}

void text_free(struct text t)
{
	free(t.data);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

char **names_in(const char *dir)
{
	DIR *d = opendir(dir);
	char **names = NULL;
	struct dirent *e;
	size_t count = 0;

	cr_assert(d, "%s: %s", dir, strerror(errno));
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		names = realloc(names, (count + 2) * sizeof(*names));
		names[count++] = strdup(e->d_name);
	}
	closedir(d);
	cr_assert(count > 0, "%s is empty", dir);
	names[count] = NULL;
	qsort(names, count, sizeof(*names), by_name);
	return names;
}

void names_free(char **names)
{
	for (char **n = names; *n; n++)
		free(*n);
	free(names);
}

struct store *must_open(const char *dir, unsigned delay_ms)
{
	struct store_options o = { .create = true, .delay_ms = delay_ms, .map_size = 4ull << 30 };
	struct store *s;
	int err = store_open(dir, &o, &s);

	cr_assert_eq(err, 0, "store_open: %d", err);
	return s;
}

static void tell(void *arg, const char *text)
{
	fprintf(stderr, "%s\n", text);
}

void must_close(struct store *s)
{
	uint64_t problems;
	int err = store_verify(s, tell, NULL, NULL, &problems);

	cr_assert_eq(err, 0, "store_verify: %d", err);
	cr_assert_eq(problems, 0, "%llu problems", (unsigned long long)problems);
	store_close(s);
}

struct text read_view(struct store_view *v)
{
	struct text t = { malloc(store_view_size(v) + 2), 0 };
	int err = store_view_read(v, 0, t.data, store_view_size(v) + 1, &t.size);

	cr_assert_eq(err, 0, "store_view_read: %d", err);
	cr_assert_eq(t.size, store_view_size(v), "the view of version %llu says %llu bytes and gives %zu",
		     (unsigned long long)store_view_version(v), (unsigned long long)store_view_size(v), t.size);
	t.data[t.size] = 0;
	return t;
}

struct text read_version(struct store *s, uint64_t ino, uint64_t version, int *ret_err)
{
	struct store_view *v;
	struct text t = { 0 };
	int err = store_view_open(s, ino, version, &v);

	if (ret_err)
		*ret_err = err;
	if (err)
		return t;
	t = read_view(v);
	store_view_unref(v);
	return t;
}

struct text read_name(struct store *s, const char *name)
{
	struct store_attr a;
	struct text t;
	int err = store_lookup(s, STORE_ROOT, name, &a);

	cr_assert_eq(err, 0, "lookup of %s: %d", name, err);
	t = read_version(s, a.ino, 0, &err);
	cr_assert_eq(err, 0, "view of %s: %d", name, err);
	cr_assert_eq(a.size, t.size, "%s: %llu bytes by its attributes, %zu by its view", name, (unsigned long long)a.size, t.size);
	return t;
}

struct store_save save_sharing(struct store *s, const char *name, struct text t, struct store_view *prefix, uint64_t share,
			       const struct store_base *base, unsigned flags)
{
	struct store_save save = { .parent = STORE_ROOT, .name = name, .bases = base, .base_count = base ? 1 : 0, .flags = flags,
				   .mode = 0644, .pid = getpid() };
	size_t same = 0;

	if (prefix)
		cr_assert_eq(store_view_match(prefix, 0, t.data, t.size, &same), 0);
	if (same > share)
		same = share;
	if (same) {
		save.prefix = prefix;
		save.prefix_size = same;
	}
	save.tail = t.data + same;
	save.tail_size = t.size - same;
	if (!t.size)
		save.flags |= STORE_SAVE_EMPTY;
	store_save(s, &save);
	return save;
}

struct store_save save_text(struct store *s, const char *name, struct text t, const struct store_base *base, unsigned flags)
{
	return save_sharing(s, name, t, NULL, 0, base, flags);
}

void must_save(const struct store_save *save, const char *name)
{
	cr_assert_eq(save->error, 0, "%s: %d, %s at %zu", name, save->error, save->reason ? save->reason : "", save->error_offset);
}

struct store_base base_at(uint64_t ino, uint64_t version)
{
	return (struct store_base){ .ino = ino, .version = version, .flags = STORE_BASE_THREAD, .order = 1 };
}

void check_version(struct store *s, uint64_t ino, uint64_t version, struct text want, const char *name)
{
	struct text got;
	char what[64];
	int err;

	snprintf(what, sizeof(what), "version %llu", (unsigned long long)version);
	got = read_version(s, ino, version, &err);
	cr_assert_eq(err, 0, "%s, %s: %d", name, what, err);
	check_text(got, want, what, name);
	text_free(got);
}
