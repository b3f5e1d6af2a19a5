/*
 * The end of LMDB's file. A page that was taken and given back within one transaction is never written, so the file may be
 * shorter than its last page number says; then the missing pages are all in LMDB's list of free pages. If one is not, the file was truncated,
 * and reading it would be SIGBUS. LMDB has no call that tells, and its own reading of the list goes through the map.
 */
#ifndef STORE_DB_TAIL_H
#define STORE_DB_TAIL_H

#include <stdint.h>

/*
 * Checks the data file as transaction `id` left it, of which the caller has a read transaction open. -EUCLEAN when a page in use is missing;
 * -EAGAIN when the file has gone on and no longer tells: try with a later transaction.
 */
int db_tail_check(int fd, uint64_t id);

#endif
