#include "data/block_format.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>

#include "base/crc32c.h"

namespace skerry::data {
namespace {

/// Multiplies a CRC by x^(8 * kPageBytes) with four lookups, so that a slice's CRC follows from its
/// pages' CRCs at no cost. The operation is linear: 32 products give the whole table.
class PageShift {
 public:
  PageShift() {
    for (unsigned lane = 0; lane < 4; lane++) {
      for (unsigned bit = 0; bit < 8; bit++)
        table_[lane][1u << bit] = crc32c_combine(1u << (8 * lane + bit), 0, kPageBytes);
      for (unsigned i = 1; i < 256; i++) {
        unsigned low = i & (~i + 1);
        if (low != i) table_[lane][i] = table_[lane][i ^ low] ^ table_[lane][low];
      }
    }
  }
  uint32_t operator()(uint32_t crc) const {
    return table_[0][crc & 0xff] ^ table_[1][(crc >> 8) & 0xff] ^ table_[2][(crc >> 16) & 0xff] ^
           table_[3][crc >> 24];
  }

 private:
  std::array<std::array<uint32_t, 256>, 4> table_{};
};

const PageShift& page_shift() {
  static const PageShift shift;
  return shift;
}

/// A bijection of either argument when the other is fixed (an odd multiple added, then the
/// finalizer of MurmurHash3): two pages of one slice, or one page index of two slices with
/// different CRCs, never share a value.
constexpr uint32_t mix(uint32_t slice_crc, uint64_t page) {
  uint32_t h = slice_crc + static_cast<uint32_t>(page + 1) * 0x9e3779b1u;
  h = (h ^ (h >> 16)) * 0x85ebca6bu;
  h = (h ^ (h >> 13)) * 0xc2b2ae35u;
  return h ^ (h >> 16);
}

constexpr uint64_t kIdsPerFolder = 1000;

}  // namespace

FramedSlice frame_slice(const std::vector<ByteView>& bytes) {
  const PageShift& shift = page_shift();
  FramedSlice framed;
  uint64_t length = 0;
  for (ByteView part : bytes) length += part.size();
  const uint64_t pages = (length + kPageBytes - 1) / kPageBytes;
  framed.checks.reserve(pages);
  framed.pieces.reserve(2 * pages);
  framed.framed_bytes = framed_size(length);
  for (ByteView part : bytes) {
    while (!part.empty()) {
      ByteView page = part.first(std::min<size_t>(part.size(), kPageBytes));
      part = part.subspan(page.size());
      uint32_t crc = crc32c(0, page);
      framed.crc = page.size() == kPageBytes ? shift(framed.crc) ^ crc
                                             : crc32c_combine(framed.crc, crc, page.size());
      framed.checks.push_back(crc);
      framed.pieces.push_back(page);
      framed.pieces.push_back(std::as_bytes(std::span(&framed.checks.back(), 1)));
    }
  }
  for (uint64_t i = 0; i < framed.checks.size(); i++) framed.checks[i] ^= mix(framed.crc, i);
  return framed;
}

void PageBytes::copy(uint64_t offset, uint64_t n, std::byte* out) const noexcept {
  if (stride == kPageBytes) {
    std::memcpy(out, data + offset, n);
    return;
  }
  while (n != 0) {
    const uint64_t in_page = offset % kPageBytes;
    const uint64_t step = std::min(n, kPageBytes - in_page);
    std::memcpy(out, data + offset / kPageBytes * stride + in_page, step);
    out += step;
    offset += step;
    n -= step;
  }
}

Result<PageBytes> check_pages(uint32_t slice_crc, uint64_t first_page, ByteView framed,
                              uint64_t payload_bytes) {
  if (framed.size() != framed_size(payload_bytes))
    return Error(EIO, "stored pages have the wrong length: " + std::to_string(framed.size()) +
                          " bytes where " + std::to_string(framed_size(payload_bytes)) +
                          " were expected");
  const std::byte* from = framed.data();
  for (uint64_t left = payload_bytes, page = first_page; left != 0; page++) {
    const uint64_t n = std::min(left, kPageBytes);
    uint32_t check;
    std::memcpy(&check, from + n, sizeof check);
    if ((crc32c(0, {from, n}) ^ mix(slice_crc, page)) != check)
      return Error(EIO, "page " + std::to_string(page) + " fails its checksum");
    from += n + kPageCheckBytes;
    left -= n;
  }
  return PageBytes{framed.data(), payload_bytes, kFramedPageBytes};
}

// "chunks/000/000/1", "chunks/012/345/12345678", "chunks/1234/567/1234567890": a folder holds at
// most a thousand objects or folders until ids pass 10^9. Keys sort by folder first and then as
// text ("10" before "9"), so their order is not that of the ids.
std::string object_key(meta::ObjectId id) {
  char key[64];
  int n = std::snprintf(key, sizeof key, "%s%03llu/%03llu/%llu", kObjectPrefix,
                        static_cast<unsigned long long>(id / (kIdsPerFolder * kIdsPerFolder)),
                        static_cast<unsigned long long>(id / kIdsPerFolder % kIdsPerFolder),
                        static_cast<unsigned long long>(id));
  return {key, static_cast<size_t>(n)};
}

meta::ObjectId object_id_of_key(std::string_view key) {
  size_t slash = key.rfind('/');
  if (slash == std::string_view::npos) return 0;
  const char* begin = key.data() + slash + 1;
  const char* end = key.data() + key.size();
  meta::ObjectId id = 0;
  auto [stop, error] = std::from_chars(begin, end, id);
  if (error != std::errc() || stop != end || id > INT64_MAX) return 0;
  return object_key(id) == key ? id : 0;  // id 0 is no object's
}

}  // namespace skerry::data
