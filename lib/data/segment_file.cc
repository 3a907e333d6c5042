#include "data/segment_file.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/crc32c.h"

namespace skerry::data {
namespace {

constexpr char kMagic[] = "SKERRYDC";
constexpr uint32_t kVersion = 1;
constexpr size_t kMaxVolumeName = 40;
constexpr size_t kCheckAt = kSegmentHeaderBytes - sizeof(uint32_t);

bool is_name_character(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-';
}

/// Everything but the pages and the check.
std::string identity(std::string_view volume, const SegmentKey& key) {
  std::string out(kMagic);
  Encoder encoder(&out);
  encoder.fixed(kVersion);
  out.append(volume);
  out.append(kMaxVolumeName - volume.size(), '\0');
  encoder.fixed(key.slice_crc);
  encoder.fixed(key.object);
  encoder.fixed(key.offset);
  encoder.fixed(key.slice_length);
  encoder.fixed(key.segment);
  return out;
}

/// Removes a number and the dash before it from the end of `*name`.
bool drop_number(std::string_view* name) {
  const size_t dash = name->rfind('-');
  if (dash == std::string_view::npos || dash + 1 == name->size()) return false;
  if (name->find_first_not_of("0123456789", dash + 1) != std::string_view::npos) return false;
  *name = name->substr(0, dash);
  return true;
}

}  // namespace

SegmentKey segment_of(const meta::Extent& extent, uint64_t page) {
  return {extent.object, extent.object_offset, extent.slice_length, extent.crc,
          page / kSegmentPages};
}

PageMask SegmentKey::all_pages() const {
  const uint64_t begin = first_page() * kPageBytes;
  if (begin >= slice_length) return 0;
  const uint64_t pages = (slice_length - begin + kPageBytes - 1) / kPageBytes;
  return page_mask(0, std::min(pages, kSegmentPages));
}

uint64_t SegmentKey::framed_bytes(PageMask pages) const {
  if (pages == 0) return 0;
  uint64_t bytes = static_cast<uint64_t>(std::popcount(pages)) * kFramedPageBytes;
  // The slice's last page may be shorter than a page.
  const uint64_t last = first_page() + static_cast<uint64_t>(std::bit_width(pages));
  if (last * kPageBytes > slice_length) bytes -= last * kPageBytes - slice_length;
  return bytes;
}

SegmentHeader encode_segment_header(std::string_view volume, const SegmentKey& key,
                                    PageMask pages) {
  std::string text = identity(volume, key);
  Encoder(&text).fixed(pages);
  SegmentHeader header{};
  std::memcpy(header.data(), text.data(), text.size());
  const uint32_t check = crc32c(0, ByteView(header).first(kCheckAt));
  std::memcpy(header.data() + kCheckAt, &check, sizeof check);
  return header;
}

std::optional<PageMask> decode_segment_header(ByteView header, std::string_view volume,
                                              const SegmentKey& key) {
  const std::string wanted = identity(volume, key);
  uint32_t check;
  std::memcpy(&check, header.data() + kCheckAt, sizeof check);
  if (crc32c(0, header.first(kCheckAt)) != check) return std::nullopt;
  if (std::memcmp(header.data(), wanted.data(), wanted.size()) != 0) return std::nullopt;
  PageMask pages;
  std::memcpy(&pages, header.data() + wanted.size(), sizeof pages);
  if (pages == 0 || (pages & ~key.all_pages()) != 0) return std::nullopt;
  return pages;
}

bool valid_volume_name(std::string_view volume) {
  return !volume.empty() && volume.size() <= kMaxVolumeName &&
         std::all_of(volume.begin(), volume.end(), is_name_character);
}

std::string segment_name(std::string_view volume, const SegmentKey& key) {
  return std::string(volume) + "-" + std::to_string(key.object) + "-" + std::to_string(key.offset) +
         "-" + std::to_string(key.segment);
}

bool is_segment_name(std::string_view name) {
  for (int number = 0; number < 3; number++)
    if (!drop_number(&name)) return false;
  return valid_volume_name(name);
}

uint8_t segment_folder(std::string_view volume, const SegmentKey& key) {
  const std::string name = segment_name(volume, key);
  const uint32_t crc = crc32c(0, as_bytes(name));
  return static_cast<uint8_t>(crc ^ crc >> 8 ^ crc >> 16 ^ crc >> 24);
}

}  // namespace skerry::data
