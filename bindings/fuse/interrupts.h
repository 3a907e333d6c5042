// Interrupts: what a signal to a caller does to the call it waits in.
//
// On local file systems signals that a program handles do not end its calls on files, and programs
// rely on it: a database takes EINTR from fsync(2) for lost data and stops. So a call ends with
// EINTR
//   - at once, when its caller is about to die of a signal;
//   - after a second, when it only asks (read, look up, list ...) and SIGINT, SIGTERM, SIGHUP or
//     SIGQUIT waits for its caller, who may want to give up: a store over a network may be slow.
// The kernel tells of the first signal only and then waits whatever comes, so from then on the
// caller's pending signals are looked at until the call ends.
#ifndef SKERRY_BINDINGS_FUSE_INTERRUPTS_H_
#define SKERRY_BINDINGS_FUSE_INTERRUPTS_H_

#include <sys/types.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "skerry/skerry.h"

namespace skerry::fuse {

/// Thread-safe. Its thread exists once a call was interrupted.
class Interrupts {
 public:
  struct Call {
    pid_t caller = 0;    // the thread's number as this process sees it; 0: it has none here
    bool asks = false;   // changes nothing
    bool seen = false;   // interrupted() was called
    bool fired = false;  // guarded by the mutex of Interrupts
    skerry_cancel* cancel = nullptr;
    std::chrono::steady_clock::time_point begin = std::chrono::steady_clock::now();
  };

  Interrupts() = default;
  /// No call may be under way.
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  /// A signal came for the caller. `call` must live until ended().
  void interrupted(Call* call);
  /// Of a call that was `seen`: true if its `cancel` was fired.
  bool ended(Call* call);

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Call*> calls_;  // guarded by mutex_
  bool stopping_ = false;     // guarded by mutex_
  std::thread thread_;        // guarded by mutex_ until the destructor
};

}  // namespace skerry::fuse

#endif  // SKERRY_BINDINGS_FUSE_INTERRUPTS_H_
