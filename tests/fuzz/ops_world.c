/* A store, its mount, a plain directory, and the actors: made anew for each batch of sequences. */
#include "ops.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define START_MS 20000

const char *historyfs, *historyctl;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static void wait_ms(long ms)
{
	nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000 }, NULL);
}

static bool is_mounted(const struct world *w)
{
	struct stat top, below;

	return !stat(w->dir, &top) && !stat(w->mount, &below) && top.st_dev != below.st_dev;
}

static bool start(struct world *w)
{
	int log;

	fflush(stdout);
	w->daemon = fork();
	if (!w->daemon) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		log = open(w->log, O_WRONLY | O_CREAT | O_APPEND, 0600);
		dup2(log, STDOUT_FILENO);
		dup2(log, STDERR_FILENO);
		if (*w->options)
			execl(historyfs, "historyfs", "-f", "-o", w->options, w->store, w->mount, NULL);
		else
			execl(historyfs, "historyfs", "-f", w->store, w->mount, NULL);
		_exit(127);
	}
	for (int ms = 0; w->daemon > 0 && ms < START_MS; ms++) {
		if (is_mounted(w))
			return true;
		if (waitpid(w->daemon, NULL, WNOHANG) == w->daemon)
			break;
		wait_ms(1);
	}
	return false;
}

static void end_actors(void)
{
	for (int i = 0; i < SEATS; i++)
		actor_kill(i);
}

void world_new_actors(struct world *w)
{
	end_actors();
	for (int i = 0; i < SEATS; i++) {
		if (i != ACTOR_THREAD && i != ACTOR_CHILD)
			actor_start(i);
	}
}

bool world_make(struct world *w, const char *options)
{
	struct stat st;

	end_actors();	/* those of another world */
	*w = (struct world){ .options = options };
	strcpy(w->dir, stat("/dev/shm", &st) ? "/tmp/fuzz-ops-XXXXXX" : "/dev/shm/fuzz-ops-XXXXXX");
	if (!mkdtemp(w->dir))
		return false;
	snprintf(w->store, sizeof(w->store), "%s/store", w->dir);
	snprintf(w->mount, sizeof(w->mount), "%s/mount", w->dir);
	snprintf(w->plain, sizeof(w->plain), "%s/plain", w->dir);
	snprintf(w->log, sizeof(w->log), "%s/log", w->dir);
	if (mkdir(w->mount, 0755) || mkdir(w->plain, 0755) || !start(w))
		return false;
	world_new_actors(w);
	return true;
}

bool world_sync(const struct world *w)
{
	int fd = open(w->mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool synced = fd >= 0 && !fsync(fd);

	if (fd >= 0)
		close(fd);
	return synced;
}

bool world_alive(const struct world *w)
{
	return w->daemon > 0 && waitpid(w->daemon, NULL, WNOHANG) == 0;
}

bool world_remount(struct world *w)
{
	end_actors();
	kill(w->daemon, SIGKILL);
	waitpid(w->daemon, NULL, 0);
	umount2(w->mount, MNT_DETACH);
	if (!start(w))
		return false;
	actor_start(ACTOR_CHECKER);
	return true;
}

static int execute(char *const argv[], const char *log)
{
	pid_t pid;
	int status, fd;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		fd = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		dup2(fd, STDOUT_FILENO);
		dup2(fd, STDERR_FILENO);
		execvp(argv[0], argv);
		_exit(127);
	}
	return pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) ? -1 : WEXITSTATUS(status);
}

bool world_verify(const struct world *w, char *why, size_t size)
{
	char log[80], *argv[] = { (char *)historyctl, "--store", (char *)w->store, "verify", NULL };
	size_t n = 0;
	FILE *f;

	snprintf(log, sizeof(log), "%s/verify", w->dir);
	if (!execute(argv, log))
		return true;
	f = fopen(log, "re");
	if (f) {
		n = fread(why, 1, size - 1, f);
		fclose(f);
	}
	while (n && why[n - 1] == '\n')
		n--;
	why[n] = 0;
	return false;
}

bool world_unmount(struct world *w)
{
	char log[80], *argv[] = { "fusermount3", "-u", w->mount, NULL };
	int status = -1;

	end_actors();
	snprintf(log, sizeof(log), "%s/unmount", w->dir);
	for (int i = 0; i < 50 && execute(argv, log); i++)
		wait_ms(20);
	for (int ms = 0; ms < START_MS; ms++) {
		if (waitpid(w->daemon, &status, WNOHANG) == w->daemon) {
			w->daemon = 0;
			return status == 0;
		}
		wait_ms(1);
	}
	return false;
}

void world_end(struct world *w)
{
	end_actors();
	if (w->daemon > 0) {
		kill(w->daemon, SIGKILL);
		waitpid(w->daemon, NULL, 0);
	}
	umount2(w->mount, MNT_DETACH);
	if (getenv("FUZZ_KEEP"))
		return;
	nftw(w->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}
