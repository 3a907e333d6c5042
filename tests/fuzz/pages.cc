// Framed pages from anywhere: accepted only if framing the payload gives the same bytes.
#include <cstdlib>
#include <cstring>

#include "data/block_format.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace skerry;
  using namespace skerry::data;
  if (size < 6) return 0;
  uint32_t crc;
  std::memcpy(&crc, data, 4);
  uint64_t first_page = data[4];
  ByteView framed(reinterpret_cast<const std::byte*>(data + 5), size - 5);
  // The payload size that such a framed size stands for, if any.
  uint64_t pages = (framed.size() + kFramedPageBytes - 1) / kFramedPageBytes;
  if (framed.size() < pages * kPageCheckBytes) return 0;
  std::vector<std::byte> out(framed.size() - pages * kPageCheckBytes);
  if (framed_size(out.size()) != framed.size()) return 0;
  Result<PageBytes> payload = check_pages(crc, first_page, framed, out.size());
  if (!payload.ok()) return 0;
  payload->copy(0, out.size(), out.data());
  if (first_page != 0) return 0;
  FramedSlice again = frame_slice({ByteView(out)});
  if (again.crc != crc) return 0;  // pages of a longer slice may pass; a whole slice must agree
  std::vector<std::byte> bytes;
  for (auto piece : again.pieces) bytes.insert(bytes.end(), piece.begin(), piece.end());
  if (bytes.size() != framed.size() || std::memcmp(bytes.data(), framed.data(), bytes.size()) != 0)
    abort();
  return 0;
}
