#include "meta/stores/sqlite/fork_gate.h"

#include <pthread.h>
#include <time.h>

#include <array>
#include <atomic>
#include <mutex>

namespace skerry::meta::sqlite {

namespace {

// Threads count themselves in and out of one of several lines of memory, so that readers on many
// cores do not share one. Process-wide because fork() is.
constexpr unsigned kLanes = 32;
struct alignas(64) Lane {
  std::atomic<uint32_t> inside{0};
};
constinit std::array<Lane, kLanes> lanes;
constinit std::atomic<bool> closed{false};
constinit std::atomic<uint64_t> forks{0};
constinit std::atomic<unsigned> next_lane{0};
constinit std::mutex fork_mutex;
void (*child_handler)() = nullptr;

Lane& lane_of_thread() noexcept {
  thread_local const unsigned lane = next_lane.fetch_add(1, std::memory_order_relaxed) % kLanes;
  return lanes[lane];
}

void pause_briefly() noexcept {
  timespec pause{0, 20'000};
  nanosleep(&pause, nullptr);
}

void before_fork() {
  fork_mutex.lock();
  closed.store(true, std::memory_order_seq_cst);
  for (Lane& lane : lanes) {
    while (lane.inside.load(std::memory_order_seq_cst) != 0) pause_briefly();
  }
}

void after_fork_in_parent() {
  closed.store(false, std::memory_order_seq_cst);
  fork_mutex.unlock();
}

void after_fork_in_child() {
  forks.fetch_add(1, std::memory_order_relaxed);
  if (child_handler != nullptr) child_handler();
  closed.store(false, std::memory_order_seq_cst);
  fork_mutex.unlock();
}

}  // namespace

void install_fork_handlers(void (*in_child)()) noexcept {
  static std::once_flag once;
  std::call_once(once, [in_child] {
    child_handler = in_child;
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
  });
}

uint64_t fork_count() noexcept { return forks.load(std::memory_order_relaxed); }

void ForkGate::enter() noexcept {
  Lane& lane = lane_of_thread();
  for (;;) {
    // Either this thread sees the gate closed, or the forking thread sees this thread inside: both
    // store first and then load, in the one order of sequentially consistent operations.
    lane.inside.fetch_add(1, std::memory_order_seq_cst);
    if (!closed.load(std::memory_order_seq_cst)) break;
    lane.inside.fetch_sub(1, std::memory_order_seq_cst);
    while (closed.load(std::memory_order_acquire)) pause_briefly();
  }
  inside_ = true;
}

void ForkGate::leave() noexcept {
  if (!inside_) return;
  inside_ = false;
  lane_of_thread().inside.fetch_sub(1, std::memory_order_release);
}

}  // namespace skerry::meta::sqlite
