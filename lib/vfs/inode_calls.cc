#include "vfs/inode_calls.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <utility>

#include "meta/attribute_changes.h"
#include "vfs/confirm.h"
#include "vfs/namespace.h"

namespace skerry::vfs {
namespace {

using meta::Attributes;
using meta::FileType;
using meta::Ino;

/// The operations say ENOENT for an absent name and for a removed directory alike; who gave the
/// directory by its number must learn which. Costs nothing where the directory is cached.
Error told_apart(const OpContext& ctx, Volume& volume, Ino dir, Error error) {
  if (error.code() != ENOENT) return error;
  auto parent = meta::parent_of(ctx, volume.meta(), dir);
  if (!parent.ok() && parent.error().code() == ESTALE) return std::move(parent).error();
  return error;
}

template <typename T>
T told_apart(const OpContext& ctx, Volume& volume, Ino dir, T result) {
  if (result.ok()) [[likely]]
    return result;
  return told_apart(ctx, volume, dir, std::move(result).error());
}

/// EEXIST before EROFS, as Linux.
Status may_add(const OpContext& ctx, Volume& volume, Ino dir, std::string_view name) {
  Status writable = volume.check_writable();
  if (writable.ok()) {
    volume.heartbeat_if_due();
    return {};
  }
  auto there = meta::lookup(ctx, volume.meta(), dir, name);
  if (there.ok()) return Error(EEXIST, "it exists already");
  if (there.error().code() != ENOENT) return std::move(there).error();
  return writable;
}

Status may_change(Volume& volume) {
  SKERRY_TRY(volume.check_writable());
  volume.heartbeat_if_due();
  return {};
}

Result<Attributes> add(const OpContext& ctx, Volume& volume, Ino dir, std::string_view name,
                       const meta::CreateArgs& args) {
  return confirmed(ctx, volume.meta(), [&](const OpContext& by) -> Result<Attributes> {
    Status allowed = may_add(by, volume, dir, name);
    if (!allowed.ok()) return told_apart(by, volume, dir, std::move(allowed).error());
    auto made = meta::create(by, volume.meta(), dir, name, args);
    if (!made.ok()) return told_apart(by, volume, dir, std::move(made).error());
    return made->attr;
  });
}

Result<Attributes> with_unflushed(const OpContext& ctx, Volume& volume, Result<Attributes> attr) {
  if (!attr.ok()) return attr;
  if (attr->type == FileType::kRegular) {
    if (auto dirty = volume.writers().dirty(attr->ino)) attr = dirty->attributes(ctx);
    if (!attr.ok()) return attr;
  }
  volume.access_times().show(&*attr);
  return attr;
}

Status set_length(const OpContext& caller, Volume& volume, Ino ino, uint64_t length) {
  const NotBefore now(caller, volume.meta().current_not_before(caller));
  const OpContext& ctx = *now;
  SKERRY_ASSIGN(Attributes attr, meta::get_attributes(ctx, volume.meta(), ino));
  if (attr.is_dir()) return Error(EISDIR, "a directory");
  if (attr.type != FileType::kRegular) return Error(EINVAL, "not a regular file");
  SKERRY_TRY(meta::check_access(ctx, volume.meta(), attr, meta::kWrite));
  if ((attr.flags & meta::kFlagAppendOnly) != 0) return Error(EPERM, "the file is append-only");
  if (length > static_cast<uint64_t>(INT64_MAX)) return Error(EINVAL, "a length above 2^63");
  if (length > meta::kMaxFileSize) return Error(EFBIG, "a file holds at most 2^57 bytes");
  const uint32_t clear_mode = meta::clear_mode_of(ctx.credentials, attr.gid);
  auto cut = volume.files().peek(ino)->truncate(ctx, length, clear_mode);
  return cut.ok() ? Status() : Status(std::move(cut).error());
}

}  // namespace

Result<Attributes> inode_lookup(const OpContext& ctx, Volume& volume, Ino dir,
                                std::string_view name) {
  if (name == "." || name == "..") {
    Ino found = dir;
    if (name == "..") {
      SKERRY_ASSIGN(found, meta::parent_of(ctx, volume.meta(), dir));
    }
    return meta::get_attributes(ctx, volume.meta(), found);
  }
  return with_unflushed(ctx, volume,
                        told_apart(ctx, volume, dir, meta::lookup(ctx, volume.meta(), dir, name)));
}

Result<Attributes> inode_stat(const OpContext& ctx, Volume& volume, Ino ino) {
  return with_unflushed(ctx, volume, meta::get_attributes(ctx, volume.meta(), ino));
}

Status inode_access(const OpContext& ctx, Volume& volume, Ino ino, unsigned mode) {
  SKERRY_ASSIGN(Attributes attr, meta::get_attributes(ctx, volume.meta(), ino));
  const bool special = attr.type != FileType::kRegular && !attr.is_dir();
  if ((mode & meta::kWrite) != 0 && !special) SKERRY_TRY(volume.check_writable());
  return meta::check_access(ctx, volume.meta(), attr, mode);
}

Result<Attributes> inode_set(const OpContext& ctx, Volume& volume, Ino ino,
                             std::optional<uint64_t> length, const meta::SetAttributes& set) {
  SKERRY_TRY(may_change(volume));
  if (set.mode) {
    SKERRY_ASSIGN(Attributes attr, meta::get_attributes(ctx, volume.meta(), ino));
    if (attr.type == FileType::kSymlink) {
      return Error(ENOTSUP, "the mode of a symbolic link cannot be changed");
    }
  }
  if (length) SKERRY_TRY(set_length(ctx, volume, ino, *length));
  const bool more = set.mode || set.uid || set.gid || set.atime_ns || set.mtime_ns ||
                    set.atime_now || set.mtime_now || set.inode_flags;
  if (more) SKERRY_TRY(set_attributes(ctx, volume, ino, set));
  return inode_stat(ctx, volume, ino);
}

Result<std::unique_ptr<Handle>> inode_open(const OpContext& ctx, Volume& volume, Ino ino,
                                           int flags) {
  if ((flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE) {
    return Error(EINVAL, "O_CREAT and O_TMPFILE make names and files: they want a directory");
  }
  SKERRY_TRY(check_open_flags(flags));
  meta::Meta& meta = volume.meta();
  const NotBefore open(
      ctx, (flags & O_TRUNC) != 0 ? meta.current_not_before(ctx) : meta.open_not_before(ctx));
  SKERRY_ASSIGN(Attributes attr, meta::get_attributes(*open, meta, ino));
  // Whoever has such a number got it by a name that leads elsewhere by now.
  if (attr.nlink == 0 && !volume.meta().is_open(ino)) {
    return Error(ESTALE, "the file has no name any more and is not open here");
  }
  return open_found(*open, volume, attr, flags);
}

Result<CreatedFile> inode_create(const OpContext& ctx, Volume& volume, Ino dir,
                                 std::string_view name, int flags, uint32_t mode) {
  if ((flags & (O_PATH | O_DIRECTORY)) != 0) return Error(EINVAL, "flags that do not go together");
  SKERRY_TRY(check_open_flags(flags));
  meta::CreateArgs args;
  args.mode = mode & 07777;
  args.exclusive = (flags & O_EXCL) != 0;
  return confirmed(ctx, volume.meta(), [&](const OpContext& by) -> Result<CreatedFile> {
    const NotBefore open(by, volume.meta().current_not_before(by));
    if (volume.options().read_only) {
      auto there = meta::lookup(*open, volume.meta(), dir, name);
      if (!there.ok()) {
        if (there.error().code() == ENOENT) SKERRY_TRY(volume.check_writable());
        return std::move(there).error();
      }
      if (args.exclusive) return Error(EEXIST, "it exists already");
      SKERRY_ASSIGN(auto handle, open_found(*open, volume, *there, flags));
      return CreatedFile{*there, std::move(handle)};
    }
    volume.heartbeat_if_due();
    auto made = create_or_find(by, volume.meta(), dir, name, args);
    if (!made.ok()) return told_apart(by, volume, dir, std::move(made).error());
    CreatedFile file{made->attr, nullptr};
    if (made->created) {
      file.handle = std::make_unique<Handle>(volume, file.attr, flags, open->not_before_ns);
      return file;
    }
    if (file.attr.is_dir()) return Error(EISDIR, "O_CREAT on a directory");
    if (file.attr.type == FileType::kSymlink) {
      return Error(ESTALE, "a symbolic link has taken the name: look it up again");
    }
    SKERRY_ASSIGN(file.handle, open_found(*open, volume, file.attr, flags));
    if ((flags & O_TRUNC) != 0) {
      SKERRY_ASSIGN(file.attr, file.handle->attributes(*open));
    }
    return file;
  });
}

Result<CreatedFile> inode_tmpfile(const OpContext& ctx, Volume& volume, Ino dir, int flags,
                                  uint32_t mode) {
  if ((flags & O_PATH) != 0) return Error(EINVAL, "flags that do not go together");
  flags |= O_TMPFILE;
  SKERRY_TRY(check_open_flags(flags));
  SKERRY_TRY(may_change(volume));
  return confirmed(ctx, volume.meta(), [&](const OpContext& by) -> Result<CreatedFile> {
    const NotBefore open(by, volume.meta().current_not_before(by));
    auto made = meta::create_orphan(by, volume.meta(), dir, mode & 07777);
    if (!made.ok()) return told_apart(by, volume, dir, std::move(made).error());
    return CreatedFile{*made, std::make_unique<Handle>(volume, *made, flags, open->not_before_ns)};
  });
}

Result<Attributes> inode_mkdir(const OpContext& ctx, Volume& volume, Ino dir, std::string_view name,
                               uint32_t mode) {
  return add(ctx, volume, dir, name, directory_args(mode));
}

Result<Attributes> inode_mknod(const OpContext& ctx, Volume& volume, Ino dir, std::string_view name,
                               uint32_t mode, uint64_t rdev) {
  SKERRY_ASSIGN(meta::CreateArgs args, node_args(mode, rdev));
  return add(ctx, volume, dir, name, args);
}

Result<Attributes> inode_symlink(const OpContext& ctx, Volume& volume, std::string_view target,
                                 Ino dir, std::string_view name) {
  return add(ctx, volume, dir, name, symlink_args(target));
}

Result<std::string> inode_readlink(const OpContext& ctx, Volume& volume, Ino ino) {
  SKERRY_ASSIGN(Attributes attr, meta::get_attributes(ctx, volume.meta(), ino));
  if (attr.type != FileType::kSymlink) return Error(EINVAL, "not a symbolic link");
  volume.access_times().note(attr);
  return meta::readlink(ctx, volume.meta(), ino);
}

Result<Attributes> inode_link(const OpContext& ctx, Volume& volume, Ino ino, Ino dir,
                              std::string_view name) {
  return confirmed(ctx, volume.meta(), [&](const OpContext& by) -> Result<Attributes> {
    Status allowed = may_add(by, volume, dir, name);
    if (!allowed.ok()) return told_apart(by, volume, dir, std::move(allowed).error());
    auto linked = meta::link(by, volume.meta(), ino, dir, name);
    return with_unflushed(by, volume, told_apart(by, volume, dir, std::move(linked)));
  });
}

Status inode_unlink(const OpContext& ctx, Volume& volume, Ino dir, std::string_view name) {
  SKERRY_TRY(may_change(volume));
  return confirmed(ctx, volume.meta(), [&](const OpContext& by) {
    return told_apart(by, volume, dir, meta::unlink(by, volume.meta(), dir, name));
  });
}

Status inode_rmdir(const OpContext& ctx, Volume& volume, Ino dir, std::string_view name) {
  SKERRY_TRY(may_change(volume));
  return confirmed(ctx, volume.meta(), [&](const OpContext& by) {
    return told_apart(by, volume, dir, meta::rmdir(by, volume.meta(), dir, name));
  });
}

Status inode_rename(const OpContext& ctx, Volume& volume, Ino from_dir, std::string_view from,
                    Ino to_dir, std::string_view to, unsigned flags) {
  SKERRY_TRY(may_change(volume));
  return confirmed(ctx, volume.meta(), [&](const OpContext& by) {
    Status moved = meta::rename(by, volume.meta(), from_dir, from, to_dir, to, flags);
    moved = told_apart(by, volume, from_dir, std::move(moved));
    return told_apart(by, volume, to_dir, std::move(moved));
  });
}

}  // namespace skerry::vfs
