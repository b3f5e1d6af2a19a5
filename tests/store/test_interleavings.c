/*
 * The table tests/data/interleavings.txt, which explains its notation, over the pure merge and over the store.
 * CASE=text runs only the cases whose name contains it.
 */
#include <criterion/criterion.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "doc.h"
#include "world.h"

#define CASES 512
#define HANDLES 10
#define STRANGER 200u		/* numbers of processes that write once */

struct row {
	char *rule, *name, *levels, *steps, *expected;
	unsigned line;
};

struct play {
	const struct row *row;
	struct world *world;
	struct world_handle *handles[HANDLES], *temps[HANDLES];
	struct who owners[HANDLES];
	bool begun[WORLD_PROCESSES];
	unsigned strangers;
	char why[2048];		/* what went wrong first */
};

/* ---- The table ------------------------------------------------------------------------------------------------ */

static char *strip(char *s)
{
	s += strspn(s, " \t");
	s[strcspn(s, "\n")] = 0;
	for (size_t n = strlen(s); n && s[n - 1] == ' '; n--)
		s[n - 1] = 0;
	return s;
}

/* Sets *ret_text, which the rows point into. */
static size_t read_table(struct row *rows, char **ret_text)
{
	struct text t = text_file(TEST_DATA, "interleavings.txt");
	char *rest = t.data, *line;
	unsigned number = 0;
	size_t n = 0;

	while ((line = strsep(&rest, "\n"))) {
		char **fields[] = { &rows[n].rule, &rows[n].name, &rows[n].levels, &rows[n].steps, &rows[n].expected };

		number++;
		if (!*line || *line == '#')
			continue;
		for (size_t i = 0; i < 5; i++) {
			char *field = strsep(&line, "|");

			cr_assert(field, "line %u has fewer than five fields", number);
			*fields[i] = strip(field);
		}
		cr_assert(!line, "line %u has more than five fields", number);
		rows[n].line = number;
		cr_assert_lt(++n, CASES);
	}
	*ret_text = t.data;
	return n;
}

static bool has_word(const char *words, const char *word)
{
	size_t size = strlen(word);

	for (const char *at = words; (at = strstr(at, word)); at += size) {
		if ((at == words || at[-1] == ' ') && (!at[size] || at[size] == ' '))
			return true;
	}
	return false;
}

/* ---- Documents ------------------------------------------------------------------------------------------------ */

static struct text message_of(char letter)
{
	return text_format("{\"role\": \"user\", \"content\": \"%c\"}", letter);
}

static struct text document_of(const char *word)
{
	struct text t = { 0 };
	bool torn = *word == '~';
	FILE *f;

	if (*word == '{' || *word == '[')
		return text_format("%s", word);
	if (strcmp(word, "empty") == 0)
		return text_format("%s", "");
	word += torn;
	f = open_memstream(&t.data, &t.size);
	fputc('[', f);
	for (const char *c = word; *c && *c != '-'; c++) {
		struct text m = message_of(*c);

		fprintf(f, "%s%s", c == word ? "" : ", ", m.data);
		text_free(m);
	}
	fputc(']', f);
	fclose(f);
	if (torn)
		t.size -= 3;
	return t;
}

static char letter_of(uint64_t hash)
{
	for (char c = '0'; c <= 'z'; c++) {
		struct text m = message_of(c);
		bool same = json_hash(m.data, m.size) == hash;

		text_free(m);
		if (same)
			return c;
	}
	return '?';
}

/* What is there, as the table says it. */
static void describe(bool there, struct text t, char *out, size_t size)
{
	struct doc d;

	if (!there || !t.size) {
		snprintf(out, size, "%s", there ? "empty" : "none");
	} else if (doc_slice(t.data, t.size, &d, NULL)) {
		snprintf(out, size, "torn: %.*s", (int)t.size, t.data);
	} else {
		size_t n = 0;

		for (; d.kind == DOC_LIST && n < d.count && n + 1 < size; n++)
			out[n] = letter_of(d.items[n].hash);
		out[n] = 0;
		if (d.kind != DOC_LIST || strchr(out, '?'))
			snprintf(out, size, "%.*s", (int)t.size, t.data);
		else if (!n)
			snprintf(out, size, "-");
		doc_release(&d);
	}
}

/* ---- Steps ---------------------------------------------------------------------------------------------------- */

static void __attribute__((format(printf, 2, 3))) wrong(struct play *p, const char *format, ...)
{
	va_list args;

	if (*p->why)
		return;
	va_start(args, format);
	vsnprintf(p->why, sizeof(p->why), format, args);
	va_end(args);
}

static void check_shown(struct play *p, const char *step, const char *expected, bool there, struct text t)
{
	char got[1024];

	describe(there, t, got, sizeof(got));
	if (expected && strcmp(got, expected))
		wrong(p, "%s: was shown %s", step, got);
}

static void check_result(struct play *p, const char *step, char *words, const struct store_save *save)
{
	static const struct { const char *name; unsigned flag; } results[] = {
		{ "merged", STORE_SAVED_MERGED }, { "same", STORE_SAVED_SAME }, { "blind", STORE_SAVED_BLIND }, { "uncertain", STORE_SAVED_UNCERTAIN },
	};
	bool refused = words && strcmp(words, "refused") == 0, silent = !words;

	if (refused != (save->error == -EINVAL) || (save->error && !refused))
		wrong(p, "%s: error %d", step, save->error);
	for (char *word; !refused && words && *words && (word = strsep(&words, ","));) {
		size_t i = 0;

		while (i < 4 && strcmp(results[i].name, word))
			i++;
		cr_assert_lt(i, 4, "line %u: what is %s", p->row->line, word);
		if (!(save->result & results[i].flag))
			wrong(p, "%s: result %u, version %lu of %lu, base %d", step, save->result, (unsigned long)save->version,
			      (unsigned long)save->previous, save->base);
	}
	/* What nothing is said of is neither of these. */
	if (silent && (save->result & (STORE_SAVED_BLIND | STORE_SAVED_UNCERTAIN)) && has_word("5 8 15", p->row->rule))
		wrong(p, "%s: result %u", step, save->result);
}

static struct who who_of(struct play *p, const char *w)
{
	struct who who = { (unsigned char)*w, isdigit((unsigned char)w[1]) ? (unsigned)(w[1] - '0') : 1 };

	if (!p->begun[who.process])
		world_process(p->world, who.process, isupper((unsigned char)*w));
	p->begun[who.process] = true;
	return who;
}

static void finish(struct play *p, const char *step, struct world_handle **at, struct who who, char *results)
{
	struct store_save save;

	world_close(p->world, *at, who, &save);
	*at = NULL;
	check_result(p, step, results, &save);
}

static void save_whole(struct play *p, const char *step, struct who who, enum world_way way, const char *document, char *results)
{
	struct world_handle *h = world_open(p->world, who, way);

	world_write(h, document_of(document));
	finish(p, step, &h, who, results);
}

static void step_process(struct play *p, const char *step, char *w, char *document, char *results)
{
	struct who who = who_of(p, w);
	char *op = strchr(w, ':') + 1;
	size_t i = isdigit((unsigned char)op[1]) ? (size_t)(op[1] - '0') : 0;
	struct text t = { 0 };
	bool there;

	switch (*op) {
	case 'r':
	case 'n':
		there = world_read(p->world, who, &t);
		check_shown(p, step, *op == 'n' ? "none" : document, there, t);
		text_free(t);
		break;
	case 'w':
		save_whole(p, step, who, WORLD_TRUNCATE, document, results);
		break;
	case 't':
		if (!i) {
			save_whole(p, step, who, WORLD_TEMP, document, results);
			break;
		}
		p->temps[i] = world_open(p->world, who, WORLD_TEMP);
		world_write(p->temps[i], document_of(document));
		break;
	case 'm':
		finish(p, step, &p->temps[i], who, results);
		break;
	case 'o':
	case 'g':
	case 'h':
		p->handles[i] = world_open(p->world, who, *op == 'o' ? WORLD_TRUNCATE : *op == 'g' ? WORLD_BOTH : WORLD_READ);
		p->owners[i] = who;
		break;
	case 'u':
		world_unlink(p->world, who);
		break;
	case 'b':
		world_rename_away(p->world, who);
		break;
	case 'd':
		world_unlink_away(p->world, who);
		break;
	case 'x':
		for (i = 0; i < HANDLES; i++) {
			if (p->handles[i] && p->owners[i].process == who.process) {
				world_drop(p->world, p->handles[i]);
				p->handles[i] = NULL;
			}
		}
		break;
	default:
		cr_assert_fail("line %u: what is %s", p->row->line, step);
	}
}

static void step_handle(struct play *p, const char *step, char *w, char *document, char *results)
{
	size_t i = (size_t)(*w - '0');
	struct world_handle *h = p->handles[i];
	struct text t;

	cr_assert(h, "line %u: %s: it is not open", p->row->line, step);
	if (!w[1]) {
		world_write(h, document_of(document));
	} else if (w[2] == 'c') {
		finish(p, step, &p->handles[i], p->owners[i], results);
	} else {
		t = world_handle_read(p->world, h, w[2] == 'f');
		if (w[2] == 'r')
			check_shown(p, step, document, true, t);
		text_free(t);
	}
}

static void take_step(struct play *p, const char *step)
{
	char *copy = strdup(step), *results = copy, *w, *document;

	w = strsep(&results, "!");
	document = strchr(w, '=');
	if (document)
		*document++ = 0;
	if (!*w)
		save_whole(p, step, who_of(p, (char[]){ (char)(STRANGER + p->strangers++), 0 }), WORLD_TRUNCATE, document, results ? results : (char[]){ "" });
	else if (isdigit((unsigned char)*w))
		step_handle(p, step, w, document, results);
	else if (w[1] == '>') {
		who_of(p, w);
		world_fork(p->world, (unsigned char)*w, (unsigned char)w[2]);
		p->begun[(unsigned char)w[2]] = true;
	} else if (w[1] == '#')
		world_group(p->world, who_of(p, w).process, (unsigned)atoi(w + 2));
	else
		step_process(p, step, w, document, results);
	free(copy);
}

static void check_end(struct play *p)
{
	struct text t = { 0 };
	bool there = world_look(p->world, &t);
	char got[1024], *copy = strdup(p->row->expected), *rest = copy;
	bool found = false;

	describe(there, t, got, sizeof(got));
	text_free(t);
	while (rest && !found) {
		char *alternative = rest, *next = strstr(rest, " or ");

		if (next)
			*next = 0;
		rest = next ? next + 4 : NULL;
		found = strcmp(alternative, got) == 0;
	}
	free(copy);
	if (!found)
		wrong(p, "at the end there is %s", got);
}

/* Whether all was as it must be. */
static bool run(const struct row *row, struct store *s, const char *name)
{
	struct play *p = calloc(1, sizeof(*p));
	char *copy = strdup(row->steps), *rest = copy, *w;
	bool good;

	p->row = row;
	p->world = world_new(s, has_word(row->levels, "edit") ? STORE_SAVE_EDIT : 0);
	world_document(p->world, name);
	while ((w = strsep(&rest, " "))) {
		if (*w)
			take_step(p, w);
	}
	for (size_t i = 0; i < HANDLES; i++)
		cr_assert(!p->handles[i] && !p->temps[i], "line %u: %zu stays open", row->line, i);
	check_end(p);
	good = !*p->why;
	if (!good)
		printf("line %u, rule %s, %s: \"%s\" over the %s: %s; expected %s\n", row->line, row->rule, row->name, row->steps,
		       s ? "store" : "pure merge", p->why, row->expected);
	world_free(p->world);
	free(p);
	free(copy);
	return good;
}

static void run_all(const char *level, struct store *s)
{
	static struct row rows[CASES];
	const char *only = getenv("CASE");
	char *text;
	size_t n = read_table(rows, &text), failed = 0, ran = 0;

	for (size_t i = 0; i < n; i++) {
		char name[32];

		if ((!has_word(rows[i].levels, "all") && !has_word(rows[i].levels, level)) || (only && !strstr(rows[i].name, only)))
			continue;
		snprintf(name, sizeof(name), "%zu.json", i);
		ran++;
		failed += !run(&rows[i], s, name);
	}
	printf("%s: %zu of %zu interleavings, %zu failed\n", level, ran, n, failed);
	fflush(stdout);
	free(text);
	cr_assert_eq(failed, 0);
	cr_assert(only || ran >= 60);
}

Test(interleavings, pure_merge)
{
	run_all("merge", NULL);
}

Test(interleavings, store)
{
	char *dir = dir_make();
	struct store *s = must_open(dir, 20);

	run_all("store", s);
	must_close(s);
	dir_remove(dir);
}
