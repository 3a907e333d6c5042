#include <map>

#include "meta/ops/common.h"

namespace skerry::meta {

using internal::Attempts;
using internal::Change;

namespace {

/// Extents that refer to each object, after less before. An object that only `after` knows is new,
/// and an object's first reference is not counted.
std::map<ObjectId, int64_t> reference_changes(const std::vector<ExtentRecord>& before,
                                              const std::vector<Extent>& after) {
  std::map<ObjectId, int64_t> change;
  for (const ExtentRecord& record : before) {
    for (const Extent& extent : record.extents) {
      if (extent.object != 0) --change[extent.object];
    }
  }
  std::map<ObjectId, int64_t> fresh;
  for (const Extent& extent : after) {
    if (extent.object == 0) continue;
    if (auto it = change.find(extent.object); it != change.end()) {
      ++it->second;
    } else {
      ++fresh[extent.object];
    }
  }
  for (const auto& [object, count] : fresh) change[object] = count - 1;
  return change;
}

void build(Ino ino, uint64_t chunk, const std::vector<ExtentRecord>& read,
           const std::vector<Extent>& replacement, Change* change) {
  const uint64_t last_seq = read.back().seq;
  change->expect(ExpectExtentPrefix{ino, chunk, last_seq, read.size()});
  change->add(DeleteRange{Table::kExtent, ino, chunk, last_seq});
  if (!replacement.empty()) change->put(ExtentRecord{ino, chunk, last_seq, replacement});
  for (const auto& [object, delta] : reference_changes(read, replacement)) {
    if (delta != 0) change->add(AddObjectReferences{object, delta});
  }
  // A new version: whoever decides on the old extents (a copy, a truncation) must notice.
  Patch patch;
  patch.ino = ino;
  change->add(std::move(patch));
}

}  // namespace

Result<bool> replace_chunk(const OpContext& ctx, Meta& meta, Ino ino, uint64_t chunk,
                           const std::vector<ExtentRecord>& read,
                           const std::vector<Extent>& replacement, ClientId session) {
  if (read.empty()) return Error(EINVAL, "nothing was read");
  for (Attempts attempts(ctx, meta);;) {
    SKERRY_TRY(attempts.next());
    Change change(meta);
    const bool alone = read.size() == 1;
    if (alone) {
      // One record replaced by one at the same place is no change that a count would show: compare
      // the record itself, at a version.
      SKERRY_ASSIGN(FileData now, load_file(ctx, meta, ino, chunk, chunk));
      if (now.extents.empty() || now.extents[0] != read[0]) return false;
      change.expect(ExpectAttributes{ino, now.attr.version});
    }
    build(ino, chunk, read, replacement, &change);
    SKERRY_ASSIGN(CommitResult result, change.commit(ctx, Durability::kVisible, session));
    if (result.applied) {
      meta.cache().forget_attributes(ino);
      return true;
    }
    if (!alone || result.failed_expectation != 0) return false;
  }
}

}  // namespace skerry::meta
