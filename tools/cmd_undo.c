#include <errno.h>
#include <stdlib.h>

#include "output.h"
#include "tool.h"

static int find_unlink(void *arg, const struct store_change *c)
{
	if (!(c->flags & STORE_LOG_UNLINKED))
		return 0;
	*(uint64_t *)arg = c->version;
	return 1;
}

int cmd_undo(struct tool *t, int argc, char **argv)
{
	static const struct option options[] = { TOOL_OPTIONS };
	uint64_t version = 0, made;
	struct store_attr attr;
	char *path;
	int r = 0;

	while (tool_getopt(t, argc, argv, ":h", options) != -1)
		;
	argc -= optind;
	argv += optind;
	if (argc < 1 || argc > 2)
		tool_usage(t, "undo", "name one session, and a version of `historyctl log` if one is meant");
	if (argc == 2) {
		version = tool_number(t, "VERSION", argv[1]);
		if (!version)
			tool_usage(t, "VERSION", "versions count from 1");
	}
	if (!tool_open(t, NULL, argv, 1))
		return EXIT_FAILED;
	path = tool_find(t, argv[0], FIND_DOCUMENT | FIND_REMOVED, &attr);
	if (!path)
		return EXIT_FAILED;
	if (!version && !attr.parent)
		r = store_log(t->store, attr.ino, find_unlink, &version);
	if (r >= 0)
		r = store_undo(t->store, attr.ino, version, &made);
	if (!r && made == attr.version && attr.parent)
		say("%s: nothing changed; what that version did has been taken back before", path);
	else if (!r)
		printf("%s: version %llu\n", path, (unsigned long long)made);
	else if (r == -ENOENT && argc == 2)
		say_error(argv[0], "there is no version %s; `historyctl log` shows those there are", argv[1]);
	else if (r == -ENOENT)
		say_error(argv[0], "no change was merged with another writer's or removed messages; name a VERSION of `historyctl log`");
	else
		say_errno(argv[0], r);
	free(path);
	return r ? EXIT_FAILED : EXIT_OK;
}
