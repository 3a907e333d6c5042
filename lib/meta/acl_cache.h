// AclCache: the ACLs that permission checks asked for, in bounded memory.
//
// An inode's ACLs change only with its version, and neither is ever used twice. So an entry says
// what is true for good, is never invalidated, and is right for whoever knows the attributes of
// that version; how fresh those are is the MetadataCache's affair.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "meta/acl.h"

namespace skerry::meta {

/// Thread-safe. Entries are dropped at will; a miss only costs a read of the store.
class AclCache {
 public:
  /// Null if not known.
  std::shared_ptr<const Acl> find(Ino ino, AclKind kind, uint64_t version);
  /// The ACL that the inode has at `version`.
  void insert(Ino ino, AclKind kind, uint64_t version, std::shared_ptr<const Acl> acl);

 private:
  static constexpr size_t kShards = 16;
  static constexpr size_t kMaxShardEntries = 4096;  // of ACLs, all together
  struct Known {
    uint64_t version = 0;
    std::shared_ptr<const Acl> acl;  // shared with those who check by it now
  };
  struct alignas(64) Shard {
    std::mutex mutex;
    std::unordered_map<uint64_t, Known> known;  // guarded by mutex
    size_t entries = 0;                         // guarded by mutex
  };
  static uint64_t key_of(Ino ino, AclKind kind) {
    return ino << 1 | static_cast<uint64_t>(kind);  // inode numbers are below 2^63
  }
  Shard& shard_of(Ino ino) { return shards_[(ino * 0x9e3779b97f4a7c15u) >> 60]; }

  std::array<Shard, kShards> shards_;
};

}  // namespace skerry::meta
