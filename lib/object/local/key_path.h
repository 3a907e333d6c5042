// Which object keys a directory tree can hold, and which names in it are not objects.
#pragma once

#include <cstddef>
#include <string_view>

#include "base/result.h"

namespace skerry {

inline constexpr std::string_view kTempDirectory = ".tmp";
inline constexpr std::string_view kUploadDirectory = ".uploads";
inline constexpr size_t kMaxKeyBytes = 1024;  // Amazon S3's own limit

/// EINVAL, with a sentence, for a key that is empty or too long, or has a component that is empty,
/// ".", "..", over 255 bytes or with a NUL, or that begins with a directory of the store's own.
Status check_key(std::string_view key);

/// "a/b" of "a/b/c", "." of "c".
std::string_view parent_of(std::string_view key);

}  // namespace skerry
