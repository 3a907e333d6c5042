// What a volume does on its own: heartbeat, reclaim, and FileStore's flushes and compaction.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "base/result.h"
#include "io/op_context.h"

namespace skerry::vfs {

class Volume;

/// One thread, named "skerry-bg", that takes a step about every second and a heartbeat about every
/// five. Errors are logged and tried again at the next beat: a store that is away must not end it.
class Background {
 public:
  /// `volume` outlives the result. EAGAIN if no thread can be started.
  static Result<std::unique_ptr<Background>> start(Volume& volume);
  /// Cancels the step in progress and joins the thread.
  ~Background();
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  /// A heartbeat now.
  void wake();

 private:
  explicit Background(Volume& volume) : volume_(volume) {}
  void run();
  void beat(const OpContext& ctx);
  void reclaim(const OpContext& ctx);

  Volume& volume_;
  CancelToken cancel_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stop_ = false;  // guarded by mutex_
  bool wake_ = false;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace skerry::vfs
