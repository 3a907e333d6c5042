// What an answer that refuses says: the element Error of S3's answers ("Error responses" of the
// Amazon S3 API Reference), and what callers are told of it.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "io/http_client.h"
#include "object/s3/location.h"

namespace skerry::s3 {

/// `code`: S3's; empty where the answer has none.
int errno_of(int status, const std::string& code);

struct Problem {
  explicit Problem(const HttpAnswer& answer);

  /// Names the operation, the key, the status, the code and the request.
  Error error(const char* method, const std::string& key, int status,
              const Location& location) const;

  std::string code, message, region, endpoint, storage_class, request_id;
  uint64_t pause_s;  // as long as the server asks to be left alone
};

}  // namespace skerry::s3
