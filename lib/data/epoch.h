// Epoch sections: how readers without locks tell others what they might still be looking at.
//
// A reader enters a section before it loads a shared pointer and leaves it when it is done with
// what the pointer led to. Whoever unlinks an object takes a tag after unlinking it, and may free
// it when no reader is in a section that was entered at or before the tag. (Fraser, "Practical
// lock-freedom", 2004, section 5.2.3; the process-wide form needs no quiescent states.)
//
// Why it is safe without fences: entering stores the slot and pointers are then loaded, unlinking
// stores the pointer and slots are then loaded, all sequentially consistent. In their single order
// either the reader's load comes after the unlink and misses the object, or its slot's store comes
// before it and the slot is seen.
//
// The slots are process-wide, one a thread, taken at the thread's first section and returned at its
// exit. That is state, but no setting: it means the same to every cache of the process, holds
// nothing between sections, and needs no tear-down. In a forked child only the forking thread
// lives, so a handler empties all other slots there. Unloading the library waits for the threads
// that hold a slot (their thread_local destructor pins it).
#pragma once

#include <atomic>
#include <cstdint>

namespace skerry::data {

struct alignas(64) EpochSlot {
  std::atomic<uint64_t> entered{0};  // the epoch it was entered in; 0: outside
  std::atomic<bool> taken{false};
  unsigned index = 0;
};

namespace epoch_internal {
extern constinit thread_local EpochSlot* thread_slot;
extern constinit std::atomic<uint64_t> current;
EpochSlot* take_slot() noexcept;  // null out of memory, or late in the thread's exit
}  // namespace epoch_internal

/// The calling thread's slot; nullptr if it cannot have one.
inline EpochSlot* epoch_slot() noexcept {
  EpochSlot* slot = epoch_internal::thread_slot;
  return slot != nullptr ? slot : epoch_internal::take_slot();
}

/// RAII, not to be nested. If `entered()` is false nothing is protected.
class EpochSection {
 public:
  EpochSection() noexcept : slot_(epoch_slot()) {
    if (slot_ != nullptr)
      slot_->entered.store(epoch_internal::current.load(std::memory_order_acquire),
                           std::memory_order_seq_cst);
  }
  ~EpochSection() {
    if (slot_ != nullptr) slot_->entered.store(0, std::memory_order_release);
  }
  EpochSection(const EpochSection&) = delete;
  EpochSection& operator=(const EpochSection&) = delete;
  bool entered() const { return slot_ != nullptr; }

 private:
  EpochSlot* const slot_;
};

/// For what was unlinked (by sequentially consistent stores) before the call.
uint64_t retirement_tag() noexcept;
/// What has a smaller tag is seen by no reader any more.
uint64_t oldest_reader() noexcept;

}  // namespace skerry::data
