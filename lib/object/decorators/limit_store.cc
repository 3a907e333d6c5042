#include "object/decorators/limit_store.h"

#include <algorithm>
#include <chrono>

namespace skerry {
namespace {

uint64_t total(const std::vector<ByteView>& pieces) {
  uint64_t bytes = 0;
  for (ByteView piece : pieces) bytes += piece.size();
  return bytes;
}

}  // namespace

Status RateLimit::pass(const OpContext& ctx, uint64_t amount) {
  if (per_second_ == 0 || amount == 0) return {};
  const auto cost =
      static_cast<TimeNs>(static_cast<double>(amount) * kSecond / static_cast<double>(per_second_));
  const TimeNs now = ctx.clock->monotonic_ns();
  TimeNs turn = 0;
  {
    std::lock_guard lock(mutex_);
    turn = std::max(paid_until_ns_, now);
    if (turn >= ctx.deadline_ns) {
      return Error(ETIMEDOUT, "a rate limit leaves no room before the deadline");
    }
    paid_until_ns_ = turn + cost;
  }
  for (TimeNs left = turn - now; left > 0;) {
    const TimeNs step = ctx.cancel == nullptr ? left : std::min(left, kCancelCheckNs);
    ctx.clock->sleep_ns(step);
    left -= step;
    if (Status fine = ctx.check(); !fine.ok()) {
      std::lock_guard lock(mutex_);
      paid_until_ns_ -= cost;
      return fine;
    }
  }
  return {};
}

LimitObjectStore::LimitObjectStore(std::shared_ptr<ObjectStore> base, LimitOptions options)
    : base_(std::move(base)),
      most_(std::max<uint32_t>(options.max_requests, 1)),
      requests_(options.request_limit),
      uploads_(options.upload_limit_bytes),
      downloads_(options.download_limit_bytes),
      limit_(most_) {}

uint32_t LimitObjectStore::current_limit() const {
  std::lock_guard lock(mutex_);
  return static_cast<uint32_t>(limit_);
}

/// The round in which the request begins.
Result<LimitObjectStore::Turn> LimitObjectStore::enter(const OpContext& ctx, size_t wanted) {
  std::unique_lock lock(mutex_);
  while (in_flight_ >= static_cast<uint32_t>(limit_)) {
    SKERRY_TRY(ctx.check());
    left_.wait_for(lock, std::chrono::nanoseconds(kCancelCheckNs));
  }
  const auto count =
      static_cast<uint32_t>(std::min<size_t>(wanted, static_cast<uint32_t>(limit_) - in_flight_));
  in_flight_ += count;
  return Turn{round_, count};
}

void LimitObjectStore::leave(uint64_t round, const Error* error) {
  std::lock_guard lock(mutex_);
  --in_flight_;
  if (error != nullptr && error->throttled()) {
    if (round == round_) {
      limit_ = std::max(limit_ / 2, 1.0);
      ++round_;
    }
  } else if (error == nullptr) {
    limit_ = std::min(limit_ + 1 / limit_, most_);
  }
  left_.notify_one();
  if (limit_ < most_) left_.notify_one();  // there may be room for two
}

template <typename Call>
auto LimitObjectStore::limited(const OpContext& ctx, uint64_t up_bytes, uint64_t down_bytes,
                               Call call) -> decltype(call()) {
  SKERRY_TRY(requests_.pass(ctx, 1));
  SKERRY_TRY(uploads_.pass(ctx, up_bytes));
  SKERRY_TRY(downloads_.pass(ctx, down_bytes));
  SKERRY_ASSIGN(const Turn turn, enter(ctx, 1));
  auto result = call();
  leave(turn.round, result.ok() ? nullptr : &result.error());
  return result;
}

Status LimitObjectStore::put(const OpContext& ctx, std::string_view key,
                             const std::vector<ByteView>& pieces, const PutOptions& options) {
  return limited(ctx, total(pieces), 0, [&] { return base_->put(ctx, key, pieces, options); });
}

Status LimitObjectStore::get(const OpContext& ctx, std::string_view key, uint64_t offset,
                             MutableBytes out) {
  return limited(ctx, 0, out.size(), [&] { return base_->get(ctx, key, offset, out); });
}

Status LimitObjectStore::get_in_steps(const OpContext& ctx, std::string_view key, uint64_t offset,
                                      uint64_t length, uint64_t step, MutableBytes buffer,
                                      const Take& take) {
  return limited(ctx, 0, length,
                 [&] { return base_->get_in_steps(ctx, key, offset, length, step, buffer, take); });
}

void LimitObjectStore::get_many(const OpContext& ctx, std::span<ObjectRange> ranges,
                                const RangeDone& done) {
  uint64_t bytes = 0;
  for (const ObjectRange& range : ranges) bytes += range.out.size();
  Status may = requests_.pass(ctx, ranges.size());
  if (may.ok()) may = downloads_.pass(ctx, bytes);
  for (size_t begin = 0; begin < ranges.size();) {
    Result<Turn> turn = may.ok() ? enter(ctx, ranges.size() - begin) : Result<Turn>(may.error());
    if (!turn.ok()) {
      for (size_t i = begin; i < ranges.size(); ++i) {
        ranges[i].result = turn.error();
        done(i);
      }
      return;
    }
    base_->get_many(ctx, ranges.subspan(begin, turn->requests), [&](size_t i) {
      const Status& result = ranges[begin + i].result;
      leave(turn->round, result.ok() ? nullptr : &result.error());
      done(begin + i);
    });
    begin += turn->requests;
  }
}

Result<ObjectInfo> LimitObjectStore::head(const OpContext& ctx, std::string_view key) {
  return limited(ctx, 0, 0, [&] { return base_->head(ctx, key); });
}

Status LimitObjectStore::remove(const OpContext& ctx, std::string_view key) {
  return limited(ctx, 0, 0, [&] { return base_->remove(ctx, key); });
}

Result<std::vector<DeleteOutcome>> LimitObjectStore::remove_batch(
    const OpContext& ctx, const std::vector<std::string>& keys) {
  return limited(ctx, 0, 0, [&] { return base_->remove_batch(ctx, keys); });
}

Result<ObjectPage> LimitObjectStore::list(const OpContext& ctx, std::string_view prefix,
                                          std::string_view start_after, uint32_t limit) {
  return limited(ctx, 0, 0, [&] { return base_->list(ctx, prefix, start_after, limit); });
}

Result<std::string> LimitObjectStore::start_upload(const OpContext& ctx, std::string_view key,
                                                   const PutOptions& options) {
  return limited(ctx, 0, 0, [&] { return base_->start_upload(ctx, key, options); });
}

Result<UploadedPart> LimitObjectStore::put_part(const OpContext& ctx, std::string_view key,
                                                std::string_view upload_id, uint32_t number,
                                                ByteView data) {
  return limited(ctx, data.size(), 0,
                 [&] { return base_->put_part(ctx, key, upload_id, number, data); });
}

Status LimitObjectStore::complete_upload(const OpContext& ctx, std::string_view key,
                                         std::string_view upload_id,
                                         const std::vector<UploadedPart>& parts) {
  return limited(ctx, 0, 0, [&] { return base_->complete_upload(ctx, key, upload_id, parts); });
}

Status LimitObjectStore::abort_upload(const OpContext& ctx, std::string_view key,
                                      std::string_view upload_id) {
  return limited(ctx, 0, 0, [&] { return base_->abort_upload(ctx, key, upload_id); });
}

}  // namespace skerry
