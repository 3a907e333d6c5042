// One baton for all simulated clients: a thread runs only while it holds it, so a run is as
// deterministic as a single thread and repeats itself from its seed.
//
// Whoever holds the baton offers it at every point where real clients could meet (a call of the
// store, the object store or the clock) and the seed decides who goes on. Time is virtual: it moves
// a little with every offer, and jumps to the next sleeper's wake-up when everyone sleeps.
#pragma once

#include <semaphore.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"

namespace skerry::model {

/// SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
class Dice {
 public:
  explicit Dice(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  /// 0 to bound - 1.
  uint64_t below(uint64_t bound) { return next() % bound; }
  bool chance(uint64_t of, uint64_t in) { return below(in) < of; }

 private:
  uint64_t state_;
};

class Scheduler {
 public:
  enum class Strategy {
    kUniform,   // any runnable client, with a probability that the seed chooses
    kPriority,  // the highest priority goes on, and loses it at a few points: PCT (Burckhardt et
                // al., "A randomized scheduler with probabilistic guarantees", ASPLOS 2010)
  };

  explicit Scheduler(uint64_t seed);
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  /// Before run(). The body starts when it first gets the baton.
  void add(std::function<void()> body);
  /// Until all bodies have returned. Outside of it, calls below act for the only thread there is.
  void run();

  /// A point where another client may go on.
  void offer();
  /// Nothing of the calling client happens before `until`.
  void sleep_until(TimeNs until);
  /// The same, and while others go on meanwhile their time passes fast: a client that was stopped
  /// for minutes finds that they have noticed, and not that they are done.
  void freeze_until(TimeNs until) {
    hurry_until_ = std::max(hurry_until_, until);
    sleep_until(until);
  }
  bool hurries() const { return now_ < hurry_until_; }
  TimeNs now() const { return now_; }
  void advance(TimeNs by) { now_ += by; }
  /// The client that runs: the index of its add(), or -1 outside run().
  int current() const { return current_; }
  uint64_t steps() const { return steps_; }
  bool exhausted() const { return steps_ > kMaxSteps; }

 private:
  static constexpr uint64_t kMaxSteps = 400'000;  // then offers are not taken any more

  struct Client {
    std::function<void()> body;
    std::thread thread;
    sem_t baton;
    TimeNs wake = 0;
    uint64_t priority = 0;
    bool done = false;
  };
  size_t choose();
  void hand_to(size_t next, Client* self);

  Dice dice_;
  Strategy strategy_ = Strategy::kUniform;
  uint64_t switch_in_ = 2;  // uniform: one offer in so many is taken
  uint64_t change_in_ = 200;
  std::vector<std::unique_ptr<Client>> clients_;
  int current_ = -1;
  TimeNs now_ = 0;
  TimeNs hurry_until_ = 0;
  uint64_t steps_ = 0;
  sem_t finished_;
};

/// The clock of one client, or with client < 0 the server's, which offers nothing because it is
/// read inside calls that are one step.
class SimClock final : public Clock {
 public:
  SimClock(Scheduler& scheduler, bool offers) : scheduler_(scheduler), offers_(offers) {}
  TimeNs now_ns() override {
    offer();
    return kStart + scheduler_.now() + skew_;
  }
  TimeNs monotonic_ns() override {
    offer();
    return kStart + scheduler_.now() + slept_dead_;
  }
  void sleep_ns(TimeNs duration) override {
    if (duration <= 0) return;
    if (stopped_) {
      slept_dead_ += duration;
    } else {
      scheduler_.sleep_until(scheduler_.now() + duration);
    }
  }
  /// Sets the wall clock this much ahead (or behind).
  void jump(TimeNs by) { skew_ += by; }
  /// From now on nobody waits: the client is dead, and only unwinds. What it waits for comes to the
  /// end of its time nevertheless.
  void stop() { stopped_ = true; }

 private:
  static constexpr TimeNs kStart = 1'700'000'000'000'000'000;
  void offer() {
    // The clock is read very often; most readings change nothing.
    if (offers_ && !stopped_ && ++readings_ % 8 == 0) scheduler_.offer();
  }

  Scheduler& scheduler_;
  const bool offers_;
  bool stopped_ = false;
  TimeNs slept_dead_ = 0;
  TimeNs skew_ = 0;
  uint64_t readings_ = 0;
};

class SimRandom final : public Random {
 public:
  explicit SimRandom(uint64_t seed) : dice_(seed) {}
  uint64_t next() override { return dice_.next(); }

 private:
  Dice dice_;
};

}  // namespace skerry::model
