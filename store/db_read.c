#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "db_inside.h"

int db_read_begin(struct db *db, struct db_txn **ret)
{
	struct db_txn *txn = calloc(1, sizeof(*txn));
	int err;

	if (!txn)
		return -ENOMEM;
	txn->db = db;
	txn->kind = READ;
	pthread_rwlock_rdlock(&db->memory);
	if (!disk_is_open(db->disk)) {
		/* It could not be opened again when the disk failed. */
		pthread_rwlock_unlock(&db->memory);
		pthread_mutex_lock(&db->update);
		if (!disk_is_open(db->disk))
			db_reopen(db);
		pthread_mutex_unlock(&db->update);
		pthread_rwlock_rdlock(&db->memory);
	}
	err = disk_read_begin(db->disk, &txn->disk);
	if (err) {
		pthread_rwlock_unlock(&db->memory);
		free(txn);
		return err;
	}
	/* Until it is thawed, what has just been committed is newer than what lies over it. */
	txn->thawed = disk_txn_id(txn->disk) >= atomic_load(&db->flight_id);
	*ret = txn;
	return 0;
}

void db_read_end(struct db_txn *txn)
{
	struct db *db;

	if (!txn)
		return;
	db = txn->db;
	disk_read_end(db->disk, txn->disk);
	pthread_rwlock_unlock(&db->memory);
	free(txn);
}

static bool in_conflict(struct db_txn *txn, const void *key, size_t size)
{
	if (txn->kind == UPDATE && txn->db->flight && mem_get(txn->db->flight, key, size))
		txn->conflict = true;
	return txn->conflict;
}

int db_get(struct db_txn *txn, const void *key, size_t key_size, struct db_value *ret)
{
	const struct mem_node *n = mem_get(&txn->local, key, key_size);

	if (!n && in_conflict(txn, key, key_size))
		return -EAGAIN;
	/* The first records of a store have nothing beneath them. */
	if (!n && !txn->db)
		return -ENOENT;
	if (!n)
		n = mem_get(&txn->db->mem, key, key_size);
	if (!n && !txn->thawed)
		n = mem_get(&txn->db->frozen, key, key_size);
	if (!n)
		return disk_get(txn->db->disk, txn->disk, key, key_size, ret);
	if (n->removed)
		return -ENOENT;
	*ret = (struct db_value){ n->value, n->value_size };
	return 0;
}

static int change(struct db_txn *txn, const void *key, size_t key_size, const void *value, size_t value_size)
{
	int err;

	if (key_size > 511)
		return -ENAMETOOLONG;
	if (in_conflict(txn, key, key_size))
		return -EAGAIN;
	/* What could never reach the disk is refused now. The first records of a store have none yet. */
	err = txn->db ? disk_check(txn->db->disk, txn->disk, key, key_size, !value) : 0;
	if (err)
		return err;
	return mem_put(&txn->local, key, key_size, value, value_size);
}

int db_put(struct db_txn *txn, const void *key, size_t key_size, const void *value, size_t value_size)
{
	return change(txn, key, key_size, value ? value : "", value_size);
}

int db_del(struct db_txn *txn, const void *key, size_t key_size)
{
	return change(txn, key, key_size, NULL, 0);
}

/* ---- Scanning ------------------------------------------------------------------------------------------------- */

int db_survey(struct db_txn *txn, void (*problem)(void *arg, const char *text), void *arg)
{
	return disk_survey(txn->db->disk, txn->disk, problem, arg);
}

static void read_disk(struct db_scan *s)
{
	s->disk_value = (struct db_value){ 0 };
	s->disk_err = s->cursor ? disk_cursor_next(s->cursor, &s->disk_key, &s->disk_value) : -ENOENT;
	if (s->disk_err == -ENOENT) {
		s->disk_key = (struct db_value){ 0 };
		s->disk_err = 0;
	}
}

int db_scan_begin(struct db_scan *s, struct db_txn *txn, const void *key, size_t key_size, size_t prefix)
{
	int err;

	*s = (struct db_scan){ .txn = txn, .prefix_size = prefix };
	memcpy(s->prefix, key, prefix);
	/* Keys in flight are known one by one, not as ranges. */
	if (txn->kind == UPDATE && txn->db->flight && txn->db->flight->count) {
		txn->conflict = true;
		return -EAGAIN;
	}
	err = disk_cursor_open(txn->db->disk, txn->disk, key, key_size, &s->cursor);
	if (err)
		return err;
	read_disk(s);
	s->layers[0] = mem_seek(&txn->local, key, key_size);
	s->layers[1] = mem_seek(&txn->db->mem, key, key_size);
	if (!txn->thawed)
		s->layers[2] = mem_seek(&txn->db->frozen, key, key_size);
	return 0;
}

static int order(const struct mem_node *n, const struct db_value *key)
{
	if (!key->data)
		return -1;
	return mem_compare(n->key, n->key_size, key->data, key->size);
}

/* The first of what the layers have next, and the newest where several have it. All that have it go on. */
static int take_next(struct db_scan *s, struct db_value *ret_key, struct db_value *ret_value, bool *ret_removed)
{
	struct db_value key = s->disk_key, value = s->disk_value;
	bool removed = false;
	int err = s->disk_err;

	if (err && !key.data) {
		/* A page that begins behind the range has none of it. */
		bool behind = value.size >= s->prefix_size && memcmp(value.data, s->prefix, s->prefix_size) > 0;

		if (!behind) {
			read_disk(s);
			return err;
		}
		s->disk_err = err = 0;
	}
	for (int i = 2; i >= 0; i--) {
		const struct mem_node *n = s->layers[i];

		if (!n || order(n, &key) > 0)
			continue;
		key = (struct db_value){ n->key, n->key_size };
		value = (struct db_value){ n->value, n->value_size };
		removed = n->removed;
		err = 0;
	}
	if (!key.data)
		return -ENOENT;
	for (int i = 0; i < 3; i++) {
		if (s->layers[i] && order(s->layers[i], &key) == 0)
			s->layers[i] = s->layers[i]->next[0];
	}
	if (s->disk_key.data && mem_compare(s->disk_key.data, s->disk_key.size, key.data, key.size) == 0)
		read_disk(s);
	*ret_key = key;
	*ret_value = value;
	*ret_removed = removed;
	return err;
}

int db_scan_next(struct db_scan *s, struct db_value *ret_key, struct db_value *ret_value)
{
	struct db_value key = { 0 }, value;
	bool removed = false;
	int err;

	do {
		key = (struct db_value){ 0 };
		err = take_next(s, &key, &value, &removed);
		if (err && err != -EUCLEAN)
			return err;
		/* Without a key what is damaged may be of this range, or beside it. */
		if ((!err || key.data) && (key.size < s->prefix_size || memcmp(key.data, s->prefix, s->prefix_size) != 0))
			return -ENOENT;
		if (err && !s->past_damage) {
			*ret_key = key;
			return err;
		}
		s->damaged += err != 0;
	} while (err || removed);
	*ret_key = key;
	*ret_value = value;
	return 0;
}

void db_scan_end(struct db_scan *s)
{
	disk_cursor_close(s->cursor);
	s->cursor = NULL;
}
