// Care of a volume: garbage collection, checking, compaction, and what it says about itself.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "io/op_context.h"
#include "meta/session.h"
#include "vfs/volume.h"

namespace skerry::vfs {

/// Called on the caller's thread; false stops with ECANCELED. `total` 0: unknown.
using Progress = std::function<bool(const char* what, uint64_t done, uint64_t total)>;

struct GcResult {
  uint64_t scanned_objects = 0, scanned_bytes = 0;
  uint64_t leaked_objects = 0, leaked_bytes = 0;
  uint64_t deleted_objects = 0;
  uint64_t reclaimed_inodes = 0, reclaimed_objects = 0;
  uint64_t pending_objects = 0;
  uint64_t stale_sessions = 0;
};
/// Deletes what nothing refers to. Every object is compared with the metadata before the first is
/// deleted, and any error until then means that none is. `result` is filled also on an error.
Status collect_garbage(const OpContext& ctx, Volume& volume, bool dry_run, GcResult* result,
                       const Progress& progress);

struct FsckResult {
  meta::FsckResult meta;
  uint64_t checked_bytes = 0;
  uint64_t problems = 0;
};
using ReportProblem = std::function<void(const char* kind, const char* detail)>;
Result<FsckResult> check(const OpContext& ctx, Volume& volume, bool check_data,
                         const ReportProblem& report, const Progress& progress);

/// Rewrites the fragmented chunks of a file; the number rewritten.
Result<uint64_t> compact(const OpContext& ctx, Volume& volume, std::string_view path);

/// JSON: format, storage, uuid, features, sessions, usage.
Result<std::string> describe(const OpContext& ctx, Volume& volume);

struct Usage {
  uint64_t total_bytes = 0, used_bytes = 0;
  uint64_t total_inodes = 0, used_inodes = 0;
};
Result<Usage> usage(const OpContext& ctx, Volume& volume);

struct Counter {
  const char* name;  // static
  uint64_t value;
};
std::vector<Counter> counters(Volume& volume);

}  // namespace skerry::vfs
