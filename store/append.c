/* Appends: a message, or lines, behind what is there, without looking at the rest where that can be. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "apply.h"
#include "base.h"

/* The document is what is there and these bytes behind it. */
static int append_whole(struct apply *a)
{
	struct buf whole = BUF_INIT;
	int err = a->current ? 0 : apply_load(a);

	if (!err)
		err = view_text(a->txn, a->current, &whole);
	if (!err)
		err = buf_add(&whole, a->job->text, a->job->text_size);
	if (!err)
		err = job_replace(a->job, &whole);
	buf_release(&whole);
	if (!err)
		err = apply_choose(a);
	return err ? err : apply_write(a, &a->candidates[a->count - 1]);
}

/* Whether the writer knows that the last line has no newline: then its bytes are the rest of it. */
static int knows_end(struct apply *a, bool *ret)
{
	int err = a->save->base_count ? apply_load(a) : 0;

	if (!err)
		*ret = a->current && a->current->count && base_knows(&a->save->bases[0], view_get(a->current, a->current->count - 1)->edition);
	return err;
}

int apply_lines(struct apply *a)
{
	struct key head = key_plain(a->target.ino, REC_HEAD), frame = key_plain(a->target.ino, REC_FRAME);
	struct store_save *save = a->save;
	int64_t now = time_now();
	struct edit e = { .ino = a->target.ino, .time = now, .mtime = save->flags & STORE_SAVE_MTIME ? time_pack(save->mtime) : now,
			  .pid = save->pid, .uid = save->writer_uid };
	struct job *job = a->job;
	struct db_value *bodies, lead;
	struct view_frame *f;
	size_t first = 0, count = 0;
	bool open, known = false;
	int err = record_get(a->txn, &head, &e.head, sizeof(e.head), NULL);

	/* Who begins anew what was removed knows all there is. */
	if (!err && e.head.unlinked)
		save->base_version = e.head.version;
	if (err == -ENOENT || (!err && (e.head.unlinked || e.head.kind != DOC_LINES)))
		return append_whole(a);
	if (!err)
		err = frame_get(a->txn, &frame, &f);
	if (err)
		return err;
	open = !f->tail_size;
	frame_unref(f);
	if (open && job->text[0] == '\n')
		first = 1;	/* the newline that the last line has not */
	else if (open)
		err = knows_end(a, &known);
	if (err || known)
		return err ? err : append_whole(a);
	if (open != !job->frame->tail_size)
		e.frame = job->frame;
	bodies = malloc((job->written.count + 1) * sizeof(*bodies));
	if (!bodies)
		return -ENOMEM;
	for (size_t i = first; !err && i < job->written.count; i++)
		err = job_message(a->txn, job, i, &lead, &bodies[count++]);
	save->previous = e.head.version;
	if (!err)
		err = edit_append(a->txn, &e, bodies, count);
	free(bodies);
	save->version = e.head.version;
	save->saved_ino = a->target.ino;
	return err;
}

static int add_minified(const char *text, size_t size, struct buf *out)
{
	bool string = false, escaped = false;
	int err = buf_reserve(out, size);

	for (size_t i = 0; !err && i < size; i++) {
		if (!string && strchr(" \t\r\n", text[i]))
			continue;
		out->data[out->size++] = text[i];
		string ^= text[i] == '"' && !escaped;
		escaped = string && text[i] == '\\' && !escaped;
	}
	return err;
}

/* One JSON value on a line of its own. */
static int append_value_line(struct apply *a, const char *value, size_t size)
{
	struct buf line = BUF_INIT;
	int err = add_minified(value, size, &line);

	if (!err)
		err = buf_add(&line, "\n", 1);
	a->job->lines = true;
	if (!err)
		err = job_replace(a->job, &line);
	buf_release(&line);
	return err ? err : apply_lines(a);
}

/* What the document is, or, empty or yet to be made, is going to be. */
static bool is_of_lines(const struct apply *a, const struct rec_head *head)
{
	return head->kind == DOC_EMPTY || head->unlinked ? store_is_lines_name(a->target.name) : head->kind == DOC_LINES;
}

/* Appending one message: the document is what is there and the value behind it. */
int apply_append(struct apply *a)
{
	struct key key = key_plain(a->target.ino, REC_HEAD);
	struct store_save *save = a->save;
	struct edit e = { .ino = a->target.ino, .time = time_now(), .mtime = time_now(), .pid = save->pid, .uid = save->writer_uid };
	struct buf whole = BUF_INIT;
	const char *value;
	size_t size = job_value(a->job, &value);
	int err = record_get(a->txn, &key, &e.head, sizeof(e.head), NULL);

	if ((!err || err == -ENOENT) && is_of_lines(a, &e.head))
		return append_value_line(a, value, size);
	if (!err && !e.head.unlinked && (e.head.kind == DOC_ENVELOPE || (e.head.kind == DOC_LIST && e.head.count))) {
		save->previous = e.head.version;
		err = edit_append(a->txn, &e, &(struct db_value){ value, size }, 1);
		save->version = e.head.version;
		save->saved_ino = a->target.ino;
		return err;
	}
	/* The first message makes the list. */
	if (!err && e.head.kind == DOC_FREE && !e.head.unlinked)
		return -EINVAL;
	err = err == -ENOENT ? 0 : err;
	if (!err)
		err = apply_load(a);
	if (!err)
		err = buf_add(&whole, "[\n  ", 4);
	if (!err)
		err = buf_add(&whole, value, size);
	if (!err)
		err = buf_add(&whole, "\n]", 2);
	if (!err)
		err = job_replace(a->job, &whole);
	buf_release(&whole);
	if (!err)
		err = apply_choose(a);
	return err ? err : apply_write(a, &a->candidates[a->count - 1]);
}

/* Plain bytes become the first version of a document of lines. */
int apply_convert(struct apply *a)
{
	struct tree_target *t = &a->target;
	struct store_save save = { .flags = STORE_SAVE_LINES, .mtime = time_unpack(t->attr.mtime), .pid = a->save->pid, .writer_uid = a->save->writer_uid };
	struct apply first = { .h = a->h, .txn = a->txn, .save = &save, .target = *t };
	struct buf text = BUF_INIT;
	int err = t->attr.size > a->h->max_document ? -EFBIG : tree_get_chunks(a->txn, t, &text);

	save.tail = text.data;
	save.tail_size = text.size;
	if (!err)
		err = job_new(&save, a->h->max_document, &first.job);
	if (!err)
		err = apply_document(&first);
	if (!err)
		err = tree_make_document(a->txn, t);
	apply_release(&first);
	job_free(first.job);
	buf_release(&text);
	return err;
}
