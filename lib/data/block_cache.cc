#include "data/block_cache.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "data/cached_slice.h"
#include "data/epoch.h"

namespace skerry::data {
namespace {

constexpr unsigned kMaxShards = 16;
constexpr uint64_t kShardFor = 64 << 20;   // one shard for each so many bytes of capacity
constexpr uint64_t kBucketFor = 16 << 10;  // one bucket likewise
constexpr uint64_t kMinBuckets = 1 << 10;  // in all
constexpr uint64_t kMaxBuckets = 1 << 24;  // in all
constexpr uint64_t kSmallShare = 10;       // the small queue's part of the whole: 1/10
constexpr int kMaxReinsertions = 256;      // before one is evicted whatever it deserves
constexpr int kMaxPinnedSkips = 64;        // likewise, of those that views hold
constexpr uint64_t kLimboShare = 32;       // part of the capacity kept for slices in limbo
constexpr uint64_t kMaxLimbo = 32 << 20;
constexpr int kReclaimPatience = 64;         // yields before a fill gives up for readers
constexpr uint64_t kMinMappings = 16 << 10;  // mapped slices a cache may have: the kernel
constexpr uint64_t kMaxMappings = 48 << 10;  // allows a process 65,530 mappings by default

uint64_t mix(uint64_t h) {  // the finalizer of MurmurHash3
  h = (h ^ (h >> 33)) * 0xff51afd7ed558ccdu;
  h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53u;
  return h ^ (h >> 33);
}

uint64_t power_of_two_near(uint64_t n, uint64_t min, uint64_t max) {
  return std::bit_ceil(std::clamp(n, min, max));
}

/// Slices from the newest to the oldest, linked through themselves.
struct SliceQueue {
  CachedSlice* newest = nullptr;
  CachedSlice* oldest = nullptr;
  uint64_t bytes = 0;

  void push(CachedSlice* slice, CachedSlice::Queue name) {
    slice->queue = name;
    slice->newer = nullptr;
    slice->older = newest;
    (newest != nullptr ? newest->newer : oldest) = slice;
    newest = slice;
    bytes += slice->charge;
  }
  void remove(CachedSlice* slice) {
    (slice->newer != nullptr ? slice->newer->older : newest) = slice->older;
    (slice->older != nullptr ? slice->older->newer : oldest) = slice->newer;
    slice->queue = CachedSlice::Queue::kNone;
    bytes -= slice->charge;
  }
};

/// Which slices were evicted lately from the small queue, by fingerprint. A slot holds one, so it
/// forgets some early, which costs a slice one more round through the small queue.
class GhostTable {
 public:
  explicit GhostTable(uint64_t slots) : slots_(slots) {}
  void add(uint64_t hash, uint64_t bytes) {
    clock_ += bytes;
    slots_[hash % slots_.size()] = {static_cast<uint32_t>(hash >> 32), pages_now()};
  }
  /// Evicted while at most `window` bytes were evicted after it?
  bool contains(uint64_t hash, uint64_t window) const {
    const Ghost& ghost = slots_[hash % slots_.size()];
    return ghost.fingerprint == static_cast<uint32_t>(hash >> 32) && ghost.when != 0 &&
           static_cast<uint32_t>(pages_now() - ghost.when) <= window / kPageBytes;
  }

 private:
  struct Ghost {
    uint32_t fingerprint = 0;
    uint32_t when = 0;  // on the clock, in pages
  };
  uint32_t pages_now() const { return static_cast<uint32_t>(clock_ / kPageBytes) | 1; }
  std::vector<Ghost> slots_;
  uint64_t clock_ = 0;  // bytes evicted
};

}  // namespace

struct BlockCache::Impl {
  /// A part of the table with the queues of the slices in it. All slices of one object are in one
  /// shard. Readers walk `buckets` without the mutex.
  struct Shard {
    explicit Shard(uint64_t bucket_count)
        : buckets(bucket_count), objects(bucket_count), ghosts(bucket_count) {}
    std::vector<std::atomic<CachedSlice*>> buckets;
    std::mutex mutex;  // guards what follows, and all writes of `buckets`
    std::vector<CachedSlice*> objects;
    SliceQueue small, main;
    GhostTable ghosts;
    CachedSlice* first_retired = nullptr;  // in the order of their tags
    CachedSlice* last_retired = nullptr;
    std::atomic<uint64_t> live_bytes{0};  // of both queues; read without the mutex as a hint
    std::atomic<bool> abandoned{false};   // see lock()
  };

  /// Where a key belongs.
  struct Place {
    uint64_t hash;
    Shard* shard;
    std::atomic<CachedSlice*>* bucket;
  };

  explicit Impl(uint64_t capacity_bytes)
      : capacity(capacity_bytes),
        live_capacity(capacity_bytes - std::min(capacity_bytes / kLimboShare, kMaxLimbo)),
        mapping_limit(std::clamp(capacity_bytes / (1 << 20), kMinMappings, kMaxMappings)) {
    uint64_t count = power_of_two_near(capacity / kShardFor, 1, kMaxShards);
    uint64_t buckets = power_of_two_near(capacity / kBucketFor, kMinBuckets, kMaxBuckets) / count;
    for (uint64_t i = 0; i < count; i++) shards.push_back(std::make_unique<Shard>(buckets));
    shard_mask = count - 1;
    bucket_mask = buckets - 1;
  }

  ~Impl() {
    for (auto& shard : shards) {
      for (auto& bucket : shard->buckets) {
        CachedSlice* next = nullptr;
        for (CachedSlice* s = bucket.load(std::memory_order_relaxed); s != nullptr; s = next) {
          next = s->next.load(std::memory_order_relaxed);
          s->unpin();
        }
      }
      CachedSlice* next = nullptr;
      for (CachedSlice* s = shard->first_retired; s != nullptr; s = next) {
        next = s->older;
        s->unpin();
      }
    }
  }

  Shard& shard_of(meta::ObjectId object) { return *shards[mix(object) & shard_mask]; }
  CachedSlice*& object_chain(Shard& shard, meta::ObjectId object) {
    return shard.objects[(mix(object) >> 8) & bucket_mask];
  }
  Place place_of(const SliceKey& key) {
    uint64_t hash = mix(mix(key.object) + key.offset);
    Shard& shard = shard_of(key.object);
    return {hash, &shard, &shard.buckets[hash & bucket_mask]};
  }

  /// Valid inside an epoch section, or under the shard's mutex.
  CachedSlice* find(const Place& place, const SliceKey& key) noexcept {
    CachedSlice* slice = place.bucket->load(std::memory_order_seq_cst);
    while (slice != nullptr && !(slice->key() == key))
      slice = slice->next.load(std::memory_order_seq_cst);
    return slice;
  }

  /// A forked child may inherit the mutex locked by a thread it does not have, and half of a
  /// change behind it. It then leaves that shard as it is: readers never see half of a change.
  std::unique_lock<std::mutex> lock(Shard& shard) noexcept {
    std::unique_lock lock(shard.mutex, std::try_to_lock);
    if (lock.owns_lock()) return lock;
    if (getpid() == pid) {
      lock.lock();
      return lock;
    }
    for (int i = 0; i < 200 && !shard.abandoned.load(std::memory_order_relaxed); i++) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      if (lock.try_lock()) return lock;
    }
    shard.abandoned.store(true, std::memory_order_relaxed);
    return lock;
  }

  /// Makes room for `bytes` and counts them as used; false if it cannot be had now.
  bool reserve(Shard& near, uint64_t bytes) noexcept {
    if (bytes > live_capacity) return false;
    ledger->used_bytes.fetch_add(bytes, std::memory_order_relaxed);
    for (uint64_t now = used(); now > live_capacity + limbo(); now = used())
      if (!evict_one(near)) break;
    for (int i = 0; used() > capacity; i++) {
      reclaim();
      if (used() <= capacity) break;
      if (i == kReclaimPatience) {
        release(bytes);
        return false;
      }
      std::this_thread::yield();  // a reader was interrupted inside its section
    }
    return true;
  }
  void release(uint64_t bytes) noexcept {
    ledger->used_bytes.fetch_sub(bytes, std::memory_order_relaxed);
  }

  uint64_t used() const { return ledger->used_bytes.load(std::memory_order_relaxed); }
  uint64_t limbo() const { return ledger->limbo_bytes.load(std::memory_order_relaxed); }

  /// Evicts from the fuller of `near` and a shard that changes with each call; from any other if
  /// these are empty.
  bool evict_one(Shard& near) noexcept {
    uint64_t turn = evict_turn.fetch_add(1, std::memory_order_relaxed);
    Shard& other = *shards[turn & shard_mask];
    bool other_fuller = other.live_bytes.load(std::memory_order_relaxed) >
                        near.live_bytes.load(std::memory_order_relaxed);
    if (evict_from(other_fuller ? other : near)) return true;
    for (auto& shard : shards)
      if (evict_from(*shard)) return true;
    return false;
  }

  bool evict_from(Shard& shard) noexcept {
    if (shard.live_bytes.load(std::memory_order_relaxed) == 0) return false;
    auto held = lock(shard);
    if (!held.owns_lock()) return false;
    CachedSlice* victim = choose_victim(shard);
    if (victim == nullptr) return false;
    if (victim->queue == CachedSlice::Queue::kSmall)
      shard.ghosts.add(place_of(victim->key()).hash, victim->charge);
    retire(shard, victim);
    evicted.fetch_add(1, std::memory_order_relaxed);
    return true;
  }

  // S3-FIFO (Yang et al., SOSP 2023), with bounds on the work of one call.
  CachedSlice* choose_victim(Shard& shard) noexcept {
    using Queue = CachedSlice::Queue;
    int reinsertions = 0;
    int pinned_skips = 0;
    for (;;) {
      SliceQueue& small = shard.small;
      SliceQueue& main = shard.main;
      bool from_small =
          main.oldest == nullptr ||
          (small.oldest != nullptr && small.bytes * kSmallShare > small.bytes + main.bytes);
      SliceQueue& queue = from_small ? small : main;
      CachedSlice* slice = queue.oldest;
      if (slice == nullptr || reinsertions == kMaxReinsertions) return slice;
      uint8_t references = slice->references();
      if (slice->pinned_by_others() && pinned_skips < kMaxPinnedSkips) {
        pinned_skips++;
        move(slice, queue, queue, slice->queue);
      } else if (references == 0) {
        return slice;
      } else {
        reinsertions++;
        slice->set_references(from_small ? 0 : static_cast<uint8_t>(references - 1));
        move(slice, queue, main, Queue::kMain);
      }
    }
  }
  static void move(CachedSlice* slice, SliceQueue& from, SliceQueue& to, CachedSlice::Queue name) {
    from.remove(slice);
    to.push(slice, name);
  }

  /// Takes a slice out of the table; it is freed when no reader can see it. The caller holds the
  /// shard's mutex.
  void retire(Shard& shard, CachedSlice* slice) noexcept {
    std::atomic<CachedSlice*>* link = place_of(slice->key()).bucket;
    while (link->load(std::memory_order_relaxed) != slice)
      link = &link->load(std::memory_order_relaxed)->next;
    link->store(slice->next.load(std::memory_order_relaxed), std::memory_order_seq_cst);

    (slice->object_previous != nullptr ? slice->object_previous->object_next
                                       : object_chain(shard, slice->key().object)) =
        slice->object_next;
    if (slice->object_next != nullptr) slice->object_next->object_previous = slice->object_previous;

    shard.live_bytes.fetch_sub(slice->charge, std::memory_order_relaxed);
    (slice->queue == CachedSlice::Queue::kSmall ? shard.small : shard.main).remove(slice);

    slice->limbo_charge = slice->charge;
    ledger->limbo_bytes.fetch_add(slice->charge, std::memory_order_relaxed);
    slice->retired = retirement_tag();
    slice->older = nullptr;
    (shard.last_retired != nullptr ? shard.last_retired->older : shard.first_retired) = slice;
    shard.last_retired = slice;
  }

  /// Drops the cache's pin on what was retired before the oldest reader came in.
  void reclaim() noexcept {
    if (limbo() == 0) return;
    uint64_t oldest = oldest_reader();
    for (auto& shard : shards) {
      auto held = lock(*shard);
      if (!held.owns_lock()) continue;
      CachedSlice* list = shard->first_retired;
      CachedSlice* end = list;
      while (end != nullptr && end->retired < oldest) end = end->older;
      shard->first_retired = end;
      if (end == nullptr) shard->last_retired = nullptr;
      held.unlock();
      while (list != end) {
        CachedSlice* next = list->older;
        ledger->limbo_bytes.fetch_sub(list->limbo_charge, std::memory_order_relaxed);
        list->unpin();
        list = next;
      }
    }
  }

  CachedSlice* find_pinned(const Place& place, const SliceKey& key) noexcept {
    EpochSection section;
    if (!section.entered()) return nullptr;
    CachedSlice* slice = find(place, key);
    if (slice != nullptr) slice->pin();
    return slice;
  }

  /// The slice, made at need, pinned for the caller; null if there is no room.
  CachedSlice* insert_pinned(const Place& place, const SliceKey& key, uint64_t length,
                             bool dense) noexcept {
    bool may_map = ledger->mapped_slices.load(std::memory_order_relaxed) < mapping_limit;
    uint64_t charge = CachedSlice::initial_charge(length, dense, may_map);
    if (!reserve(*place.shard, charge)) return nullptr;
    CachedSlice* fresh = CachedSlice::make(key, length, dense, may_map, ledger);
    if (fresh == nullptr) {
      release(charge);
      return nullptr;
    }
    fresh->charge = charge;
    auto held = lock(*place.shard);
    CachedSlice* slice = held.owns_lock() ? find(place, key) : nullptr;
    if (held.owns_lock() && slice == nullptr) {
      link(place, fresh);
      fresh->pin();
      return fresh;
    }
    if (slice != nullptr) slice->pin();  // another thread was first
    if (held.owns_lock()) held.unlock();
    fresh->unpin();
    return slice;
  }

  void link(const Place& place, CachedSlice* slice) noexcept {
    Shard& shard = *place.shard;
    CachedSlice*& chain = object_chain(shard, slice->key().object);
    slice->object_next = chain;
    if (chain != nullptr) chain->object_previous = slice;
    chain = slice;
    bool returns = shard.ghosts.contains(place.hash, shard.live_bytes);
    (returns ? shard.main : shard.small)
        .push(slice, returns ? CachedSlice::Queue::kMain : CachedSlice::Queue::kSmall);
    shard.live_bytes.fetch_add(slice->charge, std::memory_order_relaxed);
    slice->next.store(place.bucket->load(std::memory_order_relaxed), std::memory_order_relaxed);
    place.bucket->store(slice, std::memory_order_seq_cst);
  }

  /// Claims pages for the caller to fill and charges them to the slice; they are reserved already.
  /// `wanted`: a mask of word `word`.
  uint64_t claim(Shard& shard, CachedSlice* slice, uint64_t word, uint64_t wanted) noexcept {
    auto held = lock(shard);
    if (!held.owns_lock()) return 0;
    uint64_t claimed = slice->claim(word, wanted);
    if (slice->mapped() && claimed != 0) {
      uint64_t bytes = static_cast<uint64_t>(std::popcount(claimed)) * kPageBytes;
      slice->charge += bytes;
      if (slice->queue != CachedSlice::Queue::kNone) {
        (slice->queue == CachedSlice::Queue::kSmall ? shard.small : shard.main).bytes += bytes;
        shard.live_bytes.fetch_add(bytes, std::memory_order_relaxed);
      }
    }
    return claimed;
  }

  void fill_pages(Shard& shard, CachedSlice* slice, uint64_t first_page,
                  const PageBytes& bytes) noexcept;

  const uint64_t capacity;
  const uint64_t live_capacity;  // what is not in limbo stays below it
  const uint64_t mapping_limit;
  const pid_t pid = getpid();
  const std::shared_ptr<CacheLedger> ledger = std::make_shared<CacheLedger>();
  uint64_t shard_mask = 0;
  uint64_t bucket_mask = 0;
  std::vector<std::unique_ptr<Shard>> shards;
  std::atomic<uint64_t> evict_turn{0};
  std::atomic<uint64_t> evicted{0};
};

namespace {

/// Bits of word `word` that are pages in [first, end).
uint64_t word_mask(uint64_t word, uint64_t first, uint64_t end) {
  uint64_t base = word * 64;
  uint64_t mask = ~uint64_t{0};
  if (first > base) mask &= ~uint64_t{0} << (first - base);
  if (end < base + 64) mask &= ~(~uint64_t{0} << (end - base));
  return mask;
}

}  // namespace

void BlockCache::Impl::fill_pages(Shard& shard, CachedSlice* slice, uint64_t first_page,
                                  const PageBytes& bytes) noexcept {
  const uint64_t end_page = first_page + (bytes.size + kPageBytes - 1) / kPageBytes;
  const uint64_t first_word = first_page / 64;
  const uint64_t end_word = (end_page + 63) / 64;
  uint64_t reserved = 0;
  if (slice->mapped()) {
    for (uint64_t word = first_word; word < end_word; word++)
      reserved += static_cast<uint64_t>(std::popcount(
                      slice->unclaimed(word, word_mask(word, first_page, end_page)))) *
                  kPageBytes;
    if (reserved == 0 || !reserve(shard, reserved)) return;
  }
  uint64_t charged = 0;
  for (uint64_t word = first_word; word < end_word; word++) {
    uint64_t claimed = claim(shard, slice, word, word_mask(word, first_page, end_page));
    charged += static_cast<uint64_t>(std::popcount(claimed)) * kPageBytes;
    for (uint64_t rest = claimed; rest != 0;) {  // one run of pages after the other
      unsigned begin = static_cast<unsigned>(std::countr_zero(rest));
      unsigned run = static_cast<unsigned>(std::countr_one(rest >> begin));
      uint64_t at = (word * 64 + begin - first_page) * kPageBytes;
      uint64_t n = std::min<uint64_t>(run * kPageBytes, bytes.size - at);
      bytes.copy(at, n, slice->data() + first_page * kPageBytes + at);
      rest &= begin + run == 64 ? 0 : ~uint64_t{0} << (begin + run);
    }
    if (claimed != 0) slice->publish(word, claimed);
  }
  if (reserved != 0) release(reserved - charged);  // what others claimed meanwhile
}

CacheView::CacheView(CacheView&& other) noexcept
    : owner_(std::exchange(other.owner_, nullptr)), data_(std::exchange(other.data_, {})) {}

CacheView& CacheView::operator=(CacheView&& other) noexcept {
  if (this != &other) {
    unpin(owner_);
    owner_ = std::exchange(other.owner_, nullptr);
    data_ = std::exchange(other.data_, {});
  }
  return *this;
}

CacheView::~CacheView() { unpin(owner_); }

void* CacheView::release() noexcept {
  data_ = {};
  return std::exchange(owner_, nullptr);
}

void CacheView::unpin(void* owner) noexcept {
  if (owner != nullptr) static_cast<CachedSlice*>(owner)->unpin();
}

BlockCache::BlockCache(uint64_t capacity_bytes) : impl_(std::make_unique<Impl>(capacity_bytes)) {}
BlockCache::~BlockCache() = default;

bool BlockCache::read(const SliceKey& key, uint64_t offset, MutableBytes out) noexcept {
  if (out.empty()) return true;
  Impl::Place place = impl_->place_of(key);
  EpochSection section;
  if (!section.entered()) return false;
  CachedSlice* slice = impl_->find(place, key);
  if (slice == nullptr || offset > slice->length() || out.size() > slice->length() - offset)
    return false;
  uint64_t end = offset + out.size();
  if (!slice->present(offset / kPageBytes, (end + kPageBytes - 1) / kPageBytes)) return false;
  std::memcpy(out.data(), slice->data() + offset, out.size());
  slice->touch(offset, end);
  return true;
}

CacheView BlockCache::view(const SliceKey& key, uint64_t offset, uint64_t length) noexcept {
  CacheView view;
  Impl::Place place = impl_->place_of(key);
  EpochSection section;
  if (!section.entered()) return view;
  CachedSlice* slice = impl_->find(place, key);
  if (slice == nullptr || offset >= slice->length() || length == 0) return view;
  uint64_t end = offset + std::min(length, slice->length() - offset);
  uint64_t missing =
      slice->first_not_present(offset / kPageBytes, (end + kPageBytes - 1) / kPageBytes);
  end = std::min(end, missing * kPageBytes);
  if (end <= offset) return view;
  slice->pin();
  slice->touch(offset, end);
  view.owner_ = slice;
  view.data_ = {slice->data() + offset, end - offset};
  return view;
}

bool BlockCache::missing(const SliceKey& key, uint64_t first_page, uint64_t end_page,
                         uint64_t* miss_begin, uint64_t* miss_end) noexcept {
  *miss_begin = first_page;
  *miss_end = end_page;
  if (first_page >= end_page) return false;
  Impl::Place place = impl_->place_of(key);
  EpochSection section;
  if (!section.entered()) return true;
  CachedSlice* slice = impl_->find(place, key);
  if (slice == nullptr) return true;
  uint64_t inside = std::min(end_page, slice->pages());
  if (first_page >= inside) return true;
  *miss_begin = slice->first_not_present(first_page, inside);
  if (*miss_begin == inside) return inside < end_page;
  uint64_t found = slice->first_present(*miss_begin, inside);
  if (found < inside) *miss_end = found;
  return true;
}

void BlockCache::fill(const SliceKey& key, uint64_t slice_length, uint64_t first_page,
                      const PageBytes& bytes) noexcept {
  if (first_page > slice_length / kPageBytes) return;
  uint64_t begin = first_page * kPageBytes;
  uint64_t n = std::min<uint64_t>(bytes.size, slice_length - begin);
  if (begin + n < slice_length) n -= n % kPageBytes;
  if (n == 0) return;
  Impl::Place place = impl_->place_of(key);
  CachedSlice* slice = impl_->find_pinned(place, key);
  if (slice == nullptr)
    slice = impl_->insert_pinned(place, key, slice_length, n >= slice_length / 2);
  if (slice == nullptr) return;
  if (slice->length() == slice_length)
    impl_->fill_pages(*place.shard, slice, first_page, {bytes.data, n, bytes.stride});
  slice->unpin();
}

void BlockCache::erase(const SliceKey& key) noexcept {
  Impl::Place place = impl_->place_of(key);
  if (auto held = impl_->lock(*place.shard); held.owns_lock()) {
    CachedSlice* slice = impl_->find(place, key);
    if (slice == nullptr) return;
    impl_->retire(*place.shard, slice);
  }
  impl_->reclaim();
}

void BlockCache::erase_object(meta::ObjectId object) noexcept {
  Impl::Shard& shard = impl_->shard_of(object);
  if (auto held = impl_->lock(shard); held.owns_lock()) {
    CachedSlice* next = impl_->object_chain(shard, object);
    while (next != nullptr) {
      CachedSlice* slice = std::exchange(next, next->object_next);
      if (slice->key().object == object) impl_->retire(shard, slice);
    }
  }
  impl_->reclaim();
}

uint64_t BlockCache::used_bytes() const noexcept { return impl_->used(); }
uint64_t BlockCache::capacity_bytes() const noexcept { return impl_->capacity; }
uint64_t BlockCache::evictions() const noexcept {
  return impl_->evicted.load(std::memory_order_relaxed);
}

}  // namespace skerry::data
