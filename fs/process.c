/*
 * A cached thread is held by a descriptor of its directory /proc/<tid>. The kernel ties that directory to the thread, not to
 * the number: once the thread has been reaped nothing can be looked up in it, even if the number is in use again. So one look-up
 * through the descriptor proves that what was read of the thread still holds.
 */
#include "process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define WAYS 4
#define THREADS 256
#define PROCESSES_PER_THREAD 16
#define DESCRIPTORS_MAX 4096
#define FORGET_NO_NS UINT64_C(1000000000)

#define FLAG_EXITING 0x4u
#define FLAG_SIGNALED 0x400u

struct thread {
	struct process who;
	int dir;		/* -1: empty */
	uint64_t used, checked;	/* when it last was seen to exist, in ticks of the coarse clock */
};

struct loop {
	pid_t tgid;		/* 0: empty */
	bool events;
	uint64_t start;
	uint64_t asked;
};

/* Both caches are sets of WAYS slots; in a set the slot unused for longest makes place. */
struct thread_set {
	pthread_mutex_t lock;	/* guards the set */
	uint64_t clock;
	struct thread ways[WAYS];
};

struct processes {
	size_t thread_sets, loop_sets;	/* powers of two */
	struct thread_set *threads;
	pthread_mutex_t loop_lock;	/* guards loops */
	struct loop *loops;		/* loop_sets * WAYS */
};

struct stat_line {
	char state;
	pid_t parent, group;
	unsigned flags;
	unsigned threads;
	uint64_t start;
};

static uint64_t monotonic_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int read_file(int dir, const char *path, char *buf, size_t size)
{
	int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;

	ssize_t n = read(fd, buf, size - 1);
	int r = n < 0 ? -errno : n == 0 ? -ENODATA : 0;
	close(fd);
	if (r == 0)
		buf[n] = 0;
	return r;
}

static bool read_stat(int dir, const char *path, struct stat_line *ret)
{
	char buf[1024];
	struct stat_line s;
	unsigned long long start;

	if (read_file(dir, path, buf, sizeof buf) < 0)
		return false;
	/* The name of the command may hold parentheses and newlines. */
	const char *rest = strrchr(buf, ')');
	if (!rest || sscanf(rest + 1, " %c %d %d %*d %*d %*d %u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %u %*d %llu", &s.state,
			    &s.parent, &s.group, &s.flags, &s.threads, &start) != 6)
		return false;
	s.start = start;
	*ret = s;
	return true;
}

static bool read_stat_of(pid_t id, struct stat_line *ret)
{
	char path[32];

	snprintf(path, sizeof path, "/proc/%d/stat", (int)id);
	return read_stat(AT_FDCWD, path, ret);
}

/* The thread that this directory of /proc was opened for has not been reaped. */
static bool thread_exists(int dir)
{
	return faccessat(dir, "comm", F_OK, 0) == 0;
}

/* Numbers go round: none is given to another thread within one tick of some milliseconds. */
static bool still_exists(struct thread *t)
{
	struct timespec now;
	uint64_t tick;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	tick = now.tv_sec * 1000000000ull + now.tv_nsec;
	if (t->checked == tick)
		return true;
	t->checked = tick;
	return thread_exists(t->dir);
}

static bool is_leader(pid_t tid)
{
	int fd = (int)syscall(SYS_pidfd_open, tid, 0);	/* without flags, thread group leaders only */
	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static pid_t read_tgid(int dir)
{
	char buf[4096];
	int tgid;

	if (read_file(dir, "status", buf, sizeof buf) < 0)
		return 0;
	const char *line = strstr(buf, "\nTgid:");
	return line && sscanf(line, "\nTgid: %d", &tgid) == 1 ? tgid : 0;
}

static bool read_process(int dir, pid_t tid, struct process *ret)
{
	struct stat_line s;
	pid_t tgid = is_leader(tid) ? tid : read_tgid(dir);
	if (tgid <= 0)
		return false;

	bool ok = tgid == tid ? read_stat(dir, "stat", &s) : read_stat_of(tgid, &s);
	/* While a thread exists the numbers of it and of its leader are not given away: what was read by number was of them. */
	if (!ok || !thread_exists(dir))
		return false;
	*ret = (struct process){ .tid = tid, .tgid = tgid, .start = s.start, .known = true };
	return true;
}

static size_t round_up_power(size_t n)
{
	size_t p = 1;

	while (p < n)
		p *= 2;
	return p;
}

int processes_new(size_t limit, struct processes **ret)
{
	struct processes *p = calloc(1, sizeof *p);
	if (!p)
		return -ENOMEM;

	p->thread_sets = round_up_power(((limit ? limit : THREADS) + WAYS - 1) / WAYS);
	p->loop_sets = p->thread_sets * PROCESSES_PER_THREAD;
	p->threads = calloc(p->thread_sets, sizeof *p->threads);
	p->loops = calloc(p->loop_sets * WAYS, sizeof *p->loops);
	if (!p->threads || !p->loops) {
		free(p->threads);
		free(p->loops);
		free(p);
		return -ENOMEM;
	}
	pthread_mutex_init(&p->loop_lock, NULL);
	for (size_t i = 0; i < p->thread_sets; i++) {
		pthread_mutex_init(&p->threads[i].lock, NULL);
		for (size_t j = 0; j < WAYS; j++)
			p->threads[i].ways[j].dir = -1;
	}
	*ret = p;
	return 0;
}

static void drop_threads(struct thread_set *set)
{
	for (size_t i = 0; i < WAYS; i++) {
		if (set->ways[i].dir >= 0)
			close(set->ways[i].dir);
		set->ways[i].dir = -1;
	}
}

void processes_free(struct processes *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->thread_sets; i++) {
		drop_threads(&p->threads[i]);
		pthread_mutex_destroy(&p->threads[i].lock);
	}
	pthread_mutex_destroy(&p->loop_lock);
	free(p->threads);
	free(p->loops);
	free(p);
}

static int open_thread(struct thread_set *set, pid_t tid)
{
	char path[32];

	snprintf(path, sizeof path, "/proc/%d", (int)tid);
	int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 && (errno == EMFILE || errno == ENFILE)) {
		drop_threads(set);
		dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	}
	return dir;
}

struct process processes_identify(struct processes *p, pid_t tid)
{
	struct process who = { .tid = tid, .tgid = tid };
	if (tid <= 0)
		return who;

	struct thread_set *set = &p->threads[(size_t)tid & (p->thread_sets - 1)];
	pthread_mutex_lock(&set->lock);
	struct thread *t = &set->ways[0];
	for (size_t i = 0; i < WAYS; i++) {
		struct thread *way = &set->ways[i];
		if (way->dir >= 0 && way->who.tid == tid) {
			t = way;
			break;
		}
		if (way->dir < 0 ? t->dir >= 0 : t->dir >= 0 && way->used < t->used)
			t = way;
	}
	if (t->dir >= 0 && (t->who.tid != tid || !still_exists(t))) {
		close(t->dir);
		t->dir = -1;
	}
	if (t->dir < 0) {
		int dir = open_thread(set, tid);
		if (dir >= 0 && !read_process(dir, tid, &t->who)) {
			close(dir);
			dir = -1;
		}
		t->dir = dir;
	}
	if (t->dir >= 0) {
		t->used = ++set->clock;
		who = t->who;
	}
	pthread_mutex_unlock(&set->lock);
	return who;
}

static bool same_start(const struct process *who)
{
	struct stat_line s;

	return read_stat_of(who->tgid, &s) && s.start == who->start;
}

/* -1: may not be read. */
static int find_loop(const struct process *who)
{
	char path[32], target[32];
	int found = 0;
	size_t seen = 0;

	snprintf(path, sizeof path, "/proc/%d/fd", (int)who->tgid);
	DIR *d = opendir(path);
	if (!d)
		return -1;
	for (struct dirent *e; !found && (e = readdir(d));) {
		if (e->d_name[0] == '.')
			continue;
		ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof target - 1);
		if (n < 0) {
			found = errno == ENOENT ? 0 : -1;	/* ENOENT: closed meanwhile */
			continue;
		}
		target[n] = 0;
		found = ++seen > DESCRIPTORS_MAX || strcmp(target, "anon_inode:[eventpoll]") == 0 ||
			strcmp(target, "anon_inode:[io_uring]") == 0;
	}
	closedir(d);
	/* The number may have passed to another process: then this says nothing. */
	return same_start(who) ? found : -1;
}

bool processes_events(struct processes *p, const struct process *who)
{
	if (!who->known)
		return true;

	uint64_t now = monotonic_now();
	struct loop *set = p->loops + ((size_t)who->tgid & (p->loop_sets - 1)) * WAYS;

	pthread_mutex_lock(&p->loop_lock);
	for (size_t i = 0; i < WAYS; i++)
		if (set[i].tgid == who->tgid && set[i].start == who->start && (set[i].events || now - set[i].asked < FORGET_NO_NS)) {
			bool events = set[i].events;
			pthread_mutex_unlock(&p->loop_lock);
			return events;
		}
	pthread_mutex_unlock(&p->loop_lock);

	int found = find_loop(who);

	pthread_mutex_lock(&p->loop_lock);
	struct loop *l = set;
	for (size_t i = 0; i < WAYS; i++) {
		if (set[i].tgid == who->tgid) {
			l = &set[i];
			break;
		}
		if (set[i].asked < l->asked)
			l = &set[i];
	}
	/* What may not be read now (a program that dropped its privileges) is not going to be later. */
	*l = (struct loop){ .tgid = who->tgid, .start = who->start, .events = found != 0, .asked = now };
	pthread_mutex_unlock(&p->loop_lock);
	return found != 0;
}

/* Another program has none of its parent's memory: it was exec'd. */
static bool same_program(pid_t a, pid_t b)
{
	struct stat x, y;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)a);
	if (stat(path, &x))
		return true;
	snprintf(path, sizeof(path), "/proc/%d/exe", (int)b);
	return stat(path, &y) || (x.st_dev == y.st_dev && x.st_ino == y.st_ino);
}

bool processes_family(struct processes *p, const struct process *who, pid_t *ret_group, struct process *ret_parent)
{
	struct stat_line own, parent;

	if (!who->known || !read_stat_of(who->tgid, &own) || own.start != who->start)
		return false;

	struct process above = { .tid = own.parent, .tgid = own.parent };
	/* A parent that started later is another process that got the number of one that died just now. */
	if (own.parent > 0 && read_stat_of(own.parent, &parent) && parent.start <= own.start && same_program(who->tgid, own.parent)) {
		above.start = parent.start;
		above.known = true;
	}
	*ret_group = own.group;
	*ret_parent = above;
	return true;
}

bool process_dying(pid_t tid)
{
	struct stat_line s;

	return tid > 0 && read_stat_of(tid, &s) && (s.flags & FLAG_EXITING) && (s.flags & FLAG_SIGNALED);
}

/* Its memory is new, and nobody has put the arguments there yet. Who is exiting has no memory. */
bool process_execs(pid_t tid)
{
	char path[32], buf[4096];

	if (tid <= 0)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)tid);
	if (read_file(AT_FDCWD, path, buf, 2) != -ENODATA)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)tid);
	return read_file(AT_FDCWD, path, buf, sizeof(buf)) == 0 && strstr(buf, "\nVmSize:");
}

bool process_piped(const struct process *who)
{
	char path[64], target[32];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/fd/0", (int)who->tgid);
	n = readlink(path, target, sizeof(target));
	return n > 5 && memcmp(target, "pipe:", 5) == 0;
}

bool process_alive(const struct process *who)
{
	struct stat_line s;

	if (!who->known)
		return true;
	errno = 0;
	if (!read_stat_of(who->tgid, &s))
		return errno == EMFILE || errno == ENFILE;
	/* A leader may have ended before its threads; without any it waits for its parent only. */
	return s.start == who->start && !((s.state == 'Z' || s.state == 'X') && s.threads <= 1);
}
