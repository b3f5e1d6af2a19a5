/*
 * The legacy application's save in C, with the system calls of the Python one: look, read the whole session, rewrite it with one
 * message more. Works on any directory. A session is a list as json.dump(indent=2) writes it.
 *
 *	bench_client save DIR WRITERS SAVES [shared] [rename] [fsync]	each writer in its session DIR/s<writer>.json, or all in s0.json
 *	bench_client tail FILE TIMES					open, read the last 4 KiB, close
 *	bench_client cost FILE FILE SAVES PID				what saves cost daemon PID and their client beside moving bytes
 *	bench_client hold DIR WRITERS [shared]				writes, says "held", waits for a line of input, closes
 */
#include "bench.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>

struct job {
	const char *dir;
	bool shared, rename, fsync;
};

struct document {
	char *text;
	size_t size, room;
};

static void make_room(struct document *d, size_t room)
{
	if (room <= d->room)
		return;
	d->room = room * 2;
	d->text = realloc(d->text, d->room);
	if (!d->text)
		die("out of memory");
}

static void read_document(const char *path, struct document *d)
{
	struct stat st;
	ssize_t n;
	int fd;

	if (stat(path, &st))
		die("%s: %s", path, strerror(errno));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		die("%s: %s", path, strerror(errno));
	d->size = 0;
	do {
		make_room(d, d->size + st.st_size + 1);
		n = read(fd, d->text + d->size, d->size ? d->room - d->size : (size_t)st.st_size + 1);
		if (n < 0)
			die("%s: read: %s", path, strerror(errno));
		d->size += n;
	} while (n);
	close(fd);
}

static void add_message(const char *path, struct document *d, size_t worker, size_t i)
{
	char message[MESSAGE_MAX];
	size_t size = make_message(message, worker, i);
	static const char end[] = "\n]";
	size_t end_size = sizeof(end) - 1;

	if (d->size < end_size || memcmp(d->text + d->size - end_size, end, end_size) != 0)
		die("%s: no list that ends as expected", path);
	make_room(d, d->size + size + 8);
	d->size -= end_size;
	memcpy(d->text + d->size, ",\n  ", 4);
	memcpy(d->text + d->size + 4, message, size);
	memcpy(d->text + d->size + 4 + size, end, end_size);
	d->size += 4 + size + end_size;
}

static int open_new(const char *path)
{
	struct stat st;
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

	if (fd < 0 || fstat(fd, &st))
		die("%s: %s", path, strerror(errno));
	return fd;
}

/* As Python's buffered writer does. */
static void write_document(const char *path, int fd, const struct document *d)
{
	for (size_t at = 0; at < d->size; at += 8192) {
		size_t size = d->size - at < 8192 ? d->size - at : 8192;

		if (write(fd, d->text + at, size) != (ssize_t)size)
			die("%s: write: %s", path, strerror(errno));
	}
}

static void save(const struct job *job, const char *path, struct document *d, size_t worker, size_t i)
{
	char temp[4096 + 32];
	const char *to = path;
	int fd;

	read_document(path, d);
	add_message(path, d, worker, i);
	if (job->rename) {
		snprintf(temp, sizeof(temp), "%s.%zu.tmp", path, worker);
		to = temp;
	}
	fd = open_new(to);
	write_document(to, fd, d);
	if (job->fsync && fsync(fd))
		die("%s: fsync: %s", to, strerror(errno));
	if (close(fd))
		die("%s: close: %s", to, strerror(errno));
	if (job->rename && rename(temp, path))
		die("%s: rename: %s", path, strerror(errno));
}

static void session_path(const struct job *job, size_t worker, char path[4096])
{
	snprintf(path, 4096, "%s/s%zu.json", job->dir, job->shared ? 0 : worker);
}

static void work_save(struct run *r, size_t worker)
{
	const struct job *job = r->arg;
	struct document d = { 0 };
	char path[4096];

	session_path(job, worker, path);
	run_go(r);
	for (size_t i = 0; i < r->each; i++) {
		double start = now();

		save(job, path, &d, worker, i);
		r->times[worker * r->each + i] = now() - start;
	}
	free(d.text);
}

static void work_tail(struct run *r, size_t worker)
{
	const struct job *job = r->arg;
	char buf[4096];
	struct stat st;

	if (stat(job->dir, &st) || st.st_size < (off_t)sizeof(buf))
		die("%s: missing or too small", job->dir);
	run_go(r);
	for (size_t i = 0; i < r->each; i++) {
		double start = now();
		int fd = open(job->dir, O_RDONLY | O_CLOEXEC);

		if (fd < 0 || pread(fd, buf, sizeof(buf), st.st_size - sizeof(buf)) != sizeof(buf) || close(fd))
			die("%s: %s", job->dir, strerror(errno));
		r->times[i] = now() - start;
	}
}

static double cpu_of(clockid_t clock)
{
	struct timespec t;

	if (clock_gettime(clock, &t))
		die("the daemon's clock: %s", strerror(errno));
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/*
 * Moving a long session through the kernel leaves the caches cold of every processor that had a part in it; so that a short one has no
 * advantage by it, both do this, on each.
 */
static void cool(void)
{
	static volatile char other[96 << 20];
	cpu_set_t all, one;

	if (sched_getaffinity(0, sizeof(all), &all))
		die("the processors: %s", strerror(errno));
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &all))
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		if (sched_setaffinity(0, sizeof(one), &one))
			die("processor %d: %s", cpu, strerror(errno));
		for (size_t i = 0; i < sizeof(other); i += 64)
			other[i]++;
	}
	if (sched_setaffinity(0, sizeof(all), &all))
		die("the processors: %s", strerror(errno));
}

/*
 * The requests of a save but its READs and WRITEs: open (OPEN, GETATTR) and close (FLUSH, RELEASE), in time of the client and CPU of
 * the daemon. RELEASE is answered to nobody: it is waited for.
 */
struct cost {
	double *open, *flush, *cpu, *move, *move_cpu;
};

static struct cost cost_new(size_t saves)
{
	double *times = calloc(saves * 5, sizeof(*times));

	if (!times || !saves)
		die("no saves, or no memory for them");
	return (struct cost){ times, times + saves, times + 2 * saves, times + 3 * saves, times + 4 * saves };
}

static void cost_save(const char *path, struct document *d, clockid_t clock, struct cost *to, size_t i)
{
	struct timespec rest = { .tv_nsec = 3000000 };
	double t[3], c[4];
	int fd;

	read_document(path, d);
	add_message(path, d, 0, i);
	cool();
	nanosleep(&rest, NULL);
	c[0] = cpu_of(clock);
	t[0] = now();
	fd = open_new(path);
	t[1] = now();
	/* What a thread uses is added to its process's clock when it goes to sleep: the daemon's has to. */
	nanosleep(&rest, NULL);
	c[1] = cpu_of(clock);
	t[2] = now();
	write_document(path, fd, d);
	to->move[i] = now() - t[2];
	nanosleep(&rest, NULL);
	c[2] = cpu_of(clock);
	cool();
	t[2] = now();
	if (close(fd))
		die("%s: close: %s", path, strerror(errno));
	to->flush[i] = now() - t[2];
	nanosleep(&rest, NULL);
	c[3] = cpu_of(clock);
	to->open[i] = t[1] - t[0];
	to->move_cpu[i] = c[2] - c[1];
	to->cpu[i] = c[1] - c[0] + c[3] - c[2];
}

static void cost_print(const struct cost *c, size_t saves)
{
	const char *names[] = { "open", "flush", "cpu", "move", "move_cpu" };
	double *times[] = { c->open, c->flush, c->cpu, c->move, c->move_cpu };

	for (size_t i = 0; i < 5; i++) {
		qsort(times[i], saves, sizeof(double), run_compare);
		printf("%s\"%s\":%.9f", i ? "," : "{", names[i], times[i][saves / 2]);
	}
	printf("}");
	free(c->open);
}

/* Save by save in turns, so that what else runs disturbs both alike. */
static void cost(char **paths, size_t saves, pid_t pid)
{
	struct document d[2] = { { 0 }, { 0 } };
	struct cost c[2] = { cost_new(saves), cost_new(saves) };
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock))
		die("process %d has no clock", (int)pid);
	for (size_t i = 0; i < 2 * saves; i++)
		cost_save(paths[i % 2], &d[i % 2], clock, &c[i % 2], i / 2);
	printf("[");
	cost_print(&c[0], saves);
	printf(",");
	cost_print(&c[1], saves);
	printf("]\n");
	free(d[0].text);
	free(d[1].text);
}

static void hold(const struct job *job, size_t writers)
{
	int go[2], held[2], status;
	char c;

	if (pipe(go) || pipe(held))
		die("pipe: %s", strerror(errno));
	for (size_t w = 0; w < writers; w++) {
		struct document d = { 0 };
		char path[4096];
		pid_t pid = fork();
		int fd;

		if (pid < 0)
			die("fork: %s", strerror(errno));
		if (pid)
			continue;
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		close(go[1]);
		session_path(job, w, path);
		read_document(path, &d);
		add_message(path, &d, w, 0);
		fd = open_new(path);
		write_document(path, fd, &d);
		if (write(held[1], "h", 1) != 1 || read(go[0], &c, 1) < 0)
			die("pipe: %s", strerror(errno));
		if (close(fd))
			die("%s: close: %s", path, strerror(errno));
		_exit(0);
	}
	close(held[1]);
	for (size_t w = 0; w < writers; w++) {
		if (read(held[0], &c, 1) != 1)
			die("a writer failed");
	}
	printf("held\n");
	fflush(stdout);
	if (read(STDIN_FILENO, &c, 1) < 0)
		die("input: %s", strerror(errno));
	close(go[1]);
	for (size_t w = 0; w < writers; w++) {
		if (wait(&status) < 0 || status)
			die("a writer failed");
	}
}

int main(int argc, char **argv)
{
	struct job job = { 0 };

	if (argc < 4)
		die("usage: see the head of bench_client.c");
	job.dir = argv[2];
	for (int i = 4; i < argc; i++) {
		job.shared |= strcmp(argv[i], "shared") == 0;
		job.rename |= strcmp(argv[i], "rename") == 0;
		job.fsync |= strcmp(argv[i], "fsync") == 0;
	}
	if (strcmp(argv[1], "save") == 0 && argc > 4)
		run(number(argv[3]), number(argv[4]), false, work_save, &job);
	else if (strcmp(argv[1], "tail") == 0)
		run(1, number(argv[3]), false, work_tail, &job);
	else if (strcmp(argv[1], "cost") == 0 && argc == 6)
		cost(argv + 2, number(argv[4]), (pid_t)number(argv[5]));
	else if (strcmp(argv[1], "hold") == 0)
		hold(&job, number(argv[3]));
	else
		die("usage: see the head of bench_client.c");
	return 0;
}
