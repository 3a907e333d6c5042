#include "nodes.h"

#include <algorithm>

namespace skerry::fuse {

bool Nodes::open(const std::shared_ptr<OpenFile>& file, std::optional<uint64_t> token) {
  Shard& shard = shard_of(file->ino);
  std::lock_guard lock(shard.mutex);
  Node& node = shard.nodes[file->ino];
  const bool same = token && node.token == token;
  node.token = token;
  node.files.push_back(file);
  return same;
}

void Nodes::close(const OpenFile* file) {
  std::shared_ptr<OpenFile> closed;  // let go after the lock is
  Shard& shard = shard_of(file->ino);
  std::lock_guard lock(shard.mutex);
  auto found = shard.nodes.find(file->ino);
  if (found == shard.nodes.end()) return;
  auto& files = found->second.files;
  const auto it = std::find_if(files.begin(), files.end(),
                               [&](const auto& each) { return each.get() == file; });
  if (it == files.end()) return;
  closed = std::move(*it);
  *it = std::move(files.back());
  files.pop_back();
}

std::vector<std::shared_ptr<OpenFile>> Nodes::open_files() {
  std::vector<std::shared_ptr<OpenFile>> all;
  for (Shard& shard : shards_) {
    std::lock_guard lock(shard.mutex);
    for (const auto& [ino, node] : shard.nodes) {
      if (!node.files.empty()) all.push_back(node.files.front());
    }
  }
  return all;
}

bool Nodes::changed(uint64_t ino, uint64_t token) {
  Shard& shard = shard_of(ino);
  std::lock_guard lock(shard.mutex);
  auto found = shard.nodes.find(ino);
  if (found == shard.nodes.end() || found->second.token == token) return false;
  found->second.token = token;
  return true;
}

bool Nodes::is_dropped(uint64_t ino, uint64_t token) {
  Shard& shard = shard_of(ino);
  std::lock_guard lock(shard.mutex);
  auto found = shard.nodes.find(ino);
  return found != shard.nodes.end() && found->second.dropped == token;
}

void Nodes::note_dropped(uint64_t ino, uint64_t token) {
  Shard& shard = shard_of(ino);
  std::lock_guard lock(shard.mutex);
  auto found = shard.nodes.find(ino);
  if (found != shard.nodes.end()) found->second.dropped = token;
}

void Nodes::note_removed(const struct skerry_stat& stat) {
  std::lock_guard lock(removed_mutex_);
  struct skerry_stat& kept = removed_[stat.ino];
  kept = stat;
  kept.nlink = 0;
  removed_count_.store(removed_.size(), std::memory_order_release);
}

std::optional<struct skerry_stat> Nodes::removed(uint64_t ino) {
  std::lock_guard lock(removed_mutex_);
  auto found = removed_.find(ino);
  if (found == removed_.end()) return std::nullopt;
  return found->second;
}

void Nodes::forget(uint64_t ino) {
  Shard& shard = shard_of(ino);
  {
    std::lock_guard lock(shard.mutex);
    auto found = shard.nodes.find(ino);
    if (found != shard.nodes.end() && found->second.files.empty()) shard.nodes.erase(found);
  }
  if (removed_count_.load(std::memory_order_acquire) == 0) return;
  std::lock_guard lock(removed_mutex_);
  removed_.erase(ino);
  removed_count_.store(removed_.size(), std::memory_order_release);
}

}  // namespace skerry::fuse
