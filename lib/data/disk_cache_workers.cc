#include "data/disk_cache_workers.h"

#include <pthread.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <system_error>
#include <utility>

#include "base/log.h"
#include "io/blocked_signals.h"

namespace skerry::data {
namespace {

using std::chrono::steady_clock;

constexpr unsigned kReaders = 2;
constexpr size_t kMaxReadings = 256;
constexpr uint64_t kMaxFillBytes = 32 << 20;
constexpr auto kPerSegment = std::chrono::milliseconds(1);  // a slower disk is not worth waiting
constexpr auto kFullPause = std::chrono::seconds(1);

}  // namespace

DiskCache::Workers::Workers(const DiskCacheOptions& options)
    : shared_(std::make_shared<Shared>(options)) {
  for (unsigned i = 0; i < kReaders; i++) start(&Shared::read_parts, "skerry-cache");
  start(&Shared::write_fills, "skerry-fill");
}

/// Without its threads nothing is found or kept.
void DiskCache::Workers::start(void (Shared::*work)(), const char* name) {
  const BlockedSignals blocked;
  try {
    {
      std::lock_guard lock(shared_->mutex);
      shared_->threads++;
    }
    threads_.emplace_back([shared = shared_, work, name] {
      pthread_setname_np(pthread_self(), name);
      ((*shared).*work)();
      std::lock_guard lock(shared->mutex);
      shared->threads--;
      shared->ended.notify_all();
    });
  } catch (const std::system_error& e) {
    std::lock_guard lock(shared_->mutex);
    shared_->threads--;
    log_message(LogLevel::kWarning,
                std::string("cannot start a thread of the disk cache: ") + e.what());
  }
}

DiskCache::Workers::~Workers() {
  std::unique_lock lock(shared_->mutex);
  shared_->stopping = true;
  shared_->readers.notify_all();
  shared_->writer.notify_all();
  const bool ended = shared_->ended.wait_for(lock, shared_->options.stop_within,
                                             [&] { return shared_->threads == 0; });
  shared_->hurry = true;
  lock.unlock();
  for (std::thread& thread : threads_) {
    if (ended) {
      thread.join();
    } else {
      thread.detach();
    }
  }
}

DiskCacheCounters DiskCache::Workers::counters() const {
  const Shared& s = *shared_;
  return {s.hits, s.misses,  s.read_bytes, s.filled_bytes, s.evictions,
          s.bad,  s.dropped, s.errors,     s.stopped};
}

void DiskCache::Workers::Shared::note_failure(std::unique_lock<std::mutex>& lock, Breaker& breaker,
                                              const std::string& why) {
  const bool opened = breaker.failed(steady_clock::now());
  const bool silent = stopping;
  lock.unlock();
  if (!opened) return;
  stopped++;
  if (silent) return;
  log_message(LogLevel::kWarning,
              "cache_dir " + options.folder.directory + ": " + why + "; it is " +
                  (&breaker == &reading ? "not read" : "not filled") + " until it works again");
}

// ---- reading

void DiskCache::Workers::look_up(std::vector<Part> parts,
                                 const std::function<void(const Part&)>& found) {
  Shared& s = *shared_;
  auto call = std::make_shared<Call>();
  const size_t count = parts.size();
  const Time now = steady_clock::now();
  std::unique_lock lock(s.mutex);
  const Breaker::Answer answer = s.reading.ask(now);
  if (answer != Breaker::Answer::kUse || s.readings.size() + count > kMaxReadings) {
    s.misses += count;
    if (answer != Breaker::Answer::kTry) return;
    // Nobody waits for a disk that failed: one part is read to see whether it answers.
    parts.resize(1);
    call->trial = true;
    call->trial_since = now;
    std::erase_if(s.readings, [](const Reading& r) { return r.call->abandoned || r.call->trial; });
  }
  call->parts = std::move(parts);
  for (size_t i = 0; i < call->parts.size(); i++) s.readings.push_back({call, i});
  const Time limit = now + s.options.patience + kPerSegment * s.readings.size();
  s.readers.notify_all();
  if (call->trial) return;

  bool in_time = true;
  for (size_t taken = 0; taken < count; taken++) {
    in_time = call->changed.wait_until(lock, limit, [&] { return call->read.size() > taken; });
    if (!in_time) {
      call->abandoned = true;
      s.misses += count - taken;
      break;
    }
    Part& part = call->parts[call->read[taken]];
    (part.found == part.wanted ? s.hits : s.misses)++;
    if (part.found == 0) continue;
    s.read_bytes += part.framed.size();
    lock.unlock();
    found(part);
    std::vector<std::byte>().swap(part.framed);
    lock.lock();
  }
  if (!in_time) {
    s.note_failure(lock, s.reading, "it is slow to answer");
  } else if (call->failed) {
    s.note_failure(lock, s.reading, "reading fails");
  } else {
    s.reading.succeeded();
  }
}

void DiskCache::Workers::Shared::read_parts() {
  std::unique_lock lock(mutex);
  for (;;) {
    readers.wait(lock, [&] { return stopping || !readings.empty(); });
    if (stopping) return;
    const Reading reading_now = std::move(readings.front());
    readings.pop_front();
    Call& call = *reading_now.call;
    if (call.abandoned) continue;
    lock.unlock();
    Part& part = call.parts[reading_now.part];
    // Written by this thread alone until the part is in `read`; never looked at afterwards if the
    // caller has given up.
    part.framed.resize(part.key.framed_bytes(part.wanted));
    const auto got = folder.read(part.key, part.wanted, part.framed.data());
    part.found = got.ok() ? *got : 0;
    part.framed.resize(part.key.framed_bytes(part.found));
    const bool damaged = !got.ok() && got.error().code() == EBADMSG;
    const bool failed = !got.ok() && !damaged;
    if (damaged) bad++;
    if (failed) errors++;
    lock.lock();
    call.failed = call.failed || failed;
    call.read.push_back(reading_now.part);
    call.changed.notify_one();
    if (!call.trial) continue;
    const Time now = steady_clock::now();
    if (failed || now - call.trial_since > options.patience) {
      reading.failed(now);
    } else {
      reading.succeeded();
    }
  }
}

// ---- filling

void DiskCache::Workers::remove_bad(const SegmentKey& key) {
  shared_->bad++;
  std::lock_guard lock(shared_->mutex);
  shared_->fills.push_front({key, 0, {}});
  shared_->writer.notify_one();
}

void DiskCache::Workers::offer(const meta::Extent& extent, uint64_t first_page,
                               std::span<const ByteView> pieces) {
  Shared& s = *shared_;
  uint64_t bytes = 0;
  for (ByteView piece : pieces) bytes += piece.size();
  size_t piece = 0, in_piece = 0;
  auto take = [&](uint64_t n, std::vector<std::byte>* out) {
    while (n > 0) {
      const ByteView rest = pieces[piece].subspan(in_piece);
      const size_t step = std::min<uint64_t>(n, rest.size());
      if (out != nullptr)
        out->insert(out->end(), rest.begin(), rest.begin() + static_cast<long>(step));
      n -= step;
      in_piece += step;
      if (in_piece == pieces[piece].size()) {
        piece++;
        in_piece = 0;
      }
    }
  };
  for (uint64_t page = first_page; bytes > 0;) {
    Fill fill;
    fill.key = segment_of(extent, page);
    const uint64_t begin = page - fill.key.first_page();
    const uint64_t pages =
        std::min(kSegmentPages - begin, (bytes + kFramedPageBytes - 1) / kFramedPageBytes);
    fill.pages = page_mask(begin, begin + pages);
    const uint64_t size = fill.key.framed_bytes(fill.pages);
    bool wanted = false;
    {
      std::lock_guard lock(s.mutex);
      const Time now = steady_clock::now();
      wanted = !s.reading.open() && now >= s.full_until && s.fill_bytes + size <= kMaxFillBytes &&
               s.threads > 0 && s.writing.ask(now) != Breaker::Answer::kLeave;
      if (wanted) s.fill_bytes += size;
    }
    if (!wanted) s.dropped++;
    if (wanted) fill.framed.reserve(size);
    take(size, wanted ? &fill.framed : nullptr);
    bytes -= size;
    page += pages;
    if (!wanted) continue;
    std::lock_guard lock(s.mutex);
    Fill* last = s.fills.empty() ? nullptr : &s.fills.back();
    // The steps of a fetch may be cut elsewhere than segments are: one write for both parts of one.
    if (last != nullptr && last->key == fill.key && last->pages != 0 &&
        static_cast<uint64_t>(std::bit_width(last->pages)) == begin) {
      last->pages |= fill.pages;
      last->framed.insert(last->framed.end(), fill.framed.begin(), fill.framed.end());
    } else {
      s.fills.push_back(std::move(fill));
    }
    s.writer.notify_one();
  }
}

void DiskCache::Workers::Shared::write_fills() {
  std::unique_lock lock(mutex);
  for (;;) {
    writer.wait(lock, [&] { return stopping || !fills.empty(); });
    if (fills.empty() || hurry) return;
    const Fill fill = std::move(fills.front());
    fills.pop_front();
    lock.unlock();
    if (fill.pages == 0) {
      folder.remove(fill.key);
    } else {
      const auto added = folder.add(fill.key, fill.pages, fill.framed);
      note_added(fill, added);
    }
    lock.lock();
  }
}

void DiskCache::Workers::Shared::note_added(const Fill& fill,
                                            const Result<CacheFolder::Added>& added) {
  if (added.ok()) {
    filled_bytes += added->bytes;
    evictions += added->evicted;
    if (added->disk_full) dropped++;
  } else {
    errors++;
  }
  std::unique_lock lock(mutex);
  fill_bytes -= fill.framed.size();
  if (added.ok()) {
    writing.succeeded();
    if (added->disk_full) full_until = steady_clock::now() + kFullPause;
    return;
  }
  note_failure(lock, writing, added.error().message());
  lock.lock();
  if (!writing.open()) return;
  for (const Fill& waiting : fills) fill_bytes -= waiting.framed.size();
  fills.clear();
}

}  // namespace skerry::data
