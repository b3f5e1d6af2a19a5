/* One line per event, to stderr in the foreground and to syslog as a daemon. Any thread. */
#ifndef FS_LOG_H
#define FS_LOG_H

#include <stdbool.h>
#include <syslog.h>

/* From now on to syslog. */
void log_to_syslog(void);

/* priority: LOG_ERR, LOG_WARNING, LOG_INFO. Control characters in the text become '?', so that names cannot forge lines. */
void log_line(int priority, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
