#include "data/epoch.h"

#include <pthread.h>

#include <array>
#include <new>

namespace skerry::data {
namespace {

/// Slots come in blocks that are linked and never freed, since a reader may be in any of them;
/// their number is bounded by the most threads that read at one time.
struct SlotBlock {
  std::array<EpochSlot, 64> slots;
  std::atomic<SlotBlock*> next{nullptr};
};

constinit SlotBlock first_block;
constinit thread_local bool thread_exiting = false;

template <typename Visit>
void for_each_slot(Visit visit) {
  for (SlotBlock* block = &first_block; block != nullptr;
       block = block->next.load(std::memory_order_acquire))
    for (EpochSlot& slot : block->slots) visit(slot);
}

void empty_slots_of_absent_threads() {
  for_each_slot([](EpochSlot& slot) {
    if (&slot == epoch_internal::thread_slot) return;
    slot.entered.store(0, std::memory_order_relaxed);
    slot.taken.store(false, std::memory_order_relaxed);
  });
}

struct ReturnSlotAtExit {
  ~ReturnSlotAtExit() {
    thread_exiting = true;
    EpochSlot* slot = epoch_internal::thread_slot;
    epoch_internal::thread_slot = nullptr;
    if (slot != nullptr) slot->taken.store(false, std::memory_order_release);
  }
  void arm() {}  // names the object, which makes the thread construct it
};
thread_local ReturnSlotAtExit return_slot_at_exit;

EpochSlot* take_free_slot() {
  unsigned first_index = 0;
  for (SlotBlock* block = &first_block;; first_index += block->slots.size()) {
    if (first_index != 0) {
      SlotBlock* next = block->next.load(std::memory_order_acquire);
      if (next == nullptr) {
        SlotBlock* fresh = new (std::nothrow) SlotBlock;
        if (fresh == nullptr) return nullptr;
        if (block->next.compare_exchange_strong(next, fresh, std::memory_order_acq_rel))
          next = fresh;
        else
          delete fresh;
      }
      block = next;
    }
    for (unsigned i = 0; i < block->slots.size(); i++) {
      EpochSlot& slot = block->slots[i];
      bool taken = slot.taken.load(std::memory_order_relaxed);
      if (taken || !slot.taken.compare_exchange_strong(taken, true, std::memory_order_acquire))
        continue;
      slot.index = first_index + i;
      return &slot;
    }
  }
}

}  // namespace

namespace epoch_internal {

constinit thread_local EpochSlot* thread_slot = nullptr;
constinit std::atomic<uint64_t> current{1};

EpochSlot* take_slot() noexcept {
  static const int once = pthread_atfork(nullptr, nullptr, empty_slots_of_absent_threads);
  if (thread_exiting || once != 0) return nullptr;
  return_slot_at_exit.arm();
  thread_slot = take_free_slot();
  return thread_slot;
}

}  // namespace epoch_internal

uint64_t retirement_tag() noexcept {
  return epoch_internal::current.fetch_add(1, std::memory_order_seq_cst);
}

uint64_t oldest_reader() noexcept {
  uint64_t oldest = UINT64_MAX;
  for_each_slot([&](EpochSlot& slot) {
    uint64_t entered = slot.entered.load(std::memory_order_seq_cst);
    if (entered != 0 && entered < oldest) oldest = entered;
  });
  return oldest;
}

}  // namespace skerry::data
