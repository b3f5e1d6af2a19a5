#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "output.h"
#include "tool.h"

/* All of standard input, zero-terminated. NULL when the error has been printed. */
static char *read_input(size_t *ret_size)
{
	char *text = need(malloc(65536));
	size_t size = 0, room = 65536;

	if (isatty(STDIN_FILENO))
		say("Type the message, then Ctrl-D:");
	for (;;) {
		size += fread(text + size, 1, room - size - 1, stdin);
		if (ferror(stdin)) {
			say_error("standard input", "%s", strerror(errno));
			free(text);
			return NULL;
		}
		if (feof(stdin))
			break;
		room *= 2;
		text = need(realloc(text, room));
	}
	text[size] = '\0';
	*ret_size = size;
	return text;
}

/* The message as JSON; NULL when the error has been printed. */
static char *message_of(const char *role, char *content, size_t size)
{
	cJSON *message;
	char *text;

	if (strlen(content) != size) {
		say_error("content", "it holds a zero byte at offset %zu, which a message can't", strlen(content));
		return NULL;
	}
	message = json_object();
	need(cJSON_AddStringToObject(message, "role", role));
	need(cJSON_AddStringToObject(message, "content", content));
	text = need(cJSON_PrintUnformatted(message));
	cJSON_Delete(message);
	return text;
}

/* The session's name: as given when there is such a file, else with .json at its end. */
static char *session_of(struct tool *t, const char *name, struct store_attr *ret)
{
	char *path = tool_path(t, name), *longer;
	const char *slash;
	struct store_attr attr;
	int r;

	if (!path)
		return NULL;
	r = store_resolve(t->store, path, &attr);
	if (r == -ENOENT || (!r && attr.kind == STORE_DIRECTORY)) {
		slash = strrchr(path, '/');
		r = -ENOENT;
		if (!store_is_document_name(slash ? slash + 1 : path) && *path) {
			need(asprintf(&longer, "%s.json", path) < 0 ? NULL : longer);
			free(path);
			path = longer;
			r = store_resolve(t->store, path, &attr);
		}
	}
	if (r && r != -ENOENT) {
		say_errno(name, r);
		free(path);
		return NULL;
	}
	if (r)
		attr = (struct store_attr){ 0 };
	*ret = attr;
	return path;
}

static int append(struct tool *t, const char *name, const char *message, size_t size)
{
	struct store_save save = { .tail = message, .tail_size = size, .flags = STORE_SAVE_APPEND, .uid = geteuid(), .gid = getegid(),
				   .pid = getpid(), .writer_uid = getuid() };
	struct store_attr attr;
	char *path = session_of(t, name, &attr);
	mode_t mask = umask(0);
	int r;

	umask(mask);
	if (!path)
		return EXIT_FAILED;
	save.mode = S_IFREG | (0666 & ~mask);
	save.ino = attr.ino;
	r = tool_parent(t, path, &save.parent, &save.name);
	if (r) {
		say_error(name, "%s; make the directory in the mount first", store_strerror(r));
		free(path);
		return EXIT_FAILED;
	}
	r = store_save(t->store, &save);
	if (!r)
		printf("%s: version %llu\n", path, (unsigned long long)save.version);
	else if (save.reason)
		say_error(name, "%s (at byte %zu of the message); nothing was changed", save.reason, save.error_offset);
	else
		say_errno(name, r);
	free(path);
	return r ? EXIT_FAILED : EXIT_OK;
}

int cmd_append(struct tool *t, int argc, char **argv)
{
	static const struct option options[] = { { "role", required_argument, NULL, 'R' }, { "content", required_argument, NULL, 'c' },
						 { "raw", no_argument, NULL, 'J' }, TOOL_OPTIONS };
	const char *role = NULL, *given = NULL;
	bool raw = false;
	char *content, *message;
	size_t size;
	int c, code;

	while ((c = tool_getopt(t, argc, argv, ":hR:c:J", options)) != -1) {
		switch (c) {
		case 'R':
			role = optarg;
			break;
		case 'c':
			given = optarg;
			break;
		case 'J':
			raw = true;
			break;
		}
	}
	argc -= optind;
	argv += optind;
	if (!argc)
		tool_usage(t, "append", "which session?");
	if (argc > 2 || (argc == 2 && (strcmp(argv[1], "-") || given)))
		tool_usage(t, argv[argc - 1], "one session, and one source of the message: --content TEXT or - for standard input");
	if (raw == !!role)
		tool_usage(t, "append", raw ? "--role and --raw exclude each other" : "who speaks? give --role ROLE");

	if (!tool_open(t, NULL, argv, 1))
		return EXIT_FAILED;
	content = given ? need(strdup(given)) : read_input(&size);
	if (!content)
		return EXIT_FAILED;
	if (given)
		size = strlen(content);
	else if (size && content[size - 1] == '\n')
		content[--size] = '\0';
	message = raw ? content : message_of(role, content, size);
	code = message ? append(t, argv[0], message, raw ? size : strlen(message)) : EXIT_FAILED;
	if (!raw)
		cJSON_free(message);
	free(content);
	return code;
}
