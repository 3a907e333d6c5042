// Reclaim: deletes what left the namespace once no client can still read it (see session.h).
//
// One step, all its commits fenced by the lease:
//   1. take or renew the lease;
//   2. remove stale sessions, fold the usage of clients that are gone;
//   3. orphans that are old enough and not pinned: their records go, their objects lose a
//   reference;
//   4. garbage that is old enough: objects are deleted, then their records;
//   5. advance the epoch, if something is too young and every client has seen the present one.
//
// Everything here may be done twice. A reclaimer that lost its lease without noticing can at worst
// delete objects that are garbage already, and garbage never becomes live again: ids are not used
// twice, and a new reference needs an existing one.
//
// An orphan's objects are filed as garbage at the current epoch, not at the orphan's own, although
// that costs two more epochs. An object may have been shared: the orphan's reference is perhaps the
// last only because another file dropped its own a moment ago, and a reader of that file may hold a
// list that names the object. A count that fell to one keeps no record, so the past of an object
// with one reference is not known. Only the epoch of the last removal is right for every object.
//
// Power loss: objects must never be gone while the metadata comes back to a state that names them.
// A step deletes objects of garbage whose tag is two epochs old; those epochs were advanced by
// durable commits, and a durable commit takes all commits before it along.

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <span>
#include <unordered_set>

#include "base/log.h"
#include "meta/metadata_cache.h"
#include "meta/ops.h"
#include "meta/session.h"
#include "meta/session_watch.h"
#include "meta/table_scan.h"

namespace skerry::meta {

namespace {

constexpr TimeNs kLease = 30'000'000'000;
constexpr int64_t kItemsPerStep = 10'000;  // orphans looked at, extents and objects deleted
constexpr uint32_t kOrphansPerPage = 64;
constexpr uint32_t kExtentsPerOrphan = 64;  // files with more are taken apart in several commits
constexpr uint32_t kExtentsPerCommit = 1024;
constexpr uint32_t kObjectsPerCall = 1000;
constexpr int kFailedCallsPerStep = 64;
constexpr uint32_t kPendingBound = 1000;
constexpr size_t kSessionsPerCommit = 256;
/// Where the next step's look at the orphans begins; a step that saw them all leaves 0.
constexpr char kOrphanCursor[] = "reclaim_cursor";

std::string to_text(TimeNs value) { return std::to_string(value); }

/// 0 where it is no number: a lease that ended long ago.
TimeNs from_text(const std::string& text) {
  TimeNs value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? value : 0;
}

/// Tagged `epoch`, it may go once every client has published this much.
constexpr uint64_t needed_for(uint64_t epoch) { return epoch + 2; }

struct StrippedOrphan {
  Attributes attr;
  std::vector<ExtentRecord> extents;
};

class Reclaim {
 public:
  Reclaim(const OpContext& ctx, Meta& meta, const DeleteObjects& remove)
      : ctx_(ctx), meta_(meta), store_(meta.store()), self_(meta.client()), remove_(remove) {}

  Result<ReclaimResult> run() {
    if (self_ == 0) return result_;
    using Part = Status (Reclaim::*)();
    constexpr std::array<Part, 7> kParts = {
        &Reclaim::take_lease,    &Reclaim::look_at_clients, &Reclaim::fold_usage,
        &Reclaim::look_at_pins,  &Reclaim::reclaim_orphans, &Reclaim::reclaim_garbage,
        &Reclaim::advance_epoch,
    };
    for (Part part : kParts) {
      SKERRY_TRY(ctx_.check());
      SKERRY_TRY((this->*part)());
      if (!result_.elected) break;
    }
    return result_;
  }

 private:
  Status take_lease();
  Status look_at_clients();
  Status remove_sessions(std::span<const ClientId> stale);
  Status fold_usage();
  Status fold_page(const std::vector<UsageRecord>& candidates);
  Status look_at_pins();
  Status reclaim_orphans();
  Status reclaim_orphan_page(std::vector<OrphanRecord> page);
  Status strip_large(Attributes attr);
  Status remove_orphans(std::vector<StrippedOrphan> orphans);
  Status save_cursor(Ino cursor);
  Status reclaim_garbage();
  Status reclaim_garbage_page(const std::vector<GarbageRecord>& page);
  Result<std::unordered_set<ObjectId>> referred_to(const std::vector<GarbageRecord>& page);
  Result<std::unordered_set<ObjectId>> remove_objects(const std::vector<ObjectId>& ids);
  Status advance_epoch();

  /// Durable, and refused once another client holds the lease: then elected turns false. The
  /// caller's expectations are counted from 0 in the answer.
  Result<CommitResult> commit(std::vector<Expectation> expectations,
                              std::vector<Mutation> mutations);

  const OpContext& ctx_;
  Meta& meta_;
  Store& store_;
  const ClientId self_;
  const DeleteObjects& remove_;
  ReclaimResult result_;

  uint64_t lease_version_ = 0;
  VolumeRecord epoch_;
  VolumeRecord cursor_;  // version 0: there is no record yet
  std::unordered_set<ClientId> live_;
  uint64_t min_seen_ = 0;  // what every live client has published at least
  std::unordered_set<Ino> pinned_;
  bool too_young_ = false;  // something waits for the epoch to advance
  int64_t budget_ = kItemsPerStep;
  int failed_calls_ = 0;
};

Result<CommitResult> Reclaim::commit(std::vector<Expectation> expectations,
                                     std::vector<Mutation> mutations) {
  expectations.insert(expectations.begin(),
                      ExpectVersion{volume_key(kVolumeReclaimer), lease_version_});
  SKERRY_ASSIGN(CommitResult result, meta_.commit(ctx_, std::move(expectations),
                                                  std::move(mutations), Durability::kDurable));
  if (!result.applied) {
    if (result.failed_expectation == 0) result_.elected = false;
    if (result.failed_expectation >= 0) result.failed_expectation -= 1;
  }
  return result;
}

Status Reclaim::take_lease() {
  ReadRequest request;
  request.time = true;
  request.keys = {volume_key(kVolumeReclaimer), volume_key(kVolumeEpoch),
                  volume_key(kOrphanCursor)};
  SKERRY_ASSIGN(ReadResult read, store_.read(ctx_, request));
  SKERRY_ASSIGN(VolumeRecord lease, take_volume_record(read.records[0], kVolumeReclaimer));
  SKERRY_ASSIGN(epoch_, take_volume_record(read.records[1], kVolumeEpoch));
  cursor_ = VolumeRecord{kOrphanCursor, {}, 0, 0};
  if (read.records[2].has_value()) {
    SKERRY_ASSIGN(cursor_, take_volume_record(read.records[2], kOrphanCursor));
  }

  const TimeNs now = read.server_time_ns;
  const TimeNs end = from_text(lease.value);
  // An end further away than a lease lasts was written before the server's clock was set back.
  const bool held = lease.number != 0 && end > now && end - now <= kLease;
  if (held && lease.number != self_) return {};

  const uint64_t version = lease.version;
  lease.number = self_;
  lease.value = to_text(now + kLease);
  lease.version = version + 1;
  SKERRY_ASSIGN(CommitResult taken,
                meta_.commit(ctx_, {ExpectVersion{volume_key(kVolumeReclaimer), version}},
                             {Put{lease}}, Durability::kDurable));
  lease_version_ = lease.version;
  result_.elected = taken.applied;
  return {};
}

/// The pages are separate snapshots. That is safe: what a client has published only grows, and a
/// client that registers meanwhile has loaded no list yet.
Status Reclaim::look_at_clients() {
  std::vector<ClientId> stale;
  min_seen_ = UINT64_MAX;
  const TimeNs began = meta_.clock().monotonic_ns();
  RecordStream<ClientRecord> clients(ctx_, store_, whole_table(Table::kClient));
  for (;;) {
    SKERRY_ASSIGN(ClientRecord * client, clients.peek());
    if (client == nullptr) break;
    const auto verdict = client->id == self_
                             ? SessionWatch::Verdict::kLive
                             : meta_.session_watch().judge(*client, clients.server_time_ns(),
                                                           meta_.format().session_expiry_ns, began,
                                                           meta_.clock().monotonic_ns());
    if (verdict == SessionWatch::Verdict::kSuspected) result_.suspected_sessions += 1;
    if (verdict == SessionWatch::Verdict::kStale) {
      stale.push_back(client->id);
    } else {
      live_.insert(client->id);
      min_seen_ = std::min(min_seen_, client->epoch_seen);
    }
    clients.pop();
  }
  if (!live_.contains(self_)) {
    return Error(ESTALE, "this client's session was removed; it cannot reclaim");
  }
  std::unordered_set<ClientId> seen = live_;
  seen.insert(stale.begin(), stale.end());
  meta_.session_watch().keep_only(seen);
  for (size_t i = 0; i < stale.size() && result_.elected; i += kSessionsPerCommit) {
    const size_t count = std::min(kSessionsPerCommit, stale.size() - i);
    SKERRY_TRY(remove_sessions(std::span(stale).subspan(i, count)));
  }
  return {};
}

/// From this commit on everything these clients commit is refused, so nothing they still read needs
/// to be kept. A client that wakes up between the look and the commit is removed all the same: it
/// had been silent for the whole expiry, and learns it by ESTALE.
Status Reclaim::remove_sessions(std::span<const ClientId> stale) {
  std::vector<Mutation> mutations;
  std::vector<Ino> locked;
  for (ClientId client : stale) {
    add_session_removal(client, &mutations);
    SKERRY_ASSIGN(std::vector<Ino> files, locked_by(ctx_, meta_, client, kTidiedFiles));
    locked.insert(locked.end(), files.begin(), files.end());
  }
  SKERRY_ASSIGN(CommitResult removed, commit({}, std::move(mutations)));
  if (!removed.applied) return {};
  result_.stale_sessions += stale.size();
  tidy_locked_files(ctx_, meta_, locked);
  return {};
}

/// Usage of clients that are gone is added to client 0's. It counts as it is, so a crash before
/// this loses nothing; a later step folds it.
Status Reclaim::fold_usage() {
  std::vector<UsageRecord> candidates;
  SKERRY_TRY(scan_table<UsageRecord>(
      ctx_, store_, whole_table(Table::kUsage), [&](UsageRecord& usage) -> Status {
        if (usage.client == 0 || live_.contains(usage_owner(usage.client))) return {};
        candidates.push_back(usage);
        if (candidates.size() < kSessionsPerCommit) return {};
        return fold_page(std::exchange(candidates, {}));
      }));
  return candidates.empty() ? Status() : fold_page(candidates);
}

/// Exact: in one snapshot the client is absent and its usage present. A client id is never used
/// again, so from then on only a reclaimer changes that usage, and the lease lets one commit.
Status Reclaim::fold_page(const std::vector<UsageRecord>& candidates) {
  if (!result_.elected) return {};
  ReadRequest request;
  for (const UsageRecord& usage : candidates) {
    request.keys.push_back(client_key(usage_owner(usage.client)));
    request.keys.push_back(usage_key(usage.scope, usage.client));
  }
  SKERRY_ASSIGN(ReadResult read, store_.read(ctx_, request));
  std::vector<Mutation> mutations;
  for (size_t i = 0; i < candidates.size(); ++i) {
    auto& usage_found = read.records.at(2 * i + 1);
    if (read.records.at(2 * i).has_value() || !usage_found.has_value()) continue;
    SKERRY_ASSIGN(UsageRecord usage, take_record<UsageRecord>(std::move(*usage_found)));
    mutations.push_back(AddUsage{usage.scope, 0, usage.bytes, usage.inodes});
    mutations.push_back(Delete{usage_key(usage.scope, usage.client)});
  }
  if (mutations.empty()) return {};
  SKERRY_TRY(commit({}, std::move(mutations)));
  return {};
}

/// Read after the clients' publications: a publication's pins were committed with it or before, and
/// are dropped only when their file is closed.
Status Reclaim::look_at_pins() {
  return scan_table<PinRecord>(ctx_, store_, whole_table(Table::kPin),
                               [&](PinRecord& pin) -> Status {
                                 pinned_.insert(pin.ino);
                                 return {};
                               });
}

Status Reclaim::reclaim_orphans() {
  Range range = whole_table(Table::kOrphan);
  range.limit = kOrphansPerPage;
  if (cursor_.number != 0) range.after = orphan_key(cursor_.number);
  RecordStream<OrphanRecord> orphans(ctx_, store_, range);
  Ino cursor = cursor_.number;
  std::vector<OrphanRecord> page;
  while (result_.elected) {
    SKERRY_ASSIGN(OrphanRecord * orphan, orphans.peek());
    const bool end = orphan == nullptr || budget_ <= 0;
    if (page.size() == kOrphansPerPage || (end && !page.empty())) {
      SKERRY_TRY(reclaim_orphan_page(std::exchange(page, {})));
      continue;
    }
    if (end) return save_cursor(orphan == nullptr ? 0 : cursor);
    const bool pinned = pinned_.contains(orphan->attr.ino);
    if (!pinned && needed_for(orphan->epoch) <= min_seen_) {
      page.push_back(*orphan);
    } else {
      result_.pending_inodes += 1;
      if (!pinned && needed_for(orphan->epoch) > epoch_.number) too_young_ = true;
    }
    cursor = orphan->attr.ino;
    budget_ -= 1;
    orphans.pop();
  }
  return {};
}

Status Reclaim::save_cursor(Ino cursor) {
  if (cursor == cursor_.number) return {};
  const Key key = volume_key(kOrphanCursor);
  std::vector<Expectation> expectations;
  if (cursor_.version == 0) {
    expectations.push_back(ExpectAbsent{key});
  } else {
    expectations.push_back(ExpectVersion{key, cursor_.version});
  }
  cursor_.number = cursor;
  cursor_.version += 1;
  SKERRY_TRY(commit(std::move(expectations), {Put{cursor_}}));
  return {};
}

/// Small files leave together in one commit, large ones on their own.
Status Reclaim::reclaim_orphan_page(std::vector<OrphanRecord> page) {
  SKERRY_TRY(ctx_.check());
  ReadRequest request;
  for (const OrphanRecord& orphan : page) {
    Range extents;
    extents.table = Table::kExtent;
    extents.a = orphan.attr.ino;
    extents.limit = kExtentsPerOrphan;
    request.ranges.push_back(extents);
  }
  SKERRY_ASSIGN(ReadResult read, store_.read(ctx_, request));
  std::vector<StrippedOrphan> small;
  std::vector<Attributes> large;
  for (size_t i = 0; i < page.size(); ++i) {
    RangePage& found = read.pages.at(i);
    if (found.more) {
      large.push_back(page[i].attr);
      continue;
    }
    StrippedOrphan orphan{page[i].attr, {}};
    for (Record& record : found.records) {
      SKERRY_ASSIGN(ExtentRecord extent, take_record<ExtentRecord>(std::move(record)));
      orphan.extents.push_back(std::move(extent));
    }
    budget_ -= static_cast<int64_t>(orphan.extents.size());
    small.push_back(std::move(orphan));
  }
  SKERRY_TRY(remove_orphans(std::move(small)));
  for (Attributes& attr : large) {
    if (!result_.elected) break;
    SKERRY_TRY(strip_large(attr));
  }
  return {};
}

/// The extent records that were read are still the ones there are. Beside the file's version, which
/// a compaction advances too: references that are dropped twice cost another file its data.
void expect_unchanged(const std::vector<ExtentRecord>& extents,
                      std::vector<Expectation>* expectations) {
  for (size_t i = 0, count = 1; i < extents.size(); ++i, ++count) {
    const ExtentRecord& e = extents[i];
    if (i + 1 < extents.size() && extents[i + 1].chunk == e.chunk) continue;
    expectations->push_back(ExpectExtentPrefix{e.ino, e.chunk, e.seq, count});
    count = 0;
  }
}

/// Counts what `extents` refer to, one an extent.
void drop_references(const std::vector<ExtentRecord>& extents,
                     std::map<ObjectId, int64_t>* references) {
  for (const ExtentRecord& record : extents) {
    for (const Extent& extent : record.extents) {
      if (extent.object != 0) (*references)[extent.object] -= 1;
    }
  }
}

void add_references(const std::map<ObjectId, int64_t>& references,
                    std::vector<Mutation>* mutations) {
  for (auto [object, delta] : references) {
    mutations->push_back(AddObjectReferences{object, delta});
  }
}

/// Usage does not change here: an orphan ceased to count when it lost its last name.
/// A conflict means that an orphan is none any more or has changed (linked again, written by a
/// client whose session ended): that one is left for another step, the others go.
Status Reclaim::remove_orphans(std::vector<StrippedOrphan> orphans) {
  while (!orphans.empty()) {
    std::vector<Expectation> expectations;
    std::vector<size_t> owners;  // of expectations, as indices of orphans
    std::vector<Mutation> mutations;
    std::map<ObjectId, int64_t> references;
    for (const StrippedOrphan& orphan : orphans) {
      const Ino ino = orphan.attr.ino;
      expectations.push_back(ExpectVersion{orphan_key(ino), orphan.attr.version, ino});
      expect_unchanged(orphan.extents, &expectations);
      owners.resize(expectations.size(), static_cast<size_t>(&orphan - orphans.data()));
      drop_references(orphan.extents, &references);
      for (const ExtentRecord& e : orphan.extents) {
        mutations.push_back(Delete{extent_key(e.ino, e.chunk, e.seq)});
      }
      mutations.push_back(Delete{inline_key(ino)});
      mutations.push_back(Delete{symlink_key(ino)});
      mutations.push_back(DeleteRange{Table::kXattr, ino});
      mutations.push_back(Delete{locked_key(ino)});
      if (orphan.attr.is_dir()) mutations.push_back(DeleteRange{Table::kDirStat, ino});
      mutations.push_back(Delete{orphan_key(ino)});
    }
    add_references(references, &mutations);
    const size_t count = orphans.size();
    SKERRY_ASSIGN(CommitResult removed, commit(std::move(expectations), std::move(mutations)));
    if (removed.applied) {
      for (const StrippedOrphan& orphan : orphans) meta_.cache().forget_attributes(orphan.attr.ino);
      result_.inodes += count;
      return {};
    }
    if (!result_.elected) return {};
    const int failed = removed.failed_expectation;
    if (failed < 0 || static_cast<size_t>(failed) >= owners.size()) {
      return Error(EIO, "the metadata store refused a removal without naming what failed");
    }
    orphans.erase(orphans.begin() + static_cast<ptrdiff_t>(owners[static_cast<size_t>(failed)]));
    result_.pending_inodes += 1;
  }
  return {};
}

/// The first commit also sets the length to 0: a handle that outlived its session then meets the
/// end of the file, never zeros in the place of extents that are gone.
Status Reclaim::strip_large(Attributes attr) {
  Range extents;
  extents.table = Table::kExtent;
  extents.a = attr.ino;
  extents.limit = kExtentsPerCommit;
  for (;;) {
    SKERRY_TRY(ctx_.check());
    ReadRequest request;
    request.ranges.push_back(extents);
    SKERRY_ASSIGN(ReadResult read, store_.read(ctx_, request));
    StrippedOrphan part{attr, {}};
    for (Record& record : read.pages.at(0).records) {
      SKERRY_ASSIGN(ExtentRecord extent, take_record<ExtentRecord>(std::move(record)));
      part.extents.push_back(std::move(extent));
    }
    budget_ -= static_cast<int64_t>(part.extents.size());
    if (!read.pages[0].more) {
      std::vector<StrippedOrphan> last;
      last.push_back(std::move(part));
      return remove_orphans(std::move(last));
    }
    std::vector<Mutation> mutations;
    Patch patch;
    patch.ino = attr.ino;
    patch.length = 0;
    mutations.push_back(patch);
    for (const ExtentRecord& e : part.extents) {
      mutations.push_back(Delete{extent_key(e.ino, e.chunk, e.seq)});
    }
    std::map<ObjectId, int64_t> references;
    drop_references(part.extents, &references);
    add_references(references, &mutations);
    std::vector<Expectation> expectations = {
        ExpectVersion{orphan_key(attr.ino), attr.version, attr.ino}};
    expect_unchanged(part.extents, &expectations);
    SKERRY_ASSIGN(CommitResult stripped, commit(std::move(expectations), std::move(mutations)));
    meta_.cache().forget_attributes(attr.ino);
    if (!stripped.applied || budget_ <= 0) {
      result_.pending_inodes += 1;
      return {};
    }
    attr.version = stripped.outcomes.at(0).version;
    attr.length = 0;
  }
}

Status Reclaim::reclaim_garbage() {
  if (min_seen_ < needed_for(0)) return {};
  Range range = whole_table(Table::kGarbage);
  range.max_a = min_seen_ - needed_for(0);
  range.limit = kObjectsPerCall;
  while (result_.elected && budget_ > 0 && failed_calls_ < kFailedCallsPerStep) {
    SKERRY_TRY(ctx_.check());
    ReadRequest request;
    request.ranges.push_back(range);
    SKERRY_ASSIGN(ReadResult read, store_.read(ctx_, request));
    RangePage& found = read.pages.at(0);
    std::vector<GarbageRecord> page;
    for (Record& record : found.records) {
      SKERRY_ASSIGN(GarbageRecord garbage, take_record<GarbageRecord>(std::move(record)));
      if (needed_for(garbage.epoch) > min_seen_) {
        return Error(EIO, "the metadata store returned records outside the range asked for");
      }
      page.push_back(garbage);
    }
    if (page.empty()) return {};
    budget_ -= static_cast<int64_t>(page.size());
    range.after = key_of(page.back());
    SKERRY_TRY(reclaim_garbage_page(page));
    if (!found.more) return {};
  }
  return {};
}

Status Reclaim::reclaim_garbage_page(const std::vector<GarbageRecord>& page) {
  SKERRY_ASSIGN(std::unordered_set<ObjectId> referred, referred_to(page));
  std::vector<ObjectId> ids;
  for (const GarbageRecord& garbage : page) {
    if (!referred.contains(garbage.object)) ids.push_back(garbage.object);
  }
  SKERRY_ASSIGN(std::unordered_set<ObjectId> gone, remove_objects(ids));
  result_.failed_objects += page.size() - gone.size();
  if (gone.empty()) return {};
  std::vector<Mutation> mutations;
  for (const GarbageRecord& garbage : page) {
    if (!gone.contains(garbage.object)) continue;
    mutations.push_back(Delete{garbage_key(garbage.epoch, garbage.object)});
  }
  SKERRY_ASSIGN(CommitResult removed, commit({}, std::move(mutations)));
  if (removed.applied) result_.objects += gone.size();
  return {};
}

/// The other half of a pair of checks: an object with a count of references is not garbage,
/// whatever put it there. fsck reports it.
Result<std::unordered_set<ObjectId>> Reclaim::referred_to(const std::vector<GarbageRecord>& page) {
  ReadRequest request;
  for (const GarbageRecord& garbage : page) request.keys.push_back(object_key(garbage.object));
  SKERRY_ASSIGN(ReadResult read, store_.read(ctx_, request));
  std::unordered_set<ObjectId> referred;
  for (size_t i = 0; i < page.size(); ++i) {
    if (!read.records.at(i).has_value()) continue;
    referred.insert(page[i].object);
    log_message(LogLevel::kError, "reclaim: object " + std::to_string(page[i].object) +
                                      " is garbage and referred to; not deleted, run fsck");
  }
  return referred;
}

/// What is gone. A failed call says nothing of its single objects, so it is cut in halves until
/// the ones that cannot be deleted stand alone; failures in a step are bounded, for a store that is
/// down fails every call.
Result<std::unordered_set<ObjectId>> Reclaim::remove_objects(const std::vector<ObjectId>& ids) {
  std::unordered_set<ObjectId> gone;
  std::vector<std::vector<ObjectId>> parts;
  if (!ids.empty()) parts.push_back(ids);
  while (!parts.empty() && failed_calls_ < kFailedCallsPerStep) {
    SKERRY_TRY(ctx_.check());
    const std::vector<ObjectId> part = std::move(parts.back());
    parts.pop_back();
    Status removed = remove_(ctx_, part);
    if (removed.ok()) {
      gone.insert(part.begin(), part.end());
      continue;
    }
    SKERRY_TRY(ctx_.check());
    failed_calls_ += 1;
    if (part.size() == 1) {
      log_message(LogLevel::kWarning,
                  "reclaim: object " + std::to_string(part[0]) +
                      " was not deleted, will be tried again: " + removed.error().message());
      continue;
    }
    const auto middle = part.begin() + static_cast<ptrdiff_t>(part.size() / 2);
    parts.emplace_back(part.begin(), middle);
    parts.emplace_back(middle, part.end());
  }
  return gone;
}

/// Only if something waits for it, and not before every client has seen the present epoch: so the
/// epoch is never more than one ahead of any client, and a volume at rest writes nothing.
Status Reclaim::advance_epoch() {
  ReadRequest request;
  Range pending = whole_table(Table::kGarbage);
  pending.limit = kPendingBound;
  request.ranges.push_back(pending);
  for (uint64_t back = 0; back < needed_for(0) && back <= epoch_.number; ++back) {
    Range young;
    young.table = Table::kGarbage;
    young.a = epoch_.number - back;
    young.limit = 1;
    request.ranges.push_back(young);
  }
  SKERRY_ASSIGN(ReadResult read, store_.read(ctx_, request));
  result_.pending_objects = read.pages.at(0).records.size();
  for (size_t i = 1; i < read.pages.size(); ++i) {
    if (!read.pages[i].records.empty()) too_young_ = true;
  }
  if (!too_young_ || min_seen_ < epoch_.number) return {};
  const uint64_t version = epoch_.version;
  epoch_.number += 1;
  epoch_.version += 1;
  SKERRY_TRY(commit({ExpectVersion{volume_key(kVolumeEpoch), version}}, {Put{epoch_}}));
  return {};
}

}  // namespace

Result<ReclaimResult> reclaim_step(const OpContext& ctx, Meta& meta, const DeleteObjects& remove) {
  auto result = Reclaim(ctx, meta, remove).run();
  if (!result.ok()) return std::move(result).error().with_context("reclaim");
  return result;
}

}  // namespace skerry::meta
