// A frame header from anywhere: what is accepted is consistent, and encodes to the same bytes.
#include <cstdlib>
#include <cstring>

#include "object/decorators/frame_format.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace skerry;
  const ByteView bytes(reinterpret_cast<const std::byte*>(data), size);
  auto length = frame_header_size(bytes);
  auto header = decode_frame_header(bytes);
  if (!header.ok()) {
    if (header.error().code() != EBADMSG || header.error().message().empty()) abort();
    return 0;
  }
  if (!length.ok() || *length != size || header->header_bytes() != size) abort();
  uint64_t plain = 0, stored = header->header_bytes();
  for (size_t i = 0; i < header->frames.size(); ++i) {
    if (header->offset_of(i) != stored) abort();
    if (header->frames[i].bytes > header->plain_bytes_of(i)) abort();
    plain += header->plain_bytes_of(i);
    stored += header->frames[i].bytes + header->tag_bytes();
  }
  if (plain != header->plain_bytes || header->offset_of(header->frames.size()) != stored) abort();
  std::string again = encode_frame_header(*header);
  std::memcpy(again.data() + FrameHeader::kSealOffset, data + FrameHeader::kSealOffset,
              FrameHeader::kSealBytes);
  if (again.size() != size || std::memcmp(again.data(), data, size) != 0) abort();
  if (!header->encrypted) {
    Status sealed = check_frame_header(bytes, nullptr);
    if (!sealed.ok() && sealed.error().code() != EBADMSG) abort();
  }
  return 0;
}
