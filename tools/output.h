/* How historyctl speaks: errors, tables, JSON, progress. */
#ifndef TOOLS_OUTPUT_H
#define TOOLS_OUTPUT_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

/* `historyctl: WHAT: WHY; WHAT TO DO` on standard error; `format` gives all after WHAT. */
void say_error(const char *what, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same for an errno as the store means it, with what can be done about it. */
void say_errno(const char *what, int err);

/* A remark on standard error. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * Decodes the UTF-8 sequence at the head of `size` > 0 bytes: its length, and the character in *ret; for a byte that begins no valid
 * sequence 1 and U+FFFD.
 */
size_t utf8_next(const char *text, size_t size, uint32_t *ret);

/* Whether a character may go to a terminal: no control character. */
bool utf8_printable(uint32_t c);

/* A copy that a terminal can be shown: control characters and invalid UTF-8 become U+FFFD. Out of memory: leaves. Freed by the caller. */
char *text_safe(const char *text);

/* "12.3 MiB", into a buffer of its own that the next four calls leave alone. */
const char *human_size(uint64_t bytes);

/* Local time for people, "2026-03-01 14:02:07"; the same rule for its buffer. */
const char *human_time(struct timespec t);

/* "1 message", "3 messages"; the same rule. */
const char *human_count(uint64_t n, const char *noun);

/* For JSON: 2026-03-01T13:02:07.123456Z. The key must be static. */
void json_time(cJSON *object, const char *key, struct timespec t);
void json_number(cJSON *object, const char *key, uint64_t n);
void json_bool(cJSON *object, const char *key, bool b);
void json_text(cJSON *object, const char *key, const char *text);
cJSON *json_object(void);

/* Prints one object and frees it. */
void json_print(cJSON *object);

/* A list, one element a line: any number of json_rows between begin and end. `rows` starts at 0. */
void json_rows_begin(void);
void json_row(uint64_t *rows, cJSON *object);
void json_rows_end(uint64_t rows);

/* A bar on standard error while it is a terminal; else nothing. `total` 0: not known. */
void progress_begin(const char *label);
void progress_show(uint64_t done, uint64_t total, const char *unit);
void progress_end(void);
bool progress_shown(void);

/* Leaves the program when `p` is NULL. */
void *need(void *p);

#endif
