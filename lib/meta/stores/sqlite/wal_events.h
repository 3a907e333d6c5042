// Wakes who waits for another process's commit.
#pragma once

#include <string>

namespace skerry::meta::sqlite {

/// Watches a database's WAL, which every commit writes to, for as long as it lives. Not
/// thread-safe. A forked child does not keep its descriptor.
class WalEvents {
 public:
  explicit WalEvents(const std::string& database_path);
  ~WalEvents();
  WalEvents(const WalEvents&) = delete;
  WalEvents& operator=(const WalEvents&) = delete;

  /// False where the system has no watch to give (its limits are per user): the caller sleeps.
  bool works() const { return fd_ >= 0; }
  /// Until the WAL is written, or `timeout_ms`.
  void wait(int timeout_ms);

 private:
  friend void close_inherited_events() noexcept;
  int fd_ = -1;
  WalEvents* next_ = nullptr;  // of all in the process; guarded by a mutex in the .cc
  WalEvents* previous_ = nullptr;
};

/// In a forked child, on its only thread.
void close_inherited_events() noexcept;

}  // namespace skerry::meta::sqlite
