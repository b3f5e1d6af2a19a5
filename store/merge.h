/*
 * What a rewrite meant (merge rules 5 to 9 for lists). Pure: indexes of versions and a sliced document, no records.
 */
#ifndef STORE_MERGE_H
#define STORE_MERGE_H

#include "doc.h"
#include "outline.h"
#include "store.h"
#include "view.h"

/* A document as it arrived: the first `kept` messages of a view, then the items of a sliced text. */
struct written {
	const struct store_view *prefix;	/* may be NULL when kept is 0 */
	uint64_t kept, count;			/* count: of all messages */
	const struct doc_item *items;
	const struct outline *outline;	/* a document to be merged as text: what it holds, instead of messages; count is its count */
	const struct outline *there;	/* with `outline`: what the newest version holds */
};

uint64_t written_hash(const struct written *w, uint64_t i);

/* Which messages of a base a document has. Those of the common beginning match; `match` and `back` tell of the rest. */
struct merge_diff {
	uint64_t common;
	size_t base_rest, written_rest;
	size_t *match;		/* base_rest: index in the document's rest, or DIFF_NONE */
	size_t *back;		/* written_rest: index in the base's rest, or DIFF_NONE */
	uint64_t gone, added;	/* unmatched of the base, and of the document */
};

int merge_diff(const struct written *w, const struct store_view *base, struct merge_diff *ret);
/* The same by outlines. `*ret_removed`: what the document would remove of the outline `current`. */
int merge_diff_outline(const struct outline *written, const struct outline *base, const struct outline *current, struct merge_diff *ret, uint64_t *ret_removed);
/* Matches what is not of the common beginning by these keys, one for each of the rest. -ENOMEM. */
int merge_match(struct merge_diff *d, const uint64_t *base, const uint64_t *written);
void merge_diff_release(struct merge_diff *d);

/* Whether a writer with this base had seen what version `version` brought. */
bool base_knows(const struct store_base *base, uint64_t version);

struct merge_candidate {
	const struct store_base *base;
	struct store_view *view;	/* what the base held */
	struct merge_diff diff;
	struct outline outline;		/* of the base's text, when documents are merged as text */
	uint64_t removed;		/* current messages that the document would remove */
	bool meant;			/* nothing tells that it is not the base */
	bool doubted;			/* only equal texts do */
	bool apart;			/* neither has messages, and they differ: it contains nothing of this one */
};

/* Matches in the candidate's diff what is there but stands at another place, and sets `removed`. Not by outlines. */
void merge_removed(const struct written *w, struct merge_candidate *c, const struct store_view *current);

#define MERGE_NONE (-1)
#define MERGE_STALE (-2)

/*
 * Rules 5 to 7: the index of the base the document is taken to have had; MERGE_NONE when there is no candidate; MERGE_STALE when it is
 * older than, and contained in, what its process has saved since, and changes nothing. `removed` of each candidate must be set; sets
 * `meant`, and *ret_result as rules 15 tells: STORE_SAVED_UNCERTAIN, _EDIT; *ret_certain: no other may be meant. `flags`: STORE_SAVE_*.
 */
int merge_choose(const struct written *w, struct merge_candidate *candidates, size_t count, const struct store_view *current,
		 unsigned flags, unsigned *ret_result, bool *ret_certain);

/*
 * Whether the process, which has read nothing since, wrote the beginning of what it wrote last, cut between messages that were saved
 * together. No save ever had that state: in an event loop it is an older text of a list in memory, put into words before its file was
 * opened, and late (rule 7 goes by the opening). Not by outlines.
 */
bool merge_older_text(const struct merge_candidate *candidates, size_t count, size_t chosen);

/* Whether the base is what the process wrote itself, before the save's handle was opened, and was not shown since. */
bool merge_from_memory(const struct merge_candidate *c);
/* Rule 17: whether the document has the messages of such a base, no more and no less, while others have saved. */
bool merge_repeats(const struct written *w, const struct merge_candidate *c, const struct store_view *current);
/* And whether that is a reset by its messages: there are none, or they are few and came with one save. */
bool merge_begins(const struct merge_candidate *c);

/* Rule 9: what to do to `current`. */
struct merge_insert {
	uint64_t written;	/* index in the document; with `moved` in current */
	uint64_t before;	/* index in current; its count: at the end */
	bool moved;		/* an old message that gets a new place */
};
struct merge_keep {
	uint64_t written, current;	/* the same message; its formatting may differ */
};
struct merge_edits {
	uint64_t *removed;	/* indexes in current, ascending */
	size_t removed_count;
	uint64_t *spared;	/* the same: what was to be removed, and is not (merge_spare) */
	size_t spared_count;
	struct merge_insert *inserted;	/* in the document's order, `before` does not descend */
	size_t inserted_count;
	struct merge_keep *kept;	/* beyond the common beginning */
	size_t kept_count;
};

int merge_edits(const struct written *w, const struct store_view *base, const struct merge_diff *diff, const struct store_view *current,
		struct merge_edits *ret);
/* Whether another candidate may as well be the base: which of the tickets is used up can't be told. For writers with an event loop. */
bool merge_doubt(const struct merge_candidate *candidates, size_t count, size_t chosen);

/*
 * Never lose wins: of what is to be removed, takes back what another candidate that removes something too, and may as well be the base, did
 * not know; and all when there is only what the process wrote after it had opened the file (rule 3). For writers with an event loop. Whether
 * there was any.
 */
bool merge_spare(const struct merge_candidate *candidates, size_t count, size_t chosen, const struct store_view *current,
		 struct merge_edits *e);
/* Nothing is to be changed, all that was to be removed is spared. */
void merge_spare_all(struct merge_edits *e);
/*
 * Before merge_edits, when the chosen base is the process's own last document, of which is not known whether it still held what others had
 * removed by then: that is the document's new message when another candidate that may as well be the base, which the process has read, has it not.
 * A save is never without a trace. And answers that many requests get, where equal texts alone speak against another base. For writers with an event loop. Whether there was any.
 */
bool merge_revive(struct merge_candidate *candidates, size_t count, size_t chosen, const struct store_view *current);
void merge_edits_release(struct merge_edits *e);

#endif
