#include "loop.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "handle.h"
#include "log.h"

#define THREADS 16	/* each keeps a buffer of a megabyte */
#define TICK_MS 5	/* how often who watches looks: a handler that has it wait takes long */
#define LINGER_TICKS 2	/* for so many without a request CPUs stay awake */
#define CROWD 32	/* a conversation with one client is about twelve requests a save */
#define RELEASE_TRIES 10000	/* a millisecond each */
#define SOON_NS 25000	/* a client's next request comes within this time if it does nothing else meanwhile */

struct worker {
	struct loop *loop;
	pthread_t thread;
	struct fuse_buf buf;
};

struct loop {
	struct fuse_session *session;
	void (*lost)(uint64_t fh, bool flush);
	bool awake;		/* CPUs, and the thread that reads, are to stay awake for a while */
	int wake_fd;		/* wakes who watches */
	int latency_fd;		/* -1: none */
	pthread_mutex_t lock;
	pthread_cond_t vacant;	/* with `lock`: nobody reads, or `stop` */
	/* All under `lock`. */
	bool reading;		/* a thread waits for a request */
	unsigned spare;		/* threads that wait for `vacant` */
	unsigned crowd;		/* for so many requests clients are several: while one is handled another thread reads */
	uint32_t client;	/* the thread that the last request came from */
	uint64_t received;
	bool soon;		/* the last request came soon after its thread began to wait */
	bool unwatched;		/* nothing has been received for a while */
	bool stop;
	int error;
	unsigned count;		/* of workers; not after `stop` */
	struct worker workers[THREADS];
};

int loop_new(bool keep_awake, struct loop **ret)
{
	struct loop *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->wake_fd < 0) {
		int err = -errno;

		free(l);
		return err;
	}
	l->awake = keep_awake;
	l->latency_fd = keep_awake ? open("/dev/cpu_dma_latency", O_WRONLY | O_CLOEXEC) : -1;
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->vacant, NULL);
	*ret = l;
	return 0;
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	close(l->wake_fd);
	if (l->latency_fd >= 0)
		close(l->latency_fd);
	pthread_mutex_destroy(&l->lock);
	pthread_cond_destroy(&l->vacant);
	free(l);
}

/* ---- Reading and handling ------------------------------------------------------------------------------------- */

static void *work(void *arg);

/* Needs the lock. */
static int start_worker(struct loop *l)
{
	struct worker *w = &l->workers[l->count];
	int err;

	w->loop = l;
	err = pthread_create(&w->thread, NULL, work, w);
	l->count += !err;
	return -err;
}

/* Needs the lock. With no thread to spare the first that is done reads on. */
static void call(struct loop *l)
{
	if (l->spare)
		pthread_cond_signal(&l->vacant);
	else if (l->count < THREADS && !l->stop)
		start_worker(l);
}

/* Needs the lock. */
static void wake(struct loop *l)
{
	eventfd_write(l->wake_fd, 1);
	l->unwatched = false;
}

/* Needs the lock. */
static void stop(struct loop *l, int error)
{
	l->stop = true;
	l->error = error;
	pthread_cond_broadcast(&l->vacant);
	wake(l);
}

/*
 * close() has returned and its caller goes on, but the request that tells of it may wait for a thread's turn: whoever handles what comes after it must
 * know that the handle is closed.
 */
static void note_release(const struct fuse_buf *buf)
{
	const struct fuse_in_header *in = buf->mem;
	const struct fuse_release_in *arg = (const void *)(in + 1);

	if (!(buf->flags & FUSE_BUF_IS_FD) && buf->size >= sizeof(*in) + sizeof(*arg) && in->opcode == FUSE_RELEASE)
		handle_closing((struct handle *)(uintptr_t)arg->fh);
}

static void pause_for_memory(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

/* ---- Requests that libfuse has no memory for ------------------------------------------------------------------- */

/* What this thread handles. */
static _Thread_local const struct fuse_in_header *handled;
static _Thread_local void (*when_lost)(uint64_t fh, bool flush);
static _Thread_local bool reached;

void loop_reached(void)
{
	reached = true;
}

static ssize_t custom_read(int fd, void *buf, size_t size, void *arg)
{
	return read(fd, buf, size);
}

/* The store tells damage from a disk that fails. To a program both are EIO; which it was the log and status say. */
static void tell_damage(struct mount *m, struct fuse_out_header *out)
{
	bool known = handled && out->unique == handled->unique;
	char path[4096];

	out->error = -EIO;
	atomic_fetch_add(&m->damaged, 1);
	if (!known || store_path(m->store, handled->nodeid, path, sizeof(path)))
		strcpy(path, "a file");
	log_often("%s: the store is damaged here, so a call got EIO; `historyctl verify` names all that is damaged",
		  *path ? path : "the root directory");
}

/* `arg`: the mount. */
static ssize_t custom_writev(int fd, struct iovec *pieces, int count, void *arg)
{
	struct fuse_out_header *out = pieces[0].iov_base;

	if (out->error == -EUCLEAN)
		tell_damage(arg, out);
	if (handled && !reached && out->unique == handled->unique && out->error) {
		if (handled->opcode == FUSE_WRITE)
			when_lost(((const struct fuse_write_in *)(handled + 1))->fh, false);
		if (handled->opcode == FUSE_FLUSH)
			when_lost(((const struct fuse_flush_in *)(handled + 1))->fh, true);
	}
	return writev(fd, pieces, count);
}

static void handle(struct worker *w)
{
	const struct fuse_in_header *in = w->buf.mem;
	bool plain = !(w->buf.flags & FUSE_BUF_IS_FD) && w->buf.size >= sizeof(*in);

	handled = plain ? in : NULL;
	when_lost = w->loop->lost;
	reached = false;
	fuse_session_process_buf(w->loop->session, &w->buf);
	for (int i = 0; plain && !reached && in->opcode == FUSE_RELEASE && i < RELEASE_TRIES; i++) {
		pause_for_memory();
		fuse_session_process_buf(w->loop->session, &w->buf);
	}
	handled = NULL;
}

/* Needs the lock. Some requests are the kernel's own. */
static void note_client(struct loop *l, const struct fuse_buf *buf)
{
	const struct fuse_in_header *in = buf->mem;

	l->received++;
	l->crowd -= l->crowd != 0;
	if (buf->flags & FUSE_BUF_IS_FD || buf->size < sizeof(*in) || !in->pid)
		return;
	if (l->client && l->client != in->pid)
		l->crowd = CROWD;
	l->client = in->pid;
}

static bool more_wait(const struct loop *l)
{
	struct pollfd p = { .fd = fuse_session_fd(l->session), .events = POLLIN };

	return poll(&p, 1, 0) > 0;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* With `look` the thread stays awake for the next request: to be woken for it takes longer. */
static int receive(struct worker *w, bool look, bool *ret_soon)
{
	uint64_t from = now_ns();
	int n;

	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
	while (look && !more_wait(w->loop) && now_ns() - from < SOON_NS)
		;
	n = fuse_session_receive_buf(w->loop->session, &w->buf);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	*ret_soon = now_ns() - from < SOON_NS;
	return n;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct loop *l = w->loop;
	bool look, soon;
	int n;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	pthread_mutex_lock(&l->lock);
	for (;;) {
		while (l->reading && !l->stop) {
			l->spare++;
			pthread_cond_wait(&l->vacant, &l->lock);
			l->spare--;
		}
		if (l->stop)
			break;
		l->reading = true;
		look = l->awake && l->soon && !l->crowd;
		pthread_mutex_unlock(&l->lock);
		n = receive(w, look, &soon);
		pthread_mutex_lock(&l->lock);
		l->reading = false;
		l->soon = soon;
		if (n == -EINTR || n == -EAGAIN)
			continue;
		/* No memory for the buffer: the request waits in the kernel until there is some. */
		if (n == -ENOMEM) {
			pthread_mutex_unlock(&l->lock);
			pause_for_memory();
			pthread_mutex_lock(&l->lock);
			continue;
		}
		if (n <= 0) {
			stop(l, n);
			break;
		}
		note_client(l, &w->buf);
		note_release(&w->buf);
		if (l->unwatched)
			wake(l);
		if (l->crowd)
			call(l);
		pthread_mutex_unlock(&l->lock);
		handle(w);
		pthread_mutex_lock(&l->lock);
	}
	pthread_mutex_unlock(&l->lock);
	return NULL;
}

/* ---- Watching ------------------------------------------------------------------------------------------------- */

/* The longest that a CPU may take to wake up, in microseconds; the second value is the kernel's own. */
static void keep_awake(struct loop *l, bool awake)
{
	int32_t limit = awake ? 0 : 2000 * 1000000;

	/* Refused, CPUs sleep: all is slower, nothing is wrong. */
	if (l->latency_fd >= 0 && write(l->latency_fd, &limit, sizeof(limit)) != sizeof(limit)) {
		close(l->latency_fd);
		l->latency_fd = -1;
	}
}

/* Needs the lock, which is free meanwhile. Signals come in here and nowhere else. */
static void pause_ms(struct loop *l, int ms, const sigset_t *signals)
{
	struct pollfd p = { .fd = l->wake_fd, .events = POLLIN };
	eventfd_t n;
	int wait;

	pthread_mutex_unlock(&l->lock);
	wait = log_rest(false);
	if (ms < 0)
		ms = wait;
	ppoll(&p, 1, ms < 0 ? NULL : &(struct timespec){ ms / 1000, ms % 1000 * 1000000l }, signals);
	eventfd_read(l->wake_fd, &n);
	pthread_mutex_lock(&l->lock);
}

/* Needs the lock. A handler that takes long must not hold up the others. */
static void watch(struct loop *l, const sigset_t *signals)
{
	uint64_t received = l->received;
	int quiet = LINGER_TICKS;

	while (!l->stop && !fuse_session_exited(l->session)) {
		if (quiet >= LINGER_TICKS) {
			keep_awake(l, false);
			l->unwatched = true;
			pause_ms(l, -1, signals);
			l->unwatched = false;
			keep_awake(l, true);
		} else {
			pause_ms(l, TICK_MS, signals);
		}
		quiet = l->received == received ? quiet + 1 : 0;
		if (quiet && !l->reading)
			call(l);
		received = l->received;
	}
}

int loop_run(struct loop *l, struct fuse_session *session, void (*lost)(uint64_t fh, bool flush))
{
	const struct fuse_custom_io io = { .read = custom_read, .writev = custom_writev };
	sigset_t all, before;
	int err = fuse_session_custom_io(session, &io, fuse_session_fd(session));

	if (err)
		return err;
	l->session = session;
	l->lost = lost;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_mutex_lock(&l->lock);
	err = start_worker(l);
	if (!err) {
		watch(l, &before);
		err = l->error;
	}
	l->stop = true;
	pthread_cond_broadcast(&l->vacant);
	pthread_mutex_unlock(&l->lock);
	for (unsigned i = 0; i < l->count; i++) {
		pthread_cancel(l->workers[i].thread);
		pthread_join(l->workers[i].thread, NULL);
		free(l->workers[i].buf.mem);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return err;
}
