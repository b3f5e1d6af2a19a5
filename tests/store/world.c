#include "world.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "past.h"
#include "ticket.h"

#define TICK UINT64_C(10000000)

/* What fs/process.c would tell of them. */
struct processes {
	struct {
		uint64_t start;
		pid_t group;
		unsigned parent;
		bool events;
	} of[WORLD_PROCESSES];
};

struct world {
	struct store *store;		/* NULL: over the pure merge */
	struct past *past;
	struct tickets *tickets;
	const char *name;
	unsigned flags;
	bool renamed[WORLD_PROCESSES];	/* it has renamed the document away */
};

struct world_handle {
	enum world_way way;
	struct who who;
	uint64_t ino;		/* of the document it was opened on; 0: there was none */
	struct ticket_set *set;
	struct text seen;	/* the version that is being read */
	bool reading, written;
	struct text text;
};

static struct processes world;
static uint64_t now_ns = UINT64_C(5000000000000);

int clock_gettime(clockid_t id, struct timespec *t)
{
	if (id != CLOCK_BOOTTIME)
		return (int)syscall(SYS_clock_gettime, id, t);
	*t = (struct timespec){ .tv_sec = (time_t)(now_ns / 1000000000), .tv_nsec = (long)(now_ns % 1000000000) };
	return 0;
}

static struct process process_of(struct who who)
{
	pid_t tgid = 1000 * (int)(who.process + 1);

	return (struct process){ .tid = tgid + (int)who.thread - 1, .tgid = tgid, .start = world.of[who.process].start, .known = true };
}

static unsigned index_of(const struct process *who)
{
	return (unsigned)who->tgid / 1000 - 1;
}

bool process_piped(const struct process *who)
{
	return false;
}

bool processes_events(struct processes *p, const struct process *who)
{
	return p->of[index_of(who)].events;
}

bool processes_family(struct processes *p, const struct process *who, pid_t *ret_group, struct process *ret_parent)
{
	unsigned i = index_of(who), parent = p->of[i].parent;

	*ret_group = p->of[i].group;
	*ret_parent = parent == i ? (struct process){ .known = false } : process_of((struct who){ parent, 1 });
	return true;
}

bool process_alive(const struct process *who)
{
	return who->start == world.of[index_of(who)].start;
}

struct world *world_new(struct store *s, unsigned flags)
{
	struct world *w = calloc(1, sizeof(*w));

	cr_assert(w);
	w->store = s;
	w->flags = flags;
	w->name = "f.json";
	if (!s)
		w->past = past_new();
	cr_assert_eq(tickets_new(&world, 0, 0, &w->tickets), 0);
	return w;
}

void world_free(struct world *w)
{
	tickets_free(w->tickets);
	if (w->past)
		past_free(w->past);
	free(w);
}

void world_document(struct world *w, const char *name)
{
	w->name = name;
	memset(w->renamed, 0, sizeof(w->renamed));
	if (w->past) {
		past_free(w->past);
		w->past = past_new();
	}
}

void world_process(struct world *w, unsigned process, bool events)
{
	cr_assert_lt(process, WORLD_PROCESSES);
	now_ns += 3 * TICK;
	world.of[process].start = now_ns / TICK;
	world.of[process].group = process_of((struct who){ process, 1 }).tgid;
	world.of[process].parent = process;
	world.of[process].events = events;
	w->renamed[process] = false;
	now_ns += 3 * TICK;
}

void world_fork(struct world *w, unsigned parent, unsigned child)
{
	world_process(w, child, world.of[parent].events);
	world.of[child].parent = parent;
	world.of[child].group = world.of[parent].group;
}

void world_group(struct world *w, unsigned process, unsigned group)
{
	world.of[process].group = (pid_t)group;
}

static int lookup(struct world *w, uint64_t *ret_ino, uint64_t *ret_version)
{
	struct store_attr a;
	int err;

	now_ns += 1000;
	if (w->past)
		return past_lookup(w->past, ret_ino, ret_version);
	err = store_lookup(w->store, STORE_ROOT, w->name, &a);
	*ret_ino = a.ino;
	*ret_version = a.version;
	if (err && store_former(w->store, STORE_ROOT, w->name, ret_ino, ret_version))
		*ret_ino = *ret_version = 0;
	cr_assert(!err || err == -ENOENT);
	return err;
}

/* The document's number, or 0 when there is none, which is a ticket. */
static uint64_t look_up(struct world *w, struct who who, uint64_t *ret_version)
{
	struct process p = process_of(who);
	uint64_t ino, version;

	if (!lookup(w, &ino, &version)) {
		*ret_version = version;
		return ino;
	}
	tickets_shown(w->tickets, &p, STORE_ROOT, w->name, ino, version);
	return 0;
}

bool world_look(struct world *w, struct text *ret)
{
	uint64_t ino, version;
	int err;

	if (lookup(w, &ino, &version))
		return false;
	if (w->past) {
		*ret = past_text(w->past);
		return true;
	}
	*ret = read_version(w->store, ino, 0, &err);
	cr_assert_eq(err, 0);
	return true;
}

bool world_read(struct world *w, struct who who, struct text *ret)
{
	struct process p = process_of(who);
	uint64_t version, ino = look_up(w, who, &version);

	if (!ino)
		return false;
	tickets_shown(w->tickets, &p, STORE_ROOT, w->name, ino, version);
	return !ret || world_look(w, ret);
}

static struct ticket_set *freeze(struct world *w, struct who who)
{
	struct process p = process_of(who);
	struct ticket_set *set;

	now_ns += 1000;
	cr_assert_eq(tickets_freeze(w->tickets, &p, &set), 0);
	return set;
}

static void created(struct world *w, struct world_handle *h, struct who who)
{
	struct process p = process_of(who);

	tickets_created(w->tickets, h->set, &p, STORE_ROOT, w->name);
}

struct world_handle *world_open(struct world *w, struct who who, enum world_way way)
{
	struct world_handle *h = calloc(1, sizeof(*h));
	uint64_t version;

	cr_assert(h);
	h->way = way;
	h->who = who;
	if (way != WORLD_TEMP)
		h->ino = look_up(w, who, &version);
	if (way != WORLD_READ)
		h->set = freeze(w, who);
	if (way != WORLD_READ && way != WORLD_TEMP && !h->ino)
		created(w, h, who);
	return h;
}

struct text world_handle_read(struct world *w, struct world_handle *h, bool begin)
{
	struct text t = { 0 };

	if (!h->reading) {
		text_free(h->seen);
		cr_assert(world_read(w, h->who, &h->seen));
		/* A handle that is read before it is written is based on that read. */
		if (h->set) {
			ticket_set_free(h->set);
			h->set = freeze(w, h->who);
		}
	}
	h->reading = begin;
	return begin ? t : text_format("%.*s", (int)h->seen.size, h->seen.data);
}

void world_write(struct world_handle *h, struct text t)
{
	text_free(h->text);
	h->text = t;
	h->written = true;
}

static void handle_free(struct world_handle *h)
{
	ticket_set_free(h->set);
	text_free(h->seen);
	text_free(h->text);
	free(h);
}

int world_close(struct world *w, struct world_handle *h, struct who who, struct store_save *ret)
{
	struct process p = process_of(h->who);
	uint64_t version;
	struct store_save save = {
		.ino = h->way == WORLD_TEMP ? look_up(w, who, &version) : h->ino, .parent = STORE_ROOT, .name = w->name,
		.tail = h->text.data, .tail_size = h->text.size, .mode = 0644, .pid = p.tgid,
		.flags = w->flags | (h->text.size ? 0 : STORE_SAVE_EMPTY) | (h->way == WORLD_TEMP && w->renamed[who.process] ? STORE_SAVE_LINEAGE : 0),
	};

	now_ns += 1000;
	if (!h->set) {
		handle_free(h);
		*ret = save;
		return 0;
	}
	if (h->way == WORLD_TEMP && !save.ino)
		created(w, h, who);
	if (ticket_set_events(h->set))
		save.flags |= STORE_SAVE_EVENTS;
	cr_assert_eq(tickets_bases(w->tickets, h->set, STORE_ROOT, w->name, h->way == WORLD_TEMP, &save.bases, &save.base_count), 0);
	if (w->past)
		past_save(w->past, &save);
	else
		store_save(w->store, &save);
	if (!save.error)
		tickets_saved(w->tickets, h->set, STORE_ROOT, w->name, &save);
	handle_free(h);
	save.bases = NULL;
	save.tail = NULL;
	*ret = save;
	return save.error;
}

void world_drop(struct world *w, struct world_handle *h)
{
	struct store_save save;

	/* A killed process closes what it has open: what is complete is committed. */
	if (h->written)
		world_close(w, h, h->who, &save);
	else
		handle_free(h);
}

void world_unlink(struct world *w, struct who who)
{
	struct process p = process_of(who);
	uint64_t ino, version;

	if (w->past)
		past_unlink(w->past);
	else
		cr_assert_eq(store_unlink(w->store, STORE_ROOT, w->name, false, NULL), 0);
	tickets_unlinked(w->tickets, &p, STORE_ROOT, w->name);
	cr_assert_eq(lookup(w, &ino, &version), -ENOENT);
	tickets_shown(w->tickets, &p, STORE_ROOT, w->name, ino, version);
}

void world_rename_away(struct world *w, struct who who)
{
	struct process p = process_of(who);
	struct text away = text_format("%s.bak", w->name);

	cr_assert_eq(store_rename(w->store, STORE_ROOT, w->name, STORE_ROOT, away.data, 0, false), 0);
	tickets_renamed(w->tickets, &p, STORE_ROOT, w->name, STORE_ROOT, away.data);
	w->renamed[who.process] = true;
	text_free(away);
}

void world_unlink_away(struct world *w, struct who who)
{
	struct text away = text_format("%s.bak", w->name);

	cr_assert_eq(store_unlink(w->store, STORE_ROOT, away.data, false, NULL), 0);
	text_free(away);
}
