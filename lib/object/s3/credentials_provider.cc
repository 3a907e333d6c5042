#include "object/s3/credentials_provider.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace skerry::s3 {
namespace {

constexpr TimeNs kAheadNs = 300 * kSecond;  // before the end of keys that live long
constexpr TimeNs kPauseNs = 10 * kSecond;   // after a fetch that was of no use
constexpr TimeNs kFetchLimitNs = 30 * kSecond;
constexpr TimeNs kSkewNs = 5 * kSecond;  // keys this near to their end are not used any more

class Fixed final : public CredentialsProvider {
 public:
  explicit Fixed(Credentials credentials) : credentials_(std::move(credentials)) {}
  Result<Credentials> get(const OpContext&) override { return credentials_; }
  void refuse(const Credentials&) override {}

 private:
  const Credentials credentials_;
};

/// Of the caller that gave up, and not of the source.
bool own_end(const OpContext& ctx, const Error& error) {
  return !ctx.check().ok() && (error.code() == ECANCELED || error.code() == ETIMEDOUT);
}

}  // namespace

std::shared_ptr<CredentialsProvider> fixed_credentials(Credentials credentials) {
  return std::make_shared<Fixed>(std::move(credentials));
}

CachedCredentials::Need CachedCredentials::need() const {
  if (!current_) return Need::kNow;
  const bool may_ask = clock_.monotonic_ns() >= not_before_ns_;
  // What a source gave a moment ago is the best it has, even if it seems to have expired: it may be
  // this machine's clock that is wrong, and the server decides.
  const Need bad = may_ask || !good_source_ ? Need::kNow : Need::kNone;
  if (refused_) return bad;
  if (current_->expires_ns == 0) return Need::kNone;
  const TimeNs left = current_->expires_ns - clock_.now_ns();
  if (left <= kSkewNs) return bad;
  return left <= kAheadNs && may_ask ? Need::kSoon : Need::kNone;
}

Result<Credentials> CachedCredentials::get(const OpContext& ctx) {
  std::unique_lock lock(mutex_);
  for (;;) {
    const Need needed = need();
    if (needed == Need::kNone || (needed == Need::kSoon && fetching_)) return *current_;
    if (!fetching_) {
      Result<Credentials> fetched = fetch(ctx, lock);
      if (fetched.ok() || needed == Need::kNow) return fetched;
      continue;  // the old ones, if they are still good
    }
    const uint64_t seen = fetches_;
    while (fetches_ == seen) {
      SKERRY_TRY(ctx.check());
      fetched_.wait_for(lock, std::chrono::nanoseconds(kCancelCheckNs));
    }
    if (failure_ && need() == Need::kNow) return *failure_;
  }
}

Result<Credentials> CachedCredentials::fetch(const OpContext& ctx,
                                             std::unique_lock<std::mutex>& lock) {
  fetching_ = true;
  lock.unlock();
  OpContext limited = ctx;
  const TimeNs limit = ctx.clock->monotonic_ns() + kFetchLimitNs;
  limited.deadline_ns = std::min(ctx.deadline_ns, limit);
  Result<Credentials> got = source_(limited);
  lock.lock();
  fetching_ = false;
  ++fetches_;
  failure_.reset();
  good_source_ = got.ok();
  const TimeNs pause_end = clock_.monotonic_ns() + kPauseNs;
  if (!got.ok()) {
    not_before_ns_ = pause_end;
    // Who waits begins anew if it was this caller alone that gave up.
    if (!own_end(ctx, got.error())) failure_ = got.error();
  } else {
    // A source that cannot do better is not asked with every request.
    const bool same = current_ && got->access_key == current_->access_key &&
                      got->session_token == current_->session_token;
    const bool short_lived = got->expires_ns != 0 && got->expires_ns - clock_.now_ns() <= kAheadNs;
    not_before_ns_ = same || short_lived ? pause_end : INT64_MIN;
    if (!same) refused_ = false;
    current_ = *got;
  }
  fetched_.notify_all();
  return got;
}

void CachedCredentials::refuse(const Credentials& used) {
  std::lock_guard lock(mutex_);
  if (current_ && current_->access_key == used.access_key &&
      current_->session_token == used.session_token) {
    refused_ = true;
  }
}

}  // namespace skerry::s3
