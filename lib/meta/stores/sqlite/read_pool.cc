#include "meta/stores/sqlite/read_pool.h"

#include <algorithm>
#include <chrono>

namespace skerry::meta::sqlite {

namespace {

size_t number_of_thread() {
  static std::atomic<size_t> next{0};
  thread_local const size_t number = next.fetch_add(1, std::memory_order_relaxed);
  return number;
}

}  // namespace

ReadPool::ReadPool(Connection::Settings settings, unsigned size)
    : settings_(std::move(settings)), slots_(std::max(size, 1u)) {}

size_t ReadPool::try_take(bool opened_only) {
  const size_t first = number_of_thread();
  for (size_t i = 0; i < slots_.size(); ++i) {
    const size_t at = (first + i) % slots_.size();
    Slot& slot = slots_[at];
    if (opened_only && !slot.opened.load(std::memory_order_acquire)) continue;
    bool busy = false;
    if (slot.busy.compare_exchange_strong(busy, true, std::memory_order_seq_cst)) return at;
  }
  return kNone;
}

Result<size_t> ReadPool::take(const OpContext& ctx, bool opened_only) {
  size_t slot = try_take(opened_only);
  if (slot != kNone) return slot;
  std::unique_lock lock(mutex_);
  // Whoever gives back after this sees a waiter; whoever did before left a free slot to find.
  waiting_.fetch_add(1, std::memory_order_seq_cst);
  Status status;
  while ((slot = try_take(opened_only)) == kNone) {
    freed_.wait_for(lock, std::chrono::milliseconds(20));  // looks at the deadline now and then
    status = ctx.check();
    if (!status.ok()) break;
  }
  waiting_.fetch_sub(1, std::memory_order_relaxed);
  if (!status.ok()) return std::move(status).error();
  return slot;
}

bool ReadPool::any_opened() const {
  return std::any_of(slots_.begin(), slots_.end(),
                     [](const Slot& slot) { return slot.opened.load(std::memory_order_acquire); });
}

void ReadPool::give_back(size_t slot) {
  slots_[slot].busy.store(false, std::memory_order_seq_cst);
  if (waiting_.load(std::memory_order_seq_cst) == 0) return;
  std::lock_guard lock(mutex_);
  freed_.notify_one();
}

Result<ReadPool::Lease> ReadPool::acquire(const OpContext& ctx) {
  SKERRY_ASSIGN(const size_t first, take(ctx, false));
  Lease lease(*this, first);
  Slot& slot = slots_[first];
  if (slot.opened.load(std::memory_order_relaxed)) return lease;
  Error failure(EIO);
  {
    ForkGate gate;
    Result<std::unique_ptr<Connection>> opened = Connection::open(settings_);
    if (opened.ok()) {
      slot.connection = std::move(opened).value();
      slot.opened.store(true, std::memory_order_release);
      return lease;
    }
    failure = std::move(opened).error();
  }
  // Short of descriptors, perhaps: those that are open serve everyone.
  if (!any_opened()) return failure;
  SKERRY_ASSIGN(const size_t other, take(ctx, true));
  return Lease(*this, other);
}

}  // namespace skerry::meta::sqlite
