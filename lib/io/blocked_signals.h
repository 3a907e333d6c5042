// Threads of ours and the host's signals.
#pragma once

#include <signal.h>

namespace skerry {

/// Signals belong to the host: its handlers must not run on threads it does not know of. A thread
/// is started while one of these lives, because it inherits the mask.
class BlockedSignals {
 public:
  BlockedSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~BlockedSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;

 private:
  sigset_t before_;
};

}  // namespace skerry
