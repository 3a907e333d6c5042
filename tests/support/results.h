// What a Result says, for a CHECK: the errno (0: it worked) and the sentence.
#pragma once

#include <string>

#include "base/result.h"

namespace skerry {

template <typename R>
int code(const R& result) {
  return result.ok() ? 0 : result.error().code();
}

template <typename R>
std::string message(const R& result) {
  return result.ok() ? "" : result.error().message();
}

}  // namespace skerry
