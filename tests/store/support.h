/* What the tests of the store share: private directories, short forms of saving and reading, random numbers from a printed seed. */
#ifndef TESTS_SUPPORT_H
#define TESTS_SUPPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store.h"

/* A new directory's name under /tmp, to be given to dir_remove. */
char *dir_make(void);
/* Removes it with all that is in it, and frees the name. */
void dir_remove(char *dir);

/* The seed is HISTORYFS_SEED or SEED from the environment, or the time; it is printed. */
void random_seed(const char *test);
uint64_t random_below(uint64_t n);
bool random_chance(unsigned percent);

struct text {
	char *data;
	size_t size;
};

/* A whole file; the assertion fails when it can't be read. */
struct text text_file(const char *dir, const char *name);
struct text text_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool text_equal(struct text a, struct text b);
/* Where and how two texts part, in words; false when they are the same. */
bool text_differ(struct text got, struct text want, char *how, size_t size);
/* Asserts that they are the same. */
void check_text(struct text got, struct text want, const char *what, const char *name);
void text_free(struct text t);

/* The names in a directory, ascending, but for those that begin with a dot. Each and the list are malloced; ends with NULL. */
char **names_in(const char *dir);
void names_free(char **names);

/* Opens the store in `dir`, making it if need be. */
struct store *must_open(const char *dir, unsigned delay_ms);

/* Checks every invariant of the format, and closes. */
void must_close(struct store *s);

/* Runs what follows with saves on disk at once, and with saves delayed. */
#define EACH_MODE(delay) for (unsigned _mode = 0, delay; _mode < 2 && (delay = _mode * 20, true); _mode++)

/* The bytes of a version (0: the newest); data NULL when the store answered with an error, which goes to *ret_err (may be NULL). */
struct text read_version(struct store *s, uint64_t ino, uint64_t version, int *ret_err);
/* Asserts that the version reads so. */
void check_version(struct store *s, uint64_t ino, uint64_t version, struct text want, const char *name);
struct text read_view(struct store_view *v);
struct text read_name(struct store *s, const char *name);

/* Saves under a name in the root. `base` NULL: no candidates. */
struct store_save save_text(struct store *s, const char *name, struct text t, const struct store_base *base, unsigned flags);

/* The same with what it shares with `prefix` left out, but no more than `share` bytes of it. */
struct store_save save_sharing(struct store *s, const char *name, struct text t, struct store_view *prefix, uint64_t share,
			       const struct store_base *base, unsigned flags);

void must_save(const struct store_save *save, const char *name);

/* A base that knows all versions up to this one. */
struct store_base base_at(uint64_t ino, uint64_t version);

#endif
