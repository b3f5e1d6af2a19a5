/* The journal: its file, and what is appended. What follows a crash is in journal_replay.c. */
#include "journal.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "db_file.h"
#include "journal_entry.h"

#define LISTED 256		/* numbers in the list of an entry; of what finds no room it tells nothing */
#define DIRECT (64u << 10)	/* bytes: smaller entries go past the page cache */

static int write_all(int fd, const char *bytes, size_t size, off_t offset)
{
	while (size) {
		ssize_t n = pwrite(fd, bytes, size, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		bytes += n;
		size -= n;
		offset += n;
	}
	return 0;
}

/* Real zeros, not a promise of them: a write into them changes nothing but these bytes. */
static int write_zeros(int fd)
{
	char *zeros = calloc(1, JOURNAL_HALF);
	int err = zeros ? 0 : -ENOMEM;

	for (int i = 0; !err && i < 2; i++)
		err = write_all(fd, zeros, JOURNAL_HALF, (off_t)i * JOURNAL_HALF);
	free(zeros);
	return !err && fsync(fd) ? -errno : err;
}

int journal_create(int dir)
{
	struct stat st;
	int fd, err;

	if (fstatat(dir, "journal", &st, 0) == 0)
		return 0;
	fd = openat(dir, "journal.new", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	err = write_zeros(fd);
	close(fd);
	if (!err && renameat(dir, "journal.new", dir, "journal"))
		err = -errno;
	if (err)
		unlinkat(dir, "journal.new", 0);
	return err ? err : db_file_sync(dir);
}

int journal_open(int dir, bool read_only, journal_objects_fn *objects, struct journal **ret)
{
	struct journal *j;
	int fd;

	fd = openat(dir, "journal", (read_only ? O_RDONLY : O_RDWR) | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	j = calloc(1, sizeof(*j));
	if (!j) {
		close(fd);
		return -ENOMEM;
	}
	j->fd = fd;
	j->objects = objects;
	j->direct = read_only || posix_memalign((void **)&j->sectors, 4096, DIRECT) ?
		    -1 : openat(dir, "journal", O_WRONLY | O_DIRECT | O_DSYNC | O_NOFOLLOW | O_CLOEXEC);
	*ret = j;
	return 0;
}

static void forget_recent(struct journal *j)
{
	while (j->recent_count)
		buf_release(&j->recent[--j->recent_count].objects);
}

void journal_close(struct journal *j)
{
	if (!j)
		return;
	close(j->fd);
	if (j->direct >= 0)
		close(j->direct);
	forget_recent(j);
	free(j->sectors);
	free(j);
}

int journal_set_aside(int dir)
{
	struct timespec now;
	char name[64];

	clock_gettime(CLOCK_REALTIME, &now);
	snprintf(name, sizeof(name), "journal.damaged-%lld.%09ld", (long long)now.tv_sec, now.tv_nsec);
	return renameat(dir, "journal", dir, name) ? -errno : db_file_sync(dir);
}

/* ---- Appending ------------------------------------------------------------------------------------------------ */

void journal_restart(struct journal *j, const struct journal_place *place)
{
	j->last = place->taken;
	j->mark = place->mark;
	j->half = 0;
	j->at = 0;
	forget_recent(j);
}

uint64_t journal_last(const struct journal *j)
{
	return j->last;
}

size_t journal_used(const struct journal *j)
{
	return j->at;
}

uint64_t journal_marked(const struct journal *j)
{
	return j->mark;
}

void journal_mark(struct journal *j, uint64_t mark)
{
	j->mark = mark;
}

void journal_switch(struct journal *j)
{
	j->half = !j->half;
	j->at = 0;
}

int journal_begin(struct buf *entry)
{
	return buf_resize(entry, sizeof(struct head));
}

int journal_add(struct buf *entry, const struct mem_node *n)
{
	uint16_t key_size = htole16(n->key_size);
	uint32_t value_size = htole32(n->removed ? REMOVED : n->value_size);
	int err = buf_reserve(entry, 6 + n->key_size + n->value_size);

	if (!err)
		err = buf_add(entry, &key_size, 2);
	if (!err)
		err = buf_add(entry, &value_size, 4);
	if (!err)
		err = buf_add(entry, n->key, n->key_size);
	if (!err && n->value_size)
		err = buf_add(entry, n->value, n->value_size);
	return err;
}

/* One write that the disk has when it returns, where write and sync would be two and a copy. False: it is to be done so. */
static bool write_through(struct journal *j, const struct buf *entry, off_t offset)
{
	size_t size = whole_sectors(entry->size);

	if (j->direct < 0 || size > DIRECT)
		return false;
	memcpy(j->sectors, entry->data, entry->size);
	memset(j->sectors + entry->size, 0, size - entry->size);
	return pwrite(j->direct, j->sectors, size, offset) == (ssize_t)size;
}

static bool has_object(const struct buf *list, const void *id)
{
	for (size_t i = 0; i < list->size; i += 8) {
		if (!memcmp(list->data + i, id, 8))
			return true;
	}
	return false;
}

/* What the entry changes, for those that come. */
static int list_changes(struct journal *j, const struct buf *entry, struct buf *ret)
{
	const char *at = entry->data + sizeof(struct head), *end = entry->data + entry->size;
	struct entry_record record;
	int err = 0;

	while (!err && at < end && ret->size <= LISTED * 8 && entry_next(&at, end, &record)) {
		struct journal_object o[2];
		int n = j->objects(&record, o);

		for (int i = 0; !err && i < n; i++) {
			uint64_t id = htole64(o[i].id);

			if (o[i].changed && !has_object(ret, &id))
				err = buf_add(ret, &id, 8);
		}
	}
	return err;
}

/* Of the entries before this one. What is changed again by a later one need not be told twice: it is stopped anyway when the gap reaches so far. */
static int add_list(struct journal *j, struct buf *entry, uint32_t *ret_before)
{
	static const uint64_t next_older = NEXT_OLDER;
	struct buf list = BUF_INIT;
	size_t between = 0;
	int err = 0;

	for (unsigned i = 0; !err && i < j->recent_count && between < SPOILED - 1; i++) {
		const struct changed *c = &j->recent[i];

		if (list.size + 8 + c->objects.size > LISTED * 8)
			break;
		if (i)
			err = buf_add(&list, &next_older, 8);
		for (size_t at = 0; !err && at < c->objects.size; at += 8) {
			if (!has_object(&list, c->objects.data + at))
				err = buf_add(&list, c->objects.data + at, 8);
		}
		between += i ? whole_sectors(c->size) : 0;
	}
	*ret_before = j->recent_count ? 1 + (uint32_t)(list.size / 8) : 0;
	if (!err && list.size)
		err = buf_add(entry, list.data, list.size);
	buf_release(&list);
	return err;
}

/* Takes `changed`. With too much in it nothing is told of this entry, nor of those before it. */
static void note_recent(struct journal *j, struct buf changed, size_t size)
{
	if (!j->objects || changed.size > LISTED * 8 - 8) {
		buf_release(&changed);
		forget_recent(j);
		return;
	}
	if (j->recent_count == RECENT)
		buf_release(&j->recent[--j->recent_count].objects);
	memmove(j->recent + 1, j->recent, j->recent_count * sizeof(j->recent[0]));
	j->recent[0] = (struct changed){ changed, size };
	j->recent_count++;
}

int journal_append(struct journal *j, struct buf *entry)
{
	struct head h = { .number = htole64(j->last + 1), .mark = htole64(j->mark) };
	off_t offset = (off_t)j->half * JOURNAL_HALF + j->at;
	struct buf changed = BUF_INIT;
	uint32_t before = 0;
	int err = j->objects ? list_changes(j, entry, &changed) : 0;

	if (!err)
		err = add_list(j, entry, &before);
	if (!err && entry->size > JOURNAL_HALF - j->at)
		err = -E2BIG;
	if (err) {
		buf_release(&changed);
		return err;
	}
	h.size = htole32(entry->size);
	h.before = htole32(before);
	note_recent(j, changed, entry->size);
	memcpy(entry->data, &h, sizeof(h));
	h.sum = htole64(sum_of(entry->data + 8, entry->size - 8));
	memcpy(entry->data, &h, sizeof(h));
	j->last++;
	if (!write_through(j, entry, offset)) {
		err = write_all(j->fd, entry->data, entry->size, offset);
		if (!err && fdatasync(j->fd))
			err = -errno;
	}
	if (!err)
		j->at += whole_sectors(entry->size);
	return err;
}
