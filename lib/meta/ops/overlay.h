// What of a chunk's extents a reader sees: later commits overlay earlier ones.
#pragma once

#include <span>
#include <vector>

#include "meta/records.h"

namespace skerry::meta {

/// The visible pieces of one chunk within [begin, end) (offsets in the chunk), sorted and without
/// overlap; what they leave out reads as zeros, so zero extents are not among them. `records` are
/// all of that chunk in seq order. A piece keeps its object, slice and CRC; slice_skip tells where
/// in the slice it begins. O(n log n), linear for a file written in sequence.
std::vector<Extent> resolve_overlay(std::span<const ExtentRecord> records, uint64_t begin = 0,
                                    uint64_t end = kChunkSize);

}  // namespace skerry::meta
