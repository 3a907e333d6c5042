#include <algorithm>

#include "meta/ops/common.h"

namespace skerry::meta {

Result<VolumeUsage> usage(const OpContext& ctx, Meta& meta) {
  int64_t bytes = 0, inodes = 0;
  Range range;
  range.table = Table::kUsage;
  range.a = 0;
  // A page is a snapshot, and a client's record moves into client 0's when it leaves: more clients
  // than fit one page could be counted twice or not at all for a moment.
  range.limit = 65536;
  for (bool more = true; more;) {
    ReadRequest request;
    request.ranges.push_back(range);
    SKERRY_ASSIGN(ReadResult seen, meta.store().read(ctx, request));
    for (const Record& record : seen.pages[0].records) {
      const auto& part = std::get<UsageRecord>(record);
      bytes += part.bytes;
      inodes += part.inodes;
      range.after = key_of(record);
    }
    more = seen.pages[0].more && !seen.pages[0].records.empty();
  }
  return VolumeUsage{static_cast<uint64_t>(std::max<int64_t>(bytes, 0)),
                     static_cast<uint64_t>(std::max<int64_t>(inodes, 0))};
}

}  // namespace skerry::meta
