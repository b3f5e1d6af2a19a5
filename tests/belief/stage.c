#include "stage.h"

#include <stdio.h>
#include <stdlib.h>

#include "ticket.h"

#define TICK (10 * MS)

/* What fs/process.c would tell of them. */
struct processes {
	struct {
		uint64_t start;
		bool events;
	} of[STAGE_PROCESSES];
};

struct stage_handle {
	struct stage_who who;
	unsigned session;
	bool temp;
	uint64_t ino;		/* of the document it was opened on; 0: there was none */
	struct ticket_set *set;
};

uint64_t stage_now;
struct stage_choice stage_choice;

static struct processes world;
static struct tickets *tickets;
static struct session *sessions[STAGE_SESSIONS];
static const char *const names[STAGE_SESSIONS] = { "0.json", "1.json", "2.json", "3.json" };
static enum merge_mode merge_mode;

static void must(bool what)
{
	if (what)
		return;
	fputs("out of memory\n", stderr);
	abort();
}

static struct process process_of(struct stage_who who)
{
	pid_t tgid = STAGE_THREADS * (int)(who.process + 1);

	return (struct process){ .tid = tgid + (int)who.thread, .tgid = tgid, .start = world.of[who.process].start, .known = true };
}

static unsigned index_of(const struct process *who)
{
	return (unsigned)who->tgid / STAGE_THREADS - 1;
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
	*ret_group = who->tgid;
	*ret_parent = (struct process){ .known = false };
	return true;
}

bool process_alive(const struct process *who)
{
	return who->start == world.of[index_of(who)].start;
}

static uint64_t clock_now(void *arg)
{
	return stage_now;
}

void stage_begin(enum merge_mode mode, unsigned processes, const bool *events)
{
	merge_mode = mode;
	stage_now = 5000 * SEC;
	for (unsigned i = 0; i < processes; i++) {
		world.of[i].start = (stage_now - 10 * SEC) / TICK + i;
		world.of[i].events = events[i];
	}
	must(!tickets_new(&world, 0, 0, &tickets));
	if (mode == AUTO)
		tickets_weigh(tickets);
	tickets_clock(tickets, clock_now, NULL);
	for (unsigned i = 0; i < STAGE_SESSIONS; i++) {
		if (sessions[i])
			session_reset(sessions[i]);
		else
			sessions[i] = session_new();
	}
}

void stage_end(void)
{
	tickets_free(tickets);
	tickets = NULL;
}

struct session *stage_session(unsigned session)
{
	return sessions[session];
}

/* The document's number, or 0 when there is none, which is a ticket. */
static uint64_t look_up(struct process p, unsigned session)
{
	if (session_version(sessions[session]))
		return SESSION_INO;
	tickets_shown(tickets, &p, STORE_ROOT, names[session], 0, 0);
	return 0;
}

bool stage_read(struct stage_who who, unsigned session, struct list_of_notes *ret)
{
	struct process p = process_of(who);

	ret->count = 0;
	if (!look_up(p, session))
		return false;
	tickets_shown(tickets, &p, STORE_ROOT, names[session], SESSION_INO, session_version(sessions[session]));
	session_list(sessions[session], ret);
	return true;
}

void stage_look(struct stage_who who, unsigned session)
{
	look_up(process_of(who), session);
}

struct stage_handle *stage_open(struct stage_who who, unsigned session, bool temp)
{
	struct stage_handle *h = calloc(1, sizeof(*h));
	struct process p = process_of(who);

	must(h);
	*h = (struct stage_handle){ .who = who, .session = session, .temp = temp };
	if (!temp)
		h->ino = look_up(p, session);
	must(!tickets_freeze(tickets, &p, &h->set));
	tickets_writing(h->set, temp ? 1000 + (uint64_t)p.tid : h->ino ? h->ino : SESSION_INO);
	if (!temp && !h->ino)
		tickets_created(tickets, h->set, &p, STORE_ROOT, names[session]);
	return h;
}

static void note_choice(const struct store_save *save)
{
	stage_choice = (struct stage_choice){ .candidates = save->base_count, .known = save->base >= 0 };
	for (size_t i = 0; i < save->base_count; i++)
		stage_choice.unlikely += (save->bases[i].flags & STORE_BASE_UNLIKELY) != 0;
	if (save->base >= 0) {
		stage_choice.version = save->base_version;
		stage_choice.own = save->bases[save->base].own_count;
		stage_choice.written = (save->bases[save->base].flags & STORE_BASE_WRITTEN) != 0;
	}
}

void stage_close(struct stage_handle *h, struct stage_who who, const struct list_of_notes *doc, struct store_save *ret)
{
	struct process p = process_of(who);
	struct store_save save = {
		.parent = STORE_ROOT, .name = names[h->session],
		.flags = (merge_mode == EDIT ? STORE_SAVE_EDIT : 0) | (ticket_set_events(h->set) ? STORE_SAVE_EVENTS : 0),
	};

	if (h->temp && !look_up(p, h->session))
		tickets_created(tickets, h->set, &p, STORE_ROOT, names[h->session]);
	must(!tickets_bases(tickets, h->set, STORE_ROOT, names[h->session], h->temp, &save.bases, &save.base_count));
	session_save(sessions[h->session], doc, &save);
	note_choice(&save);
	tickets_saved(tickets, h->set, STORE_ROOT, names[h->session], &save);
	stage_drop(h);
	*ret = save;
	ret->bases = NULL;
}

void stage_drop(struct stage_handle *h)
{
	ticket_set_free(h->set);
	free(h);
}
