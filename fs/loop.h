/*
 * Takes requests from the kernel and has them handled, with a few threads.
 *
 * A save is a dozen requests one after the other, and each wakes the daemon and then the application. So one thread reads a request, handles it and
 * reads the next, and for some microseconds it stays awake for that: to be woken takes longer than most requests. Only when clients are several, or a
 * handler takes milliseconds, do other threads read too. And CPUs are kept from sleeping meanwhile, which takes even longer to end, most of all in a
 * virtual machine.
 */
#ifndef FS_LOOP_H
#define FS_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct fuse_session;
struct loop;

/*
 * keep_awake: while requests come and for some milliseconds after the last one no CPU sleeps (pm_qos, /dev/cpu_dma_latency), where the kernel offers that
 * and we may ask. -ENOMEM, -EMFILE, -ENFILE.
 */
int loop_new(bool keep_awake, struct loop **ret);
/* NULL is fine. */
void loop_free(struct loop *l);

/*
 * Serves until the filesystem is unmounted or a signal that libfuse handles ends the session; then all handlers have returned. Once, by the thread that
 * is to get signals. 0, or what the kernel or the starting of threads failed with. Want of memory does not end it: a request waits, or is answered
 * ENOMEM.
 *
 * libfuse may have no memory for a request, and answers ENOMEM before any operation is called. A RELEASE is handled again until it is: there is none after
 * it. Of a WRITE or FLUSH `lost` tells, with the handle's `fh`, before its sender knows.
 */
int loop_run(struct loop *l, struct fuse_session *session, void (*lost)(uint64_t fh, bool flush));

/* To be called by the operations of WRITE, FLUSH and RELEASE: they have the request. */
void loop_reached(void);

#endif
