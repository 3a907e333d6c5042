#include "vfs/namespace.h"

#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "meta/attribute_changes.h"
#include "vfs/confirm.h"
#include "vfs/path_walk.h"

namespace skerry::vfs {
namespace {

using meta::FileType;

constexpr uint32_t kLeastPage = 256;
constexpr uint32_t kLargestPage = 4096;

/// filename_create() of Linux: the directory and name that a new entry gets.
Status to_new_name(PathWalk& walk, std::string_view path, bool directory) {
  SKERRY_TRY(walk.to_parent(path));
  if (walk.kind() != LastKind::kName) {
    SKERRY_TRY(walk.last());
    return Error(EEXIST, "it exists already");
  }
  if (walk.trailing_slash() && !directory) {
    SKERRY_TRY(walk.last());  // ENOENT where it is absent
    return Error(EEXIST, "it exists already");
  }
  return {};
}

/// On a read-only volume: EEXIST before EROFS, as Linux.
Status may_add(Volume& volume, PathWalk& walk) {
  Status writable = volume.check_writable();
  if (writable.ok()) {
    volume.heartbeat_if_due();
    return {};
  }
  auto there = walk.last();
  if (there.ok()) return Error(EEXIST, "it exists already");
  if (there.error().code() != ENOENT) return std::move(there).error();
  return writable;
}

Status may_remove(Volume& volume, PathWalk& walk) {
  Status writable = volume.check_writable();
  if (writable.ok()) {
    volume.heartbeat_if_due();
    return {};
  }
  SKERRY_TRY(walk.last());
  return writable;
}

Status add(const OpContext& ctx, Volume& volume, const Handle* at, std::string_view path,
           const meta::CreateArgs& args) {
  SKERRY_ASSIGN(meta::Ino start, start_of(volume, at, path));
  return confirmed(ctx, volume.meta(), [&](const OpContext& by) -> Status {
    PathWalk walk(by, volume.meta(), start);
    SKERRY_TRY(to_new_name(walk, path, args.type == FileType::kDirectory));
    SKERRY_TRY(may_add(volume, walk));
    SKERRY_TRY(meta::create(by, volume.meta(), walk.directory(), walk.name(), args));
    return {};
  });
}

}  // namespace

meta::CreateArgs directory_args(uint32_t mode) {
  meta::CreateArgs args;
  args.type = FileType::kDirectory;
  args.mode = mode & 01777;  // mkdir(2): the set-group-ID bit comes from the parent alone
  return args;
}

Result<meta::CreateArgs> node_args(uint32_t mode, uint64_t rdev) {
  meta::CreateArgs args;
  args.mode = mode & 07777;
  switch (mode & S_IFMT) {
    case 0:
    case S_IFREG:
      args.type = FileType::kRegular;
      break;
    case S_IFIFO:
      args.type = FileType::kFifo;
      break;
    case S_IFSOCK:
      args.type = FileType::kSocket;
      break;
    case S_IFCHR:
      args.type = FileType::kCharDevice;
      args.rdev = rdev;
      break;
    case S_IFBLK:
      args.type = FileType::kBlockDevice;
      args.rdev = rdev;
      break;
    case S_IFDIR:
      return Error(EPERM, "mknod does not make directories");
    default:
      return Error(EINVAL, "a file type that does not exist");
  }
  return args;
}

meta::CreateArgs symlink_args(std::string_view target) {
  meta::CreateArgs args;
  args.type = FileType::kSymlink;
  args.target = target;
  return args;
}

Result<meta::Attributes> find(const OpContext& ctx, Volume& volume, const Handle* at,
                              std::string_view path, Lookup how) {
  if (path.empty() && how.empty_path) {
    if (at != nullptr && &at->volume() != &volume) {
      return Error(EXDEV, "the file belongs to another volume");
    }
    return meta::get_attributes(ctx, volume.meta(), at == nullptr ? meta::kRootIno : at->ino());
  }
  SKERRY_ASSIGN(meta::Ino start, start_of(volume, at, path));
  PathWalk walk(ctx, volume.meta(), start);
  return walk.resolve(path, how.follow);
}

Result<meta::Attributes> stat(const OpContext& ctx, Volume& volume, const Handle* at,
                              std::string_view path, Lookup how) {
  auto attr = find(ctx, volume, at, path, how);
  if (!attr.ok()) return attr;
  if (attr->type == FileType::kRegular) {
    if (auto dirty = volume.writers().dirty(attr->ino)) attr = dirty->attributes(ctx);
    if (!attr.ok()) return attr;
  }
  volume.access_times().show(&*attr);
  return attr;
}

Status access(const OpContext& ctx, Volume& volume, const Handle* at, std::string_view path,
              unsigned mode, Lookup how) {
  SKERRY_ASSIGN(meta::Attributes attr, find(ctx, volume, at, path, how));
  const bool special = attr.type != FileType::kRegular && !attr.is_dir();
  if ((mode & meta::kWrite) != 0 && !special) SKERRY_TRY(volume.check_writable());
  return meta::check_access(ctx, volume.meta(), attr, mode);
}

Status mkdir(const OpContext& ctx, Volume& volume, const Handle* at, std::string_view path,
             uint32_t mode) {
  return add(ctx, volume, at, path, directory_args(mode));
}

Status mkdirs(const OpContext& caller, Volume& volume, std::string_view path, uint32_t mode) {
  // That all is there already is told without a commit.
  const NotBefore now(caller, volume.meta().current_not_before(caller));
  const OpContext& ctx = *now;
  auto there = find(ctx, volume, nullptr, path, Lookup{});
  if (there.ok()) {
    if (there->is_dir()) return {};
    return Error(EEXIST, "it exists and is not a directory");
  }
  if (there.error().code() != ENOENT) return std::move(there).error();
  for (size_t end = path.find_first_not_of('/'); end < path.size();) {
    end = std::min(path.find('/', end), path.size());
    const size_t next = path.find_first_not_of('/', end);
    const bool last = next == std::string_view::npos;
    std::string_view prefix = path.substr(0, end);
    // Parents must let their maker in, as mkdir -p makes them.
    Status made = mkdir(ctx, volume, nullptr, prefix, last ? mode : mode | 0300);
    if (!made.ok()) {
      if (made.error().code() != EEXIST && made.error().code() != EROFS) return made;
      auto found = find(ctx, volume, nullptr, prefix, Lookup{});
      if (!found.ok()) return made;
      if (!found->is_dir()) return Error(last ? EEXIST : ENOTDIR, "a component is no directory");
    }
    if (last) break;
    end = next;
  }
  return {};
}

Status mknod(const OpContext& ctx, Volume& volume, const Handle* at, std::string_view path,
             uint32_t mode, uint64_t rdev) {
  SKERRY_ASSIGN(meta::CreateArgs args, node_args(mode, rdev));
  return add(ctx, volume, at, path, args);
}

Status symlink(const OpContext& ctx, Volume& volume, std::string_view target, const Handle* at,
               std::string_view path) {
  if (target.empty()) return Error(ENOENT, "the target is empty");
  if (target.size() > meta::kMaxSymlinkBytes) {
    return Error(ENAMETOOLONG, "the target is longer than 4,095 bytes");
  }
  return add(ctx, volume, at, path, symlink_args(target));
}

Result<std::string> readlink(const OpContext& ctx, Volume& volume, const Handle* at,
                             std::string_view path) {
  // readlinkat(2) takes an empty path where `at` is a link opened with O_PATH | O_NOFOLLOW.
  Lookup how{false, at != nullptr && at->type() == FileType::kSymlink};
  SKERRY_ASSIGN(meta::Attributes attr, find(ctx, volume, at, path, how));
  if (attr.type != FileType::kSymlink) return Error(EINVAL, "not a symbolic link");
  volume.access_times().note(attr);
  return meta::readlink(ctx, volume.meta(), attr.ino);
}

Status unlink(const OpContext& ctx, Volume& volume, const Handle* at, std::string_view path) {
  SKERRY_ASSIGN(meta::Ino start, start_of(volume, at, path));
  return confirmed(ctx, volume.meta(), [&](const OpContext& by) -> Status {
    PathWalk walk(by, volume.meta(), start);
    SKERRY_TRY(walk.to_parent(path));
    if (walk.kind() != LastKind::kName) return Error(EISDIR, "a directory");
    if (walk.trailing_slash()) {
      SKERRY_ASSIGN(meta::Attributes there, walk.last());
      if (there.is_dir()) return Error(EISDIR, "a directory");
      return Error(ENOTDIR, "a slash stands behind what is not a directory");
    }
    SKERRY_TRY(may_remove(volume, walk));
    return meta::unlink(by, volume.meta(), walk.directory(), walk.name());
  });
}

Status rmdir(const OpContext& ctx, Volume& volume, const Handle* at, std::string_view path) {
  SKERRY_ASSIGN(meta::Ino start, start_of(volume, at, path));
  return confirmed(ctx, volume.meta(), [&](const OpContext& by) -> Status {
    PathWalk walk(by, volume.meta(), start);
    SKERRY_TRY(walk.to_parent(path));
    switch (walk.kind()) {
      case LastKind::kDotDot:
        return Error(ENOTEMPTY, "the path ends with \"..\"");
      case LastKind::kDot:
        return Error(EINVAL, "the path ends with \".\"");
      case LastKind::kRoot:
        return Error(EBUSY, "the root cannot be removed");
      case LastKind::kName:
        break;
    }
    SKERRY_TRY(may_remove(volume, walk));
    return meta::rmdir(by, volume.meta(), walk.directory(), walk.name());
  });
}

Status link(const OpContext& ctx, Volume& volume, const Handle* from_at, std::string_view from,
            const Handle* to_at, std::string_view to, Lookup how) {
  Status linked = confirmed(ctx, volume.meta(), [&](const OpContext& by) -> Status {
    auto link_it = [&](const meta::Attributes& source) -> Status {
      if (from.empty() && from_at != nullptr && from_at->nameless()) {
        return Error(ENOENT, "the file was opened with O_TMPFILE | O_EXCL");
      }
      SKERRY_ASSIGN(meta::Ino start, start_of(volume, to_at, to));
      PathWalk walk(by, volume.meta(), start);
      SKERRY_TRY(to_new_name(walk, to, false));
      SKERRY_TRY(may_add(volume, walk));
      SKERRY_TRY(meta::link(by, volume.meta(), source.ino, walk.directory(), walk.name(),
                            /*named=*/!from.empty()));
      return {};
    };
    return on_found(by, volume, from_at, from, how, link_it);
  });
  if (!linked.ok() && linked.error().code() == ESTALE && from.empty()) {
    return Error(ENOENT, "the file was removed");
  }
  return linked;
}

Status rename(const OpContext& ctx, Volume& volume, const Handle* from_at, std::string_view from,
              const Handle* to_at, std::string_view to, unsigned flags) {
  constexpr unsigned kKnown = meta::kRenameNoReplace | meta::kRenameExchange;
  if ((flags & ~kKnown) != 0 || flags == kKnown) {
    return Error(EINVAL, "flags that exclude each other or do not exist");
  }
  SKERRY_ASSIGN(meta::Ino from_start, start_of(volume, from_at, from));
  SKERRY_ASSIGN(meta::Ino to_start, start_of(volume, to_at, to));
  return confirmed(ctx, volume.meta(), [&](const OpContext& by) -> Status {
    PathWalk source(by, volume.meta(), from_start);
    SKERRY_TRY(source.to_parent(from));
    PathWalk target(by, volume.meta(), to_start);
    SKERRY_TRY(target.to_parent(to));
    if (source.kind() != LastKind::kName) return Error(EBUSY, "the root, \".\" or \"..\"");
    if (target.kind() != LastKind::kName) {
      if ((flags & meta::kRenameNoReplace) != 0) return Error(EEXIST, "it exists already");
      return Error(EBUSY, "the root, \".\" or \"..\"");
    }
    if (source.trailing_slash() || target.trailing_slash()) {
      SKERRY_ASSIGN(meta::Attributes moved, source.last());
      const bool exchange = (flags & meta::kRenameExchange) != 0;
      if (exchange && target.trailing_slash()) {
        SKERRY_ASSIGN(meta::Attributes other, target.last());
        if (!other.is_dir()) return Error(ENOTDIR, "a slash behind what is not a directory");
      }
      if (!moved.is_dir() && (source.trailing_slash() || !exchange)) {
        return Error(ENOTDIR, "a slash behind what is not a directory");
      }
    }
    SKERRY_TRY(may_remove(volume, source));
    return meta::rename(by, volume.meta(), source.directory(), source.name(), target.directory(),
                        target.name(), flags);
  });
}

Status remove_tree(const OpContext& ctx, Volume& volume, std::string_view path,
                   const std::function<bool(const meta::RemoveProgress&)>& progress) {
  return confirmed(ctx, volume.meta(), [&](const OpContext& by) -> Status {
    PathWalk walk(by, volume.meta(), meta::kRootIno);
    SKERRY_TRY(walk.to_parent(path));
    if (walk.kind() != LastKind::kName) {
      return Error(EINVAL, "the root, \".\" and \"..\" cannot be removed");
    }
    SKERRY_TRY(may_remove(volume, walk));
    if (walk.trailing_slash()) {
      SKERRY_ASSIGN(meta::Attributes there, walk.last());
      if (!there.is_dir()) return Error(ENOTDIR, "a slash behind what is not a directory");
    }
    return meta::remove_tree(by, volume.meta(), walk.directory(), walk.name(), progress);
  });
}

Status set_attributes(const OpContext& ctx, Volume& volume, meta::Ino ino,
                      const meta::SetAttributes& set) {
  SKERRY_TRY(volume.check_writable());
  volume.heartbeat_if_due();
  if (auto dirty = volume.writers().dirty(ino)) {
    SKERRY_TRY(dirty->flush(ctx, meta::Durability::kVisible));
  }
  SKERRY_ASSIGN(meta::Attributes after, confirmed(ctx, volume.meta(), [&](const OpContext& by) {
                  return meta::set_attributes(by, volume.meta(), ino, set);
                }));
  if (set.atime_ns || set.atime_now) volume.access_times().replaced(ino, after.atime_ns);
  return {};
}

Status truncate(const OpContext& ctx, Volume& volume, std::string_view path, uint64_t length) {
  // What is cut is not to be a file that has lost its name.
  const NotBefore now(ctx, volume.meta().current_not_before(ctx));
  // ESTALE may also mean that the session was gone to which unflushed writes belonged: they were
  // dropped, which their handles are told, and the file can be cut now.
  return on_found(*now, volume, nullptr, path, Lookup{},
                  [&](const meta::Attributes& attr) -> Status {
                    if (attr.is_dir()) return Error(EISDIR, "a directory");
                    if (attr.type != FileType::kRegular) return Error(EINVAL, "not a regular file");
                    SKERRY_TRY(volume.check_writable());
                    SKERRY_TRY(meta::check_access(ctx, volume.meta(), attr, meta::kWrite));
                    if ((attr.flags & meta::kFlagAppendOnly) != 0) {
                      return Error(EPERM, "the file is append-only");
                    }
                    if (length > static_cast<uint64_t>(INT64_MAX)) {
                      return Error(EINVAL, "a length above 2^63");
                    }
                    if (length > meta::kMaxFileSize)
                      return Error(EFBIG, "a file holds at most 2^57 bytes");
                    volume.heartbeat_if_due();
                    const uint32_t clear_mode = meta::clear_mode_of(ctx.credentials, attr.gid);
                    SKERRY_TRY(volume.files().peek(attr.ino)->truncate(ctx, length, clear_mode));
                    return {};
                  });
}

Result<Listing> open_listing(const OpContext& ctx, Volume& volume, std::string_view path,
                             std::string_view after, bool with_attributes) {
  const NotBefore open(ctx, volume.meta().open_not_before(ctx));
  SKERRY_ASSIGN(meta::Attributes attr, find(*open, volume, nullptr, path, Lookup{}));
  if (!attr.is_dir()) return Error(ENOTDIR, "not a directory");
  SKERRY_TRY(meta::check_access(*open, volume.meta(), attr, meta::kRead));
  volume.access_times().note(attr);
  return Listing(attr.ino, after, with_attributes);
}

Result<Listing::Entries> Listing::next(const OpContext& ctx, Volume& volume, uint32_t count) {
  if (taken_ == page_.entries.size()) {
    if (at_end_) return Entries{};
    const uint32_t limit = std::clamp(count, kLeastPage, kLargestPage);
    SKERRY_ASSIGN(page_,
                  meta::list(ctx, volume.meta(), dir_, after_, limit, with_attributes_, false));
    taken_ = 0;
    at_end_ = !page_.more;
    if (page_.entries.empty()) return Entries{};
    after_ = page_.entries.back().name;
    for (meta::ListedEntry& entry : page_.entries) {
      if (!with_attributes_ || entry.attr.type != FileType::kRegular) continue;
      auto dirty = volume.writers().dirty(entry.attr.ino);
      if (dirty == nullptr) continue;
      SKERRY_ASSIGN(entry.attr, dirty->attributes(ctx));
    }
  }
  const size_t given = std::min<size_t>(count, page_.entries.size() - taken_);
  Entries entries{page_.entries.data() + taken_, given};
  taken_ += given;
  return entries;
}

}  // namespace skerry::vfs
