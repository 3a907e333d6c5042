// Faults at the two seams of a volume, its metadata store and its object store: the n-th call
// fails.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "meta/store.h"
#include "object/decorators/fault_store.h"

namespace skerry {

/// `calls` calls in a row fail, from the n-th on.
struct FaultPlan {
  uint64_t n = 0;  // from 0
  uint64_t calls = 1;
  /// The first of them is applied and its answer lost. The others do nothing, as where a server
  /// goes away after its last work.
  bool lost_answer = false;
  int error = EIO;
  bool retryable = false;
};

/// Counts calls and says which fail. Thread-safe.
class CallFaults final : public ObjectFaults {
 public:
  enum class Fate { kPass, kFailBefore, kFailAfter };

  explicit CallFaults(const FaultPlan& plan) : plan_(plan) {}
  const FaultPlan& plan() const { return plan_; }

  Fate next() {
    const uint64_t call = calls_.fetch_add(1, std::memory_order_relaxed);
    if (call < plan_.n || call - plan_.n >= plan_.calls) return Fate::kPass;
    return call == plan_.n && plan_.lost_answer ? Fate::kFailAfter : Fate::kFailBefore;
  }
  /// Whether the n-th call was made.
  bool fired() const { return calls_.load(std::memory_order_relaxed) > plan_.n; }

  Decision before(const char*, std::string_view) override {
    Decision decision;
    decision.error = plan_.error;
    decision.retryable = plan_.retryable;
    const Fate fate = next();
    if (fate == Fate::kFailBefore) decision.kind = Decision::kFailBefore;
    if (fate == Fate::kFailAfter) decision.kind = Decision::kFailAfter;
    return decision;
  }

 private:
  const FaultPlan plan_;
  std::atomic<uint64_t> calls_{0};
};

namespace meta {

/// `faults` outlives the store.
class FaultStore final : public Store {
 public:
  FaultStore(std::shared_ptr<Store> base, CallFaults& faults)
      : base_(std::move(base)), faults_(faults) {}

  std::string describe() const override { return base_->describe(); }
  StoreCapabilities capabilities() const override { return base_->capabilities(); }
  Result<ReadResult> read(const OpContext& ctx, const ReadRequest& request) override {
    if (faults_.next() != CallFaults::Fate::kPass) return injected("read");
    return base_->read(ctx, request);
  }
  Result<CommitResult> commit(const OpContext& ctx, CommitRequest request) override {
    const CallFaults::Fate fate = faults_.next();
    if (fate == CallFaults::Fate::kFailBefore) return injected("commit");
    auto result = base_->commit(ctx, std::move(request));
    if (fate == CallFaults::Fate::kPass || !result.ok()) return result;
    return injected("commit").set_retryable().set_maybe_applied();
  }
  Status sync(const OpContext& ctx) override {
    if (faults_.next() != CallFaults::Fate::kPass) return injected("sync");
    return base_->sync(ctx);
  }
  uint64_t generation() noexcept override { return base_->generation(); }
  Result<std::vector<EntryRecord>> resolve(const OpContext& ctx, Ino directory,
                                           const std::vector<std::string>& names,
                                           std::optional<AttributeHome>* start) override {
    if (faults_.next() != CallFaults::Fate::kPass) return injected("resolve");
    return base_->resolve(ctx, directory, names, start);
  }

 private:
  Error injected(const char* call) const {
    return Error(faults_.plan().error, std::string("injected fault: ") + call)
        .set_retryable(faults_.plan().retryable);
  }

  const std::shared_ptr<Store> base_;  // shared with who opened it
  CallFaults& faults_;
};

}  // namespace meta
}  // namespace skerry
