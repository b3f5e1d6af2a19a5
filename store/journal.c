#include "journal.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "db_file.h"

#define SECTOR 512	/* entries begin at one, so that writing the next does not touch the last */
#define DIRECT (64u << 10)	/* bytes: smaller entries go past the page cache */
#define REMOVED UINT32_MAX

struct journal {
	int fd;
	int direct;	/* -1: the disk takes none */
	char *sectors;	/* what is written directly: DIRECT bytes, aligned */
	int half;
	size_t at;
	uint64_t last, mark;
};

/* An entry on disk; its records follow: size of the key (2), size of the value or REMOVED (4), key, value. All little-endian. */
struct head {
	uint64_t sum;	/* of all that follows */
	uint64_t number;
	uint64_t mark;
	uint32_t size;	/* of the entry with its head */
	uint32_t unused;
} __attribute__((packed));

/* FNV-1a, in words of 64 bits, with the halves mixed: what has to be told from a torn entry. */
static uint64_t sum_of(const char *bytes, size_t size)
{
	uint64_t h = 0xcbf29ce484222325u, word;

	for (; size; bytes += sizeof(word)) {
		size_t n = size < sizeof(word) ? size : sizeof(word);

		word = 0;
		memcpy(&word, bytes, n);
		h = (h ^ le64toh(word)) * 0x100000001b3u;
		h ^= h >> 29;
		size -= n;
	}
	return h;
}

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

int journal_open(int dir, bool read_only, struct journal **ret)
{
	struct journal *j;
	struct stat st;
	int fd, err;

	fd = openat(dir, "journal", (read_only ? O_RDONLY : O_RDWR) | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = fstat(fd, &st) ? -errno : st.st_size != 2 * JOURNAL_HALF ? -EUCLEAN : 0;
	j = err ? NULL : calloc(1, sizeof(*j));
	if (!j) {
		close(fd);
		return err ? err : -ENOMEM;
	}
	j->fd = fd;
	j->direct = read_only || posix_memalign((void **)&j->sectors, 4096, DIRECT) ?
		    -1 : openat(dir, "journal", O_WRONLY | O_DIRECT | O_DSYNC | O_NOFOLLOW | O_CLOEXEC);
	*ret = j;
	return 0;
}

void journal_close(struct journal *j)
{
	if (!j)
		return;
	close(j->fd);
	if (j->direct >= 0)
		close(j->direct);
	free(j->sectors);
	free(j);
}

/* ---- Replaying ------------------------------------------------------------------------------------------------ */

static size_t whole_sectors(size_t size)
{
	return (size + SECTOR - 1) / SECTOR * SECTOR;
}

/* Whether a whole entry begins at `at`. */
static bool entry_at(const char *half, size_t at, struct head *ret)
{
	struct head h;

	if (at + sizeof(h) > JOURNAL_HALF)
		return false;
	memcpy(&h, half + at, sizeof(h));
	h = (struct head){ le64toh(h.sum), le64toh(h.number), le64toh(h.mark), le32toh(h.size), 0 };
	if (h.size < sizeof(h) || h.size > JOURNAL_HALF - at || sum_of(half + at + 8, h.size - 8) != h.sum)
		return false;
	*ret = h;
	return true;
}

static int apply(const char *at, const char *end, struct mem *to)
{
	while (at < end) {
		uint16_t key_size;
		uint32_t value_size;
		int err;

		if (end - at < 6)
			return -EUCLEAN;
		memcpy(&key_size, at, 2);
		memcpy(&value_size, at + 2, 4);
		key_size = le16toh(key_size);
		value_size = le32toh(value_size);
		at += 6;
		if (end - at < key_size || (value_size != REMOVED && (size_t)(end - at) - key_size < value_size))
			return -EUCLEAN;
		err = mem_put(to, at, key_size, value_size == REMOVED ? NULL : at + key_size, value_size == REMOVED ? 0 : value_size);
		if (err)
			return err;
		at += key_size + (value_size == REMOVED ? 0 : value_size);
	}
	return 0;
}

/* The run of entries at the beginning of a half: those that follow *last count, others are taken already. */
static int replay_half(const char *half, uint64_t mark, struct mem *to, uint64_t *last)
{
	struct head h;
	size_t at = 0;
	int err = 0;

	for (uint64_t number = 0; !err && entry_at(half, at, &h) && (!at || h.number == number); number = h.number + 1) {
		if (h.mark - mark <= 1 && h.number > *last + 1)
			return -EUCLEAN;
		if (h.mark - mark <= 1 && h.number == *last + 1) {
			err = apply(half + at + sizeof(h), half + at + h.size, to);
			*last = h.number;
		}
		at += whole_sectors(h.size);
	}
	return err;
}

int journal_replay(struct journal *j, const struct journal_place *place, struct mem *to, uint64_t *ret_last)
{
	char *bytes = malloc(2 * JOURNAL_HALF);
	uint64_t last = place->taken;
	struct head h[2];
	int older, err = 0;

	if (!bytes)
		return -ENOMEM;
	for (size_t at = 0; at < 2 * JOURNAL_HALF;) {
		ssize_t n = pread(j->fd, bytes + at, 2 * JOURNAL_HALF - at, at);

		if (n <= 0) {
			err = n ? -errno : -EUCLEAN;
			goto out;
		}
		at += n;
	}
	for (int i = 0; i < 2; i++) {
		if (!entry_at(bytes + i * JOURNAL_HALF, 0, &h[i]))
			h[i].number = UINT64_MAX;
		/* The tree is older than this journal: a copy, put in the place of the one that it belongs to. */
		else if (h[i].mark - place->mark > 1 && h[i].mark - place->mark < UINT32_MAX)
			goto none;
	}
	older = h[1].number < h[0].number;
	err = replay_half(bytes + older * JOURNAL_HALF, place->mark, to, &last);
	if (!err)
		err = replay_half(bytes + !older * JOURNAL_HALF, place->mark, to, &last);
none:
	if (!err)
		*ret_last = last;
out:
	free(bytes);
	return err;
}

/* ---- Appending ------------------------------------------------------------------------------------------------ */

void journal_restart(struct journal *j, const struct journal_place *place)
{
	j->last = place->taken;
	j->mark = place->mark;
	j->half = 0;
	j->at = 0;
}

uint64_t journal_last(const struct journal *j)
{
	return j->last;
}

size_t journal_used(const struct journal *j)
{
	return j->at;
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

int journal_append(struct journal *j, struct buf *entry)
{
	struct head h = { .number = htole64(j->last + 1), .mark = htole64(j->mark), .size = htole32(entry->size) };
	off_t offset = (off_t)j->half * JOURNAL_HALF + j->at;
	int err = 0;

	if (entry->size > JOURNAL_HALF - j->at)
		return -E2BIG;
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
