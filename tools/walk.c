#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"
#include "tool.h"

/* Directories still to be visited, last in first out, with their paths. */
struct pending {
	struct pending *next;
	struct store_attr attr;
	char path[];
};

/* store_readdir's callback must not call the store, so entries are taken out in batches. */
struct batch {
	struct store_attr *attrs;
	size_t count, room;
	uint64_t cookie;
};

enum { BATCH = 512 };

static int take(void *arg, const struct store_attr *a, uint64_t cookie)
{
	struct batch *b = arg;

	if (b->count == b->room)
		return 1;
	b->attrs[b->count++] = *a;
	b->cookie = cookie;
	return 0;
}

static struct pending *push(struct pending *next, const struct store_attr *a, const char *path)
{
	struct pending *p = need(malloc(sizeof(*p) + strlen(path) + 1));

	p->next = next;
	p->attr = *a;
	strcpy(p->path, path);
	return p;
}

static int visit(struct store *s, const struct pending *d, const struct tool_walk *walk, struct batch *b, struct pending **stack)
{
	int more, r = walk->directory ? walk->directory(walk->arg, d->path, &d->attr) : 0;

	b->cookie = 0;
	do {
		if (r)
			return r;
		b->count = 0;
		more = store_readdir(s, d->attr.ino, b->cookie, true, take, b);
		/* With damage in it the others have come nevertheless. */
		if (more < 0 && more != -EUCLEAN)
			return more == -ENOENT ? 0 :	/* removed since it was listed */
			       walk->failed ? walk->failed(walk->arg, d->path, more) : more;
		for (size_t i = 0; !r && i < b->count; i++) {
			const struct store_attr *a = &b->attrs[i];
			char *path;

			/* Paths of a damaged store must not lead out of the directory that is exported to. */
			if (!tool_name_is_good(a->name)) {
				more = -EUCLEAN;
				continue;
			}
			if (asprintf(&path, "%s%s%s", d->path, *d->path ? "/" : "", a->name) < 0)
				return -ENOMEM;
			if (a->kind == STORE_DIRECTORY)
				*stack = push(*stack, a, path);
			else
				r = walk->entry(walk->arg, path, a);
			free(path);
		}
		if (more == -EUCLEAN && !r)
			return walk->failed ? walk->failed(walk->arg, d->path, more) : more;
	} while (more);
	return r;
}

bool tool_name_is_good(const char *name)
{
	return *name && !strchr(name, '/') && strcmp(name, ".") && strcmp(name, "..");
}

int tool_walk(struct store *s, uint64_t ino, const char *path, const struct tool_walk *walk)
{
	struct batch b = { .attrs = need(calloc(BATCH, sizeof(*b.attrs))), .room = BATCH };
	struct pending *stack = NULL;
	struct store_attr attr;
	int r = store_getattr(s, ino, &attr);

	if (!r)
		stack = push(NULL, &attr, path);
	while (stack) {
		struct pending *d = stack;

		stack = d->next;
		if (!r)
			r = visit(s, d, walk, &b, &stack);
		free(d);
	}
	free(b.attrs);
	return r;
}
