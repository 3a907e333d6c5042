// ScratchBuffers: memory for bytes on their way between an object and the cache.
//
// Fresh memory for every 4 MiB block would cost a page fault and clearing for each of its pages,
// as much as reading them does; so a few large buffers are kept.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace skerry::data {

/// Thread-safe. Keeps at most kKept buffers of kLarge bytes; others are freed on return.
class ScratchBuffers {
 private:
  struct Free {
    void operator()(std::byte* p) const noexcept { std::free(p); }
  };
  using Memory = std::unique_ptr<std::byte, Free>;  // malloc, as new[] would write zeros first

 public:
  static constexpr uint64_t kLarge = (4u << 20) + (64 << 10);  // a block with its pages' checks
  static constexpr uint64_t kSmall = 64 << 10;                 // below, malloc is as good
  static constexpr size_t kKept = 4;

  class Loan {
   public:
    Loan(ScratchBuffers* from, Memory memory) : from_(from), memory_(std::move(memory)) {}
    Loan(Loan&&) = default;
    Loan& operator=(Loan&&) = delete;
    ~Loan() {
      if (from_ != nullptr && memory_ != nullptr) from_->give_back(std::move(memory_));
    }
    /// Null: there was no memory.
    std::byte* data() const noexcept { return memory_.get(); }

   private:
    ScratchBuffers* from_;  // null: not one to keep
    Memory memory_;
  };

  Loan borrow(uint64_t size) {
    if (size < kSmall || size > kLarge) return {nullptr, allocate(size)};
    {
      std::lock_guard lock(mutex_);
      if (!kept_.empty()) {
        Memory memory = std::move(kept_.back());
        kept_.pop_back();
        return {this, std::move(memory)};
      }
    }
    return {this, allocate(kLarge)};
  }

 private:
  static Memory allocate(uint64_t size) {
    return Memory(static_cast<std::byte*>(std::malloc(size)));
  }
  void give_back(Memory memory) {
    std::lock_guard lock(mutex_);
    if (kept_.size() < kKept) kept_.push_back(std::move(memory));
  }

  std::mutex mutex_;
  std::vector<Memory> kept_;  // guarded by mutex_
};

}  // namespace skerry::data
