#include "data/parallel.h"

#include <algorithm>
#include <condition_variable>
#include <memory>
#include <mutex>

namespace skerry::data {
namespace {

constexpr size_t kMaxHelpers = 15;

/// Shared by the caller and helpers, which may come after the caller has left and then find nothing
/// to do.
struct Work {
  std::mutex mutex;
  std::condition_variable finished;
  size_t next = 0;  // guarded by mutex, as is `unfinished`
  size_t count = 0;
  size_t unfinished = 0;
  const std::function<void(size_t)>* work = nullptr;  // alive while `unfinished` is not 0

  void take_pieces() {
    std::unique_lock lock(mutex);
    while (next < count) {
      size_t piece = next++;
      lock.unlock();
      (*work)(piece);
      lock.lock();
      if (--unfinished == 0) finished.notify_all();
    }
  }
};

}  // namespace

void run_parallel(Executor& executor, size_t count, const std::function<void(size_t)>& work) {
  if (count == 1) return work(0);
  if (count == 0) return;
  auto shared = std::make_shared<Work>();
  shared->count = shared->unfinished = count;
  shared->work = &work;
  for (size_t i = 0; i < std::min(count - 1, kMaxHelpers); i++)
    executor.submit([shared] { shared->take_pieces(); });
  shared->take_pieces();
  std::unique_lock lock(shared->mutex);
  shared->finished.wait(lock, [&] { return shared->unfinished == 0; });
}

}  // namespace skerry::data
