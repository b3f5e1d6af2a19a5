/*
 * A sequence is run, and what must hold is looked at:
 *
 *	one process	every result, and what is there in the end, is as on a plain directory beside the mount
 *	additions	each message whose save was answered with 0 is there in the end, once (P1)
 *	anything	no errno that names a fault; whoever opens a session once reads a whole document (P3)
 *
 * and always: what a directory lists can be looked at, read and removed.
 *
 * What may differ from a plain directory: a document that is being written is not seen by other descriptors (P3); one that is incomplete when it is
 * closed is refused (P5). From such a call on the sequence is only looked at as "anything".
 */
#include "ops.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "json.h"

struct running {
	struct world *world;
	const struct sequence *s;
	struct outcome *out;
	char dir[SIDES][160];
	bool loose;			/* it need not be as on a plain directory any more */
	bool garbage;			/* what is no document may have a document's name */
	int writes[SLOTS];		/* MODE_ONE: the document that a descriptor writes, or -1 */
	int reads[SLOTS];		/* MODE_ONE: the same of one that is read */
	int opened[NAMES], saved[NAMES];	/* MODE_ONE: by which call a name was opened to be written, and saved, last */
	bool linked;			/* MODE_ONE: there may be a symbolic link */
	bool moved;			/* MODE_ONE: a document may have a name that is none's */
	bool begun[SEATS];		/* it has the sequence's directory open */
	bool renamed[SEATS];		/* it may have set something aside */
};

void fail(struct outcome *o, const char *format, ...)
{
	va_list ap;

	if (o->failed)
		return;
	o->failed = true;
	va_start(ap, format);
	vsnprintf(o->why, sizeof(o->why), format, ap);
	va_end(ap);
}

/* ---- Directories and actors ------------------------------------------------------------------------------------ */

static bool make_directories(struct running *r)
{
	char path[200];

	snprintf(r->dir[SIDE_MOUNT], sizeof(r->dir[0]), "%s/s%llu", r->world->mount, (unsigned long long)r->s->number);
	snprintf(r->dir[SIDE_PLAIN], sizeof(r->dir[0]), "%s/s%llu", r->world->plain, (unsigned long long)r->s->number);
	for (int side = 0; side < (r->s->mode == MODE_ONE ? SIDES : 1); side++) {
		if (mkdir(r->dir[side], 0755))
			return false;
		for (const char *d = r->s->two ? "de" : "d"; *d; d++) {
			snprintf(path, sizeof(path), "%s/%c", r->dir[side], *d);
			if (mkdir(path, 0755))
				return false;
		}
	}
	return true;
}

/* Whether it has answered. */
static bool ask(struct running *r, int actor, const struct op *op)
{
	struct seat *seat = &seats[actor];
	int lead = actor == ACTOR_THREAD ? ACTOR_PROCESS : actor;

	/* Who was forked has its parent's. */
	seat->begin = !r->begun[lead] && actor != ACTOR_CHILD;
	seat->both = r->s->mode == MODE_ONE && actor != ACTOR_CHECKER;
	seat->two = r->s->two;
	seat->modes = r->s->modes;
	seat->number = r->s->number;
	for (int side = 0; seat->begin && side < SIDES; side++)
		strcpy(seat->base[side], r->dir[side]);
	if (actor_ask(actor, op)) {
		r->begun[lead] = !(op->what >= OP_KINDS && op->flags & ASK_END);
		if (seat->results[SIDE_MOUNT].ret >= 0 || seat->results[SIDE_MOUNT].step != STEP_BEGIN)
			return true;
		fail(r->out, "its directory can't be opened: %s", strerrorname_np(seat->results[SIDE_MOUNT].error));
		return false;
	}
	if (!seat->pid)
		return false;
	r->out->stuck = true;
	fail(r->out, world_alive(r->world) ? "a call does not come back" : "the daemon died");
	return false;
}

/*
 * Everybody closes what is open. Who has renamed something looks around: then what it has set aside
 * is where it said. Who was killed is replaced.
 */
static void end_actors(struct running *r)
{
	struct op end = { .what = OP_END };

	for (int i = 0; i < SEATS; i++) {
		if (i == ACTOR_THREAD || !(r->begun[i] || (i == ACTOR_CHILD && seats[i].pid)))
			continue;
		end.flags = ASK_CLOSE | ASK_END | (r->renamed[i] ? ASK_SETTLE : 0);
		if (seats[i].pid && !ask(r, i, &end))
			return;
		if (i == ACTOR_CHILD)
			actor_kill(i);
	}
	for (int i = 0; i < SEATS; i++) {
		if (!seats[i].pid && i != ACTOR_CHILD && i != ACTOR_THREAD)
			actor_start(i);
	}
}

/* ---- One process ----------------------------------------------------------------------------------------------- */

static bool touches(const struct running *r, const struct op *op, unsigned name)
{
	if (op->what == OP_LIST)
		return op->name / 9 == name / 9;
	if (op->what >= OP_CLOSE && (op->what < OP_LOAD || op->what > OP_APPEND))
		return false;
	/* A symbolic link leads from one name to another. */
	return r->linked || op->name == name || (names_two(op) && op->to == name);
}

static bool exchanges(const struct op *op)
{
	return op->what == OP_RENAME && op->flags == 2;
}

/* While a document is being written its name is seen otherwise. */
static void look_before(struct running *r, const struct op *op)
{
	for (int i = 0; i < SLOTS; i++) {
		/* What a descriptor reads is settled by its first read, not when it is opened. */
		if (r->reads[i] >= 0 && touches(r, op, (unsigned)r->reads[i]) &&
		    (op->what == OP_RENAME || op->what == OP_UNLINK || op->what == OP_TRUNCATE || op->what >= OP_SAVE ||
		     (op->what == OP_OPEN && (op->flags & O_TRUNC))))
			r->loose = true;
		if (r->writes[i] < 0)
			continue;
		if ((op->what == OP_READ || op->what == OP_PREAD) && i != op->slot && r->reads[op->slot] == r->writes[i])
			r->loose = true;
		if (touches(r, op, (unsigned)r->writes[i]) && !(op->what == OP_OPEN && op->slot == i))
			r->loose = true;
		/* As does who has closed one of two descriptors of it. */
		if (op->what == OP_DUP && (op->slot == i || op->other == i))
			r->loose = true;
	}
	/* A file that is being written, or read (P3: of that nothing changes), and renamed to a document meanwhile. */
	for (int i = 0; i < SLOTS; i++) {
		r->loose |= exchanges(op) && is_document(op->name) && (r->reads[i] == -2 - op->to || r->writes[i] == -2 - op->to);
		r->loose |= op->what == OP_RENAME && is_document(op->to) && r->reads[i] == -2 - op->name;
		r->loose |= (op->what == OP_SAVE_TEMP || op->what == OP_ADD_TEMP) && is_document(op->name) && r->reads[i] == -2 - op->to;
		r->loose |= op->what == OP_RENAME && is_document(op->to) && r->writes[i] == -2 - op->name;
		r->loose |= (op->what == OP_SAVE_TEMP || op->what == OP_ADD_TEMP) && is_document(op->name) && r->writes[i] == -2 - op->to;
	}
}

/* A file that is open goes by another name. */
static void rename_open(struct running *r, unsigned from, unsigned to, bool exchange)
{
	for (int i = 0; i < SLOTS; i++) {
		int *open[] = { &r->writes[i], &r->reads[i] };

		for (int j = 0; j < 2; j++) {
			if (*open[j] == -2 - (int)from)
				*open[j] = -2 - (int)to;
			else if (exchange && *open[j] == -2 - (int)to)
				*open[j] = -2 - (int)from;
		}
	}
}

static void look_after(struct running *r, const struct op *op, const struct result *mine)
{
	if (op->what == OP_RENAME && !mine->ret)
		r->moved |= is_document(op->name) || is_document(op->to);
	if (op->what == OP_RENAME && !mine->ret)
		rename_open(r, op->name, op->to, exchanges(op));
	if ((op->what == OP_SAVE_TEMP || op->what == OP_ADD_TEMP) && !mine->ret)
		rename_open(r, op->to, op->name, false);
	r->linked |= op->what == OP_SYMLINK && !mine->ret;
	if (op->what == OP_SAVE_TEMP || op->what == OP_ADD_TEMP)
		r->moved |= is_document(op->to);
	if (op->what == OP_OPEN) {
		r->writes[op->slot] = r->reads[op->slot] = -1;
		if (!mine->ret && (op->flags & O_ACCMODE) != O_WRONLY)
			r->reads[op->slot] = is_document(op->name) || r->moved ? op->name : -2 - op->name;
		if (!mine->ret && (op->flags & O_ACCMODE) != O_RDONLY)
			r->writes[op->slot] = is_document(op->name) || r->moved ? op->name : -2 - op->name;
	}
	if (op->what == OP_OPEN || op->what == OP_SAVE || op->what == OP_APPEND || op->what == OP_ADD)
		r->opened[op->name] = op->id + 1;
	if (op->what == OP_SAVE_TEMP || op->what == OP_ADD_TEMP)
		r->opened[op->to] = op->id + 1;
	if (op->what == OP_CLOSE && r->writes[op->slot] >= 0)
		r->saved[r->writes[op->slot]] = op->id + 1;
	if ((op->what >= OP_SAVE && op->what <= OP_APPEND) || op->what == OP_TRUNCATE)
		r->saved[op->name] = op->id + 1;
	if (op->what == OP_RENAME)
		r->saved[op->to] = op->id + 1;
	if (op->what == OP_CLOSE)
		r->writes[op->slot] = -1;
	if (op->what == OP_DUP && op->other != op->slot)
		r->reads[op->other] = r->reads[op->slot];
	if (op->what == OP_DUP && op->other != op->slot)
		r->writes[op->other] = r->writes[op->slot];
	/* Refused as a document (P5). */
	if (mine->ret < 0 && mine->error == EINVAL && (mine->step == 2 || op->what == OP_CLOSE || op->what == OP_FSYNC || op->what == OP_FDATASYNC || op->what == OP_OPEN || op->what == OP_DUP ||
	    op->what == OP_TRUNCATE || (exchanges(op) && is_document(op->name)) ||
	    ((op->what == OP_RENAME || op->what == OP_SAVE_TEMP) && is_document(op->what == OP_RENAME ? op->to : op->name))))
		r->loose = true;
}

static void compare(struct running *r, const struct op *op, struct seat *seat)
{
	const struct result *mine = &seat->results[SIDE_MOUNT], *plain = &seat->results[SIDE_PLAIN];
	bool reads = op->what != OP_ADD && op->what != OP_ADD_TEMP;
	int documents = 0;

	/* fstat does not tell by which descriptor it asks. */
	for (int i = 0; i < SLOTS; i++)
		documents += r->writes[i] >= 0 || r->reads[i] >= 0;
	if (r->loose || (op->what == OP_FSTAT && documents > 1))
		return;
	if (mine->ret != plain->ret || mine->error != plain->error)
		fail(r->out, "call %u (%s): %lld %s, on a plain directory %lld %s", op->id, word_of(op), (long long)mine->ret, mine->error ? strerrorname_np(mine->error) : "",
		     (long long)plain->ret, plain->error ? strerrorname_np(plain->error) : "");
	else if (reads && (mine->size != plain->size || memcmp(seat->data[SIDE_MOUNT], seat->data[SIDE_PLAIN], mine->size)))
		fail(r->out, "call %u (%s) gives \"%.*s\", on a plain directory \"%.*s\"", op->id, word_of(op), (int)(mine->size > 300 ? 300 : mine->size), seat->data[SIDE_MOUNT],
		     (int)(plain->size > 300 ? 300 : plain->size), seat->data[SIDE_PLAIN]);
}

/* ---- Anything -------------------------------------------------------------------------------------------------- */

static void look_for_faults(struct running *r, const struct op *op, const struct result *mine)
{
	static const int faults[] = { EIO, EUCLEAN, ESTALE, ENOTCONN, ECONNABORTED, ENOMEM, ENOSYS, EPROTO, ENOSPC, EAGAIN, EFAULT };

	for (size_t i = 0; mine->ret < 0 && i < sizeof(faults) / sizeof(*faults); i++) {
		if (mine->error == faults[i])
			fail(r->out, "call %u (%s): %s", op->id, word_of(op), strerrorname_np(mine->error));
	}
}

/* Who opens a session once reads a whole document. */
static void look_whole(struct running *r, const struct op *op, const struct seat *seat)
{
	const struct result *mine = &seat->results[SIDE_MOUNT];

	if ((op->what == OP_RENAME || op->what == OP_SYMLINK) && !mine->ret)
		r->garbage = true;
	if (op->what != OP_LOAD || mine->ret || r->garbage || !mine->size || !is_document(op->name) || is_lines(op->name))
		return;
	if (json_check(seat->data[SIDE_MOUNT], mine->size, NULL))
		fail(r->out, "call %u reads what is no document: \"%.*s\"", op->id, (int)(mine->size > 300 ? 300 : mine->size), seat->data[SIDE_MOUNT]);
}

/* ---- Additions ------------------------------------------------------------------------------------------------- */

static unsigned count(const char *text, const char *what)
{
	unsigned n = 0;

	for (; (text = strstr(text, what)); text += strlen(what))
		n++;
	return n;
}

static void look_for_messages(struct running *r, const char *tree)
{
	char message[64];

	for (unsigned i = 0; i < r->s->count; i++) {
		const struct op *op = &r->s->ops[i];
		unsigned n;

		if ((op->what != OP_ADD && op->what != OP_ADD_TEMP) || r->out->results[i].ret)
			continue;
		snprintf(message, sizeof(message), "\"%llu.%u\"", (unsigned long long)r->s->number, op->id);
		n = count(tree, message);
		if (n != 1)
			fail(r->out, "the message of call %u is there %u times, in the end: %.600s", op->id, n, tree);
	}
}

/* ---- Running --------------------------------------------------------------------------------------------------- */

static void run_op(struct running *r, unsigned i)
{
	const struct op *op = &r->s->ops[i];
	struct result *mine = &r->out->results[i];
	struct seat *seat = &seats[op->actor];

	*mine = (struct result){ .ret = -1 };
	if (op->what == OP_KILL) {
		if (seats[op->other].pid) {
			actor_kill(op->other);
			mine->ret = 0;
		}
		return;
	}
	if (!seat->pid || (op->what == OP_FORK && seats[ACTOR_CHILD].pid) || (op->what == OP_FORK && op->actor == ACTOR_CHILD))
		return;
	if (r->s->mode == MODE_ONE)
		look_before(r, op);
	if (!ask(r, op->actor, op))
		return;
	*mine = seat->results[SIDE_MOUNT];
	r->out->calls++;
	r->renamed[op->actor == ACTOR_THREAD ? ACTOR_PROCESS : op->actor] |= op->what == OP_RENAME && !mine->ret;
	look_for_faults(r, op, mine);
	look_whole(r, op, seat);
	if (r->s->mode == MODE_ONE) {
		look_after(r, op, mine);
		compare(r, op, seat);
	}
}

/* What is there, as the checker finds it; NULL: it can't look. */
static char *look_at_tree(struct running *r)
{
	struct seat *seat = &seats[ACTOR_CHECKER];
	char *text;
	size_t size;

	if (!ask(r, ACTOR_CHECKER, &(struct op){ .what = OP_TREE, .flags = ASK_END }))
		return NULL;
	size = seat->results[SIDE_MOUNT].size;
	if (seat->results[SIDE_MOUNT].ret)
		fail(r->out, "the directories can't be listed: %s", strerrorname_np(seat->results[SIDE_MOUNT].error));
	text = strndup(seat->data[SIDE_MOUNT], size);
	return text;
}

/* Of some everything is removed in the end. */
static void sweep(struct running *r)
{
	struct seat *seat = &seats[ACTOR_CHECKER];

	if (!ask(r, ACTOR_CHECKER, &(struct op){ .what = OP_SWEEP, .flags = ASK_END }))
		return;
	if (seat->results[SIDE_MOUNT].size)
		fail(r->out, "%.*s", (int)seat->results[SIDE_MOUNT].size, seat->data[SIDE_MOUNT]);
}

/* Fails when they differ; tells of the part where they begin to. */
static void tell_difference(struct outcome *o, const char *what, const char *a, size_t a_size,
			    const char *there, const char *b, size_t b_size)
{
	size_t at = 0, from;

	while (at < a_size && at < b_size && a[at] == b[at])
		at++;
	if (at == a_size && at == b_size)
		return;
	from = at < 300 ? 0 : at - 150;
	a_size = a_size - from < 450 ? a_size - from : 450;
	b_size = b_size - from < 450 ? b_size - from : 450;
	fail(o, "%s there is:\n%s%.*s\n%s:\n%s%.*s", what, from ? "..." : "", (int)a_size, a + from,
	     there, from ? "..." : "", (int)b_size, b + from);
}

/* What the process itself finds: to others a session that it has set aside is still there. */
static void compare_trees(struct running *r)
{
	int actor = r->s->ops[0].actor;
	struct seat *seat = &seats[actor];
	const struct result *mine = &seat->results[SIDE_MOUNT], *plain = &seat->results[SIDE_PLAIN];

	if (r->loose || !ask(r, actor, &(struct op){ .what = OP_TREE, .flags = ASK_CLOSE }) || mine->step)
		return;
	r->renamed[actor] = false;	/* it has looked around */
	tell_difference(r->out, "in the end", seat->data[SIDE_MOUNT], mine->size,
			"on a plain directory", seat->data[SIDE_PLAIN], plain->size);
	/* Most are looked at by another process after the kill only. */
	if (!r->out->failed && r->s->number % 4)
		r->out->tree = strndup(seat->data[SIDE_MOUNT], mine->size);
}

static void look_at_end(struct running *r)
{
	char *tree;

	tree = look_at_tree(r);
	if (!tree)
		return;
	if (strstr(tree, "stat: E") || strstr(tree, "read: E"))
		fail(r->out, "in the end: %.900s", tree);
	if (r->s->mode == MODE_ADD)
		look_for_messages(r, tree);
	if (!r->out->failed && r->s->number % 8 == 0) {
		sweep(r);
		free(tree);
		tree = NULL;
	}
	r->out->tree = tree;
}

void run_sequence(struct world *w, const struct sequence *s, struct outcome *ret)
{
	struct running r = { .world = w, .s = s, .out = ret };

	*ret = (struct outcome){ .calls = 0 };
	for (int i = 0; i < SLOTS; i++)
		r.writes[i] = r.reads[i] = -1;
	if (!make_directories(&r))
		fail(ret, "a directory can't be made: %s", strerrorname_np(errno));
	for (unsigned i = 0; i < s->count && !ret->failed; i++)
		run_op(&r, i);
	if (s->mode == MODE_ONE && !ret->failed)
		compare_trees(&r);
	end_actors(&r);
	if (!ret->failed && !ret->tree)
		look_at_end(&r);
}

bool same_tree(struct world *w, const struct sequence *s, const char *tree, char *why, size_t size)
{
	struct outcome out = { .failed = false };
	struct running r = { .world = w, .s = s, .out = &out };
	char *text;

	if (!tree)
		return true;
	snprintf(r.dir[SIDE_MOUNT], sizeof(r.dir[0]), "%s/s%llu", w->mount, (unsigned long long)s->number);
	text = look_at_tree(&r);
	if (text)
		tell_difference(&out, "after the daemon was killed", text, strlen(text), "before", tree,
				strlen(tree));
	free(text);
	snprintf(why, size, "%s", out.why);
	return !out.failed;
}
