/* The member by which things in a list are told apart, and their identities by it. Pure; called while documents are merged as values. */
#include "identity.h"

#include <string.h>
#include <strings.h>

#include "json.h"

static struct value_text cut(const struct json_walk *w, size_t from, size_t to)
{
	return (struct value_text){ w->text + from, to - from };
}

static bool is_word(struct value_text t, const char *word)
{
	return t.size == strlen(word) && strncasecmp(t.text, word, t.size) == 0;
}

static bool ends_in(struct value_text t, const char *word)
{
	size_t size = strlen(word);

	return t.size >= size && strncasecmp(t.text + t.size - size, word, size) == 0;
}

static struct json_walk walk(struct value_text container)
{
	return json_walk_begin(container.text, container.size, 0);
}

/* The name of the member that a walk stands at, without quotes. */
static struct value_text name_at(const struct json_walk *w)
{
	return cut(w, w->key + 1, w->key_end - 1);
}

static struct value_text find_member(struct value_text object, struct value_text name)
{
	struct json_walk w = walk(object);

	while (json_walk_next(&w)) {
		struct value_text n = name_at(&w);

		if (n.size == name.size && !memcmp(n.text, name.text, n.size))
			return cut(&w, w.start, w.end);
	}
	return (struct value_text){ NULL, 0 };
}

static bool has_member(struct value_text object, const char *name)
{
	return find_member(object, (struct value_text){ name, strlen(name) }).text != NULL;
}

bool identity_is_message(struct value_text e)
{
	if (e.text[0] != '{')
		return false;
	return has_member(e, "role") || has_member(e, "content") || (has_member(e, "type") && has_member(e, "data"));
}

bool identity_is_pair(struct value_text e)
{
	struct json_walk w;
	bool key, value;

	if (e.text[0] != '[')
		return false;
	w = walk(e);
	key = json_walk_next(&w) && e.text[w.start] == '"';
	value = key && json_walk_next(&w) && e.text[w.start] == '{';
	return value && !json_walk_next(&w);
}

static bool tells(char first)
{
	return strchr("\"-0123456789", first) != NULL;
}

/* How likely a member of this name is to tell, the least the likeliest; 0: it does not. Of messages only their own number does, not whose they are. */
static unsigned rank(struct value_text name, bool message)
{
	static const char *const own[] = { "id", "_id", "uuid", "message_id", "messageId", "msg_id" };
	static const char *const other[] = { "session_id", "sessionId", "uid", "guid", "key" };

	for (unsigned i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
		if (is_word(name, own[i]))
			return 1 + i;
	}
	if (message)
		return 0;
	for (unsigned i = 0; i < sizeof(other) / sizeof(other[0]); i++) {
		if (is_word(name, other[i]))
			return 10 + i;
	}
	return ends_in(name, "id") || ends_in(name, "key") ? 20 : 30;
}

struct value_text identity_of(const struct identity *id, struct value_text e)
{
	struct value_text none = { NULL, 0 }, found;
	struct json_walk w;

	if (!id->name.text) {
		if (!identity_is_pair(e))
			return none;
		w = walk(e);
		json_walk_next(&w);
		return cut(&w, w.start, w.end);
	}
	if (e.text[0] != '{' || (!rank(id->name, true) && identity_is_message(e)))
		return none;
	found = find_member(e, id->name);
	return found.text && tells(found.text[0]) ? found : none;
}

size_t identity_names(const struct parts *const side[3], struct identity *ret)
{
	const struct parts *p = side[1]->count ? side[1] : side[2]->count ? side[2] : side[0];
	unsigned ranks[IDENTITY_NAMES], r;
	struct value_text first;
	struct json_walk w;
	size_t n = 0, at;

	if (!p->count)
		return 0;
	first = parts_value(p, 0);
	if (identity_is_pair(first)) {
		ret[0] = (struct identity){ .strong = true };
		return 1;
	}
	if (first.text[0] != '{')
		return 0;
	w = walk(first);
	while (n < IDENTITY_NAMES && json_walk_next(&w)) {
		r = tells(first.text[w.start]) ? rank(name_at(&w), identity_is_message(first)) : 0;
		if (!r)
			continue;
		for (at = n++; at && ranks[at - 1] > r; at--) {
			ranks[at] = ranks[at - 1];
			ret[at] = ret[at - 1];
		}
		ranks[at] = r;
		ret[at] = (struct identity){ .name = name_at(&w), .strong = r < 30 };
	}
	return n;
}

bool identity_is_thing(struct value_text e)
{
	struct json_walk w;

	if (identity_is_pair(e)) {
		w = walk(e);
		json_walk_next(&w);
		json_walk_next(&w);
		e = cut(&w, w.start, w.end);
	}
	if (e.text[0] != '{' || identity_is_message(e))
		return false;
	w = walk(e);
	while (json_walk_next(&w)) {
		if (strchr("{[", e.text[w.start]))
			return true;
	}
	return false;
}

bool identity_shared(struct value_text a, struct value_text b)
{
	struct json_walk w;

	if (identity_is_pair(a) && identity_is_pair(b)) {
		struct value_text x = identity_of(&(struct identity){ 0 }, a), y = identity_of(&(struct identity){ 0 }, b);

		return x.size == y.size && !memcmp(x.text, y.text, x.size);
	}
	if (a.text[0] != '{' || b.text[0] != '{' || identity_is_message(a) || identity_is_message(b))
		return false;
	w = walk(a);
	while (json_walk_next(&w)) {
		struct value_text value = cut(&w, w.start, w.end), other;

		if (!tells(value.text[0]))
			continue;
		other = find_member(b, name_at(&w));
		if (other.text && other.size == value.size && !memcmp(other.text, value.text, value.size))
			return true;
	}
	return false;
}
