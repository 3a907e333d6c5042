#include "meta/session_watch.h"

namespace skerry::meta {

SessionWatch::Verdict SessionWatch::judge(const ClientRecord& client, TimeNs server_time_ns,
                                          TimeNs expiry_ns, TimeNs began, TimeNs now) {
  std::lock_guard lock(mutex_);
  Seen& seen = seen_.try_emplace(client.id, Seen{client.heartbeat_ns, now}).first->second;
  if (seen.heartbeat_ns != client.heartbeat_ns) seen = {client.heartbeat_ns, now};
  const TimeNs watched = began - seen.since;
  if (watched >= expiry_ns) return Verdict::kStale;
  if (client.heartbeat_ns >= server_time_ns - expiry_ns) return Verdict::kLive;
  return watched >= watch_ns(expiry_ns) ? Verdict::kStale : Verdict::kSuspected;
}

void SessionWatch::keep_only(const std::unordered_set<ClientId>& clients) {
  std::lock_guard lock(mutex_);
  std::erase_if(seen_, [&](const auto& each) { return !clients.contains(each.first); });
}

}  // namespace skerry::meta
