// AWS Signature Version 4, as "Signing AWS API requests" of the IAM user guide and
// "Authenticating Requests" of the Amazon S3 API reference define it.
//
// Pure functions of what they are given: no clock, no environment. All strings of a request are as
// they are before encoding; the encoded forms come from here too, so that what is sent is what was
// signed.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"

namespace skerry::s3 {

struct Credentials {
  std::string access_key;  // empty: requests are not signed
  std::string secret_key;
  std::string session_token;  // empty: none
  TimeNs expires_ns = 0;      // since the epoch; 0: never
};

inline constexpr std::string_view kUnsignedPayload = "UNSIGNED-PAYLOAD";

/// Percent-encodes all but RFC 3986's unreserved characters, and '/' unless it is kept.
std::string uri_encode(std::string_view text, bool keep_slash);

/// Of SHA-256, HMAC-SHA-256: 32 bytes.
using Digest = std::array<std::byte, 32>;
Digest sha256(const std::vector<ByteView>& pieces);
std::string hex(const Digest& digest);

struct SignedRequest {
  std::string_view method;
  std::string_view path;  // "/bucket/a key", never encoded, beginning with '/'
  std::vector<std::pair<std::string, std::string>> query;
  /// Names in lower case; "host" among them. All are signed.
  std::vector<std::pair<std::string, std::string>> headers;
};

struct SigningScope {
  std::string_view region;
  std::string_view service = "s3";
  TimeNs now_ns = 0;
};

/// "20130524T000000Z".
std::string amz_date(TimeNs now_ns);
/// "prefix=a%20b&versions=", in the order that is signed.
std::string canonical_query(const std::vector<std::pair<std::string, std::string>>& query);

/// What is hashed and signed, for tests and for messages about SignatureDoesNotMatch.
std::string canonical_request(const SignedRequest& request, std::string_view payload_hash);

/// Adds x-amz-date, x-amz-content-sha256, x-amz-security-token and authorization to the headers.
/// `payload_hash`: hex of SHA-256, or kUnsignedPayload.
void sign(SignedRequest& request, std::string_view payload_hash, const Credentials& credentials,
          const SigningScope& scope);

/// The query of a URL that is good for `valid_seconds` (1 to 604,800), signature included.
std::string presigned_query(SignedRequest request, const Credentials& credentials,
                            const SigningScope& scope, uint32_t valid_seconds);

}  // namespace skerry::s3
