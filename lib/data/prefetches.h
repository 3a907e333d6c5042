// Prefetches: how many prefetch tasks of a block store the executor still holds.
#pragma once

#include <condition_variable>
#include <mutex>

#include "data/block_store.h"
#include "data/per_process.h"

namespace skerry::data {

/// Thread-safe. The tasks of the parent of a forked child do not count in the child: they never run
/// there.
struct BlockStore::Prefetches {
 public:
  /// False if there are too many.
  bool begin() {
    State& state = state_.get();
    std::lock_guard lock(state.mutex);
    if (state.pending == kMaxPending) return false;
    state.pending++;
    return true;
  }
  void end() {
    State& state = state_.get();
    std::lock_guard lock(state.mutex);
    if (--state.pending == 0) state.idle.notify_all();
  }
  void wait_until_idle() {
    State& state = state_.get();
    std::unique_lock lock(state.mutex);
    state.idle.wait(lock, [&] { return state.pending == 0; });
  }

 private:
  static constexpr unsigned kMaxPending = 64;
  struct State {
    std::mutex mutex;
    std::condition_variable idle;
    unsigned pending = 0;  // guarded by mutex
  };
  PerProcess<State> state_;
};

}  // namespace skerry::data
