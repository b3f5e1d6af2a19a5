#include <stdlib.h>

#include "output.h"
#include "tool.h"

static void show(void *arg, const char *text)
{
	char *safe = text_safe(text);
	cJSON *list = arg;

	if (list)
		cJSON_AddItemToArray(list, need(cJSON_CreateString(safe)));
	else
		say("%s", safe);
	free(safe);
}

static void advance(void *arg, uint64_t done, uint64_t total)
{
	progress_show(done, total, "records");
}

int cmd_verify(struct tool *t, int argc, char **argv)
{
	static const struct option options[] = { { "json", no_argument, NULL, 'j' }, TOOL_OPTIONS };
	uint64_t problems = 0, found = 0;
	cJSON *list = NULL;
	bool json = false;
	int c, r;

	while ((c = tool_getopt(t, argc, argv, ":hj", options)) != -1)
		json |= c == 'j';
	if (optind < argc)
		tool_usage(t, argv[optind], "verify takes no arguments");
	/* One that does not open is looked at as far as it can be read. */
	if (!tool_open(t, &(struct store_options){ .read_only = true }, NULL, 0)) {
		if (!tool_open(t, &(struct store_options){ .salvage = true }, NULL, 0))
			return EXIT_FAILED;
		problems = 1;
	}
	if (json)
		list = need(cJSON_CreateArray());
	progress_begin("verify");
	r = store_verify(t->store, show, advance, list, &found);
	problems += found;
	progress_end();
	if (r) {
		say_errno(t->directory, r);
		cJSON_Delete(list);
		return EXIT_FAILED;
	}
	if (json) {
		cJSON *o = json_object();

		json_text(o, "store", t->directory);
		json_bool(o, "whole", !problems);
		cJSON_AddItemToObjectCS(o, "problems", list);
		json_print(o);
	} else if (!problems) {
		printf("%s is whole\n", t->directory);
	} else {
		say_error(t->directory, "%s; `historyctl export --salvage DIR` saves what can be read", human_count(problems, "problem"));
	}
	return problems ? EXIT_FAILED : EXIT_OK;
}
