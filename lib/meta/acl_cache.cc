#include "meta/acl_cache.h"

namespace skerry::meta {

std::shared_ptr<const Acl> AclCache::find(Ino ino, AclKind kind, uint64_t version) {
  Shard& shard = shard_of(ino);
  std::lock_guard lock(shard.mutex);
  const auto found = shard.known.find(key_of(ino, kind));
  if (found == shard.known.end() || found->second.version != version) return nullptr;
  return found->second.acl;
}

void AclCache::insert(Ino ino, AclKind kind, uint64_t version, std::shared_ptr<const Acl> acl) {
  Shard& shard = shard_of(ino);
  std::lock_guard lock(shard.mutex);
  if (shard.entries + acl->entries().size() > kMaxShardEntries) {
    shard.known.clear();
    shard.entries = 0;
  }
  Known& known = shard.known[key_of(ino, kind)];
  if (known.version > version) return;
  if (known.acl != nullptr) shard.entries -= known.acl->entries().size();
  shard.entries += acl->entries().size();
  known = {version, std::move(acl)};
}

}  // namespace skerry::meta
