// Threads of callers that wait for a file lock.
#ifndef SKERRY_BINDINGS_FUSE_LOCKS_H_
#define SKERRY_BINDINGS_FUSE_LOCKS_H_

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <list>
#include <mutex>

#include "skerry/skerry.h"

namespace skerry::fuse {

/// Thread-safe.
class LockWaiters {
 public:
  using Body = std::function<void(skerry_cancel*)>;
  static constexpr size_t kMost = 4096;

  LockWaiters() = default;
  ~LockWaiters() { stop(); }
  LockWaiters(const LockWaiters&) = delete;
  LockWaiters& operator=(const LockWaiters&) = delete;

  /// Runs the body on a thread of its own; false if there can be none. The flag stops the wait.
  bool run(Body body);
  /// Fires all flags and waits until all bodies have returned; none runs from then on.
  void stop();

 private:
  struct Waiter;
  static void* serve(void* waiter);

  std::mutex mutex_;
  std::condition_variable ended_;
  std::list<skerry_cancel*> cancels_;  // guarded by mutex_, as is stopped_
  bool stopped_ = false;
};

}  // namespace skerry::fuse

#endif  // SKERRY_BINDINGS_FUSE_LOCKS_H_
