#include "import.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct progress {
	const char *directory;
	bool terminal, drawn;
};

static void draw(void *arg, const struct store_import_counts *c)
{
	struct progress *p = arg;
	uint64_t done = c->files < c->total_files ? c->files : c->total_files;
	int width = 30, full = c->total_files ? (int)(width * done / c->total_files) : 0;

	if (!p->terminal)
		return;
	p->drawn = true;
	fprintf(stderr, "\rimporting [%.*s%*s] %llu of %llu files ", full, "##############################", width - full, "",
		(unsigned long long)done, (unsigned long long)c->total_files);
}

static void report(void *arg, const char *path, int err, const char *reason)
{
	struct progress *p = arg;

	if (p->drawn)
		fputc('\n', stderr);
	p->drawn = false;
	fprintf(stderr, "historyfs: %s/%s: %s\n", p->directory, path, reason ? reason : store_strerror(err));
}

int import_beneath(struct store *s, const char *directory)
{
	struct progress p = { directory, isatty(STDERR_FILENO), false };
	struct store_import how = { .remember = true, .progress = draw, .report = report, .arg = &p };
	struct store_import_counts c;
	int fd = open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), err;

	if (fd < 0) {
		fprintf(stderr, "historyfs: %s: %s\n", directory, strerror(errno));
		return -errno;
	}
	err = store_import_tree(s, fd, STORE_ROOT, &how, &c);
	close(fd);
	if (p.drawn)
		fputc('\n', stderr);
	if (err) {
		fprintf(stderr, "historyfs: %s: import failed: %s\n", directory, store_strerror(err));
		return err;
	}
	if (c.files > c.unchanged)
		fprintf(stderr, "historyfs: took in %llu files: %llu sessions, %llu messages; torn and kept as they are: %llu\n",
			(unsigned long long)(c.files - c.unchanged), (unsigned long long)c.documents, (unsigned long long)c.messages,
			(unsigned long long)c.torn);
	return 0;
}
