#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "output.h"
#include "place.h"
#include "tool.h"

static void advance(void *arg, const struct store_import_counts *so_far)
{
	progress_show(so_far->files, so_far->total_files, "files");
}

static void report(void *arg, const char *path, int err, const char *reason)
{
	if (reason)
		say_error(path, "%s", reason);
	else
		say_errno(path, err);
}

/* Opens the directory to take in; -1 when the error has been printed. A store can't be taken into itself. */
static int open_source(const struct tool *t, const char *name)
{
	char *path = realpath(name, NULL);
	const char *store = t->directory;
	struct place place;
	size_t length;
	int fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || !path) {
		say_error(name, "%s", strerror(errno));
		free(path);
		return -1;
	}
	length = strcmp(path, "/") ? strlen(path) : 0;
	if (!strncmp(store, path, length) && (store[length] == '/' || !store[length])) {
		say_error(name, "the store lies in it; move the store out first");
		close(fd);
		fd = -1;
	} else if (!place_of(path, &place)) {
		if (!strcmp(place.store, store)) {
			say_error(name, "it is a mount of this very store; unmount it first to take in what is beneath");
			close(fd);
			fd = -1;
		}
		place_release(&place);
	}
	free(path);
	return fd;
}

static void print_counts(const struct store_import_counts *n, bool json)
{
	cJSON *o;

	if (!json) {
		printf("imported %s (%s in %s, %s)", human_count(n->files, "file"), human_count(n->messages, "message"),
		       human_count(n->documents, "session"), human_size(n->bytes));
		if (n->unchanged)
			printf(", %llu unchanged", (unsigned long long)n->unchanged);
		if (n->torn)
			printf(", %llu torn and kept as they are", (unsigned long long)n->torn);
		if (n->salvaged)
			printf(", %llu torn and salvaged", (unsigned long long)n->salvaged);
		if (n->failed)
			printf(", %llu NOT imported", (unsigned long long)n->failed);
		putchar('\n');
		return;
	}
	o = json_object();
	json_number(o, "files", n->files);
	json_number(o, "sessions", n->documents);
	json_number(o, "messages", n->messages);
	json_number(o, "bytes", n->bytes);
	json_number(o, "unchanged", n->unchanged);
	json_number(o, "torn", n->torn);
	json_number(o, "salvaged", n->salvaged);
	json_number(o, "failed", n->failed);
	json_print(o);
}

int cmd_import(struct tool *t, int argc, char **argv)
{
	static const struct option options[] = { { "into", required_argument, NULL, 'i' }, { "salvage", no_argument, NULL, 's' },
						 { "json", no_argument, NULL, 'j' }, TOOL_OPTIONS };
	struct store_import how = { .progress = advance, .report = report };
	struct store_import_counts counts = { 0 };
	struct store_attr into = { .ino = STORE_ROOT };
	const char *into_name = NULL;
	bool json = false;
	int c, fd, r;

	while ((c = tool_getopt(t, argc, argv, ":hi:sj", options)) != -1) {
		switch (c) {
		case 'i':
			into_name = optarg;
			break;
		case 's':
			how.salvage = true;
			break;
		case 'j':
			json = true;
			break;
		}
	}
	if (argc - optind != 1)
		tool_usage(t, "import", "name one directory");
	if (!tool_locate(t, NULL, 0))
		return EXIT_FAILED;
	fd = open_source(t, argv[optind]);
	if (fd < 0)
		return EXIT_FAILED;
	if (!tool_open(t, &(struct store_options){ .create = true }, NULL, 0))
		return EXIT_FAILED;
	if (into_name) {
		char *path = tool_find(t, into_name, 0, &into);

		free(path);
		if (!path)
			return EXIT_FAILED;
	}
	progress_begin("import");
	r = store_import_tree(t->store, fd, into.ino, &how, &counts);
	if (!r)
		r = store_sync(t->store);
	progress_end();
	close(fd);
	if (r) {
		say_errno(argv[optind], r);
		return EXIT_FAILED;
	}
	print_counts(&counts, json);
	return counts.failed ? EXIT_FAILED : EXIT_OK;
}
