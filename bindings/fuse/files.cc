// Requests on files: open, read, write, close and what else open files do.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "file_system.h"
#include "wire.h"

namespace skerry::fuse {
namespace {

// The kernel opens programs with it to run them: that needs execute permission, not read.
constexpr int kOpenToRun = 0x20;  // FMODE_EXEC

skerry_file* file_of(const fuse_file_info* fi) { return opened(fi)->file; }

/// The flags Skerry's file is opened with. Where the kernel gathers writes it reads the rest of
/// their pages through any handle, and has decided where appended bytes go.
int flags_of(const FileSystem& fs, int flags) {
  flags &= ~(O_NOFOLLOW | kOpenToRun);
  if (!fs.options.writeback) return flags;
  if ((flags & O_ACCMODE) == O_WRONLY) flags = (flags & ~O_ACCMODE) | O_RDWR;
  return flags & ~O_APPEND;
}

/// Makes the handle, and decides whether the page cache keeps what it has of the file. Keeps a
/// failure: the file is closed then.
OpenFile* make_handle(FileSystem& fs, uint64_t ino, skerry_file* file, fuse_file_info* fi) {
  const int access = fi->flags & O_ACCMODE;
  auto handle = std::make_shared<OpenFile>(file, ino, access != O_RDONLY);
  uint64_t token = 0;
  const bool told = skerry_data_token(file, nullptr, &token) == 0;
  fi->keep_cache =
      fs.nodes.open(handle, told ? std::optional<uint64_t>(token) : std::nullopt) ? 1 : 0;
  // Where appended bytes land only their commit tells, so pages can not be filled with them before.
  if ((fi->flags & O_APPEND) != 0 && access != O_RDONLY && !fs.options.writeback) {
    fi->direct_io = 1;
  }
  // Otherwise who closes a file has to be asked whether he holds locks.
  fi->noflush = access == O_RDONLY && fs.options.local_locks ? 1 : 0;
  fi->fh = reinterpret_cast<uint64_t>(handle.get());
  return handle.get();
}

void open(fuse_req_t req, fuse_ino_t node, fuse_file_info* fi) {
  FileSystem& fs = FileSystem::of(req);
  if (VirtualFiles::owns(node)) return fs.virtual_files.open(req, node, fi);
  const uint64_t ino = fs.ino_of(node);
  skerry_file* file = nullptr;
  const int64_t result = fs.run(
      req, Op::kOpen, {.ino = ino}, As::kCaller, [&](const skerry_context* context) -> int64_t {
        const int flags = flags_of(fs, fi->flags);
        const bool to_run = (fi->flags & kOpenToRun) != 0;
        const bool widened = (flags & O_ACCMODE) != (fi->flags & O_ACCMODE);
        skerry_context root = *context;
        if (to_run || widened) {
          const int allowed =
              skerry_inode_access(fs.volume, context, ino, to_run ? 1 /* X_OK */ : 2 /* W_OK */);
          if (allowed < 0) return allowed;
          root.uid = 0;
        }
        return skerry_inode_open(fs.volume, &root, ino, flags, &file);
      });
  if (result < 0) return FileSystem::reply_status(req, result);
  OpenFile* handle = make_handle(fs, ino, file, fi);
  // Interrupted callers have gone: nobody would close it.
  if (fuse_reply_open(req, fi) == -ENOENT) fs.nodes.close(handle);
}

/// With a name, or without one where O_TMPFILE asks for that.
void create(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, fuse_file_info* fi) {
  FileSystem& fs = FileSystem::of(req);
  const bool nameless = kind_of_request() == Kind::kTmpfile;
  if (VirtualFiles::owns(parent)) return FileSystem::reply_status(req, -EPERM);
  if (!nameless && VirtualFiles::hides(parent, name)) {
    return FileSystem::reply_status(req, -EEXIST);
  }
  const uint64_t dir = fs.ino_of(parent);
  const int flags = flags_of(fs, fi->flags);
  skerry_file* file = nullptr;
  struct skerry_stat stat;
  const int64_t result = nameless
                             ? fs.run(req, Op::kTmpfile, {.ino = dir}, As::kCaller,
                                      [&](const skerry_context* context) {
                                        return skerry_inode_tmpfile(fs.volume, context, dir, flags,
                                                                    mode, &stat, &file);
                                      })
                             : fs.run(req, Op::kCreate, {.ino = dir, .name = name}, As::kCaller,
                                      [&](const skerry_context* context) {
                                        return skerry_inode_create(fs.volume, context, dir, name,
                                                                   flags, mode, &stat, &file);
                                      });
  if (result < 0) return FileSystem::reply_status(req, result);
  OpenFile* handle = make_handle(fs, stat.ino, file, fi);
  const fuse_entry_param entry = fs.entry_of(stat);
  if (fuse_reply_create(req, &entry, fi) == -ENOENT) fs.nodes.close(handle);
}

void read(fuse_req_t req, fuse_ino_t node, size_t size, off_t offset, fuse_file_info* fi) {
  FileSystem& fs = FileSystem::of(req);
  if (VirtualFiles::owns(node)) return fs.virtual_files.read(req, node, size, offset, fi);
  thread_local std::vector<char> buffer;
  if (buffer.size() < size) buffer.resize(size);
  const auto position = static_cast<uint64_t>(offset);
  const int64_t result =
      fs.run(req, Op::kRead, {.ino = opened(fi)->ino, .offset = position, .length = size},
             As::kFile, [&](const skerry_context* context) {
               return skerry_pread(file_of(fi), context, buffer.data(), size, position);
             });
  if (result < 0) return FileSystem::reply_status(req, result);
  fuse_reply_buf(req, buffer.data(), static_cast<size_t>(result));
}

void write(fuse_req_t req, fuse_ino_t node, const char* data, size_t size, off_t offset,
           fuse_file_info* fi) {
  FileSystem& fs = FileSystem::of(req);
  const auto position = static_cast<uint64_t>(offset);
  // The kernel leaves taking them away to us and would go on showing what it has cached.
  const FileSystem::Writer writer = fs.writer_of(req, file_of(fi));
  const int64_t result =
      fs.run(req, Op::kWrite, {.ino = opened(fi)->ino, .offset = position, .length = size},
             writer.as, [&](const skerry_context* context) {
               return skerry_pwrite(file_of(fi), context, data, size, position);
             });
  if (result < 0) return FileSystem::reply_status(req, result);
  if (writer.takes_mode_bits) fs.forget_attributes(node);
  fuse_reply_write(req, static_cast<size_t>(result));
}

void flush(fuse_req_t req, fuse_ino_t node, fuse_file_info* fi) {
  FileSystem& fs = FileSystem::of(req);
  if (VirtualFiles::owns(node)) return FileSystem::reply_status(req, 0);
  const int64_t result = fs.run(req, Op::kFlush, {.ino = opened(fi)->ino}, As::kFile,
                                [&](const skerry_context* context) {
                                  const int flushed = skerry_flush(file_of(fi), context);
                                  // Any close(2) gives up all record locks of the process that
                                  // closes.
                                  if (!fs.options.local_locks) {
                                    skerry_release_owner(file_of(fi), context, fi->lock_owner);
                                  }
                                  return flushed;
                                });
  FileSystem::reply_status(req, result);
}

void release(fuse_req_t req, fuse_ino_t node, fuse_file_info* fi) {
  FileSystem& fs = FileSystem::of(req);
  if (VirtualFiles::owns(node)) return fs.virtual_files.release(req, node, fi);
  // What close(2) reports was reported by flush: nobody waits for this.
  const int64_t result =
      fs.run(req, Op::kRelease, {.ino = opened(fi)->ino}, As::kRoot, [&](const skerry_context*) {
        // The watcher may keep the file open a moment longer.
        if (!fs.options.local_locks) skerry_flock(file_of(fi), nullptr, SKERRY_LOCK_UN);
        fs.nodes.close(opened(fi));
        return 0;
      });
  FileSystem::reply_status(req, result);
}

void fsync(fuse_req_t req, fuse_ino_t node, int, fuse_file_info* fi) {
  FileSystem& fs = FileSystem::of(req);
  if (VirtualFiles::owns(node)) return FileSystem::reply_status(req, 0);
  const int64_t result =
      fs.run(req, Op::kFsync, {.ino = opened(fi)->ino}, As::kFile,
             [&](const skerry_context* context) { return skerry_fsync(file_of(fi), context); });
  FileSystem::reply_status(req, result);
}

void fallocate(fuse_req_t req, fuse_ino_t node, int mode, off_t offset, off_t length,
               fuse_file_info* fi) {
  FileSystem& fs = FileSystem::of(req);
  const auto begin = static_cast<uint64_t>(offset), bytes = static_cast<uint64_t>(length);
  const FileSystem::Writer writer = fs.writer_of(req, file_of(fi));
  const int64_t result = fs.run(
      req, Op::kFallocate, {.ino = opened(fi)->ino, .offset = begin, .length = bytes}, writer.as,
      [&](const skerry_context* context) {
        return skerry_fallocate(file_of(fi), context, static_cast<uint32_t>(mode), begin, bytes);
      });
  if (result >= 0 && writer.takes_mode_bits) fs.forget_attributes(node);
  FileSystem::reply_status(req, result);
}

void copy_file_range(fuse_req_t req, fuse_ino_t from_node, off_t from_offset, fuse_file_info* from,
                     fuse_ino_t to_node, off_t to_offset, fuse_file_info* to, size_t length, int) {
  FileSystem& fs = FileSystem::of(req);
  if (VirtualFiles::owns(from_node)) return FileSystem::reply_status(req, -EOPNOTSUPP);
  const auto source = static_cast<uint64_t>(from_offset), target = static_cast<uint64_t>(to_offset);
  const FileSystem::Writer writer = fs.writer_of(req, file_of(to));
  const int64_t result = fs.run(
      req, Op::kCopyFileRange,
      {.ino = opened(from)->ino, .offset = source, .length = length, .other_ino = opened(to)->ino},
      writer.as, [&](const skerry_context* context) {
        // The answer is an unsigned 32-bit number on the wire.
        return skerry_copy_file_range(file_of(from), source, file_of(to), target,
                                      std::min<size_t>(length, 1u << 30), context);
      });
  if (result < 0) return FileSystem::reply_status(req, result);
  if (writer.takes_mode_bits) fs.forget_attributes(to_node);
  fuse_reply_write(req, static_cast<size_t>(result));
}

// Skerry knows holes to the byte. On other file systems a block either is a hole or has data, and
// programs reckon with that.
constexpr uint64_t kBlock = 4096;
constexpr int kMostBlocks = 1000;  // with a hole in them that are passed over at once

int64_t seek_data(skerry_file* file, const skerry_context* context, uint64_t begin, uint64_t size) {
  if (begin >= size) return -ENXIO;
  const int64_t data = skerry_seek_data(file, context, begin / kBlock * kBlock, SEEK_DATA);
  if (data < 0) return data;
  return static_cast<int64_t>(std::max(begin, static_cast<uint64_t>(data) / kBlock * kBlock));
}

int64_t seek_hole(skerry_file* file, const skerry_context* context, uint64_t begin, uint64_t size) {
  uint64_t position = begin;
  for (int i = 0;; ++i) {
    if (position >= size) return position == begin ? -ENXIO : static_cast<int64_t>(size);
    const int64_t hole = skerry_seek_data(file, context, position, SEEK_HOLE);
    if (hole < 0 || i == kMostBlocks) return hole;
    const uint64_t block = static_cast<uint64_t>(hole) / kBlock * kBlock;
    const int64_t data = skerry_seek_data(file, context, block, SEEK_DATA);
    if (data == -ENXIO || data >= static_cast<int64_t>(block + kBlock)) return hole;
    if (data < 0) return data;
    position = block + kBlock;
  }
}

void lseek(fuse_req_t req, fuse_ino_t node, off_t offset, int whence, fuse_file_info* fi) {
  FileSystem& fs = FileSystem::of(req);
  if (VirtualFiles::owns(node)) return FileSystem::reply_status(req, -EINVAL);
  const auto begin = static_cast<uint64_t>(offset);
  const int64_t result = fs.run(req, Op::kLseek, {.ino = opened(fi)->ino, .offset = begin},
                                As::kFile, [&](const skerry_context* context) -> int64_t {
                                  skerry_file* file = file_of(fi);
                                  struct skerry_stat stat;
                                  const int told = skerry_fstat(file, context, &stat);
                                  if (told < 0) return told;
                                  return whence == SEEK_HOLE
                                             ? seek_hole(file, context, begin, stat.size)
                                             : seek_data(file, context, begin, stat.size);
                                });
  if (result < 0) return FileSystem::reply_status(req, result);
  fuse_reply_lseek(req, result);
}

}  // namespace

void add_file_operations(fuse_lowlevel_ops* table) {
  table->open = open;
  table->create = create;
  table->read = read;
  table->write = write;
  table->flush = flush;
  table->release = release;
  table->fsync = fsync;
  table->fallocate = fallocate;
  table->copy_file_range = copy_file_range;
  table->lseek = lseek;
}

}  // namespace skerry::fuse
