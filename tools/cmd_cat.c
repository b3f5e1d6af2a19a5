#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "message.h"
#include "output.h"
#include "tool.h"

struct wish {
	uint64_t last;		/* UINT64_MAX: all */
	uint64_t version;	/* 0: the newest */
	bool messages;		/* --last was given */
	bool pretty;
};

static size_t terminal_width(void)
{
	const char *columns = getenv("COLUMNS");
	struct winsize w;
	int n = columns ? atoi(columns) : 0;

	if (n > 0)
		return (size_t)n;
	if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) && w.ws_col)
		return w.ws_col;
	return 80;
}

/* Copies [start, end) of the document to standard output; through a buffer, since a slow reader must not hold a transaction open. */
static int copy(struct store_view *v, uint64_t start, uint64_t end)
{
	enum { PIECE = 1 << 20 };
	char *buf = need(malloc(PIECE));
	int r = 0;

	while (start < end) {
		size_t n = end - start < PIECE ? (size_t)(end - start) : PIECE;

		r = store_view_read(v, start, buf, n, &n);
		if (r || !n || fwrite(buf, 1, n, stdout) != n)
			break;
		start += n;
	}
	free(buf);
	return r;
}

static int copy_scratch(struct store *s, uint64_t ino)
{
	enum { PIECE = 1 << 20 };
	char *buf = need(malloc(PIECE));
	uint64_t at = 0;
	size_t n;
	int r;

	do {
		r = store_read(s, ino, at, buf, PIECE, &n);
		if (r || fwrite(buf, 1, n, stdout) != n)
			break;
		at += n;
	} while (n);
	free(buf);
	return r;
}

/* The messages from the first on as a list, or as lines, with the bytes and the separators that the document has. */
static int print_list(struct store_view *v, uint64_t first)
{
	uint64_t count = store_view_count(v), start, end, unused;
	char before[64];
	size_t n, space;
	int r;

	if (store_view_lines(v)) {
		if (first == count)
			return 0;
		store_view_message(v, first, &start, &unused);
		return copy(v, start, store_view_size(v));
	}
	if (first == count) {
		puts("[]");
		return 0;
	}
	store_view_message(v, first, &start, &unused);
	store_view_message(v, count - 1, &unused, &end);
	n = start < sizeof(before) ? (size_t)start : sizeof(before);
	r = store_view_read(v, start - n, before, n, &n);
	if (r)
		return r;
	for (space = n; space && strchr(" \t\r\n", before[space - 1]); space--)
		;
	putchar('[');
	if (memchr(before + space, '\n', n - space))
		fwrite(before + space, 1, n - space, stdout);
	else
		space = n;
	r = copy(v, start, end);
	puts(space < n ? "\n]" : "]");
	return r;
}

static int print_pretty(struct store_view *v, uint64_t first)
{
	size_t width = terminal_width();
	bool bold = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");

	if (!store_view_count(v))
		say("no messages");
	for (uint64_t i = first; i < store_view_count(v); i++) {
		struct store_origin origin;
		struct message m;
		uint64_t start, end;
		char *json, *role;
		size_t n;
		int r;

		store_view_message(v, i, &start, &end);
		json = need(malloc((size_t)(end - start) + 1));
		r = store_view_read(v, start, json, (size_t)(end - start), &n);
		if (!r)
			r = store_view_origin(v, i, &origin);
		if (r) {
			free(json);
			return r;
		}
		message_read(json, n, &m);
		role = text_safe(m.role ? m.role : "message");
		printf("%s%s%s%s  %s\n", i > first ? "\n" : "", bold ? "\033[1m" : "", role, bold ? "\033[0m" : "", human_time(origin.time));
		message_wrap(stdout, m.text, 2, width);
		message_release(&m);
		free(role);
		free(json);
	}
	return 0;
}

static int print(struct store_view *v, const struct wish *w)
{
	uint64_t count = store_view_count(v), first = w->last < count ? count - w->last : 0;

	if (w->pretty)
		return print_pretty(v, first);
	if (w->messages)
		return print_list(v, first);
	return copy(v, 0, store_view_size(v));
}

static int cat(struct tool *t, const char *name, const struct wish *w)
{
	bool plain = !w->pretty && !w->messages && !w->version;
	struct store_view *v;
	struct store_attr attr;
	char *path = tool_find(t, name, (plain ? 0 : FIND_DOCUMENT) | (w->version ? FIND_REMOVED : 0), &attr);
	int r;

	if (!path)
		return EXIT_FAILED;
	if (attr.kind == STORE_SCRATCH) {
		r = copy_scratch(t->store, attr.ino);
	} else if (attr.kind == STORE_DIRECTORY) {
		r = -EISDIR;
	} else {
		r = store_view_open(t->store, attr.ino, w->version, &v);
		if (!r) {
			r = print(v, w);
			store_view_unref(v);
		}
	}
	free(path);
	if (!r)
		return EXIT_OK;
	if (r == -EISDIR)
		say_error(name, "a directory, not a session; `historyctl ls` shows what is in it");
	else if (r == -ENOENT && w->version)
		say_error(name, "there is no version %llu; `historyctl log` shows those there are", (unsigned long long)w->version);
	else
		say_errno(name, r);
	return EXIT_FAILED;
}

int cmd_cat(struct tool *t, int argc, char **argv)
{
	static const struct option options[] = { { "last", required_argument, NULL, 'n' }, { "pretty", no_argument, NULL, 'p' },
						 { "version", required_argument, NULL, 'V' }, TOOL_OPTIONS };
	struct wish w = { .last = UINT64_MAX };
	int c, code = EXIT_OK;

	while ((c = tool_getopt(t, argc, argv, ":hn:pV:", options)) != -1) {
		switch (c) {
		case 'n':
			w.last = tool_number(t, "--last", optarg);
			w.messages = true;
			break;
		case 'p':
			w.pretty = true;
			break;
		case 'V':
			w.version = tool_number(t, "--version", optarg);
			if (!w.version)
				tool_usage(t, "--version", "versions count from 1");
			break;
		}
	}
	if (optind == argc)
		tool_usage(t, "cat", "which session?");
	if (!tool_open(t, &(struct store_options){ .read_only = true }, argv + optind, argc - optind))
		return EXIT_FAILED;
	for (int i = optind; i < argc && !ferror(stdout); i++)
		if (cat(t, argv[i], &w) != EXIT_OK)
			code = EXIT_FAILED;
	return code;
}
