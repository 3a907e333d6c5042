#include "object/decorators/retry_store.h"

#include <algorithm>
#include <utility>

namespace skerry {
namespace {

constexpr size_t kCompareBytes = 1 << 20;

/// Of one key of a batch, of which no more is known.
bool worth_retrying(int code) { return code == EIO || code == ETIMEDOUT; }

}  // namespace

/// Counts the attempts of one call, and waits between them.
class RetryObjectStore::Attempts {
 public:
  Attempts(RetryObjectStore& store, const OpContext& ctx) : store_(store), ctx_(ctx) {}

  /// True after a pause; false where there is no attempt, no time or no budget left.
  bool another(const Error& error) {
    const RetryOptions& options = store_.options_;
    if (++made_ >= options.max_attempts || !ctx_.check().ok()) return false;
    TimeNs bound = options.base_delay_ns;
    for (uint32_t i = 1; i < made_ && bound < options.max_delay_ns; i++) bound *= 2;
    bound = std::clamp<TimeNs>(bound, 1, std::max<TimeNs>(options.max_delay_ns, 1));
    auto delay = static_cast<TimeNs>(store_.random_.next() % static_cast<uint64_t>(bound));
    if (error.pause_s() > 0) {
      // The jitter on top keeps those apart who were told the same.
      delay += std::min<TimeNs>(error.pause_s() * kSecond, options.max_pause_ns);
    }
    if (ctx_.deadline_ns != INT64_MAX && delay >= ctx_.deadline_ns - ctx_.clock->monotonic_ns())
      return false;
    const uint32_t cost =
        error.code() == ETIMEDOUT ? RetryBudget::kTimeoutCost : RetryBudget::kRetryCost;
    if (!store_.budget_.pay(cost)) return false;
    paid_ = cost;
    while (delay > 0) {
      TimeNs step = ctx_.cancel == nullptr ? delay : std::min(delay, kCancelCheckNs);
      ctx_.clock->sleep_ns(step);
      delay -= step;
      if (!ctx_.check().ok()) return false;
    }
    return true;
  }
  void succeeded() { store_.budget_.succeeded(paid_); }

 private:
  RetryObjectStore& store_;
  const OpContext& ctx_;
  uint32_t made_ = 0;
  uint32_t paid_ = 0;
};

/// For calls that may be repeated whatever became of the one before.
template <typename Call>
auto RetryObjectStore::run(const OpContext& ctx, Call call) -> decltype(call()) {
  SKERRY_TRY(ctx.check());
  Attempts attempts(*this, ctx);
  bool maybe_applied = false;
  while (true) {
    auto result = call();
    if (result.ok()) {
      attempts.succeeded();
      return result;
    }
    maybe_applied |= result.error().maybe_applied();
    if (!result.error().retryable() || !attempts.another(result.error()))
      return std::move(result).error().set_maybe_applied(maybe_applied);
  }
}

Status RetryObjectStore::put(const OpContext& ctx, std::string_view key,
                             const std::vector<ByteView>& pieces, const PutOptions& options) {
  if (options.if_absent) return put_if_absent(ctx, key, pieces, options);
  return run(ctx, [&] { return base_->put(ctx, key, pieces, options); });
}

Status RetryObjectStore::put_if_absent(const OpContext& ctx, std::string_view key,
                                       const std::vector<ByteView>& pieces,
                                       const PutOptions& options) {
  SKERRY_TRY(ctx.check());
  Attempts attempts(*this, ctx);
  bool maybe_applied = false;
  while (true) {
    Status status = base_->put(ctx, key, pieces, options);
    if (status.ok()) {
      attempts.succeeded();
      return status;
    }
    maybe_applied |= status.error().maybe_applied();
    bool exists = status.error().code() == EEXIST;
    if (maybe_applied && (exists || status.error().retryable())) {
      Result<Found> found = compare(ctx, key, pieces);
      if (!found.ok()) return std::move(status).error().set_maybe_applied();
      if (*found == Found::kSame) return {};
      if (*found == Found::kOther)
        return Error(EEXIST, "object " + std::string(key) + " exists in " + describe());
    } else if (exists) {
      return status;
    }
    if (!status.error().retryable() || !attempts.another(status.error()))
      return std::move(status).error().set_maybe_applied(maybe_applied);
  }
}

Result<RetryObjectStore::Found> RetryObjectStore::compare(const OpContext& ctx,
                                                          std::string_view key,
                                                          const std::vector<ByteView>& pieces) {
  Result<ObjectInfo> info = head(ctx, key);
  if (!info.ok() && info.error().code() == ENOENT) return Found::kAbsent;
  if (!info.ok()) return std::move(info).error();
  uint64_t size_bytes = 0;
  for (ByteView piece : pieces) size_bytes += piece.size();
  if (info->size_bytes != size_bytes) return Found::kOther;

  std::vector<std::byte> buffer(std::min<uint64_t>(kCompareBytes, size_bytes));
  uint64_t offset = 0;
  for (ByteView piece : pieces) {
    while (!piece.empty()) {
      MutableBytes block(buffer.data(), std::min(buffer.size(), piece.size()));
      SKERRY_TRY(get(ctx, key, offset, block));
      if (!std::equal(block.begin(), block.end(), piece.begin())) return Found::kOther;
      piece = piece.subspan(block.size());
      offset += block.size();
    }
  }
  return Found::kSame;
}

Status RetryObjectStore::get(const OpContext& ctx, std::string_view key, uint64_t offset,
                             MutableBytes out) {
  return run(ctx, [&] { return base_->get(ctx, key, offset, out); });
}

Status RetryObjectStore::get_in_steps(const OpContext& ctx, std::string_view key, uint64_t offset,
                                      uint64_t length, uint64_t step, MutableBytes buffer,
                                      const Take& take) {
  uint64_t taken = 0;  // an attempt goes on where the one before ended
  Status told;
  auto counted = [&](MutableBytes range) -> Status {
    told = take(range);
    if (told.ok()) taken += range.size();
    return told;
  };
  Status got = run(ctx, [&]() -> Status {
    if (!told.ok()) return {};  // not the store's error
    return base_->get_in_steps(ctx, key, offset + taken, length - taken, step, buffer, counted);
  });
  return told.ok() ? std::move(got) : std::move(told);
}

/// Those that failed are asked for again, together.
void RetryObjectStore::get_many(const OpContext& ctx, std::span<ObjectRange> ranges,
                                const RangeDone& done) {
  if (const Status may = ctx.check(); !may.ok()) {
    for (size_t i = 0; i < ranges.size(); i++) {
      ranges[i].result = may;
      done(i);
    }
    return;
  }
  Attempts attempts(*this, ctx);
  std::vector<size_t> failed;
  const auto ended = [&](size_t i, std::vector<size_t>& worth_another) {
    const Status& result = ranges[i].result;
    if (!result.ok() && result.error().retryable()) return worth_another.push_back(i);
    done(i);
  };
  base_->get_many(ctx, ranges, [&](size_t i) { ended(i, failed); });
  while (!failed.empty() && attempts.another(ranges[failed.front()].result.error())) {
    std::vector<ObjectRange> again;
    for (size_t i : failed) again.push_back({ranges[i].key, ranges[i].offset, ranges[i].out, {}});
    std::vector<size_t> still;
    base_->get_many(ctx, again, [&](size_t a) {
      ranges[failed[a]].result = std::move(again[a].result);
      ended(failed[a], still);
    });
    failed = std::move(still);
  }
  if (failed.empty()) attempts.succeeded();
  for (size_t i : failed) done(i);
}

Result<ObjectInfo> RetryObjectStore::head(const OpContext& ctx, std::string_view key) {
  return run(ctx, [&] { return base_->head(ctx, key); });
}

Status RetryObjectStore::remove(const OpContext& ctx, std::string_view key) {
  return run(ctx, [&] { return base_->remove(ctx, key); });
}

Result<std::vector<DeleteOutcome>> RetryObjectStore::remove_batch(
    const OpContext& ctx, const std::vector<std::string>& keys) {
  SKERRY_ASSIGN(std::vector<DeleteOutcome> outcomes,
                run(ctx, [&] { return base_->remove_batch(ctx, keys); }));
  Attempts attempts(*this, ctx);
  while (true) {
    std::vector<size_t> failed;
    std::vector<std::string> again;
    for (size_t i = 0; i < outcomes.size(); i++) {
      if (!worth_retrying(outcomes[i].error)) continue;
      failed.push_back(i);
      again.push_back(outcomes[i].key);
    }
    if (failed.empty() || !attempts.another(Error(EIO))) return outcomes;
    auto retried = base_->remove_batch(ctx, again);
    if (!retried.ok() || retried->size() != failed.size()) continue;
    for (size_t i = 0; i < failed.size(); i++) outcomes[failed[i]].error = (*retried)[i].error;
  }
}

Result<ObjectPage> RetryObjectStore::list(const OpContext& ctx, std::string_view prefix,
                                          std::string_view start_after, uint32_t limit) {
  return run(ctx, [&] { return base_->list(ctx, prefix, start_after, limit); });
}

/// One lost answer leaves an upload nobody completes; stores expire those.
Result<std::string> RetryObjectStore::start_upload(const OpContext& ctx, std::string_view key,
                                                   const PutOptions& options) {
  return run(ctx, [&] { return base_->start_upload(ctx, key, options); });
}

Result<UploadedPart> RetryObjectStore::put_part(const OpContext& ctx, std::string_view key,
                                                std::string_view upload_id, uint32_t number,
                                                ByteView data) {
  return run(ctx, [&] { return base_->put_part(ctx, key, upload_id, number, data); });
}

/// ENOENT after a lost answer: the upload is gone because it was completed, if the object is there
/// (keys are never written twice).
Status RetryObjectStore::complete_upload(const OpContext& ctx, std::string_view key,
                                         std::string_view upload_id,
                                         const std::vector<UploadedPart>& parts) {
  bool lost = false;
  return run(ctx, [&]() -> Status {
    Status status = base_->complete_upload(ctx, key, upload_id, parts);
    if (!status.ok() && status.error().code() == ENOENT && lost && head(ctx, key).ok()) return {};
    lost |= !status.ok() && status.error().maybe_applied();
    return status;
  });
}

Status RetryObjectStore::abort_upload(const OpContext& ctx, std::string_view key,
                                      std::string_view upload_id) {
  bool lost = false;
  return run(ctx, [&]() -> Status {
    Status status = base_->abort_upload(ctx, key, upload_id);
    if (!status.ok() && status.error().code() == ENOENT && lost) return {};
    lost |= !status.ok() && status.error().maybe_applied();
    return status;
  });
}

}  // namespace skerry
