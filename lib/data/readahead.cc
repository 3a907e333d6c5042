// Readahead: a handle that reads in sequence gets the next bytes fetched before it asks.
#include <algorithm>

#include "data/file_state.h"

namespace skerry::data {

using meta::Extent;
using meta::kChunkSize;

namespace {
constexpr uint64_t kFirstWindowBytes = 128 << 10;
}  // namespace

/// Called after [offset, offset + length) was read. The window doubles with every prefetch while
/// reading goes on in sequence, and starts anew when it does not. A quarter of the cache at most:
/// more would push out what was prefetched before it is read.
void FileStoreImpl::read_ahead(const OpContext& reader, OpenInode& inode, uint64_t offset,
                               uint64_t length, ReadaheadState& state) {
  constexpr auto kRelaxed = std::memory_order_relaxed;
  const uint64_t end = offset + length;
  const bool sequential = state.next_offset.load(kRelaxed) == offset;
  state.next_offset.store(end, kRelaxed);
  if (!sequential) {
    if (state.window.load(kRelaxed) != 0) state.window.store(0, kRelaxed);
    state.prefetched_to.store(end, kRelaxed);
    return;
  }
  const uint64_t largest = std::min(options.readahead_bytes, blocks.options().cache_bytes / 4);
  uint64_t window = state.window.load(kRelaxed);
  if (window == 0) window = std::max(kFirstWindowBytes, 2 * length);
  window = std::min(window, largest);
  if (window == 0) return;
  const uint64_t begin = std::max(state.prefetched_to.load(kRelaxed), end);
  if (begin - end > window / 2) return;
  const uint64_t target = end + window;
  state.prefetched_to.store(target, kRelaxed);
  state.window.store(std::min(window * 2, largest), kRelaxed);

  OpContext ctx = background();
  ctx.cancel = nullptr;            // the prefetch may outlive this store
  ctx.began_ns = reader.began_ns;  // what it found current is good enough
  ctx.not_before_ns = reader.not_before_ns;
  auto guard = std::make_shared<meta::Meta::EpochGuard>(meta.enter_epoch());
  Result<SnapshotPtr> snapshot =
      inode.state_->validated(ctx, inode.ino_, begin / kChunkSize, (target - 1) / kChunkSize);
  if (!snapshot.ok() || (*snapshot)->is_inline) return;
  const uint64_t stop = std::min(target, (*snapshot)->attr.length);
  for (uint64_t at = begin; at < stop;) {
    const uint64_t base = at / kChunkSize * kChunkSize;
    const uint64_t chunk_stop = std::min(stop, base + kChunkSize);
    const ChunkExtents& chunk = *(*snapshot)->find(at / kChunkSize);
    const Extent* piece = first_piece_after(chunk, at - base);
    const Extent* const last = chunk.pieces.data() + chunk.pieces.size();
    for (; piece != nullptr && piece != last && base + piece->chunk_offset < chunk_stop; ++piece) {
      const uint64_t from = std::max(at, base + piece->chunk_offset);
      const uint64_t to = std::min(chunk_stop, base + piece->chunk_offset + piece->length);
      if (piece->object == 0) continue;
      blocks.prefetch(ctx, *piece, piece->slice_skip + from - base - piece->chunk_offset, to - from,
                      guard);
    }
    at = chunk_stop;
  }
}

}  // namespace skerry::data
