// Care of a volume.
#include <algorithm>
#include <limits>

#include "capi/call.h"
#include "vfs/maintenance.h"
#include "vfs/namespace.h"

namespace skerry::capi {
namespace {

/// These calls take as long as the volume is large: only a time-out that the caller names ends
/// them.
OpContext without_default_deadline(const OpContext& ctx, const skerry_context* context) {
  OpContext own = ctx;
  if (context == nullptr || context->timeout_ms == 0) {
    own.deadline_ns = std::numeric_limits<TimeNs>::max();
  }
  return own;
}

vfs::Progress progress_of(skerry_progress progress, void* context) {
  if (progress == nullptr) return {};
  return [=](const char* what, uint64_t done, uint64_t total) {
    return progress(context, what, done, total) == 0;
  };
}

template <typename Options>
Status check_options(const Options* options) {
  if (options != nullptr && options->struct_size < sizeof(Options)) {
    return Error(EINVAL, "struct_size of the options is not set to their size");
  }
  return {};
}

}  // namespace
}  // namespace skerry::capi

using namespace skerry;        // NOLINT: the entries of a C ABI have no namespace of their own
using namespace skerry::capi;  // NOLINT

extern "C" {

int skerry_gc(skerry_volume* volume, const skerry_context* context,
              const struct skerry_gc_options* options, struct skerry_gc_result* result,
              skerry_progress progress, void* progress_context) {
  if (result != nullptr) *result = {};
  return static_cast<int>(on_volume(
      {"skerry_gc"}, volume, context, [&](const OpContext& ctx, VolumeState& state) -> Status {
        SKERRY_TRY(check_options(options));
        const bool dry_run = options != nullptr && options->dry_run != 0;
        const OpContext own = without_default_deadline(ctx, context);
        vfs::GcResult found;
        Status collected = vfs::collect_garbage(own, *state.volume, dry_run, &found,
                                                progress_of(progress, progress_context));
        if (result != nullptr) {
          result->scanned_objects = found.scanned_objects;
          result->scanned_bytes = found.scanned_bytes;
          result->leaked_objects = found.leaked_objects;
          result->leaked_bytes = found.leaked_bytes;
          result->deleted_objects = found.deleted_objects;
          result->reclaimed_inodes = found.reclaimed_inodes;
          result->reclaimed_objects = found.reclaimed_objects;
          result->pending_objects = found.pending_objects;
          result->stale_sessions = found.stale_sessions;
        }
        return collected;
      }));
}

int skerry_fsck(skerry_volume* volume, const skerry_context* context,
                const struct skerry_fsck_options* options, struct skerry_fsck_result* result,
                skerry_problem problem, skerry_progress progress, void* callback_context) {
  if (result != nullptr) *result = {};
  return static_cast<int>(on_volume(
      {"skerry_fsck"}, volume, context, [&](const OpContext& ctx, VolumeState& state) -> Status {
        SKERRY_TRY(check_options(options));
        const bool check_data = options != nullptr && options->check_data != 0;
        const OpContext own = without_default_deadline(ctx, context);
        vfs::ReportProblem report;
        if (problem != nullptr) {
          report = [&](const char* kind, const char* detail) {
            problem(callback_context, kind, detail);
          };
        }
        SKERRY_ASSIGN(vfs::FsckResult found, vfs::check(own, *state.volume, check_data, report,
                                                        progress_of(progress, callback_context)));
        if (result != nullptr) {
          result->directories = found.meta.directories;
          result->files = found.meta.files;
          result->symlinks = found.meta.symlinks;
          result->others = found.meta.others;
          result->orphans = found.meta.orphans;
          result->extents = found.meta.extents;
          result->checked_bytes = found.checked_bytes;
          result->problems = found.problems;
          result->surplus_objects = found.meta.surplus_objects;
        }
        return {};
      }));
}

int skerry_remove_tree(skerry_volume* volume, const skerry_context* context, const char* path,
                       uint64_t* removed, skerry_progress progress, void* progress_context) {
  if (removed != nullptr) *removed = 0;
  return static_cast<int>(
      on_volume({"skerry_remove_tree", path}, volume, context,
                [&](const OpContext& ctx, VolumeState& state) -> Status {
                  if (path == nullptr) return null_argument("the path");
                  const OpContext own = without_default_deadline(ctx, context);
                  return vfs::remove_tree(
                      own, *state.volume, view_of(path), [&](const meta::RemoveProgress& so_far) {
                        if (removed != nullptr) *removed = so_far.entries;
                        return progress == nullptr ||
                               progress(progress_context, "remove", so_far.entries, 0) == 0;
                      });
                }));
}

int64_t skerry_compact(skerry_volume* volume, const skerry_context* context, const char* path) {
  return on_volume({"skerry_compact", path}, volume, context,
                   [&](const OpContext& ctx, VolumeState& state) -> Result<uint64_t> {
                     if (path == nullptr) return null_argument("the path");
                     const OpContext own = without_default_deadline(ctx, context);
                     return vfs::compact(own, *state.volume, view_of(path));
                   });
}

}  // extern "C"
