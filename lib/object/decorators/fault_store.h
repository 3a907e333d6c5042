// FaultObjectStore: another object store whose calls fail when a hook says so.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "object/object_store.h"

namespace skerry {

/// Decides the fate of each call. Called from every thread that uses the store.
class ObjectFaults {
 public:
  struct Decision {
    enum Kind {
      kPass,
      kFailBefore,   // nothing happened
      kFailAfter,    // applied, the answer lost: of a change, an error that is maybe_applied()
      kCorruptRead,  // get() succeeds with one bit wrong; other calls pass
    };
    Kind kind = kPass;
    int error = EIO;        // a positive errno
    bool retryable = true;  // of the injected error
  };

  virtual ~ObjectFaults() = default;
  /// `op` is the name of the ObjectStore method; `key` its key, prefix, or first key.
  virtual Decision before(const char* op, std::string_view key) = 0;
};

/// Applies one decision to the n-th call (from 0) and lets the others pass. For loops that fail
/// each call in turn until a run reports fired() == false.
class FailNthCall final : public ObjectFaults {
 public:
  FailNthCall(uint64_t n, Decision decision) : n_(n), decision_(decision) {}
  Decision before(const char*, std::string_view) override {
    return calls_.fetch_add(1, std::memory_order_relaxed) == n_ ? decision_ : Decision();
  }
  bool fired() const { return calls_.load(std::memory_order_relaxed) > n_; }

 private:
  const uint64_t n_;
  const Decision decision_;
  std::atomic<uint64_t> calls_{0};
};

/// `base` is shared: simulated clients, each with faults of its own, stand over one bucket.
/// `faults` outlives the store. Thread-safe as far as both are.
class FaultObjectStore : public ObjectStore {
 public:
  FaultObjectStore(std::shared_ptr<ObjectStore> base, ObjectFaults& faults)
      : base_(std::move(base)), faults_(faults) {}

  std::string describe() const override { return base_->describe(); }
  ObjectCapabilities capabilities() const override { return base_->capabilities(); }
  Status put(const OpContext& ctx, std::string_view key, const std::vector<ByteView>& pieces,
             const PutOptions& options = {}) override;
  Status get(const OpContext& ctx, std::string_view key, uint64_t offset,
             MutableBytes out) override;
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
  auto run(const char* op, std::string_view key, bool changes, Call call) -> decltype(call());

  const std::shared_ptr<ObjectStore> base_;
  ObjectFaults& faults_;
};

}  // namespace skerry
