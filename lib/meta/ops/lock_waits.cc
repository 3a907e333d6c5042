// Circles of waits for locks, through any number of clients (fcntl(2), EDEADLK).
//
// Who holds what is in the clients' lists anyway; who waits for what is there as soon as the wait
// has lasted a while (FileLock::waiting). Whoever has noted a wait looks from owner to owner
// whether it leads back to himself. Of a circle of waits the last one is noted when all others are,
// so somebody finds it. What was found in several looks may never have been there at one time: it
// is looked at again, whole, in one snapshot.
#include <algorithm>
#include <compare>
#include <map>
#include <set>

#include "meta/lock_list.h"
#include "meta/ops/common.h"

namespace skerry::meta {

namespace {

// Beyond that a circle is not found: its members go on waiting.
constexpr size_t kMaxSteps = 512;
constexpr size_t kMaxClients = 64;
constexpr uint32_t kMaxFiles = 1024;  // that one client has locked or waits for

struct Owner {
  ClientId client = 0;
  uint64_t number = 0;
  friend auto operator<=>(const Owner&, const Owner&) = default;
};

struct Wait {
  Owner owner;
  Ino ino = 0;
  FileLock lock;
};

bool obstructs(const FileLock& held, const Wait& wait, ClientId holder) {
  if (held.waiting || !excludes(held, wait.lock)) return false;
  return Owner{holder, held.owner} != wait.owner;
}

/// What clients hold and wait for, each client's read once.
class Lists {
 public:
  Lists(const OpContext& ctx, Meta& meta) : ctx_(ctx), meta_(meta) {}

  Result<const std::vector<LockRecord>*> of(ClientId client) {
    auto known = lists_.find(client);
    if (known != lists_.end()) return &known->second;
    std::vector<LockRecord>& records = lists_[client];
    if (lists_.size() > kMaxClients) return &records;
    ReadRequest request;
    Range range;
    range.table = Table::kLock;
    range.a = client;
    range.limit = kMaxFiles;
    request.ranges.push_back(range);
    SKERRY_ASSIGN(ReadResult read, meta_.store().read(ctx_, request));
    for (Record& record : read.pages[0].records) {
      records.push_back(std::get<LockRecord>(std::move(record)));
    }
    return &records;
  }

  /// The clients that may hold something of the file.
  Result<std::vector<ClientId>> holders(Ino ino) {
    ReadRequest request;
    request.keys.push_back(locked_key(ino));
    SKERRY_ASSIGN(ReadResult read, meta_.store().read(ctx_, request));
    if (!read.records[0]) return std::vector<ClientId>();
    return std::get<LockedRecord>(std::move(*read.records[0])).clients;
  }

 private:
  const OpContext& ctx_;
  Meta& meta_;
  std::map<ClientId, std::vector<LockRecord>> lists_;
};

/// Whether each of them is noted, its client has a session that is not about to be given up, and
/// the owner of the next, and after the last that of the first, keeps it from its lock.
Result<bool> is_circle(const OpContext& ctx, Meta& meta, const std::vector<Wait>& waits) {
  ReadRequest request;
  request.time = true;
  for (size_t i = 0; i < waits.size(); ++i) {
    const Wait& wait = waits[i];
    const ClientId holder = waits[(i + 1) % waits.size()].owner.client;
    request.keys.push_back(client_key(wait.owner.client));
    request.keys.push_back(lock_key(wait.owner.client, wait.ino));
    request.keys.push_back(lock_key(holder, wait.ino));
  }
  SKERRY_ASSIGN(ReadResult read, meta.store().read(ctx, request));
  const TimeNs oldest = read.server_time_ns - meta.format().session_expiry_ns;
  for (size_t i = 0; i < waits.size(); ++i) {
    const std::optional<Record>* found = &read.records[3 * i];
    if (!found[0] || !found[1] || !found[2]) return false;
    if (std::get<ClientRecord>(*found[0]).heartbeat_ns < oldest) return false;
    const auto& noted = std::get<LockRecord>(*found[1]).locks;
    if (std::find(noted.begin(), noted.end(), waits[i].lock) == noted.end()) return false;
    const Owner holder = waits[(i + 1) % waits.size()].owner;
    const auto& held = std::get<LockRecord>(*found[2]).locks;
    const bool holds = std::any_of(held.begin(), held.end(), [&](const FileLock& lock) {
      return lock.owner == holder.number && obstructs(lock, waits[i], holder.client);
    });
    if (!holds) return false;
  }
  return true;
}

}  // namespace

Result<bool> waits_for_itself(const OpContext& ctx, Meta& meta, ClientId session, Ino ino,
                              const FileLock& wanted) {
  struct Step {
    Wait wait;
    size_t from;  // the step whose wait led to it
  };
  Lists lists(ctx, meta);
  const Owner self = {session, wanted.owner};
  std::set<Owner> reached = {self};
  std::vector<Step> steps = {{{self, ino, wanted}, 0}};
  steps[0].wait.lock.waiting = true;
  for (size_t i = 0; i < steps.size() && steps.size() < kMaxSteps; ++i) {
    SKERRY_TRY(ctx.check());
    const Wait wait = steps[i].wait;
    SKERRY_ASSIGN(std::vector<ClientId> holders, lists.holders(wait.ino));
    for (ClientId client : holders) {
      SKERRY_ASSIGN(const std::vector<LockRecord>* records, lists.of(client));
      const auto of_file = std::find_if(records->begin(), records->end(),
                                        [&](const LockRecord& r) { return r.ino == wait.ino; });
      if (of_file == records->end()) continue;
      for (const FileLock& held : of_file->locks) {
        if (!obstructs(held, wait, client)) continue;
        const Owner holder = {client, held.owner};
        if (holder == self) {
          std::vector<Wait> circle;
          for (size_t step = i; step != 0; step = steps[step].from) {
            circle.push_back(steps[step].wait);
          }
          circle.push_back(steps[0].wait);
          std::reverse(circle.begin(), circle.end());
          return is_circle(ctx, meta, circle);
        }
        if (!reached.insert(holder).second) continue;
        for (const LockRecord& record : *records) {
          for (const FileLock& lock : record.locks) {
            if (lock.waiting && lock.owner == held.owner) {
              steps.push_back({{holder, record.ino, lock}, i});
            }
          }
        }
      }
    }
  }
  return false;
}

}  // namespace skerry::meta
