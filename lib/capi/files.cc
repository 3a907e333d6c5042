// Open files.
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "capi/call.h"

namespace skerry::capi {
namespace {

constexpr uint32_t kMaxPieces = 1024;  // IOV_MAX
constexpr size_t kMaxLength = std::numeric_limits<int64_t>::max();

Status check_buffer(const void* buffer, size_t length) {
  if (buffer == nullptr && length > 0) return null_argument("the buffer");
  if (length > kMaxLength) return Error(EINVAL, "a length above 2^63");
  return {};
}

Result<size_t> check_pieces(const struct skerry_iovec* pieces, uint32_t count) {
  if (pieces == nullptr && count > 0) return null_argument("the array of pieces");
  if (count > kMaxPieces) return Error(EINVAL, "more than 1,024 pieces");
  size_t total = 0;
  for (uint32_t i = 0; i < count; i++) {
    SKERRY_TRY(check_buffer(pieces[i].base, pieces[i].length));
    if (pieces[i].length > kMaxLength - total) return Error(EINVAL, "a length above 2^63");
    total += pieces[i].length;
  }
  return total;
}

}  // namespace
}  // namespace skerry::capi

using namespace skerry;        // NOLINT: the entries of a C ABI have no namespace of their own
using namespace skerry::capi;  // NOLINT

extern "C" {

int skerry_open(skerry_volume* volume, const skerry_context* context, const char* path, int flags,
                uint32_t mode, skerry_file** file) {
  return skerry_openat(volume, context, nullptr, path, flags, mode, file);
}

int skerry_openat(skerry_volume* volume, const skerry_context* context, skerry_file* at,
                  const char* path, int flags, uint32_t mode, skerry_file** file) {
  if (file != nullptr) *file = nullptr;
  return static_cast<int>(on_volume(
      {"skerry_open", path}, volume, context,
      [&](const OpContext& ctx, VolumeState& state) -> Status {
        if (path == nullptr) return null_argument("the path");
        if (file == nullptr) return null_argument("the place for the file");
        SKERRY_ASSIGN(const vfs::Handle* dir, handle_of(at));
        SKERRY_ASSIGN(auto handle,
                      vfs::open_file(ctx, *state.volume, dir, view_of(path), flags, mode));
        SKERRY_ASSIGN(*file, wrap(volume, state, std::move(handle), path));
        return {};
      }));
}

int skerry_close(skerry_file* file, const skerry_context* context) {
  constexpr const char* kCall = "skerry_close";
  if (file == nullptr) return 0;
  return guarded(kCall, [&]() -> int {
    std::unique_ptr<skerry_file> shell(file);
    FileState* state = file->state.current();
    if (state == nullptr) return 0;  // closed by its volume, or never used in this child
    // A context that cannot be used does not keep the file from being closed.
    Status valid = check_context(context);
    vfs::Volume& volume = state->handle->volume();
    const OpContext ctx = io_context(volume, valid.ok() ? context : nullptr);
    Status closed = close_file_state(ctx, file);
    if (closed.ok()) closed = std::move(valid);
    return closed.ok() ? 0 : fail(closed.error(), kCall, file->name.c_str());
  });
}

int64_t skerry_pread(skerry_file* file, const skerry_context* context, void* buffer, size_t length,
                     uint64_t offset) {
  return on_data({"skerry_pread"}, file, context,
                 [&](const OpContext& ctx, vfs::Handle& handle) -> Result<size_t> {
                   SKERRY_TRY(check_buffer(buffer, length));
                   return handle.read(ctx, offset, bytes_of(buffer, length));
                 });
}

int64_t skerry_pwrite(skerry_file* file, const skerry_context* context, const void* buffer,
                      size_t length, uint64_t offset) {
  return on_file({"skerry_pwrite"}, file, context,
                 [&](const OpContext& ctx, vfs::Handle& handle) -> Result<size_t> {
                   SKERRY_TRY(check_buffer(buffer, length));
                   SKERRY_TRY(handle.write(ctx, offset, bytes_of(buffer, length)));
                   return length;
                 });
}

int64_t skerry_preadv(skerry_file* file, const skerry_context* context,
                      const struct skerry_iovec* pieces, uint32_t count, uint64_t offset) {
  return on_data({"skerry_preadv"}, file, context,
                 [&](const OpContext& ctx, vfs::Handle& handle) -> Result<size_t> {
                   SKERRY_ASSIGN(size_t total, check_pieces(pieces, count));
                   if (total == 0) return handle.read_pieces(ctx, offset, nullptr, 0);
                   std::vector<MutableBytes> views(count);
                   for (uint32_t i = 0; i < count; i++) {
                     views[i] = bytes_of(pieces[i].base, pieces[i].length);
                   }
                   return handle.read_pieces(ctx, offset, views.data(), count);
                 });
}

int64_t skerry_pwritev(skerry_file* file, const skerry_context* context,
                       const struct skerry_iovec* pieces, uint32_t count, uint64_t offset) {
  return on_file({"skerry_pwritev"}, file, context,
                 [&](const OpContext& ctx, vfs::Handle& handle) -> Result<size_t> {
                   SKERRY_ASSIGN(size_t total, check_pieces(pieces, count));
                   SKERRY_TRY(handle.check_writable());
                   if (count == 1) {
                     SKERRY_TRY(handle.write(ctx, offset, bytes_of(pieces[0].base, total)));
                     return total;
                   }
                   // One write, so that it is taken whole or not at all, and one record if
                   // appended.
                   std::vector<std::byte> joined;
                   joined.reserve(total);
                   for (uint32_t i = 0; i < count; i++) {
                     ByteView piece = bytes_of(pieces[i].base, pieces[i].length);
                     joined.insert(joined.end(), piece.begin(), piece.end());
                   }
                   SKERRY_TRY(handle.write(ctx, offset, joined));
                   return total;
                 });
}

int64_t skerry_read_view(skerry_file* file, const skerry_context* context, uint64_t offset,
                         size_t length, skerry_view* view) {
  if (view != nullptr) *view = {};
  return on_data({"skerry_read_view"}, file, context,
                 [&](const OpContext& ctx, vfs::Handle& handle) -> Result<size_t> {
                   if (view == nullptr) return null_argument("the view");
                   SKERRY_ASSIGN(data::CacheView pinned, handle.view(ctx, offset, length));
                   view->data = pinned.data().data();
                   view->length = pinned.data().size();
                   view->owner = pinned.release();
                   return view->length;
                 });
}

void skerry_view_release(skerry_view* view) {
  if (view == nullptr) return;
  if (view->owner != nullptr) data::CacheView::unpin(view->owner);
  *view = {};
}

int skerry_fsync(skerry_file* file, const skerry_context* context) {
  return static_cast<int>(
      on_data({"skerry_fsync"}, file, context,
              [](const OpContext& ctx, vfs::Handle& handle) { return handle.sync(ctx); }));
}

int skerry_flush(skerry_file* file, const skerry_context* context) {
  return static_cast<int>(
      on_data({"skerry_flush"}, file, context,
              [](const OpContext& ctx, vfs::Handle& handle) { return handle.flush(ctx); }));
}

int skerry_fstat(skerry_file* file, const skerry_context* context, struct skerry_stat* out) {
  return static_cast<int>(on_data({"skerry_fstat"}, file, context,
                                  [&](const OpContext& ctx, vfs::Handle& handle) -> Status {
                                    if (out == nullptr) return null_argument("the result");
                                    SKERRY_ASSIGN(meta::Attributes attr, handle.attributes(ctx));
                                    fill_stat(attr, handle.volume(), out);
                                    return {};
                                  }));
}

int skerry_ftruncate(skerry_file* file, const skerry_context* context, uint64_t length) {
  return static_cast<int>(on_file(
      {"skerry_ftruncate"}, file, context,
      [&](const OpContext& ctx, vfs::Handle& handle) { return handle.truncate(ctx, length); }));
}

int skerry_fallocate(skerry_file* file, const skerry_context* context, uint32_t mode,
                     uint64_t offset, uint64_t length) {
  return static_cast<int>(
      on_file({"skerry_fallocate"}, file, context, [&](const OpContext& ctx, vfs::Handle& handle) {
        return handle.allocate(ctx, mode, offset, length);
      }));
}

int64_t skerry_copy_file_range(skerry_file* from, uint64_t from_offset, skerry_file* to,
                               uint64_t to_offset, uint64_t length, const skerry_context* context) {
  return on_file({"skerry_copy_file_range"}, from, context,
                 [&](const OpContext& ctx, vfs::Handle& source) -> Result<uint64_t> {
                   if (to == nullptr) return null_argument("the target");
                   SKERRY_ASSIGN(vfs::Handle * target, handle_of(to));
                   return vfs::Handle::copy_range(ctx, source, from_offset, *target, to_offset,
                                                  length);
                 });
}

int64_t skerry_seek_data(skerry_file* file, const skerry_context* context, uint64_t offset,
                         int whence) {
  return on_data({"skerry_seek_data"}, file, context,
                 [&](const OpContext& ctx, vfs::Handle& handle) {
                   return handle.seek_data(ctx, offset, whence);
                 });
}

}  // extern "C"
