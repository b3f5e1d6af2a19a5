/*
 * The floor on disk: LMDB alone, two puts (a message and its session's header) in one durable transaction.
 *
 *	bench_lmdb DIR PREFILL APPENDS	the session gets PREFILL messages first when it is new
 */
#include "bench.h"

#include <endian.h>
#include <lmdb.h>
#include <stdint.h>
#include <sys/stat.h>

struct key {
	uint64_t session;
	char type;
	uint64_t position;
} __attribute__((packed));

struct header {
	uint64_t count, fields[7];
};

static MDB_env *env;
static MDB_dbi dbi;

static void check(int err, const char *what)
{
	if (err)
		die("%s: %s", what, mdb_strerror(err));
}

static void put(MDB_txn *txn, char type, uint64_t position, size_t key_size, void *data, size_t size)
{
	struct key key = { .session = htobe64(1), .type = type, .position = htobe64(position) };

	check(mdb_put(txn, dbi, &(MDB_val){ key_size, &key }, &(MDB_val){ size, data }, 0), "mdb_put");
}

static void append(MDB_txn *txn, struct header *h)
{
	char message[MESSAGE_MAX];
	size_t size = make_message(message, 0, h->count);

	put(txn, 'M', h->count++, sizeof(struct key), message, size);
	put(txn, 'N', 0, 9, h, sizeof(*h));
}

static struct header header(MDB_txn *txn)
{
	struct key key = { .session = htobe64(1), .type = 'N' };
	struct header h = { 0 };
	MDB_val value;
	int err = mdb_get(txn, dbi, &(MDB_val){ 9, &key }, &value);

	if (err != MDB_NOTFOUND) {
		check(err, "mdb_get");
		memcpy(&h, value.mv_data, sizeof(h));
	}
	return h;
}

static void work(struct run *r, size_t worker)
{
	MDB_txn *txn;

	run_go(r);
	for (size_t i = 0; i < r->each; i++) {
		double start = now();
		struct header h;

		check(mdb_txn_begin(env, NULL, 0, &txn), "mdb_txn_begin");
		h = header(txn);
		append(txn, &h);
		check(mdb_txn_commit(txn), "mdb_txn_commit");
		r->times[i] = now() - start;
	}
}

int main(int argc, char **argv)
{
	struct header h;
	MDB_txn *txn;

	if (argc != 4)
		die("usage: bench_lmdb DIR PREFILL APPENDS");
	if (mkdir(argv[1], 0700) && errno != EEXIST)
		die("%s: %s", argv[1], strerror(errno));
	check(mdb_env_create(&env), "mdb_env_create");
	check(mdb_env_set_mapsize(env, 1ul << 34), "mdb_env_set_mapsize");
	check(mdb_env_open(env, argv[1], 0, 0600), argv[1]);
	check(mdb_txn_begin(env, NULL, 0, &txn), "mdb_txn_begin");
	check(mdb_dbi_open(txn, NULL, 0, &dbi), "mdb_dbi_open");
	h = header(txn);
	for (size_t n = number(argv[2]); h.count < n;)
		append(txn, &h);
	check(mdb_txn_commit(txn), "mdb_txn_commit");
	run(1, number(argv[3]), true, work, NULL);
	mdb_env_close(env);
	return 0;
}
