// How a segment of a slice lies in a file of the disk cache.
//
// A slice is cut into segments of 32 pages (256 KiB); what is kept of one is one file:
//   header    128 bytes: "SKERRYDC", version, volume, object, offset, slice length, slice checksum,
//             segment, which of its pages are there, and a CRC32C of all that
//   pages     those that are there, in order, each with its check as it lies in the object
// The header says whose bytes they are and the checks, which the metadata vouches for
// (block_format.h), that they are these bytes: a file of another volume, object or position is
// never taken for this one, wherever it was moved to.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "data/block_format.h"
#include "meta/records.h"

namespace skerry::data {

inline constexpr uint64_t kSegmentPages = 32;
inline constexpr uint64_t kSegmentHeaderBytes = 128;
inline constexpr uint64_t kSegmentBytes = kSegmentPages * kFramedPageBytes;  // of pages, at most

/// Which pages of a segment: bit i for its page i.
using PageMask = uint32_t;
/// The pages [begin, end) of a segment.
constexpr PageMask page_mask(uint64_t begin, uint64_t end) {
  return static_cast<PageMask>((uint64_t{1} << end) - (uint64_t{1} << begin));
}

/// One segment of one slice.
struct SegmentKey {
  meta::ObjectId object = 0;
  uint64_t offset = 0;  // of the slice in the object
  uint64_t slice_length = 0;
  uint32_t slice_crc = 0;
  uint64_t segment = 0;

  friend bool operator==(const SegmentKey&, const SegmentKey&) = default;
  uint64_t first_page() const { return segment * kSegmentPages; }
  /// Stored size of these pages, all within the slice.
  uint64_t framed_bytes(PageMask pages) const;
  /// The pages that the slice has in this segment.
  PageMask all_pages() const;
};
SegmentKey segment_of(const meta::Extent& extent, uint64_t page);

using SegmentHeader = std::array<std::byte, kSegmentHeaderBytes>;

/// `volume`: see valid_volume_name().
SegmentHeader encode_segment_header(std::string_view volume, const SegmentKey& key, PageMask pages);
/// The pages that the file has; nothing if the header is damaged or of something else.
std::optional<PageMask> decode_segment_header(ByteView header, std::string_view volume,
                                              const SegmentKey& key);

/// Letters, digits and dashes, 1 to 40, as a UUID is.
bool valid_volume_name(std::string_view volume);
/// "<volume>-<object>-<offset>-<segment>".
std::string segment_name(std::string_view volume, const SegmentKey& key);
/// Whether some segment has this name.
bool is_segment_name(std::string_view name);
/// Which of the cache's 256 folders the segment is in.
uint8_t segment_folder(std::string_view volume, const SegmentKey& key);

}  // namespace skerry::data
