#include "commit.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "db_file.h"
#include "history.h"
#include "inside.h"
#include "room.h"
#include "tree.h"

#define PENDING_MS 50	/* what is not a save may stay in memory this long */
#define DRAIN_MS 1000	/* and what is in the journal may stay out of the tree this long */
#define GROUP_BYTES (16u << 20)	/* of documents in one transaction; a larger one is alone in it */
#define NEEDS 3	/* times its bytes: what a commit takes of memory. Measured: 2.3 */
#define LARGE (4u << 20)	/* after documents of so many bytes memory is given back to the system */
#define RETRY_MS 1000	/* after the disk refused it */

struct commit {
	struct store *store;
	pthread_t keeper;
	pthread_mutex_t lock;
	pthread_cond_t wake;		/* with `lock`: something for the keeper to do */
	pthread_cond_t idle;		/* with `lock`: nobody leads any more */
	pthread_mutex_t in_memory;	/* with a delay, or soon: one save at a time, from its bases to `done`. Taken before all others */
	/* All under `lock`. */
	struct job *first, **last;
	bool led;			/* a thread takes the queue's saves */
	bool pending, urgent, stop;
	struct timespec deadline, drain;	/* of `pending`: when to look again, and when it is to be in the tree */
	struct commit_stats stats;
};

static void finish(struct commit *c, struct job *job, int err)
{
	struct store_save *save = job->save;
	struct commit_stats *s = &c->stats;

	save->error = err;
	if (!err && job->fresh)
		cache_put(c->store->cache, job->fresh);
	pthread_mutex_lock(&c->lock);
	s->saves++;
	s->refused += err != 0;
	if (!err) {
		s->merged += (save->result & STORE_SAVED_MERGED) != 0;
		s->same += (save->result & STORE_SAVED_SAME) != 0;
		s->blind += (save->result & STORE_SAVED_BLIND) != 0;
		s->uncertain += (save->result & STORE_SAVED_UNCERTAIN) != 0;
		s->edits += (save->result & STORE_SAVED_EDIT) != 0;
	}
	pthread_mutex_unlock(&c->lock);
	job_free(job);
	save->done(save);
}

/* ---- A group -------------------------------------------------------------------------------------------------- */

struct group {
	struct store *store;
	struct job *jobs;	/* those already applied come first */
};

static struct store_view *recent(void *arg, uint64_t ino, uint64_t version)
{
	struct group *g = arg;

	for (struct job *j = g->jobs; j; j = j->next) {
		if (j->fresh && j->fresh->ino == ino && j->fresh->version == version)
			return store_view_ref(j->fresh);
	}
	return cache_get(g->store->cache, ino, version);
}

static int touch(struct db_txn *txn, void *arg)
{
	return tree_touch(txn, *(uint64_t *)arg);
}

static int touch_document(struct db_txn *txn, void *arg)
{
	const struct store_save *save = arg;

	return tree_touch_document(txn, save->saved_ino, save->version);
}

/*
 * The names that a save made show in the directory's times, and that a document was written shows in its own, though it is what it was. That is no part of
 * the save: the records belong to updates.
 */
static void touch_all(struct store *s, struct job *jobs)
{
	for (struct job *j = jobs; j; j = j->next) {
		if (j->touched_dir)
			db_update(s->db, touch, &j->touched_dir);
		if ((j->save->result & STORE_SAVED_SAME) && j->save->saved_ino && !(j->save->flags & (STORE_SAVE_MTIME | STORE_SAVE_KEEP)))
			db_update(s->db, touch_document, j->save);
	}
}

/* The job as it was before it was applied. */
static int renew(struct commit *c, struct job **at)
{
	struct job *fresh;
	int err = job_new((*at)->save, c->store->max_document, &fresh);

	if (err)
		return err;
	fresh->next = (*at)->next;
	job_free(*at);
	*at = fresh;
	return 0;
}

static void finish_all(struct commit *c, struct job *jobs, int err)
{
	struct job *next;

	for (; jobs; jobs = next) {
		next = jobs->next;
		finish(c, jobs, err ? err : jobs->save->error);
	}
}

/* Once a save, not again when it is tried alone after a failed group. */
static int prepare(struct store_save *save)
{
	int (*fn)(struct store_save *save) = save->prepare;

	save->prepare = NULL;
	return fn ? fn(save) : 0;
}

/*
 * Applies and commits the jobs of a list; those that fail by themselves are taken out, and answered when the locks of the
 * transaction are free.
 */
static int run_together(struct commit *c, struct job **jobs)
{
	struct job *refused = NULL;
	struct group g = { .store = c->store, .jobs = NULL };
	struct history h = { .recent = recent, .arg = &g, .store = c->store, .max_document = c->store->max_document };
	struct db_txn *txn;
	size_t applied = 0;
	int err = db_durable_begin(c->store->db, &txn);

	if (err)
		return err;
	g.jobs = *jobs;
	for (struct job **at = jobs, *job; (job = *at);) {
		err = prepare(job->save);
		if (!err)
			err = history_apply(&h, txn, job);
		if (err && job->touched) {
			db_durable_abort(txn);
			finish_all(c, refused, 0);
			return err;
		}
		if (err) {
			*at = job->next;
			g.jobs = *jobs;
			job->save->error = err;
			job->next = refused;
			refused = job;
		} else {
			job_applied(job);
			at = &job->next;
			applied++;
		}
	}
	err = db_durable_commit(txn);
	finish_all(c, refused, 0);
	if (err)
		return err;
	pthread_mutex_lock(&c->lock);
	c->stats.commits++;
	if (applied) {
		int slot = 0;

		while (slot < 7 && applied > 1ul << slot)
			slot++;
		c->stats.groups[slot]++;
	}
	pthread_mutex_unlock(&c->lock);
	touch_all(c->store, *jobs);
	return 0;
}

/*
 * On a full disk: takes memory along, which may hold removals, into the room that was set aside. What a transaction frees can be used
 * by the second one after it, hence two.
 */
static bool make_room(struct store *s)
{
	int err;

	db_file_use_spare(db_directory(s->db));
	err = db_drain(s->db, true);
	if (!err)
		err = db_drain(s->db, true);
	db_file_keep_spare(db_directory(s->db));
	return !err;
}

/* Whether memory is there for a commit of so many bytes; one that is not very large is not asked for. */
static bool fits(size_t bytes)
{
	return bytes <= GROUP_BYTES || room_available() / NEEDS > bytes;
}

/* One that fails must not fail its neighbours (P1): after a failed group each is tried alone. */
static void run_group(struct commit *c, struct job *jobs, size_t bytes)
{
	bool alone = !jobs->next;
	struct job *next;
	int err = fits(bytes) ? run_together(c, &jobs) : -ENOMEM;

	if ((err == -ENOSPC && make_room(c->store)) || (err && !alone && err != -EIO)) {
		for (; jobs; jobs = next) {
			next = jobs->next;
			jobs->next = NULL;
			err = renew(c, &jobs);
			if (!err)
				err = run_together(c, &jobs);
			if (jobs)
				finish(c, jobs, err);
		}
	} else {
		finish_all(c, jobs, err);
	}
}

/*
 * All that wait, but one of each writer: what its next save is based on depends on how this one ends. Needs the lock.
 */
static bool has_writer(const struct job *jobs, uint64_t writer)
{
	for (; jobs; jobs = jobs->next) {
		if (writer && jobs->save->writer == writer)
			return true;
	}
	return false;
}

static struct job *take_group(struct commit *c, size_t *ret_bytes)
{
	struct job *group = NULL, **last = &group, **at = &c->first, *job;
	size_t bytes = 0;

	while ((job = *at)) {
		/* Those that come after it wait, too: none is overtaken for ever. */
		if (group && bytes + job->text_size > GROUP_BYTES)
			break;
		if (has_writer(group, job->save->writer)) {
			at = &job->next;
			continue;
		}
		bytes += job->text_size;
		*at = job->next;
		job->next = NULL;
		*last = job;
		last = &job->next;
	}
	if (!*at)
		c->last = at;
	*ret_bytes = bytes;
	return group;
}

static bool has_job(const struct job *jobs, const struct job *job)
{
	while (jobs && jobs != job)
		jobs = jobs->next;
	return jobs;
}

/*
 * Needs the lock. Whoever finds nobody leading takes the queue's saves, his own and those that come meanwhile: no thread has to be woken. But who waits
 * for one (`own`, else NULL) leaves the others to the keeper when that is answered: there may be no end of them.
 */
static void lead(struct commit *c, const struct job *own)
{
	bool answered = false;

	c->led = true;
	while (c->first && !answered) {
		size_t bytes;
		struct job *jobs = take_group(c, &bytes);

		answered = own && has_job(jobs, own);
		pthread_mutex_unlock(&c->lock);
		run_group(c, jobs, bytes);
		if (bytes > LARGE)
			malloc_trim(LARGE / 4);
		pthread_mutex_lock(&c->lock);
	}
	c->led = false;
	if (c->first)
		pthread_cond_signal(&c->wake);
	pthread_cond_broadcast(&c->idle);
}

/* ---- The keeper ----------------------------------------------------------------------------------------------- */

static struct timespec after_ms(unsigned ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += ms % 1000 * 1000000l;
	if (t.tv_nsec >= 1000000000) {
		t.tv_nsec -= 1000000000;
		t.tv_sec++;
	}
	return t;
}

static bool passed(const struct timespec *t)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec > t->tv_sec || (now.tv_sec == t->tv_sec && now.tv_nsec >= t->tv_nsec);
}

static unsigned pending_ms(const struct commit *c)
{
	return c->store->delay_ms ? c->store->delay_ms : PENDING_MS;
}

static int with_room(struct store *s, int err)
{
	return err == -ENOSPC && make_room(s) ? 0 : err;
}

/* Takes what is in memory to the journal soon, and to the tree now and then. */
static void *keep(void *arg)
{
	struct commit *c = arg;
	struct store *s = c->store;

	pthread_mutex_lock(&c->lock);
	while (!c->stop) {
		bool drain;
		int err;

		if (c->first && !c->led) {
			lead(c, NULL);
			continue;
		}
		if (!c->pending) {
			pthread_cond_wait(&c->wake, &c->lock);
			continue;
		}
		if (!c->urgent && !passed(&c->deadline)) {
			pthread_cond_timedwait(&c->wake, &c->lock, &c->deadline);
			continue;
		}
		drain = c->urgent || passed(&c->drain);
		c->pending = c->urgent = false;
		pthread_mutex_unlock(&c->lock);
		drain = drain || db_crowded(s->db);
		err = with_room(s, drain ? db_drain(s->db, false) : db_sync(s->db));
		pthread_mutex_lock(&c->lock);
		if (!c->pending && db_pending(s->db)) {
			/* It has not been drained, or something has come since. */
			c->pending = true;
			if (drain)
				c->drain = after_ms(DRAIN_MS);
			c->deadline = after_ms(err ? RETRY_MS : pending_ms(c));
		}
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

int commit_new(struct store *s, struct commit **ret)
{
	struct commit *c = calloc(1, sizeof(*c));
	pthread_condattr_t attr;
	sigset_t all, before;
	int err;

	if (!c)
		return -ENOMEM;
	c->store = s;
	c->last = &c->first;
	pthread_mutex_init(&c->lock, NULL);
	pthread_mutex_init(&c->in_memory, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->wake, &attr);
	pthread_cond_init(&c->idle, NULL);
	pthread_condattr_destroy(&attr);
	/* Signals are for the program's own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&c->keeper, NULL, keep, c);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err) {
		free(c);
		return -err;
	}
	*ret = c;
	return 0;
}

void commit_free(struct commit *c)
{
	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	while (c->led || c->first)
		pthread_cond_wait(&c->idle, &c->lock);
	c->stop = true;
	pthread_cond_signal(&c->wake);
	pthread_mutex_unlock(&c->lock);
	pthread_join(c->keeper, NULL);
	with_room(c->store, db_drain(c->store->db, false));
	pthread_cond_destroy(&c->wake);
	pthread_cond_destroy(&c->idle);
	pthread_mutex_destroy(&c->lock);
	pthread_mutex_destroy(&c->in_memory);
	free(c);
}

void commit_pending(struct commit *c, bool urgent)
{
	pthread_mutex_lock(&c->lock);
	if (!c->pending) {
		c->pending = true;
		c->deadline = after_ms(pending_ms(c));
		c->drain = after_ms(DRAIN_MS);
		pthread_cond_signal(&c->wake);
	}
	if (urgent && !c->urgent) {
		c->urgent = true;
		pthread_cond_signal(&c->wake);
	}
	pthread_mutex_unlock(&c->lock);
}

int commit_sync(struct commit *c)
{
	return with_room(c->store, db_sync(c->store->db));
}

int commit_drain(struct commit *c)
{
	return with_room(c->store, db_drain(c->store->db, false));
}

void commit_stats(struct commit *c, struct commit_stats *ret)
{
	pthread_mutex_lock(&c->lock);
	*ret = c->stats;
	pthread_mutex_unlock(&c->lock);
}

/* ---- Saving --------------------------------------------------------------------------------------------------- */

struct update {
	struct commit *commit;
	struct job **job;
};

static struct store_view *cached(void *arg, uint64_t ino, uint64_t version)
{
	struct commit *c = arg;

	return cache_get(c->store->cache, ino, version);
}

static int apply_update(struct db_txn *txn, void *arg)
{
	struct update *u = arg;
	struct history h = { .recent = cached, .arg = u->commit, .store = u->commit->store,
			     .max_document = u->commit->store->max_document };
	int err = (*u->job)->touched ? renew(u->commit, u->job) : 0;

	return err ? err : history_apply(&h, txn, *u->job);
}

void commit_submit(struct commit *c, struct store_save *save)
{
	struct job *job;
	int err = c->store->read_only ? -EROFS : job_new(save, c->store->max_document, &job);

	if (err) {
		save->error = err;
		pthread_mutex_lock(&c->lock);
		c->stats.refused++;
		pthread_mutex_unlock(&c->lock);
		save->done(save);
		return;
	}
	if ((c->store->delay_ms && !(save->flags & STORE_SAVE_DURABLE)) || (save->flags & STORE_SAVE_SOON)) {
		size_t bytes = job->text_size;

		pthread_mutex_lock(&c->in_memory);
		err = fits(bytes) ? prepare(save) : -ENOMEM;
		if (!err)
			err = db_update(c->store->db, apply_update, &(struct update){ c, &job });
		if (!err)
			touch_all(c->store, job);
		finish(c, job, err);
		pthread_mutex_unlock(&c->in_memory);
		if (bytes > LARGE)
			malloc_trim(LARGE / 4);
		return;
	}
	pthread_mutex_lock(&c->lock);
	*c->last = job;
	c->last = &job->next;
	if (save->flags & STORE_SAVE_QUEUED)
		pthread_cond_signal(&c->wake);
	else if (!c->led)
		lead(c, save->flags & SAVE_WAITS ? job : NULL);
	pthread_mutex_unlock(&c->lock);
}
