// Tally: the block store's counters.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "data/block_store.h"
#include "data/epoch.h"

namespace skerry::data {

/// Cache hits are counted by many threads at once and so each counts in a line of its own.
class BlockStore::Tally {
 public:
  void count_hit(uint64_t bytes) noexcept {
    const EpochSlot* slot = epoch_slot();
    Hits& mine = hits_[slot != nullptr ? slot->index % hits_.size() : 0];
    mine.count.fetch_add(1, std::memory_order_relaxed);
    mine.bytes.fetch_add(bytes, std::memory_order_relaxed);
  }

  BlockCounters sum() const {
    BlockCounters c;
    for (const Hits& hits : hits_) {
      c.cache_hits += hits.count.load(std::memory_order_relaxed);
      c.cache_hit_bytes += hits.bytes.load(std::memory_order_relaxed);
    }
    c.cache_misses = cache_misses;
    c.bytes_wanted = bytes_wanted;
    c.bytes_fetched = bytes_fetched;
    c.checksum_errors = checksum_errors;
    c.slices_stored = slices_stored;
    c.packs_stored = packs_stored;
    c.packed_slices = packed_slices;
    return c;
  }

  std::atomic<uint64_t> cache_misses{0}, bytes_wanted{0}, bytes_fetched{0}, checksum_errors{0};
  std::atomic<uint64_t> slices_stored{0}, packs_stored{0}, packed_slices{0};

 private:
  struct alignas(64) Hits {
    std::atomic<uint64_t> count{0}, bytes{0};
  };
  std::array<Hits, 64> hits_;
};

}  // namespace skerry::data
