#include <algorithm>
#include <map>

#include "meta/ops/common.h"
#include "meta/ops/overlay.h"

namespace skerry::meta {

using internal::Attempts;
using internal::Change;

namespace {

// One commit covers so much of the source at most.
constexpr uint64_t kBatchChunks = 64;

/// What a reader of source [begin, begin + length) sees, holes as zero extents; positions count
/// from `begin`.
std::vector<Extent> visible_pieces(const std::vector<ExtentRecord>& records, uint64_t begin,
                                   uint64_t length) {
  std::vector<Extent> pieces;
  uint64_t done = 0;  // from begin
  auto zeros_until = [&](uint64_t end) {
    if (end <= done) return;
    Extent zeros;
    zeros.chunk_offset = done;
    zeros.length = end - done;
    pieces.push_back(zeros);
    done = end;
  };
  auto it = records.begin();
  while (it != records.end()) {
    const uint64_t chunk = it->chunk;
    auto end = std::find_if(it, records.end(), [&](const auto& r) { return r.chunk != chunk; });
    const uint64_t base = chunk * kChunkSize;
    const uint64_t from = std::max(begin, base) - base;
    const uint64_t to = std::min(begin + length - base, kChunkSize);
    for (Extent piece : resolve_overlay({it, end}, from, to)) {
      piece.chunk_offset += base - begin;
      zeros_until(piece.chunk_offset);
      done = piece.chunk_offset + piece.length;
      pieces.push_back(piece);
    }
    it = end;
  }
  zeros_until(length);
  return pieces;
}

Result<DataWritten> copy_batch(const OpContext& ctx, Meta& meta, Ino from, uint64_t from_offset,
                               Ino to, uint64_t to_offset, uint64_t length, uint32_t clear_mode) {
  for (Attempts attempts(ctx, meta);;) {
    SKERRY_TRY(attempts.next());
    SKERRY_ASSIGN(FileData source, load_file(ctx, meta, from, from_offset / kChunkSize,
                                             (from_offset + length - 1) / kChunkSize));
    if (source.is_inline) return Error(EAGAIN, "the source's data is in the metadata");
    WriteData write;
    write.ino = to;
    write.offset = to_offset;
    write.length = length;
    write.pieces = visible_pieces(source.extents, from_offset, length);
    write.mtime_ns = meta.now_ns();
    write.clear_mode = clear_mode;
    write.usage_client = meta.usage_client();
    std::map<ObjectId, int64_t> added;
    for (const Extent& piece : write.pieces) {
      if (piece.object != 0) ++added[piece.object];
    }
    Change change(meta);
    // Every change of the source, a compaction too, gives it a new version: its objects are live.
    change.expect(ExpectAttributes{from, source.attr.version});
    change.add(std::move(write));
    for (const auto& [object, count] : added) change.add(AddObjectReferences{object, count});
    SKERRY_ASSIGN(CommitResult result, change.commit(ctx));
    if (result.applied) {
      meta.cache().forget_attributes(to);
      return DataWritten{result.outcomes[0].version, result.outcomes[0].number};
    }
    if (result.failed_mutation == 0) {
      SKERRY_ASSIGN(CachedAttributes target,
                    internal::attributes_of(ctx, meta, to, internal::Source::kStore, false));
      if ((target.attr.flags & kFlagInline) != 0) {
        return Error(EAGAIN, "the target's data is in the metadata");
      }
    }
  }
}

}  // namespace

Result<DataWritten> copy_extents(const OpContext& ctx, Meta& meta, Ino from, uint64_t from_offset,
                                 Ino to, uint64_t to_offset, uint64_t length, uint32_t clear_mode) {
  if (length == 0) return Error(EINVAL, "nothing to copy");
  if (from_offset > kMaxFileSize || length > kMaxFileSize - from_offset ||
      to_offset > kMaxFileSize || length > kMaxFileSize - to_offset) {
    return Error(EFBIG, "a file of more than 2^57 bytes");
  }
  if (from == to && from_offset < to_offset + length && to_offset < from_offset + length) {
    return Error(EINVAL, "the ranges overlap");
  }
  DataWritten written;
  for (uint64_t done = 0; done < length;) {
    const uint64_t begin = from_offset + done;
    const uint64_t batch_end = (begin / kChunkSize + kBatchChunks) * kChunkSize;
    const uint64_t bytes = std::min(length - done, batch_end - begin);
    SKERRY_ASSIGN(DataWritten batch,
                  copy_batch(ctx, meta, from, begin, to, to_offset + done, bytes, clear_mode));
    if (done == 0) written.length_before = batch.length_before;
    written.version = batch.version;
    done += bytes;
  }
  return written;
}

}  // namespace skerry::meta
