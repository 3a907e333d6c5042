#include "meta/ops/overlay.h"

#include <catch2/catch.hpp>
#include <random>

namespace skerry::meta {

namespace {

constexpr uint64_t kModelBytes = 64;

/// Which byte of which object lies at each position: object * 1000 + position in its slice.
std::vector<uint64_t> model(const std::vector<ExtentRecord>& records) {
  std::vector<uint64_t> bytes(kModelBytes, 0);
  for (const ExtentRecord& record : records) {
    for (const Extent& e : record.extents) {
      for (uint64_t i = 0; i < e.length; ++i) {
        bytes[e.chunk_offset + i] = e.object == 0 ? 0 : e.object * 1000 + e.slice_skip + i;
      }
    }
  }
  return bytes;
}

void require_same(const std::vector<ExtentRecord>& records, uint64_t begin, uint64_t end) {
  const std::vector<uint64_t> expected = model(records);
  std::vector<uint64_t> bytes(kModelBytes, 0);
  uint64_t last = begin;
  for (const Extent& e : resolve_overlay(records, begin, end)) {
    REQUIRE(e.object != 0);
    REQUIRE(e.length > 0);
    REQUIRE(e.chunk_offset >= last);
    last = e.chunk_offset + e.length;
    REQUIRE(last <= end);
    for (uint64_t i = 0; i < e.length; ++i) {
      bytes[e.chunk_offset + i] = e.object * 1000 + e.slice_skip + i;
    }
  }
  for (uint64_t i = begin; i < end; ++i) REQUIRE(bytes[i] == expected[i]);
}

Extent extent(uint64_t offset, uint64_t length, ObjectId object, uint64_t skip = 0) {
  Extent e;
  e.chunk_offset = offset;
  e.length = length;
  e.object = object;
  e.slice_skip = skip;
  e.slice_length = skip + length;
  return e;
}

ExtentRecord record(uint64_t seq, std::vector<Extent> extents) {
  return {1, 0, seq, std::move(extents)};
}

}  // namespace

TEST_CASE("overlay: every pair of extents", "[meta][overlay]") {
  for (uint64_t a = 0; a < 6; ++a) {
    for (uint64_t b = a + 1; b <= 6; ++b) {
      for (uint64_t c = 0; c < 6; ++c) {
        for (uint64_t d = c + 1; d <= 6; ++d) {
          for (ObjectId top : {0, 2}) {
            const std::vector<ExtentRecord> records = {record(1, {extent(a, b - a, 1)}),
                                                       record(2, {extent(c, d - c, top, 3)})};
            for (uint64_t begin = 0; begin < 6; ++begin) {
              require_same(records, begin, 6);
              require_same(records, 0, begin);
            }
          }
        }
      }
    }
  }
}

TEST_CASE("overlay: random lists equal a byte array", "[meta][overlay]") {
  const unsigned seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 3000; ++round) {
    std::vector<ExtentRecord> records;
    ObjectId object = 0;
    const size_t count = random() % 12;
    for (size_t seq = 1; seq <= count; ++seq) {
      ExtentRecord next = record(seq, {});
      for (size_t i = random() % 4; i > 0; --i) {
        const uint64_t begin = random() % kModelBytes;
        const uint64_t length = random() % (kModelBytes - begin) + 1;
        const bool zeros = random() % 5 == 0;
        next.extents.push_back(extent(begin, length, zeros ? 0 : ++object, random() % 10));
      }
      records.push_back(std::move(next));
    }
    const uint64_t begin = random() % kModelBytes;
    const uint64_t end = begin + random() % (kModelBytes - begin + 1);
    require_same(records, 0, kModelBytes);
    require_same(records, begin, end);
  }
}

TEST_CASE("overlay: an extent cut by nothing stays one piece", "[meta][overlay]") {
  const auto pieces = resolve_overlay(
      std::vector<ExtentRecord>{record(1, {extent(10, 10, 1)}), record(2, {extent(0, 30, 2)})});
  REQUIRE(pieces.size() == 1);
  REQUIRE(pieces[0].length == 30);
}

}  // namespace skerry::meta
