// File locks between clients. What the clients' own owners do to each other is lib/vfs/locks.h's:
// here a client replaces the list of what it holds of a file.
#include <algorithm>

#include "meta/lock_list.h"
#include "meta/ops/common.h"
#include "meta/session.h"
#include "meta/session_watch.h"

namespace skerry::meta {

using internal::Attempts;
using internal::Change;

namespace {

constexpr unsigned kTidyAttempts = 4;

/// Who has locked a file, read in one or two round trips.
struct Lockers {
  std::optional<LockedRecord> record;
  struct Other {
    ClientRecord client;
    std::vector<FileLock> locks;
    bool stale = false;
  };
  std::vector<Other> others;  // that have a session and hold something
};

Result<std::optional<LockedRecord>> read_locked(const OpContext& ctx, Meta& meta, Ino ino) {
  ReadRequest request;
  request.keys.push_back(locked_key(ino));
  SKERRY_ASSIGN(ReadResult read, meta.store().read(ctx, request));
  std::optional<LockedRecord> record;
  if (read.records[0]) record = std::get<LockedRecord>(std::move(*read.records[0]));
  return record;
}

/// A second snapshot for the other clients' lists is good enough: whoever takes a lock after the
/// first changes the version, and what is released in between is no conflict any more.
Result<Lockers> look_at_lockers(const OpContext& ctx, Meta& meta, ClientId self, Ino ino) {
  Lockers lockers;
  SKERRY_ASSIGN(lockers.record, read_locked(ctx, meta, ino));
  if (!lockers.record) return lockers;
  ReadRequest request;
  for (ClientId client : lockers.record->clients) {
    if (client == self) continue;
    request.keys.push_back(client_key(client));
    request.keys.push_back(lock_key(client, ino));
  }
  if (request.keys.empty()) return lockers;
  request.time = true;
  const TimeNs began = meta.clock().monotonic_ns();
  SKERRY_ASSIGN(ReadResult read, meta.store().read(ctx, request));
  for (size_t i = 0; i < read.records.size(); i += 2) {
    if (!read.records[i] || !read.records[i + 1]) continue;
    Lockers::Other other;
    other.client = std::get<ClientRecord>(std::move(*read.records[i]));
    other.locks = std::get<LockRecord>(std::move(*read.records[i + 1])).locks;
    const auto verdict = meta.session_watch().judge(other.client, read.server_time_ns,
                                                    meta.format().session_expiry_ns, began,
                                                    meta.clock().monotonic_ns());
    other.stale = verdict == SessionWatch::Verdict::kStale;
    lockers.others.push_back(std::move(other));
  }
  return lockers;
}

/// The clients of the record that hold something, and `self` where it does.
LockedRecord next_locked(Meta& meta, Ino ino, const Lockers& lockers,
                         std::optional<ClientId> self) {
  LockedRecord next{ino, 0, {}};
  for (const auto& other : lockers.others) next.clients.push_back(other.client.id);
  if (self) next.clients.push_back(*self);
  std::sort(next.clients.begin(), next.clients.end());
  next.version = (meta.random().next() >> 2) + 1;
  return next;
}

void expect_as_seen(Ino ino, const Lockers& lockers, Change* change) {
  if (lockers.record) {
    change->expect(ExpectVersion{locked_key(ino), lockers.record->version});
  } else {
    change->expect(ExpectAbsent{locked_key(ino)});
  }
}

void put_held(ClientId session, Ino ino, const std::vector<FileLock>& held, Change* change) {
  if (held.empty()) {
    change->remove(lock_key(session, ino));
  } else {
    change->put(LockRecord{session, ino, held});
  }
}

/// ESTALE of the store means the session, of an operation on a file the inode: told apart here.
Result<CommitResult> commit_held(const OpContext& ctx, ClientId session, Change& change) {
  auto result = change.commit_as(ctx, session);
  if (!result.ok() && result.error().code() == ESTALE) {
    return Error(ENOTCONN, "the session under which the lock was to be held is gone");
  }
  return result;
}

}  // namespace

Result<std::optional<LockHolder>> take_locks(const OpContext& ctx, Meta& meta, ClientId session,
                                             Ino ino, const std::vector<FileLock>& held,
                                             const FileLock& wanted) {
  if (held.size() > kMaxLocksOfFile) return Error(ENOLCK, "too many locked ranges of one file");
  for (Attempts attempts(ctx, meta);;) {
    SKERRY_TRY(attempts.next());
    SKERRY_ASSIGN(Lockers lockers, look_at_lockers(ctx, meta, session, ino));
    bool removed = false;
    for (const auto& other : lockers.others) {
      const FileLock* conflict = find_conflict(other.locks, wanted, false);
      if (conflict == nullptr) continue;
      if (other.stale) {
        SKERRY_ASSIGN(removed, remove_stale_session(ctx, meta, other.client.id));
        if (removed) break;
      }
      return std::optional<LockHolder>({other.client.id, *conflict});
    }
    if (removed) continue;
    Change change(meta);
    expect_as_seen(ino, lockers, &change);
    const int exists = change.expect(ExpectAttributes{ino, 0});
    put_held(session, ino, held, &change);
    change.put(next_locked(meta, ino, lockers, session));
    SKERRY_ASSIGN(CommitResult result, commit_held(ctx, session, change));
    if (result.applied) return std::optional<LockHolder>();
    if (result.failed_expectation == exists) {
      return Error(ESTALE, "the inode does not exist any more");
    }
  }
}

Status drop_locks(const OpContext& ctx, Meta& meta, ClientId session, Ino ino,
                  const std::vector<FileLock>& held) {
  // With the last range the record of who holds something goes too, or others would ask for ever.
  for (unsigned attempt = 0; !any_held(held) && attempt < kTidyAttempts; ++attempt) {
    SKERRY_TRY(ctx.check());
    SKERRY_ASSIGN(std::optional<LockedRecord> record, read_locked(ctx, meta, ino));
    if (!record) break;
    Change change(meta);
    change.expect(ExpectVersion{locked_key(ino), record->version});
    put_held(session, ino, held, &change);
    std::erase(record->clients, session);
    if (record->clients.empty()) {
      change.remove(locked_key(ino));
    } else {
      record->version = (meta.random().next() >> 2) + 1;
      change.put(*record);
    }
    SKERRY_ASSIGN(CommitResult result, commit_held(ctx, session, change));
    if (result.applied) return {};
  }
  // Others are busy with it: being listed there and holding nothing does no harm.
  return note_waits(ctx, meta, session, ino, held);
}

Status note_waits(const OpContext& ctx, Meta& meta, ClientId session, Ino ino,
                  const std::vector<FileLock>& held) {
  Change change(meta);
  put_held(session, ino, held, &change);
  SKERRY_TRY(commit_held(ctx, session, change));
  return {};
}

Status settle_locks(const OpContext& ctx, Meta& meta, ClientId session, Ino ino,
                    const std::vector<FileLock>& held) {
  for (Attempts attempts(ctx, meta);;) {
    SKERRY_TRY(attempts.next());
    SKERRY_ASSIGN(Lockers lockers, look_at_lockers(ctx, meta, session, ino));
    Change change(meta);
    expect_as_seen(ino, lockers, &change);
    put_held(session, ino, held, &change);
    // It stays where it was, and gets a new version: a commit that is still on its way, its answer
    // long given up, expects another.
    const auto self = any_held(held) ? std::optional<ClientId>(session) : std::nullopt;
    change.put(next_locked(meta, ino, lockers, self));
    SKERRY_ASSIGN(CommitResult result, commit_held(ctx, session, change));
    if (result.applied) return {};
  }
}

Result<std::optional<LockHolder>> find_lock(const OpContext& ctx, Meta& meta, ClientId session,
                                            Ino ino, const FileLock& wanted) {
  SKERRY_ASSIGN(Lockers lockers, look_at_lockers(ctx, meta, session, ino));
  std::optional<LockHolder> first;
  for (const auto& other : lockers.others) {
    const FileLock* conflict = other.stale ? nullptr : find_conflict(other.locks, wanted, false);
    if (conflict == nullptr || (first && first->lock.first <= conflict->first)) continue;
    first = LockHolder{other.client.id, *conflict};
  }
  return first;
}

Result<std::vector<Ino>> locked_by(const OpContext& ctx, Meta& meta, ClientId client,
                                   uint32_t limit) {
  ReadRequest request;
  Range range;
  range.table = Table::kLock;
  range.a = client;
  range.limit = limit;
  request.ranges.push_back(range);
  SKERRY_ASSIGN(ReadResult read, meta.store().read(ctx, request));
  std::vector<Ino> inodes;
  for (const Record& record : read.pages[0].records) {
    inodes.push_back(std::get<LockRecord>(record).ino);
  }
  return inodes;
}

Status tidy_locked(const OpContext& ctx, Meta& meta, Ino ino) {
  SKERRY_ASSIGN(Lockers lockers, look_at_lockers(ctx, meta, 0, ino));
  if (!lockers.record || lockers.record->clients.size() == lockers.others.size()) return {};
  Change change(meta);
  expect_as_seen(ino, lockers, &change);
  if (lockers.others.empty()) {
    change.remove(locked_key(ino));
  } else {
    change.put(next_locked(meta, ino, lockers, std::nullopt));
  }
  SKERRY_TRY(change.commit_as(ctx, 0));  // a conflict: somebody else has looked at it
  return {};
}

}  // namespace skerry::meta
