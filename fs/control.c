#include "control.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "bound.h"
#include "draft.h"
#include "reject.h"

static void fill(struct mount *m, uint64_t ino, const char *name, struct store_attr *ret)
{
	bool directory = ino == CONTROL_DIRECTORY;

	*ret = (struct store_attr){
		.ino = ino, .parent = directory ? STORE_ROOT : CONTROL_DIRECTORY, .kind = directory ? STORE_DIRECTORY : STORE_SCRATCH,
		.mode = directory ? S_IFDIR | 0700 : S_IFREG | 0400, .uid = m->owner, .gid = m->owner_group,
		.atime = m->started, .mtime = m->started, .ctime = m->started,
	};
	strcpy(ret->name, name);
}

int control_getattr(struct mount *m, uint64_t ino, struct store_attr *ret)
{
	char *text;
	size_t size;
	int err;

	if (ino == CONTROL_DIRECTORY) {
		fill(m, ino, CONTROL_NAME, ret);
		return 0;
	}
	if (ino != CONTROL_STATUS)
		return -ENOENT;
	err = control_status(m, &text, &size);
	if (err)
		return err;
	free(text);
	fill(m, ino, "status", ret);
	ret->size = size;
	return 0;
}

bool control_entry(struct mount *m, unsigned i, struct store_attr *ret)
{
	if (i == 0)
		return control_getattr(m, CONTROL_STATUS, ret) == 0;
	if (i == 1 && store_getattr(m->store, STORE_REJECTED, ret) == 0) {
		strcpy(ret->name, "rejected");
		return true;
	}
	return false;
}

int control_lookup(struct mount *m, uint64_t parent, const char *name, struct store_attr *ret)
{
	int err;

	if (parent == STORE_ROOT && strcmp(name, CONTROL_NAME) == 0)
		return control_getattr(m, CONTROL_DIRECTORY, ret);
	if (parent != CONTROL_DIRECTORY)
		return -ENOENT;
	if (strcmp(name, "status") == 0)
		return control_getattr(m, CONTROL_STATUS, ret);
	if (strcmp(name, "rejected") != 0)
		return -ENOENT;
	err = store_getattr(m->store, STORE_REJECTED, ret);
	if (!err)
		strcpy(ret->name, name);
	return err;
}

/* *whole becomes false when there is no memory for it. */
static void add_number(bool *whole, cJSON *to, const char *name, uint64_t value)
{
	*whole &= to && cJSON_AddNumberToObject(to, name, (double)value);
}

static cJSON *add_part(bool *whole, cJSON *to, const char *name)
{
	cJSON *part = cJSON_AddObjectToObject(to, name);

	*whole &= part != NULL;
	return part;
}

static void add_string(bool *whole, cJSON *to, const char *name, const char *value)
{
	*whole &= cJSON_AddStringToObject(to, name, value) != NULL;
}

static cJSON *build(struct mount *m, const struct store_stats *s)
{
	static const char *const sizes[] = { "1", "2", "3-4", "5-8", "9-16", "17-32", "33-64", "65+" };
	cJSON *root = cJSON_CreateObject(), *part;
	uint64_t tickets, processes, bytes;
	struct draft_counts drafts;
	struct timespec now;
	bool whole = true;

	if (!root)
		return NULL;
	clock_gettime(CLOCK_REALTIME, &now);
	tickets_count(m->tickets, &tickets, &processes, &bytes);
	add_string(&whole, root, "version", HISTORYFS_VERSION);
	add_number(&whole, root, "format", s->format);
	add_string(&whole, root, "store", store_directory(m->store));
	add_number(&whole, root, "uptime", now.tv_sec - m->started.tv_sec);
	add_number(&whole, root, "sessions", s->documents);
	add_number(&whole, root, "messages", s->messages);
	add_number(&whole, root, "files", s->files);
	add_number(&whole, root, "commits", s->commits);
	add_number(&whole, root, "saves", s->saves);
	add_number(&whole, root, "merged", s->merged);
	add_number(&whole, root, "unchanged", s->same);
	add_number(&whole, root, "blind", s->blind);
	add_number(&whole, root, "uncertain", s->uncertain);
	add_number(&whole, root, "edits", s->edits);
	add_number(&whole, root, "rejected", atomic_load(&m->rejected));
	add_number(&whole, root, "rejected_gone", rejects_gone(m->rejects));
	add_number(&whole, root, "damaged", atomic_load(&m->damaged));
	add_number(&whole, root, "unreadable", s->unreadable);
	add_number(&whole, root, "reopened", s->reopened);
	part = add_part(&whole, root, "group_sizes");
	for (int i = 0; i < 8; i++)
		add_number(&whole, part, sizes[i], s->groups[i]);
	part = add_part(&whole, root, "cache");
	add_number(&whole, part, "bytes", s->cache_bytes);
	add_number(&whole, part, "limit", s->cache_limit);
	add_number(&whole, part, "sessions", s->cache_views);
	add_number(&whole, part, "hits", s->cache_hits);
	add_number(&whole, part, "misses", s->cache_misses);
	drafts_count(&drafts);
	part = add_part(&whole, root, "drafts");
	add_number(&whole, part, "memory", drafts.memory);
	add_number(&whole, part, "limit", drafts.limit);
	add_number(&whole, part, "files", drafts.files);
	add_number(&whole, part, "file_bytes", drafts.file_bytes);
	add_number(&whole, part, "moved", drafts.moved);
	part = add_part(&whole, root, "tickets");
	add_number(&whole, part, "count", tickets);
	add_number(&whole, part, "processes", processes);
	add_number(&whole, part, "bytes", bytes);
	add_number(&whole, root, "shared_temps", temps_waiting(m->temps));
	part = add_part(&whole, root, "bounds");
	for (enum bound b = 0; b < BOUND_COUNT; b++)
		add_number(&whole, part, bound_name(b), bound_count(b));
	part = add_part(&whole, root, "disk");
	add_number(&whole, part, "used", s->used_bytes);
	add_number(&whole, part, "file", s->file_bytes);
	add_number(&whole, part, "pending", s->pending_bytes);
	if (!whole) {
		cJSON_Delete(root);
		root = NULL;
	}
	return root;
}

int control_status(struct mount *m, char **ret, size_t *ret_size)
{
	struct store_stats s;
	cJSON *root;
	char *text = NULL;
	size_t size;
	int err = store_stats(m->store, true, &s);

	if (err)
		return err;
	root = build(m, &s);
	if (root)
		text = cJSON_Print(root);
	cJSON_Delete(root);
	if (!text)
		return -ENOMEM;
	size = strlen(text);
	text[size++] = '\n';
	*ret = text;
	*ret_size = size;
	return 0;
}
