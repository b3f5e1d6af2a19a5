/*
 * Whether the system has memory for something large: asked before a document is committed that
 * needs so much that the process would be ended, not told (overcommit, a cgroup's limit). A guess:
 * others take memory meanwhile.
 */
#ifndef STORE_ROOM_H
#define STORE_ROOM_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Bytes that can be had, swap included, in this process's cgroup and those above it; UINT64_MAX:
 * not known. Takes some file reads.
 */
uint64_t room_available(void);

#endif
