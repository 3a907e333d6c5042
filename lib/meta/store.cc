#include "meta/store.h"

#include <algorithm>
#include <utility>

namespace skerry::meta {

Result<std::vector<EntryRecord>> Store::resolve(const OpContext& ctx, Ino directory,
                                                const std::vector<std::string>& names,
                                                std::optional<AttributeHome>* start) {
  std::vector<EntryRecord> entries;
  for (const std::string& name : names) {
    ReadRequest request;
    request.keys.push_back(entry_key(directory, name));
    if (start != nullptr) request.inodes.push_back(directory);
    request.join = true;
    SKERRY_ASSIGN(ReadResult found, read(ctx, request));
    if (start != nullptr) *std::exchange(start, nullptr) = std::move(found.homes[0]);
    if (!found.records[0].has_value()) break;
    entries.push_back(std::get<EntryRecord>(std::move(*found.records[0])));
    if (!entries.back().attr.is_dir()) break;
    directory = entries.back().attr.ino;
  }
  return entries;
}

Status Store::wait_for_change(const OpContext& ctx, uint64_t seen, TimeNs timeout_ns) {
  const TimeNs end = ctx.clock->monotonic_ns() + timeout_ns;
  for (TimeNs pause = 1'000'000; generation() == seen;) {
    SKERRY_TRY(ctx.check());
    const TimeNs left = end - ctx.clock->monotonic_ns();
    if (left <= 0) break;
    ctx.clock->sleep_ns(std::min(pause, left));
    pause = std::min(2 * pause, kWaitSliceNs);
  }
  return {};
}

}  // namespace skerry::meta
