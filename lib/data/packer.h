// Packer: small slices of many callers in one object.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <vector>

#include "base/result.h"
#include "data/block_store.h"
#include "data/per_process.h"

namespace skerry::data {

/// A caller that finds nobody leading leads: it stores its own slice with those that wait, and then
/// hands the lead to one that came meanwhile. While packs are full already, a few more may lead.
/// Thread-safe; the mutex is never held across I/O.
struct BlockStore::Packer {
 public:
  explicit Packer(BlockStore& store) : store_(store) {}
  Result<meta::Extent> store(const OpContext& ctx, ByteView bytes);

 private:
  static constexpr unsigned kMaxLeaders = 4;

  struct Item {
    ByteView bytes;
    enum State { kQueued, kTaken, kLeads, kDone } state = kQueued;
    std::optional<Result<meta::Extent>> result;
    std::condition_variable changed;
  };
  struct Queue {
    std::mutex mutex;  // guards all of it, and the items
    std::deque<Item*> waiting;
    uint64_t waiting_bytes = 0;
    unsigned leaders = 0;
  };

  std::vector<Item*> take_batch(Queue& queue, Item* own);
  void publish(const OpContext& ctx, Queue& queue, const std::vector<Item*>& batch,
               Result<std::vector<meta::Extent>> stored);
  static void hand_on(Queue& queue);
  static void remove_waiting(Queue& queue, Item* item);

  BlockStore& store_;
  PerProcess<Queue> queue_;
};

}  // namespace skerry::data
