#include "meta/stores/postgres/pool.h"

#include <algorithm>
#include <chrono>

namespace skerry::meta::postgres {

namespace {

constexpr auto kSlice = std::chrono::milliseconds(20);  // to look at ctx
constexpr TimeNs kFirstPauseNs = 20'000'000, kLongestPauseNs = 1'000'000'000;
constexpr TimeNs kWithoutDeadlineNs = 60'000'000'000;

}  // namespace

Result<Pool::Lease> Pool::borrow(const OpContext& ctx) {
  std::unique_ptr<Connection> connection;
  {
    std::unique_lock lock(mutex_);
    for (;;) {
      SKERRY_TRY(ctx.check());
      if (lent_ < most_) break;
      freed_.wait_for(lock, kSlice);
    }
    ++lent_;
    if (!idle_.empty()) {
      connection = std::move(idle_.back());
      idle_.pop_back();
    }
  }
  if (connection != nullptr && connection->usable()) return Lease(*this, std::move(connection));
  connection.reset();  // the server closed it, and the others with it perhaps
  Result<std::unique_ptr<Connection>> opened = open(ctx);
  if (!opened.ok()) {
    give_back(nullptr);
    return std::move(opened).error();
  }
  return Lease(*this, std::move(opened).value());
}

/// Until ctx ends, since whoever asks has been told that the volume is open.
Result<std::unique_ptr<Connection>> Pool::open(const OpContext& ctx) {
  const TimeNs end = std::min(ctx.deadline_ns, ctx.clock->monotonic_ns() + kWithoutDeadlineNs);
  for (TimeNs pause = kFirstPauseNs;; pause = std::min(2 * pause, kLongestPauseNs)) {
    OpContext attempt = ctx;
    attempt.deadline_ns = std::min(end, ctx.clock->monotonic_ns() + connect_timeout_ns_);
    Result<std::unique_ptr<Connection>> opened = Connection::open(attempt, info_);
    if (opened.ok() || !opened.error().retryable()) return opened;
    // Clients that lost the server together do not come back together.
    const TimeNs left = end - ctx.clock->monotonic_ns();
    const auto jitter = static_cast<TimeNs>(system_random().next() % static_cast<uint64_t>(pause));
    std::unique_ptr<Connection> other = wait_for_idle(ctx, std::min(left, pause / 2 + jitter));
    if (other != nullptr && other->usable()) return other;
    Status status = ctx.check();
    if (!status.ok()) return Error(status.error().code(), opened.error().message());
    if (ctx.clock->monotonic_ns() >= end) return opened;
  }
}

/// One that is given back within the time is as good as a new one. Else null.
std::unique_ptr<Connection> Pool::wait_for_idle(const OpContext& ctx, TimeNs pause_ns) {
  const TimeNs end = ctx.clock->monotonic_ns() + pause_ns;
  std::unique_lock lock(mutex_);
  while (idle_.empty()) {
    if (ctx.clock->monotonic_ns() >= end || !ctx.check().ok()) return nullptr;
    freed_.wait_for(lock, kSlice);
  }
  std::unique_ptr<Connection> connection = std::move(idle_.back());
  idle_.pop_back();
  return connection;
}

void Pool::give_back(std::unique_ptr<Connection> connection) {
  if (connection != nullptr && !connection->idle()) connection.reset();
  {
    std::lock_guard lock(mutex_);
    --lent_;
    if (connection != nullptr) idle_.push_back(std::move(connection));
  }
  freed_.notify_one();
}

}  // namespace skerry::meta::postgres
