#include "io/op_context.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <ctime>

namespace skerry {

// A futex and not a condition variable: a signal handler may cancel.
static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t) &&
              std::atomic<uint32_t>::is_always_lock_free);

/// Touches the address alone, not what is there.
void CancelToken::wake_all() const noexcept {
  const int saved = errno;
  syscall(SYS_futex, &signals_, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
  errno = saved;
}

void CancelToken::cancel() noexcept {
  signals_.fetch_or(kCancelled, std::memory_order_acq_rel);
  wake_all();
}

void CancelToken::signal() const noexcept {
  signals_.fetch_add(2 * kCancelled, std::memory_order_acq_rel);
  wake_all();
}

void CancelToken::wait(uint32_t seen, TimeNs timeout_ns) const noexcept {
  if (timeout_ns <= 0 || signals() != seen) return;
  timespec timeout{static_cast<time_t>(timeout_ns / kSecond),
                   static_cast<long>(timeout_ns % kSecond)};
  syscall(SYS_futex, &signals_, FUTEX_WAIT_PRIVATE, seen, &timeout, nullptr, 0);
}

}  // namespace skerry
