// RetryBudget: how much of the load may be repetitions. When a store fails for everybody, each
// client's retries multiply the load that it fails under; so they are paid from a budget that
// successes fill again. The numbers are those of the standard mode of "Retry behavior", AWS SDKs
// and Tools Reference Guide.
#pragma once

#include <algorithm>
#include <cstdint>
#include <mutex>

namespace skerry {

/// Thread-safe.
class RetryBudget {
 public:
  static constexpr uint32_t kRetryCost = 5, kTimeoutCost = 10, kSuccessGain = 1;

  /// 0: no bound.
  explicit RetryBudget(uint32_t capacity) : capacity_(capacity), left_(capacity) {}

  /// False, and nothing is paid, where too little is left.
  bool pay(uint32_t cost) {
    if (capacity_ == 0) return true;
    std::lock_guard lock(mutex_);
    if (left_ < cost) return false;
    left_ -= cost;
    return true;
  }
  /// A call succeeded; `paid` for its last repetition, 0 if there was none.
  void succeeded(uint32_t paid) {
    if (capacity_ == 0) return;
    std::lock_guard lock(mutex_);
    left_ = std::min(capacity_, left_ + (paid == 0 ? kSuccessGain : paid));
  }

 private:
  const uint32_t capacity_;
  std::mutex mutex_;
  uint32_t left_;  // guarded by mutex_
};

}  // namespace skerry
