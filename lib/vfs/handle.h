// Handle: one open file or directory, as open(2) makes it. What was allowed when it was opened
// stays allowed, whatever happens to the file's mode afterwards.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "data/file_store.h"
#include "io/op_context.h"
#include "meta/ops.h"
#include "vfs/volume.h"

namespace skerry::vfs {

inline constexpr uint64_t kMaxOffset = INT64_MAX;  // of off_t

/// Thread-safe. The volume outlives it. Offsets above INT64_MAX are EINVAL, as for off_t.
class Handle {
 public:
  /// `attr` is what was opened; `flags` as of open(2). Made by open_file(). `opened_ns`: see
  /// below.
  Handle(Volume& volume, const meta::Attributes& attr, int flags, TimeNs opened_ns);
  /// Opens by inode what the same process had open before it forked: no permission is checked
  /// again, nothing is created or cut. ESTALE if the file is gone.
  static Result<std::unique_ptr<Handle>> reopen(const OpContext& ctx, Volume& volume, meta::Ino ino,
                                                int flags);
  ~Handle();
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  Volume& volume() const { return volume_; }
  meta::Ino ino() const { return ino_; }
  int flags() const { return flags_; }
  bool is_directory() const { return type_ == meta::FileType::kDirectory; }
  meta::FileType type() const { return type_; }
  /// What was read before it is not told through this handle; 0: the volume's consistency says it
  /// all.
  TimeNs opened_ns() const { return opened_ns_; }
  /// O_TMPFILE | O_EXCL: the file may never get a name.
  bool nameless() const { return nameless_; }
  /// EBADF where the handle was not opened for it, EISDIR for directories.
  Status check_readable() const;
  Status check_writable() const;
  /// EBADF for a handle opened with O_PATH.
  Status check_not_path() const;
  /// Null for what has no data here: directories, special files, O_PATH.
  const std::shared_ptr<data::OpenInode>& inode() const { return inode_; }

  /// What was read leaves its access time behind, where the volume's mode and O_NOATIME let it.
  void note_read() {
    if (mark_ != nullptr) [[unlikely]]
      volume_.access_times().note(*mark_);
  }

  // ---- read.cc
  Result<size_t> read(const OpContext& ctx, uint64_t offset, MutableBytes out);
  Result<size_t> read_pieces(const OpContext& ctx, uint64_t offset, const MutableBytes* pieces,
                             size_t count);
  Result<data::CacheView> view(const OpContext& ctx, uint64_t offset, uint64_t length);
  Result<uint64_t> seek_data(const OpContext& ctx, uint64_t offset, int whence);

  // ---- write.cc
  Status write(const OpContext& ctx, uint64_t offset, ByteView bytes);
  Status truncate(const OpContext& ctx, uint64_t length);
  Status allocate(const OpContext& ctx, uint32_t mode, uint64_t offset, uint64_t length);
  /// copy_file_range(2); both handles of one volume.
  static Result<uint64_t> copy_range(const OpContext& ctx, Handle& from, uint64_t from_offset,
                                     Handle& to, uint64_t to_offset, uint64_t length);
  // ---- lock.cc
  /// fcntl(2) with F_SETLK and F_SETLKW, flock(2): takes `lock` for its owner; see LockTable. EBADF
  /// where the access mode does not fit a record lock, EINVAL where it is no regular file.
  Status lock(const OpContext& ctx, const meta::FileLock& lock, bool wait);
  Status unlock(const OpContext& ctx, const meta::FileLock& lock);
  Result<std::optional<meta::LockHolder>> find_lock(const OpContext& ctx,
                                                    const meta::FileLock& wanted);
  /// The owner of this handle's flock(2) locks.
  uint64_t flock_owner() const { return serial_; }
  /// What close(2) does after flush(): gives up the flock, the record locks of the volume's default
  /// owner (0), and those of owners who have come to this file by this handle alone. Never fails
  /// for good: what cannot be released is tried again. Idempotent.
  void release_locks(const OpContext& ctx);
  /// The same for one owner's record locks of the file, wherever they were taken.
  void release_owner(const OpContext& ctx, uint64_t owner);
  /// EIO once the session was lost while this client held locks of the file.
  Status check_not_lost(const OpContext& ctx);

  /// fsync(2).
  Status sync(const OpContext& ctx);
  /// What close(2) does before the descriptor is gone: what was written here is stored, durable,
  /// and errors not told yet are told.
  Status flush(const OpContext& ctx);

  /// fstat(2), with what this client has written and not flushed.
  Result<meta::Attributes> attributes(const OpContext& ctx);
  /// See OpenInode::data_token().
  Result<uint64_t> data_token(const OpContext& ctx);

 private:
  Result<meta::Attributes> committed_or_dirty(const OpContext& ctx);
  uint32_t cleared_mode(const OpContext& ctx) const;
  /// EPERM where the file has one of these inode flags by now.
  Status refuse(const OpContext& ctx, uint32_t inode_flags);
  Status written(const OpContext& ctx, Status result);
  Status told(Status flushed);
  Status changeable(const OpContext& ctx, OpContext* bound);

  Volume& volume_;
  const meta::Ino ino_;
  const meta::FileType type_;
  const int flags_;
  const bool readable_;
  const bool writable_;
  const bool nameless_;
  bool counted_ = false;                          // noted as open in Meta by this handle itself
  const std::shared_ptr<data::OpenInode> inode_;  // shared with all handles of this inode
  const uint64_t serial_;                         // differs between all handles of the volume
  uint64_t losses_ = 0;                           // of the inode when this was opened
  data::ReadaheadState readahead_;
  const std::shared_ptr<AccessMark> mark_;  // null where reading leaves no trace
  std::atomic<bool> wrote_{false};
  std::mutex error_mutex_;
  uint64_t errors_seen_ = 0;  // guarded by error_mutex_
  meta::Attributes at_open_;
  const TimeNs opened_ns_;
};

/// open(2) and openat(2). `at`: null for the root.
Result<std::unique_ptr<Handle>> open_file(const OpContext& ctx, Volume& volume, const Handle* at,
                                          std::string_view path, int flags, uint32_t mode);
/// The same for a file that a walk has found, as if O_CREAT had not been given.
Result<std::unique_ptr<Handle>> open_found(const OpContext& ctx, Volume& volume,
                                           const meta::Attributes& attr, int flags);
/// EINVAL for flags that open(2) refuses.
Status check_open_flags(int flags);

/// Where a relative path starts: EBADF and ENOTDIR as openat(2). An absolute path needs no `at`.
Result<meta::Ino> start_of(const Volume& volume, const Handle* at, std::string_view path);

}  // namespace skerry::vfs
