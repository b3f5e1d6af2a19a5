#include "verify.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "json.h"

#define DEEPEST 4096	/* directories in one another */

/* ---- Telling -------------------------------------------------------------------------------------------------- */

/* A name for an inode that a person can find it by. */
static void describe(struct verify *v, uint64_t ino, char *out, size_t size)
{
	char *at = out + size, name[STORE_NAME_MAX + 1];
	uint64_t up = ino;
	struct rec_attr a;

	*--at = 0;
	for (int depth = 0; up != STORE_ROOT && up != STORE_REJECTED; depth++) {
		size_t length;

		if (depth == DEEPEST || attr_get(v->txn, up, &a, name) || !a.parent || strlen(name) + 2 > (size_t)(at - out)) {
			snprintf(out, size, "inode %llu", (unsigned long long)ino);
			return;
		}
		if (*at)
			*--at = '/';
		length = strlen(name);
		at -= length;
		memcpy(at, name, length);
		up = a.parent;
	}
	if (!*at)
		snprintf(out, size, "%s", ino == STORE_ROOT ? "the root directory" : "the rejected directory");
	else
		memmove(out, at, out + size - at);
}

void verify_tell(struct verify *v, const char *format, ...)
{
	char where[1024], what[512], *text = NULL;
	va_list ap;

	if (v->at.problem_count++ >= TOLD)
		return;
	va_start(ap, format);
	vsnprintf(what, sizeof(what), format, ap);
	va_end(ap);
	if (v->at.ino)
		describe(v, v->at.ino, where, sizeof(where));
	else
		strcpy(where, "the store");
	if (asprintf(&text, "%s: %s", where, what) < 0)
		text = NULL;
	v->at.problems[v->at.problem_count - 1] = text;
}

/* ---- Files ---------------------------------------------------------------------------------------------------- */

static bool good_name(const char *name, size_t size)
{
	return size && size <= STORE_NAME_MAX && !memchr(name, '/', size) && !memchr(name, 0, size) && strcmp(name, ".") && strcmp(name, "..");
}

static bool mode_fits(const struct rec_attr *a)
{
	switch (a->kind) {
	case STORE_DIRECTORY:
		return S_ISDIR(a->mode);
	case STORE_SYMLINK:
		return S_ISLNK(a->mode);
	case STORE_SCRATCH:
	case STORE_DOCUMENT:
		return S_ISREG(a->mode);
	default:
		return false;
	}
}

static void check_place(struct verify *v, const struct rec_attr *a)
{
	struct subject *s = &v->at;
	struct key orphan = key_number(0, REC_ORPHAN, s->ino);
	struct db_value value;
	struct rec_entry e;
	struct rec_attr up;
	uint64_t dir = a->parent;
	int depth = 0, err;

	if (s->ino == STORE_ROOT || s->ino == STORE_REJECTED) {
		if (a->kind != STORE_DIRECTORY || a->parent)
			verify_tell(v, "it must be a directory without a parent");
		return;
	}
	if (s->ino < 16)
		verify_tell(v, "its number %llu is reserved", (unsigned long long)s->ino);
	if (s->ino >= v->next_ino)
		verify_tell(v, "its number is not below the next free one, %llu", (unsigned long long)v->next_ino);
	if (!good_name(s->name, strlen(s->name)))
		verify_tell(v, "its name is not one that a file can have");
	if (!a->parent) {
		if (a->kind == STORE_DIRECTORY)
			verify_tell(v, "a directory without a parent");
		else if (a->kind != STORE_DOCUMENT && db_get(v->txn, orphan.data, orphan.size, &value))
			verify_tell(v, "it has no directory, and is not noted as unlinked");
		return;
	}
	err = entry_get(v->txn, a->parent, REC_ENTRY, s->name, &e);
	if (err)
		verify_tell(v, "its directory, inode %llu, has no entry \"%s\"", (unsigned long long)a->parent, s->name);
	else if (e.ino != s->ino)
		verify_tell(v, "the entry of its name leads to inode %llu", (unsigned long long)e.ino);
	for (; dir && depth < DEEPEST && !attr_get(v->txn, dir, &up, NULL); depth++)
		dir = up.parent;
	if (depth == DEEPEST)
		verify_tell(v, "its directories form a loop");
}

static void check_attr(struct verify *v, struct db_value value)
{
	struct subject *s = &v->at;
	struct key frame = key_plain(s->ino, REC_FRAME), orphan = key_number(0, REC_ORPHAN, s->ino);
	const struct rec_attr *a = &s->attr;
	struct db_value f;

	if (!s->has_attr) {
		verify_tell(v, "its attributes are damaged: %zu bytes", value.size);
		return;
	}
	if (!mode_fits(a))
		verify_tell(v, "its kind, %u, does not go with its mode, 0%o", a->kind, a->mode);
	check_place(v, a);
	if (a->kind != STORE_DOCUMENT)
		return;
	if (!s->has_head || db_get(v->txn, frame.data, frame.size, &f)) {
		verify_tell(v, "a document without its %s", s->has_head ? "frame" : "head");
		return;
	}
	if (s->head.unlinked != (a->parent == 0) && db_get(v->txn, orphan.data, orphan.size, &f))
		verify_tell(v, s->head.unlinked ? "unlinked, but it has a directory" : "it has no directory, but is not unlinked");
	if (a->mtime_version > s->head.version)
		verify_tell(v, "its modification time is of version %llu, which is above the newest", (unsigned long long)a->mtime_version);
}

/* The name in a key and its hash. */
static bool check_name_key(struct verify *v, struct db_value key, char name[STORE_NAME_MAX + 1], bool may_be_empty)
{
	size_t size = key.size - 17;

	if (key.size < 17 || size > STORE_NAME_MAX) {
		verify_tell(v, "a name's key has %zu bytes", key.size);
		return false;
	}
	memcpy(name, (const char *)key.data + 17, size);
	name[size] = 0;
	if (!good_name(name, size) && (size || !may_be_empty)) {
		verify_tell(v, "an entry's name is not one that a file can have");
		return false;
	}
	if (key_u64(key.data, 9) != name_hash(name, size)) {
		verify_tell(v, "the key of the name \"%s\" has a wrong hash", name);
		return false;
	}
	return true;
}

static void check_entry(struct verify *v, struct db_value key, struct db_value value, bool tomb)
{
	struct subject *s = &v->at;
	char name[STORE_NAME_MAX + 1], own[STORE_NAME_MAX + 1];
	struct rec_entry e;
	struct rec_attr a;
	int err;

	if (!check_name_key(v, key, name, false))
		return;
	if (value.size != sizeof(e)) {
		verify_tell(v, "the entry \"%s\" has %zu bytes", name, value.size);
		return;
	}
	memcpy(&e, value.data, sizeof(e));
	err = attr_get(v->txn, e.ino, &a, own);
	if (tomb) {
		/* What it names may be linked elsewhere, or gone for good. */
		if (!err && a.kind != STORE_DOCUMENT)
			verify_tell(v, "the former name \"%s\" leads to inode %llu, which is no document", name, (unsigned long long)e.ino);
		return;
	}
	if (!s->has_attr || s->attr.kind != STORE_DIRECTORY)
		verify_tell(v, "it has an entry \"%s\", but is no directory", name);
	if (err)
		verify_tell(v, "the entry \"%s\" leads to inode %llu, which does not exist", name, (unsigned long long)e.ino);
	else if (a.parent != s->ino || strcmp(own, name))
		verify_tell(v, "the entry \"%s\" leads to inode %llu, which is \"%s\" in directory %llu", name, (unsigned long long)e.ino, own,
		     (unsigned long long)a.parent);
	else if (e.kind != a.kind && !(e.kind == STORE_SCRATCH && a.kind == STORE_DOCUMENT))
		verify_tell(v, "the entry \"%s\" is of kind %u, the file of kind %u", name, e.kind, a.kind);
}

static void check_import(struct verify *v, struct db_value key, struct db_value value)
{
	char name[STORE_NAME_MAX + 1];

	if (!check_name_key(v, key, name, true))
		return;
	if (value.size < sizeof(struct rec_import) || (value.size - sizeof(struct rec_import)) % 8)
		verify_tell(v, "what was taken in as \"%s\" is damaged: %zu bytes", name, value.size);
}

static void check_chunk(struct verify *v, struct db_value key, struct db_value value)
{
	struct subject *s = &v->at;
	uint32_t number;
	uint64_t end;

	if (key.size != 13) {
		verify_tell(v, "a chunk's key has %zu bytes", key.size);
		return;
	}
	memcpy(&number, (const char *)key.data + 9, 4);
	number = __builtin_bswap32(number);
	end = (uint64_t)number * CHUNK_SIZE + value.size;
	if (!s->has_attr || (s->attr.kind != STORE_SCRATCH && s->attr.kind != STORE_SYMLINK))
		verify_tell(v, "it has a chunk, but is no plain file");
	else if (value.size > CHUNK_SIZE || !value.size)
		verify_tell(v, "chunk %u has %zu bytes", number, value.size);
	else if (end > s->attr.size || (s->attr.kind == STORE_SYMLINK && end != s->attr.size))
		verify_tell(v, "chunk %u ends at byte %llu, the file at %llu", number, (unsigned long long)end, (unsigned long long)s->attr.size);
}

/* ---- Documents ------------------------------------------------------------------------------------------------ */

static bool is_separator(const char *text, size_t size)
{
	size_t at = json_space(text, size, 0);

	return at < size && text[at] == ',' && json_space(text, size, at + 1) == size;
}

/* Whether the frame is a document of its kind once there are messages in it. */
static bool frame_holds(const struct view_frame *f)
{
	const char *tail = frame_tail(f);
	struct buf whole = BUF_INIT;
	size_t at = f->head_size;
	bool good;

	if (f->kind == DOC_EMPTY)
		return !f->head_size && !f->tail_size;
	if (f->kind == DOC_LINES)
		return !f->head_size && f->sep_size == 1 && *frame_sep(f) == '\n' && (!f->tail_size || (f->tail_size == 1 && *tail == '\n'));
	if (f->kind == DOC_FREE)
		return !f->tail_size && !json_check(f->bytes, f->head_size, NULL);
	while (at && strchr(" \t\r\n", f->bytes[at - 1]) && f->bytes[at - 1])
		at--;
	if (!at || f->bytes[at - 1] != '[' || !is_separator(frame_sep(f), f->sep_size))
		return false;
	at = json_space(tail, f->tail_size, 0);
	if (at == f->tail_size || tail[at] != ']')
		return false;
	good = !buf_add(&whole, f->bytes, f->head_size) && !buf_add(&whole, "{}", 2) && !buf_add(&whole, tail, f->tail_size);
	if (good)
		good = !json_check(whole.data, whole.size, NULL);
	if (good) {
		at = json_space(whole.data, whole.size, !memcmp(whole.data, "\xef\xbb\xbf", 3) ? 3 : 0);
		good = whole.data[at] == (f->kind == DOC_LIST ? '[' : '{');
	}
	buf_release(&whole);
	return good;
}

static void check_frame(struct verify *v, struct db_value key, struct db_value value, bool gone)
{
	struct subject *s = &v->at;
	uint64_t died = 0;
	struct view_frame *f;

	if (key.size != (gone ? 17 : 9)) {
		verify_tell(v, "a frame's key has %zu bytes", key.size);
		return;
	}
	if (gone)
		died = key_u64(key.data, 9);
	if (frame_parse(value, &f)) {
		verify_tell(v, "a frame is damaged: %zu bytes", value.size);
		return;
	}
	if (!frame_holds(f))
		verify_tell(v, "the frame of version %llu is no document of its kind", (unsigned long long)f->edition);
	if (f->edition > s->head.version || (gone && (died <= f->edition || died > s->head.version)))
		verify_tell(v, "a frame of version %llu that version %llu replaced, in a document whose newest version is %llu",
		     (unsigned long long)f->edition, (unsigned long long)died, (unsigned long long)s->head.version);
	if (gone) {
		frame_unref(f);
		return;
	}
	if (f->kind != s->head.kind)
		verify_tell(v, "its frame is of kind %u, its head of kind %u", f->kind, s->head.kind);
	s->frame = f;
}

static bool is_line(const struct rec_message *rec, const char *bytes, size_t size)
{
	return !memchr(bytes + rec->lead_size, '\n', size - rec->lead_size) && (!rec->lead_size || (rec->lead_size == 1 && *bytes == '\n'));
}

/* What is dead may be of a time when the document was lines. */
static void check_text(struct verify *v, uint64_t pos, const struct rec_message *rec, const char *bytes, size_t size, bool dead)
{
	const char *body = bytes + rec->lead_size;
	struct json_error error = { 0 };
	uint64_t hash = 0;
	size_t end = 0;
	bool lines = v->at.head.kind == DOC_LINES, line = (lines || dead) && is_line(rec, bytes, size);
	int err = line ? 0 : json_value_hash(body, size - rec->lead_size, 0, &end, &hash, &error);

	size -= rec->lead_size;
	if (line) {
		end = size;
		hash = json_hash(body, size);
	}
	if (lines && !dead && !line)
		verify_tell(v, "the message at position %llu is not one line", (unsigned long long)pos);
	else if (!line && rec->lead_size && !is_separator(bytes, rec->lead_size))
		verify_tell(v, "what stands before the message at position %llu is no separator", (unsigned long long)pos);
	if (err || end != size)
		verify_tell(v, "the message at position %llu is not JSON at byte %zu: %s", (unsigned long long)pos, err ? error.offset : end,
		     err ? error.reason : "something follows it");
	else if (hash != rec->hash)
		verify_tell(v, "the hash of the message at position %llu is not that of its text", (unsigned long long)pos);
}

static void check_message(struct verify *v, struct db_value key, struct db_value value, bool dead)
{
	struct subject *s = &v->at;
	struct rec_message rec;
	uint64_t pos, died;
	size_t size;

	if (key.size != (dead ? 25 : 17)) {
		verify_tell(v, "a message's key has %zu bytes", key.size);
		return;
	}
	pos = key_u64(key.data, dead ? 17 : 9);
	died = dead ? key_u64(key.data, 9) : UINT64_MAX;
	if (value.size < sizeof(rec) || (memcpy(&rec, value.data, sizeof(rec)), rec.lead_size > value.size - sizeof(rec))) {
		verify_tell(v, "the message at position %llu is damaged: %zu bytes", (unsigned long long)pos, value.size);
		return;
	}
	size = value.size - sizeof(rec);
	check_text(v, pos, &rec, (const char *)value.data + sizeof(rec), size, dead);
	if (!rec.born || rec.born > rec.edition || rec.edition > s->head.version)
		verify_tell(v, "the message at position %llu was born in version %llu and has bytes of version %llu, but the newest is %llu",
		     (unsigned long long)pos, (unsigned long long)rec.born, (unsigned long long)rec.edition, (unsigned long long)s->head.version);
	if (pos >= s->head.next_pos)
		verify_tell(v, "the message at position %llu is not below the next position, %llu", (unsigned long long)pos,
		     (unsigned long long)s->head.next_pos);
	if (dead) {
		struct key live = key_number(s->ino, REC_MESSAGE, pos);
		struct rec_message heir;

		if (died <= rec.edition || died > s->head.version)
			verify_tell(v, "the message at position %llu has bytes of version %llu and died in version %llu, but the newest is %llu",
			     (unsigned long long)pos, (unsigned long long)rec.edition, (unsigned long long)died,
			     (unsigned long long)s->head.version);
		if (!(rec.flags & MESSAGE_RESTYLED) && !record_get(v->txn, &live, &heir, sizeof(heir), NULL) && heir.born < died)
			verify_tell(v, "position %llu had two messages at once, until version %llu", (unsigned long long)pos,
				    (unsigned long long)died);
		return;
	}
	if (!s->count)
		s->first_lead = rec.lead_size;
	s->count++;
	s->bytes += size;
	s->bare += !rec.lead_size;
}

static void check_change(struct verify *v, struct db_value key, struct db_value value)
{
	struct view_frame *f = NULL;
	struct rec_change c;

	if (key.size != 17 || value.size < sizeof(c)) {
		verify_tell(v, "a log entry is damaged: %zu bytes", value.size);
		return;
	}
	if (!key_u64(key.data, 9) || key_u64(key.data, 9) > v->at.head.version)
		verify_tell(v, "the log tells of version %llu, the newest is %llu", (unsigned long long)key_u64(key.data, 9),
		     (unsigned long long)v->at.head.version);
	memcpy(&c, value.data, sizeof(c));
	if (c.flags & STORE_LOG_KEPT) {
		if ((value.size - sizeof(c)) % sizeof(struct rec_kept))
			verify_tell(v, "the log entry of version %llu has a damaged list", (unsigned long long)key_u64(key.data, 9));
		return;
	}
	if (value.size > sizeof(c) && frame_parse((struct db_value){ (const char *)value.data + sizeof(c), value.size - sizeof(c) }, &f))
		verify_tell(v, "the log entry of version %llu has a damaged frame", (unsigned long long)key_u64(key.data, 9));
	frame_unref(f);
}

static void check_head(struct verify *v, struct db_value key, struct db_value value)
{
	const struct rec_head *h = &v->at.head;

	if (key.size != 9 || value.size != sizeof(*h))
		verify_tell(v, "its head is damaged: %zu bytes", value.size);
	else if (!h->version || h->kind > DOC_LINES || h->unlinked > 1 || h->reshaped > h->version)
		verify_tell(v, "its head is wrong: version %llu, last reshaped %llu, kind %u, unlinked %u", (unsigned long long)h->version,
		     (unsigned long long)h->reshaped, h->kind, h->unlinked);
}

void verify_sums(struct verify *v)
{
	struct subject *s = &v->at;
	const struct view_frame *f = s->frame;
	uint64_t size;

	if (!s->has_head || !f)
		return;
	size = f->head_size + f->tail_size + s->bytes + s->bare * f->sep_size;
	if (s->count)
		size -= s->first_lead ? s->first_lead : f->sep_size;
	if (f->kind == DOC_LINES && !s->count)
		verify_tell(v, "it is of lines, but has none");
	if (s->count && f->kind != DOC_LIST && f->kind != DOC_ENVELOPE && f->kind != DOC_LINES)
		verify_tell(v, "it has messages, but no list for them");
	if (s->count != s->head.count)
		verify_tell(v, "it has %llu messages, its head says %llu", (unsigned long long)s->count, (unsigned long long)s->head.count);
	else if (size != s->head.size)
		verify_tell(v, "its document has %llu bytes, its head says %llu", (unsigned long long)size, (unsigned long long)s->head.size);
}

/* ---- The store itself ----------------------------------------------------------------------------------------- */

static void check_store(struct verify *v, unsigned char type, struct db_value key, struct db_value value)
{
	struct rec_super super;
	struct rec_attr a;

	switch (type) {
	case REC_SUPER:
		if (key.size != 9 || value.size != sizeof(super) || (memcpy(&super, value.data, sizeof(super)), !super.format || super.format > FORMAT_VERSION) ||
		    (super.flags & ~FORMAT_CHECKED) || memcmp(super.magic, "historyfs store", 16))
			verify_tell(v, "its superblock is damaged");
		break;
	case REC_NEXT:
		if (key.size != 9 || value.size != 8)
			verify_tell(v, "the next inode number has %zu bytes", value.size);
		break;
	case REC_JOURNAL:
		if (key.size != 9 || value.size != 16)
			verify_tell(v, "the place in the journal has %zu bytes", value.size);
		break;
	case REC_ORPHAN:
		if (key.size != 17 || value.size)
			verify_tell(v, "a note of an unlinked file is damaged");
		else if (attr_get(v->txn, key_u64(key.data, 9), &a, NULL) || a.parent || a.kind == STORE_DIRECTORY)
			verify_tell(v, "inode %llu is noted as unlinked, but is no unlinked file", (unsigned long long)key_u64(key.data, 9));
		break;
	default:
		verify_tell(v, "a record of unknown type 0x%02x", type);
	}
}

void verify_record(struct verify *v, struct db_value key, struct db_value value)
{
	unsigned char type = ((const unsigned char *)key.data)[8];
	bool of_document = strchr("DFGMNV", type) && type;

	if (!v->at.ino) {
		check_store(v, type, key, value);
		return;
	}
	if (of_document && (!v->at.has_attr || v->at.attr.kind != STORE_DOCUMENT)) {
		verify_tell(v, "a record of type '%c', but it is no document", type);
		return;
	}
	switch (type) {
	case REC_ATTR:
		check_attr(v, value);
		break;
	case REC_CHUNK:
		check_chunk(v, key, value);
		break;
	case REC_DEAD:
	case REC_MESSAGE:
		check_message(v, key, value, type == REC_DEAD);
		break;
	case REC_ENTRY:
	case REC_TOMB:
		check_entry(v, key, value, type == REC_TOMB);
		break;
	case REC_FRAME:
	case REC_GONE:
		check_frame(v, key, value, type == REC_GONE);
		break;
	case REC_IMPORT:
		check_import(v, key, value);
		break;
	case REC_HEAD:
		check_head(v, key, value);
		break;
	case REC_CHANGE:
		check_change(v, key, value);
		break;
	default:
		verify_tell(v, "a record of unknown type 0x%02x", type);
	}
}
