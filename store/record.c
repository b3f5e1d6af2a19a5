#include "record.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "doc.h"
#include "journal_entry.h"

static void add_u64(struct key *k, uint64_t v)
{
	v = htobe64(v);
	memcpy(k->data + k->size, &v, 8);
	k->size += 8;
}

struct key key_plain(uint64_t ino, enum record_type type)
{
	struct key k = { .size = 0 };

	add_u64(&k, ino);
	k.data[k.size++] = type;
	return k;
}

struct key key_number(uint64_t ino, enum record_type type, uint64_t number)
{
	struct key k = key_plain(ino, type);

	add_u64(&k, number);
	return k;
}

struct key key_chunk(uint64_t ino, uint32_t number)
{
	struct key k = key_plain(ino, REC_CHUNK);

	number = htobe32(number);
	memcpy(k.data + k.size, &number, 4);
	k.size += 4;
	return k;
}

struct key key_dead(uint64_t ino, uint64_t died, uint64_t pos)
{
	struct key k = key_number(ino, REC_DEAD, died);

	add_u64(&k, pos);
	return k;
}

struct key key_name(uint64_t parent, enum record_type type, const char *name, size_t size)
{
	struct key k = key_number(parent, type, name_hash(name, size));

	memcpy(k.data + k.size, name, size);
	k.size += size;
	return k;
}

struct key key_cookie(uint64_t parent, uint64_t cookie)
{
	return key_number(parent, REC_ENTRY, cookie);
}

uint64_t key_u64(const void *key, size_t at)
{
	uint64_t v;

	memcpy(&v, (const char *)key + at, 8);
	return be64toh(v);
}

/* FNV-1a with a final mix (Fowler, Noll, Vo; murmur3's finalizer by Appleby); positive as an off_t. */
uint64_t name_hash(const char *name, size_t size)
{
	uint64_t h = 0xcbf29ce484222325u;

	for (size_t i = 0; i < size; i++)
		h = (h ^ (unsigned char)name[i]) * 0x100000001b3u;
	h ^= h >> 33;
	h *= 0xff51afd7ed558ccdu;
	h ^= h >> 33;
	h &= INT64_MAX;
	return h < 16 ? h + 16 : h;
}

static uint64_t of_name(const void *key, size_t size)
{
	return name_hash(key, size) | 1ull << 63;
}

/*
 * A directory's attributes change with each of its names, so they only need the name that it has itself. What is in a directory
 * only matters to who removes it.
 */
int record_objects(const struct entry_record *r, struct journal_object ret[2])
{
	unsigned char type = r->key_size >= KEY_PREFIX ? r->key[8] : 0;
	uint64_t ino = type ? key_u64(r->key, 0) : 0;
	struct key dir = key_plain(ino, REC_ENTRY);
	struct rec_attr a;

	switch (type) {
	case REC_ENTRY:
		ret[1] = (struct journal_object){ of_name(dir.data, dir.size), true, false };
		ret[0] = (struct journal_object){ of_name(r->key, r->key_size), true, true };
		return 2;
	case REC_TOMB:
	case REC_IMPORT:
		ret[0] = (struct journal_object){ of_name(r->key, r->key_size), true, true };
		return 1;
	case REC_NEXT:
	case REC_SUPER:
		return 0;
	case REC_ORPHAN:
		ino = r->key_size >= 17 ? key_u64(r->key, 9) : 0;
		break;
	case REC_ATTR:
		ret[1] = (struct journal_object){ of_name(dir.data, dir.size), false, true };
		if (!r->value)
			break;
		if (r->value_size < sizeof(a) || r->value_size > sizeof(a) + STORE_NAME_MAX)
			break;
		memcpy(&a, r->value, sizeof(a));
		if (a.kind == STORE_DIRECTORY) {
			struct key name = key_name(a.parent, REC_ENTRY, r->value + sizeof(a), r->value_size - sizeof(a));

			ret[0] = (struct journal_object){ of_name(name.data, name.size), false, true };
			return a.parent ? 1 : 0;
		}
		break;
	}
	ret[0] = (struct journal_object){ ino & INT64_MAX, true, true };
	return type == REC_ATTR && !r->value ? 2 : 1;
}

int record_get(struct db_txn *txn, const struct key *key, void *ret, size_t size, struct db_value *ret_rest)
{
	struct db_value v;
	int err = db_get(txn, key->data, key->size, &v);

	if (err)
		return err;
	if (v.size < size)
		return -EUCLEAN;
	memcpy(ret, v.data, size);
	if (ret_rest)
		*ret_rest = (struct db_value){ (const char *)v.data + size, v.size - size };
	return 0;
}

int record_put(struct db_txn *txn, const struct key *key, const void *value, size_t size)
{
	return db_put(txn, key->data, key->size, value, size);
}

int record_del(struct db_txn *txn, const struct key *key)
{
	return db_del(txn, key->data, key->size);
}

int attr_get(struct db_txn *txn, uint64_t ino, struct rec_attr *ret, char name[STORE_NAME_MAX + 1])
{
	struct key key = key_plain(ino, REC_ATTR);
	struct db_value rest;
	int err = record_get(txn, &key, ret, sizeof(*ret), &rest);

	if (err)
		return err;
	if (rest.size > STORE_NAME_MAX)
		return -EUCLEAN;
	if (name) {
		memcpy(name, rest.data, rest.size);
		name[rest.size] = 0;
	}
	return 0;
}

int attr_put(struct db_txn *txn, uint64_t ino, const struct rec_attr *attr, const char *name)
{
	struct key key = key_plain(ino, REC_ATTR);
	char value[sizeof(*attr) + STORE_NAME_MAX];
	size_t size = strlen(name);

	memcpy(value, attr, sizeof(*attr));
	memcpy(value + sizeof(*attr), name, size);
	return record_put(txn, &key, value, sizeof(*attr) + size);
}

int attr_load(struct db_txn *txn, uint64_t ino, struct store_attr *ret)
{
	struct key key = key_plain(ino, REC_HEAD);
	struct store_attr out = { .ino = ino };
	struct rec_attr a;
	struct rec_head h;
	int err = attr_get(txn, ino, &a, out.name);

	if (err)
		return err;
	out.kind = a.kind;
	out.parent = a.parent;
	out.mode = a.mode;
	out.uid = a.uid;
	out.gid = a.gid;
	out.size = a.size;
	out.atime = time_unpack(a.atime);
	out.mtime = time_unpack(a.mtime);
	out.ctime = time_unpack(a.ctime);
	if (a.kind == STORE_DOCUMENT) {
		err = record_get(txn, &key, &h, sizeof(h), NULL);
		if (err)
			return err == -ENOENT ? -EUCLEAN : err;
		out.version = h.version - h.unlinked;
		out.size = h.size;
		out.messages = h.count;
		out.lines = h.kind == DOC_LINES;
		out.renamed = a.flags & ATTR_RENAMED;
		if (a.mtime_version != h.version)
			out.mtime = time_unpack(h.mtime);
		if (h.mtime > a.ctime)
			out.ctime = time_unpack(h.mtime);
	}
	*ret = out;
	return 0;
}

int entry_get(struct db_txn *txn, uint64_t parent, enum record_type type, const char *name, struct rec_entry *ret)
{
	size_t size = strlen(name);
	struct key key;

	if (size > STORE_NAME_MAX)
		return -ENAMETOOLONG;
	key = key_name(parent, type, name, size);
	return record_get(txn, &key, ret, sizeof(*ret), NULL);
}

int entry_put(struct db_txn *txn, uint64_t parent, enum record_type type, const char *name, uint64_t ino, enum store_kind kind)
{
	struct rec_entry e = { .ino = ino, .kind = kind };
	struct key key = key_name(parent, type, name, strlen(name));

	return record_put(txn, &key, &e, sizeof(e));
}

int entry_del(struct db_txn *txn, uint64_t parent, enum record_type type, const char *name)
{
	struct key key = key_name(parent, type, name, strlen(name));

	return record_del(txn, &key);
}

int64_t time_pack(struct timespec t)
{
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

struct timespec time_unpack(int64_t t)
{
	struct timespec ts = { t / 1000000000, t % 1000000000 };

	if (ts.tv_nsec < 0) {
		ts.tv_nsec += 1000000000;
		ts.tv_sec--;
	}
	return ts;
}

int64_t time_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return time_pack(t);
}
