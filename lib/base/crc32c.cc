#include "base/crc32c.h"

#include <array>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace skerry {
namespace {

// A CRC is a polynomial over GF(2), bits reflected: bit 31 is the coefficient of x^0.
constexpr uint32_t kPolynomial = 0x82f63b78;

constexpr uint32_t times_x(uint32_t a) { return (a >> 1) ^ ((a & 1) != 0 ? kPolynomial : 0); }

constexpr uint32_t multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (uint32_t bit = 1u << 31; bit != 0; bit >>= 1) {
    if ((a & bit) != 0) product ^= b;
    b = times_x(b);
  }
  return product;
}

/// x^(2^k): 64 bits of length in bytes are 67 in bits.
constexpr auto kPowers = [] {
  std::array<uint32_t, 67> powers{};
  powers[0] = 1u << 30;
  for (size_t k = 1; k < powers.size(); k++) powers[k] = multiply(powers[k - 1], powers[k - 1]);
  return powers;
}();

/// x^(8 * size): what `size` zero bytes multiply a CRC by.
constexpr uint32_t shift_factor(uint64_t size) {
  uint32_t factor = 1u << 31;
  for (size_t k = 3; size != 0; k++, size >>= 1)
    if ((size & 1) != 0) factor = multiply(factor, kPowers[k]);
  return factor;
}

using ByteTables = std::array<std::array<uint32_t, 256>, 8>;

// Slicing by eight (Kounavis and Berry, "A Systematic Approach to Building High Performance
// Software-based CRC Generators").
constexpr ByteTables kSlices = [] {
  ByteTables t{};
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t c = i;
    for (int k = 0; k < 8; k++) c = times_x(c);
    t[0][i] = c;
  }
  for (size_t s = 1; s < 8; s++)
    for (size_t i = 0; i < 256; i++) t[s][i] = (t[s - 1][i] >> 8) ^ t[0][t[s - 1][i] & 0xff];
  return t;
}();

uint64_t load64(const std::byte* p) {
  uint64_t v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

uint32_t update_by_table(uint32_t c, const std::byte* p, size_t n) {
  for (; n >= 8; n -= 8, p += 8) {
    uint64_t w = load64(p) ^ c;
    c = 0;
    for (unsigned i = 0; i < 8; i++) c ^= kSlices[7 - i][(w >> (8 * i)) & 0xff];
  }
  for (; n != 0; n--, p++) c = (c >> 8) ^ kSlices[0][(c ^ static_cast<uint8_t>(*p)) & 0xff];
  return c;
}

#if defined(__x86_64__)

using ShiftTable = std::array<std::array<uint32_t, 256>, 4>;

/// Multiplies a CRC by x^(8 * kSize) with four lookups.
template <size_t kSize>
constexpr ShiftTable kShift = [] {
  ShiftTable t{};
  for (unsigned lane = 0; lane < 4; lane++) {
    for (unsigned bit = 0; bit < 8; bit++)
      t[lane][1u << bit] = multiply(1u << (8 * lane + bit), shift_factor(kSize));
    for (unsigned i = 1; i < 256; i++) {
      unsigned low = i & (~i + 1);
      if (low != i) t[lane][i] = t[lane][i ^ low] ^ t[lane][low];
    }
  }
  return t;
}();

template <size_t kSize>
uint32_t shift(uint32_t c) {
  const ShiftTable& t = kShift<kSize>;
  return t[0][c & 0xff] ^ t[1][(c >> 8) & 0xff] ^ t[2][(c >> 16) & 0xff] ^ t[3][c >> 24];
}

/// The instruction has three cycles of latency and one of throughput, so three independent
/// streams of kSize bytes fill it.
template <size_t kSize>
__attribute__((target("sse4.2"))) uint64_t update_interleaved(uint64_t c, const std::byte*& p,
                                                              size_t& n) {
  while (n >= 3 * kSize) {
    uint64_t c1 = 0;
    uint64_t c2 = 0;
    for (const std::byte* end = p + kSize; p != end; p += 8) {
      c = _mm_crc32_u64(c, load64(p));
      c1 = _mm_crc32_u64(c1, load64(p + kSize));
      c2 = _mm_crc32_u64(c2, load64(p + 2 * kSize));
    }
    c = shift<kSize>(static_cast<uint32_t>(c)) ^ c1;
    c = shift<kSize>(static_cast<uint32_t>(c)) ^ c2;
    p += 2 * kSize;
    n -= 3 * kSize;
  }
  return c;
}

__attribute__((target("sse4.2"))) uint32_t update_by_sse42(uint32_t crc, const std::byte* p,
                                                           size_t n) {
  uint64_t c = crc;
  c = update_interleaved<4096>(c, p, n);
  c = update_interleaved<256>(c, p, n);
  for (; n >= 8; n -= 8, p += 8) c = _mm_crc32_u64(c, load64(p));
  auto c32 = static_cast<uint32_t>(c);
  for (; n != 0; n--, p++) c32 = _mm_crc32_u8(c32, static_cast<uint8_t>(*p));
  return c32;
}

#endif

}  // namespace

uint32_t crc32c(uint32_t crc, ByteView data) noexcept {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("sse4.2")) return ~update_by_sse42(~crc, data.data(), data.size());
#endif
  return ~update_by_table(~crc, data.data(), data.size());
}

uint32_t crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t size_b) noexcept {
  return multiply(crc_a, shift_factor(size_b)) ^ crc_b;
}

}  // namespace skerry
