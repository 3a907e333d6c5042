// Names: everything that takes a path and makes, finds, moves or removes what it names.
#include <sys/stat.h>

#include <algorithm>

#include "capi/call.h"
#include "vfs/namespace.h"

namespace skerry::capi {
namespace {

skerry_timespec time_of(TimeNs ns) {
  TimeNs sec = ns / kSecond;
  TimeNs rest = ns % kSecond;
  if (rest < 0) {  // before 1970
    sec--;
    rest += kSecond;
  }
  return {sec, static_cast<int32_t>(rest), 0};
}

constexpr int kLookupFlags = SKERRY_AT_SYMLINK_NOFOLLOW | SKERRY_AT_EMPTY_PATH;

Status check_flags(int flags, int known) {
  if ((flags & ~known) != 0) return Error(EINVAL, "flags that the call does not know");
  return {};
}

vfs::Lookup lookup_of(int flags) {
  return {(flags & SKERRY_AT_SYMLINK_NOFOLLOW) == 0, (flags & SKERRY_AT_EMPTY_PATH) != 0};
}

/// The frame of a call on one path below `at`.
template <typename Body>
int64_t on_path(const char* name, skerry_volume* volume, const skerry_context* context,
                skerry_file* at, const char* path, Body&& body) noexcept {
  return on_volume(
      {name, path}, volume, context,
      [&](const OpContext& ctx, VolumeState& state)
          -> decltype(body(ctx, state, std::declval<const vfs::Handle*>(), std::string_view())) {
        if (path == nullptr) return null_argument("the path");
        SKERRY_ASSIGN(const vfs::Handle* dir, handle_of(at));
        return body(ctx, state, dir, view_of(path));
      });
}

int stat_path(const char* name, skerry_volume* volume, const skerry_context* context,
              skerry_file* at, const char* path, struct skerry_stat* out, int flags) {
  return static_cast<int>(on_path(name, volume, context, at, path,
                                  [&](const OpContext& ctx, VolumeState& state,
                                      const vfs::Handle* dir, std::string_view p) -> Status {
                                    if (out == nullptr) return null_argument("the result");
                                    SKERRY_TRY(check_flags(flags, kLookupFlags));
                                    auto attr =
                                        vfs::stat(ctx, *state.volume, dir, p, lookup_of(flags));
                                    if (!attr.ok()) return std::move(attr).error();
                                    fill_stat(*attr, *state.volume, out);
                                    return {};
                                  }));
}

}  // namespace

uint32_t type_bits(meta::FileType type) {
  switch (type) {
    case meta::FileType::kDirectory:
      return S_IFDIR;
    case meta::FileType::kSymlink:
      return S_IFLNK;
    case meta::FileType::kFifo:
      return S_IFIFO;
    case meta::FileType::kSocket:
      return S_IFSOCK;
    case meta::FileType::kCharDevice:
      return S_IFCHR;
    case meta::FileType::kBlockDevice:
      return S_IFBLK;
    case meta::FileType::kRegular:
      break;
  }
  return S_IFREG;
}

namespace {

uint32_t attributes_of(const meta::Attributes& attr, const meta::Meta& meta) {
  constexpr uint32_t kSome = meta::kFlagXattrs | meta::kFlagAccessAcl | meta::kFlagDefaultAcl;
  uint32_t attributes = 0;
  if ((attr.flags & kSome) == 0 && meta.keeps_file_flags()) attributes |= SKERRY_ATTR_NO_XATTRS;
  if ((attr.flags & meta::kFlagImmutable) != 0) attributes |= SKERRY_ATTR_IMMUTABLE;
  if ((attr.flags & meta::kFlagAppendOnly) != 0) attributes |= SKERRY_ATTR_APPEND;
  return attributes;
}

}  // namespace

void fill_stat(const meta::Attributes& attr, vfs::Volume& volume, struct skerry_stat* out) {
  out->ino = attr.ino;
  out->version = attr.version;
  out->mode = type_bits(attr.type) | attr.mode;
  out->nlink = attr.nlink;
  out->uid = attr.uid;
  out->gid = attr.gid;
  out->rdev = attr.rdev;
  out->size = attr.length;
  out->blocks = (attr.length + 511) / 512;
  out->blksize = volume.format().block_bytes;
  out->attributes = attributes_of(attr, volume.meta());
  out->atime = time_of(attr.atime_ns);
  out->mtime = time_of(attr.mtime_ns);
  out->ctime = time_of(attr.ctime_ns);
  out->btime = time_of(attr.btime_ns);
}

}  // namespace skerry::capi

using namespace skerry;        // NOLINT: the entries of a C ABI have no namespace of their own
using namespace skerry::capi;  // NOLINT

extern "C" {

int skerry_stat(skerry_volume* volume, const skerry_context* context, const char* path,
                struct skerry_stat* out) {
  return stat_path("skerry_stat", volume, context, nullptr, path, out, 0);
}

int skerry_lstat(skerry_volume* volume, const skerry_context* context, const char* path,
                 struct skerry_stat* out) {
  return stat_path("skerry_lstat", volume, context, nullptr, path, out, SKERRY_AT_SYMLINK_NOFOLLOW);
}

int skerry_fstatat(skerry_volume* volume, const skerry_context* context, skerry_file* at,
                   const char* path, struct skerry_stat* out, int flags) {
  return stat_path("skerry_fstatat", volume, context, at, path, out, flags);
}

int skerry_access(skerry_volume* volume, const skerry_context* context, const char* path,
                  int mode) {
  return skerry_faccessat(volume, context, nullptr, path, mode, 0);
}

int skerry_faccessat(skerry_volume* volume, const skerry_context* context, skerry_file* at,
                     const char* path, int mode, int flags) {
  return static_cast<int>(
      on_path("skerry_faccessat", volume, context, at, path,
              [&](const OpContext& ctx, VolumeState& state, const vfs::Handle* dir,
                  std::string_view p) -> Status {
                SKERRY_TRY(check_flags(flags, kLookupFlags | SKERRY_AT_EACCESS));
                if ((mode & ~7) != 0) return Error(EINVAL, "a mode that does not exist");
                return vfs::access(ctx, *state.volume, dir, p, static_cast<unsigned>(mode),
                                   lookup_of(flags));
              }));
}

int skerry_mkdir(skerry_volume* volume, const skerry_context* context, const char* path,
                 uint32_t mode) {
  return skerry_mkdirat(volume, context, nullptr, path, mode);
}

int skerry_mkdirat(skerry_volume* volume, const skerry_context* context, skerry_file* at,
                   const char* path, uint32_t mode) {
  return static_cast<int>(
      on_path("skerry_mkdir", volume, context, at, path,
              [&](const OpContext& ctx, VolumeState& state, const vfs::Handle* dir,
                  std::string_view p) { return vfs::mkdir(ctx, *state.volume, dir, p, mode); }));
}

int skerry_mkdirs(skerry_volume* volume, const skerry_context* context, const char* path,
                  uint32_t mode) {
  return static_cast<int>(
      on_path("skerry_mkdirs", volume, context, nullptr, path,
              [&](const OpContext& ctx, VolumeState& state, const vfs::Handle*,
                  std::string_view p) { return vfs::mkdirs(ctx, *state.volume, p, mode); }));
}

int skerry_mknod(skerry_volume* volume, const skerry_context* context, const char* path,
                 uint32_t mode, uint64_t rdev) {
  return skerry_mknodat(volume, context, nullptr, path, mode, rdev);
}

int skerry_mknodat(skerry_volume* volume, const skerry_context* context, skerry_file* at,
                   const char* path, uint32_t mode, uint64_t rdev) {
  return static_cast<int>(on_path(
      "skerry_mknod", volume, context, at, path,
      [&](const OpContext& ctx, VolumeState& state, const vfs::Handle* dir, std::string_view p) {
        return vfs::mknod(ctx, *state.volume, dir, p, mode, rdev);
      }));
}

int skerry_unlink(skerry_volume* volume, const skerry_context* context, const char* path) {
  return skerry_unlinkat(volume, context, nullptr, path, 0);
}

int skerry_rmdir(skerry_volume* volume, const skerry_context* context, const char* path) {
  return skerry_unlinkat(volume, context, nullptr, path, SKERRY_AT_REMOVEDIR);
}

int skerry_unlinkat(skerry_volume* volume, const skerry_context* context, skerry_file* at,
                    const char* path, int flags) {
  const bool directory = (flags & SKERRY_AT_REMOVEDIR) != 0;
  return static_cast<int>(on_path(directory ? "skerry_rmdir" : "skerry_unlink", volume, context, at,
                                  path,
                                  [&](const OpContext& ctx, VolumeState& state,
                                      const vfs::Handle* dir, std::string_view p) -> Status {
                                    SKERRY_TRY(check_flags(flags, SKERRY_AT_REMOVEDIR));
                                    return directory ? vfs::rmdir(ctx, *state.volume, dir, p)
                                                     : vfs::unlink(ctx, *state.volume, dir, p);
                                  }));
}

int skerry_symlink(skerry_volume* volume, const skerry_context* context, const char* target,
                   const char* path) {
  return skerry_symlinkat(volume, context, target, nullptr, path);
}

int skerry_symlinkat(skerry_volume* volume, const skerry_context* context, const char* target,
                     skerry_file* at, const char* path) {
  return static_cast<int>(on_path("skerry_symlink", volume, context, at, path,
                                  [&](const OpContext& ctx, VolumeState& state,
                                      const vfs::Handle* dir, std::string_view p) -> Status {
                                    if (target == nullptr) return null_argument("the target");
                                    return vfs::symlink(ctx, *state.volume, view_of(target), dir,
                                                        p);
                                  }));
}

int64_t skerry_readlink(skerry_volume* volume, const skerry_context* context, const char* path,
                        char* buffer, size_t capacity) {
  return skerry_readlinkat(volume, context, nullptr, path, buffer, capacity);
}

int64_t skerry_readlinkat(skerry_volume* volume, const skerry_context* context, skerry_file* at,
                          const char* path, char* buffer, size_t capacity) {
  return on_path("skerry_readlink", volume, context, at, path,
                 [&](const OpContext& ctx, VolumeState& state, const vfs::Handle* dir,
                     std::string_view p) -> Result<int64_t> {
                   if (buffer == nullptr) return null_argument("the buffer");
                   if (capacity == 0) return Error(EINVAL, "a capacity of zero");
                   SKERRY_ASSIGN(std::string target, vfs::readlink(ctx, *state.volume, dir, p));
                   size_t length = std::min(target.size(), capacity);
                   std::memcpy(buffer, target.data(), length);
                   return static_cast<int64_t>(length);
                 });
}

int skerry_link(skerry_volume* volume, const skerry_context* context, const char* from,
                const char* to) {
  return skerry_linkat(volume, context, nullptr, from, nullptr, to, 0);
}

int skerry_linkat(skerry_volume* volume, const skerry_context* context, skerry_file* from_at,
                  const char* from, skerry_file* to_at, const char* to, int flags) {
  return static_cast<int>(on_volume(
      {"skerry_link", from, to}, volume, context,
      [&](const OpContext& ctx, VolumeState& state) -> Status {
        if (from == nullptr || to == nullptr) return null_argument("a path");
        SKERRY_TRY(check_flags(flags, SKERRY_AT_SYMLINK_FOLLOW | SKERRY_AT_EMPTY_PATH));
        SKERRY_ASSIGN(const vfs::Handle* from_dir, handle_of(from_at));
        SKERRY_ASSIGN(const vfs::Handle* to_dir, handle_of(to_at));
        vfs::Lookup how{(flags & SKERRY_AT_SYMLINK_FOLLOW) != 0,
                        (flags & SKERRY_AT_EMPTY_PATH) != 0};
        return vfs::link(ctx, *state.volume, from_dir, view_of(from), to_dir, view_of(to), how);
      }));
}

int skerry_rename(skerry_volume* volume, const skerry_context* context, const char* from,
                  const char* to) {
  return skerry_renameat2(volume, context, nullptr, from, nullptr, to, 0);
}

int skerry_renameat2(skerry_volume* volume, const skerry_context* context, skerry_file* from_at,
                     const char* from, skerry_file* to_at, const char* to, unsigned flags) {
  static_assert(SKERRY_RENAME_NOREPLACE == meta::kRenameNoReplace &&
                SKERRY_RENAME_EXCHANGE == meta::kRenameExchange);
  return static_cast<int>(on_volume(
      {"skerry_rename", from, to}, volume, context,
      [&](const OpContext& ctx, VolumeState& state) -> Status {
        if (from == nullptr || to == nullptr) return null_argument("a path");
        SKERRY_ASSIGN(const vfs::Handle* from_dir, handle_of(from_at));
        SKERRY_ASSIGN(const vfs::Handle* to_dir, handle_of(to_at));
        return vfs::rename(ctx, *state.volume, from_dir, view_of(from), to_dir, view_of(to), flags);
      }));
}

}  // extern "C"
