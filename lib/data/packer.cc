#include "data/packer.h"

#include <algorithm>
#include <chrono>

namespace skerry::data {
namespace {

/// A cancel token cannot wake a waiter, so it looks now and then.
constexpr auto kPackerLook = std::chrono::milliseconds(10);

}  // namespace

Result<meta::Extent> BlockStore::Packer::store(const OpContext& ctx, ByteView bytes) {
  Queue& queue = queue_.get();
  Item item;
  item.bytes = bytes;
  std::unique_lock lock(queue.mutex);
  bool pack_is_full = queue.waiting_bytes + bytes.size() >= store_.options_.block_bytes;
  if (queue.leaders == 0 || (pack_is_full && queue.leaders < kMaxLeaders)) {
    queue.leaders++;
    item.state = Item::kLeads;
  } else {
    queue.waiting.push_back(&item);
    queue.waiting_bytes += bytes.size();
  }
  while (item.state == Item::kQueued || item.state == Item::kTaken) {
    item.changed.wait_for(lock, kPackerLook);
    if (item.state != Item::kQueued) continue;  // the leader reads our bytes: no way out
    Status still_wanted = ctx.check();
    if (!still_wanted.ok()) {
      remove_waiting(queue, &item);
      return std::move(still_wanted).error();
    }
  }
  if (item.state == Item::kLeads) {
    std::vector<Item*> batch = take_batch(queue, &item);
    lock.unlock();
    std::vector<ByteView> slices;
    for (const Item* taken : batch) slices.push_back(taken->bytes);
    auto stored = store_.store_pack(ctx, slices);
    lock.lock();
    publish(ctx, queue, batch, std::move(stored));
    hand_on(queue);
  }
  return *std::move(item.result);
}

std::vector<BlockStore::Packer::Item*> BlockStore::Packer::take_batch(Queue& queue, Item* own) {
  std::vector<Item*> batch{own};
  uint64_t bytes = own->bytes.size();
  while (!queue.waiting.empty()) {
    Item* item = queue.waiting.front();
    if (bytes + item->bytes.size() > store_.options_.block_bytes) break;
    bytes += item->bytes.size();
    remove_waiting(queue, item);
    item->state = Item::kTaken;
    batch.push_back(item);
  }
  return batch;
}

void BlockStore::Packer::publish(const OpContext& ctx, Queue& queue,
                                 const std::vector<Item*>& batch,
                                 Result<std::vector<meta::Extent>> stored) {
  // The leader's deadline or cancellation is not that of those who follow: they wait for another.
  // Each of them leads at most once, so that ends.
  bool only_leader_failed = !stored.ok() && !ctx.check().ok();
  for (size_t i = batch.size(); i-- > 0;) {
    Item* item = batch[i];
    if (only_leader_failed && i != 0) {
      item->state = Item::kQueued;
      queue.waiting.push_front(item);
      queue.waiting_bytes += item->bytes.size();
      continue;
    }
    if (stored.ok())
      item->result.emplace((*stored)[i]);
    else
      item->result.emplace(Error(stored.error()));
    item->state = Item::kDone;
    item->changed.notify_one();
  }
}

void BlockStore::Packer::hand_on(Queue& queue) {
  if (queue.waiting.empty()) {
    queue.leaders--;
    return;
  }
  Item* next = queue.waiting.front();
  remove_waiting(queue, next);
  next->state = Item::kLeads;
  next->changed.notify_one();
}

void BlockStore::Packer::remove_waiting(Queue& queue, Item* item) {
  queue.waiting.erase(std::find(queue.waiting.begin(), queue.waiting.end(), item));
  queue.waiting_bytes -= item->bytes.size();
}

}  // namespace skerry::data
