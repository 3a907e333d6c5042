// DiskCache::Workers: the threads of a disk cache and what they share. Internal to it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "data/breaker.h"
#include "data/disk_cache.h"

namespace skerry::data {

/// Of one process.
class DiskCache::Workers {
 public:
  explicit Workers(const DiskCacheOptions& options);
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  void look_up(std::vector<Part> parts, const std::function<void(const Part&)>& found);
  void remove_bad(const SegmentKey& key);
  void offer(const meta::Extent& extent, uint64_t first_page, std::span<const ByteView> pieces);
  DiskCacheCounters counters() const;

 private:
  using Time = Breaker::Time;

  /// One look_up().
  struct Call {
    std::vector<Part> parts;
    std::condition_variable changed;
    std::vector<size_t> read;  // parts, in the order they were read; guarded by Shared::mutex
    bool failed = false;       // guarded by Shared::mutex
    bool abandoned = false;    // guarded by Shared::mutex
    Time trial_since;          // of a call that nobody waits for
    bool trial = false;
  };
  struct Reading {
    std::shared_ptr<Call> call;  // shared with who waits
    size_t part = 0;
  };
  struct Fill {
    SegmentKey key;
    PageMask pages = 0;  // 0: the segment is bad and goes
    std::vector<std::byte> framed;
  };

  /// Outlives the workers while a thread hangs in the disk.
  struct Shared {
    explicit Shared(const DiskCacheOptions& o)
        : options(o), folder(o.folder), reading(o.try_after), writing(o.try_after) {}

    void read_parts();
    void write_fills();
    void note_added(const Fill& fill, const Result<CacheFolder::Added>& added);
    /// Says so once it is open; `lock` is released.
    void note_failure(std::unique_lock<std::mutex>& lock, Breaker& breaker, const std::string& why);

    const DiskCacheOptions options;
    const CacheFolder folder;

    std::mutex mutex;  // guards all that follows but the counters; never held across I/O
    std::condition_variable readers, writer, ended;
    std::deque<Reading> readings;
    std::deque<Fill> fills;
    uint64_t fill_bytes = 0;  // of `fills`, of those being made, and of the one being written
    Breaker reading, writing;
    Time full_until;  // the disk has no room: nothing is filled
    unsigned threads = 0;
    bool stopping = false;  // what is in `fills` is still written
    bool hurry = false;     // it is not

    std::atomic<uint64_t> hits{0}, misses{0}, read_bytes{0}, filled_bytes{0}, evictions{0}, bad{0},
        dropped{0}, errors{0}, stopped{0};
  };

  void start(void (Shared::*work)(), const char* name);

  const std::shared_ptr<Shared> shared_;
  std::vector<std::thread> threads_;
};

}  // namespace skerry::data
