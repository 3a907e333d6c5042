#include "file_system.h"

#include <algorithm>

namespace skerry::fuse {
namespace {

constexpr uint32_t kPreferredIo = 1 << 20;  // what cp(1) reads and writes at once

void init(void* userdata, fuse_conn_info* connection) {
  const Options& options = static_cast<FileSystem*>(userdata)->options;
  const auto want = [&](unsigned capability, bool wanted) {
    if (wanted) {
      connection->want |= connection->capable & capability;
    } else {
      connection->want &= ~capability;
    }
  };
  want(FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS, true);
  // The kernel does not drop the cached pages that an asynchronous direct write has made old, so
  // whoever reads them afterwards would get the bytes of before.
  want(FUSE_CAP_ASYNC_DIO, false);
  want(FUSE_CAP_EXPORT_SUPPORT, true);
  // With it a program that runs is cut by open(O_RDONLY | O_TRUNC), and ETXTBSY told afterwards.
  want(FUSE_CAP_ATOMIC_O_TRUNC, false);
  want(FUSE_CAP_DONT_MASK, true);  // the umask comes with each request, for ACLs may outweigh it
  // The kernel then asks for the ACLs of what it checks, and keeps them as long as attributes. It
  // takes the checking upon itself with that, which is not wanted without default_permissions.
  want(FUSE_CAP_POSIX_ACL, options.default_permissions);
  want(FUSE_CAP_IOCTL_DIR, true);  // inode flags of directories
  want(FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO, true);
  want(FUSE_CAP_CACHE_SYMLINKS, true);  // an inode's target never changes
  want(FUSE_CAP_WRITEBACK_CACHE, options.writeback);
  want(FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS, !options.local_locks);
  // The kernel would go on showing the mode it has cached. The second form of it, which does not
  // need that, is not libfuse's to ask for: see wire.h.
  want(FUSE_CAP_HANDLE_KILLPRIV, false);
  // Cached bytes go when the file's version says so (Nodes), not when its mtime differs. A length
  // that differs always drops them.
  want(FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_EXPLICIT_INVAL_DATA, false);
  // Data ends in this process's memory or comes from there, so a pipe would only be one step more.
  want(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE, false);
  connection->max_write = options.max_io;
  connection->max_read = options.max_io;
  connection->max_background = options.max_background;
  connection->congestion_threshold = std::max(1u, options.max_background * 3 / 4);
}

void forget_one(FileSystem& fs, fuse_ino_t node) {
  if (!VirtualFiles::owns(node)) fs.nodes.forget(fs.ino_of(node));
}

void forget(fuse_req_t req, fuse_ino_t node, uint64_t) {
  forget_one(FileSystem::of(req), node);
  fuse_reply_none(req);
}

void forget_multi(fuse_req_t req, size_t count, fuse_forget_data* forgets) {
  FileSystem& fs = FileSystem::of(req);
  for (size_t i = 0; i < count; ++i) forget_one(fs, forgets[i].ino);
  fuse_reply_none(req);
}

void statfs(fuse_req_t req, fuse_ino_t) {
  FileSystem& fs = FileSystem::of(req);
  struct skerry_statvfs usage = {};
  const int64_t result = fs.run(
      req, Op::kStatfs, {}, As::kRoot,
      [&](const skerry_context* context) { return skerry_statvfs(fs.volume, context, &usage); });
  if (result < 0) return FileSystem::reply_status(req, result);
  constexpr uint64_t kUnit = 4096;
  struct statvfs out = {};
  out.f_bsize = kPreferredIo;
  out.f_frsize = kUnit;
  out.f_blocks = usage.total_bytes / kUnit;
  const uint64_t used = (usage.used_bytes + kUnit - 1) / kUnit;
  out.f_bfree = out.f_bavail = out.f_blocks > used ? out.f_blocks - used : 0;
  out.f_files = usage.total_inodes;
  out.f_ffree = out.f_favail =
      usage.total_inodes > usage.used_inodes ? usage.total_inodes - usage.used_inodes : 0;
  out.f_namemax = usage.name_max;
  fuse_reply_statfs(req, &out);
}

}  // namespace

FileSystem::Writer FileSystem::writer_of(fuse_req_t req, skerry_file* file) const {
  Writer writer;
  if (fuse_req_ctx(req)->uid == 0) return writer;
  struct skerry_stat stat;
  if (skerry_fstat(file, nullptr, &stat) < 0) return writer;
  writer.takes_mode_bits = (stat.mode & (S_ISUID | S_ISGID)) != 0;
  // Members of the group leave set-group-ID where the group may not execute, and to ask for the
  // groups of each writer would be dear.
  if ((stat.mode & (S_ISGID | S_IXGRP)) == S_ISGID) writer.as = As::kCaller;
  return writer;
}

void FileSystem::forget_attributes(fuse_ino_t node) const {
  // A negative offset: no pages. An error says that the kernel does not know the inode.
  fuse_lowlevel_notify_inval_inode(session, node, -1, 0);
}

struct stat FileSystem::attributes_of(const struct skerry_stat& from) const {
  struct stat to = {};
  to.st_ino = from.ino;
  to.st_mode = from.mode;
  to.st_nlink = from.nlink;
  to.st_uid = from.uid;
  to.st_gid = from.gid;
  to.st_rdev = from.rdev;
  to.st_size = static_cast<off_t>(from.size);
  to.st_blocks = static_cast<blkcnt_t>(from.blocks);
  to.st_blksize = kPreferredIo;
  to.st_atim = {from.atime.sec, from.atime.nsec};
  to.st_mtim = {from.mtime.sec, from.mtime.nsec};
  to.st_ctim = {from.ctime.sec, from.ctime.nsec};
  return to;
}

fuse_entry_param FileSystem::entry_of(const struct skerry_stat& from) const {
  fuse_entry_param entry = {};
  entry.ino = node_of(from.ino);
  entry.attr = attributes_of(from);
  entry.attr_timeout = options.attribute_seconds();
  entry.entry_timeout = options.entry_seconds();
  return entry;
}

void FileSystem::reply_entry(fuse_req_t req, int64_t result, const struct skerry_stat& stat) {
  if (result < 0) return reply_status(req, result);
  const fuse_entry_param entry = entry_of(stat);
  fuse_reply_entry(req, &entry);
}

fuse_lowlevel_ops operations() {
  fuse_lowlevel_ops table = {};
  table.init = init;
  table.forget = forget;
  table.forget_multi = forget_multi;
  table.statfs = statfs;
  add_name_operations(&table);
  add_attribute_operations(&table);
  add_file_operations(&table);
  add_directory_operations(&table);
  add_ioctl_operations(&table);
  add_lock_operations(&table);
  return table;
}

}  // namespace skerry::fuse
