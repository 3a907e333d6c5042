#include "meta/metadata_cache.h"

#include <bit>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>
#include <thread>
#include <type_traits>

namespace skerry::meta {

namespace {

using cache_internal::Bucket;

constexpr auto kAcquire = std::memory_order_acquire;
constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr auto kRelease = std::memory_order_release;

constexpr unsigned kReadAttempts = 64;  // then it is a miss

static_assert(std::is_trivially_copyable_v<Attributes> && sizeof(Attributes) % 8 == 0);
constexpr uint64_t kLinkedBit = uint64_t{1} << 63;

// Words of an attribute slot: mark, parent, then Attributes with the flags below in place of
// the inode number, which is the tag.
constexpr uint64_t kLinkedFlag = 1;
constexpr uint64_t kStaleFlag = 2;
static_assert(offsetof(Attributes, ino) == 0);

void unpack(Ino ino, const uint64_t (&words)[cache_internal::kAttributeWords],
            CachedAttributes* out) {
  out->mark = words[0];
  out->parent = words[1];
  out->linked = (words[2] & kLinkedFlag) != 0;
  out->times_stale = (words[2] & kStaleFlag) != 0;
  std::memcpy(static_cast<void*>(&out->attr), words + 2, sizeof(Attributes));
  out->attr.ino = ino;
}

void pause(unsigned attempt) {
  if (attempt < 16) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  } else {
    std::this_thread::yield();
  }
}

/// Finds `tag` (and `match(words)`) and copies its words. Acquire loads keep the final look at the
/// sequence behind the copying.
template <size_t kWords, typename Match>
bool read_slot(Bucket<kWords>& bucket, uint64_t tag, Match match, uint64_t (&out)[kWords]) {
  for (unsigned attempt = 0; attempt < kReadAttempts; ++attempt) {
    const uint32_t sequence = bucket.sequence.load(kAcquire);
    if ((sequence & 1) != 0) {
      pause(attempt);
      continue;
    }
    bool found = false;
    size_t way = 0;
    for (; way < Bucket<kWords>::kWays; ++way) {
      if (bucket.tags[way].load(kAcquire) != tag) continue;
      for (size_t i = 0; i < kWords; ++i) out[i] = bucket.words[way][i].load(kAcquire);
      if (!match(out)) continue;
      found = true;
      break;
    }
    if (bucket.sequence.load(kRelaxed) != sequence) continue;
    if (!found) return false;
    const uint8_t bit = static_cast<uint8_t>(1u << way);
    if ((bucket.referenced.load(kRelaxed) & bit) == 0) bucket.referenced.fetch_or(bit, kRelaxed);
    return true;
  }
  return false;
}

template <size_t kWords>
void lock_bucket(Bucket<kWords>& bucket) {
  for (unsigned attempt = 0;; ++attempt) {
    uint32_t sequence = bucket.sequence.load(kRelaxed);
    if ((sequence & 1) == 0 &&
        bucket.sequence.compare_exchange_weak(sequence, sequence + 1, std::memory_order_acq_rel)) {
      return;
    }
    pause(attempt);
  }
}
template <size_t kWords>
void unlock_bucket(Bucket<kWords>& bucket) {
  bucket.sequence.fetch_add(1, kRelease);
}

/// A free way, or one that was not used since the hand last passed.
template <size_t kWords>
size_t victim(Bucket<kWords>& bucket) {
  constexpr size_t kWays = Bucket<kWords>::kWays;
  for (size_t way = 0; way < kWays; ++way) {
    if (bucket.tags[way].load(kRelaxed) == 0) return way;
  }
  uint8_t hand = bucket.hand.load(kRelaxed);
  for (size_t step = 0; step < kWays; ++step) {
    const size_t way = hand++ % kWays;
    const uint8_t bit = static_cast<uint8_t>(1u << way);
    const bool used =
        (bucket.referenced.fetch_and(static_cast<uint8_t>(~bit), kRelaxed) & bit) != 0;
    if (used && step + 1 < kWays) continue;
    bucket.hand.store(hand, kRelaxed);
    return way;
  }
  return 0;
}

inline void sip_round(uint64_t& v0, uint64_t& v1, uint64_t& v2, uint64_t& v3) {
  v0 += v1;
  v1 = std::rotl(v1, 13) ^ v0;
  v0 = std::rotl(v0, 32);
  v2 += v3;
  v3 = std::rotl(v3, 16) ^ v2;
  v0 += v3;
  v3 = std::rotl(v3, 21) ^ v0;
  v2 += v1;
  v1 = std::rotl(v1, 17) ^ v2;
  v2 = std::rotl(v2, 32);
}

/// Spreads inode numbers, which come in sequence, over the buckets.
uint64_t mix(Ino ino) {
  uint64_t x = ino * 0x9e3779b97f4a7c15u;
  return x ^ (x >> 32);
}

constexpr size_t kNoWay = 4;

size_t find_entry_locked(Bucket<cache_internal::kEntryWords>& bucket, uint64_t low, uint64_t high) {
  for (size_t way = 0; way < bucket.kWays; ++way) {
    if (bucket.tags[way].load(kRelaxed) == low && bucket.words[way][0].load(kRelaxed) == high) {
      return way;
    }
  }
  return kNoWay;
}

}  // namespace

namespace cache_internal {

template <size_t kWords>
BucketTable<kWords>::BucketTable(size_t slots) {
  const size_t wanted = slots / Bucket<kWords>::kWays;
  const size_t count = std::bit_ceil(wanted == 0 ? size_t{1} : wanted);
  mask_ = count - 1;
  // calloc leaves the pages untouched until they are used, but aligns to 16 bytes only.
  static_assert(std::is_trivially_destructible_v<Bucket<kWords>>);
  const size_t bytes = count * sizeof(Bucket<kWords>);
  void* base = std::calloc(1, bytes + 64 + sizeof(void*));
  if (base == nullptr) throw std::bad_alloc();
  auto address = (reinterpret_cast<uintptr_t>(base) + sizeof(void*) + 63) & ~uintptr_t{63};
  reinterpret_cast<void**>(address)[-1] = base;
  buckets_.reset(reinterpret_cast<Bucket<kWords>*>(address));
}

template <size_t kWords>
void BucketTable<kWords>::Free::operator()(void* p) const {
  if (p != nullptr) std::free(static_cast<void**>(p)[-1]);
}

template <size_t kWords>
void BucketTable<kWords>::clear() {
  for (size_t i = 0; i <= mask_; ++i) {
    Bucket<kWords>& bucket = buckets_[i];
    if (bucket.sequence.load(kRelaxed) == 0) continue;  // never written
    lock_bucket(bucket);
    for (auto& tag : bucket.tags) tag.store(0, kRelease);
    unlock_bucket(bucket);
  }
}

template class BucketTable<kEntryWords>;
template class BucketTable<kAttributeWords>;

}  // namespace cache_internal

MetadataCache::MetadataCache(size_t entries, Random& random)
    : entries_(entries), attributes_(entries), key_{random.next(), random.next()} {}

// SipHash-1-3 with a 128-bit result (Aumasson and Bernstein 2012): without the key nobody can make
// two names collide, and by chance 2^-128 of the pairs do.
MetadataCache::Hash MetadataCache::hash(Ino parent, std::string_view name) const {
  uint64_t v0 = key_[0] ^ 0x736f6d6570736575u;
  uint64_t v1 = key_[1] ^ 0x646f72616e646f6du ^ 0xee;
  uint64_t v2 = key_[0] ^ 0x6c7967656e657261u;
  uint64_t v3 = key_[1] ^ 0x7465646279746573u;
  auto absorb = [&](uint64_t m) {
    v3 ^= m;
    sip_round(v0, v1, v2, v3);
    v0 ^= m;
  };
  absorb(parent);
  const char* p = name.data();
  size_t left = name.size();
  for (; left >= 8; left -= 8, p += 8) {
    uint64_t m;
    std::memcpy(&m, p, 8);
    absorb(m);
  }
  uint64_t last = 0;
  if (left != 0) std::memcpy(&last, p, left);
  absorb(last | static_cast<uint64_t>(name.size()) << 56);
  v2 ^= 0xee;
  for (int i = 0; i < 3; ++i) sip_round(v0, v1, v2, v3);
  const uint64_t low = v0 ^ v1 ^ v2 ^ v3;
  v1 ^= 0xdd;
  for (int i = 0; i < 3; ++i) sip_round(v0, v1, v2, v3);
  const uint64_t high = v0 ^ v1 ^ v2 ^ v3;
  return {low == 0 ? 1 : low, high};
}

bool MetadataCache::find_entry(Ino parent, std::string_view name, const Freshness& fresh,
                               CachedEntry* out) {
  const Hash h = hash(parent, name);
  uint64_t words[cache_internal::kEntryWords];
  auto match = [&](const uint64_t(&w)[cache_internal::kEntryWords]) { return w[0] == h.high; };
  if (!read_slot(entries_.at(h.low), h.low, match, words)) return false;
  if (!fresh.covers(words[1])) return false;
  *out = {words[2], (words[3] & kLinkedBit) != 0, words[3] & ~kLinkedBit, words[1]};
  return true;
}

bool MetadataCache::find_attributes(Ino ino, const Freshness& fresh, bool exact,
                                    CachedAttributes* out) {
  uint64_t words[cache_internal::kAttributeWords];
  auto any = [](const auto&) { return true; };
  if (!read_slot(attributes_.at(mix(ino)), ino, any, words)) return false;
  if (!fresh.covers(words[0])) return false;
  if (exact && (words[2] & kStaleFlag) != 0) return false;
  unpack(ino, words, out);
  return true;
}

void MetadataCache::put_entry(const Ticket& ticket, Ino parent, std::string_view name,
                              const CachedEntry& entry, bool own_commit) {
  const Hash h = hash(parent, name);
  const uint64_t stamp = own_commit ? next_stamp() : 0;
  EntryBucket& bucket = entries_.at(h.low);
  lock_bucket(bucket);
  const bool current =
      bucket.changed.load(kRelaxed) <= ticket.stamp && cleared_.load(kAcquire) <= ticket.stamp;
  if (own_commit) bucket.changed.store(stamp, kRelease);
  size_t way = find_entry_locked(bucket, h.low, h.high);
  if (current) {
    if (way == kNoWay) way = victim(bucket);
    const uint64_t words[] = {h.high, ticket.mark, entry.ino,
                              entry.version | (entry.linked ? kLinkedBit : 0)};
    for (size_t i = 0; i < std::size(words); ++i) bucket.words[way][i].store(words[i], kRelease);
    bucket.tags[way].store(h.low, kRelease);
  } else if (own_commit && way != kNoWay) {
    bucket.tags[way].store(0, kRelease);
  }
  unlock_bucket(bucket);
}

void MetadataCache::insert_entry(const Ticket& ticket, Ino parent, std::string_view name,
                                 const CachedEntry& entry) {
  put_entry(ticket, parent, name, entry, false);
}

void MetadataCache::publish_entry(const Ticket& ticket, Ino parent, std::string_view name,
                                  const CachedEntry& entry) {
  put_entry(ticket, parent, name, entry, true);
}

void MetadataCache::forget_entry(Ino parent, std::string_view name) {
  const Hash h = hash(parent, name);
  const uint64_t stamp = next_stamp();
  EntryBucket& bucket = entries_.at(h.low);
  lock_bucket(bucket);
  const size_t way = find_entry_locked(bucket, h.low, h.high);
  if (way != kNoWay) bucket.tags[way].store(0, kRelease);
  bucket.changed.store(stamp, kRelease);
  unlock_bucket(bucket);
}

MetadataCache::AttributeBucket& MetadataCache::lock(Ino ino) {
  AttributeBucket& bucket = attributes_.at(mix(ino));
  lock_bucket(bucket);
  return bucket;
}

void MetadataCache::unlock(AttributeBucket& bucket) { unlock_bucket(bucket); }

size_t MetadataCache::find_locked(AttributeBucket& bucket, Ino ino) {
  for (size_t way = 0; way < AttributeBucket::kWays; ++way) {
    if (bucket.tags[way].load(kRelaxed) == ino) return way;
  }
  return AttributeBucket::kWays;
}

CachedAttributes MetadataCache::load_locked(AttributeBucket& bucket, size_t way) {
  CachedAttributes cached;
  uint64_t words[cache_internal::kAttributeWords];
  for (size_t i = 0; i < std::size(words); ++i) words[i] = bucket.words[way][i].load(kRelaxed);
  unpack(bucket.tags[way].load(kRelaxed), words, &cached);
  return cached;
}

void MetadataCache::store_locked(AttributeBucket& bucket, size_t way, uint64_t mark,
                                 const CachedAttributes& attributes) {
  uint64_t words[cache_internal::kAttributeWords];
  std::memcpy(words + 2, &attributes.attr, sizeof(Attributes));
  words[0] = mark;
  words[1] = attributes.parent;
  words[2] = (attributes.linked ? kLinkedFlag : 0) | (attributes.times_stale ? kStaleFlag : 0);
  for (size_t i = 0; i < std::size(words); ++i) bucket.words[way][i].store(words[i], kRelease);
  bucket.tags[way].store(attributes.attr.ino, kRelease);
}

void MetadataCache::put_attributes(const Ticket& ticket, const CachedAttributes& attributes,
                                   bool own_commit) {
  const uint64_t stamp = own_commit ? next_stamp() : 0;
  AttributeBucket& bucket = lock(attributes.attr.ino);
  const bool current =
      bucket.changed.load(kRelaxed) <= ticket.stamp && cleared_.load(kAcquire) <= ticket.stamp;
  if (own_commit) bucket.changed.store(stamp, kRelease);
  size_t way = find_locked(bucket, attributes.attr.ino);
  if (current) {
    CachedAttributes value = attributes;
    if (way < AttributeBucket::kWays) {
      const CachedAttributes known = load_locked(bucket, way);
      // Of two reads under way at once the later one may come first.
      if (!own_commit && known.attr.version > value.attr.version) return unlock(bucket);
      if (value.parent == 0 && known.mark == ticket.mark) value.parent = known.parent;
    }
    // Somebody changed the directory's children while it was read.
    if (value.attr.is_dir() && bucket.touched.load(kRelaxed) > ticket.stamp) {
      value.times_stale = true;
    }
    if (way == AttributeBucket::kWays) way = victim(bucket);
    store_locked(bucket, way, ticket.mark, value);
  } else if (own_commit && way < AttributeBucket::kWays) {
    bucket.tags[way].store(0, kRelease);
  }
  unlock(bucket);
}

void MetadataCache::insert_attributes(const Ticket& ticket, const CachedAttributes& attributes) {
  put_attributes(ticket, attributes, false);
}

void MetadataCache::publish_attributes(const Ticket& ticket, const CachedAttributes& attributes) {
  put_attributes(ticket, attributes, true);
}

void MetadataCache::forget_attributes(Ino ino) {
  const uint64_t stamp = next_stamp();
  AttributeBucket& bucket = lock(ino);
  const size_t way = find_locked(bucket, ino);
  if (way < AttributeBucket::kWays) bucket.tags[way].store(0, kRelease);
  bucket.changed.store(stamp, kRelease);
  unlock(bucket);
}

void MetadataCache::touch_directory(Ino ino) {
  const uint64_t stamp = next_stamp();
  AttributeBucket& bucket = lock(ino);
  const size_t way = find_locked(bucket, ino);
  if (way < AttributeBucket::kWays) {
    const uint64_t flags = bucket.words[way][2].load(kRelaxed);
    bucket.words[way][2].store(flags | kStaleFlag, kRelease);
  }
  bucket.touched.store(stamp, kRelease);
  unlock(bucket);
}

void MetadataCache::clear() {
  // First: what is read before this and inserted after it must not come back.
  cleared_.store(next_stamp(), kRelease);
  entries_.clear();
  attributes_.clear();
}

}  // namespace skerry::meta
