#include "import_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "doc.h"
#include "import_base.h"
#include "inside.h"
#include "plain.h"

#define FLYING_FILES 2048
#define FLYING_BYTES (64ull << 20)

/* A file and where it goes. */
struct import_file {
	struct store_save save;
	struct store_base base;
	struct import *in;
	struct import_found found;
	uint64_t records;
	char name[STORE_NAME_MAX + 1], *path;
	struct stat st;
	int fd;			/* -1: all is in `text` */
	char *text;
	size_t size;
	uint64_t messages;
	bool salvaged, exact;
	struct import_file *next;
};

static void file_free(struct import_file *f)
{
	if (!f)
		return;
	if (f->fd >= 0)
		close(f->fd);
	free(f->path);
	free(f->text);
	free(f);
}

/* The file has been dealt with. */
static void done(struct import_file *f, int err, bool unreadable)
{
	if (err)
		import_fail(f->in, f->path, err, unreadable);
	f->in->n.files++;
	file_free(f);
}

/* ---- Records -------------------------------------------------------------------------------------------------- */

static struct rec_import seen_now(const struct import_file *f, uint64_t ino, uint64_t version)
{
	return (struct rec_import){ .source = f->in->source, .size = f->st.st_size, .mtime = time_pack(import_time(f->st.st_mtim)),
				    .ino = ino, .version = version };
}

/* The result of a save belongs to its transaction. */
static int learn(struct store_save *save, struct db_txn *txn)
{
	struct import_file *f = save->arg;
	struct key key = key_plain(save->saved_ino, REC_HEAD);
	struct import_found next = f->found;
	struct rec_head head;
	int err = record_get(txn, &key, &head, sizeof(head), NULL);

	if (err)
		return err;
	f->messages = head.count;
	f->exact = !(save->result & STORE_SAVED_MERGED) && !f->salvaged && head.size == f->size;
	if (!f->records)
		return 0;
	next.rec = seen_now(f, save->saved_ino, 0);
	import_learn(&next, save, f->exact);
	return import_record_put(txn, f->records, f->name, &next.rec, next.own, next.own_count);
}

static int learn_plain(struct db_txn *txn, const struct rec_attr *attr, uint64_t ino, void *arg)
{
	const struct import_file *f = arg;
	struct rec_import rec = seen_now(f, ino, 0);

	return f->records ? import_record_put(txn, f->records, f->name, &rec, NULL, 0) : 0;
}

struct note {
	const struct import_file *file;
	uint64_t ino, version;
};

static int put_note(struct db_txn *txn, void *arg)
{
	const struct note *n = arg;
	struct rec_import rec = seen_now(n->file, n->ino, n->version);

	return import_record_put(txn, n->file->records, n->file->name, &rec, NULL, 0);
}

/* The file has been looked at and the store stays as it is. */
static int note(struct import_file *f, uint64_t ino, uint64_t version)
{
	return f->records ? db_update(f->in->store->db, put_note, &(struct note){ f, ino, version }) : 0;
}

/* ---- Plain files ---------------------------------------------------------------------------------------------- */

static struct plain plain_of(struct import_file *f)
{
	return (struct plain){
		.name = f->name, .kind = S_ISLNK(f->st.st_mode) ? STORE_SYMLINK : STORE_SCRATCH, .mode = f->st.st_mode,
		.uid = f->st.st_uid, .gid = f->st.st_gid, .atime = time_pack(import_time(f->st.st_atim)), .mtime = time_pack(import_time(f->st.st_mtim)),
		.bytes = f->text, .fd = f->fd, .size = f->text ? f->size : (uint64_t)f->st.st_size, .also = learn_plain, .arg = f,
	};
}

/* The newer of two different files stays; the other is put aside, unless it is only the one that was taken in before. */
static int put_plain(struct import_file *f, struct plain *p)
{
	struct import *in = f->in;
	const struct import_found *found = &f->found;
	bool untouched = found->exists && found->recorded && found->rec.ino == found->ino && found->attr.mtime == found->rec.mtime &&
			 found->attr.size == found->rec.size;
	int same = found->exists ? plain_same(in->store, found->ino, p) : 0;
	int err;

	if (same < 0)
		return same;
	if (same) {
		in->n.unchanged++;
		return note(f, found->ino, 0);
	}
	if (found->exists && !untouched && p->mtime < found->attr.mtime) {
		err = plain_reject(in->store, p);
		if (!err)
			import_report(in, f->path, -EEXIST, "the store has a newer one; this one is among the rejected");
		return err ? err : note(f, found->ino, 0);
	}
	err = plain_put(in->store, f->save.parent, p, found->exists && !untouched);
	if (err)
		return err;
	in->n.bytes += p->size;
	if (found->exists && !untouched)
		import_report(in, f->path, -EEXIST, "newer than what the store has; that is among the rejected now");
	return 0;
}

static void take_plain(struct import_file *f)
{
	struct plain p = plain_of(f);
	int err = put_plain(f, &p);

	done(f, err, p.unreadable);
}

/* ---- Torn documents ------------------------------------------------------------------------------------------- */

/* Cuts a torn list after its last complete message and closes it as it was opened. False when there is nothing to save. */
static bool complete(const char *text, size_t size, struct buf *out)
{
	size_t at = size >= 3 && !memcmp(text, "\xef\xbb\xbf", 3) ? 3 : 0, end = 0, next;
	bool lines;

	at = json_space(text, size, at);
	if (at == size || text[at] != '[')
		return false;
	next = at;
	at = json_space(text, size, at + 1);
	lines = memchr(text + next, '\n', at - next) != NULL;
	while (!json_value(text, size, at, &next, NULL)) {
		/* A number that the text ends in may have been longer. */
		if (next == size && !strchr("\"]}", text[next - 1]))
			break;
		end = next;
		at = json_space(text, size, next);
		if (at == size || text[at] != ',')
			break;
		at = json_space(text, size, at + 1);
	}
	return end && !buf_add(out, text, end) && !buf_add(out, lines ? "\n]" : "]", lines ? 2 : 1);
}

static void submit(struct import_file *f);

/* Its complete messages become the document, the bytes are put aside. -EINVAL: that can't be done with this one. */
static int salvage(struct import_file *f, const char *reason)
{
	struct import *in = f->in;
	struct plain p = plain_of(f);
	struct buf whole = BUF_INIT;
	struct store_view *v;
	enum doc_kind kind = DOC_EMPTY;
	int err;

	if (!complete(f->text, f->size, &whole)) {
		buf_release(&whole);
		return -EINVAL;
	}
	if (f->found.exists && f->found.attr.kind == STORE_DOCUMENT && !store_view_open(in->store, f->found.ino, 0, &v)) {
		kind = v->frame->kind;
		store_view_unref(v);
	}
	/* Messages can only be added to a list. Bytes that the store has under this name, the save puts aside. */
	err = kind == DOC_EMPTY || kind == DOC_LIST ? 0 : -EINVAL;
	if (!err && f->found.exists && f->found.attr.kind != STORE_DOCUMENT)
		err = plain_same(in->store, f->found.ino, &p);
	if (!err)
		err = plain_reject(in->store, &p);
	if (err < 0) {
		buf_release(&whole);
		return err;
	}
	import_report(in, f->path, -EINVAL, reason);
	free(f->text);
	f->text = whole.data;
	f->size = whole.size;
	f->salvaged = true;
	f->save.tail = f->text;
	f->save.tail_size = f->size;
	f->save.base_count = 0;
	f->save.flags = STORE_SAVE_KEEP;
	submit(f);
	return 0;
}

/* No document: kept as it is; where a document has the name, aside. */
static void keep_bytes(struct import_file *f, int why, const char *reason)
{
	struct import *in = f->in;
	struct plain p = plain_of(f);
	bool aside = f->found.exists && f->found.attr.kind == STORE_DOCUMENT;
	int err = aside ? plain_reject(in->store, &p) : put_plain(f, &p);

	if (!err && aside)
		err = note(f, f->found.ino, 0);
	if (err) {
		done(f, err, p.unreadable);
		return;
	}
	in->n.torn++;
	import_report(in, f->path, why, reason);
	done(f, 0, false);
}

static void torn(struct import_file *f, size_t offset, const char *why)
{
	char reason[200];
	int err = -EINVAL;

	snprintf(reason, sizeof(reason), "not a complete JSON document at byte %zu: %s", offset, why);
	if (f->in->how->salvage && !f->salvaged)
		err = salvage(f, reason);
	if (err == -EINVAL)
		keep_bytes(f, err, reason);
	else if (err)
		done(f, err, false);
}

/* ---- Documents ------------------------------------------------------------------------------------------------ */

/* On the writer thread. */
static void landed(struct store_save *save)
{
	struct import_file *f = save->arg;
	struct import *in = f->in;

	pthread_mutex_lock(&in->lock);
	f->next = in->first;
	in->first = f;
	pthread_cond_signal(&in->landed);
	pthread_mutex_unlock(&in->lock);
}

static void finish(struct import_file *f)
{
	struct import *in = f->in;
	const struct store_save *save = &f->save;

	in->flying--;
	in->flying_bytes -= f->size;
	if (save->error == -EINVAL && save->reason) {
		torn(f, save->error_offset, save->reason);
		return;
	}
	if (!save->error && (save->result & STORE_SAVED_SAME)) {
		in->n.unchanged++;
	} else if (!save->error) {
		in->n.documents++;
		in->n.messages += f->messages;
		in->n.bytes += f->size;
		in->n.salvaged += f->salvaged;
	}
	/* Without a reason: something that is no document has the name. */
	done(f, save->error == -EINVAL ? -EEXIST : save->error, false);
}

void import_land(struct import *in, bool wait)
{
	struct import_file *f, *next;

	if (!in->flying)
		return;
	pthread_mutex_lock(&in->lock);
	while (wait && !in->first)
		pthread_cond_wait(&in->landed, &in->lock);
	f = in->first;
	in->first = NULL;
	pthread_mutex_unlock(&in->lock);
	for (; f; f = next) {
		next = f->next;
		finish(f);
	}
	import_show(in, false);
}

static void submit(struct import_file *f)
{
	struct import *in = f->in;

	while (in->flying && (in->flying >= FLYING_FILES || in->flying_bytes + f->size > FLYING_BYTES))
		import_land(in, true);
	in->flying++;
	in->flying_bytes += f->size;
	f->save.flags |= STORE_SAVE_QUEUED;
	store_submit(in->store, &f->save);
}

/* The whole file; once more when it changes meanwhile, so that what is remembered is what was read. */
static int read_text(struct import_file *f)
{
	for (int attempt = 0;; attempt++) {
		struct stat before = f->st;
		size_t done = 0;
		ssize_t n = 1;
		char *text = realloc(f->text, before.st_size + 1);

		if (!text)
			return -ENOMEM;
		f->text = text;
		while (done < (size_t)before.st_size && n) {
			n = pread(f->fd, text + done, before.st_size - done, done);
			if (n < 0 && errno != EINTR)
				return -errno;
			done += n > 0 ? n : 0;
		}
		f->size = done;
		if (fstat(f->fd, &f->st))
			return -errno;
		if (attempt == 2 || (f->st.st_size == before.st_size && !memcmp(&f->st.st_mtim, &before.st_mtim, sizeof(before.st_mtim)))) {
			f->st = before;
			return 0;
		}
		if ((uint64_t)f->st.st_size > f->in->store->max_document)
			return -EFBIG;
	}
}

/* A file whose document exists: false when it is done with. */
static bool plan_over(struct import_file *f)
{
	struct import *in = f->in;
	const struct import_found *found = &f->found;
	struct plain p = plain_of(f);
	struct json_error error = { 0 };
	enum import_plan plan;
	bool based = false;
	int err = import_plan(in->store, found, found->recorded && found->rec.source == in->source, store_is_lines_name(f->name), f->text, f->size, p.mtime,
			      &plan, &f->base, &based, &f->save.flags, &error);

	if (err == -ENOENT)
		return true;
	if (err == -EINVAL || err == -ENODATA) {
		torn(f, error.offset, error.reason);
		return false;
	}
	if (!err && plan == IMPORT_SAVE) {
		f->save.bases = &f->base;
		f->save.base_count = based;
		/* The document keeps the later of the two times. */
		if (p.mtime <= found->head.mtime)
			f->save.mtime = (struct timespec){ 0 };
		return true;
	}
	if (!err && plan == IMPORT_SAME) {
		in->n.unchanged++;
		err = note(f, found->ino, f->base.version);
	} else if (!err && plan == IMPORT_EMPTY) {
		in->n.torn++;
		import_report(in, f->path, -EINVAL, "it is empty; the messages in the store stay");
		err = note(f, found->ino, 0);
	} else if (!err) {
		err = plain_reject(in->store, &p);
		if (!err) {
			import_report(in, f->path, -EEXIST, "can't be merged with what the store has; this one is among the rejected");
			err = note(f, found->ino, 0);
		}
	}
	done(f, err, false);
	return false;
}

static void take_document(struct import_file *f)
{
	int err = (uint64_t)f->st.st_size > f->in->store->max_document ? -EFBIG : read_text(f);

	if (err == -EFBIG) {
		free(f->text);
		f->text = NULL;
		keep_bytes(f, err, "larger than a session may be; kept as plain bytes");
		return;
	}
	if (err) {
		done(f, err, true);
		return;
	}
	close(f->fd);
	f->fd = -1;
	f->save = (struct store_save){
		.parent = f->save.parent, .name = f->name, .tail = f->text, .tail_size = f->size,
		.flags = f->size ? STORE_SAVE_KEEP : STORE_SAVE_EMPTY, .mode = f->st.st_mode & 07777, .uid = f->st.st_uid, .gid = f->st.st_gid,
		.mtime = import_time(f->st.st_mtim), .pid = getpid(), .writer_uid = getuid(), .done = landed, .arg = f, .also = learn,
	};
	if (f->found.exists && f->found.attr.kind == STORE_DOCUMENT && !plan_over(f))
		return;
	submit(f);
}

/* ---- Beginning ------------------------------------------------------------------------------------------------- */

static int open_file(struct import_file *f, struct level *l)
{
	struct stat st;

	if (S_ISLNK(f->st.st_mode)) {
		char target[4096];
		ssize_t n = readlinkat(l->fd, f->name, target, sizeof(target));

		if (n < 0)
			return -errno;
		if (n == sizeof(target))
			return -ENAMETOOLONG;
		f->text = strndup(target, n);
		f->size = n;
		return f->text ? 0 : -ENOMEM;
	}
	f->fd = openat(l->fd, f->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (f->fd < 0 || fstat(f->fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EAGAIN;
	f->st = st;
	return 0;
}

/* Opens what is to be taken in. *ret is NULL when there is nothing to do. */
static int begin_file(struct import *in, struct level *l, const char *name, const struct stat *st, struct import_file **ret)
{
	struct import_file *f = calloc(1, sizeof(*f));
	const struct import_found *found;
	int err;

	if (!f)
		return -ENOMEM;
	*f = (struct import_file){ .in = in, .fd = -1, .records = l->records, .st = *st };
	strcpy(f->name, name);
	f->path = strdup(in->path.data);
	err = f->path ? import_find(in->store, l->dir, l->records, name, &f->found) : -ENOMEM;
	found = &f->found;
	if (!err && found->recorded && found->rec.size == (uint64_t)st->st_size && found->rec.mtime == time_pack(import_time(st->st_mtim))) {
		in->n.unchanged++;
		in->n.files++;
		file_free(f);
		*ret = NULL;
		return 0;
	}
	if (!err && found->exists && found->attr.kind == STORE_DIRECTORY)
		err = -EISDIR;
	if (!err && found->exists && found->attr.kind == STORE_DOCUMENT && (S_ISLNK(st->st_mode) || !store_is_document_name(name)))
		err = -EEXIST;
	if (!err)
		err = open_file(f, l);
	if (!err)
		err = import_need_dir(in, l);
	if (err) {
		file_free(f);
		return err;
	}
	f->save.parent = l->dir;
	*ret = f;
	return 0;
}

void import_take_file(struct import *in, struct level *l, const char *name, const struct stat *st)
{
	struct import_file *f;
	int err = begin_file(in, l, name, st, &f);

	if (err) {
		import_fail(in, in->path.data, err, true);
		in->n.files++;
	} else if (f && S_ISREG(f->st.st_mode) && store_is_document_name(name)) {
		take_document(f);
	} else if (f) {
		take_plain(f);
	}
	import_land(in, false);
	import_show(in, false);
}

