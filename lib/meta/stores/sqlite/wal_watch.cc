#include "meta/stores/sqlite/wal_watch.h"

namespace skerry::meta::sqlite {

WalWatch::Words WalWatch::load(const void* header) noexcept {
  const auto* from = static_cast<const uint64_t*>(header);
  Words words;
  for (size_t i = 0; i < kWords; ++i) words[i] = __atomic_load_n(from + i, __ATOMIC_ACQUIRE);
  return words;
}

bool WalWatch::is_known(const Words& words) const noexcept {
  uint64_t difference = 0;
  for (size_t i = 0; i < kWords; ++i) {
    difference |= words[i] ^ known_[i].load(std::memory_order_acquire);
  }
  return difference == 0;
}

void WalWatch::set_known(const Words& words) noexcept {
  for (size_t i = 0; i < kWords; ++i) known_[i].store(words[i], std::memory_order_release);
}

void WalWatch::count_other() noexcept {
  // Before the words become known: who finds them known has to read the new number.
  generation_.fetch_add(1, std::memory_order_acq_rel);
}

void WalWatch::attach(const void* wal_index_header) noexcept {
  header_.store(wal_index_header, std::memory_order_release);
}

uint64_t WalWatch::generation() noexcept {
  const void* header = header_.load(std::memory_order_acquire);
  if (header == nullptr) return generation_.fetch_add(1, std::memory_order_acq_rel) + 1;
  const uint64_t before = sequence_.load(std::memory_order_acquire);
  if (before & 1) return counted();
  const bool known = is_known(load(header));
  if (known && sequence_.load(std::memory_order_acquire) == before) return counted();
  return count_unless_ours();
}

uint64_t WalWatch::count_unless_ours() noexcept {
  std::lock_guard lock(mutex_);
  // Under the mutex `sequence_` cannot turn odd, so a difference is another's commit.
  if ((sequence_.load(std::memory_order_relaxed) & 1) == 0) {
    const Words words = load(header_.load(std::memory_order_relaxed));
    if (!is_known(words)) {
      count_other();
      set_known(words);
    }
  }
  return counted();
}

void WalWatch::write_locked(const void* wal_index_header) noexcept {
  std::lock_guard lock(mutex_);
  if (wal_index_header != nullptr && !is_known(load(wal_index_header))) count_other();
  sequence_.fetch_add(1, std::memory_order_acq_rel);
}

void WalWatch::write_unlocking(const void* wal_index_header) noexcept {
  std::lock_guard lock(mutex_);
  if (wal_index_header != nullptr) set_known(load(wal_index_header));
  sequence_.fetch_add(1, std::memory_order_acq_rel);
}

void WalWatch::recovering() noexcept { count_other(); }

}  // namespace skerry::meta::sqlite
