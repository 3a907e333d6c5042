// Calls by inode number and single name. Those on attributes are in attributes.cc.
#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "capi/call.h"
#include "vfs/inode_calls.h"

namespace skerry::capi {
namespace {

/// One byte more than a name may have tells that it is too long.
std::string_view name_of(const char* name) {
  return {name, strnlen(name, meta::kMaxNameBytes + 1)};
}

void put_stat(const VolumeState& state, const meta::Attributes& attr, struct skerry_stat* out) {
  if (out != nullptr) fill_stat(attr, *state.volume, out);
}

/// The frame of a call that ends with a file's attributes.
template <typename Body>
int attributes_call(const char* call, skerry_volume* volume, const skerry_context* context,
                    const char* name, struct skerry_stat* out, Body&& body) noexcept {
  return static_cast<int>(on_volume(
      {call, name}, volume, context, [&](const OpContext& ctx, VolumeState& state) -> Status {
        if (name == nullptr) return null_argument("the name");
        SKERRY_ASSIGN(meta::Attributes attr, body(ctx, *state.volume, name_of(name)));
        put_stat(state, attr, out);
        return {};
      }));
}

}  // namespace
}  // namespace skerry::capi

using namespace skerry;        // NOLINT: the entries of a C ABI have no namespace of their own
using namespace skerry::capi;  // NOLINT

extern "C" {

int skerry_inode_lookup(skerry_volume* volume, const skerry_context* context, uint64_t dir,
                        const char* name, struct skerry_stat* out) {
  return attributes_call("skerry_inode_lookup", volume, context, name, out,
                         [&](const OpContext& ctx, vfs::Volume& opened, std::string_view n) {
                           return vfs::inode_lookup(ctx, opened, dir, n);
                         });
}

int skerry_inode_stat(skerry_volume* volume, const skerry_context* context, uint64_t ino,
                      struct skerry_stat* out) {
  return attributes_call("skerry_inode_stat", volume, context, "", out,
                         [&](const OpContext& ctx, vfs::Volume& opened, std::string_view) {
                           return vfs::inode_stat(ctx, opened, ino);
                         });
}

int skerry_inode_access(skerry_volume* volume, const skerry_context* context, uint64_t ino,
                        int mode) {
  return static_cast<int>(on_volume({"skerry_inode_access"}, volume, context,
                                    [&](const OpContext& ctx, VolumeState& state) -> Status {
                                      if ((mode & ~7) != 0)
                                        return Error(EINVAL, "a mode that does not exist");
                                      return vfs::inode_access(ctx, *state.volume, ino,
                                                               static_cast<unsigned>(mode));
                                    }));
}

int skerry_inode_open(skerry_volume* volume, const skerry_context* context, uint64_t ino, int flags,
                      skerry_file** file) {
  if (file != nullptr) *file = nullptr;
  return static_cast<int>(
      on_volume({"skerry_inode_open"}, volume, context,
                [&](const OpContext& ctx, VolumeState& state) -> Status {
                  if (file == nullptr) return null_argument("the place for the file");
                  SKERRY_ASSIGN(auto handle, vfs::inode_open(ctx, *state.volume, ino, flags));
                  SKERRY_ASSIGN(*file, wrap(volume, state, std::move(handle)));
                  return {};
                }));
}

int skerry_inode_create(skerry_volume* volume, const skerry_context* context, uint64_t dir,
                        const char* name, int flags, uint32_t mode, struct skerry_stat* out,
                        skerry_file** file) {
  if (file != nullptr) *file = nullptr;
  return static_cast<int>(on_volume(
      {"skerry_inode_create", name}, volume, context,
      [&](const OpContext& ctx, VolumeState& state) -> Status {
        if (name == nullptr) return null_argument("the name");
        if (file == nullptr) return null_argument("the place for the file");
        SKERRY_ASSIGN(vfs::CreatedFile made,
                      vfs::inode_create(ctx, *state.volume, dir, name_of(name), flags, mode));
        SKERRY_ASSIGN(*file, wrap(volume, state, std::move(made.handle)));
        put_stat(state, made.attr, out);
        return {};
      }));
}

int skerry_inode_tmpfile(skerry_volume* volume, const skerry_context* context, uint64_t dir,
                         int flags, uint32_t mode, struct skerry_stat* out, skerry_file** file) {
  if (file != nullptr) *file = nullptr;
  return static_cast<int>(
      on_volume({"skerry_inode_tmpfile"}, volume, context,
                [&](const OpContext& ctx, VolumeState& state) -> Status {
                  if (file == nullptr) return null_argument("the place for the file");
                  SKERRY_ASSIGN(vfs::CreatedFile made,
                                vfs::inode_tmpfile(ctx, *state.volume, dir, flags, mode));
                  SKERRY_ASSIGN(*file, wrap(volume, state, std::move(made.handle)));
                  put_stat(state, made.attr, out);
                  return {};
                }));
}

int skerry_inode_mkdir(skerry_volume* volume, const skerry_context* context, uint64_t dir,
                       const char* name, uint32_t mode, struct skerry_stat* out) {
  return attributes_call("skerry_inode_mkdir", volume, context, name, out,
                         [&](const OpContext& ctx, vfs::Volume& opened, std::string_view n) {
                           return vfs::inode_mkdir(ctx, opened, dir, n, mode);
                         });
}

int skerry_inode_mknod(skerry_volume* volume, const skerry_context* context, uint64_t dir,
                       const char* name, uint32_t mode, uint64_t rdev, struct skerry_stat* out) {
  return attributes_call("skerry_inode_mknod", volume, context, name, out,
                         [&](const OpContext& ctx, vfs::Volume& opened, std::string_view n) {
                           return vfs::inode_mknod(ctx, opened, dir, n, mode, rdev);
                         });
}

int skerry_inode_symlink(skerry_volume* volume, const skerry_context* context, const char* target,
                         uint64_t dir, const char* name, struct skerry_stat* out) {
  return attributes_call("skerry_inode_symlink", volume, context, name, out,
                         [&](const OpContext& ctx, vfs::Volume& opened,
                             std::string_view n) -> Result<meta::Attributes> {
                           if (target == nullptr) return null_argument("the target");
                           return vfs::inode_symlink(ctx, opened, view_of(target), dir, n);
                         });
}

int64_t skerry_inode_readlink(skerry_volume* volume, const skerry_context* context, uint64_t ino,
                              char* buffer, size_t capacity) {
  return on_volume({"skerry_inode_readlink"}, volume, context,
                   [&](const OpContext& ctx, VolumeState& state) -> Result<int64_t> {
                     if (buffer == nullptr) return null_argument("the buffer");
                     if (capacity == 0) return Error(EINVAL, "a capacity of zero");
                     SKERRY_ASSIGN(std::string target,
                                   vfs::inode_readlink(ctx, *state.volume, ino));
                     const size_t length = std::min(target.size(), capacity);
                     std::memcpy(buffer, target.data(), length);
                     return static_cast<int64_t>(length);
                   });
}

int skerry_inode_link(skerry_volume* volume, const skerry_context* context, uint64_t ino,
                      uint64_t dir, const char* name, struct skerry_stat* out) {
  return attributes_call("skerry_inode_link", volume, context, name, out,
                         [&](const OpContext& ctx, vfs::Volume& opened, std::string_view n) {
                           return vfs::inode_link(ctx, opened, ino, dir, n);
                         });
}

int skerry_inode_unlink(skerry_volume* volume, const skerry_context* context, uint64_t dir,
                        const char* name, int flags) {
  const bool directory = (flags & SKERRY_AT_REMOVEDIR) != 0;
  return static_cast<int>(
      on_volume({directory ? "skerry_inode_rmdir" : "skerry_inode_unlink", name}, volume, context,
                [&](const OpContext& ctx, VolumeState& state) -> Status {
                  if (name == nullptr) return null_argument("the name");
                  if ((flags & ~SKERRY_AT_REMOVEDIR) != 0) {
                    return Error(EINVAL, "flags that the call does not know");
                  }
                  return directory ? vfs::inode_rmdir(ctx, *state.volume, dir, name_of(name))
                                   : vfs::inode_unlink(ctx, *state.volume, dir, name_of(name));
                }));
}

int skerry_inode_rename(skerry_volume* volume, const skerry_context* context, uint64_t from_dir,
                        const char* from, uint64_t to_dir, const char* to, unsigned flags) {
  return static_cast<int>(on_volume({"skerry_inode_rename", from, to}, volume, context,
                                    [&](const OpContext& ctx, VolumeState& state) -> Status {
                                      if (from == nullptr || to == nullptr) {
                                        return null_argument("a name");
                                      }
                                      return vfs::inode_rename(ctx, *state.volume, from_dir,
                                                               name_of(from), to_dir, name_of(to),
                                                               flags);
                                    }));
}

int skerry_data_token(skerry_file* file, const skerry_context* context, uint64_t* token) {
  return static_cast<int>(on_data({"skerry_data_token"}, file, context,
                                  [&](const OpContext& ctx, vfs::Handle& handle) -> Status {
                                    if (token == nullptr) return null_argument("the token");
                                    SKERRY_ASSIGN(*token, handle.data_token(ctx));
                                    return {};
                                  }));
}

}  // extern "C"
