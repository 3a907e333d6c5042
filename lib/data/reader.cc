// Reading: what this client wrote over what is committed, from the cache or the object store.
#include <algorithm>
#include <array>
#include <cstring>

#include "data/epoch.h"
#include "data/file_state.h"

namespace skerry::data {

using meta::Durability;
using meta::Extent;
using meta::kChunkSize;

namespace {

constexpr uint64_t kPartChunks = 64;           // one read is cut into parts of so many chunks
constexpr uint64_t kViewFetchBytes = 1 << 20;  // what a view fetches at most
constexpr uint64_t kZeroViewBytes = 64 << 10;
// Slices that no object holds, so that views of inline data and holes can be pinned like others:
// object ids are below 2^63.
constexpr meta::ObjectId kNoObject = meta::ObjectId{1} << 63;

void fill_zeros(MutableBytes out) {
  if (!out.empty()) std::memset(out.data(), 0, out.size());
}

struct Gap {
  uint64_t begin = 0;
  uint64_t end = 0;
};

}  // namespace

/// What the lock-free look at the snapshot found.
struct OpenInode::Found {
  enum Kind {
    kUnknown,  // not known, not current, or in too many pieces
    kDone,     // `bytes` were copied (or it is the end of the file)
    kPieces,
  };
  static constexpr size_t kMaxPieces = 4;
  struct Piece {
    Extent extent;
    uint64_t skip = 0;      // from the slice's begin
    uint64_t position = 0;  // in the reader's buffer
    uint64_t length = 0;
  };
  Kind kind = kUnknown;
  uint64_t bytes = 0;
  size_t count = 0;
  std::array<Piece, kMaxPieces> pieces;
};

/// Copies what is needed out of the snapshot while it is certain to stay; the blocks are looked up
/// afterwards, since epoch sections do not nest.
OpenInode::Found OpenInode::locate(const OpContext& ctx, uint64_t offset, MutableBytes out) const {
  Found found;
  EpochSection section;
  if (!section.entered()) return found;
  const FileSnapshot* snapshot = state_->published.load(std::memory_order_seq_cst);
  if (snapshot == nullptr || !state_->is_current(*snapshot, store_.meta.freshness(ctx))) {
    return found;
  }
  const uint64_t length = snapshot->attr.length;
  if (offset >= length) {
    found.kind = Found::kDone;
    return found;
  }
  const uint64_t n = std::min<uint64_t>(out.size(), length - offset);
  if (snapshot->is_inline) {
    const uint64_t held = snapshot->inline_bytes.size();
    const uint64_t copied = offset < held ? std::min(n, held - offset) : 0;
    if (copied > 0) std::memcpy(out.data(), snapshot->inline_bytes.data() + offset, copied);
    fill_zeros(out.subspan(copied, n - copied));
    found.kind = Found::kDone;
    found.bytes = n;
    return found;
  }
  const uint64_t in_chunk = offset % kChunkSize;
  if (n > kChunkSize - in_chunk) return found;
  const ChunkExtents* chunk = snapshot->find(offset / kChunkSize);
  if (chunk == nullptr) return found;
  const Extent* piece = first_piece_after(*chunk, in_chunk);
  const Extent* const end = chunk->pieces.data() + chunk->pieces.size();
  uint64_t at = in_chunk;
  for (; piece != nullptr && piece != end && piece->chunk_offset < in_chunk + n; ++piece) {
    if (found.count == Found::kMaxPieces) return found;
    const uint64_t begin = std::max(piece->chunk_offset, in_chunk);
    const uint64_t stop = std::min(piece->chunk_offset + piece->length, in_chunk + n);
    if (begin > at) fill_zeros(out.subspan(at - in_chunk, begin - at));
    at = stop;
    if (piece->object == 0) {
      fill_zeros(out.subspan(begin - in_chunk, stop - begin));
      continue;
    }
    found.pieces[found.count++] = {*piece, piece->slice_skip + begin - piece->chunk_offset,
                                   begin - in_chunk, stop - begin};
  }
  fill_zeros(out.subspan(at - in_chunk, in_chunk + n - at));
  found.bytes = n;
  found.kind = found.count == 0 ? Found::kDone : Found::kPieces;
  return found;
}

Result<size_t> OpenInode::read(const OpContext& ctx, uint64_t offset, MutableBytes out,
                               ReadaheadState* readahead) {
  if (!dirty()) [[likely]] {
    const Found found = locate(ctx, offset, out);
    bool whole = found.kind != Found::kUnknown;
    for (size_t i = 0; whole && i < found.count; ++i) {
      const Found::Piece& piece = found.pieces[i];
      whole = store_.blocks.read_cached(piece.extent, piece.skip,
                                        out.subspan(piece.position, piece.length));
    }
    if (whole) {
      // Written only by a reader in sequence: random readers of one handle share no line.
      if (readahead != nullptr && found.bytes > 0 &&
          readahead->next_offset.load(std::memory_order_relaxed) == offset) {
        store_.read_ahead(ctx, *this, offset, found.bytes, *readahead);
      }
      return size_t{found.bytes};
    }
  }
  SKERRY_ASSIGN(size_t bytes, read_slowly(ctx, offset, out));
  if (readahead != nullptr && bytes > 0) store_.read_ahead(ctx, *this, offset, bytes, *readahead);
  return bytes;
}

Result<size_t> OpenInode::read_slowly(const OpContext& ctx, uint64_t offset, MutableBytes out) {
  size_t done = 0;
  while (done < out.size()) {
    const uint64_t at = offset + done;
    const uint64_t part_end = (at / kChunkSize + kPartChunks) * kChunkSize;
    const size_t wanted = std::min<uint64_t>(out.size() - done, part_end - at);
    SKERRY_ASSIGN(size_t bytes, read_part(ctx, at, out.subspan(done, wanted)));
    done += bytes;
    if (bytes < wanted) break;
  }
  return done;
}

/// Lists what is to be fetched for [offset, offset + out.size()) and zeroes the rest.
void FileStoreImpl::plan_reads(const FileSnapshot& snapshot, uint64_t offset, MutableBytes out,
                               std::vector<SliceRead>& reads) {
  if (snapshot.is_inline) {
    const uint64_t held = snapshot.inline_bytes.size();
    const uint64_t copied = offset < held ? std::min<uint64_t>(out.size(), held - offset) : 0;
    if (copied > 0) std::memcpy(out.data(), snapshot.inline_bytes.data() + offset, copied);
    return fill_zeros(out.subspan(copied));
  }
  uint64_t at = offset;
  const uint64_t end = offset + out.size();
  while (at < end) {
    const uint64_t base = at / kChunkSize * kChunkSize;
    const uint64_t stop = std::min(end, base + kChunkSize);
    const ChunkExtents& chunk = *snapshot.find(at / kChunkSize);
    const Extent* piece = first_piece_after(chunk, at - base);
    const Extent* const last = chunk.pieces.data() + chunk.pieces.size();
    for (; piece != nullptr && piece != last && base + piece->chunk_offset < stop; ++piece) {
      const uint64_t begin = std::max(at, base + piece->chunk_offset);
      const uint64_t piece_end = std::min(stop, base + piece->chunk_offset + piece->length);
      fill_zeros(out.subspan(at - offset, begin - at));
      MutableBytes part = out.subspan(begin - offset, piece_end - begin);
      if (piece->object == 0) {
        fill_zeros(part);
      } else {
        reads.push_back({*piece, piece->slice_skip + begin - base - piece->chunk_offset, part});
      }
      at = piece_end;
    }
    fill_zeros(out.subspan(at - offset, stop - at));
    at = stop;
  }
}

namespace {

/// Copies what `data` shows of the gaps and returns what it leaves of them.
std::vector<Gap> lay_under(const DirtyData& data, const std::vector<Gap>& gaps, uint64_t offset,
                           MutableBytes out, std::vector<SliceRead>& reads) {
  std::vector<Gap> left;
  for (const Gap& gap : gaps) {
    uint64_t at = gap.begin;
    auto it = data.segments().upper_bound(at);
    if (it != data.segments().begin()) --it;
    for (; it != data.segments().end() && it->first < gap.end; ++it) {
      const uint64_t begin = std::max(at, it->first);
      const uint64_t end = std::min(gap.end, it->first + it->second.length);
      if (begin >= end) continue;
      if (begin > at) left.push_back({at, begin});
      const Slice& slice = *it->second.slice;
      const uint64_t skip = it->second.skip + begin - it->first;
      MutableBytes part = out.subspan(begin - offset, end - begin);
      if (slice.state == Slice::State::kStored) {
        reads.push_back({slice.extent, slice.extent.slice_skip + skip, part});
      } else {
        slice.buffer.read(skip, part);
      }
      at = end;
    }
    if (at < gap.end) left.push_back({at, gap.end});
  }
  return left;
}

}  // namespace

Result<size_t> OpenInode::read_part(const OpContext& ctx, uint64_t offset, MutableBytes out) {
  State& state = *state_;
  std::vector<SliceRead> reads;
  unsigned missing = 0;
  for (unsigned attempt = 0; attempt < 16 * kReadRetries; ++attempt) {
    SKERRY_TRY(ctx.check());
    // Before the list is validated: what it names stays until the guard goes.
    const auto guard = store_.meta.enter_epoch();
    reads.clear();
    SKERRY_ASSIGN(SnapshotPtr snapshot,
                  state.validated(ctx, ino_, offset / kChunkSize,
                                  (offset + std::max<size_t>(out.size(), 1) - 1) / kChunkSize));
    uint64_t n = 0;
    {
      std::unique_lock lock(state.mutex);
      // A flush of this client ended in between: the snapshot lacks what is not dirty any more.
      if (snapshot->attr.version < state.own_version) continue;
      const bool appends = (!state.batch.empty() && state.batch.append) ||
                           (!state.pending.empty() && state.pending.append);
      if (appends) {
        // Only the commit tells where appended bytes are.
        if (state.appending) {
          SKERRY_TRY(state.wait(ctx, lock, [&] { return !state.appending; }));
        }
        lock.unlock();
        SKERRY_TRY(flush(ctx, Durability::kVisible));
        continue;
      }
      const uint64_t length =
          std::max({snapshot->attr.length, state.batch.end(), state.pending.end()});
      if (offset >= length) return size_t{0};
      n = std::min<uint64_t>(out.size(), length - offset);
      std::vector<Gap> gaps = {{offset, offset + n}};
      gaps = lay_under(state.pending, gaps, offset, out, reads);
      gaps = lay_under(state.batch, gaps, offset, out, reads);
      for (const Gap& gap : gaps) {
        store_.plan_reads(*snapshot, gap.begin,
                          out.subspan(gap.begin - offset, gap.end - gap.begin), reads);
      }
    }
    if (reads.empty()) return size_t{n};
    Status status = store_.blocks.read(ctx, reads);
    if (status.ok()) return size_t{n};
    if (status.error().code() != ENOENT) return std::move(status).error();
    if (++missing == kReadRetries) break;
    state.invalidate();
  }
  if (missing == 0) return Error(EBUSY, "the file changes faster than it can be read");
  return Error(EIO, "inode " + std::to_string(ino_) + ": object " +
                        std::to_string(reads.empty() ? 0 : reads[0].extent.object) +
                        " or another that holds its data is missing from the object store");
}

/// The lock-free look at the snapshot, as locate() does it: empty where that does not suffice.
/// What is pinned in the cache needs no epoch of the metadata: nothing is asked of the store.
CacheView OpenInode::view_quickly(const OpContext& ctx, uint64_t offset, uint64_t length) const {
  Extent piece;
  {
    EpochSection section;
    if (!section.entered()) return {};
    const FileSnapshot* snapshot = state_->published.load(std::memory_order_seq_cst);
    if (snapshot == nullptr || snapshot->is_inline || offset >= snapshot->attr.length ||
        !state_->is_current(*snapshot, store_.meta.freshness(ctx))) {
      return {};
    }
    length = std::min(length, snapshot->attr.length - offset);
    const ChunkExtents* chunk = snapshot->find(offset / kChunkSize);
    if (chunk == nullptr) return {};
    const Extent* found = first_piece_after(*chunk, offset % kChunkSize);
    if (found == nullptr) return {};
    piece = *found;
  }
  const uint64_t in_chunk = offset % kChunkSize;
  if (piece.chunk_offset > in_chunk || piece.object == 0) return {};
  return store_.blocks.view_cached(piece, piece.slice_skip + in_chunk - piece.chunk_offset,
                                   std::min(length, piece.chunk_offset + piece.length - in_chunk));
}

Result<CacheView> OpenInode::view(const OpContext& ctx, uint64_t offset, uint64_t length) {
  if (!dirty() && length > 0) [[likely]] {
    CacheView view = view_quickly(ctx, offset, length);
    if (!view.data().empty()) return view;
  }
  BlockCache& cache = store_.blocks.cache();
  for (unsigned attempt = 0; attempt < 16; ++attempt) {
    SKERRY_TRY(ctx.check());
    if (dirty()) SKERRY_TRY(flush(ctx, Durability::kVisible));
    const auto guard = store_.meta.enter_epoch();
    SKERRY_ASSIGN(SnapshotPtr snapshot,
                  state_->validated(ctx, ino_, offset / kChunkSize, offset / kChunkSize));
    if (offset >= snapshot->attr.length || length == 0) return CacheView();
    const uint64_t n = std::min(length, snapshot->attr.length - offset);
    if (snapshot->is_inline && offset < snapshot->inline_bytes.size()) {
      const SliceKey key{kNoObject | ino_, snapshot->attr.version};
      CacheView view = cache.view(key, offset, n);
      if (!view.data().empty()) return view;
      cache.fill(key, snapshot->inline_bytes.size(), 0, as_bytes(snapshot->inline_bytes));
      view = cache.view(key, offset, n);
      if (!view.data().empty()) return view;
      continue;
    }
    const uint64_t in_chunk = offset % kChunkSize;
    const Extent* piece = first_piece_after(*snapshot->find(offset / kChunkSize), in_chunk);
    if (piece == nullptr || piece->chunk_offset > in_chunk || piece->object == 0) {
      const SliceKey key{kNoObject, 0};
      uint64_t hole = kZeroViewBytes;
      if (piece != nullptr) {
        const uint64_t end = piece->chunk_offset + (piece->object == 0 ? piece->length : 0);
        hole = std::min(hole, end - in_chunk);
      }
      hole = std::min(hole, n);
      CacheView view = cache.view(key, 0, hole);
      if (!view.data().empty()) return view;
      const std::vector<std::byte> zeros(kZeroViewBytes);
      cache.fill(key, zeros.size(), 0, zeros);
      view = cache.view(key, 0, hole);
      if (!view.data().empty()) return view;
      continue;
    }
    const uint64_t skip = piece->slice_skip + in_chunk - piece->chunk_offset;
    const uint64_t held = std::min(n, piece->chunk_offset + piece->length - in_chunk);
    CacheView view = store_.blocks.view_cached(*piece, skip, held);
    if (!view.data().empty()) return view;
    std::vector<std::byte> fetched(std::min(held, kViewFetchBytes));
    std::vector<SliceRead> reads = {{*piece, skip, fetched}};
    Status status = store_.blocks.read(ctx, reads);
    if (!status.ok()) {
      if (status.error().code() != ENOENT) return std::move(status).error();
      state_->invalidate();
      continue;
    }
    view = store_.blocks.view_cached(*piece, skip, held);
    if (!view.data().empty()) return view;
  }
  return Error(ENOMEM, "the block cache can not keep what a view needs");
}

}  // namespace skerry::data
