/* Against the real /proc: forks, threads, programs executed, and numbers used again. */

#include <criterion/criterion.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "process.h"

static struct processes *new_processes(size_t limit)
{
	struct processes *p;

	cr_assert_eq(processes_new(limit, &p), 0);
	return p;
}

/* A child that does as it is told by single bytes, and answers each with one. */
struct child {
	pid_t pid;
	int fd;
};

static void child_main(int fd)
{
	int loop = -1;
	char c;

	while (read(fd, &c, 1) == 1) {
		if (c == 'e')
			loop = epoll_create1(0);
		else if (c == 'c')
			close(loop);
		else if (c == 'g')
			setpgid(0, 0);
		else if (c == 'x') {	/* itself, as another program */
			dup2(fd, 0);
			dup2(fd, 1);
			execl("/bin/cat", "cat", NULL);
			_exit(1);
		} else if (c == 'q') {
			_exit(0);
		} else if (c == 'd') {	/* 4095 descriptors, and one more each time */
			static int number = 4095;
			int last;

			do
				last = dup(fd);
			while (last >= 0 && last < number - 1);
			number++;
		}
		if (write(fd, &c, 1) != 1)
			break;
	}
	_exit(0);
}

static struct child spawn(void)
{
	int pair[2];
	struct child c;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	c.pid = fork();
	cr_assert_geq(c.pid, 0);
	if (c.pid == 0) {
		/* What the test program has open is not this child's matter. */
		dup2(pair[1], 3);
		pair[1] = 3;
		close_range(4, ~0u, 0);
		child_main(pair[1]);
	}
	close(pair[1]);
	c.fd = pair[0];
	return c;
}

static void tell(const struct child *c, char what)
{
	char answer = 0;

	cr_assert_eq(write(c->fd, &what, 1), 1);
	if (what == 'x') {	/* cat answers with what it is sent */
		cr_assert_eq(write(c->fd, &what, 1), 1);
	}
	cr_assert_eq(read(c->fd, &answer, 1), 1);
	cr_assert_eq(answer, what);
}

static void end(struct child *c)
{
	close(c->fd);
	kill(c->pid, SIGKILL);
	waitpid(c->pid, NULL, 0);
}

static bool same(struct process a, struct process b)
{
	return a.known && b.known && a.tgid == b.tgid && a.start == b.start;
}

static uint64_t ticks_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	uint64_t hz = (uint64_t)sysconf(_SC_CLK_TCK);
	return (uint64_t)t.tv_sec * hz + (uint64_t)t.tv_nsec * hz / 1000000000;
}

static int count_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

Test(process, unknown)
{
	static const pid_t ids[] = { 0, -1, 0x7ffffff0 };
	struct processes *p = new_processes(0);

	for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
		struct process who = processes_identify(p, ids[i]), parent;
		pid_t group;
		cr_assert_not(who.known);
		cr_assert_eq(who.tid, ids[i]);
		cr_assert_eq(who.tgid, ids[i]);
		cr_assert_eq(who.start, 0);
		cr_assert(processes_events(p, &who));
		cr_assert(process_alive(&who));
		cr_assert_not(processes_family(p, &who, &group, &parent));
		cr_assert_not(process_dying(ids[i]));
	}
	processes_free(p);
	processes_free(NULL);
}

Test(process, start_is_in_ticks_of_boottime)
{
	struct processes *p = new_processes(0);
	uint64_t before = ticks_now();
	struct child c = spawn();
	tell(&c, 'n');
	uint64_t after = ticks_now();
	struct process who = processes_identify(p, c.pid);

	cr_assert(who.known);
	cr_assert_eq(who.tgid, c.pid);
	cr_assert_geq(who.start, before);
	cr_assert_leq(who.start, after);
	end(&c);
	processes_free(p);
}

Test(process, family)
{
	struct processes *p = new_processes(0);
	struct process self = processes_identify(p, getpid()), parent;
	struct child c = spawn();
	pid_t group;

	tell(&c, 'n');
	struct process who = processes_identify(p, c.pid);
	cr_assert_not(same(who, self));
	cr_assert(processes_family(p, &who, &group, &parent));
	cr_assert_eq(group, getpgrp());
	cr_assert(same(parent, self));
	tell(&c, 'g');
	cr_assert(processes_family(p, &who, &group, &parent));
	cr_assert_eq(group, c.pid);
	end(&c);
	cr_assert_not(processes_family(p, &who, &group, &parent));

	struct process first = processes_identify(p, 1);
	if (first.known) {
		cr_assert(processes_family(p, &first, &group, &parent));
		cr_assert_not(parent.known);
	}
	processes_free(p);
}

struct thread_args {
	pthread_barrier_t *barrier;
	pid_t tid;
};

static void *thread_main(void *arg)
{
	struct thread_args *a = arg;

	a->tid = (pid_t)syscall(SYS_gettid);
	pthread_barrier_wait(a->barrier);
	pthread_barrier_wait(a->barrier);
	return NULL;
}

/* Threads are of their process; of more than the descriptors allowed /proc is read again. */
static void identify_threads(size_t limit, size_t most, int n)
{
	struct processes *p = new_processes(limit);
	struct process self = processes_identify(p, getpid());
	struct thread_args *args = calloc((size_t)n, sizeof(*args));
	pthread_t *threads = calloc((size_t)n, sizeof(*threads));
	pthread_barrier_t barrier;

	pthread_barrier_init(&barrier, NULL, (unsigned)n + 1);
	for (int i = 0; i < n; i++) {
		args[i].barrier = &barrier;
		cr_assert_eq(pthread_create(&threads[i], NULL, thread_main, &args[i]), 0);
	}
	pthread_barrier_wait(&barrier);
	size_t before = (size_t)count_descriptors();
	for (int round = 0; round < 3; round++)
		for (int i = 0; i < n; i++) {
			struct process who = processes_identify(p, args[i].tid);
			cr_assert_eq(who.tid, args[i].tid);
			cr_assert(same(who, self));
		}
	cr_assert_leq((size_t)count_descriptors() - before, most, "%d threads", n);
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < n; i++)
		cr_assert_not(processes_identify(p, args[i].tid).known);
	pthread_barrier_destroy(&barrier);
	processes_free(p);
	free(threads);
	free(args);
}

Test(process, threads)
{
	static const struct { size_t limit, most; int threads; } table[] = { { 8, 8, 40 }, { 0, 256, 255 }, { 0, 256, 256 }, { 0, 256, 257 }, { 0, 256, 400 } };

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		identify_threads(table[i].limit, table[i].most, table[i].threads);
}

Test(process, executed_program_is_the_same_process)
{
	struct processes *p = new_processes(0);
	struct child c = spawn();

	tell(&c, 'n');
	struct process before = processes_identify(p, c.pid);
	tell(&c, 'x');
	struct process after = processes_identify(p, c.pid);
	cr_assert(same(before, after));
	cr_assert(process_alive(&after));
	end(&c);
	processes_free(p);
}

Test(process, events)
{
	struct processes *p = new_processes(0);
	struct child c = spawn();

	tell(&c, 'n');
	struct process who = processes_identify(p, c.pid);
	cr_assert_not(processes_events(p, &who));
	tell(&c, 'e');
	nanosleep(&(struct timespec){ .tv_sec = 1, .tv_nsec = 100000000 }, NULL);
	cr_assert(processes_events(p, &who));
	tell(&c, 'c');
	nanosleep(&(struct timespec){ .tv_sec = 1, .tv_nsec = 100000000 }, NULL);
	cr_assert(processes_events(p, &who), "a yes is remembered");
	struct processes *fresh = new_processes(0);
	cr_assert_not(processes_events(fresh, &who));
	processes_free(fresh);
	end(&c);
	cr_assert(processes_events(p, &who));
	processes_free(p);
}

static int descriptors_of(pid_t pid)
{
	char path[32];
	struct dirent *e;
	int n = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	DIR *d = opendir(path);
	cr_assert_not_null(d);
	while ((e = readdir(d)))
		n += *e->d_name != '.';
	closedir(d);
	return n;
}

/* Of more descriptors than this one may be an event loop: then what the process reads may be for any of its saves, which loses nothing. */
Test(process, many_descriptors)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur < 4200)
		cr_skip_test("no process may have so many descriptors here");
	struct child c = spawn();

	for (int number = 4095; number <= 4097; number++) {
		struct processes *p = new_processes(0);

		tell(&c, 'd');
		struct process who = processes_identify(p, c.pid);
		cr_assert_eq(descriptors_of(c.pid), number);
		cr_assert_eq(processes_events(p, &who), number > 4096, "%d descriptors", number);
		processes_free(p);
	}
	end(&c);
}

Test(process, alive)
{
	struct processes *p = new_processes(0);
	struct child c = spawn();

	tell(&c, 'n');
	struct process who = processes_identify(p, c.pid), earlier = who;
	cr_assert(process_alive(&who));
	earlier.start--;
	cr_assert_not(process_alive(&earlier));
	cr_assert_not(processes_family(p, &earlier, &(pid_t){ 0 }, &(struct process){ 0 }));
	cr_assert(processes_events(p, &earlier), "another process by now: what it has open says nothing");

	kill(c.pid, SIGKILL);
	siginfo_t info;
	cr_assert_eq(waitid(P_PID, (id_t)c.pid, &info, WEXITED | WNOWAIT), 0);
	cr_assert_not(process_alive(&who), "exited, though not yet waited for");
	cr_assert(process_dying(c.pid), "killed by a signal, as its flags tell until it is waited for");
	end(&c);
	cr_assert_not(process_alive(&who));
	cr_assert_not(processes_identify(p, who.tid).known);
	processes_free(p);
}

Test(process, not_dying)
{
	struct child c = spawn();

	cr_assert_not(process_dying(getpid()));
	tell(&c, 'n');
	cr_assert_not(process_dying(c.pid));
	cr_assert_eq(write(c.fd, "q", 1), 1);
	siginfo_t info;
	cr_assert_eq(waitid(P_PID, (id_t)c.pid, &info, WEXITED | WNOWAIT), 0);
	cr_assert_not(process_dying(c.pid), "exited by itself");
	end(&c);
}

struct clone_args_here {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

/* Forks a child with a number of our choice, as the kernel does by itself once its numbers have gone round. */
static pid_t fork_with_number(pid_t number)
{
	uint64_t set_tid = (uint64_t)(uintptr_t)&number;
	struct clone_args_here args = { .exit_signal = SIGCHLD, .set_tid = set_tid, .set_tid_size = 1 };
	pid_t child = (pid_t)syscall(SYS_clone3, &args, offsetof(struct clone_args_here, cgroup));
	if (child == 0) {
		pause();
		syscall(SYS_exit_group, 0);
	}
	return child;
}

/* The number of a process that was remembered is given to another: at once, and within the same clock tick if it may be. */
Test(process, number_used_again)
{
	struct processes *p = new_processes(0);

	for (int i = 0; i < 50; i++) {
		struct child c = spawn();
		tell(&c, 'n');
		struct process before = processes_identify(p, c.pid);
		cr_assert(before.known);
		nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
		end(&c);
		pid_t again = fork_with_number(c.pid);
		if (again < 0 && (errno == EPERM || errno == ENOSYS || errno == EEXIST)) {
			cr_assert_not(processes_identify(p, c.pid).start == before.start);
			continue;
		}
		cr_assert_eq(again, c.pid);
		struct process after = processes_identify(p, c.pid);
		cr_assert(after.known);
		cr_assert_eq(after.tgid, again);
		cr_assert_not(same(before, after));
		cr_assert_not(process_alive(&before));
		cr_assert(process_alive(&after));
		kill(again, SIGKILL);
		waitpid(again, NULL, 0);
	}
	processes_free(p);
}

/* The number of a thread is given to a process. */
Test(process, thread_number_used_again)
{
	struct processes *p = new_processes(0);
	struct process self = processes_identify(p, getpid());
	pthread_barrier_t barrier;
	pthread_t thread;
	struct thread_args args = { .barrier = &barrier };

	pthread_barrier_init(&barrier, NULL, 2);
	cr_assert_eq(pthread_create(&thread, NULL, thread_main, &args), 0);
	pthread_barrier_wait(&barrier);
	cr_assert(same(processes_identify(p, args.tid), self));
	pthread_barrier_wait(&barrier);
	pthread_join(thread, NULL);

	/* The kernel lets go of the number a moment after the join. */
	while (syscall(SYS_tgkill, getpid(), args.tid, 0) == 0)
		sched_yield();
	pid_t again = fork_with_number(args.tid);
	struct process after = processes_identify(p, args.tid);
	cr_assert_not(same(after, self));
	if (again > 0) {
		cr_assert(after.known);
		cr_assert_eq(after.tgid, again);
		kill(again, SIGKILL);
		waitpid(again, NULL, 0);
	}
	pthread_barrier_destroy(&barrier);
	processes_free(p);
}

/* Without descriptors left it lets go of its own before it gives up. */
Test(process, descriptors_run_out)
{
	struct processes *p = new_processes(4);
	struct child c[3] = { spawn(), spawn(), spawn() };
	struct rlimit old, low;
	struct process before[3];

	for (int i = 0; i < 3; i++) {
		tell(&c[i], 'n');
		before[i] = processes_identify(p, c[i].pid);
		cr_assert(before[i].known);
	}
	processes_free(p);
	p = new_processes(4);
	processes_identify(p, c[0].pid);
	processes_identify(p, c[1].pid);
	getrlimit(RLIMIT_NOFILE, &old);
	low = old;
	int highest = dup(0);
	close(highest);
	low.rlim_cur = (rlim_t)highest;
	setrlimit(RLIMIT_NOFILE, &low);
	int none = dup(0);
	struct process who = processes_identify(p, c[2].pid);
	setrlimit(RLIMIT_NOFILE, &old);
	cr_assert_eq(none, -1);
	cr_assert(same(who, before[2]));
	for (int i = 0; i < 3; i++) {
		cr_assert(same(processes_identify(p, c[i].pid), before[i]));
		end(&c[i]);
	}
	processes_free(p);
}

static void *identify_main(void *arg)
{
	struct processes *p = arg;
	pid_t tid = (pid_t)syscall(SYS_gettid);

	for (int i = 0; i < 2000; i++) {
		struct process who = processes_identify(p, tid);
		if (!who.known || who.tgid != getpid() || who.tid != tid || !processes_events(p, &who) != !processes_events(p, &who))
			return NULL;
	}
	return arg;
}

Test(process, from_many_threads)
{
	struct processes *p = new_processes(4);
	pthread_t threads[8];

	for (int i = 0; i < 8; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, identify_main, p), 0);
	for (int i = 0; i < 8; i++) {
		void *r = NULL;
		pthread_join(threads[i], &r);
		cr_assert_eq(r, p);
	}
	processes_free(p);
}
