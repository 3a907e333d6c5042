#include "base/result.h"

#include <stdexcept>

namespace skerry {

void throw_wrong_result() {
  throw std::logic_error("a Result was asked for what it does not hold");
}

}  // namespace skerry
