// CompletionQueue: calls that run elsewhere and are collected by one who waits or polls.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "base/result.h"
#include "io/executor.h"
#include "io/op_context.h"

namespace skerry::vfs {

/// Thread-safe. At most `depth` requests are on their way: submitted and their completion not yet
/// taken, so that neither requests nor completions grow without bound.
class CompletionQueue {
 public:
  struct Completion {
    uint64_t user_data = 0;
    int64_t result = 0;
    void* object = nullptr;
  };
  /// Runs on the executor. Cancelled before it starts, it is called all the same, and is expected
  /// to look at its token first.
  using Job = std::function<Completion(const CancelToken& cancel)>;

  /// EMFILE and the like if there is no eventfd to be had. `executor` outlives the queue.
  static Result<std::unique_ptr<CompletionQueue>> create(Executor& executor, uint32_t depth);
  /// Cancels what is in flight and waits for it. `dropped` is called for what was not taken.
  void stop(const std::function<void(const Completion&)>& dropped);
  ~CompletionQueue();
  CompletionQueue(const CompletionQueue&) = delete;
  CompletionQueue& operator=(const CompletionQueue&) = delete;

  /// Readable while completions wait.
  int fd() const { return fd_; }
  /// False if the queue is full.
  bool submit(uint64_t user_data, Job job);
  /// Waits until `min` completions are there or nothing is on its way or the time is over; takes at
  /// most `max`. `timeout_ns` INT64_MAX: for ever.
  size_t wait(Completion* out, size_t max, size_t min, TimeNs timeout_ns);
  /// The number of requests in flight with this user_data, which were all asked to stop.
  size_t cancel(uint64_t user_data);

 private:
  struct Request {
    uint64_t user_data = 0;
    CancelToken cancel;
    Job job;
  };
  CompletionQueue(Executor& executor, uint32_t depth, int fd)
      : executor_(executor), depth_(depth), fd_(fd) {}
  void run(const std::shared_ptr<Request>& request);
  void set_readable(bool readable);

  Executor& executor_;
  const uint32_t depth_;
  const int fd_;
  std::mutex mutex_;
  std::condition_variable changed_;
  // All guarded by mutex_. A request is shared with the task that runs it.
  std::unordered_multimap<uint64_t, std::shared_ptr<Request>> in_flight_;
  std::deque<Completion> done_;
};

}  // namespace skerry::vfs
