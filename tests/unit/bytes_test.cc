#include "base/bytes.h"

#include <catch2/catch.hpp>
#include <random>
#include <string>

using namespace skerry;

TEST_CASE("bytes: fixed integers are little-endian, varints are LEB128", "[base]") {
  std::string out;
  Encoder encoder(&out);
  encoder.fixed<uint32_t>(0x04030201);
  encoder.varint(300);
  encoder.bytes("ab");
  CHECK(out == std::string("\x01\x02\x03\x04\xac\x02\x02"
                           "ab"));
}

TEST_CASE("bytes: what was encoded is decoded", "[base]") {
  uint64_t seed = std::random_device()();
  INFO("seed " << seed);
  std::mt19937_64 rng(seed);
  for (int round = 0; round < 200; round++) {
    uint64_t small = rng() >> (rng() % 64);
    auto narrow = static_cast<int16_t>(rng());
    auto wide = static_cast<int64_t>(rng());
    std::string text(rng() % 300, static_cast<char>(rng()));
    std::string out;
    Encoder encoder(&out);
    encoder.varint(small);
    encoder.fixed(narrow);
    encoder.bytes(text);
    encoder.fixed(wide);
    encoder.varint(UINT64_MAX);
    encoder.bytes("");

    Decoder decoder(out);
    CHECK(decoder.varint() == small);
    CHECK(decoder.fixed<int16_t>() == narrow);
    CHECK(decoder.bytes() == text);
    CHECK(decoder.fixed<int64_t>() == wide);
    CHECK(decoder.varint() == UINT64_MAX);
    CHECK(decoder.bytes().empty());
    CHECK(decoder.ok());
    CHECK(decoder.at_end());
  }
}

TEST_CASE("bytes: every truncation is noticed, and stays so", "[base]") {
  std::string whole;
  Encoder encoder(&whole);
  encoder.fixed<uint64_t>(7);
  encoder.varint(1u << 20);
  encoder.bytes("twelve bytes");
  encoder.fixed<uint8_t>(9);
  for (size_t n = 0; n < whole.size(); n++) {
    INFO("length " << n);
    std::string cut = whole.substr(0, n);  // a copy of its own, so that ASan sees an overrun
    Decoder decoder(cut);
    decoder.fixed<uint64_t>();
    decoder.varint();
    decoder.bytes();
    decoder.fixed<uint8_t>();
    CHECK_FALSE(decoder.ok());
    CHECK(decoder.fixed<uint8_t>() == 0);
    CHECK(decoder.varint() == 0);
    CHECK(decoder.bytes().empty());
    CHECK_FALSE(decoder.ok());
  }
}

TEST_CASE("bytes: malformed varints and lengths are refused", "[base]") {
  Decoder eleven(std::string_view("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11));
  CHECK(eleven.varint() == 0);
  CHECK_FALSE(eleven.ok());

  Decoder overflow(std::string_view("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10));
  CHECK(overflow.varint() == 0);
  CHECK_FALSE(overflow.ok());

  std::string huge;
  Encoder(&huge).varint(UINT64_MAX);
  huge += "x";
  Decoder length(huge);
  CHECK(length.bytes().empty());
  CHECK_FALSE(length.ok());
}
