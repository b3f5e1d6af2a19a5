#include "value.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "json.h"
#include "parts.h"

/*
 * merge_value() decides what needs no look inside; merge_parts() pairs the parts of a container and puts them in order;
 * the splice writes them between current's brackets and separators. The result is made of pieces of the three texts alone.
 *
 * The recursion is bounded by MAX_DEPTH, and by the bytes that may be looked at again on each level: nested lists of
 * several megabytes would otherwise be scanned once a level. What lies beyond is merged like a scalar.
 */
#define MAX_DEPTH 512
#define WORK_FREE ((size_t)32 << 20)
#define WORK_PER_BYTE 32

#define TEXT(literal) ((struct value_text){ literal, sizeof(literal) - 1 })

struct merge {
	struct buf *out;
	size_t work;		/* bytes that may still be scanned */
	bool conflict;
	bool lines;		/* current is broken into lines */
	struct value_text comma;	/* between parts on one line, as current has it */
};

/* One value in its three states. */
struct states {
	struct value_text base, current, written;
	struct value_text from, to;	/* indentation of its line in written and in current; text NULL when it begins no line */
	const struct value_counts *counts;	/* NULL where no counters are */
	unsigned depth;
};

/* A container on its way to the output. */
struct splice {
	struct merge *m;
	const struct parts *current, *written;
	struct value_text open, close;
	struct value_text comma, lead;	/* the separator of what was added: one after the other */
	struct value_text colon;	/* between a name and its value; NULL: as written */
	bool any;			/* a part has been put */
};

static int put(struct buf *out, struct value_text t)
{
	return buf_add(out, t.text, t.size);
}

static bool has_line(struct value_text t)
{
	return t.size && memchr(t.text, '\n', t.size);
}

/* What follows the last line break; NULL when there is none. */
static struct value_text indentation(struct value_text space)
{
	const char *line = space.size ? memrchr(space.text, '\n', space.size) : NULL;

	if (!line)
		return (struct value_text){ NULL, 0 };
	return (struct value_text){ line + 1, space.text + space.size - line - 1 };
}

static bool same_bytes(struct value_text a, struct value_text b)
{
	return a.text && b.text && a.size == b.size && memcmp(a.text, b.text, a.size) == 0;
}

static bool same_value(struct value_text a, struct value_text b)
{
	return a.text && b.text && json_same(a.text, a.size, b.text, b.size);
}

/* Whether both are the same list of nothing but numbers, such as a position: two writers that set it made no two of it. */
static bool same_numbers(struct value_text a, struct value_text b)
{
	return a.text[0] == '[' && !memchr(a.text, '"', a.size) && !memchr(a.text, '{', a.size) && same_value(a, b);
}

static bool same_container(struct value_text a, struct value_text b)
{
	return a.text && b.text && a.text[0] == b.text[0] && (a.text[0] == '{' || a.text[0] == '[');
}

/* Puts bytes of written, moved from its indentation to current's. No string holds a raw line break. */
static int put_moved(struct buf *out, struct value_text t, struct value_text from, struct value_text to)
{
	const char *end = t.text + t.size, *line;
	int err;

	if (!from.text || !to.text || same_bytes(from, to))
		return put(out, t);
	while ((line = memchr(t.text, '\n', end - t.text))) {
		line++;
		err = buf_add(out, t.text, line - t.text);
		if (err)
			return err;
		t.text = line;
		if ((size_t)(end - line) >= from.size && memcmp(line, from.text, from.size) == 0) {
			t.text += from.size;
			err = put(out, to);
			if (err)
				return err;
		}
	}
	return buf_add(out, t.text, end - t.text);
}

/* ---- The splice ---------------------------------------------------------------------------------------------- */

/* Where current leaves open how parts are set apart, as written has it, unless that is in lines and current is not. */
static struct splice splice_begin(struct merge *m, const struct parts *current, const struct parts *written)
{
	const struct parts *like = current->count ? current : written;
	struct splice s = { .m = m, .current = current, .written = written };

	if (like->count) {
		s.open = parts_before(like, 0);
		s.close = parts_before(like, like->count);
	}
	if (like->count > 1)
		s.comma = parts_before(like, 1);
	else if (has_line(s.open))
		s.comma = TEXT(","), s.lead = s.open;
	else if (written->count > 1 && !has_line(parts_before(written, 1)))
		s.comma = parts_before(written, 1);
	else
		s.comma = m->comma;
	if (like == written && !m->lines) {
		if (has_line(s.open) || has_line(s.close))
			s.open = s.close = TEXT("");
		if (has_line(s.comma) || has_line(s.lead))
			s.comma = m->comma, s.lead = TEXT("");
	}
	if (current->object && current->count) {
		const struct part *p = &current->part[0];

		s.colon = (struct value_text){ current->text.text + p->name_end, p->start - p->name_end };
	}
	return s;
}

/* What goes in front of the next part. `i`: its index in current, or PARTS_NONE. Sets *ret_to to the indentation of its line. */
static int splice_separate(struct splice *s, size_t i, struct value_text *ret_to)
{
	struct value_text first = s->comma, second = s->lead;
	int err;

	if (!s->any) {
		err = buf_add(s->m->out, s->current->object ? "{" : "[", 1);
		if (err)
			return err;
		first = s->open;
		second = TEXT("");
	} else if (i != PARTS_NONE && i > 0) {
		first = parts_before(s->current, i);
		second = TEXT("");
	}
	s->any = true;
	*ret_to = indentation(has_line(second) ? second : first);
	err = put(s->m->out, first);
	return err ? err : put(s->m->out, second);
}

/* Puts part j of written, which current does not have. `number`: the name that it gets, or 0. */
static int splice_added(struct splice *s, size_t j, uint64_t number)
{
	char name[24];
	int size = snprintf(name, sizeof(name), "\"%llu\"", (unsigned long long)number);
	struct value_text own = parts_name(s->written, j);
	struct value_text from = indentation(parts_before(s->written, j)), to, colon = s->colon;
	int err = splice_separate(s, PARTS_NONE, &to);

	if (err)
		return err;
	if (number && !colon.text)
		colon = (struct value_text){ own.text + own.size, parts_value(s->written, j).text - own.text - own.size };
	if (!s->written->object || !colon.text)
		return put_moved(s->m->out, parts_whole(s->written, j), from, to);
	err = put(s->m->out, number ? (struct value_text){ name, (size_t)size } : own);
	if (!err)
		err = put(s->m->out, colon);
	return err ? err : put_moved(s->m->out, parts_value(s->written, j), from, to);
}

static int splice_end(struct splice *s)
{
	int err;

	if (!s->any) {
		/* Nothing is left: an empty container of one of the sides, if there is one. */
		if (s->current->count == 0)
			return put(s->m->out, s->current->text);
		if (s->written->count == 0 && !has_line(s->written->text))
			return put(s->m->out, s->written->text);
		return buf_add(s->m->out, s->current->object ? "{}" : "[]", 2);
	}
	err = put(s->m->out, s->close);
	return err ? err : buf_add(s->m->out, s->current->object ? "}" : "]", 1);
}

/* ---- Counters ------------------------------------------------------------------------------------------------ */

static bool is_number(struct value_text t, size_t n)
{
	char digits[24];
	int size = snprintf(digits, sizeof(digits), "%zu", n);

	return same_bytes(t, (struct value_text){ digits, size });
}

/* A number that never moved may equal the lengths by chance, as "version": 1 does; then its name has to say that it counts. */
static bool is_counter(struct value_text name, const struct states *s)
{
	static const char *const words[] = { "count", "length", "total", "num_" };

	if (!s->counts || s->counts->merged == SIZE_MAX || !is_number(s->current, s->counts->current) ||
	    !is_number(s->written, s->counts->written))
		return false;
	if (s->base.text && (!same_bytes(s->base, s->current) || !same_bytes(s->base, s->written)))
		return true;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		for (size_t at = 0; at + strlen(words[i]) <= name.size; at++) {
			if (strncasecmp(name.text + at, words[i], strlen(words[i])) == 0)
				return true;
		}
	}
	return false;
}

static int put_counter(struct buf *out, size_t n)
{
	char digits[24];

	return buf_add(out, digits, snprintf(digits, sizeof(digits), "%zu", n));
}

/* ---- Merging ------------------------------------------------------------------------------------------------- */

static int merge_value(struct merge *m, struct states s);

/* The three sides of a container, and for each part of current the additions of written that come after it. */
struct trio {
	struct parts base, current, written;
	struct parts_relation relation;
	bool *keep;		/* for each of current: it stays */
	size_t *added, *next;	/* chains of indices in written: [0] before all that both have, [i + 1] after part i of current */
};

static void trio_release(struct trio *t)
{
	parts_release(&t->base);
	parts_release(&t->current);
	parts_release(&t->written);
	parts_relation_release(&t->relation);
	free(t->keep);
	free(t->added);
	free(t->next);
}

/* Whether part i of one side is new against base or changed, so that its absence on the other side removes nothing of it. */
static bool part_changed(const struct trio *t, const struct parts *side, const size_t *in_base, size_t i)
{
	return in_base[i] == PARTS_NONE || !same_value(parts_value(&t->base, in_base[i]), parts_value(side, i));
}

/* Decides what stays and where what written added goes: after the last part before it that both sides have. */
static void trio_place(struct trio *t)
{
	const struct parts_relation *r = &t->relation;
	size_t chain = 0, last = PARTS_NONE;

	for (size_t i = 0; i < t->current.count; i++) {
		t->keep[i] = r->current_written[i] != PARTS_NONE || part_changed(t, &t->current, r->current_base, i);
		t->added[i + 1] = PARTS_NONE;
	}
	t->added[0] = PARTS_NONE;
	for (size_t j = 0; j < t->written.count; j++) {
		if (r->written_current[j] != PARTS_NONE) {
			chain = r->written_current[j] + 1;
			last = PARTS_NONE;
		} else if (part_changed(t, &t->written, r->written_base, j)) {
			t->next[j] = PARTS_NONE;
			if (last == PARTS_NONE)
				t->added[chain] = j;
			else
				t->next[last] = j;
			last = j;
		}
	}
}

static int trio_init(struct trio *t, const struct states *s)
{
	int err = parts_read(s->base, &t->base);

	if (!err)
		err = parts_read(s->current, &t->current);
	if (!err)
		err = parts_read(s->written, &t->written);
	if (!err)
		err = parts_relate(&t->base, &t->current, &t->written, &t->relation);
	if (err)
		return err;
	t->keep = calloc(t->current.count + 1, sizeof(*t->keep));
	t->added = calloc(t->current.count + 1, sizeof(*t->added));
	t->next = calloc(t->written.count + 1, sizeof(*t->next));
	if (!t->keep || !t->added || !t->next)
		return -ENOMEM;
	trio_place(t);
	return 0;
}

/* Part i of current, which written has too. */
static int merge_part(struct splice *p, const struct trio *t, const struct states *s, size_t i)
{
	size_t j = t->relation.current_written[i], k = t->relation.current_base[i];
	const struct part *part = &t->current.part[i];
	struct states inner = {
		.current = parts_value(&t->current, i),
		.written = parts_value(&t->written, j),
		.from = indentation(parts_before(&t->written, j)),
		.counts = t->current.object ? s->counts : NULL,
		.depth = s->depth + 1,
	};
	int err = splice_separate(p, i, &inner.to);

	if (!err)
		err = buf_add(p->m->out, t->current.text.text + part->begin, part->start - part->begin);
	if (err)
		return err;
	if (k != PARTS_NONE)
		inner.base = parts_value(&t->base, k);
	if (t->current.object && is_counter(parts_name(&t->current, i), &inner))
		return put_counter(p->m->out, inner.counts->merged);
	return merge_value(p->m, inner);
}

static int splice_chain(struct splice *p, const struct trio *t, size_t chain)
{
	int err = 0;

	for (size_t j = t->added[chain]; !err && j != PARTS_NONE; j = t->next[j])
		err = splice_added(p, j, t->relation.number[j]);
	return err;
}

static int merge_parts(struct merge *m, const struct states *s)
{
	struct trio t = { 0 };
	struct splice p;
	size_t chain = 0;
	int err = trio_init(&t, s);

	if (err)
		goto out;
	p = splice_begin(m, &t.current, &t.written);
	for (size_t i = 0; !err && i < t.current.count; i++) {
		struct value_text to;

		if (t.relation.current_written[i] != PARTS_NONE) {
			/* Current's own additions have come first (P6). */
			err = splice_chain(&p, &t, chain);
			chain = i + 1;
			if (!err)
				err = merge_part(&p, &t, s, i);
		} else if (t.keep[i]) {
			err = splice_separate(&p, i, &to);
			if (!err)
				err = put(m->out, parts_whole(&t.current, i));
		}
	}
	if (!err)
		err = splice_chain(&p, &t, chain);
	if (!err)
		err = splice_end(&p);
out:
	trio_release(&t);
	return err;
}

static int merge_value(struct merge *m, struct states s)
{
	bool counts = s.counts && s.counts->merged != SIZE_MAX && s.current.text[0] == '{';
	size_t work;

	/* One side's bytes will do, unless a counter among them has to move. */
	if (same_bytes(s.base, s.written) && !(counts && s.counts->current != s.counts->merged))
		return put(m->out, s.current);
	if (same_bytes(s.base, s.current) && !(counts && s.counts->written != s.counts->merged))
		return same_value(s.base, s.written) ? put(m->out, s.current) : put_moved(m->out, s.written, s.from, s.to);

	work = s.base.size + s.current.size + s.written.size;
	if (same_container(s.current, s.written) && !same_numbers(s.current, s.written) && s.depth < MAX_DEPTH &&
	    work <= m->work) {
		m->work -= work;
		if (!same_container(s.base, s.current))
			s.base = (struct value_text){ NULL, 0 };
		return merge_parts(m, &s);
	}

	if (same_value(s.base, s.written) || same_value(s.current, s.written))
		return put(m->out, s.current);
	if (!same_value(s.base, s.current))
		m->conflict = true;
	return put_moved(m->out, s.written, s.from, s.to);
}

/* The value in a document, without byte order mark and white space around it. */
static struct value_text strip(struct value_text t)
{
	size_t start = 0;

	if (!t.text)
		return t;
	if (t.size >= 3 && memcmp(t.text, "\xef\xbb\xbf", 3) == 0)
		start = 3;
	start = json_space(t.text, t.size, start);
	while (t.size > start && strchr(" \t\r\n", t.text[t.size - 1]))
		t.size--;
	return (struct value_text){ t.text + start, t.size - start };
}

/* Whether current has a space after its commas: its first colon shows, or else its first comma. Spaced when there is neither. */
static struct value_text comma_of(struct value_text t)
{
	const char *comma = NULL, *sign = NULL;
	bool string = false;

	for (size_t i = 0; i < t.size && !sign; i++) {
		if (t.text[i] == '"')
			string = !string;
		else if (t.text[i] == '\\')
			i++;
		else if (!string && t.text[i] == ':')
			sign = t.text + i;
		else if (!string && !comma && t.text[i] == ',')
			comma = t.text + i;
	}
	if (!sign)
		sign = comma;
	return sign && !strchr(" \t\r\n", sign[1]) ? TEXT(",") : TEXT(", ");
}

int value_merge(struct value_text base, struct value_text current, struct value_text written,
		const struct value_counts *counts, struct buf *out, bool *ret_conflict)
{
	struct states s = { strip(base), strip(current), strip(written), .counts = counts };
	bool settled = !counts || counts->merged == SIZE_MAX;
	struct merge m = { .out = out };
	int err = 0;

	if (same_bytes(base, written) && (settled || counts->merged == counts->current)) {
		err = current.text ? put(out, current) : 0;
	} else if (same_bytes(base, current) && (settled || counts->merged == counts->written)) {
		err = written.text ? put(out, written) : 0;
	} else if (!written.text) {
		if (current.text && !same_value(s.base, s.current))
			err = put(out, current);
	} else if (!current.text) {
		if (!same_value(s.base, s.written))
			err = put(out, written);
	} else {
		m.work = WORK_FREE + WORK_PER_BYTE * (base.size + current.size + written.size);
		m.lines = has_line(s.current);
		m.comma = comma_of(s.current);
		err = buf_add(out, current.text, s.current.text - current.text);
		if (!err)
			err = merge_value(&m, s);
		if (!err)
			err = buf_add(out, s.current.text + s.current.size,
				      current.text + current.size - s.current.text - s.current.size);
	}
	if (!err && ret_conflict)
		*ret_conflict = m.conflict;
	return err;
}
