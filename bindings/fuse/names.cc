// Requests on names: look-up, creation, removal, renaming, linking.
#include <fcntl.h>

#include "file_system.h"

namespace skerry::fuse {
namespace {

/// Replies where a name belongs to the virtual files: `error` says what may not be done to it.
bool refused(fuse_req_t req, fuse_ino_t parent, const char* name, int error) {
  if (!VirtualFiles::hides(parent, name)) [[likely]]
    return false;
  fuse_reply_err(req, VirtualFiles::owns(parent) ? EPERM : error);
  return true;
}

void lookup(fuse_req_t req, fuse_ino_t parent, const char* name) {
  FileSystem& fs = FileSystem::of(req);
  if (VirtualFiles::hides(parent, name)) return fs.virtual_files.lookup(req, parent, name);
  const uint64_t dir = fs.ino_of(parent);
  struct skerry_stat stat;
  const int64_t result =
      fs.run(req, Op::kLookup, {.ino = dir, .name = name}, fs.searcher(),
             [&](const skerry_context* context) {
               // Nothing leads out of the mount, not even a file handle's "..".
               const bool up = dir == fs.root && name[0] == '.' && name[1] == '.' && name[2] == 0;
               return skerry_inode_lookup(fs.volume, context, dir, up ? "." : name, &stat);
             });
  if (result == -ENOENT && fs.options.negative_timeout > 0) {
    fuse_entry_param absent = {};
    absent.entry_timeout = fs.options.negative_timeout;
    fuse_reply_entry(req, &absent);
    return;
  }
  fs.reply_entry(req, result, stat);
}

void mknod(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, dev_t rdev) {
  FileSystem& fs = FileSystem::of(req);
  if (refused(req, parent, name, EEXIST)) return;
  const uint64_t dir = fs.ino_of(parent);
  struct skerry_stat stat;
  const int64_t result = fs.run(
      req, Op::kMknod, {.ino = dir, .name = name}, As::kCaller, [&](const skerry_context* context) {
        return skerry_inode_mknod(fs.volume, context, dir, name, mode, rdev, &stat);
      });
  fs.reply_entry(req, result, stat);
}

void mkdir(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode) {
  FileSystem& fs = FileSystem::of(req);
  if (refused(req, parent, name, EEXIST)) return;
  const uint64_t dir = fs.ino_of(parent);
  struct skerry_stat stat;
  const int64_t result = fs.run(
      req, Op::kMkdir, {.ino = dir, .name = name}, As::kCaller, [&](const skerry_context* context) {
        return skerry_inode_mkdir(fs.volume, context, dir, name, mode, &stat);
      });
  fs.reply_entry(req, result, stat);
}

void symlink(fuse_req_t req, const char* target, fuse_ino_t parent, const char* name) {
  FileSystem& fs = FileSystem::of(req);
  if (refused(req, parent, name, EEXIST)) return;
  const uint64_t dir = fs.ino_of(parent);
  struct skerry_stat stat;
  const int64_t result =
      fs.run(req, Op::kSymlink, {.ino = dir, .name = name, .other_name = target}, As::kCaller,
             [&](const skerry_context* context) {
               return skerry_inode_symlink(fs.volume, context, target, dir, name, &stat);
             });
  fs.reply_entry(req, result, stat);
}

void link(fuse_req_t req, fuse_ino_t node, fuse_ino_t parent, const char* name) {
  FileSystem& fs = FileSystem::of(req);
  if (refused(req, parent, name, EEXIST)) return;
  if (VirtualFiles::owns(node)) return FileSystem::reply_status(req, -EPERM);
  const uint64_t ino = fs.ino_of(node), dir = fs.ino_of(parent);
  struct skerry_stat stat;
  const int64_t result =
      fs.run(req, Op::kLink, {.ino = ino, .name = name, .other_ino = dir}, As::kCaller,
             [&](const skerry_context* context) {
               return skerry_inode_link(fs.volume, context, ino, dir, name, &stat);
             });
  fs.reply_entry(req, result, stat);
}

void unlink(fuse_req_t req, fuse_ino_t parent, const char* name) {
  FileSystem& fs = FileSystem::of(req);
  if (refused(req, parent, name, EPERM)) return;
  const uint64_t dir = fs.ino_of(parent);
  const int64_t result = fs.run(req, Op::kUnlink, {.ino = dir, .name = name}, As::kCaller,
                                [&](const skerry_context* context) {
                                  return skerry_inode_unlink(fs.volume, context, dir, name, 0);
                                });
  FileSystem::reply_status(req, result);
}

/// A removed directory may still be somebody's working directory, whose attributes POSIX wants to
/// be told; the volume has nothing of it any more. Best done before it is gone.
int64_t removing_directory(FileSystem& fs, uint64_t dir, const char* name, const auto& removes) {
  struct skerry_stat stat = {};
  const bool known =
      skerry_inode_lookup(fs.volume, nullptr, dir, name, &stat) == 0 && S_ISDIR(stat.mode);
  const int64_t result = removes();
  if (result == 0 && known) fs.nodes.note_removed(stat);
  return result;
}

void rmdir(fuse_req_t req, fuse_ino_t parent, const char* name) {
  FileSystem& fs = FileSystem::of(req);
  if (refused(req, parent, name, EPERM)) return;
  const uint64_t dir = fs.ino_of(parent);
  const int64_t result = fs.run(
      req, Op::kRmdir, {.ino = dir, .name = name}, As::kCaller, [&](const skerry_context* context) {
        return removing_directory(fs, dir, name, [&] {
          return skerry_inode_unlink(fs.volume, context, dir, name, SKERRY_AT_REMOVEDIR);
        });
      });
  FileSystem::reply_status(req, result);
}

void rename(fuse_req_t req, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
            const char* new_name, unsigned flags) {
  FileSystem& fs = FileSystem::of(req);
  if (refused(req, parent, name, EPERM) || refused(req, new_parent, new_name, EPERM)) return;
  const uint64_t from = fs.ino_of(parent), to = fs.ino_of(new_parent);
  const int64_t result =
      fs.run(req, Op::kRename, {.ino = from, .name = name, .other_ino = to, .other_name = new_name},
             As::kCaller, [&](const skerry_context* context) -> int64_t {
               const auto move = [&] {
                 return skerry_inode_rename(fs.volume, context, from, name, to, new_name, flags);
               };
               // renameat2(2)'s numbers are Skerry's. Without flags a directory may be replaced.
               return flags == 0 ? removing_directory(fs, to, new_name, move) : move();
             });
  FileSystem::reply_status(req, result);
}

}  // namespace

void add_name_operations(fuse_lowlevel_ops* table) {
  table->lookup = lookup;
  table->mknod = mknod;
  table->mkdir = mkdir;
  table->symlink = symlink;
  table->link = link;
  table->unlink = unlink;
  table->rmdir = rmdir;
  table->rename = rename;
}

}  // namespace skerry::fuse
