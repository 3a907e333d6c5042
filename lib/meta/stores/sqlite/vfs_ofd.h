// SQLite's view of files, with locks that belong to the open file description.
//
// The unix VFS of SQLite uses POSIX record locks. These belong to the process and vanish when *any*
// descriptor of the file is closed, so it keeps a process-wide table of inodes, and a forked child
// can use neither its parent's connections nor, safely, that table. This VFS takes the same lock
// bytes with F_OFD_SETLK: each connection owns its locks, a child opens its own connections and
// merely drops the descriptors it inherited. The locks exclude, and are excluded by, those of any
// ordinary SQLite program, because the kernel compares both kinds. Linux only.
#pragma once

#include <sqlite3.h>

#include <cstdint>

namespace skerry::meta::sqlite {

inline constexpr char kVfsName[] = "skerry-ofd";

enum class VfsOp : uint8_t { kOpen, kRead, kWrite, kTruncate, kSync, kSize, kLock, kMap };
enum class VfsFile : uint8_t { kDatabase, kWal, kJournal, kWalIndex };

/// For tests: decides what a call of the VFS answers.
class VfsFaults {
 public:
  virtual ~VfsFaults() = default;
  /// SQLITE_OK lets the call go on; anything else is its answer. Any thread.
  virtual int before(VfsOp op, VfsFile file) noexcept = 0;
};

/// Told when a connection takes and gives back the WAL's write lock, both while it is held, with
/// the first copy of the WAL-index header (48 bytes in shared memory; null if not mapped).
class WriteLockObserver {
 public:
  virtual ~WriteLockObserver() = default;
  virtual void write_locked(const void* wal_index_header) noexcept = 0;
  virtual void write_unlocking(const void* wal_index_header) noexcept = 0;
  /// The connection rebuilds the WAL index after a crash: others' commits may come to light.
  virtual void recovering() noexcept = 0;
};

/// What a connection brings along. Both may be null; both outlive the connection.
struct VfsHooks {
  VfsFaults* faults = nullptr;
  WriteLockObserver* observer = nullptr;
};

/// Registers the VFS (not as the default) and the fork handlers, once in the process. An SQLite
/// result code.
int register_ofd_vfs() noexcept;

/// Databases opened by this thread during its lifetime get `hooks`.
class VfsHooksScope {
 public:
  explicit VfsHooksScope(const VfsHooks& hooks) noexcept;
  ~VfsHooksScope();
  VfsHooksScope(const VfsHooksScope&) = delete;
  VfsHooksScope& operator=(const VfsHooksScope&) = delete;
};

/// The shared memory of the WAL index that `db` has mapped, or null before its first read. Valid
/// until the connection closes.
const void* mapped_wal_index(sqlite3* db) noexcept;

/// The open WAL of `db`, or null. Valid until the connection closes.
sqlite3_file* wal_file(sqlite3* db) noexcept;
/// fdatasync() of `file` (and of its directory the first time): touches nothing that belongs to
/// SQLite, so any thread may call it while the connection is at work. An SQLite result code.
int sync_file(sqlite3_file* file) noexcept;

/// The errno of the last call of the VFS on this thread that failed; 0 where a hook said so. Better
/// than sqlite3_system_errno(), which does not learn of a COMMIT's.
int cause_of_failure() noexcept;

}  // namespace skerry::meta::sqlite
