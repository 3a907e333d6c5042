// CachedSlice: one slice in the memory cache, with its buffer, its page bitmaps and its pins.
// Internal to block_cache.cc.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>

#include "data/block_cache.h"
#include "data/block_format.h"

namespace skerry::data {

/// What a cache and the slices that outlive it (pinned by views) count together.
struct CacheLedger {
  std::atomic<uint64_t> used_bytes{0};   // every slice until it is freed
  std::atomic<uint64_t> limbo_bytes{0};  // of these: evicted, and some reader may still be inside
  std::atomic<uint64_t> mapped_slices{0};
};

class CachedSlice {
 public:
  enum class Queue : uint8_t { kNone, kSmall, kMain };

  /// With one pin: the cache's. Null if memory is short. `dense`: most of it is filled soon.
  static CachedSlice* make(const SliceKey& key, uint64_t length, bool dense, bool may_map,
                           std::shared_ptr<CacheLedger> ledger) noexcept;
  /// The charge that make() would begin with.
  static uint64_t initial_charge(uint64_t length, bool dense, bool may_map) noexcept;

  void pin() noexcept { pins_.fetch_add(1, std::memory_order_relaxed); }
  void unpin() noexcept {
    if (pins_.fetch_sub(1, std::memory_order_acq_rel) == 1) destroy();
  }
  bool pinned_by_others() const noexcept { return pins_.load(std::memory_order_relaxed) > 1; }

  const SliceKey& key() const noexcept { return key_; }
  uint64_t length() const noexcept { return length_; }
  uint64_t pages() const noexcept { return (length_ + kPageBytes - 1) / kPageBytes; }
  std::byte* data() const noexcept { return data_; }
  /// Its memory is charged page by page; else all of it from the beginning.
  bool mapped() const noexcept { return mapped_bytes_ != 0; }

  bool present(uint64_t first_page, uint64_t end_page) const noexcept {
    return first_not_present(first_page, end_page) == end_page;
  }
  /// The first page in [page, end_page) that is not there, or end_page.
  uint64_t first_not_present(uint64_t page, uint64_t end_page) const noexcept {
    return scan(page, end_page, 0);
  }
  uint64_t first_present(uint64_t page, uint64_t end_page) const noexcept {
    return scan(page, end_page, ~uint64_t{0});
  }

  /// Notes a read of [begin, end). Reading through a slice once, in whatever steps, covers the last
  /// byte of each page once; who covers one a second time reads again what was read before. Only
  /// that counts as a reference, or every scan would look popular.
  void touch(uint64_t begin, uint64_t end) noexcept {
    uint64_t whole_pages = end == length_ ? pages() : end / kPageBytes;
    if (whole_pages == 0 || std::min(whole_pages * kPageBytes, length_) <= begin) return;
    uint64_t page = whole_pages - 1;
    std::atomic<uint64_t>& seen = bitmap(kSeen)[page / 64];
    uint64_t bit = uint64_t{1} << (page % 64);
    if ((seen.load(std::memory_order_relaxed) & bit) == 0) {
      seen.fetch_or(bit, std::memory_order_relaxed);
      return;
    }
    uint8_t references = references_.load(std::memory_order_relaxed);
    if (references < kMaxReferences)
      references_.store(static_cast<uint8_t>(references + 1), std::memory_order_relaxed);
  }
  uint8_t references() const noexcept { return references_.load(std::memory_order_relaxed); }
  void set_references(uint8_t n) noexcept { references_.store(n, std::memory_order_relaxed); }

  /// Pages of word `word` in `wanted` that nobody has filled or begun to fill become the caller's
  /// to fill. The caller holds the shard's mutex.
  uint64_t claim(uint64_t word, uint64_t wanted) noexcept {
    std::atomic<uint64_t>& claimed = bitmap(kClaimed)[word];
    uint64_t before = claimed.load(std::memory_order_relaxed);
    claimed.store(before | wanted, std::memory_order_relaxed);
    return wanted & ~before;
  }
  uint64_t unclaimed(uint64_t word, uint64_t wanted) const noexcept {
    return wanted & ~bitmap(kClaimed)[word].load(std::memory_order_relaxed);
  }
  /// Makes filled pages visible to readers.
  void publish(uint64_t word, uint64_t pages) noexcept {
    bitmap(kPresent)[word].fetch_or(pages, std::memory_order_release);
  }

  // Of the table and the queues: written under the mutex of the slice's shard.
  std::atomic<CachedSlice*> next{nullptr};  // in its bucket; read by readers
  CachedSlice* newer = nullptr;             // in its queue
  CachedSlice* older = nullptr;             // in its queue; when retired: the one retired after it
  CachedSlice* object_next = nullptr;       // slices of objects with one hash
  CachedSlice* object_previous = nullptr;
  uint64_t charge = 0;        // bytes it counts as used
  uint64_t limbo_charge = 0;  // what it was charged when it was retired
  uint64_t retired = 0;       // tag
  Queue queue = Queue::kNone;

 private:
  static constexpr uint8_t kMaxReferences = 3;
  enum Bitmap { kPresent, kClaimed, kSeen, kBitmaps };

  CachedSlice(const SliceKey& key, uint64_t length, std::shared_ptr<CacheLedger> ledger)
      : key_(key), length_(length), ledger_(std::move(ledger)) {}
  ~CachedSlice() = default;
  void destroy() noexcept;

  static uint64_t words_for(uint64_t length) {
    return (length + 64 * kPageBytes - 1) / (64 * kPageBytes);
  }
  static uint64_t header_bytes(uint64_t length) {
    return sizeof(CachedSlice) + kBitmaps * words_for(length) * sizeof(uint64_t);
  }
  std::atomic<uint64_t>* bitmap(Bitmap which) const noexcept {
    auto* words = reinterpret_cast<std::atomic<uint64_t>*>(const_cast<CachedSlice*>(this) + 1);
    return words + which * words_for(length_);
  }
  /// The first page whose present bit differs from what `flip` takes for it: with 0 the first
  /// clear bit, with ~0 the first set one.
  uint64_t scan(uint64_t page, uint64_t end_page, uint64_t flip) const noexcept {
    const std::atomic<uint64_t>* present = bitmap(kPresent);
    while (page < end_page) {
      uint64_t word = ~(present[page / 64].load(std::memory_order_acquire) ^ flip);
      word &= ~uint64_t{0} << (page % 64);
      uint64_t base = page / 64 * 64;
      if (word != 0) return std::min(base + std::countr_zero(word), end_page);
      page = base + 64;
    }
    return end_page;
  }

  const SliceKey key_;
  const uint64_t length_;
  std::byte* data_ = nullptr;
  uint64_t mapped_bytes_ = 0;
  std::atomic<uint8_t> references_{0};
  // Pins are written by views of one slice from many threads; hits read only what is above.
  alignas(64) std::atomic<uint32_t> pins_{1};
  std::shared_ptr<CacheLedger> ledger_;  // shared with the cache, which views may outlive
};

}  // namespace skerry::data
