// Where background work runs. Injected: a bounded pool in a process, the caller's own thread in
// the simulator.
#pragma once

#include <functional>
#include <memory>
#include <string>

namespace skerry {

class Executor {
 public:
  virtual ~Executor() = default;
  /// Runs `task` some time, on some thread (inline executors: now). Tasks must not wait for tasks
  /// submitted later to the same executor. Thread-safe.
  virtual void submit(std::function<void()> task) = 0;
};

/// `threads` threads named `name`, started on the first submit (so an idle volume costs none),
/// joined by the destructor after all submitted tasks ran. Built on boost::asio::thread_pool.
std::unique_ptr<Executor> make_thread_pool(std::string name, unsigned threads);

/// Runs each task in submit().
std::unique_ptr<Executor> make_inline_executor();

}  // namespace skerry
