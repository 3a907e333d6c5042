// FileSnapshot: what one client knows of a file's committed state. Immutable once published, so
// that readers share it without a lock; only the mark of when it was last known to be current
// moves.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "meta/ops.h"
#include "meta/records.h"

namespace skerry::data {

/// A chunk's extents, resolved: ascending, not overlapping, gaps and object 0 read as zeros.
struct ChunkExtents {
  std::vector<meta::Extent> pieces;
  uint32_t stored_extents = 0;  // in how many pieces the records hold it
};

struct FileSnapshot {
  meta::Attributes attr;
  bool is_inline = false;
  std::string inline_bytes;  // may be shorter than the length: zeros follow
  std::vector<std::pair<uint64_t, std::shared_ptr<const ChunkExtents>>> chunks;  // ascending
  uint64_t empty_from = 0;                // no chunk from here on has extents
  uint64_t bytes = 0;                     // of memory, about
  mutable std::atomic<uint64_t> mark{0};  // see meta/freshness.h

  FileSnapshot() = default;
  FileSnapshot(const FileSnapshot& other);
  FileSnapshot& operator=(const FileSnapshot&) = delete;

  /// Null if it was not loaded.
  const ChunkExtents* find(uint64_t chunk) const;
  bool covers(uint64_t first_chunk, uint64_t last_chunk) const;
  void set_chunk(uint64_t chunk, std::shared_ptr<const ChunkExtents> extents);
  void drop_chunk(uint64_t chunk);
  void count_bytes();
};

/// First piece that ends after `offset` in its chunk.
const meta::Extent* first_piece_after(const ChunkExtents& chunk, uint64_t offset);
/// Lays `extent` over the pieces.
void overlay_extent(std::vector<meta::Extent>& pieces, const meta::Extent& extent);
/// Lays many over the pieces, in order.
void overlay_extents(std::vector<meta::Extent>& pieces, const std::vector<meta::Extent>& extents);

/// A snapshot of what load_file returned for chunks [first, last]. EIO where an inline record does
/// not match its checksum.
Result<std::shared_ptr<FileSnapshot>> make_snapshot(meta::FileData data, uint64_t first_chunk,
                                                    uint64_t last_chunk, uint64_t mark);

/// Keeps unpublished snapshots until no reader can be looking at them (epoch.h).
class SnapshotReclaimer {
 public:
  /// `snapshot` was unpublished before the call.
  void retire(std::shared_ptr<const FileSnapshot> snapshot);

 private:
  std::mutex mutex_;
  std::vector<std::pair<uint64_t, std::shared_ptr<const FileSnapshot>>> retired_;  // by mutex_
};

}  // namespace skerry::data
