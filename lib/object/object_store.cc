#include "object/object_store.h"

#include <algorithm>

namespace skerry {

Status ObjectStore::get_in_steps(const OpContext& ctx, std::string_view key, uint64_t offset,
                                 uint64_t length, uint64_t step, MutableBytes buffer,
                                 const Take& take) {
  const bool at_once = buffer.size() >= length;
  if (at_once) SKERRY_TRY(get(ctx, key, offset, buffer.first(length)));
  for (uint64_t done = 0; done < length; done += step) {
    const uint64_t n = std::min(step, length - done);
    const MutableBytes range = buffer.subspan(at_once ? done : 0, n);
    if (!at_once) SKERRY_TRY(get(ctx, key, offset + done, range));
    SKERRY_TRY(take(range));
  }
  return {};
}

void ObjectStore::get_many(const OpContext& ctx, std::span<ObjectRange> ranges,
                           const RangeDone& done) {
  for (size_t i = 0; i < ranges.size(); ++i) {
    ranges[i].result = get(ctx, ranges[i].key, ranges[i].offset, ranges[i].out);
    done(i);
  }
}

}  // namespace skerry
