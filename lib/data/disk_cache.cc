#include "data/disk_cache.h"

#include <pthread.h>

#include <optional>
#include <system_error>
#include <utility>

#include "data/disk_cache_workers.h"
#include "io/blocked_signals.h"

namespace skerry::data {

struct DiskCache::Process {
  std::mutex mutex;
  std::unique_ptr<Workers> workers;  // guarded by mutex until it is there
};

DiskCache::DiskCache(DiskCacheOptions options)
    : options_(std::move(options)), process_(std::make_unique<PerProcess<Process>>()) {}

DiskCache::~DiskCache() = default;

DiskCache::Workers& DiskCache::workers() {
  Process& process = process_->get();
  std::lock_guard lock(process.mutex);
  if (process.workers == nullptr) process.workers = std::make_unique<Workers>(options_);
  return *process.workers;
}

void DiskCache::look_up(std::vector<Part> parts, const std::function<void(const Part&)>& found) {
  if (!parts.empty()) workers().look_up(std::move(parts), found);
}

void DiskCache::remove_bad(const SegmentKey& key) { workers().remove_bad(key); }

void DiskCache::offer(const meta::Extent& extent, uint64_t first_page,
                      std::span<const ByteView> pieces) {
  workers().offer(extent, first_page, pieces);
}

DiskCacheCounters DiskCache::counters() {
  Process& process = process_->get();
  std::lock_guard lock(process.mutex);
  return process.workers == nullptr ? DiskCacheCounters() : process.workers->counters();
}

Status DiskCache::prepare(const CacheFolderOptions& options, std::chrono::milliseconds timeout) {
  struct Answer {
    std::mutex mutex;
    std::condition_variable given;
    std::optional<Status> status;  // guarded by mutex
  };
  auto answer = std::make_shared<Answer>();  // shared with a thread that may hang
  std::thread thread;
  try {
    const BlockedSignals blocked;
    thread = std::thread([answer, folder = CacheFolder(options)] {
      pthread_setname_np(pthread_self(), "skerry-cache");
      Status status = folder.prepare();
      std::lock_guard lock(answer->mutex);
      answer->status = std::move(status);
      answer->given.notify_all();
    });
  } catch (const std::system_error& e) {
    return Error(EAGAIN, std::string("cannot start a thread of the disk cache: ") + e.what());
  }
  std::unique_lock lock(answer->mutex);
  if (answer->given.wait_for(lock, timeout, [&] { return answer->status.has_value(); })) {
    lock.unlock();
    thread.join();
    return *std::move(answer->status);
  }
  thread.detach();
  return Error(ETIMEDOUT, "the disk of " + options.directory + " does not answer");
}

}  // namespace skerry::data
