// RetryObjectStore: makes a failed request again, where that can help and cannot harm.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "object/decorators/retry_budget.h"
#include "object/object_store.h"

namespace skerry {

struct RetryOptions {
  uint32_t max_attempts = 3;  // the first one included; at least 1
  TimeNs base_delay_ns = 50'000'000;
  TimeNs max_delay_ns = 2'000'000'000;
  TimeNs max_pause_ns = 60'000'000'000;  // of those that the other side asks for
  uint32_t budget = 0;                   // see RetryBudget; 0: none is kept
};

/// Retries what is retryable(), waiting a random time below an exponentially growing bound ("full
/// jitter": Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog) on the context's
/// clock, and never past the context's deadline. Who asks to be left alone for longer is. When the
/// budget is spent, the first failure of a call is its last.
///
/// A conditional put whose answer was lost is not just sent again, since the second would lose
/// against the first: the object is read back, and counts as ours if it holds what we put.
/// Thread-safe.
class RetryObjectStore final : public ObjectStore {
 public:
  /// `base` may be shared with other clients of one bucket; `random` outlives the store.
  RetryObjectStore(std::shared_ptr<ObjectStore> base, Random& random, RetryOptions options = {})
      : base_(std::move(base)), random_(random), options_(options), budget_(options.budget) {}

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
  class Attempts;
  enum class Found { kAbsent, kSame, kOther };

  template <typename Call>
  auto run(const OpContext& ctx, Call call) -> decltype(call());
  Status put_if_absent(const OpContext& ctx, std::string_view key,
                       const std::vector<ByteView>& pieces, const PutOptions& options);
  Result<Found> compare(const OpContext& ctx, std::string_view key,
                        const std::vector<ByteView>& pieces);

  const std::shared_ptr<ObjectStore> base_;
  Random& random_;
  const RetryOptions options_;
  RetryBudget budget_;
};

}  // namespace skerry
