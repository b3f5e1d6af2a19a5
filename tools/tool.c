#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "output.h"
#include "place.h"
#include "tool.h"

/* Puts in the store what its mounts still hold back (they may for a moment), so that the tool sees what they show. */
static void settle(void *arg, const char *mountpoint)
{
	int fd = open(mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	fsync(fd);
	close(fd);
}

/* The directory of the store that is meant, or NULL when the error has been printed. */
static char *locate(struct tool *t, char *const *names, int count)
{
	const char *name = t->store_option ? t->store_option : count ? names[0] : ".";
	struct place place;
	char *directory;
	int r = place_of(name, &place);

	if (!r) {
		directory = place.store;
		place.store = NULL;
		place_release(&place);
		if (*directory == '/')
			return directory;
		say_error(name, "its mount names no store (\"%s\"); give --store STORE", directory);
		free(directory);
		return NULL;
	}
	if (t->store_option && (r == -EXDEV || r == -ENOENT))
		return need(strdup(t->store_option));
	if (r != -EXDEV && (r != -ENOENT || t->store_option))
		say_errno(name, r);
	else if (count)
		say_error(name, "no such file in a historyfs mount; give --store STORE, or the path of a mounted file");
	else
		say_error("no store", "the current directory is not in a historyfs mount; give --store STORE, or run it inside the mount");
	return NULL;
}

bool tool_locate(struct tool *t, char *const *names, int count)
{
	char *directory = locate(t, names, count), *slash, *parent;

	if (!directory)
		return false;
	t->directory = realpath(directory, NULL);
	if (!t->directory) {
		/* One that is to be created: the absolute path it will have. */
		for (slash = directory + strlen(directory); slash > directory + 1 && slash[-1] == '/'; )
			*--slash = '\0';
		slash = strrchr(directory, '/');
		if (slash)
			*slash = '\0';
		parent = realpath(slash == directory ? "/" : slash ? directory : ".", NULL);
		if (slash)
			*slash = '/';
		if (!parent)
			t->directory = need(strdup(directory));
		else
			need(asprintf(&t->directory, "%s/%s", parent, slash ? slash + 1 : directory) < 0 ? NULL : t->directory);
		free(parent);
	}
	t->given = directory;
	return true;
}

bool tool_open(struct tool *t, const struct store_options *options, char *const *names, int count)
{
	struct store_options how = options ? *options : (struct store_options){ 0 };
	char reason[1024] = "";
	int r;

	if (!t->directory && !tool_locate(t, names, count))
		return false;
	place_mounts(t->directory, settle, NULL);
	how.reason = reason;
	how.reason_size = sizeof(reason);
	r = store_open(t->given, &how, &t->store);
	if (*reason)
		say_error(t->directory, "refused: %s", reason);
	else if (r == -ENOENT)
		say_error(t->directory, "there is no store; `historyctl --store %s import DIR` makes one", t->directory);
	else if (r == -EUCLEAN)
		say_error(t->directory, "%s; name the directory that historyfs mounts; `historyctl export --salvage DIR` saves what is whole, or take its latest backup",
			  store_strerror(r));
	else if (r)
		say_errno(t->directory, r);
	else if (store_damage(t->store) && t->command->run != cmd_verify)	/* which tells it among the rest */
		say_error(t->directory, "%s", store_damage(t->store));
	return !r;
}

void tool_close(struct tool *t)
{
	store_close(t->store);
	free(t->directory);
	free(t->given);
}

char *tool_path(struct tool *t, const char *name)
{
	struct place place;
	char *path;
	int r;

	if (t->store_option && *name != '/')
		return need(place_clean(name));
	r = place_of(name, &place);
	if (r && t->store_option)
		return need(place_clean(name));
	if (r == -EXDEV || r == -ENOENT) {
		say_error(name, "no such file in a historyfs mount; give --store STORE, or the path of a mounted file");
		return NULL;
	}
	if (r) {
		say_errno(name, r);
		return NULL;
	}
	path = place.path;
	if (strcmp(place.store, t->directory)) {
		say_error(name, "it is in another store, %s; name one store's sessions at a time", place.store);
		free(path);
		path = NULL;
	}
	free(place.store);
	return path;
}

int tool_parent(struct tool *t, const char *path, uint64_t *ret_parent, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	char *directory = need(slash ? strndup(path, (size_t)(slash - path)) : strdup(""));
	struct store_attr attr;
	int r = store_resolve(t->store, directory, &attr);

	free(directory);
	if (r)
		return r;
	if (attr.kind != STORE_DIRECTORY)
		return -ENOTDIR;
	*ret_parent = attr.ino;
	*ret_name = slash ? slash + 1 : path;
	return 0;
}

/* The document that had this path once. */
static int find_removed(struct tool *t, const char *path, struct store_attr *ret)
{
	struct store_attr attr = { .kind = STORE_DOCUMENT };
	uint64_t parent;
	const char *name;
	int r = tool_parent(t, path, &parent, &name);

	if (!r)
		r = store_former(t->store, parent, name, &attr.ino, &attr.version);
	if (r)
		return r;
	strncpy(attr.name, name, STORE_NAME_MAX);
	*ret = attr;
	return 0;
}

/* Replaces a symbolic link's path by the one it points to. */
static int follow(struct tool *t, char **path, struct store_attr *attr)
{
	for (int i = 0; attr->kind == STORE_SYMLINK; i++) {
		char target[PATH_MAX], *joined;
		const char *slash = strrchr(*path, '/');
		int r = store_readlink(t->store, attr->ino, target, sizeof(target));

		if (r)
			return r;
		if (*target == '/' || i == 40)
			return -ELOOP;
		if (asprintf(&joined, "%.*s/%s", slash ? (int)(slash - *path) : 0, *path, target) < 0)
			return -ENOMEM;
		free(*path);
		*path = need(place_clean(joined));
		free(joined);
		r = store_resolve(t->store, *path, attr);
		if (r)
			return r;
	}
	return 0;
}

char *tool_find(struct tool *t, const char *name, unsigned flags, struct store_attr *ret)
{
	char *path = tool_path(t, name), *longer;
	struct store_attr attr;
	int r;

	if (!path)
		return NULL;
	need(asprintf(&longer, "%s.json", path) < 0 ? NULL : longer);
	r = store_resolve(t->store, path, &attr);
	if (r == -ENOENT || (!r && attr.kind == STORE_DIRECTORY && (flags & FIND_DOCUMENT))) {
		const char *found = NULL;
		int s = store_resolve(t->store, longer, &attr);

		if (!s)
			found = longer;
		else if (r && (flags & FIND_REMOVED) && !find_removed(t, path, &attr))
			found = path;
		else if (r && (flags & FIND_REMOVED) && !find_removed(t, longer, &attr))
			found = longer;
		else if (!r)
			r = -EISDIR;
		if (found) {
			r = 0;
			if (found == longer) {
				free(path);
				path = longer;
				longer = NULL;
			}
		}
	}
	free(longer);
	if (!r && !(flags & FIND_NOFOLLOW))
		r = follow(t, &path, &attr);
	if (!r && (flags & FIND_DOCUMENT) && attr.kind != STORE_DOCUMENT)
		r = attr.kind == STORE_DIRECTORY ? -EISDIR : -EINVAL;
	if (!r) {
		*ret = attr;
		return path;
	}
	if (r == -ENOENT)
		say_error(name, "no such session; `historyctl ls` shows those there are");
	else if (r == -EISDIR)
		say_error(name, "a directory, not a session; `historyctl ls` shows what is in it");
	else if (r == -EINVAL)
		say_error(name, "not a session but a plain file; read it through the mount or with `historyctl cat`");
	else if (r == -ELOOP)
		say_error(name, "a symbolic link that leads out of the store; name the file itself");
	else
		say_errno(name, r);
	free(path);
	return NULL;
}
