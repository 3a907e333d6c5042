#include "meta/lock_list.h"

#include <algorithm>
#include <tuple>

#include "base/bytes.h"

namespace skerry::meta {

namespace {

// An encoded list: the format byte and a varint count. For each lock a byte (kind, and 4 for
// exclusive, and 8 for waiting) and varints: owner, first, length - 1, pid. Clients are varints.
constexpr uint8_t kLocksFormat = 1;
constexpr uint8_t kExclusive = 4, kWaiting = 8;
constexpr size_t kMinEncodedLock = 5;

bool touches(const FileLock& a, const FileLock& b) {
  const bool apart =
      (a.last < b.first && b.first - a.last > 1) || (b.last < a.first && a.first - b.last > 1);
  return !apart;
}

void change_range(std::vector<FileLock>* held, const FileLock& lock, bool clear) {
  std::vector<FileLock> next;
  next.reserve(held->size() + 2);
  FileLock joined = lock;
  for (const FileLock& h : *held) {
    if (!same_owner(h, lock)) {
      next.push_back(h);
    } else if (!clear && h.exclusive == lock.exclusive && touches(h, lock)) {
      joined.first = std::min(joined.first, h.first);
      joined.last = std::max(joined.last, h.last);
    } else if (h.last < lock.first || h.first > lock.last) {
      next.push_back(h);
    } else {
      if (h.first < lock.first) {
        next.push_back(h);
        next.back().last = lock.first - 1;
      }
      if (h.last > lock.last) {
        next.push_back(h);
        next.back().first = lock.last + 1;
      }
    }
  }
  if (!clear) next.push_back(joined);
  std::sort(next.begin(), next.end(), [](const FileLock& a, const FileLock& b) {
    return std::tie(a.kind, a.owner, a.first) < std::tie(b.kind, b.owner, b.first);
  });
  *held = std::move(next);
}

}  // namespace

bool any_held(const std::vector<FileLock>& locks) {
  return !std::all_of(locks.begin(), locks.end(), [](const FileLock& l) { return l.waiting; });
}

const FileLock* find_conflict(const std::vector<FileLock>& held, const FileLock& wanted,
                              bool same_client) {
  const FileLock* first = nullptr;
  for (const FileLock& h : held) {
    if (h.waiting || !excludes(h, wanted) || (same_client && same_owner(h, wanted))) continue;
    if (first == nullptr || h.first < first->first) first = &h;
  }
  return first;
}

void set_range(std::vector<FileLock>* held, const FileLock& lock) {
  change_range(held, lock, false);
}

void clear_range(std::vector<FileLock>* held, const FileLock& lock) {
  change_range(held, lock, true);
}

std::string encode_locks(const std::vector<FileLock>& locks) {
  std::string out;
  Encoder encoder(&out);
  encoder.fixed(kLocksFormat);
  encoder.varint(locks.size());
  for (const FileLock& lock : locks) {
    const auto kind = static_cast<uint8_t>(lock.kind);
    encoder.fixed(static_cast<uint8_t>(kind | (lock.exclusive ? kExclusive : 0) |
                                       (lock.waiting ? kWaiting : 0)));
    encoder.varint(lock.owner);
    encoder.varint(lock.first);
    encoder.varint(lock.last - lock.first);
    encoder.varint(lock.pid);
  }
  return out;
}

bool decode_locks(std::string_view encoded, std::vector<FileLock>* locks) {
  locks->clear();
  Decoder decoder(encoded);
  if (decoder.fixed<uint8_t>() != kLocksFormat) return false;
  const uint64_t count = decoder.varint();
  // A count that the remaining bytes cannot hold must not become an allocation.
  if (!decoder.ok() || count > decoder.remaining() / kMinEncodedLock) return false;
  locks->reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    FileLock lock;
    const auto type = decoder.fixed<uint8_t>();
    const auto kind = static_cast<LockKind>(type & ~(kExclusive | kWaiting));
    lock.kind = kind;
    lock.exclusive = (type & kExclusive) != 0;
    lock.waiting = (type & kWaiting) != 0;
    lock.owner = decoder.varint();
    lock.first = decoder.varint();
    const uint64_t more = decoder.varint();
    lock.pid = decoder.varint();
    if (kind != LockKind::kRecord && kind != LockKind::kFlock) break;
    if (lock.first > kLastLockByte || more > kLastLockByte - lock.first) break;
    lock.last = lock.first + more;
    locks->push_back(lock);
  }
  if (decoder.ok() && decoder.at_end() && locks->size() == count) return true;
  locks->clear();
  return false;
}

std::string encode_clients(const std::vector<ClientId>& clients) {
  std::string out;
  Encoder encoder(&out);
  encoder.fixed(kLocksFormat);
  encoder.varint(clients.size());
  for (ClientId client : clients) encoder.varint(client);
  return out;
}

bool decode_clients(std::string_view encoded, std::vector<ClientId>* clients) {
  clients->clear();
  Decoder decoder(encoded);
  if (decoder.fixed<uint8_t>() != kLocksFormat) return false;
  const uint64_t count = decoder.varint();
  if (!decoder.ok() || count > decoder.remaining()) return false;
  for (uint64_t i = 0; i < count; ++i) clients->push_back(decoder.varint());
  if (decoder.ok() && decoder.at_end()) return true;
  clients->clear();
  return false;
}

}  // namespace skerry::meta
