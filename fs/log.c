#include "log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

static atomic_bool use_syslog;

void log_to_syslog(void)
{
	openlog("historyfs", LOG_PID, LOG_DAEMON);
	atomic_store(&use_syslog, true);
}

void log_line(int priority, const char *format, ...)
{
	char text[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	for (char *c = text; *c; c++) {
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	}
	if (atomic_load(&use_syslog))
		syslog(priority, "%s", text);
	else
		fprintf(stderr, "historyfs: %s%s\n", priority <= LOG_ERR ? "error: " : priority == LOG_WARNING ? "warning: " : "", text);
}
