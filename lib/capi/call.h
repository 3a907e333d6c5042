// The common frame of the entries: check the arguments, find the state, make the context, run,
// report.
#pragma once

#include <cstring>
#include <string_view>
#include <utility>

#include "capi/context.h"
#include "capi/error.h"
#include "capi/shells.h"
#include "meta/ops.h"

namespace skerry::capi {

inline ByteView bytes_of(const void* data, size_t length) {
  return {static_cast<const std::byte*>(data), length};
}
inline MutableBytes bytes_of(void* data, size_t length) {
  return {static_cast<std::byte*>(data), length};
}

/// Up to PATH_MAX bytes: longer ones are told by their length alone.
inline std::string_view view_of(const char* path) {
  return {path, strnlen(path, meta::kMaxPathBytes)};
}

inline int64_t answer_of(const Status&) { return 0; }
template <typename T>
int64_t answer_of(const Result<T>& result) {
  return static_cast<int64_t>(*result);
}

/// For messages: what the call was and on which paths.
struct Call {
  const char* name;
  const char* path = nullptr;
  const char* path2 = nullptr;
};

template <typename Answer>
int64_t finish(const Call& call, vfs::Volume& volume, Answer&& result) {
  if (result.ok()) [[likely]]
    return answer_of(result);
  if (result.error().code() == ESTALE) {
    volume.suspect_session();
    // Who is told so looks the names up again: nothing cached may lead to the same inode then.
    volume.meta().forget_others();
  }
  return fail(result.error(), call.name, call.path, call.path2);
}

/// `body(ctx, VolumeState&)` returns a Status or a Result of an integer.
template <typename Body>
int64_t on_volume(const Call& call, skerry_volume* volume, const skerry_context* context,
                  Body&& body) noexcept {
  return guarded(call.name, [&]() -> int64_t {
    if (volume == nullptr) return fail(EINVAL, "the volume is null", call.name, call.path);
    auto state = state_of(volume);
    if (!state.ok()) return fail(state.error(), call.name, call.path, call.path2);
    Status valid = check_context(context);
    if (!valid.ok()) return fail(valid.error(), call.name, call.path, call.path2);
    vfs::Volume& opened = *(*state)->volume;
    CallContext ctx(opened, context);
    return finish(call, opened, body(*ctx, **state));
  });
}

/// The common part of the two below: `enter(volume)` makes what holds the context.
template <typename Enter, typename Body>
int64_t on_opened(const Call& call, skerry_file* file, const skerry_context* context, Enter&& enter,
                  Body&& body) noexcept {
  return guarded(call.name, [&]() -> int64_t {
    if (file == nullptr) return fail(EINVAL, "the file is null", call.name);
    const Call named{call.name, file->name.c_str()};
    FileState* state = file->state.current();
    if (state == nullptr) [[unlikely]] {
      auto built = state_of(file);
      if (!built.ok()) return fail(built.error(), named.name, named.path);
      state = *built;
    }
    if (context != nullptr) {
      Status valid = check_context(context);
      if (!valid.ok()) return fail(valid.error(), named.name, named.path);
    }
    vfs::Handle& handle = *state->handle;
    return finish(named, handle.volume(),
                  enter(handle.volume(), [&](const OpContext& ctx) { return body(ctx, handle); }));
  });
}

/// As on_volume, for calls on an open file for which the caller's groups matter: such that decide
/// on permissions, and such that write (a member's write leaves set-group-ID).
template <typename Body>
int64_t on_file(const Call& call, skerry_file* file, const skerry_context* context,
                Body&& body) noexcept {
  return on_opened(
      call, file, context,
      [&](vfs::Volume& volume, auto&& run) {
        const CallContext ctx(volume, context);
        return run(*ctx);
      },
      body);
}

/// As on_file, for reading: no credentials but the user, nothing allocated.
template <typename Body>
int64_t on_data(const Call& call, skerry_file* file, const skerry_context* context,
                Body&& body) noexcept {
  return on_opened(
      call, file, context,
      [&](vfs::Volume& volume, auto&& run) { return run(io_context(volume, context)); }, body);
}

inline Error null_argument(const char* what) {
  return Error(EINVAL, std::string(what) + " is null");
}

/// S_IFMT bits.
uint32_t type_bits(meta::FileType type);
void fill_stat(const meta::Attributes& attr, vfs::Volume& volume, struct skerry_stat* out);

}  // namespace skerry::capi
