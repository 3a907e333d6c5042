#include "meta/store.h"

namespace skerry::meta {

Result<std::vector<EntryRecord>> Store::resolve(const OpContext& ctx, Ino directory,
                                                const std::vector<std::string>& names) {
  std::vector<EntryRecord> entries;
  for (const std::string& name : names) {
    ReadRequest request;
    request.keys.push_back(entry_key(directory, name));
    request.join = true;
    SKERRY_ASSIGN(ReadResult found, read(ctx, request));
    if (!found.records[0].has_value()) break;
    entries.push_back(std::get<EntryRecord>(std::move(*found.records[0])));
    if (!entries.back().attr.is_dir()) break;
    directory = entries.back().attr.ino;
  }
  return entries;
}

}  // namespace skerry::meta
