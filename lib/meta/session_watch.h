// Which clients have been silent for too long: decided by the server's clock, but not on its word
// alone, since it may be set forward or back.
#pragma once

#include <algorithm>
#include <mutex>
#include <unordered_map>
#include <unordered_set>

#include "meta/records.h"

namespace skerry::meta {

/// What one client has seen of the heartbeats of others, with times of its own monotonic clock.
/// A session is stale once
///   - its heartbeat is older than the expiry by the server's clock, and has not changed while this
///     client watched for some heartbeats: where the clock was set forward, all others have sent
///     another by then; or
///   - its heartbeat has not changed while this client watched for the whole expiry: where the
///   clock
///     was set back, what the dead have sent last lies in the future.
/// Thread-safe.
class SessionWatch {
 public:
  enum class Verdict {
    kLive,
    kSuspected,  // expired by the server's clock, and not watched for long enough
    kStale,
  };
  /// `began`: before `client` and `server_time_ns` were read; `now`: after.
  Verdict judge(const ClientRecord& client, TimeNs server_time_ns, TimeNs expiry_ns, TimeNs began,
                TimeNs now);
  /// For how long a suspect is watched: at the default of a minute a quarter of it, and always more
  /// than passes between two heartbeats.
  static constexpr TimeNs watch_ns(TimeNs expiry_ns) {
    return std::max(expiry_ns / 4, std::min<TimeNs>(expiry_ns / 2, 4'000'000'000));
  }
  /// All others are gone from the volume.
  void keep_only(const std::unordered_set<ClientId>& clients);

 private:
  struct Seen {
    TimeNs heartbeat_ns;
    TimeNs since;
  };
  std::mutex mutex_;
  std::unordered_map<ClientId, Seen> seen_;  // guarded by mutex_
};

}  // namespace skerry::meta
