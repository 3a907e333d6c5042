// A clock that stands still until a test moves it. Wall-clock and monotonic time are set apart.
#pragma once

#include <atomic>

#include "base/clock.h"

namespace skerry {

/// Thread-safe. Sleeping advances both times at once.
class FakeClock final : public Clock {
 public:
  explicit FakeClock(TimeNs wall_ns = 1'700'000'000'000'000'000) : wall_(wall_ns) {}

  TimeNs now_ns() override { return wall_.load(); }
  TimeNs monotonic_ns() override { return monotonic_.load(); }
  void sleep_ns(TimeNs duration) override { advance_ns(duration); }

  void advance_ns(TimeNs duration) {
    wall_ += duration;
    monotonic_ += duration;
  }
  /// The wall clock alone: somebody set it.
  void jump_ns(TimeNs difference) { wall_ += difference; }

 private:
  std::atomic<TimeNs> wall_;
  std::atomic<TimeNs> monotonic_{1};
};

/// A repeatable sequence (splitmix64).
class FakeRandom final : public Random {
 public:
  explicit FakeRandom(uint64_t seed = 1) : state_(seed) {}
  uint64_t next() override {
    uint64_t v = state_.fetch_add(0x9e3779b97f4a7c15) + 0x9e3779b97f4a7c15;
    v = (v ^ (v >> 30)) * 0xbf58476d1ce4e5b9;
    v = (v ^ (v >> 27)) * 0x94d049bb133111eb;
    return v ^ (v >> 31);
  }

 private:
  std::atomic<uint64_t> state_;
};

}  // namespace skerry
