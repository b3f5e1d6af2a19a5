#include <stdlib.h>

#include "output.h"
#include "place.h"
#include "tool.h"

static void add_mount(void *arg, const char *mountpoint)
{
	cJSON_AddItemToArray(arg, need(cJSON_CreateString(mountpoint)));
}

static void print_mount(void *arg, const char *mountpoint)
{
	char *safe = text_safe(mountpoint);

	printf("mounted    %s  (its counters: %s/.historyfs/status)\n", safe, safe);
	free(safe);
}

int cmd_stats(struct tool *t, int argc, char **argv)
{
	static const struct option options[] = { { "json", no_argument, NULL, 'j' }, TOOL_OPTIONS };
	struct store_stats s;
	bool json = false;
	int c, r;

	while ((c = tool_getopt(t, argc, argv, ":hj", options)) != -1)
		json |= c == 'j';
	if (optind < argc)
		tool_usage(t, argv[optind], "stats takes no arguments");
	if (!tool_open(t, &(struct store_options){ .read_only = true }, NULL, 0))
		return EXIT_FAILED;
	r = store_stats(t->store, true, &s);
	if (r) {
		say_errno(t->directory, r);
		return EXIT_FAILED;
	}
	if (json) {
		cJSON *o = json_object(), *mounts = need(cJSON_CreateArray());

		json_text(o, "store", t->directory);
		json_number(o, "format", s.format);
		json_number(o, "files", s.files);
		json_number(o, "sessions", s.documents);
		json_number(o, "messages", s.messages);
		json_number(o, "unreadable", s.unreadable);
		json_number(o, "used_bytes", s.used_bytes);
		json_number(o, "file_bytes", s.file_bytes);
		json_number(o, "map_bytes", s.map_bytes);
		place_mounts(t->directory, add_mount, mounts);
		cJSON_AddItemToObjectCS(o, "mounts", mounts);
		json_print(o);
		return s.unreadable ? EXIT_FAILED : EXIT_OK;
	}
	printf("store      %s  (format %u)\n", t->directory, s.format);
	printf("sessions   %llu\n", (unsigned long long)s.documents);
	printf("messages   %llu\n", (unsigned long long)s.messages);
	printf("files      %llu, with directories and links\n", (unsigned long long)s.files);
	printf("in use     %s of a file of %s; it may grow to %s\n", human_size(s.used_bytes), human_size(s.file_bytes), human_size(s.map_bytes));
	place_mounts(t->directory, print_mount, NULL);
	if (s.unreadable)
		say_error(t->directory, "%llu records or pages are damaged, and not counted; `historyctl verify` names them", (unsigned long long)s.unreadable);
	return s.unreadable ? EXIT_FAILED : EXIT_OK;
}
