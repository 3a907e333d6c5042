// Knows, without asking SQLite, whether another client has committed to the database.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>

#include "meta/stores/sqlite/vfs_ofd.h"

namespace skerry::meta::sqlite {

/// Compares the header of the WAL index, which every commit changes, with the last one that this
/// store is known to have left. Thread-safe; one for all connections of a store.
///
/// Why that is exact. A commit becomes visible to anyone when its header is written to the shared
/// memory, and only the holder of the WAL's write lock writes it. write_locked() runs after we took
/// that lock and write_unlocking() before we give it back, so between them every change is ours and
/// at the first nothing of ours is pending: whatever differs there from `known_` is another's.
/// `sequence_` is odd between them. generation() either finds it odd (then nobody else can commit,
/// and what they did before was counted by write_locked()), or finds it even and unchanged around
/// its look at the header. A header of ours is never taken for another's: SQLite writes the first
/// copy after the barrier that it asks the VFS for (a full fence, after the odd store), and
/// generation() loads it with acquire, so whoever sees a word of it sees `sequence_` changed too.
/// A header read while it is being written differs in some word from `known_`, or equals it and
/// then the look counts as having come before that commit, which has not returned yet. The words
/// are never equal again later: the header holds a counter of commits, and salts and checksums that
/// a restart of the WAL draws anew.
class WalWatch final : public WriteLockObserver {
 public:
  /// `wal_index_header` stays mapped until the store is gone.
  void attach(const void* wal_index_header) noexcept;

  /// The same value while no other client commits.
  uint64_t generation() noexcept;
  /// For the holder of the write lock: what generation() says, without looking.
  uint64_t counted() const noexcept { return generation_.load(std::memory_order_acquire); }

  void write_locked(const void* wal_index_header) noexcept override;
  void write_unlocking(const void* wal_index_header) noexcept override;
  void recovering() noexcept override;

 private:
  static constexpr size_t kWords = 6;  // 48 bytes
  using Words = std::array<uint64_t, kWords>;

  static Words load(const void* header) noexcept;
  bool is_known(const Words& words) const noexcept;
  void set_known(const Words& words) noexcept;
  void count_other() noexcept;
  uint64_t count_unless_ours() noexcept;

  std::atomic<const void*> header_{nullptr};
  std::atomic<uint64_t> sequence_{0};
  std::atomic<uint64_t> generation_{1};
  std::array<std::atomic<uint64_t>, kWords> known_{};  // written under mutex_
  std::mutex mutex_;
};

}  // namespace skerry::meta::sqlite
