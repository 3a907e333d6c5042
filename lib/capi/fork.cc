#include "capi/fork.h"

#include <pthread.h>

namespace skerry::capi {

// A property of the process, not of any volume, hence global.
constinit std::atomic<uint64_t> fork_generation_counter{1};

namespace {

void in_child() { fork_generation_counter.fetch_add(1, std::memory_order_relaxed); }

constinit std::atomic<bool> watching{false};

}  // namespace

void watch_forks() noexcept {
  if (!watching.exchange(true)) pthread_atfork(nullptr, nullptr, in_child);
}

}  // namespace skerry::capi
