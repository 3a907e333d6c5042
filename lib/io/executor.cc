#include "io/executor.h"

#if defined(__SANITIZE_THREAD__)
// Asio's fences, which the sanitizer does not follow, only repeat what its queue's mutex orders.
#pragma GCC diagnostic ignored "-Wtsan"
#endif

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <exception>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "base/log.h"
#include "io/blocked_signals.h"

namespace skerry {
namespace {

void run_logged(const std::function<void()>& task) {
  try {
    task();
  } catch (const std::exception& e) {
    log_message(LogLevel::kError, std::string("a background task threw: ") + e.what());
  } catch (...) {
    log_message(LogLevel::kError, "a background task threw");
  }
}

/// The threads of one process. They are attached to the pool rather than made by it, so that each
/// bears its name from its first instruction.
class Workers {
 public:
  Workers(const std::string& name, unsigned count) : pool_(0) {
    BlockedSignals blocked;
    for (unsigned i = 0; i < count; i++) {
      try {
        threads_.emplace_back([this, name] {
          pthread_setname_np(pthread_self(), name.c_str());
          pool_.attach();
        });
      } catch (const std::system_error& e) {
        log_message(LogLevel::kWarning, "cannot start a thread of pool " + name + ": " + e.what());
        break;  // fewer threads do the same work
      }
    }
  }
  ~Workers() {
    pool_.wait();
    for (auto& thread : threads_) thread.join();
  }
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  bool owned_by_this_process() const { return pid_ == getpid(); }
  bool empty() const { return threads_.empty(); }
  void post(std::function<void()> task) {
    boost::asio::post(pool_, [task = std::move(task)] { run_logged(task); });
  }

 private:
  const pid_t pid_ = getpid();
  boost::asio::thread_pool pool_;
  std::vector<std::thread> threads_;
};

class ThreadPool final : public Executor {
 public:
  ThreadPool(const std::string& name, unsigned threads)
      : name_(name.substr(0, 15)),  // the kernel's limit for thread names
        threads_(std::max(threads, 1u)) {}

  ~ThreadPool() override {
    Workers* workers = workers_.load(std::memory_order_acquire);
    if (workers != nullptr && workers->owned_by_this_process()) delete workers;
  }

  void submit(std::function<void()> task) override {
    Workers* workers = started();
    if (workers->empty()) {
      run_logged(task);
    } else {
      workers->post(std::move(task));
    }
  }

 private:
  /// A forked child inherits neither the threads nor a usable state of their locks, so it leaves
  /// the parent's Workers untouched, tasks included (they are the parent's), and starts its own.
  /// No mutex guards the start, because the child might inherit it locked.
  Workers* started() {
    Workers* current = workers_.load(std::memory_order_acquire);
    while (current == nullptr || !current->owned_by_this_process()) {
      auto fresh = std::make_unique<Workers>(name_, threads_);
      if (workers_.compare_exchange_strong(current, fresh.get(), std::memory_order_acq_rel))
        return fresh.release();
    }
    return current;
  }

  const std::string name_;
  const unsigned threads_;
  std::atomic<Workers*> workers_{nullptr};
};

class InlineExecutor final : public Executor {
 public:
  void submit(std::function<void()> task) override { run_logged(task); }
};

}  // namespace

std::unique_ptr<Executor> make_thread_pool(std::string name, unsigned threads) {
  return std::make_unique<ThreadPool>(std::move(name), threads);
}

std::unique_ptr<Executor> make_inline_executor() { return std::make_unique<InlineExecutor>(); }

}  // namespace skerry
