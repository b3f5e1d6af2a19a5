/*
 * Quick answers. A save is a dozen requests one after the other, and each wakes the daemon and then the application: on a CPU that has gone
 * to sleep meanwhile that takes longer than the request itself, most of all in a virtual machine. While requests come, the
 * kernel is asked (pm_qos, /dev/cpu_dma_latency) to let no CPU sleep; a few milliseconds after the last one it may again.
 */
#ifndef FS_LATENCY_H
#define FS_LATENCY_H

struct latency;

/* 0 with NULL in *ret where the kernel does not offer it, or not to us: only root may ask. -ENOMEM, -EAGAIN. */
int latency_new(struct latency **ret);
/* NULL is fine. */
void latency_free(struct latency *l);

/* A request has come. Any thread. NULL is fine. */
void latency_note(struct latency *l);

#endif
