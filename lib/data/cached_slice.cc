#include "data/cached_slice.h"

#include <sys/mman.h>

#include <cstdlib>
#include <new>

namespace skerry::data {
namespace {

constexpr uint64_t kSystemPage = 4096;
// A mapping costs nothing for pages that are not touched, but a system call, page faults and one of
// the process's 65,530 map entries: it is for slices that are large or stay mostly empty.
constexpr uint64_t kMapFrom = 1 << 20;
constexpr uint64_t kMapSparseFrom = 128 << 10;
constexpr uint64_t kHugeFrom = 2 << 20;
constexpr uint64_t kDataAlignment = 64;

bool wants_mapping(uint64_t length, bool dense, bool may_map) {
  return may_map && (length >= kMapFrom || (!dense && length >= kMapSparseFrom));
}

uint64_t round_up(uint64_t n, uint64_t to) { return (n + to - 1) / to * to; }

}  // namespace

uint64_t CachedSlice::initial_charge(uint64_t length, bool dense, bool may_map) noexcept {
  return header_bytes(length) +
         (wants_mapping(length, dense, may_map) ? 0 : length + kDataAlignment);
}

CachedSlice* CachedSlice::make(const SliceKey& key, uint64_t length, bool dense, bool may_map,
                               std::shared_ptr<CacheLedger> ledger) noexcept {
  uint64_t mapped_bytes = 0;
  void* mapping = nullptr;
  if (wants_mapping(length, dense, may_map)) {
    mapped_bytes = round_up(length, kSystemPage);
    mapping = mmap(nullptr, mapped_bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) return nullptr;
    // Best effort: where it cannot be had, small pages do.
    if (dense && length >= kHugeFrom) madvise(mapping, mapped_bytes, MADV_HUGEPAGE);
  }
  uint64_t header = header_bytes(length);
  uint64_t bytes = header + (mapping == nullptr ? kDataAlignment + length : 0);
  // Room to align the header as well: malloc aligns to 16.
  void* memory = std::aligned_alloc(alignof(CachedSlice), round_up(bytes, alignof(CachedSlice)));
  if (memory == nullptr) {
    if (mapping != nullptr) munmap(mapping, mapped_bytes);
    return nullptr;
  }
  auto* slice = new (memory) CachedSlice(key, length, std::move(ledger));
  for (uint64_t i = 0; i < kBitmaps * words_for(length); i++)
    new (slice->bitmap(kPresent) + i) std::atomic<uint64_t>(0);
  slice->mapped_bytes_ = mapped_bytes;
  slice->data_ = static_cast<std::byte*>(
      mapping != nullptr ? mapping
                         : reinterpret_cast<void*>(round_up(
                               reinterpret_cast<uintptr_t>(memory) + header, kDataAlignment)));
  if (mapping != nullptr) slice->ledger_->mapped_slices.fetch_add(1, std::memory_order_relaxed);
  return slice;
}

void CachedSlice::destroy() noexcept {
  ledger_->used_bytes.fetch_sub(charge, std::memory_order_relaxed);
  if (mapped()) {
    ledger_->mapped_slices.fetch_sub(1, std::memory_order_relaxed);
    munmap(data_, mapped_bytes_);
  }
  this->~CachedSlice();
  std::free(this);
}

}  // namespace skerry::data
