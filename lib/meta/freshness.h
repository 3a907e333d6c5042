// Freshness: which cached records are current enough for one call.
//
// Every cached record carries a mark, taken before the read that filled it (Meta::mark()). On a
// store whose generation() proves that nothing has changed the mark is that generation, and it
// counts while the store still returns the same. On any other the mark is the client's monotonic
// time, and counts for as long as the volume's consistency lets it: see Meta::freshness().
#pragma once

#include <cstdint>

namespace skerry::meta {

struct Freshness {
  // Nothing counts unless said otherwise: no record has this mark.
  uint64_t oldest = UINT64_MAX;
  uint64_t span = 0;     // marks from oldest to oldest + span count
  uint64_t began = 0;    // of the call
  bool* aged = nullptr;  // OpContext::aged

  bool covers(uint64_t mark) const noexcept {
    if (mark - oldest > span) return false;
    if (aged != nullptr && mark < began) *aged = true;
    return true;
  }
};

/// What the client of a store that has no exact generation may be told of others' changes.
enum class Consistency : uint8_t {
  kStrict,       // every answer is current as of its call
  kCloseToOpen,  // what an open tells is; other answers may be as old as the lease
  kLeased,       // every answer may be as old as the lease
};

}  // namespace skerry::meta
