// Whole reads and writes over calls that may do less than asked.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"

namespace skerry {

/// Writes all pieces at the descriptor's position. Returns 0 or an errno.
int write_fully(int fd, const std::vector<ByteView>& pieces);

/// Fills `out` from `offset`. Returns 0, an errno, or ENODATA where the file ends before.
int read_fully(int fd, uint64_t offset, MutableBytes out);

}  // namespace skerry
