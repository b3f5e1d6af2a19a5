#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "output.h"
#include "tool.h"

/* ---- Errors ---- */

static struct {
	const char *label;	/* NULL: no bar */
	bool drawn;
	uint64_t next_ms;
} progress;

static void progress_clear(void)
{
	if (progress.drawn)
		fputs("\r\033[K", stderr);
	progress.drawn = false;
}

void say_error(const char *what, const char *format, ...)
{
	char *safe = text_safe(*what ? what : "\"\"");
	va_list args;

	progress_clear();
	fflush(stdout);
	fprintf(stderr, "historyctl: %s: ", safe);
	free(safe);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

void say_errno(const char *what, int err)
{
	static const struct {
		int err;
		const char *todo;
	} hints[] = {
		{ EACCES, "run it as the owner of the store" },
		{ EPERM, "run it as the owner of the store" },
		{ EROFS, "it can be read, not changed" },
		{ ENOSPC, "make room on the disk and try again" },
		{ EDQUOT, "make room on the disk and try again" },
		{ EUCLEAN, "`historyctl verify` says what is wrong" },
		{ EBUSY, "unmount it first" },
		{ EPROTO, "use the version of historyfs that wrote it, or a newer one" },
		{ ENOTCONN, "its daemon is gone: mount it again, or give --store STORE" },
	};
	const char *todo = NULL;

	err = abs(err);
	for (size_t i = 0; i < sizeof(hints) / sizeof(*hints); i++)
		if (hints[i].err == err)
			todo = hints[i].todo;
	say_error(what, "%s%s%s", store_strerror(err), todo ? "; " : "", todo ? todo : "");
}

void say(const char *format, ...)
{
	va_list args;

	progress_clear();
	fflush(stdout);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

void *need(void *p)
{
	if (!p) {
		say_errno("memory", ENOMEM);
		exit(EXIT_FAILED);
	}
	return p;
}

/* ---- Text ---- */

size_t utf8_next(const char *text, size_t size, uint32_t *ret)
{
	static const struct {
		unsigned char mask, lead;
		uint32_t least;
	} forms[] = { { 0x80, 0x00, 0 }, { 0xe0, 0xc0, 0x80 }, { 0xf0, 0xe0, 0x800 }, { 0xf8, 0xf0, 0x10000 } };
	const unsigned char *b = (const unsigned char *)text;

	for (size_t n = 0; n < 4 && n < size; n++) {
		uint32_t c = b[0] & (unsigned char)~forms[n].mask;
		size_t i = 1;

		if ((b[0] & forms[n].mask) != forms[n].lead)
			continue;
		for (; i <= n && (b[i] & 0xc0) == 0x80; i++)
			c = c << 6 | (b[i] & 0x3f);
		if (i <= n || c < forms[n].least || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
			break;
		*ret = c;
		return n + 1;
	}
	*ret = 0xfffd;
	return 1;
}

bool utf8_printable(uint32_t c)
{
	return c >= 0x20 && !(c >= 0x7f && c < 0xa0);
}

/* `text` with invalid UTF-8, and with `terminal` also control characters, replaced. */
static char *text_valid(const char *text, bool terminal)
{
	size_t size = strlen(text), at = 0;
	char *safe = need(malloc(size * 3 + 1)), *to = safe;

	while (at < size) {
		uint32_t c;
		size_t n = utf8_next(text + at, size - at, &c);

		if ((c == 0xfffd && n == 1) || (terminal && !utf8_printable(c))) {
			memcpy(to, "\xef\xbf\xbd", 3);
			to += 3;
		} else {
			memcpy(to, text + at, n);
			to += n;
		}
		at += n;
	}
	*to = '\0';
	return safe;
}

char *text_safe(const char *text)
{
	return text_valid(text, true);
}

static char *human_buffer(void)
{
	static char buffers[5][48];
	static unsigned next;

	return buffers[next++ % 5];
}

const char *human_size(uint64_t bytes)
{
	static const char units[] = "KMGTPE";
	char *buf = human_buffer();
	double size = (double)bytes / 1024;
	int unit = 0;

	if (bytes < 1024) {
		snprintf(buf, 48, "%u B", (unsigned)bytes);
		return buf;
	}
	for (; size >= 1023.95 && units[unit + 1]; unit++)
		size /= 1024;
	snprintf(buf, 48, "%.1f %ciB", size, units[unit]);
	return buf;
}

const char *human_time(struct timespec t)
{
	char *buf = human_buffer();
	struct tm tm;

	if (!localtime_r(&t.tv_sec, &tm) || !strftime(buf, 48, "%Y-%m-%d %H:%M:%S", &tm))
		snprintf(buf, 48, "@%lld", (long long)t.tv_sec);
	return buf;
}

const char *human_count(uint64_t n, const char *noun)
{
	char *buf = human_buffer();

	snprintf(buf, 48, "%llu %s%s", (unsigned long long)n, noun, n == 1 ? "" : "s");
	return buf;
}

/* ---- JSON ---- */

cJSON *json_object(void)
{
	return need(cJSON_CreateObject());
}

static void json_add(cJSON *object, const char *key, cJSON *value)
{
	cJSON_AddItemToObjectCS(object, key, need(value));
}

void json_number(cJSON *object, const char *key, uint64_t n)
{
	char text[24];

	/* As text: cJSON's numbers are doubles, exact up to 2^53 only. */
	snprintf(text, sizeof(text), "%llu", (unsigned long long)n);
	json_add(object, key, cJSON_CreateRaw(text));
}

void json_bool(cJSON *object, const char *key, bool b)
{
	json_add(object, key, cJSON_CreateBool(b));
}

void json_text(cJSON *object, const char *key, const char *text)
{
	char *valid = text ? text_valid(text, false) : NULL;

	json_add(object, key, valid ? cJSON_CreateString(valid) : cJSON_CreateNull());
	free(valid);
}

void json_time(cJSON *object, const char *key, struct timespec t)
{
	char day[32], text[64];
	struct tm tm;

	if (!gmtime_r(&t.tv_sec, &tm) || !strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm)) {
		json_text(object, key, NULL);
		return;
	}
	snprintf(text, sizeof(text), "%s.%06ldZ", day, t.tv_nsec / 1000);
	json_text(object, key, text);
}

void json_print(cJSON *object)
{
	char *text = need(cJSON_Print(object));

	puts(text);
	cJSON_free(text);
	cJSON_Delete(object);
}

void json_rows_begin(void)
{
	fputs("[", stdout);
}

void json_row(uint64_t *rows, cJSON *object)
{
	char *text = need(cJSON_PrintUnformatted(object));

	printf("%s\n%s", (*rows)++ ? "," : "", text);
	cJSON_free(text);
	cJSON_Delete(object);
}

void json_rows_end(uint64_t rows)
{
	puts(rows ? "\n]" : "]");
}

/* ---- Progress ---- */

void progress_begin(const char *label)
{
	progress.label = isatty(STDERR_FILENO) ? label : NULL;
	progress.next_ms = 0;
}

bool progress_shown(void)
{
	return progress.label;
}

void progress_show(uint64_t done, uint64_t total, const char *unit)
{
	enum { WIDTH = 32 };
	char bar[WIDTH + 1];
	struct timespec now;
	uint64_t ms;
	int filled;

	if (!progress.label)
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
	if (ms < progress.next_ms)
		return;
	progress.next_ms = ms + 100;
	progress.drawn = true;
	if (!total || done > total) {
		fprintf(stderr, "\r%s  %llu %s\033[K", progress.label, (unsigned long long)done, unit);
		return;
	}
	filled = (int)((double)done / (double)total * WIDTH);
	memset(bar, ' ', WIDTH);
	memset(bar, '=', (size_t)filled);
	bar[WIDTH] = '\0';
	fprintf(stderr, "\r%s  [%s] %3d%%  %llu of %llu %s\033[K", progress.label, bar, (int)((double)done * 100 / (double)total),
		(unsigned long long)done, (unsigned long long)total, unit);
}

void progress_end(void)
{
	progress_clear();
	progress.label = NULL;
}
