// BlockStore: slices in, slices out. Sits on the object store, the caches in memory and on disk and
// the page checks; knows nothing of files.
//
// Reading never returns a byte that was not checked. A mismatch is read again once from the store
// (a bad transfer), then is EIO with a sentence naming the object, and counted. One request a slice
// goes out however many threads wait for it. Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/result.h"
#include "data/block_cache.h"
#include "data/block_format.h"
#include "data/disk_cache.h"
#include "data/scratch_buffers.h"
#include "io/executor.h"
#include "io/op_context.h"
#include "meta/meta.h"
#include "object/object_store.h"

namespace skerry::data {

struct BlockStoreOptions {
  uint64_t cache_bytes = 256u << 20;
  uint32_t block_bytes = 4u << 20;
  bool cache_writes = true;  // what was written is kept in the caches, as it is likely read soon
  std::optional<DiskCacheOptions> disk_cache;
};

/// Counters, monotonic: what they were at one moment. (Object requests are counted by the
/// CountingStore below it.)
struct BlockCounters {
  uint64_t cache_hits = 0, cache_misses = 0, cache_hit_bytes = 0;
  uint64_t bytes_wanted = 0, bytes_fetched = 0;  // wanted: of reads that the cache could not serve
  uint64_t checksum_errors = 0;                  // every mismatch or truncation seen
  uint64_t slices_stored = 0, packs_stored = 0, packed_slices = 0;
  DiskCacheCounters disk;
};

/// One piece of one stored slice to be read.
struct SliceRead {
  meta::Extent extent;        // names the slice (object, object_offset, slice_length, crc)
  uint64_t slice_offset = 0;  // from the slice's begin (slice_skip is the caller's to add)
  MutableBytes out;
};

class BlockStore {
 public:
  /// All references outlive the store.
  BlockStore(meta::Meta& meta, ObjectStore& objects, Executor& executor, BlockStoreOptions options);
  /// Waits for prefetches under way, and until the disk cache has what it was offered.
  ~BlockStore();
  BlockStore(const BlockStore&) = delete;
  BlockStore& operator=(const BlockStore&) = delete;

  // ---- reading
  /// Copies from the cache if every page wanted is there: the fast path, no lock, no allocation.
  bool read_cached(const meta::Extent& extent, uint64_t slice_offset, MutableBytes out) noexcept;
  /// Fetches what the cache lacks (the pages wanted; the whole slice where 3/4 of it is), from the
  /// disk cache or the object store, caches it, copies. Neighbouring ranges of one object are
  /// fetched in one request when the gap is at most 64 KiB; different ones all at once where the
  /// store can, else in parallel on the executor, the caller fetching too. Pages that another
  /// thread is fetching are waited for; if that fails the caller fetches them itself. ENOENT where
  /// an object is gone (the caller's extents may be old), EIO where it is damaged. The caller holds
  /// an EpochGuard.
  Status read(const OpContext& ctx, std::vector<SliceRead>& reads);
  /// Brings pages into the cache in the background (the whole slice where 3/4 of it is wanted);
  /// errors are dropped, and so is the call if too many are waiting. It goes on when the call's
  /// deadline has passed. Holds its own EpochGuard through `guard` until done.
  void prefetch(const OpContext& ctx, const meta::Extent& extent, uint64_t slice_offset,
                uint64_t length, std::shared_ptr<meta::Meta::EpochGuard> guard);
  /// Pins the cached bytes from slice_offset on (up to `length`, only what is contiguous and
  /// there); empty view if the first page is not cached.
  CacheView view_cached(const meta::Extent& extent, uint64_t slice_offset,
                        uint64_t length) noexcept;

  // ---- writing
  /// Stores one slice of at most block_bytes as an object of its own and returns its extent
  /// (chunk_offset 0, length = slice_length). Durable when it returns. EINVAL: empty or too large.
  Result<meta::Extent> store_block(const OpContext& ctx, const std::vector<ByteView>& bytes);
  /// Stores small slices of many callers together: callers that arrive while an upload runs share
  /// the next object (a leader uploads for all waiting), so one caller alone pays no delay. A slice
  /// larger than block_bytes / 2 goes alone. A pack of n > 1 slices needs a reference count of n:
  /// the leader commits AddObjectReferences{object, n - 1} after the upload and before it hands the
  /// extents out, so that the slices' own commits may come in any order. (If a caller then never
  /// commits its slice, the count stays too high: fsck tells, gc repairs it.)
  Result<meta::Extent> store_packed(const OpContext& ctx, ByteView bytes);
  /// Batch form: result[i] for slices[i]; fills packs up to block_bytes each, uploads in parallel,
  /// one commit for all references. All or an error.
  Result<std::vector<meta::Extent>> store_many(const OpContext& ctx,
                                               const std::vector<ByteView>& slices);

  // ---- deleting and checking
  /// All or an error; absent objects count as deleted. Drops them from the cache.
  Status remove_objects(const OpContext& ctx, const std::vector<meta::ObjectId>& ids);
  /// Reads the whole slice from the store, bypassing the cache, and checks it.
  Status verify(const OpContext& ctx, const meta::Extent& extent);

  BlockCache& cache() { return cache_; }
  BlockCounters counters() const;
  const BlockStoreOptions& options() const { return options_; }

 private:
  struct Flights;
  struct Packer;
  struct Prefetches;
  struct Reader;
  class Tally;

  /// One object with these slices one behind the other; its reference count is left at one.
  Result<std::vector<meta::Extent>> upload(const OpContext& ctx,
                                           const std::vector<std::vector<ByteView>>& slices);
  /// upload() and the commit of the references.
  Result<std::vector<meta::Extent>> store_pack(const OpContext& ctx,
                                               const std::vector<ByteView>& slices);
  Status add_references(const OpContext& ctx, const std::vector<std::vector<meta::Extent>>& packs);
  Status check_size(uint64_t slice_bytes) const;

  meta::Meta& meta_;
  ObjectStore& objects_;
  Executor& executor_;
  const BlockStoreOptions options_;
  BlockCache cache_;
  std::unique_ptr<DiskCache> disk_;  // null: there is none
  ScratchBuffers scratch_;
  std::unique_ptr<Tally> tally_;
  std::unique_ptr<Flights> flights_;
  std::unique_ptr<Packer> packer_;
  std::unique_ptr<Prefetches> prefetches_;
};

}  // namespace skerry::data
