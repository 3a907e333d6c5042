// Time and randomness, injected so that the simulator owns both.
#pragma once

#include <cstdint>

namespace skerry {

/// Nanoseconds since the Unix epoch, as inode times are stored.
using TimeNs = int64_t;
inline constexpr TimeNs kMillisecond = 1'000'000;
inline constexpr TimeNs kSecond = 1'000 * kMillisecond;

class Clock {
 public:
  virtual ~Clock() = default;
  /// Wall-clock time. May jump. Thread-safe.
  virtual TimeNs now_ns() = 0;
  /// Never goes back; only differences mean something. Thread-safe.
  virtual TimeNs monotonic_ns() = 0;
  /// Blocks the calling thread (a simulated clock hands the baton on instead).
  virtual void sleep_ns(TimeNs duration) = 0;
};

class Random {
 public:
  virtual ~Random() = default;
  /// 64 uniformly random bits. Thread-safe.
  virtual uint64_t next() = 0;
};

/// The process's clock and a random source seeded by the kernel. Both live as long as the process.
Clock& system_clock();
Random& system_random();

}  // namespace skerry
