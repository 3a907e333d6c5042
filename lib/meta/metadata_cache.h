// MetadataCache: dentries and attributes that a path walk asks for, in bounded memory.
//
// Two set-associative tables: (parent, name) -> inode or "absent", and inode -> attributes. A name
// is kept as a 128-bit keyed SipHash (key from the injected random source), so every slot has a
// fixed size and a lookup allocates nothing. A hit takes no lock and writes no shared line but for
// a reference bit set once (second chance): each bucket is a seqlock.
//
// Freshness rests on two rules.
//   1. Others' commits: a slot carries a mark taken before the read that filled it, and who looks
//      says which marks count (freshness.h). What the store tells of others' changes is forgotten,
//      by rule 2 as if it were an own commit.
//   2. Own commits: a Ticket is taken before a read. Each own commit stamps the buckets it changed
//      before its operation returns; an insert whose ticket is older than the bucket's stamp is
//      refused, so a reader that was overtaken by a commit never stores the older record.
// A directory whose children change keeps serving path walks; only its times and link count turn
// stale, which those who ask for exact attributes notice.
//
// Thread-safe. Entries are dropped at will; a miss only costs a read of the store.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>

#include "base/clock.h"
#include "meta/freshness.h"
#include "meta/records.h"

namespace skerry::meta {

/// What a name leads to.
struct CachedEntry {
  Ino ino = 0;           // 0: there is no such name
  bool linked = false;   // as EntryRecord
  uint64_t version = 0;  // of the entry's row; meaningful when linked
  uint64_t mark = 0;     // of what was found
};

struct CachedAttributes {
  Attributes attr;           // joined
  Ino parent = 0;            // of directories; 0: not known
  bool linked = false;       // the home is an inode record
  bool times_stale = false;  // a directory's mtime, ctime and nlink may be old
  uint64_t mark = 0;         // of what was found
};

namespace cache_internal {

/// A bucket of kWays slots of kWords words each, found by a tag that is never 0.
template <size_t kWords>
struct alignas(64) Bucket {
  static constexpr size_t kWays = 4;
  std::atomic<uint32_t> sequence;   // odd while a writer is inside
  std::atomic<uint8_t> referenced;  // a bit a way
  std::atomic<uint8_t> hand;
  std::atomic<uint64_t> changed;  // stamp of the last own commit that changed a key here
  std::atomic<uint64_t> touched;  // the same for changes of directory times alone
  std::atomic<uint64_t> tags[kWays];
  std::atomic<uint64_t> words[kWays][kWords];
};

inline constexpr size_t kEntryWords = 4;  // second half of the hash, mark, ino, version|linked
inline constexpr size_t kAttributeWords = 2 + sizeof(Attributes) / 8;  // mark, parent, rest

template <size_t kWords>
class BucketTable {
 public:
  explicit BucketTable(size_t slots);
  Bucket<kWords>& at(uint64_t hash) { return buckets_[hash & mask_]; }
  void clear();

 private:
  struct Free {
    void operator()(void* p) const;
  };
  std::unique_ptr<Bucket<kWords>[], Free> buckets_;  // zeroed lazily by the system
  size_t mask_;
};

}  // namespace cache_internal

class MetadataCache {
 public:
  /// Keeps about `entries` names and as many inodes.
  MetadataCache(size_t entries, Random& random);

  struct Ticket {
    uint64_t mark = 0;
    uint64_t stamp = 0;
  };
  /// To be taken before the read (or the commit) whose outcome is inserted: see Meta::ticket().
  Ticket ticket(uint64_t mark) const { return {mark, stamp_.load(std::memory_order_acquire)}; }

  bool find_entry(Ino parent, std::string_view name, const Freshness& fresh, CachedEntry* out);
  /// `exact`: also the times and link count of a directory must be current.
  bool find_attributes(Ino ino, const Freshness& fresh, bool exact, CachedAttributes* out);

  /// What a read said. Ignored where an own commit came in between, and where a later version of
  /// the attributes is there.
  void insert_entry(const Ticket& ticket, Ino parent, std::string_view name,
                    const CachedEntry& entry);
  void insert_attributes(const Ticket& ticket, const CachedAttributes& attributes);

  /// What an own commit made of it, and the end of whatever was known before. The ticket was taken
  /// before the operation's first read; where another commit came in between, nothing is kept.
  void publish_entry(const Ticket& ticket, Ino parent, std::string_view name,
                     const CachedEntry& entry);
  void publish_attributes(const Ticket& ticket, const CachedAttributes& attributes);
  void forget_entry(Ino parent, std::string_view name);
  void forget_attributes(Ino ino);
  /// Children of a directory changed: its times and link count are stale.
  void touch_directory(Ino ino);
  /// An own commit turned the attributes at `version_after` - 1 into those that `change` makes of
  /// them; attributes at any other version are dropped.
  template <typename Change>
  void update_attributes(Ino ino, uint64_t version_after, Change change) {
    const uint64_t stamp = next_stamp();
    auto& bucket = lock(ino);
    const size_t way = find_locked(bucket, ino);
    if (way < AttributeBucket::kWays) {
      CachedAttributes cached = load_locked(bucket, way);
      if (cached.attr.version + 1 == version_after) {
        change(&cached.attr);
        cached.attr.version = version_after;
        store_locked(bucket, way, bucket.words[way][0].load(std::memory_order_relaxed), cached);
      } else {
        bucket.tags[way].store(0, std::memory_order_release);
      }
    }
    bucket.changed.store(stamp, std::memory_order_release);
    unlock(bucket);
  }
  void clear();

 private:
  using EntryBucket = cache_internal::Bucket<cache_internal::kEntryWords>;
  using AttributeBucket = cache_internal::Bucket<cache_internal::kAttributeWords>;
  struct Hash {
    uint64_t low, high;
  };
  Hash hash(Ino parent, std::string_view name) const;
  uint64_t next_stamp() { return stamp_.fetch_add(1, std::memory_order_acq_rel) + 1; }
  AttributeBucket& lock(Ino ino);
  static void unlock(AttributeBucket& bucket);
  static size_t find_locked(AttributeBucket& bucket, Ino ino);
  static CachedAttributes load_locked(AttributeBucket& bucket, size_t way);
  static void store_locked(AttributeBucket& bucket, size_t way, uint64_t mark,
                           const CachedAttributes& attributes);
  void put_entry(const Ticket& ticket, Ino parent, std::string_view name, const CachedEntry& entry,
                 bool own_commit);
  void put_attributes(const Ticket& ticket, const CachedAttributes& attributes, bool own_commit);

  cache_internal::BucketTable<cache_internal::kEntryWords> entries_;
  cache_internal::BucketTable<cache_internal::kAttributeWords> attributes_;
  alignas(64) std::atomic<uint64_t> stamp_{0};
  std::atomic<uint64_t> cleared_{0};  // stamp of the last clear()
  uint64_t key_[2];
};

}  // namespace skerry::meta
