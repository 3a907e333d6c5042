// Rows that SQL stores keep alike: a column for each field of the record, in its order.
#pragma once

#include <cstdint>

#include "meta/records.h"

namespace skerry::meta {

/// Reads a row by `u(column)` (unsigned), `n(column)` (signed) and `bytes(column)`. False for
/// tables that are kept otherwise.
template <typename Unsigned, typename Signed, typename Bytes>
bool read_plain_row(Table table, Unsigned u, Signed n, Bytes bytes, Record* out) {
  switch (table) {
    case Table::kVolume:
      *out = VolumeRecord{bytes(0), bytes(1), u(2), u(3)};
      return true;
    case Table::kLink:
      *out = LinkRecord{u(0), u(1), bytes(2)};
      return true;
    case Table::kDirStat:
      *out = DirStatRecord{u(0), u(1), n(2), n(3), n(4)};
      return true;
    case Table::kObject:
      *out = ObjectRecord{u(0), n(1), u(2)};
      return true;
    case Table::kInline:
      *out = InlineRecord{u(0), static_cast<uint32_t>(u(1)), bytes(2)};
      return true;
    case Table::kSymlink:
      *out = SymlinkRecord{u(0), bytes(1)};
      return true;
    case Table::kXattr:
      *out = XattrRecord{u(0), bytes(1), bytes(2)};
      return true;
    case Table::kClient:
      *out = ClientRecord{u(0), n(1), u(2), u(3), bytes(4), u(5), bytes(6)};
      return true;
    case Table::kPin:
      *out = PinRecord{u(0), u(1)};
      return true;
    case Table::kGarbage:
      *out = GarbageRecord{u(0), u(1)};
      return true;
    case Table::kUsage:
      *out = UsageRecord{u(0), u(1), n(2), n(3)};
      return true;
    default:
      return false;
  }
}

}  // namespace skerry::meta
