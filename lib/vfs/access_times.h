// AccessTimes: which files were read when, kept in memory until it is committed.
//
// A read only stores the time in its file's mark. What is noted is committed together, by the
// background thread, sync and close of the volume; until then stat adds it to what it tells.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "io/op_context.h"
#include "meta/ops.h"

namespace skerry::vfs {

/// The reads of one file. Shared by its open handles and the table.
struct AccessMark {
  AccessMark(meta::Ino inode, TimeNs atime_ns) : ino(inode), known_ns(atime_ns) {}
  const meta::Ino ino;
  std::atomic<TimeNs> known_ns;    // the access time that the store has, or is told
  std::atomic<TimeNs> read_ns{0};  // of the last read not committed; 0: none
};

/// Thread-safe.
class AccessTimes {
 public:
  /// To be called once, before anything else; kNone for a volume that is only read.
  void start(meta::AtimeMode mode, Clock& clock) {
    mode_ = mode;
    clock_ = &clock;
  }
  meta::AtimeMode mode() const { return mode_; }

  /// The mark for a file that is opened for reading; null where none is wanted.
  std::shared_ptr<AccessMark> open(const meta::Attributes& attr);
  /// The file was read now.
  void note(AccessMark& mark) { mark.read_ns.store(clock_->now_ns(), std::memory_order_relaxed); }
  void note(const meta::Attributes& attr) {
    if (mode_ == meta::AtimeMode::kNone) return;
    if (auto mark = open(attr)) note(*mark);
  }

  /// Adds what is noted to what the store says. A relaxed load while no file has a mark.
  void show(meta::Attributes* attr);
  /// Somebody has set the access time: earlier reads do not count any more.
  void replaced(meta::Ino ino, TimeNs atime_ns);
  /// Commits what is noted, and forgets files that are not open any more.
  Status commit(const OpContext& ctx, meta::Meta& meta);
  /// True if so much is noted that a commit should not wait.
  bool full() const { return count_.load(std::memory_order_relaxed) > kMany; }

 private:
  static constexpr size_t kMany = 4096;

  meta::AtimeMode mode_ = meta::AtimeMode::kNone;
  Clock* clock_ = nullptr;
  std::atomic<size_t> count_{0};
  std::mutex mutex_;
  std::unordered_map<meta::Ino, std::shared_ptr<AccessMark>> marks_;  // guarded by mutex_
};

}  // namespace skerry::vfs
