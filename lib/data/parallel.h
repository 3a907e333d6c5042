// Several pieces of blocking work at once, the caller doing its share.
#pragma once

#include <cstddef>
#include <functional>

#include "io/executor.h"

namespace skerry::data {

/// Calls work(0) ... work(count - 1), each once, and returns when all have returned. Helpers on the
/// executor take pieces that nobody has begun; the caller takes what is left and then waits only
/// for pieces that a helper is in the midst of. So it never waits for a task that has not started,
/// and may be called from a task of the same executor. `work` must not throw.
void run_parallel(Executor& executor, size_t count, const std::function<void(size_t)>& work);

}  // namespace skerry::data
