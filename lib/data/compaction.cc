// Compaction: chunks that many small writes left in many pieces are rewritten in few.
#include <algorithm>

#include "data/file_state.h"
#include "meta/ops/overlay.h"

namespace skerry::data {

using meta::Durability;
using meta::Extent;

namespace {

constexpr uint64_t kMergedGapBytes = 16 << 10;  // holes up to this size are stored as zeros
constexpr unsigned kConflicts = 3;

/// Visible pieces that stay next to each other in the result: one kept as it is, or several that
/// become one block.
struct Run {
  size_t first = 0;
  size_t count = 0;
};

/// Pieces of half a block and more stay as they are, so that a large file written at once, or its
/// head, is never rewritten for what was appended or changed beside it.
std::vector<Run> plan_runs(const std::vector<Extent>& pieces, uint64_t block_bytes) {
  std::vector<Run> runs;
  auto large = [&](const Extent& e) { return e.length >= block_bytes / 2; };
  for (size_t i = 0; i < pieces.size(); ++i) {
    const Extent& piece = pieces[i];
    if (!runs.empty() && !large(piece)) {
      const Run& run = runs.back();
      const Extent& first = pieces[run.first];
      const Extent& last = pieces[i - 1];
      if (!large(first) &&
          piece.chunk_offset - (last.chunk_offset + last.length) <= kMergedGapBytes &&
          piece.chunk_offset + piece.length <=
              DirtyData::window_end(first.chunk_offset, block_bytes)) {
        ++runs.back().count;
        continue;
      }
    }
    runs.push_back({i, 1});
  }
  return runs;
}

/// Pieces of one slice that lie side by side in both become one again.
void join_split_slices(std::vector<Extent>& pieces) {
  size_t kept = 0;
  for (size_t i = 1; i < pieces.size(); ++i) {
    Extent& last = pieces[kept];
    const Extent& next = pieces[i];
    if (last.object == next.object && last.object_offset == next.object_offset &&
        last.chunk_offset + last.length == next.chunk_offset &&
        last.slice_skip + last.length == next.slice_skip) {
      last.length += next.length;
    } else {
      pieces[++kept] = next;
    }
  }
  if (!pieces.empty()) pieces.resize(kept + 1);
}

/// Reads a run and stores it as one block.
Result<Extent> rewrite(const OpContext& ctx, BlockStore& blocks, const Extent* pieces,
                       size_t count) {
  const uint64_t begin = pieces[0].chunk_offset;
  const Extent& last = pieces[count - 1];
  std::vector<std::byte> bytes(last.chunk_offset + last.length - begin);
  std::vector<SliceRead> reads;
  for (size_t i = 0; i < count; ++i) {
    reads.push_back(
        {pieces[i], pieces[i].slice_skip,
         MutableBytes(bytes).subspan(pieces[i].chunk_offset - begin, pieces[i].length)});
  }
  SKERRY_TRY(blocks.read(ctx, reads));
  SKERRY_ASSIGN(Extent extent, blocks.store_block(ctx, {ByteView(bytes)}));
  extent.chunk_offset = begin;
  return extent;
}

}  // namespace

Result<uint64_t> OpenInode::compact(const OpContext& ctx, bool only_if_fragmented) {
  if (dirty()) SKERRY_TRY(flush(ctx, Durability::kVisible));
  uint64_t rewritten = 0;
  for (uint64_t from = 0;; ++from) {
    SKERRY_TRY(ctx.check());
    SKERRY_ASSIGN(std::optional<uint64_t> chunk, store_.next_chunk(ctx, ino_, from));
    if (!chunk) return rewritten;
    SKERRY_ASSIGN(bool done, compact_chunk(ctx, *chunk, only_if_fragmented));
    if (done) ++rewritten;
    from = *chunk;
  }
}

/// False if there was nothing to gain, or writers were always faster.
Result<bool> OpenInode::compact_chunk(const OpContext& ctx, uint64_t chunk,
                                      bool only_if_fragmented) {
  for (unsigned attempt = 0; attempt < kConflicts; ++attempt) {
    const auto guard = store_.meta.enter_epoch();  // before the list is read
    SKERRY_ASSIGN(meta::FileData data, meta::load_file(ctx, store_.meta, ino_, chunk, chunk));
    size_t stored = 0;
    for (const auto& record : data.extents) stored += record.extents.size();
    if (data.extents.empty() || (only_if_fragmented && stored <= store_.options.compact_extents)) {
      return false;
    }
    std::vector<Extent> pieces = meta::resolve_overlay(data.extents);
    join_split_slices(pieces);
    const std::vector<Run> runs = plan_runs(pieces, store_.block_bytes());
    // What is written at random with holes between stays in many pieces; once in one record it is
    // not worth another look.
    if (runs.size() >= stored || (only_if_fragmented && runs.size() * 4 > stored * 3)) {
      return false;
    }
    std::vector<Extent> replacement;
    std::vector<meta::ObjectId> made;
    Result<bool> replaced = false;
    Status failed;
    const meta::ClientId session = store_.meta.client();
    for (const Run& run : runs) {
      if (run.count == 1) {
        replacement.push_back(pieces[run.first]);
        continue;
      }
      Result<Extent> extent = rewrite(ctx, store_.blocks, &pieces[run.first], run.count);
      if (!extent.ok()) {
        failed = std::move(extent).error();
        break;
      }
      made.push_back(extent->object);
      replacement.push_back(*extent);
    }
    if (failed.ok()) {
      replaced =
          meta::replace_chunk(ctx, store_.meta, ino_, chunk, data.extents, replacement, session);
    }
    if (failed.ok() && replaced.ok() && *replaced) {
      state_->invalidate_at(data.attr.version + 1);
      return true;
    }
    // Where the answer was lost the new blocks may be the file's: they are left to gc.
    const bool unknown = !replaced.ok() && replaced.error().maybe_applied();
    if (unknown) state_->invalidate();
    if (!unknown && !made.empty()) (void)store_.blocks.remove_objects(ctx, made).ok();
    SKERRY_TRY(std::move(failed));
    if (!replaced.ok()) return std::move(replaced).error();
  }
  return false;
}

}  // namespace skerry::data
