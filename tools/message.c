#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "message.h"
#include "output.h"

/* The first member of those names that is there and not null. */
static const cJSON *member(const cJSON *object, const char *const *names)
{
	for (; *names; names++) {
		const cJSON *m = cJSON_GetObjectItemCaseSensitive(object, *names);

		if (m && !cJSON_IsNull(m))
			return m;
	}
	return NULL;
}

static void add_line(FILE *f, const char *text)
{
	if (ftell(f) > 0)
		fputc('\n', f);
	fputs(text, f);
}

static void add_json(FILE *f, const char *label, const cJSON *value)
{
	char *json = need(cJSON_PrintUnformatted(value));

	if (ftell(f) > 0)
		fputc('\n', f);
	fprintf(f, "[%s%s%s]", label, *label ? " " : "", json);
	cJSON_free(json);
}

/* A content: text, a part, or a list of these. */
static void add_content(FILE *f, const cJSON *c)
{
	static const char *const texts[] = { "text", "content", "parts", "thinking", NULL };
	static const char *const types[] = { "type", NULL };
	const cJSON *part, *text, *type;

	if (cJSON_IsString(c)) {
		add_line(f, c->valuestring);
	} else if (cJSON_IsArray(c)) {
		cJSON_ArrayForEach(part, c)
			add_content(f, part);
	} else if (cJSON_IsObject(c)) {
		text = member(c, texts);
		type = member(c, types);
		if (text && !cJSON_IsObject(text))
			add_content(f, text);
		else
			add_json(f, cJSON_IsString(type) ? type->valuestring : "", c);
	} else if (c) {
		add_json(f, "", c);
	}
}

static void add_calls(FILE *f, const cJSON *calls)
{
	static const char *const names[] = { "name", NULL }, *const inputs[] = { "arguments", "args", "input", NULL };
	const cJSON *call;

	cJSON_ArrayForEach(call, calls) {
		const cJSON *function = cJSON_GetObjectItemCaseSensitive(call, "function"), *name, *input;

		name = member(function ? function : call, names);
		input = member(function ? function : call, inputs);
		if (!cJSON_IsString(name))
			add_json(f, "call", call);
		else if (!input)
			add_line(f, name->valuestring);
		else if (cJSON_IsString(input))
			fprintf(f, "%s[%s %s]", ftell(f) > 0 ? "\n" : "", name->valuestring, input->valuestring);
		else
			add_json(f, name->valuestring, input);
	}
}

void message_read(const char *json, size_t size, struct message *ret)
{
	static const char *const roles[] = { "role", "type", "sender", "author", "name", NULL };
	static const char *const contents[] = { "content", "parts", "text", "message", NULL };
	static const char *const calls[] = { "tool_calls", "function_call", NULL };
	cJSON *root = cJSON_ParseWithLength(json, size);
	const cJSON *m = root, *data, *role, *found;
	char *text = NULL;
	size_t length;
	FILE *f = need(open_memstream(&text, &length));

	*ret = (struct message){ 0 };
	while (cJSON_IsArray(m) && m->child)
		m = m->child;
	role = member(m, roles);
	if (cJSON_IsObject(role))	/* {"author": {"role": "user"}} */
		role = member(role, roles);
	if (cJSON_IsString(role))
		ret->role = need(strdup(role->valuestring));
	data = cJSON_GetObjectItemCaseSensitive(m, "data");
	if (cJSON_IsObject(data) && !cJSON_GetObjectItemCaseSensitive(m, "content"))
		m = data;
	found = cJSON_IsString(m) ? m : member(m, contents);
	add_content(f, found);
	data = member(m, calls);
	if (cJSON_IsArray(data))
		add_calls(f, data);
	else if (data)
		add_json(f, "call", data);
	if (!found && !data)	/* also what cJSON can't read: NaN, lone surrogates, deep nesting */
		fwrite(json, 1, size, f);
	need(fclose(f) ? NULL : text);
	ret->text = text;
	cJSON_Delete(root);
}

void message_release(struct message *m)
{
	free(m->role);
	free(m->text);
	*m = (struct message){ 0 };
}

/* Columns of the character at the head of the text, its length in *ret_bytes; tabs count as four. */
static size_t columns(const char *text, size_t size, size_t *ret_bytes, uint32_t *ret)
{
	int width;

	*ret_bytes = utf8_next(text, size, ret);
	if (*ret == '\t')
		return 4;
	if (!utf8_printable(*ret))
		*ret = 0xfffd;
	width = wcwidth((wchar_t)*ret);
	return width < 0 ? 1 : (size_t)width;
}

static void put(FILE *f, const char *text, size_t bytes, uint32_t c)
{
	if (c == '\t')
		fputs("    ", f);
	else if (c == 0xfffd)
		fputs("\xef\xbf\xbd", f);
	else
		fwrite(text, 1, bytes, f);
}

/* How many bytes of a line go into `room` columns: to its end, else to the last space, else as many as fit, at least one character. */
static size_t fitting(const char *line, size_t size, size_t room)
{
	size_t used = 0, at = 0, space = 0, bytes;
	uint32_t c;

	while (at < size) {
		size_t w = columns(line + at, size - at, &bytes, &c);

		if (c == ' ' && at)
			space = at;
		if (used + w > room)
			return space ? space : at ? at : bytes;
		used += w;
		at += bytes;
	}
	return size;
}

void message_wrap(FILE *f, const char *text, size_t indent, size_t width)
{
	size_t room = width > indent + 20 ? width - indent : 20;

	while (*text) {
		size_t line = strcspn(text, "\n"), lead = strspn(text, " ");
		size_t rest = line, hang = 0;

		if (lead == line || lead > room / 2)
			lead = 0;
		if (!line)
			fputc('\n', f);
		while (rest) {
			size_t n = fitting(text, rest, room - hang), bytes;
			uint32_t c;

			/* Lines that start with spaces (code, lists) keep their shape where they go on. */
			if (hang == 0 && n <= lead)
				n = fitting(text + lead, rest - lead, room - lead) + lead;
			fprintf(f, "%*s", (int)(indent + hang), "");
			for (size_t at = 0; at < n; at += bytes) {
				columns(text + at, n - at, &bytes, &c);
				put(f, text + at, bytes, c);
			}
			fputc('\n', f);
			text += n;
			rest -= n;
			for (; rest && *text == ' '; text++)
				rest--;
			hang = lead;
		}
		text += *text == '\n';
	}
}
