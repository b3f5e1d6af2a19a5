/* One writer of documents of all shapes and styles, at random: every version stays as it was written (P3, P4). SEED=n repeats a run. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"

#define MESSAGES_MAX 80
#define VERSIONS_MAX 400

enum shape { LIST, ENVELOPE, OBJECT, SHAPES };

static const char *const styles[][4] = {
	/* after the opening bracket, between, before the closing one, at the end */
	{ "", ",", "", "" },
	{ "", ", ", "", "\n" },
	{ "\n  ", ",\n  ", "\n", "" },
	{ "\r\n\t", ",\r\n\t", "\r\n", "\r\n" },
	{ " ", " , ", " ", "" },
};

struct document {
	enum shape shape;
	size_t style, count;
	struct text messages[MESSAGES_MAX];
	size_t leads[MESSAGES_MAX];	/* style of the separator in front */
	bool mixed;			/* leads count, not style */
	unsigned extra;			/* a member beside the messages */
};

static uint64_t serial;

static struct text new_message(void)
{
	static const char *const forms[] = {
		"{\"role\":\"user\",\"content\":\"%llu\"}", "{\"role\": \"assistant\", \"content\": \"m %llu\", \"n\": [1, 2.50]}",
		"{\n    \"role\": \"user\",\n    \"content\": \"\\u00e9 %llu\"\n  }", "{\"content\":%llu}",
	};
	static char filler[5000];
	struct text t = text_format(forms[random_below(4)], (unsigned long long)++serial);

	if (random_chance(5)) {
		memset(filler, 'x', sizeof(filler) - 1);
		free(t.data);
		t = text_format("{\"content\": \"%llu%s\"}", (unsigned long long)serial, filler);
	}
	return t;
}

static struct text render(const struct document *d)
{
	const char *const *style = styles[d->style];
	struct text t = { 0 };
	FILE *f = open_memstream(&t.data, &t.size);

	if (d->shape == LIST)
		fprintf(f, "[");
	else
		fprintf(f, "{\"id\": %u,%s\"%s\": [", d->extra, style[0], d->shape == OBJECT ? "list" : "messages");
	/* Without an object among them it is no list of messages. */
	if (d->shape == OBJECT)
		fprintf(f, "0%s", d->count ? style[1] : "");
	for (size_t i = 0; i < d->count; i++) {
		fputs(i == 0 ? style[0] : styles[d->mixed ? d->leads[i] : d->style][1], f);
		fwrite(d->messages[i].data, 1, d->messages[i].size, f);
	}
	fputs(d->count ? style[2] : "", f);
	fputs(d->shape == LIST ? "]" : "], \"z\": null}", f);
	fputs(style[3], f);
	fclose(f);
	return t;
}

static void take_out(struct document *d, size_t at)
{
	text_free(d->messages[at]);
	d->count--;
	memmove(&d->messages[at], &d->messages[at + 1], (d->count - at) * sizeof(d->messages[0]));
	memmove(&d->leads[at], &d->leads[at + 1], (d->count - at) * sizeof(d->leads[0]));
}

static void put_in(struct document *d, size_t at)
{
	if (d->count == MESSAGES_MAX)
		take_out(d, 0), at = at ? at - 1 : 0;
	memmove(&d->messages[at + 1], &d->messages[at], (d->count - at) * sizeof(d->messages[0]));
	memmove(&d->leads[at + 1], &d->leads[at], (d->count - at) * sizeof(d->leads[0]));
	d->messages[at] = new_message();
	d->leads[at] = random_below(5);
	d->count++;
}

static void change(struct document *d)
{
	size_t at = d->count ? random_below(d->count) : 0;

	switch (random_below(16)) {
	case 0:
		d->style = random_below(5);
		break;
	case 1:
		d->mixed = !d->mixed;
		break;
	case 2:
		d->extra++;
		break;
	case 3:
		if (random_chance(30))
			d->shape = random_below(SHAPES);
		break;
	case 4:
		if (random_chance(20)) {
			while (d->count)
				take_out(d, d->count - 1);
		}
		break;
	case 5:
	case 6:
		if (d->count)
			take_out(d, at);
		break;
	case 7:
		/* Keep the last few. */
		for (size_t n = random_below(4); n && d->count; n--)
			take_out(d, 0);
		break;
	case 8:
	case 9:
		put_in(d, at);
		break;
	case 10:
		put_in(d, 0);
		break;
	case 11:
		if (d->count) {
			text_free(d->messages[at]);
			d->messages[at] = new_message();
		}
		break;
	default:
		for (size_t n = 1 + random_below(3); n; n--)
			put_in(d, d->count);
	}
}

struct held {
	struct store_view *view;
	uint64_t version;
};

static void check_held(struct held *h, struct text *texts)
{
	struct text got;

	if (!h->view)
		return;
	got = read_view(h->view);
	check_text(got, texts[h->version], "a view that is still open", "P3");
	text_free(got);
	/* From an offset, and as pieces of the whole. */
	if (texts[h->version].size) {
		size_t size = texts[h->version].size, offset = random_below(size), want = 1 + random_below(size), n;

		got.data = malloc(want);
		cr_assert_eq(store_view_read(h->view, offset, got.data, want, &n), 0);
		cr_assert_eq(n, want < size - offset ? want : size - offset);
		cr_assert(!memcmp(got.data, texts[h->version].data + offset, n), "a part from %zu", offset);
		free(got.data);
		cr_assert_eq(store_view_match(h->view, offset, texts[h->version].data + offset, size - offset, &n), 0);
		cr_assert_eq(n, size - offset);
	}
	store_view_unref(h->view);
	h->view = NULL;
}

static void one_writer(unsigned delay, unsigned rounds)
{
	static struct text texts[VERSIONS_MAX];
	static bool absent[VERSIONS_MAX];
	struct document d = { .shape = random_below(SHAPES), .style = random_below(5) };
	struct held held[4] = { 0 };
	char *dir = dir_make();
	struct store *s = must_open(dir, delay);
	struct store_attr a;
	uint64_t ino = 0, version = 0;

	memset(texts, 0, sizeof(texts));
	memset(absent, 0, sizeof(absent));
	for (unsigned i = 0; i < rounds; i++) {
		struct store_base base = base_at(ino, version);
		struct store_view *view = NULL;
		struct held *h = &held[random_below(4)];
		struct store_save save;
		struct text t, got;

		check_held(h, texts);
		if (version && !absent[version]) {
			cr_assert_eq(store_view_open(s, ino, 0, &view), 0);
			*h = (struct held){ store_view_ref(view), version };
		}
		if (version && !absent[version] && random_chance(3)) {
			cr_assert_eq(store_unlink(s, STORE_ROOT, "a.json", false, NULL), 0);
			absent[++version] = true;
			store_view_unref(view);
			view = NULL;
			base.version = version;
		}
		change(&d);
		t = render(&d);
		save = save_sharing(s, "a.json", t, view, random_chance(60) ? SIZE_MAX : random_below(t.size + 1),
				    random_chance(90) ? &base : NULL, 0);
		must_save(&save, "one writer");
		store_view_unref(view);
		if (save.version == version) {
			cr_assert(save.result & STORE_SAVED_SAME);
			cr_assert(text_equal(t, texts[version]), "said to be the same, but is not");
			text_free(t);
			continue;
		}
		cr_assert_eq(save.version, ++version);
		cr_assert(!ino || save.saved_ino == ino, "the document lost its number");
		ino = save.saved_ino;
		texts[version] = t;
		got = read_name(s, "a.json");
		check_text(got, t, "as written", "P4");
		text_free(got);
		cr_assert_eq(store_getattr(s, ino, &a), 0);
		cr_assert_eq(a.messages, d.shape == OBJECT ? 0 : d.count);
	}
	for (size_t i = 0; i < 4; i++)
		check_held(&held[i], texts);
	for (int pass = 0; pass < 2; pass++) {
		for (uint64_t v = 1; v <= version; v++) {
			if (!absent[v])
				check_version(s, ino, v, texts[v], "old version");
		}
		must_close(s);
		s = must_open(dir, delay);
	}
	for (uint64_t v = 1; v <= version; v++)
		text_free(texts[v]);
	while (d.count)
		take_out(&d, d.count - 1);
	must_close(s);
	dir_remove(dir);
}

Test(one_writer, random_documents)
{
	random_seed("history");
	for (int i = 0; i < 12; i++)
		one_writer(20, VERSIONS_MAX / 2);
	one_writer(0, 150);
}
