// What file_store.h keeps to itself: the state of an open inode and of the file store.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "data/dirty_data.h"
#include "data/file_snapshot.h"
#include "data/file_store.h"

namespace skerry::data {

using SnapshotPtr = std::shared_ptr<const FileSnapshot>;

inline constexpr uint64_t kLoadChunks = 4;        // extents are loaded for so many chunks at once
inline constexpr size_t kMaxLoadedChunks = 1024;  // of one file
inline constexpr uint64_t kMaxSnapshotBytes = 16u << 20;
inline constexpr TimeNs kBackgroundLimitNs = 120'000'000'000;
inline constexpr unsigned kReadRetries = 4;              // after a block was found missing
inline constexpr unsigned kCommitRetries = 64;           // after a conflict
inline constexpr unsigned kInlineRetries = 4;            // then the file gets extents
inline constexpr size_t kMaxUncommittedSegments = 4096;  // of one inode

/// Where a flush keeps what it has done so far, in case it is tried again.
struct FlushProgress {
  std::shared_ptr<Slice> base;  // the inline bytes the file had, stored as a slice
  uint64_t base_version = 0;    // of the file those bytes belong to
  /// The batch's commit, where its answer was lost: nothing else is sent before it is settled.
  std::optional<meta::CommitRequest> lost;
  bool lost_inline = false;  // it was commit_inline()'s
};

struct OpenInode::State {
  explicit State(FileStoreImpl& impl) : impl(impl) {}

  FileStoreImpl& impl;
  /// Guards all below that is not atomic. Never held across I/O. Taken after no other.
  std::mutex mutex;
  std::condition_variable changed;  // a slice was stored, a flush or an append ended

  DirtyData pending;       // being written
  DirtyData batch;         // being flushed, or left by a flush that failed
  FlushProgress progress;  // of the batch; only its flusher touches it
  bool flushing = false;
  bool appending = false;         // one large append is being taken: no flush may cut it
  uint64_t write_serial = 0;      // counts writes
  uint64_t committed_serial = 0;  // all writes up to it are committed or dropped
  uint64_t batch_serial = 0;
  uint64_t told_serial = 0;          // of writes up to it somebody was told that they may be lost
  meta::ClientId batch_session = 0;  // what it was bound to when its flush began; of the flusher
  uint64_t doomed_serial = 0;        // writes up to it must not be committed any more
  std::optional<Error> doom_error;   // why
  TimeNs dirty_since_ns = 0;         // monotonic
  bool unsynced = false;             // commits were made that may not survive power loss
  std::optional<Error> store_error;  // of the last upload in the background
  std::vector<meta::ObjectId> surplus;  // stored, but nothing will refer to them

  std::atomic<uint64_t> drops{0};  // data dropped so many times
  std::optional<Error> drop_error;

  uint64_t own_version = 0;       // of the file, made by this client's last commit: older
                                  // snapshots lack what this client wrote
  uint64_t unseen_extents = 0;    // committed while no snapshot was known
  uint64_t token = 0;             // as data_token() gave it out last
  uint64_t followed_version = 0;  // every change up to it, since `token` was new, was an own one
  SnapshotPtr current;
  std::atomic<const FileSnapshot*> published{nullptr};  // current.get(), for readers without lock
  std::atomic<uint64_t> heard{0};  // mark of when another client's change was last heard of

  // ---- committed state (open_inode.cc)
  /// Replaces what is known (null: nothing). `lock` shows that the mutex is held.
  void publish(const std::unique_lock<std::mutex>& lock, SnapshotPtr snapshot);
  void invalidate();
  /// This client made `version` of the version before it. Mutex held.
  void follow(uint64_t version);
  /// After an own commit that is not followed here: what was known is forgotten.
  void invalidate_at(uint64_t version);
  /// What the file is, current as of this call or later, with the chunks [first, last].
  Result<SnapshotPtr> validated(const OpContext& ctx, meta::Ino ino, uint64_t first_chunk,
                                uint64_t last_chunk);
  SnapshotPtr known_empty(const OpContext& ctx, meta::Ino ino);
  bool is_current(const FileSnapshot& snapshot, const meta::Freshness& fresh) const {
    const uint64_t mark = snapshot.mark.load(std::memory_order_acquire);
    return mark >= heard.load(std::memory_order_acquire) && fresh.covers(mark);
  }
  Result<SnapshotPtr> load(const OpContext& ctx, meta::Ino ino, uint64_t first_chunk,
                           uint64_t last_chunk);
  SnapshotPtr adopt(std::shared_ptr<FileSnapshot> loaded);
  /// An own commit made `version` of the version before it by laying `extents` over the file.
  void extend(const std::unique_lock<std::mutex>& lock, uint64_t version, uint64_t length,
              TimeNs mtime_ns, const std::vector<meta::ExtentRecord>& extents);

  /// Waits on `changed` until `ready` (called with the mutex held), the deadline or cancellation.
  template <typename Ready>
  Status wait(const OpContext& ctx, std::unique_lock<std::mutex>& lock, Ready ready);

  // ---- writing, mutex held (writer.cc)
  /// Positions of appends are not known before their commit, so both kinds never wait together.
  bool holds_other_kind(bool append) const;
  /// `in_doubt`: a commit that refers to them may have been applied, so that gc must look.
  void drop_slices(const std::vector<std::shared_ptr<Slice>>& slices, bool in_doubt = false);
  /// Nothing will refer to the slices of `data`, each dropped once however many segments show it.
  void abandon(const DirtyData& data, bool in_doubt = false);
  void end_batch(OpenInode& inode);
  void drop_batch(OpenInode& inode, const Error& error);
  bool batch_is_doomed() const { return !batch.empty() && batch_serial <= doomed_serial; }
  void note_if_clean(OpenInode& inode);
};

struct FileStoreImpl final : meta::OwnChanges {
  FileStoreImpl(meta::Meta& meta, BlockStore& blocks, Executor& executor, FileStoreOptions options)
      : meta(meta), blocks(blocks), executor(executor), options(options) {
    meta.set_own_changes(this);
  }
  ~FileStoreImpl() { meta.set_own_changes(nullptr); }
  FileStoreImpl(const FileStoreImpl&) = delete;
  FileStoreImpl& operator=(const FileStoreImpl&) = delete;

  void own_change(meta::Ino ino, uint64_t version) override {
    if (auto inode = find_known(ino)) inode->note_own_change(version);
  }

  meta::Meta& meta;
  BlockStore& blocks;
  Executor& executor;
  const FileStoreOptions options;
  BufferPool pool;
  SnapshotReclaimer reclaimer;
  CancelToken closing;

  uint64_t block_bytes() const { return blocks.options().block_bytes; }
  /// For work that no call waits for.
  OpContext background() const {
    OpContext ctx;
    ctx.clock = &meta.clock();
    ctx.cancel = &closing;
    ctx.began_ns = meta.clock().monotonic_ns();
    ctx.deadline_ns = ctx.began_ns + kBackgroundLimitNs;
    return ctx;
  }

  // ---- the table of inodes: those that a handle holds, and some that were used lately
  static constexpr size_t kShards = 64;
  static constexpr size_t kKeptPerShard = 256;
  static constexpr uint64_t kKeptSnapshotBytes = 32u << 20;
  struct Known {
    std::shared_ptr<OpenInode> inode;
    bool used = false;  // since the hand passed
  };
  struct alignas(64) Shard {
    std::mutex mutex;  // guards what follows; no other is taken while it is held
    std::unordered_map<meta::Ino, Known> known;
    std::vector<meta::Ino> ring;  // the keys of `known`
    size_t hand = 0;
  };
  std::atomic<uint64_t> snapshot_bytes{0};
  Shard shards[kShards];
  Shard& shard_of(meta::Ino ino) { return shards[(ino * 0x9e3779b97f4a7c15u) >> 58]; }
  void evict_some(Shard& shard, std::vector<std::shared_ptr<OpenInode>>* evicted);
  /// Null if it is not known.
  std::shared_ptr<OpenInode> find_known(meta::Ino ino);
  std::shared_ptr<OpenInode> find(meta::Ino ino);

  // ---- dirty inodes and uploads
  struct Upload {
    std::shared_ptr<OpenInode> inode;
    std::shared_ptr<Slice> slice;
  };
  static constexpr unsigned kMaxUploads = 8;  // in the background at once
  std::mutex mutex;                           // guards what follows; may be taken under an inode's
  std::condition_variable changed;            // memory was given back, an upload ended
  std::unordered_map<meta::Ino, std::shared_ptr<OpenInode>> dirty;
  std::deque<Upload> waiting;
  unsigned uploads = 0;                                 // tasks
  std::set<std::pair<meta::Ino, uint64_t>> fragmented;  // chunks worth compacting
  std::map<meta::Ino, Error> untold;  // data was dropped that no handle has been told of

  void note_dirty(const std::shared_ptr<OpenInode>& inode);
  void note_clean(meta::Ino ino);
  void note_dropped(meta::Ino ino, const Error& error);
  void note_told(meta::Ino ino);
  Status take_untold(const OpContext& ctx);
  void note_fragmented(meta::Ino ino, uint64_t chunk);
  void read_group(const OpContext& ctx, std::vector<FileStore::ReadItem*>& group);
  void load_group(const OpContext& ctx, const std::vector<FileStore::ReadItem*>& group);
  std::vector<std::shared_ptr<OpenInode>> dirty_inodes();
  bool is_forgotten(const OpContext& ctx, meta::Ino ino);

  // ---- uploads and room for writes (writer.cc)
  void store_early(std::shared_ptr<OpenInode> inode, std::shared_ptr<Slice> slice);
  void pump();
  bool upload_one();
  /// Makes a slice's object. Does nothing unless it is frozen.
  void upload(const OpContext& ctx, OpenInode& inode, const std::shared_ptr<Slice>& slice,
              bool packed);
  /// Waits until so many bytes may be buffered.
  Status admit(const OpContext& ctx, uint64_t bytes, BufferCredit& credit);
  /// Stores some of what is buffered; *did is false if there is nothing that others do not store.
  Status relieve(const OpContext& ctx, bool* did);
  void stored(OpenInode& inode, const std::shared_ptr<Slice>& slice, meta::ClientId client,
              Result<meta::Extent> extent);

  // ---- reading (reader.cc)
  void plan_reads(const FileSnapshot& snapshot, uint64_t offset, MutableBytes out,
                  std::vector<SliceRead>& reads);
  void read_ahead(const OpContext& reader, OpenInode& inode, uint64_t offset, uint64_t length,
                  ReadaheadState& state);

  /// The first chunk from `chunk` on that has extent records.
  Result<std::optional<uint64_t>> next_chunk(const OpContext& ctx, meta::Ino ino, uint64_t chunk);
};

template <typename Ready>
Status OpenInode::State::wait(const OpContext& ctx, std::unique_lock<std::mutex>& lock,
                              Ready ready) {
  // The deadline is on an injected clock, so the wait is cut into short pieces.
  while (!ready()) {
    SKERRY_TRY(ctx.check());
    changed.wait_for(lock, std::chrono::milliseconds(10));
  }
  return {};
}

}  // namespace skerry::data
