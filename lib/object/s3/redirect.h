// Where a bucket is, as an answer says that was not asked for it in the right place: the region
// ("AuthorizationHeaderMalformed", x-amz-bucket-region), another endpoint ("PermanentRedirect",
// "TemporaryRedirect"), or both. See "Making requests using the REST API: request redirection" of
// the Amazon S3 API Reference.
#pragma once

#include <optional>
#include <string_view>

#include "io/http_client.h"
#include "object/s3/location.h"
#include "object/s3/problem.h"

namespace skerry::s3 {

inline constexpr int kTemporaryRedirect = 307;  // for this request alone

/// `used`, put right; nothing if the answer says nothing else. What is asked for over TLS stays
/// under TLS, and a customer's key is shown to no network.
std::optional<Location> redirected(const Location& used, const HttpAnswer& answer,
                                   const Problem& problem);

}  // namespace skerry::s3
