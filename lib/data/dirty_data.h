// DirtyData: what was written to a file and is not committed yet, as disjoint segments.
//
// The file is cut into windows of block_bytes (never across a chunk's end). A slice is begun by a
// write that neither continues nor overlaps an open slice of its window; others join. Overwriting a
// slice that is frozen (being stored, or stored) hides that part of it: segments never overlap, so
// what an application writes many times is stored once, and the order in which the segments of one
// commit are applied does not matter.
//
// Not thread-safe: the owner's mutex guards it, and the bytes of slices that are open.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "meta/records.h"

namespace skerry::data {

/// Memory that all buffers of a client share: the count, and pieces kept for reuse.
class BufferPool {
 public:
  static constexpr size_t kPieceBytes = size_t{64} << 10;

  std::unique_ptr<std::byte[]> take_piece();
  void give_piece(std::unique_ptr<std::byte[]> piece);
  void charge(uint64_t bytes) { used_.fetch_add(bytes, std::memory_order_relaxed); }
  void discharge(uint64_t bytes) { used_.fetch_sub(bytes, std::memory_order_acq_rel); }
  uint64_t used() const { return used_.load(std::memory_order_acquire); }
  /// Charges `bytes` if the sum stays within `bound`, or if nothing is charged yet.
  bool try_charge(uint64_t bytes, uint64_t bound);

 private:
  static constexpr size_t kMaxFree = 128;  // 8 MiB
  std::atomic<uint64_t> used_{0};
  std::mutex mutex_;
  std::vector<std::unique_ptr<std::byte[]>> free_;  // guarded by mutex_
};

/// Bytes admitted to the buffers and not allocated yet; what is left goes back.
class BufferCredit {
 public:
  explicit BufferCredit(BufferPool& pool) : pool_(pool) {}
  ~BufferCredit() { pool_.discharge(left_); }
  BufferCredit(const BufferCredit&) = delete;
  BufferCredit& operator=(const BufferCredit&) = delete;
  void add(uint64_t charged_bytes) { left_ += charged_bytes; }
  /// Accounts an allocation: from the credit, beyond it from the pool.
  void spend(uint64_t bytes) {
    const uint64_t covered = bytes < left_ ? bytes : left_;
    left_ -= covered;
    if (bytes > covered) pool_.charge(bytes - covered);
  }
  BufferPool& pool() { return pool_; }

 private:
  BufferPool& pool_;
  uint64_t left_ = 0;
};

/// The bytes of one slice, in pieces that are allocated as they are needed. Pieces but the last are
/// whole multiples of the page size, as frame_slice wants them.
class SliceBuffer {
 public:
  /// What a slice costs besides its bytes.
  static constexpr uint64_t kOverheadBytes = 512;

  explicit SliceBuffer(BufferCredit& credit) : pool_(credit.pool()), allocated_(kOverheadBytes) {
    credit.spend(kOverheadBytes);
  }
  ~SliceBuffer() { clear(); }
  SliceBuffer(const SliceBuffer&) = delete;
  SliceBuffer& operator=(const SliceBuffer&) = delete;

  uint64_t length() const { return length_; }
  uint64_t allocated_bytes() const { return allocated_; }
  /// Grows at need; `offset` is at most length().
  void write(uint64_t offset, ByteView bytes, BufferCredit& credit);
  void read(uint64_t offset, MutableBytes out) const;
  std::vector<ByteView> views() const;
  /// Gives the memory back.
  void clear();

 private:
  void grow(uint64_t length, BufferCredit& credit);

  BufferPool& pool_;
  std::vector<std::unique_ptr<std::byte[]>> pieces_;
  size_t first_capacity_ = 0;  // of pieces_[0]; the others have kPieceBytes
  uint64_t length_ = 0;
  uint64_t allocated_;
};

/// One slice: open while writes may join it, then frozen, being stored, stored.
struct Slice {
  explicit Slice(BufferCredit& credit) : buffer(credit) {}

  enum class State : uint8_t { kOpen, kFrozen, kStoring, kStored };
  State state = State::kOpen;
  bool abandoned = false;  // nothing shows it any more
  uint32_t segments = 0;   // how many show it
  uint64_t length = 0;
  SliceBuffer buffer;         // released once stored
  meta::Extent extent;        // once stored
  meta::ClientId client = 0;  // the session it was stored under
};

struct Segment {
  uint64_t length = 0;
  uint64_t skip = 0;  // begins so far into the slice
  std::shared_ptr<Slice> slice;
};

class DirtyData {
 public:
  using Segments = std::map<uint64_t, Segment>;  // by position in the file, or in the append

  bool append = false;  // positions count from the end that the file has at commit
  uint32_t clear_mode = 0;
  TimeNs mtime_ns = 0;
  uint64_t serial = 0;  // of the newest write in it

  bool empty() const { return segments_.empty(); }
  const Segments& segments() const { return segments_; }
  uint64_t begin() const { return segments_.begin()->first; }
  uint64_t end() const { return end_; }
  /// Bytes of memory its slices hold.
  uint64_t memory_bytes() const;
  bool all_in_memory() const;

  /// Takes the bytes, which lie in one window. Slices that nothing shows any more go to `dropped`;
  /// one that became full and is worth storing early goes to `full`, frozen.
  void write(uint64_t offset, ByteView bytes, uint64_t block_bytes, BufferCredit& credit,
             std::vector<std::shared_ptr<Slice>>* dropped, std::shared_ptr<Slice>* full);
  /// Joins open neighbours of one window into one slice each and freezes all.
  void freeze(uint64_t block_bytes, BufferPool& pool);
  void freeze_open();
  /// Forgets what lies at `end` and behind; all segments are frozen.
  void cut_at(uint64_t end, std::vector<std::shared_ptr<Slice>>* dropped);
  void clear() { *this = DirtyData(); }

  /// The end of the window that holds `offset`.
  static uint64_t window_end(uint64_t offset, uint64_t block_bytes);

 private:
  void hide(uint64_t begin, uint64_t end, std::vector<std::shared_ptr<Slice>>* dropped);

  Segments segments_;
  uint64_t end_ = 0;
};

}  // namespace skerry::data
