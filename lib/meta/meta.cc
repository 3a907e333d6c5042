#include "meta/meta.h"

#include <algorithm>

#include "meta/acl_cache.h"
#include "meta/commit_retries.h"
#include "meta/metadata_cache.h"
#include "meta/session.h"
#include "meta/session_watch.h"

namespace skerry::meta {

namespace {

// A lost answer is asked for again with the same request id: while the failure is one that passes,
// until the call's deadline, else for about a second.
constexpr unsigned kCommitAttempts = 10;
constexpr int kFormatAttempts = 10;
constexpr TimeNs kFirstPauseNs = 2'000'000, kLongestPauseNs = 500'000'000;
constexpr TimeNs kWithoutDeadlineNs = 60'000'000'000;

uint64_t number_of(const std::optional<Record>& record) {
  return record ? std::get<VolumeRecord>(*record).number : 0;
}

uint64_t next_number() {
  static std::atomic<uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

}  // namespace

Result<CommitResult> commit_with_retries(const OpContext& ctx, Store& store, Clock& clock,
                                         Random& random, const CommitRequest& request) {
  const TimeNs end = std::min(ctx.deadline_ns, clock.monotonic_ns() + kWithoutDeadlineNs);
  TimeNs pause = kFirstPauseNs;
  bool maybe_applied = false;
  std::string cause;
  for (unsigned attempt = 1;; ++attempt) {
    Result<CommitResult> result = store.commit(ctx, request);
    if (result.ok()) return result;
    Error& error = result.error();
    maybe_applied = maybe_applied || error.maybe_applied();
    const bool hopeful = error.retryable() || (error.maybe_applied() && attempt < kCommitAttempts);
    const TimeNs left = end - clock.monotonic_ns();
    const Status wanted = ctx.check();
    if (!wanted.ok() && (hopeful || error.code() == wanted.error().code())) {
      // What kept it from being done so long says more.
      if (cause.empty()) cause = error.message();
      return Error(wanted.error().code(), cause).set_maybe_applied(maybe_applied);
    }
    if (!hopeful || left <= 0) return std::move(error).set_maybe_applied(maybe_applied);
    cause = error.message();
    const auto jitter = static_cast<TimeNs>(random.next() % static_cast<uint64_t>(pause));
    clock.sleep_ns(std::min(pause / 2 + jitter, left));
    pause = std::min(2 * pause, kLongestPauseNs);
  }
}

Meta::Meta(std::shared_ptr<Store> store, VolumeFormat format, MetaOptions options, Clock& clock,
           Random& random)
    : store_(std::move(store)),
      format_(std::move(format)),
      options_(std::move(options)),
      usage_parts_(std::max(store_->capabilities().usage_parts, 1u)),
      keeps_file_flags_(std::ranges::find(format_.read_only_compatible, kFeatureFileFlags) !=
                        format_.read_only_compatible.end()),
      exact_(store_->capabilities().exact_generation),
      number_(next_number()),
      clock_(clock),
      random_(random),
      cache_(std::make_unique<MetadataCache>(options_.cache_entries, random)),
      acls_(std::make_unique<AclCache>()),
      session_watch_(std::make_unique<SessionWatch>()) {}

uint64_t Meta::lane() {
  struct Lane {
    uint64_t meta = 0;
    uint64_t number = 0;
  };
  thread_local Lane lane;
  if (lane.meta != number_) lane = {number_, next_lane_.fetch_add(1, std::memory_order_relaxed)};
  return lane.number;
}

Meta::~Meta() {
  if (!exact_) store_->tell_changes(nullptr);
}

Result<std::unique_ptr<Meta>> Meta::open(const OpContext& ctx, std::shared_ptr<Store> store,
                                         const VolumeFormat& format, MetaOptions options,
                                         Clock& clock, Random& random) {
  std::unique_ptr<Meta> meta(new Meta(std::move(store), format, std::move(options), clock, random));
  Status registered = meta->register_session(ctx);
  if (!registered.ok()) {
    const bool refused = registered.error().code() == EROFS || registered.error().code() == EACCES;
    if (!meta->options_.read_only || !refused) return std::move(registered).error();
  }
  if (!meta->exact_ && meta->options_.consistency != Consistency::kStrict) {
    meta->store_->tell_changes(meta.get());
  }
  return meta;
}

Result<uint64_t> Meta::check_format(const std::optional<Record>& record) const {
  if (!record.has_value()) return Error(EIO, "the volume has no format record any more");
  const auto& volume = std::get<VolumeRecord>(*record);
  SKERRY_ASSIGN(const VolumeFormat format, decode_format(volume.value));
  if (format.uuid != format_.uuid || !same_object_layout(format, format_)) {
    return Error(ESTALE,
                 "how the volume stores its data was changed after this client opened it; open the "
                 "volume again");
  }
  return volume.version;
}

Status Meta::register_session(const OpContext& ctx) {
  // Both are read before the record is put, so what it publishes is never too new.
  ReadRequest request;
  request.keys = {volume_key(kVolumeEpoch), volume_key(kVolumeNextObject),
                  volume_key(kVolumeFormat)};
  SKERRY_ASSIGN(ReadResult seen, store_->read(ctx, request));
  SKERRY_ASSIGN(uint64_t format_version, check_format(seen.records[2]));
  // Registering is nobody's commit yet. The old id stays in force until the new one is there, so
  // that commits made meanwhile are refused with it and never go unchecked.
  auto commit_unbound = [&](std::vector<Expectation> expectations,
                            std::vector<Mutation> mutations) {
    CommitRequest commit;
    commit.request = {random_.next(), random_.next()};
    commit.expectations = std::move(expectations);
    commit.mutations = std::move(mutations);
    return commit_with_retries(ctx, *store_, clock_, random_, commit);
  };
  ClientRecord record;
  while (record.id == 0) {  // a counter that starts at 0 gives 0 once
    SKERRY_ASSIGN(CommitResult taken, commit_unbound({}, {AddNumber{kVolumeNextClient, 1}}));
    record.id = taken.outcomes.at(0).number;
  }
  record.epoch_seen = number_of(seen.records[0]);
  record.first_object = number_of(seen.records[1]);
  record.host = options_.host;
  record.pid = options_.pid;
  record.software = "skerry 0.1.0";
  // Before the record is put: it must never say more than what this client labels its lists with.
  set_current_epoch(record.epoch_seen);
  for (int attempt = 0;; ++attempt) {
    // The nothing that is added tells who changes the format that somebody has registered.
    SKERRY_ASSIGN(CommitResult put,
                  commit_unbound({ExpectVersion{volume_key(kVolumeFormat), format_version},
                                  ExpectAbsent{client_key(record.id)}},
                                 {AddNumber{kVolumeNextClient, 0}, Put{record}}));
    if (put.applied) break;
    if (put.failed_expectation != 0 || attempt == kFormatAttempts) {
      return Error(EIO, "the volume's client counter gives ids that are in use");
    }
    ReadRequest again;
    again.keys = {volume_key(kVolumeFormat)};
    SKERRY_ASSIGN(ReadResult now, store_->read(ctx, again));
    SKERRY_ASSIGN(format_version, check_format(now.records[0]));
  }
  {
    std::lock_guard lock(objects_.mutex);
    objects_.next = objects_.end = 0;
  }
  first_object_.store(record.first_object, std::memory_order_release);
  client_.store(record.id, std::memory_order_release);
  return {};
}

Status Meta::close(const OpContext& ctx) {
  const ClientId id = client();
  if (id == 0) return {};
  ReadRequest request;
  for (uint32_t part = 0; part < usage_parts_; ++part) {
    request.keys.push_back(usage_key(0, usage_part(id, part)));
  }
  SKERRY_ASSIGN(ReadResult seen, store_->read(ctx, request));
  std::vector<Mutation> mutations;
  AddUsage sum;
  for (const std::optional<Record>& record : seen.records) {
    if (!record) continue;
    const auto& usage = std::get<UsageRecord>(*record);
    sum.bytes += usage.bytes;
    sum.inodes += usage.inodes;
    mutations.push_back(Delete{usage_key(0, usage.client)});
  }
  if (!mutations.empty()) mutations.push_back(sum);
  add_session_removal(id, &mutations);
  Result<CommitResult> done = commit(ctx, {}, std::move(mutations));
  // ESTALE: somebody removed this session and has folded its usage already.
  if (!done.ok() && done.error().code() != ESTALE) return std::move(done).error();
  client_.store(0, std::memory_order_release);
  cache_->clear();
  return {};
}

Result<uint64_t> Meta::next_id(const OpContext& ctx, IdBatch& batch, const char* counter) {
  const uint64_t count = std::max<uint32_t>(options_.id_batch, 1);
  for (;;) {
    const ClientId session = client();
    {
      std::lock_guard lock(batch.mutex);
      if (batch.next != batch.end) return batch.next++;
    }
    // Threads that come here together each take a batch; all but one keep a single id of it. Ids
    // are plenty, and a lock held across the commit would stop the others for its round trip.
    SKERRY_ASSIGN(CommitResult taken, commit(ctx, {}, {AddNumber{counter, count}}));
    const uint64_t first = taken.outcomes.at(0).number;
    std::lock_guard lock(batch.mutex);
    if (client() != session) continue;  // a new session must not use ids from before it
    if (batch.next == batch.end) {
      batch.next = first + 1;
      batch.end = first + count;
    }
    return first;
  }
}

Result<Ino> Meta::next_ino(const OpContext& ctx) {
  for (;;) {
    SKERRY_ASSIGN(Ino ino, next_id(ctx, inos_, kVolumeNextIno));
    if (ino > kRootIno) return ino;  // a counter that starts at 0
  }
}

Result<ObjectId> Meta::next_object(const OpContext& ctx) {
  for (;;) {
    SKERRY_ASSIGN(ObjectId id, next_id(ctx, objects_, kVolumeNextObject));
    if (id != 0) return id;
  }
}

namespace {

/// A file that a commit changes: with the version it gives it, or the mutation that tells, of
/// MoveFile (0) the file as well.
struct ChangedFile {
  Ino ino = 0;
  uint64_t version = 0;
  size_t mutation = 0;
};

std::vector<ChangedFile> changed_files(const std::vector<Mutation>& mutations) {
  std::vector<ChangedFile> files;
  const auto add = [&](const Attributes& attr) {
    if (attr.type == FileType::kRegular) files.push_back({attr.ino, attr.version, 0});
  };
  for (size_t i = 0; i < mutations.size(); ++i) {
    if (const auto* put = std::get_if<Put>(&mutations[i])) {
      if (const auto* entry = std::get_if<EntryRecord>(&put->record)) {
        if (!entry->linked) add(entry->attr);
      } else if (const auto* inode = std::get_if<InodeRecord>(&put->record)) {
        add(inode->attr);
      } else if (const auto* orphan = std::get_if<OrphanRecord>(&put->record)) {
        add(orphan->attr);
      }
    } else if (const auto* patch = std::get_if<Patch>(&mutations[i])) {
      files.push_back({patch->ino, 0, i});
    } else if (const auto* write = std::get_if<WriteData>(&mutations[i])) {
      files.push_back({write->ino, 0, i});
    } else if (std::holds_alternative<MoveFile>(mutations[i])) {
      files.push_back({0, 0, i});
    }
  }
  return files;
}

}  // namespace

Result<CommitResult> Meta::commit(const OpContext& ctx, std::vector<Expectation> expectations,
                                  std::vector<Mutation> mutations, Durability durability,
                                  ClientId session, std::optional<CommitRequest>* lost) {
  CommitRequest request;
  request.request = {random_.next(), random_.next()};
  request.session = session != 0 ? session : ctx.session != 0 ? ctx.session : client();
  request.expectations = std::move(expectations);
  std::vector<ChangedFile> changed;
  if (own_changes_ != nullptr) changed = changed_files(mutations);
  request.mutations = std::move(mutations);
  request.durability =
      options_.durable || format_.durable_metadata ? Durability::kDurable : durability;
  Result<CommitResult> result = commit_with_retries(ctx, *store_, clock_, random_, request);
  if (!result.ok()) {
    if (!result.error().maybe_applied()) return result;
    // The generation does not tell of own commits, so nothing cached is known to be current.
    cache_->clear();
    if (lost != nullptr) *lost = std::move(request);
    return result;
  }
  if (!result->applied) {
    if (!exact_) forget_conflict(request, *result);
    return result;
  }
  for (const ChangedFile& file : changed) {
    const MutationOutcome& told = result->outcomes[file.mutation];
    if (file.ino != 0) {
      own_changes_->own_change(file.ino, file.version != 0 ? file.version : told.version);
      continue;
    }
    own_changes_->own_change(told.moved->ino, told.moved->version);
    if (told.number != 0) own_changes_->own_change(told.number, told.version);
  }
  return result;
}

Result<CommitResult> Meta::settle(const OpContext& ctx, const CommitRequest& lost) {
  Result<CommitResult> result = commit_with_retries(ctx, *store_, clock_, random_, lost);
  cache_->clear();
  return result;
}

/// What did not hold rested on the cache, perhaps: the next attempt must not decide on it again.
void Meta::forget_conflict(const CommitRequest& request, const CommitResult& result) {
  auto forget = [this](const Key& key) {
    if (key.table == Table::kEntry) cache_->forget_entry(key.a, key.name);
    if (key.table == Table::kInode || key.table == Table::kOrphan || key.table == Table::kDirStat) {
      cache_->forget_attributes(key.a);
    }
  };
  if (result.failed_expectation >= 0) {
    const Expectation& failed =
        request.expectations.at(static_cast<size_t>(result.failed_expectation));
    if (const auto* version = std::get_if<ExpectVersion>(&failed)) {
      forget(version->key);
      if (version->ino != 0) cache_->forget_attributes(version->ino);
    } else if (const auto* absent = std::get_if<ExpectAbsent>(&failed)) {
      forget(absent->key);
    } else if (const auto* exists = std::get_if<ExpectExists>(&failed)) {
      forget(exists->key);
    } else if (const auto* attributes = std::get_if<ExpectAttributes>(&failed)) {
      cache_->forget_attributes(attributes->ino);
    }
  } else if (result.failed_mutation >= 0) {
    const Mutation& failed = request.mutations.at(static_cast<size_t>(result.failed_mutation));
    if (const auto* patch = std::get_if<Patch>(&failed)) {
      cache_->forget_attributes(patch->ino);
    } else if (const auto* write = std::get_if<WriteData>(&failed)) {
      cache_->forget_attributes(write->ino);
    } else if (const auto* directory = std::get_if<AddDirStat>(&failed)) {
      cache_->forget_attributes(directory->ino);
    } else if (const auto* move = std::get_if<MoveFile>(&failed)) {
      forget(move->from);
      if (move->to) forget(*move->to);
    }
  }
}

Freshness Meta::leased(const OpContext& ctx) {
  Freshness fresh;
  fresh.began = static_cast<uint64_t>(began(ctx));
  fresh.aged = ctx.aged;
  TimeNs oldest = std::max(ctx.not_before_ns, forgotten_before_.load(std::memory_order_acquire));
  if (options_.consistency != Consistency::kStrict) {
    oldest = std::max(oldest, began(ctx) - options_.lease_ns);
  } else if (ctx.began_ns == 0 && ctx.not_before_ns == 0) {
    return fresh;  // of no call: only the store knows
  } else {
    oldest = std::max(oldest, ctx.began_ns);
  }
  fresh.oldest = static_cast<uint64_t>(std::max<TimeNs>(oldest, 0));
  fresh.span = UINT64_MAX - fresh.oldest;
  return fresh;
}

void Meta::forget_others() {
  if (exact_) return;
  const TimeNs now = clock_.monotonic_ns();
  TimeNs seen = forgotten_before_.load(std::memory_order_acquire);
  while (seen < now &&
         !forgotten_before_.compare_exchange_weak(seen, now, std::memory_order_acq_rel)) {
  }
}

void Meta::on_inode_changed(std::function<void(Ino)> told) {
  std::lock_guard lock(told_mutex_);
  told_ = std::move(told);
}

void Meta::entry_changed(Ino parent, std::string_view name) { cache_->forget_entry(parent, name); }

void Meta::inode_changed(Ino ino) {
  cache_->forget_attributes(ino);
  std::lock_guard lock(told_mutex_);
  if (told_) told_(ino);
}

void Meta::children_changed(Ino directory) { cache_->touch_directory(directory); }

void Meta::all_changed() { forget_others(); }

void Meta::note_open(Ino ino) {
  std::lock_guard lock(open_mutex_);
  ++open_[ino];
}

void Meta::note_closed(Ino ino) {
  std::lock_guard lock(open_mutex_);
  auto it = open_.find(ino);
  if (it != open_.end() && --it->second == 0) open_.erase(it);
}

bool Meta::is_open(Ino ino) {
  std::lock_guard lock(open_mutex_);
  return open_.contains(ino);
}

std::vector<Ino> Meta::open_inodes() {
  std::lock_guard lock(open_mutex_);
  std::vector<Ino> inodes;
  inodes.reserve(open_.size());
  for (const auto& [ino, count] : open_) inodes.push_back(ino);
  return inodes;
}

Meta::EpochGuard Meta::enter_epoch() { return EpochGuard(*this); }

uint64_t Meta::oldest_epoch_in_use() {
  std::lock_guard lock(epoch_mutex_);
  return epochs_in_use_.empty() ? current_epoch() : epochs_in_use_.begin()->first;
}

// The epoch is read under the mutex: a heartbeat that sets a newer epoch and then asks for the
// oldest in use sees either this guard, or a guard of the newer epoch.
Meta::EpochGuard::EpochGuard(Meta& meta) : meta_(&meta) {
  std::lock_guard lock(meta_->epoch_mutex_);
  epoch_ = meta_->current_epoch();
  ++meta_->epochs_in_use_[epoch_];
}

Meta::EpochGuard::EpochGuard(EpochGuard&& other) noexcept
    : meta_(other.meta_), epoch_(other.epoch_) {
  other.meta_ = nullptr;
}

Meta::EpochGuard::~EpochGuard() {
  if (meta_ == nullptr) return;
  std::lock_guard lock(meta_->epoch_mutex_);
  auto it = meta_->epochs_in_use_.find(epoch_);
  if (--it->second == 0) meta_->epochs_in_use_.erase(it);
}

}  // namespace skerry::meta
