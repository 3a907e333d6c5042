// CRC-32C (Castagnoli, RFC 3720 appendix B.4), by SSE4.2 where the CPU has it, else by tables.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace skerry {

/// The CRC of `data` appended to what `crc` covers; start with 0. Thread-safe.
uint32_t crc32c(uint32_t crc, ByteView data) noexcept;

/// The CRC of A followed by B, from crc(A), crc(B) and B's length in bytes: O(log length).
uint32_t crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t size_b) noexcept;

}  // namespace skerry
