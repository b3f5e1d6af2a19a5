#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"
#include "tool.h"

static int rm(struct tool *t, const char *name, bool force)
{
	struct store_attr attr, gone;
	char *path = tool_find(t, name, FIND_NOFOLLOW, &attr);
	int r;

	if (!path)
		return EXIT_FAILED;
	if (attr.kind == STORE_DIRECTORY) {
		say_error(name, "a directory; name its sessions, then rmdir it in the mount");
		free(path);
		return EXIT_FAILED;
	}
	if (attr.kind != STORE_DOCUMENT && !force) {
		say_error(name, "not a session, and gone for good once removed; --force if that is wanted");
		free(path);
		return EXIT_FAILED;
	}
	r = store_unlink(t->store, attr.parent, attr.name, false, &gone);
	if (r)
		say_errno(name, r);
	else if (gone.kind == STORE_DOCUMENT)
		printf("removed %s (%s); `historyctl %s%s%sundo %s` brings it back\n", path, human_count(gone.messages, "message"),
		       t->store_option ? "--store " : "", t->store_option ? t->store_option : "", t->store_option ? " " : "", name);
	else
		printf("removed %s\n", path);
	free(path);
	return r ? EXIT_FAILED : EXIT_OK;
}

int cmd_rm(struct tool *t, int argc, char **argv)
{
	static const struct option options[] = { { "force", no_argument, NULL, 'f' }, TOOL_OPTIONS };
	bool force = false;
	int c, code = EXIT_OK;

	while ((c = tool_getopt(t, argc, argv, ":hf", options)) != -1)
		force |= c == 'f';
	if (optind == argc)
		tool_usage(t, "rm", "which session?");
	if (!tool_open(t, NULL, argv + optind, argc - optind))
		return EXIT_FAILED;
	for (int i = optind; i < argc; i++)
		if (rm(t, argv[i], force) != EXIT_OK)
			code = EXIT_FAILED;
	return code;
}
