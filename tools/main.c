/* historyctl: looks at and changes a history store, mounted or not. */
#include <errno.h>
#include <limits.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "output.h"
#include "tool.h"

static const struct command commands[] = {
	{ "ls", cmd_ls, "[DIRECTORY|SESSION...]", "List sessions",
	  "  -s, --sort KEY     name (default), messages, bytes or time; the last three put the largest first\n"
	  "  -r, --reverse      the other way round\n"
	  "  -l, --limit N      only the first N\n"
	  "  -a, --all          plain files and symbolic links too\n"
	  "  -j, --json         a JSON list\n" },
	{ "cat", cmd_cat, "SESSION...", "Print a session",
	  "  -n, --last N       only the last N messages, as a JSON list\n"
	  "  -p, --pretty       for people: roles, times, wrapped text\n"
	  "  -V, --version V    as it was at version V (see `historyctl log`)\n" },
	{ "append", cmd_append, "SESSION --role ROLE [-]", "Add a message to a session",
	  "  -R, --role ROLE    who speaks: user, assistant, system, ...\n"
	  "  -c, --content TEXT what is said; without it standard input, less one newline at its end\n"
	  "  -J, --raw          the content is the whole message as JSON, kept byte for byte; no --role then\n"
	  "\nA session that does not exist is made. Prints the session's new version.\n" },
	{ "import", cmd_import, "DIR", "Take in a directory of history files",
	  "  -i, --into PATH    into this directory of the store instead of its root\n"
	  "  -s, --salvage      keep the complete messages of torn files as sessions, the originals aside\n"
	  "  -j, --json         the counts as JSON\n"
	  "\nMakes the store if there is none. Nothing in the store is lost: what differs is merged.\n" },
	{ "export", cmd_export, "DIR", "Write everything as plain files",
	  "  -f, --force        even when DIR is not empty; files of the same names are replaced\n"
	  "  -s, --salvage      from a damaged store, what is whole in it, also where nothing leads to it; not while it is mounted\n"
	  "  -j, --json         the counts as JSON\n"
	  "\nFiles are byte-exact, with modes and times, and with owners when run as root.\n" },
	{ "rm", cmd_rm, "SESSION...", "Remove sessions",
	  "  -f, --force        plain files and symbolic links too; those can't be brought back\n"
	  "\nA removed session keeps its messages in its log: `historyctl undo SESSION` brings it back.\n" },
	{ "stats", cmd_stats, "", "Figures of the store",
	  "  -j, --json         as JSON\n" },
	{ "verify", cmd_verify, "", "Check that the store is whole",
	  "  -j, --json         the problems as JSON\n"
	  "\nThe exit code is 1 when something is wrong.\n" },
	{ "log", cmd_log, "SESSION", "Show the changes of a session, newest first",
	  "  -l, --limit N      only the newest N\n"
	  "  -j, --json         as JSON\n" },
	{ "undo", cmd_undo, "SESSION [VERSION]", "Take one change back",
	  "\nWhat the change added goes, what it removed returns; later changes stay. Without VERSION: the newest change\n"
	  "that was merged with another writer's or removed messages, or the removal of a removed session. Prints the\n"
	  "new version.\n" },
};

enum { COMMANDS = sizeof(commands) / sizeof(*commands) };

static const struct command *command_of(const char *name)
{
	for (size_t i = 0; i < COMMANDS; i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}

static void help_all(FILE *f)
{
	fprintf(f, "Usage: historyctl [--store STORE] COMMAND [OPTIONS] [SESSION...]\n\n");
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(f, "  %-8s %s\n", commands[i].name, commands[i].summary);
	fprintf(f, "  %-8s %s\n", "help", "Explain a command");
	fprintf(f, "\nSTORE is a store's directory or any path inside its mount; without it the mount is taken that holds\n"
		"SESSION or the current directory. A SESSION is a path in the store, with or without \".json\", or the\n"
		"path of a mounted file. `historyctl COMMAND --help` explains a command, historyctl(1) everything.\n");
}

static void help_command(const struct command *c)
{
	printf("Usage: historyctl [--store STORE] %s%s%s%s\n\n%s.\n\n%s%s", c->name, strchr(c->help, '-') ? " [OPTIONS]" : "",
	       *c->arguments ? " " : "", c->arguments, c->summary, *c->help == '\n' ? "" : "Options:\n",
	       c->help + (*c->help == '\n'));
}

void tool_usage(const struct tool *t, const char *what, const char *why)
{
	if (t->command)
		say_error(what, "%s; see `historyctl %s --help`", why, t->command->name);
	else
		say_error(what, "%s; see `historyctl help`", why);
	exit(EXIT_USAGE);
}

int tool_getopt(struct tool *t, int argc, char **argv, const char *letters, const struct option *options)
{
	int c;

	opterr = 0;
	for (;;) {
		char text[3] = "-?";
		int before = optind;

		c = getopt_long(argc, argv, letters, options, NULL);
		if (c == 'S') {
			t->store_option = optarg;
			continue;
		}
		if (c == 'h') {
			if (t->command)
				help_command(t->command);
			else
				help_all(stdout);
			exit(fflush(stdout) ? EXIT_FAILED : EXIT_OK);
		}
		if (c != '?' && c != ':')
			return c;
		text[1] = (char)optopt;
		/* getopt leaves optopt 0 for a long option that it does not know, and the option's value for one in want of an argument. */
		tool_usage(t, optopt && optopt < 128 && before == optind ? text : argv[optind - 1],
			   c == ':' ? "an argument is missing" : "no such option, or one that takes no argument");
	}
}

uint64_t tool_number(const struct tool *t, const char *option, const char *text)
{
	char *end;
	unsigned long long n;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno)
		tool_usage(t, option, "a number was expected");
	return n;
}

static int run_help(struct tool *t, int argc, char **argv)
{
	const struct command *c = argc > 1 ? command_of(argv[1]) : NULL;

	if (argc > 1 && !c)
		tool_usage(t, argv[1], "no such command");
	if (c)
		help_command(c);
	else
		help_all(stdout);
	return EXIT_OK;
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "version", no_argument, NULL, 'v' }, TOOL_OPTIONS };
	struct tool t = { 0 };
	int c, code;

	/* C.UTF-8 only for the width of characters: messages are UTF-8 whatever the terminal's locale says. */
	setlocale(LC_CTYPE, "C.UTF-8");
	while ((c = tool_getopt(&t, argc, argv, "+:hS:v", options)) != -1) {
		if (c == 'v') {
			puts("historyctl " HISTORYFS_VERSION);
			return fflush(stdout) ? EXIT_FAILED : EXIT_OK;
		}
	}
	argc -= optind;
	argv += optind;
	if (!argc) {
		help_all(stderr);
		return EXIT_USAGE;
	}
	optind = 0;	/* the command's own options: start anew */
	if (!strcmp(argv[0], "help")) {
		code = run_help(&t, argc, argv);
	} else {
		t.command = command_of(argv[0]);
		if (!t.command)
			tool_usage(&t, argv[0], "no such command");
		code = t.command->run(&t, argc, argv);
		tool_close(&t);
	}
	if ((fflush(stdout) || ferror(stdout)) && code == EXIT_OK) {
		say_error("standard output", "%s", strerror(errno));
		return EXIT_FAILED;
	}
	return code;
}
