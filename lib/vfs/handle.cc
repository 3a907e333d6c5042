#include "vfs/handle.h"

#include <fcntl.h>

#include <utility>

#include "meta/attribute_changes.h"
#include "vfs/confirm.h"
#include "vfs/path_walk.h"

namespace skerry::vfs {
namespace {

using meta::FileType;

bool wants_write(int flags) {
  int mode = flags & O_ACCMODE;
  return mode == O_WRONLY || mode == O_RDWR || (flags & O_TRUNC) != 0;
}

bool has_data(FileType type, int flags) {
  return type == FileType::kRegular && (flags & O_PATH) == 0;
}

/// What may_open() of Linux checks, in its order: type, read-only volume, permission bits.
Status may_open(const OpContext& ctx, Volume& volume, const meta::Attributes& attr, int flags) {
  switch (attr.type) {
    case FileType::kSymlink:
      return Error(ELOOP, "a symbolic link in the last place, and O_NOFOLLOW");
    case FileType::kDirectory:
      if (wants_write(flags)) return Error(EISDIR, "a directory cannot be opened for writing");
      break;
    case FileType::kRegular:
      if (wants_write(flags)) SKERRY_TRY(volume.check_writable());
      break;
    default:
      break;
  }
  int mode = flags & O_ACCMODE;
  unsigned access = 0;
  if (mode == O_RDONLY || mode == O_RDWR) access |= meta::kRead;
  if (wants_write(flags)) access |= meta::kWrite;
  SKERRY_TRY(meta::check_access(ctx, volume.meta(), attr, access));
  const Credentials& who = ctx.credentials;
  if ((flags & O_NOATIME) != 0 && !who.is_root() && who.uid != attr.uid) {
    return Error(EPERM, "O_NOATIME is for the owner and root");
  }
  if ((attr.flags & meta::kFlagAppendOnly) != 0) {
    const bool elsewhere = mode != O_RDONLY && (flags & O_APPEND) == 0;
    if (elsewhere || (flags & O_TRUNC) != 0) {
      return Error(EPERM, "an append-only file is written with O_APPEND and never cut");
    }
  }
  if (attr.type != FileType::kRegular && attr.type != FileType::kDirectory) {
    return Error(ENXIO, "a fifo, socket or device has no peer inside a volume");
  }
  return {};
}

Result<std::unique_ptr<Handle>> make(const OpContext& ctx, Volume& volume,
                                     const meta::Attributes& attr, int flags) {
  return std::make_unique<Handle>(volume, attr, flags, ctx.not_before_ns);
}

/// Whether what is opened must be as it is now, whatever the volume's consistency: what is cut is
/// not to be a file that had lost its name.
TimeNs open_not_before(const OpContext& ctx, Volume& volume, int flags) {
  meta::Meta& meta = volume.meta();
  return (flags & O_TRUNC) != 0 ? meta.current_not_before(ctx) : meta.open_not_before(ctx);
}

Result<std::unique_ptr<Handle>> open_temporary(const OpContext& ctx, Volume& volume,
                                               const Handle* at, std::string_view path, int flags,
                                               uint32_t mode) {
  SKERRY_ASSIGN(meta::Ino start, start_of(volume, at, path));
  for (unsigned walks = 1;; ++walks) {
    const NotBefore again(ctx, walks == 1 ? 0 : volume.meta().now_not_before());
    PathWalk walk(*again, volume.meta(), start);
    SKERRY_ASSIGN(meta::Attributes dir, walk.resolve(path, (flags & O_NOFOLLOW) == 0));
    if (!dir.is_dir()) return Error(ENOTDIR, "O_TMPFILE wants a directory");
    SKERRY_TRY(volume.check_writable());
    auto attr = meta::create_orphan(*again, volume.meta(), dir.ino, mode & 07777);
    if (attr.ok()) return make(ctx, volume, *attr, flags);
    // Another directory may have taken the name of the one that was found.
    if (attr.error().code() != ENOENT || walks == kMaxWalks) return std::move(attr).error();
  }
}

Result<std::unique_ptr<Handle>> open_or_create(const OpContext& ctx, Volume& volume,
                                               const Handle* at, std::string_view path, int flags,
                                               uint32_t mode) {
  SKERRY_ASSIGN(meta::Ino start, start_of(volume, at, path));
  // What is opened is as it is now; only the way to it may be as old as the lease.
  const NotBefore open(ctx, volume.meta().current_not_before(ctx));
  PathWalk walk(volume.options().read_only ? *open : ctx, volume.meta(), start);
  SKERRY_TRY(walk.to_parent(path));
  const bool exclusive = (flags & O_EXCL) != 0;
  for (;;) {
    if (walk.kind() != LastKind::kName) {
      SKERRY_TRY(walk.last());
      if (exclusive) return Error(EEXIST, "it exists already");
      return Error(EISDIR, "O_CREAT on a directory");
    }
    if (walk.trailing_slash()) return Error(EISDIR, "O_CREAT on a path that ends with a slash");
    meta::Created found;
    if (volume.options().read_only) {
      auto attr = walk.last();
      if (!attr.ok()) {
        if (attr.error().code() == ENOENT) SKERRY_TRY(volume.check_writable());
        return std::move(attr).error();
      }
      found = {*attr, false};
    } else {
      meta::CreateArgs args;
      args.mode = mode & 07777;
      args.exclusive = exclusive;
      SKERRY_ASSIGN(found, create_or_find(ctx, volume.meta(), walk.directory(), walk.name(), args));
    }
    if (found.created) return make(*open, volume, found.attr, flags);
    if (exclusive) return Error(EEXIST, "it exists already");
    if (found.attr.type == FileType::kSymlink && (flags & O_NOFOLLOW) == 0) {
      SKERRY_TRY(walk.through_link(found.attr.ino));
      continue;
    }
    if (found.attr.is_dir()) return Error(EISDIR, "O_CREAT on a directory");
    return open_found(*open, volume, found.attr, flags);
  }
}

Result<std::unique_ptr<Handle>> open_path(const OpContext& ctx, Volume& volume, const Handle* at,
                                          std::string_view path, int flags, uint32_t mode) {
  if ((flags & O_PATH) == 0) {
    if ((flags & O_TMPFILE) == O_TMPFILE) {
      return open_temporary(ctx, volume, at, path, flags, mode);
    }
    if ((flags & O_CREAT) != 0) {
      volume.heartbeat_if_due();
      return open_or_create(ctx, volume, at, path, flags, mode);
    }
  }
  const NotBefore open(ctx, open_not_before(ctx, volume, flags));
  SKERRY_ASSIGN(meta::Ino start, start_of(volume, at, path));
  PathWalk walk(*open, volume.meta(), start);
  SKERRY_ASSIGN(meta::Attributes attr, walk.resolve(path, (flags & O_NOFOLLOW) == 0));
  return open_found(*open, volume, attr, flags);
}

}  // namespace

Handle::Handle(Volume& volume, const meta::Attributes& attr, int flags, TimeNs opened_ns)
    : volume_(volume),
      ino_(attr.ino),
      type_(attr.type),
      flags_(flags & ~(O_CREAT | O_EXCL | O_TRUNC)),
      readable_((flags & O_PATH) == 0 && (flags & O_ACCMODE) != O_WRONLY),
      writable_(has_data(attr.type, flags) && (flags & O_ACCMODE) != O_RDONLY),
      nameless_((flags & O_TMPFILE) == O_TMPFILE && (flags & O_EXCL) != 0),
      inode_(has_data(attr.type, flags) ? volume.files().open(attr.ino) : nullptr),
      serial_(volume.next_handle()),
      mark_((inode_ != nullptr || attr.is_dir()) && readable_ && (flags & O_NOATIME) == 0
                ? volume.access_times().open(attr)
                : nullptr),
      at_open_(attr),
      opened_ns_(opened_ns) {
  if (inode_ == nullptr && !attr.is_dir()) {
    volume_.meta().note_open(ino_);  // FileStore did it for the others
    counted_ = true;
  }
  if (inode_ != nullptr) {
    errors_seen_ = inode_->drop_count();  // what went wrong before belongs to the handles of then
    losses_ = inode_->losses();
  }
  if (writable_) volume_.writers().add(inode_);
}

Handle::~Handle() {
  release_locks(volume_.own_context(volume_.options().timeout_ns));
  if (writable_) volume_.writers().remove(ino_);
  if (counted_) volume_.meta().note_closed(ino_);
  if (mark_ != nullptr && volume_.access_times().full()) {
    const OpContext ctx = volume_.own_context(volume_.options().timeout_ns);
    Status noted = volume_.access_times().commit(ctx, volume_.meta());
    (void)noted;  // the background thread tries again, and says what is wrong
  }
}

Result<std::unique_ptr<Handle>> Handle::reopen(const OpContext& ctx, Volume& volume, meta::Ino ino,
                                               int flags) {
  const NotBefore open(ctx, volume.meta().current_not_before(ctx));
  SKERRY_ASSIGN(meta::Attributes attr, meta::get_attributes(*open, volume.meta(), ino));
  return make(*open, volume, attr, flags);
}

Status Handle::check_not_path() const {
  if ((flags_ & O_PATH) != 0) return Error(EBADF, "the file was opened with O_PATH");
  return {};
}

Status Handle::check_readable() const {
  if (!readable_) return Error(EBADF, "the file is not open for reading");
  if (is_directory()) return Error(EISDIR, "a directory has no data");
  return {};
}

Status Handle::check_writable() const {
  if (!writable_) return Error(EBADF, "the file is not open for writing");
  return {};
}

Result<meta::Attributes> Handle::attributes(const OpContext& ctx) {
  const NotBefore since(ctx, opened_ns_);
  auto attr = committed_or_dirty(*since);
  if (attr.ok()) volume_.access_times().show(&*attr);
  return attr;
}

Result<uint64_t> Handle::data_token(const OpContext& ctx) {
  if (inode_ == nullptr) return Error(EBADF, "the file has no data");
  const NotBefore since(ctx, opened_ns_);
  return inode_->data_token(*since);
}

Result<meta::Attributes> Handle::committed_or_dirty(const OpContext& ctx) {
  if (inode_ != nullptr && inode_->dirty()) return inode_->attributes(ctx);
  if (auto dirty = volume_.writers().dirty(ino_)) return dirty->attributes(ctx);
  auto attr = meta::get_attributes(ctx, volume_.meta(), ino_);
  if (!attr.ok() && attr.error().code() == ESTALE && is_directory()) {
    meta::Attributes removed = at_open_;  // fstat(2) of a removed directory
    removed.nlink = 0;
    return removed;
  }
  return attr;
}

Result<meta::Ino> start_of(const Volume& volume, const Handle* at, std::string_view path) {
  if (at == nullptr || (!path.empty() && path.front() == '/')) return meta::kRootIno;
  if (&at->volume() != &volume) return Error(EXDEV, "the directory belongs to another volume");
  if (path.empty()) return Error(ENOENT, "the path is empty");
  if (!at->is_directory()) return Error(ENOTDIR, "the path starts at what is not a directory");
  return at->ino();
}

Status check_open_flags(int flags) {
  if ((flags & O_PATH) != 0) return {};  // all but O_DIRECTORY and O_NOFOLLOW is ignored
  if ((flags & O_ACCMODE) == O_ACCMODE) return Error(EINVAL, "an access mode that does not exist");
  const bool temporary = (flags & O_TMPFILE) == O_TMPFILE;
  if (temporary && ((flags & O_ACCMODE) == O_RDONLY || (flags & O_CREAT) != 0)) {
    return Error(EINVAL, "O_TMPFILE wants O_WRONLY or O_RDWR and no O_CREAT");
  }
  if (!temporary && (flags & O_CREAT) != 0 && (flags & O_DIRECTORY) != 0) {
    return Error(EINVAL, "O_CREAT and O_DIRECTORY exclude each other");
  }
  return {};
}

Result<std::unique_ptr<Handle>> open_found(const OpContext& ctx, Volume& volume,
                                           const meta::Attributes& attr, int flags) {
  if ((flags & O_DIRECTORY) != 0 && !attr.is_dir()) return Error(ENOTDIR, "not a directory");
  if ((flags & O_PATH) != 0) return make(ctx, volume, attr, flags);
  SKERRY_TRY(may_open(ctx, volume, attr, flags));
  SKERRY_ASSIGN(std::unique_ptr<Handle> handle, make(ctx, volume, attr, flags));
  if ((flags & O_TRUNC) != 0 && attr.type == FileType::kRegular) {
    volume.heartbeat_if_due();
    SKERRY_TRY(handle->inode()->truncate(ctx, 0, meta::clear_mode_of(ctx.credentials, attr.gid)));
  }
  return handle;
}

Result<std::unique_ptr<Handle>> open_file(const OpContext& ctx, Volume& volume, const Handle* at,
                                          std::string_view path, int flags, uint32_t mode) {
  SKERRY_TRY(check_open_flags(flags));
  auto open = [&](const OpContext& by) {
    for (unsigned walks = 1;; ++walks) {
      const NotBefore again(by, walks == 1 ? 0 : volume.meta().now_not_before());
      auto handle = open_path(*again, volume, at, path, flags, mode);
      // With O_TRUNC: another file may have taken the name of the one that was found.
      if (handle.ok() || handle.error().code() != ESTALE || walks == kMaxWalks) return handle;
    }
  };
  const bool changes = (flags & (O_CREAT | O_TRUNC)) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
  return changes ? confirmed(ctx, volume.meta(), open) : open(ctx);
}

}  // namespace skerry::vfs
