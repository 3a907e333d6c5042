// Watcher: the thread of a mount that looks after it.
#ifndef SKERRY_BINDINGS_FUSE_WATCHER_H_
#define SKERRY_BINDINGS_FUSE_WATCHER_H_

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "file_system.h"

namespace skerry::fuse {

/// Waits until the mount answers, sets the kernel's readahead and calls `ready`. Then, about once a
/// second, asks for each open file whether another client has changed it, and if so has the kernel
/// drop what it has cached of it, so that long-lived readers and mappings see the change too; and
/// ends reads of the access log whose callers were interrupted.
class Watcher {
 public:
  Watcher(FileSystem& fs, fuse_session* session, std::function<void()> ready);
  /// The session must be unmounted or about to serve no more.
  ~Watcher();
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

 private:
  void run();
  void set_read_ahead() const;
  void drop_changed();

  FileSystem& fs_;
  fuse_session* const session_;
  const std::function<void()> ready_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace skerry::fuse

#endif  // SKERRY_BINDINGS_FUSE_WATCHER_H_
