#include "temp_table.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bound.h"

int temps_add(struct mount *m, const struct process *who, const struct store_attr *a, struct ticket_set *set, unsigned flags, uint64_t *ret_id)
{
	struct temp *e = temp_new(who, a, a->parent, flags), *old, *next, *gone = NULL;
	bool events = processes_events(m->processes, who), shared = false;
	struct temps *t = m->temps;
	int err;

	if (!e) {
		ticket_set_free(set);
		return -ENOMEM;
	}
	e->set = set;
	pthread_mutex_lock(&t->lock);
	old = temp_find(t, e->name, e->ino);
	if (old && e->document)
		e->made = old->made;
	e->id = ++t->next_id;
	if (ret_id)
		*ret_id = e->id;
	/* A plain file is as its last writer leaves it; of a document each task's own is remembered. */
	for (old = e->document ? NULL : temp_of(t, e->name, e->ino, NULL); old; old = next) {
		next = temp_of(t, e->name, e->ino, old);
		if (old->parent == e->parent && !process_same(&old->who, who))
			e->flags |= TEMP_SHARED;
		e->parent = old->parent;
		e->lost = old->lost;
		e->flags |= old->flags & TEMP_FRESH;
		temp_discard(t, old, &gone);
	}
	for (old = temp_named(t, e->parent, e->name, NULL); old; old = next) {
		next = temp_named(t, e->parent, e->name, old);
		if (!process_same(&old->who, who)) {
			old->flags |= TEMP_SHARED;
			e->flags |= TEMP_SHARED;
			shared |= e->document;
		} else if (e->document && !events && old->who.tid == who->tid) {
			temp_discard(t, old, &gone);
		}
	}
	err = temp_room(t, who, e->parent, e->name, shared, &gone);
	if (!err)
		temp_insert(t, e);
	temp_sweep(t, &gone);
	pthread_mutex_unlock(&t->lock);
	temp_settle_all(m, gone);
	if (err)
		temp_destroy(e);
	return err;
}

bool temp_is_fresh(const struct temp *e, uint64_t version)
{
	return (e->flags & TEMP_FRESH) && (version <= 1 || temp_now() - e->made <= TEMP_SECONDS);
}

unsigned temps_fresh(struct temps *t, const struct store_attr *a)
{
	const struct temp *e;
	unsigned flags;

	pthread_mutex_lock(&t->lock);
	e = temp_find(t, a->name, a->ino);
	flags = e && temp_is_fresh(e, a->version) ? e->flags : 0;
	pthread_mutex_unlock(&t->lock);
	return flags;
}

bool temps_needs(struct temps *t, const char *name, uint64_t id)
{
	const struct temp *e;
	bool needs;

	pthread_mutex_lock(&t->lock);
	e = temp_find_id(t, name, id);
	needs = e && !(e->flags & TEMP_READ);
	pthread_mutex_unlock(&t->lock);
	return needs;
}

void temps_read(struct temps *t, const char *name, uint64_t ino)
{
	pthread_mutex_lock(&t->lock);
	for (struct temp *e = NULL; (e = temp_of(t, name, ino, e));)
		e->flags |= TEMP_READ;
	pthread_mutex_unlock(&t->lock);
}

void temps_saved(struct temps *t, const char *name, uint64_t id, uint64_t ino, uint64_t version, char *bytes, size_t size)
{
	struct temp *e, *there;

	pthread_mutex_lock(&t->lock);
	e = temp_find_id(t, name, id);
	if (e && e->taken)
		e = NULL;
	if (e && e->ino != ino) {
		/* It went to another document of that name. */
		there = temp_find(t, name, ino);
		e->flags = there ? there->flags : 0;
		e->made = there ? there->made : e->made;
	}
	if (e) {
		temp_move(t, e, ino);
		e->version = version;
		e->saved = false;
		t->bytes -= e->size;
		free(e->bytes);
		e->bytes = NULL;
		e->size = 0;
	}
	if (e && bytes && size <= TEMP_BYTES_MAX - t->bytes) {
		e->bytes = bytes;
		e->size = size;
		t->bytes += size;
		bytes = NULL;
	} else if (e && bytes) {
		bound_met(BOUND_TEMP_BYTES);
	}
	pthread_mutex_unlock(&t->lock);
	free(bytes);
}

void temps_changed(struct mount *m, const struct process *who, const char *name, uint64_t ino, uint64_t version)
{
	struct temps *t = m->temps;

	if (!ino || processes_events(m->processes, who))
		return;
	pthread_mutex_lock(&t->lock);
	for (struct temp *e = NULL; (e = temp_of(t, name, ino, e));) {
		if (!e->version || e->taken || e->who.tid != who->tid || !process_same(&e->who, who))
			continue;
		e->version = version;
		t->bytes -= e->size;
		free(e->bytes);
		e->bytes = NULL;
		e->size = 0;
	}
	pthread_mutex_unlock(&t->lock);
}

void temps_closed(struct mount *m, const char *name, uint64_t id)
{
	struct temp *e, *gone = NULL;

	pthread_mutex_lock(&m->temps->lock);
	e = temp_find_id(m->temps, name, id);
	if (e && !e->version)
		temp_discard(m->temps, e, &gone);
	pthread_mutex_unlock(&m->temps->lock);
	temp_settle_all(m, gone);
}

void temps_begin(struct mount *m, const struct process *who, const char *name, uint64_t id, uint64_t ino, bool redirected)
{
	struct temps *t = m->temps;
	struct temp *e;
	pid_t above;

	pthread_mutex_lock(&t->lock);
	e = id ? temp_find_id(t, name, id) : temp_find(t, name, ino);
	above = redirected && e && e->set ? ticket_set_above(e->set) : 0;
	if (above > 1 && process_same(&e->who, who))
		e->shell = processes_identify(m->processes, above);
	/* Some shells open it themselves, before they fork. */
	else if (redirected && e)
		e->shell = e->who;
	if (e && e->set && !e->taken && process_same(&e->who, who))
		tickets_begin(e->set, who);
	pthread_mutex_unlock(&t->lock);
}

/* ---- A file of one's own --------------------------------------------------------------------------------------- */

static bool ends_in(const char *name, const char *end)
{
	size_t size = strlen(name), n = strlen(end);

	return size > n && strcmp(name + size - n, end) == 0;
}

bool temps_is_shared(const char *name)
{
	if (store_is_document_name(name) || ends_in(name, "lock") || ends_in(name, ".lck") || ends_in(name, ".pid"))
		return false;
	if (ends_in(name, ".tmp"))
		return true;
	for (const char *at = name; (at = strstr(at, ".json")); at += 5) {
		const char *end = at + (at[5] == 'l' ? 6 : 5);

		if (*end && !isalnum((unsigned char)*end))
			return true;
	}
	return false;
}

/* Another file has the name of that one now. */
static void displaced(struct mount *m, const char *name, uint64_t ino)
{
	struct temps *t = m->temps;
	struct temp *e;

	pthread_mutex_lock(&t->lock);
	e = temp_find(t, name, ino);
	if (e)
		temp_lose(t, e);
	pthread_mutex_unlock(&t->lock);
	temp_settle(m, name, ino);
}

int temps_make(struct mount *m, const struct process *who, const struct store_attr *a, bool displace, uint64_t *ret_ino)
{
	struct temp *mine = temp_new(who, a, a->parent, TEMP_FRESH), *gone = NULL, *e;
	struct temps *t = m->temps;
	struct store_attr there;
	uint64_t ino, id;
	int err = mine ? store_new_ino(m->store, &ino) : -ENOMEM;

	if (!err) {
		pthread_mutex_lock(&t->lock);
		err = temp_room(t, who, a->parent, a->name, displace, &gone);
		pthread_mutex_unlock(&t->lock);
	}
	if (err) {
		temp_settle_all(m, gone);
		free(mine);
		return err;
	}
	/* It is known before it can be seen, so that whoever displaces it leaves it waiting. */
	mine->ino = ino;
	mine->reserved = true;
	pthread_mutex_lock(&t->lock);
	mine->id = id = ++t->next_id;
	temp_insert(t, mine);
	pthread_mutex_unlock(&t->lock);
	do {
		there.ino = 0;
		err = displace ? store_lookup(m->store, a->parent, a->name, &there) : -ENOENT;
		if (!err && there.kind != STORE_SCRATCH)
			err = -EISDIR;
		if (!err)
			err = store_displace(m->store, a->parent, a->name, there.ino, ino);
		else if (err == -ENOENT)
			err = store_create(m->store, a->parent, a->name, ino, a->mode, a->uid, a->gid, NULL, NULL);
	} while (displace && (err == -ESTALE || err == -EEXIST));
	if (!err && there.ino)
		displaced(m, a->name, there.ino);
	pthread_mutex_lock(&t->lock);
	e = err ? temp_find_id(t, a->name, id) : NULL;
	if (e)
		temp_discard(t, e, &gone);
	temp_sweep(t, &gone);
	pthread_mutex_unlock(&t->lock);
	temp_settle_all(m, gone);
	if (!err)
		*ret_ino = ino;
	return err;
}

/* Closed and empty: whoever made it has not begun to write. */
static bool is_blank(struct mount *m, uint64_t ino)
{
	struct store_attr a;

	return !inodes_is_open(m->inodes, ino) && !store_getattr(m->store, ino, &a) && !a.size;
}

/* Whether the file under the name may be written anew by this process as it is. Then it is the process's from now on. Needs the lock. */
static bool may_take(struct mount *m, const struct process *who, struct temp *e)
{
	struct process writer = temp_writer(m, who, e->parent, e->name);
	bool own = process_same(&e->who, &writer), needed;

	if (own && e->who.tid == writer.tid && (e->reserved || !processes_events(m->processes, who)))
		return true;
	needed = e->who.known && !(e->flags & TEMP_APPEND) && temp_now() - e->at <= TEMP_SECONDS && (own || temp_is_awaited(e));
	if (e->taken || (needed && (e->reserved || !is_blank(m, e->ino))))
		return false;
	e->who = *who;
	e->shell.known = false;
	e->at = temp_now();
	e->reserved = true;
	return true;
}

/* The file that was made there for this thread instead of `a`, or 0. Needs the lock. */
static uint64_t find_made(struct temps *t, const struct process *who, uint64_t parent, const struct store_attr *a)
{
	const struct temp *e = temp_named(t, parent, a->name, NULL);

	while (e && (!e->reserved || e->ino == a->ino || e->who.tid != who->tid || !process_same(&e->who, who)))
		e = temp_named(t, parent, a->name, e);
	return e ? e->ino : 0;
}

/* The caller came to the file by /proc/self/fd and not by its name: it means that very file. */
static int give_name_back(struct mount *m, const struct store_attr *a, uint64_t made, uint64_t parent)
{
	struct temp *e, *gone = NULL;
	struct temps *t = m->temps;
	struct store_attr there;
	bool back = !store_lookup(m->store, parent, a->name, &there) && there.ino == made &&
		    !store_relink(m->store, a->ino, parent, a->name, 0, true);

	pthread_mutex_lock(&t->lock);
	e = temp_find(t, a->name, made);
	if (e)
		temp_discard(t, e, &gone);
	e = back ? temp_find(t, a->name, a->ino) : NULL;
	if (e)
		temp_regain(t, e);
	pthread_mutex_unlock(&t->lock);
	temp_settle_all(m, gone);
	temp_settle(m, a->name, made);
	return 0;
}

/* A process writes its file anew that had lost its name: it has the name again, and what has it waits for its own writer. */
static void take_name(struct mount *m, const struct store_attr *a, uint64_t parent)
{
	struct temps *t = m->temps;
	struct store_attr there;
	struct temp *e;
	bool exists = !store_lookup(m->store, parent, a->name, &there);

	if (exists && (there.kind != STORE_SCRATCH || there.ino == a->ino || shown_held(m->device, there.ino)))
		return;
	if (store_relink(m->store, a->ino, parent, a->name, exists ? 0 : STORE_NOREPLACE, true))
		return;
	pthread_mutex_lock(&t->lock);
	e = temp_find(t, a->name, a->ino);
	if (e)
		temp_regain(t, e);
	pthread_mutex_unlock(&t->lock);
	if (exists)
		displaced(m, a->name, there.ino);
}

int temps_claim(struct mount *m, const struct process *who, const struct store_attr *a)
{
	struct store_attr want = *a;
	const struct store_attr *former;
	struct temps *t = m->temps;
	struct temp *e, *mine, *gone = NULL;
	uint64_t ino;
	uint64_t made;
	bool take, lost;
	int err = 0;

	if (!who->known || !temps_is_shared(a->name) || shown_held(m->device, a->ino))
		return 0;
	mine = temp_new(who, a, a->parent, 0);
	if (!mine)
		return -ENOMEM;
	pthread_mutex_lock(&t->lock);
	e = temp_find(t, a->name, a->ino);
	former = e ? NULL : temp_find_former(t, a->ino);
	if (e || former)
		want.parent = e ? e->parent : former->parent;
	made = find_made(t, who, want.parent, a);
	take = !made && (e ? may_take(m, who, e) : !former);
	lost = take && e && e->lost;
	if (!e && take && a->parent)
		err = temp_room(t, who, a->parent, a->name, false, &gone);
	if (!err && !e && take && a->parent) {
		mine->id = ++t->next_id;
		mine->reserved = true;
		temp_insert(t, mine);
		mine = NULL;
	}
	pthread_mutex_unlock(&t->lock);
	temp_settle_all(m, gone);
	free(mine);
	if (err)
		return err;
	if (lost)
		take_name(m, a, want.parent);
	if (take)
		return 0;
	if (made)
		return give_name_back(m, a, made, want.parent);
	err = temps_make(m, who, &want, true, &ino);
	return err ? err : -ESTALE;
}

bool temps_find(struct mount *m, const struct process *who, uint64_t parent, const char *name, struct store_attr *a)
{
	struct process writer;
	struct store_attr own;
	struct temp *e;
	uint64_t ino = 0;

	if (!who->known)
		return false;
	pthread_mutex_lock(&m->temps->lock);
	if (temp_named(m->temps, parent, name, NULL)) {
		writer = temp_writer(m, who, parent, name);
		e = temp_pick(m->temps, &writer, parent, name, a->ino, processes_events(m->processes, who));
		ino = e ? e->ino : 0;
	}
	pthread_mutex_unlock(&m->temps->lock);
	if (!ino || ino == a->ino || store_getattr(m->store, ino, &own))
		return false;
	own.parent = parent;
	*a = own;
	return true;
}

bool temps_place(struct temps *t, const struct store_attr *a, uint64_t *ret_parent)
{
	struct temp *e;

	pthread_mutex_lock(&t->lock);
	e = temp_find(t, a->name, a->ino);
	if (e)
		*ret_parent = e->parent;
	pthread_mutex_unlock(&t->lock);
	return e != NULL;
}

/* ---- Renaming -------------------------------------------------------------------------------------------------- */

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Whether the temp file's name is made from the document's: then it has been written for no other one. */
static bool is_made_from(const char *name, const char *document)
{
	char stem[STORE_NAME_MAX + 1];

	strcpy(stem, document);
	*strrchr(stem, '.') = 0;
	return strstr(name, stem) != NULL;
}

size_t temps_own(struct mount *m, const struct process *who, uint64_t parent, const char *name, const char *new_name, uint64_t ids[TEMPS_OWN])
{
	bool events = processes_events(m->processes, who);
	const struct temp *thread = NULL, *latest = NULL;
	struct temps *t = m->temps;
	struct process writer;
	size_t count = 0;

	pthread_mutex_lock(&t->lock);
	writer = temp_writer(m, who, parent, name);
	who = &writer;
	for (const struct temp *e = NULL; count < TEMPS_OWN && (e = temp_named(t, parent, name, e));) {
		if (!process_same(&e->who, who) || e->reserved || (e->document && (!e->version || (e->flags & TEMP_READ))))
			continue;
		ids[count++] = e->id;
		if (!e->saved && e->who.tid == who->tid && (!thread || e->id > thread->id))
			thread = e;
		if (!latest || e->saved < latest->saved || (e->saved == latest->saved && e->id > latest->id))
			latest = e;
	}
	if (!events && thread)
		latest = thread;
	if (count && ((!events && thread) || !is_made_from(name, new_name))) {
		ids[0] = latest->id;
		count = 1;
	}
	pthread_mutex_unlock(&t->lock);
	qsort(ids, count, sizeof(*ids), by_number);
	return count;
}

struct temp *temps_take(struct temps *t, const char *name, uint64_t id)
{
	struct temp *e;

	pthread_mutex_lock(&t->lock);
	e = temp_find_id(t, name, id);
	if (e && e->taken)
		e = NULL;
	if (e)
		e->taken = true;
	pthread_mutex_unlock(&t->lock);
	return e;
}

bool temps_forgot_own(struct mount *m, const struct process *who, uint64_t parent, const char *name)
{
	struct temps *t = m->temps;
	struct process writer;
	bool forgot = false;

	pthread_mutex_lock(&t->lock);
	if (t->forgotten_count) {
		writer = temp_writer(m, who, parent, name);
		forgot = temp_was_forgotten(t, &writer, parent, name) || temp_was_forgotten(t, who, parent, name);
	}
	pthread_mutex_unlock(&t->lock);
	return forgot;
}

bool temps_forgot(struct temps *t)
{
	bool forgot;

	pthread_mutex_lock(&t->lock);
	forgot = t->forgot && temp_now() - t->forgot <= TEMP_SECONDS;
	pthread_mutex_unlock(&t->lock);
	return forgot;
}

struct temp *temps_take_any(struct temps *t, const struct store_attr *a, bool *ret_reserved)
{
	struct temp *e;

	pthread_mutex_lock(&t->lock);
	e = temp_find(t, a->name, a->ino);
	*ret_reserved = e && e->reserved && process_alive(&e->who);
	if (e && (e->taken || e->reserved))
		e = NULL;
	if (e)
		e->taken = true;
	pthread_mutex_unlock(&t->lock);
	return e;
}

void temps_leaving(struct temps *t, const struct store_attr *a, uint64_t parent)
{
	struct store_attr *former;

	pthread_mutex_lock(&t->lock);
	former = &t->formers[t->next_former++ % TEMP_FORMERS];
	*former = *a;
	former->parent = parent;
	pthread_mutex_unlock(&t->lock);
}

bool temps_former(struct temps *t, uint64_t ino, struct store_attr *ret)
{
	const struct store_attr *former;

	pthread_mutex_lock(&t->lock);
	former = temp_find_former(t, ino);
	if (former)
		*ret = *former;
	pthread_mutex_unlock(&t->lock);
	return former != NULL;
}

/* Of a document that has lost its name those who wait for another version of it are to be swept, too. Needs the lock. */
static void lose_all(struct temps *t, const char *name, uint64_t ino)
{
	for (struct temp *e = NULL; (e = temp_of(t, name, ino, e));) {
		if (e->version || !e->document)
			temp_lose(t, e);
	}
}

static void give_back(struct mount *m, struct temp *e, bool saved, bool done)
{
	struct temps *t = m->temps;
	struct temp *gone = NULL;
	struct store_attr a;
	bool lost = !store_getattr(m->store, e->ino, &a) && !a.parent;

	pthread_mutex_lock(&t->lock);
	e->taken = false;
	e->saved = saved;
	if (lost)
		lose_all(t, e->name, e->ino);
	if (e->dropped)
		gone = e;
	else if (done)
		temp_discard(t, e, &gone);
	pthread_mutex_unlock(&t->lock);
	if (gone)
		gone->next_gone = NULL;
	temp_settle_all(m, gone);
}

void temps_put(struct mount *m, struct temp *e, bool saved)
{
	give_back(m, e, saved, false);
}

void temps_done(struct mount *m, struct temp *e)
{
	if (e)
		give_back(m, e, true, true);
}

bool temps_unread(struct temps *t, const struct store_attr *a)
{
	const struct temp *e;
	bool unread;

	pthread_mutex_lock(&t->lock);
	e = temp_find(t, a->name, a->ino);
	unread = e && (e->flags & TEMP_FRESH) && !(e->flags & TEMP_READ) && a->version <= 1;
	pthread_mutex_unlock(&t->lock);
	return unread;
}

bool temps_shared(struct temps *t, const struct temp *e)
{
	bool shared = false;

	pthread_mutex_lock(&t->lock);
	for (const struct temp *x = NULL; !shared && (x = temp_of(t, e->name, e->ino, x));)
		shared = x != e && x->version && process_alive(&x->who);
	pthread_mutex_unlock(&t->lock);
	return shared;
}

/* ---- Removing -------------------------------------------------------------------------------------------------- */

bool temps_unlink(struct mount *m, const struct process *who, uint64_t parent, const char *name, uint64_t linked)
{
	struct temps *t = m->temps;
	struct temp *e, *gone = NULL;
	struct process writer;
	bool events;

	if (!who->known)
		return false;
	pthread_mutex_lock(&t->lock);
	events = temp_named(t, parent, name, NULL) && processes_events(m->processes, who);
	writer = temp_writer(m, who, parent, name);
	who = &writer;
	e = temp_pick(t, who, parent, name, linked, events);
	if (e && e->ino == linked) {
		struct temp *other = temp_of(t, name, linked, NULL);

		/* What others have saved to the same document stays, unless it has become a session. */
		while (other && (!other->version || (other->flags & TEMP_READ) || process_same(&other->who, who) || !process_alive(&other->who)))
			other = temp_of(t, name, linked, other);
		if (!other)
			e = NULL;
	}
	if (e)
		temp_discard(t, e, &gone);
	pthread_mutex_unlock(&t->lock);
	temp_settle_all(m, gone);
	return e != NULL;
}

/* A thread that was told of the file is about to open it. */
static bool is_awaited(const struct temp *e)
{
	return e->reserved && !e->document && process_alive(&e->who);
}

bool temps_awaited(struct temps *t, const struct store_attr *a)
{
	bool awaited = false;

	pthread_mutex_lock(&t->lock);
	for (const struct temp *e = NULL; !awaited && (e = temp_of(t, a->name, a->ino, e));)
		awaited = is_awaited(e);
	pthread_mutex_unlock(&t->lock);
	return awaited;
}

static void forget(struct temps *t, const struct store_attr *a, bool all)
{
	struct temp *e, *next, *gone = NULL;

	pthread_mutex_lock(&t->lock);
	for (e = temp_of(t, a->name, a->ino, NULL); e; e = next) {
		next = temp_of(t, a->name, a->ino, e);
		if (!all && is_awaited(e))
			temp_lose(t, e);
		else
			temp_discard(t, e, &gone);
	}
	pthread_mutex_unlock(&t->lock);
	for (; gone; gone = e) {
		e = gone->next_gone;
		temp_destroy(gone);
	}
}

void temps_unlinked(struct temps *t, const struct store_attr *a)
{
	forget(t, a, false);
}

void temps_forget(struct temps *t, const struct store_attr *a)
{
	forget(t, a, true);
}

unsigned temps_waiting(struct temps *t)
{
	unsigned count;

	pthread_mutex_lock(&t->lock);
	count = t->lost_count;
	pthread_mutex_unlock(&t->lock);
	return count;
}
