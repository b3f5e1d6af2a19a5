#include "control.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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
	struct store_attr a;

	if (parent == STORE_ROOT && strcmp(name, CONTROL_NAME) == 0)
		return control_getattr(m, CONTROL_DIRECTORY, ret);
	if (parent != CONTROL_DIRECTORY)
		return -ENOENT;
	for (unsigned i = 0; control_entry(m, i, &a); i++) {
		if (strcmp(a.name, name) == 0) {
			*ret = a;
			return 0;
		}
	}
	return -ENOENT;
}

static void add_number(cJSON *to, const char *name, uint64_t value)
{
	cJSON_AddNumberToObject(to, name, (double)value);
}

static cJSON *build(struct mount *m, const struct store_stats *s)
{
	static const char *const sizes[] = { "1", "2", "3-4", "5-8", "9-16", "17-32", "33-64", "65+" };
	cJSON *root = cJSON_CreateObject(), *part;
	uint64_t tickets, processes, bytes;
	struct draft_counts drafts;
	struct timespec now;

	if (!root)
		return NULL;
	clock_gettime(CLOCK_REALTIME, &now);
	tickets_count(m->tickets, &tickets, &processes, &bytes);
	cJSON_AddStringToObject(root, "version", HISTORYFS_VERSION);
	add_number(root, "format", s->format);
	cJSON_AddStringToObject(root, "store", store_directory(m->store));
	add_number(root, "uptime", now.tv_sec - m->started.tv_sec);
	add_number(root, "sessions", s->documents);
	add_number(root, "messages", s->messages);
	add_number(root, "files", s->files);
	add_number(root, "commits", s->commits);
	add_number(root, "saves", s->saves);
	add_number(root, "merged", s->merged);
	add_number(root, "unchanged", s->same);
	add_number(root, "blind", s->blind);
	add_number(root, "uncertain", s->uncertain);
	add_number(root, "edits", s->edits);
	add_number(root, "rejected", atomic_load(&m->rejected));
	add_number(root, "rejected_gone", rejects_gone(m->rejects));
	add_number(root, "reopened", s->reopened);
	part = cJSON_AddObjectToObject(root, "group_sizes");
	for (int i = 0; i < 8; i++)
		add_number(part, sizes[i], s->groups[i]);
	part = cJSON_AddObjectToObject(root, "cache");
	add_number(part, "bytes", s->cache_bytes);
	add_number(part, "limit", s->cache_limit);
	add_number(part, "sessions", s->cache_views);
	add_number(part, "hits", s->cache_hits);
	add_number(part, "misses", s->cache_misses);
	drafts_count(&drafts);
	part = cJSON_AddObjectToObject(root, "drafts");
	add_number(part, "memory", drafts.memory);
	add_number(part, "limit", drafts.limit);
	add_number(part, "files", drafts.files);
	add_number(part, "file_bytes", drafts.file_bytes);
	add_number(part, "moved", drafts.moved);
	part = cJSON_AddObjectToObject(root, "tickets");
	add_number(part, "count", tickets);
	add_number(part, "processes", processes);
	add_number(part, "bytes", bytes);
	add_number(root, "shared_temps", temps_waiting(m->temps));
	part = cJSON_AddObjectToObject(root, "disk");
	add_number(part, "used", s->used_bytes);
	add_number(part, "file", s->file_bytes);
	add_number(part, "pending", s->pending_bytes);
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
