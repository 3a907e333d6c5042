/* skerry.h is C11 without extensions, and every struct has the layout of version 0.1. */
#include <skerry/skerry.h>

#define AT(type, member, offset) \
  _Static_assert(offsetof(type, member) == (offset), #type "." #member " moved")
#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), #type " changed its size")

AT(skerry_context, uid, 4);
AT(skerry_context, groups, 16);
AT(skerry_context, timeout_ms, 28);
AT(skerry_context, cancel, 32);
SIZE(skerry_context, 40);
SIZE(skerry_timespec, 16);
AT(struct skerry_stat, version, 8);
AT(struct skerry_stat, mode, 16);
AT(struct skerry_stat, rdev, 32);
AT(struct skerry_stat, size, 40);
AT(struct skerry_stat, blksize, 56);
AT(struct skerry_stat, atime, 64);
AT(struct skerry_stat, btime, 112);
SIZE(struct skerry_stat, 128);
AT(struct skerry_statvfs, block_bytes, 32);
SIZE(struct skerry_statvfs, 40);
SIZE(struct skerry_iovec, 16);
SIZE(struct skerry_counter, 16);
AT(struct skerry_dirent, type, 12);
AT(struct skerry_dirent, stat, 24);
SIZE(struct skerry_dirent, 152);
SIZE(skerry_view, 24);
AT(struct skerry_read_request, result, 40);
SIZE(struct skerry_read_request, 48);
AT(struct skerry_write_request, result, 28);
SIZE(struct skerry_write_request, 32);
AT(struct skerry_request, file, 8);
AT(struct skerry_request, flags, 48);
AT(struct skerry_request, user_data, 56);
SIZE(struct skerry_request, 72);
SIZE(struct skerry_completion, 24);
SIZE(struct skerry_gc_options, 8);
SIZE(struct skerry_gc_result, 72);
SIZE(struct skerry_fsck_options, 8);
SIZE(struct skerry_fsck_result, 72);
AT(struct skerry_setattr, mode, 8);
AT(struct skerry_setattr, size, 24);
AT(struct skerry_setattr, mtime, 48);
SIZE(struct skerry_setattr, 64);
AT(struct skerry_lock, start, 8);
AT(struct skerry_lock, owner, 24);
SIZE(struct skerry_lock, 40);
AT(struct skerry_store_check, advice, 16);
SIZE(struct skerry_store_check, 24);
AT(struct skerry_store_rate, object_bytes, 16);
SIZE(struct skerry_store_rate, 56);

const char* version_seen_from_c(void);
const char* version_seen_from_c(void) { return skerry_version(); }
