#include "object/decorators/hedge_store.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <new>
#include <set>
#include <system_error>
#include <thread>

#include "io/blocked_signals.h"

namespace skerry {
namespace {

constexpr double kMostCredit = 10;
constexpr size_t kSizes = 3;

size_t size_class(size_t bytes) { return bytes <= 64u << 10 ? 0 : bytes <= 1u << 20 ? 1 : 2; }

/// Latencies of the last reads of one size, and what is late among them.
class LatencyWindow {
 public:
  void add(TimeNs latency_ns, uint32_t percentile) {
    last_[added_++ % kSize] = latency_ns;
    if (added_ < kLeast || added_ % kEvery != 0) return;
    std::array<TimeNs, kSize> sorted = last_;
    const size_t known = std::min(added_, kSize);
    auto* const wanted = sorted.begin() + std::min(known * percentile / 100, known - 1);
    std::nth_element(sorted.begin(), wanted, sorted.begin() + known);
    late_ns_ = *wanted;
  }
  /// 0 while too little is known.
  TimeNs late_ns() const { return late_ns_; }

 private:
  static constexpr size_t kSize = 128, kLeast = 32, kEvery = 16;
  std::array<TimeNs, kSize> last_{};
  size_t added_ = 0;
  TimeNs late_ns_ = 0;
};

/// One call that may be asked for twice. The thread of the second request may outlive the call.
struct Read {
  std::string key;
  uint64_t offset = 0;
  size_t length = 0;
  OpContext ctx;  // of the second request
  TimeNs due_ns = 0;
  bool second_began = false;  // guarded by the engine's mutex
  CancelToken end_second;
  std::atomic<bool> superseded{false};

  std::mutex mutex;  // guards what follows
  std::condition_variable done;
  const CancelToken* first = nullptr;  // the caller's; null once the call needs no waking
  bool second_done = false;
  bool second_good = false;
  std::vector<std::byte> data;
};
using ReadPtr = std::shared_ptr<Read>;

}  // namespace

class HedgeObjectStore::Engine {
 public:
  Engine(ObjectStore& base, Clock& clock, const HedgeOptions& options)
      : base_(base), clock_(clock), options_(options) {}
  ~Engine();

  Status get(const OpContext& ctx, std::string_view key, uint64_t offset, MutableBytes out);
  bool inherited() const { return process_ != getpid(); }

  std::atomic<uint64_t> hedges{0}, wins{0};

 private:
  void run();
  void ask_second(Read& read);
  bool watch(const ReadPtr& read);
  bool forget(const ReadPtr& read);
  void note(size_t bytes, const Status& status, TimeNs latency_ns);
  Status settle(const OpContext& ctx, Read& read, Status first, MutableBytes out);

  ObjectStore& base_;
  Clock& clock_;
  const HedgeOptions options_;
  const pid_t process_ = getpid();

  std::mutex mutex_;  // guards what follows; a Read's mutex is not taken below it
  std::condition_variable changed_, free_;
  bool stopping_ = false;
  bool looking_ = false;  // one thread waits for what is late next, the others for their turn
  TimeNs next_look_ns_ = INT64_MAX;
  std::array<LatencyWindow, kSizes> windows_;
  double credit_ = 0;                             // second requests that may be made
  std::set<std::pair<TimeNs, ReadPtr>> waiting_;  // by when they are late
  std::set<ReadPtr> asked_;
  std::vector<std::thread> threads_;
};

HedgeObjectStore::Engine::~Engine() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    for (const ReadPtr& read : asked_) read->end_second.cancel();
  }
  changed_.notify_all();
  free_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

Status HedgeObjectStore::Engine::get(const OpContext& ctx, std::string_view key, uint64_t offset,
                                     MutableBytes out) {
  const TimeNs began = clock_.monotonic_ns();
  TimeNs late_ns = 0;
  {
    std::lock_guard lock(mutex_);
    late_ns = windows_[size_class(out.size())].late_ns();
    credit_ = std::min(credit_ + options_.percent / 100.0, kMostCredit);
  }
  const auto read = late_ns > 0 ? std::make_shared<Read>() : nullptr;
  const CancelToken own;
  OpContext first = ctx;
  bool watched = false;
  if (read != nullptr) {
    first.cancel = ctx.cancel != nullptr ? ctx.cancel : &own;
    first.superseded = &read->superseded;
    read->key = key;
    read->offset = offset;
    read->length = out.size();
    read->ctx = ctx;
    read->ctx.cancel = &read->end_second;
    read->ctx.superseded = nullptr;
    read->ctx.aged = nullptr;
    read->due_ns = began + std::max(late_ns, options_.least_delay_ns);
    read->first = first.cancel;
    watched = watch(read);
  }
  Status status = base_.get(first, key, offset, out);
  note(out.size(), status, clock_.monotonic_ns() - began);
  if (!watched || !forget(read)) return status;
  return settle(ctx, *read, std::move(status), out);
}

/// The first request has ended; a second one has begun.
Status HedgeObjectStore::Engine::settle(const OpContext& ctx, Read& read, Status first,
                                        MutableBytes out) {
  std::unique_lock lock(read.mutex);
  read.first = nullptr;
  if (!first.ok() && (first.error().retryable() || read.superseded)) {
    while (!read.second_done && ctx.check().ok())
      read.done.wait_for(lock, std::chrono::nanoseconds(kCancelCheckNs));
    if (read.second_good) {
      std::copy(read.data.begin(), read.data.end(), out.begin());
      wins.fetch_add(1, std::memory_order_relaxed);
      return {};
    }
  }
  read.end_second.cancel();
  return first;
}

void HedgeObjectStore::Engine::note(size_t bytes, const Status& status, TimeNs latency_ns) {
  std::lock_guard lock(mutex_);
  // One that was given up took at least so long.
  if (status.ok() || status.error().code() == ECANCELED) {
    windows_[size_class(bytes)].add(latency_ns, options_.percentile);
  } else if (status.error().throttled()) {
    credit_ = 0;
  }
}

/// False where no thread can be had.
bool HedgeObjectStore::Engine::watch(const ReadPtr& read) {
  std::lock_guard lock(mutex_);
  if (threads_.empty()) {
    const BlockedSignals blocked;
    try {
      for (uint32_t i = 0; i < options_.threads; ++i) threads_.emplace_back([this] { run(); });
    } catch (const std::system_error&) {
      if (threads_.empty()) return false;
    }
  }
  waiting_.emplace(read->due_ns, read);
  if (read->due_ns < next_look_ns_) changed_.notify_one();
  return true;
}

/// Whether a second request has begun.
bool HedgeObjectStore::Engine::forget(const ReadPtr& read) {
  std::lock_guard lock(mutex_);
  waiting_.erase({read->due_ns, read});
  return read->second_began;
}

void HedgeObjectStore::Engine::run() {
  pthread_setname_np(pthread_self(), "skerry-hedge");
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (looking_) {
      free_.wait(lock);
      continue;
    }
    looking_ = true;
    while (!stopping_) {
      const TimeNs now = clock_.monotonic_ns();
      next_look_ns_ = waiting_.empty() ? INT64_MAX : waiting_.begin()->first;
      if (next_look_ns_ <= now) break;
      if (waiting_.empty()) {
        changed_.wait(lock);
      } else {
        changed_.wait_for(lock, std::chrono::nanoseconds(next_look_ns_ - now));
      }
    }
    looking_ = false;
    free_.notify_one();
    if (stopping_) return;
    const ReadPtr read = waiting_.begin()->second;
    waiting_.erase(waiting_.begin());
    if (credit_ < 1) continue;
    credit_ -= 1;
    read->second_began = true;
    asked_.insert(read);
    hedges.fetch_add(1, std::memory_order_relaxed);
    lock.unlock();
    ask_second(*read);
    lock.lock();
    asked_.erase(read);
  }
}

void HedgeObjectStore::Engine::ask_second(Read& read) {
  std::vector<std::byte> data;
  Status status;
  try {
    data.resize(read.length);
    status = base_.get(read.ctx, read.key, read.offset, data);
  } catch (const std::bad_alloc&) {
    status = Error(ENOMEM);
  }
  std::lock_guard lock(read.mutex);
  read.second_done = true;
  read.second_good = status.ok();
  read.data = std::move(data);
  if (read.second_good && read.first != nullptr) {
    read.superseded.store(true, std::memory_order_release);
    read.first->signal();
  }
  read.done.notify_all();
}

HedgeObjectStore::HedgeObjectStore(std::shared_ptr<ObjectStore> base, Clock& clock,
                                   HedgeOptions options)
    : base_(std::move(base)),
      options_(options),
      engine_(std::make_unique<Engine>(*base_, clock, options)) {}

HedgeObjectStore::~HedgeObjectStore() {
  // The threads are not this process's, and the mutex may be held for ever.
  if (engine_->inherited()) static_cast<void>(engine_.release());
}

uint64_t HedgeObjectStore::hedges() const { return engine_->hedges; }
uint64_t HedgeObjectStore::wins() const { return engine_->wins; }

Status HedgeObjectStore::get(const OpContext& ctx, std::string_view key, uint64_t offset,
                             MutableBytes out) {
  if (options_.percent == 0 || options_.threads == 0 || out.empty()) {
    return base_->get(ctx, key, offset, out);
  }
  return engine_->get(ctx, key, offset, out);
}

Status HedgeObjectStore::get_in_steps(const OpContext& ctx, std::string_view key, uint64_t offset,
                                      uint64_t length, uint64_t step, MutableBytes buffer,
                                      const Take& take) {
  if (buffer.size() < length) {
    return base_->get_in_steps(ctx, key, offset, length, step, buffer, take);
  }
  return ObjectStore::get_in_steps(ctx, key, offset, length, step, buffer, take);
}

}  // namespace skerry
