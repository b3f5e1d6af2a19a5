/* historyfs: mounts a store. Arguments, the daemon, the mount point; what happens to files is in ops.c. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "draft.h"
#include "import.h"
#include "log.h"
#include "mountpoint.h"
#include "ops.h"
#include "reject.h"

static const char usage_text[] =
	"usage: historyfs [options] STORE MOUNTPOINT\n"
	"\n"
	"Shows the sessions kept in STORE as JSON files in MOUNTPOINT. STORE is made when there is none.\n"
	"\n"
	"  -f                       stay in the foreground, log to stderr\n"
	"  -d                       the same, and print every request\n"
	"  --import                 take in the files beneath the mount point; at later mounts, what changed there since\n"
	"  -o durability=commit     a save is on disk when close() returns (default)\n"
	"  -o durability=delayed=MS visible at once, on disk within MS milliseconds\n"
	"  -o cache=SIZE            memory for indexes of sessions (default 64M)\n"
	"  -o memory=SIZE           memory for documents that are being written; more lies in the store's directory (default 256M)\n"
	"  -o rejected=SIZE         keep refused documents up to this size in all, and 1000 of them (default 256M)\n"
	"  -o max_document=SIZE     refuse larger documents (default 256M)\n"
	"  -o ticket_ttl=SECONDS    how long a reader counts as the base of a save (default 3600)\n"
	"  -o merge=auto|keep|edit  where an edit and a second append can't be told by the calls: as the evidence says\n"
	"                           (default); keep both always; take it as an edit always\n"
	"  -o power=save            let CPUs sleep while requests come: saves take longer\n"
	"  -o ro                    read-only\n"
	"  -o allow_other           other users may enter; permissions are checked\n"
	"  -o fsname=NAME           the source that mount tables show (default: the path of STORE)\n"
	"  -h, --help; -V, --version\n"
	"\n"
	"Unmount with: fusermount3 -u MOUNTPOINT. Sessions: historyctl(1). More: historyfs(8).\n";

struct arguments {
	struct options options;
	char *durability, *delayed, *merge, *power, *cache, *max_document, *memory, *rejected, *fsname;
	int help, version, debug;
};

#define OPTION(text, field) { text, offsetof(struct arguments, field), 1 }

static const struct fuse_opt option_table[] = {
	OPTION("-f", options.foreground),
	OPTION("-d", debug),
	OPTION("debug", debug),
	OPTION("--import", options.import),
	OPTION("import", options.import),
	OPTION("ro", options.read_only),
	OPTION("allow_other", options.allow_other),
	OPTION("durability=%s", durability),
	OPTION("delayed=%s", delayed),
	OPTION("merge=%s", merge),
	OPTION("power=%s", power),
	OPTION("cache=%s", cache),
	OPTION("max_document=%s", max_document),
	OPTION("memory=%s", memory),
	OPTION("rejected=%s", rejected),
	OPTION("ticket_ttl=%u", options.ticket_ttl),
	OPTION("fsname=%s", fsname),
	OPTION("-h", help),
	OPTION("--help", help),
	OPTION("-V", version),
	OPTION("--version", version),
	/* What mount(8) adds for fstab's sake. */
	FUSE_OPT_KEY("auto", FUSE_OPT_KEY_DISCARD),
	FUSE_OPT_KEY("noauto", FUSE_OPT_KEY_DISCARD),
	FUSE_OPT_KEY("user", FUSE_OPT_KEY_DISCARD),
	FUSE_OPT_KEY("nouser", FUSE_OPT_KEY_DISCARD),
	FUSE_OPT_KEY("users", FUSE_OPT_KEY_DISCARD),
	FUSE_OPT_KEY("_netdev", FUSE_OPT_KEY_DISCARD),
	FUSE_OPT_KEY("nofail", FUSE_OPT_KEY_DISCARD),
	FUSE_OPT_KEY("defaults", FUSE_OPT_KEY_DISCARD),
	FUSE_OPT_END
};

static int take_argument(void *data, const char *arg, int key, struct fuse_args *out)
{
	struct arguments *a = data;
	char **to;

	if (key != FUSE_OPT_KEY_NONOPT)
		return 1;
	to = !a->options.store ? &a->options.store : !a->options.mountpoint ? &a->options.mountpoint : NULL;
	if (!to) {
		fprintf(stderr, "historyfs: too many arguments: %s\n", arg);
		return -1;
	}
	*to = strdup(arg);
	return *to ? 0 : -1;
}

/* 1024, 64M, 2g. */
static bool parse_size(const char *text, uint64_t *ret)
{
	static const char units[] = "kmgt";
	unsigned long long n;
	const char *unit;
	char *end;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno || end == text || *text == '-')
		return false;
	if (*end) {
		unit = strchr(units, *end | 0x20);
		if (!unit || end[1])
			return false;
		for (long i = 0; i <= unit - units; i++) {
			if (n > UINT64_MAX / 1024)
				return false;
			n *= 1024;
		}
	}
	*ret = n;
	return n != 0;
}

static bool parse_delay(const char *text, unsigned *ret)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (end == text || *end || *text == '-' || !n || n > 3600000)
		return false;
	*ret = n;
	return true;
}

static int bad(const char *what, const char *value, const char *wanted)
{
	fprintf(stderr, "historyfs: %s=%s: expected %s\n", what, value, wanted);
	return -1;
}

static int check_arguments(struct arguments *a)
{
	struct options *o = &a->options;
	const char *delay = a->delayed;

	if (o->import && o->read_only) {
		fprintf(stderr, "historyfs: --import and -o ro exclude each other: what is taken in must be stored\n");
		return -1;
	}
	if (!o->store || !o->mountpoint) {
		fprintf(stderr, "historyfs: STORE and MOUNTPOINT are needed\n%s", usage_text);
		return -1;
	}
	if (a->durability && strncmp(a->durability, "delayed=", 8) == 0)
		delay = a->durability + 8;
	else if (a->durability && strcmp(a->durability, "commit") != 0)
		return bad("durability", a->durability, "commit or delayed=MS");
	if (delay && !parse_delay(delay, &o->delay_ms))
		return bad("delayed", delay, "a number of milliseconds from 1 to 3600000");
	if (a->merge && strcmp(a->merge, "auto") != 0 && strcmp(a->merge, "keep") != 0 && strcmp(a->merge, "edit") != 0)
		return bad("merge", a->merge, "auto, keep or edit");
	if (a->merge)
		o->merge = *a->merge == 'k' ? MERGE_KEEP : *a->merge == 'e' ? MERGE_EDIT : MERGE_AUTO;
	if (a->power && strcmp(a->power, "save") != 0 && strcmp(a->power, "speed") != 0)
		return bad("power", a->power, "speed or save");
	o->power_save = a->power && strcmp(a->power, "save") == 0;
	if (a->cache && !parse_size(a->cache, &o->cache))
		return bad("cache", a->cache, "a size such as 64M");
	o->memory = o->rejected = 256 << 20;
	if (a->memory && (!parse_size(a->memory, &o->memory) || o->memory < 64 << 10))
		return bad("memory", a->memory, "a size from 64K up, such as 256M");
	if (a->rejected && !parse_size(a->rejected, &o->rejected))
		return bad("rejected", a->rejected, "a size such as 256M");
	o->max_document = 256 << 20;
	if (a->max_document && (!parse_size(a->max_document, &o->max_document) || o->max_document > 1ull << 30))
		return bad("max_document", a->max_document, "a size up to 1G, such as 256M");
	if (a->debug)
		o->foreground = 1;
	return 0;
}

/* ---- Starting ------------------------------------------------------------------------------------------------- */

/* The daemon's first words to whoever started it: nothing when it is up, else why not. */
static int ready_pipe[2] = { -1, -1 };

static void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void complain(const char *format, ...)
{
	char text[8192] = "historyfs: ";
	size_t used = strlen(text);
	va_list args;

	va_start(args, format);
	vsnprintf(text + used, sizeof(text) - used, format, args);
	va_end(args);
	fprintf(stderr, "%s\n", text);
}

static void ready(struct mount *m)
{
	char ok = 0;

	if (m->ready_fd < 0)
		return;
	if (write(m->ready_fd, &ok, 1) != 1)
		log_line(LOG_WARNING, "could not tell the caller that the mount is up");
	close(m->ready_fd);
	m->ready_fd = -1;
	/* From here on the terminal is no business of ours. */
	if (!freopen("/dev/null", "r", stdin) || !freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr))
		log_line(LOG_WARNING, "could not leave the terminal");
	log_to_syslog();
}

/* Returns in the child; the parent waits for the child's word and exits. */
static int become_daemon(void)
{
	char ok;
	pid_t pid;
	int status;

	if (pipe2(ready_pipe, O_CLOEXEC))
		return -errno;
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid > 0) {
		close(ready_pipe[1]);
		if (read(ready_pipe[0], &ok, 1) == 1)
			_exit(0);
		_exit(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : 1);
	}
	close(ready_pipe[0]);
	setsid();
	/* So that it keeps no filesystem busy. All paths are absolute by now. */
	return chdir("/") ? -errno : 0;
}

static int open_store(struct mount *m)
{
	const struct options *o = &m->options;
	char reason[1024] = "";
	struct store_options how = {
		.create = !o->read_only, .read_only = o->read_only, .cache_size = o->cache, .max_document = o->max_document,
		.delay_ms = o->delay_ms, .reason = reason, .reason_size = sizeof(reason),
	};
	int err = store_open(o->store, &how, &m->store);

	if (err && *reason)
		complain("%s: refused: %s", o->store, reason);
	else if (err == -ENOENT && o->read_only)
		complain("%s: there is no store here, and a read-only mount makes none", o->store);
	else if (err == -EPROTO)
		complain("%s: %s of historyfs; update historyfs, or mount an older copy of the store", o->store, store_strerror(err));
	else if (err == -EUCLEAN)
		complain("%s: %s; `historyctl --store %s verify` tells more, and `export --salvage DIR` saves what is whole", o->store,
			 store_strerror(err), o->store);
	else if (err == -EROFS || err == -EACCES || err == -EPERM)
		complain("%s: %s; the store's directory must be writable, or mount with -o ro", o->store, store_strerror(err));
	else if (err)
		complain("%s: can't open the store: %s", o->store, store_strerror(err));
	else if (store_damage(m->store))
		log_line(LOG_ERR, "%s: %s", o->store, store_damage(m->store));
	return err;
}

static void mount_release(struct mount *m)
{
	struct handle *h;

	while (m->inodes && (h = inodes_any(m->inodes)))
		handle_free(m, h);
	asides_free(m->asides);
	temps_free(m->temps);
	tickets_free(m->tickets);
	processes_free(m->processes);
	inodes_free(m->inodes);
	shown_free(m->shown);
	renamed_free(m->renamed);
	looked_free(m->looked);
	gone_free(m->gone);
	epoch_free(m->epoch);
	rejects_free(m->rejects);
	loop_free(m->loop);
	store_close(m->store);
}

static int mount_prepare(struct mount *m)
{
	int err = open_store(m);

	if (err)
		return err;
	drafts_begin(m->store, m->options.memory);
	clock_gettime(CLOCK_REALTIME, &m->started);
	m->owner = getuid();
	m->owner_group = getgid();
	err = inodes_new(&m->inodes);
	if (!err)
		err = processes_new(0, &m->processes);
	if (!err)
		err = tickets_new(m->processes, m->options.ticket_ttl, 0, &m->tickets);
	if (!err && m->options.merge == MERGE_AUTO)
		tickets_weigh(m->tickets);
	if (!err)
		err = temps_new(&m->temps);
	if (!err)
		err = shown_new(&m->shown);
	if (!err)
		err = renamed_new(&m->renamed);
	if (!err)
		err = asides_new(m, &m->asides);
	if (!err)
		err = looked_new(&m->looked);
	if (!err)
		err = gone_new(&m->gone);
	if (!err)
		err = epoch_new(0, &m->epoch);
	if (!err)
		err = rejects_new(&m->rejects);
	if (!err)
		err = loop_new(!m->options.power_save, &m->loop);
	if (!err)
		m->self = processes_identify(m->processes, getpid());
	if (err)
		complain("%s", store_strerror(err));
	else if (m->options.import)
		err = import_beneath(m->store, m->options.mountpoint);
	return err;
}

/* Minor number of the mount's device, 0 if it is not told. It must not ask ourselves. */
static unsigned device_of(const char *mountpoint)
{
	struct statx s;

	return statx(AT_FDCWD, mountpoint, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, 0, &s) ? 0 : s.stx_dev_minor;
}

static int serve(struct mount *m, struct fuse_args *args)
{
	struct fuse_session *session;
	int err = 1;

	session = fuse_session_new(args, &fs_operations, sizeof(fs_operations), m);
	if (!session) {
		complain("the options were not understood; see historyfs --help");
		goto out;
	}
	if (fuse_set_signal_handlers(session)) {
		complain("can't set signal handlers");
		goto out;
	}
	if (fuse_session_mount(session, m->options.mountpoint)) {
		complain("%s: can't mount%s", m->options.mountpoint, mountpoint_hint());
		goto handlers;
	}
	m->device = device_of(m->options.mountpoint);
	err = loop_run(m->loop, session, io_lost);
	if (err)
		log_line(LOG_ERR, "the connection to the kernel failed: %s", strerror(-err));
	/* The saves that wait are committed and answered while there is still someone to answer. */
	if (store_drain(m->store)) {
		log_line(LOG_ERR, "not everything could be taken to disk");
		err = 1;
	}
	log_rest(true);
	fuse_session_unmount(session);
handlers:
	fuse_remove_signal_handlers(session);
out:
	if (session)
		fuse_session_destroy(session);
	return err ? 1 : 0;
}

/* Adds -oNAME=VALUE, or -oNAME. A comma in the value would end the option. */
static int add_option(struct fuse_args *args, const char *name, const char *value)
{
	char text[2 * PATH_MAX + 32];
	size_t used = snprintf(text, 32, "-o%s%s", name, value ? "=" : "");

	for (; value && *value && used + 3 < sizeof(text); value++) {
		if (*value == ',' || *value == '\\')
			text[used++] = '\\';
		text[used++] = *value;
	}
	text[used] = 0;
	return fuse_opt_add_arg(args, text);
}

/* Each document that is too large for memory while it is written needs a descriptor. */
static void allow_files(void)
{
	struct rlimit r;

	if (!getrlimit(RLIMIT_NOFILE, &r) && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
}

/* The path from the root on, links in it unresolved. */
static int from_root(const char *path, char ret[PATH_MAX])
{
	if (*path == '/')
		*ret = 0;
	else if (!getcwd(ret, PATH_MAX))
		return -1;
	if (strlen(ret) + 1 + strlen(path) >= PATH_MAX) {
		errno = ENAMETOOLONG;
		return -1;
	}
	if (*path != '/')
		strcat(ret, "/");
	strcat(ret, path);
	return 0;
}

static int run(struct arguments *a, struct fuse_args *args)
{
	struct mount m = { .options = a->options, .ready = ready, .ready_fd = -1 };
	char store[PATH_MAX], given[PATH_MAX], where[PATH_MAX];
	int err;

	err = mountpoint_check(a->options.mountpoint, where);
	if (err)
		return 1;
	if (mountpoint_absolute(a->options.store, store) || from_root(a->options.store, given)) {
		complain("%s: %s", a->options.store, strerror(errno));
		return 1;
	}
	m.options.mountpoint = where;
	/* As it was given: the store looks at whose the links in it are. */
	m.options.store = given;
	if (mountpoint_contains(where, store)) {
		complain("%s: the store lies inside the directory it would be mounted over; put it beside it", store);
		return 1;
	}
	if (add_option(args, "fsname", a->fsname ? a->fsname : store) || add_option(args, "subtype", "historyfs") ||
	    (a->options.read_only && add_option(args, "ro", NULL)) || (a->debug && add_option(args, "debug", NULL)) ||
	    (a->options.allow_other && (add_option(args, "allow_other", NULL) || add_option(args, "default_permissions", NULL))))
		return 1;
	if (!a->options.foreground) {
		err = become_daemon();
		if (err) {
			complain("can't become a daemon: %s", strerror(-err));
			return 1;
		}
		m.ready_fd = ready_pipe[1];
	}
	umask(0);
	allow_files();
	/* A heap for each of many threads would keep what each once needed; these few keep some room, so as not to ask for it at each save. */
	mallopt(M_ARENA_MAX, 4);
	mallopt(M_TRIM_THRESHOLD, 2 << 20);
	mallopt(M_MMAP_THRESHOLD, 1 << 20);
	err = mount_prepare(&m) ? 1 : serve(&m, args);
	mount_release(&m);
	return err;
}

int main(int argc, char **argv)
{
	struct fuse_args args = FUSE_ARGS_INIT(argc, argv);
	struct arguments a = { 0 };
	int status = 2;

	if (fuse_opt_parse(&args, &a, option_table, take_argument) == 0) {
		if (a.help) {
			fputs(usage_text, stdout);
			status = 0;
		} else if (a.version) {
			printf("historyfs %s, libfuse %s\n", HISTORYFS_VERSION, fuse_pkgversion());
			status = 0;
		} else if (check_arguments(&a) == 0) {
			status = run(&a, &args);
		}
	}
	free(a.options.store);
	free(a.options.mountpoint);
	free(a.durability);
	free(a.delayed);
	free(a.merge);
	free(a.power);
	free(a.cache);
	free(a.max_document);
	free(a.memory);
	free(a.rejected);
	free(a.fsname);
	fuse_opt_free_args(&args);
	return status;
}
