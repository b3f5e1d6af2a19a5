#include "parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "diff.h"
#include "identity.h"
#include "json.h"

int parts_read(struct value_text container, struct parts *ret)
{
	struct parts p = { .text = container };
	struct json_walk w;

	if (!container.text) {
		*ret = p;
		return 0;
	}
	p.object = container.text[0] == '{';
	w = json_walk_begin(container.text, container.size, 0);
	while (json_walk_next(&w)) {
		if (p.count == p.room) {
			size_t room = p.room ? p.room + p.room / 2 : 16;
			struct part *part = reallocarray(p.part, room, sizeof(*part));

			if (!part) {
				parts_release(&p);
				return -ENOMEM;
			}
			p.part = part;
			p.room = room;
		}
		p.part[p.count++] = (struct part){
			.begin = p.object ? w.key : w.start,
			.name_end = p.object ? w.key_end : w.start,
			.start = w.start,
			.end = w.end,
		};
	}
	*ret = p;
	return 0;
}

void parts_release(struct parts *p)
{
	if (!p)
		return;
	free(p->part);
	*p = (struct parts){ 0 };
}

static struct value_text cut(const struct parts *p, size_t from, size_t to)
{
	return (struct value_text){ p->text.text + from, to - from };
}

struct value_text parts_name(const struct parts *p, size_t i)
{
	return cut(p, p->part[i].begin, p->part[i].name_end);
}

struct value_text parts_value(const struct parts *p, size_t i)
{
	return cut(p, p->part[i].start, p->part[i].end);
}

struct value_text parts_whole(const struct parts *p, size_t i)
{
	return cut(p, p->part[i].begin, p->part[i].end);
}

struct value_text parts_before(const struct parts *p, size_t i)
{
	return cut(p, i ? p->part[i - 1].end : 1, i < p->count ? p->part[i].begin : p->text.size - 1);
}

/* ---- Matching by name ---------------------------------------------------------------------------------------- */

/* What the parts of one state go by, and their indices in the order of that. */
struct names {
	struct value_text *name;
	size_t *order, count;
	struct buf decoded;
};

static void names_release(struct names *n)
{
	free(n->name);
	free(n->order);
	buf_release(&n->decoded);
	*n = (struct names){ 0 };
}

static int names_compare(struct value_text a, struct value_text b)
{
	int order = memcmp(a.text, b.text, a.size < b.size ? a.size : b.size);

	return order ? order : (a.size > b.size) - (a.size < b.size);
}

static int order_compare(const void *left, const void *right, void *arg)
{
	const size_t *l = left, *r = right;
	const struct value_text *name = arg;
	int order = names_compare(name[*l], name[*r]);

	return order ? order : (*l > *r) - (*l < *r);
}

static int names_init(struct names *n, size_t count)
{
	*n = (struct names){ .count = count };
	n->name = calloc(count + 1, sizeof(*n->name));
	n->order = calloc(count + 1, sizeof(*n->order));
	if (n->name && n->order)
		return 0;
	names_release(n);
	return -ENOMEM;
}

static void names_sort(struct names *n)
{
	for (size_t i = 0; i < n->count; i++)
		n->order[i] = i;
	qsort_r(n->order, n->count, sizeof(*n->order), order_compare, n->name);
}

static bool names_unique(const struct names *n)
{
	for (size_t i = 1; i < n->count; i++) {
		if (names_compare(n->name[n->order[i - 1]], n->name[n->order[i]]) == 0)
			return false;
	}
	return true;
}

static unsigned hex4(const char *text)
{
	unsigned unit = 0;

	for (int i = 0; i < 4; i++) {
		unsigned c = (unsigned char)text[i];

		unit = unit << 4 | (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
	}
	return unit;
}

static size_t put_utf8(char *to, unsigned c)
{
	size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

	for (size_t i = n; i-- > 1; c >>= 6)
		to[i] = (char)(0x80 | (c & 0x3f));
	to[0] = (char)(n == 1 ? c : (0xf00u >> n & 0xff) | c);
	return n;
}

/* A name without its escapes, which never gets longer; lone surrogates are encoded like other characters. */
static size_t decode_name(char *to, struct value_text name)
{
	static const char plain[] = "\b\f\n\r\t", letter[] = "bfnrt";
	const char *at = name.text, *end = name.text + name.size;
	size_t size = 0;

	while (at < end) {
		const char *found;
		unsigned c, low;

		if (*at != '\\') {
			to[size++] = *at++;
			continue;
		}
		if (at[1] != 'u') {
			found = strchr(letter, at[1]);
			to[size++] = found ? plain[found - letter] : at[1];
			at += 2;
			continue;
		}
		c = hex4(at + 2);
		at += 6;
		if (c >= 0xd800 && c < 0xdc00 && end - at >= 6 && at[0] == '\\' && at[1] == 'u') {
			low = hex4(at + 2);
			if (low >= 0xdc00 && low < 0xe000) {
				c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
				at += 6;
			}
		}
		size += put_utf8(to + size, c);
	}
	return size;
}

static int names_of_members(const struct parts *p, struct names *n)
{
	size_t escaped = 0;
	int err = names_init(n, p->count);

	if (err)
		return err;
	for (size_t i = 0; i < p->count; i++) {
		struct value_text name = parts_name(p, i);

		n->name[i] = (struct value_text){ name.text + 1, name.size - 2 };
		if (memchr(name.text, '\\', name.size))
			escaped += name.size;
	}
	err = buf_reserve(&n->decoded, escaped);
	if (err) {
		names_release(n);
		return err;
	}
	for (size_t i = 0; escaped && i < p->count; i++) {
		char *to = n->decoded.data + n->decoded.size;

		if (!n->name[i].size || !memchr(n->name[i].text, '\\', n->name[i].size))
			continue;
		n->name[i] = (struct value_text){ to, decode_name(to, n->name[i]) };
		n->decoded.size += n->name[i].size;
	}
	names_sort(n);
	return 0;
}

static void names_match(const struct names *a, const struct names *b, size_t *a_b, size_t *b_a)
{
	for (size_t i = 0, j = 0; i < a->count && j < b->count;) {
		int order = names_compare(a->name[a->order[i]], b->name[b->order[j]]);

		if (order == 0) {
			if (a_b)
				a_b[a->order[i]] = b->order[j];
			if (b_a)
				b_a[b->order[j]] = a->order[i];
		}
		i += order <= 0;
		j += order >= 0;
	}
}

static void relate_names(const struct names names[3], struct parts_relation *r)
{
	names_match(&names[1], &names[0], r->current_base, NULL);
	names_match(&names[2], &names[0], r->written_base, NULL);
	names_match(&names[1], &names[2], r->current_written, r->written_current);
}

/* A name that is a number without leading zeros; UINT64_MAX: it is none. */
static uint64_t name_number(const struct parts *p, size_t i)
{
	struct value_text name = parts_name(p, i);
	uint64_t n = 0;

	if (name.size < 3 || name.size > 17 || name.text[1] == '0')
		return UINT64_MAX;
	for (size_t at = 1; at + 1 < name.size; at++) {
		if (name.text[at] < '0' || name.text[at] > '9')
			return UINT64_MAX;
		n = n * 10 + (uint64_t)(name.text[at] - '0');
	}
	return n;
}

/* The largest number of a name; false when there is a name that is none. */
static bool largest_number(const struct parts *p, uint64_t *ret)
{
	*ret = 0;
	for (size_t i = 0; i < p->count; i++) {
		uint64_t n = name_number(p, i);

		if (n == UINT64_MAX)
			return false;
		*ret = n > *ret ? n : *ret;
	}
	return true;
}

static size_t count_added(const struct parts *p, const size_t *in_base)
{
	size_t n = 0;

	for (size_t i = 0; i < p->count; i++)
		n += in_base[i] == PARTS_NONE;
	return n;
}

/*
 * Who numbers what he adds by counting on from the base gives out numbers that another has given out meanwhile: these are two. Written's numbers go on from
 * current's, from the first such one on.
 */
static void renumber(const struct parts *const side[3], struct parts_relation *r)
{
	uint64_t base, current, written, next = 0;
	size_t theirs = count_added(side[1], r->current_base), own = count_added(side[2], r->written_base);

	if (!theirs || !own || !largest_number(side[0], &base) || !largest_number(side[1], &current) || !largest_number(side[2], &written))
		return;
	for (size_t j = 0; j < side[2]->count; j++) {
		size_t i = r->written_current[j];
		uint64_t n = name_number(side[2], j);

		if (r->written_base[j] != PARTS_NONE || n <= base)
			continue;
		if (i != PARTS_NONE && r->current_base[i] == PARTS_NONE && n <= base + theirs && n <= base + own) {
			r->current_written[i] = r->written_current[j] = PARTS_NONE;
			next = next ? next : (base > current ? base : current) + 1;
		}
		if (next)
			r->number[j] = next++;
	}
}

static int relate_members(const struct parts *const side[3], struct parts_relation *r)
{
	struct names names[3] = { 0 };
	int err = 0;

	for (int i = 0; !err && i < 3; i++)
		err = names_of_members(side[i], &names[i]);
	if (!err)
		relate_names(names, r);
	if (!err && r->number)
		renumber(side, r);
	for (int i = 0; i < 3; i++)
		names_release(&names[i]);
	return err;
}

/* ---- Matching elements --------------------------------------------------------------------------------------- */

/* What the elements go by; `unique` when all have something and no two the same. */
static int names_of_elements(const struct parts *p, const struct identity *id, struct names *n, bool *ret_unique)
{
	int err = names_init(n, p->count);

	if (err)
		return err;
	*ret_unique = false;
	for (size_t i = 0; i < p->count; i++) {
		n->name[i] = identity_of(id, parts_value(p, i));
		if (!n->name[i].text)
			return 0;
	}
	names_sort(n);
	*ret_unique = names_unique(n);
	return 0;
}

/*
 * Whether two elements that both sides added under one id are one thing, such as a session that two writers opened at once:
 * they hold lists or objects that can be merged. Else they are two messages whose writers counted to the same number.
 */
static int same_thing(struct value_text a, struct value_text b, bool *ret)
{
	struct json_walk w;
	struct parts none = { 0 }, pa = { 0 }, pb = { 0 };
	const struct parts *const side[3] = { &none, &pa, &pb };
	struct parts_relation r = { 0 };
	bool found = false;
	int err = 0;

	if (a.text[0] != '{') {
		*ret = true;
		return 0;
	}
	w = json_walk_begin(a.text, a.size, 0);
	while (json_walk_next(&w))
		found = found || a.text[w.start] == '[' || a.text[w.start] == '{';
	if (!found || identity_is_message(a) || identity_is_message(b)) {
		*ret = false;
		return 0;
	}
	found = false;
	err = parts_read(a, &pa);
	if (!err)
		err = parts_read(b, &pb);
	if (!err) {
		r.current_written = malloc((pa.count + 1) * sizeof(size_t));
		if (!r.current_written)
			err = -ENOMEM;
	}
	if (!err) {
		memset(r.current_written, 0xff, pa.count * sizeof(size_t));
		err = relate_members(side, &r);
	}
	for (size_t i = 0; !err && i < pa.count; i++) {
		size_t j = r.current_written[i];

		if (j != PARTS_NONE && strchr("[{", a.text[pa.part[i].start]) &&
		    a.text[pa.part[i].start] == b.text[pb.part[j].start])
			found = true;
	}
	parts_release(&pa);
	parts_release(&pb);
	free(r.current_written);
	if (!err)
		*ret = found;
	return err;
}

/* Both sides added these: what is not one thing is two. */
static int part_added(const struct parts *const side[3], bool strong, struct parts_relation *r)
{
	bool same = false;
	int err = 0;

	for (size_t i = 0; i < side[1]->count; i++) {
		size_t j = r->current_written[i];

		if (j == PARTS_NONE || r->current_base[i] != PARTS_NONE)
			continue;
		if (strong)
			err = same_thing(parts_value(side[1], i), parts_value(side[2], j), &same);
		if (err)
			return err;
		if (!same)
			r->current_written[i] = r->written_current[j] = PARTS_NONE;
	}
	return 0;
}

static bool any_common(const struct names *a, const struct names *b)
{
	for (size_t i = 0, j = 0; i < a->count && j < b->count;) {
		int order = names_compare(a->name[a->order[i]], b->name[b->order[j]]);

		if (!order)
			return true;
		i += order < 0;
		j += order > 0;
	}
	return false;
}

static int relate_ids(const struct parts *const side[3], const struct identity *id, struct parts_relation *r, bool *ret_done)
{
	struct names names[3] = { 0 };
	bool unique = true;
	int err = 0;

	for (int i = 0; !err && unique && i < 3; i++)
		err = names_of_elements(side[i], id, &names[i], &unique);
	/* What is not made to tell does so where it is what it was: a member that all sides change is none. */
	unique = unique && (id->strong || (any_common(&names[0], &names[1]) && any_common(&names[0], &names[2])));
	if (!err && unique) {
		relate_names(names, r);
		err = part_added(side, id->strong, r);
	}
	for (int i = 0; i < 3; i++)
		names_release(&names[i]);
	*ret_done = unique;
	return err;
}

/* A pair is matched by its places. */
static bool relate_pair(const struct parts *const side[3], struct parts_relation *r)
{
	for (int i = 0; i < 3; i++) {
		if (side[i]->text.text && !identity_is_pair(side[i]->text))
			return false;
	}
	for (size_t i = 0; i < 2; i++) {
		r->current_written[i] = r->written_current[i] = i;
		if (side[0]->count)
			r->current_base[i] = r->written_base[i] = i;
	}
	return true;
}

static int relate_elements(const struct parts *const side[3], struct parts_relation *r, bool *ret_done)
{
	struct identity ids[IDENTITY_NAMES];
	size_t count = identity_names(side, ids);
	int err = 0;

	*ret_done = relate_pair(side, r);
	for (size_t i = 0; !err && !*ret_done && i < count; i++)
		err = relate_ids(side, &ids[i], r, ret_done);
	return err;
}

static int match_values(const struct parts *a, const uint64_t *a_hash, const struct parts *b, const uint64_t *b_hash,
			size_t *match)
{
	int err = diff_match(a_hash, a->count, b_hash, b->count, match);

	/* Two values may share a hash. */
	for (size_t i = 0; !err && i < a->count; i++) {
		struct value_text va, vb;

		if (match[i] == DIFF_NONE)
			continue;
		va = parts_value(a, i);
		vb = parts_value(b, match[i]);
		if (!json_same(va.text, va.size, vb.text, vb.size))
			match[i] = DIFF_NONE;
	}
	return err;
}

static int relate_values(const struct parts *const side[3], struct parts_relation *r)
{
	size_t *match[3] = { NULL };	/* of base in current (1) and in written (2) */
	uint64_t *hash[3] = { NULL };
	int err = 0;

	for (int s = 0; !err && s < 3; s++) {
		hash[s] = malloc((side[s]->count + 1) * sizeof(*hash[s]));
		match[s] = malloc((side[0]->count + 1) * sizeof(*match[s]));
		if (!hash[s] || !match[s])
			err = -ENOMEM;
		for (size_t i = 0; !err && i < side[s]->count; i++) {
			struct value_text value = parts_value(side[s], i);

			hash[s][i] = json_hash(value.text, value.size);
		}
	}
	for (int s = 1; !err && s < 3; s++)
		err = match_values(side[0], hash[0], side[s], hash[s], match[s]);
	for (size_t i = 0; !err && i < side[0]->count; i++) {
		size_t c = match[1][i], w = match[2][i];

		if (c != DIFF_NONE)
			r->current_base[c] = i;
		if (w != DIFF_NONE)
			r->written_base[w] = i;
		if (c != DIFF_NONE && w != DIFF_NONE) {
			r->current_written[c] = w;
			r->written_current[w] = c;
		}
	}
	for (int s = 0; s < 3; s++) {
		free(hash[s]);
		free(match[s]);
	}
	return err;
}

int parts_relate(const struct parts *base, const struct parts *current, const struct parts *written,
		 struct parts_relation *ret)
{
	const struct parts *const side[3] = { base, current, written };
	size_t current_size = (current->count + 1) * sizeof(size_t), written_size = (written->count + 1) * sizeof(size_t);
	struct parts_relation r = {
		.current_base = malloc(current_size),
		.written_base = malloc(written_size),
		.current_written = malloc(current_size),
		.written_current = malloc(written_size),
		.number = calloc(written->count + 1, sizeof(uint64_t)),
	};
	bool done = false;
	int err = -ENOMEM;

	if (!r.current_base || !r.written_base || !r.current_written || !r.written_current || !r.number)
		goto out;
	memset(r.current_base, 0xff, current_size);
	memset(r.written_base, 0xff, written_size);
	memset(r.current_written, 0xff, current_size);
	memset(r.written_current, 0xff, written_size);
	if (current->object) {
		err = relate_members(side, &r);
	} else {
		err = relate_elements(side, &r, &done);
		if (!err && !done)
			err = relate_values(side, &r);
	}
out:
	if (err)
		parts_relation_release(&r);
	else
		*ret = r;
	return err;
}

void parts_relation_release(struct parts_relation *r)
{
	if (!r)
		return;
	free(r->current_base);
	free(r->written_base);
	free(r->current_written);
	free(r->written_current);
	free(r->number);
	*r = (struct parts_relation){ 0 };
}
