// Bytes that tell a wrong offset, a missing piece and another file's data apart.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace skerry {

inline std::vector<std::byte> random_bytes(size_t size, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::byte> bytes(size);
  for (auto& b : bytes) b = static_cast<std::byte>(random());
  return bytes;
}

}  // namespace skerry
