/* The files of a store's directory: made so that a crash leaves either none or a whole one, and locked between processes. */
#ifndef STORE_DB_FILE_H
#define STORE_DB_FILE_H

#include <stdbool.h>
#include <stdint.h>

/* In all of these `dir` is a descriptor of the store's directory, as db_dir_open gives it. */

/* Size of the data file in bytes; 0 when there is none. */
uint64_t db_file_size(int dir);

/* The data file, to be read. As open(2). */
int db_file_open_data(int dir);

/* 0 when there is a data file; -ENOENT; -EUCLEAN when it is empty; other errors as stat(2). */
int db_file_present(int dir);

/*
 * When the directory holds no data file, *ret is a new directory inside it in which to create one, and *ret_name its name (free
 * both through db_file_install); else *ret_name is NULL.
 */
int db_file_prepare(int dir, char **ret_name, int *ret);

/*
 * With err 0: makes the data file made in `fresh` that of the store, durably, unless another process was faster. Removes `fresh`, closes it
 * and frees its name. Returns err, or its own.
 */
int db_file_install(int dir, char *name, int fresh, int err);

/* An empty file without a name in the directory, for reading and writing. -ENOSPC, -EMFILE, and as open(2). */
int db_file_temp(int dir, int *ret_fd);

/* Makes the names in the directory durable. */
int db_file_sync(int dir);

/*
 * Gives LMDB's table of readers its room on disk: it is written through a map, where a full disk would be SIGBUS.
 * -ENOSPC, -EDQUOT, and as open(2).
 */
int db_file_reserve(int dir);

/* Sets room aside, as far as there is any, and gives it back to the disk: so that on a full one what removes can be written. */
void db_file_keep_spare(int dir);
void db_file_use_spare(int dir);

/* Whether the disk has hardly any room left. */
bool db_file_disk_full(int dir);

/* The lock between processes. A lock is granted in the order of asking. */
int db_file_lock_open(int dir, bool read_only, int *ret_fd);
int db_file_lock(int fd);
void db_file_unlock(int fd);
/* Keeps others from taking the lock, if none has it; does not wait. For who only reads. */
bool db_file_hold(int fd);

/*
 * Notes that this journal entry is on disk, so that its loss can be told. The note is not synced: after a loss of power it may be of an earlier one.
 * For who holds the lock. Reading: zeros when there is none.
 */
void db_file_note(int fd, uint64_t number, uint64_t mark);
void db_file_noted(int fd, uint64_t *ret_number, uint64_t *ret_mark);

/* Marks the store as in use by this process. */
int db_file_join(int fd);
/* Whether no other process has it in use. */
bool db_file_alone(int fd);

#endif
