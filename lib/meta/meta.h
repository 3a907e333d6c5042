// Meta: one client's view of a volume's metadata. It owns the store connection, the id batches,
// the session and the cache; the operations of the file system are free functions over it, one
// file each in lib/meta/ops.
//
// Every operation is a plain function that blocks its caller: read, decide, commit, and again on a
// conflict, a bounded number of times (then EBUSY). Operations are thread-safe. They return POSIX
// errors in POSIX's order and check permissions against ctx.credentials, as path_resolution(7) and
// each call's page say. Names are bytes; "." and ".." are refused here (the path walk in lib/vfs
// interprets them).
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "io/op_context.h"
#include "meta/freshness.h"
#include "meta/metadata_cache.h"
#include "meta/records.h"
#include "meta/store.h"

namespace skerry::meta {

/// Every client that writes keeps the bits of Attributes::flags, so that they tell of each file
/// whether it has extended attributes; without the feature they tell that only of ACLs.
inline constexpr char kFeatureFileFlags[] = "file-flags";

/// Objects are stored in frames, from an id on: see VolumeFormat::layouts.
inline constexpr char kFeatureFramedObjects[] = "framed-objects";
/// Objects are encrypted, from an id on.
inline constexpr char kFeatureEncryption[] = "encryption";

/// How objects lie in the object store, from `from` up to the next layout's.
struct ObjectLayout {
  ObjectId from = 0;
  bool encrypted = false;  // framed they are in any case
  friend bool operator==(const ObjectLayout&, const ObjectLayout&) = default;
};

/// A data key as only the volume's key opens it; nothing here looks into it.
struct WrappedKey {
  uint32_t id = 0;  // from 1
  std::string wrapped;
  friend bool operator==(const WrappedKey&, const WrappedKey&) = default;
};

struct EncryptionFormat {
  std::string key_id;      // of the volume's key, which is kept nowhere
  std::string key_source;  // the kind of place it was in: file, env, command
  uint32_t data_key = 0;   // that new objects are encrypted with
  std::vector<WrappedKey> data_keys;
  friend bool operator==(const EncryptionFormat&, const EncryptionFormat&) = default;
};

/// What `format` decides. Stored as JSON in the volume record kVolumeFormat.
struct VolumeFormat {
  std::string uuid;
  std::string storage;  // URL of the object store, e.g. file:///srv/data
  uint32_t format_version = 1;
  uint32_t block_bytes = 4u << 20;
  uint32_t inline_bytes = 4096;   // files up to this length live in the metadata
  bool durable_metadata = false;  // every commit is durable
  // Clients not heard of for so long are given up; one setting, or they would give up each other.
  TimeNs session_expiry_ns = 60'000'000'000;
  // Feature flags by name, of a new volume those of this version. A client that does not know an
  // `incompatible` one refuses to open; one that does not know a `read_only_compatible` one opens
  // read-only.
  std::vector<std::string> compatible, read_only_compatible = {kFeatureFileFlags}, incompatible;
  // Ascending; objects before the first lie in plain. A client that writes must know them all, or
  // it would store objects in a way that others do not expect, so they change only while no client
  // has the volume open. The same goes for the ids of the data keys.
  std::vector<ObjectLayout> layouts;
  std::string compression = "none";  // of new objects: the text of the option
  std::optional<EncryptionFormat> encryption;

  bool encrypted() const { return encryption.has_value(); }
};
/// Clients with these two store and find objects in the same way.
bool same_object_layout(const VolumeFormat& a, const VolumeFormat& b);
std::string encode_format(const VolumeFormat& format);
Result<VolumeFormat> decode_format(std::string_view json);

/// Writes the first records of a new volume: format, counters, root directory (mode 0755, owner
/// from ctx). EEXIST if the store holds a volume already.
Status format_volume(const OpContext& ctx, Store& store, const VolumeFormat& format, Clock& clock);
/// ENOENT with a sentence if the store holds no volume; ENOTSUP for an unknown incompatible flag.
Result<VolumeFormat> read_format(const OpContext& ctx, Store& store);

/// The format of a volume and what a change of it depends on.
struct FormatSnapshot {
  VolumeFormat format;
  uint64_t version = 0;  // of the record
  ObjectId next_object = 0;
  uint64_t next_object_version = 0;
  uint64_t next_client_version = 0;
  std::vector<ClientRecord> clients;  // some of those that have the volume open, if any
};
Result<FormatSnapshot> read_format_snapshot(const OpContext& ctx, Store& store);
/// Replaces the format, in one durable commit. EBUSY with a sentence where clients have the volume
/// open and the layout of objects changes. False where anything that `was` tells has changed since:
/// nothing is done then.
Result<bool> replace_format(const OpContext& ctx, Store& store, const FormatSnapshot& was,
                            const VolumeFormat& format, Clock& clock, Random& random);

/// The volume carries a read-only-compatible flag this version does not know: write nothing to it.
bool format_requires_read_only(const VolumeFormat& format);

class AclCache;
class SessionWatch;

struct MetaOptions {
  bool read_only = false;
  bool durable = false;            // as VolumeFormat::durable_metadata, for this client
  size_t cache_entries = 1 << 18;  // dentries and attributes kept
  // On stores without an exact generation; the others are strict at no cost.
  Consistency consistency = Consistency::kStrict;
  TimeNs lease_ns = 1'000'000'000;
  uint32_t id_batch = 1024;  // ids taken from a counter at once
  std::string host;
  uint64_t pid = 0;
};

/// Who wants to know which changes of a file are this client's own.
class OwnChanges {
 public:
  /// A commit of this client gave the file this version: what led to it from the one before is the
  /// client's own change. Called by the thread that committed. Not called where the commit's answer
  /// was lost.
  virtual void own_change(Ino ino, uint64_t version) = 0;

 protected:
  ~OwnChanges() = default;
};

class Meta : private ChangeSink {
 public:
  /// Registers a session (unless read_only and the store refuses writes). The references outlive
  /// the Meta.
  static Result<std::unique_ptr<Meta>> open(const OpContext& ctx, std::shared_ptr<Store> store,
                                            const VolumeFormat& format, MetaOptions options,
                                            Clock& clock, Random& random);
  /// Removes the session: its pins and locks, its record; folds its usage into client 0.
  /// Idempotent.
  Status close(const OpContext& ctx);
  ~Meta();
  Meta(const Meta&) = delete;
  Meta& operator=(const Meta&) = delete;

  Store& store() { return *store_; }
  Clock& clock() { return clock_; }
  Random& random() { return random_; }
  MetadataCache& cache() { return *cache_; }
  AclCache& acls() { return *acls_; }
  SessionWatch& session_watch() { return *session_watch_; }
  const VolumeFormat& format() const { return format_; }
  const MetaOptions& options() const { return options_; }
  ClientId client() const { return client_.load(std::memory_order_acquire); }
  /// Objects of the current session have ids from here on.
  ObjectId first_object() const { return first_object_.load(std::memory_order_acquire); }
  /// A number of the calling thread, for what is spread over several records lest commits wait for
  /// each other: those of one thread come one after another.
  uint64_t lane();
  /// Whose usage record a commit adds to; asked once a commit.
  ClientId usage_client() {
    return usage_parts_ == 1 ? client() : usage_part(client(), lane() % usage_parts_);
  }
  TimeNs now_ns() { return clock_.now_ns(); }

  // ---- how current what is cached must be (freshness.h)
  /// The store proves what is current: nothing cached is ever old.
  bool exact() const { return exact_; }
  /// What is read from now on carries at least this mark.
  uint64_t mark() {
    return exact_ ? store_->generation() : static_cast<uint64_t>(clock_.monotonic_ns());
  }
  MetadataCache::Ticket ticket() { return cache_->ticket(mark()); }
  /// The marks that count for a call. A lease counts back from when the call began, so an answer
  /// is never older than the lease was then, however long the call lasts.
  Freshness freshness(const OpContext& ctx) {
    if (exact_) [[likely]]
      return {store_->generation(), 0};
    return leased(ctx);
  }
  /// What the context of an open asks for as OpContext::not_before_ns; 0: nothing of its own.
  TimeNs open_not_before(const OpContext& ctx) {
    return exact_ || options_.consistency != Consistency::kCloseToOpen ? 0 : began(ctx);
  }
  /// The same for what must be as of the call in every mode.
  TimeNs current_not_before(const OpContext& ctx) { return exact_ ? 0 : began(ctx); }
  /// The same for another attempt at a call.
  TimeNs now_not_before() { return exact_ ? 0 : clock_.monotonic_ns(); }
  /// Nothing counts any more that was read before now: a lock was taken, or what was to be told is
  /// lost. Nothing where the store is exact.
  void forget_others();
  /// Where told of changes of inodes, beside the cache; empty: not. No call is in progress when it
  /// returns.
  void on_inode_changed(std::function<void(Ino)> told);

  /// The volume has kFeatureFileFlags.
  bool keeps_file_flags() const { return keeps_file_flags_; }

  /// Fresh ids from this client's batch; a new batch costs one commit.
  Result<Ino> next_ino(const OpContext& ctx);
  Result<ObjectId> next_object(const OpContext& ctx);

  /// Fills session, request id and durability in and commits; retries lost answers with the same
  /// request id until the deadline. Every mutation of an opened volume goes through here.
  /// `session`: the one that what is committed belongs to (the ids of stored objects do); ESTALE if
  /// it is gone, also when this client has a new one by then. 0: the context's, else the current.
  /// `lost`: where an error says maybe_applied(), gets what settle() takes.
  Result<CommitResult> commit(const OpContext& ctx, std::vector<Expectation> expectations,
                              std::vector<Mutation> mutations,
                              Durability durability = Durability::kVisible, ClientId session = 0,
                              std::optional<CommitRequest>* lost = nullptr);

  /// Finds out what became of a commit whose answer was lost, by sending it once more as it was:
  /// it is applied (then or now), or it is not and never will be, which ESTALE says too. After any
  /// other error it is open still.
  Result<CommitResult> settle(const OpContext& ctx, const CommitRequest& lost);

  /// One listener, or null; while no other thread uses this object.
  void set_own_changes(OwnChanges* listener) { own_changes_ = listener; }

  // ---- open files (what this client must keep from being reclaimed)
  void note_open(Ino ino);
  void note_closed(Ino ino);
  std::vector<Ino> open_inodes();
  bool is_open(Ino ino);

  // ---- users of lists of extents that go to the object store (cold reads only): the epoch such a
  // user entered under bounds what this client may publish. See session.h.
  class EpochGuard;
  EpochGuard enter_epoch();
  uint64_t oldest_epoch_in_use();
  uint64_t current_epoch() const { return epoch_.load(std::memory_order_acquire); }
  /// Only ever raises it: lists that were checked under a later epoch stay checked.
  void set_current_epoch(uint64_t e) {
    // What was cached under an earlier epoch is not checked: see session.cc.
    if (e > current_epoch()) forget_others();
    uint64_t seen = epoch_.load(std::memory_order_acquire);
    while (seen < e && !epoch_.compare_exchange_weak(seen, e, std::memory_order_acq_rel)) {
    }
  }

 private:
  friend class EpochGuard;
  friend Status reopen_session(const OpContext& ctx, Meta& meta);
  Meta(std::shared_ptr<Store> store, VolumeFormat format, MetaOptions options, Clock& clock,
       Random& random);

  struct IdBatch {
    std::mutex mutex;
    uint64_t next = 0, end = 0;
  };
  /// Puts a client record under a new id, makes it this client's and drops the id batches (objects
  /// of an earlier session's batch would lie below the new record's first_object).
  Status register_session(const OpContext& ctx);
  /// The version of the format record. ESTALE where objects are stored in another way than when
  /// this client opened the volume.
  Result<uint64_t> check_format(const std::optional<Record>& record) const;
  Result<uint64_t> next_id(const OpContext& ctx, IdBatch& batch, const char* counter);
  Freshness leased(const OpContext& ctx);
  TimeNs began(const OpContext& ctx) {
    return ctx.began_ns != 0 ? ctx.began_ns : clock_.monotonic_ns();
  }
  void forget_conflict(const CommitRequest& request, const CommitResult& result);

  void entry_changed(Ino parent, std::string_view name) override;
  void inode_changed(Ino ino) override;
  void children_changed(Ino directory) override;
  void all_changed() override;

  std::shared_ptr<Store> store_;
  VolumeFormat format_;
  MetaOptions options_;
  const uint32_t usage_parts_;
  const bool keeps_file_flags_;
  const bool exact_;
  const uint64_t number_;  // of this object, in the process
  std::atomic<uint64_t> next_lane_{0};
  OwnChanges* own_changes_ = nullptr;
  Clock& clock_;
  Random& random_;
  std::unique_ptr<MetadataCache> cache_;
  std::unique_ptr<AclCache> acls_;
  std::unique_ptr<SessionWatch> session_watch_;
  std::atomic<ClientId> client_{0};
  std::atomic<ObjectId> first_object_{0};
  std::atomic<uint64_t> epoch_{0};
  std::atomic<TimeNs> forgotten_before_{0};
  std::mutex told_mutex_;
  std::function<void(Ino)> told_;  // guarded by told_mutex_
  IdBatch inos_, objects_;
  std::mutex open_mutex_;
  std::map<Ino, uint32_t> open_;  // guarded by open_mutex_
  std::mutex epoch_mutex_;
  std::map<uint64_t, uint32_t> epochs_in_use_;  // guarded by epoch_mutex_
};

/// RAII: while alive, objects that were live when it was made are not deleted.
class Meta::EpochGuard {
 public:
  explicit EpochGuard(Meta& meta);
  EpochGuard(EpochGuard&& other) noexcept;
  EpochGuard& operator=(EpochGuard&&) = delete;
  ~EpochGuard();

 private:
  Meta* meta_;
  uint64_t epoch_;
};

}  // namespace skerry::meta
