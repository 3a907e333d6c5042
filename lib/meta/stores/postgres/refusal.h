// Why there is no connection to a server, and what to do about it.
#pragma once

#include <string>

#include "base/result.h"

namespace skerry::meta::postgres {

/// `shown` names the server. `said`: libpq's words, which are all it tells, and not always English:
/// what is not known here gets general advice. `needs_password`: see PQconnectionNeedsPassword().
/// The error is retryable where the reason may pass by itself.
Error refusal(const std::string& shown, const char* said, bool needs_password);

}  // namespace skerry::meta::postgres
