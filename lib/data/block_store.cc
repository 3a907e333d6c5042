#include "data/block_store.h"

#include <algorithm>

#include "data/block_reader.h"
#include "data/flights.h"
#include "data/packer.h"
#include "data/parallel.h"
#include "data/prefetches.h"
#include "data/tally.h"

namespace skerry::data {
namespace {

/// Nobody waits for a prefetch, so nobody else would end one that hangs.
constexpr TimeNs kPrefetchTimeNs = 60'000'000'000;

SliceKey key_of(const meta::Extent& extent) { return {extent.object, extent.object_offset}; }

}  // namespace

BlockStore::BlockStore(meta::Meta& meta, ObjectStore& objects, Executor& executor,
                       BlockStoreOptions options)
    : meta_(meta),
      objects_(objects),
      executor_(executor),
      options_(options),
      cache_(options.cache_bytes),
      disk_(options.disk_cache ? std::make_unique<DiskCache>(*options.disk_cache) : nullptr),
      tally_(std::make_unique<Tally>()),
      flights_(std::make_unique<Flights>()),
      packer_(std::make_unique<Packer>(*this)),
      prefetches_(std::make_unique<Prefetches>()) {}

BlockStore::~BlockStore() { prefetches_->wait_until_idle(); }

BlockCounters BlockStore::counters() const {
  BlockCounters counters = tally_->sum();
  if (disk_ != nullptr) counters.disk = disk_->counters();
  return counters;
}

// ---- reading

bool BlockStore::read_cached(const meta::Extent& extent, uint64_t slice_offset,
                             MutableBytes out) noexcept {
  if (!cache_.read(key_of(extent), slice_offset, out)) return false;
  tally_->count_hit(out.size());
  return true;
}

CacheView BlockStore::view_cached(const meta::Extent& extent, uint64_t slice_offset,
                                  uint64_t length) noexcept {
  CacheView view = cache_.view(key_of(extent), slice_offset, length);
  if (!view.data().empty()) tally_->count_hit(view.data().size());
  return view;
}

Status BlockStore::read(const OpContext& ctx, std::vector<SliceRead>& reads) {
  Reader reader(*this, ctx);
  for (SliceRead& read : reads) {
    if (read_cached(read.extent, read.slice_offset, read.out)) continue;
    SKERRY_TRY(reader.want(read.extent, read.slice_offset, read.out.size(), read.out.data()));
    tally_->cache_misses++;
    tally_->bytes_wanted += read.out.size();
  }
  if (reader.empty()) return {};
  SKERRY_TRY(reader.fetch(Reader::Claiming::kClaim));
  return reader.finish();
}

void BlockStore::prefetch(const OpContext& ctx, const meta::Extent& extent, uint64_t slice_offset,
                          uint64_t length, std::shared_ptr<meta::Meta::EpochGuard> guard) {
  uint64_t miss_begin, miss_end;
  uint64_t first_page = slice_offset / kPageBytes;
  uint64_t end_page = (slice_offset + length + kPageBytes - 1) / kPageBytes;
  if (!cache_.missing(key_of(extent), first_page, end_page, &miss_begin, &miss_end)) return;
  if (!prefetches_->begin()) return;
  OpContext background = ctx;
  background.cancel = nullptr;
  background.deadline_ns = ctx.clock->monotonic_ns() + kPrefetchTimeNs;
  // Pages are claimed when the task runs, not before: a reader that comes first must not wait for a
  // task that may be queued behind it.
  executor_.submit(
      [this, background, extent, slice_offset, length, guard = std::move(guard)]() mutable {
        {
          Reader reader(*this, background);
          if (reader.want(extent, slice_offset, length, nullptr).ok() && !reader.empty())
            (void)reader.fetch(Reader::Claiming::kClaim).ok();
        }
        guard.reset();
        prefetches_->end();
      });
}

// ---- writing

Status BlockStore::check_size(uint64_t slice_bytes) const {
  if (slice_bytes != 0 && slice_bytes <= options_.block_bytes) return {};
  return Error(EINVAL, "a slice of " + std::to_string(slice_bytes) + " bytes cannot be stored");
}

Result<std::vector<meta::Extent>> BlockStore::upload(
    const OpContext& ctx, const std::vector<std::vector<ByteView>>& slices) {
  SKERRY_ASSIGN(meta::ObjectId object, meta_.next_object(ctx));
  std::vector<FramedSlice> framed;
  std::vector<meta::Extent> extents;
  std::vector<ByteView> pieces;
  uint64_t offset = 0;
  for (const auto& parts : slices) {
    const FramedSlice& slice = framed.emplace_back(frame_slice(parts));
    pieces.insert(pieces.end(), slice.pieces.begin(), slice.pieces.end());
    meta::Extent& extent = extents.emplace_back();
    extent.object = object;
    extent.object_offset = offset;
    extent.slice_length = slice.framed_bytes - slice.checks.size() * kPageCheckBytes;
    extent.length = extent.slice_length;
    extent.crc = slice.crc;
    offset += slice.framed_bytes;
  }
  Status put = objects_.put(ctx, object_key(object), pieces);
  if (!put.ok()) return std::move(put).error().with_context("storing object " + object_key(object));
  tally_->slices_stored += slices.size();
  if (options_.cache_writes) {
    for (size_t i = 0; i < slices.size(); i++) {
      uint64_t page = 0;
      for (ByteView part : slices[i]) {
        cache_.fill(key_of(extents[i]), extents[i].slice_length, page, part);
        page += part.size() / kPageBytes;
      }
      if (disk_ != nullptr) disk_->offer(extents[i], 0, framed[i].pieces);
    }
  }
  return extents;
}

Result<meta::Extent> BlockStore::store_block(const OpContext& ctx,
                                             const std::vector<ByteView>& bytes) {
  uint64_t length = 0;
  for (ByteView part : bytes) length += part.size();
  SKERRY_TRY(check_size(length));
  SKERRY_ASSIGN(std::vector<meta::Extent> extents, upload(ctx, {bytes}));
  return extents.front();
}

Result<meta::Extent> BlockStore::store_packed(const OpContext& ctx, ByteView bytes) {
  SKERRY_TRY(check_size(bytes.size()));
  if (bytes.size() > options_.block_bytes / 2) return store_block(ctx, {bytes});
  return packer_->store(ctx, bytes);
}

Result<std::vector<meta::Extent>> BlockStore::store_pack(const OpContext& ctx,
                                                         const std::vector<ByteView>& slices) {
  std::vector<std::vector<ByteView>> parts;
  for (ByteView slice : slices) parts.push_back({slice});
  std::vector<std::vector<meta::Extent>> packs(1);
  SKERRY_ASSIGN(packs[0], upload(ctx, parts));
  SKERRY_TRY(add_references(ctx, packs));
  return std::move(packs[0]);
}

Status BlockStore::add_references(const OpContext& ctx,
                                  const std::vector<std::vector<meta::Extent>>& packs) {
  std::vector<meta::Mutation> mutations;
  uint64_t slices = 0;
  for (const auto& pack : packs) {
    if (pack.size() < 2) continue;
    slices += pack.size();
    mutations.push_back(
        meta::AddObjectReferences{pack.front().object, static_cast<int64_t>(pack.size()) - 1});
  }
  if (mutations.empty()) return {};
  uint64_t count = mutations.size();
  SKERRY_ASSIGN(meta::CommitResult result, meta_.commit(ctx, {}, std::move(mutations)));
  if (!result.applied) return Error(EIO, "the references of packed objects were not taken");
  tally_->packs_stored += count;
  tally_->packed_slices += slices;
  return {};
}

Result<std::vector<meta::Extent>> BlockStore::store_many(const OpContext& ctx,
                                                         const std::vector<ByteView>& slices) {
  struct Pack {
    std::vector<size_t> members;
    std::vector<std::vector<ByteView>> parts;
    uint64_t bytes = 0;
  };
  std::vector<Pack> packs;
  Pack open;
  auto add = [](Pack& pack, size_t i, ByteView slice) {
    pack.members.push_back(i);
    pack.parts.push_back({slice});
    pack.bytes += slice.size();
  };
  for (size_t i = 0; i < slices.size(); i++) {
    SKERRY_TRY(check_size(slices[i].size()));
    if (slices[i].size() > options_.block_bytes / 2) {
      add(packs.emplace_back(), i, slices[i]);
      continue;
    }
    if (open.bytes + slices[i].size() > options_.block_bytes)
      packs.push_back(std::exchange(open, {}));
    add(open, i, slices[i]);
  }
  if (!open.members.empty()) packs.push_back(std::move(open));

  std::vector<Status> outcomes(packs.size());
  std::vector<std::vector<meta::Extent>> stored(packs.size());
  std::atomic<bool> failed{false};  // what is not begun yet would be garbage
  run_parallel(executor_, packs.size(), [&](size_t p) {
    if (failed) return;
    auto extents = upload(ctx, packs[p].parts);
    if (extents.ok()) {
      stored[p] = *std::move(extents);
    } else {
      failed = true;
      outcomes[p] = std::move(extents).error();
    }
  });
  for (Status& outcome : outcomes) SKERRY_TRY(std::move(outcome));
  SKERRY_TRY(add_references(ctx, stored));
  std::vector<meta::Extent> extents(slices.size());
  for (size_t p = 0; p < packs.size(); p++)
    for (size_t i = 0; i < stored[p].size(); i++) extents[packs[p].members[i]] = stored[p][i];
  return extents;
}

// ---- deleting and checking

Status BlockStore::remove_objects(const OpContext& ctx, const std::vector<meta::ObjectId>& ids) {
  const size_t batch = std::max<uint32_t>(objects_.capabilities().max_batch_delete, 1);
  for (size_t begin = 0; begin < ids.size(); begin += batch) {
    std::vector<std::string> keys;
    for (size_t i = begin; i < std::min(begin + batch, ids.size()); i++) {
      cache_.erase_object(ids[i]);
      keys.push_back(object_key(ids[i]));
    }
    SKERRY_ASSIGN(auto outcomes, objects_.remove_batch(ctx, keys));
    for (const DeleteOutcome& outcome : outcomes)
      if (outcome.error != 0 && outcome.error != ENOENT)
        return Error(outcome.error, "object " + outcome.key + " could not be deleted");
  }
  return {};
}

Status BlockStore::verify(const OpContext& ctx, const meta::Extent& extent) {
  return Reader(*this, ctx).verify(extent);
}

}  // namespace skerry::data
