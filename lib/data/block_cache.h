// BlockCache: slices in memory, page-aligned, bounded in bytes, read without locks.
//
// The unit is a slice (its identity: object and offset in it), held in one contiguous buffer whose
// 8 KiB pages may be filled one by one. Slices are immutable, so nothing is ever invalidated, only
// evicted: S3-FIFO (Yang et al., SOSP 2023) keeps one scan from flushing what is read again.
//
// A hit takes no lock and writes nothing that threads share (a page's first read and a slice's
// saturating reference counter are noted once): the table is read inside an epoch section
// (epoch.h), and evicted buffers are freed when every thread that might see them has left. Views
// pin a buffer by reference count; pinned bytes count as used until released.
//
// used_bytes() exceeds the capacity at most by what is being filled at that moment. What does not
// fit, because too much is pinned, is not cached: filling is an offer.
// In a forked child all that is cached can be read; a shard that the parent was changing at the
// moment of the fork is never changed again.
#pragma once

#include <cstdint>
#include <memory>

#include "base/bytes.h"
#include "data/block_format.h"
#include "meta/records.h"

namespace skerry::data {

struct SliceKey {
  meta::ObjectId object = 0;
  uint64_t offset = 0;  // in the object
  friend bool operator==(const SliceKey&, const SliceKey&) = default;
};

/// Bytes pinned in the cache. Movable; the destructor unpins. `data` is valid until then, also
/// after the cache evicted the slice or was destroyed.
class CacheView {
 public:
  CacheView() = default;
  CacheView(CacheView&& other) noexcept;
  CacheView& operator=(CacheView&& other) noexcept;
  ~CacheView();
  ByteView data() const { return data_; }
  /// Gives the pin away as a pointer for the C ABI; unpin(pointer) ends it.
  void* release() noexcept;
  static void unpin(void* owner) noexcept;

 private:
  friend class BlockCache;
  void* owner_ = nullptr;
  ByteView data_;
};

/// Thread-safe. Nobody may be inside a call when it is destroyed.
class BlockCache {
 public:
  explicit BlockCache(uint64_t capacity_bytes);
  ~BlockCache();
  BlockCache(const BlockCache&) = delete;
  BlockCache& operator=(const BlockCache&) = delete;

  /// Copies [offset, offset + out.size()) of the slice if all its pages are there; otherwise `out`
  /// is untouched. Wait-free.
  bool read(const SliceKey& key, uint64_t offset, MutableBytes out) noexcept;
  /// Bytes present contiguously from `offset` on, at most `length`, pinned.
  CacheView view(const SliceKey& key, uint64_t offset, uint64_t length) noexcept;
  /// The first missing page range within [first_page, end_page); false if none is missing. A page
  /// past the slice's end is missing.
  bool missing(const SliceKey& key, uint64_t first_page, uint64_t end_page, uint64_t* miss_begin,
               uint64_t* miss_end) noexcept;
  /// Adds checked pages: `bytes` are the payload from first_page on, whole pages but for the
  /// slice's last. Copies. May evict. Ignores what is already there.
  void fill(const SliceKey& key, uint64_t slice_length, uint64_t first_page,
            const PageBytes& bytes) noexcept;
  void fill(const SliceKey& key, uint64_t slice_length, uint64_t first_page,
            ByteView bytes) noexcept {
    fill(key, slice_length, first_page, plain_pages(bytes));
  }
  /// Forgets a slice (its object was deleted).
  void erase(const SliceKey& key) noexcept;
  void erase_object(meta::ObjectId object) noexcept;

  uint64_t used_bytes() const noexcept;
  uint64_t capacity_bytes() const noexcept;
  uint64_t evictions() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace skerry::data
