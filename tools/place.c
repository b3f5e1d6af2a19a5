#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "place.h"

struct mount {
	uint64_t id;
	char *root, *point, *type, *source;	/* point into the line */
};

/* Replaces the \ooo of mountinfo by the bytes they stand for. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' && s[3] >= '0' && s[3] <= '7') {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

/* 36 35 98:0 /root /point rw,noatime master:1 - type source rw */
static bool parse(char *line, struct mount *ret)
{
	char *fields[5], *at = line;
	int n = 0;

	for (; n < 5 && (fields[n] = strsep(&at, " ")); n++)
		;
	if (n < 5 || !at)
		return false;
	for (char *f; (f = strsep(&at, " ")); )
		if (!strcmp(f, "-"))
			break;
	*ret = (struct mount){ .id = strtoull(fields[0], NULL, 10), .root = fields[3], .point = fields[4] };
	ret->type = strsep(&at, " ");
	ret->source = strsep(&at, " \n");
	if (!ret->type || !ret->source)
		return false;
	unescape(ret->root);
	unescape(ret->point);
	unescape(ret->source);
	return true;
}

/* Calls `each` for the mounts until it returns something other than 0. */
static int mounts(int (*each)(void *arg, const struct mount *m), void *arg)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t room = 0;
	struct mount m;
	int r = 0;

	if (!f)
		return -errno;
	while (!r && getline(&line, &room, f) > 0)
		if (parse(line, &m))
			r = each(arg, &m);
	free(line);
	fclose(f);
	return r;
}

struct search {
	uint64_t id;
	const char *directory;
	struct place *place;
};

static int match(void *arg, const struct mount *m)
{
	struct search *s = arg;
	size_t length = strcmp(m->point, "/") ? strlen(m->point) : 0;
	char *joined;

	if (m->id != s->id)
		return 0;
	if (strcmp(m->type, "fuse.historyfs") || strncmp(s->directory, m->point, length) ||
	    (s->directory[length] && s->directory[length] != '/'))
		return -EXDEV;
	if (asprintf(&joined, "%s/%s", m->root, s->directory + length) < 0)
		return -ENOMEM;
	s->place->path = place_clean(joined);
	free(joined);
	s->place->store = strdup(m->source);
	if (s->place->path && s->place->store)
		return 1;
	place_release(s->place);
	return -ENOMEM;
}

/* The place of a directory (or of a file, when `path` has no symbolic link at its end). */
static int place_existing(const char *path, struct place *ret)
{
	char *directory = realpath(path, NULL);
	struct place place = { 0 };
	struct statx st;
	int r;

	if (!directory)
		return -errno;
	if (statx(AT_FDCWD, directory, 0, STATX_MNT_ID, &st))
		r = -errno;
	else if (!(st.stx_mask & STATX_MNT_ID))
		r = -ENOSYS;
	else
		r = mounts(match, &(struct search){ st.stx_mnt_id, directory, &place });
	free(directory);
	if (r < 0)
		return r;
	if (!r)
		return -EXDEV;
	*ret = place;
	return 0;
}

int place_of(const char *path, struct place *ret)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	char *parent, *joined;
	struct place place;
	int r;

	if (!*path)
		return -ENOENT;
	if (!*name || !strcmp(name, ".") || !strcmp(name, ".."))
		return place_existing(path, ret);
	parent = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
	if (!parent)
		return -ENOMEM;
	r = place_existing(parent, &place);
	free(parent);
	if (r == -EXDEV) {
		/* A mount point, or a link to one. A name that doesn't exist is in no mount either. */
		r = place_existing(path, ret);
		return r == -ENOENT ? -EXDEV : r;
	}
	if (r)
		return r;
	if (asprintf(&joined, "%s%s%s", place.path, *place.path ? "/" : "", name) < 0) {
		place_release(&place);
		return -ENOMEM;
	}
	free(place.path);
	place.path = joined;
	*ret = place;
	return 0;
}

void place_release(struct place *p)
{
	free(p->store);
	free(p->path);
	*p = (struct place){ 0 };
}

struct listing {
	const char *store;
	void (*found)(void *arg, const char *mountpoint);
	void *arg;
};

static int list(void *arg, const struct mount *m)
{
	struct listing *l = arg;

	if (!strcmp(m->type, "fuse.historyfs") && (!l->store || !strcmp(m->source, l->store)))
		l->found(l->arg, m->point);
	return 0;
}

int place_mounts(const char *store, void (*found)(void *arg, const char *mountpoint), void *arg)
{
	return mounts(list, &(struct listing){ store, found, arg });
}

char *place_clean(const char *path)
{
	char *clean = malloc(strlen(path) + 1);
	size_t size = 0;

	if (!clean)
		return NULL;
	while (*path) {
		size_t n = strcspn(path, "/");

		if (n == 2 && path[0] == '.' && path[1] == '.') {
			while (size && clean[--size] != '/')
				;
		} else if (n && !(n == 1 && path[0] == '.')) {
			if (size)
				clean[size++] = '/';
			memcpy(clean + size, path, n);
			size += n;
		}
		path += n;
		path += *path == '/';
	}
	clean[size] = '\0';
	return clean;
}
