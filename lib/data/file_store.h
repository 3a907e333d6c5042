// FileStore and OpenInode: the bytes of files, for one client.
//
// OpenInode is the one shared state of an inode in a client, however many handles are open on it:
// the extents it knows, resolved for reading, and what was written and is not committed yet.
//
// Reading sees, in this order: what this client has written and not flushed, then the committed
// state. The committed state is as current as the call asks for (Meta::freshness()): where what is
// known is too old, the inode's version is asked for again before use (and the extents reloaded if
// it changed).
//
// Writing copies into slices in memory. A full block is stored in the background as soon as it is
// full; the rest at flush. Metadata follows data: extents are committed, in the order in which the
// slices were begun, only when their objects are stored. Memory is bounded for the whole client
// (FileStoreOptions::write_buffer_bytes): writers wait for uploads above it.
//
// Errors: a store that fails makes the flush that waits for it fail, and the data stays in memory,
// to be tried again by the next flush, so a store that recovers loses nothing (LESSONS 16). Only
// data that can not be kept (session lost, file gone) is dropped, and then every handle that wrote
// it is told once, at its next fsync, flush or close; flush_all() tells what no handle was told.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/result.h"
#include "data/block_store.h"
#include "io/executor.h"
#include "io/op_context.h"
#include "meta/meta.h"
#include "meta/ops.h"

namespace skerry::data {

struct FileStoreOptions {
  uint64_t write_buffer_bytes = 64u << 20;
  uint64_t readahead_bytes = 16u << 20;  // largest window; 0: none
  uint32_t compact_extents = 64;         // chunks with more pieces than this are worth compacting
};

/// Per handle: where sequential reading got to. Cheap, owned by the handle, any thread may race on
/// it (a wrong guess costs a prefetch).
struct ReadaheadState {
  std::atomic<uint64_t> next_offset{0};
  std::atomic<uint64_t> window{0};
  std::atomic<uint64_t> prefetched_to{0};
};

class FileStore;
struct FileStoreImpl;
struct FileSnapshot;
struct Slice;

class OpenInode : public std::enable_shared_from_this<OpenInode> {
 public:
  meta::Ino ino() const { return ino_; }

  /// Bytes copied; short only at the end of the file (as this client sees it).
  Result<size_t> read(const OpContext& ctx, uint64_t offset, MutableBytes out,
                      ReadaheadState* readahead);
  /// As read, without a copy where one contiguous piece of the cache (or inline data) holds it;
  /// never longer than `length`, at least one byte unless at the end.
  Result<CacheView> view(const OpContext& ctx, uint64_t offset, uint64_t length);

  /// Takes all of `bytes` or fails. EFBIG past kMaxFileSize. `append`: the position is decided at
  /// commit; such bytes are one record: whole and contiguous in the file, or, on an error, not
  /// there at all. Of a write that is larger than a block or a quarter of the write buffer, and is
  /// no append, an error may leave the first part taken.
  /// `clear_mode`: see meta::clear_mode_of().
  /// `losses`: as losses() was when the writer opened the file. EIO once it has changed.
  Status write(const OpContext& ctx, uint64_t offset, ByteView bytes, bool append,
               uint32_t clear_mode, std::optional<uint64_t> losses = std::nullopt);

  // ---- locks: what is changed while this client holds locks of the file belongs to the session
  // that holds them, and to no later one.
  /// From now on everything that is committed here is committed under `session`; 0: under the
  /// current one. Who binds it has flushed what was written before.
  void bind(meta::ClientId session) noexcept { bound_.store(session, std::memory_order_release); }
  meta::ClientId bound() const noexcept { return bound_.load(std::memory_order_acquire); }
  /// The session that the file was bound to is gone: what was written and is not committed is
  /// dropped with `error`, and who has the file open can not use it any more (losses()).
  void lose(const Error& error);
  /// How often lose() was called.
  uint64_t losses() const noexcept { return losses_.load(std::memory_order_acquire); }

  /// Stores and commits everything written before this call.
  Status flush(const OpContext& ctx, meta::Durability durability);
  /// True if something is written and not committed. A few nanoseconds.
  bool dirty() const noexcept { return dirty_.load(std::memory_order_acquire); }

  /// Attributes with this client's unflushed length and times folded in.
  Result<meta::Attributes> attributes(const OpContext& ctx);

  /// A number that stays while all changes of the file are this client's own. For whoever caches
  /// the bytes outside: it may change without need, but never stays when another client's commit
  /// came in between.
  Result<uint64_t> data_token(const OpContext& ctx);

  // Each flushes first.
  /// `only_grow`: never makes the file shorter, whoever else writes to it.
  Result<meta::Attributes> truncate(const OpContext& ctx, uint64_t length, uint32_t clear_mode,
                                    bool only_grow = false);
  /// Zeroes a range; `extend` moves the end of the file (ZERO_RANGE without KEEP_SIZE).
  Status zero_range(const OpContext& ctx, uint64_t offset, uint64_t length, bool extend,
                    uint32_t clear_mode = 0);
  /// SEEK_DATA / SEEK_HOLE. ENXIO at or past the end.
  Result<uint64_t> seek(const OpContext& ctx, uint64_t offset, bool data);
  /// Rewrites chunks with many pieces. Number of chunks rewritten.
  Result<uint64_t> compact(const OpContext& ctx, bool only_if_fragmented);

  /// The error of data that had to be dropped since `seen` (a counter a handle keeps, which begins
  /// as drop_count() at open); success if none. Advances `seen`, so each handle is told once. A
  /// flush that drops data returns the error too: its handle then calls this and reports one of
  /// both.
  Status take_error(uint64_t* seen);
  uint64_t drop_count() const noexcept;
  /// A call on a handle failed in a way that says that what was written so far may be lost:
  /// flush_all() need not say so when it is.
  void note_told();

  ~OpenInode();

  struct State;

 private:
  friend class FileStore;
  friend struct FileStoreImpl;
  void note_own_change(uint64_t version);
  OpenInode(FileStoreImpl& store, meta::Ino ino);
  static std::shared_ptr<OpenInode> make(FileStoreImpl& store, meta::Ino ino);
  struct Found;
  CacheView view_quickly(const OpContext& ctx, uint64_t offset, uint64_t length) const;
  Found locate(const OpContext& ctx, uint64_t offset, MutableBytes out) const;
  Result<size_t> read_slowly(const OpContext& ctx, uint64_t offset, MutableBytes out);
  Result<size_t> read_part(const OpContext& ctx, uint64_t offset, MutableBytes out);
  Status take(const OpContext& ctx, uint64_t offset, ByteView bytes, bool append,
              uint32_t clear_mode, std::optional<uint64_t> losses);
  OpContext bound_context(const OpContext& ctx) const;
  Status flush_batch(const OpContext& ctx, meta::Durability durability);
  Status settle_lost_answer(const OpContext& ctx, bool* committed);
  Status commit_inline(const OpContext& ctx, const FileSnapshot& known,
                       meta::Durability durability);
  Status commit_extents(const OpContext& ctx, const FileSnapshot* known,
                        meta::Durability durability);
  Result<meta::ClientId> store_batch(const OpContext& ctx, const std::shared_ptr<Slice>& base);
  Status check_bound() const;
  void drop_uncommitted(const Error& error);
  Status store_pending(const OpContext& ctx);
  void release_surplus(const OpContext& ctx);
  Status write_zeros(const OpContext& ctx, uint64_t offset, uint64_t length, bool extend,
                     uint32_t clear_mode);
  Result<bool> compact_chunk(const OpContext& ctx, uint64_t chunk, bool only_if_fragmented);

  FileStoreImpl& store_;
  const meta::Ino ino_;
  std::atomic<bool> dirty_{false};
  std::atomic<meta::ClientId> bound_{0};
  std::atomic<uint64_t> losses_{0};  // changes under the state's mutex
  std::unique_ptr<State> state_;
};

class FileStore {
 public:
  /// References outlive the store.
  FileStore(meta::Meta& meta, BlockStore& blocks, Executor& executor, FileStoreOptions options);
  ~FileStore();

  /// The shared state of an inode; made at need, kept while any handle holds it (and a while after,
  /// bounded, so that reading small files again finds their extents). Notes the inode as open in
  /// meta until what it returned is released. All are released before the store. Thread-safe.
  ///
  /// Whatever changes a file's data or length goes through its OpenInode (or this class): changes
  /// that this client makes in meta directly are not noticed.
  std::shared_ptr<OpenInode> open(meta::Ino ino);
  /// The same without noting it as open: for reading a whole file by path.
  std::shared_ptr<OpenInode> peek(meta::Ino ino);

  /// Whole small and large files at once (write_batch): data of many files in shared objects, one
  /// metadata commit for each some hundred files. files[i] is empty or is replaced. As visible as a
  /// flush with kVisible makes it.
  std::vector<Status> write_files(const OpContext& ctx, const std::vector<meta::Ino>& files,
                                  const std::vector<ByteView>& contents);
  /// Many reads at once: loads what metadata is missing, then one BlockStore::read for all.
  struct ReadItem {
    std::shared_ptr<OpenInode> inode;
    uint64_t offset = 0;
    MutableBytes out;
    Result<size_t> result = size_t{0};
  };
  void read_many(const OpContext& ctx, std::vector<ReadItem>& items);

  /// copy_file_range by reference; flushes both. Bytes copied.
  Result<uint64_t> copy_range(const OpContext& ctx, OpenInode& from, uint64_t from_offset,
                              OpenInode& to, uint64_t to_offset, uint64_t length,
                              uint32_t clear_mode = 0);

  /// Flushes every dirty inode; the first error is returned, all are tried.
  Status flush_all(const OpContext& ctx, meta::Durability durability);
  /// Called now and then by the volume's background thread: flushes what is older than a few
  /// seconds, compacts a few chunks that reads found fragmented. Bounded work.
  void background_step(const OpContext& ctx);

  uint64_t buffered_bytes() const noexcept;

 private:
  std::unique_ptr<FileStoreImpl> impl_;
};

}  // namespace skerry::data
