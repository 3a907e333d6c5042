#include "data/file_snapshot.h"

#include <algorithm>
#include <span>

#include "base/crc32c.h"
#include "data/epoch.h"
#include "meta/ops/overlay.h"

namespace skerry::data {

using meta::Extent;

namespace {

const ChunkExtents kNoExtents;

Extent cut(const Extent& extent, uint64_t begin, uint64_t end) {
  Extent part = extent;
  part.slice_skip += begin - extent.chunk_offset;
  part.chunk_offset = begin;
  part.length = end - begin;
  return part;
}

}  // namespace

FileSnapshot::FileSnapshot(const FileSnapshot& other)
    : attr(other.attr),
      is_inline(other.is_inline),
      inline_bytes(other.inline_bytes),
      chunks(other.chunks),
      empty_from(other.empty_from),
      bytes(other.bytes),
      mark(other.mark.load(std::memory_order_acquire)) {}

const ChunkExtents* FileSnapshot::find(uint64_t chunk) const {
  if (chunk >= empty_from || is_inline) return &kNoExtents;
  auto it = std::lower_bound(chunks.begin(), chunks.end(), chunk,
                             [](const auto& entry, uint64_t c) { return entry.first < c; });
  return it != chunks.end() && it->first == chunk ? it->second.get() : nullptr;
}

bool FileSnapshot::covers(uint64_t first_chunk, uint64_t last_chunk) const {
  if (is_inline) return true;
  last_chunk = std::min(last_chunk, empty_from == 0 ? 0 : empty_from - 1);
  for (uint64_t chunk = first_chunk; chunk <= last_chunk; ++chunk) {
    if (find(chunk) == nullptr) return false;
  }
  return true;
}

void FileSnapshot::set_chunk(uint64_t chunk, std::shared_ptr<const ChunkExtents> extents) {
  auto it = std::lower_bound(chunks.begin(), chunks.end(), chunk,
                             [](const auto& entry, uint64_t c) { return entry.first < c; });
  if (it != chunks.end() && it->first == chunk) {
    it->second = std::move(extents);
  } else {
    chunks.emplace(it, chunk, std::move(extents));
  }
}

void FileSnapshot::drop_chunk(uint64_t chunk) {
  std::erase_if(chunks, [&](const auto& entry) { return entry.first == chunk; });
}

void FileSnapshot::count_bytes() {
  bytes = sizeof *this + inline_bytes.capacity() + chunks.capacity() * sizeof chunks[0];
  for (const auto& [chunk, extents] : chunks) {
    bytes += sizeof *extents + extents->pieces.capacity() * sizeof(Extent);
  }
}

const Extent* first_piece_after(const ChunkExtents& chunk, uint64_t offset) {
  auto it =
      std::upper_bound(chunk.pieces.begin(), chunk.pieces.end(), offset,
                       [](uint64_t at, const Extent& e) { return at < e.chunk_offset + e.length; });
  return it == chunk.pieces.end() ? nullptr : &*it;
}

void overlay_extent(std::vector<Extent>& pieces, const Extent& extent) {
  if (extent.length == 0) return;
  const uint64_t begin = extent.chunk_offset;
  const uint64_t end = begin + extent.length;
  auto first =
      std::upper_bound(pieces.begin(), pieces.end(), begin,
                       [](uint64_t at, const Extent& e) { return at < e.chunk_offset + e.length; });
  auto last = first;
  while (last != pieces.end() && last->chunk_offset < end) ++last;
  std::vector<Extent> replacement;
  if (first != last && first->chunk_offset < begin) {
    replacement.push_back(cut(*first, first->chunk_offset, begin));
  }
  replacement.push_back(extent);
  if (first != last) {
    const Extent& tail = *std::prev(last);
    const uint64_t tail_end = tail.chunk_offset + tail.length;
    if (tail_end > end) replacement.push_back(cut(tail, end, tail_end));
  }
  const size_t at = static_cast<size_t>(first - pieces.begin());
  pieces.erase(first, last);
  pieces.insert(pieces.begin() + static_cast<ptrdiff_t>(at), replacement.begin(),
                replacement.end());
}

void overlay_extents(std::vector<Extent>& pieces, const std::vector<Extent>& extents) {
  for (const Extent& extent : extents) overlay_extent(pieces, extent);
}

Result<std::shared_ptr<FileSnapshot>> make_snapshot(meta::FileData data, uint64_t first_chunk,
                                                    uint64_t last_chunk, uint64_t mark) {
  auto snapshot = std::make_shared<FileSnapshot>();
  snapshot->attr = data.attr;
  snapshot->is_inline = data.is_inline;
  snapshot->mark.store(mark, std::memory_order_relaxed);
  if (data.is_inline) {
    if (crc32c(0, as_bytes(data.inline_data.bytes)) != data.inline_data.crc) {
      return Error(EIO, "inode " + std::to_string(data.attr.ino) +
                            ": the data kept in the metadata does not match its checksum");
    }
    snapshot->inline_bytes = std::move(data.inline_data.bytes);
    if (snapshot->inline_bytes.size() > data.attr.length) {
      snapshot->inline_bytes.resize(data.attr.length);
    }
  } else {
    // Extents never lie behind the end, but for zeros, which need no list.
    snapshot->empty_from = (data.attr.length + meta::kChunkSize - 1) / meta::kChunkSize;
    size_t at = 0;
    for (uint64_t chunk = first_chunk; chunk <= last_chunk && chunk < snapshot->empty_from;
         ++chunk) {
      while (at < data.extents.size() && data.extents[at].chunk < chunk) ++at;
      const size_t begin = at;
      auto extents = std::make_shared<ChunkExtents>();
      for (; at < data.extents.size() && data.extents[at].chunk == chunk; ++at) {
        extents->stored_extents += static_cast<uint32_t>(data.extents[at].extents.size());
      }
      extents->pieces = meta::resolve_overlay(std::span(data.extents).subspan(begin, at - begin));
      snapshot->chunks.emplace_back(chunk, std::move(extents));
    }
  }
  snapshot->count_bytes();
  return snapshot;
}

void SnapshotReclaimer::retire(std::shared_ptr<const FileSnapshot> snapshot) {
  std::vector<std::shared_ptr<const FileSnapshot>> free;  // destroyed outside the mutex
  const uint64_t tag = retirement_tag();
  const uint64_t oldest = oldest_reader();
  std::lock_guard lock(mutex_);
  retired_.emplace_back(tag, std::move(snapshot));
  std::erase_if(retired_, [&](auto& entry) {
    if (entry.first >= oldest) return false;
    free.push_back(std::move(entry.second));
    return true;
  });
}

}  // namespace skerry::data
