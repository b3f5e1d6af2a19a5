/*
 * Scripts of what processes do, and the candidates that their saves must have. Clock and processes are made up here.
 *
 * A word of a script is one step:
 *	a a2 A		a process, its second thread, a process with an event loop; ? is unknown
 *	a:r10 a:n10 a:n0	is shown version 10; the name absent, which had version 10; which never was
 *	a:r10.g		of another name than f.json (every step that has a name)
 *	a:o1		opens handle 1 for writing
 *	1=10T,9W	handle 1 has exactly these candidates: Thread, Written, Later; 5+7,9 is a base with own versions; 1= has none
 *	1p=10		the same for the rename of a temp file
 *	a:k1		the file is made by that, or a temp file renamed: it has just looked the name up
 *	1:s12/11@10	a save through handle 1 makes version 12 of 11, from the candidate 10; @ is blind; s11/11 changed nothing; ? behind: uncertain
 *	1:c		closes handle 1
 *	a:w5		opens file 5 for writing
 *	1~11:5,6	handle 1's thread has read version 11 once more, and its process opened these files since; ! behind: for a copy; 1~ it has not
 *	a>b a#9 a:x	forks b; is in process group 9; exits
 *	a:a12/11	appends lines: version 12 of 11
 *	a:u a:m		unlinks; renames f.json to g
 *	+5s +1t		time passes: seconds, clock ticks
 */

#include <criterion/criterion.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "bound.h"
#include "seen.h"
#include "ticket.h"

#define TICK UINT64_C(10000000)
#define INO 7

struct processes {
	struct {
		uint64_t start;
		pid_t group;
		int parent;
		bool exited;
	} of[128];
};

static uint64_t now_ns;
static struct processes world;
static unsigned alive_asked;

int clock_gettime(clockid_t id, struct timespec *t)
{
	if (id != CLOCK_BOOTTIME)
		return (int)syscall(SYS_clock_gettime, id, t);
	*t = (struct timespec){ .tv_sec = (time_t)(now_ns / 1000000000), .tv_nsec = (long)(now_ns % 1000000000) };
	return 0;
}

bool processes_events(struct processes *p, const struct process *who)
{
	return !who->known || isupper(who->tgid / 100);
}

static struct process process_of(int letter, int thread)
{
	if (letter == '?')
		return (struct process){ .tid = 0 };
	return (struct process){ .tid = letter * 100 + (thread ? thread - 1 : 0), .tgid = letter * 100, .start = world.of[letter].start, .known = true };
}

bool process_piped(const struct process *who)
{
	return who->tgid != 'q' * 100;
}

bool processes_family(struct processes *p, const struct process *who, pid_t *ret_group, struct process *ret_parent)
{
	int letter = who->tgid / 100;

	if (letter >= 128)
		return false;
	*ret_group = p->of[letter].group;
	*ret_parent = p->of[letter].parent ? process_of(p->of[letter].parent, 0) : (struct process){ .tid = 0 };
	return true;
}

bool process_alive(const struct process *who)
{
	alive_asked++;
	return !who->known || who->tgid / 100 >= 128 || !world.of[who->tgid / 100].exited;
}

static void start_world(void)
{
	now_ns = 5000 * UINT64_C(1000000000);
	memset(&world, 0, sizeof world);
	for (int i = 0; i < 128; i++) {
		world.of[i].start = 1000;
		world.of[i].group = i;
	}
}

static const char *describe(const struct store_base *b, char *buf)
{
	char *p = buf;

	if (b->ino != INO && b->ino)
		p += sprintf(p, "i%lu:", (unsigned long)b->ino);
	p += sprintf(p, "%lu", (unsigned long)b->version);
	for (size_t i = 0; i < b->own_count; i++)
		p += sprintf(p, "+%lu", (unsigned long)b->own[i]);
	p += sprintf(p, "%s%s%s", b->flags & STORE_BASE_THREAD ? "T" : "", b->flags & STORE_BASE_WRITTEN ? "W" : "",
		     b->flags & STORE_BASE_LATER ? "L" : "");
	return buf;
}

struct play {
	struct tickets *tickets;
	struct ticket_set *sets[10];
	const char *script;
};

static void check(struct play *p, struct ticket_set *set, const char *name, bool pipeline, const char *expected)
{
	const struct store_base *bases;
	size_t n;
	char got[4096] = "", one[1024];

	cr_assert_eq(tickets_bases(p->tickets, set, 1, name, pipeline, &bases, &n), 0);
	for (size_t i = 0; i < n; i++) {
		if (i) {
			strcat(got, ",");
			cr_assert_leq(bases[i].order, bases[i - 1].order);
		}
		strcat(got, describe(&bases[i], one));
		cr_assert_eq(bases[i].own_count > 0, bases[i].own != NULL);
	}
	cr_expect_str_eq(got, expected, "%s: got \"%s\", expected \"%s\"", p->script, got, expected);
}

static void save(struct play *p, struct ticket_set *set, const char *name, const char *what)
{
	const struct store_base *bases;
	size_t n;
	char from[64] = "", one[1024];
	unsigned long version, previous;
	struct store_save s = { .saved_ino = INO, .base = -1, .result = strchr(what, '?') ? STORE_SAVED_UNCERTAIN : 0 };

	cr_assert_geq(sscanf(what, "%lu/%lu@%60[^?]", &version, &previous, from), 2, "%s", what);
	s.version = version;
	s.previous = previous;
	cr_assert_eq(tickets_bases(p->tickets, set, 1, name, true, &bases, &n), 0);
	for (size_t i = 0; i < n; i++)
		if (strcmp(describe(&bases[i], one), from) == 0)
			s.base = (int)i;
	cr_assert(s.base >= 0 || !*from, "%s: no candidate %s for %s", p->script, from, what);
	tickets_saved(p->tickets, set, 1, name, &s);
}

static void check_reread(struct play *p, struct ticket_set *set, const char *name, const char *expected)
{
	struct ticket_reread read;
	char got[64] = "", *at = got;

	if (tickets_reread(p->tickets, set, 1, name, &read)) {
		cr_expect_eq(read.ino, INO);
		at += sprintf(at, "%lu", (unsigned long)read.version);
		for (size_t i = 0; i < read.count; i++)
			at += sprintf(at, "%c%lu", i ? ',' : ':', (unsigned long)read.opened[i]);
		if (strchr(expected, '!')) {
			tickets_copied(set, &read);
			strcpy(at, "!");
		}
	}
	cr_expect_str_eq(got, expected, "%s: read again \"%s\", expected \"%s\"", p->script, got, expected);
}

static void step_process(struct play *p, const char *w, int letter, char *op)
{
	struct process who = process_of(letter, isdigit((unsigned char)w[1]) ? w[1] - '0' : 1);
	char *dot = strchr(op, '.');
	const char *name = dot ? dot + 1 : "f.json";
	unsigned long version = strtoul(op + 1, NULL, 10);

	if (dot)
		*dot = 0;
	switch (*op) {
	case 'r':
		tickets_shown(p->tickets, &who, 1, name, INO, version);
		break;
	case 'n':
		tickets_shown(p->tickets, &who, 1, name, version ? INO : 0, version);
		break;
	case 'o':
		ticket_set_free(p->sets[version]);
		cr_assert_eq(tickets_freeze(p->tickets, &who, &p->sets[version]), 0);
		cr_assert_eq(ticket_set_process(p->sets[version])->tid, who.tid);
		cr_assert_eq(ticket_set_events(p->sets[version]), letter == '?' || isupper(letter));
		break;
	case 'a': {
		struct store_save s = { .saved_ino = INO, .base = -1, .version = version, .previous = strtoul(strchr(op, '/') + 1, NULL, 10) };

		tickets_appended(p->tickets, &who, 1, name, &s);
		break;
	}
	case 'w': {
		struct ticket_set *set;

		cr_assert_eq(tickets_freeze(p->tickets, &who, &set), 0);
		tickets_writing(set, version);
		ticket_set_free(set);
		break;
	}
	case 'k':
		tickets_created(p->tickets, p->sets[version], &who, 1, name);
		break;
	case 'u':
		tickets_unlinked(p->tickets, &who, 1, name);
		break;
	case 'm':
		tickets_renamed(p->tickets, &who, 1, name, 1, "g");
		break;
	case 'x':
		world.of[letter].exited = true;
		break;
	default:
		cr_assert_fail("%s: what is %s", p->script, w);
	}
}

static void step_handle(struct play *p, const char *w, char *op)
{
	struct ticket_set **set = &p->sets[*w - '0'];
	char *dot = strchr(op, '.');
	const char *name = dot ? dot + 1 : "f.json";

	cr_assert_not_null(*set, "%s: %s", p->script, w);
	if (dot)
		*dot = 0;
	if (*op == '=' || (op[0] == 'p' && op[1] == '=')) {
		check(p, *set, name, *op == 'p', strchr(op, '=') + 1);
	} else if (*op == '~') {
		check_reread(p, *set, name, op + 1);
	} else if (op[1] == 's') {
		save(p, *set, name, op + 2);
	} else {
		cr_assert_str_eq(op, ":c", "%s: %s", p->script, w);
		ticket_set_free(*set);
		*set = NULL;
	}
}

static void play(const char *script, unsigned ttl, size_t max_bytes)
{
	struct play p = { .script = script };
	char *copy = strdup(script), *rest = copy, *w;

	start_world();
	cr_assert_eq(tickets_new(&world, ttl, max_bytes, &p.tickets), 0);
	while ((w = strsep(&rest, " "))) {
		now_ns += 1000;
		if (*w == '+')
			now_ns += strtoul(w + 1, NULL, 10) * (strchr(w, 's') ? UINT64_C(1000000000) : TICK);
		else if (isdigit((unsigned char)*w))
			step_handle(&p, w, w + 1);
		else if (w[1] == '>') {
			world.of[(int)w[2]].parent = *w;
			world.of[(int)w[2]].start = now_ns / TICK;
		} else if (w[1] == '#')
			world.of[(int)*w].group = atoi(w + 2);
		else
			step_process(&p, w, *w, strchr(w, ':') + 1);
	}
	for (size_t i = 0; i < 10; i++)
		ticket_set_free(p.sets[i]);
	tickets_free(p.tickets);
	free(copy);
}

struct script {
	const char *rule, *steps;
};

static const struct script scripts[] = {
	{ "1: a read is a ticket", "a:r10 a:o1 1=10T" },
	{ "1: so is an absent name that never was", "a:n0 a:o1 1=0T" },
	{ "1: and one that was", "a:n6 a:o1 1=6T" },
	{ "1: opening alone is none", "a:o1 1=" },
	{ "1: of this name only", "a:r10.g a:o1 1= 1=10T.g" },
	{ "1: of this process only", "a:r10 b:o1 1=" },
	{ "1: an id started again is another process", "a:r10 +9s b>a a:o1 1=" },
	{ "1: the look-up that a file is made with is not left over", "A:n0 A2:n0 A2:o1 A2:k1 1:s1/0@0T A:o2 2=1W" },
	{ "1: nor one on the same thread", "A:n0 A:n0 A:o1 A:k1 1:s1/0@0T A:o2 2=1W" },
	{ "1: nor when it is the only one", "A:n0 A:o1 A:k1 1:s1/0@0T A:o2 2=1W" },
	{ "1: nor that of a rename, after the freeze", "A:n0 A2:o1 A2:n0 A2:k1 1:s1/0@0 A:o2 2=1W" },
	{ "1: but another coroutine's is", "A:n0 A3:n0 A2:n0 A2:o1 A2:k1 1:s1/0@0T A:o2 2=1W,0T" },
	{ "1: also on the same thread", "A:n0 A:n0 A:n0 A:o1 A:k1 1:s1/0@0T A:o2 2=1W,0T" },
	{ "6: what may have been based on another uses up neither", "A:r10 A2:r11 A:o1 1:s12/11@10T? A:o2 2=10+12W,11,10T" },
	{ "1: shown again it only becomes newer", "A:r10 A:r11 A:r10 A:r10 A:o1 1=10T,11T" },
	{ "1: a forked child has its parent's tickets", "a:r10 +1t a>b b:o1 1=10 b:r11 b:o1 1=11T" },
	{ "1: but not those of after the fork", "a:r10 +1t a>b +1t a:r11 b:o1 1=10" },
	{ "1: the fork's clock tick counts in favour", "a>b a:r10 b:o1 1=10" },
	{ "1: a parent's ticket read again after the fork", "a:r10 +1t a>b +2t a:r10 b:o1 1=10" },
	{ "1: a parent's ticket used up after the fork", "a:r10 +1t a>b +2t a:o1 1:s11/10@10T b:o2 2=10" },
	{ "1: a parent's ticket used up before the fork", "a:r10 +1t a:o1 1:s12/11@10T +2t a>b b:o2 2=10+12W" },
	{ "1: nine forks of one list each save from it", "a:r10 +1t a>b a>c +2t a:o1 b:o2 c:o3 1:s11/10@10T 2=10 2:s12/11@10 3=10 3:s13/12@10 2=10+12W 3=10+13W" },
	{ "1: a child's save uses it up for the child", "a:r10 +1t a>b b:o1 1:s11/10@10 b:o1 1=11W a:o2 2=10T" },
	{ "1: its first thread's save too, from another base", "a:r10 +1t a>b +1t b:r11 b:o1 1:s12/11@11T b:o1 1=12W" },
	{ "1: grandchildren, the process between never asked", "a:r10 +1t a>b +1t b>c c:o1 1=10" },
	{ "1: as of the fork of the process between", "a:r10 +1t a>b +1t a:r11 +1t b>c c:o1 1=10" },
	{ "1: a parent that exited meanwhile", "a:r10 +1t a>b b:r3.g a:x +500s c:r1 d:r1 b:o1 1=10" },
	{ "1: an event-loop parent's coroutines", "A:r10 A:r11 +1t A>b b:o1 1=11" },
	{ "append: who has seen nothing has no base after it", "a:a11/10 a:o1 1=" },
	{ "append: own lines count as seen", "a:r10 a:a11/10 a:o1 1=11W" },
	{ "append: what others brought does not", "a:r10 a:a12/11 a:a14/13 a:o1 1=10+12+14W" },
	{ "append: from the beginning", "a:n0 a:a1/0 a:a2/1 a:a4/3 a:o1 1=2+4W" },
	{ "append: another thread has not seen them", "a:r10 a2:a12/11 a:o1 1=10+12W,10T" },
	{ "append: in an event loop it may be another's", "A:r10 A:a12/11 A:o1 1=10+12W,10T" },
	{ "append: what is read after it", "a:r10 a:a12/11 a:r12 a:o1 1=12T" },
	{ "2: the own document is the base of a list in memory", "a:n0 a:o1 1:s1/0@0T a:o1 1=1W" },
	{ "2: merged, without what others brought", "a:r10 a:o1 1:s12/11@10T a:o2 2=10+12W 2:s13/12@10+12W a:o3 3=10+12+13W" },
	{ "2: own versions that follow on are folded", "a:r10 a:o1 1:s12/11@10T a:o2 2:s11/11@10+12W 2=10+12W" },
	{ "2: a blind save has seen it all", "a:o1 1:s9/8@ a:o1 1=9W" },
	{ "2: others between each save", "a:r1 a:o1 1:s3/2@1T 1:s5/4@1+3W 1:s7/6@1+3+5W 1=1+3+5+7W 1:s8/7@1+3+5+7W 1=1+3+5+7+8W" },
	{ "2: a save that changed nothing adds nothing of others", "a:r10 a:o1 1:s12/12@10T a:o1 1=10W" },
	{ "2: that knew the newest", "a:r12 a:o1 1:s12/12@12T a:o1 1=12W" },
	{ "3: frozen at the opening", "a:r10 a:o1 a:r11 1=10T a:o2 2=11T" },
	{ "3: read again after the opening", "A:r10 A:o1 A:r10 A:r11 1=10T 1:s12/11@10T A:o1 1=10+12W,11T,10T" },
	{ "3: each handle has its own time", "A:r10 A:o1 A:r11 A:o2 1=10T 2=11T,10T" },
	{ "3: frozen anew by the save", "a:r10 a:o1 1:s11/10@10T 1=11W 1:s12/11@11W 1=12W" },
	{ "3: O_RDWR handles freeze anew after their own read", "a:o1 1= a:r10 a:o1 1=10T" },
	{ "4: a thread's tickets end at its save", "a:r9 a:r10 a:o1 1=10T 1:s11/10@10T a:o1 1=11W" },
	{ "4: what it was shown while writing is for the next", "a:r10 a:o1 a:r10 1:s12/11@10T a:o1 1=10+12W,10T" },
	{ "4: a thread's own tickets go first", "a:r10 a2:r11 a:o1 1=10T a2:o2 2=11T" },
	{ "4: a thread without any has the others'", "a:r10 a2:r11 a3:o1 1=11,10" },
	{ "4: an event loop has all", "A:r10 A2:r11 A2:o1 1=11T,10" },
	{ "4: and each ticket lasts until it is used", "A:r10 A:r11 A:o1 1:s12/11@11T A:o1 1=12W,10T" },
	{ "4: step by step, the newer read goes before the document", "a:r10 a:o1 1:s11/10@10T a:r12 a:o1 1=12T" },
	{ "4: the document of another thread since the read", "a:r10 a2:r10 a2:o2 2:s11/10@10T a:o1 1=11W,10T" },
	{ "4: an event loop keeps both", "A:r10 A:o1 1:s11/10@10T A:r12 A:o1 1=12T,11W" },
	{ "4: unknown processes are one with an event loop", "?:r10 ?:r11 ?:o1 1=11,10 1:s12/11@10 ?:o1 1=10+12W,11" },
	{ "4: a read for a copy does not count: a backup before the save", "a:r10 a:w5 a:r11 a:o1 1~11:5! 1=11T,10T 1:s12/11@10T a:o1 1=10+12W" },
	{ "4: nor before the save of a list in memory", "a:r10 a:o1 1:s11/10@10T a:r13 a:w5 a:o1 1~13:5! 1=13,11W 1:s14/13@11W 1=11+14W" },
	{ "4: what was read for more than the copy counts", "a:r10 a:r11 a:r11 a:w5 a:o1 1~ 1=11T" },
	{ "4: what was never read before has no older state", "a:r11 a:w5 a:o1 1~" },
	{ "4: nor was it after the thread's own save", "a:r10 a:o1 1:s11/10@10T 1:c a:r11 a:o1 a:w5 1~11:5" },
	{ "4: the file itself is no copy, nor what was written before", "a:w5 a:r10 a:r11 a:w7 a:o1 1~" },
	{ "4: the last few files that were opened", "a:r10 a:r11 a:w1 a:w2 a:w3 a:w4 a:w5 a:o1 1~11:5,2,3,4" },
	{ "4: other threads' reads are not this one's", "a:r10 a2:r11 a:w5 a:o1 1~" },
	{ "4: other names' neither", "a:r10 a:r11.g a:w5 a:o1 1~ 1~.g" },
	{ "4: in an event loop nothing ends by being read again", "A:r10 A:w5 A:r11 A:o1 1~" },
	{ "4: what was copied counts again for the next save", "a:r10 a:w5 a:r11 a:o1 1~11:5! 1:s12/11@10T a:r13 a:w5 a:o1 1~13:5 1=13T" },
	{ "6: two coroutines that read the same hold two", "A:r10 A:r10 A:o1 A:o2 1:s11/10@10T 2=11WL,10T 2:s12/11@10T A:o3 3=10+12W,11W" },
	{ "6: three on three threads of a pool", "A:r10 A2:r10 A3:r10 A:o1 A2:o2 A3:o3 1:s11/10@10T 2:s12/11@10T 3=10+12WL,11WL,10 3:s13/12@10 A:o1 1=10+13W,10+12W,11W" },
	{ "6: one candidate, the thread's own ticket is used up", "A:r10 A2:r10 A2:o1 1=10T 1:s11/10@10T A:o2 2=11W,10T" },
	{ "6: the ticket goes, not the document like it", "A:r10 A:o1 1:s11/10@10T A:r11 A:o1 1=11TW 1:s12/11@11TW A:o1 1=12W" },
	{ "7: saves of one list in memory, closed in the wrong order", "A:o9 9:s10/9@ A:o1 A:o2 2:s11/10@10W 1=11WL,10W 1:s11/11@10W A:o3 3=11W" },
	{ "7: three of them", "A:o9 9:s10/9@ A:o1 A:o2 A:o3 2:s11/10@10W 3:s12/11@11WL 1=12WL,11WL,10W" },
	{ "7: not for a thread that read", "a:r10 a2:r10 a:o1 a2:o2 2:s11/10@10T 1=10T" },
	{ "8: no candidate", "a:o1 1p= 1:s9/8@ 1=9W" },
	{ "8: cat f | jq > t; mv t f", "a#5 b#5 a:r10 b:o1 a:x 1= 1p=10 1:s11/10@10 1p=11W" },
	{ "8: the filter may open its output first", "a#5 b#5 b:o1 a:r10 1p=10" },
	{ "8: jq f > t && mv t f: opened by the shell, then read", "a#5 a:o1 a:r10 1=10 1p=10 1:s11/10@10 1p=11W" },
	{ "8: used up", "a#5 b#5 c#5 a:r10 b:o1 1:s11/10@10 c:o2 2p=" },
	{ "8: a slow filter", "a#5 b#5 a:r10 a:x b:o1 +500s c:r1.g d:r1.g e:r1.g +90s 1p=10" },
	{ "8: only without another", "a#5 b#5 a:r10 b:r9 b:o1 1p=9T" },
	{ "8: jq f | sponge f, which writes without a rename", "a#5 b#5 s>a s>b +1t a:r10 a:x +5s b:o1 1=10 1:s12/11@10" },
	{ "8: jq f | sponge f, which finds it away", "a#5 b#5 s>a s>b +1t a:r10 a:x +5s b:n0 b:o1 1=0T,10T 1:s12/11@10T" },
	{ "8: which read it itself before", "a#5 b#5 s>a s>b +1t a:r10 a:x b:r9 b:o1 1=9T" },
	{ "8: who has found none does not ask whom only the group connects", "a#5 b#5 a:r10 b:n0 b:o1 1p=0T" },
	{ "8: several of them in one group", "a#5 b#5 c#5 d#5 s>a s>b t>c t>d a:r10 c:r11 b:o1 d:o2 1=10 2=11" },
	{ "8: cat f; cp backup f", "a#5 b#5 s>a a:r10 a:x +2s s>b b:o1 1= 1p=10" },
	{ "8: cat f; cp backup f at once: nothing is piped to it", "a#5 q#5 s>a a:r10 a:x s>q q:o1 1= 1p=10" },
	{ "8: neighbours that live long", "a#5 b#5 s>a s>b +60s a:r10 b:o1 1= 1p=10" },
	{ "8: other groups do not count", "a#5 b#6 a:r10 b:o1 1p=" },
	{ "13: the own unlink ends the tickets", "A:r10 A:o1 1:s11/10@10T A:r11 A:u A:o1 1= A:n11 A:o1 1=11T" },
	{ "13: and those of parents", "a:r10 +1t a>b b:u b:o1 1=" },
	{ "13: not another's", "a:r10 b:r10 b:u a:o1 1=10T" },
	{ "13: also those of a temp file that was opened before it", "a:r10 a:o1 1:s11/10@10T a:r11 a:o2 a:u 2= a:n12 2p=12" },
	{ "13: and the own document; with an event loop too", "A:r10 A:o1 1:s11/10@10T A:r11 A:o2 A:u 2= A:n12 2p=12" },
	{ "13: and one that was saved after that", "a:o2 a:r10 a:o1 1:s11/10@10T a:u 2= a:n12 2p=12" },
	{ "13: target -> .bak, new -> target, unlink .bak", "A:r10 A:o1 A:m A:n10 A:u.g 1=10T 1:s11/10@10T A:o2 2=11W,10T" },
	{ "13: a session renamed while its list is in memory", "a:r10 a:o1 1:s11/10@10T a:m a:o2 2=11W.g 2:s12/11@11W.g a:o3 3=12W.g" },
	{ "13: renamed between opening and closing", "a:r10 a:o1 a:m 1=10T.g" },
	{ "13: vim renames away and writes anew", "a:r10 a:m a:n12 a:o1 1=12T" },
	{ "13: renamed over one that was known", "a:r3.g a:r10 a:m a:o1 1=10T.g" },
	{ "age: forgotten when something newer is there", "A:r10 +4000s A:r11 A:o1 1=11T" },
	{ "age: not the only ticket of a living process", "a:r10 +9000s b:r1 c:r1 a:o1 1=10T" },
	{ "age: nor its document", "a:r10 a:o1 1:s12/11@10T +9000s b:r1 c:r1 +9000s b:r2 a:o1 1=10+12W" },
	{ "client: legacy HistoryService, two threads", "a:r10 a2:r10 a:o1 a2:o2 1=10T 2=10T 2:s11/10@10T 1=10T 1:s12/11@10T a:r12 a:o1 1=12T" },
	{ "client: LangChain: created, then read and appended", "a:n0 a:o1 1=0T 1:s1/0@0T a:r1 a:o1 1=1T 1:s2/1@1T a:o1 1=2W" },
	{ "client: LangChain: two create at once", "a:n0 b:n0 a:o1 1:s1/0@0T b:o2 2=0T 2:s2/1@0T b:o2 2=0+2W" },
	{ "client: to_thread for each step", "A2:r10 A3:r10 A4:o1 1=10 1:s11/10@10 A5:o2 2=11W,10 2:s12/11@10 A2:o3 3=10+12W,11W" },
	{ "client: LangChain.js: one read, then all from memory", "A:r10 A2:o1 1=10 1:s12/11@10 A3:o1 1=10+12W +9000s A:o1 1=10+12W" },
	{ "client: write-file-atomic: frozen at the temp file", "A:r10 A:o1 A:r11 1=10T 1:s12/11@10T A:o1 1=10+12W,11T" },
	{ "client: gemini renames a bad file away, starts anew", "A:r10 A:m A:n10 A:o1 1=10T" },
	{ "client: PHP r+ flock: read after opening, frozen again", "a:o1 a:r11 a:o1 1=11T 1:s12/11@11T 1=12W" },
	{ "client: text-generation-webui: streaming rewrites", "A:r10 A:o1 1:s11/10@10T A2:o1 1=11W 1:s12/11@11W A3:o1 1=12W 1:s14/13@12W A:o1 1=12+14W" },
	{ "client: echo > f, cp backup f", "a:o1 1= 1p=" },
};

Test(ticket, scripts)
{
	for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++)
		play(scripts[i].steps, 0, 0);
	cr_assert_geq(sizeof scripts / sizeof *scripts, 40);
}

static struct tickets *new_tickets(unsigned ttl, size_t max_bytes)
{
	struct tickets *t;

	start_world();
	cr_assert_eq(tickets_new(&world, ttl, max_bytes, &t), 0);
	return t;
}

static size_t candidates(struct tickets *t, const struct process *who, const char *name, const struct store_base **ret)
{
	static struct ticket_set *set;
	size_t n;

	ticket_set_free(set);
	set = NULL;
	if (!who)
		return 0;
	cr_assert_eq(tickets_freeze(t, who, &set), 0);
	cr_assert_eq(tickets_bases(t, set, 1, name, false, ret, &n), 0);
	return n;
}

/* Rule 6 for a reader that polls: as many uses, and no more memory than one. */
Test(ticket, polling_does_not_accumulate)
{
	struct tickets *t = new_tickets(0, 0);
	struct process a = process_of('A', 1);
	const struct store_base *b;
	uint64_t n, processes, bytes, before;

	tickets_shown(t, &a, 1, "f.json", INO, 10);
	tickets_count(t, &n, &processes, &before);
	for (int i = 0; i < 99999; i++)
		tickets_shown(t, &a, 1, "f.json", INO, 10);
	tickets_count(t, &n, &processes, &bytes);
	cr_assert_eq(n, 1);
	cr_assert_eq(processes, 1);
	cr_assert_eq(bytes, before);

	struct ticket_set *set;
	int used = 0;
	cr_assert_eq(tickets_freeze(t, &a, &set), 0);
	for (;; used++) {
		size_t count;
		cr_assert_eq(tickets_bases(t, set, 1, "f.json", false, &b, &count), 0);
		struct store_save s = { .saved_ino = INO, .version = (uint64_t)(12 + used), .previous = (uint64_t)(11 + used), .base = -1 };
		for (size_t i = 0; i < count; i++)
			if (b[i].version == 10 && !b[i].own_count)
				s.base = (int)i;
		if (s.base < 0)
			break;
		tickets_saved(t, set, 1, "f.json", &s);
	}
	cr_assert_eq(used, 100000);
	ticket_set_free(set);
	tickets_free(t);
}

/* Tickets of many versions: all are known, the oldest and the newest singly. */
Test(ticket, versions_are_joined_in_the_middle)
{
	uint64_t next = 1000, single = 0;
	struct tickets *t = new_tickets(0, 0);
	struct process a = process_of('A', 1);
	const struct store_base *b;

	for (uint64_t v = 1; v <= 1000; v++)
		tickets_shown(t, &a, 1, "f.json", INO, v);
	cr_assert_eq(candidates(t, &a, "f.json", &b), 64);
	for (size_t i = 0; i < 64; i++) {
		cr_assert_eq(b[i].version, next);
		cr_assert(!b[i].oldest || i == 32, "%zu stands for several", i);
		next = (b[i].oldest ? b[i].oldest : b[i].version) - 1;
		single += !b[i].oldest;
	}
	cr_assert_eq(next, 0);
	cr_assert_eq(single, 63);
	cr_assert_eq(bound_count(BOUND_TICKETS), 936);
	candidates(t, NULL, NULL, NULL);
	tickets_free(t);
}

/* 100 threads of a pool read the same two versions: joined, not dropped. */
Test(ticket, same_versions_of_many_threads_are_joined)
{
	struct tickets *t = new_tickets(0, 0);
	const struct store_base *b;

	for (uint64_t v = 10; v <= 11; v++)
		for (int i = 0; i < 99; i++) {
			struct process a = process_of('A', 1);
			a.tid += i;
			tickets_shown(t, &a, 1, "f.json", INO, v);
		}
	struct process a = process_of('A', 1);
	uint64_t n, processes, bytes;
	tickets_count(t, &n, &processes, &bytes);
	cr_assert_leq(n, 64);
	cr_assert_eq(candidates(t, &a, "f.json", &b), 2);
	cr_assert_eq(b[0].version, 11);
	cr_assert_eq(b[1].version, 10);
	candidates(t, NULL, NULL, NULL);
	tickets_free(t);
}

/* A list in memory beside another writer: exact up to a bound; beyond it the newest own versions stay. */
Test(ticket, own_versions)
{
	struct tickets *t = new_tickets(0, 0);
	struct process a = process_of('A', 1);
	struct ticket_set *set;
	const struct store_base *b;
	size_t n;

	tickets_shown(t, &a, 1, "f.json", INO, 1);
	cr_assert_eq(tickets_freeze(t, &a, &set), 0);
	for (uint64_t i = 1; i <= 70000; i++) {
		cr_assert_eq(tickets_bases(t, set, 1, "f.json", false, &b, &n), 0);
		cr_assert_eq(n, 1);
		if (i == 60001) {
			cr_assert_eq(b->own_count, 60000);
			for (uint64_t j = 0; j < 60000; j++)
				cr_assert_eq(b->own[j], 2 * j + 3);
		}
		struct store_save s = { .saved_ino = INO, .version = 2 * i + 1, .previous = 2 * i, .base = 0 };
		tickets_saved(t, set, 1, "f.json", &s);
	}
	cr_assert_eq(tickets_bases(t, set, 1, "f.json", false, &b, &n), 0);
	cr_assert_eq(b->version, 1);
	cr_assert_leq(b->own_count, 65536);
	cr_assert_eq(bound_count(BOUND_OWN), 1);
	cr_assert_eq(b->own[b->own_count - 1], 140001);
	ticket_set_free(set);
	tickets_free(t);
}

/* More than 32 own documents since a handle was opened: the one before stays, and the newest. */
Test(ticket, documents_for_a_handle_long_open)
{
	struct tickets *t = new_tickets(0, 0);
	struct process a = process_of('A', 1);
	struct ticket_set *first, *set;
	const struct store_base *b;
	size_t n;

	cr_assert_eq(tickets_freeze(t, &a, &set), 0);
	for (uint64_t v = 1; v <= 100; v++) {
		struct store_save s = { .saved_ino = INO, .version = v, .previous = v - 1, .base = -1 };
		tickets_saved(t, set, 1, "f.json", &s);
		if (v == 1)
			cr_assert_eq(tickets_freeze(t, &a, &first), 0);
	}
	cr_assert_eq(tickets_bases(t, first, 1, "f.json", false, &b, &n), 0);
	cr_assert_geq(n, 32);
	cr_assert_leq(n, 35);
	cr_assert_eq(b[0].version, 100);
	cr_assert_eq(b[0].flags, STORE_BASE_WRITTEN | STORE_BASE_LATER);
	cr_assert_eq(b[n - 1].version, 1);
	cr_assert_eq(b[n - 1].flags, STORE_BASE_WRITTEN);
	cr_assert_geq(bound_count(BOUND_NEEDED), 60);
	ticket_set_free(first);
	ticket_set_free(set);
	tickets_free(t);
}

static struct process numbered(int i)
{
	return (struct process){ .tid = 100000 + i, .tgid = 100000 + i, .start = 1000, .known = true };
}

Test(ticket, ten_thousand_processes_fit)
{
	struct tickets *t = new_tickets(0, 0);
	const struct store_base *b;
	uint64_t n, processes, bytes;

	for (int i = 0; i < 10000; i++) {
		struct process p = numbered(i);
		tickets_shown(t, &p, 1, "0123456789abcdef.json", INO, 10);
	}
	tickets_count(t, &n, &processes, &bytes);
	cr_assert_eq(n, 10000);
	cr_assert_eq(processes, 10000);
	cr_assert_leq(bytes, 5u << 20);
	for (int i = 0; i < 10000; i++) {
		struct process p = numbered(i);
		cr_assert_eq(candidates(t, &p, "0123456789abcdef.json", &b), 1);
	}
	candidates(t, NULL, NULL, NULL);
	tickets_free(t);
}

static bool forgot(struct tickets *t, const struct process *who, const char *name)
{
	const struct store_base *b;
	struct ticket_set *set;
	size_t n;
	bool found;

	cr_assert_eq(tickets_freeze(t, who, &set), 0);
	cr_assert_eq(tickets_bases(t, set, 1, name, false, &b, &n), 0);
	found = tickets_unseen(set);
	ticket_set_free(set);
	return found;
}

/* Of what a process had seen at a fork the child knows, or that it is not known any more: it is never taken for one that has seen nothing. */
Test(ticket, ended_beyond_their_number_are_not_nothing)
{
	struct tickets *t = new_tickets(0, 0);
	struct process a = process_of('a', 1), b = process_of('b', 1), c = process_of('c', 1);
	struct ticket_set *set;
	const struct store_base *base;
	size_t n;

	cr_assert_eq(tickets_freeze(t, &a, &set), 0);
	for (uint64_t v = 1; v <= 40; v++) {
		struct store_save s = { .saved_ino = INO, .version = v, .previous = v - 1, .base = -1 };

		now_ns += 3 * TICK;
		if (v == 2) {
			world.of['b'].parent = 'a';
			world.of['b'].start = now_ns / TICK;
			b = process_of('b', 1);
			now_ns += 3 * TICK;
		}
		cr_assert_eq(tickets_bases(t, set, 1, "f.json", false, &base, &n), 0);
		tickets_saved(t, set, 1, "f.json", &s);
	}
	cr_assert_gt(bound_count(BOUND_ENDED), 0);
	cr_assert_eq(candidates(t, &b, "f.json", &base), 0);
	cr_assert(forgot(t, &b, "f.json"), "it had its parent's document");
	cr_assert_not(forgot(t, &b, "g.json"));
	cr_assert_not(forgot(t, &c, "f.json"), "nobody's child has seen nothing");
	candidates(t, NULL, NULL, NULL);
	ticket_set_free(set);
	tickets_free(t);
}

/* Memory: bounded; absent names go first, then the longest untouched; a ticket in use stays. */
Test(ticket, memory_is_bounded)
{
	struct tickets *t = new_tickets(0, 64 << 10);
	struct process a = process_of('A', 1);
	const struct store_base *b;
	uint64_t n, processes, bytes;
	char name[32];

	tickets_shown(t, &a, 1, "f.json", INO, 10);
	for (int i = 0; i < 5000; i++) {
		snprintf(name, sizeof name, "t%d.json", i);
		tickets_shown(t, &a, 1, name, 0, 0);
		tickets_count(t, &n, &processes, &bytes);
		cr_assert_leq(bytes, 64 << 10);
	}
	cr_assert_eq(candidates(t, &a, "f.json", &b), 1);
	for (int i = 0; i < 5000; i++) {
		snprintf(name, sizeof name, "r%d.json", i);
		tickets_shown(t, &a, 1, name, INO, 10);
		if (i % 50 == 0)
			tickets_shown(t, &a, 1, "g.json", INO, 10);
	}
	tickets_count(t, &n, &processes, &bytes);
	cr_assert_leq(bytes, 64 << 10);
	cr_assert_eq(candidates(t, &a, "f.json", &b), 0);
	cr_assert(forgot(t, &a, "f.json"), "nothing tells what it had seen of f.json");
	cr_assert_not(forgot(t, &a, "g.json"));
	cr_assert_gt(bound_count(BOUND_MEMORY), 0);
	cr_assert_eq(candidates(t, &a, "g.json", &b), 1);
	cr_assert_eq(candidates(t, &a, "r4999.json", &b), 1);
	candidates(t, NULL, NULL, NULL);
	tickets_free(t);
}

/* A chain of processes, each forked by the one before; the first has read, the others were seen only. */
static bool inherits(unsigned generations)
{
	struct tickets *t = new_tickets(0, 0);
	struct process p = process_of('!', 1);
	const struct store_base *base;
	size_t n;

	tickets_shown(t, &p, 1, "f.json", INO, 10);
	for (int i = '!' + 1; i <= '!' + (int)generations; i++) {
		now_ns += 3 * TICK;
		world.of[i].parent = i - 1;
		world.of[i].start = now_ns / TICK;
		p = process_of(i, 1);
		now_ns += 3 * TICK;
		tickets_shown(t, &p, 1, "other.json", INO + 1, 1);
	}
	n = candidates(t, &p, "f.json", &base);
	cr_assert(n || forgot(t, &p, "f.json"), "after %u generations it is taken for one that has seen nothing", generations);
	candidates(t, NULL, NULL, NULL);
	tickets_free(t);
	return n;
}

Test(ticket, ancestors)
{
	cr_assert(inherits(16));
	cr_assert_eq(bound_count(BOUND_ANCESTORS), 0);
	cr_assert_not(inherits(17));
	cr_assert_gt(bound_count(BOUND_ANCESTORS), 0);
}

static const char *numbered_name(char letter, int i)
{
	static char name[32];

	snprintf(name, sizeof name, "%c%d.json", letter, i);
	return name;
}

/* Reads so many names, of which a few find room. */
static struct tickets *read_names(const struct process *who, int names)
{
	struct tickets *t = new_tickets(0, 64 << 10);

	for (int i = 0; i < names; i++)
		tickets_shown(t, who, 1, numbered_name('x', i), INO, 10);
	return t;
}

/* Of each name that had to go it is known that something had been read, also when it is read again: below the number of marks, at it, and above. */
Test(ticket, marks_of_names_that_went)
{
	static const int numbers[] = { SEEN_FORGOTTEN / 2, SEEN_FORGOTTEN - 1, SEEN_FORGOTTEN, SEEN_FORGOTTEN + 1, 2 * SEEN_FORGOTTEN };
	struct process a = process_of('A', 1);
	const struct store_base *b;

	for (size_t n = 0; n < sizeof numbers / sizeof *numbers; n++) {
		struct tickets *t = read_names(&a, numbers[n]);
		int known = 0;

		for (int i = numbers[n] - 1; i >= 0; i -= 7) {
			const char *name = numbered_name('x', i);

			if (candidates(t, &a, name, &b)) {
				known++;
				continue;
			}
			tickets_shown(t, &a, 1, name, INO, 20);
			cr_assert_eq(candidates(t, &a, name, &b), 0, "%d names: %s, whose older read may be on its way to a save", numbers[n], name);
			cr_assert(forgot(t, &a, name));
		}
		cr_assert(known > 0 && known < 1000, "%d names: %d found room", numbers[n], known);
		candidates(t, NULL, NULL, NULL);
		tickets_free(t);
	}
}

/* Another's names share the marks of those that went: though read they remove no message, until ten minutes have passed. */
Test(ticket, marks_are_shared)
{
	static const struct { int names, least, most; } table[] = { { 0, 0, 20 }, { SEEN_FORGOTTEN / 4, 150, 300 }, { 2 * SEEN_FORGOTTEN, 800, 930 } };
	struct process a = process_of('A', 1), b = process_of('B', 1);
	const struct store_base *base;

	for (size_t n = 0; n < sizeof table / sizeof *table; n++) {
		struct tickets *t = read_names(&a, table[n].names);

		for (int later = 0; later < 2; later++) {
			int shared = 0;

			for (int i = 0; i < 1000; i++) {
				const char *name = numbered_name(later ? 'z' : 'y', i);

				tickets_shown(t, &b, 1, name, INO, 10);
				if (candidates(t, &b, name, &base))
					continue;
				cr_assert(forgot(t, &b, name), "%s has no base, and is not uncertain", name);
				shared++;
			}
			if (!later)
				cr_assert(shared >= table[n].least && shared <= table[n].most, "%d names went: %d of 1000 share a mark", table[n].names, shared);
			else
				cr_assert_leq(shared, 20, "%d of 1000, ten minutes later", shared);
			now_ns += UINT64_C(601000000000);
		}
		candidates(t, NULL, NULL, NULL);
		tickets_free(t);
	}
}

static void fill(struct tickets *t, const struct process *who, int names)
{
	char name[32];

	for (int i = 0; i < names; i++) {
		snprintf(name, sizeof name, "x%d.json", i);
		tickets_shown(t, who, 1, name, INO, 10);
	}
}

/* Two coroutines have read, and one has not saved yet when there is no room: its base is known, or that it is not. Never another's alone. */
Test(ticket, what_may_still_be_saved_from_is_not_replaced)
{
	struct process a = process_of('A', 1), b = process_of('B', 1);
	const struct store_base *base;

	for (int names = 0; names < 2000; names += 7) {
		struct tickets *t = new_tickets(0, 64 << 10);
		bool known = false;

		tickets_shown(t, &a, 1, "f.json", INO, 10);
		tickets_shown(t, &a, 1, "f.json", INO, 12);
		fill(t, &b, names);
		tickets_shown(t, &a, 1, "f.json", INO, 14);
		size_t n = candidates(t, &a, "f.json", &base);
		for (size_t i = 0; i < n; i++)
			known |= base[i].version == 10 || (base[i].oldest && base[i].oldest <= 10 && base[i].version >= 10);
		cr_assert(known || (!n && forgot(t, &a, "f.json")), "%d names: %zu bases, none of them the version that was read", names, n);
		now_ns += UINT64_C(601000000000);
		tickets_shown(t, &a, 1, "f.json", INO, 15);
		cr_assert_gt(candidates(t, &a, "f.json", &base), 0, "ten minutes later what is read counts again");
		candidates(t, NULL, NULL, NULL);
		tickets_free(t);
	}
}

/* A child that had its parent's document, and a handle that is open for long: neither is taken for a writer that has seen nothing. */
Test(ticket, what_ended_is_not_nothing_without_room)
{
	for (int open = 0; open < 2; open++) {
		struct tickets *t = new_tickets(0, 64 << 10);
		struct process a = process_of('a', 1), b = process_of('b', 1), c;
		struct ticket_set *set, *later;
		const struct store_base *base;
		size_t n;

		for (uint64_t v = 1; v <= 2; v++) {
			struct store_save s = { .saved_ino = INO, .version = v, .previous = v - 1, .base = -1 };

			cr_assert_eq(tickets_freeze(t, &a, &later), 0);
			cr_assert_eq(tickets_bases(t, later, 1, "f.json", false, &base, &n), 0);
			tickets_saved(t, later, 1, "f.json", &s);
			ticket_set_free(later);
			now_ns += 3 * TICK;
			if (v == 1) {
				world.of['c'].parent = 'a';
				world.of['c'].start = now_ns / TICK;
				c = process_of('c', 1);
				now_ns += 3 * TICK;
			}
			if (v == 1 && open)
				cr_assert_eq(tickets_freeze(t, &a, &set), 0);
		}
		fill(t, &b, 2000);
		cr_assert_eq(candidates(t, &c, "f.json", &base) ? base[0].version : 1, 1, "the child's base, if it is known");
		cr_assert(candidates(t, &c, "f.json", &base) || forgot(t, &c, "f.json"), "the child had seen something");
		if (open) {
			cr_assert_eq(tickets_bases(t, set, 1, "f.json", false, &base, &n), 0);
			cr_assert(n || tickets_unseen(set), "the open handle was based on something");
			ticket_set_free(set);
		}
		candidates(t, NULL, NULL, NULL);
		tickets_free(t);
	}
}

/* Exited processes are forgotten, at a few questions for each new one, and before anything of living ones. */
Test(ticket, exited_processes_are_forgotten)
{
	struct tickets *t = new_tickets(0, 0);
	struct process a = process_of('a', 1), b = process_of('b', 1);
	uint64_t n, processes, bytes;
	const struct store_base *base;

	tickets_shown(t, &a, 1, "f.json", INO, 10);
	tickets_shown(t, &b, 1, "f.json", INO, 10);
	world.of['a'].exited = true;
	alive_asked = 0;
	for (int i = 0; i < 20; i++) {
		struct process p = numbered(i);
		now_ns += 100 * UINT64_C(1000000000);
		tickets_shown(t, &p, 1, "f.json", INO, 10);
	}
	tickets_count(t, &n, &processes, &bytes);
	cr_assert_eq(processes, 21);
	cr_assert_leq(alive_asked, 60);
	cr_assert_eq(candidates(t, &b, "f.json", &base), 1);
	candidates(t, NULL, NULL, NULL);
	tickets_free(t);
}

Test(ticket, nothing_is_fine)
{
	tickets_free(NULL);
	ticket_set_free(NULL);
	struct tickets *t = new_tickets(1, 1);
	struct process a = process_of('a', 1);
	uint64_t n, processes, bytes;
	const struct store_base *b;

	/* No room at all: never fails, and remembers nothing. */
	tickets_shown(t, &a, 1, "f.json", INO, 10);
	tickets_count(t, &n, &processes, &bytes);
	cr_assert_eq(n, 0);
	cr_assert_eq(candidates(t, &a, "f.json", &b), 0);
	candidates(t, NULL, NULL, NULL);
	tickets_unlinked(t, &a, 1, "f.json");
	tickets_renamed(t, &a, 1, "f.json", 1, "g.json");
	tickets_free(t);
}
