// Whole files, and many at once.
#include "vfs/batch.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "capi/call.h"

namespace skerry::capi {
namespace {

Status check_paths(const char* const* paths, size_t count, const void* out, const int* results) {
  if (count == 0) return {};
  if (paths == nullptr || out == nullptr || results == nullptr) return null_argument("an array");
  for (size_t i = 0; i < count; i++) {
    if (paths[i] == nullptr) return null_argument("a path");
  }
  return {};
}

std::vector<std::string_view> views_of(const char* const* paths, size_t count) {
  std::vector<std::string_view> views;
  views.reserve(count);
  for (size_t i = 0; i < count; i++) views.push_back(view_of(paths[i]));
  return views;
}

}  // namespace
}  // namespace skerry::capi

using namespace skerry;        // NOLINT: the entries of a C ABI have no namespace of their own
using namespace skerry::capi;  // NOLINT

extern "C" {

int64_t skerry_read_file(skerry_volume* volume, const skerry_context* context, const char* path,
                         void* buffer, size_t capacity) {
  return on_volume({"skerry_read_file", path}, volume, context,
                   [&](const OpContext& ctx, VolumeState& state) -> Result<uint64_t> {
                     if (path == nullptr) return null_argument("the path");
                     if (buffer == nullptr && capacity > 0) return null_argument("the buffer");
                     return vfs::read_file(ctx, *state.volume, view_of(path),
                                           {static_cast<std::byte*>(buffer), capacity});
                   });
}

int skerry_write_file(skerry_volume* volume, const skerry_context* context, const char* path,
                      const void* data, size_t length, uint32_t mode) {
  return static_cast<int>(on_volume({"skerry_write_file", path}, volume, context,
                                    [&](const OpContext& ctx, VolumeState& state) -> Status {
                                      if (path == nullptr) return null_argument("the path");
                                      if (data == nullptr && length > 0)
                                        return null_argument("the data");
                                      std::vector<vfs::WriteRequest> requests(1);
                                      requests[0].path = view_of(path);
                                      requests[0].data = bytes_of(data, length);
                                      requests[0].mode = mode;
                                      vfs::write_many(ctx, *state.volume, requests);
                                      return std::move(requests[0].result);
                                    }));
}

int64_t skerry_stat_batch(skerry_volume* volume, const skerry_context* context,
                          const char* const* paths, size_t count, int flags,
                          struct skerry_stat* stats, int* results) {
  constexpr const char* kCall = "skerry_stat_batch";
  return on_volume(
      {kCall}, volume, context, [&](const OpContext& ctx, VolumeState& state) -> Result<int64_t> {
        SKERRY_TRY(check_paths(paths, count, stats, results));
        if ((flags & ~SKERRY_AT_SYMLINK_NOFOLLOW) != 0) {
          return Error(EINVAL, "flags that the call does not know");
        }
        const bool follow = (flags & SKERRY_AT_SYMLINK_NOFOLLOW) == 0;
        auto found = vfs::stat_many(ctx, *state.volume, views_of(paths, count), follow);
        int64_t succeeded = 0;
        for (size_t i = 0; i < count; i++) {
          if (found[i].ok()) {
            fill_stat(*found[i], *state.volume, &stats[i]);
            results[i] = 0;
            succeeded++;
          } else {
            stats[i] = {};
            results[i] = fail(found[i].error(), kCall, paths[i]);
          }
        }
        return succeeded;
      });
}

int64_t skerry_open_batch(skerry_volume* volume, const skerry_context* context,
                          const char* const* paths, size_t count, int flags, skerry_file** files,
                          int* results) {
  constexpr const char* kCall = "skerry_open_batch";
  if (files != nullptr) std::fill_n(files, count, nullptr);
  return on_volume(
      {kCall}, volume, context, [&](const OpContext& ctx, VolumeState& state) -> Result<int64_t> {
        SKERRY_TRY(check_paths(paths, count, files, results));
        std::fill_n(results, count, -EIO);
        auto opened = vfs::open_many(ctx, *state.volume, views_of(paths, count), flags);
        int64_t succeeded = 0;
        for (size_t i = 0; i < count; i++) {
          if (!opened[i].ok()) {
            results[i] = fail(opened[i].error(), kCall, paths[i]);
            continue;
          }
          // Running out of memory here leaves the rest closed and -EIO in results.
          SKERRY_ASSIGN(files[i], wrap(volume, state, std::move(*opened[i]), paths[i]));
          results[i] = 0;
          succeeded++;
        }
        return succeeded;
      });
}

int64_t skerry_read_batch(skerry_volume* volume, const skerry_context* context,
                          struct skerry_read_request* requests, size_t count) {
  constexpr const char* kCall = "skerry_read_batch";
  return on_volume({kCall}, volume, context,
                   [&](const OpContext& ctx, VolumeState& state) -> Result<int64_t> {
                     if (requests == nullptr && count > 0)
                       return null_argument("the array of requests");
                     std::vector<vfs::ReadRequest> reads;
                     std::vector<size_t> where;
                     reads.reserve(count);
                     where.reserve(count);
                     for (size_t i = 0; i < count; i++) {
                       struct skerry_read_request& request = requests[i];
                       request.result = 0;
                       vfs::ReadRequest read;
                       Status valid;
                       if (request.file == nullptr && request.path == nullptr) {
                         valid = Error(EINVAL, "neither a file nor a path");
                       } else if (request.buffer == nullptr && request.length > 0) {
                         valid = null_argument("the buffer");
                       } else if (request.file != nullptr) {
                         auto handle = handle_of(request.file);
                         if (!handle.ok()) {
                           valid = handle.error();
                         } else if (&(*handle)->volume() != state.volume.get()) {
                           valid = Error(EXDEV, "the file belongs to another volume");
                         } else {
                           read.file = *handle;
                         }
                       } else {
                         read.path = view_of(request.path);
                       }
                       if (!valid.ok()) {
                         request.result = fail(valid.error(), kCall, request.path);
                         continue;
                       }
                       read.offset = request.offset;
                       read.out = {static_cast<std::byte*>(request.buffer), request.length};
                       reads.push_back(std::move(read));
                       where.push_back(i);
                     }
                     vfs::read_many(ctx, *state.volume, reads);
                     int64_t succeeded = 0;
                     for (size_t i = 0; i < reads.size(); i++) {
                       struct skerry_read_request& request = requests[where[i]];
                       if (reads[i].result.ok()) {
                         request.result = static_cast<int64_t>(*reads[i].result);
                         succeeded++;
                       } else {
                         request.result = fail(reads[i].result.error(), kCall, request.path);
                       }
                     }
                     return succeeded;
                   });
}

int64_t skerry_write_batch(skerry_volume* volume, const skerry_context* context,
                           struct skerry_write_request* requests, size_t count) {
  constexpr const char* kCall = "skerry_write_batch";
  return on_volume(
      {kCall}, volume, context, [&](const OpContext& ctx, VolumeState& state) -> Result<int64_t> {
        if (requests == nullptr && count > 0) return null_argument("the array of requests");
        std::vector<vfs::WriteRequest> writes;
        std::vector<size_t> where;
        writes.reserve(count);
        where.reserve(count);
        for (size_t i = 0; i < count; i++) {
          struct skerry_write_request& request = requests[i];
          if (request.path == nullptr || (request.data == nullptr && request.length > 0)) {
            request.result = fail(EINVAL, "the path or the data is null", kCall, request.path);
            continue;
          }
          vfs::WriteRequest write;
          write.path = view_of(request.path);
          write.data = bytes_of(request.data, request.length);
          write.mode = request.mode;
          writes.push_back(std::move(write));
          where.push_back(i);
        }
        vfs::write_many(ctx, *state.volume, writes);
        int64_t succeeded = 0;
        for (size_t i = 0; i < writes.size(); i++) {
          struct skerry_write_request& request = requests[where[i]];
          if (writes[i].result.ok()) {
            request.result = 0;
            succeeded++;
          } else {
            request.result = fail(writes[i].result.error(), kCall, request.path);
          }
        }
        return succeeded;
      });
}

}  // extern "C"
