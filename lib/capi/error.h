// The boundary of the C ABI: errors become negative errnos and a sentence for this thread, and no
// exception passes.
#pragma once

#include <cerrno>
#include <cstdint>
#include <exception>
#include <new>
#include <type_traits>

#include "base/result.h"

namespace skerry::capi {

/// Keeps "<call> <path> -> <path2>: <message>" for skerry_last_error() and returns -error.code().
/// Allocates nothing, so it also reports that memory ran out. Paths may be null.
int fail(const Error& error, const char* call, const char* path = nullptr,
         const char* path2 = nullptr) noexcept;
int fail(int code, const char* message, const char* call, const char* path = nullptr) noexcept;
const char* last_error() noexcept;

/// Runs the body of an entry; what it throws becomes -ENOMEM or -EIO.
template <typename Body>
auto guarded(const char* call, Body&& body) noexcept -> std::invoke_result_t<Body> {
  using Answer = std::invoke_result_t<Body>;
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return static_cast<Answer>(fail(ENOMEM, "out of memory", call));
  } catch (const std::exception& e) {
    return static_cast<Answer>(fail(EIO, e.what(), call));
  } catch (...) {
    return static_cast<Answer>(fail(EIO, "an unknown exception", call));
  }
}

}  // namespace skerry::capi
