// LimitObjectStore: no more load on a store than the user allows and the store takes.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "object/object_store.h"

namespace skerry {

struct LimitOptions {
  uint32_t max_requests = 256;        // in flight; at least 1
  uint64_t request_limit = 0;         // begun in a second; 0: no limit
  uint64_t upload_limit_bytes = 0;    // of objects, in a second; 0: no limit
  uint64_t download_limit_bytes = 0;  // likewise
};

/// What may pass in a second, on the average: who comes first passes at once, whatever its size,
/// and those after it wait until that is paid for. Thread-safe.
class RateLimit {
 public:
  explicit RateLimit(uint64_t per_second) : per_second_(per_second) {}
  /// Returns when `amount` may pass; with an error of the context it has not. ETIMEDOUT at once
  /// where the turn would come after the deadline.
  Status pass(const OpContext& ctx, uint64_t amount);

 private:
  const uint64_t per_second_;  // 0: no limit
  std::mutex mutex_;
  TimeNs paid_until_ns_ = INT64_MIN / 2;  // guarded by mutex_; on the context's monotonic clock
};

/// Requests wait for their turn within their deadline. How many are in flight follows what the
/// store says: the first throttled() answer of a round halves it, each success adds one over the
/// number of those in a round, as TCP does (additive increase, multiplicative decrease: Chiu and
/// Jain, 1989). A round's requests are those that began after the last time it was halved.
/// Thread-safe.
class LimitObjectStore final : public ObjectStore {
 public:
  explicit LimitObjectStore(std::shared_ptr<ObjectStore> base, LimitOptions options = {});

  /// How many requests may be in flight now: max_requests, or less since the store had too many.
  uint32_t current_limit() const;

  std::string describe() const override { return base_->describe(); }
  ObjectCapabilities capabilities() const override { return base_->capabilities(); }
  Status put(const OpContext& ctx, std::string_view key, const std::vector<ByteView>& pieces,
             const PutOptions& options = {}) override;
  Status get(const OpContext& ctx, std::string_view key, uint64_t offset,
             MutableBytes out) override;
  Status get_in_steps(const OpContext& ctx, std::string_view key, uint64_t offset, uint64_t length,
                      uint64_t step, MutableBytes buffer, const Take& take) override;
  /// As many at once as there is room for, then the next ones.
  void get_many(const OpContext& ctx, std::span<ObjectRange> ranges,
                const RangeDone& done) override;
  Result<ObjectInfo> head(const OpContext& ctx, std::string_view key) override;
  Status remove(const OpContext& ctx, std::string_view key) override;
  Result<std::vector<DeleteOutcome>> remove_batch(const OpContext& ctx,
                                                  const std::vector<std::string>& keys) override;
  Result<ObjectPage> list(const OpContext& ctx, std::string_view prefix,
                          std::string_view start_after, uint32_t limit) override;
  Result<std::string> start_upload(const OpContext& ctx, std::string_view key,
                                   const PutOptions& options = {}) override;
  Result<UploadedPart> put_part(const OpContext& ctx, std::string_view key,
                                std::string_view upload_id, uint32_t number,
                                ByteView data) override;
  Status complete_upload(const OpContext& ctx, std::string_view key, std::string_view upload_id,
                         const std::vector<UploadedPart>& parts) override;
  Status abort_upload(const OpContext& ctx, std::string_view key,
                      std::string_view upload_id) override;

 private:
  template <typename Call>
  auto limited(const OpContext& ctx, uint64_t up_bytes, uint64_t down_bytes, Call call)
      -> decltype(call());
  struct Turn {
    uint64_t round = 0;
    size_t requests = 0;
  };
  /// For one request at least, and at most for `wanted`.
  Result<Turn> enter(const OpContext& ctx, size_t wanted);
  /// One of a turn's requests has ended.
  void leave(uint64_t round, const Error* error);

  const std::shared_ptr<ObjectStore> base_;
  const double most_;
  RateLimit requests_, uploads_, downloads_;

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable left_;
  double limit_;
  uint32_t in_flight_ = 0;
  uint64_t round_ = 0;
};

}  // namespace skerry
