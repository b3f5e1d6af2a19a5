#include "commit.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "db_file.h"
#include "history.h"
#include "inside.h"
#include "tree.h"

#define PENDING_MS 50	/* what is not a save may stay in memory this long */
#define RETRY_MS 1000	/* after the disk refused it */

struct commit {
	struct store *store;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;		/* with `lock`: something to do */
	pthread_cond_t settled;		/* with `lock`: `rounds` changed */
	pthread_mutex_t in_memory;	/* with a delay, or soon: one save at a time, from its bases to `done`. Taken before all others */
	/* All under `lock`. */
	struct job *first, **last;
	bool pending, stop, sync;
	struct timespec deadline;	/* of `pending` */
	uint64_t rounds;		/* that have ended */
	bool running;
	int sync_error;			/* how the last round ended for the memory */
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

/* The names that a save made show in the directory's times. It is no part of the save: its record belongs to updates. */
static void touch_directories(struct store *s, struct job *jobs)
{
	for (struct job *j = jobs; j; j = j->next) {
		if (j->touched_dir)
			db_update(s->db, touch, &j->touched_dir);
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
	touch_directories(c->store, *jobs);
	return 0;
}

static int touch_superblock(struct store *s)
{
	struct key key = key_plain(0, REC_SUPER);
	struct rec_super super;
	struct db_txn *txn;
	int err = db_durable_begin(s->db, &txn);

	if (err)
		return err;
	err = record_get(txn, &key, &super, sizeof(super), NULL);
	if (!err)
		err = record_put(txn, &key, &super, sizeof(super));
	if (!err)
		return db_durable_commit(txn);
	db_durable_abort(txn);
	return err;
}

/*
 * On a full disk: takes memory along, which may hold removals, into the room that was set aside. What a transaction frees can be used
 * by the second one after it, hence two.
 */
static bool make_room(struct store *s)
{
	int err;

	db_file_use_spare(s->directory);
	err = touch_superblock(s);
	if (!err)
		err = touch_superblock(s);
	db_file_keep_spare(s->directory);
	return !err;
}

/* One that fails must not fail its neighbours (P1): after a failed group each is tried alone. */
static int run_group(struct commit *c, struct job *jobs)
{
	bool alone = !jobs || !jobs->next;
	struct job *next;
	int err = run_together(c, &jobs), first = err;
	bool room = err == -ENOSPC && make_room(c->store);

	if (room && !jobs)
		return 0;
	if (room || (err && !alone && err != -EIO)) {
		for (; jobs; jobs = next) {
			next = jobs->next;
			jobs->next = NULL;
			err = renew(c, &jobs);
			if (!err)
				err = run_together(c, &jobs);
			if (jobs)
				finish(c, jobs, err);
		}
		return db_pending(c->store->db) ? first : 0;
	}
	finish_all(c, jobs, err);
	return err;
}

/* ---- The writer thread ---------------------------------------------------------------------------------------- */

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

static bool has_writer(const struct job *jobs, uint64_t writer)
{
	for (; jobs; jobs = jobs->next) {
		if (writer && jobs->save->writer == writer)
			return true;
	}
	return false;
}

/*
 * All that wait, but one of each writer: what its next save is based on depends on how this one ends. Needs the lock.
 */
static struct job *take_group(struct commit *c)
{
	struct job *group = NULL, **last = &group, **at = &c->first, *job;

	while ((job = *at)) {
		if (has_writer(group, job->save->writer)) {
			at = &job->next;
			continue;
		}
		*at = job->next;
		job->next = NULL;
		*last = job;
		last = &job->next;
	}
	c->last = at;
	return group;
}

static void *writer(void *arg)
{
	struct commit *c = arg;
	struct job *jobs;
	int err;

	pthread_mutex_lock(&c->lock);
	for (;;) {
		while (!c->first && !c->sync && !(c->pending && (c->stop || passed(&c->deadline)))) {
			if (c->stop)
				goto out;
			if (c->pending)
				pthread_cond_timedwait(&c->wake, &c->lock, &c->deadline);
			else
				pthread_cond_wait(&c->wake, &c->lock);
		}
		jobs = take_group(c);
		c->pending = c->sync = false;
		c->running = true;
		pthread_mutex_unlock(&c->lock);

		err = jobs || db_pending(c->store->db) ? run_group(c, jobs) : 0;

		if (db_pending(c->store->db))
			commit_pending(c);
		pthread_mutex_lock(&c->lock);
		if (err && c->pending) {
			if (c->stop)
				c->pending = false;
			else
				c->deadline = after_ms(RETRY_MS);
		}
		c->running = false;
		c->rounds++;
		c->sync_error = db_pending(c->store->db) ? err : 0;
		pthread_cond_broadcast(&c->settled);
	}
out:
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
	pthread_cond_init(&c->settled, NULL);
	pthread_condattr_destroy(&attr);
	/* Signals are for the program's own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&c->thread, NULL, writer, c);
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
	c->stop = true;
	pthread_cond_signal(&c->wake);
	pthread_mutex_unlock(&c->lock);
	pthread_join(c->thread, NULL);
	pthread_cond_destroy(&c->wake);
	pthread_cond_destroy(&c->settled);
	pthread_mutex_destroy(&c->lock);
	pthread_mutex_destroy(&c->in_memory);
	free(c);
}

void commit_pending(struct commit *c)
{
	unsigned ms = c->store->delay_ms ? c->store->delay_ms : PENDING_MS;

	pthread_mutex_lock(&c->lock);
	if (!c->pending) {
		c->pending = true;
		c->deadline = after_ms(ms);
		pthread_cond_signal(&c->wake);
	}
	pthread_mutex_unlock(&c->lock);
}

int commit_sync(struct commit *c)
{
	uint64_t rounds;
	int err;

	pthread_mutex_lock(&c->lock);
	/* A round that is under way may have begun before what is to be synced. */
	rounds = c->rounds + (c->running ? 2 : 1);
	while (c->rounds < rounds) {
		c->sync = true;
		pthread_cond_signal(&c->wake);
		pthread_cond_wait(&c->settled, &c->lock);
	}
	err = c->sync_error;
	pthread_mutex_unlock(&c->lock);
	return err;
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
	if (c->store->delay_ms || (save->flags & STORE_SAVE_SOON)) {
		pthread_mutex_lock(&c->in_memory);
		err = prepare(save);
		if (!err)
			err = db_update(c->store->db, apply_update, &(struct update){ c, &job });
		if (!err)
			touch_directories(c->store, job);
		finish(c, job, err);
		pthread_mutex_unlock(&c->in_memory);
		return;
	}
	pthread_mutex_lock(&c->lock);
	*c->last = job;
	c->last = &job->next;
	pthread_cond_signal(&c->wake);
	pthread_mutex_unlock(&c->lock);
}
