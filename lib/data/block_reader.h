// Reader: one call that needs pages from the object store. Internal to the block store.
#pragma once

#include <atomic>
#include <deque>
#include <vector>

#include "base/result.h"
#include "data/block_store.h"
#include "data/disk_cache.h"
#include "data/flights.h"
#include "io/op_context.h"

namespace skerry::data {

/// Used by one thread; lives as long as the call.
struct BlockStore::Reader {
 public:
  enum class Claiming {
    kClaim,  // what is cached or under way is left to the cache and to who fetches it
    kAll,    // every page wanted is fetched by this call
  };

  Reader(BlockStore& store, const OpContext& ctx) : store_(store), ctx_(ctx) {}

  /// `out` may be null: then the pages are brought into the cache only.
  Status want(const meta::Extent& extent, uint64_t slice_offset, uint64_t length, std::byte* out);
  bool empty() const { return wanted_.empty(); }

  /// Fetches, checks, caches and delivers; all pages this call claimed. The first error, after
  /// every request has ended.
  Status fetch(Claiming claiming);
  /// After fetch(kClaim): waits for the pages that others are fetching and copies them from the
  /// cache; what is not there after all is fetched, too.
  Status finish();
  /// The whole slice from the store, past the cache.
  Status verify(const meta::Extent& extent);

 private:
  struct Wanted {
    const meta::Extent* extent = nullptr;
    uint64_t offset = 0;
    uint64_t length = 0;
    std::byte* out = nullptr;
    std::atomic<uint64_t> delivered{0};  // bytes; pieces of one come from several threads
    bool done() const { return delivered.load(std::memory_order_relaxed) == length; }
  };
  /// Pages of one slice that are fetched together.
  struct Piece {
    const meta::Extent* extent = nullptr;
    PageRange pages;
    size_t first_wanted = 0;  // of sorted_
    size_t end_wanted = 0;
    Flights::FlightPtr flight;  // null with Claiming::kAll

    SliceKey key() const { return {extent->object, extent->object_offset}; }
    uint64_t payload_begin() const { return pages.begin * kPageBytes; }
    uint64_t payload_bytes() const;
    uint64_t object_begin() const { return extent->object_offset + pages.begin * kFramedPageBytes; }
    uint64_t object_end() const { return object_begin() + framed_size(payload_bytes()); }
  };
  struct Request {
    uint64_t begin = 0;  // in the object
    uint64_t end = 0;
    std::vector<Piece> pieces;
  };

  std::vector<Piece> plan(Claiming claiming);
  static std::vector<PageRange> pages_wanted(const std::vector<Wanted*>& sorted, size_t first,
                                             size_t end);
  /// Delivers what the disk cache has of the pieces; what it lacks is left.
  std::vector<Piece> take_from_disk(std::vector<Piece> pieces);
  /// The ranges of pages that passed their checks.
  std::vector<PageRange> accept_from_disk(const Piece& piece, const DiskCache::Part& part);
  /// Adds to `*left` what is missing of the piece beside `had`.
  void leave(const Piece& piece, std::vector<PageRange> had, std::vector<Piece>* left);
  static std::vector<Request> merge(std::vector<Piece> pieces);
  Status fetch_request(const Request& request);
  /// All requests under way at once, where the store can; each is checked while others arrive.
  void fetch_together(const std::vector<Request>& requests, std::vector<Status>& outcomes);
  Status fetch_pieces(const Request& request);
  Status accept_pieces(const Request& request, std::byte* bytes, const Status& got);
  void land(const Request& request);
  Status fetch_in_steps(const Piece& piece);
  Status accept(const Piece& piece, MutableBytes framed, const Status& got);
  Status get(const Piece& piece, uint64_t begin, MutableBytes out);
  Status note_got(ObjectRange range);
  static Result<PageBytes> check(const Piece& piece, MutableBytes framed);
  Result<PageBytes> fetch_again(const Piece& piece, MutableBytes framed);
  void deliver(const Piece& piece, const PageBytes& payload);

  BlockStore& store_;
  const OpContext& ctx_;
  std::deque<Wanted> wanted_;
  std::vector<Wanted*> sorted_;  // those not done, by object, slice and offset
  std::vector<Flights::FlightPtr> awaited_;
  bool fill_cache_ = true;
};

}  // namespace skerry::data
