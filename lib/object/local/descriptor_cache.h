// DescriptorCache: recently read objects' descriptors, so that a ranged read costs a pread, not an
// open.
#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include "object/local/file_handle.h"

namespace skerry {

/// Bounded, least recently used first out. A descriptor is shared with the reads that hold it, so
/// it stays valid for them whatever is dropped meanwhile. The cache does not learn of removals by
/// other processes: a user checks st_nlink. Thread-safe.
class DescriptorCache {
 public:
  explicit DescriptorCache(size_t capacity) : capacity_(capacity) {}

  /// Null where `key` is not cached.
  std::shared_ptr<FileHandle> find(std::string_view key);
  void insert(std::string_view key, std::shared_ptr<FileHandle> file);
  void erase(std::string_view key);
  void clear();

 private:
  struct Entry {
    std::string key;
    std::shared_ptr<FileHandle> file;
  };
  using Entries = std::list<Entry>;

  const size_t capacity_;
  std::mutex mutex_;                                                // guards what follows
  Entries entries_;                                                 // most recently used first
  std::unordered_map<std::string_view, Entries::iterator> by_key_;  // views into entries_
};

}  // namespace skerry
