/* Reads what /proc and the cgroup say of memory. What only holds copies of files counts as free. */
#include "room.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXT 16384

/* A whole small file; false: it can't be read. */
static bool read_text(const char *path, char text[TEXT])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, TEXT - 1);

	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = 0;
	return n > 0;
}

/* The number behind the name at the beginning of a line; 0: there is none. */
static uint64_t number_of(const char *text, const char *name)
{
	size_t size = strlen(name);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, name, size) == 0 && strchr(": \t", line[size]))
			return strtoull(line + size + 1, NULL, 10);
	}
	return 0;
}

static uint64_t of_system(void)
{
	char text[TEXT];

	if (!read_text("/proc/meminfo", text))
		return UINT64_MAX;
	return (number_of(text, "MemAvailable") + number_of(text, "SwapFree")) << 10;
}

struct names {
	const char *root, *limit, *used, *active, *inactive;
};

static const struct names v1 = { "/sys/fs/cgroup/memory", "memory.limit_in_bytes",
				"memory.usage_in_bytes", "total_active_file",
				 "total_inactive_file" };
static const struct names v2 = { "/sys/fs/cgroup", "memory.max", "memory.current", "active_file",
				"inactive_file" };

static bool read_in(const struct names *n, const char *group, const char *name, char text[TEXT])
{
	char path[2 * PATH_MAX];

	snprintf(path, sizeof(path), "%s%s/%s", n->root, group, name);
	return read_text(path, text);
}

static uint64_t of_group(const struct names *n, const char *group)
{
	uint64_t limit, used, files;
	char text[TEXT];

	if (!read_in(n, group, n->limit, text) || *text < '0' || *text > '9')
		return UINT64_MAX;
	limit = strtoull(text, NULL, 10);
	if (!read_in(n, group, n->used, text))
		return UINT64_MAX;
	used = strtoull(text, NULL, 10);
	files = 0;
	if (read_in(n, group, "memory.stat", text))
		files = number_of(text, n->active) + number_of(text, n->inactive);
	used -= files < used ? files : used;
	return limit > used ? limit - used : 0;
}

/* The group named in a line of /proc/self/cgroup, and those above it. */
static uint64_t of_groups(const struct names *n, char *group)
{
	uint64_t least = UINT64_MAX;
	char *slash;

	do {
		uint64_t here = of_group(n, strcmp(group, "/") ? group : "");

		least = here < least ? here : least;
		slash = strrchr(group, '/');
		if (slash)
			*slash = 0;
	} while (slash);
	return least;
}

uint64_t room_available(void)
{
	uint64_t least = of_system();
	char text[TEXT], *save = NULL;

	if (!read_text("/proc/self/cgroup", text))
		return least;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		const struct names *n = strncmp(line, "0::", 3) == 0 ? &v2 : NULL;
		uint64_t here = UINT64_MAX;

		if (strstr(line, ":memory:"))
			n = &v1;
		if (n)
			here = of_groups(n, strchr(strchr(line, ':') + 1, ':') + 1);
		least = here < least ? here : least;
	}
	return least;
}
