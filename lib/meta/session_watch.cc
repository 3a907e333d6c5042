#include "meta/session_watch.h"

namespace skerry::meta {

bool SessionWatch::is_stale(const ClientRecord& client, TimeNs server_time_ns, TimeNs expiry_ns,
                            TimeNs began, TimeNs now) {
  std::lock_guard lock(mutex_);
  Seen& seen = seen_.try_emplace(client.id, Seen{client.heartbeat_ns, now}).first->second;
  if (seen.heartbeat_ns != client.heartbeat_ns) seen = {client.heartbeat_ns, now};
  const TimeNs watched = began - seen.since;
  if (watched >= expiry_ns) return true;
  return client.heartbeat_ns < server_time_ns - expiry_ns && watched >= expiry_ns / 2;
}

void SessionWatch::keep_only(const std::unordered_set<ClientId>& clients) {
  std::lock_guard lock(mutex_);
  std::erase_if(seen_, [&](const auto& each) { return !clients.contains(each.first); });
}

}  // namespace skerry::meta
