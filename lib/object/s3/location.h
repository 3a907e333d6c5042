// Where a volume's objects are in S3, and how to speak to the store there: what a storage URL and
// the environment say.
//
//   s3://bucket/prefix?endpoint=http://127.0.0.1:9000&region=us-east-1
//
// Parameters: endpoint, region, style (path or virtual), profile, storage_class, payload (signed or
// unsigned), ca_bundle, anonymous (0 or 1), sse (s3, kms or customer), kms_key, sse_key_file,
// requester_pays, dual_stack and fips (0 or 1), tags, proxy, user_agent. What is not said there
// comes from the variables that AWS's own tools read: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL,
// AWS_REGION, AWS_DEFAULT_REGION, AWS_PROFILE, AWS_CA_BUNDLE; see "AWS SDKs and Tools Reference
// Guide", environment variables. Keys and passwords do not belong into the URL, which is kept in
// the volume's metadata.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace skerry::s3 {

struct Location {
  std::string bucket;
  std::string prefix;    // of every key: "", or ending in '/'
  std::string endpoint;  // "https://s3.eu-west-1.amazonaws.com", without a '/' at its end
  std::string region;
  bool path_style = false;  // the bucket is in the path, else in the host's name
  std::string profile;      // of the shared configuration files
  bool profile_in_url = false;
  std::string storage_class;
  bool sign_payload = false;
  std::string ca_bundle;
  bool anonymous = false;
  std::string sse;           // "", "s3", "kms" or "customer"
  std::string kms_key;       // empty: the account's default
  std::string sse_key_file;  // of a customer's key: AES-256, 32 bytes or their base64
  std::string sse_key;       // the 32 bytes; see read_sse_key()
  bool requester_pays = false;
  std::string tags;   // "name=value&other=value", names and values encoded
  std::string proxy;  // "http://host:port"
  std::string user_agent;

  /// "s3://bucket/prefix at https://host", for messages.
  std::string describe() const;
  /// What comes before the path of a URL, and the value of the header "host".
  std::string origin() const;
  std::string host() const;
  /// The path of an object, not encoded: "/key" or "/bucket/key". `key` "": of the bucket.
  std::string path(std::string_view key) const;
};

/// `variable`: getenv(3)-like, null where there is none. EINVAL says what is wrong and what to
/// write.
Result<Location> parse_location(std::string_view url,
                                const std::function<const char*(const char*)>& variable);

/// Reads the customer's key where there is one. EACCES and EINVAL name the file, and show nothing
/// of what it holds.
Status read_sse_key(Location* location);

}  // namespace skerry::s3
