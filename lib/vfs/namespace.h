// Calls that take paths. `at`: the directory a relative path starts in, null for the root. Each
// follows the page of the system call of its name, errors in Linux's order.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "io/op_context.h"
#include "meta/ops.h"
#include "vfs/handle.h"
#include "vfs/path_walk.h"
#include "vfs/volume.h"

namespace skerry::vfs {

/// How the file at the end of a path is meant.
struct Lookup {
  bool follow = true;       // go through a symbolic link in the last place
  bool empty_path = false;  // an empty path means `at` itself
};

/// What mkdir(2), mknod(2) and symlink(2) make. Borrows `target`. node_args: EPERM for a directory,
/// EINVAL for a type that does not exist.
meta::CreateArgs directory_args(uint32_t mode);
Result<meta::CreateArgs> node_args(uint32_t mode, uint64_t rdev);
meta::CreateArgs symlink_args(std::string_view target);

/// What a path leads to, as the store and this client's unflushed writes have it.
Result<meta::Attributes> stat(const OpContext& ctx, Volume& volume, const Handle* at,
                              std::string_view path, Lookup how);
/// The same without unflushed writes: cheaper, for callers that want inode and permissions.
Result<meta::Attributes> find(const OpContext& ctx, Volume& volume, const Handle* at,
                              std::string_view path, Lookup how);
/// Calls `body` with the attributes of what a path leads to. Where the file was replaced meanwhile
/// (`body` says ESTALE) the path is walked again, so that the caller meets one file or the other.
template <typename Body>
auto on_found(const OpContext& ctx, Volume& volume, const Handle* at, std::string_view path,
              Lookup how, Body&& body) -> decltype(body(std::declval<const meta::Attributes&>())) {
  for (unsigned walks = 1;; ++walks) {
    const NotBefore again(ctx, walks == 1 ? 0 : volume.meta().now_not_before());
    SKERRY_ASSIGN(meta::Attributes attr, find(*again, volume, at, path, how));
    auto answer = body(attr);
    if (answer.ok() || answer.error().code() != ESTALE || walks == kMaxWalks) return answer;
  }
}

/// `mode`: bits of meta::Access, 0 for existence.
Status access(const OpContext& ctx, Volume& volume, const Handle* at, std::string_view path,
              unsigned mode, Lookup how);

Status mkdir(const OpContext& ctx, Volume& volume, const Handle* at, std::string_view path,
             uint32_t mode);
/// mkdir -p.
Status mkdirs(const OpContext& ctx, Volume& volume, std::string_view path, uint32_t mode);
/// `mode` with its type bits, as mknod(2).
Status mknod(const OpContext& ctx, Volume& volume, const Handle* at, std::string_view path,
             uint32_t mode, uint64_t rdev);
Status symlink(const OpContext& ctx, Volume& volume, std::string_view target, const Handle* at,
               std::string_view path);
Result<std::string> readlink(const OpContext& ctx, Volume& volume, const Handle* at,
                             std::string_view path);
Status unlink(const OpContext& ctx, Volume& volume, const Handle* at, std::string_view path);
Status rmdir(const OpContext& ctx, Volume& volume, const Handle* at, std::string_view path);
/// `how.follow` means the symbolic link `from`; `how.empty_path` links an O_TMPFILE.
Status link(const OpContext& ctx, Volume& volume, const Handle* from_at, std::string_view from,
            const Handle* to_at, std::string_view to, Lookup how);
/// `flags`: meta::kRename...
Status rename(const OpContext& ctx, Volume& volume, const Handle* from_at, std::string_view from,
              const Handle* to_at, std::string_view to, unsigned flags);
Status remove_tree(const OpContext& ctx, Volume& volume, std::string_view path,
                   const std::function<bool(const meta::RemoveProgress&)>& progress);

/// chmod, chown and utimens of an inode; what this client wrote before is flushed first, so that
/// the flush does not undo them.
Status set_attributes(const OpContext& ctx, Volume& volume, meta::Ino ino,
                      const meta::SetAttributes& set);
Status truncate(const OpContext& ctx, Volume& volume, std::string_view path, uint64_t length);

/// One listing. One thread at a time. Holds nothing but values, so it survives fork().
class Listing {
 public:
  Listing(meta::Ino dir, std::string_view after, bool with_attributes)
      : dir_(dir), after_(after), with_attributes_(with_attributes) {}
  /// The next entries, at most `count`; none at the end. Valid until the next call.
  struct Entries {
    const meta::ListedEntry* begin = nullptr;
    size_t count = 0;
  };
  Result<Entries> next(const OpContext& ctx, Volume& volume, uint32_t count);
  bool with_attributes() const { return with_attributes_; }

 private:
  const meta::Ino dir_;
  std::string after_;
  const bool with_attributes_;
  meta::ListPage page_;
  size_t taken_ = 0;
  bool at_end_ = false;
};
/// opendir(3): ENOTDIR, EACCES without read permission.
Result<Listing> open_listing(const OpContext& ctx, Volume& volume, std::string_view path,
                             std::string_view after, bool with_attributes);

}  // namespace skerry::vfs
