// Breaker: leaves alone what fails, and tries it now and then.
#pragma once

#include <chrono>

namespace skerry::data {

/// Guarded by its owner's mutex.
class Breaker {
 public:
  using Time = std::chrono::steady_clock::time_point;
  enum class Answer {
    kUse,
    kTry,  // it is open, and this use tells whether it shall close; one an interval
    kLeave,
  };

  explicit Breaker(std::chrono::milliseconds try_after) : try_after_(try_after) {}

  Answer ask(Time now) {
    if (!open()) return Answer::kUse;
    if (now < try_at_) return Answer::kLeave;
    try_at_ = now + try_after_;
    return Answer::kTry;
  }
  bool open() const { return failures_ >= kFailures; }
  void succeeded() { failures_ = 0; }
  /// True if that opens it.
  bool failed(Time now) {
    try_at_ = now + try_after_;
    if (open()) return false;
    failures_++;
    return open();
  }

 private:
  static constexpr int kFailures = 3;  // in a row

  const std::chrono::milliseconds try_after_;
  int failures_ = 0;
  Time try_at_;
};

}  // namespace skerry::data
