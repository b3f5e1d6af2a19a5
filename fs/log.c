/* The log. Lines that clients can bring about are counted, so that they can't fill it. */
#include "log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static atomic_bool use_syslog;

void log_to_syslog(void)
{
	openlog("historyfs", LOG_PID, LOG_DAEMON);
	atomic_store(&use_syslog, true);
}

#define BURST_LINES 100
#define BURST_MS 10000

static struct {
	pthread_mutex_t lock;
	/* All under `lock`. */
	int64_t began;		/* milliseconds */
	unsigned lines;
	_Atomic uint64_t more;	/* changed under `lock` only */
} burst = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void vlog(int priority, const char *format, va_list args)
{
	char text[1024];

	if (vsnprintf(text, sizeof(text), format, args) >= (int)sizeof(text))
		memcpy(text + sizeof(text) - 4, "...", 4);
	for (char *c = text; *c; c++) {
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	}
	if (atomic_load(&use_syslog))
		syslog(priority, "%s", text);
	else
		fprintf(stderr, "historyfs: %s%s\n", priority <= LOG_ERR ? "error: " :
			priority == LOG_WARNING ? "warning: " : "", text);
}

void log_line(int priority, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vlog(priority, format, args);
	va_end(args);
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Needs the lock. */
static void burst_end(void)
{
	if (burst.more)
		log_line(LOG_WARNING, "and %llu more lines like the last ones in these %d seconds",
			 (unsigned long long)burst.more, BURST_MS / 1000);
	burst.more = 0;
	burst.lines = 0;
}

void log_often(const char *format, ...)
{
	va_list args;
	bool says;

	pthread_mutex_lock(&burst.lock);
	if (burst.lines && now_ms() >= burst.began + BURST_MS)
		burst_end();
	if (!burst.lines)
		burst.began = now_ms();
	says = burst.lines < BURST_LINES;
	burst.lines += says;
	burst.more += !says;
	va_start(args, format);
	if (says)
		vlog(LOG_WARNING, format, args);
	va_end(args);
	pthread_mutex_unlock(&burst.lock);
}

int log_rest(bool now)
{
	int64_t left;

	if (!atomic_load(&burst.more))
		return -1;
	pthread_mutex_lock(&burst.lock);
	left = burst.began + BURST_MS - now_ms();
	if (now || left <= 0)
		burst_end();
	left = burst.more ? left : -1;
	pthread_mutex_unlock(&burst.lock);
	return (int)left;
}
