#include "base/crc32c.h"

#include <catch2/catch.hpp>
#include <random>
#include <string>

using namespace skerry;

namespace {

uint32_t crc_of(std::string_view s) { return crc32c(0, as_bytes(s)); }

/// One bit at a time, as the definition has it.
uint32_t reference(std::string_view s) {
  uint32_t c = ~0u;
  for (char ch : s) {
    c ^= static_cast<uint8_t>(ch);
    for (int k = 0; k < 8; k++) c = (c >> 1) ^ ((c & 1) != 0 ? 0x82f63b78u : 0);
  }
  return ~c;
}

std::string random_text(std::mt19937_64& rng, size_t n) {
  std::string s(n, '\0');
  for (char& c : s) c = static_cast<char>(rng());
  return s;
}

}  // namespace

TEST_CASE("crc32c: vectors of RFC 3720 appendix B.4", "[base]") {
  CHECK(crc_of(std::string(32, '\0')) == 0x8a9136aa);
  CHECK(crc_of(std::string(32, '\xff')) == 0x62a8ab43);
  std::string up, down;
  for (int i = 0; i < 32; i++) up.push_back(static_cast<char>(i));
  for (int i = 31; i >= 0; i--) down.push_back(static_cast<char>(i));
  CHECK(crc_of(up) == 0x46dd794e);
  CHECK(crc_of(down) == 0x113fdb5c);
  const unsigned char read_command[] = {0x01, 0xc0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                                        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00,
                                        0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x14, 0x00, 0x00,
                                        0x00, 0x18, 0x28, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                                        0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00};
  CHECK(crc_of({reinterpret_cast<const char*>(read_command), sizeof read_command}) == 0xd9963a56);
  CHECK(crc_of("123456789") == 0xe3069283);
  CHECK(crc_of("") == 0);
}

TEST_CASE("crc32c: every length and alignment agrees with the definition", "[base]") {
  std::mt19937_64 rng(1);
  std::string data = random_text(rng, 40000);
  std::string_view view = data;
  for (size_t n = 0; n < 300; n++) {
    INFO("length " << n);
    REQUIRE(crc_of(view.substr(n % 9, n)) == reference(view.substr(n % 9, n)));
  }
  for (size_t n : {767, 768, 769, 1535, 12287, 12288, 12289, 24576, 39990}) {
    INFO("length " << n);
    REQUIRE(crc_of(view.substr(3, n)) == reference(view.substr(3, n)));
  }
}

TEST_CASE("crc32c: combine and continue equal one pass over random splits", "[base]") {
  uint64_t seed = std::random_device()();
  INFO("seed " << seed);
  std::mt19937_64 rng(seed);
  for (int i = 0; i < 300; i++) {
    std::string data = random_text(rng, rng() % (i % 10 == 0 ? 100000 : 500));
    size_t split = data.empty() ? 0 : rng() % (data.size() + 1);
    std::string_view a = std::string_view(data).substr(0, split);
    std::string_view b = std::string_view(data).substr(split);
    uint32_t whole = crc_of(data);
    REQUIRE(crc32c(crc_of(a), as_bytes(b)) == whole);
    REQUIRE(crc32c_combine(crc_of(a), crc_of(b), b.size()) == whole);
  }
}

TEST_CASE("crc32c: combine is associative for lengths no buffer has", "[base]") {
  const uint64_t long_size = (uint64_t{1} << 62) + 12345;
  uint32_t a = crc_of("a"), b = crc_of("bb");
  uint32_t left = crc32c_combine(crc32c_combine(a, 7, long_size), b, 2);
  uint32_t right = crc32c_combine(a, crc32c_combine(7, b, 2), long_size + 2);
  CHECK(left == right);
}
