// A metadata URL of a volume in PostgreSQL: libpq's URI, plus our own `schema=`.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace skerry::meta::postgres {

/// Where a server may be, as libpq has the parameters of these names. Empty: its default.
struct Host {
  std::string host, address, port;
};

struct ConnInfo {
  std::string uri;     // for libpq alone: may hold a password
  std::string schema;  // of the volume
  std::string shown;   // for messages: hosts, database and schema, no secret
  std::vector<Host> hosts;
  int connect_timeout_s = 0;  // for each host; 0: not said
};

/// EINVAL with a sentence that repeats nothing of a URL which cannot be understood, since any part
/// of it may be the password.
Result<ConnInfo> parse_url(std::string_view url);

}  // namespace skerry::meta::postgres
