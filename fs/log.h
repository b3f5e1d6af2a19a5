/* One line per event, to stderr in the foreground and to syslog as a daemon. Any thread. */
#ifndef FS_LOG_H
#define FS_LOG_H

#include <stdbool.h>
#include <syslog.h>

/* From now on to syslog. */
void log_to_syslog(void);

/*
 * priority: LOG_ERR, LOG_WARNING, LOG_INFO. Control characters in the text become '?', so that
 * names cannot forge lines.
 */
void log_line(int priority, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * The same (a warning), for what clients can bring about as often as they like: of a burst the
 * first 100 lines. A burst ends 10 seconds after its first line; then a line says how many there
 * were beside.
 */
void log_often(const char *format, ...) __attribute__((format(printf, 1, 2)));
/*
 * Says so when it is time. Milliseconds until it will be, or -1: nothing waits. `now`: however
 * early it is.
 */
int log_rest(bool now);

#endif
