// CountingObjectStore: how many requests, and bytes, reached the store below.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "object/object_store.h"

namespace skerry {

/// A request counts when it is made, failed or not; bytes count when it succeeded.
struct ObjectCounters {
  uint64_t puts = 0;  // put, start_upload, put_part, complete_upload: one request class in S3
  uint64_t gets = 0;
  uint64_t heads = 0;
  uint64_t deletes = 0;  // remove, remove_batch (one request), abort_upload
  uint64_t lists = 0;
  uint64_t put_bytes = 0;
  uint64_t get_bytes = 0;
  uint64_t errors = 0;  // failed requests, ENOENT and EEXIST not counted: those are answers
};

/// Thread-safe without locks.
class CountingObjectStore final : public ObjectStore {
 public:
  /// `base` may be shared with other clients of one bucket.
  explicit CountingObjectStore(std::shared_ptr<ObjectStore> base) : base_(std::move(base)) {}

  /// Each number is exact; together they need not be of one instant.
  ObjectCounters counters() const;

  std::string describe() const override { return base_->describe(); }
  ObjectCapabilities capabilities() const override { return base_->capabilities(); }
  Status put(const OpContext& ctx, std::string_view key, const std::vector<ByteView>& pieces,
             const PutOptions& options = {}) override;
  Status get(const OpContext& ctx, std::string_view key, uint64_t offset,
             MutableBytes out) override;
  Status get_in_steps(const OpContext& ctx, std::string_view key, uint64_t offset, uint64_t length,
                      uint64_t step, MutableBytes buffer, const Take& take) override;
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
  using Counter = std::atomic<uint64_t>;

  template <typename Call>
  auto counted(Counter& counter, Call call) -> decltype(call());

  const std::shared_ptr<ObjectStore> base_;
  Counter puts_{0};
  Counter gets_{0};
  Counter heads_{0};
  Counter deletes_{0};
  Counter lists_{0};
  Counter put_bytes_{0};
  Counter get_bytes_{0};
  Counter errors_{0};
};

}  // namespace skerry
