/*
 * What the commands of historyctl share: one struct that says which store is meant, how a session is found in it, and how
 * results and errors are shown. Commands return an exit code; what goes wrong is printed where it is noticed.
 */
#ifndef TOOLS_TOOL_H
#define TOOLS_TOOL_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include "store.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct tool {
	const struct command *command;
	const char *store_option;	/* --store, or NULL */
	char *directory;		/* the store's, an absolute path without links once it has been found */
	char *given;			/* the same as it was named: the store looks at whose the links in it are */
	struct store *store;
};

struct command {
	const char *name;
	int (*run)(struct tool *t, int argc, char **argv);
	const char *arguments, *summary, *help;
};

int cmd_ls(struct tool *t, int argc, char **argv);
int cmd_cat(struct tool *t, int argc, char **argv);
int cmd_append(struct tool *t, int argc, char **argv);
int cmd_import(struct tool *t, int argc, char **argv);
int cmd_export(struct tool *t, int argc, char **argv);
int cmd_rm(struct tool *t, int argc, char **argv);
int cmd_stats(struct tool *t, int argc, char **argv);
int cmd_verify(struct tool *t, int argc, char **argv);
int cmd_log(struct tool *t, int argc, char **argv);
int cmd_undo(struct tool *t, int argc, char **argv);

/* ---- Arguments (main.c) ---- */

#define TOOL_OPTIONS { "store", required_argument, NULL, 'S' }, { "help", no_argument, NULL, 'h' }, { 0 }

/* getopt_long, with --store and --help taken care of. Leaves the program when the arguments are wrong. */
int tool_getopt(struct tool *t, int argc, char **argv, const char *letters, const struct option *options);

/* Prints `historyctl: WHAT: WHY; see ...` and leaves the program with EXIT_USAGE. */
void tool_usage(const struct tool *t, const char *what, const char *why) __attribute__((noreturn));

/* An unsigned number from the command line; leaves with EXIT_USAGE when it is none. */
uint64_t tool_number(const struct tool *t, const char *option, const char *text);

/* ---- Which store, which session (tool.c) ---- */

/*
 * Finds the store: --store, else the mount that holds the first of `names` (there may be none), else the one that holds the
 * current directory. It need not exist. false: the error has been printed.
 */
bool tool_locate(struct tool *t, char *const *names, int count);

/* The same unless that has been done, and opens it: `options` as in store_open. false: the error has been printed. */
bool tool_open(struct tool *t, const struct store_options *options, char *const *names, int count);
void tool_close(struct tool *t);

/* The path inside the store that an argument means; NULL when the error has been printed. Freed by the caller. */
char *tool_path(struct tool *t, const char *name);

#define FIND_REMOVED 1u		/* a document that was removed will do: attr->parent is then 0 */
#define FIND_NOFOLLOW 2u	/* symbolic links are meant themselves */
#define FIND_DOCUMENT 4u	/* anything but a document is an error */

/* A session by its path, with or without ".json". The path, to be freed; NULL when the error has been printed. */
char *tool_find(struct tool *t, const char *name, unsigned flags, struct store_attr *ret);

/* Splits a path in the store: the directory's inode, and the last name as a pointer into `path`. 0 or -errno. */
int tool_parent(struct tool *t, const char *path, uint64_t *ret_parent, const char **ret_name);

/* ---- The tree (walk.c) ---- */

struct tool_walk {
	int (*directory)(void *arg, const char *path, const struct store_attr *a);	/* before its entries; may be NULL */
	int (*entry)(void *arg, const char *path, const struct store_attr *a);		/* everything but directories */
	int (*failed)(void *arg, const char *path, int err);	/* a directory that can't be read; NULL: the walk ends with the error */
	void *arg;
};

/* Whether it is one that a file can have. */
bool tool_name_is_good(const char *name);

/* Visits directory `path` and all below it, parents first. Stops at the first result that is not 0 and returns it. */
int tool_walk(struct store *s, uint64_t ino, const char *path, const struct tool_walk *walk);

#endif
