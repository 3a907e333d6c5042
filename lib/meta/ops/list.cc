#include <algorithm>

#include "meta/ops/common.h"

namespace skerry::meta {

using internal::attributes_of;
using internal::Source;

namespace {

constexpr uint32_t kMaxPage = 8192;

}  // namespace

Result<ListPage> list(const OpContext& ctx, Meta& meta, Ino dir, std::string_view after,
                      uint32_t limit, bool with_attributes, bool check) {
  MetadataCache& cache = meta.cache();
  const MetadataCache::Ticket ticket = meta.ticket();
  if (check) {
    Result<CachedAttributes> seen = attributes_of(ctx, meta, dir, Source::kCacheOrStore, false);
    if (!seen.ok()) {
      if (seen.error().code() == ESTALE) return Error(ENOENT, "the directory was removed");
      return std::move(seen).error();
    }
    if (!seen->attr.is_dir()) return Error(ENOTDIR);
    SKERRY_TRY(check_access(ctx, meta, seen->attr, kRead));
  }
  Range range;
  range.table = Table::kEntry;
  range.a = dir;
  range.limit = std::min(std::max<uint32_t>(limit, 1), kMaxPage);
  range.with_attributes = with_attributes;
  if (!after.empty()) range.after = entry_key(dir, after);
  ReadRequest request;
  request.join = with_attributes;
  request.ranges.push_back(std::move(range));
  SKERRY_ASSIGN(ReadResult seen, meta.store().read(ctx, request));
  ListPage page;
  page.more = seen.pages[0].more;
  page.entries.reserve(seen.pages[0].records.size());
  for (Record& record : seen.pages[0].records) {
    auto& entry = std::get<EntryRecord>(record);
    // What ls -l asks for next.
    if (with_attributes) {
      cache.insert_entry(ticket, dir, entry.name, {entry.attr.ino, entry.linked, entry.version});
      cache.insert_attributes(ticket, {entry.attr, entry.attr.is_dir() ? dir : 0, entry.linked});
    }
    page.entries.push_back({std::move(entry.name), entry.attr});
  }
  return page;
}

}  // namespace skerry::meta
