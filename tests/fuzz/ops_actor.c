/*
 * Actors. Each has a seat in shared memory: who asks puts a call there and gives the turn, the actor does it and gives the turn back.
 *
 *	IDLE --actor_ask--> ASKED --sit--> DONE --> IDLE
 */
#include "ops.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { IDLE, ASKED, DONE };

#define ANSWER_SECONDS 20	/* a call that takes longer hangs */
#define SEATS_FD 200		/* an executed program finds the seats there */

struct seat *seats;

static long futex(_Atomic uint32_t *at, int what, uint32_t value, const struct timespec *timeout)
{
	return syscall(SYS_futex, at, what, value, timeout, NULL, 0);
}

static struct seat *map_seats(int fd)
{
	void *p = mmap(NULL, sizeof(struct seat) * SEATS, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

int seats_make(void)
{
	int fd = memfd_create("seats", 0);

	if (fd < 0 || ftruncate(fd, sizeof(struct seat) * SEATS) || dup2(fd, SEATS_FD) < 0)
		return -1;
	close(fd);
	fcntl(SEATS_FD, F_SETFD, FD_CLOEXEC);
	seats = map_seats(SEATS_FD);
	for (int i = 0; seats && i < SEATS; i++)
		seats[i].asker = getpid();
	return seats ? 0 : -1;
}

/* ---- The actor's side ------------------------------------------------------------------------------------------ */

static void fork_child(struct descriptors *d)
{
	struct seat *child = &seats[ACTOR_CHILD];
	struct descriptors own = *d;
	pid_t pid;

	atomic_store(&child->turn, IDLE);
	pid = fork();
	if (!pid)
		_exit(sit(ACTOR_CHILD, &own));
	child->pid = pid < 0 ? 0 : pid;
}

/* A forked one outlives its parent, but not the fuzzer. */
static void wait_for_turn(struct seat *seat)
{
	if (futex(&seat->turn, FUTEX_WAIT, atomic_load(&seat->turn) == DONE ? DONE : IDLE, &(struct timespec){ 5, 0 }) && errno == ETIMEDOUT &&
	    kill(seat->asker, 0) && errno == ESRCH)
		_exit(0);
}

int sit(int actor, struct descriptors *d)
{
	struct seat *seat = &seats[actor];

	for (;;) {
		while (atomic_load(&seat->turn) != ASKED)
			wait_for_turn(seat);
		if (seat->begin && !begin(seat, d)) {
			/* That is the result. */
		} else if (seat->op.what == OP_FORK) {
			fork_child(d);
			seat->results[SIDE_MOUNT] = (struct result){ .ret = 0 };
		} else {
			call(seat, d, SIDE_MOUNT);
			if (seat->both)
				call(seat, d, SIDE_PLAIN);
		}
		atomic_store(&seat->turn, DONE);
		futex(&seat->turn, FUTEX_WAKE, 1, NULL);
	}
}

static void *sit_beside(void *arg)
{
	sit(ACTOR_THREAD, arg);
	return NULL;
}

static void forget_all(struct descriptors *d)
{
	*d = (struct descriptors){ .base = { -1, -1 } };
	for (int i = 0; i < SLOTS; i++)
		d->slots[SIDE_MOUNT][i] = d->slots[SIDE_PLAIN][i] = -1;
}

int actor_main(int actor)
{
	static struct descriptors d;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	forget_all(&d);
	if (!seats)
		seats = map_seats(SEATS_FD);
	if (!seats)
		return 1;
	/* One of them runs an event loop, as far as that can be seen. */
	if (actor == ACTOR_PROGRAM && epoll_create1(EPOLL_CLOEXEC) < 0)
		return 1;
	return sit(actor, &d);
}

static int process_main(void)
{
	static struct descriptors d;
	pthread_t thread;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	forget_all(&d);
	if (pthread_create(&thread, NULL, sit_beside, &d))
		return 1;
	return sit(ACTOR_PROCESS, &d);
}

/* ---- The asking side ------------------------------------------------------------------------------------------- */

void actor_start(int actor)
{
	char number[16];
	pid_t pid;

	atomic_store(&seats[actor].turn, IDLE);
	if (actor == ACTOR_PROCESS)
		atomic_store(&seats[ACTOR_THREAD].turn, IDLE);
	fflush(stdout);
	pid = fork();
	if (!pid && actor == ACTOR_PROGRAM) {
		snprintf(number, sizeof(number), "%d", actor);
		fcntl(SEATS_FD, F_SETFD, 0);
		execl("/proc/self/exe", "fuzz_ops", "--actor", number, NULL);
		_exit(127);
	}
	if (!pid)
		_exit(actor == ACTOR_PROCESS ? process_main() : actor_main(actor));
	seats[actor].pid = pid;
	if (actor == ACTOR_PROCESS)
		seats[ACTOR_THREAD].pid = pid;
}

void actor_kill(int actor)
{
	pid_t pid = seats[actor].pid;
	int fd = pid ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;

	if (!pid)
		return;
	/* Until it has gone its files are open. The forked one is its parent's child, or the subreaper's: this process. */
	kill(pid, SIGKILL);
	if (fd >= 0) {
		poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, ANSWER_SECONDS * 1000);
		close(fd);
	}
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	seats[actor].pid = 0;
	if (actor == ACTOR_PROCESS || actor == ACTOR_THREAD)
		seats[ACTOR_PROCESS].pid = seats[ACTOR_THREAD].pid = 0;
}

/* Nothing of /proc is asked: of a process that hangs that may hang too. */
static bool is_gone(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	bool gone = fd < 0 || poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, 0) == 1;

	if (fd >= 0)
		close(fd);
	return gone;
}

bool actor_ask(int actor, const struct op *op)
{
	struct seat *seat = &seats[actor];

	if (!seat->pid)
		return false;
	seat->op = *op;
	atomic_store(&seat->turn, ASKED);
	futex(&seat->turn, FUTEX_WAKE, 1, NULL);
	for (int waited = 0; atomic_load(&seat->turn) != DONE; waited++) {
		futex(&seat->turn, FUTEX_WAIT, ASKED, &(struct timespec){ 1, 0 });
		if (atomic_load(&seat->turn) != DONE && (is_gone(seat->pid) || waited > ANSWER_SECONDS))
			return false;
	}
	atomic_store(&seat->turn, IDLE);
	return true;
}
