// What a mount remembers of the inodes that the kernel knows: which are open, whose bytes the page
// cache holds, and what directories were that are removed and still in use.
#ifndef SKERRY_BINDINGS_FUSE_NODES_H_
#define SKERRY_BINDINGS_FUSE_NODES_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "skerry/skerry.h"

namespace skerry::fuse {

/// An open regular file. Closed when the last who holds it lets it go: the kernel's handle, and the
/// watcher for a moment.
struct OpenFile {
  OpenFile(skerry_file* opened, uint64_t inode, bool for_writing)
      : file(opened), ino(inode), writable(for_writing) {}
  ~OpenFile() { skerry_close(file, nullptr); }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  skerry_file* const file;
  const uint64_t ino;
  const bool writable;
};

/// Thread-safe.
class Nodes {
 public:
  /// Notes the file as open. True if what the kernel has cached of it may stay: the token (see
  /// skerry_data_token) is the one of the last time; without one it may not.
  bool open(const std::shared_ptr<OpenFile>& file, std::optional<uint64_t> token);
  void close(const OpenFile* file);
  /// One open file of each open inode.
  std::vector<std::shared_ptr<OpenFile>> open_files();
  /// Takes the token of now; true if it is another than the one before.
  bool changed(uint64_t ino, uint64_t token);

  /// Whether the kernel was told to drop what it had of the file since the token was given, and
  /// that it was. Apart from the token above, which is noted when the kernel will drop, and not
  /// when it has.
  bool is_dropped(uint64_t ino, uint64_t token);
  void note_dropped(uint64_t ino, uint64_t token);

  /// The attributes of a directory that was removed here, for those who are still in it.
  void note_removed(const struct skerry_stat& stat);
  std::optional<struct skerry_stat> removed(uint64_t ino);

  /// The kernel has dropped the inode, and its cached bytes with it.
  void forget(uint64_t ino);

 private:
  struct Node {
    std::optional<uint64_t> token;
    std::optional<uint64_t> dropped;  // the token at which the kernel had nothing older
    std::vector<std::shared_ptr<OpenFile>> files;  // shared with the watcher
  };
  struct alignas(64) Shard {
    std::mutex mutex;
    std::unordered_map<uint64_t, Node> nodes;  // guarded by mutex
  };
  Shard& shard_of(uint64_t ino) { return shards_[(ino * 0x9e3779b97f4a7c15u) >> 58]; }

  std::array<Shard, 64> shards_;
  std::atomic<size_t> removed_count_{0};
  std::mutex removed_mutex_;
  std::unordered_map<uint64_t, struct skerry_stat> removed_;  // guarded by removed_mutex_
};

}  // namespace skerry::fuse

#endif  // SKERRY_BINDINGS_FUSE_NODES_H_
