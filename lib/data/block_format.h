// How a slice lies in an object: self-checking pages.
//
// A slice's bytes are cut into pages of 8 KiB (the last may be shorter); each page is followed by
// four bytes, little-endian: crc32c(page) XOR mix(slice_crc, page index), where slice_crc is the
// CRC32C of the whole slice, kept in the extent record. So any range of pages can be fetched and
// checked by itself (a random 128 KiB read fetches at most 6 % more than it wants), and a page of
// another slice, another position or another object never passes for this one: what is in the
// object is believed only as far as the metadata vouches for it.
// A block is an object with one slice at offset 0; a pack holds several, one behind the other.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "meta/records.h"

namespace skerry::data {

inline constexpr uint64_t kPageBytes = 8192;
inline constexpr uint64_t kPageCheckBytes = 4;
inline constexpr uint64_t kFramedPageBytes = kPageBytes + kPageCheckBytes;

/// Stored size of a slice of `length` bytes.
constexpr uint64_t framed_size(uint64_t length) {
  return length + (length + kPageBytes - 1) / kPageBytes * kPageCheckBytes;
}

/// A slice ready to be stored: views of the caller's pages and of the checks, in order. May be
/// moved, not copied (`pieces` point into `checks`).
struct FramedSlice {
  FramedSlice() = default;
  FramedSlice(FramedSlice&&) = default;
  FramedSlice& operator=(FramedSlice&&) = default;

  std::vector<ByteView> pieces;  // borrowed from the slice's bytes and from `checks`
  std::vector<uint32_t> checks;
  uint32_t crc = 0;  // of the whole slice
  uint64_t framed_bytes = 0;
};
/// `bytes` (given in contiguous parts; every part but the last a multiple of kPageBytes) must
/// outlive the result.
FramedSlice frame_slice(const std::vector<ByteView>& bytes);

/// The payload of consecutive pages in memory, each `stride` bytes after the one before.
struct PageBytes {
  const std::byte* data = nullptr;
  uint64_t size = 0;             // of the payload: whole pages but for the last
  uint64_t stride = kPageBytes;  // or kFramedPageBytes
  /// Copies `n` bytes from `offset` of the payload on.
  void copy(uint64_t offset, uint64_t n, std::byte* out) const noexcept;
};
inline PageBytes plain_pages(ByteView bytes) { return {bytes.data(), bytes.size(), kPageBytes}; }

/// Checks the framed pages [first_page, ...) of a slice in `framed`, which hold `payload_bytes`
/// (whole pages but for the slice's last), and says where the payload is. EIO naming the page on a
/// mismatch.
Result<PageBytes> check_pages(uint32_t slice_crc, uint64_t first_page, ByteView framed,
                              uint64_t payload_bytes);

/// "chunks/{id / 1e6}/{id / 1e3 % 1e3}/{id}", the folders padded to three digits. Keys are not in
/// the order of their ids.
std::string object_key(meta::ObjectId id);
/// The id whose object_key() is exactly `key`, 0 if there is none.
meta::ObjectId object_id_of_key(std::string_view key);
inline constexpr char kObjectPrefix[] = "chunks/";

}  // namespace skerry::data
