// HedgeObjectStore: asks a second time what is late, and takes the answer that comes first.
//
// See Dean and Barroso, "The Tail at Scale", CACM 56(2), 2013.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "object/object_store.h"

namespace skerry {

struct HedgeOptions {
  uint32_t percent = 5;      // of reads that may be asked for twice; 0: none
  uint32_t percentile = 95;  // of recent latencies, after which a read is late
  uint32_t threads = 4;      // second requests in flight; started on first use
  TimeNs least_delay_ns = 5'000'000;
};

/// A read goes into the caller's memory, on the caller's thread. Once it is later than most reads
/// of its size were, a thread of the store asks the same into memory of its own. If that answer is
/// good and first, the caller's request is given up, and only when it has ended is the answer
/// copied: no request outlives its call with the caller's memory. In the other case the second
/// request is given up. Errors that another try would not help are final; after others the second
/// answer is waited for. Nothing is asked twice while the store has too many requests.
/// Everything but reads goes through. Thread-safe.
class HedgeObjectStore final : public ObjectStore {
 public:
  /// `clock` measures real time, and outlives the store. A child process may drop a store that it
  /// inherited.
  HedgeObjectStore(std::shared_ptr<ObjectStore> base, Clock& clock, HedgeOptions options = {});
  /// No call may be under way.
  ~HedgeObjectStore() override;

  /// Second requests made, and those whose answer was taken.
  uint64_t hedges() const;
  uint64_t wins() const;

  std::string describe() const override { return base_->describe(); }
  ObjectCapabilities capabilities() const override { return base_->capabilities(); }
  Status get(const OpContext& ctx, std::string_view key, uint64_t offset,
             MutableBytes out) override;
  /// Asked twice where the buffer has room for all of it, else once.
  Status get_in_steps(const OpContext& ctx, std::string_view key, uint64_t offset, uint64_t length,
                      uint64_t step, MutableBytes buffer, const Take& take) override;
  /// Asked once: what is late among many that share the line is no news of one server.
  void get_many(const OpContext& ctx, std::span<ObjectRange> ranges,
                const RangeDone& done) override {
    base_->get_many(ctx, ranges, done);
  }
  Status put(const OpContext& ctx, std::string_view key, const std::vector<ByteView>& pieces,
             const PutOptions& options = {}) override {
    return base_->put(ctx, key, pieces, options);
  }
  Result<ObjectInfo> head(const OpContext& ctx, std::string_view key) override {
    return base_->head(ctx, key);
  }
  Status remove(const OpContext& ctx, std::string_view key) override {
    return base_->remove(ctx, key);
  }
  Result<std::vector<DeleteOutcome>> remove_batch(const OpContext& ctx,
                                                  const std::vector<std::string>& keys) override {
    return base_->remove_batch(ctx, keys);
  }
  Result<ObjectPage> list(const OpContext& ctx, std::string_view prefix,
                          std::string_view start_after, uint32_t limit) override {
    return base_->list(ctx, prefix, start_after, limit);
  }
  Result<std::string> start_upload(const OpContext& ctx, std::string_view key,
                                   const PutOptions& options = {}) override {
    return base_->start_upload(ctx, key, options);
  }
  Result<UploadedPart> put_part(const OpContext& ctx, std::string_view key,
                                std::string_view upload_id, uint32_t number,
                                ByteView data) override {
    return base_->put_part(ctx, key, upload_id, number, data);
  }
  Status complete_upload(const OpContext& ctx, std::string_view key, std::string_view upload_id,
                         const std::vector<UploadedPart>& parts) override {
    return base_->complete_upload(ctx, key, upload_id, parts);
  }
  Status abort_upload(const OpContext& ctx, std::string_view key,
                      std::string_view upload_id) override {
    return base_->abort_upload(ctx, key, upload_id);
  }

 private:
  class Engine;

  const std::shared_ptr<ObjectStore> base_;
  const HedgeOptions options_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace skerry
