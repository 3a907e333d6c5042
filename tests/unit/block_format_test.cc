#include "data/block_format.h"

#include <catch2/catch.hpp>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "base/crc32c.h"
#include "support/random_bytes.h"

using namespace skerry;
using namespace skerry::data;

namespace {

std::vector<std::byte> joined(const FramedSlice& framed) {
  std::vector<std::byte> bytes;
  for (ByteView piece : framed.pieces) bytes.insert(bytes.end(), piece.begin(), piece.end());
  return bytes;
}

bool accepts(uint32_t crc, uint64_t first_page, ByteView framed, size_t length) {
  Result<PageBytes> payload = check_pages(crc, first_page, framed, length);
  if (!payload.ok()) CHECK(payload.error().code() == EIO);
  return payload.ok();
}

const std::vector<size_t> kSizes = {1,
                                    2,
                                    7,
                                    8,
                                    4095,
                                    4096,
                                    kPageBytes - 1,
                                    kPageBytes,
                                    kPageBytes + 1,
                                    2 * kPageBytes - 1,
                                    2 * kPageBytes,
                                    2 * kPageBytes + 1,
                                    100 * 1024,
                                    (1 << 20) + 123};

}  // namespace

TEST_CASE("block format: slices of every size come back", "[data][format]") {
  for (size_t size : kSizes) {
    CAPTURE(size);
    auto bytes = random_bytes(size, size);
    FramedSlice framed = frame_slice({ByteView(bytes)});
    CHECK(framed.crc == crc32c(0, bytes));
    CHECK(framed.framed_bytes == framed_size(size));
    auto stored = joined(framed);
    REQUIRE(stored.size() == framed.framed_bytes);
    std::vector<std::byte> out(size);
    Result<PageBytes> payload = check_pages(framed.crc, 0, stored, size);
    REQUIRE(payload.ok());
    payload->copy(0, size, out.data());
    CHECK(out == bytes);
    // A part across pages, and from each page on.
    const size_t from = size / 3, n = size - from - size / 4;
    std::vector<std::byte> part(n);
    payload->copy(from, n, part.data());
    CHECK(std::equal(part.begin(), part.end(), bytes.begin() + static_cast<ptrdiff_t>(from)));
    for (uint64_t page = 1; page * kPageBytes < size; page++) {
      ByteView rest = ByteView(stored).subspan(page * kFramedPageBytes);
      CHECK(accepts(framed.crc, page, rest, size - page * kPageBytes));
    }
  }
}

TEST_CASE("block format: an empty slice is empty", "[data][format]") {
  FramedSlice framed = frame_slice({});
  CHECK(framed.pieces.empty());
  CHECK(framed.crc == 0);
  CHECK(framed_size(0) == 0);
  CHECK(check_pages(0, 0, {}, 0).ok());
}

TEST_CASE("block format: parts give what the whole gives", "[data][format]") {
  auto bytes = random_bytes(5 * kPageBytes + 77, 1);
  ByteView all(bytes);
  FramedSlice whole = frame_slice({all});
  FramedSlice parts = frame_slice({all.first(kPageBytes), all.subspan(kPageBytes, 3 * kPageBytes),
                                   all.subspan(4 * kPageBytes)});
  CHECK(whole.crc == parts.crc);
  CHECK(joined(whole) == joined(parts));
}

TEST_CASE("block format: every flipped bit is found", "[data][format]") {
  for (size_t size : {size_t{1}, size_t{100}, kPageBytes + 5}) {
    auto bytes = random_bytes(size, 3);
    FramedSlice framed = frame_slice({ByteView(bytes)});
    auto stored = joined(framed);
    size_t step = size > 1000 ? 37 : 1;
    for (size_t bit = 0; bit < stored.size() * 8; bit += step) {
      stored[bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
      REQUIRE_FALSE(accepts(framed.crc, 0, stored, size));
      stored[bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
    }
    for (unsigned bit = 0; bit < 32; bit++)
      CHECK_FALSE(accepts(framed.crc ^ (1u << bit), 0, stored, size));
  }
}

TEST_CASE("block format: truncated and shifted slices are found", "[data][format]") {
  auto bytes = random_bytes(3 * kPageBytes + 10, 4);
  FramedSlice framed = frame_slice({ByteView(bytes)});
  auto stored = joined(framed);
  for (size_t cut : {size_t{1}, size_t{4}, size_t{14}, kFramedPageBytes, stored.size()})
    CHECK_FALSE(accepts(framed.crc, 0, ByteView(stored).first(stored.size() - cut), bytes.size()));
  // The cut slice under the length it now has: its last page has lost its check.
  size_t left = 3 * kFramedPageBytes - 1 - 3 * kPageCheckBytes;
  CHECK_FALSE(accepts(framed.crc, 0, ByteView(stored).first(framed_size(left)), left));
  CHECK_FALSE(accepts(framed.crc, 0, ByteView(stored).subspan(1, framed_size(100)), 100));
}

TEST_CASE("block format: pages of another place or slice are found", "[data][format]") {
  // Worst case: pages with the same content.
  std::vector<std::byte> same(4 * kPageBytes, std::byte{42});
  FramedSlice framed = frame_slice({ByteView(same)});
  auto stored = joined(framed);
  auto page = [&](size_t i) {
    return ByteView(stored).subspan(i * kFramedPageBytes, kFramedPageBytes);
  };
  for (uint64_t a = 0; a < 4; a++)
    for (uint64_t b = 0; b < 4; b++) CHECK(accepts(framed.crc, a, page(b), kPageBytes) == (a == b));

  std::vector<std::byte> longer(5 * kPageBytes, std::byte{42});
  FramedSlice other = frame_slice({ByteView(longer)});
  REQUIRE(other.crc != framed.crc);
  for (uint64_t i = 0; i < 4; i++) CHECK_FALSE(accepts(other.crc, i, page(i), kPageBytes));
}

TEST_CASE("block format: random swaps of pages are found", "[data][format]") {
  auto bytes = random_bytes(16 * kPageBytes, 5);
  FramedSlice framed = frame_slice({ByteView(bytes)});
  for (size_t i = 0; i < 15; i++) {
    auto stored = joined(framed);
    std::swap_ranges(stored.begin() + static_cast<long>(i * kFramedPageBytes),
                     stored.begin() + static_cast<long>((i + 1) * kFramedPageBytes),
                     stored.begin() + static_cast<long>((i + 1) * kFramedPageBytes));
    CHECK_FALSE(accepts(framed.crc, 0, stored, bytes.size()));
  }
}

TEST_CASE("block format: keys", "[data][format]") {
  CHECK(object_key(1) == "chunks/000/000/1");
  CHECK(object_key(12345678) == "chunks/012/345/12345678");
  CHECK(object_key(1234567890) == "chunks/1234/567/1234567890");
  std::set<std::string> keys;
  for (meta::ObjectId id :
       std::vector<meta::ObjectId>{1, 9, 10, 999, 1000, 1001, 999'999, 1'000'000, 999'999'999,
                                   1'000'000'000, uint64_t{1} << 40, INT64_MAX}) {
    CHECK(object_id_of_key(object_key(id)) == id);
    CHECK(keys.insert(object_key(id)).second);
  }
  for (const char* key :
       {"", "/", "chunks/", "chunks/000/000/", "chunks/000/000/0", "chunks/000/000/01",
        "chunks/000/001/1", "chunks/0/0/1", "chunks/000/000/1 ", "chunks/000/000/+1",
        "chunks/000/000/1/", "Chunks/000/000/1", "/chunks/000/000/1", "chunks/000/000/-1",
        "chunks/9223372036854/775/9223372036854775808",
        "chunks/18446744073709/551/18446744073709551616", "volume.json"})
    CHECK(object_id_of_key(key) == 0);
}
