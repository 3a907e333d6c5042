// CountingStore: another store, with its calls counted.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "meta/store.h"

namespace skerry::meta {

/// Monotonic since the store was opened.
struct StoreCounters {
  uint64_t reads = 0;      // round trips: read() and resolve()
  uint64_t commits = 0;    // applied
  uint64_t conflicts = 0;  // answered with a conflict
  uint64_t errors = 0;     // of any call
};

/// Thread-safe as far as `base` is. Shares `base` with whoever opened it.
class CountingStore final : public Store {
 public:
  explicit CountingStore(std::shared_ptr<Store> base) : base_(std::move(base)) {}

  std::string describe() const override { return base_->describe(); }
  StoreCapabilities capabilities() const override { return base_->capabilities(); }
  Result<ReadResult> read(const OpContext& ctx, const ReadRequest& request) override {
    add(reads_);
    return note(base_->read(ctx, request));
  }
  Result<CommitResult> commit(const OpContext& ctx, CommitRequest request) override {
    auto result = note(base_->commit(ctx, std::move(request)));
    if (result.ok()) add(result->applied ? commits_ : conflicts_);
    return result;
  }
  Status sync(const OpContext& ctx) override { return note(base_->sync(ctx)); }
  uint64_t generation() noexcept override { return base_->generation(); }
  Status wait_for_change(const OpContext& ctx, uint64_t seen, TimeNs timeout_ns) override {
    return base_->wait_for_change(ctx, seen, timeout_ns);
  }
  void tell_changes(ChangeSink* sink) override { base_->tell_changes(sink); }
  Result<std::vector<EntryRecord>> resolve(const OpContext& ctx, Ino directory,
                                           const std::vector<std::string>& names,
                                           std::optional<AttributeHome>* start) override {
    add(reads_);
    return note(base_->resolve(ctx, directory, names, start));
  }

  StoreCounters counters() const {
    auto value = [](const std::atomic<uint64_t>& n) { return n.load(std::memory_order_relaxed); };
    return {value(reads_), value(commits_), value(conflicts_), value(errors_)};
  }

 private:
  static void add(std::atomic<uint64_t>& n) { n.fetch_add(1, std::memory_order_relaxed); }
  template <typename T>
  T note(T result) {
    if (!result.ok()) add(errors_);
    return result;
  }

  const std::shared_ptr<Store> base_;
  std::atomic<uint64_t> reads_{0}, commits_{0}, conflicts_{0}, errors_{0};
};

}  // namespace skerry::meta
