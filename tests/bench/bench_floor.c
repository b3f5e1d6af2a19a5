/*
 * The floor of the protocol: a filesystem of one file, served from memory in one piece. Stays in the foreground.
 *
 *	bench_floor MOUNTPOINT SIZE
 */
#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#include "bench.h"

#include <sys/stat.h>

#define FILE_INO 2

static struct {
	char *bytes;
	size_t size;
} file;

static bool attributes(fuse_ino_t ino, struct stat *st)
{
	*st = (struct stat){ .st_ino = ino, .st_mode = ino == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0644, .st_nlink = 1,
			     .st_size = ino == FILE_INO ? file.size : 0 };
	return ino == FUSE_ROOT_ID || ino == FILE_INO;
}

static void on_init(void *userdata, struct fuse_conn_info *conn)
{
	conn->want &= ~FUSE_CAP_AUTO_INVAL_DATA;
}

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param e = { .ino = FILE_INO };

	if (parent != FUSE_ROOT_ID || strcmp(name, "file") != 0) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	attributes(FILE_INO, &e.attr);
	fuse_reply_entry(req, &e);
}

static void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;

	if (attributes(ino, &st))
		fuse_reply_attr(req, &st, 0);
	else
		fuse_reply_err(req, ENOENT);
}

static void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	fi->direct_io = 1;
	fi->noflush = 1;
	fuse_reply_open(req, fi);
}

static void on_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	size_t left = (size_t)offset < file.size ? file.size - offset : 0;
	struct iovec piece = { file.bytes + (left ? offset : 0), left < size ? left : size };

	fuse_reply_iov(req, &piece, 1);
}

static const struct fuse_lowlevel_ops operations = {
	.init = on_init,
	.lookup = on_lookup,
	.getattr = on_getattr,
	.open = on_open,
	.read = on_read,
};

int main(int argc, char **argv)
{
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	struct fuse_session *session;
	int err;

	if (argc != 3)
		die("usage: bench_floor MOUNTPOINT SIZE");
	file.size = number(argv[2]);
	file.bytes = malloc(file.size + 1);
	session = fuse_session_new(&args, &operations, sizeof(operations), NULL);
	if (!file.bytes || !config || !session)
		die("can't start");
	memset(file.bytes, 'x', file.size);
	if (fuse_set_signal_handlers(session) || fuse_session_mount(session, argv[1]))
		die("%s: can't mount", argv[1]);
	fuse_loop_cfg_set_clone_fd(config, 0);
	fuse_loop_cfg_set_max_threads(config, 64);
	fuse_loop_cfg_set_idle_threads(config, 32);
	err = fuse_session_loop_mt(session, config);
	fuse_session_unmount(session);
	fuse_remove_signal_handlers(session);
	fuse_session_destroy(session);
	fuse_loop_cfg_destroy(config);
	fuse_opt_free_args(&args);
	free(file.bytes);
	return err < 0;
}
