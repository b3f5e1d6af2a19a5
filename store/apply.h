/* One save at work inside a transaction. Private to history.c, append.c and undo.c. */
#ifndef STORE_APPLY_H
#define STORE_APPLY_H

#include "edit.h"
#include "history.h"
#include "outline.h"
#include "tree.h"

enum repeat { REPEAT_NONE, REPEAT_RESET, REPEAT_AUTOSAVE, REPEAT_OLDER /* merge_older_text */ };

struct apply {
	const struct history *h;
	struct db_txn *txn;
	struct job *job;
	struct store_save *save;
	struct tree_target target;
	struct rec_head head;		/* all zero: it was no document so far */
	struct store_view *current;
	struct merge_candidate *candidates;
	struct store_base *bases;	/* the candidates' bases, as they count for this document */
	struct view_frame *as_written;	/* the whole document, when it was merged as text */
	bool as_text;			/* the base is chosen by outlines */
	bool things;			/* it is a list of things, and merged as text */
	struct outline written_outline, current_outline;
	size_t count;
	int chosen;
	unsigned result;		/* of the choice: STORE_SAVED_UNCERTAIN, _EDIT */
	enum repeat repeat;
};

void apply_release(struct apply *a);

/* The newest version as it is in the transaction. What an unlinked document left behind is buried first. */
int apply_load(struct apply *a);
/* The base; an append, and who replaces, has seen the newest version. */
int apply_choose(struct apply *a);
/* grown.c: whether the last message of what its process wrote last has grown. Then that is the likely base. Sets save->grown. */
int apply_grown(struct apply *a);
/* The document against the base that was chosen. */
int apply_write(struct apply *a, struct merge_candidate *c);
/* All three. */
int apply_document(struct apply *a);

/* Lines on one side, JSON on the other: the file was renamed. */
bool apply_mixed(const struct view_frame *current, const struct view_frame *written);

/* repeat.c: what a document means that is equal to its writer's last one, `c`, while others have saved. */
int apply_repeat(struct apply *a, const struct merge_candidate *c, enum repeat *ret);
/* Leaves a trace of a save that changed nothing, though it may have meant to: a version that tells what was kept. */
int apply_trace(struct apply *a, const struct merge_candidate *c, struct edit *e);

/* things.c: whether the document is a list of things: its base is chosen by what is in them. */
int apply_holds_things(struct apply *a, bool *ret);
/* Whether the document may change things in a list that others have changed too; then they are merged as text. */
int apply_things(struct apply *a, const struct merge_candidate *c, bool *ret);

/* append.c: one value as a message or a line; bytes as lines; plain bytes become the first version of a document of lines. */
int apply_append(struct apply *a);
int apply_lines(struct apply *a);
int apply_convert(struct apply *a);

/* undo.c: what version save->undo_version did, the other way round. */
int apply_undo(struct apply *a);

#endif
