#include <stdlib.h>
#include <string.h>

#include "output.h"
#include "tool.h"

struct row {
	char *path;
	enum store_kind kind;
	uint64_t messages, bytes, version;
	struct timespec time;
};

struct listing {
	struct row *rows;
	size_t count, room;
	bool all;
};

static const char *const kinds[] = {
	[STORE_DIRECTORY] = "directory", [STORE_SYMLINK] = "link", [STORE_SCRATCH] = "file", [STORE_DOCUMENT] = "session",
};

static int add(void *arg, const char *path, const struct store_attr *a)
{
	struct listing *l = arg;

	/* A file of a session's name that isn't JSON yet is shown: whoever looks for it should find it. */
	if (!l->all && a->kind != STORE_DOCUMENT && !(a->kind == STORE_SCRATCH && store_is_document_name(a->name)))
		return 0;
	if (l->count == l->room) {
		l->room = l->room ? l->room * 2 : 256;
		l->rows = need(realloc(l->rows, l->room * sizeof(*l->rows)));
	}
	l->rows[l->count++] = (struct row){ need(strdup(path)), a->kind, a->messages, a->size, a->version, a->mtime };
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct row *)a)->path, ((const struct row *)b)->path);
}

static int by_messages(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	return x->messages != y->messages ? (x->messages < y->messages) - (x->messages > y->messages) : by_name(a, b);
}

static int by_bytes(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	return x->bytes != y->bytes ? (x->bytes < y->bytes) - (x->bytes > y->bytes) : by_name(a, b);
}

static int by_time(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	if (x->time.tv_sec != y->time.tv_sec)
		return (x->time.tv_sec < y->time.tv_sec) - (x->time.tv_sec > y->time.tv_sec);
	if (x->time.tv_nsec != y->time.tv_nsec)
		return (x->time.tv_nsec < y->time.tv_nsec) - (x->time.tv_nsec > y->time.tv_nsec);
	return by_name(a, b);
}

static const struct {
	const char *name;
	int (*compare)(const void *a, const void *b);
} orders[] = { { "name", by_name }, { "messages", by_messages }, { "bytes", by_bytes }, { "time", by_time } };

static void print_json(const struct row *r, uint64_t *rows)
{
	cJSON *o = json_object();

	json_text(o, "session", r->path);
	json_text(o, "kind", kinds[r->kind]);
	if (r->kind == STORE_DOCUMENT) {
		json_number(o, "messages", r->messages);
		json_number(o, "version", r->version);
	}
	json_number(o, "bytes", r->bytes);
	json_time(o, "modified", r->time);
	json_row(rows, o);
}

static void print_row(const struct row *r)
{
	char *safe = text_safe(r->path), messages[24] = "-";

	if (r->kind == STORE_DOCUMENT)
		snprintf(messages, sizeof(messages), "%llu", (unsigned long long)r->messages);
	printf("%10s  %10s  %s  %s\n", messages, human_size(r->bytes), human_time(r->time), safe);
	free(safe);
}

static int list(struct tool *t, struct listing *l, char **names, int count)
{
	const struct tool_walk walk = { .entry = add, .arg = l };
	bool whole = !count;

	for (int i = 0; i < count || whole; i++) {
		struct store_attr attr;
		/* Without arguments everything: the whole store also from a subdirectory of its mount. */
		char *path = whole ? strdup("") : tool_find(t, names[i], 0, &attr);
		int r = 0;

		if (!path)
			return EXIT_FAILED;
		if (whole || attr.kind == STORE_DIRECTORY)
			r = tool_walk(t->store, whole ? STORE_ROOT : attr.ino, path, &walk);
		else
			add(l, path, &attr);
		if (r)
			say_errno(*path ? path : t->directory, r);
		free(path);
		if (r)
			return EXIT_FAILED;
		whole = false;
	}
	return EXIT_OK;
}

int cmd_ls(struct tool *t, int argc, char **argv)
{
	static const struct option options[] = {
		{ "sort", required_argument, NULL, 's' }, { "reverse", no_argument, NULL, 'r' }, { "limit", required_argument, NULL, 'l' },
		{ "all", no_argument, NULL, 'a' }, { "json", no_argument, NULL, 'j' }, TOOL_OPTIONS };
	struct listing l = { 0 };
	bool reverse = false, json = false;
	uint64_t limit = UINT64_MAX, rows = 0;
	size_t order = 0;
	int c, code;

	while ((c = tool_getopt(t, argc, argv, ":hs:rl:aj", options)) != -1) {
		switch (c) {
		case 's':
			for (order = 0; order < 4 && strcmp(orders[order].name, optarg); order++)
				;
			if (order == 4)
				tool_usage(t, optarg, "sorting goes by name, messages, bytes or time");
			break;
		case 'r':
			reverse = true;
			break;
		case 'l':
			limit = tool_number(t, "--limit", optarg);
			break;
		case 'a':
			l.all = true;
			break;
		case 'j':
			json = true;
			break;
		}
	}
	if (!tool_open(t, &(struct store_options){ .read_only = true }, argv + optind, argc - optind))
		return EXIT_FAILED;
	code = list(t, &l, argv + optind, argc - optind);
	if (code == EXIT_OK) {
		if (l.count)
			qsort(l.rows, l.count, sizeof(*l.rows), orders[order].compare);
		if (json)
			json_rows_begin();
		else if (l.count)
			printf("%10s  %10s  %-19s  %s\n", "MESSAGES", "SIZE", "CHANGED", "SESSION");
		else
			say("no sessions in %s", t->directory);
		for (size_t i = 0; i < l.count && i < limit; i++) {
			const struct row *r = &l.rows[reverse ? l.count - 1 - i : i];

			if (json)
				print_json(r, &rows);
			else
				print_row(r);
		}
		if (json)
			json_rows_end(rows);
	}
	for (size_t i = 0; i < l.count; i++)
		free(l.rows[i].path);
	free(l.rows);
	return code;
}
