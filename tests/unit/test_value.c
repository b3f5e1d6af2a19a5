#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "buf.h"
#include "json.h"
#include "value.h"

static struct value_text text_of(const char *s)
{
	return (struct value_text){ s, s ? strlen(s) : 0 };
}

static struct value_text bytes_of(const struct buf *b)
{
	return (struct value_text){ b->data, b->size };
}

static void check_valid(struct value_text t, const char *name)
{
	cr_assert_eq(json_check(t.text, t.size, NULL), 0, "%s: not JSON: %.*s", name, (int)(t.size < 2000 ? t.size : 2000), t.text);
}

struct merge_case {
	const char *name, *base, *current, *written, *expected;
};

static const struct merge_case scalars[] = {
	{ "written changed", "1", "1", "2", "2" },
	{ "current changed", "1", "2", "1", "2" },
	{ "neither changed", "1", "1", "1", "1" },
	{ "both the same", "1", "2", "2", "2" },
	{ "spelling of numbers survives", "{\"a\":1.50,\"b\":1}", "{\"a\":1.50,\"b\":2}", "{\"a\":1E+2,\"b\":1}",
	  "{\"a\":1E+2,\"b\":2}" },
	{ "escapes survive", "{\"a\":\"\\u00e9\",\"b\":1}", "{\"a\":\"\\u00e9\",\"b\":2}",
	  "{\"a\":\"\\ud83d\\/\",\"b\":1}",
	  "{\"a\":\"\\ud83d\\/\",\"b\":2}" },
	{ "python's words", "{\"a\":NaN,\"b\":1}", "{\"a\":-Infinity,\"b\":1}", "{\"a\":NaN,\"b\":Infinity}",
	  "{\"a\":-Infinity,\"b\":Infinity}" },
	{ "brackets in strings", "{\"a\":\"]},{\",\"b\":1}", "{\"a\":\"]},{\",\"b\":2}", "{\"a\":\"[\\\"\",\"b\":1}",
	  "{\"a\":\"[\\\"\",\"b\":2}" },
	{ "no base, alike", NULL, "1", "1", "1" },
	{ "no current", "1", NULL, "2", "2" },
	{ "no current, unchanged", "[1]", NULL, "[1 ]", "" },
	{ "no current, no base", NULL, NULL, "[1]\n", "[1]\n" },
	{ "no written", "1", "2", NULL, "2" },
	{ "no written, unchanged", "1", "1", NULL, "" },
	{ "nothing at all", NULL, NULL, NULL, "" },
};

/* Both sides changed one scalar, or type: the only cases in which *ret_conflict is set. */
static const struct merge_case conflicts[] = {
	{ "both changed", "1", "2", "3", "3" },
	{ "no base, different", NULL, "1", "2", "2" },
	{ "list to object by written", "[1]", "[1,2]", "{\"a\":1}", "{\"a\":1}" },
	{ "object to scalar and edit", "{\"o\":{\"a\":1}}", "{\"o\":{\"a\":2}}", "{\"o\":null}", "{\"o\":null}" },
	{ "both changed one", "{\"a\":1,\"b\":1}", "{\"a\":2,\"b\":1}", "{\"a\":3,\"b\":1}", "{\"a\":3,\"b\":1}" },
	{ "both added one, different", "{}", "{\"b\":2}", "{\"b\":3}", "{\"b\":3}" },
};

static const struct merge_case types[] = {
	{ "list to object by current", "[1]", "{\"a\":1}", "[1]", "{\"a\":1}" },
	{ "to object by both, names like the elements", "[\"a\",\"b\"]", "{\"a\":1}", "{\"a\":1,\"b\":2}",
	  "{\"a\":1,\"b\":2}" },
	{ "to object by both", "[1]", "{\"a\":1}", "{\"b\":2}", "{\"a\":1,\"b\":2}" },
	{ "null to lists", "{\"l\":null}", "{\"l\":[\"a\"]}", "{\"l\":[\"b\"]}", "{\"l\":[\"a\",\"b\"]}" },
	{ "unchanged object to scalar", "{\"o\":{\"a\":1},\"p\":1}", "{\"o\":{\"a\":1},\"p\":2}", "{\"o\":0,\"p\":1}",
	  "{\"o\":0,\"p\":2}" },
	{ "reformatted object to scalar", "{\"o\":{\"a\":1}}", "{\"o\":{ \"a\": 1 }}", "{\"o\":0}", "{\"o\":0}" },
};

static const struct merge_case members[] = {
	{ "each changed one", "{\"a\":1,\"b\":1}", "{\"a\":2,\"b\":1}", "{\"a\":1,\"b\":2}", "{\"a\":2,\"b\":2}" },
	{ "both added", "{\"a\":1}", "{\"a\":1,\"b\":2}", "{\"a\":1,\"c\":3}", "{\"a\":1,\"b\":2,\"c\":3}" },
	{ "both added one, alike", "{}", "{\"b\":2}", "{\"b\":2}", "{\"b\":2}" },
	{ "added first", "{\"a\":1}", "{\"a\":2}", "{\"z\":0,\"a\":1}", "{\"z\":0,\"a\":2}" },
	{ "added between", "{\"a\":1,\"b\":1}", "{\"a\":2,\"b\":1}", "{\"a\":1,\"n\":0,\"b\":1}",
	  "{\"a\":2,\"n\":0,\"b\":1}" },
	{ "both added between", "{\"a\":1,\"b\":1}", "{\"a\":1,\"m\":0,\"b\":1}", "{\"a\":1,\"n\":0,\"b\":1}",
	  "{\"a\":1,\"m\":0,\"n\":0,\"b\":1}" },
	{ "added after a removed one", "{\"a\":1,\"b\":1}", "{\"a\":1}", "{\"a\":1,\"b\":1,\"n\":0}",
	  "{\"a\":1,\"n\":0}" },
	{ "removed by written", "{\"a\":1,\"b\":1}", "{\"a\":2,\"b\":1}", "{\"a\":1}", "{\"a\":2}" },
	{ "removed by current", "{\"a\":1,\"b\":1}", "{\"a\":1}", "{\"a\":2,\"b\":1}", "{\"a\":2}" },
	{ "first removed", "{\"a\":1,\"b\":1}", "{\"a\":1,\"b\":2}", "{\"b\":1}", "{\"b\":2}" },
	{ "removed by both", "{\"a\":1,\"b\":1,\"c\":1}", "{\"a\":1,\"c\":1}", "{\"b\":1,\"a\":1}", "{\"a\":1}" },
	{ "removed by written, changed by current", "{\"a\":1,\"b\":1}", "{\"a\":1,\"b\":2}", "{\"a\":3}",
	  "{\"a\":3,\"b\":2}" },
	{ "removed by current, changed by written", "{\"a\":1,\"b\":1}", "{\"a\":3}", "{\"a\":1,\"b\":2}",
	  "{\"a\":3,\"b\":2}" },
	{ "removed, and only reformatted", "{\"a\":[1],\"b\":1}", "{\"a\":[ 1 ],\"b\":2}", "{\"b\":1}", "{\"b\":2}" },
	{ "each removed all the other's", "{\"a\":1,\"b\":1}", "{\"a\":1}", "{\"b\":1}", "{}" },
	{ "order is current's", "{\"a\":1,\"b\":1}", "{\"b\":2,\"a\":1}", "{\"a\":2,\"b\":1}", "{\"b\":2,\"a\":2}" },
	{ "no base", NULL, "{\"a\":1,\"b\":2}", "{\"b\":2,\"c\":3}", "{\"a\":1,\"b\":2,\"c\":3}" },
	{ "nested", "{\"o\":{\"p\":{\"a\":1,\"b\":1}}}", "{\"o\":{\"p\":{\"a\":2,\"b\":1}}}",
	  "{\"o\":{\"p\":{\"a\":1,\"b\":2}}}",
	  "{\"o\":{\"p\":{\"a\":2,\"b\":2}}}" },
	{ "equal names, one changed each", "{\"a\":1,\"a\":2}", "{\"a\":1,\"a\":3}", "{\"a\":4,\"a\":2}",
	  "{\"a\":4,\"a\":3}" },
	{ "equal names, one added", "{\"a\":1,\"b\":1}", "{\"a\":1,\"b\":2}", "{\"a\":1,\"a\":5,\"b\":1}",
	  "{\"a\":1,\"a\":5,\"b\":2}" },
	{ "names spelled differently", "{\"\\u00e9\\n\":1,\"b\":1}", "{\"\\u00e9\\u000a\":1,\"b\":2}",
	  "{\"\303\251\\n\":3,\"b\":1}",
	  "{\"\\u00e9\\u000a\":3,\"b\":2}" },
	{ "names beyond the first plane", "{\"\\ud83d\\ude00\":1,\"b\":1}", "{\"\\ud83d\\ude00\":1,\"b\":2}",
	  "{\"\360\237\230\200\":3,\"b\":1}",
	  "{\"\\ud83d\\ude00\":3,\"b\":2}" },
	{ "half a pair is a name of its own", "{\"\\ud83d\":1,\"b\":1}", "{\"\\ud83d\":1,\"b\":2}",
	  "{\"\\ud83d\":3,\"\\ude00\":4,\"b\":1}",
	  "{\"\\ud83d\":3,\"\\ude00\":4,\"b\":2}" },
	{ "half a pair and a letter", "{\"\\ud83d\\u0041\":1,\"b\":1}", "{\"\\ud83d\\u0041\":1,\"b\":2}",
	  "{\"\\ud83dA\":3,\"b\":1}",
	  "{\"\\ud83d\\u0041\":3,\"b\":2}" },
	{ "a prefix is another name", "{\"a\":1}", "{\"a\":1,\"ab\":2}", "{\"a\":1,\"\":3}",
	  "{\"a\":1,\"ab\":2,\"\":3}" },
};

static const struct merge_case lists[] = {
	{ "both appended", "[\"a\"]", "[\"a\",\"x\"]", "[\"a\",\"y\"]", "[\"a\",\"x\",\"y\"]" },
	{ "both appended equals", "[\"a\"]", "[\"a\",\"x\"]", "[\"a\",\"x\"]", "[\"a\",\"x\",\"x\"]" },
	{ "equal to what is there", "[\"a\"]", "[\"a\",\"a\"]", "[\"a\",\"a\"]", "[\"a\",\"a\",\"a\"]" },
	{ "both to an empty one", "[]", "[\"x\"]", "[\"y\"]", "[\"x\", \"y\"]" },
	{ "no base", NULL, "[\"x\"]", "[\"x\"]", "[\"x\", \"x\"]" },
	{ "put first", "[\"a\"]", "[\"a\",\"x\"]", "[\"s\",\"a\"]", "[\"s\",\"a\",\"x\"]" },
	{ "both put first", "[\"a\"]", "[\"x\",\"a\"]", "[\"s\",\"a\"]", "[\"x\",\"s\",\"a\"]" },
	{ "inserted between", "[\"a\",\"b\"]", "[\"a\",\"x\",\"b\"]", "[\"a\",\"y\",\"b\"]",
	  "[\"a\",\"x\",\"y\",\"b\"]" },
	{ "removed and appended", "[\"a\",\"b\"]", "[\"a\",\"b\",\"x\"]", "[\"b\"]", "[\"b\",\"x\"]" },
	{ "the last kept", "[\"a\",\"b\",\"c\"]", "[\"a\",\"b\",\"c\",\"x\"]", "[\"b\",\"c\",\"y\"]",
	  "[\"b\",\"c\",\"x\",\"y\"]" },
	{ "cleared", "[\"a\",\"b\"]", "[\"a\",\"b\",\"x\"]", "[]", "[\"x\"]" },
	{ "cleared by both", "[\"a\",\"b\"]", "[]", "[ ]", "[]" },
	{ "each removed the other's", "[\"a\",\"b\"]", "[\"a\"]", "[\"b\"]", "[]" },
	{ "the last written anew", "[\"a\",\"b\"]", "[\"a\",\"b\",\"x\"]", "[\"a\",\"B\"]", "[\"a\",\"x\",\"B\"]" },
	{ "one edited by both", "[\"a\",\"b\",\"c\"]", "[\"a\",\"x\",\"c\"]", "[\"a\",\"y\",\"c\"]",
	  "[\"a\",\"x\",\"y\",\"c\"]" },
	{ "numbers by value, not by spelling", "[1,2]", "[1,2,3]", "[1.0,2]", "[1.0,2,3]" },
	{ "the same position set twice", "{\"p\":[0,0]}", "{\"p\":[3,4]}", "{\"p\":[3,4]}", "{\"p\":[3,4]}" },
	{ "messages with empty lists", "{\"m\":[[{\"t\":1},[]]]}", "{\"m\":[[{\"t\":1},[]],[{\"t\":2},[]]]}",
	  "{\"m\":[[{\"t\":1},[]],[{\"t\":3},[]]]}",
	  "{\"m\":[[{\"t\":1},[]],[{\"t\":2},[]],[{\"t\":3},[]]]}" },
	{ "two parallel lists", "{\"user\":[\"q\"],\"assistant\":[\"a\"]}",
	  "{\"user\":[\"q\",\"q1\"],\"assistant\":[\"a\",\"a1\"]}",
	  "{\"user\":[\"q\",\"q2\"],\"assistant\":[\"a\",\"a2\"]}",
	  "{\"user\":[\"q\",\"q1\",\"q2\"],\"assistant\":[\"a\",\"a1\",\"a2\"]}" },
	{ "one list in one member of each of two", "{\"u\":{\"s\":{\"messages\":[\"a\"]},\"t\":{\"messages\":[]}}}",
	  "{\"u\":{\"s\":{\"messages\":[\"a\",\"x\"]},\"t\":{\"messages\":[]}},\"v\":{\"s\":{\"messages\":[\"n\"]}}}",
	  "{\"u\":{\"s\":{\"messages\":[\"a\",\"y\"]},\"t\":{\"messages\":[\"z\"]}},\"w\":{}}",
	  "{\"u\":{\"s\":{\"messages\":[\"a\",\"x\",\"y\"]},\"t\":{\"messages\":[\"z\"]}},\"v\":{\"s\":{\"messages\":[\"n\"]}},\"w\":{}}" },
	{ "both opened one session", "{}", "{\"s\":{\"messages\":[\"x\"]}}", "{\"s\":{\"messages\":[\"y\"]}}",
	  "{\"s\":{\"messages\":[\"x\",\"y\"]}}" },
	{ "session removed and appended to", "{\"s\":{\"m\":[\"a\"]},\"t\":{}}",
	  "{\"s\":{\"m\":[\"a\",\"x\"]},\"t\":{}}", "{\"t\":{}}",
	  "{\"s\":{\"m\":[\"a\",\"x\"]},\"t\":{}}" },
	{ "lists in elements are not merged", "[[1]]", "[[1,2]]", "[[1,3]]", "[[1,2],[1,3]]" },
};

static const struct merge_case ids[] = {
	{ "two sessions, one each", "[{\"session_id\":\"a\",\"m\":[]},{\"session_id\":\"b\",\"m\":[]}]",
	  "[{\"session_id\":\"a\",\"m\":[\"x\"]},{\"session_id\":\"b\",\"m\":[]}]",
	  "[{\"session_id\":\"a\",\"m\":[]},{\"session_id\":\"b\",\"m\":[\"y\"]}]",
	  "[{\"session_id\":\"a\",\"m\":[\"x\"]},{\"session_id\":\"b\",\"m\":[\"y\"]}]" },
	{ "one session, both", "[{\"session_id\":\"a\",\"m\":[]}]", "[{\"session_id\":\"a\",\"m\":[\"x\"]}]",
	  "[{\"session_id\":\"a\",\"m\":[\"y\"]}]",
	  "[{\"session_id\":\"a\",\"m\":[\"x\",\"y\"]}]" },
	{ "a session opened by each", "[]", "[{\"session_id\":\"a\",\"m\":[\"x\"]}]",
	  "[{\"session_id\":\"b\",\"m\":[\"y\"]}]",
	  "[{\"session_id\":\"a\",\"m\":[\"x\"]},{\"session_id\":\"b\",\"m\":[\"y\"]}]" },
	{ "one session opened by both", "[]", "[{\"id\":\"a\",\"m\":[\"x\"]}]", "[{\"id\":\"a\",\"m\":[\"y\"]}]",
	  "[{\"id\":\"a\",\"m\":[\"x\",\"y\"]}]" },
	{ "two messages counted to one number", "[{\"id\":1,\"content\":\"a\"}]",
	  "[{\"id\":1,\"content\":\"a\"},{\"id\":2,\"content\":\"x\"}]",
	  "[{\"id\":1,\"content\":\"a\"},{\"id\":2,\"content\":\"y\"}]",
	  "[{\"id\":1,\"content\":\"a\"},{\"id\":2,\"content\":\"x\"},{\"id\":2,\"content\":\"y\"}]" },
	{ "a message edited by both", "[{\"id\":1,\"a\":1,\"b\":1},{\"id\":2}]",
	  "[{\"id\":1,\"a\":2,\"b\":1},{\"id\":2}]", "[{\"id\":1,\"a\":1,\"b\":2},{\"id\":2}]",
	  "[{\"id\":1,\"a\":2,\"b\":2},{\"id\":2}]" },
	{ "edited and appended", "[{\"id\":1,\"t\":\"a\"}]", "[{\"id\":1,\"t\":\"A\"}]",
	  "[{\"id\":1,\"t\":\"a\"},{\"id\":2,\"t\":\"y\"}]",
	  "[{\"id\":1,\"t\":\"A\"},{\"id\":2,\"t\":\"y\"}]" },
	{ "removed and edited", "[{\"id\":1,\"t\":\"a\"},{\"id\":2}]", "[{\"id\":1,\"t\":\"A\"},{\"id\":2}]",
	  "[{\"id\":2},{\"id\":3}]",
	  "[{\"id\":1,\"t\":\"A\"},{\"id\":2},{\"id\":3}]" },
	{ "removed and unchanged", "[{\"id\":1},{\"id\":2}]", "[{\"id\":1},{\"id\":2},{\"id\":3}]", "[{\"id\":2}]",
	  "[{\"id\":2},{\"id\":3}]" },
	{ "appended by both, in order", "[{\"id\":1}]", "[{\"id\":1},{\"id\":5}]", "[{\"id\":1},{\"id\":4}]",
	  "[{\"id\":1},{\"id\":5},{\"id\":4}]" },
	{ "sessions by another name", "[{\"name\":\"a\",\"m\":[]},{\"name\":\"b\",\"m\":[]}]", "[{\"name\":\"a\",\"m\":[\"x\"]},{\"name\":\"b\",\"m\":[]}]", "[{\"name\":\"a\",\"m\":[\"y\"]},{\"name\":\"b\",\"m\":[\"z\"]}]", "[{\"name\":\"a\",\"m\":[\"x\",\"y\"]},{\"name\":\"b\",\"m\":[\"z\"]}]" },
	{ "a member that all have and none has twice", "[{\"kind\":\"k\",\"no\":1,\"m\":[]},{\"kind\":\"k\",\"no\":2,\"m\":[]}]", "[{\"kind\":\"k\",\"no\":1,\"m\":[\"x\"]},{\"kind\":\"k\",\"no\":2,\"m\":[]}]", "[{\"kind\":\"k\",\"no\":1,\"m\":[\"y\"]},{\"kind\":\"k\",\"no\":2,\"m\":[]}]", "[{\"kind\":\"k\",\"no\":1,\"m\":[\"x\",\"y\"]},{\"kind\":\"k\",\"no\":2,\"m\":[]}]" },
	{ "two with one title are two", "[{\"title\":\"t\",\"m\":[\"a\"]}]", "[{\"title\":\"t\",\"m\":[\"a\"]},{\"title\":\"New chat\",\"m\":[\"x\"]}]", "[{\"title\":\"t\",\"m\":[\"a\"]},{\"title\":\"New chat\",\"m\":[\"y\"]}]", "[{\"title\":\"t\",\"m\":[\"a\"]},{\"title\":\"New chat\",\"m\":[\"x\"]},{\"title\":\"New chat\",\"m\":[\"y\"]}]" },
	{ "runs by run_id", "[{\"session_id\":\"s\",\"runs\":[{\"run_id\":\"r\",\"n\":1}]}]", "[{\"session_id\":\"s\",\"runs\":[{\"run_id\":\"r\",\"n\":1},{\"run_id\":\"x\"}]}]", "[{\"session_id\":\"s\",\"runs\":[{\"run_id\":\"r\",\"n\":2},{\"run_id\":\"y\"}]}]", "[{\"session_id\":\"s\",\"runs\":[{\"run_id\":\"r\",\"n\":2},{\"run_id\":\"x\"},{\"run_id\":\"y\"}]}]" },
	{ "messages are not told apart by whose they are", "[{\"role\":\"u\",\"session_id\":\"s\",\"text\":\"a\"}]", "[{\"role\":\"u\",\"session_id\":\"s\",\"text\":\"b\"}]", "[{\"role\":\"u\",\"session_id\":\"s\",\"text\":\"c\"}]", "[{\"role\":\"u\",\"session_id\":\"s\",\"text\":\"b\"},{\"role\":\"u\",\"session_id\":\"s\",\"text\":\"c\"}]" },
	{ "messages by type are not told apart by it", "[{\"type\":\"human\",\"data\":{\"c\":\"a\"}}]", "[{\"type\":\"human\",\"data\":{\"c\":\"a\"}},{\"type\":\"ai\",\"data\":{\"c\":\"x\"}}]", "[{\"type\":\"human\",\"data\":{\"c\":\"a\"}},{\"type\":\"ai\",\"data\":{\"c\":\"y\"}}]", "[{\"type\":\"human\",\"data\":{\"c\":\"a\"}},{\"type\":\"ai\",\"data\":{\"c\":\"x\"}},{\"type\":\"ai\",\"data\":{\"c\":\"y\"}}]" },
	{ "pairs by their keys", "{\"cache\":[[\"a\",{\"v\":1}],[\"b\",{\"v\":1}]]}", "{\"cache\":[[\"a\",{\"v\":2}],[\"b\",{\"v\":1}],[\"x\",{\"v\":1}]]}", "{\"cache\":[[\"a\",{\"v\":1}],[\"b\",{\"v\":3}],[\"y\",{\"v\":1}]]}", "{\"cache\":[[\"a\",{\"v\":2}],[\"b\",{\"v\":3}],[\"x\",{\"v\":1}],[\"y\",{\"v\":1}]]}" },
	{ "one pair by both", "[[\"a\",{\"m\":[\"h\"]}]]", "[[\"a\",{\"m\":[\"h\",\"x\"]}]]", "[[\"a\",{\"m\":[\"h\",\"y\"]}]]", "[[\"a\",{\"m\":[\"h\",\"x\",\"y\"]}]]" },
	{ "one pair added by both", "[]", "[[\"a\",{\"m\":[\"x\"]}]]", "[[\"a\",{\"m\":[\"y\"]}]]", "[[\"a\",{\"m\":[\"x\",\"y\"]}]]" },
	{ "a question and its answer are no pair", "{\"i\":[[\"h\",\"y\"]]}", "{\"i\":[[\"h\",\"y\"],[\"q\",\"x\"]]}", "{\"i\":[[\"h\",\"y\"],[\"q\",\"z\"]]}", "{\"i\":[[\"h\",\"y\"],[\"q\",\"x\"],[\"q\",\"z\"]]}" },
	{ "numbers that both counted to", "{\"t\":{\"1\":{\"c\":\"a\"}}}", "{\"t\":{\"1\":{\"c\":\"a\"},\"2\":{\"c\":\"x\"}}}", "{\"t\":{\"1\":{\"c\":\"a\"},\"2\":{\"c\":\"y\"},\"3\":{\"c\":\"z\"}}}", "{\"t\":{\"1\":{\"c\":\"a\"},\"2\":{\"c\":\"x\"},\"3\":{\"c\":\"y\"},\"4\":{\"c\":\"z\"}}}" },
	{ "the same in an empty table", "{\"t\":{}}", "{\"t\": {\"1\": {\"c\": \"x\"}, \"2\": {\"c\": \"w\"}}}", "{\"t\": {\"1\": {\"c\": \"y\"}}}", "{\"t\": {\"1\": {\"c\": \"x\"}, \"2\": {\"c\": \"w\"}, \"3\": {\"c\": \"y\"}}}" },
	{ "equal ones are two", "{\"t\":{\"1\":{\"c\":\"a\"}}}", "{\"t\":{\"1\":{\"c\":\"a\"},\"2\":{\"c\":\"ok\"}}}", "{\"t\":{\"1\":{\"c\":\"a\"},\"2\":{\"c\":\"ok\"}}}", "{\"t\":{\"1\":{\"c\":\"a\"},\"2\":{\"c\":\"ok\"},\"3\":{\"c\":\"ok\"}}}" },
	{ "what stands under a number is edited", "{\"t\":{\"1\":{\"c\":\"a\"},\"2\":{\"c\":\"b\"}}}", "{\"t\":{\"1\":{\"c\":\"a\"},\"2\":{\"c\":\"b\"},\"3\":{\"c\":\"x\"}}}", "{\"t\":{\"1\":{\"c\":\"A\"},\"2\":{\"c\":\"b\"}}}", "{\"t\":{\"1\":{\"c\":\"A\"},\"2\":{\"c\":\"b\"},\"3\":{\"c\":\"x\"}}}" },
	{ "numbers that nobody counted", "{\"7\":{\"m\":[]}}", "{\"7\":{\"m\":[]},\"4711\":{\"m\":[\"x\"]}}", "{\"7\":{\"m\":[]},\"4711\":{\"m\":[\"y\"]}}", "{\"7\":{\"m\":[]},\"4711\":{\"m\":[\"x\",\"y\"]}}" },
	{ "an id used twice is none", "[{\"id\":1,\"t\":\"a\"},{\"id\":1,\"t\":\"b\"}]",
	  "[{\"id\":1,\"t\":\"A\"},{\"id\":1,\"t\":\"b\"}]",
	  "[{\"id\":1,\"t\":\"a\"},{\"id\":1,\"t\":\"B\"}]", "[{\"id\":1,\"t\":\"A\"},{\"id\":1,\"t\":\"B\"}]" },
	{ "an id used twice, one removed, one changed", "[{\"id\":1,\"t\":\"a\"},{\"id\":1,\"t\":\"b\"}]",
	  "[{\"id\":1,\"t\":\"b\"}]",
	  "[{\"id\":1,\"t\":\"a\"},{\"id\":1,\"t\":\"B\"}]", "[{\"id\":1,\"t\":\"B\"}]" },
	{ "two messages of parts under one number", "[]", "[{\"id\":1,\"role\":\"u\",\"content\":[{\"t\":\"x\"}]}]",
	  "[{\"id\":1,\"role\":\"u\",\"content\":[{\"t\":\"y\"}]}]",
	  "[{\"id\":1,\"role\":\"u\",\"content\":[{\"t\":\"x\"}]},{\"id\":1,\"role\":\"u\",\"content\":[{\"t\":\"y\"}]}]" },
	{ "two messages of one session for one", "[{\"session_id\":\"s\",\"content\":\"a\"}]",
	  "[{\"session_id\":\"s\",\"content\":\"x\"}]",
	  "[{\"session_id\":\"s\",\"content\":\"y\"}]",
	  "[{\"session_id\":\"s\",\"content\":\"x\"},{\"session_id\":\"s\",\"content\":\"y\"}]" },
	{ "session_id in messages is none", "[]", "[{\"session_id\":\"s\",\"role\":\"user\",\"content\":\"x\"}]",
	  "[{\"session_id\":\"s\",\"role\":\"user\",\"content\":\"y\"}]",
	  "[{\"session_id\":\"s\",\"role\":\"user\",\"content\":\"x\"},{\"session_id\":\"s\",\"role\":\"user\",\"content\":\"y\"}]" },
	{ "one element without an id", "[{\"id\":1,\"t\":\"a\"},{\"t\":\"b\"}]",
	  "[{\"id\":1,\"t\":\"A\"},{\"t\":\"b\"}]", "[{\"id\":1,\"t\":\"a\"},{\"t\":\"b\"},{\"t\":\"y\"}]",
	  "[{\"id\":1,\"t\":\"A\"},{\"t\":\"b\"},{\"t\":\"y\"}]" },
};

static const struct merge_case formats[] = {
	{ "spaced", "[\"a\"]", "[\"a\", \"x\"]", "[\"a\", \"y\"]", "[\"a\", \"x\", \"y\"]" },
	{ "compact gets spaced", "[\"a\"]", "[\"a\",\"x\"]", "[\"a\", \"y\"]", "[\"a\",\"x\",\"y\"]" },
	{ "python's first two", "[]", "[{\"r\": \"u\"}]", "[{\"r\": \"v\"}]", "[{\"r\": \"u\"}, {\"r\": \"v\"}]" },
	{ "javascript's first two", "[]", "[{\"r\":\"u\"}]", "[{\"r\":\"v\"}]", "[{\"r\":\"u\"},{\"r\":\"v\"}]" },
	{ "indented", "[\n  1\n]", "[\n  1,\n  2\n]", "[\n  1,\n  3\n]", "[\n  1,\n  2,\n  3\n]" },
	{ "indented, one element before", "[]", "[\n  1\n]", "[\n  2\n]", "[\n  1,\n  2\n]" },
	{ "indented gets compact", "[1]", "[\n  1,\n  2\n]", "[1,3]", "[\n  1,\n  2,\n  3\n]" },
	{ "compact gets indented", "[1]", "[1,2]", "[\n  1,\n  3\n]", "[1,2,3]" },
	{ "deeper indentation", "{\n  \"m\": [\n    {\n      \"a\": 1\n    }\n  ]\n}",
	  "{\n  \"m\": [\n    {\n      \"a\": 1\n    },\n    {\n      \"a\": 2\n    }\n  ]\n}",
	  "{\n    \"m\": [\n        {\n            \"a\": 1\n        },\n        {\n            \"a\": 3\n        }\n    ]\n}",
	  "{\n  \"m\": [\n    {\n      \"a\": 1\n    },\n    {\n      \"a\": 2\n    },\n    {\n        \"a\": 3\n    }\n  ]\n}" },
	{ "tabs", "{\n\t\"a\": 1\n}", "{\n\t\"a\": 1,\n\t\"b\": 2\n}", "{\n\t\"a\": 1,\n\t\"c\": {\n\t\t\"d\": 1\n\t}\n}",
	  "{\n\t\"a\": 1,\n\t\"b\": 2,\n\t\"c\": {\n\t\t\"d\": 1\n\t}\n}" },
	{ "CRLF", "[\r\n  1\r\n]\r\n", "[\r\n  1,\r\n  2\r\n]\r\n", "[\r\n  1,\r\n  3\r\n]\r\n",
	  "[\r\n  1,\r\n  2,\r\n  3\r\n]\r\n" },
	{ "colons as in current", "{\"a\" : 1}", "{\"a\" : 2}", "{\"a\": 1, \"b\": 3}", "{\"a\" : 2, \"b\" : 3}" },
	{ "space inside brackets", "[ 1 ]", "[ 1, 2 ]", "[ 1, 3 ]", "[ 1, 2, 3 ]" },
	{ "comma first", "[ 1\n, 2 ]", "[ 1\n, 2\n, 3 ]", "[1,2,4]", "[ 1\n, 2\n, 3\n, 4 ]" },
	{ "first removed", "[\n  1,\n  2\n]", "[\n  1,\n  2,\n  3\n]", "[\n  2\n]", "[\n  2,\n  3\n]" },
	{ "last removed", "[\n  1,\n  2\n]", "[\n  0,\n  1,\n  2\n]", "[\n  1\n]", "[\n  0,\n  1\n]" },
	{ "all removed", "{\n  \"m\": [\n    1\n  ],\n  \"a\": 1\n}", "{\n  \"m\": [\n    1\n  ],\n  \"a\": 2\n}",
	  "{\n  \"m\": [],\n  \"a\": 1\n}",
	  "{\n  \"m\": [],\n  \"a\": 2\n}" },
	{ "all removed by turns", "{\n  \"m\": [\n    1,\n    2\n  ]\n}", "{\n  \"m\": [\n    1\n  ]\n}",
	  "{\n  \"m\": [\n    2\n  ]\n}", "{\n  \"m\": []\n}" },
	{ "empty becomes non-empty", "{\n  \"m\": [],\n  \"a\": 1\n}", "{\n  \"m\": [],\n  \"a\": 2\n}",
	  "{\n  \"m\": [\n    1\n  ],\n  \"a\": 1\n}",
	  "{\n  \"m\": [\n    1\n  ],\n  \"a\": 2\n}" },
	{ "emptied, then filled", "{\n  \"m\": [\n    1\n  ],\n  \"a\": 1\n}", "{\n  \"m\": [],\n  \"a\": 2\n}",
	  "{\n  \"m\": [\n    1,\n    2\n  ],\n  \"a\": 1\n}",
	  "{\n  \"m\": [\n    2\n  ],\n  \"a\": 2\n}" },
	{ "emptied on one line, filled in lines", "{\"m\":[1],\"a\":1}", "{\"m\":[],\"a\":2}",
	  "{\n  \"m\": [\n    1,\n    2,\n    3\n  ],\n  \"a\": 1\n}",
	  "{\"m\":[2,3],\"a\":2}" },
	{ "trailing newline is current's", "[1]", "[1,2]\n", "[1,3]", "[1,2,3]\n" },
	{ "no trailing newline is current's", "[1]\n", "[1,2]", "[1,3]\n", "[1,2,3]" },
	{ "byte order mark is current's", "\357\273\277[1]", "\357\273\277[1,2]\n", "[1,3]", "\357\273\277[1,2,3]\n" },
	{ "byte order mark of written is not taken", "[1]", " [1,2]", "\357\273\277[1,3]", " [1,2,3]" },
	{ "unchanged by both, formatted by one", "{\"a\": [1, 2], \"b\": 1}", "{\"a\":[1,2],\"b\":1}",
	  "{\"a\": [1, 2], \"b\": 2}", "{\"a\":[1,2],\"b\":2}" },
	{ "formatted by written, changed by current", "{\"a\":[1,2],\"b\":1}", "{\"a\":[1,2],\"b\":2}",
	  "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": 1\n}",
	  "{\"a\":[1,2],\"b\":2}" },
	{ "nothing but formatting by both", "[1,2]", "[1, 2]", "[ 1,2 ]", "[1, 2]" },
	{ "written alone: byte for byte", " [ 1 ]", " [ 1 ]", "\357\273\277[1 ,2]\r\n", "\357\273\277[1 ,2]\r\n" },
	{ "current alone: byte for byte", " [ 1 ]", "\357\273\277[1 ,2]\r\n", " [ 1 ]", "\357\273\277[1 ,2]\r\n" },
	{ "current's own separators", "[1, 2,\n 3]", "[1, 2,\n 3, 5]", "[1, 2,\n 3, 4]", "[1, 2,\n 3, 5, 4]" },
	{ "written's bytes where current changed nothing", "{\"a\": [1, 2], \"b\": 1}", "{\"a\": [1, 2], \"b\": 2}",
	  "{\"a\": [ 1,3 ], \"b\": 1}",
	  "{\"a\": [ 1,3 ], \"b\": 2}" },
	{ "rows of four", "[1, 2, 3, 4,\n 5, 6]", "[1, 2, 3, 4,\n 5, 6, 7]", "[1, 2, 3, 4,\n 6]", "[1, 2, 3, 4, 6, 7]" },
};

static void run(const struct merge_case *cases, size_t count, bool expect_conflict)
{
	for (size_t i = 0; i < count; i++) {
		const struct merge_case *c = &cases[i];
		struct buf out = BUF_INIT;
		bool conflict = !expect_conflict;

		cr_assert_eq(value_merge(text_of(c->base), text_of(c->current), text_of(c->written), NULL, &out, &conflict), 0);
		cr_assert_eq(out.size, strlen(c->expected), "%s: %.*s", c->name, (int)out.size, out.data);
		cr_assert(out.size == 0 || memcmp(out.data, c->expected, out.size) == 0, "%s: %.*s", c->name, (int)out.size, out.data);
		cr_assert_eq(conflict, expect_conflict, "%s: conflict", c->name);
		buf_release(&out);
	}
}

#define RUN(cases, conflict) run(cases, sizeof(cases) / sizeof(cases[0]), conflict)

Test(value, scalars)
{
	RUN(scalars, false);
}

Test(value, conflicts)
{
	RUN(conflicts, true);
}

Test(value, types)
{
	RUN(types, false);
}

Test(value, members)
{
	RUN(members, false);
}

Test(value, lists)
{
	RUN(lists, false);
}

Test(value, ids)
{
	RUN(ids, false);
}

Test(value, formats)
{
	RUN(formats, false);
}

Test(value, counters)
{
	static const struct {
		const char *name, *base, *current, *written, *expected;
		struct value_counts counts;
	} table[] = {
		{ "both appended", "{\"message_count\":1}", "{\"message_count\":2}", "{\"message_count\":2}",
		  "{\"message_count\":3}", { 2, 2, 3 } },
		{ "nested", "{\"metadata\": {\"message_count\": 9, \"t\": 1}}",
		  "{\"metadata\": {\"message_count\": 10, \"t\": 2}}",
		  "{\"metadata\": {\"message_count\": 10, \"t\": 1}}",
		  "{\"metadata\": {\"message_count\": 11, \"t\": 2}}", { 10, 10, 11 } },
		{ "any name, when it moved", "{\"n\":1}", "{\"n\":2}", "{\"n\":3}", "{\"n\":4}", { 2, 3, 4 } },
		{ "sides of different length", "{\"count\":5}", "{\"count\":6}", "{\"count\":2}", "{\"count\":3}",
		  { 6, 2, 3 } },
		{ "one side unchanged", "{\"count\":2}", "{\"count\":2}", "{\"count\":3}", "{\"count\":4}", { 2, 3, 4 } },
		{ "edits alone", "{\"count\":2}", "{\"count\":2}", "{\"count\":2}", "{\"count\":3}", { 2, 2, 3 } },
		{ "written would do", "{\"count\":2}", "{\"count\":2}", "{\"count\": 3}", "{\"count\": 3}", { 2, 3, 3 } },
		{ "equal by chance", "{\"version\":2,\"a\":1}", "{\"version\":2,\"a\":2}", "{\"version\":2,\"a\":1}",
		  "{\"version\":2,\"a\":2}", { 2, 2, 3 } },
		{ "new and equal by chance", "{}", "{\"version\":1}", "{\"version\":1}", "{\"version\":1}", { 1, 1, 2 } },
		{ "new and a count", NULL, "{\"messageCount\":1}", "{\"messageCount\":1}", "{\"messageCount\":2}",
		  { 1, 1, 2 } },
		{ "not its length", "{\"count\":1}", "{\"count\":2}", "{\"count\":7}", "{\"count\":7}", { 2, 2, 3 } },
		{ "a string", "{\"count\":\"1\"}", "{\"count\":\"2\"}", "{\"count\":\"2\"}", "{\"count\":\"2\"}",
		  { 2, 2, 3 } },
		{ "another spelling", "{\"count\":1.0}", "{\"count\":2.0}", "{\"count\":2.0}", "{\"count\":2.0}",
		  { 2, 2, 3 } },
		{ "in a list", "{\"l\":[{\"id\":1,\"count\":1}]}", "{\"l\":[{\"id\":1,\"count\":2}]}",
		  "{\"l\":[{\"id\":1,\"count\":2}]}",
		  "{\"l\":[{\"id\":1,\"count\":2}]}", { 2, 2, 3 } },
		{ "no list", "{\"count\":1,\"a\":1}", "{\"count\":2,\"a\":1}", "{\"count\":2,\"a\":2}",
		  "{\"count\":2,\"a\":2}",
		  { SIZE_MAX, SIZE_MAX, SIZE_MAX } },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct buf out = BUF_INIT;

		cr_assert_eq(value_merge(text_of(table[i].base), text_of(table[i].current), text_of(table[i].written), &table[i].counts, &out, NULL), 0);
		cr_assert_eq(buf_add(&out, "", 1), 0);
		cr_assert_str_eq(out.data, table[i].expected, "%s: %s", table[i].name, out.data);
		buf_release(&out);
	}
}

/* ---- Large and deep ------------------------------------------------------------------------------------------ */

static void print(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void print(struct buf *b, const char *format, ...)
{
	char line[256];
	va_list args;
	int size;

	va_start(args, format);
	size = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	cr_assert(size >= 0 && (size_t)size < sizeof(line));
	cr_assert_eq(buf_add(b, line, size), 0);
}

static void merge_into(struct buf *out, const struct buf *base, const struct buf *current, const struct buf *written)
{
	struct timespec from, to;

	clock_gettime(CLOCK_MONOTONIC, &from);
	cr_assert_eq(value_merge(bytes_of(base), bytes_of(current), bytes_of(written), NULL, out, NULL), 0);
	clock_gettime(CLOCK_MONOTONIC, &to);
	check_valid(bytes_of(out), "merged");
	if (getenv("VERBOSE"))
		fprintf(stderr, "%zu bytes merged in %.0f ms\n", out->size,
			(to.tv_sec - from.tv_sec) * 1e3 + (to.tv_nsec - from.tv_nsec) / 1e6);
}

#define SIDES 4		/* base, current, written, expected */

static void check_sides(struct buf sides[SIDES], const char *name)
{
	struct buf out = BUF_INIT;

	merge_into(&out, &sides[0], &sides[1], &sides[2]);
	cr_assert(json_same(out.data, out.size, sides[3].data, sides[3].size), "%s", name);
	buf_release(&out);
	for (int s = 0; s < SIDES; s++)
		buf_release(&sides[s]);
}

Test(value, all_sessions_in_one_file)
{
	/* Current appends to every second session and adds one, written to every third and adds another. */
	for (int list = 0; list < 2; list++) {
		struct buf sides[SIDES] = { 0 };

		for (int s = 0; s < SIDES; s++) {
			print(&sides[s], list ? "[" : "{\"user\": {");
			for (int i = 0; i < 10000; i++) {
				print(&sides[s], list ? "%s\n{\"session_id\": \"%d\", \"messages\": [" : "%s\n\"%d\": {\"messages\": [", i ? "," : "", i);
				for (int m = 0; m < 20; m++)
					print(&sides[s], "%s{\"role\": \"user\", \"content\": \"%d of %d\"}", m ? ", " : "", m, i);
				if (i % 2 == 0 && (s & 1))
					print(&sides[s], ", {\"role\": \"user\", \"content\": \"new\"}");
				if (i % 3 == 0 && (s & 2))
					print(&sides[s], ", {\"role\": \"user\", \"content\": \"%s\"}", i % 9 ? "other" : "new");
				print(&sides[s], "]}");
			}
			for (int side = 1; side < 3; side++) {
				if (s & side)
					print(&sides[s], list ? ",\n{\"session_id\": \"n%d\", \"messages\": [1]}" : ",\n\"n%d\": {\"messages\": [1]}", side);
			}
			print(&sides[s], list ? "\n]" : "\n}}");
		}
		check_sides(sides, list ? "list" : "object");
	}
}

Test(value, many_members)
{
	static const char *const parts[] = { "%s\"%d\":0", "%s\"a\":%d", "%s{\"id\":%d}", "%s\"%d\"", "%s[%d,\"x\"]" };

	for (size_t f = 0; f < sizeof(parts) / sizeof(parts[0]); f++) {
		struct buf sides[SIDES] = { 0 };

		for (int s = 0; s < SIDES; s++) {
			print(&sides[s], f < 2 ? "{" : "[");
			for (int i = 0; i < 200000; i++)
				print(&sides[s], parts[f], i ? "," : "", i);
			for (int side = 1; side < 3; side++) {
				if (s & side)
					print(&sides[s], f == 1 ? "%s\"b%d\":0" : parts[f], ",", 200000 + side);
			}
			print(&sides[s], f < 2 ? "}" : "]");
		}
		check_sides(sides, parts[f]);
	}
}

Test(value, deep)
{
	/* Within the bound both sides' elements are there; beyond it the later close counts, and nothing overflows. */
	static const struct { int depth; bool merged; } table[] = { { 1, true }, { 400, true }, { 511, true }, { 512, false }, { 513, false }, { 100000, false } };
	static const char *const inner[2][SIDES] = {
		{ "[\"a\"]", "[\"a\",\"x\"]", "[\"a\",\"y\"]", "[\"a\",\"x\",\"y\"]" },
		{ "[\"a\"]", "[\"a\",\"x\"]", "[\"a\",\"y\"]", "[\"a\",\"y\"]" },
	};

	for (size_t t = 0; t < sizeof(table) / sizeof(table[0]); t++) {
		struct buf sides[SIDES] = { 0 };

		for (int s = 0; s < SIDES; s++) {
			for (int i = 0; i < table[t].depth; i++)
				print(&sides[s], "{\"a\":");
			print(&sides[s], "%s", inner[!table[t].merged][s]);
			for (int i = 0; i < table[t].depth; i++)
				print(&sides[s], "}");
		}
		check_sides(sides, table[t].merged ? "shallow" : "deep");
	}
}

/* Two elements that only their last but one member tells apart, which both sides have changed. */
static void print_element(struct buf *out, int fillers, int id, const char *x, const char *y)
{
	print(out, "{");
	for (int i = 0; i < fillers; i++)
		print(out, "\"m%d\":0,", i);
	print(out, "\"id\":%d,\"x\":[%s],\"y\":[%s]}", id, x, y);
}

Test(value, members_that_are_tried)
{
	/* A member that is among those that are tried tells: it is one element. Else it is matched by value, and what both changed is two. */
	static const struct { int place; bool one; } table[] = { { 1, true }, { 15, true }, { 16, true }, { 17, false }, { 18, false } };

	for (size_t t = 0; t < sizeof(table) / sizeof(table[0]); t++) {
		struct buf sides[SIDES] = { 0 };

		for (int s = 0; s < SIDES; s++) {
			bool merged = s == SIDES - 1;

			print(&sides[s], "[");
			print_element(&sides[s], table[t].place - 1, 1, merged || s == 1 ? "2" : "1", (merged && table[t].one) || s == 2 ? "2" : "1");
			print(&sides[s], ",");
			if (merged && !table[t].one) {
				print_element(&sides[s], table[t].place - 1, 1, "1", "2");
				print(&sides[s], ",");
			}
			print_element(&sides[s], table[t].place - 1, 2, "1", "1");
			print(&sides[s], "]");
		}
		check_sides(sides, table[t].one ? "one" : "two");
	}
}

Test(value, deep_lists)
{
	struct buf base = BUF_INIT, current = BUF_INIT, written = BUF_INIT, out = BUF_INIT;
	size_t open = 0;

	print(&base, "[]");
	for (int i = 0; i < 100001; i++)
		print(&current, "[");
	for (int i = 0; i < 100001; i++)
		print(&current, "]");
	for (int i = 0; i < 200001; i++)
		print(&written, "[");
	for (int i = 0; i < 200001; i++)
		print(&written, "]");
	merge_into(&out, &base, &current, &written);
	for (size_t i = 0; i < out.size; i++)
		open += out.data[i] == '[';
	cr_assert_eq(open, 1 + 100000 + 200000, "both elements in one list, not %zu brackets", open);
	buf_release(&base);
	buf_release(&current);
	buf_release(&written);
	buf_release(&out);
}

Test(value, flat_below_deep)
{
	/* Megabytes below 500 levels are not scanned anew on each of them: at some level written is taken as a whole. */
	struct buf base = BUF_INIT, current = BUF_INIT, written = BUF_INIT, out = BUF_INIT;
	struct buf *sides[] = { &base, &current, &written };

	for (int s = 0; s < 3; s++) {
		for (int i = 0; i < 500; i++)
			print(sides[s], "{\"n%d\":0,\"a\":", s);
		print(sides[s], "[%d", s);
		for (int i = 0; i < 500000; i++)
			print(sides[s], ",\"%d\"", i);
		print(sides[s], "]");
		for (int i = 0; i < 500; i++)
			print(sides[s], "}");
	}
	merge_into(&out, &base, &current, &written);
	cr_assert_geq(out.size, written.size);
	buf_release(&base);
	buf_release(&current);
	buf_release(&written);
	buf_release(&out);
}
