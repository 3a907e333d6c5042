// A commit that is asked for again when its answer is lost. Internal to lib/meta.
#pragma once

#include "meta/store.h"

namespace skerry::meta {

/// One commit with as many attempts as lost answers and passing failures need, all under one
/// request id. An error says maybe_applied() if any attempt may have been applied.
Result<CommitResult> commit_with_retries(const OpContext& ctx, Store& store, Clock& clock,
                                         Random& random, const CommitRequest& request);

}  // namespace skerry::meta
