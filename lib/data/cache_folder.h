// CacheFolder: the files of the disk cache. Every call blocks for as long as the disk does, so
// only the disk cache's own threads come here.
//
//   <directory>/<00 to ff>/<volume>-<object>-<offset>-<segment>   a segment (segment_file.h)
//   <directory>/<00 to ff>/.used                                  bytes of the files beside it
//   <directory>/<00 to ff>/.new                                   a segment being written
//
// The folder is shared by all volumes and by all processes of one user; nothing outside it is
// needed, and nothing is read when it is opened. Each of the 256 folders has an equal share of the
// size. Whoever writes holds the flock of ".used", without waiting for it, so there is one writer a
// folder: it notes the bytes before it adds a file, and where they would pass the share it lists
// that one folder, removes what was not read for longest and notes what is left. So a crash leaves
// a ".new" that the next writer overwrites, and a number that is too large until the next listing.
//
// Files appear whole, by rename, and nothing is flushed: what a power loss left of them fails its
// checksum. A file's modification time says when it was read last.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "data/segment_file.h"

namespace skerry::data {

/// A disk that fails, for tests.
class CacheFolderFaults {
 public:
  virtual ~CacheFolderFaults() = default;
  /// Before each system call that may reach the disk ("open", "read", "write", "rename", ...): the
  /// errno it fails with, or 0. May block, as a sick disk does. Thread-safe.
  virtual int before(const char* call) = 0;
};

struct CacheFolderOptions {
  std::string directory;  // absolute
  std::string volume;     // see valid_volume_name()
  uint64_t size_bytes = 0;
  std::shared_ptr<CacheFolderFaults> faults;  // may be null; shared with threads that hang in it
};

/// Thread-safe, without state.
class CacheFolder {
 public:
  explicit CacheFolder(CacheFolderOptions options) : options_(std::move(options)) {}

  /// Makes the directory where there is none. An error where it can not be one's cache.
  Status prepare() const;

  /// Of the pages `wanted` (neighbours) those that are there, as they lie in the object, into `out`
  /// (large enough for all wanted). Their bytes are not checked. EBADMSG: the file is not what its
  /// name says, and was removed.
  Result<PageMask> read(const SegmentKey& key, PageMask wanted, std::byte* out) const;
  void remove(const SegmentKey& key) const;

  struct Added {
    uint64_t bytes = 0;    // 0: all were there, another writes in that folder, or there is no room
    uint64_t evicted = 0;  // files
    bool disk_full = false;
  };
  /// Adds pages (neighbours) as they lie in the object. What is there already is kept.
  Result<Added> add(const SegmentKey& key, PageMask pages, ByteView framed) const;

 private:
  class Folder;
  struct Held {
    PageMask pages = 0;
    std::vector<std::byte> bytes;  // of these pages, unless all that was asked for are among them
    uint64_t charge = 0;           // what the file counts for
  };

  int fault(const char* call) const {
    return options_.faults == nullptr ? 0 : options_.faults->before(call);
  }
  std::string folder_of(const SegmentKey& key) const;
  std::string path_of(const SegmentKey& key) const;
  Result<bool> has_room(uint64_t bytes) const;
  Result<Held> held(const SegmentKey& key, PageMask covering) const;
  std::vector<std::byte> merge(const SegmentKey& key, const Held& held, PageMask pages,
                               ByteView framed) const;

  const CacheFolderOptions options_;
};

}  // namespace skerry::data
