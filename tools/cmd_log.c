#include <pwd.h>
#include <stdlib.h>

#include "output.h"
#include "tool.h"

struct changes {
	struct store_change *list;
	size_t count, room;
	uint64_t limit;
};

static const struct {
	unsigned flag;
	const char *name;
} flags[] = {
	{ STORE_SAVED_MERGED, "merged" },
	{ STORE_SAVED_UNCERTAIN, "uncertain" },
	{ STORE_SAVED_BLIND, "blind" },
	{ STORE_LOG_REMOVED, "edited" },
	{ STORE_LOG_RESTYLED, "restyled" },
	{ STORE_LOG_UNLINKED, "removed" },
	{ STORE_LOG_UNDO, "undo" },
	{ STORE_LOG_KEPT, "kept" },
};

enum { FLAGS = sizeof(flags) / sizeof(*flags) };

static int add(void *arg, const struct store_change *c)
{
	struct changes *l = arg;

	if (l->count == l->limit)
		return 1;
	if (l->count == l->room) {
		l->room = l->room ? l->room * 2 : 64;
		l->list = need(realloc(l->list, l->room * sizeof(*l->list)));
	}
	l->list[l->count++] = *c;
	return 0;
}

static void print_json(const struct store_change *c, uint64_t *rows)
{
	cJSON *o = json_object(), *names = need(cJSON_CreateArray());

	json_number(o, "version", c->version);
	json_time(o, "time", c->time);
	json_number(o, "uid", c->uid);
	json_number(o, "pid", (uint64_t)c->pid);
	json_number(o, "added", c->added);
	json_number(o, "removed", c->removed);
	for (size_t i = 0; i < FLAGS; i++)
		if (c->flags & flags[i].flag)
			cJSON_AddItemToArray(names, need(cJSON_CreateString(flags[i].name)));
	cJSON_AddItemToObjectCS(o, "flags", names);
	json_row(rows, o);
}

static void print_row(const struct store_change *c)
{
	const struct passwd *pw = getpwuid(c->uid);
	char uid[24];

	snprintf(uid, sizeof(uid), "%u", (unsigned)c->uid);
	printf("%8llu  %s  %-10s  %7d  +%-6llu -%-6llu", (unsigned long long)c->version, human_time(c->time), pw ? pw->pw_name : uid, (int)c->pid,
	       (unsigned long long)c->added, (unsigned long long)c->removed);
	for (size_t i = 0; i < FLAGS; i++)
		if (c->flags & flags[i].flag)
			printf(" %s", flags[i].name);
	putchar('\n');
}

int cmd_log(struct tool *t, int argc, char **argv)
{
	static const struct option options[] = { { "limit", required_argument, NULL, 'l' }, { "json", no_argument, NULL, 'j' }, TOOL_OPTIONS };
	struct changes l = { .limit = UINT64_MAX };
	struct store_attr attr;
	bool json = false;
	uint64_t rows = 0;
	char *path;
	int c, r;

	while ((c = tool_getopt(t, argc, argv, ":hl:j", options)) != -1) {
		if (c == 'l')
			l.limit = tool_number(t, "--limit", optarg);
		else if (c == 'j')
			json = true;
	}
	if (argc - optind != 1)
		tool_usage(t, "log", "name one session");
	if (!tool_open(t, &(struct store_options){ .read_only = true }, argv + optind, 1))
		return EXIT_FAILED;
	path = tool_find(t, argv[optind], FIND_DOCUMENT | FIND_REMOVED, &attr);
	if (!path)
		return EXIT_FAILED;
	r = store_log(t->store, attr.ino, add, &l);
	if (r < 0) {
		say_errno(path, r);
	} else if (json) {
		json_rows_begin();
		for (size_t i = 0; i < l.count; i++)
			print_json(&l.list[i], &rows);
		json_rows_end(rows);
	} else {
		printf("%8s  %-19s  %-10s  %7s  %-7s %-7s\n", "VERSION", "TIME", "USER", "PID", "ADDED", "REMOVED");
		for (size_t i = 0; i < l.count; i++)
			print_row(&l.list[i]);
	}
	free(l.list);
	free(path);
	return r < 0 ? EXIT_FAILED : EXIT_OK;
}
