/*
 * A rewrite that is equal to what its writer wrote last, while others have saved: either the writer resets the session once more, or it saves
 * its list from memory though nothing new is in it. The document tells (rule 17):
 *
 *	a reset		it holds no message (of other documents: nothing but empty lists and objects), or it is a beginning: all of its
 *			messages, four at most, came with one save, and none of them is a user's
 *	an autosave	any other
 *
 * A reset is as blind as the first time (rule 8). An autosave removes nothing; a version without a change tells of it, marked uncertain, and of
 * the messages that it would have removed, for undo.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "apply.h"
#include "base.h"
#include "json.h"

static bool equals(struct db_value v, const char *word)
{
	return v.size == strlen(word) && !memcmp(v.data, word, v.size);
}

/* Whether a message is what a user has said, as far as it tells: "role" or "type" is "user" or "human". */
static bool is_users(struct db_value body)
{
	struct json_walk w;

	if (!body.size || *(const char *)body.data != '{')
		return false;
	w = json_walk_begin(body.data, body.size, 0);
	while (json_walk_next(&w)) {
		struct db_value name = { w.text + w.key, w.key_end - w.key }, value = { w.text + w.start, w.end - w.start };

		if ((equals(name, "\"role\"") || equals(name, "\"type\"")) && (equals(value, "\"user\"") || equals(value, "\"human\"")))
			return true;
	}
	return false;
}

static int is_greeting(struct apply *a, const struct merge_candidate *c, bool *ret)
{
	struct db_value lead, body;
	int err = 0;

	*ret = merge_begins(c);
	for (uint64_t i = 0; *ret && !err && i < a->job->written.count; i++) {
		err = job_message(a->txn, a->job, i, &lead, &body);
		*ret = !err && (a->job->lines || !is_users(body));
	}
	return err;
}

static bool same_around(const struct view_frame *a, const struct view_frame *b)
{
	return a->kind == b->kind && a->head_size == b->head_size && a->tail_size == b->tail_size && !memcmp(a->bytes, b->bytes, a->head_size) &&
	       !memcmp(frame_tail(a), frame_tail(b), a->tail_size);
}

/* Whether what stands around the messages is what the writer had there. */
static int same_frame(struct apply *a, const struct merge_candidate *c, bool *ret)
{
	struct view_frame *before;
	int err = base_frame(a->txn, a->target.ino, c->base, &before);

	if (!err)
		*ret = before && same_around(before, a->job->frame);
	if (!err)
		frame_unref(before);
	return err;
}

/* Whether a container holds containers, or nothing, and none of them holds more. Members that are single values don't count. */
static bool is_hollow(const char *text, size_t size)
{
	struct json_walk w;
	bool object = size && *text == '{', members = false, inner = false;

	if (!object && !(size && *text == '['))
		return false;
	w = json_walk_begin(text, size, 0);
	while (json_walk_next(&w)) {
		if (!object)
			return false;
		members = true;
		if (!strchr("{[", text[w.start]))
			continue;
		inner = true;
		if (!is_hollow(text + w.start, w.end - w.start))
			return false;
	}
	return inner || !members;
}

static int repeat_text(struct apply *a, const struct merge_candidate *c, enum repeat *ret)
{
	struct buf before = BUF_INIT;
	const char *value;
	size_t size = job_value(a->job, &value);
	int err = base_text(a->txn, a->target.ino, c->base, &before);

	if (!err && before.size == a->job->text_size && !memcmp(before.data, a->job->text, before.size))
		*ret = is_hollow(value, size) ? REPEAT_RESET : REPEAT_AUTOSAVE;
	buf_release(&before);
	return err;
}

int apply_repeat(struct apply *a, const struct merge_candidate *c, enum repeat *ret)
{
	const struct view_frame *written = a->job->frame;
	bool same = false, reset;
	int err;

	*ret = REPEAT_NONE;
	if (written->kind == DOC_FREE)
		return c->view != a->current && merge_from_memory(c) ? repeat_text(a, c, ret) : 0;
	if (!merge_repeats(&a->job->written, c, a->current))
		return 0;
	err = same_frame(a, c, &same);
	if (err || (!same && (a->job->written.count || written->kind == DOC_ENVELOPE)))
		return err;
	err = is_greeting(a, c, &reset);
	if (!err)
		*ret = reset ? REPEAT_RESET : REPEAT_AUTOSAVE;
	return err;
}

/* Which messages an autosave would have removed: those that its writer did not know. */
static int unknown(struct apply *a, const struct merge_candidate *c, struct merge_edits *e)
{
	struct view_cursor at = view_at(a->current, 0);
	const struct view_item *item;

	free(e->spared);
	e->spared = calloc(a->current->count + 1, sizeof(*e->spared));
	e->spared_count = 0;
	if (!e->spared)
		return -ENOMEM;
	for (uint64_t i = 0; (item = view_next(&at)); i++) {
		if (!base_knows(c->base, item->born))
			e->spared[e->spared_count++] = i;
	}
	return 0;
}

/* Whether the newest version already tells of the same: a list that is saved every second fills no log. */
static int told_before(struct apply *a, bool *ret)
{
	struct key key = key_number(a->target.ino, REC_CHANGE, a->head.version);
	struct rec_change c;
	int err = record_get(a->txn, &key, &c, sizeof(c), NULL);

	if (!err)
		*ret = (c.flags & STORE_LOG_KEPT) && c.pid == (uint32_t)a->save->pid;
	return err == -ENOENT ? 0 : err;
}

int apply_trace(struct apply *a, const struct merge_candidate *c, struct edit *e)
{
	bool told = false;
	int err = told_before(a, &told);

	if (!err && !told && a->repeat == REPEAT_AUTOSAVE && !a->as_text)
		err = unknown(a, c, &e->edits);
	if (err || told)
		return err;
	return edit_trace(a->txn, e, &a->job->fresh);
}
