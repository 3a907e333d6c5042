// Calls that take inode numbers and single names, for callers that walk names themselves. Each does
// what the path call of its name does for the last component. ESTALE where an inode that was given
// does not exist any more, so that the caller looks it up again.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "io/op_context.h"
#include "meta/ops.h"
#include "vfs/handle.h"
#include "vfs/volume.h"

namespace skerry::vfs {

/// Also "." and "..".
Result<meta::Attributes> inode_lookup(const OpContext& ctx, Volume& volume, meta::Ino dir,
                                      std::string_view name);
/// With this client's unflushed writes.
Result<meta::Attributes> inode_stat(const OpContext& ctx, Volume& volume, meta::Ino ino);
Status inode_access(const OpContext& ctx, Volume& volume, meta::Ino ino, unsigned mode);
/// `length` first; the attributes after.
Result<meta::Attributes> inode_set(const OpContext& ctx, Volume& volume, meta::Ino ino,
                                   std::optional<uint64_t> length, const meta::SetAttributes& set);

Result<std::unique_ptr<Handle>> inode_open(const OpContext& ctx, Volume& volume, meta::Ino ino,
                                           int flags);
struct CreatedFile {
  meta::Attributes attr;
  std::unique_ptr<Handle> handle;
};
Result<CreatedFile> inode_create(const OpContext& ctx, Volume& volume, meta::Ino dir,
                                 std::string_view name, int flags, uint32_t mode);
/// O_TMPFILE, which `flags` need not say.
Result<CreatedFile> inode_tmpfile(const OpContext& ctx, Volume& volume, meta::Ino dir, int flags,
                                  uint32_t mode);

Result<meta::Attributes> inode_mkdir(const OpContext& ctx, Volume& volume, meta::Ino dir,
                                     std::string_view name, uint32_t mode);
Result<meta::Attributes> inode_mknod(const OpContext& ctx, Volume& volume, meta::Ino dir,
                                     std::string_view name, uint32_t mode, uint64_t rdev);
Result<meta::Attributes> inode_symlink(const OpContext& ctx, Volume& volume,
                                       std::string_view target, meta::Ino dir,
                                       std::string_view name);
Result<std::string> inode_readlink(const OpContext& ctx, Volume& volume, meta::Ino ino);
Result<meta::Attributes> inode_link(const OpContext& ctx, Volume& volume, meta::Ino ino,
                                    meta::Ino dir, std::string_view name);
Status inode_unlink(const OpContext& ctx, Volume& volume, meta::Ino dir, std::string_view name);
Status inode_rmdir(const OpContext& ctx, Volume& volume, meta::Ino dir, std::string_view name);
Status inode_rename(const OpContext& ctx, Volume& volume, meta::Ino from_dir, std::string_view from,
                    meta::Ino to_dir, std::string_view to, unsigned flags);

}  // namespace skerry::vfs
