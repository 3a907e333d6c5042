// ioctl(2): the inode flags of lsattr(1) and chattr(1).
#include <linux/fs.h>

#include <cstring>

#include "file_system.h"

namespace skerry::fuse {
namespace {

static_assert(SKERRY_ATTR_IMMUTABLE == FS_IMMUTABLE_FL && SKERRY_ATTR_APPEND == FS_APPEND_FL);
constexpr uint32_t kFlags = SKERRY_ATTR_IMMUTABLE | SKERRY_ATTR_APPEND;

void reply_flags(fuse_req_t req, FileSystem& fs, uint64_t ino, const auto& reply) {
  struct skerry_stat stat;
  const int64_t result =
      fs.run(req, Op::kIoctl, {.ino = ino}, As::kRoot, [&](const skerry_context* context) {
        return skerry_inode_stat(fs.volume, context, ino, &stat);
      });
  if (result < 0) return FileSystem::reply_status(req, result);
  reply(stat.attributes & kFlags);
}

void set_flags(fuse_req_t req, FileSystem& fs, uint64_t ino, uint32_t flags) {
  const int64_t result =
      fs.run(req, Op::kIoctl, {.ino = ino}, As::kCaller, [&](const skerry_context* context) {
        skerry_setattr set = {};
        set.struct_size = sizeof(set);
        set.valid = SKERRY_SET_FLAGS;
        set.flags = flags;
        return skerry_inode_setattr(fs.volume, context, ino, &set, nullptr);
      });
  if (result < 0) return FileSystem::reply_status(req, result);
  fuse_reply_ioctl(req, 0, nullptr, 0);
}

/// The two forms, that of ext2 and that of XFS, have the same flags at different places.
uint32_t from_xflags(uint32_t xflags) {
  uint32_t flags = (xflags & FS_XFLAG_IMMUTABLE) != 0 ? SKERRY_ATTR_IMMUTABLE : 0;
  if ((xflags & FS_XFLAG_APPEND) != 0) flags |= SKERRY_ATTR_APPEND;
  return flags;
}

void ioctl(fuse_req_t req, fuse_ino_t node, unsigned command, void*, fuse_file_info*, unsigned kind,
           const void* input, size_t input_size, size_t output_size) {
  FileSystem& fs = FileSystem::of(req);
  if (VirtualFiles::owns(node) || (kind & FUSE_IOCTL_UNRESTRICTED) != 0) {
    return FileSystem::reply_status(req, -ENOTTY);
  }
  const uint64_t ino = fs.ino_of(node);
  // The commands say "long"; what passes is an int, everywhere.
  uint32_t flags = 0;
  fsxattr extended = {};
  switch (command) {
    case FS_IOC_GETFLAGS:
      if (output_size < sizeof(flags)) break;
      return reply_flags(req, fs, ino,
                         [&](uint32_t now) { fuse_reply_ioctl(req, 0, &now, sizeof(now)); });
    case FS_IOC_SETFLAGS:
      if (input_size < sizeof(flags)) break;
      std::memcpy(&flags, input, sizeof(flags));
      return set_flags(req, fs, ino, flags);
    case FS_IOC_FSGETXATTR:
      if (output_size < sizeof(extended)) break;
      return reply_flags(req, fs, ino, [&](uint32_t now) {
        if ((now & SKERRY_ATTR_IMMUTABLE) != 0) extended.fsx_xflags |= FS_XFLAG_IMMUTABLE;
        if ((now & SKERRY_ATTR_APPEND) != 0) extended.fsx_xflags |= FS_XFLAG_APPEND;
        fuse_reply_ioctl(req, 0, &extended, sizeof(extended));
      });
    case FS_IOC_FSSETXATTR:
      if (input_size < sizeof(extended)) break;
      std::memcpy(&extended, input, sizeof(extended));
      if ((extended.fsx_xflags & ~(FS_XFLAG_IMMUTABLE | FS_XFLAG_APPEND)) != 0 ||
          extended.fsx_extsize != 0 || extended.fsx_projid != 0 || extended.fsx_cowextsize != 0) {
        return FileSystem::reply_status(req, -EOPNOTSUPP);
      }
      return set_flags(req, fs, ino, from_xflags(extended.fsx_xflags));
    default:
      return FileSystem::reply_status(req, -ENOTTY);
  }
  FileSystem::reply_status(req, -EINVAL);
}

}  // namespace

void add_ioctl_operations(fuse_lowlevel_ops* table) { table->ioctl = ioctl; }

}  // namespace skerry::fuse
