#include "job.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void job_free(struct job *job)
{
	if (!job)
		return;
	doc_release(&job->doc);
	buf_release(&job->joined);
	frame_unref(job->frame);
	store_view_unref(job->fresh);
	free(job);
}

void job_applied(struct job *job)
{
	doc_release(&job->doc);
	buf_release(&job->joined);
	job->text = NULL;
	job->text_size = 0;
	job->written = (struct written){ 0 };
}

static int add_piece(void *arg, const void *bytes, size_t size)
{
	return buf_add(arg, bytes, size);
}

/* A number or a literal at the end of the shared part may go on in the tail, and so may any line. */
static bool could_go_on(const struct job *job, uint64_t end)
{
	const struct store_save *save = job->save;
	unsigned char next;

	if (end < save->prefix_size)
		return false;
	if (!save->tail_size)
		return true;
	next = *(const unsigned char *)save->tail;
	if (job->lines)
		return next != '\n';
	return !(next == ',' || next == ']' || next == '}' || isspace(next));
}

/* How many messages of the prefix stand whole in the shared part; *ret_end: where the last of them ends. */
static uint64_t whole_messages(const struct job *job, uint64_t *ret_end)
{
	const struct store_view *v = job->save->prefix;
	uint64_t end = 0, count = view_ending(v, job->save->prefix_size, &end);

	if (count && could_go_on(job, end))
		count = view_ending(v, end - 1, &end);
	*ret_end = count ? end : 0;
	return count;
}

/* Sets text to the document's bytes from `from` on. */
static int join(struct job *job, struct db_txn *txn, uint64_t from)
{
	struct store_save *save = job->save;
	int err;

	if (!save->prefix || from >= save->prefix_size) {
		uint64_t skip = save->prefix ? from - save->prefix_size : from;

		job->text = (const char *)save->tail + skip;
		job->text_size = save->tail_size - skip;
		return 0;
	}
	err = view_pieces(txn, save->prefix, from, save->prefix_size - from, add_piece, &job->joined);
	if (!err)
		err = buf_add(&job->joined, save->tail, save->tail_size);
	job->text = job->joined.data;
	job->text_size = job->joined.size;
	return err;
}

/* Whether messages but the first stand on the frame's separator: it must stay what it is. */
static bool has_bare(const struct store_view *v)
{
	return v->bare > (v->count && !view_get(v, 0)->lead);
}

static int take_frame(struct job *job)
{
	const struct doc *d = &job->doc;
	const struct view_frame *from = job->written.kept ? job->save->prefix->frame : NULL;
	bool fixed = from && has_bare(job->save->prefix);
	const char *head = from ? from->bytes : job->text, *sep = "", *text = job->text;
	size_t head_size = from ? from->head_size : d->head_end, sep_size = 0;
	struct buf guess = BUF_INIT;
	int err = 0;

	if (d->count > (from ? 0 : 1) && !fixed) {
		const struct doc_item *last = &d->items[d->count - 1];

		sep = text + last->lead;
		sep_size = last->start - last->lead;
	} else if (job->lines) {
		sep = "\n";
		sep_size = d->kind == DOC_LINES;
	} else if (from) {
		sep = frame_sep(from);
		sep_size = from->sep_size;
	} else if (d->kind != DOC_FREE && d->kind != DOC_EMPTY) {
		const char *item = d->count ? text + d->items[0].start : "";

		err = doc_guess_separator(head, head_size, item, d->count ? d->items[0].end - d->items[0].start : 0, &guess);
		sep = guess.data;
		sep_size = guess.size;
	}
	if (!err) {
		job->frame = frame_new(d->kind, 0, head, head_size, sep, sep_size, text + d->tail_start, job->text_size - d->tail_start);
		err = job->frame ? 0 : -ENOMEM;
	}
	buf_release(&guess);
	return err;
}

/* By its name; a file of lines that was given another one, as logs are, stays what it is. */
static bool is_lines(const struct store_save *save)
{
	bool was = save->prefix && save->prefix->frame->kind == DOC_LINES;

	if (save->flags & (STORE_SAVE_LINES | STORE_SAVE_APPEND))
		return (save->flags & STORE_SAVE_LINES) != 0;
	return save->name && store_is_document_name(save->name) ? store_is_lines_name(save->name) : was;
}

/* Whether messages of this document can be taken over as they are. */
static bool continues(const struct job *job, const struct store_view *prefix)
{
	enum doc_kind kind = prefix->frame->kind;

	return prefix->count && (job->lines ? kind == DOC_LINES : kind == DOC_LIST || kind == DOC_ENVELOPE);
}

static int slice_whole(struct job *job, struct json_error *error)
{
	return job->lines ? doc_slice_lines(job->text, job->text_size, &job->doc) : doc_slice(job->text, job->text_size, &job->doc, error);
}

static int slice(struct job *job, struct json_error *error)
{
	struct store_save *save = job->save;
	const struct store_view *prefix = save->prefix;
	struct db_txn *txn = NULL;
	uint64_t from = 0;
	int err = 0;

	if (save->flags & SAVE_UNDO)
		return 0;
	job->lines = is_lines(save);
	if (save->flags & STORE_SAVE_EMPTY) {
		job->text = "";
		return take_frame(job);
	}
	if (prefix && continues(job, prefix))
		job->written.kept = whole_messages(job, &from);
	if (prefix && from < save->prefix_size) {
		err = store_read_begin(prefix->store, &txn);
		if (err)
			return err;
	}
	err = join(job, txn, from);
	db_read_end(txn);
	if (err)
		return err;
	if (job->written.kept && job->lines) {
		err = doc_slice_lines_rest(job->text, job->text_size, &job->doc);
	} else if (job->written.kept) {
		const struct view_frame *f = prefix->frame;

		err = doc_slice_rest(job->text, job->text_size, f->kind, f->bytes, f->head_size, &job->doc, error);
	} else {
		err = slice_whole(job, error);
	}
	if (err) {
		error->offset += from;
		return err;
	}
	job->written.prefix = prefix;
	job->written.items = job->doc.items;
	job->written.count = job->written.kept + job->doc.count;
	return take_frame(job);
}

int job_new(struct store_save *save, uint64_t max_document, struct job **ret)
{
	struct json_error error = { 0 };
	struct job *job;
	int err;

	save->error = 0;
	save->error_offset = 0;
	save->reason = NULL;
	save->result = 0;
	save->base = -1;
	save->certain = save->grown = false;
	save->saved_ino = save->version = save->previous = 0;
	if (save->tail_size > max_document || save->prefix_size > max_document - save->tail_size)
		return save->error = -EFBIG;
	job = calloc(1, sizeof(*job));
	if (!job)
		return save->error = -ENOMEM;
	job->save = save;
	err = slice(job, &error);
	if ((err == -EINVAL || err == -ENODATA) && (save->flags & STORE_SAVE_RAW)) {
		job->raw = true;
		err = 0;
	}
	if (err) {
		job_free(job);
		if (err == -ENODATA)
			err = -EINVAL;
		save->error = err;
		save->error_offset = error.offset;
		save->reason = error.reason;
		return err;
	}
	*ret = job;
	return 0;
}

int job_replace(struct job *job, struct buf *text)
{
	struct json_error error;
	int err;

	doc_release(&job->doc);
	buf_release(&job->joined);
	frame_unref(job->frame);
	job->frame = NULL;
	job->joined = *text;
	*text = BUF_INIT;
	job->text = job->joined.data;
	job->text_size = job->joined.size;
	err = slice_whole(job, &error);
	if (err)
		return err;
	job->written = (struct written){ .count = job->doc.count, .items = job->doc.items };
	return take_frame(job);
}

size_t job_value(const struct job *job, const char **ret)
{
	const char *text = job->text;
	size_t start, end = job->text_size;

	start = json_space(text, end, end >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0);
	while (end > start && json_space(text, end, end - 1) == end)
		end--;
	*ret = text + start;
	return end - start;
}

int job_message(struct db_txn *txn, struct job *job, uint64_t i, struct db_value *ret_lead, struct db_value *ret_body)
{
	const struct written *w = &job->written;
	const struct doc_item *item;
	struct rec_message rec;
	struct db_value bytes;
	int err;

	if (i >= w->kept) {
		item = &w->items[i - w->kept];
		*ret_lead = (struct db_value){ job->text + item->lead, i ? item->start - item->lead : 0 };
		*ret_body = (struct db_value){ job->text + item->start, item->end - item->start };
		return 0;
	}
	err = view_record(txn, (struct store_view *)w->prefix, view_get(w->prefix, i), &rec, &bytes);
	if (err)
		return err;
	*ret_lead = (struct db_value){ bytes.data, i ? rec.lead_size : 0 };
	if (i && !rec.lead_size)
		*ret_lead = (struct db_value){ frame_sep(w->prefix->frame), w->prefix->frame->sep_size };
	*ret_body = (struct db_value){ (const char *)bytes.data + rec.lead_size, bytes.size - rec.lead_size };
	return 0;
}
