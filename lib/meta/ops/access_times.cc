#include <algorithm>

#include "meta/ops/common.h"

namespace skerry::meta {

using internal::Change;
using internal::Source;
using internal::View;
using internal::Wanted;

namespace {

constexpr TimeNs kDay = TimeNs{86400} * 1'000'000'000;
constexpr size_t kMaxBatch = 256;  // in one commit
constexpr unsigned kMaxAttempts = 4;

bool wanted_still(const AccessTime& read, const Attributes& attr, AtimeMode mode) {
  // An earlier time than was known was set on purpose, and since the read for all that is known.
  return attr.atime_ns >= read.known_ns && needs_access_time(attr, read.read_ns, mode);
}

/// True if nothing is left to do.
Result<bool> commit_batch(const OpContext& ctx, Meta& meta, const std::vector<AccessTime>& reads,
                          AtimeMode mode, Source source) {
  Wanted wanted;
  for (const AccessTime& read : reads) wanted.inodes.push_back(read.ino);
  SKERRY_ASSIGN(View view, look(ctx, meta, wanted, source, true));
  Change change(meta);
  std::vector<CachedAttributes> after;
  for (size_t i = 0; i < reads.size(); ++i) {
    if (!view.inodes[i] || !wanted_still(reads[i], view.inodes[i]->attr, mode)) continue;
    after.push_back(*view.inodes[i]);
    Attributes& attr = after.back().attr;
    attr.atime_ns = reads[i].read_ns;
    // With its version every other change of the file is excluded, an explicit time above all.
    change.expect(ExpectAttributes{attr.ino, attr.version});
    Patch patch;
    patch.ino = attr.ino;
    patch.max_atime_ns = attr.atime_ns;
    patch.keep_version = true;
    change.add(std::move(patch));
  }
  if (after.empty()) return true;
  SKERRY_ASSIGN(CommitResult result, change.commit(ctx));
  if (!result.applied) return false;
  for (const CachedAttributes& each : after) meta.cache().publish_attributes(view.ticket, each);
  return true;
}

}  // namespace

bool needs_access_time(const Attributes& attr, TimeNs read_ns, AtimeMode mode) {
  if (mode == AtimeMode::kNone || read_ns <= attr.atime_ns) return false;
  if (mode == AtimeMode::kStrict) return true;
  return attr.atime_ns <= attr.mtime_ns || attr.atime_ns <= attr.ctime_ns ||
         read_ns - attr.atime_ns >= kDay;
}

Status set_access_times(const OpContext& ctx, Meta& meta, const std::vector<AccessTime>& reads,
                        AtimeMode mode) {
  for (size_t begin = 0; begin < reads.size(); begin += kMaxBatch) {
    const size_t end = std::min(reads.size(), begin + kMaxBatch);
    const std::vector<AccessTime> batch(reads.begin() + static_cast<ptrdiff_t>(begin),
                                        reads.begin() + static_cast<ptrdiff_t>(end));
    for (unsigned attempt = 0; attempt < kMaxAttempts; ++attempt) {
      SKERRY_TRY(ctx.check());
      const Source source = attempt == 0 ? Source::kCacheOrStore : Source::kStore;
      SKERRY_ASSIGN(bool done, commit_batch(ctx, meta, batch, mode, source));
      if (done) break;
    }
  }
  return {};
}

}  // namespace skerry::meta
