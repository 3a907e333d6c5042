// From a path to an inode: path_resolution(7).
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "io/op_context.h"
#include "meta/meta.h"
#include "meta/ops.h"

namespace skerry::vfs {

/// How often one call walks its path, each time because what it had found was replaced. Where that
/// is being done without end, each walk loses with even chances, or worse on a busy machine.
inline constexpr unsigned kMaxWalks = 1024;

/// What the last component of a path is.
enum class LastKind : uint8_t {
  kName,    // an ordinary name
  kDot,     // "."
  kDotDot,  // ".."
  kRoot,    // there is none: the path is made of slashes
};

/// One resolution of one path. Walks component by component over the metadata cache; while every
/// component is cached and no symbolic link is met, it allocates nothing and calls no store; the
/// first that is not cached brings all that follow along where the store is far. Search
/// permission is checked in every directory on the way, links are followed up to 40 times (ELOOP).
/// The path must outlive the object. Not thread-safe.
class PathWalk {
 public:
  /// Relative paths count from `start`, a directory's inode.
  PathWalk(const OpContext& ctx, meta::Meta& meta, meta::Ino start)
      : ctx_(ctx), meta_(meta), dir_(start) {}
  PathWalk(const PathWalk&) = delete;
  PathWalk& operator=(const PathWalk&) = delete;

  /// The file a path leads to. A link in the last place is followed if `follow`, or if a slash
  /// stands behind it; a slash behind anything but a directory is ENOTDIR.
  Result<meta::Attributes> resolve(std::string_view path, bool follow);

  /// Resolves all but the last component; directory(), name() ... then tell what is left.
  Status to_parent(std::string_view path);
  meta::Ino directory() const { return dir_; }
  /// Valid while this object lives.
  std::string_view name() const { return name_; }
  LastKind kind() const { return kind_; }
  /// A slash follows the last component: it must be a directory.
  bool trailing_slash() const { return trailing_slash_; }

  /// After to_parent(): the last component itself, links not followed.
  Result<meta::Attributes> last();
  /// After last() found the symbolic link `link`: on to where it leads, again all but the last
  /// component of that.
  Status through_link(meta::Ino link);

 private:
  Status go(std::string_view path);
  /// `exact`: of a directory, times and link count are wanted as well.
  /// `rest`: the path behind the name.
  Result<meta::Attributes> lookup(std::string_view name, bool exact, std::string_view rest = {});
  Status search_permission();
  Result<meta::Attributes> directory_attributes(bool exact);
  Result<std::string> link_target(meta::Ino link);

  const OpContext& ctx_;
  meta::Meta& meta_;
  meta::Ino dir_;
  std::string_view name_;
  std::string expanded_;  // a link's target and what followed the link; name_ may point into it
  LastKind kind_ = LastKind::kRoot;
  bool trailing_slash_ = false;
  unsigned links_ = 0;
};

}  // namespace skerry::vfs
