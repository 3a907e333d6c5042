// fork(): what an open volume is in a forked child.
//
// A child inherits the parent's memory but none of its threads, and mutexes in whatever state
// another thread had left them. So it must not touch what it inherits, not even to free it. The
// opaque objects of the C ABI are small shells that point at their state and know how to build it;
// the state is marked with the generation of the process it was built in. In a child the mark does
// not match any more: the shell leaves the inherited state alone and builds one of its own.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>

#include "base/result.h"

namespace skerry::capi {

extern std::atomic<uint64_t> fork_generation_counter;

/// Starts at 1 and is one more in every forked child. A relaxed load: it changes before the child's
/// only thread returns from fork().
inline uint64_t fork_generation() noexcept {
  return fork_generation_counter.load(std::memory_order_relaxed);
}

/// Begins to count forks; called before the first object is made. Idempotent.
void watch_forks() noexcept;

/// A pointer to the T of this process. T has a `generation`, set to fork_generation() when it is
/// made, and an `inherited`, where the parent's T is remembered and never touched. Thread-safe.
template <typename T>
class ForkLocal {
 public:
  ForkLocal() = default;
  ForkLocal(const ForkLocal&) = delete;
  ForkLocal& operator=(const ForkLocal&) = delete;

  /// Null if there is none, or only the parent's.
  T* current() const noexcept {
    T* state = state_.load(std::memory_order_acquire);
    if (state != nullptr && state->generation == fork_generation()) [[likely]]
      return state;
    return nullptr;
  }
  void set(std::unique_ptr<T> state) noexcept {
    state->inherited = state_.load(std::memory_order_relaxed);
    state_.store(state.release(), std::memory_order_release);
  }
  /// Gives the current one away.
  std::unique_ptr<T> take() noexcept {
    T* state = current();
    if (state != nullptr) state_.store(nullptr, std::memory_order_release);
    return std::unique_ptr<T>(state);
  }

  /// The current one, or what `build` returns (Result<std::unique_ptr<T>>). One thread builds,
  /// others wait for it; who builds is marked with the generation too, since the thread that was
  /// building when its process forked does not exist in the child.
  template <typename Build>
  Result<T*> get(Build build) {
    const uint64_t generation = fork_generation();
    for (;;) {
      if (T* state = current(); state != nullptr) return state;
      uint64_t builder = builder_.load(std::memory_order_acquire);
      if (builder == generation) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        continue;
      }
      if (builder_.compare_exchange_strong(builder, generation, std::memory_order_acq_rel)) break;
    }
    struct Release {
      std::atomic<uint64_t>& builder;
      ~Release() { builder.store(0, std::memory_order_release); }
    } release{builder_};
    if (T* state = current(); state != nullptr) return state;
    SKERRY_ASSIGN(std::unique_ptr<T> built, build());
    T* state = built.get();
    set(std::move(built));
    return state;
  }

 private:
  std::atomic<T*> state_{nullptr};
  std::atomic<uint64_t> builder_{0};  // the generation of the thread that builds; 0: nobody
};

}  // namespace skerry::capi
