/*
 * Processes that insert messages into SQLite: write-ahead log, one row a message, an index on session_id.
 *
 *	bench_sqlite FILE WRITERS INSERTS FULL|NORMAL
 */
#include "bench.h"

#include <sqlite3.h>

struct job {
	const char *file, *synchronous;
};

static sqlite3 *open_database(const struct job *job)
{
	sqlite3 *db;
	char text[512], *error;

	if (sqlite3_open(job->file, &db) != SQLITE_OK)
		die("%s: %s", job->file, sqlite3_errmsg(db));
	sqlite3_busy_timeout(db, 60000);
	snprintf(text, sizeof(text),
		 "PRAGMA journal_mode=WAL; PRAGMA synchronous=%s;"
		 "CREATE TABLE IF NOT EXISTS message(id INTEGER PRIMARY KEY, session_id TEXT NOT NULL, body TEXT NOT NULL);"
		 "CREATE INDEX IF NOT EXISTS message_session ON message(session_id);", job->synchronous);
	if (sqlite3_exec(db, text, NULL, NULL, &error) != SQLITE_OK)
		die("%s: %s", job->file, error);
	return db;
}

static void work(struct run *r, size_t worker)
{
	sqlite3 *db = open_database(r->arg);
	char message[MESSAGE_MAX], session[32];
	sqlite3_stmt *insert;

	snprintf(session, sizeof(session), "session-%zu", worker);
	if (sqlite3_prepare_v2(db, "INSERT INTO message(session_id, body) VALUES(?, ?)", -1, &insert, NULL) != SQLITE_OK)
		die("prepare: %s", sqlite3_errmsg(db));
	run_go(r);
	for (size_t i = 0; i < r->each; i++) {
		double start = now();
		int size = make_message(message, worker, i);

		sqlite3_bind_text(insert, 1, session, -1, SQLITE_STATIC);
		sqlite3_bind_text(insert, 2, message, size, SQLITE_STATIC);
		if (sqlite3_step(insert) != SQLITE_DONE || sqlite3_reset(insert) != SQLITE_OK)
			die("insert: %s", sqlite3_errmsg(db));
		r->times[worker * r->each + i] = now() - start;
	}
	sqlite3_finalize(insert);
	sqlite3_close(db);
}

int main(int argc, char **argv)
{
	struct job job;

	if (argc != 5)
		die("usage: bench_sqlite FILE WRITERS INSERTS FULL|NORMAL");
	job = (struct job){ argv[1], argv[4] };
	sqlite3_close(open_database(&job));
	run(number(argv[2]), number(argv[3]), false, work, &job);
	return 0;
}
