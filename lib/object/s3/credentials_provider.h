// CredentialsProvider: the keys to sign the next request with. CachedCredentials keeps what a
// source gave while it is good.
//
// Keys that expire are fetched anew some minutes before they do, by one of the callers while the
// others go on with the old ones; only callers who have no usable keys wait, for one fetch however
// many they are. See "Refreshable credentials" of the AWS SDKs and Tools Reference Guide for the
// behaviour that users know.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "io/op_context.h"
#include "object/s3/signature.h"

namespace skerry::s3 {

/// Thread-safe.
class CredentialsProvider {
 public:
  virtual ~CredentialsProvider() = default;

  /// What to sign with now. EACCES, with what to do, if there is nothing.
  virtual Result<Credentials> get(const OpContext& ctx) = 0;

  /// A server said that these have expired: they are given no more if others can be had.
  virtual void refuse(const Credentials& used) = 0;
};

/// Always the same.
std::shared_ptr<CredentialsProvider> fixed_credentials(Credentials credentials);

/// Asks for new keys, every time. Errors never hold what is secret.
using CredentialsSource = std::function<Result<Credentials>(const OpContext& ctx)>;

class CachedCredentials final : public CredentialsProvider {
 public:
  /// `clock` tells when keys expire, and outlives the provider.
  CachedCredentials(CredentialsSource source, Clock& clock)
      : source_(std::move(source)), clock_(clock) {}

  /// A fetch that fails leaves the old keys in use until they expire; then its error is that of all
  /// who waited for it.
  Result<Credentials> get(const OpContext& ctx) override;
  void refuse(const Credentials& used) override;

 private:
  enum class Need { kNone, kSoon, kNow };

  Need need() const;
  Result<Credentials> fetch(const OpContext& ctx, std::unique_lock<std::mutex>& lock);

  const CredentialsSource source_;
  Clock& clock_;

  std::mutex mutex_;  // guards what follows; not held while the source is asked
  std::condition_variable fetched_;
  std::optional<Credentials> current_;
  bool refused_ = false;
  bool fetching_ = false;
  TimeNs not_before_ns_ = INT64_MIN;  // monotonic: when what may wait is asked for again
  bool good_source_ = false;          // the last fetch gave keys
  uint64_t fetches_ = 0;              // ended
  std::optional<Error> failure_;      // of the last one
};

}  // namespace skerry::s3
