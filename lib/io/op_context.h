// What every call that may block carries: a deadline, a way to cancel it, and who is asking.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace skerry {

struct Credentials {
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::vector<uint32_t> groups;  // supplementary
  uint32_t umask = 0;            // applied to mode of new files

  bool is_root() const { return uid == 0; }
  bool in_group(uint32_t g) const {
    if (g == gid) return true;
    for (auto s : groups)
      if (s == g) return true;
    return false;
  }
};

/// Set once, by any thread; seen by the operation at its next step. An operation that waits for
/// something else as well has it signal here, so that one wait ends with either.
class CancelToken {
 public:
  /// Async-signal-safe.
  void cancel() noexcept;
  bool cancelled() const noexcept { return (signals() & kCancelled) != 0; }

  /// Ends all waits. Async-signal-safe.
  void signal() const noexcept;
  /// Another number after each signal: to be asked before looking at what is waited for.
  uint32_t signals() const noexcept { return signals_.load(std::memory_order_acquire); }
  /// Returns when signals() is no longer `seen`, after `timeout_ns` of real time, or early.
  void wait(uint32_t seen, TimeNs timeout_ns) const noexcept;

 private:
  static constexpr uint32_t kCancelled = 1;  // the other bits count
  void wake_all() const noexcept;

  // One word: whoever sees the flag may end the token's life, so setting it is the last access.
  mutable std::atomic<uint32_t> signals_{0};
};

/// How late a wait that nothing wakes may notice that its call was cancelled.
inline constexpr TimeNs kCancelCheckNs = 50 * kMillisecond;

struct OpContext {
  Credentials credentials;
  Clock* clock = nullptr;               // never null inside the library
  TimeNs deadline_ns = INT64_MAX;       // on clock->monotonic_ns()
  const CancelToken* cancel = nullptr;  // may be null; outlives the call
  // May be null. Set, and `cancel` signalled after it: the answer came from elsewhere.
  const std::atomic<bool>* superseded = nullptr;
  uint64_t session = 0;  // what is changed belongs to this session of the client; 0: the current

  // How old cached metadata may be that an answer rests on, where the store cannot tell that it is
  // current: see Meta::freshness().
  TimeNs began_ns = 0;       // when the call began, on clock->monotonic_ns(); 0: not noted
  TimeNs not_before_ns = 0;  // what was read before this time does not count
  bool* aged = nullptr;      // where given: set once something counts that was read before began_ns

  /// ETIMEDOUT past the deadline, ECANCELED once cancelled, else success.
  Status check() const {
    if (cancel != nullptr && cancel->cancelled()) return Error(ECANCELED, "operation cancelled");
    if (superseded != nullptr && superseded->load(std::memory_order_acquire))
      return Error(ECANCELED, "answered elsewhere");
    if (deadline_ns != INT64_MAX && clock->monotonic_ns() >= deadline_ns)
      return Error(ETIMEDOUT, "deadline exceeded");
    return {};
  }
};

/// A context that takes nothing read before `time_ns`; the given one where it asks for that much
/// already. Both outlive the copy that is handed on.
class NotBefore {
 public:
  NotBefore(const OpContext& ctx, TimeNs time_ns) : ctx_(&ctx) {
    if (time_ns <= ctx.not_before_ns) return;
    ctx_ = &own_.emplace(ctx);
    own_->not_before_ns = time_ns;
  }
  NotBefore(const NotBefore&) = delete;
  NotBefore& operator=(const NotBefore&) = delete;
  const OpContext& operator*() const { return *ctx_; }
  const OpContext* operator->() const { return ctx_; }

 private:
  std::optional<OpContext> own_;
  const OpContext* ctx_;
};

}  // namespace skerry
