// PerProcess: state that a forked child must not take over.
#pragma once

#include <unistd.h>

#include <atomic>
#include <memory>

namespace skerry::data {

/// A T for each process. What a forked child inherits may be locked by, or waiting for, threads
/// that it does not have, so it leaves that as it is (a small leak, once a fork) and starts afresh.
/// Thread-safe.
template <typename T>
class PerProcess {
 public:
  PerProcess() : state_(new State) {}
  ~PerProcess() {
    State* state = state_.load(std::memory_order_acquire);
    if (state->pid == getpid()) delete state;
  }
  PerProcess(const PerProcess&) = delete;
  PerProcess& operator=(const PerProcess&) = delete;

  T& get() {
    State* state = state_.load(std::memory_order_acquire);
    while (state->pid != getpid()) {
      auto fresh = std::make_unique<State>();
      if (state_.compare_exchange_strong(state, fresh.get(), std::memory_order_acq_rel))
        return fresh.release()->value;
    }
    return state->value;
  }

 private:
  struct State {
    const pid_t pid = getpid();
    T value;
  };
  std::atomic<State*> state_;
};

}  // namespace skerry::data
