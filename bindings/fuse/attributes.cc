// Requests on attributes: stat, chmod, chown, utimens, truncate, access, links, extended
// attributes.
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "file_system.h"
#include "wire.h"

namespace skerry::fuse {
namespace {

void reply_stat(fuse_req_t req, FileSystem& fs, int64_t result, const struct skerry_stat& stat) {
  if (result < 0) return FileSystem::reply_status(req, result);
  reply_attributes(req, fs.attributes_of(stat), fs.options.attribute_seconds(), &stat);
}

void getattr(fuse_req_t req, fuse_ino_t node, fuse_file_info* fi) {
  FileSystem& fs = FileSystem::of(req);
  if (VirtualFiles::owns(node)) return fs.virtual_files.getattr(req, node);
  const uint64_t ino = fs.ino_of(node);
  struct skerry_stat stat;
  const Op op = kind_of_request() == Kind::kStatx ? Op::kStatx : Op::kGetattr;
  const int64_t result =
      fs.run(req, op, {.ino = ino}, As::kRoot, [&](const skerry_context* context) -> int64_t {
        if (fi != nullptr) return skerry_fstat(opened(fi)->file, context, &stat);
        const int got = skerry_inode_stat(fs.volume, context, ino, &stat);
        if (got != -ESTALE) return got;
        const auto removed = fs.nodes.removed(ino);
        if (!removed) return got;
        stat = *removed;
        return 0;
      });
  reply_stat(req, fs, result, stat);
}

skerry_timespec time_of(const timespec& time) {
  return {time.tv_sec, static_cast<int32_t>(time.tv_nsec), 0};
}

skerry_setattr changes_of(const struct stat& from, int valid) {
  skerry_setattr set = {};
  set.struct_size = sizeof(set);
  const auto take = [&](int theirs, uint32_t ours) {
    if ((valid & theirs) == 0) return false;
    set.valid |= ours;
    return true;
  };
  if (take(FUSE_SET_ATTR_MODE, SKERRY_SET_MODE)) set.mode = from.st_mode & 07777;
  if (take(FUSE_SET_ATTR_UID, SKERRY_SET_UID)) set.uid = from.st_uid;
  if (take(FUSE_SET_ATTR_GID, SKERRY_SET_GID)) set.gid = from.st_gid;
  if (take(FUSE_SET_ATTR_SIZE, SKERRY_SET_SIZE)) set.size = static_cast<uint64_t>(from.st_size);
  if (take(FUSE_SET_ATTR_ATIME, SKERRY_SET_ATIME)) set.atime = time_of(from.st_atim);
  if (take(FUSE_SET_ATTR_MTIME, SKERRY_SET_MTIME)) set.mtime = time_of(from.st_mtim);
  if (take(FUSE_SET_ATTR_ATIME_NOW, SKERRY_SET_ATIME)) set.atime.nsec = SKERRY_UTIME_NOW;
  if (take(FUSE_SET_ATTR_MTIME_NOW, SKERRY_SET_MTIME)) set.mtime.nsec = SKERRY_UTIME_NOW;
  return set;
}

/// Where somebody who is not the owner writes to a set-user-ID file, the kernel takes the bits away
/// by what looks like a chmod(2) of that user. Whoever may write may cause that and nothing else.
bool drops_privileges_alone(uint32_t mode, uint32_t wanted) {
  mode &= 07777;
  return (wanted & ~mode) == 0 && (mode & ~wanted & 01777) == 0;
}

int64_t apply(FileSystem& fs, const skerry_context* context, uint64_t ino, skerry_setattr set,
              struct skerry_stat* stat) {
  const int result = skerry_inode_setattr(fs.volume, context, ino, &set, stat);
  if (result != -EPERM || (set.valid & SKERRY_SET_MODE) == 0) return result;
  // With a size, that was set already.
  if (skerry_inode_stat(fs.volume, context, ino, stat) < 0) return result;
  if (!drops_privileges_alone(stat->mode, set.mode)) return result;
  const bool may_write =
      fs.options.default_permissions || skerry_inode_access(fs.volume, context, ino, W_OK) == 0;
  if (!may_write) return result;
  skerry_context root = *context;
  root.uid = 0;
  const uint32_t rest = set.valid & ~(SKERRY_SET_MODE | SKERRY_SET_SIZE);
  set.valid = SKERRY_SET_MODE;
  const int dropped = skerry_inode_setattr(fs.volume, &root, ino, &set, stat);
  if (dropped < 0 || rest == 0) return dropped;
  set.valid = rest;
  return skerry_inode_setattr(fs.volume, context, ino, &set, stat);
}

void setattr(fuse_req_t req, fuse_ino_t node, struct stat* attributes, int valid,
             fuse_file_info* fi) {
  FileSystem& fs = FileSystem::of(req);
  if (VirtualFiles::owns(node)) return FileSystem::reply_status(req, -EPERM);
  const uint64_t ino = fs.ino_of(node);
  skerry_setattr changes = changes_of(*attributes, valid);
  struct skerry_stat stat;
  // Where the kernel gathers writes it keeps the times, and hands them on later by whoever happens
  // to close or cut the file. Only then a change time comes along; who may set times it has
  // checked.
  const bool kept_times = fs.options.writeback && (valid & FUSE_SET_ATTR_CTIME) != 0;
  const int64_t result = fs.run(
      req, Op::kSetattr, {.ino = ino}, As::kCaller, [&](const skerry_context* context) -> int64_t {
        // ftruncate(2): what was allowed when the file was opened stays allowed. Through a handle
        // for reading the kernel cuts a file that was opened with O_TRUNC.
        const bool by_handle = fi != nullptr && opened(fi)->writable;
        if (by_handle && (changes.valid & SKERRY_SET_SIZE) != 0) {
          const int cut = skerry_ftruncate(opened(fi)->file, context, changes.size);
          if (cut < 0) return cut;
          changes.valid &= ~SKERRY_SET_SIZE;
        }
        if (!kept_times) return apply(fs, context, ino, changes, &stat);
        if ((changes.valid & SKERRY_SET_SIZE) != 0) {
          skerry_setattr size = changes;
          size.valid = SKERRY_SET_SIZE;
          const int64_t cut = apply(fs, context, ino, size, &stat);
          if (cut < 0) return cut;
          changes.valid &= ~SKERRY_SET_SIZE;
        }
        skerry_context root = *context;
        root.uid = 0;
        return apply(fs, &root, ino, changes, &stat);
      });
  reply_stat(req, fs, result, stat);
}

void access(fuse_req_t req, fuse_ino_t node, int mask) {
  FileSystem& fs = FileSystem::of(req);
  if (VirtualFiles::owns(node)) return fs.virtual_files.access(req, node, mask);
  const uint64_t ino = fs.ino_of(node);
  const int64_t result =
      fs.run(req, Op::kAccess, {.ino = ino}, As::kCaller, [&](const skerry_context* context) {
        return skerry_inode_access(fs.volume, context, ino, mask & 7);
      });
  FileSystem::reply_status(req, result);
}

void readlink(fuse_req_t req, fuse_ino_t node) {
  FileSystem& fs = FileSystem::of(req);
  const uint64_t ino = fs.ino_of(node);
  std::array<char, 4097> target;
  const int64_t result =
      fs.run(req, Op::kReadlink, {.ino = ino}, As::kRoot, [&](const skerry_context* context) {
        return skerry_inode_readlink(fs.volume, context, ino, target.data(), target.size() - 1);
      });
  if (result < 0) return FileSystem::reply_status(req, result);
  target[static_cast<size_t>(result)] = '\0';
  fuse_reply_readlink(req, target.data());
}

void setxattr(fuse_req_t req, fuse_ino_t node, const char* name, const char* value, size_t size,
              int flags) {
  static_assert(XATTR_CREATE == SKERRY_XATTR_CREATE && XATTR_REPLACE == SKERRY_XATTR_REPLACE);
  FileSystem& fs = FileSystem::of(req);
  if (VirtualFiles::owns(node)) return FileSystem::reply_status(req, -EPERM);
  const uint64_t ino = fs.ino_of(node);
  const int64_t result =
      fs.run(req, Op::kSetxattr, {.ino = ino, .name = name}, As::kCaller,
             [&](const skerry_context* context) {
               return skerry_inode_setxattr(fs.volume, context, ino, name, value, size, flags);
             });
  FileSystem::reply_status(req, result);
}

/// The two calls that give a size or bytes. `call(context, buffer, capacity)`.
void reply_bytes(fuse_req_t req, FileSystem& fs, Op op, const Arguments& arguments, size_t capacity,
                 const auto& call) {
  thread_local std::vector<char> buffer;
  buffer.resize(std::max(buffer.size(), std::min<size_t>(capacity, 64 << 10)));
  const size_t room = std::min(capacity, buffer.size());
  const int64_t result =
      fs.run(req, op, arguments, As::kCaller, [&](const skerry_context* context) {
        return call(context, room == 0 ? nullptr : buffer.data(), room);
      });
  if (result < 0) return FileSystem::reply_status(req, result);
  if (capacity == 0) {
    fuse_reply_xattr(req, static_cast<size_t>(result));
  } else {
    fuse_reply_buf(req, buffer.data(), static_cast<size_t>(result));
  }
}

void getxattr(fuse_req_t req, fuse_ino_t node, const char* name, size_t capacity) {
  FileSystem& fs = FileSystem::of(req);
  if (VirtualFiles::owns(node)) return FileSystem::reply_status(req, -ENODATA);
  const uint64_t ino = fs.ino_of(node);
  reply_bytes(req, fs, Op::kGetxattr, {.ino = ino, .name = name}, capacity,
              [&](const skerry_context* context, char* buffer, size_t room) {
                return skerry_inode_getxattr(fs.volume, context, ino, name, buffer, room);
              });
}

void listxattr(fuse_req_t req, fuse_ino_t node, size_t capacity) {
  FileSystem& fs = FileSystem::of(req);
  if (VirtualFiles::owns(node)) return FileSystem::reply_status(req, -ENOTSUP);
  const uint64_t ino = fs.ino_of(node);
  reply_bytes(req, fs, Op::kListxattr, {.ino = ino}, capacity,
              [&](const skerry_context* context, char* buffer, size_t room) {
                return skerry_inode_listxattr(fs.volume, context, ino, buffer, room);
              });
}

void removexattr(fuse_req_t req, fuse_ino_t node, const char* name) {
  FileSystem& fs = FileSystem::of(req);
  if (VirtualFiles::owns(node)) return FileSystem::reply_status(req, -EPERM);
  const uint64_t ino = fs.ino_of(node);
  // The kernel checks who may end a file's capabilities, and does so itself, in the name of whoever
  // is about to change the file.
  const bool capability = std::string_view(name) == "security.capability";
  const As as = capability ? As::kRoot : As::kCaller;
  const int64_t result = fs.run(req, Op::kRemovexattr, {.ino = ino, .name = name}, as,
                                [&](const skerry_context* context) {
                                  return skerry_inode_removexattr(fs.volume, context, ino, name);
                                });
  FileSystem::reply_status(req, result);
}

}  // namespace

void add_attribute_operations(fuse_lowlevel_ops* table) {
  table->getattr = getattr;
  table->setattr = setattr;
  table->access = access;
  table->readlink = readlink;
  table->setxattr = setxattr;
  table->getxattr = getxattr;
  table->listxattr = listxattr;
  table->removexattr = removexattr;
}

}  // namespace skerry::fuse
