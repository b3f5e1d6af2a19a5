#include "mountpoint.h"

#include <errno.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

int mountpoint_absolute(const char *path, char ret[PATH_MAX])
{
	char copy[PATH_MAX], parent[PATH_MAX], *slash, *name;

	if (realpath(path, ret))
		return 0;
	if (errno != ENOENT && errno != ENOTCONN)
		return -1;
	if (strlen(path) >= sizeof(copy)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(copy, path);
	for (size_t n = strlen(copy); n > 1 && copy[n - 1] == '/'; n--)
		copy[n - 1] = 0;
	slash = strrchr(copy, '/');
	name = slash ? slash + 1 : copy;
	if (slash == copy) {
		strcpy(parent, "/");
	} else {
		if (slash)
			*slash = 0;
		if (!realpath(slash ? copy : ".", parent))
			return -1;
	}
	if (snprintf(ret, PATH_MAX, "%s%s%s", parent, parent[1] ? "/" : "", name) >= PATH_MAX) {
		errno = ENAMETOOLONG;
		return -1;
	}
	return 0;
}

bool mountpoint_contains(const char *outer, const char *inner)
{
	size_t size = strlen(outer);

	return strncmp(outer, inner, size) == 0 && (inner[size] == 0 || inner[size] == '/' || size == 1);
}

/* Whether the topmost mount at the path is a historyfs. Asks the kernel's table, not the mount. */
static bool has_historyfs(const char *path, char source[PATH_MAX])
{
	FILE *f = setmntent("/proc/self/mounts", "re");
	struct mntent *e;
	bool found = false;

	if (!f)
		return false;
	while ((e = getmntent(f))) {
		if (strcmp(e->mnt_dir, path) != 0)
			continue;
		found = strcmp(e->mnt_type, "fuse.historyfs") == 0;
		snprintf(source, PATH_MAX, "%s", e->mnt_fsname);
	}
	endmntent(f);
	return found;
}

static int run_fusermount(const char *path)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		execlp("fusermount3", "fusermount3", "-uz", path, NULL);
		_exit(127);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

/* stat() may be answered by the kernel, for some milliseconds after a daemon's death. */
static bool is_dead(const char *path)
{
	struct statfs st;

	return statfs(path, &st) && errno == ENOTCONN;
}

static int clear_dead(const char *path)
{
	for (int i = 0; i < 16; i++) {
		if (!is_dead(path))
			return 0;
		if (umount2(path, MNT_DETACH) && run_fusermount(path))
			break;
	}
	fprintf(stderr, "historyfs: %s: a dead mount is in the way and can't be cleared; try: fusermount3 -uz %s\n", path, path);
	return -1;
}

int mountpoint_check(const char *path, char ret[PATH_MAX])
{
	char source[PATH_MAX];
	struct stat st;

	if (mountpoint_absolute(path, ret)) {
		fprintf(stderr, "historyfs: %s: %s\n", path, strerror(errno));
		return -1;
	}
	if (is_dead(ret) && clear_dead(ret))
		return -1;
	if (stat(ret, &st)) {
		fprintf(stderr, "historyfs: %s: %s; the mount point must be an existing directory\n", ret, strerror(errno));
		return -1;
	}
	if (!S_ISDIR(st.st_mode)) {
		fprintf(stderr, "historyfs: %s: not a directory\n", ret);
		return -1;
	}
	if (has_historyfs(ret, source)) {
		fprintf(stderr, "historyfs: %s: already mounted, from %s; unmount it first: fusermount3 -u %s\n", ret, source, ret);
		return -1;
	}
	return 0;
}

static bool in_path(const char *program)
{
	const char *path = getenv("PATH");
	char *copy = strdup(path ? path : "/usr/bin:/bin"), *save = NULL, full[PATH_MAX];
	bool found = false;

	for (char *dir = copy ? strtok_r(copy, ":", &save) : NULL; dir && !found; dir = strtok_r(NULL, ":", &save)) {
		snprintf(full, sizeof(full), "%s/%s", dir, program);
		found = access(full, X_OK) == 0;
	}
	free(copy);
	return found;
}

const char *mountpoint_hint(void)
{
	if (access("/dev/fuse", F_OK))
		return ": there is no /dev/fuse; load the module: modprobe fuse";
	if (geteuid() != 0 && !in_path("fusermount3"))
		return ": fusermount3 is missing; install the package fuse3";
	return "";
}
