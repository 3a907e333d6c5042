#include "vfs/queue.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace skerry::vfs {

Result<std::unique_ptr<CompletionQueue>> CompletionQueue::create(Executor& executor,
                                                                 uint32_t depth) {
  int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) return Error(errno, "cannot make an eventfd");
  return std::unique_ptr<CompletionQueue>(new CompletionQueue(executor, depth, fd));
}

CompletionQueue::~CompletionQueue() {
  stop([](const Completion&) {});
  close(fd_);
}

void CompletionQueue::stop(const std::function<void(const Completion&)>& dropped) {
  std::deque<Completion> rest;
  {
    std::unique_lock lock(mutex_);
    for (auto& [user_data, request] : in_flight_) request->cancel.cancel();
    changed_.wait(lock, [&] { return in_flight_.empty(); });
    rest.swap(done_);
  }
  for (const Completion& completion : rest) dropped(completion);
}

bool CompletionQueue::submit(uint64_t user_data, Job job) {
  auto request = std::make_shared<Request>();
  request->user_data = user_data;
  request->job = std::move(job);
  {
    std::lock_guard lock(mutex_);
    if (in_flight_.size() + done_.size() >= depth_) return false;
    in_flight_.emplace(user_data, request);
  }
  executor_.submit([this, request] { run(request); });
  return true;
}

void CompletionQueue::run(const std::shared_ptr<Request>& request) {
  Completion completion = request->job(request->cancel);
  completion.user_data = request->user_data;
  // Notified under the lock: stop() may destroy the queue as soon as it sees the last one gone.
  std::lock_guard lock(mutex_);
  auto [begin, end] = in_flight_.equal_range(request->user_data);
  in_flight_.erase(std::find_if(begin, end, [&](auto& each) { return each.second == request; }));
  done_.push_back(completion);
  if (done_.size() == 1) set_readable(true);
  changed_.notify_all();
}

/// Under mutex_, on each change between none and some: the eventfd counts 0 or 1.
void CompletionQueue::set_readable(bool readable) {
  uint64_t value = 1;
  // Neither can fail but for EAGAIN, where the descriptor is as wanted already.
  ssize_t moved = readable ? ::write(fd_, &value, sizeof value) : ::read(fd_, &value, sizeof value);
  (void)moved;
}

size_t CompletionQueue::wait(Completion* out, size_t max, size_t min, TimeNs timeout_ns) {
  min = std::min(min, max);
  std::unique_lock lock(mutex_);
  // Each waiter needs no more than what is still on its way.
  auto enough = [&] { return done_.size() >= min || in_flight_.empty(); };
  if (timeout_ns == INT64_MAX) {
    changed_.wait(lock, enough);
  } else {
    changed_.wait_until(
        lock, std::chrono::steady_clock::now() + std::chrono::nanoseconds(timeout_ns), enough);
  }
  size_t taken = std::min(max, done_.size());
  for (size_t i = 0; i < taken; i++) {
    out[i] = done_.front();
    done_.pop_front();
  }
  if (taken > 0 && done_.empty()) set_readable(false);
  return taken;
}

size_t CompletionQueue::cancel(uint64_t user_data) {
  std::lock_guard lock(mutex_);
  auto [begin, end] = in_flight_.equal_range(user_data);
  size_t found = 0;
  for (auto each = begin; each != end; ++each, found++) each->second->cancel.cancel();
  return found;
}

}  // namespace skerry::vfs
