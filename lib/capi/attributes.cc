// Changing attributes: mode, owner, times, length, extended attributes.
#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "capi/call.h"
#include "vfs/confirm.h"
#include "vfs/inode_calls.h"
#include "vfs/namespace.h"

namespace skerry::capi {
namespace {

constexpr int kNoFollow = SKERRY_AT_SYMLINK_NOFOLLOW;

Status check_flags(int flags, int known) {
  if ((flags & ~known) != 0) return Error(EINVAL, "flags that the call does not know");
  return {};
}

meta::SetAttributes owner(uint32_t uid, uint32_t gid) {
  meta::SetAttributes set;
  if (uid != UINT32_MAX) set.uid = uid;
  if (gid != UINT32_MAX) set.gid = gid;
  return set;
}

Result<meta::SetAttributes> inode_flags(uint32_t flags) {
  meta::SetAttributes set;
  set.inode_flags = 0;
  if ((flags & SKERRY_ATTR_IMMUTABLE) != 0) *set.inode_flags |= meta::kFlagImmutable;
  if ((flags & SKERRY_ATTR_APPEND) != 0) *set.inode_flags |= meta::kFlagAppendOnly;
  if ((flags & ~(SKERRY_ATTR_IMMUTABLE | SKERRY_ATTR_APPEND)) != 0) {
    return Error(ENOTSUP, "inode flags that are not supported");
  }
  return set;
}

/// Times that 64 bits of nanoseconds cannot hold become the nearest that they can, as the kernel
/// does for its file systems.
TimeNs clamped(const skerry_timespec& time) {
  constexpr TimeNs kMost = std::numeric_limits<TimeNs>::max() / kSecond - 1;
  return std::clamp(time.sec, -kMost, kMost) * kSecond + time.nsec;
}

Status read_time(const skerry_timespec& time, std::optional<TimeNs>* value, bool* now) {
  if (time.nsec == SKERRY_UTIME_OMIT) return {};
  if (time.nsec == SKERRY_UTIME_NOW) {
    *now = true;
    return {};
  }
  if (time.nsec < 0 || time.nsec > 999'999'999) {
    return Error(EINVAL, "nsec is not between 0 and 999,999,999");
  }
  *value = clamped(time);
  return {};
}

Result<meta::SetAttributes> times_of(const skerry_timespec* times) {
  meta::SetAttributes set;
  if (times == nullptr) {
    set.atime_now = set.mtime_now = true;
    return set;
  }
  SKERRY_TRY(read_time(times[0], &set.atime_ns, &set.atime_now));
  SKERRY_TRY(read_time(times[1], &set.mtime_ns, &set.mtime_now));
  return set;
}

Result<meta::SetAttributes> changes_of(const struct skerry_setattr& from) {
  constexpr uint32_t kKnown = SKERRY_SET_MODE | SKERRY_SET_UID | SKERRY_SET_GID | SKERRY_SET_SIZE |
                              SKERRY_SET_ATIME | SKERRY_SET_MTIME | SKERRY_SET_FLAGS;
  if (from.struct_size < sizeof(from)) {
    return Error(EINVAL, "skerry_setattr.struct_size is not set to sizeof(struct skerry_setattr)");
  }
  if ((from.valid & ~kKnown) != 0) return Error(EINVAL, "attributes that do not exist");
  meta::SetAttributes set;
  if ((from.valid & SKERRY_SET_FLAGS) != 0) {
    SKERRY_ASSIGN(set, inode_flags(from.flags));
  }
  if ((from.valid & SKERRY_SET_MODE) != 0) set.mode = from.mode & 07777;
  if ((from.valid & SKERRY_SET_UID) != 0) set.uid = from.uid;
  if ((from.valid & SKERRY_SET_GID) != 0) set.gid = from.gid;
  if ((from.valid & SKERRY_SET_ATIME) != 0) {
    SKERRY_TRY(read_time(from.atime, &set.atime_ns, &set.atime_now));
  }
  if ((from.valid & SKERRY_SET_MTIME) != 0) {
    SKERRY_TRY(read_time(from.mtime, &set.mtime_ns, &set.mtime_now));
  }
  return set;
}

bool changes_nothing(const meta::SetAttributes& set) {
  return !set.atime_ns && !set.mtime_ns && !set.atime_now && !set.mtime_now;
}

/// The frame of a call on the file at a path.
template <typename Body>
int64_t on_found(const char* name, skerry_volume* volume, const skerry_context* context,
                 skerry_file* at, const char* path, int flags, Body&& body) noexcept {
  return on_volume(
      {name, path}, volume, context,
      [&](const OpContext& ctx, VolumeState& state)
          -> decltype(body(ctx, *state.volume, std::declval<const meta::Attributes&>())) {
        if (path == nullptr) return null_argument("the path");
        SKERRY_TRY(check_flags(flags, kNoFollow | SKERRY_AT_EMPTY_PATH));
        SKERRY_ASSIGN(const vfs::Handle* dir, handle_of(at));
        vfs::Lookup how{(flags & kNoFollow) == 0, (flags & SKERRY_AT_EMPTY_PATH) != 0};
        vfs::Volume& opened = *state.volume;
        return vfs::confirmed(ctx, opened.meta(), [&](const OpContext& by) {
          return vfs::on_found(
              by, opened, dir, view_of(path), how,
              [&](const meta::Attributes& attr) { return body(by, opened, attr); });
        });
      });
}

int set_on_path(const char* name, skerry_volume* volume, const skerry_context* context,
                skerry_file* at, const char* path, int flags, const meta::SetAttributes& set) {
  return static_cast<int>(on_found(
      name, volume, context, at, path, flags,
      [&](const OpContext& ctx, vfs::Volume& opened, const meta::Attributes& attr) -> Status {
        if (set.mode && attr.type == meta::FileType::kSymlink) {
          return Error(ENOTSUP, "the mode of a symbolic link cannot be changed");
        }
        return vfs::set_attributes(ctx, opened, attr.ino, set);
      }));
}

int set_on_file(const char* name, skerry_file* file, const skerry_context* context,
                const meta::SetAttributes& set) {
  return static_cast<int>(
      on_file({name}, file, context, [&](const OpContext& ctx, vfs::Handle& handle) -> Status {
        SKERRY_TRY(handle.check_not_path());
        return vfs::set_attributes(ctx, handle.volume(), handle.ino(), set);
      }));
}

// ---- extended attributes

Result<meta::XattrMode> xattr_mode(int flags) {
  switch (flags & ~kNoFollow) {
    case 0:
      return meta::XattrMode::kSet;
    case SKERRY_XATTR_CREATE:
      return meta::XattrMode::kCreate;
    case SKERRY_XATTR_REPLACE:
      return meta::XattrMode::kReplace;
    default:
      return Error(EINVAL, "flags that the call does not know");
  }
}

/// xattr(7): a name that is empty or too long is ERANGE.
Result<std::string_view> xattr_name(const char* name) {
  if (name == nullptr) return null_argument("the attribute's name");
  std::string_view view(name, strnlen(name, meta::kMaxXattrNameBytes + 1));
  if (view.empty() || view.size() > meta::kMaxXattrNameBytes) {
    return Error(ERANGE, "the attribute's name is empty or longer than 255 bytes");
  }
  return view;
}

Status set_xattr(const OpContext& ctx, vfs::Volume& volume, meta::Ino ino, const char* name,
                 const void* value, size_t size, int flags) {
  SKERRY_ASSIGN(meta::XattrMode mode, xattr_mode(flags));
  SKERRY_ASSIGN(std::string_view checked, xattr_name(name));
  if (value == nullptr && size > 0) return null_argument("the value");
  if (size > meta::kMaxXattrValueBytes) return Error(E2BIG, "the value is larger than 64 KiB");
  SKERRY_TRY(volume.check_writable());
  volume.heartbeat_if_due();
  std::string_view bytes(static_cast<const char*>(value), size);
  return vfs::confirmed(ctx, volume.meta(), [&](const OpContext& by) {
    return meta::set_xattr(by, volume.meta(), ino, checked, bytes, mode);
  });
}

Result<int64_t> copy_out(std::string_view bytes, void* out, size_t capacity) {
  if (capacity == 0) return static_cast<int64_t>(bytes.size());
  if (out == nullptr) return null_argument("the buffer");
  if (bytes.size() > capacity) return Error(ERANGE, "the buffer is too small");
  if (!bytes.empty()) std::memcpy(out, bytes.data(), bytes.size());
  return static_cast<int64_t>(bytes.size());
}

Result<int64_t> get_xattr(const OpContext& ctx, vfs::Volume& volume, meta::Ino ino,
                          const char* name, void* value, size_t capacity) {
  SKERRY_ASSIGN(std::string_view checked, xattr_name(name));
  SKERRY_ASSIGN(std::string bytes, meta::get_xattr(ctx, volume.meta(), ino, checked));
  return copy_out(bytes, value, capacity);
}

Result<int64_t> list_xattrs(const OpContext& ctx, vfs::Volume& volume, meta::Ino ino, char* list,
                            size_t capacity) {
  SKERRY_ASSIGN(std::vector<std::string> names, meta::list_xattrs(ctx, volume.meta(), ino));
  std::string joined;
  for (const std::string& name : names) joined.append(name).push_back('\0');
  return copy_out(joined, list, capacity);
}

Status remove_xattr(const OpContext& ctx, vfs::Volume& volume, meta::Ino ino, const char* name) {
  SKERRY_ASSIGN(std::string_view checked, xattr_name(name));
  SKERRY_TRY(volume.check_writable());
  volume.heartbeat_if_due();
  return vfs::confirmed(ctx, volume.meta(), [&](const OpContext& by) {
    return meta::remove_xattr(by, volume.meta(), ino, checked);
  });
}

}  // namespace
}  // namespace skerry::capi

using namespace skerry;        // NOLINT: the entries of a C ABI have no namespace of their own
using namespace skerry::capi;  // NOLINT

extern "C" {

int skerry_chmod(skerry_volume* volume, const skerry_context* context, const char* path,
                 uint32_t mode) {
  return skerry_fchmodat(volume, context, nullptr, path, mode, 0);
}

int skerry_fchmodat(skerry_volume* volume, const skerry_context* context, skerry_file* at,
                    const char* path, uint32_t mode, int flags) {
  meta::SetAttributes set;
  set.mode = mode & 07777;
  return set_on_path("skerry_chmod", volume, context, at, path, flags, set);
}

int skerry_fchmod(skerry_file* file, const skerry_context* context, uint32_t mode) {
  meta::SetAttributes set;
  set.mode = mode & 07777;
  return set_on_file("skerry_fchmod", file, context, set);
}

int skerry_chown(skerry_volume* volume, const skerry_context* context, const char* path,
                 uint32_t uid, uint32_t gid) {
  return skerry_fchownat(volume, context, nullptr, path, uid, gid, 0);
}

int skerry_lchown(skerry_volume* volume, const skerry_context* context, const char* path,
                  uint32_t uid, uint32_t gid) {
  return skerry_fchownat(volume, context, nullptr, path, uid, gid, kNoFollow);
}

int skerry_fchownat(skerry_volume* volume, const skerry_context* context, skerry_file* at,
                    const char* path, uint32_t uid, uint32_t gid, int flags) {
  return set_on_path("skerry_chown", volume, context, at, path, flags, owner(uid, gid));
}

int skerry_fchown(skerry_file* file, const skerry_context* context, uint32_t uid, uint32_t gid) {
  return set_on_file("skerry_fchown", file, context, owner(uid, gid));
}

int skerry_setflags(skerry_volume* volume, const skerry_context* context, const char* path,
                    uint32_t flags) {
  return static_cast<int>(on_found(
      "skerry_setflags", volume, context, nullptr, path, 0,
      [&](const OpContext& ctx, vfs::Volume& opened, const meta::Attributes& attr) -> Status {
        SKERRY_ASSIGN(meta::SetAttributes set, inode_flags(flags));
        return vfs::set_attributes(ctx, opened, attr.ino, set);
      }));
}

int skerry_fsetflags(skerry_file* file, const skerry_context* context, uint32_t flags) {
  return static_cast<int>(on_file({"skerry_fsetflags"}, file, context,
                                  [&](const OpContext& ctx, vfs::Handle& handle) -> Status {
                                    SKERRY_TRY(handle.check_not_path());
                                    SKERRY_ASSIGN(meta::SetAttributes set, inode_flags(flags));
                                    return vfs::set_attributes(ctx, handle.volume(), handle.ino(),
                                                               set);
                                  }));
}

int skerry_utimens(skerry_volume* volume, const skerry_context* context, const char* path,
                   const skerry_timespec times[2]) {
  return skerry_utimensat(volume, context, nullptr, path, times, 0);
}

int skerry_utimensat(skerry_volume* volume, const skerry_context* context, skerry_file* at,
                     const char* path, const skerry_timespec times[2], int flags) {
  return static_cast<int>(on_found(
      "skerry_utimens", volume, context, at, path, flags,
      [&](const OpContext& ctx, vfs::Volume& opened, const meta::Attributes& attr) -> Status {
        SKERRY_ASSIGN(meta::SetAttributes set, times_of(times));
        if (changes_nothing(set)) return {};
        return vfs::set_attributes(ctx, opened, attr.ino, set);
      }));
}

int skerry_futimens(skerry_file* file, const skerry_context* context,
                    const skerry_timespec times[2]) {
  return static_cast<int>(on_file(
      {"skerry_futimens"}, file, context, [&](const OpContext& ctx, vfs::Handle& handle) -> Status {
        SKERRY_TRY(handle.check_not_path());
        SKERRY_ASSIGN(meta::SetAttributes set, times_of(times));
        if (changes_nothing(set)) return {};
        return vfs::set_attributes(ctx, handle.volume(), handle.ino(), set);
      }));
}

int skerry_truncate(skerry_volume* volume, const skerry_context* context, const char* path,
                    uint64_t length) {
  return static_cast<int>(on_volume({"skerry_truncate", path}, volume, context,
                                    [&](const OpContext& ctx, VolumeState& state) -> Status {
                                      if (path == nullptr) return null_argument("the path");
                                      return vfs::truncate(ctx, *state.volume, view_of(path),
                                                           length);
                                    }));
}

int skerry_setxattr(skerry_volume* volume, const skerry_context* context, const char* path,
                    const char* name, const void* value, size_t size, int flags) {
  return static_cast<int>(
      on_found("skerry_setxattr", volume, context, nullptr, path, flags & kNoFollow,
               [&](const OpContext& ctx, vfs::Volume& opened, const meta::Attributes& attr) {
                 return set_xattr(ctx, opened, attr.ino, name, value, size, flags);
               }));
}

int64_t skerry_getxattr(skerry_volume* volume, const skerry_context* context, const char* path,
                        const char* name, void* value, size_t capacity, int flags) {
  return on_found("skerry_getxattr", volume, context, nullptr, path, flags,
                  [&](const OpContext& ctx, vfs::Volume& opened, const meta::Attributes& attr) {
                    return get_xattr(ctx, opened, attr.ino, name, value, capacity);
                  });
}

int64_t skerry_listxattr(skerry_volume* volume, const skerry_context* context, const char* path,
                         char* list, size_t capacity, int flags) {
  return on_found("skerry_listxattr", volume, context, nullptr, path, flags,
                  [&](const OpContext& ctx, vfs::Volume& opened, const meta::Attributes& attr) {
                    return list_xattrs(ctx, opened, attr.ino, list, capacity);
                  });
}

int skerry_removexattr(skerry_volume* volume, const skerry_context* context, const char* path,
                       const char* name, int flags) {
  return static_cast<int>(
      on_found("skerry_removexattr", volume, context, nullptr, path, flags,
               [&](const OpContext& ctx, vfs::Volume& opened, const meta::Attributes& attr) {
                 return remove_xattr(ctx, opened, attr.ino, name);
               }));
}

int skerry_fsetxattr(skerry_file* file, const skerry_context* context, const char* name,
                     const void* value, size_t size, int flags) {
  return static_cast<int>(on_file({"skerry_fsetxattr"}, file, context,
                                  [&](const OpContext& ctx, vfs::Handle& handle) -> Status {
                                    SKERRY_TRY(handle.check_not_path());
                                    return set_xattr(ctx, handle.volume(), handle.ino(), name,
                                                     value, size, flags & ~kNoFollow);
                                  }));
}

int64_t skerry_fgetxattr(skerry_file* file, const skerry_context* context, const char* name,
                         void* value, size_t capacity) {
  return on_file({"skerry_fgetxattr"}, file, context,
                 [&](const OpContext& ctx, vfs::Handle& handle) -> Result<int64_t> {
                   SKERRY_TRY(handle.check_not_path());
                   return get_xattr(ctx, handle.volume(), handle.ino(), name, value, capacity);
                 });
}

int64_t skerry_flistxattr(skerry_file* file, const skerry_context* context, char* list,
                          size_t capacity) {
  return on_file({"skerry_flistxattr"}, file, context,
                 [&](const OpContext& ctx, vfs::Handle& handle) -> Result<int64_t> {
                   SKERRY_TRY(handle.check_not_path());
                   return list_xattrs(ctx, handle.volume(), handle.ino(), list, capacity);
                 });
}

int skerry_fremovexattr(skerry_file* file, const skerry_context* context, const char* name) {
  return static_cast<int>(on_file({"skerry_fremovexattr"}, file, context,
                                  [&](const OpContext& ctx, vfs::Handle& handle) -> Status {
                                    SKERRY_TRY(handle.check_not_path());
                                    return remove_xattr(ctx, handle.volume(), handle.ino(), name);
                                  }));
}

int skerry_inode_setattr(skerry_volume* volume, const skerry_context* context, uint64_t ino,
                         const struct skerry_setattr* set, struct skerry_stat* out) {
  return static_cast<int>(on_volume({"skerry_inode_setattr"}, volume, context,
                                    [&](const OpContext& ctx, VolumeState& state) -> Status {
                                      if (set == nullptr) return null_argument("the attributes");
                                      SKERRY_ASSIGN(meta::SetAttributes changes, changes_of(*set));
                                      std::optional<uint64_t> length;
                                      if ((set->valid & SKERRY_SET_SIZE) != 0) length = set->size;
                                      SKERRY_ASSIGN(
                                          meta::Attributes after,
                                          vfs::inode_set(ctx, *state.volume, ino, length, changes));
                                      if (out != nullptr) {
                                        fill_stat(after, *state.volume, out);
                                      }
                                      return {};
                                    }));
}

int skerry_inode_setxattr(skerry_volume* volume, const skerry_context* context, uint64_t ino,
                          const char* name, const void* value, size_t size, int flags) {
  return static_cast<int>(on_volume(
      {"skerry_inode_setxattr"}, volume, context, [&](const OpContext& ctx, VolumeState& state) {
        return set_xattr(ctx, *state.volume, ino, name, value, size, flags & ~kNoFollow);
      }));
}

int64_t skerry_inode_getxattr(skerry_volume* volume, const skerry_context* context, uint64_t ino,
                              const char* name, void* value, size_t capacity) {
  return on_volume({"skerry_inode_getxattr"}, volume, context,
                   [&](const OpContext& ctx, VolumeState& state) {
                     return get_xattr(ctx, *state.volume, ino, name, value, capacity);
                   });
}

int64_t skerry_inode_listxattr(skerry_volume* volume, const skerry_context* context, uint64_t ino,
                               char* list, size_t capacity) {
  return on_volume({"skerry_inode_listxattr"}, volume, context,
                   [&](const OpContext& ctx, VolumeState& state) {
                     return list_xattrs(ctx, *state.volume, ino, list, capacity);
                   });
}

int skerry_inode_removexattr(skerry_volume* volume, const skerry_context* context, uint64_t ino,
                             const char* name) {
  return static_cast<int>(on_volume({"skerry_inode_removexattr"}, volume, context,
                                    [&](const OpContext& ctx, VolumeState& state) {
                                      return remove_xattr(ctx, *state.volume, ino, name);
                                    }));
}

}  // extern "C"
