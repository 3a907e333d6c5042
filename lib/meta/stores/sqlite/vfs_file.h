// The file object of the VFS, shared by its halves: files and locks, and the WAL index.
#pragma once

#include <sqlite3.h>

#include <atomic>
#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include "meta/stores/sqlite/vfs_ofd.h"

namespace skerry::meta::sqlite {

/// Keeps errno for cause_of_failure(); returns `rc`.
int failed(int rc) noexcept;

/// A connection's mapping of the WAL index.
struct WalIndex {
  int fd = -1;
  std::string path;
  std::vector<void*> regions;
  size_t region_size = 0;
  // regions[0]: read by threads other than the connection's.
  std::atomic<const void*> header{nullptr};
};

struct OfdFile {
  sqlite3_file base;  // first: SQLite sees this alone
  int fd = -1;
  int lock = SQLITE_LOCK_NONE;
  VfsFile kind = VfsFile::kDatabase;
  bool persist_wal = false;
  std::atomic<bool> sync_directory{false};
  std::string path;
  VfsHooks hooks;
  std::unique_ptr<WalIndex> wal_index;
  OfdFile* next = nullptr;  // the list of all open files
  OfdFile* previous = nullptr;

  int fault(VfsOp op) const noexcept { return fault(op, kind); }
  int fault(VfsOp op, VfsFile file) const noexcept {
    if (hooks.faults == nullptr) return SQLITE_OK;
    const int rc = hooks.faults->before(op, file);
    if (rc != SQLITE_OK) {
      errno = 0;  // what failed is the hook's answer, not a system call
      failed(rc);
    }
    return rc;
  }
};

inline OfdFile* ofd_file(sqlite3_file* file) { return reinterpret_cast<OfdFile*>(file); }

/// Locks (F_RDLCK, F_WRLCK) or unlocks (F_UNLCK) bytes for this descriptor, without waiting.
/// SQLITE_BUSY if another holds them.
int set_lock(int fd, short type, int64_t start, int64_t length, int io_error) noexcept;
/// Whether another descriptor holds a lock that excludes writing `start`, and which.
int test_lock(int fd, int64_t start, short* type) noexcept;
/// open(2), closed on exec, never one of the descriptors 0, 1, 2.
int open_descriptor(const char* path, int flags, unsigned mode) noexcept;

int wal_index_map(sqlite3_file* file, int region, int region_size, int extend,
                  void volatile** out) noexcept;
int wal_index_lock(sqlite3_file* file, int offset, int count, int flags) noexcept;
void wal_index_barrier(sqlite3_file* file) noexcept;
int wal_index_unmap(sqlite3_file* file, int remove) noexcept;

}  // namespace skerry::meta::sqlite
