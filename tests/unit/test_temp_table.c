/* Temp files that are remembered: what becomes of them at each bound. Clock, processes and the store are made up here. */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bound.h"
#include "handle.h"
#include "support.h"
#include "temp_table.h"

#define NAMED_MAX 4096
#define LOST_MAX 4096
#define FORGOTTEN_MAX 1024

static char *dir;
static time_t now;
static pid_t dead;		/* 0: all live */

int clock_gettime(clockid_t id, struct timespec *t)
{
	if (id != CLOCK_BOOTTIME)
		return (int)syscall(SYS_clock_gettime, id, t);
	*t = (struct timespec){ .tv_sec = now };
	return 0;
}

bool process_alive(const struct process *who)
{
	return who->tgid != dead;
}

bool processes_events(struct processes *p, const struct process *who)
{
	return false;
}

bool processes_family(struct processes *p, const struct process *who, pid_t *group, struct process *parent)
{
	return false;
}

struct process processes_identify(struct processes *p, pid_t tid)
{
	return (struct process){ .tid = tid };
}

void ticket_set_free(struct ticket_set *set)
{
}

void tickets_begin(struct ticket_set *set, const struct process *who)
{
}

pid_t ticket_set_above(const struct ticket_set *set)
{
	return 0;
}

bool shown_held(unsigned device, uint64_t ino)
{
	return false;
}

bool inodes_is_open(struct inodes *t, uint64_t ino)
{
	return false;
}

void handle_forget(struct mount *m, uint64_t ino, const struct process *who)
{
}

static struct process process_of(int number)
{
	return (struct process){ .tid = 1000 + number, .tgid = 1000 + number, .start = 1, .known = true };
}

static struct mount *new_mount(void)
{
	struct mount *m = calloc(1, sizeof(*m));

	cr_assert_not_null(m);
	dir = dir_make();
	m->store = must_open(dir, 0);
	cr_assert_eq(temps_new(&m->temps), 0);
	now = 1000;
	dead = 0;
	return m;
}

static void free_mount(struct mount *m)
{
	temps_free(m->temps);
	must_close(m->store);
	dir_remove(dir);
	free(m);
}

/* The process opens file `ino` of that name. */
static int add(struct mount *m, int process, const char *name, uint64_t ino, uint64_t *ret_id)
{
	struct process who = process_of(process);
	struct store_attr a = { .ino = ino, .parent = 1 };

	snprintf(a.name, sizeof(a.name), "%s", name);
	return temps_add(m, &who, &a, NULL, TEMP_FRESH, ret_id);
}

static const char *numbered(const char *format, int number)
{
	static char name[64];

	snprintf(name, sizeof(name), format, number);
	return name;
}

/* The oldest is an ordinary file then, and that somebody may still rename it is known for ten minutes; of one that is saved already nothing is lost. */
Test(temps, named)
{
	static const struct {
		int count;
		bool saved;		/* the oldest is in its document */
		uint64_t met;
	} cases[] = { { NAMED_MAX, false, 0 }, { NAMED_MAX + 1, false, 1 }, { NAMED_MAX + 2, false, 2 }, { NAMED_MAX + 1, true, 0 } };

	for (size_t c = 0; c < sizeof(cases) / sizeof(*cases); c++) {
		int number = cases[c].count, gone = number - NAMED_MAX;
		uint64_t before = bound_count(BOUND_TEMPS);
		struct mount *m = new_mount();

		for (int i = 0; i < number; i++) {
			cr_assert_eq(add(m, 0, numbered("s%d.json.tmp", i), 100 + (uint64_t)i, NULL), 0);
			if (i == 0)
				temp_find(m->temps, "s0.json.tmp", 100)->saved = cases[c].saved;
		}
		cr_assert_eq(bound_count(BOUND_TEMPS) - before, cases[c].met, "%d files: counted", number);
		cr_assert_eq(temps_forgot(m->temps), cases[c].met > 0, "%d files: a rename of what is not known may mean one that went", number);
		for (int i = 0; i < number; i++)
			cr_assert_eq(temp_find(m->temps, numbered("s%d.json.tmp", i), 100 + (uint64_t)i) != NULL, i >= gone, "%d files: file %d", number, i);
		now += TEMP_SECONDS;
		cr_assert_eq(temps_forgot(m->temps), cases[c].met > 0);
		now++;
		cr_assert_not(temps_forgot(m->temps), "after ten minutes nobody waits for it");
		free_mount(m);
	}
}

/* A process opens a document of that name, which others write too. */
static int add_lost(struct mount *m, int process)
{
	uint64_t id;
	int err = add(m, process, "temp.json", 100, &id);

	if (!err) {
		struct temp *e = temp_find_id(m->temps, "temp.json", id);

		e->version = id;
		temp_lose(m->temps, e);
	}
	return err;
}

static bool is_refused(struct mount *m, int process)
{
	struct process who = process_of(process);

	return temps_forgot_own(m, &who, 1, "temp.json");
}

/* So many processes have lost a file that had to go, each of which is told so by its rename; who would need one more opens no file, and nothing goes. */
Test(temps, forgotten)
{
	uint64_t before = bound_count(BOUND_TEMPS_LOST);
	struct mount *m = new_mount();

	for (int i = 0; i < LOST_MAX + FORGOTTEN_MAX; i++)
		cr_assert_eq(add_lost(m, i), 0, "file %d", i);
	cr_assert_eq(bound_count(BOUND_TEMPS_LOST) - before, FORGOTTEN_MAX);
	for (int i = 0; i < LOST_MAX + FORGOTTEN_MAX; i++)
		cr_assert_eq(is_refused(m, i), i < FORGOTTEN_MAX, "a rename by process %d", i);

	cr_assert_eq(add_lost(m, 9000), -ENFILE);
	cr_assert_eq(bound_count(BOUND_TEMPS_LOST) - before, FORGOTTEN_MAX + 1, "that is counted, too");
	cr_assert_eq(temps_waiting(m->temps), LOST_MAX, "nothing has gone for it");
	cr_assert_not(is_refused(m, FORGOTTEN_MAX), "the next whose file would have gone");

	dead = process_of(5).tgid;
	cr_assert_eq(add_lost(m, 9000), 0, "one of the processes has exited: there is room again");
	cr_assert(is_refused(m, FORGOTTEN_MAX), "another file went for it, and its process is told");
	cr_assert_eq(add_lost(m, 9001), -ENFILE);
	now += TEMP_SECONDS + 1;
	cr_assert_eq(add_lost(m, 9001), 0, "after ten minutes nobody waits for any");
	for (int i = 0; i < LOST_MAX + FORGOTTEN_MAX; i++)
		cr_assert_not(is_refused(m, i));
	free_mount(m);
}

/* Beyond this many bytes the version stands for what was written, with what others had brought. */
Test(temps, bytes)
{
	static const struct {
		size_t first, second;
		bool kept;		/* the second's bytes */
	} cases[] = {
		{ TEMP_BYTES_MAX - 1, 0, true }, { TEMP_BYTES_MAX - 2, 1, true }, { TEMP_BYTES_MAX - 1, 1, true }, { TEMP_BYTES_MAX, 1, false },
		{ TEMP_BYTES_MAX - 1, 2, false }, { TEMP_BYTES_MAX + 1, 1, true },
	};

	for (size_t c = 0; c < sizeof(cases) / sizeof(*cases); c++) {
		uint64_t before = bound_count(BOUND_TEMP_BYTES), ids[2];
		bool first_kept = cases[c].first <= TEMP_BYTES_MAX;
		struct mount *m = new_mount();
		struct temp *e;

		/* How many they are is all that counts here. */
		for (int i = 0; i < 2; i++) {
			cr_assert_eq(add(m, i, "temp.json", 100, &ids[i]), 0);
			temps_saved(m->temps, "temp.json", ids[i], 100, 7 + (uint64_t)i, malloc(1), i ? cases[c].second : cases[c].first);
		}
		cr_assert_eq(bound_count(BOUND_TEMP_BYTES) - before, !first_kept + !cases[c].kept, "case %zu: counted", c);
		e = temp_find_id(m->temps, "temp.json", ids[0]);
		cr_assert_eq(e->bytes != NULL, first_kept, "case %zu: the first's bytes", c);
		cr_assert_eq(e->version, 7);
		e = temp_find_id(m->temps, "temp.json", ids[1]);
		cr_assert_eq(e->bytes != NULL, cases[c].kept, "case %zu: the second's bytes", c);
		cr_assert_eq(e->version, 8, "case %zu: the version is there at any rate", c);
		cr_assert_eq(m->temps->bytes, (first_kept ? cases[c].first : 0) + (cases[c].kept ? cases[c].second : 0));

		/* A later save takes the place of the earlier bytes: there is room. */
		temps_saved(m->temps, "temp.json", ids[0], 100, 9, malloc(1), 1);
		cr_assert_not_null(temp_find_id(m->temps, "temp.json", ids[0])->bytes);
		free_mount(m);
	}
}
