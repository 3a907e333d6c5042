#include "object/local/descriptor_cache.h"

#include <iterator>
#include <utility>

namespace skerry {

std::shared_ptr<FileHandle> DescriptorCache::find(std::string_view key) {
  std::lock_guard lock(mutex_);
  auto it = by_key_.find(key);
  if (it == by_key_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, it->second);
  return it->second->file;
}

void DescriptorCache::insert(std::string_view key, std::shared_ptr<FileHandle> file) {
  if (capacity_ == 0) return;
  Entries dropped;  // closed after the lock is released
  std::lock_guard lock(mutex_);
  auto it = by_key_.find(key);
  if (it != by_key_.end()) {
    std::swap(it->second->file, file);
    return;
  }
  entries_.push_front({std::string(key), std::move(file)});
  by_key_.emplace(entries_.front().key, entries_.begin());
  if (entries_.size() > capacity_) {
    by_key_.erase(entries_.back().key);
    dropped.splice(dropped.begin(), entries_, std::prev(entries_.end()));
  }
}

void DescriptorCache::erase(std::string_view key) {
  Entries dropped;  // closed after the lock is released
  std::lock_guard lock(mutex_);
  auto it = by_key_.find(key);
  if (it == by_key_.end()) return;
  auto entry = it->second;
  by_key_.erase(it);
  dropped.splice(dropped.begin(), entries_, entry);
}

void DescriptorCache::clear() {
  Entries dropped;  // closed after the lock is released
  std::lock_guard lock(mutex_);
  by_key_.clear();
  dropped.swap(entries_);
}

}  // namespace skerry
