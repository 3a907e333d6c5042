#include "base/clock.h"

#include <sys/random.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

namespace skerry {
namespace {

TimeNs read_clock(clockid_t id) {
  timespec t{};
  clock_gettime(id, &t);
  return t.tv_sec * kSecond + t.tv_nsec;
}

class SystemClock final : public Clock {
 public:
  TimeNs now_ns() override { return read_clock(CLOCK_REALTIME); }
  TimeNs monotonic_ns() override { return read_clock(CLOCK_MONOTONIC); }
  void sleep_ns(TimeNs duration) override {
    if (duration <= 0) return;
    TimeNs start = monotonic_ns();
    TimeNs until = duration > INT64_MAX - start ? INT64_MAX : start + duration;
    timespec t{static_cast<time_t>(until / kSecond), static_cast<long>(until % kSecond)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, nullptr) == EINTR) {
    }
  }
};

/// Asks the kernel each time: a generator in user space would repeat itself in a forked child,
/// and two processes that draw the same object key overwrite each other's data.
class SystemRandom final : public Random {
 public:
  uint64_t next() override {
    uint64_t v = 0;
    while (getrandom(&v, sizeof v, 0) != static_cast<ssize_t>(sizeof v)) {
      if (errno == EINTR) continue;
      return without_kernel();
    }
    return v;
  }

 private:
  /// Where a sandbox forbids getrandom(2): splitmix64 over what differs between calls.
  static uint64_t without_kernel() {
    uint64_t v = static_cast<uint64_t>(read_clock(CLOCK_MONOTONIC)) +
                 static_cast<uint64_t>(read_clock(CLOCK_REALTIME)) * 0x9e3779b97f4a7c15 +
                 (static_cast<uint64_t>(gettid()) << 32) + reinterpret_cast<uintptr_t>(&v);
    v = (v ^ (v >> 30)) * 0xbf58476d1ce4e5b9;
    v = (v ^ (v >> 27)) * 0x94d049bb133111eb;
    return v ^ (v >> 31);
  }
};

}  // namespace

// Both are without state, so a host that forks or exits meets no half-destroyed one.
Clock& system_clock() {
  static SystemClock clock;
  return clock;
}

Random& system_random() {
  static SystemRandom random;
  return random;
}

}  // namespace skerry
