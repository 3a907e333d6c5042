// DiskCache: pieces of slices in a folder of the host's disk (cache_folder.h), so that they are not
// fetched from the object store again: by this process, the next one, or those beside it.
//
// It is never slower than the store by more than a moment, whatever the disk does: its files are
// touched by three threads of its own. Who looks for pages waits 50 ms, and a millisecond more for
// each segment to be read, then goes to the store; what is offered is copied into a bounded queue,
// and left out where that is full. After three failures in a row reading, or writing, is left alone
// and tried again every ten seconds. No failure of the disk is an error to anyone.
//
// What look_up() finds is to be checked by the caller, who has the checksum to believe; what fails
// is removed with remove_bad() and fetched from the store. Keys are immutable, so nothing is ever
// invalidated, and what belongs to deleted objects is evicted in its time.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "data/cache_folder.h"
#include "data/per_process.h"
#include "data/segment_file.h"

namespace skerry::data {

struct DiskCacheOptions {
  CacheFolderOptions folder;
  std::chrono::milliseconds patience{50};       // of who looks for pages
  std::chrono::milliseconds try_after{10'000};  // a disk that failed
  std::chrono::milliseconds stop_within{2'000};
};

/// Monotonic. A hit or miss is a segment of which all wanted pages were there, or not.
struct DiskCacheCounters {
  uint64_t hits = 0, misses = 0;
  uint64_t read_bytes = 0, filled_bytes = 0;
  uint64_t evictions = 0;  // files
  uint64_t bad = 0;        // files that were damaged, or not what their name said
  uint64_t dropped = 0;    // segments offered and left out: too many waited, or the disk was full
  uint64_t errors = 0;     // of the disk, in reading and writing
  uint64_t stopped = 0;    // how often reading or writing was given up for a time
};

/// Thread-safe. In a forked child it starts afresh, with threads of its own.
class DiskCache {
 public:
  /// Touches nothing yet; threads start with the first use.
  explicit DiskCache(DiskCacheOptions options);
  /// Writes what was offered. Its threads are gone afterwards, unless the disk does not answer
  /// within stop_within: then they end when it does.
  ~DiskCache();
  DiskCache(const DiskCache&) = delete;
  DiskCache& operator=(const DiskCache&) = delete;

  /// Makes the folder where there is none. An error that names it where it can not be used, also
  /// where the disk does not answer in time.
  static Status prepare(const CacheFolderOptions& options, std::chrono::milliseconds timeout);

  /// Neighbouring pages of one segment.
  struct Part {
    SegmentKey key;
    PageMask wanted = 0;
    size_t tag = 0;                 // the caller's
    PageMask found = 0;             // of those wanted
    std::vector<std::byte> framed;  // the pages found, as they lie in the object
  };
  /// Calls `found` in the caller's thread for each part of which there are pages, as they come.
  void look_up(std::vector<Part> parts, const std::function<void(const Part&)>& found);
  void remove_bad(const SegmentKey& key);
  /// Pages from `first_page` on, checked, as they lie in the object: the pieces one after the other
  /// hold whole pages but for the slice's last. Copies.
  void offer(const meta::Extent& extent, uint64_t first_page, std::span<const ByteView> pieces);

  DiskCacheCounters counters();

 private:
  class Workers;
  struct Process;

  Workers& workers();

  const DiskCacheOptions options_;
  std::unique_ptr<PerProcess<Process>> process_;
};

}  // namespace skerry::data
