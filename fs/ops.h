/* The filesystem's operations: resolve, call, reply once. */
#ifndef FS_OPS_H
#define FS_OPS_H

#include "handle.h"

extern const struct fuse_lowlevel_ops fs_operations;

/* attr.c: attributes for the kernel. */
void attr_stat(const struct store_attr *a, struct stat *st);
/* How long the kernel may use what it is told, in seconds. */
double attr_timeout(const struct store_attr *a);
void attr_entry(const struct store_attr *a, struct fuse_entry_param *e);
/*
 * The same for a listing: that of a session which nobody has just made or saved is believed to be where it is for a moment, so that
 * `ls -l` costs one request a file. Its attributes are not: sizes are exact.
 */
void attr_listed(struct mount *m, const struct store_attr *a, struct fuse_entry_param *e);
/*
 * Before a file is renamed: waits until the kernel believes of no name that it is this one because it was listed. What is renamed may
 * become a version of another file, or give its name back to one, of which the kernel knows nothing.
 */
void attr_unlist(struct mount *m, uint64_t parent, const char *name);
/* Attributes as this process is to see them: of a file it is writing the size of its draft. */
int attr_for(struct mount *m, const struct process *who, uint64_t ino, struct store_attr *ret);

/* io.c */
void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi);
void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t offset, struct fuse_file_info *fi);
void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
/*
 * A write, or change of size, through this handle was answered with an error though something is missing in the document now; or (`flush`) a
 * flush before it got here: then what has been written must not come later, when its writer goes on otherwise.
 */
void io_lost(uint64_t fh, bool flush);
/* ftruncate through a handle, or truncate by path (h NULL). 0 or an error. */
int io_truncate(struct mount *m, const struct process *who, const struct store_attr *a, struct handle *h, uint64_t size);

/* dir.c */
/* Before the caller does something with a name that it may see otherwise than others, or (NULL) with a directory. */
void op_settle(fuse_req_t req, uint64_t parent, const char *name);
void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);

#endif
