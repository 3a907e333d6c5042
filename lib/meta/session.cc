// Heartbeats, and why what they publish is enough for reclaim.
//
// A heartbeat does, in this order:
//   (a) reads the volume's epoch E;
//   (b) makes E the epoch that later guards enter under (set_current_epoch);
//   (c) takes the oldest epoch that a guard is still held under;
//   (d) takes the set of open inodes;
//   (e) reads which of them are orphans by now;
//   (f) commits pins for those, together with epoch_seen = P = min(E, oldest).
//
// Claim: whatever this client may still read was removed, if at all, under a tag e >= P - 1, or is
// pinned. So e + 2 > P, and reclaim, which asks for e + 2 <= P of every client, leaves it.
//   A guard held at (c) was entered under some g >= P, and the list it protects was found valid at
// an epoch >= g, so it was removed later: e >= g >= P.
//   A guard entered after (b) finds its list's label older than E and checks the list again, after
// (a): e >= E >= P.
//   A guard entered before (b) and left before (c) reads no more. If it guarded an open, note_open
// was called before it was left, so (d) sees the inode.
//   An inode seen by (d) that is an orphan at (e) is pinned by (f). One that is not loses its last
// name after (e): e >= E >= P.
// Each "e >= E" is really e >= E - 1 on a store where a commit's tag may be read an instant before
// the epoch moves; that is what the second of the two epochs is for.
//
// Where the store cannot prove what is current, lists and attributes are used unchecked for a
// lease. (b) ends all leases first (Meta::forget_others), so what is used under E was read after
// (a) there too, and a file is opened from the cache under E only if it was there after (a).
//
// (f) is one commit because a publication without its pins would be a lie for as long as the pins
// take; where they are too many for one commit, those before the last carry pins alone.
// (b) comes before (f) because an answer to (f) may be lost: the record must never be ahead of
// current_epoch(), or lists labelled before it would pass for checked.

#include "meta/session.h"

#include <algorithm>
#include <map>
#include <unordered_set>

#include "meta/metadata_cache.h"
#include "meta/ops.h"
#include "meta/session_watch.h"
#include "meta/table_scan.h"

namespace skerry::meta {

namespace {

constexpr uint32_t kPinsPerCommit = 1024;
constexpr uint32_t kInodesPerRead = 1024;

Error session_removed() {
  return Error(ESTALE,
               "this client's session was removed: it had not been heard of for the volume's "
               "expiry; reopen the volume");
}

Range pins_of(ClientId client) {
  Range range;
  range.table = Table::kPin;
  range.prefix_fields = 1;
  range.a = client;
  return range;
}

/// Those of `open` that are orphans and not in `pinned`.
Result<std::vector<Ino>> unpinned_orphans(const OpContext& ctx, Store& store,
                                          const std::vector<Ino>& open,
                                          const std::unordered_set<Ino>& pinned) {
  std::vector<Ino> orphans;
  ReadRequest request;
  auto ask = [&]() -> Status {
    SKERRY_TRY(ctx.check());
    SKERRY_ASSIGN(ReadResult read, store.read(ctx, request));
    for (const auto& home : read.homes) {
      if (home.has_value() && home->table == Table::kOrphan) orphans.push_back(home->attr.ino);
    }
    request.inodes.clear();
    return {};
  };
  for (Ino ino : open) {
    if (pinned.contains(ino)) continue;
    request.inodes.push_back(ino);
    if (request.inodes.size() == kInodesPerRead) SKERRY_TRY(ask());
  }
  if (!request.inodes.empty()) SKERRY_TRY(ask());
  return orphans;
}

/// Commits under the session that the heartbeat read, not one that reopen_session made meanwhile:
/// a removed client's record must not come back.
Status commit_as(const OpContext& ctx, Meta& meta, ClientId client,
                 std::vector<Mutation> mutations) {
  SKERRY_ASSIGN(CommitResult result,
                meta.commit(ctx, {ExpectExists{client_key(client)}}, std::move(mutations)));
  if (!result.applied) return session_removed();
  return {};
}

/// Pin changes in batches; the last one carries the publication.
Status publish(const OpContext& ctx, Meta& meta, ClientRecord record,
               const std::vector<Ino>& to_pin, const std::vector<Ino>& to_unpin) {
  const ClientId client = record.id;
  std::vector<Mutation> mutations;
  auto add = [&](Mutation mutation) -> Status {
    mutations.push_back(std::move(mutation));
    if (mutations.size() < kPinsPerCommit) return {};
    return commit_as(ctx, meta, client, std::exchange(mutations, {}));
  };
  for (Ino ino : to_unpin) SKERRY_TRY(add(Delete{pin_key(client, ino)}));
  for (Ino ino : to_pin) SKERRY_TRY(add(Put{PinRecord{client, ino}}));
  mutations.push_back(Put{std::move(record)});
  return commit_as(ctx, meta, client, std::move(mutations));
}

}  // namespace

Status heartbeat(const OpContext& ctx, Meta& meta) {
  const ClientId client = meta.client();
  if (client == 0) return {};
  SKERRY_TRY(ctx.check());
  Store& store = meta.store();

  ReadRequest request;
  request.keys = {volume_key(kVolumeEpoch), client_key(client)};
  SKERRY_ASSIGN(ReadResult read, store.read(ctx, request));  // (a)
  SKERRY_ASSIGN(VolumeRecord epoch, take_volume_record(read.records[0], kVolumeEpoch));
  if (!read.records[1].has_value()) return session_removed();
  SKERRY_ASSIGN(ClientRecord record, take_record<ClientRecord>(std::move(*read.records[1])));

  meta.set_current_epoch(epoch.number);                   // (b)
  const uint64_t oldest = meta.oldest_epoch_in_use();     // (c)
  const std::vector<Ino> open_list = meta.open_inodes();  // (d)
  const std::unordered_set<Ino> open(open_list.begin(), open_list.end());

  std::unordered_set<Ino> pinned;
  std::vector<Ino> to_pin, to_unpin;
  SKERRY_TRY(scan_table<PinRecord>(ctx, store, pins_of(client), [&](PinRecord& pin) -> Status {
    pinned.insert(pin.ino);
    if (!open.contains(pin.ino)) to_unpin.push_back(pin.ino);
    return {};
  }));
  // What was removed since the last publication can be deleted only after another, so while the
  // epoch stands still there is nothing to pin.
  if (epoch.number > record.epoch_seen) {
    SKERRY_ASSIGN(to_pin, unpinned_orphans(ctx, store, open_list, pinned));  // (e)
  }
  // Never less than before: what an earlier publication allowed cannot be taken back, and the
  // argument above shows that it need not be.
  record.epoch_seen = std::max(record.epoch_seen, std::min(epoch.number, oldest));
  return publish(ctx, meta, std::move(record), to_pin, to_unpin);  // (f)
}

void add_session_removal(ClientId client, std::vector<Mutation>* mutations) {
  mutations->push_back(Delete{client_key(client)});
  mutations->push_back(DeleteRange{Table::kPin, client, {}, {}});
  mutations->push_back(DeleteRange{Table::kLock, client, {}, {}});
}

void tidy_locked_files(const OpContext& ctx, Meta& meta, const std::vector<Ino>& files) {
  for (Ino ino : files) {
    if (!tidy_locked(ctx, meta, ino).ok()) return;
  }
}

// As in reclaim: a client that wakes up between the look and the commit is removed all the same. No
// lease is wanted for it. A reclaimer that has counted this client's publication only waits for
// more than it has to.
Result<bool> remove_stale_session(const OpContext& ctx, Meta& meta, ClientId client) {
  const TimeNs began = meta.clock().monotonic_ns();
  ReadRequest request;
  request.time = true;
  request.keys.push_back(client_key(client));
  SKERRY_ASSIGN(ReadResult read, meta.store().read(ctx, request));
  if (!read.records[0]) return true;
  SKERRY_ASSIGN(ClientRecord record, take_record<ClientRecord>(std::move(*read.records[0])));
  const auto verdict =
      meta.session_watch().judge(record, read.server_time_ns, meta.format().session_expiry_ns,
                                 began, meta.clock().monotonic_ns());
  if (verdict != SessionWatch::Verdict::kStale) return false;
  SKERRY_ASSIGN(std::vector<Ino> files, locked_by(ctx, meta, client, kTidiedFiles));
  std::vector<Mutation> mutations;
  add_session_removal(client, &mutations);
  SKERRY_TRY(meta.commit(ctx, {}, std::move(mutations)));
  tidy_locked_files(ctx, meta, files);
  return true;
}

Status reopen_session(const OpContext& ctx, Meta& meta) {
  // Labels of lists are epochs of the volume, not of a session, so they keep their meaning.
  SKERRY_TRY(meta.register_session(ctx));
  meta.cache().clear();
  return {};
}

Result<std::vector<SessionInfo>> sessions(const OpContext& ctx, Meta& meta) {
  std::vector<SessionInfo> found;
  std::map<ClientId, size_t> index;
  RecordStream<ClientRecord> clients(ctx, meta.store(), whole_table(Table::kClient));
  for (;;) {
    SKERRY_ASSIGN(ClientRecord * client, clients.peek());
    if (client == nullptr) break;
    SessionInfo info;
    info.client = std::move(*client);
    info.stale =
        info.client.heartbeat_ns < clients.server_time_ns() - meta.format().session_expiry_ns;
    index[info.client.id] = found.size();
    found.push_back(std::move(info));
    clients.pop();
  }
  SKERRY_TRY(scan_table<PinRecord>(ctx, meta.store(), whole_table(Table::kPin),
                                   [&](PinRecord& pin) -> Status {
                                     auto it = index.find(pin.client);
                                     if (it != index.end()) found[it->second].pins += 1;
                                     return {};
                                   }));
  SKERRY_TRY(scan_table<LockRecord>(ctx, meta.store(), whole_table(Table::kLock),
                                    [&](LockRecord& lock) -> Status {
                                      auto it = index.find(lock.client);
                                      if (it != index.end()) found[it->second].locked_files += 1;
                                      return {};
                                    }));
  return found;
}

}  // namespace skerry::meta
