// Keeps fork() out of SQLite.
//
// A child inherits every mutex in the state it had at fork(): one held by another thread stays held
// for ever. So all SQLite work is done inside this process-wide gate, and a pthread_atfork handler
// closes the gate and waits until everyone has left before the process is copied. The gate is never
// held while another process's lock is waited for, and never entered twice by one thread.
#pragma once

#include <cstdint>

namespace skerry::meta::sqlite {

/// Installs the fork handlers; the first call counts. `in_child` runs in every child, on its only
/// thread, before fork() returns there.
void install_fork_handlers(void (*in_child)()) noexcept;

/// How often this process is the product of a fork since the handlers were installed: an object
/// remembers it to know that it was inherited.
uint64_t fork_count() noexcept;

/// Inside for its lifetime, unless `leave`d. Costs two uncontended atomic additions.
class ForkGate {
 public:
  ForkGate() noexcept { enter(); }
  ~ForkGate() { leave(); }
  ForkGate(const ForkGate&) = delete;
  ForkGate& operator=(const ForkGate&) = delete;

  void leave() noexcept;
  void enter() noexcept;

 private:
  bool inside_ = false;
};

}  // namespace skerry::meta::sqlite
