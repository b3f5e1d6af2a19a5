/*
 * Makes allocations of a process fail: preloaded (LD_PRELOAD) into a daemon, which says by
 * STARVE=FILE where it is told what to do, or linked into a test, which calls starve_thread. The
 * functions below take the place of the C library's.
 *
 * FILE is mapped: four numbers of 64 bits, see struct starve.
 */
/* mmap is defined under both of its names: LMDB is built without this, the daemon with it. */
#undef _FILE_OFFSET_BITS
#include "starve.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct starve none, *told = &none;
static _Thread_local struct starve *own;

void starve_thread(struct starve *s)
{
	own = s;
}

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("STARVE");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *p = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE,
					     MAP_SHARED, fd, 0);

	if (p != MAP_FAILED)
		told = p;
	if (fd >= 0)
		close(fd);
}

/* Whether this allocation is to fail. */
static int starved(void)
{
	struct starve *s = own ? own : told;
	uint64_t count = atomic_load_explicit(&s->count, memory_order_relaxed), n;

	if (!count)
		return 0;
	n = atomic_fetch_add(&s->calls, 1) + 1;
	if (n < atomic_load(&s->first) || n >= atomic_load(&s->first) + count)
		return 0;
	atomic_fetch_add(&s->failed, 1);
	errno = ENOMEM;
	return 1;
}

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t align, size_t size);

void *malloc(size_t size)
{
	return starved() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	return starved() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *p, size_t size)
{
	return starved() ? NULL : __libc_realloc(p, size);
}

void *aligned_alloc(size_t align, size_t size)
{
	return starved() ? NULL : __libc_memalign(align, size);
}

int posix_memalign(void **ret, size_t align, size_t size)
{
	void *p = starved() ? NULL : __libc_memalign(align, size);

	if (!p)
		return ENOMEM;
	*ret = p;
	return 0;
}

void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
	return starved() ? MAP_FAILED : (void *)syscall(SYS_mmap, at, size, protection, flags, fd,
							offset);
}

void *mmap64(void *at, size_t size, int protection, int flags, int fd, off64_t offset)
{
	return mmap(at, size, protection, flags, fd, offset);
}

int pthread_create(pthread_t *ret, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
	static int (*next)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

	if (!next)
		*(void **)&next = dlsym(RTLD_NEXT, "pthread_create");
	return starved() ? EAGAIN : next(ret, attr, run, arg);
}
