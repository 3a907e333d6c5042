// Percent-encoding of URLs: RFC 3986, section 2.1.
#pragma once

#include <string>
#include <string_view>

namespace skerry {

/// Replaces each %XX by its byte. False if a '%' is not followed by two hexadecimal digits; such
/// ones stay as they are.
bool percent_decode(std::string_view text, std::string* out);

}  // namespace skerry
