// What the locks of one file mean: conflicts, and how an owner's ranges change. Plain functions
// over lists; a list is sorted by kind, owner and first byte, ranges of one owner never overlap,
// and those of one type never touch (fcntl(2), "Advisory record locking"). What is only waited for
// (FileLock::waiting) stands behind, in records alone.
#pragma once

#include <vector>

#include "meta/records.h"

namespace skerry::meta {

/// More ranges of one file than a client may hold: ENOLCK.
inline constexpr size_t kMaxLocksOfFile = 16384;

inline bool same_owner(const FileLock& a, const FileLock& b) {
  return a.kind == b.kind && a.owner == b.owner;
}

/// Whether both cannot be held at once, if their owners are different ones.
inline bool excludes(const FileLock& a, const FileLock& b) {
  return a.kind == b.kind && (a.exclusive || b.exclusive) && a.first <= b.last && b.first <= a.last;
}

/// Whether anything of the list is held, and not only waited for.
bool any_held(const std::vector<FileLock>& locks);

/// The first lock of the list that keeps `wanted` from being taken, or null. `same_client`: locks
/// of the same owner number are the asker's own.
const FileLock* find_conflict(const std::vector<FileLock>& held, const FileLock& wanted,
                              bool same_client);

/// The owner of `lock` holds its range with its type from now on: what overlaps is replaced (and
/// split where more of it remains), what touches and has the same type is joined.
void set_range(std::vector<FileLock>* held, const FileLock& lock);
/// The owner of `lock` holds nothing of its range any more.
void clear_range(std::vector<FileLock>* held, const FileLock& lock);

}  // namespace skerry::meta
