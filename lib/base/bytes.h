// Views of raw data, and the little-endian codec that every stored format uses.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

namespace skerry {

using ByteView = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;

inline ByteView as_bytes(std::string_view s) {
  return {reinterpret_cast<const std::byte*>(s.data()), s.size()};
}
inline std::string_view as_string_view(ByteView b) {
  return {reinterpret_cast<const char*>(b.data()), b.size()};
}

static_assert(std::endian::native == std::endian::little,
              "stored formats are little-endian and copied as they are");

/// Appends fixed-width little-endian integers, LEB128 varints and length-prefixed strings.
class Encoder {
 public:
  explicit Encoder(std::string* out) : out_(out) {}
  template <typename T>
  void fixed(T v) {
    static_assert(std::is_integral_v<T>);
    out_->append(reinterpret_cast<const char*>(&v), sizeof v);
  }
  void varint(uint64_t v) {
    while (v >= 0x80) {
      out_->push_back(static_cast<char>(v | 0x80));
      v >>= 7;
    }
    out_->push_back(static_cast<char>(v));
  }
  void bytes(std::string_view s) {
    varint(s.size());
    out_->append(s);
  }

 private:
  std::string* out_;
};

/// Reads what Encoder wrote. Never reads past the end: a short or malformed input turns `ok()`
/// false for good and yields zeros, so a decoder checks once at its end.
class Decoder {
 public:
  explicit Decoder(std::string_view in) : in_(in) {}
  template <typename T>
  T fixed() {
    static_assert(std::is_integral_v<T>);
    T v{};
    if (in_.size() < sizeof v) {
      fail();
      return v;
    }
    std::memcpy(&v, in_.data(), sizeof v);
    in_.remove_prefix(sizeof v);
    return v;
  }
  uint64_t varint() {
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (in_.empty()) break;
      auto b = static_cast<unsigned char>(in_.front());
      in_.remove_prefix(1);
      if (shift == 63 && b > 1) break;
      v |= static_cast<uint64_t>(b & 0x7f) << shift;
      if (!(b & 0x80)) return v;
    }
    fail();
    return 0;
  }
  std::string_view bytes() {
    uint64_t n = varint();
    if (n > in_.size()) {
      fail();
      return {};
    }
    auto s = in_.substr(0, n);
    in_.remove_prefix(n);
    return s;
  }
  bool ok() const { return ok_; }
  bool at_end() const { return in_.empty(); }
  size_t remaining() const { return in_.size(); }

 private:
  void fail() {
    ok_ = false;
    in_ = {};
  }
  std::string_view in_;
  bool ok_ = true;
};

}  // namespace skerry
